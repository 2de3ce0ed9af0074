package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
	again: func(err error) bool {
		var e *pgconn.PgError
		return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01") // serialization failure, deadlock
	},
	taken: func(err error) bool {
		var e *pgconn.PgError
		return errors.As(err, &e) && e.Code == "23505"
	},
}

func (e *Engine) openPostgres(ctx context.Context, config Config) error {
	e.dialect = postgresDialect
	c, err := pgx.ParseConfig(config.URL)
	if err != nil {
		return errors.New("the database URL cannot be read") // the parser's words may hold the password
	}
	d := sql.OpenDB(stdlib.GetConnector(*c))
	d.SetMaxOpenConns(16)
	d.SetMaxIdleConns(16)
	d.SetConnMaxIdleTime(5 * time.Minute)
	e.Write, e.Read, e.Reader = d, d, d
	e.begin = func(ctx context.Context) (Transaction, error) {
		return d.BeginTx(ctx, &sql.TxOptions{Isolation: config.Isolation})
	}
	if err := d.PingContext(ctx); err != nil {
		return fmt.Errorf("reach PostgreSQL at %s:%d: %w", c.Host, c.Port, err)
	}
	return nil
}
