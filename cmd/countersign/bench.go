package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"countersign/internal/bench"
)

type benchCmd struct {
	Sizes    []int         `help:"Numbers of identities, the smallest first." default:"1000,100000" env:"-"`
	Postgres string        `help:"URL of a PostgreSQL where databases can be made; best in COUNTERSIGN_BENCH_POSTGRES." env:"COUNTERSIGN_BENCH_POSTGRES"`
	Slice    time.Duration `help:"How long an operation is measured before the next has its turn." default:"1s" env:"-"`
	Rounds   int           `help:"How many turns each one has." default:"5" env:"-"`
	Clients  int           `help:"Connections of the session check." default:"32" env:"-"`
	Nodes    []int         `help:"How many processes serve on PostgreSQL, in turn." default:"1,3" env:"-"`
	Dir      string        `help:"Where databases are made; default: the system's directory for temporary files." type:"path" env:"-"`
	JSON     string        `help:"File for the figures." name:"json" type:"path" env:"-"`
}

func (c benchCmd) Run(w *world) (err error) {
	if c.Rounds < 1 || c.Clients < 1 || c.Slice <= 0 || len(c.Sizes) == 0 || slices.Min(c.Sizes) < 1 || !slices.IsSorted(c.Sizes) || (len(c.Nodes) > 0 && slices.Min(c.Nodes) < 1) {
		return errors.New("sizes rise, and none of sizes, rounds, clients, nodes and slice is below one")
	}
	dir, err := os.MkdirTemp(c.Dir, "countersign-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	report, err := bench.Run(w.ctx, bench.Options{Dir: dir, Sizes: c.Sizes, Postgres: c.Postgres, Slice: c.Slice, Rounds: c.Rounds, Clients: c.Clients, Nodes: c.Nodes, Program: program, Version: version,
		Say: func(format string, args ...any) { _, _ = fmt.Fprintf(w.err, format+"\n", args...) }})
	if c.JSON != "" {
		b, failed := json.MarshalIndent(report, "", " ")
		if failed == nil {
			failed = os.WriteFile(c.JSON, append(b, '\n'), 0o644) //nolint:gosec // figures
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("write the figures: %w", failed))
		}
	}
	return errors.Join(err, report.Print(w.out)) // what was measured until something failed, too
}
