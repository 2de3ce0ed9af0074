package front_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestAProgramSignsInByTextMessage(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		s.PutPhone(alice, phone)
		s.PutProtection(alice, factor.SMS, policy.SignInScenario)
		c := s.Client()
		first := object(t, post(c, "/api/v1/signin", `{"username":"`+alice+`","password":"`+testkit.Password+`"}`).Want(http.StatusOK))
		methods, _ := first["methods"].([]any)
		destinations, _ := first["destinations"].(map[string]any)
		if first["status"] != "verify" || len(methods) != 1 || methods[0] != "sms" || destinations["sms"] != masked138 || len(destinations) != 1 {
			t.Fatalf("got %v", first)
		}
		if len(s.Messages("")) != 0 {
			t.Error("a code was sent before it was asked for")
		}
		ceremony := text(first["ceremony"])
		send := func(method string) testkit.Reply {
			return post(c, "/api/v1/signin/send", `{"ceremony":"`+ceremony+`","method":"`+method+`"}`)
		}
		verify := func(method, code string) testkit.Reply {
			return post(c, "/api/v1/signin/verify", `{"ceremony":"`+ceremony+`","method":"`+method+`","code":"`+code+`"}`)
		}
		if o := object(t, verify("sms", "123456").Want(http.StatusUnauthorized)); o["code"] != "code.not_sent" {
			t.Errorf("before anything was sent: %v", o)
		}
		send("email").Want(http.StatusForbidden)
		if o := object(t, send("sms").Want(http.StatusOK)); o["status"] != "sent" || len(o) != 1 {
			t.Errorf("got %v", o)
		}
		if o := object(t, send("sms").Want(http.StatusTooManyRequests)); o["code"] != "code.send_soon" || o["retry_after"] == nil {
			t.Errorf("at once again: %v", o)
		}
		if n := len(s.Messages(phone)); n != 1 {
			t.Errorf("%d messages to the phone", n)
		}
		code := s.SentCode(phone)
		verify("email", code).Want(http.StatusForbidden)
		if o := object(t, verify("sms", wrongOf(code)).Want(http.StatusUnauthorized)); o["code"] != "code.sent_wrong" || o["field"] != "code" {
			t.Errorf("a wrong code: %v", o)
		}
		done := object(t, verify("sms", code).Want(http.StatusOK))
		if done["status"] != "complete" || len(text(done["session"])) != 43 || len(text(done["device"])) != 43 || done["destinations"] != nil {
			t.Fatalf("got %v", done)
		}
		verify("sms", code).Want(http.StatusGone)
		r := c.Request("GET", "/api/v1/session", "")
		r.Header.Set("Authorization", "Bearer "+text(done["session"]))
		who := object(t, c.Send(r).Want(http.StatusOK))
		amr, _ := who["amr"].([]any)
		if who["acr"] != policy.LevelRestricted || len(amr) != 3 || amr[0] != "pwd" || amr[1] != "sms" || amr[2] != "mfa" {
			t.Errorf("got %v", who)
		}
		if seen := strings.Join(c.Seen, ""); strings.Contains(seen, "13800138000") || strings.Contains(seen, code) {
			t.Error("the number or the code came over the API")
		}
	})
}

// newest is the message that was put into the outbox last.
func newest(t *testing.T, s *testkit.Site, to string) message.Message {
	t.Helper()
	list := s.Messages(to)
	if len(list) == 0 {
		t.Fatalf("nothing was sent to %s", to)
	}
	return list[0]
}

// dies gives the newest message to an address up, as the worker does.
func dies(t *testing.T, s *testkit.Site, to string) {
	t.Helper()
	if err := s.DB.MessageDead(t.Context(), newest(t, s, to).ID, "the gateway does not know the number"); err != nil {
		t.Fatal(err)
	}
}

// waits puts it off, as the worker does.
func waits(t *testing.T, s *testkit.Site, to string) {
	t.Helper()
	if err := s.DB.MessageFailed(t.Context(), newest(t, s, to).ID, "the gateway does not answer", s.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func TestAMessageThatIsNotSentIsSaidPlainlyAndCostsNothing(t *testing.T) {
	for name, way := range map[string]struct {
		send  string // the route that sends
		other bool   // there are other ways
		begin func(s *testkit.Site, c *testkit.Client) testkit.Reply
	}{
		"signing in": {"/signin/verify/send", true, func(s *testkit.Site, _ *testkit.Client) testkit.Reply {
			s.PutProtection(alice, factor.SMS, policy.SignInScenario)
			return s.Client().SignIn(alice, nil).Follow()
		}},
		"verifying": {"/verify/send", true, func(_ *testkit.Site, c *testkit.Client) testkit.Reply {
			return c.Get("/security/password").Follow()
		}},
		"a new phone": {"/security/phone/confirm/send", false, func(s *testkit.Site, c *testkit.Client) testkit.Reply {
			i := s.Identity(alice)
			if _, err := storetest.Raw(s.T, s.Config.DatabaseURL()).Exec("DELETE FROM phone WHERE identity_id = $1", string(i.ID)); err != nil {
				s.T.Fatal(err)
			}
			form := c.Get("/security/phone/change").ProveBySent("email", alice).Follow()
			return form.Submit("/security/phone/change", "country", "CN", "phone", phone).Follow()
		}},
		"protection": {"/security/protection/code/send", false, func(s *testkit.Site, c *testkit.Client) testkit.Reply {
			return choose(c, "sms", "sign-in").Submit("/security/protection/confirm").ProveByApp(s.PutApp(alice)).Follow()
		}},
	} {
		for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
			t.Run(name+" "+string(e), func(t *testing.T) {
				t.Parallel()
				s := testkit.NewSite(t, e, nil)
				c := signedIn(s)
				s.PutPhone(alice, phone)
				s.PutCodes(alice)
				page := way.begin(s, c).Want(http.StatusOK)
				if len(s.Messages(phone)) == 0 {
					page = page.Submit(way.send, "method", "sms").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
				}
				dies(t, s, phone)
				said := page.Again().Want(http.StatusOK)
				says(t, said, "We could not send the text message.", "Send a new code", "Send code")
				saysNot(t, said, `name="code"`, "data-resend", "does not know the number")
				if way.other {
					says(t, said, "Or try another way.", "/methods?c=")
				}
				for range 8 { // more than an hour or a number allows
					page = said.Submit(way.send, "method", "sms").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
					says(t, page, `name="code"`)
					dies(t, s, phone)
					said = page.Again().Want(http.StatusOK)
				}
				page = said.Submit(way.send, "method", "sms").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
				waits(t, s, phone)
				said = page.Again().Want(http.StatusOK)
				says(t, said, "The text message has not gone out yet: the provider does not answer. We keep trying.", `name="code"`)
				said.Submit(strings.TrimSuffix(way.send, "/send"), "code", wrongOf(s.SentCode(phone)), "method", "sms").Want(http.StatusUnauthorized)
				// It arrives after all.
				said.Submit(strings.TrimSuffix(way.send, "/send"), "code", s.SentCode(phone), "method", "sms").Want(http.StatusSeeOther)
			})
		}
	}
}

// silent is a site outside development mode that nothing is set up for.
func silent(t *testing.T) *testkit.Site {
	t.Helper()
	return testkit.NewSite(t, storetest.SQLite, func(c *config.Config) { c.Dev = false })
}

func TestWithoutAProviderNobodyIsToldThatATextMessageIsOnItsWay(t *testing.T) {
	t.Parallel()
	s := silent(t)
	c := signedIn(s)
	csrf := c.CSRF()
	says(t, c.Get("/security/phone").Want(http.StatusOK), "Text messages cannot be sent at the moment.")
	saysNot(t, c.Get("/security/phone"), `href="/security/phone/change"`)
	c.Get("/security/phone/change").Want(http.StatusServiceUnavailable)
	c.Post("/security/phone/change", url.Values{"csrf": {csrf}, "country": {"CN"}, "phone": {phone}}).Want(http.StatusServiceUnavailable)
	form := c.Get("/security/protection/setup").Want(http.StatusOK)
	says(t, form, "Text messages cannot be sent at the moment.", `value="sms" aria-describedby="about-sms"`, "disabled")
	got := form.Submit("/security/protection/setup", "scenario", "sign-in", "method", "sms").Want(http.StatusServiceUnavailable)
	says(t, got, "nothing is set up here to send them with", `value="sign-in" aria-describedby="about-sign-in" checked`)

	s.PutPhone(alice, phone)
	s.PutProtection(alice, factor.SMS, policy.SignInScenario)
	half := s.Client()
	step := half.SignIn(alice, nil).Header.Get("Location")
	page := half.Get(step).Want(http.StatusOK)
	says(t, page, "Text messages cannot be sent at the moment.", "Whoever runs this service can help you.", "help@example.com")
	saysNot(t, page, "/verify/send", `name="code"`, "method=email")
	_, id, _ := strings.Cut(step, "?c=")
	for method, want := range map[string]int{"sms": 503, "email": 403, "recovery_code": 403} {
		half.Post("/signin/verify/send", url.Values{"csrf": {half.CSRF()}, "c": {id}, "method": {method}}).Want(want)
	}
	for _, path := range []string{"/security", "/security/password", "/security/phone"} {
		if to := half.Get(path).Header.Get("Location"); !strings.HasPrefix(to, "/signin") {
			t.Errorf("%s is open: %q", path, to)
		}
	}
	api := object(t, post(s.Client(), "/api/v1/signin", `{"username":"`+alice+`","password":"`+testkit.Password+`"}`).Want(http.StatusOK))
	if o := object(t, post(s.Client(), "/api/v1/signin/send", `{"ceremony":"`+text(api["ceremony"])+`","method":"sms"}`).Want(http.StatusServiceUnavailable)); o["code"] != "sms.unavailable" {
		t.Errorf("got %v", o)
	}

	codes := s.PutCodes(alice) // another way, where there is one
	page = half.Get(step).Want(http.StatusOK)
	says(t, page, "/signin/methods?c=")
	says(t, half.Get("/signin/methods?c="+id), "Text messages cannot be sent at the moment.", "method=recovery_code")
	half.Get(step+"&method=recovery_code").Submit("/signin/verify", "code", codes[0]).Want(http.StatusSeeOther)
	half.Get("/security").Want(http.StatusOK)
	for _, m := range s.Messages("") {
		if m.Kind == "code" || m.Channel == message.SMS {
			t.Errorf("a message lies in the outbox: %s to %s", m.Kind, m.To)
		}
	}
}

// The country of an attached phone may be closed later: other ways are offered.
func TestAClosedCountryIsSaidPlainly(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, func(c *config.Config) { c.SMS.Countries = []string{"jp", "DE"} })
	c := signedIn(s)
	form := c.Get("/security/phone/change").ProveBySent("email", alice).Follow().Want(http.StatusOK)
	says(t, form, `<option value="JP"`, `<option value="DE"`)
	saysNot(t, form, `<option value="CN"`)
	for _, typed := range []string{"138 0013 8000", phone} {
		got := form.Submit("/security/phone/change", "country", "CN", "phone", typed).Want(http.StatusUnprocessableEntity)
		says(t, got, "sends no text messages to that country", typed)
	}
	form.Submit("/security/phone/change", "country", "JP", "phone", phone).Want(http.StatusUnprocessableEntity) // the number says where it belongs
	s.PutPhone(alice, phone)
	s.PutProtection(alice, factor.SMS, policy.SignInScenario)
	s.PutCodes(alice)
	half := s.Client()
	page := half.SignIn(alice, nil).Follow().Want(http.StatusOK)
	says(t, page, "Text messages cannot be sent at the moment.", "/signin/methods?c=")
	got := half.Post("/signin/verify/send", url.Values{"csrf": {half.CSRF()}, "c": {page.Request.URL.Query().Get("c")}, "method": {"sms"}}).Want(http.StatusServiceUnavailable)
	says(t, got, "no longer sends text messages to the country of your phone")
	for _, m := range s.Messages("") {
		if m.Channel == message.SMS {
			t.Errorf("a message to %s", m.To)
		}
	}
}
