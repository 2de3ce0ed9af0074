package selfservice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

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

// bindTries bounds wrong pairs on one key: the codes are made from what the
// page shows, so that there is nothing to guess and the budget is not touched.
const bindTries = 20

// DeviceNameMax is the longest name of a device, in code points.
const DeviceNameMax = 64

// ErrDeviceName says what a name may be.
var ErrDeviceName = fault.New(fault.Invalid, "device.name").On("name").With("Max", DeviceNameMax)

// A Binding is a virtual MFA device that is not bound yet.
type Binding struct {
	ID        string
	Name      string // of the device, as typed; empty: not yet
	Key       string // base32 in groups of four
	URI       string // otpauth
	Issuer    string
	Account   string
	ExpiresAt time.Time
}

// BeginBind makes a new key. A key made before in this session is dead.
func (f *Flow) BeginBind(ctx context.Context, v prove.Visitor, s prove.Signed) (b Binding, err error) {
	seed, err := factor.NewSeed(f.Random)
	if err != nil {
		return b, err
	}
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, BindVirtualMFA)
		if err != nil {
			return err
		}
		bound, err := tx.HasVirtualMFA(i.Account, i.ID)
		if err != nil {
			return err
		}
		if bound {
			return ErrBound
		}
		if err := tx.DropCeremonies(ceremony.Bind, s.Session.ID); err != nil {
			return err
		}
		id, err := f.DB.NewID()
		if err != nil {
			return err
		}
		c := ceremony.Ceremony{ID: id, Kind: ceremony.Bind, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: s.Session.ID,
			TriesLeft: bindTries, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.Lifetime), Private: ceremony.Private{Seed: seed}}
		b = f.binding(c, i)
		return tx.AddCeremony(c)
	})
	return b, err
}

func (f *Flow) binding(c ceremony.Ceremony, i account.Identity) Binding {
	return Binding{ID: c.ID, Name: c.Private.Name, Key: factor.SeedText(c.Private.Seed), URI: factor.KeyURI(c.Private.Seed, f.Service.Name, i.Email), Issuer: f.Service.Name, Account: i.Email, ExpiresAt: c.ExpiresAt}
}

// Binding returns the key that is being bound, for the page that a wrong code
// comes back to.
func (f *Flow) Binding(ctx context.Context, s prove.Signed, id string) (Binding, error) {
	c, err := f.DB.Read(ctx).CeremonyOfSession(ceremony.Bind, id, s.Session.ID)
	if errors.Is(err, store.ErrNoRow) || (err == nil && c.Open(f.DB.Now()) != nil) {
		return Binding{}, ErrBindGone
	}
	return f.binding(c, s.Identity), err
}

// ConfirmBind binds the device that shows first and then second, the codes of
// two consecutive steps, and makes recovery codes. It returns the session's
// new token.
func (f *Flow) ConfirmBind(ctx context.Context, v prove.Visitor, s prove.Signed, id, name, first, second string) (token secret.Token, err error) {
	if name, err = deviceName(name); err != nil {
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
		i, err := f.Permit(tx, s, BindVirtualMFA)
		if err != nil {
			return err
		}
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
		if err := f.addVirtualMFA(tx, v, i, device, name); err != nil {
			return err
		}
		if token, err = f.renew(tx, s, factor.Proof{Method: factor.VirtualMFA, At: tx.Now}); err != nil {
			return err
		}
		return f.newCodes(tx, s, i) // after what was granted before is void
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

// addVirtualMFA binds a device that has shown its codes, and tells of it.
func (f *Flow) addVirtualMFA(tx *store.Tx, v prove.Visitor, i account.Identity, d factor.VirtualDevice, name string) error {
	id, err := f.DB.NewID()
	if err != nil {
		return err
	}
	if err := tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: d, ID: id, Name: name, BoundFrom: v.Address.String()}, ErrBound); err != nil {
		return err
	}
	if err := f.Notify(tx, v, i, message.DeviceBound); err != nil {
		return err
	}
	return tx.Record(audit.Event{Account: i.Account, Name: audit.MFABind, Identity: i.ID, Target: id, Details: map[string]string{"name": name, "drift": fmt.Sprint(d.Drift)}})
}

// deviceName is the name of a device as typed, or one where none was.
func deviceName(typed string) (string, error) {
	name := strings.TrimSpace(typed)
	if name == "" {
		name = "Authenticator app"
	}
	if utf8.RuneCountInString(name) > DeviceNameMax || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", ErrDeviceName
	}
	return name, nil
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
	if d, _, err := f.Decide(f.DB.Read(ctx), s, s.Identity, Resynchronise); err != nil || d.Step != policy.Complete {
		return errors.Join(err, prove.ErrVerifyFirst)
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
		facts, err := tx.Facts(s.Identity, nil)
		if err != nil {
			return err
		}
		if facts.Protection.Method == factor.VirtualMFA {
			return ErrProtects
		}
		facts.VirtualMFA = false
		if !facts.MFA() && !s.Identity.PasswordAlone {
			return ErrPasswordAlone
		}
		i, err := f.Permit(tx, s, Unbind(device))
		if err != nil {
			return err
		}
		if err := tx.RemoveVirtualMFA(i.Account, i.ID, device, ErrNotBound); err != nil {
			return err
		}
		if !facts.SecondFactor() {
			if err := tx.ReplaceRecoveryCodes(i.Account, i.ID, nil); err != nil {
				return err
			}
		}
		if token, err = f.renew(tx, s); err != nil {
			return err
		}
		if err := f.Notify(tx, v, i, message.DeviceUnbound); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.MFAUnbind, Identity: i.ID, Target: device, Details: map[string]string{"name": d.Name}})
	})
	return token, err
}
