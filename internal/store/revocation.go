package store

import (
	"context"
	"slices"

	"countersign/internal/domain/account"
	"countersign/internal/store/belief"
	"countersign/internal/store/engine"
)

// listen begins to hear other nodes, with the first session that is asked
// for: most commands ask for none.
func (db *DB) listen() { db.sessions.Listen(db.engine, db.config.Now, db.config.Log) }

// revoked is called by every write that ends or changes sessions: before the
// commit has answered, nobody may rely on the end, after it everybody must.
func (tx *Tx) revoked(i account.IdentityID) { tx.revoke(belief.OfIdentity(i)) }

// revokedAll is called by a write that touches every session of an account.
func (tx *Tx) revokedAll(a account.ID) { tx.revoke(belief.OfAccount(a)) }

func (tx *Tx) revoke(what string) {
	if !slices.Contains(tx.revocations, what) {
		tx.revocations = append(tx.revocations, what)
	}
}

// commit tells the other nodes of revocations with the COMMIT, and this one
// after it, even when nobody knows what became of it.
func (tx *Tx) commit(ctx context.Context, t engine.Transaction) error {
	if err := tx.db.engine.Announce(ctx, t, tx.revocations); err != nil {
		return err
	}
	err := t.Commit()
	for _, what := range tx.revocations {
		tx.db.sessions.Revoke(what)
	}
	return err
}
