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

	mu      sync.RWMutex
	revoked map[account.IdentityID]time.Time
}

type cachedSession struct {
	session session.Session
	readAt  time.Time // taken before the read began
}

func newSessionCache() *sessionCache {
	return &sessionCache{
		entries: otter.Must(&otter.Options[string, cachedSession]{MaximumSize: 10_000}),
		revoked: map[account.IdentityID]time.Time{},
	}
}

func (c *sessionCache) get(hash []byte, now time.Time) (session.Session, bool) {
	e, ok := c.entries.GetIfPresent(string(hash))
	if !ok || now.Sub(e.readAt) > sessionTrust || now.Before(e.readAt) {
		return session.Session{}, false
	}
	c.mu.RLock()
	at, revoked := c.revoked[e.session.Identity]
	c.mu.RUnlock()
	if revoked && !e.readAt.After(at) {
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
	for other, at := range c.revoked {
		if now.Sub(at) > 2*sessionTrust {
			delete(c.revoked, other)
		}
	}
	c.revoked[i] = now
}

// revoked is called by every write that ends or renews sessions: before the
// commit has answered, nobody may rely on the end, after it everybody must.
func (tx *Tx) revoked(i account.IdentityID) {
	tx.onDone = append(tx.onDone, func() { tx.db.sessions.revoke(i, tx.db.config.Now()) })
}
