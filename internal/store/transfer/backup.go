package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
)

// A Backup is a copy in a file.
type Backup struct {
	File string
	Lock Lock
	Keys string // file of the keys, which goes with it; empty: it does not
}

// Backup writes a copy of the installation's database as it is at one moment,
// while servers go on. The file appears when it is complete.
func (d *Desk) Backup(ctx context.Context, b Backup) (done Done, err error) {
	if _, err := os.Lstat(b.File); err == nil {
		return done, fmt.Errorf("%s is there already", b.File)
	}
	from, err := d.openThere(ctx)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if err := d.recordBackup(ctx, from, b); err != nil {
		return done, err
	}
	dir := filepath.Dir(b.File)
	d.clear(dir)
	f, err := os.CreateTemp(dir, partial) // mode 0600
	if err != nil {
		return done, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	claim(f)
	if done, err = d.write(ctx, from, f, b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return done, err
	}
	return done, appear(f.Name(), b.File)
}

// appear gives a file its name, if no other has it.
func appear(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// openThere opens the installation's database, if there is one of ours and it
// is whole. Its schema stays as it is.
func (d *Desk) openThere(ctx context.Context) (*engine.Engine, error) {
	if !engine.IsPostgres(d.Store.URL) {
		if _, err := os.Stat(d.Store.URL); err != nil {
			return nil, err // opening it would make it
		}
	}
	e, err := engine.Open(ctx, engine.Config{URL: d.Store.URL, Patience: patience})
	if err != nil {
		return nil, err
	}
	err = e.Whole(ctx)
	if err == nil {
		_, err = known(ctx, e, e.Read)
	}
	if err == nil {
		_, err = d.belong(ctx, e.Read)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// recordBackup has the copy itself hold that it was made. A database that
// older programs serve is left as it is.
func (d *Desk) recordBackup(ctx context.Context, from *engine.Engine, b Backup) error {
	if v, err := from.Version(ctx, from.Read); err != nil || v != engine.Newest(store.Migrations()) {
		return err
	}
	db, err := store.Open(ctx, d.Store)
	if err != nil {
		return err
	}
	event := audit.Event{Name: audit.DatabaseBackup}
	if b.Keys != "" {
		event.Details = map[string]string{"keys": "included"}
	}
	err = db.Write(ctx, audit.OperatorActor("backup"), func(tx *store.Tx) error { return tx.Record(event) })
	return errors.Join(err, db.Close())
}

func (d *Desk) write(ctx context.Context, from *engine.Engine, w io.Writer, b Backup) (done Done, err error) {
	now, err := from.Snapshot(ctx)
	if err != nil {
		return done, err
	}
	defer func() { _ = now.Close() }()
	h, err := d.header(ctx, from, now, b)
	if err != nil {
		return done, err
	}
	sealed, err := b.Lock.seal(w)
	if err != nil {
		return done, err
	}
	a, err := newArchiveWriter(sealed, h)
	if err != nil {
		return done, err
	}
	for _, t := range h.Tables {
		a.table()
		n := int64(0)
		err := all(ctx, now, t, func(r row) error {
			if n++; n%reportEvery == 0 {
				d.report(Report{Phase: Writing, Table: t.Name, Rows: n, Total: done.Rows + n})
			}
			return a.row(r)
		})
		if err == nil {
			err = a.endTable()
		}
		if err != nil {
			return done, err
		}
		done.Tables, done.Rows = done.Tables+1, done.Rows+n
		d.report(Report{Phase: Writing, Table: t.Name, Rows: n, Ended: true, Total: done.Rows})
	}
	if err := a.close(); err != nil {
		return done, err
	}
	return done, sealed.Close()
}

// header describes what a snapshot holds.
func (d *Desk) header(ctx context.Context, from *engine.Engine, now engine.Queryer, b Backup) (h Header, err error) {
	h = Header{MadeAt: d.Store.Now().UTC(), Engine: from.Name()}
	if h.Schema, err = known(ctx, from, now); err != nil {
		return h, err
	}
	check, err := d.belong(ctx, now)
	if err != nil {
		return h, err
	}
	h.KeyID, h.Sealed = check.KeyID, check.Box
	tables, err := from.Tables(ctx, now)
	if err != nil {
		return h, err
	}
	for _, t := range tables {
		if t.Name == headsTable {
			heads, err := digest(ctx, now, t, func(int64) {})
			if err != nil {
				return h, err
			}
			h.Heads = heads.String()
			h.Tables = append([]engine.Table{t}, h.Tables...)
			continue
		}
		h.Tables = append(h.Tables, t)
	}
	if b.Keys != "" {
		text, err := ReadSecret(b.Keys)
		if err != nil {
			return h, err
		}
		h.Keys = []byte(text)
	}
	return h, nil
}

// Check reads a backup from beginning to end without restoring it: that it is
// whole and as it was made, and, where the keys that belong to it are there,
// that its audit chains hold.
func (d *Desk) Check(ctx context.Context, file string, l Lock) (h Header, done Done, err error) {
	a, closing, err := openArchive(file, l)
	if err != nil {
		return h, done, err
	}
	defer func() { err = errors.Join(err, closing()) }()
	h = a.Header
	if err := supported(h.Schema); err != nil {
		return h, done, err
	}
	var c *chains
	if d.Store.Keys != nil {
		if err := store.CheckKeys(d.Store.Keys, secret.Sealed{KeyID: h.KeyID, Box: h.Sealed}); err != nil {
			return h, done, err
		}
		c = newChains(d.Store.Keys, h.Tables)
	}
	n := int64(0)
	_, err = a.read(func(t engine.Table, r row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r != nil {
			n++
			if done.Rows++; n%reportEvery == 0 {
				d.report(Report{Phase: Checking, Table: t.Name, Rows: n, Total: done.Rows})
			}
			return c.next(t, r)
		}
		d.report(Report{Phase: Checking, Table: t.Name, Rows: n, Ended: true, Total: done.Rows})
		done.Tables, n = done.Tables+1, 0
		return nil
	})
	if err != nil {
		return h, done, err
	}
	done.Chains, err = c.end()
	return h, done, err
}

// openArchive opens a backup; the function returned closes the file.
func openArchive(file string, l Lock) (*archiveReader, func() error, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	inner, err := l.open(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	a, err := newArchiveReader(inner)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return a, f.Close, nil
}
