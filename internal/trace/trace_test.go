package trace_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"countersign/internal/fault"
	"countersign/internal/trace"
)

// A watch moves on by a second with every look.
type watch struct{ now time.Time }

func (w *watch) Now() time.Time { w.now = w.now.Add(time.Second); return w.now }

// A record is what a tracer was told.
type record struct {
	kept  []trace.Span
	timed []string
}

func tracer(share float64) (*trace.Tracer, *record) {
	r := &record{}
	w := &watch{now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	return &trace.Tracer{Now: w.Now, Random: rand.Reader, Share: share, Keep: func(s trace.Span) { r.kept = append(r.kept, s) },
		Timed: func(name string, took time.Duration, code string) {
			r.timed = append(r.timed, fmt.Sprint(name, " ", took, " ", code))
		}}, r
}

func TestSpansHangTogether(t *testing.T) {
	t.Parallel()
	tr, got := tracer(1)
	ctx, root := tr.Root(t.Context(), "request", trace.Parent{})
	under, write := trace.Start(ctx, "write")
	_, begin := trace.Start(under, "begin")
	begin.End(nil)
	write.Note(trace.Number("tries", 2))
	write.End(nil)
	_, hash := trace.Start(ctx, "hash")
	hash.End(nil)
	root.Rename("GET /signin")
	root.End(nil)
	if len(got.kept) != 4 {
		t.Fatalf("%d spans are kept: %v", len(got.kept), got.kept)
	}
	inner, outer, beside, whole := got.kept[0], got.kept[1], got.kept[2], got.kept[3]
	if inner.Parent != outer.ID || outer.Parent != whole.ID || beside.Parent != whole.ID || whole.ParentID() != "" || !whole.Root || outer.Root {
		t.Errorf("they hang together as %+v", got.kept)
	}
	for _, s := range got.kept {
		if s.TraceID() != root.ID() || len(s.SpanID()) != 16 {
			t.Errorf("%s is of trace %s", s.Name, s.TraceID())
		}
	}
	if whole.Name != "GET /signin" || whole.Took != 7*time.Second || len(outer.Attributes) != 1 || outer.Attributes[0].Number != 2 {
		t.Errorf("the root is %+v, the write %+v", whole, outer)
	}
	if want := "begin 1s |write 3s |hash 1s |GET /signin 7s "; strings.Join(got.timed, "|") != want {
		t.Errorf("timed: %q", got.timed)
	}
}

// The words of an error may hold anything; a refusal is no failure.
func TestOfAnErrorItsCodeIsKept(t *testing.T) {
	t.Parallel()
	wrong, away := fault.New(fault.Unproven, "password.wrong"), fault.New(fault.Unavailable, "store.unavailable")
	for _, c := range []struct {
		err    error
		code   string
		failed bool
	}{
		{nil, "", false},
		{errors.New("password plum otter"), "internal", true},
		{wrong.On("password"), "password.wrong", false},
		{fmt.Errorf("%w: reach 203.0.113.9", away), "store.unavailable", true},
		{fmt.Errorf("%w: %w", away, context.Canceled), "canceled", false},
	} {
		tr, got := tracer(1)
		_, s := tr.Root(t.Context(), "x", trace.Parent{})
		s.End(c.err)
		if len(got.kept) != 1 || got.kept[0].Code != c.code || got.kept[0].Failed != c.failed {
			t.Errorf("%v: %+v", c.err, got.kept)
		}
		if strings.Contains(fmt.Sprint(got), "plum") || strings.Contains(fmt.Sprint(got), "203.0") {
			t.Errorf("%v is quoted: %v", c.err, got)
		}
	}
}

func TestWhatIsNotKeptIsTimedAllTheSame(t *testing.T) {
	t.Parallel()
	walk := func(tr *trace.Tracer, caller trace.Parent) {
		ctx, root := tr.Root(t.Context(), "request", caller)
		_, s := trace.Start(ctx, "write")
		s.Note(trace.Text("a", "b"))
		s.End(nil)
		root.End(nil)
	}
	unsampled := trace.Parent{Trace: [16]byte{1}, Span: [8]byte{1}}
	for what, run := range map[string]func() *record{
		"a share of none":       func() *record { tr, r := tracer(0); walk(tr, trace.Parent{}); return r },
		"a caller who does not": func() *record { tr, r := tracer(1); walk(tr, unsampled); return r },
		"nobody takes spans":    func() *record { tr, r := tracer(1); tr.Keep = nil; walk(tr, trace.Parent{}); return r },
		"there are no random bytes": func() *record {
			tr, r := tracer(1)
			tr.Random = iotest.ErrReader(errors.New("none"))
			walk(tr, trace.Parent{})
			return r
		},
	} {
		if r := run(); len(r.kept) != 0 || len(r.timed) != 2 {
			t.Errorf("%s: %d kept, %d timed", what, len(r.kept), len(r.timed))
		}
	}
	// Housekeeping is timed, and no trace.
	tr, r := tracer(1)
	_, s := trace.Start(tr.Into(t.Context()), "write")
	s.End(nil)
	if len(r.kept) != 0 || len(r.timed) != 1 {
		t.Errorf("outside a trace: %d kept, %d timed", len(r.kept), len(r.timed))
	}
	// And without a tracer there is nothing at all.
	ctx, none := trace.Start(t.Context(), "write")
	none.Note(trace.Text("a", "b"))
	none.Rename("x")
	if none != nil || ctx != t.Context() || none.End(nil) != 0 || none.EndAs("x", true) != 0 || none.ID() != "" {
		t.Error("something is measured without a tracer")
	}
}

func TestAShareOfTracesIsKept(t *testing.T) {
	t.Parallel()
	tr, r := tracer(0.25)
	for range 4000 {
		_, s := tr.Root(t.Context(), "request", trace.Parent{})
		s.End(nil)
	}
	if n := len(r.kept); n < 800 || n > 1200 { // 7 standard deviations
		t.Errorf("%d of 4,000 are kept, want about 1,000", n)
	}
}

func TestTheCallersTraceGoesOn(t *testing.T) {
	t.Parallel()
	const header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tr, r := tracer(0) // the caller decides
	ctx, root := tr.Root(t.Context(), "request", trace.ParseParent(header))
	_, s := trace.Start(ctx, "write")
	s.End(nil)
	root.End(nil)
	if len(r.kept) != 2 || r.kept[1].TraceID() != "4bf92f3577b34da6a3ce929d0e0e4736" || r.kept[1].ParentID() != "00f067aa0ba902b7" || r.kept[0].TraceID() != r.kept[1].TraceID() {
		t.Errorf("%+v", r.kept)
	}
}

func TestParentsAreReadAsTheRecommendationSays(t *testing.T) {
	t.Parallel()
	const ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
	for header, valid := range map[string]bool{
		"00-" + ids + "-01":                  true,
		"00-" + ids + "-00":                  true,
		"00-" + ids + "-ff":                  true,
		"cc-" + ids + "-01":                  true,
		"cc-" + ids + "-01-what-follows":     true,
		"cc-" + ids + "-01.what-follows":     false,
		"00-" + ids + "-01-what-follows":     false,
		"ff-" + ids + "-01":                  false,
		"0-" + ids + "-01":                   false,
		"00-" + ids + "-1":                   false,
		"00-" + ids + "-0x":                  false,
		"00-" + strings.ToUpper(ids) + "-01": false,
		"00_" + ids + "-01":                  false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		" 00-" + ids + "-01": false,
		"":                   false,
	} {
		p := trace.ParseParent(header)
		if p.Valid() != valid {
			t.Errorf("%q: valid %v", header, p.Valid())
		}
		if kept := valid && !strings.HasSuffix(header, "-00"); p.Kept != kept {
			t.Errorf("%q: kept %v", header, p.Kept)
		}
	}
}

func FuzzParent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")
	f.Add("ff-00000000000000000000000000000000-0000000000000000-00")
	f.Fuzz(func(t *testing.T, header string) {
		p := trace.ParseParent(header)
		if !p.Valid() {
			if p != (trace.Parent{}) {
				t.Errorf("%q is none, and %+v", header, p)
			}
			return
		}
		flags := "00"
		if p.Kept {
			flags = "01"
		}
		if again := trace.ParseParent(fmt.Sprintf("00-%x-%x-%s", p.Trace, p.Span, flags)); again != p || !strings.Contains(header, fmt.Sprintf("-%x-%x-", p.Trace, p.Span)) {
			t.Errorf("%q is read as %+v, and that as %+v", header, p, again)
		}
	})
}
