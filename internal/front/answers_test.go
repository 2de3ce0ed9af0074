package front_test

import (
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/front/web/page"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// masked is a page without what differs from one answer to the next: form
// tokens and request ids, in their places.
func masked(body string) string {
	body = regexp.MustCompile(`name="csrf" value="[A-Za-z0-9_-]{80,}"`).ReplaceAllString(body, `name="csrf" value="…"`)
	body = regexp.MustCompile(`"instance":"[0-9a-f]{18}"`).ReplaceAllString(body, `"instance":"…"`)
	return body
}

func TestUnknownAndKnownNamesAreAnsweredAlikeInBytes(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	signedIn(s)
	s.Account("carol@example.com", testkit.Password)
	for name, wrong := range map[string]string{"wrong": "wrong password of hers", "long": strings.Repeat("x", 1000), "huge": strings.Repeat("x", 1100), "empty": ""} {
		answers := map[string]testkit.Reply{}
		for _, who := range []string{alice, "alicf@example.com"} { // as long as one another
			c := s.Client()
			answers[who] = c.Get("/signin").Submit("/signin", "username", who, "password", wrong)
		}
		known, unknown := answers[alice], answers["alicf@example.com"]
		if a, b := masked(known.Body), strings.ReplaceAll(masked(unknown.Body), "alicf@", "alice@"); a != b || known.StatusCode != unknown.StatusCode {
			t.Errorf("%s: known %d, unknown %d\n%s\n%s", name, known.StatusCode, unknown.StatusCode, a, b)
		}
		strip := func(h http.Header) http.Header {
			h = h.Clone()
			for _, n := range []string{"X-Request-Id", "Date", "Set-Cookie", "Content-Length"} {
				h.Del(n)
			}
			return h
		}
		a, b := strip(known.Header), strip(unknown.Header)
		for k := range a {
			if !slices.Equal(a[k], b[k]) {
				t.Errorf("%s: %s is %q for a known name, %q for an unknown", name, k, a[k], b[k])
			}
		}
		var bodies []string
		for _, who := range []string{alice, "alicf@example.com"} {
			bodies = append(bodies, masked(post(s.Client(), "/api/v1/signin", `{"username":"`+who+`","password":"`+wrong+`"}`).Body))
		}
		if bodies[0] != bodies[1] {
			t.Errorf("%s: the API says %s and %s", name, bodies[0], bodies[1])
		}
	}
}

// The figures are printed; what is asserted leaves room for a busy machine.
func TestUnknownAndKnownNamesAreAnsweredAlikeInTime(t *testing.T) {
	const samples = 60
	s := testkit.NewSite(t, storetest.SQLite, func(*config.Config) {}) // hashes at their real cost
	s.Account(alice, testkit.Password)
	c := s.Client()
	csrf := c.CSRF()
	times := map[string][]time.Duration{}
	for n := range samples {
		who := []string{alice, "alicf@example.com"}
		if n%2 == 1 {
			slices.Reverse(who)
		}
		for _, name := range who {
			started := time.Now()
			c.Post("/signin", url.Values{"csrf": {csrf}, "username": {name}, "password": {"wrong password of hers"}}).Want(http.StatusUnauthorized)
			times[name] = append(times[name], time.Since(started))
		}
		if n%8 == 7 { // the network's tries are used up
			if err := s.Clock().Advance(15 * time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	median := func(name string) time.Duration {
		slices.Sort(times[name])
		return times[name][samples/2]
	}
	known, unknown := median(alice), median("alicf@example.com")
	difference := (known - unknown).Abs()
	t.Logf("medians of %d: known %s, unknown %s, difference %s (%.1f %%)", samples, known, unknown, difference, 100*float64(difference)/float64(known))
	if difference > known/4 {
		t.Errorf("known names take %s, unknown ones %s", known, unknown)
	}
}

func TestEveryAnswerCarriesTheHeadersThatProtectIt(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	requests := []*http.Request{c.Request("GET", "/nothing", ""), c.Request("GET", "/api/v1/nothing", ""), c.Request("PUT", "/signin", ""), c.Request("GET", "//x/../y", ""), c.Request("TRACE", "/", ""),
		c.Request("GET", "/setup/x", ""), c.Request("GET", "/assets/x/style.css", ""), c.Request("GET", page.AssetPath("style.css"), "")}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		for _, path := range routes(s, method) {
			requests = append(requests, c.Request(method, path, ""))
		}
	}
	for _, r := range requests {
		got := c.Send(r)
		h := got.Header
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY"} {
			if h.Get(name) != want {
				t.Errorf("%s %s: %s: %q", r.Method, r.URL.Path, name, h.Get(name))
			}
		}
		for _, part := range []string{"default-src 'none'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "script-src 'self'", "form-action 'self'"} {
			if !strings.Contains(h.Get("Content-Security-Policy"), part) {
				t.Errorf("%s %s: policy lacks %s", r.Method, r.URL.Path, part)
			}
		}
		if strings.Contains(h.Get("Content-Security-Policy"), "unsafe") || h.Get("Permissions-Policy") == "" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, h)
		}
		if store := h.Get("Cache-Control"); store != "no-store" && (got.StatusCode != 200 || !strings.HasPrefix(r.URL.Path, "/assets/")) {
			t.Errorf("%s %s: Cache-Control: %q", r.Method, r.URL.Path, store)
		}
		for _, k := range got.Cookies() {
			if !k.HttpOnly || k.Path != "/" || k.SameSite != http.SameSiteLaxMode {
				t.Errorf("%s %s sets %s", r.Method, r.URL.Path, k)
			}
		}
	}
}

func TestOverHTTPSCookiesBelongToTheHostAlone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, func(c *config.Config) { c.PublicURL = "https://localhost" })
	got := s.Client().Get("/signin")
	if len(got.Cookies()) == 0 || !strings.Contains(got.Header.Get("Strict-Transport-Security"), "max-age=63072000") {
		t.Errorf("headers %v", got.Header)
	}
	for _, k := range got.Cookies() {
		if !strings.HasPrefix(k.Name, "__Host-") || !k.Secure || !k.HttpOnly || k.Domain != "" {
			t.Errorf("cookie %s", k)
		}
	}
}

func TestOtherMethodsAreRefusedWithThoseThereAre(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := s.Client()
	byPath := map[string][]string{}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		for _, path := range routes(s, method) {
			byPath[path] = append(byPath[path], method)
		}
	}
	for path, methods := range byPath {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "PATCH", "TRACE", "OPTIONS", "BREW"} {
			if slices.Contains(methods, method) {
				continue
			}
			got := c.Send(c.Request(method, path, ""))
			allow := got.Header.Get("Allow")
			if got.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, got.StatusCode)
			}
			for _, m := range methods {
				if !strings.Contains(allow, m) {
					t.Errorf("%s %s: Allow %q lacks %s", method, path, allow, m)
				}
			}
		}
	}
}

func TestNoRedirectLeadsOffTheSite(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	for _, to := range []string{"//evil.example", `/\evil.example`, `\\evil.example`, "https:evil.example", "https://evil.example", "http:///evil.example", "/%2f%2fevil.example", "/%5cevil.example", "//user@evil.example",
		"https://localhost@evil.example", "javascript:alert(1)", "data:text/html,x", "/\t/evil.example", "/\n/evil.example", "evil.example", " //evil.example", "/..//evil.example", "///evil.example", "//%65vil.example", "/./\\evil.example", "http:/evil.example", "%2f%2fevil.example", "\x00//evil.example"} {
		c := s.Client()
		csrf := c.CSRF()
		for name, got := range map[string]testkit.Reply{
			"sign-in":     c.Post("/signin", url.Values{"csrf": {csrf}, "username": {alice}, "password": {testkit.Password}, "return_to": {to}}),
			"preferences": c.Post("/preferences", url.Values{"csrf": {csrf}, "theme": {"dark"}, "return_to": {to}}),
		} {
			if got.StatusCode >= 400 && got.StatusCode < 500 {
				continue
			}
			base, _ := url.Parse(s.URL + "/signin")
			u, err := base.Parse(got.Header.Get("Location"))
			if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || strings.HasPrefix(got.Header.Get("Location"), "//") || strings.ContainsAny(got.Header.Get("Location"), "\\\t\r\n") {
				t.Errorf("%s with %q leads to %q", name, to, got.Header.Get("Location"))
			}
		}
		if p := c.Get("/signin?return_to=" + url.QueryEscape(to)); strings.Contains(p.Body, `name="return_to" value="`+html.EscapeString(to)+`"`) && strings.Contains(to, "//") && !strings.HasPrefix(to, "/..") {
			t.Errorf("the sign-in page carries %q on", to)
		}
	}
	host := s.Client()
	for _, path := range []string{"/", "/security", "/.well-known/change-password", "/signout/..//x"} {
		r := host.Request("GET", path, "")
		r.Host = "evil.example"
		r.Header.Set("X-Forwarded-Host", "evil.example")
		if got := host.Send(r); strings.Contains(got.Header.Get("Location")+got.Body, "evil.example") {
			t.Errorf("GET %s builds a link from the Host header: %s", path, got.Header.Get("Location"))
		}
	}
	c := s.Client()
	if to := c.Get("/security/history?before=7").Header.Get("Location"); to != "/signin?return_to="+url.QueryEscape("/security/history?before=7") {
		t.Errorf("sign-in for a page leads from %s", to)
	}
	got := c.Get("/signin?return_to=%2Fsecurity%2Fhistory").Submit("/signin", "username", alice, "password", testkit.Password)
	if to := got.Header.Get("Location"); to != "/security/history" {
		t.Errorf("and then to %s", to)
	}
}

func TestNoSecretIsWrittenDown(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	setup, err := s.SetupURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(setup, s.URL)
	secrets := map[string]string{"set-up token": strings.TrimPrefix(path, "/setup/"), "password": testkit.Password}
	c := s.Client()
	page := c.Get(path).Submit(path, "email", alice, "password", testkit.Password).Follow()
	secrets["mailed code"] = s.MailedCode(alice)
	page.Submit("/signup/verify", "code", secrets["mailed code"]).Want(http.StatusSeeOther)
	c.SignIn(alice, nil)
	app, codes := c.Bind(alice)
	secrets["seed"] = string(app.Seed)
	secrets["code"], secrets["second code"] = app.Code(-1), app.Code(0)
	for n, code := range regexp.MustCompile(`>[2-9A-Z]{7}-[2-9A-Z]{7}<`).FindAllString(codes.Body, -1) {
		secrets["recovery code "+string(rune('0'+n))] = strings.Trim(code, "<>")
	}
	if len(secrets) < 14 {
		t.Fatalf("only %d secrets seen", len(secrets))
	}
	other := s.Client()
	wrong := "mistyped plum otter sky"
	secrets["mistyped password"] = wrong
	other.Get("/signin").Submit("/signin", "username", alice, "password", wrong).Want(http.StatusUnauthorized)
	if err := s.Clock().Advance(time.Minute); err != nil {
		t.Fatal(err)
	}
	other.SignIn(alice, app)
	u, _ := url.Parse(s.URL)
	for n, client := range []*testkit.Client{c, other} {
		for _, k := range client.Jar.Cookies(u) {
			if strings.Contains(k.Name, "session") || strings.Contains(k.Name, "device") || strings.Contains(k.Name, "ceremony") {
				secrets[k.Name+string(rune('a'+n))] = k.Value
			}
		}
	}
	c.Get("/security").Want(http.StatusOK)
	c.Get("/no/such/page")
	for _, p := range routes(s, "GET") {
		other.Get(p)
	}

	places := map[string]string{"the log": s.Logs.String()}
	files, err := filepath.Glob(filepath.Join(s.Config.Data, "*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "countersign.db") {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			places[filepath.Base(f)] += string(b)
		}
	}
	i, err := s.DB.Read(t.Context()).IdentityByEmail(alice)
	if err != nil {
		t.Fatal(err)
	}
	events, err := s.DB.Read(t.Context()).History(i.Account, i.ID, 0, 1000)
	if err != nil || len(events) < 8 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for _, e := range events {
		b, err := e.Content()
		if err != nil {
			t.Fatal(err)
		}
		places["the audit trail"] += string(b)
	}
	for _, r := range c.Seen[len(c.Seen)-1:] {
		places["a page"] += r
	}
	sixDigits := regexp.MustCompile(`^\d{6}$`)
	for where, text := range places {
		for what, value := range secrets {
			if sixDigits.MatchString(value) && strings.HasPrefix(where, "countersign.db") {
				value = `"` + value + `"` // six digits occur by chance in ids and instants
			}
			if strings.Contains(text, value) {
				t.Errorf("%s holds the %s", where, what)
			}
		}
		if where == "the log" && strings.Contains(text, alice) {
			t.Errorf("the log holds an address:\n%s", text)
		}
	}
}

func TestABrokenDatabaseAdmitsNobodyAndSaysSoOnce(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	form := c.Get("/signin")
	csrf := c.CSRF()
	if err := s.DB.Close(); err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() testkit.Reply{
		"sign-in":      func() testkit.Reply { return form.Submit("/signin", "username", alice, "password", testkit.Password) },
		"a page":       func() testkit.Reply { return c.Get("/security") },
		"a change":     func() testkit.Reply { return c.Post("/security/sessions/end-others", url.Values{"csrf": {csrf}}) },
		"the API":      func() testkit.Reply { return post(s.Client(), "/api/v1/signin", `{"username":"a","password":"b"}`) },
		"readiness":    func() testkit.Reply { return c.Get("/readyz") },
		"a set-up":     func() testkit.Reply { return c.Get("/setup/" + strings.Repeat("A", 43)) },
		"API sessions": func() testkit.Reply { return c.Get("/api/v1/session") },
	} {
		if err := s.Clock().Advance(2 * time.Second); err != nil { // past what the cache may tell
			t.Fatal(err)
		}
		before := strings.Count(s.Logs.String(), "level=ERROR")
		got := ask()
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q", name, got.StatusCode, got.Header.Get("Retry-After"))
		}
		for _, k := range got.Cookies() {
			if strings.Contains(k.Name, "session") && k.Value != "" {
				t.Errorf("%s: gives a session", name)
			}
		}
		if strings.Contains(got.Body, "sql:") || strings.Contains(got.Body, "closed") {
			t.Errorf("%s: the driver's words are shown", name)
		}
		if n := strings.Count(s.Logs.String(), "level=ERROR") - before; n != 1 {
			t.Errorf("%s: %d lines in the log", name, n)
		}
	}
	if logs := s.Logs.String(); !strings.Contains(logs, "sqlite") || !strings.Contains(logs, "database") {
		t.Errorf("the log does not say which part failed:\n%s", logs)
	}
	c.Get("/healthz").Want(http.StatusOK)
}
