package signin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// until is when a session that is opened now ends at the latest.
func (f *Flow) until(now time.Time, i account.Identity, facts policy.Facts, d policy.Decision) time.Time {
	if i.IsOwner() {
		return now.Add(f.Lifetimes.Overall)
	}
	until := now.Add(facts.Settings.SessionLength())
	if d.Grace && facts.Settings.GraceUntil.Before(until) {
		until = facts.Settings.GraceUntil
	}
	return until
}

// recheck asks the policy again about a session, when what the account asks
// has changed since: it goes on, or it ends.
func (f *Flow) recheck(ctx context.Context, s session.Session) (session.Session, error) {
	var refusal error
	actor := audit.Actor{Kind: "system", Name: "policy"}
	err := f.DB.Write(ctx, actor.Quietly(), func(tx *store.Tx) error {
		refusal = nil
		i, err := tx.Identity(s.Identity)
		if err != nil {
			return err
		}
		facts, err := tx.Facts(i, s.Proofs)
		if err != nil {
			return err
		}
		lastCode(&facts)
		address, _ := netip.ParseAddr(s.Address)
		facts.Circumstances = policy.Circumstances{Now: tx.Now, Address: address, Unusual: s.Unusual != ""}
		if facts.Remembered, err = tx.Rests(s); err != nil {
			return err
		}
		d := policy.Holds(facts)
		until := s.ExpiresAt
		if length := f.until(s.CreatedAt, i, facts, d); length.Before(until) {
			until = length
		}
		if d.Step == policy.Complete && tx.Now.Before(until) {
			s.ExpiresAt, s.Stale = until, false
			return tx.HoldSession(s.ID, until)
		}
		refusal = session.ErrRulesChanged
		if err := tx.EndSession(i.ID, s.ID, session.ErrSignedOut); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.SessionEnd, Identity: i.ID, Target: s.ID, Details: map[string]string{"why": "policy"}})
	})
	if errors.Is(err, store.ErrNoRow) {
		err = session.ErrSignedOut
	}
	if err == nil {
		err = refusal
	}
	return s, err
}

// Signed returns who is signed in with a token.
func (f *Flow) Signed(ctx context.Context, token secret.Token) (prove.Signed, error) {
	now := f.DB.Now()
	s, err := f.DB.Read(ctx).Session(token.Hash())
	if errors.Is(err, store.ErrNoRow) || (err == nil && !s.Live(now, f.Lifetimes)) {
		return prove.Signed{}, session.ErrSignedOut
	}
	if err != nil {
		return prove.Signed{}, err
	}
	if s.Stale {
		if s, err = f.recheck(ctx, s); err != nil {
			return prove.Signed{}, err
		}
		f.DB.ForgetSession(token.Hash())
	}
	if now.Sub(s.LastSeenAt) >= session.SeenEvery {
		if err := f.seeing.see(ctx, f.DB, s.ID); err != nil {
			return prove.Signed{}, fmt.Errorf("note the session: %w", err)
		}
		f.DB.ForgetSession(token.Hash())
	}
	return prove.Signed{Session: s}, nil
}

// Who completes a session with its identity, for pages.
func (f *Flow) Who(ctx context.Context, token secret.Token) (prove.Signed, error) {
	s, err := f.Signed(ctx, token)
	if err != nil {
		return s, err
	}
	s.Identity, err = f.DB.Read(ctx).Identity(s.Session.Identity)
	return s, err
}

// SignOut ends the session of a token, and its browser is a remembered device
// no longer; ending none is no fault.
func (f *Flow) SignOut(ctx context.Context, v prove.Visitor, token secret.Token) error {
	return f.leave(ctx, v, token, true)
}

// Replace ends the session of a token which gives way to another in the same
// browser: nobody has signed out of that.
func (f *Flow) Replace(ctx context.Context, v prove.Visitor, token secret.Token) error {
	return f.leave(ctx, v, token, false)
}

func (f *Flow) leave(ctx context.Context, v prove.Visitor, token secret.Token, out bool) error {
	s, err := f.Who(ctx, token)
	if errors.Is(err, session.ErrSignedOut) {
		if out {
			return f.signOutUnsigned(ctx, v)
		}
		return nil
	}
	if err != nil {
		return err
	}
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		event := audit.Event{Account: s.Session.Account, Name: audit.ConsoleSignout, Identity: s.Identity.ID, Target: s.Session.ID}
		if out {
			forgot, err := forgetHere(tx, v, s.Session)
			if err != nil {
				return err
			}
			if forgot != "" {
				event.Details = map[string]string{"forgot": forgot}
			}
		}
		if err := tx.EndSession(s.Identity.ID, s.Session.ID, session.ErrSignedOut); err != nil {
			return err
		}
		return tx.Record(event)
	})
	if errors.Is(err, session.ErrSignedOut) {
		return nil
	}
	return err
}
