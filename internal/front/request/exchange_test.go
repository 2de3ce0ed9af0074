package request_test

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"countersign/internal/front/request"
	"countersign/internal/trace"
)

// watched is a guard before some routes, and what it tells.
func watched(t *testing.T) (*request.Guard, func() (request.Exchange, trace.Span)) {
	t.Helper()
	routes := &request.Router{Refuse: func(w http.ResponseWriter, _ *http.Request, err error) { w.WriteHeader(request.Status(err)) }}
	routes.HandleFunc("GET /reset/{token}", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "hello")
		_, _ = io.WriteString(w, " you")
		if http.NewResponseController(w).Flush() != nil {
			t.Error("the answer cannot be flushed")
		}
	})
	routes.HandleFunc("GET /silent", func(http.ResponseWriter, *http.Request) {})
	routes.HandleFunc("GET /early", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusGone)
	})
	routes.HandleFunc("GET /panic/{token}", func(http.ResponseWriter, *http.Request) { panic("planted") })
	routes.HandleFunc("GET /tree/{token}/", func(http.ResponseWriter, *http.Request) {})
	var exchanges []request.Exchange
	var spans []trace.Span
	g := &request.Guard{Next: routes, Log: slog.New(slog.DiscardHandler), Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Panic:    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		Tracer:   &trace.Tracer{Now: func() time.Time { return time.Unix(1, 0) }, Random: rand.Reader, Share: 1, Keep: func(s trace.Span) { spans = append(spans, s) }},
		Answered: func(x request.Exchange) { exchanges = append(exchanges, x) }}
	return g, func() (request.Exchange, trace.Span) {
		t.Helper()
		if len(exchanges) != 1 || len(spans) != 1 {
			t.Fatalf("told of %d requests, %d spans", len(exchanges), len(spans))
		}
		x, s := exchanges[0], spans[0]
		exchanges, spans = nil, nil
		return x, s
	}
}

const hidden = "AAAA-a-token-of-a-link-AAAA"

func TestARequestIsToldByItsRoute(t *testing.T) {
	t.Parallel()
	g, told := watched(t)
	for _, c := range []struct {
		method, path string
		route        string
		status       int
		bytes        int64
	}{
		{"GET", "/reset/" + hidden + "?code=" + hidden, "GET /reset/{token}", 202, 9},
		{"GET", "/silent", "GET /silent", 200, 0},
		{"GET", "/early", "GET /early", 410, 0},
		{"GET", "/panic/" + hidden, "GET /panic/{token}", 500, 0},
		{"GET", "/no/such/" + hidden, "none", 404, 0},
		{"POST", "/reset/" + hidden, "none", 405, 0},
		{"BREW", "/reset/" + hidden, "none", 405, 0},
		{"GET", "//reset//" + hidden, "GET /reset/{token}", 307, -1},
		{"GET", "/x/../reset/" + hidden, "GET /reset/{token}", 307, -1},
		{"GET", "/tree/" + hidden, "GET /tree/{token}/", 307, -1},
		{"CONNECT", "/tree/" + hidden, "none", 405, -1},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("User-Agent", "browser")
		g.ServeHTTP(w, r)
		x, s := told()
		if x.Route != c.route || x.Status != c.status || c.bytes >= 0 && x.Bytes != c.bytes || w.Code != c.status && c.status != 410 {
			t.Errorf("%s %s: %s, %d, %d bytes; answered %d", c.method, c.path, x.Route, x.Status, x.Bytes, w.Code)
		}
		if x.ID != w.Header().Get("X-Request-Id") || x.Trace != s.TraceID() || s.Name != c.route || s.Failed != (c.status == 500) {
			t.Errorf("%s: %+v, %+v", c.path, x, s)
		}
		for _, a := range append(s.Attributes, trace.Text("name", s.Name), trace.Text("code", s.Code)) {
			if strings.Contains(a.Text, hidden) {
				t.Errorf("%s: the span has %s=%s", c.path, a.Key, a.Text)
			}
		}
	}
}

// Anybody could fill our traces, or have all of them kept.
func TestTheTraceOfATrustedProxyAloneGoesOn(t *testing.T) {
	t.Parallel()
	g, told := watched(t)
	const header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, c := range []struct {
		peer    string
		headers []string
		goesOn  bool
	}{
		{"10.0.0.7:1", []string{header}, true},
		{"203.0.113.9:1", []string{header}, false},
		{"10.0.0.7:1", []string{header, header}, false},
		{"10.0.0.7:1", []string{"nonsense"}, false},
		{"10.0.0.7:1", nil, false},
	} {
		r := httptest.NewRequest("GET", "/silent", nil)
		r.RemoteAddr = c.peer
		if c.headers != nil {
			r.Header["Traceparent"] = c.headers
		}
		g.ServeHTTP(httptest.NewRecorder(), r)
		if x, s := told(); (x.Trace == "4bf92f3577b34da6a3ce929d0e0e4736") != c.goesOn || (s.ParentID() != "") != c.goesOn {
			t.Errorf("%s with %v: trace %s under %q", c.peer, c.headers, x.Trace, s.ParentID())
		}
	}
}
