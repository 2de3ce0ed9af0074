// Package audit describes what happened, by whose hand, and the keyed chain that keeps it true.
package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/internal/domain/account"
)

// A Name says what happened. Names that the documented system has are its own.
type Name string

// The events.
const (
	AccountReg          Name = "AccountReg"
	ConsoleSignin       Name = "ConsoleSignin"
	PasswordAccepted    Name = "PasswordAccepted" // the second step is still open
	ConsoleSignout      Name = "ConsoleSignout"
	EmailConfirm        Name = "EmailConfirm"
	PasswordModify      Name = "PasswordModify"
	MFABind             Name = "MFABind"
	MFAUnbind           Name = "MFAUnbind"
	MFAResynchronise    Name = "MFAResynchronise"
	RecoveryCodesCreate Name = "RecoveryCodesCreate"
	RecoveryCodeUse     Name = "RecoveryCodeUse"
	IdentityVerify      Name = "IdentityVerify"
	CodeSend            Name = "CodeSend"
	CodeBudgetEmpty     Name = "CodeBudgetEmpty"
	SessionEnd          Name = "SessionEnd"
	DeviceReplay        Name = "DeviceReplay"
	LocaleModify        Name = "LocaleModify"
	SetupLink           Name = "SetupLink"
	KeyRotate           Name = "KeyRotate"
	DatabaseMove        Name = "MoveDatabase"
	DatabaseBackup      Name = "BackUpDatabase"
	DatabaseRestore     Name = "RestoreDatabase"
	DatabaseReopen      Name = "ReopenDatabase"
	MessageRetry        Name = "MessageRetry"
	EmailModify         Name = "EmailModify"
	MobileBind          Name = "MobileBind"
	MobileModify        Name = "MobileModify"
	MobileUnbind        Name = "MobileUnbind"
	ProtectionAdd       Name = "ProtectionAdd"
	ProtectionModify    Name = "ProtectionModify"
	ProtectionRemove    Name = "ProtectionRemove"
	SendAlarm           Name = "SendAlarm"

	UserCreate           Name = "CreateUser"
	UserUpdate           Name = "UpdateUser"
	UserDelete           Name = "DeleteUser"
	UserExport           Name = "ExportUsers"
	ProfileCreate        Name = "CreateLoginProfile"
	ProfileUpdate        Name = "UpdateLoginProfile"
	ProfileDelete        Name = "DeleteLoginProfile"
	RoleModify           Name = "SetUserRole"
	PreferenceModify     Name = "SetSecurityPreference"
	PasswordPolicyModify Name = "SetPasswordPolicy"
	AliasModify          Name = "SetAccountAlias"
	DomainAdd            Name = "CreateDomainAlias"
	DomainVerify         Name = "VerifyDomainAlias"
	DomainRemove         Name = "DeleteDomainAlias"
	TicketCreate         Name = "CreateEnrolmentTicket"
	IdleDisable          Name = "DisableIdleUser"
	DevicesForget        Name = "ForgetDevices"
	PasswordLock         Name = "PasswordLock"
	RecoveryStart        Name = "RecoveryStart"
	RecoveryCancel       Name = "RecoveryCancel"
	RecoveryFinish       Name = "RecoveryFinish"

	PasskeyCreate  Name = "CreatePasskey"
	PasskeyUpdate  Name = "UpdatePasskey"
	PasskeyDelete  Name = "DeletePasskey"
	PasskeyCounter Name = "PasskeyCounterBack" // it may have been copied
	U2FImport      Name = "ImportU2F"
	U2FUpgrade     Name = "UpdateToPasskey"

	PasswordForgot Name = "RequestPasswordReset" // a link was asked for
	PasswordReset  Name = "PasswordReset"        // by that link
	NotMe          Name = "ReportNotMe"          // "This wasn't me"
	CheckEnd       Name = "EndSecurityCheck"     // what is bound was looked through
	SigninConfirm  Name = "ConfirmSignin"        // "Yes, it was me"; the target is its number

	ReportGenerate Name = "GenerateCredentialReport"
	ReportGet      Name = "GetCredentialReport"

	RememberedAdd    Name = "RememberDevice"
	RememberedForget Name = "ForgetRememberedDevice"
	RememberedReplay Name = "RememberedDeviceReplay" // it may have been copied

	SecurityEmailBind   Name = "BindSecurityEmail"
	SecurityEmailUnbind Name = "UnbindSecurityEmail"
	ActivationSend      Name = "SendActivationLink" // to a phone that an administrator has written down
	ActivationUse       Name = "UseActivationLink"
)

// What is called so where it concerns a RAM user.
const (
	UserMFABind        Name = "BindMFADevice"
	UserMFAUnbind      Name = "UnbindMFADevice"
	UserPasswordModify Name = "ChangePassword"
)

var ofUsers = map[Name]Name{MFABind: UserMFABind, MFAUnbind: UserMFAUnbind, PasswordModify: UserPasswordModify}

// OfUser is the event where it concerns a RAM user: the documented system has
// two names for some. ok reports whether it is another one.
func (n Name) OfUser() (name Name, ok bool) {
	name, ok = ofUsers[n]
	return name, ok
}

// About the record itself.
const (
	AuditExport Name = "ExportAudit"
)

// Operator is the chain of what concerns no account.
const Operator account.ID = "0"

// An Actor is whoever does something. Every write has one.
type Actor struct {
	Kind      string `json:"kind"`         // owner, visitor, operator, system
	ID        string `json:"id,omitempty"` // identity
	Name      string `json:"name,omitempty"`
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	Request   string `json:"request,omitempty"`

	// Housekeeping actors change nothing that a person would ask about
	// (expiry, counters, leases), and may write without an event.
	housekeeping bool
}

// Housekeeping is the actor of work that needs no event; purpose says which.
func Housekeeping(purpose string) Actor {
	return Actor{Kind: "system", Name: purpose, housekeeping: true}
}

// Quietly is the same actor at housekeeping.
func (a Actor) Quietly() Actor {
	a.housekeeping = true
	return a
}

// OperatorActor is who acts through the command line.
func OperatorActor(command string) Actor { return Actor{Kind: "operator", Name: command} }

// NeedsEvent reports whether a write by a must leave an event.
func (a Actor) NeedsEvent() bool { return !a.housekeeping }

// An Event is one thing that happened. It holds copies, never references.
type Event struct {
	Account  account.ID         `json:"account"`
	Seq      int64              `json:"seq"`
	At       time.Time          `json:"at"`
	Name     Name               `json:"name"`
	Actor    Actor              `json:"actor"`
	Identity account.IdentityID `json:"identity,omitempty"` // whom it concerns
	Target   string             `json:"target,omitempty"`
	Refused  string             `json:"refused,omitempty"` // code of the refusal; empty: done
	Details  map[string]string  `json:"details,omitempty"`
	KeyID    uint32             `json:"key_id"`
	Hash     []byte             `json:"-"`
}

// Content is the form of the event that is stored and authenticated.
func (e Event) Content() ([]byte, error) {
	b, err := json.Marshal(e) // field order is fixed, map keys are sorted
	if err != nil {
		return nil, fmt.Errorf("write an event: %w", err)
	}
	return b, nil
}

// ParseContent reads what Content wrote.
func ParseContent(b []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("read an event: %w", err)
	}
	return e, nil
}

// A MAC authenticates a message under the key with the id given.
type MAC func(keyID uint32, message []byte) ([]byte, error)

// ChainPurpose is what MACs of the chain are made for.
const ChainPurpose = "audit chain"

// Link returns the hash of an event: it covers the event and all before it.
func Link(mac MAC, previous []byte, keyID uint32, content []byte) ([]byte, error) {
	message := fmt.Appendf(nil, "%d:", len(previous))
	message = append(message, previous...)
	return mac(keyID, append(message, content...))
}

// ErrBroken says where a chain does not hold.
type ErrBroken struct {
	Account account.ID
	Seq     int64
	Why     string
}

func (e *ErrBroken) Error() string {
	return fmt.Sprintf("audit chain of account %s is broken at event %d: %s", e.Account, e.Seq, e.Why)
}

// A Chain checks the events of one account in order.
type Chain struct {
	Account account.ID
	Seq     int64
	Hash    []byte
}

// A Lookup is what an event is found by: copies of what its content says.
type Lookup struct {
	Identity  account.IdentityID
	Name      Name
	At        int64  // microseconds since 1970
	Actor     string // its id, or its kind where it has none
	ActorName string
	Address   string
	Request   string
	Refused   string
	Method    string
}

// Lookup is what the event is found by: without NUL, which no column holds.
func (e Event) Lookup() Lookup {
	actor := e.Actor.ID
	if actor == "" {
		actor = e.Actor.Kind
	}
	plain := func(s string) string { return strings.ReplaceAll(s, "\x00", "") }
	return Lookup{e.Identity, e.Name, e.At.UnixMicro(), plain(actor), plain(e.Actor.Name), plain(e.Actor.Address), plain(e.Actor.Request), plain(e.Refused), plain(e.Details["method"])}
}

// A Stored is an event as it lies in the store: its content, and beside it
// what the store looks it up by.
type Stored struct {
	Seq int64
	Lookup
	Content []byte
	Hash    []byte
}

// Next checks one stored event against what came before it.
func (c *Chain) Next(mac MAC, s Stored) error {
	seq, content, hash := s.Seq, s.Content, s.Hash
	broken := func(why string) error { return &ErrBroken{c.Account, c.Seq + 1, why} }
	if seq != c.Seq+1 {
		return broken(fmt.Sprintf("the next one stored is %d", seq))
	}
	e, err := ParseContent(content)
	if err != nil {
		return broken("it cannot be read")
	}
	if e.Seq != seq || e.Account != c.Account {
		return broken("it belongs elsewhere")
	}
	want, err := Link(mac, c.Hash, e.KeyID, content)
	if err != nil {
		return broken(err.Error())
	}
	if !bytes.Equal(want, hash) {
		return broken("its content does not match its hash")
	}
	if e.Lookup() != s.Lookup {
		return broken("what it is looked up by does not match its content")
	}
	c.Seq, c.Hash = seq, hash
	return nil
}

// HeadMessage is what the MAC of a chain's head covers: without the key nobody
// can say that a chain ends earlier than it does.
func HeadMessage(a account.ID, seq int64, hash []byte) []byte {
	return fmt.Appendf(nil, "head:%q:%d:%x", a, seq, hash)
}

// IsBroken reports whether err is about a broken chain.
func IsBroken(err error) bool {
	var b *ErrBroken
	return errors.As(err, &b)
}

// AgentMaxBytes bounds what is kept of a browser's name.
const AgentMaxBytes = 400

// Clip is the beginning of what a visitor sent, at most n bytes of whole
// characters.
func Clip(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
