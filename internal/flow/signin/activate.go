package signin

import (
	"context"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Faults about the link in a text message that makes a phone a security phone.
var (
	ErrActivationGone    = fault.New(fault.Expired, "activation.gone")
	ErrActivationExpired = fault.New(fault.Expired, "activation.expired")
)

// An Activation is what the holder of its link may see.
type Activation struct {
	Name      string // masked: numbers are mistyped
	Number    string // masked
	ExpiresAt time.Time
}

// activation finds the phone that a link belongs to.
func (f *Flow) activation(r *store.Reader, now time.Time, link secret.Token) (a store.Activation, i account.Identity, err error) {
	a, err = r.ActivationByToken(link.Hash())
	if err == nil && !now.Before(a.ExpiresAt) {
		return a, i, ErrActivationExpired
	}
	if err == nil {
		i, err = r.Identity(a.Identity)
	}
	if errors.Is(err, store.ErrNoRow) {
		err = ErrActivationGone
	}
	return a, i, err
}

// Activation shows whose phone a link activates. It changes nothing: programs
// open links too.
func (f *Flow) Activation(ctx context.Context, link secret.Token) (Activation, error) {
	a, i, err := f.activation(f.DB.Read(ctx), f.DB.Now(), link)
	if err != nil {
		return Activation{}, err
	}
	return Activation{account.MaskEmail(i.Name()), a.Number.Mask(), a.ExpiresAt}, nil
}

// Activate makes the phone of a link the security phone, once. Whatever was
// granted to the user before ends; nobody is signed in.
func (f *Flow) Activate(ctx context.Context, v prove.Visitor, link secret.Token) error {
	found, _, err := f.activation(f.DB.Read(ctx), f.DB.Now(), link)
	if err != nil {
		return err
	}
	return f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		i, err := tx.Identity(found.Identity) // first: locked in one order for everybody
		if errors.Is(err, store.ErrNoRow) {
			return ErrActivationGone
		}
		if err != nil {
			return err
		}
		a, _, err := f.activation(&tx.Reader, tx.Now, link)
		if err != nil {
			return err
		}
		settings, err := tx.Settings(i.Account)
		if err != nil {
			return err
		}
		if !settings.AllowSMS {
			return ErrActivationGone
		}
		if err := tx.EndActivation(a.Account, a.Identity, a.ID, ErrActivationGone); err != nil {
			return err
		}
		if err := tx.Record(audit.Event{Account: i.Account, Name: audit.ActivationUse, Identity: i.ID, Target: a.ID, Details: map[string]string{"to": a.Number.Mask(), "by": a.By}}); err != nil {
			return err
		}
		if err := f.AttachPhone(tx, v, i, "", a.Number); err != nil {
			return err
		}
		_, err = tx.RaiseEpoch(i.ID, "")
		return err
	})
}
