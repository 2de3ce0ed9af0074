package front_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// call sends members in turn, as a program would, and reads the answer.
func call(c *testkit.Client, path string, status int, members ...string) map[string]any {
	c.T.Helper()
	body := map[string]string{}
	for n := 0; n < len(members); n += 2 {
		body[members[n]] = members[n+1]
	}
	b, err := json.Marshal(body)
	if err != nil {
		c.T.Fatal(err)
	}
	r := post(c, path, string(b)).Want(status)
	o := map[string]any{}
	if err := json.Unmarshal([]byte(r.Body), &o); err != nil {
		c.T.Fatalf("%s: %v\n%s", path, err, r.Body)
	}
	if status >= 400 && (text(o["code"]) == "" || text(o["type"]) != "urn:countersign:problem:"+text(o["code"]) || text(o["detail"]) == "" || o["status"] != float64(status) || r.Header.Get("Content-Type") != "application/problem+json") {
		c.T.Errorf("%s: no problem: %s %s", path, r.Header.Get("Content-Type"), r.Body)
	}
	return o
}

// refusedAs checks the stable code, and the member, of a problem.
func refusedAs(t *testing.T, what string, o map[string]any, code, field string) {
	t.Helper()
	if text(o["code"]) != code || text(o["field"]) != field {
		t.Errorf("%s: %q on %q, want %q on %q", what, text(o["code"]), text(o["field"]), code, field)
	}
}

func began(t *testing.T, c *testkit.Client, i account.Identity, status string) string {
	t.Helper()
	o := call(c, "/api/v1/signin", http.StatusOK, "username", i.UserName+"@"+string(i.Account), "password", testkit.Password)
	if text(o["status"]) != status || len(text(o["ceremony"])) != 43 || o["session"] != nil {
		t.Fatalf("got %v, want %s", o, status)
	}
	return text(o["ceremony"])
}

func works(t *testing.T, c *testkit.Client, o map[string]any) {
	t.Helper()
	if text(o["status"]) != "complete" || len(text(o["session"])) != 43 || o["ceremony"] != nil {
		t.Errorf("got %v", o)
	}
	r := c.Request("GET", "/api/v1/session", "")
	r.Header.Set("Authorization", "Bearer "+text(o["session"]))
	c.Send(r).Want(http.StatusOK)
}

func TestAProgramBindsADevice(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		c := s.Client()
		id := began(t, c, uma, "bind")
		first := call(c, "/api/v1/signin", http.StatusOK, "username", "uma@"+string(uma.Account), "password", testkit.Password)
		if methods, _ := first["methods"].([]any); fmt.Sprint(methods) != "[passkey virtual_mfa sms]" || text(first["expires_at"]) == "" {
			t.Errorf("got %v", first)
		}
		const bind, confirm = "/api/v1/signin/bind", "/api/v1/signin/bind/confirm"
		refusedAs(t, "nothing chosen", call(c, confirm, http.StatusConflict, "ceremony", id, "method", "virtual_mfa", "code", "123456"), "signin.bind_choose", "")
		refusedAs(t, "no number", call(c, confirm, http.StatusConflict, "ceremony", id, "method", "sms", "code", "123456"), "signin.bind_choose", "")
		for _, m := range []string{"email", "u2f", "", "recovery_code", "VIRTUAL_MFA"} {
			refusedAs(t, m, call(c, bind, http.StatusForbidden, "ceremony", id, "method", m), "signin.bind_method", "method")
		}
		for _, gone := range []string{strings.Repeat("A", 43), "", "x", text(first["ceremony"]) + "A"} {
			refusedAs(t, "a made-up sign-in", call(c, bind, http.StatusGone, "ceremony", gone, "method", "virtual_mfa"), "ceremony.gone", "")
			refusedAs(t, "a made-up sign-in", call(c, confirm, http.StatusGone, "ceremony", gone, "method", "virtual_mfa", "code", "123456"), "ceremony.gone", "")
		}
		refusedAs(t, "a code for a second step", call(c, "/api/v1/signin/verify", http.StatusForbidden, "ceremony", id, "method", "virtual_mfa", "code", "123456"), "method.not_allowed", "method")
		key := call(c, bind, http.StatusOK, "ceremony", id, "method", "virtual_mfa")
		again := call(c, bind, http.StatusOK, "ceremony", id, "method", "virtual_mfa")
		if text(key["status"]) != "key" || len(text(key["key"])) < 32 || !strings.HasPrefix(text(key["uri"]), "otpauth://totp/") || text(again["key"]) != text(key["key"]) {
			t.Fatalf("got %v, then %v", key, again)
		}
		app := appOf(s, text(key["uri"]))
		wrong := call(c, confirm, http.StatusUnauthorized, "ceremony", id, "method", "virtual_mfa", "code", app.WrongCode())
		refusedAs(t, "a wrong code", wrong, "code.wrong", "code")
		refusedAs(t, "no code", call(c, confirm, http.StatusUnprocessableEntity, "ceremony", id, "method", "virtual_mfa", "code", "12"), "code.form", "code")
		done := call(c, confirm, http.StatusOK, "ceremony", id, "method", "virtual_mfa", "code", app.Code(0), "name", "Script")
		works(t, c, done)
		refusedAs(t, "twice", call(c, confirm, http.StatusGone, "ceremony", id, "method", "virtual_mfa", "code", app.Code(1)), "ceremony.gone", "")
		refusedAs(t, "another sign-in", call(c, bind, http.StatusGone, "ceremony", text(first["ceremony"]), "method", "virtual_mfa"), "ceremony.gone", "")
		s.Pass(time.Minute)
		next := began(t, c, uma, "verify")
		refusedAs(t, "at the second step", call(c, bind, http.StatusConflict, "ceremony", next, "method", "virtual_mfa"), "signin.bind_choose", "")
		works(t, c, call(c, "/api/v1/signin/verify", http.StatusOK, "ceremony", next, "method", "virtual_mfa", "code", app.Code(0)))
	})
}

// appOf is the app that scans the key of a URI.
func appOf(s *testkit.Site, uri string) *testkit.App {
	s.T.Helper()
	r := s.Client().Get("/healthz")
	r.Body = uri
	return r.App()
}

func TestAProgramAttachesAPhone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		c := s.Client()
		id := began(t, c, uma, "bind")
		const bind, confirm, number = "/api/v1/signin/bind", "/api/v1/signin/bind/confirm", "+8613900139000"
		refusedAs(t, "no number", call(c, bind, http.StatusUnprocessableEntity, "ceremony", id, "method", "sms"), "phone.missing", "phone")
		refusedAs(t, "no phone number", call(c, bind, http.StatusUnprocessableEntity, "ceremony", id, "method", "sms", "country", "CN", "phone", "12"), "phone.form", "phone")
		sent := call(c, bind, http.StatusOK, "ceremony", id, "method", "sms", "country", "CN", "phone", "139 0013 9000")
		if text(sent["status"]) != "sent" || sent["key"] != nil {
			t.Errorf("got %v", sent)
		}
		early := call(c, bind, http.StatusTooManyRequests, "ceremony", id, "method", "sms")
		if wait, _ := early["retry_after"].(float64); wait < 1 {
			t.Errorf("got %v", early)
		}
		code := s.SentCode(number)
		wrong := "000000"
		if wrong == code {
			wrong = "000001"
		}
		refusedAs(t, "a wrong code", call(c, confirm, http.StatusUnauthorized, "ceremony", id, "method", "sms", "code", wrong), "code.sent_wrong", "code")
		works(t, c, call(c, confirm, http.StatusOK, "ceremony", id, "method", "sms", "code", code))
		if u, err := s.DB.Read(t.Context()).User(uma.Account, uma.ID); err != nil || !u.Phone || u.VirtualMFA {
			t.Errorf("%v, %v", u, err)
		}
	})
}

func TestAProgramSetsThePasswordThatIsDue(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma", func(_ *account.Identity, p *account.Profile) { p.PasswordReset = true })
		settle(s, func(n *account.Settings) { n.MFAOperation = account.Independent })
		c := s.Client()
		const path, fresh = "/api/v1/signin/password", "walrus teapot hinges fog"
		id := began(t, c, uma, "new_password")
		for wrong, code := range map[string]string{"": "password.missing", "short": "password.short", testkit.Password: "password.same"} {
			o := call(c, path, http.StatusUnprocessableEntity, "ceremony", id, "new_password", wrong)
			if text(o["field"]) != "new_password" || !strings.HasPrefix(text(o["code"]), "password.") {
				t.Errorf("%q: got %v, want something like %s", wrong, o, code)
			}
		}
		refusedAs(t, "a device instead", call(c, "/api/v1/signin/bind", http.StatusConflict, "ceremony", id, "method", "virtual_mfa"), "signin.bind_choose", "")
		works(t, c, call(c, path, http.StatusOK, "ceremony", id, "new_password", fresh))
		refusedAs(t, "twice", call(c, path, http.StatusGone, "ceremony", id, "new_password", fresh+" again"), "ceremony.gone", "")
		refusedAs(t, "the old one", call(c, "/api/v1/signin", http.StatusUnauthorized, "username", "uma@"+string(uma.Account), "password", testkit.Password), "signin.wrong", "username")

		// A device first, then the password.
		ben := putStaff(s, s.Identity(alice), "ben", account.User, func(_ *account.Identity, p *account.Profile) { p.PasswordReset, p.MFARequired = true, true })
		id = began(t, c, ben, "bind")
		refusedAs(t, "the password first", call(c, path, http.StatusConflict, "ceremony", id, "new_password", fresh), "signin.bind_choose", "")
		key := call(c, "/api/v1/signin/bind", http.StatusOK, "ceremony", id, "method", "virtual_mfa")
		o := call(c, "/api/v1/signin/bind/confirm", http.StatusOK, "ceremony", id, "method", "virtual_mfa", "code", appOf(s, text(key["uri"])).Code(0))
		if text(o["status"]) != "new_password" || text(o["ceremony"]) == "" || o["session"] != nil {
			t.Fatalf("got %v", o)
		}
		works(t, c, call(c, path, http.StatusOK, "ceremony", text(o["ceremony"]), "new_password", fresh))
	})
}

func TestAForeignPagePutsNoSessionIntoTheCookie(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := staffed(s, "uma", func(_ *account.Identity, p *account.Profile) { p.PasswordReset = true })
	c := s.Client()
	id := began(t, c, uma, "bind")
	for path, body := range map[string]string{
		"/api/v1/signin/bind/confirm": `{"ceremony":"` + id + `","method":"virtual_mfa","code":"123456","cookie":true}`,
		"/api/v1/signin/password":     `{"ceremony":"` + id + `","new_password":"walrus teapot hinges fog","cookie":true}`,
	} {
		refusedAs(t, path, object(t, post(c, path, body).Want(http.StatusForbidden)), "request.cross_site", "")
		if got := post(c, path, strings.Replace(body, `,"cookie":true`, `,"remember":1`, 1)); got.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s with a member that is not there: %d", path, got.StatusCode)
		}
	}
}
