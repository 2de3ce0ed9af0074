package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// MovedMark is the table that stands in a database that was moved elsewhere:
// what was written here afterwards would be lost to everybody.
const MovedMark = "countersign_moved"

// ErrReopened says that the mark of a move is not there any more.
var ErrReopened = errors.New("the database was reopened, or moved once more, by somebody else just now")

// ErrMoved says that a database was moved, when and where to.
type ErrMoved struct {
	Move string // which move it was: its target knows the same
	At   time.Time
	To   string // host and name; nothing that is secret
}

func (m *ErrMoved) Error() string {
	return fmt.Sprintf("the database was moved to %s at %s, and this is what it was moved from: set `database` to that one (`countersign database reopen` goes on with this one instead)",
		m.To, m.At.UTC().Format("2006-01-02 15:04 MST"))
}

// Place is the host and the name of a database of PostgreSQL.
func (e *Engine) Place() string { return e.connect.Host + "/" + e.connect.Database }

// Whole refuses a database that is being put together, and one that was moved.
func (e *Engine) Whole(ctx context.Context) error {
	if e.Postgres() { // where it waits while a move has the database alone; a file is not even opened then
		if _, err := e.Version(ctx, e.Read); err != nil {
			return err
		}
	}
	names, err := e.Names(ctx, e.Read)
	switch {
	case err != nil:
		return err
	case slices.Contains(names, Marker):
		return ErrUnfinished
	case slices.Contains(names, MovedMark):
		m, err := e.Moved(ctx, e.Read)
		if m != nil {
			return m
		}
		return err
	}
	return nil
}

// Moved reads the mark of a database that was moved; nil: it has none.
func (e *Engine) Moved(ctx context.Context, q Queryer) (*ErrMoved, error) {
	names, err := e.Names(ctx, q)
	if err != nil || !slices.Contains(names, MovedMark) {
		return nil, err
	}
	m, us := &ErrMoved{}, int64(0)
	if err := q.QueryRowContext(ctx, "SELECT move, moved_at, moved_to FROM "+MovedMark).Scan(&m.Move, &us, &m.To); err != nil {
		return nil, fmt.Errorf("read where the database was moved to: %w", err)
	}
	m.At = time.UnixMicro(us)
	return m, nil
}

// Leave marks a database that was opened alone as moved. Once more for the
// same move changes nothing, for another is refused. SQLite's lock on the file
// stays beyond it, until the database is closed.
func (e *Engine) Leave(ctx context.Context, m *ErrMoved) error {
	return e.marking(ctx, errors.New("another move has taken the database elsewhere"),
		"CREATE TABLE IF NOT EXISTS "+MovedMark+" (one BIGINT PRIMARY KEY, move TEXT NOT NULL, moved_at BIGINT NOT NULL, moved_to TEXT NOT NULL)",
		"INSERT INTO "+MovedMark+" (one, move, moved_at, moved_to) VALUES (1, $1, $2, $3) ON CONFLICT (one) DO UPDATE SET move = excluded.move WHERE "+MovedMark+".move = excluded.move",
		[]any{m.Move, m.At.UnixMicro(), m.To}, "")
}

// Return takes the mark of a move from a database that was opened alone.
func (e *Engine) Return(ctx context.Context, m *ErrMoved) error {
	return e.marking(ctx, ErrReopened,
		"", "DELETE FROM "+MovedMark+" WHERE move = $1", []any{m.Move}, "DROP TABLE "+MovedMark)
}

// marking runs the statement that decides between two that do not, in one
// transaction.
func (e *Engine) marking(ctx context.Context, refused error, before, decides string, args []any, after string) error {
	tx, err := e.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if before != "" {
		if _, err := tx.ExecContext(ctx, before); err != nil {
			return err
		}
	}
	result, err := tx.ExecContext(ctx, decides, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errors.Join(refused, err)
	}
	if after != "" {
		if _, err := tx.ExecContext(ctx, after); err != nil {
			return err
		}
	}
	return tx.Commit()
}
