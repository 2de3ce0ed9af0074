package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"countersign/internal/store/transfer"
)

// progress returns what tells how far a move, a backup or a restore has come:
// a line that is drawn over on a terminal, and few lines elsewhere; tables:
// one for each that is copied besides.
func progress(to io.Writer, now func() time.Time, tables bool) func(transfer.Report) {
	if f, ok := to.(*os.File); ok && isTerminal(f) {
		return (&bar{to: to}).draw
	}
	return (&lines{to: to, now: now, last: now(), tables: tables}).tell
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// share is how far it has come, where it is known how far there is to go.
func share(r transfer.Report) (percent int64, known bool) {
	if r.OfAll == 0 {
		return 0, false
	}
	return min(r.Total, r.OfAll) * 100 / r.OfAll, true
}

// lines are for a log: one now and then, so that what takes long is seen to
// live, and none of what is done at once.
type lines struct {
	to     io.Writer
	now    func() time.Time
	last   time.Time // when there was one
	tables bool
}

// linesEvery is how long nothing is told at least.
const linesEvery = 10 * time.Second

func (l *lines) tell(r transfer.Report) {
	now := l.now()
	rows := counted(int(r.Rows), "row")
	switch percent, known := share(r); {
	case l.tables && r.Ended && r.Phase == transfer.Copying:
		fmt.Fprintf(l.to, "%s: %s\n", r.Table, rows)
	case now.Sub(l.last) < linesEvery:
		return
	case known:
		fmt.Fprintf(l.to, "%s %s: %s, %d%% of all\n", r.Phase, r.Table, rows, percent)
	default:
		fmt.Fprintf(l.to, "%s %s: %s\n", r.Phase, r.Table, rows)
	}
	l.last = now
}

// A bar is one line of a terminal that says how far it is.
type bar struct {
	to   io.Writer
	last string
}

const barWidth = 30

func (b *bar) draw(r transfer.Report) {
	line := fmt.Sprintf("%s %s: %s", r.Phase, r.Table, counted(int(r.Rows), "row"))
	if percent, known := share(r); known {
		full := int(min(r.Total, r.OfAll) * barWidth / r.OfAll)
		line = fmt.Sprintf("%s [%s%s] %3d%%  %s", r.Phase, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), percent, r.Table)
	}
	if line == b.last {
		return
	}
	b.last = line
	fmt.Fprintf(b.to, "\r\x1b[2K%s", line)
	if r.Ended && r.Phase != transfer.Copying || r.Ended && r.Total == r.OfAll {
		fmt.Fprint(b.to, "\r\x1b[2K") // the next one, or the end, begins on a clean line
		b.last = ""
	}
}
