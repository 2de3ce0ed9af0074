package admin

import "countersign/internal/domain/account"

// Generate is generate, for tests.
func (f *Flow) Generate(p account.PasswordPolicy, userName string) (string, error) {
	return f.generate(p, userName)
}
