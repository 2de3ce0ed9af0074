// Package verify lets someone signed in prove again who they are, before a
// change that takes it.
package verify

import (
	"context"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Flow verifies people who are signed in.
type Flow struct {
	*prove.Prover
}

// ErrNoTries says that the verification must be begun again.
var ErrNoTries = fault.New(fault.Expired, "verify.no_tries")

// A Question is one verification under way.
type Question struct {
	prove.Asked
	ID       string
	Action   policy.Action
	ReturnTo string
}

// Needed reports whether the action takes a verification first.
func (f *Flow) Needed(ctx context.Context, s prove.Signed, a policy.Action) (bool, error) {
	d, _, err := f.Decide(f.DB.Read(ctx), s, s.Identity, a)
	if err == nil && d.Reason != nil {
		err = d.Reason // no verification would help
	}
	return d.Step != policy.Complete, err
}

// Begin starts a verification for the action, or goes on with the one that is
// open for it, and returns its id.
func (f *Flow) Begin(ctx context.Context, v prove.Visitor, s prove.Signed, a policy.Action, returnTo string) (id string, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		open, err := tx.OpenCeremonies(ceremony.Verify, s.Session.ID, tx.Now)
		if err != nil {
			return err
		}
		for _, c := range open {
			if c.Action == a && c.ReturnTo == returnTo && tx.Now.Before(c.CreatedAt.Add(ceremony.Lifetime)) {
				id = c.ID
				return nil
			}
		}
		if id, err = f.DB.NewID(); err != nil {
			return err
		}
		return tx.AddCeremony(ceremony.Ceremony{ID: id, Kind: ceremony.Verify, Account: s.Identity.Account, Identity: s.Identity.ID, Epoch: s.Session.Epoch, Session: s.Session.ID,
			TriesLeft: throttle.CeremonyTries, ReturnTo: returnTo, Action: a, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.SessionLifetime)})
	})
	return id, err
}

func (f *Flow) open(r *store.Reader, now time.Time, s prove.Signed, id string) (c ceremony.Ceremony, i account.Identity, d policy.Decision, err error) {
	c, err = r.CeremonyOfSession(ceremony.Verify, id, s.Session.ID) // first, as in prove.Check: they lock in one order
	if errors.Is(err, store.ErrNoRow) {
		return c, i, d, ceremony.ErrGone
	}
	if err != nil {
		return c, i, d, err
	}
	if i, err = r.Identity(s.Identity.ID); err != nil {
		return c, i, d, err
	}
	if !now.Before(c.ExpiresAt) || i.Epoch != c.Epoch {
		return c, i, d, ceremony.ErrGone
	}
	d, _, err = f.Decide(r, s, i, c.Action)
	return c, i, d, err
}

// State says what is asked.
func (f *Flow) State(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (q Question, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		c, i, d, err := f.open(&tx.Reader, tx.Now, s, id)
		if err == nil {
			err = again(c.Open(tx.Now))
		}
		if err != nil {
			return err
		}
		q = Question{ID: c.ID, Action: c.Action, ReturnTo: c.ReturnTo}
		if d.Step == policy.Complete { // verified in another tab: nothing is asked
			return nil
		}
		q.Asked, err = f.Ask(tx, v, i, c, d.Methods)
		return err
	})
	return q, err
}

// allowed refuses a method that does not count here, and writes the attempt down.
func (f *Flow) allowed(ctx context.Context, v prove.Visitor, s prove.Signed, id string, m factor.Method) (c ceremony.Ceremony, i account.Identity, err error) {
	now := f.DB.Now()
	var d policy.Decision
	if c, i, d, err = f.open(f.DB.Read(ctx), now, s, id); err == nil {
		err = again(c.Open(now))
	}
	if err != nil || d.Allows(m) {
		return c, i, err
	}
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		return tx.Record(audit.Event{Account: i.Account, Name: audit.IdentityVerify, Identity: i.ID, Target: string(c.Action.Scenario), Refused: policy.ErrMethod.Code})
	})
	return c, i, errors.Join(err, policy.ErrMethod)
}

// Send sends a code by the method chosen to the identity's own address. The
// message names the action and its object.
func (f *Flow) Send(ctx context.Context, v prove.Visitor, s prove.Signed, id string, m factor.Method) error {
	c, i, err := f.allowed(ctx, v, s, id, m)
	if err != nil {
		return err
	}
	own := func(tx *store.Tx) (prove.Destination, error) { return prove.DestinationOf(&tx.Reader, i, m) }
	return f.Deliver(ctx, v, i, c, own, message.Purpose{Key: c.Action.Name, Object: c.Action.Called(v.Locale.T)})
}

// Answer verifies. The session gets a new token, and the place to go on at is
// returned with it.
func (f *Flow) Answer(ctx context.Context, v prove.Visitor, s prove.Signed, id string, answer prove.Answer) (returnTo string, token secret.Token, err error) {
	c, i, err := f.allowed(ctx, v, s, id, answer.Method)
	if err != nil {
		return "", token, err
	}
	if token, err = secret.NewToken(f.Random); err != nil {
		return "", token, err
	}
	event := audit.Event{Name: audit.IdentityVerify, Target: string(c.Action.Scenario)}
	err = f.Check(ctx, v, v.As(i), i, c.ID, answer, event, func(tx *store.Tx, proof factor.Proof) error {
		c, i, _, err := f.open(&tx.Reader, tx.Now, s, id)
		if err != nil {
			return err
		}
		given, err := f.DB.NewID()
		if err != nil {
			return err
		}
		if err := tx.EndCeremony(c.ID, ceremony.ErrGone); err != nil {
			return err
		}
		if err := tx.AddVerification(s.Session.ID, policy.Given{ID: given, Scenario: c.Action.Scenario, Action: c.Action.Name, Target: c.Action.Target, Method: proof.Method, At: proof.At}); err != nil {
			return err
		}
		if err := tx.RenewSession(s.Session.ID, token.Hash(), session.ErrSignedOut); err != nil {
			return err
		}
		if proof.Method == factor.RecoveryCode {
			if err := f.Notify(tx, v, i, message.RecoveryCodeUsed); err != nil {
				return err
			}
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.IdentityVerify, Identity: i.ID, Target: string(c.Action.Scenario), Details: map[string]string{"method": string(proof.Method), "object": c.Action.Target, "action": c.Action.Name}})
	})
	return c.ReturnTo, token, again(err)
}

// again says where to begin again: not at the password, as in a sign-in.
func again(err error) error {
	if errors.Is(err, ceremony.ErrNoTries) {
		return ErrNoTries
	}
	return err
}
