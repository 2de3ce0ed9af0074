package factor

import (
	"fmt"
	"io"
	"strings"

	"countersign/internal/fault"
)

// Recovery codes: ten at a time, 68 random bits each, so that a plain hash
// cannot be searched and guessing needs no count (NIST SP 800-63B-4 §4.2.1.1).
const (
	RecoveryCodes  = 10
	recoveryLength = 14
	recoveryGroup  = 7
	// Without 0 O 1 I L U: nothing that looks like something else.
	recoveryAlphabet = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
)

// Faults about recovery codes.
var (
	ErrRecoveryForm  = fault.New(fault.Invalid, "recovery.form").On("code")
	ErrRecoveryWrong = fault.New(fault.Unproven, "recovery.wrong").On("code")
)

// NewRecoveryCodes draws a set of codes, in the form in which they are shown:
// XXXXXXX-XXXXXXX.
func NewRecoveryCodes(random io.Reader) ([]string, error) {
	codes := make([]string, RecoveryCodes)
	for i := range codes {
		var b strings.Builder
		for n := 0; n < recoveryLength; {
			var c [1]byte
			if _, err := io.ReadFull(random, c[:]); err != nil {
				return nil, fmt.Errorf("draw recovery codes: %w", err)
			}
			if int(c[0]) >= 256-256%len(recoveryAlphabet) {
				continue // an even chance for every letter
			}
			if n == recoveryGroup {
				b.WriteByte('-')
			}
			b.WriteByte(recoveryAlphabet[int(c[0])%len(recoveryAlphabet)])
			n++
		}
		codes[i] = b.String()
	}
	return codes, nil
}

// ParseRecoveryCode takes a recovery code as typed and returns it as shown.
func ParseRecoveryCode(s string) (string, error) {
	s = strings.ToUpper(NormalCode(s))
	if s == "" {
		return "", ErrCodeMissing
	}
	if len(s) != recoveryLength || strings.Trim(s, recoveryAlphabet) != "" {
		return "", ErrRecoveryForm
	}
	return s[:recoveryGroup] + "-" + s[recoveryGroup:], nil
}
