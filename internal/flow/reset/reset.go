package reset

import (
	"context"
	"errors"
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Faults about links that lead to a new password.
var (
	ErrGone    = fault.New(fault.Expired, "reset.gone")
	ErrRefused = fault.New(fault.Forbidden, "reset.refused")
	ErrStep    = fault.New(fault.Conflict, "reset.step")
)

// A Progress says where a reset stands.
type Progress struct {
	prove.Asked
	Step     policy.Step // Verify or NewPassword
	Ceremony string      // its id, which is no secret
	Token    secret.Token
	Name     string // whose password it is, masked until a second factor was shown
	RAM      bool
	Facts    policy.Facts
}

// link finds the open link of a token's hash, and whose it is.
func (f *Flow) link(r *store.Reader, now time.Time, hash []byte) (i account.Identity, l store.Link, err error) {
	l, err = r.Link(store.ResetLink, hash)
	if err == nil {
		i, err = r.Identity(l.Identity)
	}
	if errors.Is(err, store.ErrNoRow) {
		return i, l, ErrGone
	}
	if err != nil {
		return i, l, err
	}
	if !l.UsedAt.IsZero() || !now.Before(l.ExpiresAt) || l.Epoch != i.Epoch {
		return i, l, ErrGone
	}
	address, refusal, err := mailbox(r, i)
	if err == nil && (refusal != nil || addressHash(address) != l.Event) {
		err = ErrGone
	}
	return i, l, err
}

// Look says whose password a link leads to, masked. It changes nothing:
// programs open links too.
func (f *Flow) Look(ctx context.Context, token secret.Token) (name string, err error) {
	i, _, err := f.link(f.DB.Read(ctx), f.DB.Now(), token.Hash())
	return account.MaskEmail(i.Name()), err
}

// Begin starts the reset that a link leads to.
func (f *Flow) Begin(ctx context.Context, v prove.Visitor, link secret.Token) (p Progress, err error) {
	token, err := secret.NewToken(f.Random)
	if err != nil {
		return p, err
	}
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		i, _, err := f.link(&tx.Reader, tx.Now, link.Hash())
		if err != nil {
			return err
		}
		c := ceremony.Ceremony{Kind: ceremony.Reset, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, TokenHash: token.Hash(), TriesLeft: throttle.CeremonyTries,
			Proofs: []factor.Proof{{Method: factor.Email, At: tx.Now}}, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.SessionLifetime), Private: ceremony.Private{Link: link.Hash()}}
		if c.ID, err = f.DB.NewID(); err != nil {
			return err
		}
		if err := tx.AddCeremony(c); err != nil {
			return err
		}
		p, err = f.progress(tx, v, i, c)
		return err
	})
	p.Token = token
	return p, err
}

// progress says where a reset stands.
func (f *Flow) progress(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony) (p Progress, err error) {
	facts, d, err := f.decide(tx, i, c)
	if err != nil {
		return p, err
	}
	p = Progress{Step: d.Step, Ceremony: c.ID, Name: account.MaskEmail(i.Name()), RAM: !i.IsOwner(), Facts: facts}
	if d.Step == policy.Verify {
		p.Asked, err = f.Ask(tx, v, i, c, d.Methods)
	} else {
		p.Name = i.Name()
	}
	return p, err
}

// decide asks the policy what is still needed. Who has no try left may go on if
// that is no proof: the last one was right.
func (f *Flow) decide(tx *store.Tx, i account.Identity, c ceremony.Ceremony) (policy.Facts, policy.Decision, error) {
	facts, err := tx.Facts(i, c.Proofs)
	if err != nil {
		return facts, policy.Decision{}, err
	}
	if slices.ContainsFunc(c.Proofs, func(p factor.Proof) bool { return p.Method == factor.RecoveryCode }) {
		facts.RecoveryCodes = max(facts.RecoveryCodes, 1) // it was there when it was shown
	}
	d := policy.Reset(facts)
	if d.Step == policy.Verify && c.TriesLeft <= 0 {
		return facts, d, ceremony.ErrNoTries
	}
	if d.Step == policy.Refuse {
		return facts, d, ErrRefused
	}
	return facts, d, nil
}

// ceremony finds the reset of a token, with its identity, while its link is good.
func (f *Flow) ceremony(tx *store.Tx, token secret.Token) (c ceremony.Ceremony, i account.Identity, err error) {
	c, err = tx.CeremonyByToken(ceremony.Reset, token.Hash())
	if errors.Is(err, store.ErrNoRow) {
		return c, i, ceremony.ErrGone
	}
	if err == nil && !tx.Now.Before(c.ExpiresAt) {
		err = ceremony.ErrGone
	}
	if err == nil {
		i, _, err = f.link(&tx.Reader, tx.Now, c.Private.Link)
	}
	if err == nil && (i.ID != c.Identity || i.Epoch != c.Epoch) {
		err = ceremony.ErrGone
	}
	return c, i, err
}

// State says where the reset of a token stands.
func (f *Flow) State(ctx context.Context, v prove.Visitor, token secret.Token) (p Progress, err error) {
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		c, i, err := f.ceremony(tx, token)
		if err == nil {
			p, err = f.progress(tx, v, i, c)
		}
		return err
	})
	return p, err
}

// allowed refuses a method that does not take the present step, and writes the
// attempt down.
func (f *Flow) allowed(ctx context.Context, v prove.Visitor, token secret.Token, m factor.Method) (c ceremony.Ceremony, i account.Identity, err error) {
	var d policy.Decision
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		if c, i, err = f.ceremony(tx, token); err == nil {
			_, d, err = f.decide(tx, i, c)
		}
		return err
	})
	switch {
	case err != nil:
		return c, i, err
	case d.Step != policy.Verify:
		return c, i, ErrStep
	case d.Allows(m):
		return c, i, nil
	}
	err = f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		return tx.Record(audit.Event{Account: i.Account, Name: audit.PasswordReset, Identity: i.ID, Refused: policy.ErrMethod.Code, Details: map[string]string{"method": audit.Clip(string(m), 40)}})
	})
	return c, i, errors.Join(err, policy.ErrMethod)
}

// Send sends a code by the method chosen.
func (f *Flow) Send(ctx context.Context, v prove.Visitor, token secret.Token, m factor.Method) error {
	c, i, err := f.allowed(ctx, v, token, m)
	if err != nil {
		return err
	}
	own := func(tx *store.Tx) (prove.Destination, error) { return prove.DestinationOf(&tx.Reader, i, m) }
	return f.Deliver(ctx, v, i, c, own, message.Purpose{Key: "reset_password"})
}

// Answer takes a proof of something beside the mailbox.
func (f *Flow) Answer(ctx context.Context, v prove.Visitor, token secret.Token, answer prove.Answer) (p Progress, err error) {
	c, i, err := f.allowed(ctx, v, token, answer.Method)
	if err != nil {
		return p, err
	}
	event := audit.Event{Name: audit.PasswordReset, Target: c.ID}
	err = f.Check(ctx, v, v.Actor(), i, c.ID, answer, event, func(tx *store.Tx, proof factor.Proof) error {
		c, i, err := f.ceremony(tx, token)
		if err != nil {
			return err
		}
		c.Proofs = append(c.Proofs, proof)
		if err := tx.SaveProofs(c.ID, c.Proofs, ceremony.ErrGone); err != nil {
			return err
		}
		if proof.Method == factor.RecoveryCode {
			if err := tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryCodeUse, Identity: i.ID}); err != nil {
				return err
			}
			if err := f.Notify(tx, v, i, message.RecoveryCodeUsed); err != nil {
				return err
			}
		}
		if p, err = f.progress(tx, v, i, c); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.IdentityVerify, Identity: i.ID, Target: "reset-password", Details: map[string]string{"method": string(proof.Method)}})
	})
	return p, err
}

// SetPassword sets the new password, and ends whatever was granted under the
// one before. It signs nobody in.
func (f *Flow) SetPassword(ctx context.Context, v prove.Visitor, token secret.Token, password string) (ram string, err error) {
	due := func(tx *store.Tx) (c ceremony.Ceremony, i account.Identity, facts policy.Facts, err error) {
		if c, i, err = f.ceremony(tx, token); err != nil {
			return c, i, facts, err
		}
		facts, d, err := f.decide(tx, i, c)
		if err == nil && d.Step != policy.NewPassword {
			err = ErrStep
		}
		return c, i, facts, err
	}
	var i account.Identity
	var facts policy.Facts
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		_, i, facts, err = due(tx)
		return err
	})
	if err != nil {
		return "", err
	}
	hash, err := f.NewPassword(ctx, i, facts, password, "")
	if err != nil {
		return "", err
	}
	err = f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		c, i, facts, err := due(tx)
		if err != nil {
			return err
		}
		if err := tx.UseLink(store.ResetLink, c.Private.Link, ErrGone); err != nil {
			return err
		}
		if err := f.Prover.SetPassword(tx, i, facts, hash, account.LongEnoughAlone(password)); err != nil {
			return err
		}
		if i.Epoch, err = tx.RaiseEpoch(i.ID, ""); err != nil {
			return err
		}
		methods := make([]string, 0, len(c.Proofs))
		for _, p := range c.Proofs {
			methods = append(methods, string(p.Method))
		}
		if err := f.Notify(tx, v, i, message.PasswordReset); err != nil {
			return err
		}
		ram = i.Domain
		return tx.Record(audit.Event{Account: i.Account, Name: audit.PasswordReset, Identity: i.ID, Details: map[string]string{"method": methods[len(methods)-1]}})
	})
	return ram, err
}
