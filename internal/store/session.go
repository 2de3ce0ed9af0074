package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
)

// AddSession keeps a new session under the hash of its token.
func (tx *Tx) AddSession(s session.Session, hash []byte) error {
	proofs, err := json.Marshal(s.Proofs)
	if err != nil {
		return err
	}
	return tx.later(`INSERT INTO session (id, account_id, identity_id, epoch, token_hash, proofs, created_at, last_seen_at, expires_at, address, user_agent, unusual, remembered, policy_epoch)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10, $11, $12, COALESCE(NULLIF(CAST($13 AS BIGINT), -1), (SELECT a.policy_epoch FROM account a WHERE a.id = $2), 0))`,
		s.ID, s.Account, s.Identity, s.Epoch, hash, string(proofs), micros(s.CreatedAt), micros(s.ExpiresAt), s.Address, s.UserAgent, s.Unusual, s.Remembered, tx.policyEpoch(s.Account))
}

// policyEpoch is that of the settings which this write has decided by, if it
// did: those saved meanwhile were not looked at. -1: it has read none.
func (tx *Tx) policyEpoch(a account.ID) int64 {
	if epoch, ok := tx.epochs[a]; ok {
		return epoch
	}
	return -1
}

const sessionColumns = "s.id, s.account_id, s.identity_id, s.epoch, s.proofs, s.created_at, s.last_seen_at, s.expires_at, s.address, s.user_agent, s.unusual, s.remembered, s.policy_epoch <> a.policy_epoch"

// liveSessions are sessions of their identity's present epoch.
const liveSessions = " FROM session s JOIN identity i ON i.id = s.identity_id AND i.epoch = s.epoch JOIN account a ON a.id = s.account_id"

func scanSession(scan func(...any) error) (s session.Session, err error) {
	var proofs string
	var created, seen, expires int64
	if err = scan(&s.ID, &s.Account, &s.Identity, &s.Epoch, &proofs, &created, &seen, &expires, &s.Address, &s.UserAgent, &s.Unusual, &s.Remembered, &s.Stale); err != nil {
		return s, err
	}
	s.CreatedAt, s.LastSeenAt, s.ExpiresAt = instant(created), instant(seen), instant(expires)
	return s, json.Unmarshal([]byte(proofs), &s.Proofs)
}

// sessionByHash reads the session of a token and says when it did. A session
// from before the identity's present epoch is no session.
func (r *Reader) sessionByHash(hash []byte) (session.Session, error) {
	return scanSession(func(into ...any) error {
		return r.row("SELECT "+sessionColumns+liveSessions+" WHERE s.token_hash = $1", []any{hash}, into...)
	})
}

// Session returns the session whose token has the hash given, from the cache
// where it may be trusted.
func (r *Reader) Session(hash []byte) (session.Session, error) {
	r.db.listen()
	now, count := r.db.config.Now(), r.db.sessions.Count()
	if s, ok := r.db.sessions.Get(hash, now); ok {
		r.db.counts.hits.Add(1)
		return s, nil
	}
	r.db.counts.misses.Add(1)
	s, err := r.sessionByHash(hash)
	if err == nil {
		r.db.sessions.Put(hash, s, now, count)
	}
	return s, err
}

// Sessions returns the live sessions of an identity, newest first.
func (r *Reader) Sessions(a account.ID, i account.IdentityID) (list []session.Session, err error) {
	err = r.each("SELECT "+sessionColumns+liveSessions+" WHERE s.account_id = $1 AND s.identity_id = $2 ORDER BY s.last_seen_at DESC, s.id DESC", []any{a, i},
		func(scan func(...any) error) error {
			s, err := scanSession(scan)
			list = append(list, s)
			return err
		})
	return list, err
}

// seenAtOnce bounds the sessions of one statement.
const seenAtOnce = 256

// SeeSessions writes down that sessions were used, at most once a minute.
func (tx *Tx) SeeSessions(ids []string) error {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for some := range slices.Chunk(slices.Compact(ids), seenAtOnce) {
		args := []any{micros(tx.Now), micros(tx.Now.Add(-session.SeenEvery))}
		var marks []string
		for n := 0; n < len(some) || n&(n-1) != 0; n++ { // as many as a power of two: there are few texts
			args = append(args, some[min(n, len(some)-1)])
			marks = append(marks, fmt.Sprintf("$%d", len(args)))
		}
		if _, err := tx.exec("UPDATE session SET last_seen_at = $1 WHERE last_seen_at <= $2 AND id IN ("+strings.Join(marks, ", ")+")", args...); err != nil {
			return err
		}
	}
	return nil
}

// RenewSession gives a session a new token: its strength has risen. lost is
// returned when the old token was replaced meanwhile.
func (tx *Tx) RenewSession(id string, hash []byte, lost error) error {
	var identity account.IdentityID
	err := tx.row("UPDATE session SET token_hash = $2 WHERE id = $1 RETURNING identity_id", []any{id, hash}, &identity)
	if errors.Is(err, ErrNoRow) {
		return lost
	}
	tx.revoked(identity)
	return err
}

// EndSession ends one session of an identity; gone is returned when it is no more.
func (tx *Tx) EndSession(i account.IdentityID, id string, gone error) error {
	tx.revoked(i)
	return tx.one(gone, "DELETE FROM session WHERE identity_id = $1 AND id = $2", i, id)
}

// EndOtherSessions ends all sessions of an identity but one, and returns how many.
func (tx *Tx) EndOtherSessions(i account.IdentityID, keep string) (int64, error) {
	tx.revoked(i)
	return tx.exec("DELETE FROM session WHERE identity_id = $1 AND id <> $2", i, keep)
}

// EndSessions ends all sessions of an identity, and returns how many.
func (tx *Tx) EndSessions(i account.IdentityID) (int64, error) {
	tx.revoked(i)
	return tx.exec("DELETE FROM session WHERE identity_id = $1", i)
}

// RecheckSessions has every session of an identity checked anew against what
// its account asks. It waits for a write that has the identity locked: that
// may be holding one by what it read before.
func (tx *Tx) RecheckSessions(i account.IdentityID) error {
	if _, err := tx.Identity(i); err != nil {
		return err
	}
	tx.revoked(i)
	return tx.later("UPDATE session SET policy_epoch = -1 WHERE identity_id = $1", i)
}

// HoldSession notes that a session meets what its account asks, and until when
// it lasts now; ErrNoRow when it is no more. What was asked must have been
// read by Facts in the same write, after Identity locked whose it is.
func (tx *Tx) HoldSession(id string, expires time.Time) error {
	var a account.ID
	var i account.IdentityID
	if err := tx.row("SELECT account_id, identity_id FROM session WHERE id = $1", []any{id}, &a, &i); err != nil {
		return err
	}
	tx.revoked(i)
	return tx.one(ErrNoRow, "UPDATE session SET expires_at = $2, policy_epoch = COALESCE(NULLIF(CAST($3 AS BIGINT), -1), (SELECT a.policy_epoch FROM account a WHERE a.id = session.account_id)) WHERE id = $1",
		id, micros(expires), tx.policyEpoch(a))
}

// AddVerification keeps a verification made in a session.
func (tx *Tx) AddVerification(sessionID string, g policy.Given) error {
	return tx.later("INSERT INTO verification (id, session_id, scenario, action, target, method, given_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		g.ID, sessionID, g.Scenario, g.Action, g.Target, g.Method, micros(g.At))
}

// Verifications returns those of a session that are not older than since.
func (r *Reader) Verifications(sessionID string, since time.Time) (list []policy.Given, err error) {
	err = r.each("SELECT id, scenario, action, target, method, given_at FROM verification WHERE session_id = $1 AND given_at >= $2 ORDER BY given_at DESC", []any{sessionID, micros(since)},
		func(scan func(...any) error) error {
			var g policy.Given
			var at int64
			err := scan(&g.ID, &g.Scenario, &g.Action, &g.Target, &g.Method, &at)
			g.At = instant(at)
			list = append(list, g)
			return err
		})
	return list, err
}

// UseVerification uses a verification up; used is returned when another
// request was first.
func (tx *Tx) UseVerification(id string, used error) error {
	return tx.one(used, "DELETE FROM verification WHERE id = $1", id)
}

// ForgetSession drops a session from the cache, so that the next check reads it.
func (db *DB) ForgetSession(hash []byte) { db.sessions.Forget(hash) }

// SetSessionProofs keeps the proofs that a session now rests on.
func (tx *Tx) SetSessionProofs(id string, proofs []factor.Proof) error {
	b, err := json.Marshal(proofs)
	if err != nil {
		return err
	}
	var i account.IdentityID
	if err := tx.row("UPDATE session SET proofs = $2 WHERE id = $1 RETURNING identity_id", []any{id, string(b)}, &i); err != nil {
		return err
	}
	tx.revoked(i)
	return nil
}
