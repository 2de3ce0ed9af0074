// Package yardstick does by plain SQL, in one transaction, what a check of a
// code leaves behind: what the database itself costs.
package yardstick

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"countersign/internal/store/engine"
)

// A Yardstick is a database of the same schema, with the rows of one account.
type Yardstick struct {
	*engine.Engine
	rows, seq int64
}

const account = "1000000000000000"

func identity(n int64) string { return fmt.Sprintf("%022d", n) }

// Open makes the tables, with a virtual MFA device and a budget for each of n
// identities.
func Open(ctx context.Context, url string, schema fs.FS, n int64) (*Yardstick, error) {
	e, err := engine.Open(ctx, engine.Config{URL: url})
	if err != nil {
		return nil, err
	}
	y := &Yardstick{Engine: e, rows: n}
	if err = e.Migrate(ctx, schema, 0); err == nil {
		err = y.write(ctx, func(t engine.Transaction) error {
			for k := range n {
				if _, err := t.ExecContext(ctx, "INSERT INTO virtual_mfa (account_id, identity_id, id, name, key_id, seed, drift, last_step, bound_at, bound_from, last_used_at) VALUES ($1, $2, $2, 'App', 1, $3, 0, 0, 0, '', 0)",
					account, identity(k), make([]byte, 60)); err != nil {
					return err
				}
				if _, err := t.ExecContext(ctx, "INSERT INTO guess_budget (account_id, identity_id, tries_left, refilled_at, fails, fails_since, password_refill_at, version) VALUES ($1, $2, 10, 0, 0, 0, 0, 1)", account, identity(k)); err != nil {
					return err
				}
			}
			_, err := t.ExecContext(ctx, "INSERT INTO audit_head (account_id, seq, hash, key_id, mac) VALUES ($1, 0, $2, 1, $2)", account, make([]byte, 32))
			return err
		})
	}
	if err == nil {
		err = e.Settle(ctx)
	}
	if err != nil {
		_ = e.Close()
		return nil, fmt.Errorf("prepare the yardstick: %w", err)
	}
	return y, nil
}

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

// content is as long as that of an event mostly is.
var content = []byte(strings.Repeat("x", 300))

// Check writes what one check leaves: the try charged and given back, the
// network's count, the time step taken, the event, and the head of its chain.
func (y *Yardstick) Check(ctx context.Context) error {
	y.seq++
	id, hash := identity(y.seq*7919%y.rows), content[:32]
	return y.write(ctx, func(t engine.Transaction) error {
		for _, s := range []struct {
			query string
			args  []any
		}{
			{"UPDATE guess_budget SET tries_left = 10, version = version + 1 WHERE account_id = $1 AND identity_id = $2", []any{account, id}},
			{"INSERT INTO throttle_window AS w (scope, started_at, ends_at, counted) VALUES ($1, $2, $3, 0) ON CONFLICT (scope) DO UPDATE SET counted = w.counted", []any{"guess:10." + identity(y.seq)[10:], y.seq, y.seq + 1}},
			{"UPDATE virtual_mfa SET last_step = $3, last_used_at = $3 WHERE account_id = $1 AND identity_id = $2 AND last_step < $3", []any{account, id, y.seq}},
			{"INSERT INTO audit_event (account_id, seq, identity_id, name, at, actor, actor_name, address, request, refused, method, content, hash) VALUES ($1, $2, $3, 'VerifyIdentity', $2, $3, 'user', '10.20.30.40', $3, '', 'virtual_mfa', $4, $5)", []any{account, y.seq, id, content, hash}},
			{"UPDATE audit_head SET seq = $2, hash = $3, mac = $3 WHERE account_id = $1 AND seq < $2", []any{account, y.seq, hash}},
		} {
			if _, err := t.ExecContext(ctx, s.query, s.args...); err != nil {
				return err
			}
		}
		return nil
	})
}
