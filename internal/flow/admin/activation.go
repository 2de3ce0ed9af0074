package admin

import (
	"context"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/locale"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// ActivationLifetime is how long the link in a text message makes its phone a
// security phone.
const ActivationLifetime = 24 * time.Hour

// Faults about the phone that an administrator writes down.
var (
	ErrPhoneBound   = fault.New(fault.Conflict, "activation.bound")
	ErrPhoneOff     = fault.New(fault.Conflict, "activation.forbidden")
	ErrNoActivation = fault.New(fault.Conflict, "activation.none")
)

// SendActivation is the action that sends the link by which a phone becomes the
// user's: to the number of its form.
func SendActivation(d Detail, number account.Phone) policy.Action { return activation(d.User, number) }

func activation(u store.User, number account.Phone) policy.Action {
	a := one("send_activation", u, true)
	a.Target += "/" + digest([]byte(number))
	return a
}

// ActivationNumber is the number that a form names: as typed, or again the one
// that waits.
func (f *Flow) ActivationNumber(ctx context.Context, d Detail, again bool, country, typed string) (account.Phone, error) {
	if !again {
		return f.ParsePhone(country, typed)
	}
	a, err := f.DB.Read(ctx).Activation(d.Account, d.ID)
	if errors.Is(err, store.ErrNoRow) {
		err = ErrNoActivation
	}
	return a.Number, err
}

// Activate sends the link by which the holder of a phone makes it the security
// phone of a user. The link before is void. Nothing is bound until it is opened.
func (f *Flow) Activate(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, number account.Phone) error {
	token, err := secret.NewToken(f.Random)
	if err != nil {
		return err
	}
	action := func(_ account.Identity, u store.User) (policy.Action, error) { return activation(u, number), nil }
	return f.one(ctx, v, s, id, false, action, func(tx *store.Tx, actor account.Identity, u store.User) error {
		settings, err := tx.Settings(u.Account)
		switch {
		case err != nil:
			return err
		case u.Phone:
			return ErrPhoneBound
		case !settings.AllowSMS:
			return ErrPhoneOff
		}
		a := store.Activation{Account: u.Account, Identity: u.ID, Number: number, Hash: token.Hash(), By: actor.Name(), CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ActivationLifetime)}
		if a.ID, err = f.DB.NewID(); err != nil {
			return err
		}
		to := prove.Destination{Method: factor.SMS, Phone: number, New: true}
		m := f.Service.Activation(locale.Match("", u.Locale), u.Identity, string(number), token.Reveal(), int(ActivationLifetime/time.Hour), a.ExpiresAt)
		// Asked for again it waits, whatever the number: by the user, not by the link.
		if refusal, err := f.SendLink(tx, v, u.Identity, "activation:"+string(u.ID), to, m); err != nil || refusal != nil {
			return errors.Join(err, refusal)
		}
		if err := tx.SetActivation(a); err != nil {
			return err
		}
		return record(tx, u, audit.ActivationSend, a.ID, map[string]string{"to": number.Mask()})
	})
}
