package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// A pipeline is a connection to PostgreSQL on which the statements of a
// transaction that nobody waits for go out with the one after them: BEGIN, and
// those that Later was given. The way to the server and back is most of what a
// short statement costs.
type pipeline struct {
	*stdlib.Conn
	ctx     context.Context // of the transaction under way
	waiting []statement     // of it, not sent yet
	failed  error           // why it never began, though BEGIN was sent; nil: it did, or will
}

// mostWaiting statements wait at once.
const mostWaiting = 64

// A statement is one of a transaction.
type statement struct {
	query   string
	args    []any
	refused error // what the next one returns if this one changed no row; nil: it need not
}

// later is what the context of a statement says that may wait.
type later struct{ refused error }

type laterKey struct{}

// Later runs a statement of a transaction of which nobody waits to hear: with
// the next one, where that spares a way to the server. Its error is then that
// of the next one, and so is refused, unless it is nil, if it changes no row.
func Later(ctx context.Context, t Queryer, refused error, query string, args ...any) error {
	r, err := t.ExecContext(context.WithValue(ctx, laterKey{}, later{refused}), query, args...)
	if err != nil || refused == nil {
		return err
	}
	if n, err := r.RowsAffected(); n > 0 || err != nil {
		return err
	}
	return refused
}

// errNotBegun says that a transaction was lost before its BEGIN had an answer.
type errNotBegun struct{ error }

func (e errNotBegun) Unwrap() error { return e.error }

// NotBegun reports whether an error says that the connection was lost before
// anything was asked of it in the transaction: after the server was started
// anew, every connection that is left of before says so once.
func (e *Engine) NotBegun(err error) bool {
	var n errNotBegun
	return errors.As(err, &n) && e.Broken(err)
}

// errUncommitted says why COMMIT was not sent.
type errUncommitted struct{ error }

// pipelines makes connections.
type pipelines struct{ driver.Connector }

func (p pipelines) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &pipeline{Conn: c.(*stdlib.Conn)}, nil
}

var levels = map[sql.IsolationLevel]string{
	sql.LevelDefault:        "begin",
	sql.LevelReadCommitted:  "begin isolation level read committed",
	sql.LevelRepeatableRead: "begin isolation level repeatable read",
	sql.LevelSerializable:   "begin isolation level serializable",
}

// BeginTx begins a transaction with its first statement.
func (p *pipeline) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	begin, known := levels[sql.IsolationLevel(o.Isolation)]
	if !known {
		return nil, fmt.Errorf("no transaction of level %d", o.Isolation)
	}
	if o.ReadOnly {
		begin += " read only"
	}
	if p.Conn.Conn().IsClosed() {
		return nil, driver.ErrBadConn
	}
	p.ctx, p.waiting, p.failed = ctx, []statement{{query: begin}}, nil
	return (*pipelined)(p), nil
}

// idle reports whether the server knows of no transaction.
func (p *pipeline) idle() bool { return p.Conn.Conn().PgConn().TxStatus() == 'I' }

// send sends what waits and one more, and returns the answers to that one and
// whatever follows.
func (p *pipeline) send(ctx context.Context, last statement) (pgx.BatchResults, error) {
	waiting, begins := p.waiting, p.idle()
	p.waiting = nil
	b := &pgx.Batch{}
	for _, s := range append(waiting, last) {
		b.Queue(s.query, s.args...)
	}
	answers := p.Conn.Conn().SendBatch(ctx, b)
	var refused error
	for n, s := range waiting {
		tag, err := answers.Exec()
		if err != nil {
			_ = answers.Close() // says the same
			if begins && n == 0 {
				err = errNotBegun{err}
				p.failed = err
			}
			return nil, err
		}
		if refused == nil && tag.RowsAffected() == 0 {
			refused = s.refused
		}
	}
	if refused != nil {
		return nil, errors.Join(refused, answers.Close())
	}
	return answers, nil
}

// run sends what waits and one more, and returns how many rows that changed,
// and what it is called.
func (p *pipeline) run(ctx context.Context, s statement) (int64, string, error) {
	if len(p.waiting) == 0 {
		tag, err := p.Conn.Conn().Exec(ctx, s.query, s.args...)
		return tag.RowsAffected(), tag.String(), err
	}
	answers, err := p.send(ctx, s)
	if err != nil {
		return 0, "", err
	}
	tag, err := answers.Exec()
	if closed := answers.Close(); err == nil {
		err = closed
	}
	return tag.RowsAffected(), tag.String(), err
}

// settle sends what waits.
func (p *pipeline) settle(ctx context.Context) error {
	last := len(p.waiting) - 1
	if last < 0 {
		return nil
	}
	s := p.waiting[last]
	p.waiting = p.waiting[:last]
	n, _, err := p.run(ctx, s)
	switch {
	case err == nil && n == 0:
		err = s.refused
	case err != nil && p.idle():
		p.failed = err
	}
	return err
}

func arguments(named []driver.NamedValue) []any {
	args := make([]any, len(named))
	for n, a := range named {
		args[n] = a.Value
	}
	return args
}

// ExecContext runs a statement, or has it wait.
func (p *pipeline) ExecContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Result, error) {
	if p.failed != nil {
		return nil, p.failed
	}
	if l, wait := ctx.Value(laterKey{}).(later); wait {
		if len(p.waiting) == mostWaiting {
			if err := p.settle(ctx); err != nil {
				return nil, err
			}
		}
		p.waiting = append(p.waiting, statement{query, arguments(named), l.refused})
		return driver.RowsAffected(1), nil // until it is known
	}
	if len(p.waiting) == 0 {
		return p.Conn.ExecContext(ctx, query, named)
	}
	n, _, err := p.run(ctx, statement{query: query, args: arguments(named)})
	return driver.RowsAffected(n), err
}

// QueryContext asks.
func (p *pipeline) QueryContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Rows, error) {
	if p.failed != nil {
		return nil, p.failed
	}
	if len(p.waiting) == 0 {
		return p.Conn.QueryContext(ctx, query, named)
	}
	answers, err := p.send(ctx, statement{query: query, args: arguments(named)})
	if err != nil {
		return nil, err
	}
	rows, _ := answers.Query() // its error is that of the rows
	a := &answered{rows: rows, rest: answers, first: true, more: rows.Next()}
	if err := rows.Err(); err != nil {
		_ = a.Close()
		return nil, err
	}
	return a, nil
}

// PrepareContext prepares a statement, which will not know of any that wait.
func (p *pipeline) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := errors.Join(p.failed, p.settle(ctx)); err != nil {
		return nil, err
	}
	return p.Conn.PrepareContext(ctx, query)
}

// An answered is the rows of the last statement that was sent together with others.
type answered struct {
	rows        pgx.Rows
	rest        pgx.BatchResults
	first, more bool
}

func (a *answered) Columns() (names []string) {
	for _, f := range a.rows.FieldDescriptions() {
		names = append(names, f.Name)
	}
	return names
}

func (a *answered) Next(into []driver.Value) error {
	if !a.first {
		a.more = a.rows.Next()
	}
	a.first = false
	if !a.more {
		if err := a.rows.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	values, err := a.rows.Values()
	for n, v := range values {
		if into[n], err = plain(v, err); err != nil {
			return err
		}
	}
	return err
}

// plain is a value as database/sql knows them.
func plain(v any, err error) (driver.Value, error) {
	if err != nil {
		return nil, err
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

func (a *answered) Close() error {
	a.rows.Close()
	return errors.Join(a.rows.Err(), a.rest.Close())
}

// A pipelined transaction is the one under way on a pipeline.
type pipelined pipeline

// Commit commits, with what waits, unless that is all there is: of a COMMIT that
// was sent nobody may know whether it was done. What may refuse is asked before.
func (t *pipelined) Commit() error {
	p := (*pipeline)(t)
	switch {
	case p.failed != nil:
		err := p.failed
		return errors.Join(errUncommitted{err}, t.Rollback())
	case p.idle() && len(p.waiting) == 1: // nothing was asked
		p.waiting = nil
		return nil
	}
	for n, s := range p.waiting {
		if p.idle() && n == 0 || s.refused != nil { // what is lost before its BEGIN can be begun anew
			if err := p.settle(p.ctx); err != nil {
				_ = t.Rollback()
				return errUncommitted{err}
			}
			break
		}
	}
	_, tag, err := p.run(p.ctx, statement{query: "commit"})
	if err == nil && tag == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	if err != nil && !p.idle() {
		_ = t.Rollback() // the connection is given up if it cannot be
	}
	return err
}

// Rollback gives the transaction up.
func (t *pipelined) Rollback() error {
	p := (*pipeline)(t)
	p.waiting, p.failed = nil, nil
	if c := p.Conn.Conn(); !c.IsClosed() && !p.idle() {
		if _, err := c.Exec(p.ctx, "rollback"); err != nil {
			gone, cancel := context.WithCancel(context.Background())
			cancel() // nobody waits for the server to hear of it
			return errors.Join(err, c.Close(gone))
		}
	}
	return nil
}
