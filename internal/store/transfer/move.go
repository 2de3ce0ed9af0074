package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

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
// the two, and marks the first as moved. It has the first alone for as long
// as it takes, and goes on where one that was killed stopped.
//
// The last two steps are two COMMITs: first the mark, then the marker goes
// from the target. Killed between them neither serves, and the same move ends
// it; the other way round both would.
func (d *Desk) Move(ctx context.Context, m Move) (done Done, err error) {
	if !engine.IsPostgres(m.To) {
		return done, errors.New("the target is not like postgres://user@host/name")
	}
	from, err := engine.OpenAlone(ctx, d.Store.URL)
	if err != nil {
		return done, fmt.Errorf("the database to be moved: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	version, left, err := d.source(ctx, from)
	if err != nil {
		return done, fmt.Errorf("the database to be moved: %w", err)
	}
	tables, err := from.Tables(ctx, from.Reader)
	if err != nil {
		return done, err
	}
	source, err := d.digests(ctx, from.Reader, tables, Reading, 0)
	if err != nil {
		return done, err
	}

	to, err := engine.Open(ctx, engine.Config{URL: m.To, Patience: patience})
	if err != nil {
		return done, fmt.Errorf("the target: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	state, held, err := d.begin(ctx, to, m.Anew, source.hash(), left)
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
	if err := from.Leave(ctx, &engine.ErrMoved{Move: state.Move, At: d.Store.Now(), To: to.Place()}); err != nil {
		return done, fmt.Errorf("mark the database that was moved: %w", err)
	}
	d.report(Report{Phase: Leaving, Table: "the old database", Rows: done.Rows, Ended: true})
	held.release()
	if err := within(ctx, to, func(q engine.Queryer) error { return arrive(ctx, q, state) }); err != nil {
		return done, fmt.Errorf("the old database is left, and the target not open yet: run the same command again: %w", err)
	}
	return done, nil
}

// arrive drops the marker from the target, unless another has emptied it since
// the hold on it was let go.
func arrive(ctx context.Context, q engine.Queryer, state progress) error {
	p, err := stateOf(ctx, q, "", " FOR UPDATE")
	if err != nil {
		return err
	}
	if p.Move != state.Move {
		return errors.New("another move has begun to fill the target")
	}
	return dropMarker(ctx, q)
}

// source looks at the database to be moved; left: a move was about to end.
func (d *Desk) source(ctx context.Context, from *engine.Engine) (version int64, left *engine.ErrMoved, err error) {
	names, err := from.Names(ctx, from.Reader)
	if err != nil {
		return 0, nil, err
	}
	if slices.Contains(names, engine.Marker) {
		return 0, nil, engine.ErrUnfinished
	}
	if version, err = known(ctx, from, from.Reader); err != nil {
		return 0, nil, err
	}
	if _, err = d.belong(ctx, from.Reader); err != nil {
		return 0, nil, err
	}
	left, err = from.Moved(ctx, from.Reader)
	return version, left, err
}

// begin finds out what the target holds, and takes hold of it. What was left
// goes on into the target that it was left for, and into no other.
func (d *Desk) begin(ctx context.Context, to *engine.Engine, anew bool, source string, left *engine.ErrMoved) (state progress, held *hold, err error) {
	state, found, err := begun(ctx, to, "")
	if err != nil {
		return state, nil, err
	}
	fresh := progress{Kind: kindMove, Source: source}
	if left == nil {
		if fresh.Move, err = d.newMove(); err != nil {
			return state, nil, err
		}
	} else if fresh.Move = left.Move; !found || state.Move != left.Move {
		return state, nil, already(ctx, to, left, found)
	}
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
	case anew && found:
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

// newMove names a move: two that copy the same rows are not the same.
func (d *Desk) newMove() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(d.Store.Random, b[:]); err != nil {
		return "", fmt.Errorf("name the move: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// already refuses to move what was moved already, and says what the target holds.
func already(ctx context.Context, to *engine.Engine, left *engine.ErrMoved, begun bool) error {
	names, err := to.Names(ctx, to.Read)
	if err != nil || begun || len(names) == 0 {
		return errors.Join(left, err)
	}
	return fmt.Errorf("%w; %w", left, notEmpty(names))
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
	target, err := d.digests(ctx, now, tables, Comparing, total)
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

// digests reads tables; ofAll: how many rows they should have, zero: not known.
func (d *Desk) digests(ctx context.Context, q engine.Queryer, tables []engine.Table, phase Phase, ofAll int64) (list digests, err error) {
	var total int64
	for _, t := range tables {
		tell := func(rows int64, ended bool) {
			d.report(Report{Phase: phase, Table: t.Name, Rows: rows, Ended: ended, Total: total + rows, OfAll: ofAll})
		}
		g, err := digest(ctx, q, t, func(rows int64) { tell(rows, false) })
		if err != nil {
			return nil, err
		}
		tell(g.Rows, true)
		total += g.Rows
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
