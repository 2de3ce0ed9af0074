package store

import (
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

// isRecovering reports whether the operator's recovery of i is open at $2.
const isRecovering = "EXISTS (SELECT 1 FROM enrolment e WHERE e.account_id = i.account_id AND e.identity_id = i.id AND e.kind = 'recover' AND e.opens_at <= $2 AND e.expires_at > $2)"

// facts are those about i that the row tells.
func (p *possessed) facts(i account.Identity, now time.Time) policy.Facts {
	return policy.Facts{Role: i.Role, EmailConfirmed: !i.EmailConfirmedAt.IsZero(), VirtualMFA: p.virtualMFA, Phone: p.phone, SecurityEmail: p.mailbox, Passkeys: p.passkeys, U2F: p.u2f, RecoveryCodes: p.codes,
		Profile: p.loginProfile(), PasswordChangedAt: i.PasswordChangedAt, Reenrol: p.reenrol, Distrusted: !i.DistrustedAt.IsZero(), Circumstances: policy.Circumstances{Now: now}}
}

// Facts returns what policy needs to know about an identity now. A session
// that this write makes or holds counts as checked against these settings.
func (r *Reader) Facts(i account.Identity, proofs []factor.Proof) (policy.Facts, error) {
	now := r.now()
	var row possessed
	var protection policy.Protection
	var scenarios, content string
	var since, changed, password, epoch int64
	var recovering, distrusted bool
	err := r.row("SELECT "+possessions+", "+isRecovering+`, i.password_changed_at, i.distrusted_at > 0, a.policy_epoch, COALESCE(s.content, ''),
			COALESCE(ap.scenarios, ''), COALESCE(ap.method, ''), COALESCE(ap.since, 0), COALESCE(ap.changed_at, 0)
		FROM identity i JOIN account a ON a.id = i.account_id`+joinProfile+`
		LEFT JOIN account_settings s ON s.account_id = i.account_id LEFT JOIN account_protection ap ON ap.account_id = i.account_id AND i.role = 'owner'
		WHERE i.account_id = $1 AND i.id = $3`,
		[]any{i.Account, micros(now), i.ID}, append(row.targets(), &recovering, &password, &distrusted, &epoch, &content, &scenarios, &protection.Method, &since, &changed)...)
	if err != nil {
		return policy.Facts{}, err
	}
	for s := range strings.FieldsSeq(scenarios) {
		protection.Scenarios = append(protection.Scenarios, policy.Scenario(s))
	}
	protection.Since, protection.ChangedAt = instant(since), instant(changed)
	if before, ok := r.epochs[i.Account]; r.epochs != nil && (!ok || epoch < before) {
		r.epochs[i.Account] = epoch
	}
	f := row.facts(i, now)
	f.Protection, f.Proofs, f.Recovering, f.PasswordChangedAt, f.Distrusted = protection, proofs, recovering, instant(password), distrusted
	f.Settings, err = readSettings(content)
	return f, err
}

// SetProtection keeps what the owner of an account chose.
func (tx *Tx) SetProtection(a account.ID, p policy.Protection) error {
	words := make([]string, len(p.Scenarios))
	for n, s := range p.Scenarios {
		words[n] = string(s)
	}
	return tx.later(`INSERT INTO account_protection (account_id, scenarios, method, since, changed_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (account_id) DO UPDATE SET scenarios = $2, method = $3, changed_at = $4`, a, strings.Join(words, " "), p.Method, micros(tx.Now))
}

// RemoveProtection turns protection off; gone is returned when it was not on.
func (tx *Tx) RemoveProtection(a account.ID, gone error) error {
	return tx.one(gone, "DELETE FROM account_protection WHERE account_id = $1", a)
}
