package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
)

// patience is PostgreSQL's with what reads or writes a whole table.
const patience = 24 * time.Hour

// A Restore is a backup on its way back.
type Restore struct {
	File string
	Lock Lock
	Keys string // where the installation's keys are, or will be if the backup holds them
}

// Restore puts a backup into the installation's database, which must hold
// nothing. Until all of it is there and has been checked nobody is served from
// it, and what fails leaves nothing.
func (d *Desk) Restore(ctx context.Context, r Restore) (h Header, done Done, err error) {
	a, closing, err := openArchive(r.File, r.Lock)
	if err != nil {
		return h, done, err
	}
	defer func() { err = errors.Join(err, closing()) }()
	h = a.Header
	if err := supported(h.Schema); err != nil {
		return h, done, err
	}
	if err := d.emptyFile(); err != nil {
		return h, done, err
	}
	undo, err := d.keysOf(h, r)
	if err != nil {
		return h, done, err
	}
	if engine.IsPostgres(d.Store.URL) {
		done, err = d.restorePostgres(ctx, a)
	} else {
		done, err = d.restoreFile(ctx, a)
	}
	if err != nil {
		err = errors.Join(err, undo())
	}
	return h, done, err
}

// emptyFile refuses an SQLite database that is there.
func (d *Desk) emptyFile() error {
	if engine.IsPostgres(d.Store.URL) {
		return nil
	}
	for _, end := range []string{"", "-wal", "-journal"} {
		if _, err := os.Lstat(d.Store.URL + end); err == nil {
			return fmt.Errorf("%s is there already: a backup is restored where there is no database", d.Store.URL+end)
		}
	}
	return nil
}

// keysOf sees to the keys: those of the installation must belong to the
// backup; where there are none, they are taken out of it.
func (d *Desk) keysOf(h Header, r Restore) (undo func() error, err error) {
	undo = func() error { return nil }
	if d.Store.Keys == nil {
		if len(h.Keys) == 0 {
			return undo, fmt.Errorf("the keys are missing: put the file that belongs to the backup at %s", r.Keys)
		}
		if err := secret.WriteNew(r.Keys, h.Keys); err != nil {
			return undo, fmt.Errorf("put the keys back: %w", err)
		}
		undo = func() error { return os.Remove(r.Keys) }
		if d.Store.Keys, err = secret.OpenKeyring(r.Keys, d.Store.Random, d.Store.Now()); err != nil {
			return undo, errors.Join(err, undo())
		}
	}
	if err := store.CheckKeys(d.Store.Keys, secret.Sealed{KeyID: h.KeyID, Box: h.Sealed}); err != nil {
		return undo, errors.Join(err, undo())
	}
	return undo, nil
}

// restoreFile fills a file beside the one it becomes.
func (d *Desk) restoreFile(ctx context.Context, a *archiveReader) (done Done, err error) {
	d.clearFillings(filepath.Dir(d.Store.URL))
	dir, err := os.MkdirTemp(filepath.Dir(d.Store.URL), filling) // mode 0700
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ours, err := os.Open(dir)
	if err != nil {
		return done, err
	}
	defer func() { _ = ours.Close() }()
	claim(ours)
	path := filepath.Join(dir, filepath.Base(d.Store.URL))
	e, err := engine.Open(ctx, engine.Config{URL: path})
	if err != nil {
		return done, err
	}
	if err = begin(ctx, e, progress{Kind: kindRestore}); err == nil {
		done, err = d.refill(ctx, e, path, a)
	}
	if err == nil {
		err = within(ctx, e, func(q engine.Queryer) error { return dropMarker(ctx, q) })
	}
	if err = errors.Join(err, e.Close()); err != nil { // which empties the log into the file
		return done, err
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		return done, errors.New("the database was not closed: somebody else has it open")
	}
	return done, appear(path, d.Store.URL)
}

// restorePostgres fills a database that serves nobody as long as the marker
// is in it, and empties it again when that fails. What a restore that was
// killed has left is dropped.
func (d *Desk) restorePostgres(ctx context.Context, a *archiveReader) (done Done, err error) {
	e, err := engine.Open(ctx, engine.Config{URL: d.Store.URL, Patience: patience})
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	state, found, err := begun(ctx, e, "")
	if err != nil {
		return done, err
	}
	fresh := progress{Kind: kindRestore}
	if !found {
		if err := begin(ctx, e, fresh); err != nil {
			return done, err
		}
		state = fresh
	}
	if state.Kind != kindRestore {
		return done, errors.New("a move into the target has not ended: take an empty database")
	}
	held, err := take(ctx, e)
	if err != nil {
		return done, err
	}
	if err = wipe(ctx, e, fresh); err == nil {
		done, err = d.refill(ctx, e, d.Store.URL, a)
	}
	if err != nil {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		dropped := wipe(own, e, fresh)
		held.release()
		if dropped == nil {
			dropped = dropMarker(own, e.Write)
		}
		return done, errors.Join(err, dropped)
	}
	held.release()
	return done, within(ctx, e, func(q engine.Queryer) error { return dropMarker(ctx, q) })
}

// refill makes the schema of the backup, fills it, compares what came of it
// with what was read, and ends what must not live again.
func (d *Desk) refill(ctx context.Context, e *engine.Engine, databaseURL string, a *archiveReader) (done Done, err error) {
	if err := e.Migrate(ctx, store.Migrations(), a.Schema); err != nil {
		return done, err
	}
	there, err := e.Tables(ctx, e.Read)
	if err != nil {
		return done, err
	}
	if err := twins(a.Tables, there); err != nil {
		return done, fmt.Errorf("the backup does not fit this program: %w", err)
	}
	read, err := d.pour(ctx, e, a)
	if err != nil {
		return done, err
	}
	now, err := d.digests(ctx, e.Reader, a.Tables, Comparing, read.rows())
	if err != nil {
		return done, err
	}
	for n, t := range a.Tables {
		g := now[n]
		if g.String() != read[n].String() {
			return done, fmt.Errorf("table %s is not what was read (%s, %s)", t.Name, read[n], g)
		}
		done.Tables, done.Rows = done.Tables+1, done.Rows+g.Rows
	}
	event := audit.Event{Name: audit.DatabaseRestore, Details: map[string]string{"made_at": a.MadeAt.UTC().Format(time.RFC3339)}}
	done.Chains, err = d.conclude(ctx, databaseURL, event, audit.OperatorActor("restore"), func() error { return endWhatLived(ctx, e, d.Store.Now()) })
	return done, err
}

// pour writes the rows as they are read.
func (d *Desk) pour(ctx context.Context, e *engine.Engine, a *archiveReader) (digests, error) {
	var waiting []row
	var rows, total int64
	size := 0
	return a.read(func(t engine.Table, r row) error {
		if r != nil {
			waiting = append(waiting, r)
			rows, total, size = rows+1, total+1, size+r.size()
		}
		if len(waiting) >= commitEvery || size >= commitBytes || r == nil {
			if err := within(ctx, e, func(q engine.Queryer) error { return insert(ctx, q, t, waiting) }); err != nil {
				return err
			}
			d.report(Report{Phase: Copying, Table: t.Name, Rows: rows, Ended: r == nil, Total: total})
			waiting, size = waiting[:0], 0
		}
		if r == nil {
			rows = 0
		}
		return nil
	})
}
