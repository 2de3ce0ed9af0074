// Package factor describes what people prove themselves with, and verifies it.
package factor

import (
	"strings"
	"time"
)

// A Method is a way to prove something.
type Method string

// The methods. Their names are API.
const (
	Password     Method = "password"
	Email        Method = "email"
	SMS          Method = "sms"
	VirtualMFA   Method = "virtual_mfa"
	RecoveryCode Method = "recovery_code"
	Ticket       Method = "ticket" // of re-enrolment: handed over by an administrator or the operator
	Passkey      Method = "passkey"
	U2F          Method = "u2f" // a key bound under the old protocol: a second factor only
)

// strength orders the methods (NIST SP 800-63B-4 §3): a stronger one may
// change a weaker one, never the other way round. A recovery code stands in
// for the device it was made with, a ticket for the one that was lost.
var strength = map[Method]int{Password: 1, Email: 2, SMS: 3, VirtualMFA: 4, Passkey: 5, U2F: 5, RecoveryCode: 5, Ticket: 5}

// Strength returns the rank of m; 0 for what is no method.
func (m Method) Strength() int { return strength[m] }

// Guessable reports whether m is a short code, so that its tries must be counted.
func (m Method) Guessable() bool { return m == VirtualMFA || m.Sent() }

// Sent reports whether m is a code that we send.
func (m Method) Sent() bool { return m == Email || m == SMS }

// Signs reports whether m is a key that signs a challenge.
func (m Method) Signs() bool { return m == Passkey || m == U2F }

// A Proof is a method that succeeded.
type Proof struct {
	Method Method    `json:"method"`
	At     time.Time `json:"at"`

	// Of keys that sign.
	Verified bool `json:"verified,omitempty"` // the key says that it verified its user
	Synced   bool `json:"synced,omitempty"`   // it may be on several devices
}

// NormalCode returns the digits of a code as people type and paste it:
// without spaces and hyphens, full-width digits as plain ones.
func NormalCode(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '０' && r <= '９':
			return r - '０' + '0'
		case r == ' ' || r == '-' || r == '\t' || r == '\u00a0' || r == '\u3000' || r == '\u2011' || r == '\u2013' || r == '－':
			return -1
		}
		return r
	}, s)
}
