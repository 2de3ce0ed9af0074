package store

import (
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"countersign/internal/domain/account"
	"countersign/internal/domain/session"
)

// sessionTrust bounds how long a cached session is believed: a revocation by
// another process is felt within it. Those of this process are felt at once.
const sessionTrust = time.Second

// A sessionCache spares the hot path its read.
type sessionCache struct {
	entries *otter.Cache[string, cachedSession]

	mu       sync.RWMutex
	revoked  map[account.IdentityID]time.Time
	accounts map[account.ID]time.Time // of which every session was revoked
}

type cachedSession struct {
	session session.Session
	readAt  time.Time // taken before the read began
}

func newSessionCache() *sessionCache {
	return &sessionCache{
		entries:  otter.Must(&otter.Options[string, cachedSession]{MaximumSize: 10_000}),
		revoked:  map[account.IdentityID]time.Time{},
		accounts: map[account.ID]time.Time{},
	}
}

func (c *sessionCache) get(hash []byte, now time.Time) (session.Session, bool) {
	e, ok := c.entries.GetIfPresent(string(hash))
	if !ok || now.Sub(e.readAt) > sessionTrust || now.Before(e.readAt) {
		return session.Session{}, false
	}
	c.mu.RLock()
	at, revoked := c.revoked[e.session.Identity]
	all, changed := c.accounts[e.session.Account]
	c.mu.RUnlock()
	if revoked && !e.readAt.After(at) || changed && !e.readAt.After(all) {
		return session.Session{}, false
	}
	return e.session, true
}

func (c *sessionCache) put(hash []byte, s session.Session, readAt time.Time) {
	c.entries.Set(string(hash), cachedSession{s, readAt})
}

// revoke makes every entry of the identity that was read until now worthless.
func (c *sessionCache) revoke(i account.IdentityID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	note(c.revoked, i, now)
}

// revokeAccount does so for every identity of the account.
func (c *sessionCache) revokeAccount(a account.ID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	note(c.accounts, a, now)
}

// note adds a revocation and drops those that no cached entry is older than.
func note[K comparable](revoked map[K]time.Time, key K, now time.Time) {
	for other, at := range revoked {
		if now.Sub(at) > 2*sessionTrust {
			delete(revoked, other)
		}
	}
	revoked[key] = now
}

// revoked is called by every write that ends or renews sessions: before the
// commit has answered, nobody may rely on the end, after it everybody must.
func (tx *Tx) revoked(i account.IdentityID) {
	tx.onDone = append(tx.onDone, func() { tx.db.sessions.revoke(i, tx.db.config.Now()) })
}

// revokedAll is called by a write that touches every session of an account.
func (tx *Tx) revokedAll(a account.ID) {
	tx.onDone = append(tx.onDone, func() { tx.db.sessions.revokeAccount(a, tx.db.config.Now()) })
}
