package front_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

var recoveryCode = regexp.MustCompile(`<li>[0-9A-Z]{7}-[0-9A-Z]{7}</li>`)

// number is the phone that is attached, empty where none is.
func number(t *testing.T, s *testkit.Site, email string) string {
	t.Helper()
	i := s.Identity(email)
	f, err := s.DB.Read(t.Context()).Facts(i, nil)
	if err != nil || !f.Phone {
		return ""
	}
	p, err := s.DB.Read(t.Context()).Phone(i.Account, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	return string(p.Number)
}

func TestAPhoneIsAttachedChangedAndRemoved(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		page := c.Get("/security/phone/change").ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		page = page.Submit("/security/phone/change", "country", "CN", "phone", "138-0013-8000").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, page, "+86 138 0013 8000", "Not received?", "Use another number")
		if number(t, s, alice) != "" {
			t.Error("attached before it has answered")
		}
		page = page.Submit("/security/phone/confirm", "code", s.SentCode(phone)).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, page, "Your phone is attached.", "Each code signs you in once if your phone is lost.", "They are shown only now.")
		if at, shown := page.Request.URL.Path, len(recoveryCode.FindAllString(page.Body, -1)); at != "/security/recovery-codes/new" || shown != 10 {
			t.Errorf("the first phone leads to %s with %d recovery codes", at, shown)
		}
		page = page.Submit("/security/recovery-codes/saved", "saved", "1").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, c.Get("/security/phone"), masked138)
		told(t, s, alice, "phone_attached")
		told(t, s, phone, "phone_attached")

		s.Pass(11 * time.Minute)
		other := s.Client()
		other.SignIn(alice, nil)
		page = c.Get("/security/phone/change").ProveBySent("sms", phone).Follow().Want(http.StatusOK)
		says(t, page, masked138+" stays in force until the new number has answered.")
		page.Submit("/security/phone/change", "country", "CN", "phone", phone).Want(http.StatusConflict)
		page = page.Submit("/security/phone/change", "country", "CN", "phone", "139 0013 9000").Follow().Want(http.StatusOK)
		says(t, page, "+86 139 0013 9000", masked138+" stays in force until you have entered it.")
		if number(t, s, alice) != phone {
			t.Error("the old number is gone before the new one has answered")
		}
		page.Submit("/security/phone/confirm", "code", wrongOf(s.SentCode(otherOne))).Want(http.StatusUnauthorized)
		says(t, c.Get("/security/phone"), masked138)
		done := page.Submit("/security/phone/confirm", "code", s.SentCode(otherOne)).Want(http.StatusSeeOther).Follow()
		says(t, done, "139****00")
		saysNot(t, done, "They are shown only now.") // the codes of the first phone go on
		if number(t, s, alice) != otherOne {
			t.Error("the new number does not count")
		}
		told(t, s, alice, "phone_changed")
		told(t, s, phone, "phone_changed")
		told(t, s, otherOne, "phone_changed")
		if to := other.Get("/security").Header.Get("Location"); to != "/signin" {
			t.Errorf("the other session lives on, at %q", to)
		}

		s.Pass(11 * time.Minute)
		done = c.Get("/security/phone/remove").Want(http.StatusOK).Submit("/security/phone/remove").ProveBySent("sms", otherOne).Want(http.StatusSeeOther).Follow()
		says(t, done, "The phone was removed.")
		if number(t, s, alice) != "" {
			t.Error("the phone is still attached")
		}
		told(t, s, alice, "phone_removed")
		told(t, s, otherOne, "phone_removed")
		s.PutPhone(alice, phone)
		s.PutProtection(alice, factor.SMS, policy.SignInScenario)
		if to := c.Get("/security/phone/remove").Want(http.StatusSeeOther).Header.Get("Location"); to != "/security/phone" {
			t.Errorf("a phone that protects can be removed at %s", to)
		}
		c.Post("/security/phone/remove", url.Values{"csrf": {c.CSRF()}}).Want(http.StatusConflict)
		if number(t, s, alice) != phone {
			t.Error("a phone that protects was removed")
		}
	})
}

func TestTheSignInEmailIsChanged(t *testing.T) {
	const next = "alice.next@example.com"
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		form := c.Get("/security/email/change").ProveBySent("sms", phone).Follow().Want(http.StatusOK)
		says(t, form, "a***@e***.com")
		form.Submit("/security/email/change", "email", "Alice@Example.com").Want(http.StatusConflict)
		says(t, form.Submit("/security/email/change", "email", "no address").Want(http.StatusUnprocessableEntity), `value="no address"`)
		page := form.Submit("/security/email/change", "email", next).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, page, next, "a***@e***.com stays in force until you have entered it.")
		page.Submit("/security/email/confirm", "code", wrongOf(s.SentCode(next))).Want(http.StatusUnauthorized)
		s.Client().SignIn(alice, nil) // the old one signs in until then
		says(t, page.Submit("/security/email/confirm", "code", s.SentCode(next)).Want(http.StatusSeeOther).Follow(), "Your sign-in email was changed.", next)
		told(t, s, alice, "email_changed")
		told(t, s, next, "email_changed")
		told(t, s, phone, "email_changed")
		s.Client().Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Want(http.StatusUnauthorized)
		s.Client().SignIn(next, nil)
		c.Get("/security").Want(http.StatusOK)
	})
}

func TestATakenAddressLooksLikeAnyOtherAndItsOwnerIsTold(t *testing.T) {
	const bob, free = "bobby@example.com", "nobod@example.com" // as long as one another
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(bob, testkit.Password)
		c := signedIn(s)
		form := c.Get("/security/email/change").ProveBySent("email", alice).Follow().Want(http.StatusOK)
		pages := map[string]testkit.Reply{}
		for _, to := range []string{free, bob} {
			pages[to] = form.Submit("/security/email/change", "email", to).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
			s.Pass(time.Minute)
			pages[to+" again"] = pages[to].Submit("/security/email/confirm/send", "method", "email").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
			pages[to+" wrong"] = pages[to].Submit("/security/email/confirm", "code", "123456").Want(http.StatusUnauthorized)
		}
		alike := func(key, to string) string {
			u := pages[key].Request.URL.Query().Get("c")
			body := masked(pages[key].Body)
			if u == "" { // the answer to a POST
				u = pages[to].Request.URL.Query().Get("c")
			}
			return strings.ReplaceAll(strings.ReplaceAll(body, u, "ID"), to, "ADDRESS")
		}
		for _, when := range []string{"", " again", " wrong"} {
			if a, b := alike(free+when, free), alike(bob+when, bob); a != b {
				t.Errorf("a taken address looks otherwise%s:\n%s\n%s", when, a, b)
			}
		}
		var kinds []string
		for _, m := range s.Messages(bob) {
			kinds = append(kinds, m.Kind)
			if codeLike.MatchString(m.Text) {
				t.Errorf("a code went to him: %s", m.Text)
			}
		}
		if len(kinds) != 1 || kinds[0] != "email_known" {
			t.Errorf("he was told %v", kinds)
		}
		if s.Identity(alice).Email != alice || s.Identity(bob).Email != bob {
			t.Error("an address was changed")
		}
	})
}

// What has been typed is there again after a verification that came in between.
func TestWhatWasTypedOutlivesAVerification(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, e, nil)
			c := signedIn(s)
			late := func(form testkit.Reply, action string, fill ...string) testkit.Reply {
				t.Helper()
				s.Pass(11 * time.Minute)
				return form.Submit(action, fill...).ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
			}
			form := c.Get("/security/phone/change").ProveBySent("email", alice).Follow()
			page := late(form, "/security/phone/change", "country", "JP", "phone", "090-1234-5678")
			says(t, page, `<option value="JP" data-example="090-1234-5678" selected>`, `value="+81 90-1234-5678"`)
			if len(s.Messages("+819012345678")) != 0 {
				t.Error("a code went out before the verification")
			}
			page.Submit("/security/phone/change", "country", "JP", "phone", "+81 90-1234-5678").Want(http.StatusSeeOther)
			if len(s.Messages("+819012345678")) != 1 {
				t.Error("no code went out after it")
			}
			s.Pass(time.Hour / 2) // codes per hour and address
			form = c.Get("/security/email/change").ProveBySent("email", alice).Follow()
			page = late(form, "/security/email/change", "email", "alice.next@example.com")
			says(t, page, `value="alice.next@example.com"`)
			if len(s.Messages("alice.next@example.com")) != 0 {
				t.Error("a mail went out before the verification")
			}

			s.Pass(time.Hour / 2)
			c.Get("/security/virtual-mfa/bind").ProveBySent("email", alice).Follow().Want(http.StatusOK)
			s.Pass(6 * time.Minute)
			page = c.Get("/security/virtual-mfa/bind").Want(http.StatusOK) // a new key, which outlives the proof
			s.Pass(5 * time.Minute)
			app := page.App()
			page = page.Submit("/security/virtual-mfa/bind", "code", app.Code(-1), "code2", app.Code(0), "name", "Tablet in the kitchen").ProveBySent("email", alice).Follow().Want(http.StatusOK)
			says(t, page, `value="Tablet in the kitchen"`)
			if string(page.App().Seed) != string(app.Seed) {
				t.Error("the key that was scanned is another one now")
			}
			page.Submit("/security/virtual-mfa/bind", "code", app.Code(-1), "code2", app.Code(0), "name", "Tablet in the kitchen").Want(http.StatusSeeOther)

			summary := choose(c, "virtual_mfa", "change-contact", "sign-in")
			s.Pass(5 * time.Minute)
			result := summary.Submit("/security/protection/confirm").ProveByApp(app).Want(http.StatusSeeOther).Follow() // goes on by itself
			says(t, result, "Account Protection is on as you chose.")
			protected(t, s, alice, factor.VirtualMFA, policy.SignInScenario, policy.ChangeContact)
			s.Pass(time.Minute)
			summary = choose(c, "virtual_mfa", "manage-mfa")
			back := c.Get(strings.Replace(summary.Request.URL.RequestURI(), "/confirm?", "/setup?", 1)).Want(http.StatusOK)
			says(t, back, `value="manage-mfa" aria-describedby="about-manage-mfa" checked`)
			saysNot(t, back, `value="sign-in" aria-describedby="about-sign-in" checked`)
		})
	}
}

// The proof grows old while the code is on its way: the change waits for
// another proof, and is not begun anew.
func TestACodeOnItsWayOutlivesAVerification(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		form := c.Get("/security/phone/change").ProveBySent("email", alice).Follow()
		s.Pass(9 * time.Minute)
		page := form.Submit("/security/phone/change", "country", "CN", "phone", phone).Want(http.StatusSeeOther).Follow()
		code := s.SentCode(phone)
		s.Pass(2 * time.Minute)
		page = page.Submit("/security/phone/confirm", "code", code).ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, page, "+86 138 0013 8000")
		if len(s.Messages(phone)) != 1 || number(t, s, alice) != "" {
			t.Error("something was sent or attached meanwhile")
		}
		page.Submit("/security/phone/confirm", "code", code).Want(http.StatusSeeOther)
		if number(t, s, alice) != phone {
			t.Error("the phone is not attached")
		}

		setup := choose(c, "sms", "sign-in")
		s.Pass(31 * time.Minute) // longer than a choice is kept
		says(t, setup.Submit("/security/protection/confirm").Want(http.StatusGone), "please set up Account Protection again.")
		form = c.Get("/security/protection/setup")
		s.Pass(11 * time.Minute)
		page = form.Submit("/security/protection/setup", "scenario", "sign-in", "scenario", "change-contact", "method", "sms").Want(http.StatusSeeOther).Follow()
		page.Submit("/security/protection/confirm").ProveBySent("sms", phone).Want(http.StatusSeeOther)
		protected(t, s, alice, factor.SMS, policy.SignInScenario, policy.ChangeContact)
	})
}
