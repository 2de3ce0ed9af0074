// Package front_test holds what every page and every route of the API must
// keep to, whatever they are about.
package front_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/front/web/page"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const alice = "alice@example.com"

// signedIn is a browser signed in to an account without a device.
func signedIn(s *testkit.Site) *testkit.Client {
	s.Account(alice, testkit.Password)
	c := s.Client()
	c.SignIn(alice, nil)
	return c
}

// routes are the site's, with a value for every wildcard.
func routes(s *testkit.Site, method string) (paths []string) {
	for _, r := range s.Routes.Routes() {
		m, path, _ := strings.Cut(r, " ")
		if m == method {
			paths = append(paths, strings.NewReplacer("{$}", "", "{token}", strings.Repeat("A", 43), "{hash}", "x", "{name}", "style.css", "{suffix}", "acme", "{id}", "nobody").Replace(path))
		}
	}
	return paths
}

func isPage(path string) bool {
	return !strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/dev/")
}

func TestMalformedRequestsAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, e, nil)
			c := signedIn(s)
			csrf := c.CSRF()
			posts := routes(s, "POST")
			if len(posts) < 15 {
				t.Fatalf("only %v", posts)
			}
			form, json := "application/x-www-form-urlencoded", "application/json"
			valid := "csrf=" + csrf
			big := strings.Repeat("a", 70_000)
			for _, path := range posts {
				for name, r := range map[string]struct{ kind, body string }{
					"no content type":       {"", valid},
					"another content type":  {"text/plain", valid},
					"multipart":             {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n" + csrf + "\r\n--x--"},
					"another charset":       {form + "; charset=utf-16", valid},
					"content type nonsense": {";;;=", valid},
					"oversized":             {form, valid + "&username=" + big},
					"twice":                 {form, valid + "&code=1&code=2&username=a&username=b"},
					"csrf twice":            {form, valid + "&" + valid},
					"NUL":                   {form, valid + "&username=a%00b&code=%00&email=%00&c=%00&session=%00&device=%00"},
					"invalid UTF-8":         {form, valid + "&username=%ff%fe&code=%c3&email=%ff&c=%ff&session=%80&device=%ff"},
					"bad escapes":           {form, valid + "&username=%zz"},
					"semicolons":            {form, valid + ";username=a"},
					"nothing":               {form, ""},
					"JSON for a form":       {form, `{"username":"a"}`},
					"JSON":                  {json, `{"username":"a","password":`},
					"JSON twice":            {json, `{"username":"a","username":"b","password":"x","ceremony":"` + strings.Repeat("A", 43) + `","ceremony":"b","method":"email","method":"x","advance":1}`},
					"JSON of other types":   {json, `{"username":[],"password":{},"ceremony":1,"method":null,"advance":[]}`},
					"JSON and more":         {json, `{"username":"a","password":"b","ceremony":"c","method":"d","code":"e","advance":"x"} {}`},
					"JSON not UTF-8":        {json, "{\"username\":\"\xff\",\"password\":\"\xff\",\"ceremony\":\"\xff\",\"method\":\"\xff\",\"code\":\"\xff\",\"advance\":\"\xff\"}"},
					"JSON with NUL":         {json, `{"username":"a\u0000b","password":"\u0000","ceremony":"\u0000","method":"\u0000","code":"\u0000","advance":"\u0000"}`},
					"JSON oversized":        {json, `{"username":"` + big + `"}`},
					"JSON deep":             {json, strings.Repeat("[", 20_000)},
				} {
					q := c.Request("POST", path, r.body)
					if r.kind != "" {
						q.Header.Set("Content-Type", r.kind)
					}
					q.Header.Set("Sec-Fetch-Site", "same-origin")
					got := c.Send(q)
					if got.StatusCode < 400 || got.StatusCode >= 500 {
						t.Errorf("POST %s, %s: %d\n%.300s", path, name, got.StatusCode, got.Body)
					}
					if strings.Contains(got.Body, big[:1000]) {
						t.Errorf("POST %s, %s: what was sent comes back", path, name)
					}
				}
			}
			for _, path := range routes(s, "GET") {
				for _, query := range []string{"?c=%00", "?c=%ff", "?c=a&c=b", "?return_to=%zz", "?before=x", "?before=-1", "?before=99999999999999999999", "?method=%ff", "?drifted=%00", "?c=" + strings.Repeat("a", 5000)} {
					if got := c.Get(path + query); got.StatusCode >= 500 {
						t.Errorf("GET %s%.40s: %d", path, query, got.StatusCode)
					}
				}
			}
			odd := c.Request("GET", "/security", "")
			odd.Header.Set("User-Agent", "\xff\xfe\x80 tab\t")
			odd.Header.Set("Accept-Language", "\xff;q=x, zz-Zzzz-ZZ;q=9")
			odd.Header.Set("X-Forwarded-For", "1.2.3.4, \xff")
			c.Send(odd).Want(http.StatusOK)
			fresh := s.Client() // a sign-in by a browser with an odd name is kept in rows
			fresh.Header.Set("User-Agent", "\xff\xfe\x80 "+strings.Repeat("é", 300))
			fresh.SignIn(alice, nil)
			if logs := s.Logs.String(); strings.Contains(logs, "level=ERROR") {
				t.Errorf("the log holds errors:\n%.2000s", logs)
			}
		})
	}
}

func TestEveryPostRefusesOtherSites(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	owner := signedIn(s)
	user := s.Client()
	settle(s, func(n *account.Settings) { n.MFAOperation = account.Independent })
	enter(user, putStaff(s, s.Identity(alice), "uma", account.User), nil)
	csrfs := map[*testkit.Client]string{owner: owner.CSRF(), user: user.CSRF()}
	before := counts(t, s)
	for _, path := range routes(s, "POST") {
		c := owner
		if ofUsers(s, path) {
			c = user
		}
		csrf := csrfs[c]
		for name, header := range map[string]http.Header{
			"cross-site":            {"Sec-Fetch-Site": {"cross-site"}},
			"another host's page":   {"Sec-Fetch-Site": {"same-site"}},
			"another origin":        {"Origin": {"https://evil.example"}},
			"no origin":             {"Origin": {"null"}},
			"the same, other port":  {"Origin": {"http://localhost:1"}},
			"a name that ends like": {"Origin": {strings.Replace(s.URL, "localhost", "evil-localhost", 1)}},
		} {
			kind, body := "application/x-www-form-urlencoded", "csrf="+csrf
			if !isPage(path) {
				kind, body = "application/json", `{"username":"alice@example.com","password":"`+testkit.Password+`","cookie":true,"ceremony":"x","method":"email","code":"1","advance":"1h"}`
				if strings.HasPrefix(path, "/api/") {
					kind = "text/plain" // what a form of another site can send
				}
			}
			r := c.Request("POST", path, body)
			r.Header = header.Clone()
			r.Header.Set("Content-Type", kind)
			if got := c.Send(r); got.StatusCode != http.StatusForbidden && !(got.StatusCode == http.StatusUnsupportedMediaType && strings.HasPrefix(path, "/api/")) &&
				!(got.StatusCode == http.StatusNotFound && strings.HasPrefix(path, "/setup/")) {
				t.Errorf("POST %s from %s: %d", path, name, got.StatusCode)
			}
		}
	}
	if after := counts(t, s); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("rows were %v, are %v", before, after)
	}
	owner.Get("/security").Want(http.StatusOK)
}

// ofUsers reports whether a form is for RAM users alone.
func ofUsers(s *testkit.Site, path string) bool {
	return s.Routes.Audiences["POST "+path] == string(page.Users)
}

func TestEveryFormTakesTheBrowsersOwnTokenAlone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	user := s.Client()
	settle(s, func(n *account.Settings) { n.MFAOperation = account.Independent })
	enter(user, putStaff(s, s.Identity(alice), "uma", account.User), nil)
	foreign, own := s.Client().CSRF(), c.CSRF()
	before := counts(t, s)
	for _, path := range routes(s, "POST") {
		if !isPage(path) || strings.HasPrefix(path, "/setup/") {
			continue
		}
		c, own := c, own
		if ofUsers(s, path) {
			c, own = user, user.CSRF()
		}
		for name, token := range map[string]string{"none": "", "another browser's": foreign, "cut": own[:len(own)-2], "nonsense": "!!", "zeros": strings.Repeat("A", len(own))} {
			c.Post(path, url.Values{"csrf": {token}, "locale": {"ja"}, "username": {alice}, "password": {testkit.Password}}).Want(http.StatusForbidden)
			_ = name
		}
		bare := s.Client() // without the cookie that the token is bound to
		if got := bare.Post(path, url.Values{"csrf": {own}}); got.StatusCode != http.StatusForbidden && got.Header.Get("Location") == "" {
			t.Errorf("POST %s without the cookie: %d", path, got.StatusCode)
		}
	}
	if after := counts(t, s); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("rows were %v, are %v", before, after)
	}
	a, b := c.CSRF(), c.CSRF()
	if a == b || a == "" {
		t.Error("the token is not masked anew for every page")
	}
}

// counts says how many rows every table has.
func counts(t *testing.T, s *testkit.Site) map[string]int {
	t.Helper()
	raw := storetest.Raw(t, s.Config.DatabaseURL())
	n := map[string]int{}
	for _, table := range []string{"account", "identity", "setup_link", "virtual_mfa", "recovery_code", "guess_budget", "throttle_window", "known_device", "session", "verification", "audit_event", "outbox", "sent_code", "phone", "security_email", "activation", "login_profile", "account_settings", "domain_alias", "enrolment", "seen_network", "password_history", "passkey", "passkey_user", "passkey_challenge"} {
		var rows int
		if err := raw.QueryRow("SELECT count(*) FROM " + table).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		n[table] = rows
	}
	return n
}

func TestReadingChangesNothing(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	c.Bind(alice)
	s.Account("bob@example.com", testkit.Password)
	out, half := s.Client(), s.Client()
	half.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password)
	bob := s.Client()
	bob.SignIn("bob@example.com", nil)
	rows := func() map[string]int {
		n := counts(t, s)
		delete(n, "passkey_user") // a page that offers to make a passkey carries its question, as others do a ceremony
		delete(n, "passkey_challenge")
		return n
	}
	before := rows()
	for name, who := range map[string]*testkit.Client{"signed out": out, "half signed in": half, "signed in": c, "signed in without a device": bob} {
		for _, path := range routes(s, "GET") {
			for _, method := range []string{"GET", "HEAD"} {
				if got := who.Send(who.Request(method, path, "")); got.StatusCode >= 500 {
					t.Errorf("%s: %s %s: %d", name, method, path, got.StatusCode)
				}
			}
		}
		if after := rows(); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: rows were %v, are %v", name, before, after)
		}
	}
	c.Get("/security").Want(http.StatusOK)
}

func TestHalfASignInOpensNothing(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	app, _ := c.Bind(alice)
	half := s.Client()
	page := half.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	csrf := half.CSRF()
	u, _ := url.Parse(s.URL)
	var ceremony string
	for _, k := range half.Jar.Cookies(u) {
		if strings.Contains(k.Name, "_signin_") {
			ceremony = k.Value
		}
	}
	if ceremony == "" {
		t.Fatal("no cookie of the sign-in")
	}
	half.Jar.SetCookies(u, []*http.Cookie{{Name: "countersign_session", Value: ceremony, Path: "/"}}) // in the session's place
	for _, method := range []string{"GET", "POST"} {
		for _, path := range routes(s, method) {
			if !strings.HasPrefix(path, "/security") && !strings.HasPrefix(path, "/console") && !strings.HasPrefix(path, "/verify") && path != "/session/keep" {
				continue
			}
			var got testkit.Reply
			if method == "GET" {
				got = half.Get(path)
			} else {
				got = half.Post(path, url.Values{"csrf": {csrf}})
			}
			if to := got.Header.Get("Location"); got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/signin") || strings.Contains(got.Body, alice) {
				t.Errorf("%s %s: %d to %s", method, path, got.StatusCode, to)
			}
		}
	}
	for _, bearer := range []string{"Bearer " + ceremony, ""} {
		r := half.Request("GET", "/api/v1/session", "")
		if bearer != "" {
			r.Header.Set("Authorization", bearer)
		}
		half.Send(r).Want(http.StatusUnauthorized)
	}
	if err := s.Clock().Advance(30e9); err != nil {
		t.Fatal(err)
	}
	page.Submit("/signin/verify", "code", app.Code(0)).Want(http.StatusSeeOther)
}
