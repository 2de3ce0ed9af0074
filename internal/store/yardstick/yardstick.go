// Package yardstick does by plain SQL, in one transaction, what a check of a
// code leaves behind: what the database itself costs.
package yardstick

import (
	"context"
	"fmt"

	"countersign/internal/store/engine"
)

// A Yardstick is a few tables of the shape of ours, in a database of its own.
type Yardstick struct {
	*engine.Engine
	rows, seq int64
}

var tables = []string{
	"CREATE TABLE device (id BIGINT PRIMARY KEY, seed TEXT NOT NULL, last_step BIGINT NOT NULL, last_used_at BIGINT NOT NULL)",
	"CREATE TABLE budget (id BIGINT PRIMARY KEY, tries_left BIGINT NOT NULL, refilled_at BIGINT NOT NULL, version BIGINT NOT NULL)",
	"CREATE TABLE network (scope BIGINT PRIMARY KEY, counted BIGINT NOT NULL, ends_at BIGINT NOT NULL)",
	"CREATE TABLE event (account_id BIGINT NOT NULL, seq BIGINT NOT NULL, identity_id BIGINT NOT NULL, at BIGINT NOT NULL, content TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (account_id, seq))",
	"CREATE INDEX event_identity ON event (account_id, identity_id, seq)",
	"CREATE TABLE head (account_id BIGINT PRIMARY KEY, seq BIGINT NOT NULL, hash TEXT NOT NULL)",
}

// Open makes the tables, with rows for n identities.
func Open(ctx context.Context, url string, n int64) (*Yardstick, error) {
	e, err := engine.Open(ctx, engine.Config{URL: url})
	if err != nil {
		return nil, err
	}
	y := &Yardstick{Engine: e, rows: n}
	err = y.write(ctx, func(t engine.Transaction) error {
		for _, q := range tables {
			if _, err := t.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		for id := range n {
			if _, err := t.ExecContext(ctx, "INSERT INTO device VALUES ($1, $2, 0, 0)", id, filler[:60]); err != nil {
				return err
			}
			if _, err := t.ExecContext(ctx, "INSERT INTO budget VALUES ($1, 10, 0, 1)", id); err != nil {
				return err
			}
		}
		_, err := t.ExecContext(ctx, "INSERT INTO head VALUES (1, 0, '')")
		return err
	})
	if err != nil {
		_ = e.Close()
		return nil, fmt.Errorf("prepare the yardstick: %w", err)
	}
	return y, nil
}

// filler stands for what rows hold.
const filler = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" +
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func (y *Yardstick) write(ctx context.Context, f func(t engine.Transaction) error) error {
	t, err := y.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }()
	if err := f(t); err != nil {
		return err
	}
	return t.Commit()
}

// Check writes what one check leaves: the time step taken, the try charged and
// given back, the network's count, the event, and the head of its chain.
func (y *Yardstick) Check(ctx context.Context) error {
	y.seq++
	id := y.seq * 7919 % y.rows
	return y.write(ctx, func(t engine.Transaction) error {
		for _, s := range []struct {
			query string
			args  []any
		}{
			{"UPDATE budget SET tries_left = $2, version = version + 1 WHERE id = $1", []any{id, 10}},
			{"INSERT INTO network AS n VALUES ($1, 1, $2) ON CONFLICT (scope) DO UPDATE SET counted = n.counted + 1", []any{y.seq, y.seq}},
			{"UPDATE device SET last_step = $2, last_used_at = $2 WHERE id = $1 AND last_step < $2", []any{id, y.seq}},
			{"INSERT INTO event VALUES (1, $1, $2, $1, $3, $4)", []any{y.seq, id, filler, filler[:32]}},
			{"UPDATE head SET seq = $1, hash = $2 WHERE account_id = 1 AND seq < $1", []any{y.seq, filler[:32]}},
		} {
			if _, err := t.ExecContext(ctx, s.query, s.args...); err != nil {
				return err
			}
		}
		return nil
	})
}
