package store

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"countersign/internal/domain/account"
	"countersign/internal/domain/session"
	"countersign/internal/store/engine"
)

// How long a cached session is believed: where nodes hear of each other's
// revocations, and where they do not, so that one by another process is felt
// within that. Those of this process are felt at once. Both are far below the
// shortest idle time: that another node has seen the session meanwhile makes
// no difference.
const (
	trustHearing = 30 * time.Second
	trustDeaf    = time.Second
)

// stripes bounds what is remembered of revocations. Two identities that share
// a stripe cost each other a read.
const stripes = 1 << 12

// A sessionCache spares the hot path its read. Revocations are counted, and
// an entry has the count of before its read: a revocation of its identity or
// account that was counted later makes it worthless, when it came is no matter.
type sessionCache struct {
	entries *otter.Cache[string, cachedSession]

	count      atomic.Uint64
	floor      atomic.Uint64 // entries with a lower count are worthless
	identities striped
	accounts   striped
	seed       maphash.Seed

	listening sync.Once
	listener  *engine.Listener
}

// striped holds the count of the last revocation by what was revoked.
type striped [stripes]atomic.Uint64

func (s *striped) of(seed maphash.Seed, id string) *atomic.Uint64 {
	return &s[maphash.String(seed, id)%stripes]
}

type cachedSession struct {
	session session.Session
	readAt  time.Time // taken before the read began, as was the count
	count   uint64
}

func newSessionCache() *sessionCache {
	return &sessionCache{
		entries: otter.Must(&otter.Options[string, cachedSession]{MaximumSize: 10_000}),
		seed:    maphash.MakeSeed(),
	}
}

// What revocations are called between nodes. Both are ids and no secret.
const (
	revokedIdentity = "identity "
	revokedAccount  = "account "
)

// trust is how long an entry may be believed; negative: not at all.
func (c *sessionCache) trust(now time.Time) time.Duration {
	switch {
	case c.listener == nil: // the store was closed
		return -1
	case c.listener.Deaf():
		return trustDeaf
	case c.listener.Holds(now):
		return trustHearing
	}
	return -1
}

func (c *sessionCache) get(hash []byte, now time.Time) (session.Session, bool) {
	e, ok := c.entries.GetIfPresent(string(hash))
	if !ok || now.Before(e.readAt) || now.Sub(e.readAt) > c.trust(now) || e.count < c.floor.Load() ||
		e.count < c.identities.of(c.seed, string(e.session.Identity)).Load() || e.count < c.accounts.of(c.seed, string(e.session.Account)).Load() {
		return session.Session{}, false
	}
	return e.session, true
}

func (c *sessionCache) put(hash []byte, s session.Session, readAt time.Time, count uint64) {
	c.entries.Set(string(hash), cachedSession{s, readAt, count})
}

// revoke makes every entry worthless whose read began before now.
func (c *sessionCache) revoke(what string) {
	if id, ok := strings.CutPrefix(what, revokedIdentity); ok {
		raise(c.identities.of(c.seed, id), c.count.Add(1))
	} else if id, ok := strings.CutPrefix(what, revokedAccount); ok {
		raise(c.accounts.of(c.seed, id), c.count.Add(1))
	} else {
		c.drop() // a newer node says what this one does not understand
	}
}

// drop makes every entry worthless.
func (c *sessionCache) drop() { raise(&c.floor, c.count.Add(1)) }

func raise(to *atomic.Uint64, count uint64) {
	for was := to.Load(); was < count && !to.CompareAndSwap(was, count); was = to.Load() {
	}
}

// listen begins to hear other nodes, with the first session that is asked
// for: most commands ask for none.
func (db *DB) listen() {
	db.sessions.listening.Do(func() {
		db.sessions.listener = db.engine.Listen(db.config.Now, db.config.Log, db.sessions.drop, db.sessions.revoke)
	})
}

// deafen ends what listen began.
func (db *DB) deafen() {
	db.sessions.listening.Do(func() {})
	if l := db.sessions.listener; l != nil {
		l.Close()
	}
}

// revoked is called by every write that ends or changes sessions: before the
// commit has answered, nobody may rely on the end, after it everybody must.
func (tx *Tx) revoked(i account.IdentityID) { tx.revoke(revokedIdentity + string(i)) }

// revokedAll is called by a write that touches every session of an account.
func (tx *Tx) revokedAll(a account.ID) { tx.revoke(revokedAccount + string(a)) }

func (tx *Tx) revoke(what string) {
	if !slices.Contains(tx.revocations, what) {
		tx.revocations = append(tx.revocations, what)
	}
}

// commit tells the other nodes of revocations with the COMMIT, and this one
// after it, even when nobody knows what became of it.
func (tx *Tx) commit(ctx context.Context, t engine.Transaction) error {
	if err := tx.db.engine.Announce(ctx, t, tx.revocations); err != nil {
		return err
	}
	err := t.Commit()
	for _, what := range tx.revocations {
		tx.db.sessions.revoke(what)
	}
	return err
}
