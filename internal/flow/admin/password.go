package admin

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"countersign/internal/domain/account"
)

// A generated password is read aloud and typed once: groups of four, the first
// in capital letters, without what looks like something else. Five groups have
// 97 random bits.
const (
	passwordLetters = "ABCDEFGHJKMNPQRSTUVWXYZ"
	passwordSigns   = "abcdefghjkmnpqrstuvwxyz23456789"
	passwordGroup   = 4
	passwordLength  = 5*passwordGroup + 4
)

// generate draws a password that suits every policy there can be, and so this
// one, for a user of the name.
func (f *Flow) generate(p account.PasswordPolicy, userName string) (string, error) {
	strict := account.PasswordPolicy{MinimumLength: max(passwordLength, p.MinimumLength), RequireLower: true, RequireUpper: true, RequireNumbers: true, RequireSymbols: true,
		Different: account.DifferentRange.Max, NoUserName: true}
	between := byte('-')
	if strings.Contains(userName, "-") { // a short name may be nothing else
		between = '.'
	}
	if strings.Contains(userName, ".") {
		between = '+'
	}
	length := strict.MinimumLength
	if length%(passwordGroup+1) == 0 { // it would end between two groups
		length++
	}
	for range 10_000 {
		password := make([]byte, 0, length)
		for len(password) < length {
			from := passwordSigns
			if len(password) < passwordGroup {
				from = passwordLetters
			}
			if len(password)%(passwordGroup+1) == passwordGroup {
				password = append(password, between)
				continue
			}
			sign, err := f.sign(from)
			if err != nil {
				return "", err
			}
			password = append(password, sign)
		}
		if strict.CheckUserPassword(string(password), false, userName, "countersign", f.Service.Name) == nil {
			return string(password), nil
		}
	}
	return "", errors.New("admin: no password suits the policy")
}

// sign draws one of a few signs, each equally likely.
func (f *Flow) sign(from string) (byte, error) {
	for {
		var b [1]byte
		if _, err := io.ReadFull(f.Random, b[:]); err != nil {
			return 0, fmt.Errorf("draw a password: %w", err)
		}
		if int(b[0]) < 256-256%len(from) {
			return from[int(b[0])%len(from)], nil
		}
	}
}
