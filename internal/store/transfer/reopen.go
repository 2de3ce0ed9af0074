package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"

	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/engine"
)

// Moved says where the installation's database was moved to.
func (d *Desk) Moved(ctx context.Context) (m *engine.ErrMoved, err error) {
	if !engine.IsPostgres(d.Store.URL) {
		if _, err := os.Stat(d.Store.URL); err != nil {
			return nil, err // opening it would make it
		}
	}
	e, err := engine.Open(ctx, engine.Config{URL: d.Store.URL})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err = e.Whole(ctx); !errors.As(err, &m) {
		if err == nil {
			err = errors.New("the database was not moved: it is open")
		}
		return nil, err
	}
	if _, err = known(ctx, e, e.Read); err == nil {
		_, err = d.belong(ctx, e.Read)
	}
	return m, err
}

// Reopen takes the mark of a move from the installation's database, which
// serves again as it was when it was moved. What was done in the other since
// is not in it.
func (d *Desk) Reopen(ctx context.Context, m *engine.ErrMoved) error {
	// First without a change, so that nothing is recorded of what cannot be done.
	err := d.alone(ctx, func(e *engine.Engine) error {
		there, err := e.Moved(ctx, e.Reader)
		if err == nil && (there == nil || there.Move != m.Move) {
			err = engine.ErrReopened
		}
		return err
	})
	if err != nil {
		return err
	}
	c := d.Store
	c.Unfinished = true
	db, err := store.Open(ctx, c)
	if err != nil {
		return err
	}
	err = db.Write(ctx, audit.OperatorActor("database reopen"), func(tx *store.Tx) error {
		return tx.Record(audit.Event{Name: audit.DatabaseReopen, Details: map[string]string{"moved_to": m.To}})
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return d.alone(ctx, func(e *engine.Engine) error { return e.Return(ctx, m) })
}

// alone runs f while nobody else has the installation's database open.
func (d *Desk) alone(ctx context.Context, f func(e *engine.Engine) error) error {
	e, err := engine.OpenAlone(ctx, d.Store.URL)
	if err != nil {
		return fmt.Errorf("the database to be reopened: %w", err)
	}
	return errors.Join(f(e), e.Close())
}
