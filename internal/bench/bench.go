// Package bench measures what operations cost, how that grows with the number
// of identities, and what they cost beside a bare handler, a bare hash and a
// bare database in the same run.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/yardstick"
)

// Options say what is measured.
type Options struct {
	Dir      string        // holds the databases while they are measured; emptied by whoever made it
	Sizes    []int         // numbers of identities, the smallest first
	Postgres string        // URL of a PostgreSQL where databases can be made; empty: none
	Slice    time.Duration // for which one operation is measured before the next has its turn
	Rounds   int           // turns that each one has
	Clients  int           // connections of the session check
	Nodes    []int         // how many processes serve on PostgreSQL, in turn
	Program  string        // that is run as a node; empty: none is
	Version  string
	Say      func(format string, args ...any) // progress
}

// A Report is what was measured in one run.
type Report struct {
	Version     string       `json:"version"`
	Go          string       `json:"go"`
	CPUs        int          `json:"cpus"`
	At          time.Time    `json:"at"`
	Operations  []Row        `json:"operations"`
	Comparisons []Comparison `json:"comparisons"`
	Nodes       []NodeRow    `json:"nodes,omitempty"`
	Tables      []TableRow   `json:"tables,omitempty"`
}

// A Row is an operation, one at a time, on one database.
type Row struct {
	Operation  string        `json:"operation"`
	Engine     string        `json:"engine"`
	Identities int           `json:"identities"`
	Runs       int           `json:"runs"`
	Median     time.Duration `json:"median_ns"`
	P99        time.Duration `json:"p99_ns"`
	CPU        time.Duration `json:"cpu_ns"` // of this process, mean; on PostgreSQL the database's own is not in it
	Growth     float64       `json:"growth"` // of the median, against the smallest database in the same rounds
}

// A TableRow is what the rows of a table take, with their indexes, in the
// largest database.
type TableRow struct {
	Table  string `json:"table"`
	Engine string `json:"engine"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
}

// A Comparison is a ratio within this run, and what it should be.
type Comparison struct {
	What   string  `json:"what"`
	Engine string  `json:"engine,omitempty"`
	Ratio  float64 `json:"ratio"`
	AtMost bool    `json:"at_most"` // else: at least
	Target float64 `json:"target"`
	Note   string  `json:"note,omitempty"`
}

// Met reports whether the target is met.
func (c Comparison) Met() bool {
	if c.AtMost {
		return c.Ratio <= c.Target
	}
	return c.Ratio >= c.Target
}

// Run measures.
func Run(ctx context.Context, o Options) (r Report, err error) {
	r = Report{Version: o.Version, Go: runtime.Version(), CPUs: runtime.GOMAXPROCS(0), At: time.Now().UTC()}
	engines := []string{"sqlite"}
	if o.Postgres != "" {
		engines = append(engines, "postgres")
	}
	for _, e := range engines {
		if err := o.engine(ctx, e, &r); err != nil {
			return r, fmt.Errorf("%s: %w", e, err)
		}
	}
	return r, nil
}

// engine measures one of them.
func (o Options) engine(ctx context.Context, name string, r *Report) (err error) {
	var all []*population
	defer func() {
		for _, p := range all {
			err = errors.Join(err, p.close())
		}
	}()
	for _, n := range o.Sizes {
		dir := filepath.Join(o.Dir, fmt.Sprintf("%s-%d", name, n))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		url, drop, err := o.database(ctx, name, dir, "countersign.db", fmt.Sprintf("countersign_bench_%d_%d", os.Getpid(), n))
		if err != nil {
			return err
		}
		defer drop()
		o.Say("%s: making %d identities", name, n)
		p, err := openPopulation(ctx, dir, name, url, n, o.Say)
		if err != nil {
			return err
		}
		p.dir, p.url = dir, url
		all = append(all, p)
		if err := settle(ctx, url); err != nil {
			return err
		}
		bare, drop, err := o.database(ctx, name, dir, "bare.db", fmt.Sprintf("countersign_bench_bare_%d_%d", os.Getpid(), n))
		if err != nil {
			return err
		}
		defer drop()
		if p.bare, err = yardstick.Open(ctx, bare, store.Migrations(), int64(n)); err != nil {
			return err
		}
	}
	for _, op := range operations {
		o.Say("%s: %s", name, op.name)
		rows, err := o.measure(ctx, op, all)
		if err != nil {
			return fmt.Errorf("%s: %w", op.name, err)
		}
		r.Operations = append(r.Operations, rows...)
		if last := rows[len(rows)-1]; len(rows) > 1 && op.name != plain {
			r.Comparisons = append(r.Comparisons, Comparison{What: fmt.Sprintf("%s: %d identities against %d", op.name, last.Identities, rows[0].Identities), Engine: name, Ratio: last.Growth, AtMost: true, Target: 1.10})
		}
	}
	if err := o.tables(ctx, all[len(all)-1], r); err != nil {
		return err
	}
	for _, compare := range []func(context.Context, *population, *Report) error{o.againstEngine, o.againstHandler, o.againstHash} {
		if err := compare(ctx, all[0], r); err != nil {
			return err
		}
	}
	if name == "postgres" && o.Program != "" {
		for _, n := range o.Nodes {
			if err := o.nodes(ctx, all[0], n, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// database makes one: a file in dir on SQLite. It returns what removes it.
func (o Options) database(ctx context.Context, kind, dir, file, name string) (url string, drop func(), err error) {
	if kind == "sqlite" {
		return filepath.Join(dir, file), func() {}, nil
	}
	url, remove, err := engine.CreateDatabase(ctx, o.Postgres, name)
	return url, func() {
		if err := remove(context.WithoutCancel(ctx)); err != nil {
			o.Say("a database is left: %v", err)
		}
	}, err
}

// measure runs an operation on each population in turn, so that what else the
// machine does falls on all of them.
func (o Options) measure(ctx context.Context, op operation, all []*population) (rows []Row, err error) {
	took := make([][]time.Duration, len(all))
	growth := make([][]float64, len(all))
	worked := make([]time.Duration, len(all))
	for range o.Rounds {
		var first time.Duration
		for n, p := range all {
			slice, work, err := during(ctx, o.Slice, func() (func() error, error) { return op.prepare(ctx, p) })
			if err != nil {
				return nil, err
			}
			took[n], worked[n] = append(took[n], slice...), worked[n]+work
			slices.Sort(slice)
			if n == 0 {
				first = quantile(slice, .5)
			}
			growth[n] = append(growth[n], float64(quantile(slice, .5))/float64(first))
		}
	}
	for n, p := range all {
		slices.Sort(took[n])
		slices.Sort(growth[n])
		rows = append(rows, Row{op.name, p.engine, p.size, len(took[n]), quantile(took[n], .5), quantile(took[n], .99), worked[n] / time.Duration(len(took[n])), growth[n][len(growth[n])/2]})
	}
	return rows, nil
}

// during prepares and runs one after the other until the time is over, and
// returns how long the runs took, and their time of the processors.
func during(ctx context.Context, d time.Duration, prepare func() (func() error, error)) (took []time.Duration, work time.Duration, err error) {
	for end := time.Now().Add(d); len(took) == 0 || time.Now().Before(end); {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		run, err := prepare()
		if err != nil {
			return nil, 0, err
		}
		start, worked := time.Now(), cpu()
		err = run()
		took = append(took, time.Since(start))
		work += cpu() - worked
		if err != nil {
			return nil, 0, err
		}
	}
	return took, work, nil
}

// settle has the database do now what it would do while we measure.
func settle(ctx context.Context, url string) error {
	e, err := engine.Open(ctx, engine.Config{URL: url})
	if err != nil {
		return err
	}
	return errors.Join(e.Settle(ctx), e.Close())
}

// tables measures what the rows take once everything was done.
func (o Options) tables(ctx context.Context, p *population, r *Report) error {
	o.Say("%s: size of %d identities", p.engine, p.size)
	e, err := engine.Open(ctx, engine.Config{URL: p.url})
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	sizes, err := e.Sizes(ctx)
	for _, s := range sizes {
		if s.Rows > 0 {
			r.Tables = append(r.Tables, TableRow{s.Table, p.engine, s.Rows, s.Bytes})
		}
	}
	return err
}

// quantile is that of a sorted list.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
