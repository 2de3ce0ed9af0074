// Package yardstick does by plain SQL, in one transaction, what a check of a
// code leaves behind: what the database itself costs.
package yardstick

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"countersign/internal/store/engine"
)

// A Yardstick is a database of the same schema, with accounts of a thousand
// identities.
type Yardstick struct {
	*engine.Engine
	rows, turn int64
}

type statement struct {
	query string
	args  []any
}

const perAccount = 1000 // below as well

// The ids of the identity numbered k, and of its account: here, and where the
// database makes the rows.
const (
	accountOf  = "'1' || substr('000000000000000', 1, 15 - length(CAST(k / 1000 AS TEXT))) || CAST(k / 1000 AS TEXT)"
	identityOf = "substr('0000000000000000000000', 1, 22 - length(CAST(k AS TEXT))) || CAST(k AS TEXT)"
)

func account(k int64) string  { return fmt.Sprintf("1%015d", k/perAccount) }
func identity(k int64) string { return fmt.Sprintf("%022d", k) }

// fill makes a row for each k from 0 to below $1.
const fill = " WITH RECURSIVE n(k) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT k + 1 FROM n WHERE k + 1 < $1) SELECT "

// Open makes the tables, with a virtual MFA device and a budget for each of n
// identities, and a chain for each account.
func Open(ctx context.Context, url string, schema fs.FS, n int64) (*Yardstick, error) {
	e, err := engine.Open(ctx, engine.Config{URL: url, Patience: time.Hour})
	if err != nil {
		return nil, err
	}
	y := &Yardstick{Engine: e, rows: n}
	if err = e.Migrate(ctx, schema, 0); err == nil {
		err = y.write(ctx, func(t engine.Transaction) error {
			for _, s := range []statement{
				{"INSERT INTO virtual_mfa (account_id, identity_id, id, name, key_id, seed, drift, last_step, bound_at, bound_from, last_used_at)" + fill + accountOf + ", " + identityOf + ", " + identityOf + ", 'App', 1, $2, 0, 0, 0, '', 0 FROM n", []any{n, make([]byte, 60)}},
				{"INSERT INTO guess_budget (account_id, identity_id, tries_left, refilled_at, fails, fails_since, password_refill_at, version)" + fill + accountOf + ", " + identityOf + ", 10, 0, 0, 0, 0, 1 FROM n", []any{n}},
				{"INSERT INTO audit_head (account_id, seq, hash, key_id, mac)" + fill + accountOf + ", 0, $2, 1, $2 FROM n WHERE k % 1000 = 0", []any{n, make([]byte, 32)}},
			} {
				if _, err := t.ExecContext(ctx, s.query, s.args...); err != nil {
					return err
				}
			}
			return nil
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
	y.turn++
	k, hash := y.turn*7919%y.rows, content[:32]
	of, id := account(k), identity(k)
	return y.write(ctx, func(t engine.Transaction) error {
		for _, s := range []statement{
			{"UPDATE guess_budget SET tries_left = 10, version = version + 1 WHERE account_id = $1 AND identity_id = $2", []any{of, id}},
			{"INSERT INTO throttle_window AS w (scope, started_at, ends_at, counted) VALUES ($1, $2, $3, 0) ON CONFLICT (scope) DO UPDATE SET counted = w.counted", []any{"guess:10." + identity(y.turn)[10:], y.turn, y.turn + 1}},
			{"UPDATE virtual_mfa SET last_step = $3, last_used_at = $3 WHERE account_id = $1 AND identity_id = $2 AND last_step < $3", []any{of, id, y.turn}},
			{"INSERT INTO audit_event (account_id, seq, identity_id, name, at, actor, actor_name, address, request, refused, method, content, hash) VALUES ($1, $2, $3, 'VerifyIdentity', $2, $3, 'user', '10.20.30.40', $3, '', 'virtual_mfa', $4, $5)", []any{of, y.turn, id, content, hash}},
			{"UPDATE audit_head SET seq = $2, hash = $3, mac = $3 WHERE account_id = $1 AND seq < $2", []any{of, y.turn, hash}},
		} {
			done, err := t.ExecContext(ctx, s.query, s.args...)
			if err != nil {
				return err
			}
			if n, err := done.RowsAffected(); err != nil || n != 1 {
				return errors.Join(fmt.Errorf("yardstick: %d rows of one: %s", n, s.query), err)
			}
		}
		return nil
	})
}
