package telemetry_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/fault"
	"countersign/internal/telemetry"
	"countersign/internal/telemetry/oteltest"
	"countersign/internal/trace"
)

func tracerTo(c *telemetry.Collector) *trace.Tracer {
	now := time.Date(2026, 3, 2, 9, 0, 0, 123456789, time.UTC)
	return &trace.Tracer{Now: func() time.Time { now = now.Add(time.Millisecond); return now }, Random: rand.Reader, Share: 1, Keep: c.Keep}
}

// over sends what is kept, and ends.
func over(t *testing.T, c *telemetry.Collector) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Run(ctx)
}

func collector(url string, log io.Writer, m *telemetry.Metrics) *telemetry.Collector {
	return telemetry.NewCollector(url, []trace.Attribute{trace.Text("service.name", "countersign"), trace.Text("service.version", "v1")}, slog.New(slog.NewTextHandler(log, nil)), m)
}

func TestACollectorReadsOurSpans(t *testing.T) {
	t.Parallel()
	got := oteltest.New(t)
	c := collector(got.URL, io.Discard, nil)
	tr := tracerTo(c)
	ctx, root := tr.Root(t.Context(), "request", trace.Parent{Trace: [16]byte{0xab}, Span: [8]byte{0xcd}, Kept: true})
	_, write := trace.Start(ctx, "store.write")
	write.Note(trace.Number("tries", 2))
	write.End(fault.New(fault.Unproven, "password.wrong"))
	_, send := trace.Start(ctx, "send.sms")
	send.End(fmt.Errorf("refused by +8613800138000"))
	root.Rename("POST /signin")
	root.Note(trace.Text("http.route", "POST /signin"), trace.Number("http.response.status_code", 401))
	root.End(nil)
	over(t, c)

	spans := got.Spans()
	if len(spans) != 3 {
		t.Fatalf("%d spans arrived", len(spans))
	}
	inner, sent, outer := spans[0], spans[1], spans[2]
	if outer.Name != "POST /signin" || outer.Kind != 2 || outer.TraceID != "ab"+strings.Repeat("0", 30) || outer.ParentSpanID != "cd"+strings.Repeat("0", 14) || outer.Status.Code != 0 || outer.Text("http.route") != "POST /signin" || outer.Number("http.response.status_code") != 401 {
		t.Errorf("the request arrived as %+v", outer)
	}
	if inner.ParentSpanID != outer.SpanID || inner.Kind != 1 || inner.Text("countersign.refused") != "password.wrong" || inner.Status.Code != 0 || inner.Number("tries") != 2 {
		t.Errorf("the write arrived as %+v", inner)
	}
	if sent.Kind != 3 || sent.Status.Code != 2 || sent.Status.Message != "internal" {
		t.Errorf("the send arrived as %+v", sent)
	}
	if inner.Resource["service.name"] != "countersign" || inner.Resource["service.version"] != "v1" || outer.Ended.Sub(outer.Began) != 5*time.Millisecond || outer.Began.UnixNano()%1000 != 789 {
		t.Errorf("%+v, from %s to %s", inner.Resource, outer.Began, outer.Ended)
	}
}

// What cannot be sent is dropped and counted, and nobody waits for it.
func TestACollectorThatIsAwayCostsNothingButSpans(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	answers := []int{}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/" {
			t.Error("spans go where the collector says, not where the operator does")
			return
		}
		status := answers[0]
		answers = answers[1:]
		if status == http.StatusOK {
			_, _ = io.WriteString(w, `{"partialSuccess":{"rejectedSpans":"1","errorMessage":"one is too old"}}`)
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(web.Close)
	for _, c := range []struct {
		answers  []int
		kept     int
		exported int
		dropped  int
	}{
		{[]int{200}, 3, 2, 1},
		{[]int{503}, 3, 0, 3},
		{[]int{400}, 3, 0, 3},
		{[]int{307}, 3, 0, 3},
		{[]int{503, 200, 200, 200, 200, 200, 200, 200}, 5000, 4096 - 512 - 7, 904 + 512 + 7},
	} {
		mu.Lock()
		answers = c.answers
		mu.Unlock()
		log := &bytes.Buffer{}
		m := telemetry.New("v1", nil)
		to := collector(web.URL, log, m)
		tr := tracerTo(to)
		for range c.kept {
			_, s := tr.Root(t.Context(), "x", trace.Parent{})
			s.End(nil)
		}
		over(t, to)
		body := scrape(t, m.Handler(slog.New(slog.DiscardHandler), false), "")
		for outcome, want := range map[string]int{"exported": c.exported, "dropped": c.dropped} {
			if got := value(t, body, `countersign_trace_spans_total{outcome="`+outcome+`"}`); got != float64(want) {
				t.Errorf("%v: %v are %s, want %d", c.answers, got, outcome, want)
			}
		}
		if n := strings.Count(log.String(), "traces cannot be sent"); n == 0 || n > 2 {
			t.Errorf("%v: said %d times:\n%s", c.answers, n, log)
		}
	}
}

// While it runs, a batch that failed is sent again, and the spans are sent
// without waiting for the end.
func TestSpansAreSentAgain(t *testing.T) {
	t.Parallel()
	arrived := make(chan int, 8)
	status := make(chan int, 8)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		select {
		case answer := <-status:
			w.WriteHeader(answer)
		case <-r.Context().Done():
			return
		}
		arrived <- bytes.Count(b, []byte(`"spanId"`))
	}))
	t.Cleanup(web.Close)
	c := collector(web.URL, io.Discard, nil)
	telemetry.Hasten(c, time.Millisecond)
	tr := tracerTo(c)
	_, s := tr.Root(t.Context(), "x", trace.Parent{})
	s.End(nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	for _, answer := range []int{503, 429, 200} {
		status <- answer
		select {
		case n := <-arrived:
			if n != 1 {
				t.Errorf("%d spans arrive", n)
			}
		case <-time.After(time.Minute):
			t.Fatalf("nothing arrives to be answered %d", answer)
		}
	}
	cancel()
	<-done
}

func FuzzPartialSuccess(f *testing.F) {
	for _, s := range []string{"", "{}", `{"partialSuccess":{}}`, `{"partialSuccess":{"rejectedSpans":"3"}}`, `{"partialSuccess":{"rejectedSpans":3}}`, `{"partialSuccess":{"rejectedSpans":"-1"}}`,
		`{"partialSuccess":{"rejectedSpans":"99999999999999999999"}}`, `{"partialSuccess":null}`, "\x00", "[]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, later, err := telemetry.Partial(body, 10)
		if n < 0 || n > 10 || later || (n > 0) != (err != nil) {
			t.Errorf("%q: %d, %v, %v", body, n, later, err)
		}
	})
}

// scrape reads /metrics.
func scrape(t *testing.T, h http.Handler, accept string) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/metrics", nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics: %d", w.Code)
	}
	return w.Body.String()
}

// value is that of a series; NaN-free zero where there is none.
func value(t *testing.T, body, series string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
