package signin

import (
	"context"
	"sync"

	"countersign/internal/domain/audit"
	"countersign/internal/store"
)

// seeing writes down which sessions are in use: while one write is under way,
// those that are seen meanwhile gather for the next. However many sessions
// there are, one node has one such write at a time.
type seeing struct {
	mu    sync.Mutex
	next  *seen
	under bool // way
}

// seen are sessions that are written down together.
type seen struct {
	ids  []string
	done chan struct{}
	err  error
}

// see returns once the session is written down.
func (g *seeing) see(ctx context.Context, db *store.DB, id string) error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &seen{done: make(chan struct{})}
	}
	mine := g.next
	mine.ids = append(mine.ids, id)
	if !g.under {
		g.under = true
		go g.write(context.WithoutCancel(ctx), db) // for others too, whoever has gone
	}
	g.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write writes until nothing is left to be.
func (g *seeing) write(ctx context.Context, db *store.DB) {
	for {
		g.mu.Lock()
		now := g.next
		g.next, g.under = nil, now != nil
		g.mu.Unlock()
		if now == nil {
			return
		}
		now.err = db.Charge(ctx, audit.Housekeeping("last seen"), func(tx *store.Tx) error { return tx.SeeSessions(now.ids) })
		close(now.done)
	}
}
