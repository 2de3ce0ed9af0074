package account

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"countersign/internal/fault"
)

// Lengths of what an administrator writes about a user, in code points.
const (
	UserNameMax    = 64
	DisplayNameMax = 128
	CommentsMax    = 128
)

// Faults about what is written of a user.
var (
	ErrUserNameMissing = fault.New(fault.Invalid, "user.name_missing").On("name")
	ErrUserName        = fault.New(fault.Invalid, "user.name_form").On("name").With("Max", UserNameMax)
	ErrUserNameTaken   = fault.New(fault.Conflict, "user.name_taken").On("name")
	ErrDisplayName     = fault.New(fault.Invalid, "user.display_name").On("display_name").With("Max", DisplayNameMax)
	ErrComments        = fault.New(fault.Invalid, "user.comments").On("comments").With("Max", CommentsMax)
	ErrRole            = fault.New(fault.Invalid, "user.role").On("role")
)

// ParseUserName checks the name of a RAM user: 1 to 64 letters (ASCII),
// digits, dots, underscores and hyphens.
func ParseUserName(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", ErrUserNameMissing
	}
	if len(s) > UserNameMax || strings.ContainsFunc(s, func(r rune) bool { return !nameRune(r) }) {
		return "", ErrUserName
	}
	return s, nil
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

// UserNameKey is the form in which names are compared and are unique within an
// account.
func UserNameKey(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// ParseLine checks one line of text that people write about a user: a display
// name, comments. Empty is allowed.
func ParseLine(s string, most int, wrong error) (string, error) {
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, unseen) {
		return "", wrong
	}
	return s, nil
}

// unseen reports whether a character is none that people see: controls, what
// turns the direction of text, what has no width, ends of lines.
func unseen(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

// ParseRole returns a role that a RAM user can have.
func ParseRole(s string) (Role, error) {
	for _, r := range UserRoles {
		if s == string(r) {
			return r, nil
		}
	}
	return "", ErrRole
}

// A ProfileState says whether a RAM user may sign in to the console.
type ProfileState string

// The states of a login profile.
const (
	NoProfile       ProfileState = ""         // never enabled, or cleared
	ProfileActive   ProfileState = "active"   //
	ProfileInactive ProfileState = "inactive" // by an administrator
	ProfileIdle     ProfileState = "idle"     // by the daily job
)

// A Profile is the login profile of a RAM user: its console sign-in settings.
type Profile struct {
	State         ProfileState
	MFARequired   bool
	PasswordReset bool      // a new one must be set at the next sign-in
	InitialUntil  time.Time // until when a password set by an administrator is good; zero: the user's own, or without end
	UpdatedAt     time.Time
}

// Enabled reports whether the user may sign in to the console.
func (p Profile) Enabled() bool { return p.State == ProfileActive }

// InitialLifetime is how long a generated password waits for its first use at
// most.
const InitialLifetime = 72 * time.Hour
