package front_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

var activationLink = regexp.MustCompile(`/activate/[A-Za-z0-9_-]+`)

// activationOf is the path of the link in the newest message to a number.
func activationOf(t *testing.T, s *testkit.Site, number string) string {
	t.Helper()
	for _, m := range s.Messages(number) {
		if path := activationLink.FindString(m.Text); path != "" {
			return path
		}
	}
	t.Fatalf("no link was sent to %s: %+v", number, s.Messages(""))
	return ""
}

// sendsActivation has the owner send a link to a number.
func sendsActivation(c *testkit.Client, u account.Identity, fill ...string) testkit.Reply {
	c.T.Helper()
	path := "/console/users/" + string(u.ID) + "/phone"
	r := c.Get(path).Want(http.StatusOK).Submit(path, fill...)
	if _, ok := toVerify(r); ok {
		r = r.ProveBySent("email", alice)
	}
	return r
}

func TestAnAdministratorsLinkMakesAPhoneTheSecurityPhone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		number := "+8613800138000"
		uma := staffed(s, "uma")
		boss := as(s, s.Identity(alice), factor.Email)
		tab := "/console/users/" + string(uma.ID) + "/authentication"
		says(t, boss.Get(tab).Want(http.StatusOK), "Security phone", "Send activation link")
		path := "/console/users/" + string(uma.ID) + "/phone"
		says(t, boss.Get(path).Submit(path, "country", "CN", "phone", "12").Want(http.StatusUnprocessableEntity), "phone number of the country")
		says(t, sendsActivation(boss, uma, "country", "CN", "phone", "138 0013 8000").Want(http.StatusSeeOther).Follow(), "on its way", "Pending", "138****00", "link sent by "+alice)
		first := activationOf(t, s, number)
		if m := s.Messages(number)[0]; !strings.Contains(m.Text, s.URL+first) || strings.Contains(m.Text, "uma@") {
			t.Errorf("sent %q", m.Text)
		}

		// A program that looks at the link changes nothing.
		before := standing(t, s, uma.Account)
		phone := s.Client()
		for range 3 {
			shows := phone.Get(first).Want(http.StatusOK)
			says(t, shows, "Activate this phone", "138****00", "u***@")
			saysNot(t, shows, "uma@", "13800138000")
			if shows.Header.Get("Referrer-Policy") == "" {
				t.Error("the link goes on in the Referer")
			}
		}
		if after := standing(t, s, uma.Account); after != before {
			t.Errorf("a look changed\n%s\nto\n%s", before, after)
		}
		if got := phone.Post(first, url.Values{}); got.StatusCode == http.StatusSeeOther {
			t.Error("activated without the token of the form")
		}

		// Sent again, the one before is void; it must wait.
		says(t, sendsActivation(boss, uma, "resend", "1").Want(http.StatusTooManyRequests), "wait")
		s.Pass(2 * time.Minute)
		sendsActivation(boss, uma, "resend", "1").Want(http.StatusSeeOther)
		second := activationOf(t, s, number)
		says(t, phone.Get(first).Want(http.StatusGone), "a newer one was sent")

		// The session of the user ends, and the phone is one at the next sign-in.
		away := as(s, uma)
		done := phone.Get(second).Submit(second).Want(http.StatusSeeOther)
		if to := done.Header.Get("Location"); to != "/activated" {
			t.Errorf("leads to %s", to)
		}
		says(t, done.Follow().Want(http.StatusOK), "The phone is activated")
		away.Get("/security").Want(http.StatusSeeOther)
		phone.Get("/security").Want(http.StatusSeeOther) // nobody is signed in by it
		for _, again := range []testkit.Reply{phone.Get(second), phone.Post(second, url.Values{"csrf": {phone.CSRF()}})} {
			says(t, again.Want(http.StatusGone), "it was used")
		}
		if m := s.Messages(uma.Email); len(m) == 0 || m[0].Kind != "phone_attached" {
			t.Errorf("the user was not told: %+v", m)
		}
		says(t, boss.Get(tab), "138****00", "Text message")
		boss.Get(path).Want(http.StatusConflict) // unbind it first
		c := s.Client()
		at := atDoor(c, door(uma.Account), "uma", testkit.Password).Want(http.StatusSeeOther)
		at.ProveBySent("sms", number).Want(http.StatusSeeOther)
		says(t, c.Get("/security/history"), "Phone 138****00 activated by its link")
	})
}

func TestAnActivationLinkOfADayAgoOrToNobodyDoesNothing(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		number := "+8613800138000"
		uma := staffed(s, "uma")
		boss := as(s, s.Identity(alice), factor.Email)
		sendsActivation(boss, uma, "country", "CN", "phone", "138 0013 8000").Want(http.StatusSeeOther)
		link := activationOf(t, s, number)
		c := s.Client()
		form := c.Get(link).Want(http.StatusOK)
		for _, path := range []string{"/activate/x", "/activate/" + strings.Repeat("A", 43), link + "x", "/activate/%00"} {
			if got := c.Get(path); got.StatusCode != http.StatusGone && got.StatusCode != http.StatusNotFound && got.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %d", path, got.StatusCode)
			}
		}
		settle(s, func(n *account.Settings) { n.AllowSMS = false }) // switched off since
		form.Submit(link).Want(http.StatusGone)
		settle(s, func(n *account.Settings) { n.AllowSMS = true })
		s.Pass(24*time.Hour - time.Minute)
		form = c.Get(link).Want(http.StatusOK)
		s.Pass(time.Minute)
		for _, got := range []testkit.Reply{form.Submit(link), c.Get(link)} {
			says(t, got.Want(http.StatusGone), "has expired")
		}
		if f, err := s.DB.Read(t.Context()).Facts(uma, nil); err != nil || f.Phone {
			t.Errorf("attached: %v, %v", f.Phone, err)
		}
		says(t, as(s, s.Identity(alice), factor.Email).Get("/console/users/"+string(uma.ID)+"/authentication"), "The link has expired.")
		s.Put(func(tx *store.Tx) error { return tx.DeleteUser(uma.Account, uma.ID) })
		says(t, c.Get(link).Want(http.StatusGone), "does not work")
	})
}
