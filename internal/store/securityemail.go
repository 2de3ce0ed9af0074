package store

import (
	"time"

	"countersign/internal/domain/account"
)

// A SecurityEmail is the mailbox of a RAM user that has answered; the email of
// its profile is another matter.
type SecurityEmail struct {
	ID         string
	Address    string
	BoundAt    time.Time
	BoundFrom  string // address of the network
	LastUsedAt time.Time
}

// SecurityEmail returns the one that is bound; within a write it is locked
// until the end.
func (r *Reader) SecurityEmail(a account.ID, i account.IdentityID) (e SecurityEmail, err error) {
	var bound, used int64
	err = r.row("SELECT id, address, bound_at, bound_from, last_used_at FROM security_email WHERE account_id = $1 AND identity_id = $2"+r.forUpdate(),
		[]any{a, i}, &e.ID, &e.Address, &bound, &e.BoundFrom, &used)
	e.BoundAt, e.LastUsedAt = instant(bound), instant(used)
	return e, err
}

// BindSecurityEmail binds an address in place of the one named by old (empty:
// none); changed is returned when that is no longer the one.
func (tx *Tx) BindSecurityEmail(a account.ID, i account.IdentityID, old string, e SecurityEmail, changed error) error {
	if old == "" {
		return tx.one(changed, `INSERT INTO security_email (account_id, identity_id, id, address, address_key, bound_at, bound_from, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0)
			ON CONFLICT (account_id, identity_id) DO NOTHING`, a, i, e.ID, e.Address, account.EmailKey(e.Address), micros(tx.Now), e.BoundFrom)
	}
	return tx.one(changed, "UPDATE security_email SET id = $4, address = $5, address_key = $6, bound_at = $7, bound_from = $8, last_used_at = 0 WHERE account_id = $1 AND identity_id = $2 AND id = $3",
		a, i, old, e.ID, e.Address, account.EmailKey(e.Address), micros(tx.Now), e.BoundFrom)
}

// UseSecurityEmail notes that a code sent there came back.
func (tx *Tx) UseSecurityEmail(a account.ID, i account.IdentityID) error {
	return tx.later("UPDATE security_email SET last_used_at = $3 WHERE account_id = $1 AND identity_id = $2", a, i, micros(tx.Now))
}

// RemoveSecurityEmail unbinds it; gone is returned when it is not there.
func (tx *Tx) RemoveSecurityEmail(a account.ID, i account.IdentityID, id string, gone error) error {
	return tx.one(gone, "DELETE FROM security_email WHERE account_id = $1 AND identity_id = $2 AND id = $3", a, i, id)
}

// SecurityEmailIdentities counts the identities that an address serves, over
// all accounts.
func (r *Reader) SecurityEmailIdentities(address string) (n int, err error) {
	err = r.row("SELECT count(*) FROM security_email WHERE address_key = $1", []any{account.EmailKey(address)}, &n)
	return n, err
}
