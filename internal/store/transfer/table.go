package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"countersign/internal/store/engine"
)

// batch is how many rows are written by one statement; fewer of wide tables,
// since a statement holds so many values.
const (
	batch      = 200
	valuesMost = 8000
)

// commitEvery is how many rows go into one transaction, or fewer that have
// commitBytes together.
var commitEvery = 2000

const commitBytes = 4 << 20

func batchOf(t engine.Table) int { return max(1, min(batch, valuesMost/len(t.Columns))) }

func columnNames(t engine.Table) []string {
	names := make([]string, len(t.Columns))
	for n, c := range t.Columns {
		names[n] = c.Name
	}
	return names
}

// marks are the places of n values in a statement, behind the first so many.
func marks(after, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("$%d", after+i+1)
	}
	return "(" + strings.Join(list, ", ") + ")"
}

// each calls f for every row that a query of all columns finds.
func each(ctx context.Context, q engine.Queryer, t engine.Table, query string, args []any, f func(row) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	defer func() { _ = rows.Close() }()
	scanned, into := make([]any, len(t.Columns)), make([]any, len(t.Columns))
	for n := range into {
		into[n] = &scanned[n]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("read %s: %w", t.Name, err)
		}
		r, err := values(t, scanned)
		if err != nil {
			return err
		}
		if err := f(r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	return nil
}

// all reads a whole table in the order of its key.
func all(ctx context.Context, q engine.Queryer, t engine.Table, f func(row) error) error {
	return each(ctx, q, t, "SELECT "+strings.Join(columnNames(t), ", ")+" FROM "+t.Name+" ORDER BY "+strings.Join(t.Key, ", "), nil, f)
}

var errEnough = errors.New("enough")

// next reads the rows that follow a key, as many as go into one transaction;
// nil: from the first on.
func next(ctx context.Context, q engine.Queryer, t engine.Table, after row) (list []row, err error) {
	key := strings.Join(t.Key, ", ")
	query := "SELECT " + strings.Join(columnNames(t), ", ") + " FROM " + t.Name
	if after != nil {
		query += " WHERE (" + key + ") > " + marks(0, len(t.Key))
	}
	query += fmt.Sprintf(" ORDER BY %s LIMIT %d", key, commitEvery)
	size := 0
	err = each(ctx, q, t, query, after, func(r row) error {
		list = append(list, r)
		if size += r.size(); size >= commitBytes {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return list, err
}

// keyOf picks the key of a row, and keyColumns what it is made of.
func keyOf(t engine.Table, r row) row {
	k := make(row, len(t.Key))
	for n, name := range t.Key {
		k[n] = r[slices.Index(columnNames(t), name)]
	}
	return k
}

func keyColumns(t engine.Table) []engine.Column {
	list := make([]engine.Column, len(t.Key))
	for n, name := range t.Key {
		list[n] = t.Columns[slices.Index(columnNames(t), name)]
	}
	return list
}

// digest reads a whole table, and tells now and then how many rows it has read.
func digest(ctx context.Context, q engine.Queryer, t engine.Table, tell func(rows int64)) (*Digest, error) {
	d, buffer := &Digest{}, []byte(nil)
	err := each(ctx, q, t, "SELECT "+strings.Join(columnNames(t), ", ")+" FROM "+t.Name, nil, func(r row) error {
		buffer = d.add(r, buffer)
		if d.Rows%reportEvery == 0 {
			tell(d.Rows)
		}
		return nil
	})
	return d, err
}

// insert puts rows into a table.
func insert(ctx context.Context, q engine.Queryer, t engine.Table, list []row) error {
	for part := range slices.Chunk(list, batchOf(t)) {
		places := make([]string, len(part))
		args := make([]any, 0, len(part)*len(t.Columns))
		for n, r := range part {
			places[n] = marks(len(args), len(r))
			args = append(args, r...)
		}
		_, err := q.ExecContext(ctx, "INSERT INTO "+t.Name+" ("+strings.Join(columnNames(t), ", ")+") VALUES "+strings.Join(places, ", "), args...)
		if err != nil {
			return fmt.Errorf("write %s: %w", t.Name, err)
		}
	}
	return nil
}

// twins compares what two schemas of one version say.
func twins(a, b []engine.Table) error {
	describe := func(list []engine.Table) map[string]string {
		m := map[string]string{}
		for _, t := range list {
			columns := slices.Clone(t.Columns)
			slices.SortFunc(columns, func(a, b engine.Column) int { return strings.Compare(a.Name, b.Name) })
			m[t.Name] = fmt.Sprint(columns, t.Key)
		}
		return m
	}
	one, other := describe(a), describe(b)
	for name, said := range one {
		if other[name] != said {
			return fmt.Errorf("table %s is another on the other side", name)
		}
		delete(other, name)
	}
	for name := range other {
		return fmt.Errorf("table %s is on one side alone", name)
	}
	return nil
}
