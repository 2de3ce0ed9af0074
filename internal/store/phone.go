package store

import (
	"time"

	"countersign/internal/domain/account"
)

// A Phone is an attached telephone number as stored.
type Phone struct {
	ID         string
	Number     account.Phone
	BoundAt    time.Time
	BoundFrom  string // address
	LastUsedAt time.Time
}

// Phone returns the number that is attached; within a write it is locked until
// the end.
func (r *Reader) Phone(a account.ID, i account.IdentityID) (p Phone, err error) {
	var bound, used int64
	err = r.row("SELECT id, number, bound_at, bound_from, last_used_at FROM phone WHERE account_id = $1 AND identity_id = $2"+r.forUpdate(),
		[]any{a, i}, &p.ID, &p.Number, &bound, &p.BoundFrom, &used)
	p.BoundAt, p.LastUsedAt = instant(bound), instant(used)
	return p, err
}

// AttachPhone attaches a number in place of the one named by old (empty:
// none); changed is returned when that is no longer the one.
func (tx *Tx) AttachPhone(a account.ID, i account.IdentityID, old string, p Phone, changed error) error {
	if old == "" {
		return tx.one(changed, "INSERT INTO phone (account_id, identity_id, id, number, bound_at, bound_from, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, 0) ON CONFLICT (account_id, identity_id) DO NOTHING",
			a, i, p.ID, p.Number, micros(tx.Now), p.BoundFrom)
	}
	return tx.one(changed, "UPDATE phone SET id = $4, number = $5, bound_at = $6, bound_from = $7, last_used_at = 0 WHERE account_id = $1 AND identity_id = $2 AND id = $3",
		a, i, old, p.ID, p.Number, micros(tx.Now), p.BoundFrom)
}

// UsePhone notes that a code sent to the phone came back.
func (tx *Tx) UsePhone(a account.ID, i account.IdentityID) error {
	return tx.later("UPDATE phone SET last_used_at = $3 WHERE account_id = $1 AND identity_id = $2", a, i, micros(tx.Now))
}

// RemovePhone takes the number off; gone is returned when it is not there.
func (tx *Tx) RemovePhone(a account.ID, i account.IdentityID, id string, gone error) error {
	return tx.one(gone, "DELETE FROM phone WHERE account_id = $1 AND identity_id = $2 AND id = $3", a, i, id)
}

// PhoneIdentities counts the identities that a number serves.
func (r *Reader) PhoneIdentities(number account.Phone) (n int, err error) {
	err = r.row("SELECT count(*) FROM phone WHERE number = $1", []any{number}, &n)
	return n, err
}
