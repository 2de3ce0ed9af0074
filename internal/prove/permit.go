package prove

import (
	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/store"
)

// Signed is someone signed in.
type Signed struct {
	Session  session.Session
	Identity account.Identity
}

// ErrVerifyFirst says that the action takes a verification of who is acting.
var ErrVerifyFirst = fault.New(fault.Unproven, "verify.first")

// Permit lets the session of s do what a demands, within the write that does
// it, and uses up the verification that a destructive action takes. It reads
// the session and identity again: what was granted may be gone by now.
func (p *Prover) Permit(tx *store.Tx, s Signed, a policy.Action) (account.Identity, error) {
	i, err := tx.Identity(s.Identity.ID)
	if err != nil {
		return i, err
	}
	if i.Epoch != s.Session.Epoch {
		return i, session.ErrSignedOut
	}
	decision, given, err := p.Decide(&tx.Reader, s, i, a)
	if err != nil {
		return i, err
	}
	if err := Refusal(decision); err != nil {
		return i, err
	}
	if a.Destructive && given.ID != "" { // none where the scenario asks for nothing
		return i, tx.UseVerification(given.ID, ErrVerifyFirst)
	}
	return i, nil
}

// Refusal is what stands between somebody signed in and an action: a
// verification, or the reason why none would help. nil: nothing.
func Refusal(d policy.Decision) error {
	switch {
	case d.Step == policy.Complete:
		return nil
	case d.Reason != nil:
		return d.Reason
	}
	return ErrVerifyFirst
}

// Decide asks the policy about an action in a session.
func (p *Prover) Decide(r *store.Reader, s Signed, i account.Identity, a policy.Action) (policy.Decision, policy.Given, error) {
	now := p.DB.Now()
	facts, err := r.Facts(i, s.Session.Proofs)
	if err != nil {
		return policy.Decision{}, policy.Given{}, err
	}
	given, err := r.Verifications(s.Session.ID, now.Add(-policy.Freshness))
	if err != nil {
		return policy.Decision{}, policy.Given{}, err
	}
	d, g := policy.Permit(a, facts, given, now)
	return d, g, nil
}
