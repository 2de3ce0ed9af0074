package store

import (
	"errors"
	"sync/atomic"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/store/engine"
	"countersign/internal/trace"
)

// end ends a span by how a write went. A race that is lost and a row that is
// not there are no failures.
func end(s *trace.Running, err error) {
	switch {
	case errors.Is(err, errLost):
		s.EndAs("lost", false)
	case errors.Is(err, ErrNoRow):
		s.EndAs("no_row", false)
	default:
		s.End(err)
	}
}

// counts is what the store counts of itself.
type counts struct{ hits, misses, retries, unavailable, hold, broken atomic.Uint64 }

func (c *counts) chain(err error) {
	switch {
	case err == nil:
		c.hold.Add(1)
	case audit.IsBroken(err):
		c.broken.Add(1)
	}
}

// Stats is what the store has done since it was opened.
type Stats struct {
	Hits, Misses uint64        // sessions that the cache knew, and those that were read
	Retries      uint64        // of writes that lost a race
	Unavailable  uint64        // calls that the database failed
	Hold, Broken uint64        // audit chains that were checked, and held or did not
	Trust        time.Duration // how long a cached session is believed now; zero: not at all
	Pools        map[string]engine.Pool
}

// Stats returns them.
func (db *DB) Stats() Stats {
	db.listen()
	c, trust := &db.counts, max(0, db.sessions.Trust(db.config.Now()))
	return Stats{c.hits.Load(), c.misses.Load(), c.retries.Load(), c.unavailable.Load(), c.hold.Load(), c.broken.Load(), trust, db.engine.Pools()}
}

// A Backlog is what lies in the outbox for one channel, in one state.
type Backlog struct {
	Channel message.Channel
	State   message.State
	N       int
	Oldest  time.Time
}

// Backlog counts what waits in the outbox, and what was given up.
func (r *Reader) Backlog() (list []Backlog, err error) {
	err = r.each("SELECT channel, state, count(*), min(created_at) FROM outbox WHERE state IN ($1, $2) GROUP BY channel, state", []any{message.Queued, message.Dead},
		func(scan func(...any) error) error {
			var b Backlog
			var oldest int64
			err := scan(&b.Channel, &b.State, &b.N, &oldest)
			b.Oldest = instant(oldest)
			list = append(list, b)
			return err
		})
	return list, err
}
