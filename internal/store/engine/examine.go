package engine

import (
	"context"
	"io/fs"
	"path"
	"time"

	"github.com/pressly/goose/v3"
)

// Examined is what an operator should know of a database.
type Examined struct {
	Version string // of SQLite or the server
	Schema  int64  // 0: there is none yet

	// Of PostgreSQL alone. A setting that it does not know is empty.
	Clock                        time.Time // by its clock
	Commit, Fsync, Pages         string    // synchronous_commit, fsync, full_page_writes
	Isolation                    string    // where a transaction names none
	ReadOnly                     bool      // a standby, or told to be
	Connections, Reserved, InUse int
	TLS                          bool // of our connection
}

// Examine looks and changes nothing.
func (e *Engine) Examine(ctx context.Context) (x Examined, err error) {
	if !e.Postgres() {
		err = e.Read.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&x.Version)
	} else {
		var us int64
		err = e.Read.QueryRowContext(ctx, `SELECT current_setting('server_version'), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
			coalesce(current_setting('synchronous_commit', true), ''), coalesce(current_setting('fsync', true), ''), coalesce(current_setting('full_page_writes', true), ''),
			coalesce(current_setting('default_transaction_isolation', true), ''), coalesce(current_setting('transaction_read_only', true), '') = 'on',
			coalesce(current_setting('max_connections', true), '0')::bigint, coalesce(current_setting('superuser_reserved_connections', true), '0')::bigint`).
			Scan(&x.Version, &us, &x.Commit, &x.Fsync, &x.Pages, &x.Isolation, &x.ReadOnly, &x.Connections, &x.Reserved)
		x.Clock = time.UnixMicro(us)
		// Databases that are only like it may not tell.
		_ = e.Read.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'").Scan(&x.InUse)
		_ = e.Read.QueryRowContext(ctx, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&x.TLS)
	}
	if err != nil {
		return x, err
	}
	x.Schema, err = e.Version(ctx, e.Read)
	return x, err
}

// Newest is the schema that this program makes, by the names of its
// migrations: the same on every engine.
func Newest(files fs.FS) (newest int64) {
	names, _ := fs.Glob(files, "*/*.sql")
	for _, name := range names {
		if n, err := goose.NumericComponent(path.Base(name)); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}
