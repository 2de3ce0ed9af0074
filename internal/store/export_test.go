package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"countersign/internal/store/belief"
	"countersign/internal/store/engine"
)

// An Explainer has the engine say how it would answer each query, and has it
// answer those alone that do not look for identities.
type Explainer struct {
	engine.Queryer
	t       testing.TB
	explain string
	Plans   []string
}

// Explain returns a reader whose queries are explained.
func (db *DB) Explain(t testing.TB) (*Reader, *Explainer) {
	e := &Explainer{Queryer: db.engine.Read, t: t, explain: "EXPLAIN QUERY PLAN "}
	if db.engine.Postgres() {
		e.explain = "EXPLAIN "
	}
	return &Reader{db: db, ctx: context.Background(), q: e}, e
}

func (e *Explainer) ask(query string, args []any) {
	rows, err := e.Queryer.QueryContext(context.Background(), e.explain+query, args...)
	if err != nil {
		e.t.Fatalf("%v\n%s", err, query)
	}
	defer func() { _ = rows.Close() }()
	columns, _ := rows.Columns()
	var plan []string
	for rows.Next() {
		var line string
		into := make([]any, len(columns))
		for n := range into {
			into[n] = new(any)
		}
		into[len(into)-1] = &line
		if err := rows.Scan(into...); err != nil {
			e.t.Fatal(err)
		}
		plan = append(plan, line)
	}
	e.Plans = append(e.Plans, strings.Join(plan, "\n"))
}

// context is one in which an explained query fails with context.Canceled.
func (e *Explainer) context(ctx context.Context, query string) context.Context {
	if strings.Contains(query, "FROM identity i") {
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		return cancelled
	}
	return ctx
}

func (e *Explainer) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	e.ask(query, args)
	return e.Queryer.QueryContext(e.context(ctx, query), query, args...)
}

func (e *Explainer) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	e.ask(query, args)
	return e.Queryer.QueryRowContext(e.context(ctx, query), query, args...)
}

// MigrateTo makes a database as an earlier version of the program left it.
func MigrateTo(ctx context.Context, c Config, version int64) (err error) {
	db := &DB{config: c, sessions: belief.New()}
	if err := db.open(ctx); err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return db.migrate(ctx, version)
}

// Cached reports whether a session would be believed without a read.
func (db *DB) Cached(hash []byte) bool {
	db.listen()
	_, ok := db.sessions.Get(hash, db.config.Now())
	return ok
}

// Hears reports whether what other nodes revoke is heard.
func (db *DB) Hears() bool {
	db.listen()
	return db.sessions.Hears(db.config.Now())
}

// Revocations counts what was revoked, here and elsewhere.
func (db *DB) Revocations() uint64 { return db.sessions.Count() }

// Hesitant returns a reader that has each row before it looks at it, and
// calls f in between.
func (db *DB) Hesitant(f func()) *Reader {
	return &Reader{db: db, ctx: context.Background(), q: hesitant{db.engine.Reader, f}}
}

type hesitant struct {
	engine.Queryer
	f func()
}

func (h hesitant) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	row := h.Queryer.QueryRowContext(ctx, query, args...)
	h.f()
	return row
}

// Ask asks for one value and throws it away.
func (db *DB) Ask(query string) error {
	var v any
	return db.Read(context.Background()).row(query, nil, &v)
}

// Engine is what the store stands on.
func (db *DB) Engine() *engine.Engine { return db.engine }

// WaitsForDisk reports whether the COMMIT of a write will.
func (tx *Tx) WaitsForDisk() (waits bool, err error) {
	how, query := "", "SHOW synchronous_commit"
	if !tx.db.engine.Postgres() {
		query = fmt.Sprintf("PRAGMA synchronous -- %p", tx) // one that was read before says what was then
	}
	err = tx.row(query, nil, &how)
	return how == "on" || how == "2", err
}

// Later and OneLater are those of the store's own statements.
func (tx *Tx) Later(query string, args ...any) error { return tx.later(query, args...) }

func (tx *Tx) OneLater(refused error, query string, args ...any) error {
	return tx.oneLater(refused, query, args...)
}

// ErrLost has a write begin anew.
var ErrLost = errLost
