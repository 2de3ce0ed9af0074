// Package signin takes a visitor to a session.
package signin

import (
	"cmp"
	"context"
	"errors"
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

	seeing seeing
}

// ErrRefused says that nothing this identity has is allowed here.
var ErrRefused = fault.New(fault.Forbidden, "signin.refused")

// A Progress says where a sign-in stands.
type Progress struct {
	prove.Asked
	Step      policy.Step
	Setup     Setup           // where a device comes first
	Remember  []factor.Method // that may make the browser a remembered device
	Reminder  time.Time       // until when a device that is due may be missing; zero: none is, or today was told already
	Ceremony  string          // its id, which is no secret
	Token     secret.Token    // set when the ceremony is new
	Name      string          // who signs in
	Domain    string          // of a RAM user's name
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
	Kept     Kept
	Bound    bool     // a device was bound in this sign-in
	Codes    []string // recovery codes that were made
	Passkey  string   // id of the one that was bound in this sign-in; empty: none
}

// Begin starts a sign-in at a door with a user name and a password.
func (f *Flow) Begin(ctx context.Context, v prove.Visitor, door prove.Door, name, password, returnTo string) (Progress, error) {
	var done Progress
	var refusal error
	err := f.SignInPassword(ctx, v, door, name, password, func(tx *store.Tx, i account.Identity, proof factor.Proof) error {
		var err error
		done, refusal, err = f.begin(tx, v, i, proof, returnTo)
		return err
	})
	if err == nil {
		err = refusal
	}
	return done, err
}

// begin starts the sign-in of an identity with its first proof.
func (f *Flow) begin(tx *store.Tx, v prove.Visitor, i account.Identity, proof factor.Proof, returnTo string) (p Progress, refusal, err error) {
	c := ceremony.Ceremony{Kind: ceremony.SignIn, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Proofs: []factor.Proof{proof}, TriesLeft: throttle.CeremonyTries, ReturnTo: prove.LocalPath(returnTo)}
	if i.Locale == "" { // what is sent from now on is in the language of the first sign-in
		if err := tx.SetLocale(i.ID, v.Locale.Tag); err != nil {
			return p, nil, err
		}
		i.Locale = v.Locale.Tag
	}
	p, err = f.advance(tx, v, i, c)
	refusal, err = f.refused(tx, i, err)
	return p, refusal, err
}

// refused writes down that somebody with the right proofs may not sign in: a
// refusal that is a fact commits.
func (f *Flow) refused(tx *store.Tx, i account.Identity, err error) (refusal, fatal error) {
	var reason *fault.Fault
	if !errors.As(err, &reason) || reason.Kind != fault.Forbidden {
		return nil, err
	}
	return reason, tx.Record(audit.Event{Account: i.Account, Name: audit.ConsoleSignin, Identity: i.ID, Refused: reason.Code})
}

// lastCode lets a recovery code count that was the last: it was there when it
// was shown.
func lastCode(f *policy.Facts) {
	if slices.ContainsFunc(f.Proofs, func(p factor.Proof) bool { return p.Method == factor.RecoveryCode }) {
		f.RecoveryCodes = max(f.RecoveryCodes, 1)
	}
}

// facts are what the policy is asked about, in the circumstances of this
// visitor.
func (f *Flow) facts(r *store.Reader, now time.Time, v prove.Visitor, i account.Identity, c ceremony.Ceremony) (policy.Facts, string, error) {
	facts, err := r.Facts(i, c.Proofs)
	lastCode(&facts)
	if err != nil || i.IsOwner() {
		return facts, "", err
	}
	unusual, err := f.unusual(r, now, v, i)
	facts.Circumstances = policy.Circumstances{Now: now, Address: v.Address, Unusual: unusual != ""}
	return facts, unusual, err
}

// advance asks the policy what comes next and does it, within a write: the
// session, or the ceremony with the proofs it has so far.
func (f *Flow) advance(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony) (p Progress, err error) {
	facts, unusual, err := f.facts(&tx.Reader, tx.Now, v, i, c)
	if err != nil {
		return p, err
	}
	here, err := f.recall(tx, v, i)
	if err != nil {
		return p, err
	}
	facts.Remembered = here.ID != "" && spared(facts) == policy.Complete
	decision := f.decide(facts)
	p = Progress{Step: decision.Step, Ceremony: c.ID, Name: i.Name(), Domain: i.Domain, ReturnTo: c.ReturnTo, ExpiresAt: c.ExpiresAt}
	switch {
	case decision.Step == policy.Complete:
		if decision.Grace {
			if p.Reminder, err = f.remind(tx, i, facts); err != nil {
				return p, err
			}
		}
		p.Session, err = f.open(tx, v, i, c, facts, decision, unusual, here)
		return p, err
	case decision.Reason != nil:
		return p, decision.Reason
	case decision.Step == policy.Refuse:
		return p, ErrRefused
	}
	if decision.Step == policy.Bind && c.ID != "" && c.ExpiresAt.Before(tx.Now.Add(ceremony.SessionLifetime)) && !c.Private.Bound {
		c.ExpiresAt = tx.Now.Add(ceremony.SessionLifetime) // whoever installs an app is not to lose the way
		if err := tx.ExtendCeremony(c.ID, c.ExpiresAt, ceremony.ErrGone); err != nil {
			return p, err
		}
		p.ExpiresAt = c.ExpiresAt
	}
	if c.ID != "" {
		if err := tx.SaveProofs(c.ID, c.Proofs, ceremony.ErrGone); err != nil {
			return p, err
		}
		err = f.show(tx, v, i, c, facts, decision, &p)
		return p, err
	}
	if c.ID, err = f.DB.NewID(); err != nil {
		return p, err
	}
	if p.Token, err = secret.NewToken(f.Random); err != nil {
		return p, err
	}
	c.TokenHash, c.CreatedAt, c.ExpiresAt = p.Token.Hash(), tx.Now, tx.Now.Add(ceremony.Lifetime)
	if decision.Step == policy.Bind {
		c.ExpiresAt = tx.Now.Add(ceremony.SessionLifetime)
	}
	p.Ceremony, p.ExpiresAt = c.ID, c.ExpiresAt
	if err := tx.AddCeremony(c); err != nil {
		return p, err
	}
	if err := f.show(tx, v, i, c, facts, decision, &p); err != nil {
		return p, err
	}
	event := audit.Event{Account: i.Account, Name: audit.PasswordAccepted, Identity: i.ID, Target: c.ID}
	if facts.Alone() {
		event.Name, event.Target, event.Details = audit.IdentityVerify, string(policy.SignInScenario), map[string]string{"method": string(factor.Passkey)}
	}
	return p, tx.Record(event)
}

// show describes the step that comes next to the visitor.
func (f *Flow) show(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony, facts policy.Facts, d policy.Decision, p *Progress) (err error) {
	switch d.Step {
	case policy.Bind:
		p.Setup, err = f.setup(tx, v, i, c, facts, d)
	case policy.NewPassword:
		p.Setup.Facts = facts
	default:
		p.Remember = rememberBy(facts, d)
		p.Asked, err = f.ask(tx, v, i, c, facts, d)
	}
	return err
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
func (f *Flow) open(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony, facts policy.Facts, d policy.Decision, unusual string, here session.RememberedDevice) (*New, error) {
	token, err := secret.NewToken(f.Random)
	if err != nil {
		return nil, err
	}
	id, err := f.DB.NewID()
	if err != nil {
		return nil, err
	}
	s := session.Session{ID: id, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Proofs: c.Proofs, Unusual: unusual,
		CreatedAt: tx.Now, LastSeenAt: tx.Now, ExpiresAt: f.until(tx.Now, i, facts, d), Address: v.Address.String(), UserAgent: audit.Clip(v.UserAgent, audit.AgentMaxBytes)}
	if facts.Remembered {
		s.Remembered = here.ID
		if here.ExpiresAt.Before(s.ExpiresAt) {
			s.ExpiresAt = here.ExpiresAt
		}
	}
	if err := tx.AddSession(s, token.Hash()); err != nil {
		return nil, err
	}
	n := &New{Session: s, Identity: i, Token: token, Bound: c.Private.Bound, Passkey: c.Private.Passkey}
	if !c.Private.Bound { // of which people are told anyway
		if err := f.tellNewBrowser(tx, v, i); err != nil {
			return nil, err
		}
	}
	if n.Kept, err = f.keep(tx, v, i, s, here, c.Private.Remember && facts.Settings.Remember); err != nil {
		return nil, err
	}
	claims := policy.ClaimsOf(c.Proofs)
	switch {
	case !i.IsOwner():
		// Known from now on, whatever was asked: the next sign-in here is usual.
		if n.Devices, err = f.remember(tx, v, i); err == nil {
			err = f.seen(tx, v, i)
		}
		if own := facts.Profile; err == nil && !own.InitialUntil.IsZero() { // used in time: it no longer runs out
			own.InitialUntil = time.Time{}
			err = tx.SetProfile(i.Account, i.ID, own)
		}
	case claims.ACR == policy.LevelMFA, claims.ACR == policy.LevelRestricted, claims.ACR == policy.LevelPhishing:
		n.Devices, err = f.remember(tx, v, i)
	default:
		err = f.clear(tx, v, i)
	}
	if err != nil {
		return nil, err
	}
	if facts.RecoveryCodes == 0 && (c.Private.Bound || !i.IsOwner() && f.codesDue(c.Proofs)) {
		if n.Codes, err = f.NewCodes(tx, id, i); err != nil {
			return nil, err
		}
	}
	if claims.Strong() || !facts.SecondFactor() { // whoever has lost a device may still have the password and the mailbox
		if err := f.CancelRecovery(tx, v, i); err != nil {
			return nil, err
		}
	}
	event := audit.Event{Account: i.Account, Name: audit.ConsoleSignin, Identity: i.ID, Target: id, Details: map[string]string{"amr": strings.Join(claims.AMR, " "), "acr": claims.ACR}}
	if n := len(c.Proofs); n > 0 {
		event.Details["method"] = string(c.Proofs[n-1].Method)
	}
	if unusual != "" {
		event.Details["unusual"] = unusual
	}
	if s.Remembered != "" {
		event.Details["remembered"] = s.Remembered
	}
	return n, tx.Record(event)
}

// codesDue reports whether a user who has no recovery codes may be given some:
// a device was shown. Somebody may have left the first sign-in before its end.
func (f *Flow) codesDue(proofs []factor.Proof) bool {
	return slices.ContainsFunc(proofs, func(p factor.Proof) bool { return isDevice(p.Method) })
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
		facts, _, err := f.facts(&tx.Reader, tx.Now, v, i, c)
		if err != nil {
			return err
		}
		d := f.decide(facts)
		if d.Reason != nil {
			return d.Reason
		}
		p = Progress{Step: d.Step, Ceremony: c.ID, Name: i.Name(), Domain: i.Domain, ReturnTo: c.ReturnTo, ExpiresAt: c.ExpiresAt}
		return f.show(tx, v, i, c, facts, d, &p)
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
	r, now := f.DB.Read(ctx), f.DB.Now()
	if c, i, err = f.ceremony(r, now, token); err == nil {
		err = c.Open(now)
	}
	if err != nil {
		return c, i, step, err
	}
	facts, _, err := f.facts(r, now, v, i, c)
	if err != nil {
		return c, i, step, err
	}
	d := f.decide(facts)
	if d.Step != policy.Bind && d.Allows(m) {
		return c, i, d.Step, nil
	}
	err = f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		return tx.Record(audit.Event{Account: i.Account, Name: audit.ConsoleSignin, Identity: i.ID, Refused: policy.ErrMethod.Code, Details: map[string]string{"method": audit.Clip(string(m), 40)}})
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
	var refusal error
	err = f.Check(ctx, v, v.As(i), i, c.ID, answer, event, func(tx *store.Tx, proof factor.Proof) error {
		refusal = nil
		c, i, err := f.ceremony(&tx.Reader, tx.Now, token)
		if err != nil {
			return err
		}
		if answer.Remember {
			facts, _, err := f.facts(&tx.Reader, tx.Now, v, i, c)
			if err == nil {
				err = tick(tx, &c, facts, proof)
			}
			if err != nil {
				return err
			}
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
		p, refusal, err = f.goOn(tx, v, i, c)
		if err != nil || refusal != nil || p.Step == policy.Complete {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.IdentityVerify, Identity: i.ID, Target: string(policy.SignInScenario), Details: map[string]string{"method": string(proof.Method)}})
	})
	if err == nil {
		err = refusal
	}
	return p, err
}

func (f *Flow) usedRecoveryCode(tx *store.Tx, v prove.Visitor, i account.Identity) error {
	if err := tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryCodeUse, Identity: i.ID}); err != nil {
		return err
	}
	if _, err := tx.ForgetAllRemembered(i.ID); err != nil { // a browser may be what was lost
		return err
	}
	return f.Notify(tx, v, i, message.RecoveryCodeUsed)
}
