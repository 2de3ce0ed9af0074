package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Reach signs in to PostgreSQL and leaves. A file is always there.
func Reach(ctx context.Context, url string) error {
	if !IsPostgres(url) {
		return nil
	}
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return errURL
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return fmt.Errorf("reach PostgreSQL at %s:%d: %w", c.Host, c.Port, err)
	}
	return conn.Close(ctx)
}

// NotYet reports whether an error of Reach may pass by itself: nobody answers,
// or it is starting, stopping or full.
func NotYet(err error) bool {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		switch said.Code {
		case "57P01", "57P02", "57P03", "53300": // shutdown, crash, cannot connect now, too many connections
			return true
		}
		return false // a wrong password stays wrong
	}
	var certificate *tls.CertificateVerificationError
	var connect *pgconn.ConnectError
	return !errors.As(err, &certificate) && errors.As(err, &connect)
}
