// Package account holds accounts and the identities that sign in to them.
package account

import (
	"strings"
	"time"

	"countersign/internal/fault"
)

// ID is an account's 16-digit number.
type ID string

// IdentityID names an identity: opaque, never used again.
type IdentityID string

// IDDigits is the length of an account ID.
const IDDigits = 16

// An Account is a tenant: one owner, its RAM users, and its settings.
type Account struct {
	ID        ID
	Alias     string // the account ID until the owner chooses another
	CreatedAt time.Time
}

// An Identity is whoever can sign in.
type Identity struct {
	ID                IdentityID
	Account           ID
	Role              Role
	Email             string // as typed; what is compared is EmailKey
	EmailConfirmedAt  time.Time
	PasswordHash      string // PHC; empty: no password
	PasswordChangedAt time.Time
	PasswordAlone     bool // long enough to be the only factor
	Locale            string
	Epoch             int64 // rises whenever a credential changes: what was granted before is void
	CreatedAt         time.Time

	DistrustedAt time.Time // since when the password alone does not do: "This wasn't me"; zero: it does
	CheckDue     time.Time // since when what is bound waits to be looked through; zero: it does not

	// Of RAM users, whose Email is their profile's: information, never proof.
	UserName     string
	Domain       string // after the @: the account's alias and the server's suffix
	DisplayName  string
	Comments     string
	LastSignInAt time.Time
}

// IsOwner reports whether it is the primary account's own identity.
func (i Identity) IsOwner() bool { return i.Role == Owner }

// Name is what pages and messages call the identity: the sign-in email of an
// owner, the user principal name of a RAM user.
func (i Identity) Name() string {
	if i.UserName == "" {
		return i.Email
	}
	return i.UserName + "@" + i.Domain
}

// Faults about addresses.
var (
	ErrEmailMissing = fault.New(fault.Invalid, "email.missing").On("email")
	ErrEmailForm    = fault.New(fault.Invalid, "email.form").On("email")
	ErrEmailTaken   = fault.New(fault.Conflict, "email.taken").On("email")
)

// EmailMaxBytes is the longest address that mail can carry (RFC 5321 §4.5.3.1.3).
const EmailMaxBytes = 254

// ParseEmail checks the form of an address (the dot-atom of RFC 5321 §4.1.2, with
// any letters of RFC 6531) and returns it trimmed.
func ParseEmail(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", ErrEmailMissing
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || len(s) > EmailMaxBytes || len(local) > 64 || !dotAtom(local) || !dotAtom(domain) || strings.HasPrefix(domain, "-") || strings.HasSuffix(domain, "-") {
		return "", ErrEmailForm
	}
	return s, nil
}

func dotAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for _, r := range s {
		switch {
		case r > 0x7f:
			if r == '\uFFFD' || r < 0xa1 { // not a character, or a C1 control or no-break space
				return false
			}
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(".!#$%&'*+/=?^_`{|}~-", r):
		default:
			return false
		}
	}
	return true
}

// EmailKey is the form in which addresses are compared and are unique.
func EmailKey(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// MaskEmail shows an address to someone who should recognise it but not learn
// it: a***@e***.com.
func MaskEmail(s string) string {
	local, domain, ok := strings.Cut(s, "@")
	if !ok {
		return "***"
	}
	name, top := domain, ""
	if i := strings.LastIndexByte(domain, '.'); i > 0 {
		name, top = domain[:i], domain[i:]
	}
	return first(local) + "***@" + first(name) + "***" + top
}

func first(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}
