package store

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

func (db *DB) openPostgres(ctx context.Context) error {
	db.dialect = postgresDialect
	c, err := pgx.ParseConfig(db.config.URL)
	if err != nil {
		return errors.New("the database URL cannot be read") // the parser's words may hold the password
	}
	d := sql.OpenDB(stdlib.GetConnector(*c))
	d.SetMaxOpenConns(16)
	d.SetMaxIdleConns(16)
	d.SetConnMaxIdleTime(5 * time.Minute)
	db.write, db.read, db.reader = d, d, d
	db.begin = func(ctx context.Context) (transaction, error) {
		return d.BeginTx(ctx, &sql.TxOptions{Isolation: db.config.Isolation})
	}
	if err := d.PingContext(ctx); err != nil {
		return fmt.Errorf("reach PostgreSQL at %s:%d: %w", c.Host, c.Port, err)
	}
	return nil
}
