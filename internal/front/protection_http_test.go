package front_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const (
	phone     = "+8613800138000"
	otherOne  = "+8613900139000"
	masked138 = "138****00"
)

// both runs f at a site on each engine.
func both(t *testing.T, f func(t *testing.T, s *testkit.Site)) {
	t.Helper()
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			f(t, testkit.NewSite(t, e, nil))
		})
	}
}

// says checks that a page says all of words, as a reader sees them.
func says(t *testing.T, r testkit.Reply, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(html.UnescapeString(r.Body), w) {
			t.Errorf("%s %s (%d) does not say %q:\n%s", r.Request.Method, r.Request.URL.Path, r.StatusCode, w, r.Body)
		}
	}
}

func saysNot(t *testing.T, r testkit.Reply, words ...string) {
	t.Helper()
	for _, w := range words {
		if strings.Contains(html.UnescapeString(r.Body), w) {
			t.Errorf("%s %s says %q:\n%s", r.Request.Method, r.Request.URL.Path, w, r.Body)
		}
	}
}

// choose fills the form of Account Protection and comes to the summary.
func choose(c *testkit.Client, method string, scenarios ...string) testkit.Reply {
	c.T.Helper()
	fill := []string{"method", method}
	for _, one := range scenarios {
		fill = append(fill, "scenario", one)
	}
	return c.Get("/security/protection/setup").Want(http.StatusOK).Submit("/security/protection/setup", fill...).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
}

// protected checks what is in force.
func protected(t *testing.T, s *testkit.Site, email string, m factor.Method, scenarios ...policy.Scenario) policy.Facts {
	t.Helper()
	f, err := s.DB.Read(t.Context()).Facts(s.Identity(email), nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Protection.Method != m || !slices.Equal(f.Protection.Scenarios, scenarios) {
		t.Errorf("in force: %v by %q, want %v by %q", f.Protection.Scenarios, f.Protection.Method, scenarios, m)
	}
	return f
}

// told checks that notices went to an address or number.
func told(t *testing.T, s *testkit.Site, to string, kinds ...string) {
	t.Helper()
	var got []string
	for _, m := range s.Messages(to) {
		got = append(got, m.Kind)
	}
	for _, k := range kinds {
		if !slices.Contains(got, k) {
			t.Errorf("%s was told %v, not of %s", to, got, k)
		}
	}
}

func TestProtectionIsSetUpWithVirtualMFA(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		says(t, c.Get("/security/protection"), `href="/security/protection/setup"`)
		summary := choose(c, "virtual_mfa", "sign-in", "change-password")
		says(t, summary, "Your next sign-in will ask for a code from your virtual MFA device.", "Sign-in", "Change password", "Next, we verify that it is you.", "Then we bind your virtual MFA device together.")
		saysNot(t, summary, "otpauth")
		verify := summary.Submit("/security/protection/confirm").Want(http.StatusSeeOther)
		says(t, c.Get(verify.Header.Get("Location")), "to turn on Account Protection", "a***@e***.com")
		page := verify.ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, page, "otpauth://totp/", "<svg viewBox")
		saysNot(t, page, `name="code2"`)
		app := page.App()
		page = page.Submit("/security/protection/device", "code", app.WrongCode(), "name", "Work phone").Want(http.StatusUnauthorized)
		if again := page.App(); string(again.Seed) != string(app.Seed) {
			t.Error("a wrong code brings another key")
		}
		says(t, page, `value="Work phone"`)
		protected(t, s, alice, "")
		result := page.Submit("/security/protection/device", "code", app.Code(0), "name", "Work phone").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, result, "Account Protection is on as you chose.", "On since", `<time datetime="`+s.Now().UTC().Format("2006-01-02T"), "Work phone", "/security/recovery-codes/new")
		if f := protected(t, s, alice, factor.VirtualMFA, policy.SignInScenario, policy.ChangePassword); f.RecoveryCodes != 10 || !f.VirtualMFA {
			t.Errorf("facts %+v", f)
		}
		told(t, s, alice, "protection_on", "device_bound")

		other := s.Client()
		to := other.SignIn(alice, nil)
		says(t, other.Get(to.Header.Get("Location")), "Code from your authenticator app")
		if in := to.ProveByApp(app).Want(http.StatusSeeOther); in.Header.Get("Location") != "/security" {
			t.Errorf("signed in, and sent to %s", in.Header.Get("Location"))
		}
		other.Get("/security").Want(http.StatusOK)
	})
}

func TestProtectionIsSetUpByTextMessageWithoutAPhone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		summary := choose(c, "sms", "sign-in", "manage-mfa")
		says(t, summary, "Your next sign-in will ask for a code by text message.", "Then we attach your phone together.")
		page := summary.Submit("/security/protection/confirm").ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, page, `<option value="CN"`, "Step 1 of 2")
		page = page.Submit("/security/protection/phone", "country", "CN", "phone", "10 8888 8888").Want(http.StatusUnprocessableEntity)
		says(t, page, "mobile numbers only", `value="10 8888 8888"`, `<option value="CN" data-example="131 2345 6789" selected>`)
		page = page.Submit("/security/protection/phone", "country", "CN", "phone", "138 0013 8000").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, page, "Step 2 of 2", "+86 138 0013 8000", "Not received?", `data-resend="`)
		page = page.Submit("/security/protection/code", "code", wrongOf(s.SentCode(phone))).Want(http.StatusUnauthorized)
		protected(t, s, alice, "")
		result := page.Submit("/security/protection/code", "code", s.SentCode(phone)).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, result, "On since", masked138, "/security/recovery-codes/new")
		saysNot(t, result, "138 0013 8000")
		if f := protected(t, s, alice, factor.SMS, policy.SignInScenario, policy.ManageMFA); !f.Phone || f.RecoveryCodes != 10 {
			t.Errorf("facts %+v", f)
		}
		told(t, s, alice, "protection_on", "phone_attached")
		told(t, s, phone, "phone_attached")
		s.Pass(time.Minute)
		signInByText(t, s)
	})
}

// wrongOf is a code that is not the one given.
func wrongOf(code string) string {
	return strings.Map(func(r rune) rune { return '0' + (r-'0'+1)%10 }, code)
}

// signInByText signs in by text message as documented.
func signInByText(t *testing.T, s *testkit.Site) *testkit.Client {
	t.Helper()
	c := s.Client()
	n := len(s.Messages(phone))
	page := c.SignIn(alice, nil).Follow().Want(http.StatusOK)
	says(t, page, masked138, "Send code")
	saysNot(t, page, `name="code"`, "138 0013 8000", phone)
	if len(s.Messages(phone)) != n {
		t.Error("a code was sent before it was asked for")
	}
	page = page.Submit("/signin/verify/send", "method", "sms").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	says(t, page, "Code from the text message", "Not received?", `data-resend="`, "data-otp", masked138)
	sent := s.Messages(phone)[0]
	code := s.SentCode(phone)
	if want := code + " is your Countersign code to sign in. Do not share it.\n\n@localhost #" + code; sent.Text != want {
		t.Errorf("the message is %q, want %q", sent.Text, want)
	}
	if in := page.Submit("/signin/verify", "code", code).Want(http.StatusSeeOther); in.Header.Get("Location") != "/security" {
		t.Errorf("signed in, and sent to %s", in.Header.Get("Location"))
	}
	c.Get("/security").Want(http.StatusOK)
	return c
}

func TestProtectionIsSetUpByTextMessageWithAPhone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		summary := choose(c, "sms", "sign-in")
		saysNot(t, summary, "Then we attach")
		to := summary.Submit("/security/protection/confirm").Want(http.StatusSeeOther)
		id, _ := toVerify(to)
		c.Post("/verify/send", url.Values{"csrf": {c.CSRF()}, "c": {id}, "method": {"email"}}).Want(http.StatusForbidden)
		result := to.ProveBySent("sms", phone).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, result, "On since", masked138) // the phone has answered already
		protected(t, s, alice, factor.SMS, policy.SignInScenario)

		s.Account("bob@example.com", testkit.Password)
		bob := s.Client()
		bob.SignIn("bob@example.com", nil)
		s.PutPhone("bob@example.com", otherOne)
		app := s.PutApp("bob@example.com")
		page := choose(bob, "sms", "sign-in").Submit("/security/protection/confirm").ProveByApp(app).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, page, "139****00", "Send code") // whoever chooses it must be able to read it
		saysNot(t, page, `name="code"`, "139 0013 9000", `name="phone"`)
		protected(t, s, "bob@example.com", "")
		page = page.Submit("/security/protection/code/send", "method", "sms").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		result = page.Submit("/security/protection/code", "code", s.SentCode(otherOne)).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, result, "On since", "139****00")
		protected(t, s, "bob@example.com", factor.SMS, policy.SignInScenario)
		s.Pass(time.Minute)
		signInByText(t, s)
	})
}

func TestProtectionIsEditedAndTurnedOffWithThePresentMethod(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		s.PutProtection(alice, factor.SMS, policy.SignInScenario, policy.ManageMFA)
		since := protected(t, s, alice, factor.SMS, policy.SignInScenario, policy.ManageMFA).Protection.Since
		form := c.Get("/security/protection/setup").Want(http.StatusOK)
		says(t, form, `name="scenario" value="sign-in" aria-describedby="about-sign-in" checked`)
		form.Submit("/security/protection/setup", "scenario", "manage-mfa", "scenario", "sign-in", "method", "sms").Want(http.StatusConflict)

		s.Pass(time.Minute)
		summary := choose(c, "sms", "sign-in", "change-contact")
		says(t, summary, "Added", "Change email or phone", "No longer", "Manage MFA")
		to := summary.Submit("/security/protection/confirm").Want(http.StatusSeeOther)
		id, _ := toVerify(to)
		c.Post("/verify/send", url.Values{"csrf": {c.CSRF()}, "c": {id}, "method": {"email"}}).Want(http.StatusForbidden)
		result := to.ProveBySent("sms", phone).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, result, "On since", "Changed")
		if p := protected(t, s, alice, factor.SMS, policy.SignInScenario, policy.ChangeContact).Protection; !p.Since.Equal(since) || !p.ChangedAt.After(since) {
			t.Errorf("on since %s, changed %s; it was turned on %s", p.Since, p.ChangedAt, since)
		}

		s.Pass(time.Minute)
		summary = choose(c, "virtual_mfa", "sign-in")
		says(t, summary, "Text messages no longer count for these. Your phone stays attached.")
		page := summary.Submit("/security/protection/confirm").ProveBySent("sms", phone).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		app := page.App()
		page.Submit("/security/protection/device", "code", app.Code(0)).Want(http.StatusSeeOther)
		if f := protected(t, s, alice, factor.VirtualMFA, policy.SignInScenario); !f.VirtualMFA || !f.Phone {
			t.Errorf("facts %+v", f)
		}
		told(t, s, alice, "protection_changed")
		c.Post("/security/virtual-mfa/unbind", url.Values{"csrf": {c.CSRF()}, "device": {deviceOf(t, s)}}).Want(http.StatusConflict)

		s.Pass(11 * time.Minute)
		off := c.Get("/security/protection/off").Want(http.StatusOK)
		to = off.Submit("/security/protection/off").Want(http.StatusSeeOther)
		id, _ = toVerify(to)
		c.Post("/verify/send", url.Values{"csrf": {c.CSRF()}, "c": {id}, "method": {"sms"}}).Want(http.StatusForbidden)
		result = to.ProveByApp(app).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, result, "Account Protection is off.")
		protected(t, s, alice, "")
		told(t, s, alice, "protection_off")
		s.Client().SignIn(alice, nil).ProveByApp(app).Want(http.StatusSeeOther) // the device is bound still
	})
}

func deviceOf(t *testing.T, s *testkit.Site) string {
	t.Helper()
	i := s.Identity(alice)
	d, err := s.DB.Read(t.Context()).VirtualMFA(i.Account, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	return d.ID
}

func TestTurningTextMessagesOffLeavesThePassword(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		s.PutProtection(alice, factor.SMS, policy.SignInScenario)
		c.Get("/security/protection/off").Submit("/security/protection/off").ProveBySent("sms", phone).Want(http.StatusSeeOther)
		protected(t, s, alice, "")
		if to := s.Client().SignIn(alice, nil).Header.Get("Location"); to != "/security" {
			t.Errorf("signing in leads to %s", to)
		}
		c.Get("/security/protection/off").Want(http.StatusSeeOther)
		c.Post("/security/protection/off", url.Values{"csrf": {c.CSRF()}}).Want(http.StatusNotFound)
	})
}

// Each final form is posted twice, as an impatient hand does, and then at once
// from two tabs of one browser: it counts once, and the other is told kindly.
func TestEveryFinalFormCountsOnce(t *testing.T) {
	kindly := regexp.MustCompile(`was finished (already|in another tab)|is off already|was changed in another tab|No phone is attached|bound already`)
	for name, way := range map[string]struct {
		prepare func(s *testkit.Site)
		last    func(s *testkit.Site, c *testkit.Client) (page testkit.Reply, action string, fill []string)
		kind    string // of the notice that is sent once
	}{
		"the device of protection": {nil, func(_ *testkit.Site, c *testkit.Client) (testkit.Reply, string, []string) {
			page := choose(c, "virtual_mfa", "sign-in").Submit("/security/protection/confirm").ProveBySent("email", alice).Follow()
			return page, "/security/protection/device", []string{"code", page.App().Code(0)}
		}, "protection_on"},
		"the phone of protection": {nil, func(s *testkit.Site, c *testkit.Client) (testkit.Reply, string, []string) {
			page := choose(c, "sms", "sign-in").Submit("/security/protection/confirm").ProveBySent("email", alice).Follow()
			page = page.Submit("/security/protection/phone", "country", "CN", "phone", phone).Follow()
			return page, "/security/protection/code", []string{"code", s.SentCode(phone)}
		}, "protection_on"},
		"a new phone": {func(s *testkit.Site) { s.PutPhone(alice, otherOne) }, func(s *testkit.Site, c *testkit.Client) (testkit.Reply, string, []string) {
			page := c.Get("/security/phone/change").ProveBySent("sms", otherOne).Follow()
			page = page.Submit("/security/phone/change", "country", "CN", "phone", phone).Follow()
			return page, "/security/phone/confirm", []string{"code", s.SentCode(phone)}
		}, "phone_changed"},
		"a new email": {nil, func(s *testkit.Site, c *testkit.Client) (testkit.Reply, string, []string) {
			page := c.Get("/security/email/change").ProveBySent("email", alice).Follow()
			page = page.Submit("/security/email/change", "email", "alice.new@example.com").Follow()
			return page, "/security/email/confirm", []string{"code", s.SentCode("alice.new@example.com")}
		}, "email_changed"},
		"turning off": {func(s *testkit.Site) {
			s.PutPhone(alice, phone)
			s.PutProtection(alice, factor.SMS, policy.SignInScenario)
		}, func(s *testkit.Site, c *testkit.Client) (testkit.Reply, string, []string) {
			page := c.Get("/security/protection/off").Submit("/security/protection/off").Follow().Submit("/verify/send", "method", "sms").Follow()
			return page, "/verify", []string{"code", s.SentCode(phone)}
		}, "protection_off"},
		"removing the phone": {func(s *testkit.Site) { s.PutPhone(alice, phone) }, func(s *testkit.Site, c *testkit.Client) (testkit.Reply, string, []string) {
			page := c.Get("/security/phone/remove").Submit("/security/phone/remove").Follow().Submit("/verify/send", "method", "sms").Follow()
			return page, "/verify", []string{"code", s.SentCode(phone)}
		}, "phone_removed"},
	} {
		for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
			for _, at := range []string{"in turn", "at once"} {
				t.Run(name+" "+at+" "+string(e), func(t *testing.T) {
					t.Parallel()
					s := testkit.NewSite(t, e, nil)
					c := signedIn(s)
					if way.prepare != nil {
						way.prepare(s)
					}
					page, action, fill := way.last(s, c)
					post := func() testkit.Reply { return page.Submit(action, fill...) }
					var got []testkit.Reply
					if at == "in turn" {
						got = []testkit.Reply{post(), post()}
					} else {
						got = make([]testkit.Reply, 2)
						storetest.Parallel(2, func(n int) error { got[n] = post(); return nil })
					}
					done := 0
					for _, r := range got {
						to := r.Header.Get("Location")
						switch {
						case r.StatusCode == http.StatusSeeOther && strings.HasPrefix(to, "/security/") && !strings.Contains(to, "?"):
							done++
						case r.StatusCode == http.StatusSeeOther && strings.HasPrefix(to, "/signin") && at == "at once": // the session has another token by now
						case r.StatusCode < 400 || r.StatusCode >= 500 || !kindly.MatchString(r.Body):
							t.Errorf("%d to %q:\n%s", r.StatusCode, to, r.Body)
						}
					}
					if done != 1 {
						t.Errorf("%d of them count", done)
					}
					n := 0
					for _, m := range s.Messages(alice) {
						if m.Kind == way.kind {
							n++
						}
					}
					if n != 1 {
						t.Errorf("%d notices", n)
					}
				})
			}
		}
	}
}
