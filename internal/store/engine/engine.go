// Package engine is the database under the store: SQLite or PostgreSQL, its
// connections, its transactions and its schema. It knows no table.
package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// A Config says where the database is.
type Config struct {
	URL       string             // postgres://…, or the path of an SQLite file
	Isolation sql.IsolationLevel // of writes on PostgreSQL; zero: READ COMMITTED

	Connections int           // to PostgreSQL at most; zero: DefaultConnections
	Patience    time.Duration // how long PostgreSQL may take for a statement; zero: DefaultPatience

	Log *slog.Logger // is told of a schema that is newer than the program; nil: nobody is
}

// What is not said.
const (
	DefaultConnections = 16
	DefaultPatience    = 10 * time.Second
)

// ErrUnknown says that nobody knows whether a transaction was committed. It
// must be taken neither for done nor for undone.
var ErrUnknown = errors.New("the outcome of COMMIT is not known")

// IsPostgres reports whether a URL means PostgreSQL.
func IsPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// A Queryer runs statements: *sql.DB and *sql.Tx do.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// A Transaction is one write under way on either engine.
type Transaction interface {
	Queryer
	Commit() error
	Rollback() error
}

// A dialect is what differs between the engines.
type dialect struct {
	name     string
	postgres bool
	goose    goose.Dialect
	again    func(error) bool
	taken    func(error) bool
	broken   func(error) bool
}

// An Engine is an open database.
type Engine struct {
	Write  *sql.DB
	Read   *sql.DB
	Reader Queryer // of Read

	dialect dialect
	begin   func(ctx context.Context, light bool) (Transaction, error)
	closers []func() error

	prepared []*preparing // SQLite alone

	log *slog.Logger // nil: there is none

	connect   *pgx.ConnConfig // PostgreSQL alone
	patience  time.Duration   // zero: without end
	announces atomic.Int32    // whether PostgreSQL lets us
}

// Open opens the database at a URL.
func Open(ctx context.Context, c Config) (e *Engine, err error) {
	e = &Engine{log: c.Log}
	if IsPostgres(c.URL) {
		err = e.openPostgres(ctx, c)
	} else {
		err = e.openSQLite(ctx, c.URL)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Close closes the database.
func (e *Engine) Close() error {
	var errs []error
	for _, c := range e.closers {
		errs = append(errs, c())
	}
	for _, d := range []*sql.DB{e.Read, e.Write} {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	return errors.Join(errs...)
}

// Name is what the engine is called.
func (e *Engine) Name() string { return e.dialect.name }

// Postgres reports whether it is PostgreSQL.
func (e *Engine) Postgres() bool { return e.dialect.postgres }

// Begin begins a write. On SQLite one is under way at a time.
func (e *Engine) Begin(ctx context.Context) (Transaction, error) { return e.begin(ctx, false) }

// BeginLight begins a write whose COMMIT does not wait for the disk: it is seen
// by everybody at once, and outlives a crash of the machine when a write begun
// by Begin has been committed after it.
func (e *Engine) BeginLight(ctx context.Context) (Transaction, error) { return e.begin(ctx, true) }

// Again reports whether an error says that a transaction lost a race, and may
// be tried again.
func (e *Engine) Again(err error) bool { return e.dialect.again(err) }

// Broken reports whether an error says that the connection was lost, and with
// it the transaction if it had not come to its COMMIT.
func (e *Engine) Broken(err error) bool { return e.dialect.broken(err) }

// Taken reports whether an error says that a UNIQUE constraint refused a row.
func (e *Engine) Taken(err error) bool { return e.dialect.taken(err) }

// provider has the migrations of this engine, in the folder of its name.
func (e *Engine) provider(d *sql.DB, files fs.FS) (*goose.Provider, error) {
	files, err := fs.Sub(files, e.dialect.name)
	if err != nil {
		return nil, err
	}
	var options []goose.ProviderOption
	if e.dialect.postgres {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // look each second, for five minutes
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(e.dialect.goose, d, files, options...)
}

var migrating sync.Mutex // SQLite has no lock of its own for this

// Migrate brings the schema up to the version numbered; 0: the newest. A
// schema that is newer than that stays as it is: another node has brought it.
func (e *Engine) Migrate(ctx context.Context, files fs.FS, version int64) (err error) {
	newest := version == 0
	if newest {
		version = Newest(files)
	}
	if is, err := e.Version(ctx, e.Read); err == nil && is >= version {
		if newest && is > version && e.log != nil {
			e.log.Warn("the schema is newer than this program: it works with that of the release after its own, and not with later ones", "part", "database", "schema", is, "known", version)
		}
		return nil // as at most starts, which wait for nobody then
	}
	migrating.Lock()
	defer migrating.Unlock()
	d := e.Write
	if e.dialect.postgres {
		d = e.migrator()
		defer func() { err = errors.Join(err, d.Close()) }()
	}
	p, err := e.provider(d, files)
	if err != nil {
		return fmt.Errorf("prepare the migrations: %w", err)
	}
	for try := 1; ; try++ {
		if _, err = p.UpTo(ctx, version); err == nil {
			return nil
		}
		if try == lockTries || !waitedForLock(err) {
			return fmt.Errorf("migrate the database: %w", err)
		}
	}
}
