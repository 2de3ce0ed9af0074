// Package transfer takes whole databases from one place to another: it moves
// them to PostgreSQL, and makes and restores backups. It knows no noun; what
// tables there are it reads from the schema.
package transfer

import (
	"context"
	"errors"
	"fmt"

	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
)

// A Desk is where databases are moved, copied and put back.
type Desk struct {
	Store  store.Config // of the installation; Keys nil: there are none yet
	Report func(Report) // is told how far it has come; nil: nobody is
}

// A Report says how far a table has come.
type Report struct {
	Phase Phase
	Table string
	Rows  int64 // so far
	Of    int64 // all of them; zero: not known
	Ended bool  // this table is done
	Total int64 // rows of all tables so far
	OfAll int64 // of all tables; zero: not known
}

// A Phase is what is being done.
type Phase string

// The phases.
const (
	Reading   Phase = "read"
	Copying   Phase = "copy"
	Comparing Phase = "compare"
	Writing   Phase = "write"
	Checking  Phase = "check"
	Leaving   Phase = "leave" // what was moved is marked, and its copy not yet open
)

func (d *Desk) report(r Report) {
	if d.Report != nil {
		d.Report(r)
	}
}

// reportEvery is after how many rows the next report comes.
var reportEvery int64 = 5000

// A Done says what was moved, copied or put back.
type Done struct {
	Tables int
	Rows   int64
	Chains int // audit chains that hold; those of a backup that was only looked at: zero where the keys were not there
}

var errNothing = errors.New("there is no database of Countersign's")

// known returns the version of a database's schema, if it is one of ours.
func known(ctx context.Context, e *engine.Engine, q engine.Queryer) (int64, error) {
	v, err := e.Version(ctx, q)
	if err != nil {
		return 0, err
	}
	return v, supported(v)
}

func supported(v int64) error {
	if v == 0 {
		return errNothing
	}
	if n := engine.Newest(store.Migrations()); v > n {
		return fmt.Errorf("the schema has version %d, this program knows %d: use the newer program", v, n)
	}
	return nil
}

// belong checks that the keys of the installation are those of a database.
func (d *Desk) belong(ctx context.Context, q engine.Queryer) (secret.Sealed, error) {
	s, err := store.KeyCheck(ctx, q)
	switch {
	case errors.Is(err, store.ErrNoRow):
		return s, errNothing
	case err != nil:
		return s, err
	case d.Store.Keys == nil:
		return s, errors.New("the keys are missing")
	}
	return s, store.CheckKeys(d.Store.Keys, s)
}

// conclude opens a database that is complete, brings it up to date, walks its
// audit chains and, after what else there is to do, records what was done. The
// marker is the caller's to drop.
func (d *Desk) conclude(ctx context.Context, databaseURL string, event audit.Event, actor audit.Actor, more func() error) (chains int, err error) {
	c := d.Store
	c.URL, c.Unfinished, c.Patience = databaseURL, true, patience
	db, err := store.Open(ctx, c)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.Read(ctx).VerifyChains(func(_ store.Head, broken error) error {
		chains++
		d.report(Report{Phase: Checking, Table: "audit chains", Rows: int64(chains)})
		return broken
	})
	if err != nil {
		return 0, err
	}
	d.report(Report{Phase: Checking, Table: "audit chains", Rows: int64(chains), Ended: true})
	if more != nil {
		if err := more(); err != nil {
			return 0, err
		}
	}
	return chains, db.Write(ctx, actor, func(tx *store.Tx) error { return tx.Record(event) })
}
