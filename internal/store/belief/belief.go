// Package belief holds the sessions that a node believes without a read, for as
// long as it hears of what the other nodes revoke.
package belief

import (
	"hash/maphash"
	"log/slog"
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

// A Cache spares the hot path its read. Revocations are counted, and
// an entry has the count of before its read: a revocation of its identity or
// account that was counted later makes it worthless, when it came is no matter.
type Cache struct {
	entries *otter.Cache[string, entry]

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

type entry struct {
	session session.Session
	readAt  time.Time // taken before the read began, as was the count
	count   uint64
}

// New returns an empty one, which hears nobody yet.
func New() *Cache {
	return &Cache{
		entries: otter.Must(&otter.Options[string, entry]{MaximumSize: 10_000}),
		seed:    maphash.MakeSeed(),
	}
}

// What revocations are called between nodes. Both are ids and no secret.
const (
	revokedIdentity = "identity "
	revokedAccount  = "account "
)

// OfIdentity is what the end or a change of sessions of an identity is called.
func OfIdentity(i account.IdentityID) string { return revokedIdentity + string(i) }

// OfAccount is what one of every session of an account is called.
func OfAccount(a account.ID) string { return revokedAccount + string(a) }

// Trust is how long an entry may be believed; negative: not at all.
func (c *Cache) Trust(now time.Time) time.Duration {
	switch {
	case c.listener == nil: // nobody is heard, or not any more
		return -1
	case c.listener.Deaf():
		return trustDeaf
	case c.listener.Holds(now):
		return trustHearing
	}
	return -1
}

// Get returns the session whose token has the hash given, if it may be believed.
func (c *Cache) Get(hash []byte, now time.Time) (session.Session, bool) {
	e, ok := c.entries.GetIfPresent(string(hash))
	if !ok || now.Before(e.readAt) || now.Sub(e.readAt) > c.Trust(now) || e.count < c.floor.Load() ||
		e.count < c.identities.of(c.seed, string(e.session.Identity)).Load() || e.count < c.accounts.of(c.seed, string(e.session.Account)).Load() {
		return session.Session{}, false
	}
	return e.session, true
}

// Put keeps a session that was read: when that began, and what Count said then.
func (c *Cache) Put(hash []byte, s session.Session, readAt time.Time, count uint64) {
	c.entries.Set(string(hash), entry{s, readAt, count})
}

// Forget drops one entry.
func (c *Cache) Forget(hash []byte) { c.entries.Invalidate(string(hash)) }

// Count is how much was revoked, here and elsewhere.
func (c *Cache) Count() uint64 { return c.count.Load() }

// Revoke makes every entry worthless whose read began before now.
func (c *Cache) Revoke(what string) {
	if id, ok := strings.CutPrefix(what, revokedIdentity); ok {
		raise(c.identities.of(c.seed, id), c.count.Add(1))
	} else if id, ok := strings.CutPrefix(what, revokedAccount); ok {
		raise(c.accounts.of(c.seed, id), c.count.Add(1))
	} else {
		c.Drop() // a newer node says what this one does not understand
	}
}

// Drop makes every entry worthless.
func (c *Cache) Drop() { raise(&c.floor, c.count.Add(1)) }

func raise(to *atomic.Uint64, count uint64) {
	for was := to.Load(); was < count && !to.CompareAndSwap(was, count); was = to.Load() {
	}
}

// Listen begins to hear the other nodes, once.
func (c *Cache) Listen(e *engine.Engine, now func() time.Time, log *slog.Logger) {
	c.listening.Do(func() { c.listener = e.Listen(now, log, c.Drop, c.Revoke) })
}

// Hears reports whether what other nodes revoke is heard.
func (c *Cache) Hears(now time.Time) bool { return c.listener != nil && c.listener.Holds(now) }

// Close ends what Listen began.
func (c *Cache) Close() {
	c.listening.Do(func() {})
	if c.listener != nil {
		c.listener.Close()
	}
}
