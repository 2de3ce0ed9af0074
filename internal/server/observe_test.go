package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"countersign/internal/config"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/server"
	"countersign/internal/store/storetest"
	"countersign/internal/telemetry/oteltest"
	"countersign/internal/testkit"
)

// A tour is a server at work outside development mode, and all it says of
// itself: the log in every detail, metrics, and traces.
type tour struct {
	*testkit.Site
	logs      *testkit.Lines
	terminal  *testkit.Lines
	collector *oteltest.Collector
	stop      func() // and waits
	secrets   map[string]string
}

func newTour(t *testing.T, e storetest.Engine, format string) *tour {
	t.Helper()
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(gateway.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &tour{logs: &testkit.Lines{}, terminal: &testkit.Lines{}, collector: oteltest.New(t), secrets: map[string]string{}}
	c := settings(t, t.TempDir())
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Dev, c.PublicURL, c.LogFormat = false, "http://localhost:"+port, format
	c.Observe = config.Observe{LogLevel: "debug", MetricsListen: "localhost:0", Debug: true, TraceEndpoint: tr.collector.URL, TraceShare: 1, Version: "v1.2.3"}
	c.SMTP = config.SMTP{Address: mailServer(t), From: "id@example.com", TLS: "none"}
	c.SMS = config.SMS{Provider: "hook", URL: gateway.URL + "/send", Secret: "a secret of more than 24 bytes", Countries: []string{"CN"}, Ceiling: 100, CountryCeiling: 50}
	if e != storetest.SQLite {
		c.Database, c.DrainDelay = storetest.PostgresURL(t), 0
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(t.Context(), c, c.Logger(tr.logs))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Build(tr.terminal); err != nil {
		t.Fatal(err)
	}
	public, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	_ = public.Close() // ours is the one that public_url names
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stopped := false
	tr.stop = func() {
		if cancel(); !stopped {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		stopped = true
	}
	t.Cleanup(tr.stop)
	tr.Site = &testkit.Site{Server: s, T: t, URL: c.PublicURL, Config: c, Logs: tr.logs}
	return tr
}

// postbox is a mail server that takes everything.
type postbox struct{}

func (postbox) NewSession(*smtp.Conn) (smtp.Session, error) { return postbox{}, nil }
func (postbox) Mail(string, *smtp.MailOptions) error        { return nil }
func (postbox) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (postbox) Data(r io.Reader) error                      { _, err := io.Copy(io.Discard, r); return err }
func (postbox) Reset()                                      {}
func (postbox) Logout() error                               { return nil }

// mailServer starts one, and returns where it is.
func mailServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtp.NewServer(postbox{})
	s.Domain = "localhost"
	done := make(chan struct{})
	go func() { _ = s.Serve(l); close(done) }()
	t.Cleanup(func() { _ = l.Close(); _ = s.Close(); <-done }) // it may not have begun to serve
	return l.Addr().String()
}

// metrics is what /metrics says.
func (tr *tour) metrics() string {
	tr.T.Helper()
	w := httptest.NewRecorder()
	tr.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		tr.T.Fatalf("/metrics: %d", w.Code)
	}
	return w.Body.String()
}

func series(t *testing.T, body, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^countersign_` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		return "none"
	}
	return m[1]
}

// walk does what people do, and notes every secret that comes along.
func (tr *tour) walk() {
	t := tr.T
	t.Helper()
	secret := func(what, value string) string {
		if len(value) < 6 {
			t.Fatalf("%s is %q", what, value)
		}
		tr.secrets[what] = value
		return value
	}
	secret("the password", testkit.Password)
	secret("the address", someone)
	secret("the phone", herPhone)
	secret("the phone without its plus", herPhone[1:])
	setup, err := tr.SetupURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(setup, tr.URL)
	secret("the set-up token", strings.TrimPrefix(path, "/setup/"))
	owner := tr.Client()
	owner.Header.Set("User-Agent", `browser" level=ERROR {"a":"b"} \`)
	page := owner.Get(path).Submit(path, "email", someone, "password", testkit.Password).Follow()
	page.Submit("/signup/verify", "code", secret("the mailed code", tr.SentCode(someone))).Want(http.StatusSeeOther)
	tr.Client().Get("/signin").Submit("/signin", "username", someone, "password", secret("a mistyped password", "plum otter vines sk")).Want(http.StatusUnauthorized)
	tr.Client().Get("/signin").Submit("/signin", "username", secret("another address", "nobody.at.all@example.org"), "password", secret("the password of nobody", "whatever it may be")).Want(http.StatusUnauthorized)
	owner.SignIn(someone, nil)

	app := tr.PutApp(someone)
	c := tr.Client()
	second := c.Get("/signin").Submit("/signin", "username", someone, "password", testkit.Password).Want(http.StatusSeeOther)
	at := second.Header.Get("Location")
	secret("the ceremony in the URL", strings.TrimPrefix(regexp.MustCompile(`c=[^&]*`).FindString(at), "c="))
	c.Get(at+"&method=virtual_mfa").Submit("/signin/verify", "code", secret("a wrong code", app.WrongCode())).Want(http.StatusUnauthorized)
	c.Get(at+"&method=virtual_mfa").Submit("/signin/verify", "code", secret("a code of the app", app.Code(0))).Want(http.StatusSeeOther)

	tr.PutPhone(someone, herPhone)
	tr.PutProtection(someone, factor.SMS, policy.SignInScenario)
	codes := tr.PutCodes(someone)
	c = tr.Client()
	second = c.Get("/signin").Submit("/signin", "username", someone, "password", testkit.Password).Want(http.StatusSeeOther)
	at = second.Header.Get("Location")
	sent := c.Get(at+"&method=sms").Submit("/signin/verify/send", "method", "sms").Follow()
	secret("the code by text message", tr.SentCode(herPhone))
	c.Get(sent.Request.URL.RequestURI()).Submit("/signin/verify", "code", tr.secrets["the code by text message"]).Want(http.StatusSeeOther)
	c = tr.Client()
	second = c.Get("/signin").Submit("/signin", "username", someone, "password", testkit.Password)
	c.Get(second.Header.Get("Location")+"&method=recovery_code").Submit("/signin/verify", "code", secret("a recovery code", codes[0])).Want(http.StatusSeeOther)
	for n, code := range codes[1:] {
		secret(fmt.Sprint("recovery code ", n), code)
	}

	tr.Client().Get("/forgot").Submit("/forgot", "username", someone).Want(http.StatusSeeOther)
	link := regexp.MustCompile(`/(reset|notme)/([-_A-Za-z0-9]{20,})`)
	for _, m := range tr.Messages(someone) {
		for n, found := range link.FindAllStringSubmatch(m.Text, -1) {
			secret(fmt.Sprint("a link in ", m.ID, " ", n), found[2])
			tr.Client().Get(found[0])
		}
	}
	tr.Client().Get("/signin?return_to=%2Fsecurity&code=" + secret("something in a query", "query-hidden-query"))
	tr.Client().Get("/no/such/" + secret("something in a path", "path-hidden-path"))

	r := tr.Client().Request("POST", "/api/v1/signin", `{"username":"`+someone+`","password":"`+testkit.Password+`"}`)
	r.Header.Set("Content-Type", "application/json")
	api := tr.Client().Send(r).Want(http.StatusOK)
	var answer struct{ Ceremony string }
	if err := json.Unmarshal([]byte(api.Body), &answer); err != nil {
		t.Fatal(err)
	}
	secret("the ceremony of the API", answer.Ceremony)
	r = tr.Client().Request("GET", "/api/v1/session", "")
	r.Header.Set("Authorization", "Bearer "+secret("a bearer token", "bearer-hidden-bearer-hidden-bearer-hidden-b"))
	tr.Client().Send(r).Want(http.StatusUnauthorized)
	home, _ := url.Parse(tr.URL)
	for _, browser := range []*testkit.Client{owner, c} {
		for range 2 {
			browser.Get("/security").Want(http.StatusOK)
		}
		for n, cookie := range browser.Jar.Cookies(home) {
			if len(cookie.Value) > 15 { // the others are settings
				secret(fmt.Sprint("cookie ", cookie.Name, n), cookie.Value)
			}
		}
	}
}

// A secret that is digits may be part of some number by chance.
func holds(where, secret string) bool {
	if strings.Trim(secret, "0123456789") != "" {
		return strings.Contains(where, secret)
	}
	return regexp.MustCompile(`(^|[^0-9a-f.])` + secret + `($|[^0-9a-f])`).MatchString(where)
}

func TestWhatTheServerSaysOfItselfHoldsNoSecret(t *testing.T) {
	t.Parallel()
	for n, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		format := []string{"json", "text"}[n]
		t.Run(string(e)+" "+format, func(t *testing.T) {
			t.Parallel()
			tr := newTour(t, e, format)
			tr.walk()
			if len(tr.secrets) < 25 {
				t.Fatalf("only %d secrets came along", len(tr.secrets))
			}
			metrics := tr.metrics()
			tr.stop()
			places := map[string]string{"the log": tr.logs.String(), "the terminal": tr.terminal.String(), "the metrics": metrics, "the traces": tr.collector.Raw()}
			for where, said := range places {
				for what, secret := range tr.secrets {
					if holds(said, secret) || holds(said, url.QueryEscape(secret)) {
						at := strings.Index(said, secret)
						t.Errorf("%s holds %s: …%s…", where, what, said[max(0, at-200):min(len(said), max(0, at)+200)])
					}
				}
			}
			for where, word := range map[string]string{"the log": "POST /signin/verify", "the metrics": "countersign_sign_ins_total", "the traces": "POST /signin/verify"} {
				if !strings.Contains(places[where], word) {
					t.Errorf("%s does not hold %s", where, word)
				}
			}
			if format == "json" {
				for line := range strings.Lines(tr.logs.String()) {
					if !json.Valid([]byte(line)) {
						t.Errorf("no JSON: %s", line)
					}
				}
			}
			checkTraces(t, tr.collector.Spans())
			checkMetrics(t, metrics)
		})
	}
}

// The sign-in is one trace: the request, its writes, and the password's hash.
func checkTraces(t *testing.T, spans []oteltest.Span) {
	t.Helper()
	byID := map[string]oteltest.Span{}
	for _, s := range spans {
		byID[s.SpanID] = s
	}
	under := map[string]int{}
	for _, s := range spans {
		root := s
		for root.ParentSpanID != "" {
			above, ok := byID[root.ParentSpanID]
			if !ok || above.TraceID != s.TraceID {
				t.Fatalf("span %s has no parent", s.Name)
			}
			root = above
		}
		under[root.Name+" > "+s.Name]++
		if s.Resource["service.version"] != "v1.2.3" {
			t.Errorf("%+v", s.Resource)
		}
	}
	for _, want := range []string{"POST /signin > POST /signin", "POST /signin > store.write", "POST /signin > store.transaction", "POST /signin > store.begin", "POST /signin > password.wait", "POST /signin > password.hash", "send > send.sms", "none > none"} {
		if under[want] == 0 {
			t.Errorf("no span %s in %v", want, under)
		}
	}
}

func checkMetrics(t *testing.T, body string) {
	t.Helper()
	for name, want := range map[string]string{
		`sign_ins_total{method="password",outcome="ok"}`:                           "1",
		`sign_ins_total{method="password",outcome="signin.wrong"}`:                 "2",
		`sign_ins_total{method="virtual_mfa",outcome="ok"}`:                        "1",
		`sign_ins_total{method="virtual_mfa",outcome="code.wrong"}`:                "1",
		`sign_ins_total{method="recovery_code",outcome="ok"}`:                      "1",
		`proofs_total{method="virtual_mfa",purpose="sign_in",result="code.wrong"}`: "1",
		`tries_total{charge="counted",method="password"}`:                          "7",
		`tries_total{charge="one_code",method="virtual_mfa"}`:                      "2",
		`http_requests_total{route="none",status="4xx"}`:                           "1",
		`database_up`:             "1",
		`passwords_refused_total`: "0",
		`build_info{go="` + runtime.Version() + `",version="v1.2.3"}`: "1",
	} {
		if got := series(t, body, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{`session_checks_total{cache="miss"}`, `operation_seconds_count{operation="password.hash"}`, `operation_seconds_count{operation="store.write"}`,
		`job_last_success_timestamp_seconds{task="expire"}`, `job_last_success_timestamp_seconds{task="days"}`, `database_connections{pool="write",state="idle"}`, `sends_total{channel="email",outcome="sent",provider="smtp"}`, `sends_total{channel="sms",outcome="sent",provider="hook"}`} {
		if got := series(t, body, name); got == "none" || got == "0" {
			t.Errorf("%s is %s", name, got)
		}
	}
}

func TestMetricsAreOnAListenerOfTheirOwn(t *testing.T) {
	t.Parallel()
	tr := newTour(t, storetest.SQLite, "text")
	inside := []string{"/metrics", "/metrics/", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1", "/debug/pprof", "/debug/vars", "//metrics", "/%6detrics", "/x/../metrics", "/METRICS"}
	for _, path := range inside {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
			r := tr.Client().Request(method, path, "")
			r.Host = tr.Observed().String() // as if it were meant for the other one
			got := tr.Client().Send(r)
			if got.StatusCode < 300 || strings.Contains(got.Body, "countersign_") || strings.Contains(got.Body, "goroutine") {
				t.Errorf("%s %s where people sign in: %d", method, path, got.StatusCode)
			}
		}
	}
	at := "http://" + tr.Observed().String()
	get := func(path string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", at+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.Client().Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	for path, status := range map[string]int{"/metrics": 200, "/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/cmdline": 404, "/debug/pprof/nothing": 404, "/": 404, "/signin": 404, "/api/v1/session": 404, "/healthz": 404} {
		if got, _ := get(path); got != status {
			t.Errorf("%s aside: %d, want %d", path, got, status)
		}
	}
	for path, begin := range map[string]string{"/debug/pprof/": "allocs ", "/debug/pprof/heap?gc=1": "\x1f\x8b", "/debug/pprof/profile?seconds=1": "\x1f\x8b", "/debug/pprof/trace?seconds=1": "go 1."} {
		if got, body := get(path); got != http.StatusOK || !strings.HasPrefix(body, begin) {
			t.Errorf("%s: %d, %.20q", path, got, body)
		}
	}
	if _, body := get("/metrics"); !strings.Contains(body, "countersign_database_up 1") {
		t.Error("/metrics says nothing of the database")
	}

	c := tr.Config
	c.Observe.Debug = false
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	closed := open(t, c)
	w := httptest.NewRecorder()
	closed.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("/debug/pprof/ without debug: %d", w.Code)
	}
	c.Observe.MetricsListen = ""
	if open(t, c).Metrics() != nil {
		t.Error("metrics are served although nothing says where")
	}
}

// A database that is away is what metrics are for.
func TestMetricsAreThereWithoutADatabase(t *testing.T) {
	t.Parallel()
	c := settings(t, t.TempDir())
	c.Observe.MetricsListen = "localhost:0"
	s := open(t, c)
	_ = s.Close()
	w := httptest.NewRecorder()
	s.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if body := w.Body.String(); w.Code != http.StatusOK || series(t, body, "database_up") != "0" || strings.Contains(body, "countersign_outbox") || series(t, body, "sign_ins_spared_total") != "0" {
		t.Errorf("%d: database_up is %s", w.Code, series(t, body, "database_up"))
	}
}

func TestATakenPortOfTheMetricsIsSaid(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := settings(t, t.TempDir())
	c.Observe.MetricsListen = l.Addr().String()
	if _, err := open(t, c).Listen(); err == nil || err.Error() != "metrics_listen: "+l.Addr().String()+" is taken by another program" {
		t.Errorf("%v", err)
	}
}
