package front_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// atDoor posts the form of a door.
func atDoor(c *testkit.Client, door, name, password string, more ...string) testkit.Reply {
	c.T.Helper()
	return c.Get(door).Want(http.StatusOK).Submit(door, append(more, "username", name, "password", password)...)
}

// independent leaves MFA to the profiles of alice's account.
func independent(s *testkit.Site) account.Identity {
	s.T.Helper()
	s.Account(alice, testkit.Password)
	settle(s, func(n *account.Settings) { n.MFAOperation = account.Independent })
	return s.Identity(alice)
}

func TestARAMUserSignsInByEveryFormOfTheName(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		putStaff(s, owner, "uma", account.User)
		s.Put(func(tx *store.Tx) error {
			if err := tx.SetAlias(owner.Account, "acme"); err != nil {
				return err
			}
			if err := tx.AddDomainAlias(owner.Account, "acme.example.org", "proof"); err != nil {
				return err
			}
			return tx.AddDomainAlias(owner.Account, "unproved.example.org", "proof")
		})
		s.Put(func(tx *store.Tx) error {
			return tx.VerifyDomainAlias(owner.Account, "acme.example.org", store.ErrNoRow)
		})
		id := string(owner.Account)
		for _, at := range []struct{ door, name string }{
			{"/signin/ram", "uma@acme." + testkit.Suffix}, {"/signin/ram", "uma@acme"}, {"/signin/ram", "uma@" + id}, {"/signin/ram", "uma@" + id + "." + testkit.Suffix}, {"/signin/ram", "uma@acme.example.org"},
			{"/signin/ram", "  UMA@Acme.Example.ORG "}, {"/signin/ram/acme", "uma"}, {"/signin/ram/acme", "Uma"}, {"/signin/ram/acme", "uma@acme"}, {"/signin/ram/acme.example.org", "uma"}, {"/signin/ram/" + id, "uma"},
			{"/signin/ram/acme." + testkit.Suffix, "uma"}, {"/signin/ram/somewhere-else", "uma@acme"}, {"/signin", "uma@acme"}, {"/signin", "uma@acme." + testkit.Suffix},
		} {
			c := s.Client()
			if r := atDoor(c, at.door, at.name, testkit.Password); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/security" {
				t.Errorf("%s at %s: %d to %q", at.name, at.door, r.StatusCode, r.Header.Get("Location"))
			}
			says(t, c.Get("/security").Want(http.StatusOK), "uma@acme."+testkit.Suffix)
		}
		for _, at := range []struct{ door, name string }{
			{"/signin", "uma"}, {"/signin/ram", "uma@unproved.example.org"}, {"/signin/ram/unproved.example.org", "uma"}, {"/signin/ram", "@acme"}, {"/signin/ram", "uma@"}, {"/signin/ram", "uma@@acme"},
			{"/signin/ram", alice}, {"/signin/ram/acme", alice}, {"/signin/ram/acme", "ram:" + id + "/uma"}, {"/signin", "ram:" + id + "/uma"}, {"/signin", "uma@staff.example"}, {"/signin/ram", "uma@staff.example"}, {"/signin/ram/elsewhere", "uma"},
		} {
			says(t, atDoor(s.Client(), at.door, at.name, testkit.Password).Want(http.StatusUnauthorized), "User name or password is wrong.")
		}
		says(t, atDoor(s.Client(), "/signin/ram", "uma", testkit.Password).Want(http.StatusUnprocessableEntity), "Enter your whole user name")
		first := s.Client().Get("/signin/ram")
		says(t, first, "alice@company."+testkit.Suffix, "Sign in as a RAM user", "Sign in with an email address instead", `autocomplete="username webauthn"`)
		says(t, s.Client().Get("/signin/ram/acme"), "Your name alone will do; @acme is added.", "Another account")
		says(t, s.Client().Get("/signin"), `href="/signin/ram`)
	})
}

func TestADoorOfANonsenseAccountIsADoorAllTheSame(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		putStaff(s, independent(s), "uma", account.User)
		logged := len(s.Logs.String())
		for _, suffix := range []string{"%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E", "%00", "%ff%fe", "..%2f..%2fsecurity", "%2F%2Fevil.example", "%5C%5Cevil.example", "javascript:alert(1)", "https:%2F%2Fevil.example", strings.Repeat("a", 5000), strings.Repeat("%F0%9F%98%80", 60),
			"%7B%7B.Password%7D%7D", "%0d%0aSet-Cookie:%20x=y", "ACME", "a%20b", "a'b%22c", "%E2%80%AEemca", "acme;x=y", "1", "-", "%252e%252e", "xn--80ak6aa92e.example", "acme.." + testkit.Suffix} {
			c := s.Client()
			page := c.Get("/signin/ram/" + suffix)
			if page.StatusCode == http.StatusBadRequest {
				continue // no path at all
			}
			page.Want(http.StatusOK)
			at := strings.Index(page.Body, `action="/signin/ram/`)
			if at < 0 || strings.Contains(page.Body, "<script>alert") || page.Header.Get("Set-Cookie") != "" && strings.Contains(page.Header.Get("Set-Cookie"), "x=y") {
				t.Errorf("%.60s: %.3000s", suffix, page.Body)
				continue
			}
			action, _, _ := strings.Cut(page.Body[at+len(`action="`):], `"`)
			for _, name := range []string{"uma", "uma@" + string(s.Identity(alice).Account)} {
				got := page.Submit(strings.ReplaceAll(action, "&#39;", "'"), "username", name, "password", "wrong password of hers")
				s.Pass(15 * time.Minute) // the network's tries are used up
				if got.StatusCode != http.StatusUnauthorized || got.Header.Get("Location") != "" || strings.Contains(got.Body, "<script>alert") {
					t.Errorf("%.60s: %d to %q", suffix, got.StatusCode, got.Header.Get("Location"))
				}
			}
		}
		if logs := s.Logs.String()[logged:]; strings.Contains(logs, "level=ERROR") {
			t.Errorf("the log holds errors:\n%.2000s", logs)
		}
	})
}

func TestTheBrowserKnowsTheDoorThatWasUsedLast(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	owner := independent(s)
	uma := putStaff(s, owner, "uma", account.User)
	domain := string(owner.Account) + "." + testkit.Suffix
	c := s.Client()
	if to := c.Get("/security/history").Header.Get("Location"); to != "/signin?return_to=%2Fsecurity%2Fhistory" {
		t.Errorf("an unknown browser is led to %s", to)
	}
	atDoor(c, "/signin/ram", "uma@"+string(owner.Account), testkit.Password).Want(http.StatusSeeOther)
	c.Post("/signout", url.Values{"csrf": {c.CSRF()}}).Want(http.StatusSeeOther)
	to := c.Get("/security/history").Want(http.StatusSeeOther)
	if to.Header.Get("Location") != "/signin/ram/"+domain+"?return_to=%2Fsecurity%2Fhistory" {
		t.Errorf("the known browser is led to %s", to.Header.Get("Location"))
	}
	says(t, c.Get("/signin/ram"), "@"+domain+" is added")
	saysNot(t, c.Get("/signin/ram?other=1"), "is added")
	if got := atDoor(c, "/signin/ram/"+domain, uma.UserName, testkit.Password, "return_to", "/security/sessions"); got.Header.Get("Location") != "/security/sessions" {
		t.Errorf("signed in, and sent to %s", got.Header.Get("Location"))
	}
	c.Post("/signout", url.Values{"csrf": {c.CSRF()}})
	for _, hostile := range []string{"//evil.example", `x"><script>`, strings.Repeat("a", 4000), "a/../../b", "EVIL", "a b", "%2f", "a\\b"} {
		b := s.Client()
		b.Header.Set("Cookie", "countersign_door="+hostile)
		if to := b.Get("/security").Header.Get("Location"); to != "/signin" {
			t.Errorf("a door of %.30q leads to %q", hostile, to)
		}
		if page := b.Get("/signin/ram").Want(http.StatusOK); strings.Contains(page.Body, "evil") || strings.Contains(page.Body, "is added") {
			t.Errorf("the page knows a door %.30q", hostile)
		}
	}
	c.SignIn(alice, nil) // an owner has another door
	c.Post("/signout", url.Values{"csrf": {c.CSRF()}})
	if to := c.Get("/security").Header.Get("Location"); to != "/signin" {
		t.Errorf("after the owner it leads to %s", to)
	}
}

func TestARAMDoorLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	owner := independent(s)
	putStaff(s, owner, "uma", account.User)
	for _, to := range []string{"//evil.example", `/\evil.example`, "https://evil.example", "/%2f%2fevil.example", "/\t/evil.example", "javascript:alert(1)", "///evil.example", " //evil.example", "evil.example"} {
		c := s.Client()
		page := c.Get(door(owner.Account) + "?return_to=" + url.QueryEscape(to))
		if page.StatusCode == http.StatusOK && strings.Contains(page.Body, "evil") && !strings.Contains(page.Body, "%2fevil") {
			saysNot(t, page, `href="/signin?return_to=//`, `name="return_to" value="//`)
		}
		got := atDoor(c, door(owner.Account), "uma", testkit.Password, "return_to", to)
		base, _ := url.Parse(s.URL)
		if u, err := base.Parse(got.Header.Get("Location")); got.StatusCode == http.StatusSeeOther && (err != nil || u.Host != base.Host || strings.ContainsAny(got.Header.Get("Location"), "\\\t")) {
			t.Errorf("%q leads to %q", to, got.Header.Get("Location"))
		}
	}
}

// The refusals of sign-in, each with what makes it.
var refusals = []struct {
	name   string
	reason string
	user   func(s *testkit.Site, i *account.Identity, p *account.Profile)
	rules  func(*account.Settings)
}{
	{"idleusr", "Console sign-in was switched off because it was not used for a long time.", func(_ *testkit.Site, _ *account.Identity, p *account.Profile) { p.State = account.ProfileIdle }, nil},
	{"barred1", "Console sign-in is switched off for this user.", func(_ *testkit.Site, _ *account.Identity, p *account.Profile) { p.State = account.ProfileInactive }, nil},
	{"expired", "The password you were given has expired.", func(s *testkit.Site, _ *account.Identity, p *account.Profile) {
		p.InitialUntil = s.Now().Add(-time.Second)
	}, nil},
	{"oldpass", "Your password has expired.", func(s *testkit.Site, i *account.Identity, _ *account.Profile) {
		i.PasswordChangedAt = s.Now().Add(-91 * 24 * time.Hour)
	}, func(n *account.Settings) { n.Password.MaxAge, n.Password.HardExpire = 90, true }},
	{"outside", "Signing in is only possible from certain networks", nil, func(n *account.Settings) {
		n.Masks = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	}},
}

func TestTheReasonOfARefusalTakesTheRightPassword(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		for _, r := range refusals {
			putStaff(s, owner, r.name, account.User, func(i *account.Identity, p *account.Profile) {
				if r.user != nil {
					r.user(s, i, p)
				}
			})
		}
		putStaff(s, owner, "regular", account.User)
		at, id := door(owner.Account), "@"+string(owner.Account)
		before := settingsOf(s)
		for _, r := range refusals {
			if r.rules != nil {
				settle(s, r.rules)
			}
			for _, d := range []struct{ door, name string }{{at, r.name}, {"/signin/ram", r.name + id}, {"/signin", r.name + id}} {
				c := s.Client()
				got := atDoor(c, d.door, d.name, testkit.Password).Want(http.StatusForbidden)
				says(t, got, r.reason, "administrator")
				if c.Get("/security").StatusCode != http.StatusSeeOther {
					t.Errorf("%s is signed in", r.name)
				}
			}
			problem := object(t, post(s.Client(), "/api/v1/signin", `{"username":"`+r.name+id+`","password":"`+testkit.Password+`"}`).Want(http.StatusForbidden))
			if code := text(problem["code"]); !strings.HasPrefix(code, "signin.") {
				t.Errorf("%s: the API says %q", r.name, code)
			}
			// With a wrong password nobody learns that there is such a user.
			var pages, problems []string
			for _, name := range []string{"regular", r.name, "missing"} {
				got := atDoor(s.Client(), at, name, "wrong password of hers").Want(http.StatusUnauthorized)
				pages = append(pages, strings.ReplaceAll(masked(got.Body), name, "NAME"))
				api := post(s.Client(), "/api/v1/signin", `{"username":"`+name+id+`","password":"wrong password of hers"}`).Want(http.StatusUnauthorized)
				problems = append(problems, masked(api.Body))
			}
			if pages[0] != pages[1] || pages[0] != pages[2] {
				t.Errorf("%s: pages differ:\n%s\n%s\n%s", r.name, pages[0], pages[1], pages[2])
			}
			if problems[0] != problems[1] || problems[0] != problems[2] {
				t.Errorf("%s: problems differ: %v", r.name, problems)
			}
			s.Put(func(tx *store.Tx) error { return tx.SetSettings(owner.Account, before) })
			s.Pass(16 * time.Minute) // the network's tries are used up
		}
	})
}

func TestASessionEndsWhenTheRulesChangeAndComesBack(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		uma := putStaff(s, owner, "uma", account.User)
		with := putStaff(s, owner, "with", account.User)
		app := putDevice(s, with, "Phone")
		c, keeps := s.Client(), s.Client()
		enter(c, uma, nil)
		enter(keeps, with, app)
		c.Get("/security/history").Want(http.StatusOK)
		as(s, uma)
		form := c.Get("/security/sessions").Want(http.StatusOK)
		settle(s, func(n *account.Settings) { n.MFAOperation = account.Mandatory })
		keeps.Get("/security").Want(http.StatusOK) // rests on enough
		sent := c.Get("/security/history?before=100").Want(http.StatusSeeOther)
		signin := sent.Follow().Want(http.StatusOK)
		says(t, signin, "The sign-in rules of your account have changed. Sign in again.", `name="return_to" value="/security/history?before=100"`)
		form.Submit("/security/sessions/end-others").Want(http.StatusSeeOther) // signed out by now
		at := door(owner.Account) + "." + testkit.Suffix
		wizard := signin.Submit(at, "username", "uma", "password", testkit.Password).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		codes := bindByWizard(wizard).Follow().Want(http.StatusOK)
		welcome := codes.Submit("/security/recovery-codes/saved", "saved", "1").Follow().Want(http.StatusOK)
		says(t, welcome, `href="/security/history?before=100"`)
		why := func(e audit.Event) bool { return e.Details["why"] == "policy" }
		events, err := s.DB.Read(t.Context()).History(uma.Account, uma.ID, 0, 100, audit.SessionEnd)
		if err != nil || !slices.ContainsFunc(events, why) {
			t.Errorf("%v, %v", events, err)
		}
	})
}

func TestASignInHistorySaysWhatWasUnusual(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	owner := independent(s)
	uma := putStaff(s, owner, "uma", account.User)
	c := s.Client()
	enter(c, uma, nil)
	says(t, c.Get("/security/history"), "(unusual: new browser, new network)")
	first := c.Get("/security/history").Body
	c.Post("/signout", url.Values{"csrf": {c.CSRF()}})
	s.Pass(time.Minute)
	enter(c, uma, nil)
	if again := c.Get("/security/history").Body; strings.Count(again, "(unusual:") != strings.Count(first, "(unusual:") {
		t.Error("the second sign-in of the same browser is unusual")
	}
	settle(s, func(n *account.Settings) { n.MFAOperation = account.Adaptive })
	refused := atDoor(s.Client(), door(owner.Account), "uma", testkit.Password).Want(http.StatusForbidden)
	says(t, refused, "This sign-in is unusual", "Your administrator can help")
	c.Post("/signout", url.Values{"csrf": {c.CSRF()}})
	enter(c, uma, nil) // this browser is known
	c.Get("/security").Want(http.StatusOK)
	events, err := s.DB.Read(t.Context()).History(uma.Account, uma.ID, 0, 100, audit.ConsoleSignin)
	if err != nil || !slices.ContainsFunc(events, func(e audit.Event) bool { return e.Refused == policy.ErrUnusual.Code }) {
		t.Errorf("%v, %v", events, err)
	}
}
