package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

var postgresDialect = dialect{
	name:     "postgres",
	postgres: true,
	goose:    goose.DialectPostgres,
	again:    func(err error) bool { return said(err, "40001", "40P01") }, // serialization failure, deadlock
	taken:    func(err error) bool { return said(err, "23505") },
	broken:   brokenPostgres,
}

// said reports whether PostgreSQL answered with one of the codes.
func said(err error, codes ...string) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		for _, c := range codes {
			if e.Code == c {
				return true
			}
		}
	}
	return false
}

// brokenPostgres tells a connection that was lost from one that cannot be
// had: trying at once helps with the first alone.
func brokenPostgres(err error) bool {
	var connect *pgconn.ConnectError
	var answer *pgconn.PgError
	var network *net.OpError
	switch {
	case errors.As(err, &connect):
		return said(err, "57P01") // ended while it was made: nothing was asked yet
	case err == nil, errors.Is(err, ErrUnknown), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return false
	case errors.As(err, &answer): // shutdown, crash, idle for too long, or what a pooler says
		return said(err, "57P01", "57P02", "57P05") || strings.HasPrefix(answer.Code, "08")
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) || pgconn.SafeToRetry(err)
}

// errURL is all that is said: the parser's words may hold the password.
var errURL = errors.New("the database URL cannot be read")

// connecting bounds how long a connection takes to be made.
const connecting = 5 * time.Second

// parsePostgres reads a URL. Of several hosts the one that takes writes is
// meant: a standby would answer with what was.
func parsePostgres(databaseURL string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, errURL
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connecting
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "countersign"
	}
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	keep := net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}
	c.DialFunc = (&net.Dialer{Timeout: c.ConnectTimeout, KeepAliveConfig: keep}).DialContext
	return c, nil
}

func (e *Engine) openPostgres(ctx context.Context, config Config) error {
	e.dialect = postgresDialect
	c, err := parsePostgres(config.URL)
	if err != nil {
		return err
	}
	most := config.Connections
	if most == 0 {
		most = DefaultConnections
	}
	if e.patience = config.Patience; e.patience == 0 {
		e.patience = DefaultPatience
	}
	e.connect = c
	d := sql.OpenDB(pipelines{connector(*c, limits(e.patience/2, 3*e.patience))})
	d.SetMaxOpenConns(most)
	d.SetMaxIdleConns(most)
	d.SetConnMaxIdleTime(5 * time.Minute)
	e.Write, e.Read, e.Reader = d, d, &rereading{DB: d, most: most}
	e.begin = func(ctx context.Context, light bool) (t Transaction, err error) {
		for range most + 1 { // a server that ends lets nobody in
			if t, err = e.beginPostgres(ctx, d, config.Isolation); !e.Broken(err) {
				break
			}
		}
		if err == nil && light {
			if err = Later(ctx, t, nil, atLeisure); err != nil {
				return nil, errors.Join(err, t.Rollback())
			}
		}
		return t, err
	}
	if err := d.PingContext(ctx); err != nil {
		return fmt.Errorf("reach PostgreSQL at %s:%d: %w", c.Host, c.Port, err)
	}
	return nil
}

// durable has a COMMIT wait for the disk, whatever the database is set to:
// what somebody was told is done must be done after a crash.
const durable = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit', true) = 'off'"

// atLeisure has the COMMIT of one transaction leave the disk to a later one.
const atLeisure = "SELECT set_config('synchronous_commit', 'off', true) WHERE current_setting('synchronous_commit', true) <> 'off'"

// databaseTypes are the types of our values in PostgreSQL, where nobody asks the
// server for them: default_query_exec_mode=exec, as some poolers need it. The
// program is built without the driver's own list (the tag
// nopgxregisterdefaulttypes), which is 1.4 MB of types that are not here.
var databaseTypes = []struct {
	value any
	name  string
}{
	{false, "bool"}, {int(0), "int8"}, {int64(0), "int8"}, {uint32(0), "int8"}, {float64(0), "float8"}, {"", "text"}, {[]string(nil), "_text"}, {[]byte(nil), "bytea"}, {time.Time{}, "timestamptz"},
}

// connector connects to c, and begins each connection with a statement; empty: none.
func connector(c pgx.ConnConfig, begin string) driver.Connector {
	return stdlib.GetConnector(c, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		for _, t := range databaseTypes {
			c.TypeMap().RegisterDefaultPgType(t.value, t.name)
		}
		if begin == "" {
			return nil
		}
		_, err := c.PgConn().Exec(ctx, begin).ReadAll()
		return err
	}))
}

// limits has the server itself give up a lock, so that the connection lives
// on, and a node that stops in the middle of a write, with what it has locked.
func limits(lock, idle time.Duration) string {
	return fmt.Sprintf("SET lock_timeout = %d; SET idle_in_transaction_session_timeout = %d; ", lock.Milliseconds(), idle.Milliseconds()) + durable
}

// How long a migration waits for a table, and how often: whoever waits for a
// table has everybody else wait behind.
const (
	lockWait  = 2 * time.Second
	lockTries = 30
)

// migrator opens the database for migrations, which may take their time.
func (e *Engine) migrator() *sql.DB {
	return sql.OpenDB(connector(*e.connect, limits(lockWait, 0)))
}

func waitedForLock(err error) bool { return said(err, "55P03") }

// A postgresTx is one transaction on PostgreSQL.
type postgresTx struct {
	*sql.Tx
	patience time.Duration
	cancel   context.CancelFunc
}

// beginPostgres begins a transaction which the end of ctx does not end: a
// COMMIT under way is waited for, whoever has gone.
func (e *Engine) beginPostgres(ctx context.Context, d *sql.DB, level sql.IsolationLevel) (Transaction, error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	gone := context.AfterFunc(ctx, cancel)
	late := time.AfterFunc(e.patience, cancel)
	t, err := d.BeginTx(own, &sql.TxOptions{Isolation: level})
	inTime := late.Stop()
	switch {
	case !gone():
		err = context.Cause(ctx)
	case !inTime:
		err = fmt.Errorf("%w for a connection", errPatience)
	}
	if err != nil {
		cancel() // which rolls back
		return nil, err
	}
	return &postgresTx{Tx: t, patience: e.patience, cancel: cancel}, nil
}

// Commit commits, or says ErrUnknown where that is all there is to say.
func (t *postgresTx) Commit() error {
	late := time.AfterFunc(t.patience, t.cancel)
	err := t.Tx.Commit()
	inTime := late.Stop()
	t.cancel()
	var before errUncommitted
	switch {
	case errors.As(err, &before) && !inTime:
		return fmt.Errorf("%w for an answer", errPatience)
	case errors.As(err, &before):
		return before.error
	}
	if err == nil || undone(err) && !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %v", ErrUnknown, err) //nolint:errorlint // what it was must not be taken for its reason
}

// undone reports whether an error of COMMIT says that nothing was committed:
// PostgreSQL refused, or was never asked.
func undone(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.SeverityUnlocalized != "FATAL" && e.SeverityUnlocalized != "PANIC" && e.Code != "40003" && e.Code != "08007"
	}
	return errors.Is(err, sql.ErrTxDone) || errors.Is(err, pgx.ErrTxCommitRollback) || pgconn.SafeToRetry(err)
}

// Rollback gives the transaction up.
func (t *postgresTx) Rollback() error {
	late := time.AfterFunc(t.patience, t.cancel)
	defer late.Stop()
	defer t.cancel()
	return t.Tx.Rollback()
}

// rereading reads once more where the connection it read on was lost.
type rereading struct {
	*sql.DB
	most int // connections there may be
}

func (r *rereading) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	for range r.most + 1 {
		if rows, err = r.DB.QueryContext(ctx, query, args...); !brokenPostgres(err) {
			break
		}
	}
	return rows, err
}

func (r *rereading) QueryRowContext(ctx context.Context, query string, args ...any) (row *sql.Row) {
	for range r.most + 1 {
		if row = r.DB.QueryRowContext(ctx, query, args...); !brokenPostgres(row.Err()) {
			break
		}
	}
	return row
}
