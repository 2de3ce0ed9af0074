package store

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/passkey"
)

// A Passkey is one as stored; keys bound under U2F are kept beside them.
type Passkey struct {
	passkey.Credential
	ID, Name                  string
	Account                   account.ID
	Identity                  account.IdentityID
	CopiedAt                  time.Time // when its counter last went back; zero: it never did
	CreatedAt, LastUsedAt     time.Time
	CreatedFrom, LastUsedFrom string // addresses
	LastUsedAgent             string // user agent
}

// passkeyKey is what two passkeys of one identity may not share.
func passkeyKey(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

const passkeyColumns = `account_id, identity_id, id, credential_id, public_key, app_id, name, aaguid, transports, backup_eligible, backed_up, verified, sign_count, format,
	copied_at, created_at, created_from, last_used_at, last_used_from, last_used_agent`

func scanPasskey(scan func(...any) error) (p Passkey, err error) {
	var aaguid, transports string
	var eligible, backed, verified, copied, created, used int64
	err = scan(&p.Account, &p.Identity, &p.ID, &p.Credential.ID, &p.PublicKey, &p.AppID, &p.Name, &aaguid, &transports, &eligible, &backed, &verified, &p.SignCount, &p.Format,
		&copied, &created, &p.CreatedFrom, &used, &p.LastUsedFrom, &p.LastUsedAgent)
	if err != nil {
		return Passkey{}, err
	}
	if transports != "" {
		p.Transports = strings.Fields(transports)
	}
	p.BackupEligible, p.BackedUp, p.Verified = eligible != 0, backed != 0, verified != 0
	p.CopiedAt, p.CreatedAt, p.LastUsedAt = instant(copied), instant(created), instant(used)
	p.AAGUID, err = passkey.ParseAAGUID(aaguid)
	return p, err
}

func (r *Reader) passkeyWhere(where string, args ...any) (Passkey, error) {
	return scanPasskey(func(into ...any) error {
		return r.row("SELECT "+passkeyColumns+" FROM passkey WHERE "+where+r.forUpdate(), args, into...)
	})
}

// Passkeys returns the passkeys and U2F keys of an identity, oldest first.
func (r *Reader) Passkeys(a account.ID, i account.IdentityID) (list []Passkey, err error) {
	err = r.each("SELECT "+passkeyColumns+" FROM passkey WHERE account_id = $1 AND identity_id = $2 ORDER BY created_at, id", []any{a, i},
		func(scan func(...any) error) error {
			p, err := scanPasskey(scan)
			list = append(list, p)
			return err
		})
	return list, err
}

// Passkey returns one of an identity; within a write it is locked until the end.
func (r *Reader) Passkey(a account.ID, i account.IdentityID, id string) (Passkey, error) {
	return r.passkeyWhere("account_id = $1 AND identity_id = $2 AND id = $3", a, i, id)
}

// PasskeyByCredential returns the one of that credential, whosever it is;
// within a write it is locked until the end.
func (r *Reader) PasskeyByCredential(credential []byte) (Passkey, error) {
	return r.passkeyWhere("credential_id = $1", notNull(credential))
}

// notNull is b, where nil would be NULL.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// AddPasskey keeps a new one, as created now unless it says when.
// passkey.ErrTaken if anybody has the credential already, which stays as it
// is; passkey.ErrNameTaken if the identity has one of the name. The write can
// go on.
func (tx *Tx) AddPasskey(p Passkey) error {
	if p.CreatedAt.IsZero() {
		p.CreatedAt = tx.Now
	}
	n, err := tx.exec("INSERT INTO passkey ("+passkeyColumns+`, name_key)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) ON CONFLICT DO NOTHING`,
		p.Account, p.Identity, p.ID, notNull(p.Credential.ID), notNull(p.PublicKey), p.AppID, p.Name, p.AAGUID.String(), strings.Join(p.Transports, " "),
		flag(p.BackupEligible), flag(p.BackedUp), flag(p.Verified), int64(p.SignCount), p.Format,
		micros(p.CopiedAt), micros(p.CreatedAt), p.CreatedFrom, micros(p.LastUsedAt), p.LastUsedFrom, p.LastUsedAgent, passkeyKey(p.Name))
	if err != nil || n > 0 {
		return err
	}
	var credential, name bool
	err = tx.row("SELECT EXISTS (SELECT 1 FROM passkey WHERE credential_id = $1), EXISTS (SELECT 1 FROM passkey WHERE account_id = $2 AND identity_id = $3 AND name_key = $4)",
		[]any{notNull(p.Credential.ID), p.Account, p.Identity, passkeyKey(p.Name)}, &credential, &name)
	switch {
	case err != nil:
		return err
	case credential:
		return passkey.ErrTaken
	case name:
		return passkey.ErrNameTaken
	}
	return errLost // what was in the way has gone meanwhile
}

// UsePasskey notes that one was used, and its counter and whether it is backed
// up now; lost is returned when its counter is no longer the one that the
// answer was checked against.
func (tx *Tx) UsePasskey(id string, before, after uint32, backedUp bool, from, agent string, lost error) error {
	return tx.one(lost, "UPDATE passkey SET sign_count = $3, backed_up = $4, last_used_at = $5, last_used_from = $6, last_used_agent = $7 WHERE id = $1 AND sign_count = $2",
		id, int64(before), int64(after), flag(backedUp), micros(tx.Now), from, agent)
}

// MarkCopied notes that the counter of one went back: there may be two of it.
func (tx *Tx) MarkCopied(id string) error {
	return tx.later("UPDATE passkey SET copied_at = $2 WHERE id = $1", id, micros(tx.Now))
}

// RenamePasskey gives one another name; gone is returned when it is not there,
// passkey.ErrNameTaken if another of the identity has the name.
func (tx *Tx) RenamePasskey(a account.ID, i account.IdentityID, id, name string, gone error) error {
	err := tx.one(gone, "UPDATE passkey SET name = $4, name_key = $5 WHERE account_id = $1 AND identity_id = $2 AND id = $3", a, i, id, name, passkeyKey(name))
	if err != nil && tx.db.engine.Taken(err) {
		return passkey.ErrNameTaken
	}
	return err
}

// RemovePasskey removes one; gone is returned when it is not there.
func (tx *Tx) RemovePasskey(a account.ID, i account.IdentityID, id string, gone error) error {
	return tx.one(gone, "DELETE FROM passkey WHERE account_id = $1 AND identity_id = $2 AND id = $3", a, i, id)
}

// PasskeyHandle returns the handle that authenticators know an identity by,
// and makes one if there is none: random, for it tells nothing of who that is.
// ErrNoRow if the account has no such identity.
func (tx *Tx) PasskeyHandle(a account.ID, i account.IdentityID) ([]byte, error) {
	handle := make([]byte, passkey.HandleBytes)
	if _, err := io.ReadFull(tx.db.config.Random, handle); err != nil {
		return nil, fmt.Errorf("draw a user handle: %w", err)
	}
	if err := tx.later(`INSERT INTO passkey_user (account_id, identity_id, handle) SELECT o.account_id, o.id, $3 FROM identity o WHERE o.account_id = $1 AND o.id = $2
		ON CONFLICT (identity_id) DO NOTHING`, a, i, handle); err != nil {
		return nil, err
	}
	return tx.PasskeyHandleOf(a, i)
}

// PasskeyHandleOf returns the handle of an identity, if it has one.
func (r *Reader) PasskeyHandleOf(a account.ID, i account.IdentityID) (handle []byte, err error) {
	err = r.row("SELECT handle FROM passkey_user WHERE account_id = $1 AND identity_id = $2", []any{a, i}, &handle)
	return handle, err
}

// challengesKept bounds the challenges of one ceremony and purpose: pages that
// are open side by side each have one.
const challengesKept = 8

// AddChallenge keeps the hash of a challenge that a ceremony gave out, and
// forgets its oldest ones. ErrNoRow if there is no such ceremony.
func (tx *Tx) AddChallenge(ceremonyID, purpose string, challenge []byte, expires time.Time) error {
	var seq int64
	if err := tx.row("SELECT 0 FROM ceremony WHERE id = $1"+tx.forUpdate(), []any{ceremonyID}, &seq); err != nil { // no other counts meanwhile
		return err
	}
	hash := sha256.Sum256(challenge)
	err := tx.row(`INSERT INTO passkey_challenge (hash, ceremony_id, purpose, seq, expires_at)
		SELECT $1, $2, $3, COALESCE(max(seq), 0) + 1, $4 FROM passkey_challenge WHERE ceremony_id = $2 AND purpose = $3 RETURNING seq`,
		[]any{hash[:], ceremonyID, purpose, micros(expires)}, &seq)
	if err != nil || seq <= challengesKept {
		return err
	}
	return tx.later("DELETE FROM passkey_challenge WHERE ceremony_id = $1 AND purpose = $2 AND seq <= $3", ceremonyID, purpose, seq-challengesKept)
}

// UseChallenge uses a challenge up; gone is returned when the ceremony gave
// none such out for the purpose, or it has expired or was used.
func (tx *Tx) UseChallenge(ceremonyID, purpose string, challenge []byte, gone error) error {
	hash := sha256.Sum256(challenge)
	return tx.one(gone, "DELETE FROM passkey_challenge WHERE hash = $1 AND ceremony_id = $2 AND purpose = $3 AND expires_at > $4", hash[:], ceremonyID, purpose, micros(tx.Now))
}
