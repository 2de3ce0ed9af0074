package selfservice

import (
	"context"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// newCodes makes a new set of recovery codes; the old set is void. The
// session that asked can read them until it says that they are saved, for as
// long as a ceremony lasts: a change of language must not cost them.
func (f *Flow) newCodes(tx *store.Tx, s prove.Signed, i account.Identity) error {
	codes, err := factor.NewRecoveryCodes(f.Random)
	if err != nil {
		return err
	}
	hashes := make([][]byte, len(codes))
	for n, c := range codes {
		hashes[n] = prove.RecoveryHash(i, c)
	}
	if err := tx.ReplaceRecoveryCodes(i.Account, i.ID, hashes); err != nil {
		return err
	}
	if err := tx.DropCeremonies(ceremony.Codes, s.Session.ID); err != nil {
		return err
	}
	id, err := f.DB.NewID()
	if err != nil {
		return err
	}
	err = tx.AddCeremony(ceremony.Ceremony{ID: id, Kind: ceremony.Codes, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: s.Session.ID,
		TriesLeft: 1, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.Lifetime), Private: ceremony.Private{Codes: codes}})
	if err != nil {
		return err
	}
	return tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryCodesCreate, Identity: i.ID})
}

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
		if err := f.newCodes(tx, s, i); err != nil {
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
