package front_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"countersign/internal/front/request"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// post sends JSON as a program would.
func post(c *testkit.Client, path, body string) testkit.Reply {
	c.T.Helper()
	r := c.Request("POST", path, body)
	r.Header.Set("Content-Type", "application/json")
	return c.Send(r)
}

func object(t *testing.T, r testkit.Reply) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(r.Body), &o); err != nil {
		t.Fatalf("%s: %v\n%s", r.Request.URL.Path, err, r.Body)
	}
	return o
}

func text(v any) string { s, _ := v.(string); return s }

func TestAProgramSignsInStepByStep(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, e, nil)
			app, _ := signedIn(s).Bind(alice)
			if err := s.Clock().Advance(time.Minute); err != nil {
				t.Fatal(err)
			}
			c := s.Client()
			first := object(t, post(c, "/api/v1/signin", `{"username":"alice@example.com","password":"`+testkit.Password+`"}`).Want(http.StatusOK))
			if first["status"] != "verify" || first["session"] != nil || first["codes"] != 1.0 || len(text(first["ceremony"])) != 43 {
				t.Fatalf("got %v", first)
			}
			verify := func(code string) testkit.Reply {
				return post(c, "/api/v1/signin/verify", `{"ceremony":"`+text(first["ceremony"])+`","method":"virtual_mfa","code":"`+code+`"}`)
			}
			wrong := object(t, verify(app.WrongCode()).Want(http.StatusUnauthorized))
			if wrong["code"] != "code.wrong" || wrong["field"] != "code" {
				t.Errorf("got %v", wrong)
			}
			done := object(t, verify(app.Code(0)).Want(http.StatusOK))
			if done["status"] != "complete" || len(text(done["session"])) != 43 || len(text(done["device"])) != 43 || done["ceremony"] != nil {
				t.Fatalf("got %v", done)
			}
			verify(app.Code(1)).Want(http.StatusGone)
			session := func(method, token string) testkit.Reply {
				r := c.Request(method, "/api/v1/session", "")
				r.Header.Set("Authorization", "Bearer "+token)
				return c.Send(r)
			}
			who := object(t, session("GET", text(done["session"])).Want(http.StatusOK))
			if who["acr"] != "urn:mfa:2" || who["identity"] == nil || who["account"] == nil {
				t.Errorf("got %v", who)
			}
			for name, token := range map[string]string{"device": text(done["device"]), "ceremony": text(first["ceremony"]), "nothing": "", "made up": strings.Repeat("A", 43)} {
				if got := session("GET", token); got.StatusCode != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s for a session: %d", name, got.StatusCode)
				}
			}
			session("DELETE", text(done["session"])).Want(http.StatusNoContent)
			session("GET", text(done["session"])).Want(http.StatusUnauthorized)
		})
	}
}

func TestEveryRefusalOfTheAPIIsAProblem(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	signedIn(s).Bind(alice)
	c := s.Client()
	ceremony := text(object(t, post(c, "/api/v1/signin", `{"username":"alice@example.com","password":"`+testkit.Password+`"}`))["ceremony"])
	const hidden = "value-that-must-not-come-back"
	for name, r := range map[string]struct {
		path, body string
		status     int
		code       string
	}{
		"wrong password":       {"/api/v1/signin", `{"username":"alice@example.com","password":"` + hidden + `"}`, 401, "signin.wrong"},
		"no name":              {"/api/v1/signin", `{"username":"","password":"` + hidden + `"}`, 422, "signin.name_absent"},
		"no password":          {"/api/v1/signin", `{"username":"` + hidden + `","password":""}`, 422, "password.absent"},
		"huge password":        {"/api/v1/signin", `{"username":"a","password":"` + strings.Repeat(hidden, 60) + `"}`, 400, "password.huge"},
		"a member missing":     {"/api/v1/signin", `{"username":"` + hidden + `"}`, 0, "request.malformed"},
		"an unknown member":    {"/api/v1/signin", `{"username":"a","password":"b","role":"` + hidden + `"}`, 0, "request.malformed"},
		"a member twice":       {"/api/v1/signin", `{"username":"a","password":"b","password":"` + hidden + `"}`, 0, "request.malformed"},
		"another type":         {"/api/v1/signin", `{"username":"a","password":["` + hidden + `"]}`, 0, "request.malformed"},
		"a bare value":         {"/api/v1/signin", `"` + hidden + `"`, 0, "request.malformed"},
		"not JSON":             {"/api/v1/signin", hidden, 0, "request.malformed"},
		"cut short":            {"/api/v1/signin", `{"username":"a","password":"` + hidden, 0, "request.malformed"},
		"two values":           {"/api/v1/signin", `{"username":"a","password":"b"} {"x":"` + hidden + `"}`, 0, "request.malformed"},
		"not UTF-8":            {"/api/v1/signin", "{\"username\":\"a\",\"password\":\"\xff" + hidden + "\"}", 0, "request.malformed"},
		"empty":                {"/api/v1/signin", ``, 0, "request.malformed"},
		"too large":            {"/api/v1/signin", `{"username":"` + strings.Repeat("x", 70_000) + hidden + `"}`, 413, "request.too_large"},
		"unknown ceremony":     {"/api/v1/signin/verify", `{"ceremony":"` + strings.Repeat("A", 43) + `","method":"virtual_mfa","code":"123456"}`, 410, "ceremony.gone"},
		"no ceremony":          {"/api/v1/signin/verify", `{"ceremony":"` + hidden + `","method":"virtual_mfa","code":"123456"}`, 410, "ceremony.gone"},
		"weaker method":        {"/api/v1/signin/verify", `{"ceremony":"` + ceremony + `","method":"email","code":"123456"}`, 403, "method.not_allowed"},
		"method of no kind":    {"/api/v1/signin/verify", `{"ceremony":"` + ceremony + `","method":"` + hidden + `","code":"123456"}`, 403, "method.not_allowed"},
		"password as a method": {"/api/v1/signin/verify", `{"ceremony":"` + ceremony + `","method":"password","code":"123456"}`, 403, "method.not_allowed"},
		"code of letters":      {"/api/v1/signin/verify", `{"ceremony":"` + ceremony + `","method":"virtual_mfa","code":"` + hidden + `"}`, 422, "code.form"},
		"no code":              {"/api/v1/signin/verify", `{"ceremony":"` + ceremony + `","method":"virtual_mfa","code":""}`, 422, "code.missing"},
		"recovery code":        {"/api/v1/signin/verify", `{"ceremony":"` + ceremony + `","method":"recovery_code","code":"2222222-2222222"}`, 401, "recovery.wrong"},
		"weaker method sent":   {"/api/v1/signin/send", `{"ceremony":"` + ceremony + `","method":"email"}`, 403, "method.not_allowed"},
		"nowhere":              {"/api/v1/nowhere", `{}`, 404, "request.not_found"},
	} {
		got := post(c, r.path, r.body)
		o := object(t, got)
		if (r.status != 0 && got.StatusCode != r.status) || got.StatusCode < 400 || got.StatusCode >= 500 || o["code"] != r.code || got.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s %s", name, got.StatusCode, got.Header.Get("Content-Type"), got.Body)
		}
		if o["status"] != float64(got.StatusCode) || o["type"] != "urn:countersign:problem:"+r.code || text(o["title"]) == "" || text(o["detail"]) == "" {
			t.Errorf("%s: %v", name, o)
		}
		if strings.Contains(got.Body, hidden) {
			t.Errorf("%s: what was sent comes back: %s", name, got.Body)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/cbor"} {
		r := c.Request("POST", "/api/v1/signin", `{"username":"a","password":"b"}`)
		r.Header.Set("Content-Type", kind)
		if got := c.Send(r); got.StatusCode != http.StatusUnsupportedMediaType || got.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%q: %d %s", kind, got.StatusCode, got.Body)
		}
	}
	for n := 0; ; n++ {
		if n > 40 {
			t.Fatal("wrong passwords are never too many")
		}
		got := post(c, "/api/v1/signin", `{"username":"alice@example.com","password":"x"}`)
		if got.StatusCode == http.StatusTooManyRequests {
			if o := object(t, got); o["code"] != "password.too_many" || o["retry_after"] == nil || got.Header.Get("Retry-After") == "" {
				t.Errorf("got %v", o)
			}
			break
		}
	}
}

func TestACookieIsGivenToPagesOfThisSiteAlone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	body := `{"username":"alice@example.com","password":"` + testkit.Password + `","cookie":true}`
	for site, want := range map[string]int{"": 403, "cross-site": 403, "same-site": 403, "none": 403, "same-origin": 200} {
		before := counts(t, s)["session"]
		c := s.Client()
		if site != "" {
			c.Header.Set("Sec-Fetch-Site", site)
		}
		got := post(c, "/api/v1/signin", body).Want(want)
		made := counts(t, s)["session"] - before
		if want == 403 && (made != 0 || len(got.Cookies()) != 0) {
			t.Errorf("%q: %d sessions made, cookies %v", site, made, got.Cookies())
		}
		if want == 200 && (strings.Contains(got.Body, `"session"`) || len(got.Cookies()) != 1) {
			t.Errorf("%q: %s, cookies %v", site, got.Body, got.Cookies())
		}
	}
}

func TestTheDescriptionListsEveryRouteOfTheAPI(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	got := s.Client().Get("/api/v1/openapi.json").Want(http.StatusOK)
	o := object(t, got)
	paths, _ := o["paths"].(map[string]any)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		for _, path := range routes(s, method) {
			if !strings.HasPrefix(path, "/api/") || strings.HasSuffix(path, "openapi.json") {
				continue
			}
			if item, _ := paths[path].(map[string]any); item[strings.ToLower(method)] == nil {
				t.Errorf("%s %s is not described", method, path)
			}
		}
	}
	if len(paths) < 4 || !strings.HasPrefix(text(o["openapi"]), "3.") {
		t.Errorf("%v paths, version %v", len(paths), o["openapi"])
	}
}

func TestTheClientsAddressComesFromTrustedProxiesAlone(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	for name, c := range map[string]struct {
		peer    string
		headers []string
		trusted []netip.Prefix
		want    string
	}{
		"nobody is trusted":                {"10.0.0.1:1", []string{"203.0.113.9"}, nil, "10.0.0.1"},
		"a stranger's header":              {"198.51.100.7:1", []string{"203.0.113.9"}, proxies, "198.51.100.7"},
		"a proxy's header":                 {"10.0.0.1:1", []string{"203.0.113.9"}, proxies, "203.0.113.9"},
		"what the client itself has added": {"10.0.0.1:1", []string{"1.1.1.1, 203.0.113.9"}, proxies, "203.0.113.9"},
		"several proxies":                  {"10.0.0.1:1", []string{"1.1.1.1, 203.0.113.9, 10.1.1.1, 10.2.2.2"}, proxies, "203.0.113.9"},
		"several headers":                  {"10.0.0.1:1", []string{"1.1.1.1", "203.0.113.9", "10.1.1.1"}, proxies, "203.0.113.9"},
		"only proxies":                     {"10.0.0.1:1", []string{"10.3.3.3, 10.1.1.1"}, proxies, "10.3.3.3"},
		"no header":                        {"10.0.0.1:1", nil, proxies, "10.0.0.1"},
		"an empty header":                  {"10.0.0.1:1", []string{""}, proxies, "10.0.0.1"},
		"nonsense":                         {"10.0.0.1:1", []string{"unknown"}, proxies, "10.0.0.1"},
		"nonsense behind a proxy":          {"10.0.0.1:1", []string{"203.0.113.9, x, 10.1.1.1"}, proxies, "10.1.1.1"},
		"IPv6":                             {"[2001:db8:1::1]:1", []string{"2001:db8:2::9"}, proxies, "2001:db8:2::9"},
		"IPv6 with a port":                 {"[2001:db8:1::1]:1", []string{"[2001:db8:2::9]:443"}, proxies, "2001:db8:2::9"},
		"IPv4 with a port":                 {"10.0.0.1:1", []string{"203.0.113.9:5000"}, proxies, "203.0.113.9"},
		"IPv4 as IPv6":                     {"[::ffff:10.0.0.1]:1", []string{"::ffff:203.0.113.9"}, proxies, "203.0.113.9"},
		"a zone":                           {"[fe80::1%eth0]:1", nil, proxies, "fe80::1"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
		for _, h := range c.headers {
			r.Header.Add("X-Forwarded-For", h)
		}
		if got := request.ClientAddress(r, c.trusted); got.String() != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
