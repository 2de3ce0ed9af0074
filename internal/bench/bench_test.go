package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/bench"
	"countersign/internal/store/storetest"
)

// What is measured is done: every operation on every database, and each ends
// as it should, or the run ends with its error.
func TestEverythingIsMeasuredOnBothEngines(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "countersign")
	if out, err := exec.Command("go", "build", "-o", program, "countersign/cmd/countersign").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	o := bench.Options{Dir: t.TempDir(), Sizes: []int{7, 1010}, Postgres: storetest.PostgresURL(t), Slice: 5 * time.Millisecond, Rounds: 2, Clients: 2, Nodes: []int{1, 2}, Program: program, Version: "test", Say: t.Logf}
	r, err := bench.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, row := range r.Operations {
		if row.Runs == 0 || row.Median <= 0 || row.P99 < row.Median || row.Growth <= 0 {
			t.Errorf("%+v", row)
		}
		if row.Identities == 7 && row.Growth != 1 {
			t.Errorf("%s grows by %v to itself", row.Operation, row.Growth)
		}
		seen[row.Operation]++
	}
	for op, n := range seen {
		if n != 4 {
			t.Errorf("%s is measured on %d databases of four", op, n)
		}
	}
	tables := map[string]int{}
	for _, s := range r.Tables {
		if s.Rows < 1 || s.Bytes < s.Rows {
			t.Errorf("%+v", s)
		}
		if s.Table == "identity" && s.Rows != 1010+2 {
			t.Errorf("%s has %d identities", s.Engine, s.Rows)
		}
		if (s.Table == "recovery_code" || s.Table == "guess_budget") && s.Rows != 1010 {
			t.Errorf("%s has %d rows of %s: somebody signs in for the first time", s.Engine, s.Rows, s.Table)
		}
		tables[s.Table]++
	}
	if tables["identity"] != 2 || tables["audit_event"] != 2 || tables["session"] != 2 || tables["recovery_code"] != 2 || tables["guess_budget"] != 2 {
		t.Errorf("the tables are %v", tables)
	}
	if len(seen) != 9 || len(r.Nodes) != 4 {
		t.Errorf("%d operations, %d rows of nodes", len(seen), len(r.Nodes))
	}
	for _, c := range r.Comparisons {
		if c.Ratio <= 0 || c.Target <= 0 {
			t.Errorf("%+v", c)
		}
	}
	var again bench.Report
	if b, err := json.Marshal(r); err != nil {
		t.Error(err)
	} else if err := json.Unmarshal(b, &again); err != nil || !slices.Equal(again.Operations, r.Operations) {
		t.Errorf("%v: the figures are not those of the report", err)
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil {
		t.Error(err)
	}
	for op := range seen {
		if !strings.Contains(text.String(), op) {
			t.Errorf("the table lacks %s:\n%s", op, text.String())
		}
	}
}

// A run that is called off leaves no database behind.
func TestACalledOffRunLeavesNothing(t *testing.T) {
	t.Parallel()
	url := storetest.PostgresURL(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := bench.Options{Dir: t.TempDir(), Sizes: []int{5}, Postgres: url, Slice: time.Millisecond, Rounds: 1, Clients: 1, Version: "test"}
	o.Say = func(_ string, args ...any) {
		if len(args) > 0 && args[0] == "postgres" {
			cancel()
		}
	}
	if _, err := bench.Run(ctx, o); err == nil {
		t.Error("a run that was called off says nothing")
	}
	var left int
	if err := storetest.Raw(t, url).QueryRow("SELECT count(*) FROM pg_database WHERE datname = $1", fmt.Sprintf("countersign_bench_%d_5", os.Getpid())).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d databases are left, %v", left, err)
	}
}
