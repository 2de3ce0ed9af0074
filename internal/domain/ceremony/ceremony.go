// Package ceremony describes one sign-in, sign-up, verification or binding under way.
package ceremony

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
)

// Lifetimes of ceremonies: of a sign-in, and of a key; and of what somebody
// signed in does, who is not to lose it to a message that comes late.
const (
	Lifetime        = 10 * time.Minute
	SessionLifetime = 30 * time.Minute
)

// A Kind says what a ceremony leads to.
type Kind string

// The kinds.
const (
	SignUp Kind = "signup" // an account
	SignIn Kind = "signin" // a session
	Verify Kind = "verify" // a proof within a session
	Bind   Kind = "bind"   // a virtual MFA device
	Codes  Kind = "codes"  // recovery codes that are being written down

	Contact Kind = "contact" // a new phone, sign-in email or security email
	Protect Kind = "protect" // a choice in Account Protection
	Shown   Kind = "shown"   // what is shown once: passwords, a ticket
	Draft   Kind = "draft"   // a form that waits for a verification
	Reset   Kind = "reset"   // a new password, by the link in a mail

	NewPasskey Kind = "passkey"  // a passkey that is being made
	Discover   Kind = "discover" // a session, by a passkey that says whose it is
)

// A Ceremony holds facts; the next step is computed from them.
type Ceremony struct {
	ID        string
	Kind      Kind
	Account   account.ID // empty for a sign-up
	Identity  account.IdentityID
	Epoch     int64
	TokenHash []byte // of the cookie; empty where the session's cookie serves
	Session   string // the session it belongs to, for Verify and Bind
	Proofs    []factor.Proof
	TriesLeft int // counts down, never up
	ReturnTo  string
	Action    policy.Action
	CreatedAt time.Time
	ExpiresAt time.Time
	Private   Private
}

// Private is what a ceremony keeps sealed.
type Private struct {
	Email        string `json:"email,omitempty"`
	PasswordHash string `json:"password_hash,omitempty"`
	SetupLink    []byte `json:"setup_link,omitempty"` // hash of the set-up link's token
	Link         []byte `json:"link,omitempty"`       // hash of the token of the link that leads to a new password
	Seed         []byte `json:"seed,omitempty"`
	Locale       string `json:"locale,omitempty"`

	Codes []string `json:"codes,omitempty"`

	Phone      account.Phone      `json:"phone,omitempty"`
	Country    string             `json:"country,omitempty"` // as chosen beside the phone
	Name       string             `json:"name,omitempty"`    // of a device, as typed
	Protection *policy.Protection `json:"protection,omitempty"`

	Replaces string              `json:"replaces,omitempty"` // id of the device that goes when the new one stands
	Bound    bool                `json:"bound,omitempty"`    // a device was bound in this sign-in
	Remember bool                `json:"remember,omitempty"` // its browser is to be remembered
	Passkey  string              `json:"passkey,omitempty"`  // id of the passkey that was, if it was one
	Shown    []byte              `json:"shown,omitempty"`
	Path     string              `json:"path,omitempty"` // that the form was posted to
	Form     map[string][]string `json:"form,omitempty"`
}

// Faults about ceremonies.
var (
	ErrGone    = fault.New(fault.Expired, "ceremony.gone")
	ErrNoTries = fault.New(fault.Expired, "ceremony.no_tries")
)

// Open reports whether the ceremony may go on at now.
func (c Ceremony) Open(now time.Time) error {
	if !now.Before(c.ExpiresAt) {
		return ErrGone
	}
	if c.TriesLeft <= 0 {
		return ErrNoTries
	}
	return nil
}

// CodeExpires is until when a code sent now is good: it is good for nothing
// once its ceremony is over.
func (c Ceremony) CodeExpires(now time.Time) time.Time {
	if expires := now.Add(CodeLifetime); expires.Before(c.ExpiresAt) {
		return expires
	}
	return c.ExpiresAt
}

// A Code is a code sent by mail or text message: bound to one ceremony, and
// so to its browser, purpose and identity.
type Code struct {
	ID        string
	Ceremony  string
	Method    factor.Method
	Digits    int
	KeyID     uint32
	MAC       []byte // the code itself is only ever in the message
	Message   string // id of the message that carries it
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Limits of sent codes.
const (
	CodeLifetime = 10 * time.Minute
	CodesValid   = 2 // the newest of a ceremony: text messages come late
)

// Faults about sent codes.
var (
	ErrSendSoon    = fault.New(fault.Throttled, "code.send_soon")
	ErrSendTooMany = fault.New(fault.Throttled, "code.send_too_many")
	ErrCodeExpired = fault.New(fault.Unproven, "code.expired").On("code")
	ErrNotSent     = fault.New(fault.Unproven, "code.not_sent").On("code")
	ErrLongerAsked = fault.New(fault.Unproven, "code.longer_asked").On("code")
	ErrSentWrong   = fault.New(fault.Unproven, "code.sent_wrong").On("code")
)
