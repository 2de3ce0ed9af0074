package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"countersign/internal/bench"
	"countersign/internal/config"
)

type benchCmd struct {
	Sizes    numbers       `long:"sizes" default:"1000,100000" description:"Numbers of identities, the smallest first."`
	Postgres string        `long:"postgres" env:"COUNTERSIGN_BENCH_POSTGRES" description:"URL of a PostgreSQL where databases can be made; best in COUNTERSIGN_BENCH_POSTGRES."`
	Slice    time.Duration `long:"slice" default:"1s" description:"How long an operation is measured before the next has its turn."`
	Rounds   int           `long:"rounds" default:"5" description:"How many turns each one has."`
	Clients  int           `long:"clients" default:"32" description:"Connections of the session check."`
	Nodes    numbers       `long:"nodes" default:"1,3" description:"How many processes serve on PostgreSQL, in turn."`
	Dir      config.Path   `long:"dir" description:"Where databases are made; default: the system's directory for temporary files."`
	JSON     config.Path   `long:"json" description:"File for the figures."`
}

// numbers are given as 1,3 or one by one; there may be none.
type numbers []int

// UnmarshalFlag is go-flags'.
func (n *numbers) UnmarshalFlag(text string) error {
	if text == "" {
		return nil // none
	}
	for part := range strings.SplitSeq(text, ",") {
		i, err := strconv.Atoi(part)
		if err != nil {
			return fmt.Errorf("%q is no number", part)
		}
		*n = append(*n, i)
	}
	return nil
}

func (c benchCmd) Run(w *world) (err error) {
	if c.Rounds < 1 || c.Clients < 1 || c.Slice <= 0 || len(c.Sizes) == 0 || slices.Min(c.Sizes) < 1 || !slices.IsSorted(c.Sizes) || (len(c.Nodes) > 0 && slices.Min(c.Nodes) < 1) {
		return errors.New("sizes rise, and none of sizes, rounds, clients, nodes and slice is below one")
	}
	dir, err := os.MkdirTemp(string(c.Dir), "countersign-bench-")
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
			failed = os.WriteFile(string(c.JSON), append(b, '\n'), 0o644) //nolint:gosec // figures
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("write the figures: %w", failed))
		}
	}
	return errors.Join(err, report.Print(w.out)) // what was measured until something failed, too
}
