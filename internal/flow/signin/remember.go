package signin

import (
	"context"
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Kept is what a browser is to hold from now on as a remembered device. The
// zero one leaves it what it has.
type Kept struct {
	Token  session.RememberToken
	Until  time.Time
	Forget bool // what it shows is worth nothing any more
}

// isDevice reports whether the method shows a device: nothing else makes one
// remembered. A recovery code says that it is lost, a mailbox that it is out
// of reach.
func isDevice(m factor.Method) bool { return slices.Contains(policy.Kinds, m) || m.Signs() }

// spared is the step that a remembered device leads to in place of the second
// one; where that is not what comes next, it leads nowhere.
func spared(facts policy.Facts) policy.Step {
	if facts.Role == account.Owner || policy.SignIn(facts).Step != policy.Verify {
		return ""
	}
	facts.Remembered = true
	return policy.SignIn(facts).Step
}

// rememberBy are the methods of a second step that may make the browser a
// remembered device: none where it would not be asked for less the next time.
func rememberBy(facts policy.Facts, d policy.Decision) (methods []factor.Method) {
	if step := spared(facts); step != policy.Complete && step != policy.NewPassword {
		return nil
	}
	for _, m := range d.Methods {
		if isDevice(m) {
			methods = append(methods, m)
		}
	}
	return methods
}

// tick notes in the sign-in that its browser is to be remembered: the box was
// ticked where a device was shown. A device bound later voids it.
func tick(tx *store.Tx, c *ceremony.Ceremony, facts policy.Facts, proof factor.Proof) error {
	if !slices.Contains(rememberBy(facts, policy.SignIn(facts)), proof.Method) {
		return nil
	}
	c.Private.Remember = true
	return tx.AddPrivate(c.ID, c.Private, ceremony.ErrGone)
}

// recall returns the remembered device that the visitor's browser is, of the
// identity whose password was right; the zero one if it is none. An old secret
// that comes back was copied: the device is remembered no longer, and whatever
// rests on it ends.
func (f *Flow) recall(tx *store.Tx, v prove.Visitor, i account.Identity) (session.RememberedDevice, error) {
	none := session.RememberedDevice{}
	if v.Remembered.IsZero() {
		return none, nil
	}
	d, now, err := tx.RememberedDevice(v.Remembered.Series.Hash())
	known, err := store.HasRow(err)
	if err != nil || !known || d.Identity != i.ID || !d.Live(i.Epoch, tx.Now) {
		return none, err
	}
	if secret.Equal(now, v.Remembered.Secret.Hash()) {
		return d, nil
	}
	if err := tx.ForgetRemembered(i.ID, d.ID, session.ErrNotRemembered); err != nil {
		return none, err
	}
	if err := tx.Record(audit.Event{Account: i.Account, Name: audit.RememberedReplay, Identity: i.ID, Target: d.ID}); err != nil {
		return none, err
	}
	return none, f.Notify(tx, v, i, message.RememberedCopied)
}

// keep settles what the browser of a new session is remembered as. here is the
// device that it is of this identity, if it is one.
func (f *Flow) keep(tx *store.Tx, v prove.Visitor, i account.Identity, s session.Session, here session.RememberedDevice, ticked bool) (k Kept, err error) {
	if s.Remembered != "" {
		return f.rotate(tx, v, s, here)
	}
	if k.Forget = here.ID == "" && !v.Remembered.IsZero(); k.Forget {
		if err := another(tx, v, i); err != nil {
			return k, err
		}
	}
	if !ticked {
		return k, nil
	}
	if here.ID != "" { // the new one takes its place
		if err := tx.ForgetRemembered(i.ID, here.ID, session.ErrNotRemembered); err != nil {
			return k, err
		}
	}
	k = Kept{Until: tx.Now.Add(session.RememberedLifetime)}
	for _, t := range []*secret.Token{&k.Token.Series, &k.Token.Secret} {
		if *t, err = secret.NewToken(f.Random); err != nil {
			return k, err
		}
	}
	d := session.RememberedDevice{Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: s.ID, ExpiresAt: k.Until, Address: s.Address, UserAgent: s.UserAgent}
	if d.ID, err = f.DB.NewID(); err != nil {
		return k, err
	}
	if err := tx.RememberDevice(d, k.Token.Series.Hash(), k.Token.Secret.Hash()); err != nil {
		return k, err
	}
	if err := f.Notify(tx, v, i, message.RememberedAdded); err != nil {
		return k, err
	}
	return k, tx.Record(audit.Event{Account: i.Account, Name: audit.RememberedAdd, Identity: i.ID, Target: d.ID})
}

// rotate gives the device that spared the second step its next secret.
func (f *Flow) rotate(tx *store.Tx, v prove.Visitor, s session.Session, d session.RememberedDevice) (k Kept, err error) {
	k = Kept{Token: v.Remembered, Until: d.ExpiresAt}
	if k.Token.Secret, err = secret.NewToken(f.Random); err != nil {
		return k, err
	}
	d.Session, d.Address, d.UserAgent = s.ID, s.Address, s.UserAgent
	return k, tx.UseRemembered(d, v.Remembered.Secret.Hash(), k.Token.Secret.Hash())
}

// another forgets the device that the browser was for somebody else, now that
// i has signed in there. The other one's account does not learn who.
func another(tx *store.Tx, v prove.Visitor, i account.Identity) error {
	d, _, err := tx.RememberedDevice(v.Remembered.Series.Hash())
	known, err := store.HasRow(err)
	if err != nil || !known || d.Identity == i.ID {
		return err
	}
	return forget(tx, v, d, "another")
}

// forget ends a remembered device by the hand of whoever is at the browser.
func forget(tx *store.Tx, v prove.Visitor, d session.RememberedDevice, why string) error {
	if err := tx.ForgetRemembered(d.Identity, d.ID, session.ErrNotRemembered); err != nil {
		return err
	}
	actor := tx.Actor
	defer func() { tx.Actor = actor }()
	tx.Actor = v.Actor()
	return tx.Record(audit.Event{Account: d.Account, Name: audit.RememberedForget, Identity: d.Identity, Target: d.ID, Details: map[string]string{"why": why}})
}

// forgetHere ends the remembered device that the browser of a session is, when
// its identity signs out; it returns the id, empty if there is none.
func forgetHere(tx *store.Tx, v prove.Visitor, s session.Session) (id string, err error) {
	if id, err = tx.ForgetRememberedOf(s.Identity, s.ID); err != nil || id != "" || v.Remembered.IsZero() {
		return id, err
	}
	d, _, err := tx.RememberedDevice(v.Remembered.Series.Hash())
	known, err := store.HasRow(err)
	if err != nil || !known || d.Identity != s.Identity {
		return "", err
	}
	return d.ID, tx.ForgetRemembered(d.Identity, d.ID, session.ErrNotRemembered)
}

// signOutUnsigned is for whoever signs out of a browser where the session was
// over already: it is not to be remembered either.
func (f *Flow) signOutUnsigned(ctx context.Context, v prove.Visitor) error {
	if v.Remembered.IsZero() {
		return nil
	}
	return f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		d, now, err := tx.RememberedDevice(v.Remembered.Series.Hash())
		known, err := store.HasRow(err)
		if err != nil || !known || !secret.Equal(now, v.Remembered.Secret.Hash()) {
			return err
		}
		return forget(tx, v, d, "signout")
	})
}
