package front_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// Whoever knows the password has codes sent until no more go out: the owner's
// own browser is not stopped by that.
func TestTenSendsOfUnknownBrowsersLeaveTheKnownOneAbleToSend(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		s.PutPhone(alice, phone)
		s.PutProtection(alice, factor.SMS, policy.SignInScenario)
		send := func(c *testkit.Client) testkit.Reply {
			t.Helper()
			return c.SignIn(alice, nil).Follow().Submit("/signin/verify/send", "method", "sms")
		}
		owner, second := s.Client(), s.Client()
		for _, c := range []*testkit.Client{owner, second} {
			send(c).Want(http.StatusSeeOther).Follow().Submit("/signin/verify", "code", s.SentCode(phone)).Want(http.StatusSeeOther)
			c.Get("/security").Want(http.StatusOK).Submit("/signout")
		}
		s.Pass(24 * time.Hour)
		for n := range 12 {
			want := http.StatusSeeOther
			if n == 5 || n == 11 { // of an hour, of a day
				want = http.StatusTooManyRequests
			}
			send(s.Client()).Want(want)
			if n == 5 {
				s.Pass(time.Hour)
			}
		}
		before := len(s.Messages(phone))
		page := send(owner).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		page.Submit("/signin/verify", "code", s.SentCode(phone)).Want(http.StatusSeeOther)
		owner.Get("/security").Want(http.StatusOK)
		if n := len(s.Messages(phone)); n != before+1 {
			t.Errorf("%d messages", n-before)
		}
		for range 4 { // its own count is no longer one
			send(owner).Want(http.StatusSeeOther)
		}
		send(owner).Want(http.StatusTooManyRequests)
		send(second).Want(http.StatusSeeOther) // nor does one known browser stop another
		// A browser that is known to somebody else is unknown here.
		s.Account(bob, testkit.Password)
		stranger := s.Client()
		stranger.SignIn(bob, nil)
		stranger.Get("/security").Submit("/signout")
		send(stranger).Want(http.StatusTooManyRequests)
	})
}

// No answer waits for the mail to be taken, and none says what became of it:
// a taken address gets none. (With nobody to deliver, whoever waits does so to
// the end.)
func TestNeitherTimeNorPageTellsWhetherAnAddressIsTaken(t *testing.T) {
	const taken, free, patience = "bobby@example.com", "nobod@example.com", 3 * time.Second // as long as one another
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, e, nil)
			s.Account(taken, testkit.Password)
			c := signedIn(s)
			form := c.Get("/security/email/change").ProveBySent("email", alice).Follow().Want(http.StatusOK)
			phones := c.Get("/security/phone/change").Want(http.StatusOK)
			s.SignIn.Sending.Patience = patience
			longest := time.Duration(0)
			timed := func(ask func() testkit.Reply) testkit.Reply {
				t.Helper()
				started := time.Now()
				r := ask()
				longest = max(longest, time.Since(started))
				return r
			}
			pages := map[string][]string{}
			for _, to := range []string{free, taken} {
				page := timed(func() testkit.Reply { return form.Submit("/security/email/change", "email", to) }).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
				id := page.Request.URL.Query().Get("c")
				see := func(r testkit.Reply) {
					pages[to] = append(pages[to], strings.ReplaceAll(strings.ReplaceAll(masked(r.Body), id, "ID"), to, "ADDRESS"))
				}
				see(page)
				for range 3 {
					if to == free { // as when its mail server is slow, and then does not know the address
						waits(t, s, to)
						see(page.Again())
						dies(t, s, to)
					} else {
						see(page.Again())
					}
					see(page.Again()) // not even the wait for another one is given back
					see(page.Submit("/security/email/confirm/send").Want(http.StatusTooManyRequests))
					s.Pass(time.Minute)
					see(page.Again())
					page = timed(func() testkit.Reply { return page.Submit("/security/email/confirm/send") }).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
					see(page)
				}
			}
			if longest >= patience {
				t.Errorf("an answer took %s", longest)
			}
			for n, want := range pages[free] {
				if pages[taken][n] != want {
					t.Errorf("page %d of a taken address looks otherwise:\n%s\n%s", n, want, pages[taken][n])
				}
			}
			if n := len(s.Messages(taken)); n != 1 {
				t.Errorf("%d mails to its owner", n)
			}
			longest = 0
			timed(func() testkit.Reply {
				return phones.Submit("/security/phone/change", "country", "CN", "phone", phone)
			}).Want(http.StatusSeeOther)
			if longest < patience { // or this test shows nothing
				t.Errorf("a text message was waited for only %s", longest)
			}
		})
	}
}

// Ten in one ceremony, whatever became of them; another one starts at none.
func TestAtMostTenMessagesAreSentInOneCeremonyEvenIfAllOfThemDie(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.PutPhone(alice, phone)
		page := c.Get("/security/password").Follow().Want(http.StatusOK)
		for n := range 12 {
			want := http.StatusSeeOther
			if n >= 10 {
				want = http.StatusTooManyRequests
			}
			page.Submit("/verify/send", "method", "sms").Want(want)
			if n < 10 {
				dies(t, s, phone)
			}
		}
		if n := len(s.Messages(phone)); n != 10 {
			t.Errorf("%d messages", n)
		}
		c.Get("/security/email/change").ProveBySent("sms", phone).Want(http.StatusSeeOther)
		s.Pass(10 * time.Minute) // and that one is over
		c.Get("/security/password").ProveBySent("sms", phone).Want(http.StatusSeeOther)
	})
}
