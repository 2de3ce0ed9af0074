package store

import (
	"time"

	"countersign/internal/domain/account"
)

// An Activation is a phone that an administrator has written down for a RAM
// user, until its holder opens the link that was sent there.
type Activation struct {
	Account   account.ID
	Identity  account.IdentityID
	ID        string
	Number    account.Phone
	Hash      []byte // of the link's token
	By        string // name of the administrator
	CreatedAt time.Time
	ExpiresAt time.Time
}

const activationColumns = "account_id, identity_id, id, number, created_by, created_at, expires_at"

func (r *Reader) activationWhere(where string, args ...any) (a Activation, err error) {
	var created, expires int64
	err = r.row("SELECT "+activationColumns+" FROM activation WHERE "+where+r.forUpdate(), args, &a.Account, &a.Identity, &a.ID, &a.Number, &a.By, &created, &expires)
	a.CreatedAt, a.ExpiresAt = instant(created), instant(expires)
	return a, err
}

// Activation returns the phone that waits to be activated, expired or not;
// within a write it is locked until the end.
func (r *Reader) Activation(a account.ID, i account.IdentityID) (Activation, error) {
	return r.activationWhere("account_id = $1 AND identity_id = $2", a, i)
}

// ActivationByToken returns the one whose link has the hash given.
func (r *Reader) ActivationByToken(hash []byte) (Activation, error) {
	return r.activationWhere("token_hash = $1", hash)
}

// SetActivation keeps a phone to be activated, in place of the one before: its
// link is void.
func (tx *Tx) SetActivation(a Activation) error {
	return tx.later(`INSERT INTO activation (account_id, identity_id, id, number, token_hash, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (account_id, identity_id) DO UPDATE SET id = $3, number = $4, token_hash = $5, created_by = $6, created_at = $7, expires_at = $8`,
		a.Account, a.Identity, a.ID, a.Number, a.Hash, a.By, micros(a.CreatedAt), micros(a.ExpiresAt))
}

// EndActivation uses up the link of a phone, or withdraws it; gone is returned
// when it is not there, and may be nil.
func (tx *Tx) EndActivation(a account.ID, i account.IdentityID, id string, gone error) error {
	return tx.one(gone, "DELETE FROM activation WHERE account_id = $1 AND identity_id = $2 AND id = $3", a, i, id)
}
