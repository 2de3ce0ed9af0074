package store

import (
	"errors"

	"countersign/internal/domain/account"
	"countersign/internal/domain/session"
)

const rememberedColumns = "account_id, identity_id, id, epoch, session_id, created_at, expires_at, last_used_at, address, user_agent"

func scanRemembered(scan func(...any) error, more ...any) (d session.RememberedDevice, err error) {
	var created, expires, used int64
	err = scan(append([]any{&d.Account, &d.Identity, &d.ID, &d.Epoch, &d.Session, &created, &expires, &used, &d.Address, &d.UserAgent}, more...)...)
	d.CreatedAt, d.ExpiresAt, d.LastUsedAt = instant(created), instant(expires), instant(used)
	return d, err
}

// RememberDevice keeps a new remembered device under the hashes of its series
// and its secret. Whether devices may be remembered must have been read by
// Facts in the same write: whoever switches that off waits for us, and then
// finds the device, or was first, and the write is tried again.
func (tx *Tx) RememberDevice(d session.RememberedDevice, series, secret []byte) error {
	lock := tx.forUpdate()
	if lock != "" {
		lock = " FOR SHARE"
	}
	var epoch int64
	if err := tx.row("SELECT policy_epoch FROM account WHERE id = $1"+lock, []any{d.Account}, &epoch); err != nil {
		return err
	}
	if epoch != tx.policyEpoch(d.Account) {
		return errLost
	}
	return tx.later("INSERT INTO remembered_device ("+rememberedColumns+", series_hash, token_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $6, $8, $9, $10, $11)",
		d.Account, d.Identity, d.ID, d.Epoch, d.Session, micros(tx.Now), micros(d.ExpiresAt), d.Address, d.UserAgent, series, secret)
}

// RememberedDevice returns the device of a series, whosever it is and whether
// or not it still counts, with the hash of its present secret; locked until
// the end of the write.
func (tx *Tx) RememberedDevice(series []byte) (d session.RememberedDevice, secret []byte, err error) {
	d, err = scanRemembered(func(into ...any) error {
		return tx.row("SELECT "+rememberedColumns+", token_hash FROM remembered_device WHERE series_hash = $1"+tx.forUpdate(), []any{series}, into...)
	}, &secret)
	return d, secret, err
}

// UseRemembered gives a remembered device another secret in place of the one
// that was shown. When it lasts until is not touched.
func (tx *Tx) UseRemembered(d session.RememberedDevice, from, to []byte) error {
	return tx.oneLater(errLost, `UPDATE remembered_device SET token_hash = $3, last_used_at = $4, session_id = $5, address = $6, user_agent = $7
		WHERE id = $1 AND token_hash = $2 AND expires_at > $4`, d.ID, from, to, micros(tx.Now), d.Session, d.Address, d.UserAgent)
}

// RememberedDevices returns the browsers that are remembered of an identity,
// the one used last first.
func (r *Reader) RememberedDevices(a account.ID, i account.IdentityID) (list []session.RememberedDevice, err error) {
	err = r.each(`SELECT d.account_id, d.identity_id, d.id, d.epoch, d.session_id, d.created_at, d.expires_at, d.last_used_at, d.address, d.user_agent
		FROM remembered_device d JOIN identity i ON i.id = d.identity_id AND i.epoch = d.epoch
		WHERE d.account_id = $1 AND d.identity_id = $2 AND d.expires_at > $3 ORDER BY d.last_used_at DESC, d.id DESC`, []any{a, i, micros(r.now())},
		func(scan func(...any) error) error {
			d, err := scanRemembered(scan)
			list = append(list, d)
			return err
		})
	return list, err
}

// Rests reports whether a session rests on a device that is still remembered.
func (r *Reader) Rests(s session.Session) (rests bool, err error) {
	if s.Remembered == "" {
		return false, nil
	}
	err = r.row("SELECT EXISTS (SELECT 1 FROM remembered_device WHERE id = $1 AND identity_id = $2 AND epoch = $3 AND expires_at > $4)",
		[]any{s.Remembered, s.Identity, s.Epoch, micros(r.now())}, &rests)
	return rests, err
}

// ForgetRemembered forgets a remembered device of an identity and ends the
// sessions that rest on it; gone is returned when it is no more.
func (tx *Tx) ForgetRemembered(i account.IdentityID, id string, gone error) error {
	if err := tx.one(gone, "DELETE FROM remembered_device WHERE identity_id = $1 AND id = $2", i, id); err != nil {
		return err
	}
	tx.revoked(i)
	return tx.later("DELETE FROM session WHERE identity_id = $1 AND remembered = $2", i, id)
}

// ForgetAllRemembered forgets every remembered device of an identity, ends the
// sessions that rest on them, and returns how many there were.
func (tx *Tx) ForgetAllRemembered(i account.IdentityID) (int64, error) {
	return tx.ForgetOtherRemembered(session.Session{Identity: i})
}

// ForgetOtherRemembered does so but for the device of the browser that a
// session is in.
func (tx *Tx) ForgetOtherRemembered(but session.Session) (int64, error) {
	n, err := tx.exec("DELETE FROM remembered_device WHERE identity_id = $1 AND id <> $2 AND ($3 = '' OR session_id <> $3)", but.Identity, but.Remembered, but.ID)
	if err != nil || n == 0 {
		return n, err
	}
	tx.revoked(but.Identity)
	_, err = tx.exec("DELETE FROM session WHERE identity_id = $1 AND remembered <> '' AND remembered NOT IN (SELECT d.id FROM remembered_device d WHERE d.identity_id = $1)", but.Identity)
	return n, err
}

// ForgetRememberedOf forgets the device of the browser that a session of the
// identity is in, which is about to end, with what else rests on it, and
// returns its id; empty: there is none.
func (tx *Tx) ForgetRememberedOf(i account.IdentityID, sessionID string) (id string, err error) {
	err = tx.row(`SELECT d.id FROM remembered_device d WHERE d.identity_id = $1
		AND (d.session_id = $2 OR d.id = (SELECT s.remembered FROM session s WHERE s.id = $2 AND s.identity_id = $1))`, []any{i, sessionID}, &id)
	if errors.Is(err, ErrNoRow) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if err := tx.one(errLost, "DELETE FROM remembered_device WHERE identity_id = $1 AND id = $2", i, id); err != nil {
		return "", err
	}
	tx.revoked(i)
	_, err = tx.exec("DELETE FROM session WHERE identity_id = $1 AND remembered = $2 AND id <> $3", i, id, sessionID)
	return id, err
}

// ForgetRememberedIn forgets every remembered device of an account, and
// returns how many there were. It comes after SetSettings, which has the
// sessions checked anew.
func (tx *Tx) ForgetRememberedIn(a account.ID) (int64, error) {
	return tx.exec("DELETE FROM remembered_device WHERE account_id = $1", a)
}
