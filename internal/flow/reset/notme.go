package reset

import (
	"context"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Faults about the link "This wasn't me".
var (
	ErrNotMeGone = fault.New(fault.Expired, "notme.gone")
	ErrNotMeUsed = fault.New(fault.Expired, "notme.used")
)

// A Told is what a notice told, as the holder of its link may see it.
type Told struct {
	Name      string // masked
	Kind      message.Kind
	At        time.Time
	Address   string // empty: the notice did not say
	UserAgent string
}

// told finds the notice of a link, and whom it told.
func (f *Flow) told(r *store.Reader, now time.Time, token secret.Token) (i account.Identity, l store.Link, err error) {
	l, err = r.Link(store.NotMeLink, token.Hash())
	if err == nil {
		i, err = r.Identity(l.Identity)
	}
	switch {
	case errors.Is(err, store.ErrNoRow):
		err = ErrNotMeGone
	case err != nil:
	case !l.UsedAt.IsZero():
		err = ErrNotMeUsed
	case !now.Before(l.ExpiresAt):
		err = ErrNotMeGone
	}
	return i, l, err
}

// Told shows what the notice told. It changes nothing: programs open links too.
func (f *Flow) Told(ctx context.Context, token secret.Token) (t Told, err error) {
	i, l, err := f.told(f.DB.Read(ctx), f.DB.Now(), token)
	if err != nil {
		return t, err
	}
	return Told{Name: account.MaskEmail(i.Name()), Kind: message.Kind(l.Event), At: l.CreatedAt, Address: l.Address, UserAgent: l.UserAgent}, nil
}

// NotMe ends whatever was granted to anybody, once: sessions, ceremonies,
// remembered and known browsers. The next sign-in takes more than the
// password, and leads to a new one and to a check of what is bound.
func (f *Flow) NotMe(ctx context.Context, v prove.Visitor, token secret.Token) error {
	return f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		i, l, err := f.told(&tx.Reader, tx.Now, token)
		if err != nil {
			return err
		}
		if err := tx.UseLink(store.NotMeLink, token.Hash(), ErrNotMeUsed); err != nil {
			return err
		}
		if _, err := tx.RaiseEpoch(i.ID, ""); err != nil {
			return err
		}
		if _, err := tx.DropKnownDevices(i.ID); err != nil {
			return err
		}
		if err := tx.Distrust(i.ID); err != nil {
			return err
		}
		if err := f.Notify(tx, v, i, message.Secured); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.NotMe, Identity: i.ID, Target: l.Event})
	})
}
