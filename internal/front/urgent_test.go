package front_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// heard counts the notices of each kind that went to an address or number.
func heard(s *testkit.Site, to string) map[string]int {
	counted := map[string]int{}
	for _, m := range s.Messages(to) {
		if m.Kind != "code" {
			counted[m.Kind]++
		}
	}
	return counted
}

// Whoever holds the mailbox must not be the only one to hear of it.
func TestWhatIsUrgentIsTextedToTheAttachedPhoneOnce(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		once := func(kind string) {
			t.Helper()
			for _, to := range []string{alice, phone} {
				if n := heard(s, to)[kind]; n != 1 {
					t.Errorf("%s: %d notices to %s: %v", kind, n, to, heard(s, to))
				}
			}
			for _, m := range s.Messages(phone) {
				if m.Kind == kind && (m.Channel != message.SMS || m.Text == "" || m.Subject != "" || m.HTML != "") {
					t.Errorf("%s is no text message: %+v", kind, m)
				}
			}
		}
		page := c.Get("/security/virtual-mfa/bind").ProveBySent("sms", phone).Follow().Want(http.StatusOK)
		app := page.App()
		page.Submit("/security/virtual-mfa/bind", "code", app.WrongCode(), "code2", app.WrongCode()).Want(http.StatusUnauthorized)
		if n := len(heard(s, phone)); n != 0 {
			t.Errorf("a wrong code is told of: %v", heard(s, phone))
		}
		page.Submit("/security/virtual-mfa/bind", "code", app.Code(-1), "code2", app.Code(0)).Want(http.StatusSeeOther)
		once("device_bound")
		c.Get("/security/password").Want(http.StatusOK).Submit("/security/password", "password", testkit.Password, "new_password", "walrus teapot hinges fog").Want(http.StatusSeeOther)
		once("password_changed")
		s.Pass(11 * time.Minute)
		c.Get("/security/virtual-mfa/unbind").ProveByApp(app).Follow().Want(http.StatusOK).Submit("/security/virtual-mfa/unbind").Want(http.StatusSeeOther)
		once("device_unbound")
		choosing(c, "sms").ProveBySent("sms", phone).Want(http.StatusSeeOther)
		s.Pass(time.Minute)
		choose(c, "sms", "manage-mfa").Submit("/security/protection/confirm").ProveBySent("sms", phone).Want(http.StatusSeeOther)
		once("protection_changed")
		s.Pass(time.Hour)
		c = s.Client()
		c.Get("/signin").Submit("/signin", "username", alice, "password", "walrus teapot hinges fog").Want(http.StatusSeeOther)
		posting(c, "/security/protection/off").ProveBySent("sms", phone).Want(http.StatusSeeOther)
		once("protection_off")
		page = c.Get("/security/email/change").ProveBySent("sms", phone).Follow().Submit("/security/email/change", "email", "next@example.com").Follow()
		page.Submit("/security/email/confirm", "code", s.SentCode("next@example.com")).Want(http.StatusSeeOther)
		once("email_changed")
		if n := heard(s, "next@example.com")["email_changed"]; n != 1 {
			t.Errorf("the new address is told %d times", n)
		}
		for kind := range heard(s, phone) {
			if !message.Kind(kind).Urgent() {
				t.Errorf("%s goes to the phone", kind)
			}
		}
	})
}

func TestARecoveryCodeThatIsUsedIsTextedToTheAttachedPhone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		s.PutPhone(alice, phone)
		s.PutProtection(alice, factor.SMS, policy.SignInScenario)
		codes := s.PutCodes(alice)
		c := s.Client()
		to := c.SignIn(alice, nil)
		c.Get(to.Header.Get("Location")+"&method=recovery_code").Submit("/signin/verify", "code", codes[3]).Want(http.StatusSeeOther)
		for _, to := range []string{alice, phone} {
			if n := heard(s, to)["recovery_code_used"]; n != 1 {
				t.Errorf("%s heard %v", to, heard(s, to))
			}
		}
	})
}

// No message goes where none may go, and nobody else's phone hears of it.
func TestNoNoticeIsTextedWhereNoneMayGo(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *config.Config){
		"the country is closed": func(c *config.Config) { c.SMS.Countries = []string{"JP"} },
		"no provider":           func(c *config.Config) { c.Dev = false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, storetest.SQLite, change)
			s.Account(alice, testkit.Password)
			s.PutPhone(alice, phone)
			c := s.Client()
			c.SignIn(alice, s.PutApp(alice))
			c.Get("/security/password").Want(http.StatusOK).Submit("/security/password", "password", testkit.Password, "new_password", "walrus teapot hinges fog").Want(http.StatusSeeOther)
			if n := heard(s, alice)["password_changed"]; n != 1 {
				t.Errorf("by mail: %d", n)
			}
			if slices.ContainsFunc(s.Messages(""), func(m message.Message) bool { return m.Channel == message.SMS }) {
				t.Errorf("texted: %v", heard(s, phone))
			}
		})
	}
}

// Nobody can make a phone ring all day: ten notices, and the rest by mail alone.
func TestAPhoneHearsOfTenThingsADay(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	s.PutPhone(alice, phone)
	page := c.Get("/security/password").ProveBySent("sms", phone).Follow()
	old, next := testkit.Password, "walrus teapot hinges fog"
	for range 12 {
		page.Submit("/security/password", "password", old, "new_password", next).Want(http.StatusSeeOther)
		page, old, next = c.Get("/security/password").Want(http.StatusOK), next, old
	}
	if texts, mails := heard(s, phone)["password_changed"], heard(s, alice)["password_changed"]; texts != 10 || mails != 12 {
		t.Errorf("%d text messages, %d mails", texts, mails)
	}
	s.Pass(24 * time.Hour)
	c = s.Client()
	c.Get("/signin").Submit("/signin", "username", alice, "password", old).Want(http.StatusSeeOther)
	c.Get("/security/password").ProveBySent("sms", phone).Follow().Submit("/security/password", "password", old, "new_password", next).Want(http.StatusSeeOther)
	if texts := heard(s, phone)["password_changed"]; texts != 11 {
		t.Errorf("%d text messages on the next day", texts)
	}
}
