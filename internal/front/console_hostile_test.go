package front_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/testkit"
)

// Whoever may do all of it types nonsense into every field.
func TestNonsenseInTheConsoleIsRefused(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		user := putStaff(s, owner, "quentin", account.User)
		putDevice(s, user, "Phone")
		s.PutApp(alice)
		c := as(s, owner, factor.VirtualMFA)
		csrf := c.CSRF()
		fields := map[string]bool{"id": true, "user": true, "session": true, "device": true, "c": true, "d": true, "q": true, "sort": true, "page": true, "size": true, "mfa": true, "activity": true, "display_name": true, "email": true, "comments": true, "many": true, "users": true, "new_password": true, "reset": true, "from": true, "to": true, "actor": true, "target": true, "event": true, "result": true, "network": true, "request": true, "before": true, "query": true, "format": true}
		for _, d := range drives {
			p := &person{app: &testkit.App{Seed: []byte("12345678901234567890"), Now: s.Now}}
			for n, filled := 0, d.fill(p); n < len(filled); n += 2 {
				fields[filled[n]] = true
			}
		}
		nonsense := map[string]string{"NUL": "a\x00b", "no UTF-8": "\xff\xfe", "long": strings.Repeat("ab", 15_000), "lines": "a\r\nb\tc", "markup": `"><script>alert(1)</script>`, "wide": strings.Repeat("𝒜", 300), "quotes": `' OR 1=1 --`, "numbers": "-99999999999999999999", "right to left": "\u202egnp.exe", "template": "{{.CSRF}}"}
		for _, pattern := range s.Routes.Routes() {
			method, path, _ := strings.Cut(pattern, " ")
			if !strings.HasPrefix(path, "/console") {
				continue
			}
			at := strings.Replace(path, "{id}", string(user.ID), 1)
			for what, value := range nonsense {
				form := url.Values{"csrf": {csrf}}
				for name := range fields {
					if !strings.HasPrefix(what, "l") || name == "users" || name == "masks" { // the form is bounded as a whole
						form.Set(name, value)
					}
				}
				var got testkit.Reply
				if method == "GET" {
					form.Del("csrf")
					got = c.Get(at + "?" + form.Encode())
				} else {
					got = c.Post(at, form)
				}
				if got.StatusCode >= 500 || strings.Contains(got.Body, "<script>alert") || strings.Contains(got.Header.Get("Location"), "alert") {
					t.Errorf("%s, %s: %d to %q\n%.500s", pattern, what, got.StatusCode, got.Header.Get("Location"), got.Body)
				}
			}
		}
		if logs := s.Logs.String(); strings.Contains(logs, "level=ERROR") {
			t.Errorf("the log holds errors:\n%.3000s", logs)
		}
		if to := c.Get("/security/sessions").StatusCode; to != http.StatusOK {
			t.Errorf("and then %d", to)
		}
	})
}
