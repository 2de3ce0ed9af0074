package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"runtime"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A dialect is what differs between the engines.
type dialect struct {
	name     string
	postgres bool
	goose    goose.Dialect
	again    func(error) bool // the transaction lost a race and may be tried again
	taken    func(error) bool // a UNIQUE constraint refused the row
}

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
}

// openSQLite uses one connection for writing, so that writers queue in this
// process instead of at the file, and several for reading.
func (db *DB) openSQLite(ctx context.Context) error {
	db.dialect = sqliteDialect
	open := func(connections int, more url.Values) (*sql.DB, error) {
		q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}}
		for k, v := range more {
			q[k] = append(q[k], v...)
		}
		d, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: db.config.URL}).EscapedPath(), RawQuery: q.Encode()}).String())
		if err != nil {
			return nil, err
		}
		d.SetMaxOpenConns(connections)
		d.SetMaxIdleConns(connections)
		if err := d.PingContext(ctx); err != nil {
			_ = d.Close()
			return nil, fmt.Errorf("open %s: %w", db.config.URL, err)
		}
		return d, nil
	}
	var err error
	if db.write, err = open(1, url.Values{"_txlock": {"immediate"}}); err != nil {
		return err
	}
	db.read, err = open(max(4, runtime.GOMAXPROCS(0)), url.Values{"_pragma": {"query_only(1)"}})
	return err
}
