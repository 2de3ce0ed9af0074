package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...any) {
		text := make([]string, len(cells))
		for n, c := range cells {
			text[n] = fmt.Sprint(c)
		}
		_, _ = fmt.Fprintln(t, strings.Join(text, "\t"))
	}
	_, _ = fmt.Fprintf(t, "countersign %s, %s, %d processors, %s\n\n", r.Version, r.Go, r.CPUs, r.At.Format("2006-01-02 15:04 MST"))
	row("ONE AT A TIME", "DATABASE", "IDENTITIES", "MEDIAN", "P99", "CPU", "RUNS", "GROWTH")
	for _, o := range r.Operations {
		row(o.Operation, o.Engine, o.Identities, rounded(o.Median), rounded(o.P99), rounded(o.CPU), o.Runs, fmt.Sprintf("%.2f", o.Growth))
	}
	row()
	row("AGAINST", "DATABASE", "RATIO", "TARGET", "", "")
	for _, c := range r.Comparisons {
		bound, met := "at least", "met"
		if c.AtMost {
			bound = "at most"
		}
		if !c.Met() {
			met = "MISSED"
		}
		row(c.What, c.Engine, fmt.Sprintf("%.2f", c.Ratio), fmt.Sprintf("%s %.2f", bound, c.Target), met, c.Note)
	}
	if len(r.Nodes) > 0 {
		row()
		row("NODES ON POSTGRESQL", "NODES", "PER SECOND", "MEDIAN", "P99")
		for _, n := range r.Nodes {
			row(n.Operation, n.Nodes, fmt.Sprintf("%.0f", n.Rate), rounded(n.Median), rounded(n.P99))
		}
	}
	if len(r.Tables) > 0 {
		row()
		row("TABLES WITH THEIR INDEXES", "DATABASE", "ROWS", "BYTES", "A ROW")
		for _, s := range r.Tables {
			row(s.Table, s.Engine, s.Rows, s.Bytes, s.Bytes/s.Rows)
		}
	}
	return t.Flush()
}
