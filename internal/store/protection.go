package store

import (
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

// Facts returns what policy needs to know about an identity.
func (r *Reader) Facts(i account.Identity, proofs []factor.Proof) (policy.Facts, error) {
	f := policy.Facts{Role: i.Role, EmailConfirmed: !i.EmailConfirmedAt.IsZero(), Proofs: proofs}
	var scenarios string
	var since, changed int64
	err := r.row(`SELECT EXISTS (SELECT 1 FROM virtual_mfa WHERE account_id = $1 AND identity_id = $2), EXISTS (SELECT 1 FROM phone WHERE account_id = $1 AND identity_id = $2),
			(SELECT count(*) FROM recovery_code WHERE account_id = $1 AND identity_id = $2 AND used_at = 0),
			COALESCE(p.scenarios, ''), COALESCE(p.method, ''), COALESCE(p.since, 0), COALESCE(p.changed_at, 0)
		FROM identity i LEFT JOIN account_protection p ON p.account_id = i.account_id AND i.role = 'owner' WHERE i.account_id = $1 AND i.id = $2`,
		[]any{i.Account, i.ID}, &f.VirtualMFA, &f.Phone, &f.RecoveryCodes, &scenarios, &f.Protection.Method, &since, &changed)
	for s := range strings.FieldsSeq(scenarios) {
		f.Protection.Scenarios = append(f.Protection.Scenarios, policy.Scenario(s))
	}
	f.Protection.Since, f.Protection.ChangedAt = instant(since), instant(changed)
	return f, err
}

// SetProtection keeps what the owner of an account chose.
func (tx *Tx) SetProtection(a account.ID, p policy.Protection) error {
	words := make([]string, len(p.Scenarios))
	for n, s := range p.Scenarios {
		words[n] = string(s)
	}
	_, err := tx.exec(`INSERT INTO account_protection (account_id, scenarios, method, since, changed_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (account_id) DO UPDATE SET scenarios = $2, method = $3, changed_at = $4`, a, strings.Join(words, " "), p.Method, micros(tx.Now))
	return err
}

// RemoveProtection turns protection off; gone is returned when it was not on.
func (tx *Tx) RemoveProtection(a account.ID, gone error) error {
	return tx.one(gone, "DELETE FROM account_protection WHERE account_id = $1", a)
}
