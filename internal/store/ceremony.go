package store

import (
	"encoding/json"
	"time"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/secret"
	"countersign/internal/store/expiry"
)

func privatePlace(id string) secret.Place {
	return secret.Place{Table: "ceremony", Row: id, Column: "private"}
}

// AddCeremony keeps a new ceremony.
func (tx *Tx) AddCeremony(c ceremony.Ceremony) error {
	proofs, err := json.Marshal(c.Proofs)
	if err != nil {
		return err
	}
	action, err := json.Marshal(c.Action)
	if err != nil {
		return err
	}
	private, err := json.Marshal(c.Private)
	if err != nil {
		return err
	}
	s := tx.db.config.Keys.Seal(privatePlace(c.ID), private)
	return tx.later(`INSERT INTO ceremony (id, kind, account_id, identity_id, epoch, token_hash, session_id, proofs, tries_left, return_to, action, key_id, private, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		c.ID, c.Kind, c.Account, c.Identity, c.Epoch, c.TokenHash, c.Session, string(proofs), c.TriesLeft, c.ReturnTo, string(action), s.KeyID, s.Box, micros(c.CreatedAt), micros(c.ExpiresAt))
}

const ceremonyColumns = "id, kind, account_id, identity_id, epoch, token_hash, session_id, proofs, tries_left, return_to, action, key_id, private, created_at, expires_at"

func (r *Reader) scanCeremony(scan func(...any) error) (c ceremony.Ceremony, err error) {
	var proofs, action string
	var s secret.Sealed
	var created, expires int64
	if err = scan(&c.ID, &c.Kind, &c.Account, &c.Identity, &c.Epoch, &c.TokenHash, &c.Session, &proofs, &c.TriesLeft, &c.ReturnTo, &action, &s.KeyID, &s.Box, &created, &expires); err != nil {
		return c, err
	}
	c.CreatedAt, c.ExpiresAt = instant(created), instant(expires)
	private, err := r.db.config.Keys.Open(privatePlace(c.ID), s)
	if err != nil {
		return c, err
	}
	for from, into := range map[string]any{proofs: &c.Proofs, action: &c.Action, string(private): &c.Private} {
		if err := json.Unmarshal([]byte(from), into); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (r *Reader) ceremonyWhere(where string, args ...any) (ceremony.Ceremony, error) {
	return r.scanCeremony(func(into ...any) error {
		return r.row("SELECT "+ceremonyColumns+" FROM ceremony WHERE "+where+r.forUpdate(), args, into...)
	})
}

// CeremonyByToken returns the ceremony whose cookie has the hash given;
// within a write it is locked until the end.
func (r *Reader) CeremonyByToken(kind ceremony.Kind, hash []byte) (ceremony.Ceremony, error) {
	return r.ceremonyWhere("kind = $1 AND token_hash = $2", kind, hash)
}

// CeremonyOfSession returns a ceremony that belongs to the session.
func (r *Reader) CeremonyOfSession(kind ceremony.Kind, id, session string) (ceremony.Ceremony, error) {
	return r.ceremonyWhere("kind = $1 AND id = $2 AND session_id = $3", kind, id, session)
}

// OpenCeremonies returns the unexpired ceremonies of the session, newest first.
func (r *Reader) OpenCeremonies(kind ceremony.Kind, session string, now time.Time) (list []ceremony.Ceremony, err error) {
	err = r.each("SELECT "+ceremonyColumns+" FROM ceremony WHERE kind = $1 AND session_id = $2 AND expires_at > $3 AND tries_left > 0 ORDER BY id DESC", []any{kind, session, micros(now)},
		func(scan func(...any) error) error {
			c, err := r.scanCeremony(scan)
			list = append(list, c)
			return err
		})
	return list, err
}

// HasCeremony reports whether the ceremony is still there, and not over.
func (tx *Tx) HasCeremony(id string) (has bool, err error) {
	err = tx.row("SELECT EXISTS (SELECT 1 FROM ceremony WHERE id = $1 AND expires_at > $2)", []any{id, micros(tx.Now)}, &has)
	return has, err
}

// SpendTry takes one try of the ceremony; gone is returned when there is none
// left or it has expired.
func (tx *Tx) SpendTry(id string, gone error) error {
	return tx.one(gone, "UPDATE ceremony SET tries_left = tries_left - 1 WHERE id = $1 AND tries_left > 0 AND expires_at > $2", id, micros(tx.Now))
}

// SavePrivate keeps what a ceremony now holds, and voids the codes that it
// sent so far: they belong to what it held before. gone is returned when it
// was finished meanwhile.
func (tx *Tx) SavePrivate(id string, p ceremony.Private, gone error) error {
	if err := tx.later("DELETE FROM sent_code WHERE ceremony_id = $1", id); err != nil {
		return err
	}
	return tx.AddPrivate(id, p, gone)
}

// AddPrivate keeps what a ceremony holds beside what its codes belong to.
func (tx *Tx) AddPrivate(id string, p ceremony.Private, gone error) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	s := tx.db.config.Keys.Seal(privatePlace(id), b)
	return tx.one(gone, "UPDATE ceremony SET key_id = $2, private = $3 WHERE id = $1", id, s.KeyID, s.Box)
}

// SaveProofs keeps the proofs given in a ceremony; gone is returned when it
// was finished meanwhile.
func (tx *Tx) SaveProofs(id string, proofs []factor.Proof, gone error) error {
	b, err := json.Marshal(proofs)
	if err != nil {
		return err
	}
	return tx.one(gone, "UPDATE ceremony SET proofs = $2 WHERE id = $1", id, string(b))
}

// ExtendCeremony lets a ceremony live until the time given; gone is returned
// when it is over.
func (tx *Tx) ExtendCeremony(id string, until time.Time, gone error) error {
	return tx.one(gone, "UPDATE ceremony SET expires_at = $2 WHERE id = $1 AND expires_at > $3", id, micros(until), micros(tx.Now))
}

// EndCeremony uses the ceremony up; gone is returned when another request was first.
func (tx *Tx) EndCeremony(id string, gone error) error {
	return tx.one(gone, "DELETE FROM ceremony WHERE id = $1 AND expires_at > $2", id, micros(tx.Now))
}

// DropCeremonies ends every ceremony of the kind in the session.
func (tx *Tx) DropCeremonies(kind ceremony.Kind, session string) error {
	return tx.later("DELETE FROM ceremony WHERE kind = $1 AND session_id = $2", kind, session)
}

// TrimCeremonies ends the oldest ceremonies of the kind in the session, so that
// it has fewer than most: pages that are open side by side each have one.
func (tx *Tx) TrimCeremonies(kind ceremony.Kind, session string, most int) error {
	return tx.later("DELETE FROM ceremony WHERE kind = $1 AND session_id = $2 AND id NOT IN (SELECT id FROM ceremony WHERE kind = $1 AND session_id = $2 ORDER BY id DESC LIMIT $3)", kind, session, most-1)
}

// AddSentCode keeps the MAC of a code that is about to be sent.
func (tx *Tx) AddSentCode(c ceremony.Code, code string) error {
	c.KeyID = tx.db.config.Keys.Newest()
	mac, err := tx.codeMAC(c.KeyID, c.Ceremony, code)
	if err != nil {
		return err
	}
	return tx.later("INSERT INTO sent_code (id, ceremony_id, method, digits, key_id, mac, created_at, expires_at, message_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		c.ID, c.Ceremony, c.Method, c.Digits, c.KeyID, mac, micros(c.CreatedAt), micros(c.ExpiresAt), c.Message)
}

func (r *Reader) codeMAC(key uint32, ceremonyID, code string) ([]byte, error) {
	return r.db.config.Keys.MAC(key, "sent code", []byte(ceremonyID+"\x00"+code))
}

// SentCodes returns the newest codes that a ceremony sent by the method and
// that may still count, newest first, expired ones included.
func (r *Reader) SentCodes(ceremonyID string, m factor.Method) (list []ceremony.Code, err error) {
	err = r.each("SELECT id, digits, key_id, mac, created_at, expires_at, message_id FROM sent_code WHERE ceremony_id = $1 AND method = $2 ORDER BY created_at DESC, id DESC LIMIT $3", []any{ceremonyID, m, ceremony.CodesValid},
		func(scan func(...any) error) error {
			c := ceremony.Code{Ceremony: ceremonyID, Method: m}
			var created, expires int64
			err := scan(&c.ID, &c.Digits, &c.KeyID, &c.MAC, &created, &expires, &c.Message)
			c.CreatedAt, c.ExpiresAt = instant(created), instant(expires)
			list = append(list, c)
			return err
		})
	return list, err
}

// CodeIs reports whether c is the MAC of code, in constant time.
func (r *Reader) CodeIs(c ceremony.Code, code string) (bool, error) {
	mac, err := r.codeMAC(c.KeyID, c.Ceremony, code)
	return err == nil && secret.Equal(mac, c.MAC), err
}

// UseSentCodes uses up every code of the ceremony; used is returned when
// another request was first.
func (tx *Tx) UseSentCodes(ceremonyID string, used error) error {
	return tx.one(used, "DELETE FROM sent_code WHERE ceremony_id = $1", ceremonyID)
}

// Expire removes what is over and has an index to say so.
func (tx *Tx) Expire() error { return expiry.Remove(tx.ctx, tx.q, expiry.Often, tx.Now, 0) }

// Sweep removes what has been over for long: it reads whole tables, and need
// not be often. Sessions that nobody used for idle and an hour are refused by
// then.
func (tx *Tx) Sweep(idle time.Duration) error {
	return expiry.Remove(tx.ctx, tx.q, expiry.Rarely, tx.Now, idle)
}
