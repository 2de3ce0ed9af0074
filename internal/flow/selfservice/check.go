package selfservice

import (
	"context"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/session"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// CheckEvents is how many events the check of what is bound shows.
const CheckEvents = 10

// Belongings are what somebody looks through who was told of what they did not do.
type Belongings struct {
	Overview
	Remembered []session.RememberedDevice
	Events     []audit.Event
}

// Belongings gathers all with which the identity can be reached or recognised.
func (f *Flow) Belongings(ctx context.Context, s prove.Signed) (c Belongings, err error) {
	if c.Overview, err = f.Overview(ctx, s); err != nil {
		return c, err
	}
	r := f.DB.Read(ctx)
	if c.Remembered, err = r.RememberedDevices(s.Identity.Account, s.Identity.ID); err != nil {
		return c, err
	}
	c.Events, _, err = f.History(ctx, s, 0)
	c.Events = c.Events[:min(len(c.Events), CheckEvents)]
	return c, err
}

// EndCheck takes the word of the identity that all of it is its own. Where no
// check was due, nothing is left to say.
func (f *Flow) EndCheck(ctx context.Context, v prove.Visitor, s prove.Signed) error {
	err := f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := tx.Identity(s.Identity.ID)
		if err != nil {
			return err
		}
		if i.Epoch != s.Session.Epoch {
			return session.ErrSignedOut
		}
		if err := tx.EndCheck(i.ID, store.ErrNoRow); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.CheckEnd, Identity: i.ID})
	})
	_, err = store.HasRow(err)
	return err
}
