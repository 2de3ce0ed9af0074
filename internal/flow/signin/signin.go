// Package signin takes a visitor to a session.
package signin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
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

// A Flow signs people in.
type Flow struct {
	*prove.Prover
	Lifetimes session.Lifetimes
}

// ErrRefused says that nothing this identity has is allowed here.
var ErrRefused = fault.New(fault.Forbidden, "signin.refused")

// MaxDevices is how many identities a browser is known for.
const MaxDevices = 5

// A Progress says where a sign-in stands.
type Progress struct {
	prove.Asked
	Step      policy.Step
	Ceremony  string       // its id, which is no secret
	Token     secret.Token // set when the ceremony is new
	Name      string       // who signs in
	ExpiresAt time.Time
	ReturnTo  string

	Session *New // when complete
}

// New is a session just made.
type New struct {
	Session  session.Session
	Identity account.Identity
	Token    secret.Token
	Devices  []secret.Token // known-device cookies of the browser from now on; nil: unchanged
}

// Begin starts a sign-in with a user name and a password.
func (f *Flow) Begin(ctx context.Context, v prove.Visitor, name, password, returnTo string) (Progress, error) {
	var done Progress
	err := f.SignInPassword(ctx, v, name, password, func(tx *store.Tx, i account.Identity, proof factor.Proof) error {
		c := ceremony.Ceremony{Kind: ceremony.SignIn, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Proofs: []factor.Proof{proof}, TriesLeft: throttle.CeremonyTries, ReturnTo: LocalPath(returnTo)}
		var err error
		done, err = f.advance(tx, v, i, c)
		return err
	})
	return done, err
}

// advance asks the policy what comes next and does it, within a write: the
// session, or the ceremony with the proofs it has so far.
func (f *Flow) advance(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony) (p Progress, err error) {
	facts, err := tx.Facts(i, c.Proofs)
	if err != nil {
		return p, err
	}
	decision := policy.SignIn(facts)
	p = Progress{Step: decision.Step, Ceremony: c.ID, Name: i.Name(), ReturnTo: c.ReturnTo, ExpiresAt: c.ExpiresAt}
	switch decision.Step {
	case policy.Complete:
		p.Session, err = f.open(tx, v, i, c.Proofs)
		return p, err
	case policy.Refuse:
		return p, ErrRefused
	}
	if c.ID != "" {
		if err := tx.SaveProofs(c.ID, c.Proofs, ceremony.ErrGone); err != nil {
			return p, err
		}
		p.Asked, err = f.ask(tx, v, i, c, facts, decision)
		return p, err
	}
	if c.ID, err = f.DB.NewID(); err != nil {
		return p, err
	}
	if p.Token, err = secret.NewToken(f.Random); err != nil {
		return p, err
	}
	c.TokenHash, c.CreatedAt, c.ExpiresAt = p.Token.Hash(), tx.Now, tx.Now.Add(ceremony.Lifetime)
	p.Ceremony, p.ExpiresAt = c.ID, c.ExpiresAt
	if err := tx.AddCeremony(c); err != nil {
		return p, err
	}
	if p.Asked, err = f.ask(tx, v, i, c, facts, decision); err != nil {
		return p, err
	}
	return p, tx.Record(audit.Event{Account: i.Account, Name: audit.PasswordAccepted, Identity: i.ID, Target: c.ID})
}

// ask offers the method first that the owner chose for signing in, else the
// one that was used last: people have it at hand.
func (f *Flow) ask(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony, facts policy.Facts, d policy.Decision) (prove.Asked, error) {
	asked, err := f.Ask(tx, v, i, c, d.Methods)
	chosen := func(o prove.Offer) int {
		if facts.Protection.Covers(policy.SignInScenario) && o.Method == facts.Protection.Method {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(asked.Offers, func(a, b prove.Offer) int {
		return cmp.Or(chosen(a)-chosen(b), b.LastUsedAt.Compare(a.LastUsedAt))
	})
	return asked, err
}

// open makes the session of a sign-in that is complete.
func (f *Flow) open(tx *store.Tx, v prove.Visitor, i account.Identity, proofs []factor.Proof) (*New, error) {
	token, err := secret.NewToken(f.Random)
	if err != nil {
		return nil, err
	}
	id, err := f.DB.NewID()
	if err != nil {
		return nil, err
	}
	s := session.Session{ID: id, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Proofs: proofs,
		CreatedAt: tx.Now, LastSeenAt: tx.Now, ExpiresAt: tx.Now.Add(f.Lifetimes.Overall), Address: v.Address.String(), UserAgent: clip(v.UserAgent, 400)}
	if err := tx.AddSession(s, token.Hash()); err != nil {
		return nil, err
	}
	if i.Locale == "" {
		if err := tx.SetLocale(i.ID, v.Locale.Tag); err != nil {
			return nil, err
		}
	}
	n := &New{Session: s, Identity: i, Token: token}
	claims := policy.ClaimsOf(proofs)
	if claims.ACR == policy.LevelMFA || claims.ACR == policy.LevelRestricted {
		if n.Devices, err = f.remember(tx, v, i); err != nil {
			return nil, err
		}
	} else if err := f.clear(tx, v, i); err != nil {
		return nil, err
	}
	return n, tx.Record(audit.Event{Account: i.Account, Name: audit.ConsoleSignin, Identity: i.ID, Target: id,
		Details: map[string]string{"amr": strings.Join(claims.AMR, " "), "acr": claims.ACR}})
}

// clear forgets the failures of a known browser: the sign-in is complete.
func (f *Flow) clear(tx *store.Tx, v prove.Visitor, i account.Identity) error {
	for _, token := range v.Devices {
		d, err := tx.KnownDevice(i.ID, token.Hash())
		known, err := store.HasRow(err)
		if err == nil && known {
			err = tx.ClearKnownDevice(d.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remember makes the browser known, or gives the known one a new cookie.
func (f *Flow) remember(tx *store.Tx, v prove.Visitor, i account.Identity) ([]secret.Token, error) {
	token, err := secret.NewToken(f.Random)
	if err != nil {
		return nil, err
	}
	devices := []secret.Token{token}
	rotated := false
	for _, old := range v.Devices {
		d, err := tx.KnownDevice(i.ID, old.Hash())
		known, err := store.HasRow(err)
		if err != nil {
			return nil, err
		}
		if !known {
			if len(devices) < MaxDevices {
				devices = append(devices, old)
			}
			continue
		}
		if rotated {
			err = tx.DropKnownDevice(d.ID)
		} else {
			err = tx.RotateKnownDevice(d.ID, token.Hash())
		}
		if err != nil {
			return nil, err
		}
		rotated = true
	}
	if rotated {
		return devices, nil
	}
	id, err := f.DB.NewID()
	if err != nil {
		return nil, err
	}
	return devices, tx.AddKnownDevice(session.KnownDevice{ID: id, Account: i.Account, Identity: i.ID}, token.Hash())
}

// ceremony finds the sign-in of a token, with its identity.
func (f *Flow) ceremony(r *store.Reader, now time.Time, token secret.Token) (c ceremony.Ceremony, i account.Identity, err error) {
	c, err = r.CeremonyByToken(ceremony.SignIn, token.Hash())
	if errors.Is(err, store.ErrNoRow) {
		return c, i, ceremony.ErrGone
	}
	if err != nil {
		return c, i, err
	}
	if !now.Before(c.ExpiresAt) {
		return c, i, ceremony.ErrGone
	}
	if i, err = r.Identity(c.Identity); err != nil {
		return c, i, err
	}
	if i.Epoch != c.Epoch {
		return c, i, ceremony.ErrGone
	}
	return c, i, nil
}

// State says where the sign-in of a token stands.
func (f *Flow) State(ctx context.Context, v prove.Visitor, token secret.Token) (p Progress, err error) {
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		c, i, err := f.ceremony(&tx.Reader, tx.Now, token)
		if err == nil {
			err = c.Open(tx.Now)
		}
		if err != nil {
			return err
		}
		facts, err := tx.Facts(i, c.Proofs)
		if err != nil {
			return err
		}
		d := policy.SignIn(facts)
		p = Progress{Step: d.Step, Ceremony: c.ID, Name: i.Name(), ReturnTo: c.ReturnTo, ExpiresAt: c.ExpiresAt}
		p.Asked, err = f.ask(tx, v, i, c, facts, d)
		return err
	})
	return p, err
}

// Preferred returns the method that the present step asks first.
func (f *Flow) Preferred(ctx context.Context, v prove.Visitor, token secret.Token) (factor.Method, error) {
	p, err := f.State(ctx, v, token)
	if err != nil || len(p.Offers) == 0 {
		return "", err
	}
	return p.Offers[0].Method, nil
}

// allowed refuses a method that does not take the present step, and writes
// the attempt down.
func (f *Flow) allowed(ctx context.Context, v prove.Visitor, token secret.Token, m factor.Method) (c ceremony.Ceremony, i account.Identity, step policy.Step, err error) {
	r := f.DB.Read(ctx)
	now := f.DB.Now()
	if c, i, err = f.ceremony(r, now, token); err == nil {
		err = c.Open(now)
	}
	if err != nil {
		return c, i, step, err
	}
	facts, err := r.Facts(i, c.Proofs)
	if err != nil {
		return c, i, step, err
	}
	d := policy.SignIn(facts)
	if d.Allows(m) {
		return c, i, d.Step, nil
	}
	err = f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		return tx.Record(audit.Event{Account: i.Account, Name: audit.ConsoleSignin, Identity: i.ID, Refused: policy.ErrMethod.Code, Details: map[string]string{"method": clip(string(m), 40)}})
	})
	return c, i, d.Step, errors.Join(err, policy.ErrMethod)
}

// Send sends a code by the method chosen.
func (f *Flow) Send(ctx context.Context, v prove.Visitor, token secret.Token, m factor.Method) error {
	c, i, step, err := f.allowed(ctx, v, token, m)
	if err != nil {
		return err
	}
	why := message.Purpose{Key: "signin"}
	if step == policy.ConfirmEmail {
		why.Key = "confirm_email"
	}
	own := func(tx *store.Tx) (prove.Destination, error) { return prove.DestinationOf(&tx.Reader, i, m) }
	return f.Deliver(ctx, v, i, c, own, why)
}

// Answer takes the step with a proof.
func (f *Flow) Answer(ctx context.Context, v prove.Visitor, token secret.Token, answer prove.Answer) (p Progress, err error) {
	c, i, step, err := f.allowed(ctx, v, token, answer.Method)
	if err != nil {
		return p, err
	}
	event := audit.Event{Name: audit.ConsoleSignin, Target: c.ID}
	err = f.Check(ctx, v, v.As(i), i, c.ID, answer, event, func(tx *store.Tx, proof factor.Proof) error {
		c, i, err := f.ceremony(&tx.Reader, tx.Now, token)
		if err != nil {
			return err
		}
		c.Proofs = append(c.Proofs, proof)
		if step == policy.ConfirmEmail {
			if err := tx.ConfirmEmail(i.ID); err != nil {
				return err
			}
			if err := tx.Record(audit.Event{Account: i.Account, Name: audit.EmailConfirm, Identity: i.ID}); err != nil {
				return err
			}
			i.EmailConfirmedAt = tx.Now
		}
		if proof.Method == factor.RecoveryCode {
			if err := f.usedRecoveryCode(tx, v, i); err != nil {
				return err
			}
		}
		if p, err = f.advance(tx, v, i, c); err != nil || p.Step != policy.Complete {
			return err
		}
		return tx.EndCeremony(c.ID, ceremony.ErrGone)
	})
	return p, err
}

func (f *Flow) usedRecoveryCode(tx *store.Tx, v prove.Visitor, i account.Identity) error {
	if err := tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryCodeUse, Identity: i.ID}); err != nil {
		return err
	}
	return f.Notify(tx, v, i, message.RecoveryCodeUsed)
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
	if now.Sub(s.LastSeenAt) >= session.SeenEvery {
		err := f.DB.Write(ctx, audit.Housekeeping("last seen"), func(tx *store.Tx) error { return tx.SeeSession(s.ID) })
		if err != nil {
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

// SignOut ends the session of a token; ending none is no fault.
func (f *Flow) SignOut(ctx context.Context, v prove.Visitor, token secret.Token) error {
	s, err := f.Who(ctx, token)
	if errors.Is(err, session.ErrSignedOut) {
		return nil
	}
	if err != nil {
		return err
	}
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		if err := tx.EndSession(s.Identity.ID, s.Session.ID, session.ErrSignedOut); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: s.Session.Account, Name: audit.ConsoleSignout, Identity: s.Identity.ID, Target: s.Session.ID})
	})
	if errors.Is(err, session.ErrSignedOut) {
		return nil
	}
	return err
}

// LocalPath returns target if it is a path on this site, else nothing: there
// is no redirect to anywhere else.
func LocalPath(target string) string {
	if len(target) > 1024 || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.ContainsAny(target, "\\\x00\r\n\t") {
		return ""
	}
	u, err := url.Parse(target)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || strings.HasPrefix(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return ""
	}
	return u.RequestURI()
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
