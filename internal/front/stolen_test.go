package front_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/testkit"
)

const maskedAlice = "a***@e***.com"

// strengthening are the requests by which whoever holds a session would make
// it their own.
var strengthening = map[string]func(c *testkit.Client) testkit.Reply{
	"binding a device":          func(c *testkit.Client) testkit.Reply { return c.Get("/security/virtual-mfa/bind") },
	"making recovery codes":     func(c *testkit.Client) testkit.Reply { return posting(c, "/security/recovery-codes") },
	"the form of a password":    func(c *testkit.Client) testkit.Reply { return c.Get("/security/password") },
	"the form of an email":      func(c *testkit.Client) testkit.Reply { return c.Get("/security/email/change") },
	"the form of a phone":       func(c *testkit.Client) testkit.Reply { return c.Get("/security/phone/change") },
	"removing the phone":        func(c *testkit.Client) testkit.Reply { return posting(c, "/security/phone/remove") },
	"ending the others":         func(c *testkit.Client) testkit.Reply { return posting(c, "/security/sessions/end-others") },
	"changing the email":        func(c *testkit.Client) testkit.Reply { return posting(c, "/security/email/change", "email", attacker) },
	"protecting by SMS":         func(c *testkit.Client) testkit.Reply { return choosing(c, "sms") },
	"protecting by virtual MFA": func(c *testkit.Client) testkit.Reply { return choosing(c, "virtual_mfa") },
	"changing the phone": func(c *testkit.Client) testkit.Reply {
		return posting(c, "/security/phone/change", "country", "CN", "phone", theirs)
	},
	"changing the password": func(c *testkit.Client) testkit.Reply {
		return posting(c, "/security/password", "password", testkit.Password, "new_password", "walrus teapot hinges fog")
	},
}

func posting(c *testkit.Client, path string, more ...string) testkit.Reply {
	c.T.Helper()
	return c.Post(path, extra(url.Values{"csrf": {c.CSRF()}}, more...))
}

func choosing(c *testkit.Client, method string) testkit.Reply {
	c.T.Helper()
	return choose(c, method, "sign-in").Submit("/security/protection/confirm")
}

// Whoever reads the owner's mail and has a session of theirs must not get past
// the phone.
func TestAStolenMailboxAndAStaleSessionOpenNothingOnceAPhoneIsAttached(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		early := c.Get("/security/virtual-mfa/bind").Follow().Submit("/verify/send", "method", "email").Follow()
		before := s.SentCode(alice)
		c.Get("/security/email/change").ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		s.PutPhone(alice, phone)
		early.Submit("/verify", "code", before).Want(http.StatusForbidden) // a code that was sent before
		if _, ok := toVerify(c.Get("/security/email/change")); !ok {
			t.Error("a proof by mail goes on to count beside the phone")
		}
		s.Pass(11 * time.Minute)
		rows, n := standing(t, s, s.Identity(alice).Account), len(s.Messages(""))
		for name, try := range strengthening {
			to := try(c)
			id, ok := toVerify(to)
			if !ok {
				t.Errorf("%s: %d to %q", name, to.StatusCode, to.Header.Get("Location"))
				continue
			}
			for _, at := range []string{"/verify?c=" + id, "/verify?c=" + id + "&method=email", "/verify/methods?c=" + id} {
				page := c.Get(at).Want(http.StatusOK)
				says(t, page, masked138)
				saysNot(t, page, `name="method" value="email"`, `name="code"`)
				if !strings.HasSuffix(at, "method=email") {
					saysNot(t, page, "method=email")
				}
				if !strings.Contains(name, "email") { // which is about the address
					saysNot(t, page, maskedAlice)
				}
			}
			posting(c, "/verify/send", "c", id, "method", "email").Want(http.StatusForbidden)
			posting(c, "/verify", "c", id, "method", "email", "code", before).Want(http.StatusForbidden)
			posting(c, "/verify", "c", id, "method", "recovery_code", "code", "ABCDEFG-HJKMNPQ").Want(http.StatusForbidden)
			if _, ok := toVerify(try(c)); !ok {
				t.Errorf("%s: open after all", name)
			}
		}
		if sent := len(s.Messages("")) - n; sent != 0 {
			t.Errorf("%d messages went out", sent)
		}
		if after := standing(t, s, s.Identity(alice).Account); after != rows {
			t.Errorf("changed:\n%s\n%s", rows, after)
		}
		c.Get("/security/virtual-mfa/bind").ProveBySent("sms", phone).Want(http.StatusSeeOther).Follow().Want(http.StatusOK).App() // the owner can
	})
}

// Beside a device the phone is the weaker one, as the mailbox is beside the phone.
func TestAStolenPhoneOpensNothingOnceADeviceIsBound(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		app := s.PutApp(alice)
		s.Pass(11 * time.Minute)
		rows, n := standing(t, s, s.Identity(alice).Account), len(s.Messages(""))
		for name, try := range strengthening {
			if strings.HasPrefix(name, "binding") {
				continue // there is one
			}
			id, ok := toVerify(try(c))
			if !ok {
				t.Errorf("%s: open", name)
			}
			saysNot(t, c.Get("/verify/methods?c="+id).Want(http.StatusOK), "method=sms", "method=email")
			for _, m := range []string{"sms", "email"} {
				posting(c, "/verify/send", "c", id, "method", m).Want(http.StatusForbidden)
			}
		}
		if after := standing(t, s, s.Identity(alice).Account); after != rows || len(s.Messages("")) != n {
			t.Errorf("%d messages; changed:\n%s\n%s", len(s.Messages(""))-n, rows, after)
		}
		c.Get("/security/password").ProveByApp(app).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	})
}

// Whoever turns protection on by what is bound shows that they have it: a
// recovery code would lock its owner out.
func TestProtectionByWhatIsBoundTakesNoRecoveryCode(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		codes := s.PutCodes(alice)
		to := choosing(c, "sms")
		id, _ := toVerify(to)
		says(t, c.Get("/verify/methods?c="+id).Want(http.StatusOK), masked138)
		saysNot(t, c.Get("/verify/methods?c="+id), "method=recovery_code")
		posting(c, "/verify", "c", id, "method", "recovery_code", "code", codes[0]).Want(http.StatusForbidden)
		protected(t, s, alice, "")
		// One that was given for something else is of no use either.
		other := c.Get("/security/virtual-mfa/bind")
		c.Get(other.Header.Get("Location")+"&method=recovery_code").Submit("/verify", "code", codes[0]).Want(http.StatusSeeOther)
		if _, ok := toVerify(choosing(c, "sms")); !ok {
			t.Error("a recovery code given to bind a device turns protection on")
		}
		if f := protected(t, s, alice, ""); f.RecoveryCodes != 9 {
			t.Errorf("%d recovery codes are left", f.RecoveryCodes)
		}
		choosing(c, "sms").ProveBySent("sms", phone).Want(http.StatusSeeOther)
		protected(t, s, alice, factor.SMS, policy.SignInScenario)
	})
}

// A proof for replacing the phone is none for taking it off, though both are
// about the same one.
func TestAProofForAnotherActionOnTheSameObjectDestroysNothing(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		c.Get("/security/phone/change").ProveBySent("sms", phone).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		to := posting(c, "/security/phone/remove")
		if _, ok := toVerify(to); !ok || number(t, s, alice) != phone {
			t.Errorf("the phone was taken off: %d to %q", to.StatusCode, to.Header.Get("Location"))
		}
		s.Pass(time.Minute)
		to.ProveBySent("sms", phone).Want(http.StatusSeeOther)
		if number(t, s, alice) != "" {
			t.Error("nor does its own proof")
		}
	})
}

func TestTheFirstPhoneMakesRecoveryCodesUnlessThereAreSome(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		app, page := c.Bind(alice)
		page.Submit("/security/recovery-codes/saved", "saved", "1").Want(http.StatusSeeOther)
		s.Pass(11 * time.Minute)
		rows := standing(t, s, s.Identity(alice).Account)
		form := c.Get("/security/phone/change").ProveByApp(app).Follow().Want(http.StatusOK)
		page = form.Submit("/security/phone/change", "country", "CN", "phone", phone).Follow()
		done := page.Submit("/security/phone/confirm", "code", s.SentCode(phone)).Want(http.StatusSeeOther)
		if to := done.Header.Get("Location"); to != "/security/phone" {
			t.Errorf("sent to %s", to)
		}
		codes := func(rows string) (of string) {
			for line := range strings.Lines(rows) {
				if strings.Contains(line, "FROM recovery_code") {
					of += line
				}
			}
			return of
		}
		if was, is := codes(rows), codes(standing(t, s, s.Identity(alice).Account)); was != is || was == "" {
			t.Errorf("the codes of the device are void:\n%s\n%s", was, is)
		}
	})
}

func TestAtMostFiveSetsOfRecoveryCodesAreMadeInAnHour(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		to := posting(c, "/security/recovery-codes").ProveBySent("sms", phone)
		for n := range 5 {
			if at := to.Want(http.StatusSeeOther).Header.Get("Location"); at != "/security/recovery-codes/new" {
				t.Fatalf("set %d: sent to %q", n+1, at)
			}
			if n < 4 {
				to = posting(c, "/security/recovery-codes")
			}
		}
		last := recoveryCode.FindAllString(c.Get("/security/recovery-codes/new").Want(http.StatusOK).Body, -1)
		told := len(s.Messages(alice))
		for range 2 {
			refused := posting(c, "/security/recovery-codes").Want(http.StatusTooManyRequests)
			says(t, refused, "minutes", "last")
			if refused.Header.Get("Retry-After") == "" {
				t.Error("when to come again is not said")
			}
		}
		again := recoveryCode.FindAllString(c.Get("/security/recovery-codes/new").Want(http.StatusOK).Body, -1)
		if len(last) != 10 || strings.Join(last, "") != strings.Join(again, "") || len(s.Messages(alice)) != told {
			t.Errorf("a refused request has changed the codes, or was told of: %v, %v", last, again)
		}
		s.Pass(50 * time.Minute)
		posting(c, "/security/recovery-codes").ProveBySent("sms", phone).Want(http.StatusTooManyRequests)
		s.Pass(10 * time.Minute)
		posting(c, "/security/recovery-codes").ProveBySent("sms", phone).Want(http.StatusSeeOther)
	})
}

func TestWithoutADeviceThereIsNothingToResynchronise(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		posting(c, "/security/virtual-mfa/resynchronise", "code", "123456", "code2", "654321").Want(http.StatusNotFound)
		s.PutPhone(alice, phone)
		s.Pass(11 * time.Minute)
		posting(c, "/security/virtual-mfa/resynchronise", "code", "123456", "code2", "654321").Want(http.StatusNotFound)
		if n := len(s.Messages("")); n != 0 {
			t.Errorf("%d messages", n)
		}
	})
}
