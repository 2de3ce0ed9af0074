package signin

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Setup is where a user stands who must bind a device, or set a password,
// before there is a session.
type Setup struct {
	Kinds  []factor.Method // that can be bound, best first
	Second bool            // one is bound, another of a different kind is asked for
	Lost   bool            // a device was taken off: it works no longer
	Anew   bool            // in place of what is bound, which goes when the new one stands
	Facts  policy.Facts

	Passkey json.RawMessage // options to make one; nil: none can be made

	Key     prove.Key     // of a virtual MFA device, once that was chosen
	Wrong   int           // codes of it
	Phone   account.Phone // once it was named
	Country string        // as chosen beside the phone
	Digits  int
	Valid   int // minutes that a code sent now is valid
	Resend  time.Duration
	prove.Fate
}

// bindTries bounds wrong codes on one key: they are made from what the page
// shows, so that there is nothing to guess and the budget is not touched.
const bindTries = 20

// Faults about binding at sign-in.
var (
	ErrBindTries  = fault.New(fault.Expired, "signin.bind_tries")
	ErrNotChosen  = fault.New(fault.Conflict, "signin.bind_choose")
	ErrBindMethod = fault.New(fault.Forbidden, "signin.bind_method").On("method")
)

// setup describes the step Bind.
func (f *Flow) setup(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony, facts policy.Facts, d policy.Decision) (s Setup, err error) {
	s = Setup{Kinds: d.Methods, Facts: facts, Lost: facts.Reenrol && !facts.Recovered(), Anew: facts.Recovered()}
	s.Second = facts.Protected() && !facts.Recovering
	if d.Allows(factor.Passkey) {
		if s.Passkey, err = f.PasskeyOptions(tx, i, c); err != nil {
			return s, err
		}
	}
	if c.Private.Seed != nil {
		s.Key = f.KeyOf(c, i)
		if s.Wrong, _, err = tx.Counted("bind:"+c.ID, tx.Now); err != nil {
			return s, err
		}
	}
	if c.Private.Phone != "" {
		s.Phone, s.Country = c.Private.Phone, c.Private.Country
		s.Valid = message.ValidMinutes(tx.Now, c.CodeExpires(tx.Now))
		s.Digits, s.Resend, s.Fate, err = f.SentState(tx, v, i, c.ID, factor.SMS)
	}
	return s, err
}

// binding finds a sign-in at the step Bind, within a write.
func (f *Flow) binding(tx *store.Tx, v prove.Visitor, token secret.Token) (c ceremony.Ceremony, i account.Identity, d policy.Decision, err error) {
	if c, i, err = f.ceremony(&tx.Reader, tx.Now, token); err == nil {
		err = c.Open(tx.Now)
	}
	if err != nil {
		return c, i, d, err
	}
	facts, _, err := f.facts(&tx.Reader, tx.Now, v, i, c)
	if err != nil {
		return c, i, d, err
	}
	if d = f.decide(facts); d.Step != policy.Bind {
		return c, i, d, ErrNotChosen
	}
	return c, i, d, nil
}

// Choose chooses a kind of device to bind. What was shown of it before stays:
// the key may have been scanned.
func (f *Flow) Choose(ctx context.Context, v prove.Visitor, token secret.Token, m factor.Method) error {
	seed, err := factor.NewSeed(f.Random)
	if err != nil {
		return err
	}
	return f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		c, _, d, err := f.binding(tx, v, token)
		if err != nil {
			return err
		}
		if !d.Allows(m) {
			return ErrBindMethod
		}
		if m != factor.VirtualMFA || c.Private.Seed != nil {
			return nil
		}
		c.Private.Seed = seed
		return tx.AddPrivate(c.ID, c.Private, ceremony.ErrGone)
	})
}

// BindDevice binds the virtual MFA device that shows code: one, or the codes
// of two steps in a row where its clock is off.
func (f *Flow) BindDevice(ctx context.Context, v prove.Visitor, token secret.Token, name, code, code2 string) (p Progress, err error) {
	if name, err = prove.DeviceName(name); err != nil {
		return p, err
	}
	if code, err = factor.ParseCode(code); err != nil {
		return p, err
	}
	if code2 != "" {
		if code2, err = factor.ParseCode(code2); err != nil {
			return p, fault.From(err).On("code2")
		}
	}
	var refusal error
	err = f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		p, refusal = Progress{}, nil
		c, i, d, err := f.binding(tx, v, token)
		if err != nil {
			return err
		}
		if !d.Allows(factor.VirtualMFA) || c.Private.Seed == nil {
			return ErrNotChosen
		}
		ok, _, err := tx.Count("bind:"+c.ID, bindTries, ceremony.SessionLifetime)
		if err != nil {
			return err
		}
		if !ok {
			return ErrBindTries
		}
		device := factor.VirtualDevice{Seed: c.Private.Seed}
		if code2 != "" {
			device.LastStep, device.Drift, refusal = device.VerifyPair(code, code2, tx.Now)
		} else {
			device.LastStep, refusal = device.Verify([]string{code}, tx.Now)
		}
		if refusal != nil {
			return tx.Record(audit.Event{Account: i.Account, Name: audit.MFABind, Identity: i.ID, Refused: fault.From(refusal).Code})
		}
		tx.Actor = v.As(i)
		p, refusal, err = f.bound(tx, v, i, c, factor.Proof{Method: factor.VirtualMFA, At: tx.Now}, func(*string) error {
			return f.AddVirtualMFA(tx, v, i, device, name)
		})
		return err
	})
	if err == nil {
		err = refusal
	}
	return p, err
}

// BindNumber names the phone to be attached, and sends a code there.
func (f *Flow) BindNumber(ctx context.Context, v prove.Visitor, token secret.Token, country, typed string) error {
	if err := f.Sending.Can(factor.SMS); err != nil {
		return err
	}
	number, err := f.ParsePhone(country, typed)
	if err != nil {
		return err
	}
	return f.sendBind(ctx, v, token, func(tx *store.Tx, c *ceremony.Ceremony) error {
		if c.Private.Phone == number {
			return nil
		}
		c.Private.Phone, c.Private.Country = number, country
		return tx.SavePrivate(c.ID, c.Private, ceremony.ErrGone)
	})
}

// SendBind sends another code to the phone that is to be attached.
func (f *Flow) SendBind(ctx context.Context, v prove.Visitor, token secret.Token) error {
	return f.sendBind(ctx, v, token, func(*store.Tx, *ceremony.Ceremony) error { return nil })
}

func (f *Flow) sendBind(ctx context.Context, v prove.Visitor, token secret.Token, prepare func(tx *store.Tx, c *ceremony.Ceremony) error) error {
	_, i, err := f.ceremony(f.DB.Read(ctx), f.DB.Now(), token)
	if err != nil {
		return err
	}
	return f.SendWithin(ctx, v, i, func(tx *store.Tx) (sent string, refusal, err error) {
		c, i, d, err := f.binding(tx, v, token)
		if err != nil {
			return "", nil, err
		}
		if !d.Allows(factor.SMS) {
			return "", nil, ErrNotChosen
		}
		if err := prepare(tx, &c); err != nil {
			return "", nil, err
		}
		if c.Private.Phone == "" {
			return "", nil, account.ErrPhoneMissing
		}
		return f.Prover.Send(tx, v, i, c, prove.Destination{Method: factor.SMS, Phone: c.Private.Phone, New: true}, message.Purpose{Key: "attach_phone"})
	})
}

// BindCode takes the code sent to the phone and attaches it.
func (f *Flow) BindCode(ctx context.Context, v prove.Visitor, token secret.Token, code string) (p Progress, err error) {
	var c ceremony.Ceremony
	var i account.Identity
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		var d policy.Decision
		if c, i, d, err = f.binding(tx, v, token); err == nil && (!d.Allows(factor.SMS) || c.Private.Phone == "") {
			err = ErrNotChosen
		}
		return err
	})
	if err != nil {
		return p, err
	}
	var refusal error
	err = f.Check(ctx, v, v.As(i), i, c.ID, prove.Answer{Method: factor.SMS, Codes: []string{code}, New: true}, audit.Event{Name: audit.MobileBind}, func(tx *store.Tx, proof factor.Proof) error {
		c, i, d, err := f.binding(tx, v, token)
		if err == nil && !d.Allows(factor.SMS) {
			err = ErrNotChosen
		}
		if err != nil {
			return err
		}
		p, refusal, err = f.bound(tx, v, i, c, proof, func(*string) error {
			old := ""
			if present, err := prove.PhoneOf(&tx.Reader, i); err != nil {
				return err
			} else if present.ID != "" {
				old = present.ID
			}
			return f.AttachPhone(tx, v, i, old, c.Private.Phone)
		})
		return err
	})
	if err == nil {
		err = refusal
	}
	return p, err
}

// bound binds, and says of a passkey its id; voids what was granted before, and goes on with the sign-in.
func (f *Flow) bound(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony, proof factor.Proof, bind func(passkey *string) error) (p Progress, refusal, err error) {
	recovered, err := f.recovering(tx, i, c)
	if err == nil && recovered {
		err = f.Recovered(tx, v, i)
	}
	passkey := c.Private.Passkey
	if err == nil {
		err = bind(&passkey)
	}
	if err != nil {
		return p, nil, err
	}
	if i.Epoch, err = tx.RaiseEpoch(i.ID, c.ID); err != nil {
		return p, nil, err
	}
	c.Epoch, c.Proofs = i.Epoch, append(c.Proofs, proof)
	c.Private = ceremony.Private{Bound: true, Passkey: passkey}
	if err := tx.SavePrivate(c.ID, c.Private, ceremony.ErrGone); err != nil {
		return p, nil, err
	}
	return f.goOn(tx, v, i, c)
}

// recovering reports whether this sign-in showed the ticket of the operator's
// recovery, which is still open.
func (f *Flow) recovering(tx *store.Tx, i account.Identity, c ceremony.Ceremony) (bool, error) {
	facts, err := tx.Facts(i, c.Proofs)
	return facts.Recovered(), err
}

// goOn asks what comes next; the sign-in that is complete is over.
func (f *Flow) goOn(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony) (p Progress, refusal, err error) {
	p, err = f.advance(tx, v, i, c)
	if refusal, err = f.refused(tx, i, err); err != nil || p.Step != policy.Complete {
		return p, refusal, err
	}
	return p, refusal, tx.EndCeremony(c.ID, ceremony.ErrGone)
}

// SetPassword gives a user the password that it must choose itself before
// there is a session.
func (f *Flow) SetPassword(ctx context.Context, v prove.Visitor, token secret.Token, password string) (p Progress, err error) {
	due := func(tx *store.Tx) (c ceremony.Ceremony, i account.Identity, facts policy.Facts, err error) {
		if c, i, err = f.ceremony(&tx.Reader, tx.Now, token); err == nil {
			err = c.Open(tx.Now)
		}
		if err == nil {
			facts, _, err = f.facts(&tx.Reader, tx.Now, v, i, c)
		}
		if err == nil && f.decide(facts).Step != policy.NewPassword {
			err = ErrNotChosen
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
		return p, err
	}
	hash, err := f.NewPassword(ctx, i, facts, password, "")
	if err != nil {
		return p, err
	}
	var refusal error
	err = f.DB.Write(ctx, v.As(i), func(tx *store.Tx) error {
		p, refusal = Progress{}, nil
		c, now, facts, err := due(tx)
		if err != nil {
			return err
		}
		if now.PasswordHash != i.PasswordHash {
			return ceremony.ErrGone
		}
		if err := f.Prover.SetPassword(tx, now, facts, hash, account.LongEnoughAlone(password)); err != nil {
			return err
		}
		if now.Epoch, err = tx.RaiseEpoch(i.ID, c.ID); err != nil {
			return err
		}
		c.Epoch = now.Epoch
		if err := tx.Record(audit.Event{Account: i.Account, Name: audit.PasswordModify, Identity: i.ID}); err != nil {
			return err
		}
		if err := f.Notify(tx, v, now, message.PasswordChanged); err != nil {
			return err
		}
		p, refusal, err = f.goOn(tx, v, now, c)
		return err
	})
	if err == nil {
		err = refusal
	}
	if errors.Is(err, store.ErrNoRow) {
		err = ceremony.ErrGone
	}
	return p, err
}
