package transfer

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"countersign/internal/store/engine"
)

// The marker is a table of its own in the database that is put together. Its
// row with the empty name says what is under way, the others how far each
// table has come. It is gone with the end.

const (
	kindMove    = "move"
	kindRestore = "restore"
)

// A progress is a row of the marker.
type progress struct {
	Kind     string `json:"kind,omitempty"`     // what is under way
	Move     string `json:"move,omitempty"`     // which move it is: what is moved is marked with the same
	Source   string `json:"source,omitempty"`   // what is moved: a hash of it
	Verified bool   `json:"verified,omitempty"` // nothing but the end is missing
	After    []byte `json:"after,omitempty"`    // key of the last row copied
	Rows     int64  `json:"rows,omitempty"`     // how many were
}

// begun reads what is under way; false: nothing is.
func begun(ctx context.Context, e *engine.Engine, part string) (p progress, found bool, err error) {
	names, err := e.Names(ctx, e.Read)
	if err != nil || !slices.Contains(names, engine.Marker) {
		return p, false, err
	}
	if p, err = stateOf(ctx, e.Read, part, ""); errors.Is(err, sql.ErrNoRows) {
		return p, part == "", nil // made, and nothing else: it is ours all the same
	}
	return p, err == nil, err
}

// stateOf reads a row of the marker, locked or not.
func stateOf(ctx context.Context, q engine.Queryer, part, lock string) (p progress, err error) {
	var text string
	err = q.QueryRowContext(ctx, "SELECT state FROM "+engine.Marker+" WHERE part = $1"+lock, part).Scan(&text)
	if err == nil {
		err = json.Unmarshal([]byte(text), &p)
	}
	if err != nil {
		return p, fmt.Errorf("read how far it has come: %w", err)
	}
	return p, nil
}

// within runs f in one transaction.
func within(ctx context.Context, e *engine.Engine, f func(q engine.Queryer) error) error {
	tx, err := e.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func keep(ctx context.Context, q engine.Queryer, part string, p progress) error {
	b, err := json.Marshal(p)
	if err == nil {
		_, err = q.ExecContext(ctx, "INSERT INTO "+engine.Marker+" (part, state) VALUES ($1, $2) ON CONFLICT (part) DO UPDATE SET state = excluded.state", part, string(b))
	}
	return err
}

// begin makes the marker in a database that holds nothing.
func begin(ctx context.Context, e *engine.Engine, p progress) error {
	err := within(ctx, e, func(q engine.Queryer) error {
		names, err := e.Names(ctx, q)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return notEmpty(names)
		}
		if _, err := q.ExecContext(ctx, "CREATE TABLE "+engine.Marker+" (part TEXT PRIMARY KEY, state TEXT NOT NULL)"); err != nil {
			return err
		}
		if err := keep(ctx, q, holdPart, progress{}); err != nil {
			return err
		}
		return keep(ctx, q, "", p)
	})
	if e.Taken(err) {
		return errors.New("somebody else has just begun to fill the target")
	}
	return err
}

func notEmpty(names []string) error {
	some := strings.Join(names, ", ")
	if len(names) > 3 {
		some = strings.Join(names[:3], ", ") + fmt.Sprintf(" and %d more", len(names)-3)
	}
	return fmt.Errorf("the target is not empty: it holds %s", some)
}

// wipe drops everything there is but the marker: it says that all of it was
// put there by us.
func wipe(ctx context.Context, e *engine.Engine, p progress) error {
	return within(ctx, e, func(q engine.Queryer) error {
		names, err := e.Names(ctx, q)
		if err != nil {
			return err
		}
		if !slices.Contains(names, engine.Marker) {
			return errors.New("nothing of ours is under way in the target")
		}
		for _, name := range names {
			if name == engine.Marker {
				continue
			}
			if _, err := q.ExecContext(ctx, "DROP TABLE IF EXISTS "+name+" CASCADE"); err != nil {
				return fmt.Errorf("empty the target: %w", err)
			}
		}
		if _, err := q.ExecContext(ctx, "DELETE FROM "+engine.Marker+" WHERE part <> $1", holdPart); err != nil {
			return err
		}
		return keep(ctx, q, "", p)
	})
}

func dropMarker(ctx context.Context, q engine.Queryer) error {
	_, err := q.ExecContext(ctx, "DROP TABLE "+engine.Marker)
	return err
}

// A hold keeps others from filling the same target of PostgreSQL: a lock on
// a row of the marker, which is gone with the process that has it.
type hold struct{ tx engine.Transaction }

const holdPart = "hold"

func take(ctx context.Context, e *engine.Engine) (*hold, error) {
	tx, err := e.Begin(ctx)
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, "SET LOCAL lock_timeout = '5s'")
	if err == nil {
		_, err = tx.ExecContext(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0")
	}
	if err == nil {
		var part string
		err = tx.QueryRowContext(ctx, "SELECT part FROM "+engine.Marker+" WHERE part = $1 FOR UPDATE", holdPart).Scan(&part)
	}
	if err != nil {
		_ = tx.Rollback()
		return nil, fmt.Errorf("another move or restore into the target is under way: %w", err)
	}
	return &hold{tx}, nil
}

func (h *hold) release() { _ = h.tx.Rollback() }
