package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// CreateDatabase makes an empty database beside the one at a PostgreSQL URL,
// and returns its URL and what drops it again.
func CreateDatabase(ctx context.Context, at, name string) (made string, drop func(context.Context) error, err error) {
	c, err := pgx.ParseConfig(at)
	u, parsed := url.Parse(at)
	if err != nil || parsed != nil {
		return "", nil, errors.New("the database URL cannot be read") // the parser's words may hold the password
	}
	do := func(ctx context.Context, statement, how string) error {
		d := sql.OpenDB(connector(*c, ""))
		_, err := d.ExecContext(ctx, statement+" "+pgx.Identifier{name}.Sanitize()+how)
		return errors.Join(err, d.Close())
	}
	if err := do(ctx, "CREATE DATABASE", ""); err != nil {
		return "", nil, fmt.Errorf("create a database: %w", err)
	}
	u.Path = "/" + name
	return u.String(), func(ctx context.Context) error { return do(ctx, "DROP DATABASE IF EXISTS", " WITH (FORCE)") }, nil
}
