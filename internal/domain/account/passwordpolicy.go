package account

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"countersign/internal/fault"
)

// A PasswordPolicy adds rules to the passwords of RAM users. It acts at the
// next change of a password. The JSON names are those of the documented API.
type PasswordPolicy struct {
	MinimumLength  int  `json:"MinimumPasswordLength"`             // 8 to 32
	RequireLower   bool `json:"RequireLowercaseCharacters"`        //
	RequireUpper   bool `json:"RequireUppercaseCharacters"`        //
	RequireNumbers bool `json:"RequireNumbers"`                    //
	RequireSymbols bool `json:"RequireSymbols"`                    //
	Different      int  `json:"MinimumPasswordDifferentCharacter"` // 0 to 8 different characters; 0: off
	NoUserName     bool `json:"PasswordNotContainUserName"`
	MaxAge         int  `json:"MaxPasswordAge"`          // days, 0 to 1095; 0: for ever
	HardExpire     bool `json:"HardExpire"`              // then an administrator must reset it
	Reuse          int  `json:"PasswordReusePrevention"` // 0 to 24 earlier ones are refused
	LoginAttempts  int  `json:"MaxLoginAttemps"`         // 0 to 32 wrong ones in a row, then an hour's lock; 0: off
	InitialAge     int  `json:"InitialPasswordAge"`      // days, 0 to 90, that one set by an administrator is good; 0: for ever
	InterceptRisk  bool `json:"InterceptRiskPasswordOnApi"`
}

// DefaultPasswordPolicy is that of a new account.
func DefaultPasswordPolicy() PasswordPolicy { return PasswordPolicy{MinimumLength: 8, InitialAge: 14} }

// LockLength is how long a lane is locked after too many wrong passwords.
const LockLength = time.Hour

// A Range bounds a number of the policy.
type Range struct {
	Field    string // of the form
	Min, Max int
}

// The ranges of the numbers.
var (
	MinimumLengthRange = Range{"minimum_length", 8, 32}
	DifferentRange     = Range{"different", 0, 8}
	MaxAgeRange        = Range{"max_age", 0, 1095}
	ReuseRange         = Range{"reuse", 0, 24}
	LoginAttemptsRange = Range{"login_attempts", 0, 32}
	InitialAgeRange    = Range{"initial_age", 0, 90}
)

// ErrRange says that a number is outside its range.
var ErrRange = fault.New(fault.Invalid, "settings.range")

func (r Range) check(n int) error {
	if n < r.Min || n > r.Max {
		return ErrRange.On(r.Field).With("Min", r.Min).With("Max", r.Max)
	}
	return nil
}

// Check says which number is out of its range.
func (p PasswordPolicy) Check() error {
	for _, n := range []struct {
		r Range
		n int
	}{{MinimumLengthRange, p.MinimumLength}, {DifferentRange, p.Different}, {MaxAgeRange, p.MaxAge}, {ReuseRange, p.Reuse}, {LoginAttemptsRange, p.LoginAttempts}, {InitialAgeRange, p.InitialAge}} {
		if err := n.r.check(n.n); err != nil {
			return err
		}
	}
	return nil
}

// Faults about a new password under the policy of an account.
var (
	ErrPasswordLower     = fault.New(fault.Invalid, "password.lower").On("new_password")
	ErrPasswordUpper     = fault.New(fault.Invalid, "password.upper").On("new_password")
	ErrPasswordNumber    = fault.New(fault.Invalid, "password.number").On("new_password")
	ErrPasswordSymbol    = fault.New(fault.Invalid, "password.symbol").On("new_password")
	ErrPasswordDifferent = fault.New(fault.Invalid, "password.different").On("new_password")
	ErrPasswordUserName  = fault.New(fault.Invalid, "password.user_name").On("new_password")
	ErrPasswordReused    = fault.New(fault.Invalid, "password.reused").On("new_password")
)

// CheckUserPassword says whether password may become that of a RAM user: by
// the rules for everybody, and by the policy of the account. mfa says that a
// second factor is always asked.
func (p PasswordPolicy) CheckUserPassword(password string, mfa bool, userName string, context ...string) error {
	err := CheckPassword(password, mfa, append(slices.Clone(context), userName)...)
	if errors.Is(err, ErrPasswordShort) { // say what would do, not what is wrong next
		return ErrPasswordShort.With("Min", max(PasswordMin(mfa), p.MinimumLength))
	}
	if err != nil {
		return err
	}
	password = norm.NFC.String(password)
	different := map[rune]bool{}
	length, lower, upper, number, symbol := 0, false, false, false, false
	for _, r := range password {
		length++
		different[r] = true
		switch {
		case unicode.IsLower(r):
			lower = true
		case unicode.IsUpper(r):
			upper = true
		case unicode.IsDigit(r):
			number = true
		case !unicode.IsLetter(r):
			symbol = true
		}
	}
	switch {
	case length < p.MinimumLength:
		return ErrPasswordShort.With("Min", p.MinimumLength)
	case p.RequireLower && !lower:
		return ErrPasswordLower
	case p.RequireUpper && !upper:
		return ErrPasswordUpper
	case p.RequireNumbers && !number:
		return ErrPasswordNumber
	case p.RequireSymbols && !symbol:
		return ErrPasswordSymbol
	case len(different) < p.Different:
		return ErrPasswordDifferent.With("Min", p.Different)
	case p.NoUserName && userName != "" && strings.Contains(strings.ToLower(password), UserNameKey(userName)):
		return ErrPasswordUserName
	}
	return nil
}

// A Rule is one that the policy adds, as people are told: a message key, and
// its number.
type Rule struct {
	Key   string
	Count int
}

// Rules are those that the policy adds, beside the length.
func (p PasswordPolicy) Rules() (rules []Rule) {
	for _, r := range []struct {
		on bool
		Rule
	}{
		{p.RequireLower, Rule{Key: "lower"}}, {p.RequireUpper, Rule{Key: "upper"}}, {p.RequireNumbers, Rule{Key: "number"}}, {p.RequireSymbols, Rule{Key: "symbol"}},
		{p.Different > 0, Rule{"different", p.Different}}, {p.NoUserName, Rule{Key: "user_name"}}, {p.Reuse > 0, Rule{"reuse", p.Reuse}},
	} {
		if r.on {
			rules = append(rules, r.Rule)
		}
	}
	return rules
}

// InitialUntil is until when a password that an administrator sets now is good
// for a first sign-in; zero: without end. A generated one waits 72 hours at
// most.
func (p PasswordPolicy) InitialUntil(now time.Time, generated bool) time.Time {
	until := time.Time{}
	if p.InitialAge > 0 {
		until = now.Add(time.Duration(p.InitialAge) * 24 * time.Hour)
	}
	if most := now.Add(InitialLifetime); generated && (until.IsZero() || until.After(most)) {
		until = most
	}
	return until
}

// Expired reports whether a password changed at that time is too old at now.
func (p PasswordPolicy) Expired(changed, now time.Time) bool {
	return p.MaxAge > 0 && !now.Before(changed.Add(time.Duration(p.MaxAge)*24*time.Hour))
}
