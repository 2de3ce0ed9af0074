package selfservice

import (
	"context"
	"errors"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// bindTries bounds wrong pairs on one key: the codes are made from what the
// page shows, so that there is nothing to guess and the budget is not touched.
const bindTries = 20

// BindAction is the action that binds a device, or exchanges the one named.
func BindAction(replaces string) policy.Action {
	if replaces == "" {
		return BindVirtualMFA
	}
	a := replaceMFAAction
	a.Target = replaces
	return a
}

// BeginBind makes a new key, of a device that takes the place of the one
// named (empty: of none). A key made before in this session is dead.
func (f *Flow) BeginBind(ctx context.Context, v prove.Visitor, s prove.Signed, replaces string) (b prove.Key, err error) {
	seed, err := factor.NewSeed(f.Random)
	if err != nil {
		return b, err
	}
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		i, err := tx.Identity(s.Identity.ID)
		if err != nil {
			return err
		}
		d, _, err := f.Decide(&tx.Reader, s, i, BindAction(replaces)) // not used up yet
		if err := errors.Join(err, prove.Refusal(d)); err != nil {
			return err
		}
		present, err := tx.VirtualMFA(i.Account, i.ID)
		bound, err := store.HasRow(err)
		switch {
		case err != nil:
			return err
		case bound && present.ID != replaces:
			return ErrBound
		case !bound && replaces != "":
			return ErrNotBound
		}
		if err := tx.DropCeremonies(ceremony.Bind, s.Session.ID); err != nil {
			return err
		}
		id, err := f.DB.NewID()
		if err != nil {
			return err
		}
		c := ceremony.Ceremony{ID: id, Kind: ceremony.Bind, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: s.Session.ID,
			TriesLeft: bindTries, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.Lifetime), Private: ceremony.Private{Seed: seed, Replaces: replaces}}
		b = f.KeyOf(c, i)
		return tx.AddCeremony(c)
	})
	return b, err
}

// Binding returns the key that is being bound, for the page that a wrong code
// comes back to.
func (f *Flow) Binding(ctx context.Context, s prove.Signed, id string) (prove.Key, error) {
	c, err := f.DB.Read(ctx).CeremonyOfSession(ceremony.Bind, id, s.Session.ID)
	if errors.Is(err, store.ErrNoRow) || (err == nil && c.Open(f.DB.Now()) != nil) {
		return prove.Key{}, ErrBindGone
	}
	return f.KeyOf(c, s.Identity), err
}

// ConfirmBind binds the device that shows first and then second, the codes of
// two consecutive steps, and makes recovery codes. It returns the session's
// new token.
func (f *Flow) ConfirmBind(ctx context.Context, v prove.Visitor, s prove.Signed, id, name, first, second string) (token secret.Token, err error) {
	if name, err = prove.DeviceName(name); err != nil {
		return token, err
	}
	if first, second, err = pair(first, second); err != nil {
		return token, err
	}
	var refusal error
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		refusal = nil
		c, err := tx.CeremonyOfSession(ceremony.Bind, id, s.Session.ID)
		if errors.Is(err, store.ErrNoRow) || (err == nil && c.Open(tx.Now) != nil) {
			return ErrBindGone
		}
		if err != nil {
			return err
		}
		d, _, err := f.Decide(&tx.Reader, s, s.Identity, BindAction(c.Private.Replaces))
		if err := errors.Join(err, prove.Refusal(d)); err != nil {
			return err
		}
		i := s.Identity
		if err := tx.SpendTry(c.ID, ErrBindGone); err != nil {
			return err
		}
		device := factor.VirtualDevice{Seed: c.Private.Seed}
		step, drift, wrong := device.VerifyPair(first, second, tx.Now)
		if wrong != nil {
			refusal = wrong
			return tx.Record(audit.Event{Account: i.Account, Name: audit.MFABind, Identity: i.ID, Refused: fault.From(wrong).Code})
		}
		device.LastStep, device.Drift = step, drift
		if i, err = f.Permit(tx, s, BindAction(c.Private.Replaces)); err != nil {
			return err
		}
		if c.Private.Replaces != "" {
			if err := f.TakeOff(tx, v, i, c.Private.Replaces, ErrNotBound); err != nil {
				return err
			}
		}
		if err := f.AddVirtualMFA(tx, v, i, device, name); err != nil {
			return err
		}
		if token, err = f.renew(tx, s, factor.Proof{Method: factor.VirtualMFA, At: tx.Now}); err != nil {
			return err
		}
		_, err = f.NewCodes(tx, s.Session.ID, i) // after what was granted before is void
		return err
	})
	if errors.Is(err, prove.ErrVerifyFirst) {
		return token, errors.Join(f.keepName(ctx, v, s, id, name), err)
	}
	if err == nil {
		err = refusal
	}
	return token, err
}

// keepName keeps the name that was typed while a verification comes first.
func (f *Flow) keepName(ctx context.Context, v prove.Visitor, s prove.Signed, id, name string) error {
	return f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		c, err := tx.CeremonyOfSession(ceremony.Bind, id, s.Session.ID)
		if err != nil {
			return err
		}
		c.Private.Name = name
		return tx.SavePrivate(c.ID, c.Private, ErrBindGone)
	})
}

func pair(first, second string) (string, string, error) {
	a, err := factor.ParseCode(first)
	if err != nil {
		return "", "", err
	}
	b, err := factor.ParseCode(second)
	switch {
	case errors.Is(err, factor.ErrCodeMissing):
		return "", "", factor.ErrSecondMissing
	case err != nil:
		return "", "", fault.From(err).On("code2")
	}
	return a, b, nil
}

// Resynchronise learns how far the clock of the bound device is off, from the
// codes of two consecutive steps. Tries are counted as at sign-in.
func (f *Flow) Resynchronise(ctx context.Context, v prove.Visitor, s prove.Signed, first, second string) error {
	bound, err := f.DB.Read(ctx).HasVirtualMFA(s.Identity.Account, s.Identity.ID)
	if err == nil && !bound {
		err = ErrNotBound
	}
	if err != nil {
		return err
	}
	d, _, err := f.Decide(f.DB.Read(ctx), s, s.Identity, Resynchronise)
	if err := errors.Join(err, prove.Refusal(d)); err != nil {
		return err
	}
	answer := prove.Answer{Method: factor.VirtualMFA, Codes: []string{first, second}, Resynchronise: true}
	return f.Check(ctx, v, v.As(s.Identity), s.Identity, "", answer, audit.Event{Name: audit.MFAResynchronise}, func(tx *store.Tx, _ factor.Proof) error {
		i, err := f.Permit(tx, s, Resynchronise)
		if err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.MFAResynchronise, Identity: i.ID})
	})
}

// Unbind takes the device off, and its recovery codes with it. Every other
// session ends.
func (f *Flow) Unbind(ctx context.Context, v prove.Visitor, s prove.Signed, device string) (token secret.Token, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		d, err := tx.VirtualMFA(s.Identity.Account, s.Identity.ID)
		if errors.Is(err, store.ErrNoRow) || (err == nil && d.ID != device) {
			return ErrNotBound
		}
		if err != nil {
			return err
		}
		token, err = f.withdraw(tx, s, factor.VirtualMFA, Unbind(device), func(i account.Identity) error {
			return f.TakeOff(tx, v, i, device, ErrNotBound)
		})
		return err
	})
	return token, err
}

// withdraw takes one device of a kind off where it may go, and the recovery
// codes with it where nothing else is left.
func (f *Flow) withdraw(tx *store.Tx, s prove.Signed, kind factor.Method, a policy.Action, drop func(account.Identity) error) (token secret.Token, err error) {
	facts, err := tx.Facts(s.Identity, nil)
	if err != nil {
		return token, err
	}
	if facts.Needs(kind) {
		return token, needed(s.Identity)
	}
	facts = facts.Without(kind)
	if !facts.MFA() && !s.Identity.PasswordAlone {
		return token, ErrPasswordAlone
	}
	i, err := f.Permit(tx, s, a)
	if err != nil {
		return token, err
	}
	if err := drop(i); err != nil {
		return token, err
	}
	if !facts.SecondFactor() {
		if err := tx.ReplaceRecoveryCodes(i.Account, i.ID, nil); err != nil {
			return token, err
		}
	}
	return f.renew(tx, s)
}

// needed says why a device cannot go: it can be exchanged.
func needed(i account.Identity) error {
	if i.IsOwner() {
		return ErrProtects
	}
	return ErrNeeded
}
