package selfservice

import (
	"context"
	"time"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/message"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// codesPerHour bounds the sets that are made: each voids the one before and is
// told of.
const codesPerHour = 5

// MakeRecoveryCodes makes a new set for someone who has a device.
func (f *Flow) MakeRecoveryCodes(ctx context.Context, v prove.Visitor, s prove.Signed) error {
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		facts, err := tx.Facts(s.Identity, nil)
		if err != nil {
			return err
		}
		if !facts.SecondFactor() {
			return ErrNoDevice
		}
		i, err := f.Permit(tx, s, MakeCodes)
		if err != nil {
			return err
		}
		ok, wait, err := tx.Count("codes-made:"+string(i.ID), codesPerHour, time.Hour)
		if err != nil {
			return err
		}
		if !ok {
			return ErrTooManyCodes.After(wait)
		}
		if _, err := f.NewCodes(tx, s.Session.ID, i); err != nil {
			return err
		}
		return f.Notify(tx, v, i, message.RecoveryCodesMade)
	})
}

// NewRecoveryCodes returns the codes that this session made and has not yet
// called saved; none when there are none.
func (f *Flow) NewRecoveryCodes(ctx context.Context, s prove.Signed) ([]string, error) {
	list, err := f.DB.Read(ctx).OpenCeremonies(ceremony.Codes, s.Session.ID, f.DB.Now())
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0].Private.Codes, nil
}

// RecoveryCodesSaved forgets the codes: from now on they are nowhere but with
// their owner.
func (f *Flow) RecoveryCodesSaved(ctx context.Context, v prove.Visitor, s prove.Signed) error {
	return f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		if err := tx.RecoveryCodesSaved(s.Identity.Account, s.Identity.ID); err != nil {
			return err
		}
		return tx.DropCeremonies(ceremony.Codes, s.Session.ID)
	})
}
