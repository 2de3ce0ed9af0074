package store

import (
	"context"
	"errors"
	"log/slog"

	"countersign/internal/store/belief"
	"countersign/internal/store/engine"
)

// An Inspection is a database that is looked at as it is: nothing is migrated,
// and what is wrong with it is no reason to refuse.
type Inspection struct {
	*DB
	engine.Examined
	Newest int64 // schema that this program makes
}

// Inspect opens a database to look at it.
func Inspect(ctx context.Context, c Config) (*Inspection, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	i := &Inspection{DB: &DB{config: c, sessions: belief.New()}}
	if err := i.open(ctx); err != nil {
		return nil, err
	}
	i.DB.Reader = Reader{db: i.DB, q: i.engine.Reader}
	i.Newest = engine.Newest(Migrations())
	var err error
	if i.Examined, err = i.engine.Examine(ctx); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// Answer asks the database for nothing.
func (i *Inspection) Answer(ctx context.Context) error {
	var one int
	return i.engine.Read.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

// Whole reports an error where a move or a restore into the database has not
// ended.
func (i *Inspection) Whole(ctx context.Context) error { return i.engine.Whole(ctx) }
