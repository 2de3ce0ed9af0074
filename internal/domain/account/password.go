package account

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"countersign/internal/domain/guess"
	"countersign/internal/fault"
)

// Lengths of a password in code points (NIST SP 800-63B-4 §3.1.1.2).
const (
	PasswordMinAlone   = 15 // where the password can be the only factor
	PasswordMinWithMFA = 8
	PasswordMax        = 128
)

// Faults about a new password. Each says what would be accepted.
var (
	ErrPasswordMissing = fault.New(fault.Invalid, "password.missing").On("new_password")
	ErrPasswordShort   = fault.New(fault.Invalid, "password.short").On("new_password")
	ErrPasswordLong    = fault.New(fault.Invalid, "password.long").On("new_password").With("Max", PasswordMax)
	ErrPasswordCommon  = fault.New(fault.Invalid, "password.common").On("new_password")
	ErrPasswordContext = fault.New(fault.Invalid, "password.context").On("new_password")
	ErrPasswordForm    = fault.New(fault.Invalid, "password.form").On("new_password")
	ErrPasswordSame    = fault.New(fault.Invalid, "password.same").On("new_password")
)

// PasswordMin is the shortest password where a second factor is always asked,
// and where it is not.
func PasswordMin(mfa bool) int {
	if mfa {
		return PasswordMinWithMFA
	}
	return PasswordMinAlone
}

// guessableBelow is the number of guesses under which a password counts as
// common: it is on the list, or a list word with the usual decorations.
const guessableBelow = 1e6

// CheckPassword says whether password may become the password of someone
// known by the context words given (sign-in name, account, product).
// There are no rules about kinds of characters.
func CheckPassword(password string, mfa bool, context ...string) error {
	minimum := PasswordMin(mfa)
	password = norm.NFC.String(password)
	length := utf8.RuneCountInString(password)
	switch {
	case length == 0:
		return ErrPasswordMissing
	case length < minimum:
		return ErrPasswordShort.With("Min", minimum)
	case length > PasswordMax:
		return ErrPasswordLong
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return ErrPasswordForm
	}
	lower := strings.ToLower(password)
	words := contextWords(context)
	rest := lower
	for _, w := range words {
		if strings.Contains(lower, w) && len(w) >= 8 {
			return ErrPasswordContext
		}
		rest = strings.ReplaceAll(rest, w, "")
	}
	if rest != lower && utf8.RuneCountInString(rest) < 8 { // a name and a few characters
		return ErrPasswordContext
	}
	if guessable(lower, words) {
		return ErrPasswordCommon
	}
	return nil
}

// guessable says whether password is on the lists, or made from one word of
// them. The lists are ASCII, and the estimator takes doubled letters of other
// scripts for repetition: it sees the ASCII part alone.
func guessable(password string, words []string) bool {
	distinct := map[rune]bool{}
	other := 0
	ascii := strings.Map(func(r rune) rune {
		distinct[r] = true
		if r > 0x7f {
			other++
			return -1
		}
		return r
	}, password)
	switch {
	case len(distinct) < 4:
		return true
	case other > 2:
		return false
	}
	return guess.Guesses(cut(ascii, 64), words) < guessableBelow
}

// LongEnoughAlone reports whether password may be the only factor.
func LongEnoughAlone(password string) bool {
	return utf8.RuneCountInString(norm.NFC.String(password)) >= PasswordMinAlone
}

// contextWords takes names apart: alice@example.com is also alice and example.
func contextWords(context []string) []string {
	var words []string
	for _, c := range context {
		c = strings.ToLower(strings.TrimSpace(c))
		if len(c) >= 3 {
			words = append(words, c)
		}
		for _, w := range strings.FieldsFunc(c, func(r rune) bool { return strings.ContainsRune("@.-_+ ", r) }) {
			if len(w) >= 4 && w != c {
				words = append(words, w)
			}
		}
	}
	return words
}

// cut bounds what the estimator sees: its time grows faster than the length.
func cut(s string, runes int) string {
	for i := range s {
		if runes == 0 {
			return s[:i]
		}
		runes--
	}
	return s
}
