package engine

import (
	"context"
	"fmt"
)

// A Size is what a table takes.
type Size struct {
	Table string
	Rows  int64
	Bytes int64 // with its indexes
}

// Sizes measures every table: it reads them all, so it takes its time.
func (e *Engine) Sizes(ctx context.Context) ([]Size, error) {
	names, err := e.Names(ctx, e.Read)
	if err != nil {
		return nil, err
	}
	bytes := "SELECT COALESCE(SUM(pgsize), 0) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = $1)"
	if e.Postgres() {
		bytes = "SELECT pg_total_relation_size(quote_ident($1)::regclass)"
	}
	var list []Size
	for _, name := range names {
		s := Size{Table: name}
		if err := e.Read.QueryRowContext(ctx, `SELECT COUNT(*) FROM "`+name+`"`).Scan(&s.Rows); err != nil {
			return nil, fmt.Errorf("count %s: %w", name, err)
		}
		if err := e.Read.QueryRowContext(ctx, bytes, name).Scan(&s.Bytes); err != nil {
			return nil, fmt.Errorf("measure %s: %w", name, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// Settle does what the database does of itself some time after many rows were
// written, so that nobody measures that: PostgreSQL marks rows that everybody
// sees, at their first reading or before, and writes changed pages to the disk.
func (e *Engine) Settle(ctx context.Context) error {
	statements := []string{"PRAGMA wal_checkpoint(TRUNCATE)"}
	if e.Postgres() {
		statements = []string{"VACUUM (ANALYZE)", "CHECKPOINT"}
	}
	for _, s := range statements {
		if _, err := e.Write.ExecContext(ctx, s); err != nil && !said(err, "42501") { // a CHECKPOINT is not for everybody
			return fmt.Errorf("settle: %w", err)
		}
	}
	return nil
}
