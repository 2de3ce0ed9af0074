package store

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
)

// A LinkKind says what a link in a mail is for.
type LinkKind string

// The kinds.
const (
	ResetLink LinkKind = "reset"  // a new password
	NotMeLink LinkKind = "not_me" // "This wasn't me"
)

// A Link is one in a mail; the store keeps the hash of its token.
type Link struct {
	Kind      LinkKind
	Account   account.ID
	Identity  account.IdentityID
	Epoch     int64  // of the identity, when the link was made
	Event     string // what the mail told; of a reset: where it went, hashed
	Address   string // from where that came
	UserAgent string
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time // zero: it was not
}

// AddLink keeps the hash of a link's token.
func (tx *Tx) AddLink(hash []byte, l Link) error {
	return tx.later(`INSERT INTO mail_link (token_hash, kind, account_id, identity_id, epoch, event, address, user_agent, created_at, expires_at, used_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)`,
		hash, l.Kind, l.Account, l.Identity, l.Epoch, l.Event, l.Address, audit.Clip(l.UserAgent, audit.AgentMaxBytes), micros(tx.Now), micros(l.ExpiresAt))
}

// Link returns the link whose token has the hash given, also when it was used
// or has expired.
func (r *Reader) Link(kind LinkKind, hash []byte) (l Link, err error) {
	l.Kind = kind
	var created, expires, used int64
	err = r.row("SELECT account_id, identity_id, epoch, event, address, user_agent, created_at, expires_at, used_at FROM mail_link WHERE token_hash = $1 AND kind = $2", []any{hash, kind},
		&l.Account, &l.Identity, &l.Epoch, &l.Event, &l.Address, &l.UserAgent, &created, &expires, &used)
	l.CreatedAt, l.ExpiresAt, l.UsedAt = instant(created), instant(expires), instant(used)
	return l, err
}

// UseLink uses a link up; used is returned when it was, or has expired.
func (tx *Tx) UseLink(kind LinkKind, hash []byte, used error) error {
	return tx.one(used, "UPDATE mail_link SET used_at = $3 WHERE token_hash = $1 AND kind = $2 AND used_at = 0 AND expires_at > $3", hash, kind, micros(tx.Now))
}

// VoidLinks makes every unused link of the kind that the identity has useless.
func (tx *Tx) VoidLinks(i account.IdentityID, kind LinkKind) error {
	return tx.later("UPDATE mail_link SET used_at = $3 WHERE identity_id = $1 AND kind = $2 AND used_at = 0", i, kind, micros(tx.Now))
}

// DropLink takes out a link that nobody got.
func (tx *Tx) DropLink(hash []byte) error {
	return tx.later("DELETE FROM mail_link WHERE token_hash = $1", hash)
}

// Distrust notes that somebody else was there, as its owner says: the next
// sign-in takes more than the password, and leads to a new one and to a check
// of what is bound.
func (tx *Tx) Distrust(i account.IdentityID) error {
	return tx.one(ErrNoRow, "UPDATE identity SET distrusted_at = $2, check_due = $2 WHERE id = $1", i, micros(tx.Now))
}

// EndCheck notes that the identity has looked through what is bound; done is
// returned when no check was due.
func (tx *Tx) EndCheck(i account.IdentityID, done error) error {
	return tx.one(done, "UPDATE identity SET check_due = 0 WHERE id = $1 AND check_due > 0", i)
}

// A Digest is what happened again after a notice had told of it.
type Digest struct {
	Account  account.ID
	Identity account.IdentityID
	Kind     string
	Count    int
	From     []string // addresses, busiest first; an empty one stands for others
	FirstAt  time.Time
	LastAt   time.Time
}

// digestPlaces is how many addresses a digest names.
const digestPlaces = 20

// CountForDigest counts one more for the digest that goes out when the window
// of the notice ends.
func (tx *Tx) CountForDigest(a account.ID, i account.IdentityID, kind, address string, due time.Time) error {
	var places int
	if err := tx.row("SELECT count(*) FROM notice_digest WHERE account_id = $1 AND identity_id = $2 AND kind = $3 AND address <> $4", []any{a, i, kind, address}, &places); err != nil {
		return err
	}
	if places >= digestPlaces {
		address = ""
	}
	return tx.later(`INSERT INTO notice_digest AS d (account_id, identity_id, kind, address, counted, first_at, last_at, due_at) VALUES ($1, $2, $3, $4, 1, $5, $5, $6)
		ON CONFLICT (account_id, identity_id, kind, address) DO UPDATE SET counted = d.counted + 1, last_at = $5`, a, i, kind, address, micros(tx.Now), micros(due))
}

// DueDigests returns identities and kinds of which a digest is due.
func (r *Reader) DueDigests(now time.Time, limit int) (list []Digest, err error) {
	err = r.each("SELECT account_id, identity_id, kind FROM notice_digest GROUP BY account_id, identity_id, kind HAVING min(due_at) <= $1 ORDER BY min(due_at), identity_id, kind LIMIT $2", []any{micros(now), limit},
		func(scan func(...any) error) error {
			var d Digest
			err := scan(&d.Account, &d.Identity, &d.Kind)
			list = append(list, d)
			return err
		})
	return list, err
}

// TakeDigest takes out what was counted of a kind for an identity; Count is 0
// where another node was first.
func (tx *Tx) TakeDigest(a account.ID, i account.IdentityID, kind string) (Digest, error) {
	d := Digest{Account: a, Identity: i, Kind: kind}
	err := tx.each("SELECT address, counted, first_at, last_at FROM notice_digest WHERE account_id = $1 AND identity_id = $2 AND kind = $3 ORDER BY address = '', counted DESC, address"+tx.forUpdate(), []any{a, i, kind},
		func(scan func(...any) error) error {
			var address string
			var n int
			var first, last int64
			err := scan(&address, &n, &first, &last)
			d.From, d.Count = append(d.From, address), d.Count+n
			if at := instant(first); d.FirstAt.IsZero() || at.Before(d.FirstAt) {
				d.FirstAt = at
			}
			if at := instant(last); at.After(d.LastAt) {
				d.LastAt = at
			}
			return err
		})
	if err != nil {
		return d, err
	}
	n, err := tx.exec("DELETE FROM notice_digest WHERE account_id = $1 AND identity_id = $2 AND kind = $3", a, i, kind)
	if err == nil && n != int64(len(d.From)) { // counted or taken meanwhile
		err = errLost
	}
	return d, err
}
