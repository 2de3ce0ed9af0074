package store

import (
	"time"

	"countersign/internal/domain/account"
)

// An EnrolmentKind says what a ticket is for.
type EnrolmentKind string

// The kinds.
const (
	Reenrol EnrolmentKind = "reenrol" // an administrator took the last device off
	Recover EnrolmentKind = "recover" // the operator helps someone who has lost all
)

// An Enrolment says that binding a device takes a ticket, or that a ticket
// leads to a new device. It stays when its ticket has expired: then it takes
// another.
type Enrolment struct {
	Kind       EnrolmentKind
	TicketHash []byte
	CancelHash []byte // of the link that ends it; nil: there is none
	CreatedAt  time.Time
	OpensAt    time.Time // from when the ticket works
	ExpiresAt  time.Time
}

// SetEnrolment keeps an enrolment in place of the one of its kind.
func (tx *Tx) SetEnrolment(a account.ID, i account.IdentityID, e Enrolment) error {
	var cancel any // NULL is equal to nothing
	if len(e.CancelHash) > 0 {
		cancel = e.CancelHash
	}
	return tx.later(`INSERT INTO enrolment (account_id, identity_id, kind, ticket_hash, cancel_hash, created_at, opens_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (account_id, identity_id, kind) DO UPDATE SET ticket_hash = $4, cancel_hash = $5, created_at = $6, opens_at = $7, expires_at = $8`,
		a, i, e.Kind, e.TicketHash, cancel, micros(e.CreatedAt), micros(e.OpensAt), micros(e.ExpiresAt))
}

const enrolmentColumns = "kind, ticket_hash, cancel_hash, created_at, opens_at, expires_at"

func scanEnrolment(scan func(...any) error, more ...any) (e Enrolment, err error) {
	var created, opens, expires int64
	err = scan(append([]any{&e.Kind, &e.TicketHash, &e.CancelHash, &created, &opens, &expires}, more...)...)
	e.CreatedAt, e.OpensAt, e.ExpiresAt = instant(created), instant(opens), instant(expires)
	return e, err
}

// Enrolments returns those of an identity, expired ones included.
func (r *Reader) Enrolments(a account.ID, i account.IdentityID) (list []Enrolment, err error) {
	err = r.each("SELECT "+enrolmentColumns+" FROM enrolment WHERE account_id = $1 AND identity_id = $2 ORDER BY kind", []any{a, i},
		func(scan func(...any) error) error {
			e, err := scanEnrolment(scan)
			list = append(list, e)
			return err
		})
	return list, err
}

// TicketOpen reports whether the hash is that of a ticket of the identity that
// works at now.
func (r *Reader) TicketOpen(a account.ID, i account.IdentityID, hash []byte, now time.Time) (open bool, err error) {
	err = r.row("SELECT EXISTS (SELECT 1 FROM enrolment WHERE account_id = $1 AND identity_id = $2 AND ticket_hash = $3 AND opens_at <= $4 AND expires_at > $4)", []any{a, i, hash, micros(now)}, &open)
	return open, err
}

// EndEnrolment ends the enrolment of the kind; gone is returned when there is
// none, and may be nil.
func (tx *Tx) EndEnrolment(a account.ID, i account.IdentityID, k EnrolmentKind, gone error) error {
	return tx.one(gone, "DELETE FROM enrolment WHERE account_id = $1 AND identity_id = $2 AND kind = $3", a, i, k)
}

// EnrolmentByCancel returns the enrolment whose link to end it has the hash
// given, and whose it is.
func (r *Reader) EnrolmentByCancel(hash []byte) (i account.IdentityID, e Enrolment, err error) {
	e, err = scanEnrolment(func(into ...any) error {
		return r.row("SELECT "+enrolmentColumns+", identity_id FROM enrolment WHERE cancel_hash = $1"+r.forUpdate(), []any{hash}, into...)
	}, &i)
	return i, e, err
}
