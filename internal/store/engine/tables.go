package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Kind is what a column holds, on either engine.
type Kind string

// The kinds.
const (
	Integer Kind = "integer"
	Text    Kind = "text"
	Bytes   Kind = "bytes"
)

// A Column of a table.
type Column struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
}

// A Table as the schema describes it.
type Table struct {
	Name    string   `json:"name"`
	Columns []Column `json:"columns"`
	Key     []string `json:"key"` // columns of the primary key
}

// Marker is the table that stands in a database which is being put together:
// while it is there, the database serves nobody.
const Marker = "countersign_transfer"

const versions = "goose_db_version" // where the migrations keep count

// ErrUnfinished says that a database is only half there.
var ErrUnfinished = errors.New("a move or a restore into this database has not ended: run it again")

// ErrBusy says that somebody else uses a database that is wanted alone.
var ErrBusy = errors.New("the database is in use: stop every server and every other program that has it open")

func strs(ctx context.Context, q Queryer, query string, args ...any) (list []string, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// Names lists all tables and views, of whoever.
func (e *Engine) Names(ctx context.Context, q Queryer) ([]string, error) {
	query := "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
	if e.Postgres() {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY table_name"
	}
	list, err := strs(ctx, q, query)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	return list, nil
}

// Version is that of the schema; zero: there is none of ours.
func (e *Engine) Version(ctx context.Context, q Queryer) (v int64, err error) {
	names, err := e.Names(ctx, q)
	if err != nil || !slices.Contains(names, versions) {
		return 0, err
	}
	err = q.QueryRowContext(ctx, "SELECT COALESCE(max(version_id), 0) FROM "+versions+" WHERE is_applied").Scan(&v)
	if err != nil {
		return 0, fmt.Errorf("read the version of the schema: %w", err)
	}
	return v, nil
}

// Tables describes every table that holds something of the store's, as the
// schema itself says, each after those that it refers to.
func (e *Engine) Tables(ctx context.Context, q Queryer) ([]Table, error) {
	names, err := e.Names(ctx, q)
	if err != nil {
		return nil, err
	}
	after := map[string][]string{}
	tables := map[string]Table{}
	for _, name := range names {
		if name == versions || name == Marker || name == MovedMark {
			continue
		}
		t, err := e.table(ctx, q, name)
		if err != nil {
			return nil, err
		}
		tables[name] = t
		if after[name], err = e.refersTo(ctx, q, name); err != nil {
			return nil, fmt.Errorf("describe %s: %w", name, err)
		}
	}
	return sorted(tables, after)
}

func sorted(tables map[string]Table, after map[string][]string) (list []Table, err error) {
	names := make([]string, 0, len(tables))
	for name := range tables {
		names = append(names, name)
	}
	slices.Sort(names)
	done := map[string]bool{}
	for len(list) < len(tables) {
		before := len(list)
		for _, name := range names {
			waits := slices.ContainsFunc(after[name], func(other string) bool { return other != name && !done[other] })
			if !done[name] && !waits {
				done[name] = true
				list = append(list, tables[name])
			}
		}
		if len(list) == before {
			return nil, errors.New("tables refer to each other in a ring")
		}
	}
	return list, nil
}

var kinds = map[string]Kind{"BIGINT": Integer, "INTEGER": Integer, "TEXT": Text, "BYTEA": Bytes, "BLOB": Bytes}

func (e *Engine) table(ctx context.Context, q Queryer, name string) (Table, error) {
	t := Table{Name: name}
	query, key := "SELECT name, upper(type) FROM pragma_table_info($1) ORDER BY cid", "SELECT name FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk"
	if e.Postgres() {
		query = "SELECT column_name, upper(data_type) FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position"
		key = `SELECT k.column_name FROM information_schema.table_constraints c JOIN information_schema.key_column_usage k
			ON k.constraint_schema = c.constraint_schema AND k.constraint_name = c.constraint_name AND k.table_name = c.table_name
			WHERE c.table_schema = current_schema() AND c.table_name = $1 AND c.constraint_type = 'PRIMARY KEY' ORDER BY k.ordinal_position`
	}
	rows, err := q.QueryContext(ctx, query, name)
	if err != nil {
		return t, fmt.Errorf("describe %s: %w", name, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c Column
		var word string
		if err := rows.Scan(&c.Name, &word); err != nil {
			return t, fmt.Errorf("describe %s: %w", name, err)
		}
		var known bool
		if c.Kind, known = kinds[word]; !known {
			return t, fmt.Errorf("describe %s: column %s is %s, which is not kept on both engines", name, c.Name, word)
		}
		t.Columns = append(t.Columns, c)
	}
	if err = rows.Err(); err == nil {
		t.Key, err = strs(ctx, q, key, name)
	}
	if err == nil && len(t.Key) == 0 {
		err = errors.New("it has no primary key")
	}
	if err != nil {
		return t, fmt.Errorf("describe %s: %w", name, err)
	}
	return t, nil
}

func (e *Engine) refersTo(ctx context.Context, q Queryer, name string) ([]string, error) {
	query := `SELECT DISTINCT "table" FROM pragma_foreign_key_list($1)`
	if e.Postgres() {
		query = `SELECT DISTINCT p.relname FROM pg_constraint x JOIN pg_class c ON c.oid = x.conrelid JOIN pg_class p ON p.oid = x.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE x.contype = 'f' AND n.nspname = current_schema() AND c.relname = $1`
	}
	return strs(ctx, q, query, name)
}

// A Snapshot is the database as it was at one moment, while others write on.
type Snapshot struct {
	Queryer
	end func() error
}

// Close lets the snapshot go.
func (s Snapshot) Close() error { return s.end() }

// Snapshot takes one.
func (e *Engine) Snapshot(ctx context.Context) (Snapshot, error) {
	var o *sql.TxOptions // SQLite: a transaction that only reads sees one moment
	if e.Postgres() {
		o = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := e.Read.BeginTx(ctx, o)
	if err == nil {
		_, err = e.Names(ctx, tx) // the first read is the moment
		if err == nil && e.Postgres() {
			err = unhurried(ctx, tx)
		}
		if err != nil {
			_ = tx.Rollback()
		}
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	return Snapshot{tx, tx.Rollback}, nil
}

// OpenAlone opens a database for reading, and keeps everybody else from
// writing until it is closed; ErrBusy: somebody has it open. Only Reader is
// there to be used, and Leave and Return, which end it.
func OpenAlone(ctx context.Context, databaseURL string) (e *Engine, err error) {
	e = &Engine{}
	if IsPostgres(databaseURL) {
		err = e.postgresAlone(ctx, databaseURL)
	} else {
		err = e.sqliteAlone(ctx, databaseURL)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// sqliteAlone takes the lock on the file that every other connection shares.
func (e *Engine) sqliteAlone(ctx context.Context, path string) error {
	e.dialect = sqliteDialect
	if _, err := os.Stat(path); err != nil {
		return err
	}
	q := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(1000)", "locking_mode(EXCLUSIVE)", "synchronous(FULL)"}}
	var err error
	if e.Read, err = sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()); err != nil {
		return err
	}
	e.Read.SetMaxOpenConns(1)
	e.Read.SetMaxIdleConns(1)
	conn, err := e.Read.Conn(ctx)
	if err == nil {
		e.closers = append(e.closers, func() error { _, _ = conn.ExecContext(context.Background(), "ROLLBACK"); return conn.Close() })
		_, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
	}
	if e.Again(err) {
		return ErrBusy
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	e.Reader = conn
	e.begin = func(context.Context, bool) (Transaction, error) { return aloneTx{conn}, nil }
	return nil
}

// An aloneTx is the transaction that is under way on a file opened alone.
type aloneTx struct{ *sql.Conn }

func (t aloneTx) end(statement string) error {
	_, err := t.ExecContext(context.Background(), statement)
	return err
}

func (t aloneTx) Commit() error   { return t.end("COMMIT") }
func (t aloneTx) Rollback() error { return t.end("ROLLBACK") }

// postgresAlone looks for other connections, and then locks every table
// against writes: whoever comes later waits. The table of the migrations is
// locked against reads too, which is where Whole waits; whoever was past that
// before the lock is seen by a second look.
func (e *Engine) postgresAlone(ctx context.Context, databaseURL string) error {
	e.dialect = postgresDialect
	c, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return errURL
	}
	e.Read = sql.OpenDB(connector(*c, ""))
	e.Read.SetMaxOpenConns(1)
	if err := nobodyElse(ctx, e.Read); err != nil {
		if errors.Is(err, ErrBusy) {
			return err
		}
		return fmt.Errorf("reach PostgreSQL at %s:%d: %w", c.Host, c.Port, err)
	}
	names, err := e.Names(ctx, e.Read)
	if err != nil {
		return err
	}
	tx, err := e.Read.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	e.closers = append(e.closers, func() error {
		if err := tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
			return err
		}
		return nil
	})
	e.Reader = tx
	e.begin = func(context.Context, bool) (Transaction, error) { return tx, nil }
	if len(names) > 0 {
		lock := "LOCK TABLE " + strings.Join(names, ", ") + " IN SHARE MODE NOWAIT"
		if slices.Contains(names, versions) {
			lock += "; LOCK TABLE " + versions + " IN ACCESS EXCLUSIVE MODE NOWAIT"
		}
		if _, err := tx.ExecContext(ctx, lock); err != nil {
			return fmt.Errorf("%w (%w)", ErrBusy, err)
		}
	}
	if err := nobodyElse(ctx, tx); err != nil {
		return err
	}
	return unhurried(ctx, tx)
}

// nobodyElse looks for other connections, for two seconds: one that was closed
// is gone a moment later.
func nobodyElse(ctx context.Context, q Queryer) error {
	for tries := 0; ; tries++ {
		var others int
		err := q.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&others)
		if err != nil {
			return err
		}
		if others == 0 {
			return nil
		}
		if tries == 20 {
			return ErrBusy
		}
		// Within a transaction what was seen once stays, unless it is told.
		if _, err := q.ExecContext(ctx, "SELECT pg_stat_clear_snapshot(), pg_sleep(0.1)"); err != nil {
			return err
		}
	}
}

// unhurried has PostgreSQL set no bound to a transaction that reads all there
// is, nor to the time in which whoever reads it is busy elsewhere.
func unhurried(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "SELECT set_config(name, '0', TRUE) FROM pg_settings WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')")
	return err
}
