package front_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/front/web/page"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const fresh = "gravel teapot orbit nine"

// mailedLink is the path of the link in the newest message of a kind to an
// address; the host must be the configured one.
func mailedLink(t *testing.T, s *testkit.Site, to, kind, prefix string) string {
	t.Helper()
	for _, m := range s.Messages(to) {
		if m.Kind != kind {
			continue
		}
		for _, link := range regexp.MustCompile(`\w+://[^\s"<]+`).FindAllString(m.Text+m.HTML, -1) {
			if !strings.HasPrefix(link, s.URL) {
				t.Errorf("a link to %s", link)
			}
		}
		_, rest, ok := strings.Cut(m.Text, s.URL+prefix)
		if !ok {
			t.Fatalf("no link in %q", m.Text)
		}
		return prefix + strings.Fields(rest)[0]
	}
	t.Fatalf("no %s to %s", kind, to)
	return ""
}

// forgets asks for a link under the name, in a browser that lies about where
// it is.
func forgets(t *testing.T, s *testkit.Site, name string) {
	t.Helper()
	s.Pass(2 * time.Minute)
	c := s.Client()
	c.Header.Set("X-Forwarded-Host", "evil.example")
	c.Header.Set("X-Forwarded-Proto", "https")
	c.Header.Set("Forwarded", "host=evil.example")
	r := c.Request("POST", "/forgot", url.Values{"csrf": {c.CSRF()}, "username": {name}}.Encode())
	home, _ := url.Parse(s.URL)
	for _, cookie := range c.Jar.Cookies(home) {
		r.AddCookie(cookie) // the client keeps them from the other host
	}
	r.Host = "evil.example"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c.Send(r).Want(http.StatusSeeOther)
}

func TestAForgottenPasswordIsResetByTheLinkAndTheSecondFactor(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, e, nil)
			s.Account(alice, testkit.Password)
			app := s.PutApp(alice)
			signed := s.Client()
			signed.SignIn(alice, app)
			says(t, s.Client().Get("/signin"), "/forgot", "Forgot your password?")
			forgets(t, s, alice)
			path := mailedLink(t, s, alice, "reset_link", "/reset/")
			token := strings.TrimPrefix(path, "/reset/")
			signed.Get("/security").Want(http.StatusOK)

			c := s.Client() // a fresh browser
			followed := c.Get(path).Want(http.StatusSeeOther)
			if followed.Header.Get("Location") != "/reset" || followed.Header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("%v", followed.Header)
			}
			begun := followed.Follow().Want(http.StatusOK)
			says(t, begun, "a***@e***.com", "You are not signed in by this")
			saysNot(t, begun, alice)
			ask := begun.Submit("/reset").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
			says(t, ask, "Show that it is you", "a***@e***.com")
			saysNot(t, ask, alice)
			id := regexp.MustCompile(`name="c" value="([^"]*)"`).FindStringSubmatch(ask.Body)[1]
			c.Get("/reset/password?c=" + id).Want(http.StatusSeeOther)
			c.Post("/reset/password", url.Values{"csrf": {c.CSRF()}, "c": {id}, "new_password": {fresh}}).Want(http.StatusSeeOther)
			c.Get("/reset/methods?c=" + id).Want(http.StatusOK)
			ask.Submit("/reset/verify", "code", app.WrongCode()).Want(http.StatusUnauthorized)
			s.Pass(30 * time.Second)
			form := ask.Submit("/reset/verify", "code", app.Code(0)).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
			says(t, form, alice, "every session and every remembered device ends")
			form.Submit("/reset/password", "new_password", "short").Want(http.StatusUnprocessableEntity)
			done := form.Submit("/reset/password", "new_password", fresh).Want(http.StatusSeeOther)
			if done.Header.Get("Location") != "/signin" {
				t.Errorf("it leads to %s", done.Header.Get("Location"))
			}
			says(t, done.Follow(), "Your password is set. Sign in with it.")

			home, _ := url.Parse(s.URL)
			for _, cookie := range c.Jar.Cookies(home) {
				if strings.Contains(cookie.Name, "_"+page.CookieSession) || strings.Contains(cookie.Value, token) {
					t.Errorf("cookie %s is left", cookie.Name)
				}
			}
			for _, body := range c.Seen {
				if strings.Contains(body, token) {
					t.Error("the token is on a page")
				}
			}
			signed.Get("/security").Want(http.StatusSeeOther)
			c.Get(path).Want(http.StatusGone)
			c.Get("/reset").Want(http.StatusGone)
			c.Post("/reset/password", url.Values{"csrf": {c.CSRF()}, "c": {id}, "new_password": {fresh + "x"}}).Want(http.StatusGone)
			c.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Want(http.StatusUnauthorized)
			s.Pass(30 * time.Second)
			r := c.Get("/signin").Submit("/signin", "username", alice, "password", fresh).Want(http.StatusSeeOther)
			if r.Header.Get("Location") == "/security" {
				t.Error("the second step is gone")
			}
			c.Get(r.Header.Get("Location")).Submit("/signin/verify", "code", app.Code(0)).Want(http.StatusSeeOther)
			if strings.Contains(s.Logs.String(), token) {
				t.Error("the token is in the log")
			}
		})
	}
}

func TestAUserResetsThroughTheSecurityEmailOrAsksItsAdministrator(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	owner := s.Identity(alice)
	bob := user(s, owner, "bob", account.User)
	c := s.Client()
	says(t, c.Get(door(owner.Account)), "/forgot?domain="+string(owner.Account))
	ask := func() testkit.Reply {
		s.Pass(2 * time.Minute)
		return c.Get("/forgot?domain="+string(owner.Account)).Submit("/forgot", "username", "bob").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	}
	says(t, ask(), "Look into your mailbox", "ask an administrator of your account", door(owner.Account))
	if got := s.Messages("bob@box.example"); len(got) != 0 {
		t.Error("a link to nobody")
	}
	s.Put(func(tx *store.Tx) error {
		return tx.BindSecurityEmail(bob.Account, bob.ID, "", store.SecurityEmail{ID: "box", Address: "bob@box.example"}, store.ErrNoRow)
	})
	ask()
	done := c.Get(mailedLink(t, s, "bob@box.example", "reset_link", "/reset/")).Follow().Submit("/reset").Follow().Want(http.StatusOK).Submit("/reset/password", "new_password", fresh).Want(http.StatusSeeOther)
	if !strings.HasPrefix(done.Header.Get("Location"), "/signin/ram/") {
		t.Errorf("it leads to %s", done.Header.Get("Location"))
	}
	if m := s.Messages("bob@box.example")[0]; m.Kind != string(message.PasswordReset) {
		t.Errorf("the newest is %s", m.Kind)
	}
}

// user adds a RAM user straight in the store, who signs in by the password.
func user(s *testkit.Site, owner account.Identity, name string, role account.Role) account.Identity {
	s.T.Helper()
	id, err := s.DB.NewID()
	if err != nil {
		s.T.Fatal(err)
	}
	i := account.Identity{ID: account.IdentityID(id), Account: owner.Account, Role: role, UserName: name, PasswordHash: owner.PasswordHash, PasswordChangedAt: s.Now(), PasswordAlone: true, Epoch: 1, CreatedAt: s.Now()}
	s.Put(func(tx *store.Tx) error {
		settings, err := tx.Settings(owner.Account)
		if err != nil {
			return err
		}
		settings.MFAOperation = account.Independent
		if err := tx.SetSettings(owner.Account, settings); err != nil {
			return err
		}
		if err := tx.AddUser(i); err != nil {
			return err
		}
		return tx.SetProfile(i.Account, i.ID, account.Profile{State: account.ProfileActive})
	})
	i, err = s.DB.Read(s.T.Context()).Identity(i.ID)
	if err != nil {
		s.T.Fatal(err)
	}
	return i
}

// Not in parallel: it measures.
func TestEveryNameIsAnsweredAlikeByTheForgottenPassword(t *testing.T) {
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			s := testkit.NewSite(t, e, nil)
			s.Account(alice, testkit.Password)
			var bodies []string
			for _, who := range []string{alice, "alicf@example.com", "bob@nowhere.ram.localhost"} {
				c := s.Client()
				got := c.Get("/forgot").Submit("/forgot", "username", who).Want(http.StatusSeeOther)
				bodies = append(bodies, got.Header.Get("Location")+masked(got.Follow().Want(http.StatusOK).Body))
			}
			if bodies[0] != bodies[1] || bodies[1] != bodies[2] {
				t.Errorf("%q\n%q\n%q", bodies[0], bodies[1], bodies[2])
			}
			takesAsLong(t, s, alice, "alicf@example.com")
		})
	}
}

// takesAsLong checks that a link is asked for as quickly under a name that is
// known as under one that is not. What else the machine does makes some of them
// slow; the quickest quarter says what they take. A difference that is there
// stays when more are asked for.
func takesAsLong(t *testing.T, s *testkit.Site, names ...string) {
	t.Helper()
	const pairs, rounds = 120, 3
	c := s.Client()
	csrf := c.CSRF()
	times := map[string][]time.Duration{}
	for round := 1; ; round++ {
		sent := len(s.Messages(names[0]))
		for range pairs {
			s.Pass(15 * time.Minute) // each time a link is sent: the limits do not level it
			slices.Reverse(names)
			for _, name := range names {
				started := time.Now()
				c.Post("/forgot", url.Values{"csrf": {csrf}, "username": {name}}).Want(http.StatusSeeOther)
				times[name] = append(times[name], time.Since(started))
			}
		}
		if n := len(s.Messages(names[0])) - sent; n != pairs {
			t.Fatalf("%d links of %d were sent: nothing is compared", n, pairs)
		}
		takes := func(name string) time.Duration {
			slices.Sort(times[name])
			return times[name][len(times[name])/4]
		}
		known, unknown := takes(names[0]), takes(names[1])
		difference := (known - unknown).Abs()
		t.Logf("quarters of %d: known %s, unknown %s, difference %s (%.1f %%)", len(times[names[0]]), known, unknown, difference, 100*float64(difference)/float64(known))
		if difference <= known/4 { // the race detector makes every row that one of them adds dear
			return
		}
		if round == rounds {
			t.Fatalf("known names take %s, unknown ones %s", known, unknown)
		}
	}
}

// Programs open the links in mails: they follow what leads on, keep cookies,
// and change nothing.
func TestAScannerThatOpensTheLinksChangesNothing(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	c.Bind(alice)
	forgets(t, s, alice)
	paths := []string{mailedLink(t, s, alice, "reset_link", "/reset/"), mailedLink(t, s, alice, string(message.DeviceBound), "/notme/"), "/notme", "/notme?done=1"}
	d := newDump(t, s)
	before := d.read(t)
	scanner := s.Client()
	for range 3 {
		for _, path := range paths {
			for _, method := range []string{"HEAD", "GET", "OPTIONS"} {
				got := scanner.Send(scanner.Request(method, path, ""))
				for range 5 {
					to := got.Header.Get("Location")
					if got.StatusCode != http.StatusSeeOther {
						break
					}
					got = scanner.Get(to)
				}
				if got.StatusCode >= 500 {
					t.Errorf("%s %s: %d", method, path, got.StatusCode)
				}
			}
			scanner.Post(path, nil) // without the token of the form
		}
	}
	if lines := changed(before, d.read(t)); len(lines) > 0 {
		t.Errorf("changed:\n%s", strings.Join(lines, "\n"))
	}
	c.Get("/security").Want(http.StatusOK)
}

func TestThisWasntMeEndsEverythingOnceAndGivesNothing(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, e, nil)
			c := signedIn(s)
			app, _ := c.Bind(alice)
			path := mailedLink(t, s, alice, string(message.DeviceBound), "/notme/")
			fresh := s.Client()
			shown := fresh.Get(path).Want(http.StatusOK)
			says(t, shown, "Was this you?", "a***@e***.com", "A virtual MFA device was bound to a***@e***.com", "127.0.0.1")
			saysNot(t, shown, alice)
			says(t, fresh.Get("/notme").Want(http.StatusOK), "Nothing was changed")
			fresh.Post(path, url.Values{"csrf": {"x"}}).Want(http.StatusForbidden)
			c.Get("/security").Want(http.StatusOK)

			done := shown.Submit(path).Want(http.StatusSeeOther)
			says(t, done.Follow().Want(http.StatusOK), "You are signed out everywhere")
			home, _ := url.Parse(s.URL)
			for _, cookie := range fresh.Jar.Cookies(home) {
				if strings.HasSuffix(cookie.Name, "_"+page.CookieSession) {
					t.Error("a session was given")
				}
			}
			fresh.Get("/security").Want(http.StatusSeeOther)
			c.Get("/security").Want(http.StatusSeeOther)
			for range 2 {
				shown.Submit(path).Want(http.StatusGone)
				says(t, fresh.Get(path).Want(http.StatusGone), "This link was used already")
			}
			if m := s.Messages(alice)[0]; m.Kind != string(message.Secured) || strings.Contains(m.Text, "/notme/") {
				t.Errorf("%s: %s", m.Kind, m.Text)
			}

			// The way back: password, app, a new password, the check.
			s.Pass(time.Minute)
			r := fresh.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Want(http.StatusSeeOther)
			r = fresh.Get(r.Header.Get("Location")).Submit("/signin/verify", "code", app.Code(0)).Want(http.StatusSeeOther)
			form := r.Follow().Want(http.StatusOK)
			says(t, form, "Somebody else may know your password")
			fresh.Get("/security").Want(http.StatusSeeOther)
			form.Submit("/signin/password", "new_password", testkit.Password).Want(http.StatusUnprocessableEntity)
			r = form.Submit("/signin/password", "new_password", "another teapot in orbit").Want(http.StatusSeeOther)
			if !strings.HasPrefix(r.Header.Get("Location"), "/security/check?") {
				t.Fatalf("it lands on %s", r.Header.Get("Location"))
			}
			check := r.Follow().Want(http.StatusOK)
			says(t, check, "These are all mine", "/security/virtual-mfa", "/security/email", "/security/sessions", "/security/history")
			r = check.Submit("/security/check").Want(http.StatusSeeOther)
			says(t, r.Follow().Want(http.StatusOK), "Everything was looked through")
			saysNot(t, fresh.Get("/security/check").Want(http.StatusOK), "These are all mine")
			fresh.Post("/security/check", url.Values{"csrf": {fresh.CSRF()}}).Want(http.StatusSeeOther)
		})
	}
}

// An owner who has nothing but the mailbox shows it; a user who has nothing
// waits for an administrator.
func TestWhoHasOnlyAPasswordAfterThisWasntMe(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	owner := s.Identity(alice)
	bob := user(s, owner, "bob", account.User)
	s.Put(func(tx *store.Tx) error {
		if err := tx.Distrust(bob.ID); err != nil {
			return err
		}
		return tx.Distrust(owner.ID)
	})
	c := s.Client()
	r := c.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Want(http.StatusSeeOther)
	form := r.ProveBySent(string(factor.Email), alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	r = form.Submit("/signin/password", "new_password", fresh).Want(http.StatusSeeOther)
	if !strings.HasPrefix(r.Header.Get("Location"), "/security/check?") {
		t.Errorf("it lands on %s", r.Header.Get("Location"))
	}
	u := s.Client()
	refused := u.Get(door(bob.Account)).Submit(door(bob.Account), "username", "bob", "password", testkit.Password).Want(http.StatusForbidden)
	says(t, refused, "ask an administrator of your account")
	if got := post(s.Client(), "/api/v1/signin", `{"username":"bob@`+string(bob.Account)+`","password":"`+testkit.Password+`"}`); got.StatusCode != http.StatusForbidden || !strings.Contains(got.Body, policy.ErrDistrusted.Code) {
		t.Errorf("the API: %d %s", got.StatusCode, got.Body)
	}
	s.Put(func(tx *store.Tx) error { return tx.SetUserPassword(bob, owner.PasswordHash, true, 0) }) // by an administrator
	u.Get(door(bob.Account)).Submit(door(bob.Account), "username", "bob", "password", testkit.Password).Want(http.StatusSeeOther)
}
