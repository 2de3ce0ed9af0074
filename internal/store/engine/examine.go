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
	var there int
	known := "SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'"
	if e.Postgres() {
		known = "SELECT count(*) FROM pg_tables WHERE tablename = 'goose_db_version'"
	}
	if err := e.Read.QueryRowContext(ctx, known).Scan(&there); err != nil || there == 0 {
		return x, err
	}
	return x, e.Read.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version").Scan(&x.Schema)
}

// Newest is the schema that this program makes, by the names of its migrations.
func (e *Engine) Newest(files fs.FS) (newest int64) {
	names, _ := fs.Glob(files, e.dialect.name+"/*.sql")
	for _, name := range names {
		if n, err := goose.NumericComponent(path.Base(name)); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}
