package front_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const (
	bob      = "bob@example.com"
	attacker = "mallory@example.com"
	theirs   = "+8613700137000" // the attacker's number
)

var codeLike = regexp.MustCompile(`\b(\d{6}|\d{10})\b`)

// withAll is a browser signed in, just now by the app, to an account that has
// an app and a phone and is protected by m.
func withAll(s *testkit.Site, email, number string, m factor.Method) (*testkit.Client, *testkit.App) {
	s.T.Helper()
	s.Account(email, testkit.Password)
	app := s.PutApp(email)
	s.PutPhone(email, number)
	s.PutProtection(email, m, policy.SignInScenario, policy.ChangePassword)
	c := s.Client()
	c.SignIn(email, nil).ProveByApp(app).Want(http.StatusSeeOther)
	return c, app
}

// extra are fields that no form has, and that an attacker may add to one.
func extra(form url.Values, more ...string) url.Values {
	for n := 0; n < len(more); n += 2 {
		form.Set(more[n], more[n+1])
	}
	return form
}

func TestAParameterChoosesNoWeakerMethod(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c, app := withAll(s, alice, phone, factor.VirtualMFA)
	s.Pass(11 * time.Minute)
	half := s.Client()
	signin := half.SignIn(alice, nil).Header.Get("Location")
	verify := c.Get("/security/password").Want(http.StatusSeeOther).Header.Get("Location")
	before, rows := len(s.Messages("")), standing(t, s, s.Identity(alice).Account)
	for _, way := range []struct {
		c          *testkit.Client
		path, page string
	}{{half, "/signin/verify", signin}, {c, "/verify", verify}} {
		_, id, _ := strings.Cut(way.page, "?c=")
		for _, method := range []string{"email", "sms", "password", "", "none", "EMAIL", "virtual_mfa ", "passkey"} {
			form := url.Values{"csrf": {way.c.CSRF()}, "c": {id}, "method": {method}, "code": {"123456"}}
			if got := way.c.Post(way.path+"/send", form); got.StatusCode < 400 || got.StatusCode >= 500 {
				t.Errorf("%s/send by %q: %d", way.path, method, got.StatusCode)
			}
			if method == "" && way.path == "/signin/verify" {
				continue // the one that is asked first
			}
			if got := way.c.Post(way.path, form); got.StatusCode < 400 || got.StatusCode >= 500 {
				t.Errorf("%s by %q: %d", way.path, method, got.StatusCode)
			}
			page := way.c.Get(way.page + "&method=" + url.QueryEscape(method)).Want(http.StatusOK)
			saysNot(t, page, "/send\"", "Send code")
		}
		list := way.c.Get(strings.Replace(way.page, "/verify?", "/methods?", 1))
		if way.path == "/verify" {
			list = way.c.Get("/verify/methods?c=" + id)
		}
		saysNot(t, list.Want(http.StatusOK), "method=email", "method=sms")
	}
	if n := len(s.Messages("")); n != before {
		t.Errorf("%d messages went out", n-before)
	}
	if after := standing(t, s, s.Identity(alice).Account); after != rows {
		t.Errorf("changed:\n%s\n%s", rows, after)
	}
	refused := 0
	events, err := s.DB.Read(t.Context()).History(s.Identity(alice).Account, s.Identity(alice).ID, 0, 100, audit.IdentityVerify, audit.ConsoleSignin)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Refused == policy.ErrMethod.Code {
			refused++
		}
	}
	if refused < 20 {
		t.Errorf("only %d refusals are written down", refused)
	}
	for _, path := range []string{"/signin/verify/send", "/verify/send"} { // a right method, but none that is sent
		who, id := half, signin
		if path == "/verify/send" {
			who, id = c, verify
		}
		_, id, _ = strings.Cut(id, "?c=")
		who.Post(path, url.Values{"csrf": {who.CSRF()}, "c": {id}, "method": {"virtual_mfa"}}).Want(http.StatusForbidden)
	}
	s.Pass(30 * time.Second)
	done := c.Get(verify).Submit("/verify", "code", app.Code(0), "return_to", "//evil.example", "action", "unbind_virtual_mfa", "scenario", "manage-mfa", "target", "x", "user", bob).Want(http.StatusSeeOther)
	if to := done.Header.Get("Location"); to != "/security/password" {
		t.Errorf("verified, and sent to %s", to)
	}
	c.Get("/security/password").Want(http.StatusOK)
	if _, ok := toVerify(c.Post("/security/recovery-codes", url.Values{"csrf": {c.CSRF()}})); !ok {
		t.Error("a field of the form has made it a proof for something else")
	}
}

func TestAParameterNamesNoDestination(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c, _ := withAll(s, alice, phone, factor.SMS)
	s.Account(bob, testkit.Password)
	b := s.Client()
	b.SignIn(bob, nil)
	more := []string{"phone", theirs, "email", attacker, "to", theirs, "destination", attacker, "country", "US", "user", attacker, "identity", string(s.Identity(bob).ID), "username", bob, "return_to", "//evil.example", "scenario", "change-password", "session", "x", "device", "x"}
	send := func(c *testkit.Client, path, id, method, to string) {
		t.Helper()
		s.Pass(time.Minute)
		n := len(s.Messages(to))
		got := c.Post(path, extra(url.Values{"csrf": {c.CSRF()}, "c": {id}, "method": {method}}, more...)).Want(http.StatusSeeOther)
		if strings.Contains(got.Header.Get("Location"), "evil") {
			t.Errorf("%s leads to %s", path, got.Header.Get("Location"))
		}
		if len(s.Messages(to)) != n+1 {
			t.Errorf("%s sent nothing to %s", path, to)
		}
		code := s.SentCode(to)
		if strings.Contains(got.Header.Get("Location"), code) {
			t.Errorf("%s puts the code into the URL", path)
		}
	}
	half := s.Client()
	_, id, _ := strings.Cut(half.SignIn(bob, nil).Header.Get("Location"), "?c=")
	if id != "" {
		t.Fatal("bob has no second step")
	}
	s.PutPhone(bob, otherOne)
	s.PutProtection(bob, factor.SMS, policy.SignInScenario)
	_, id, _ = strings.Cut(half.SignIn(bob, nil).Header.Get("Location"), "?c=")
	send(half, "/signin/verify/send", id, "sms", otherOne)
	id, _ = toVerify(b.Get("/security/password"))
	send(b, "/verify/send", id, "sms", otherOne)
	id = c.Get("/security/phone/change").Submit("/security/phone/change", "country", "CN", "phone", "136 0013 6000", "to", theirs, "c", "x").Want(http.StatusSeeOther).Follow().Request.URL.Query().Get("c")
	send(c, "/security/phone/confirm/send", id, "sms", "+8613600136000")
	id = c.Get("/security/email/change").Submit("/security/email/change", "email", "next@example.com", "phone", theirs).Want(http.StatusSeeOther).Follow().Request.URL.Query().Get("c")
	send(c, "/security/email/confirm/send", id, "email", "next@example.com")
	setup := choose(b, "sms", "sign-in", "change-contact")
	s.Pass(2 * time.Minute)
	setup.Submit("/security/protection/confirm").ProveBySent("sms", otherOne).Want(http.StatusSeeOther)
	b2 := s.Client()
	s.Account("carol@example.com", testkit.Password)
	b2.SignIn("carol@example.com", nil)
	s.PutPhone("carol@example.com", "+8613500135000")
	setup = choose(b2, "sms", "sign-in").Submit("/security/protection/confirm").ProveByApp(s.PutApp("carol@example.com")).Follow()
	send(b2, "/security/protection/code/send", setup.Request.URL.Query().Get("c"), "sms", "+8613500135000")
	for _, to := range []string{theirs, attacker} {
		if got := s.Messages(to); len(got) != 0 {
			t.Errorf("%d messages went to %s: %s", len(got), to, got[0].Text)
		}
	}
	// JSON has no room for it at all.
	token := text(object(t, post(s.Client(), "/api/v1/signin", `{"username":"`+bob+`","password":"`+testkit.Password+`"}`).Want(http.StatusOK))["ceremony"])
	if got := post(s.Client(), "/api/v1/signin/send", `{"ceremony":"`+token+`","method":"sms","phone":"`+theirs+`"}`); got.StatusCode < 400 || got.StatusCode >= 500 {
		t.Errorf("the API takes a phone: %d", got.StatusCode)
	}
	for _, pattern := range s.Routes.Routes() {
		if path, ok := strings.CutPrefix(pattern, "POST "); ok && strings.HasSuffix(path, "/send") {
			if got := c.Get(path); got.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("GET %s: %d", path, got.StatusCode)
			}
		}
	}
}

// Bob's verifications, changes and choices are nobody else's: neither
// another's, nor those of another browser of his own.
func TestACeremonyServesItsOwnSessionAlone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	victim := newPerson(s, bob, "", func(p *person, bind func()) { bind(); p.SignIn(p.Email, nil).ProveByApp(p.app) })
	prepare(t, s, victim)
	id, ok := toVerify(victim.Post("/security/protection/off", url.Values{"csrf": {victim.CSRF()}}))
	if !ok {
		t.Fatal("no verification is open")
	}
	c, _ := withAll(s, alice, otherOne, factor.SMS)
	second := s.Client() // another browser of the victim's own
	second.SignIn(bob, nil).ProveByApp(victim.app).Want(http.StatusSeeOther)
	ids := map[string]string{"verification": id, "email": victim.email, "phone": victim.phone, "device": victim.bind, "choice": victim.choice}
	before := [2]string{standing(t, s, victim.Account), standing(t, s, s.Identity(alice).Account)}
	takesC := 0
	for _, browser := range []struct {
		name string
		c    *testkit.Client
	}{{"another's", c}, {"the other browser", second}} {
		s.Pass(time.Minute)
		for _, pattern := range s.Routes.Routes() {
			method, path, _ := strings.Cut(pattern, " ")
			if (!strings.HasPrefix(path, "/verify") && !strings.HasPrefix(path, "/security")) ||
				path == "/security/protection/off" || path == "/security/protection/setup" || path == "/security/phone/remove" || path == "/security/email/change" || path == "/security/phone/change" {
				continue // has no use for one
			}
			d, driven := drives[pattern]
			if method == "POST" && !strings.HasPrefix(path, "/verify") && (!driven || !slices.Contains(d.fill(victim), "c")) {
				continue
			}
			for what, id := range ids {
				var got testkit.Reply
				if method == "GET" {
					got = browser.c.Get(path + "?c=" + url.QueryEscape(id))
					if strings.Contains(got.Body, "otpauth:") && strings.Contains(got.Body, id) || strings.Contains(got.Body, "new-"+string(victim.ID)) || strings.Contains(got.Body, "137 0013 7000") {
						t.Errorf("%s, %s of %s: shown", pattern, what, browser.name)
					}
					if takes := strings.HasSuffix(path, "/confirm") || strings.HasPrefix(path, "/verify"); takes && got.StatusCode != http.StatusGone {
						t.Errorf("%s, %s of %s: %d", pattern, what, browser.name, got.StatusCode)
					}
					continue
				}
				takesC++
				for _, where := range []string{"", "?c=" + url.QueryEscape(id)} {
					form := url.Values{"csrf": {browser.c.CSRF()}, "c": {id}, "method": {"sms"}, "code": {sentToThem}, "code2": {victim.app.Code(1)}, "country": {"CN"}, "phone": {theirs}, "name": {"x"}}
					if path == "/verify" {
						form.Set("method", "virtual_mfa")
						form.Set("code", victim.app.Code(0))
					}
					if where != "" {
						form.Del("c") // a query is no part of a form
					}
					if got = browser.c.Post(path+where, form); got.StatusCode < 400 || got.StatusCode >= 500 {
						t.Errorf("%s, %s of %s: %d to %s", pattern, what, browser.name, got.StatusCode, got.Header.Get("Location"))
					}
				}
			}
		}
	}
	if takesC < 80 {
		t.Errorf("only %d tries", takesC)
	}
	without := func(s string) string { return sessionLine.ReplaceAllString(s, "") }
	for n, a := range []string{standing(t, s, victim.Account), standing(t, s, s.Identity(alice).Account)} {
		if without(a) != without(before[n]) {
			t.Errorf("changed:\n%s\n%s", before[n], a)
		}
	}
	if got := victim.Post("/security/email/confirm", url.Values{"csrf": {victim.CSRF()}, "c": {victim.email}, "code": {sentToThem}}); got.Header.Get("Location") != "/security/email" {
		t.Errorf("to their owner they are of no use either: %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
}

var sessionLine = regexp.MustCompile(`(?m)^SELECT id, epoch, proofs FROM session.*\n`)

func TestAChoiceIsOneOfThoseOffered(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	csrf := c.CSRF()
	for name, form := range map[string]url.Values{
		"an unknown scenario":           {"scenario": {"sign-in", "manage-everything"}, "method": {"sms"}},
		"one that cannot be chosen":     {"scenario": {"manage-sessions"}, "method": {"sms"}},
		"an empty one":                  {"scenario": {""}, "method": {"sms"}},
		"of another case":               {"scenario": {"Sign-In"}, "method": {"sms"}},
		"several in one":                {"scenario": {"sign-in change-password"}, "method": {"sms"}},
		"none":                          {"method": {"sms"}},
		"no method":                     {"scenario": {"sign-in"}},
		"a method that protects nobody": {"scenario": {"sign-in"}, "method": {"email"}},
		"another one":                   {"scenario": {"sign-in"}, "method": {"recovery_code"}},
		"two methods":                   {"scenario": {"sign-in"}, "method": {"sms", "virtual_mfa"}},
		"two tokens":                    {"scenario": {"sign-in"}, "method": {"sms"}, "csrf": {csrf, csrf}},
	} {
		if form.Get("csrf") == "" {
			form.Set("csrf", csrf)
		}
		got := c.Post("/security/protection/setup", form)
		if want := http.StatusUnprocessableEntity; got.StatusCode != want && !(strings.HasPrefix(name, "two") && got.StatusCode == http.StatusBadRequest) {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
	}
	many := url.Values{"csrf": {csrf}, "scenario": {"sign-in", "sign-in", "sign-in", "manage-mfa"}, "method": {"virtual_mfa"}, "return_to": {"//evil.example"}, "c": {"x"}}
	page := c.Post("/security/protection/setup?scenario=change-contact&method=sms", many).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	saysNot(t, page, "Change email or phone", "text message")
	// What is saved is what was summed up, whatever comes with the way there.
	page = page.Submit("/security/protection/confirm", "scenario", "change-contact", "method", "sms", "return_to", "/evil").ProveBySent("email", alice).Follow()
	page.Submit("/security/protection/device", "code", page.App().Code(0), "scenario", "change-contact", "method", "sms").Want(http.StatusSeeOther)
	protected(t, s, alice, factor.VirtualMFA, policy.SignInScenario, policy.ManageMFA)
}

// A proof for one choice saves no other, and one for one action does not do another.
func TestAProofIsOfItsOwnAction(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	s.PutPhone(alice, phone)
	s.PutProtection(alice, factor.SMS, policy.SignInScenario)
	first := choose(c, "sms", "sign-in", "manage-mfa").Submit("/security/protection/confirm").Want(http.StatusSeeOther)
	second := choose(c, "sms", "change-contact") // in another tab: the first choice is gone
	if got := first.ProveBySent("sms", phone); got.StatusCode != http.StatusGone {
		t.Errorf("the older choice: %d to %s", got.StatusCode, got.Header.Get("Location"))
	}
	if _, ok := toVerify(second.Submit("/security/protection/confirm")); !ok {
		t.Error("the proof for one choice saves another")
	}
	if _, ok := toVerify(c.Post("/security/protection/off", url.Values{"csrf": {c.CSRF()}})); !ok {
		t.Error("the proof for a choice turns protection off")
	}
	protected(t, s, alice, factor.SMS, policy.SignInScenario)
}

func TestACodeWorksInItsOwnBrowserAlone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	a, b := s.Client(), s.Client()
	a.SignIn(alice, nil)
	b.SignIn(alice, nil)
	s.PutPhone(alice, phone)
	s.PutProtection(alice, factor.SMS, policy.SignInScenario)
	pages := map[*testkit.Client]testkit.Reply{}
	codes := map[*testkit.Client]string{}
	for _, c := range []*testkit.Client{a, b} {
		pages[c] = c.Get("/security/password").Follow().Submit("/verify/send", "method", "sms").Follow()
		codes[c] = s.SentCode(phone)
	}
	if codes[a] == codes[b] {
		t.Fatal("one code in a million")
	}
	pages[b].Submit("/verify", "code", codes[a]).Want(http.StatusUnauthorized)
	half := s.Client()
	in := half.SignIn(alice, nil).Follow().Submit("/signin/verify/send", "method", "sms").Follow()
	in.Submit("/signin/verify", "code", codes[a]).Want(http.StatusUnauthorized) // nor for another purpose
	pages[a].Submit("/verify", "code", codes[a]).Want(http.StatusSeeOther)
	pages[a].Submit("/verify", "code", codes[a]).Want(http.StatusGone) // nor twice

	// One that was sent to a number is of no use once another one was named.
	a.Get("/security/phone").Want(http.StatusOK)
	first := a.Get("/security/phone/change").ProveBySent("sms", phone).Follow().Submit("/security/phone/change", "country", "CN", "phone", otherOne).Follow()
	old := s.SentCode(otherOne)
	s.Pass(time.Minute)
	edited := a.Get("/security/phone/change").Submit("/security/phone/change", "country", "CN", "phone", theirs).Follow()
	edited.Submit("/security/phone/confirm", "code", old).Want(http.StatusUnauthorized)
	first.Submit("/security/phone/confirm", "code", old).Want(http.StatusGone)
	if number(t, s, alice) != phone {
		t.Error("a number was attached by the code of another")
	}
	code := s.SentCode(theirs)
	s.Pass(10*time.Minute + time.Second)
	again := edited.Submit("/security/phone/confirm", "code", code).ProveBySent("sms", phone).Want(http.StatusSeeOther).Follow()
	says(t, again.Submit("/security/phone/confirm", "code", code).Want(http.StatusUnauthorized), "This code has expired.")
}
