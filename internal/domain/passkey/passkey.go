// Package passkey makes the options of WebAuthn ceremonies and checks their
// answers: passkeys, and keys that were bound under U2F.
package passkey

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/go-webauthn/webauthn/metadata"
	"github.com/go-webauthn/webauthn/protocol"

	"countersign/internal/fault"
)

// Sizes of what goes over the wire.
const (
	ChallengeBytes = 32 // WebAuthn §13.4.3 asks for 16
	HandleBytes    = 32 // of a user, random (WebAuthn §14.6.1); at most 64
	IDMaxBytes     = 1023
	answerMaxBytes = 48 << 10
)

// NameMax is how long the name of a passkey is at most, in characters.
const NameMax = 64

// An AAGUID names a model of authenticator (WebAuthn §6.5.1). It is a claim,
// unless an attestation was asked for and verified.
type AAGUID [16]byte

// ParseAAGUID reads the form 8-4-4-4-12.
func ParseAAGUID(s string) (a AAGUID, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(a) || len(s) != 36 {
		return a, errors.New("passkey: not an AAGUID")
	}
	copy(a[:], b)
	if !strings.EqualFold(a.String(), s) {
		return a, errors.New("passkey: not an AAGUID")
	}
	return a, nil
}

// String is the form 8-4-4-4-12, in lower case.
func (a AAGUID) String() string {
	h := hex.EncodeToString(a[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// IsZero reports whether the authenticator does not say what it is.
func (a AAGUID) IsZero() bool { return a == AAGUID{} }

// A Credential is the public half of a passkey, or of a key bound under U2F.
type Credential struct {
	ID         []byte
	PublicKey  []byte // COSE; of a U2F key the 65 bytes of X9.62
	AppID      string // that the key was bound under (U2F); empty: a passkey
	AAGUID     AAGUID
	Transports []string

	BackupEligible bool // saved in a password manager: may be on several devices
	BackedUp       bool
	Verified       bool // the authenticator said that it verified the user when it was made
	SignCount      uint32
	Format         string // of the attestation statement
}

// IsU2F reports whether the key was bound under U2F: a second factor only.
func (c Credential) IsU2F() bool { return c.AppID != "" }

// plugged reports whether the passkey can be one on a security key: it is on
// that piece alone, which is held against a device or plugged into it.
func (c Credential) plugged() bool {
	piece := len(c.Transports) == 0 || slices.ContainsFunc(c.Transports, func(t string) bool { return t == "usb" || t == "nfc" || t == "ble" || t == "smart-card" })
	return piece && !c.BackupEligible
}

// A User is whom a passkey is made for. The name is shown by the authenticator.
type User struct {
	Handle            []byte
	Name, DisplayName string
}

// Lists say which authenticators may be bound; empty: all.
type Lists struct {
	Allow, Deny []AAGUID
	NoSynced    bool // none that is saved in a password manager
	Plugged     bool // security keys alone
}

// A RelyingParty is what passkeys are bound to.
type RelyingParty struct {
	ID, Name string
	Origins  []string // of pages that may use them
	Direct   bool     // ask for an attestation
	Lists
	Metadata metadata.Provider // nil: attestations are checked for themselves alone
}

// Faults about passkeys. Unknown and deleted ones, foreign user handles and
// wrong signatures answer alike (WebAuthn §14.6.2).
var (
	ErrRefused    = fault.New(fault.Unproven, "passkey.refused").On("credential")
	ErrUnknown    = fault.New(fault.Unproven, "passkey.unknown").On("credential")
	ErrExpired    = fault.New(fault.Unproven, "passkey.expired").On("credential")
	ErrMalformed  = fault.New(fault.Invalid, "passkey.malformed").On("credential")
	ErrTaken      = fault.New(fault.Conflict, "passkey.taken").On("credential")
	ErrName       = fault.New(fault.Invalid, "passkey.name").On("name").With("Max", NameMax)
	ErrNameTaken  = fault.New(fault.Conflict, "passkey.name_taken").On("name")
	ErrQuota      = fault.New(fault.Conflict, "quota.passkeys")
	ErrSynced     = fault.New(fault.Conflict, "passkey.synced").On("credential")
	ErrNotAllowed = fault.New(fault.Conflict, "passkey.not_allowed").On("credential")
	ErrAnotherKey = fault.New(fault.Conflict, "passkey.another_key").On("credential")
	ErrNone       = fault.New(fault.NotFound, "passkey.none")
	ErrOff        = fault.New(fault.Forbidden, "passkey.off")
)

// A refusal is a fault with the word that the event gives as reason.
type refusal struct {
	fault error
	why   string
}

func (r *refusal) Error() string { return r.fault.Error() + ": " + r.why }
func (r *refusal) Unwrap() error { return r.fault }

func because(f *fault.Fault, why string) error { return &refusal{f, why} }

// Why is the word for the reason of a refusal; empty where err is none.
func Why(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.why
	}
	return ""
}

// parameters are the algorithms offered, best first: EdDSA, ES256, RS256.
var parameters = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: algEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: algES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: algRS256},
}
