package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/engine"
)

// A Move is a database on its way to PostgreSQL.
type Move struct {
	To   string // URL of an empty database
	Anew bool   // drop what an earlier move has copied
}

// ErrChanged says that a move cannot go on.
var ErrChanged = errors.New("the database has changed since the move into this target began: begin anew (--anew)")

// Move copies the installation's database to another, row by row, compares
// the two, and leaves the first as it is. It has the first alone for as long
// as it takes, and goes on where one that was killed stopped.
func (d *Desk) Move(ctx context.Context, m Move) (done Done, err error) {
	if !engine.IsPostgres(m.To) {
		return done, errors.New("the target is not like postgres://user@host/name")
	}
	from, err := engine.OpenAlone(ctx, d.Store.URL)
	if err != nil {
		return done, fmt.Errorf("the database to be moved: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	version, err := d.source(ctx, from)
	if err != nil {
		return done, fmt.Errorf("the database to be moved: %w", err)
	}
	tables, err := from.Tables(ctx, from.Reader)
	if err != nil {
		return done, err
	}
	source, err := d.digests(ctx, from.Reader, tables, Reading)
	if err != nil {
		return done, err
	}

	to, err := engine.Open(ctx, engine.Config{URL: m.To, Patience: patience})
	if err != nil {
		return done, fmt.Errorf("the target: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	state, held, err := m.begin(ctx, to, source.hash())
	if err != nil {
		return done, err
	}
	defer held.release()
	if !state.Verified {
		if err := d.fill(ctx, from, to, tables, version, source); err != nil {
			return done, err
		}
		state.Verified = true
		if err := within(ctx, to, func(q engine.Queryer) error { return keep(ctx, q, "", state) }); err != nil {
			return done, err
		}
	}
	event := audit.Event{Name: audit.DatabaseMove, Details: map[string]string{"tables": fmt.Sprint(len(tables)), "rows": fmt.Sprint(source.rows())}}
	done = Done{Tables: len(tables), Rows: source.rows()}
	if done.Chains, err = d.conclude(ctx, m.To, event, audit.OperatorActor("database move"), nil); err != nil {
		return done, err
	}
	held.release()
	return done, within(ctx, to, func(q engine.Queryer) error { return dropMarker(ctx, q) })
}

// source looks at the database to be moved.
func (d *Desk) source(ctx context.Context, from *engine.Engine) (int64, error) {
	names, err := from.Names(ctx, from.Reader)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if name == engine.Marker {
			return 0, engine.ErrUnfinished
		}
	}
	version, err := known(ctx, from, from.Reader)
	if err != nil {
		return 0, err
	}
	_, err = d.belong(ctx, from.Reader)
	return version, err
}

// begin finds out what the target holds, and takes hold of it.
func (m Move) begin(ctx context.Context, to *engine.Engine, source string) (state progress, held *hold, err error) {
	state, found, err := begun(ctx, to, "")
	if err != nil {
		return state, nil, err
	}
	fresh := progress{Kind: kindMove, Source: source}
	if !found {
		if err := begin(ctx, to, fresh); err != nil {
			return state, nil, err
		}
		state = fresh
	}
	if held, err = take(ctx, to); err != nil {
		return state, nil, err
	}
	switch {
	case state.Kind != kindMove:
		err = errors.New("a restore into the target has not ended: run that again, or take an empty database")
	case m.Anew && found:
		err = wipe(ctx, to, fresh)
		state = fresh
	case state.Source != source:
		err = ErrChanged
	}
	if err != nil {
		held.release()
	}
	return state, held, err
}

// fill makes the schema, copies every table, and compares what came of it.
func (d *Desk) fill(ctx context.Context, from, to *engine.Engine, tables []engine.Table, version int64, source digests) error {
	if err := to.Migrate(ctx, store.Migrations(), version); err != nil {
		return err
	}
	there, err := to.Tables(ctx, to.Read)
	if err != nil {
		return err
	}
	if err := twins(tables, there); err != nil {
		return err
	}
	var total int64
	for n, t := range tables {
		if err := d.copyTable(ctx, from, to, t, source, n, total); err != nil {
			return err
		}
		total += source[n].Rows
	}
	now, err := to.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = now.Close() }()
	target, err := d.digests(ctx, now, tables, Comparing)
	if err != nil {
		return err
	}
	for n, t := range tables {
		if s, g := source[n].String(), target[n].String(); s != g {
			return fmt.Errorf("table %s is not the same on both sides (%s, %s): begin anew (--anew)", t.Name, s, g)
		}
	}
	return nil
}

// copyTable goes on behind the last row of a table that was copied: each
// batch is committed together with how far it goes.
func (d *Desk) copyTable(ctx context.Context, from, to *engine.Engine, t engine.Table, source digests, n int, before int64) error {
	state, _, err := begun(ctx, to, t.Name)
	if err != nil {
		return err
	}
	var after row
	if state.After != nil {
		if after, err = parseRow(keyColumns(t), state.After); err != nil {
			return fmt.Errorf("how far %s has come: %w", t.Name, err)
		}
	}
	tell := func(ended bool) {
		d.report(Report{Phase: Copying, Table: t.Name, Rows: state.Rows, Of: source[n].Rows, Ended: ended, Total: before + state.Rows, OfAll: source.rows()})
	}
	for {
		list, err := next(ctx, from.Reader, t, after)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			tell(true)
			return nil
		}
		after = keyOf(t, list[len(list)-1])
		state.After, state.Rows = after.append(nil), state.Rows+int64(len(list))
		err = within(ctx, to, func(q engine.Queryer) error {
			if err := insert(ctx, q, t, list); err != nil {
				return err
			}
			return keep(ctx, q, t.Name, state)
		})
		if err != nil {
			return err
		}
		tell(false)
	}
}

// digests of tables, in their order.
type digests []*Digest

func (d *Desk) digests(ctx context.Context, q engine.Queryer, tables []engine.Table, phase Phase) (list digests, err error) {
	var total int64
	for _, t := range tables {
		g, err := digest(ctx, q, t)
		if err != nil {
			return nil, err
		}
		total += g.Rows
		d.report(Report{Phase: phase, Table: t.Name, Rows: g.Rows, Of: g.Rows, Ended: true, Total: total})
		list = append(list, g)
	}
	return list, nil
}

func (l digests) rows() (n int64) {
	for _, g := range l {
		n += g.Rows
	}
	return n
}

// hash is what the same rows in the same tables have in common.
func (l digests) hash() string {
	h := sha256.New()
	for _, g := range l {
		fmt.Fprintln(h, g)
	}
	return hex.EncodeToString(h.Sum(nil))
}
