package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var sqliteDialect = dialect{
	name:  "sqlite",
	goose: goose.DialectSQLite3,
	again: func(err error) bool {
		var e *sqlite.Error
		return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED)
	},
	taken: func(err error) bool {
		var e *sqlite.Error
		return errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
	},
	broken: func(error) bool { return false }, // there is none
}

// openings is how often a file is opened that others make at the same time:
// who turns it to its journal does not wait for who does so too.
const openings = 50

// openSQLite uses one connection for writing, so that writers queue in this
// process instead of at the file, and several for reading.
func (e *Engine) openSQLite(ctx context.Context, path string) error {
	e.dialect = sqliteDialect
	if err := private(path); err != nil {
		return err
	}
	open := func(connections int, more url.Values) (*sql.DB, error) {
		q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}}
		for k, v := range more {
			q[k] = append(q[k], v...)
		}
		d, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
		if err != nil {
			return nil, err
		}
		d.SetMaxOpenConns(connections)
		d.SetMaxIdleConns(connections)
		for try := 1; ; try++ {
			err := d.PingContext(ctx)
			if err == nil {
				return d, nil
			}
			if try == openings || !e.Again(err) {
				_ = d.Close()
				return nil, fmt.Errorf("open %s: %w", path, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	var err error
	if e.Write, err = open(2, url.Values{"_txlock": {"immediate"}, "_pragma": {"cache_size(-8192)"}}); err != nil { // one of them for migrations
		return err
	}
	if e.Read, err = open(max(4, runtime.GOMAXPROCS(0)), url.Values{"_pragma": {"query_only(1)"}}); err != nil {
		return err
	}
	reader := &preparing{prepare: e.Read.PrepareContext, Queryer: e.Read}
	e.Reader = reader
	conn, err := e.Write.Conn(ctx)
	if err != nil {
		return err
	}
	w := &sqliteWriter{preparing: preparing{prepare: conn.PrepareContext, Queryer: conn}, free: make(chan struct{}, 1)}
	e.closers = append(e.closers, w.forget, conn.Close)
	e.prepared = []*preparing{reader, &w.preparing}
	e.begin = w.begin
	return nil
}

// private sees to it that the file is nobody else's to read; those that
// SQLite puts beside it follow it.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	return nil
}

// preparing keeps the statements it has prepared: their texts are few and
// fixed, and SQLite takes longer to read a statement than to run it.
type preparing struct {
	Queryer
	prepare    func(ctx context.Context, query string) (*sql.Stmt, error)
	statements sync.Map // *sql.Stmt by text
}

func (p *preparing) statement(query string) (*sql.Stmt, error) {
	if s, ok := p.statements.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := p.prepare(context.Background(), query) // outlives the request that needs it first
	if err != nil {
		return nil, err
	}
	if there, ok := p.statements.LoadOrStore(query, s); ok {
		_ = s.Close()
		return there.(*sql.Stmt), nil
	}
	return s, nil
}

// forget closes the statements. Nobody else closes those of one connection,
// and with one of them open SQLite keeps the file, and its lock, for good.
func (p *preparing) forget() error {
	p.statements.Range(func(_, s any) bool {
		_ = s.(*sql.Stmt).Close()
		return true
	})
	return nil
}

func (p *preparing) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := p.statement(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (p *preparing) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := p.statement(query)
	if err != nil {
		return p.Queryer.QueryRowContext(ctx, query, args...) // says the same
	}
	return s.QueryRowContext(ctx, args...)
}

func (p *preparing) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := p.statement(query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

// A sqliteWriter is the one connection that writes in this process.
type sqliteWriter struct {
	preparing
	free  chan struct{} // holds a token while a transaction is under way
	light bool          // whether a COMMIT leaves the disk alone
}

func (w *sqliteWriter) begin(ctx context.Context, light bool) (Transaction, error) {
	select {
	case w.free <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err := w.weigh(light)
	if err == nil {
		_, err = w.ExecContext(ctx, "BEGIN IMMEDIATE")
	}
	if err != nil {
		// A cancelled statement may have begun all the same.
		_, _ = w.ExecContext(context.Background(), "ROLLBACK")
		<-w.free
		return nil, err
	}
	return &sqliteTx{sqliteWriter: w}, nil
}

// weigh has the COMMITs from now on wait for the disk, or not. The statement
// acts when it is read, so that it is not kept.
func (w *sqliteWriter) weigh(light bool) error {
	if light == w.light {
		return nil
	}
	how := map[bool]string{false: "FULL", true: "NORMAL"}[light]
	_, err := w.Queryer.ExecContext(context.Background(), "PRAGMA synchronous = "+how)
	if err == nil {
		w.light = light
	}
	return err
}

// A sqliteTx is one transaction on the writing connection.
type sqliteTx struct {
	*sqliteWriter
	over bool
}

func (t *sqliteTx) end(statement string) error {
	if t.over {
		return nil
	}
	_, err := t.ExecContext(context.Background(), statement)
	if err == nil || statement == "ROLLBACK" {
		t.over = true
		<-t.free
	}
	return err
}

func (t *sqliteTx) Commit() error   { return t.end("COMMIT") }
func (t *sqliteTx) Rollback() error { return t.end("ROLLBACK") }
