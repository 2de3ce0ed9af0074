package page

import (
	"fmt"
	"strconv"
	"strings"
)

// Charts are SVG without a viewBox: what runs across is in percent, what goes
// up in pixels, so that words keep their size from a phone to a wide screen.
// Every mark differs in pattern too, for those who see no colours.
const (
	chartTop  = 30 // room for a label above the highest mark
	chartPlot = 150
	chartWord = 20 // from one line of words to the next
	chartEven = 5  // from the middle of a word to its foot
	chartFoot = 30 // for the labels below
)

// A Series is one line, or one layer of columns, of a chart.
type Series struct {
	Label  string
	Values []int
	Now    string // the newest value, as it is written beside its mark
}

// A Frame is what every chart has.
type Frame struct {
	ID, Title, Desc string // Desc says in words what the picture shows
	Height          int
	Grid            []Tick
	From, To        string // the ends of the axis
	FootY           int
	Beside          bool // words stand left and right of the picture, not in it
}

// A Tick is a line across a chart with its value.
type Tick struct {
	Y     int
	Label string
}

// A LineChart has values from 0 to 100 over time.
type LineChart struct {
	Frame
	Top, Plot, Steps int
	Lines            []LineMark
	Legend           []LegendRow
}

// A LineMark is one line.
type LineMark struct {
	Mark      int
	Points    string // within 0 to Steps, and 0 to 100 downwards
	Y, LabelY int    // of its end; the label is beside it, where no line runs
	Label     string
}

// NewLineChart draws shares in percent. known is where the first value is.
func NewLineChart(f Frame, known int, series ...Series) LineChart {
	c := LineChart{Frame: f, Top: chartTop, Plot: chartPlot}
	c.Beside = true
	c.Height, c.FootY = chartTop+chartPlot+chartFoot, chartTop+chartPlot+chartFoot-6
	for _, share := range []int{100, 50, 0} {
		c.Grid = append(c.Grid, Tick{chartTop + chartPlot*(100-share)/100, strconv.Itoa(share) + " %"})
	}
	for n, s := range series {
		c.Steps = max(1, len(s.Values)-1)
		var points strings.Builder
		for x := known; x < len(s.Values); x++ {
			fmt.Fprintf(&points, "%d,%d ", x, 100-s.Values[x])
		}
		last := s.Values[len(s.Values)-1]
		y := chartTop + chartPlot*(100-last)/100
		c.Lines = append(c.Lines, LineMark{Mark: n, Points: strings.TrimSpace(points.String()), Y: y, LabelY: y + chartEven, Label: s.Now})
		c.Legend = append(c.Legend, LegendRow{n, s.Label, s.Now})
	}
	c.part()
	return c
}

// part keeps the labels of two lines from covering each other, and the words
// at the foot.
func (c *LineChart) part() {
	if len(c.Lines) != 2 {
		return
	}
	upper, lower := &c.Lines[0], &c.Lines[1]
	if upper.Y > lower.Y {
		upper, lower = lower, upper
	}
	if short := chartWord - (lower.Y - upper.Y); short > 0 {
		lower.LabelY = min(lower.LabelY+short/2, chartTop+chartPlot+chartEven)
		upper.LabelY = lower.LabelY - chartWord
	}
}

// A ColumnChart has a stack of numbers for every day.
type ColumnChart struct {
	Frame
	Bars   []BarMark
	Legend []LegendRow
}

// A BarMark is one piece of a column.
type BarMark struct {
	Mark  int
	X, W  string // percent
	Y, H  int
	Title string
}

// A LegendRow says what a pattern stands for, and how much of it there is.
type LegendRow struct {
	Mark  int
	Label string
	Value string
}

// NewColumnChart stacks the series, the first at the bottom.
func NewColumnChart(f Frame, series ...Series) ColumnChart {
	c := ColumnChart{Frame: f}
	c.Height, c.FootY = chartTop+chartPlot+chartFoot, chartTop+chartPlot+chartFoot-6
	columns, most := 0, 0
	for _, s := range series {
		columns = max(columns, len(s.Values))
	}
	for x := range columns {
		sum := 0
		for _, s := range series {
			sum += s.Values[x]
		}
		most = max(most, sum)
	}
	scale := round(most)
	c.Grid = []Tick{{chartTop, strconv.Itoa(scale)}, {chartTop + chartPlot/2, strconv.Itoa(scale / 2)}, {chartTop + chartPlot, ""}}
	for x := range columns {
		below := 0
		for n, s := range series {
			if s.Values[x] == 0 {
				continue
			}
			from, to := chartPlot*below/scale, chartPlot*(below+s.Values[x])/scale
			to = max(to, from+2) // one in a thousand is to be seen too
			below += s.Values[x]
			c.Bars = append(c.Bars, BarMark{Mark: n, X: percent(float64(x)+.08, columns), W: percent(.84, columns), Y: chartTop + chartPlot - to, H: to - from})
		}
	}
	for n, s := range series {
		c.Legend = append(c.Legend, LegendRow{n, s.Label, s.Now})
	}
	return c
}

// round is the end of an axis that holds n: even, and of few digits.
func round(n int) int {
	for unit := 1; ; unit *= 10 {
		for _, k := range []int{2, 4, 6, 8, 10} {
			if n <= k*unit {
				return k * unit
			}
		}
	}
}

func percent(part float64, whole int) string {
	return strconv.FormatFloat(100*part/float64(max(1, whole)), 'f', 2, 64) + "%"
}

// A BarChart compares numbers, each with its name above its bar.
type BarChart struct {
	Frame
	Rows []BarRow
}

// A BarRow is one bar.
type BarRow struct {
	Mark         int
	Label, Value string
	TextY, Y     int
	W            string
}

// NewBarChart draws a bar for every series: its first value, of whole.
func NewBarChart(f Frame, whole int, series ...Series) BarChart {
	const row = 50
	c := BarChart{Frame: f}
	c.Height = row * len(series)
	for n, s := range series {
		c.Rows = append(c.Rows, BarRow{Label: s.Label, Value: s.Now, TextY: row*n + 18, Y: row*n + 26, W: percent(float64(s.Values[0]), whole)})
	}
	return c
}
