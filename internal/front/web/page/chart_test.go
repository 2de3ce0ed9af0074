package page

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever the numbers: nothing leaves the picture, pieces of a column stand
// on one another, and labels do not cover each other.
func TestChartsHoldWhateverIsCounted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 40).Draw(t, "columns")
		numbers := rapid.SliceOfN(rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 9), rapid.IntRange(0, 3_000_000)), columns, columns)
		var series []Series
		for n := range rapid.IntRange(1, 4).Draw(t, "series") {
			series = append(series, Series{Label: fmt.Sprint(n), Values: numbers.Draw(t, fmt.Sprint(n))})
		}
		c := NewColumnChart(Frame{}, series...)
		if len(c.Legend) != len(series) || len(c.Grid) != 3 {
			t.Fatalf("%d in the legend, %d lines", len(c.Legend), len(c.Grid))
		}
		tops := map[string]int{}
		for _, b := range c.Bars {
			x, w := of(t, b.X), of(t, b.W)
			if x < 0 || x+w > 100.01 || b.H < 1 || b.Y+b.H > chartTop+chartPlot || b.Y < chartTop-2*len(series) {
				t.Fatalf("%+v is outside", b)
			}
			if below, ok := tops[b.X]; ok && b.Y+b.H < below {
				t.Fatalf("%+v floats above %d", b, below)
			}
			tops[b.X] = b.Y
		}
		shares := rapid.SliceOfN(rapid.IntRange(0, 100), columns, columns)
		known := rapid.IntRange(0, columns-1).Draw(t, "known")
		l := NewLineChart(Frame{}, known, Series{Label: "a", Values: shares.Draw(t, "a")}, Series{Label: "b", Values: shares.Draw(t, "b")})
		for _, line := range l.Lines {
			if n := len(strings.Fields(line.Points)); n != columns-known {
				t.Fatalf("%d points of %d", n, columns-known)
			}
			if line.LabelY < 8 || line.LabelY > l.FootY || line.Y < chartTop || line.Y > chartTop+chartPlot {
				t.Fatalf("%+v is outside", line)
			}
		}
		if gap := l.Lines[0].LabelY - l.Lines[1].LabelY; gap > -16 && gap < 16 {
			t.Fatalf("the labels are %d apart: %+v", gap, l.Lines)
		}
	})
}

func of(t *rapid.T, percent string) float64 {
	f, err := strconv.ParseFloat(strings.TrimSuffix(percent, "%"), 64)
	if err != nil || !strings.HasSuffix(percent, "%") {
		t.Fatalf("%q is no percentage", percent)
	}
	return f
}

func TestAxesEndInRoundNumbers(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{0: 2, 1: 2, 2: 2, 3: 4, 5: 6, 7: 8, 9: 10, 10: 10, 11: 20, 64: 80, 81: 100, 101: 200, 999_999: 1_000_000} {
		if got := round(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
}
