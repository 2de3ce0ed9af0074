package admin

import (
	"context"
	"errors"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// idleBatch is how many idle users are looked up at a time.
const idleBatch = 100

// DisableIdle disables the console sign-in of users who have not used it for
// as long as their account allows, and returns how many. It is the daily job.
func (f *Flow) DisableIdle(ctx context.Context) (n int, err error) {
	actor := audit.Actor{Kind: "system", Name: "idle users"}
	for {
		users, err := f.DB.Read(ctx).IdleUsers(idleBatch, f.DB.Now())
		if err != nil {
			return n, err
		}
		did := 0
		for _, u := range users {
			err := f.DB.Write(ctx, actor, func(tx *store.Tx) error {
				now, err := tx.User(u.Account, u.ID)
				// Whoever has signed in or was changed meanwhile is no longer idle.
				if errors.Is(err, store.ErrNoRow) || err == nil && (now.LastSignInAt != u.LastSignInAt || now.Profile != u.Profile) {
					return errNothing
				}
				if err != nil {
					return err
				}
				if err := disable(tx, now, account.ProfileIdle, audit.IdleDisable); err != nil {
					return err
				}
				return f.Notify(tx, prove.Visitor{}, now.Identity, message.SignInDisabled)
			})
			switch {
			case err == nil:
				did++
			case !errors.Is(err, errNothing):
				return n + did, err
			}
		}
		n += did
		if did == 0 || len(users) < idleBatch {
			return n, nil
		}
	}
}
