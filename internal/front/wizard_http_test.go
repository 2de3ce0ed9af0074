package front_test

import (
	"html"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// bindByWizard chooses an app on the page of the choice and binds it.
func bindByWizard(choice testkit.Reply) testkit.Reply {
	page := choice.Submit("/signin/bind", "method", "virtual_mfa").Follow().Want(http.StatusOK)
	return page.Submit("/signin/bind/device", "code", page.App().Code(0), "name", "My app").Want(http.StatusSeeOther)
}

// staffed is alice's account with a user who has nothing bound; everybody must.
func staffed(s *testkit.Site, name string, change ...func(*account.Identity, *account.Profile)) account.Identity {
	s.T.Helper()
	s.Account(alice, testkit.Password)
	return putStaff(s, s.Identity(alice), name, account.User, change...)
}

// atWizard gives the right password, asking for a page, and comes to the step
// that is due.
func atWizard(c *testkit.Client, i account.Identity, returnTo string) testkit.Reply {
	c.T.Helper()
	return atDoor(c, door(i.Account), i.UserName, testkit.Password, "return_to", returnTo).Want(http.StatusSeeOther).Follow()
}

func signedOut(t *testing.T, s *testkit.Site, c *testkit.Client, i account.Identity) {
	t.Helper()
	if got := c.Get("/security"); got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(got.Header.Get("Location"), "/signin") {
		t.Errorf("signed in: %d", got.StatusCode)
	}
	if list, err := s.DB.Read(t.Context()).Sessions(i.Account, i.ID); err != nil || len(list) != 0 {
		t.Errorf("sessions: %v, %v", list, err)
	}
}

func TestTheFirstSignInSetsUpADeviceAndGoesOn(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		c := s.Client()
		to := c.Get("/security/history?before=50").Header.Get("Location")
		query := strings.TrimPrefix(to, "/signin")
		choice := c.Get(door(uma.Account)+query).Submit(door(uma.Account), "username", "uma", "password", testkit.Password).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, choice, "Set up a second proof", "Step 1 of 3", "uma@"+string(uma.Account), "Virtual MFA device", "Text message", "A security email can be added later; it cannot be the first.", "If you leave now, you are not signed in.")
		saysNot(t, choice, `value="email"`)
		signedOut(t, s, c, uma)
		for _, m := range []string{"email", "u2f", "", "password", "recovery_code", "ticket"} {
			if got := choice.Submit("/signin/bind", "method", m); got.StatusCode != http.StatusForbidden {
				t.Errorf("by %q: %d to %q", m, got.StatusCode, got.Header.Get("Location"))
			}
		}
		key := choice.Submit("/signin/bind", "method", "virtual_mfa").Follow().Want(http.StatusOK)
		says(t, key, "Step 2 of 3", "Choose another way", "otpauth://totp/")
		same := func(what string, r testkit.Reply) {
			t.Helper()
			if string(r.App().Seed) != string(key.App().Seed) {
				t.Errorf("%s: another key, although the first may have been scanned", what)
			}
		}
		same("reload", key.Again().Want(http.StatusOK))
		back := choice.Again().Want(http.StatusOK) // the browser's own way back
		says(t, back, "Step 1 of 3")
		same("chosen again", back.Submit("/signin/bind", "method", "virtual_mfa").Follow())
		wrong := key.Submit("/signin/bind/device", "code", key.App().WrongCode(), "name", "Kept name").Want(http.StatusUnauthorized)
		says(t, wrong, `value="Kept name"`, `aria-invalid="true"`)
		same("a wrong code", wrong)
		key.Submit("/signin/bind/device", "code", "12").Want(http.StatusUnprocessableEntity)
		signedOut(t, s, c, uma)

		done := wrong.Submit("/signin/bind/device", "code", key.App().Code(0), "name", "My app").Want(http.StatusSeeOther)
		codes := done.Follow().Want(http.StatusOK)
		says(t, codes, "Step 3 of 3")
		unsaved := codes.Submit("/security/recovery-codes/saved").Follow().Want(http.StatusOK)
		if unsaved.Request.URL.RequestURI() != codes.Request.URL.RequestURI() {
			t.Errorf("not saved, and sent to %s", unsaved.Request.URL)
		}
		welcome := unsaved.Submit("/security/recovery-codes/saved", "saved", "1").Follow().Want(http.StatusOK)
		says(t, welcome, "You are protected", "My app", "Recovery codes: 10 unused codes left", "Add a second device of a different kind", `href="/security/phone/change"`, `href="/security/history?before=50"`, "Later")
		c.Get("/security/history?before=50").Want(http.StatusOK)
		again := done.Follow().Want(http.StatusSeeOther) // the codes are shown once
		if again.Header.Get("Location") != "/security/welcome?return_to="+url.QueryEscape("/security/history?before=50") {
			t.Errorf("the page of the codes leads to %s", again.Header.Get("Location"))
		}
		c.Get("/signin/bind").Want(http.StatusGone)
	})
}

func TestLeavingTheWizardLeavesSignedOut(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := staffed(s, "uma")
	c := s.Client()
	choice := atWizard(c, uma, "/security/history").Want(http.StatusOK)
	for _, path := range []string{"/security", "/security/recovery-codes/new", "/security/welcome", "/security/virtual-mfa/bind", "/verify", "/console", "/api/v1/session"} {
		if got := c.Get(path); got.StatusCode != http.StatusSeeOther && got.StatusCode != http.StatusUnauthorized {
			t.Errorf("GET %s in the wizard: %d", path, got.StatusCode)
		}
	}
	says(t, choice, `href="`+door(uma.Account)+"."+testkit.Suffix+`"`, "Cancel and stay signed out") // although no session knows the door yet
	signedOut(t, s, c, uma)
	s.Pass(25 * time.Minute) // "You can come back within half an hour and go on here."
	bindByWizard(choice.Again().Want(http.StatusOK))
	c.Get("/security").Want(http.StatusOK)
	bare := s.Client() // the address alone opens nothing
	bare.Get(choice.Request.URL.RequestURI()).Want(http.StatusGone)
	bare.Post("/signin/bind", url.Values{"csrf": {bare.CSRF()}, "c": {choice.Request.URL.Query().Get("c")}, "method": {"virtual_mfa"}}).Want(http.StatusGone)
}

func TestTwoTabsBindOneDevice(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := staffed(s, "uma")
	c := s.Client()
	first := atWizard(c, uma, "/security/history").Submit("/signin/bind", "method", "virtual_mfa").Follow()
	tab := first.Again() // the same sign-in in another tab
	other := atWizard(c, uma, "/security/sessions").Submit("/signin/bind", "method", "virtual_mfa").Follow()
	first.Submit("/signin/bind/device", "code", first.App().Code(0)).Want(http.StatusSeeOther)
	for what, got := range map[string]testkit.Reply{
		"the form again":         first.Submit("/signin/bind/device", "code", first.App().Code(0)),
		"the same sign-in":       tab.Submit("/signin/bind/device", "code", tab.App().Code(1)),
		"another sign-in":        other.Submit("/signin/bind/device", "code", other.App().Code(0)),
		"its choice":             other.Again(),
		"the choice of a method": c.Post("/signin/bind", url.Values{"csrf": {c.CSRF()}, "method": {"sms"}}),
	} {
		if got.StatusCode != http.StatusGone {
			t.Errorf("%s: %d to %q", what, got.StatusCode, got.Header.Get("Location"))
		}
		says(t, got, "finished in another tab", `name="password"`)
	}
	if list, err := s.DB.Read(t.Context()).Sessions(uma.Account, uma.ID); err != nil || len(list) != 1 {
		t.Errorf("%d sessions, %v", len(list), err)
	}
	c.Get("/security").Want(http.StatusOK)
}

func TestAnExpiredWizardSaysSoAtTheDoor(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := staffed(s, "uma")
	c := s.Client()
	key := atWizard(c, uma, "").Submit("/signin/bind", "method", "virtual_mfa").Follow()
	s.Pass(31 * time.Minute)
	says(t, key.Submit("/signin/bind/device", "code", key.App().Code(0)).Want(http.StatusGone), "This took too long", `name="password"`)
	says(t, key.Again().Want(http.StatusGone), `action="`+door(uma.Account)+"."+testkit.Suffix+`"`)
	signedOut(t, s, c, uma)
}

// What stands on the page was true when it was asked for.
func TestAWizardFollowsTheRules(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		rules := func(change func(*account.Settings)) {
			settle(s, func(n *account.Settings) { *n = account.DefaultSettings(); change(n) })
		}
		c := s.Client()
		choice := atWizard(c, uma, "/security/history")
		key := choice.Submit("/signin/bind", "method", "virtual_mfa").Follow().Want(http.StatusOK)

		rules(func(n *account.Settings) { n.AllowSMS = false })
		says(t, choice.Submit("/signin/bind", "method", "sms").Want(http.StatusForbidden), "This kind cannot be set up here.")
		saysNot(t, choice.Again().Want(http.StatusOK), "Text message")
		says(t, c.Get(choice.Request.URL.RequestURI()+"&method=sms").Want(http.StatusOK), "Step 1 of 3")
		says(t, c.Post("/signin/bind/phone", url.Values{"csrf": {c.CSRF()}, "country": {"CN"}, "phone": {"139 0013 9000"}}).Want(http.StatusSeeOther).Follow().Want(http.StatusOK), "Step 1 of 3")

		rules(func(n *account.Settings) { n.Masks = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} })
		for what, got := range map[string]testkit.Reply{"the choice": choice.Again(), "the form": key.Submit("/signin/bind/device", "code", key.App().Code(0))} {
			says(t, got.Want(http.StatusForbidden), "Signing in is only possible from certain networks")
			_ = what
		}

		rules(func(n *account.Settings) { n.MFAOperation = account.Independent }) // nothing is due any more
		on := choice.Again()
		for range 3 { // to wherever it leads
			if on.StatusCode == http.StatusSeeOther {
				on = on.Follow()
			}
		}
		says(t, on.Want(http.StatusOK), "The sign-in rules of your account have changed. Sign in again.", `name="password"`, `name="return_to" value="/security/history"`)
		signs := s.Client()
		enter(signs, uma, nil)
		signs.Get("/security").Want(http.StatusOK)
		form := key.Submit("/signin/bind/device", "code", key.App().Code(0)) // of the sign-in that was left
		says(t, form.Want(http.StatusGone), "Please start again.", `name="password"`)

		rules(func(*account.Settings) {})
		fresh := s.Client()
		choice = atWizard(fresh, uma, "/security/history")
		app := putDevice(s, uma, "Bound elsewhere") // in the sign-in of another browser
		putCodes(s, uma)
		next := choice.Again().Want(http.StatusSeeOther)
		if to := next.Header.Get("Location"); !strings.HasPrefix(to, "/signin/verify?c=") {
			t.Errorf("bound elsewhere, and the wizard leads to %s", to)
		}
		asked := choice.Submit("/signin/bind", "method", "virtual_mfa").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		if got := asked.Submit("/signin/verify", "code", app.Code(0)); got.Header.Get("Location") != "/security/history" {
			t.Errorf("%d to %q", got.StatusCode, got.Header.Get("Location"))
		}
	})
}

// A code that is no longer asked for is no error of whoever typed it.
func TestASecondStepFollowsTheRules(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := staffed(s, "uma")
	app := putDevice(s, uma, "Phone")
	c := s.Client()
	enter(c, uma, app) // a browser and a network that are known from now on
	c.Post("/signout", url.Values{"csrf": {c.CSRF()}})
	ask := atWizard(c, uma, "/security/history").Want(http.StatusOK)
	settle(s, func(n *account.Settings) { n.MFAOperation = account.Adaptive })
	s.Pass(30 * time.Second)
	for what, got := range map[string]testkit.Reply{"the form": ask.Submit("/signin/verify", "code", app.Code(0)), "another method": ask.Submit("/signin/verify", "method", "sms", "code", "123456")} {
		if to := got.Header.Get("Location"); !strings.HasPrefix(to, "/signin/verify?c=") {
			t.Errorf("%s: %d to %q", what, got.StatusCode, to)
		}
	}
	page := ask.Again().Want(http.StatusSeeOther).Follow()
	says(t, ask, `href="`+door(uma.Account)+"."+testkit.Suffix+`"`) // "Not you?"
	says(t, page, "The sign-in rules of your account have changed. Sign in again.", `name="return_to" value="/security/history"`)
	at := door(uma.Account) + "." + testkit.Suffix
	if got := page.Submit(at, "username", "uma", "password", testkit.Password); got.Header.Get("Location") != "/security/history" {
		t.Errorf("%d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	settle(s, func(n *account.Settings) { n.MFAOperation = account.Mandatory; n.TwoKinds = true })
	c.Post("/signout", url.Values{"csrf": {c.CSRF()}})
	s.Pass(30 * time.Second)
	second := atWizard(c, uma, "").Submit("/signin/verify", "code", app.Code(0)).Want(http.StatusSeeOther).Follow()
	says(t, second.Want(http.StatusOK), "Set up another kind of proof")
}

func TestAWizardAttachesAPhone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		c := s.Client()
		form := atWizard(c, uma, "/security/sessions").Submit("/signin/bind", "method", "sms").Follow().Want(http.StatusOK)
		says(t, form, "Step 2 of 3", "Choose another way")
		says(t, form.Submit("/signin/bind/phone", "country", "CN", "phone", "12").Want(http.StatusUnprocessableEntity), `value="12"`)
		ask := form.Submit("/signin/bind/phone", "country", "CN", "phone", "139 0013 9000").Follow().Want(http.StatusOK)
		says(t, ask, "+86 139 0013 9000")
		if len(s.Messages("+8613900139000")) != 1 {
			t.Error("no code was sent")
		}
		says(t, ask.Again().Want(http.StatusOK), "+86 139 0013 9000") // and no other code
		old := s.SentCode("+8613900139000")
		says(t, ask.Submit("/signin/bind/code/send").Want(http.StatusTooManyRequests), "+86 139 0013 9000")
		change := c.Get(ask.Request.URL.RequestURI() + "&number=1").Want(http.StatusOK)
		s.Pass(time.Minute)
		edited := change.Submit("/signin/bind/phone", "country", "CN", "phone", "136 0013 6000").Follow().Want(http.StatusOK)
		edited.Submit("/signin/bind/code", "code", old).Want(http.StatusUnauthorized)
		if len(s.Messages("+8613900139000")) != 1 || len(s.Messages("+8613600136000")) != 1 {
			t.Error("the wrong number of codes")
		}
		done := edited.Submit("/signin/bind/code", "code", s.SentCode("+8613600136000")).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		welcome := done.Submit("/security/recovery-codes/saved", "saved", "1").Follow().Want(http.StatusOK)
		says(t, welcome, `href="/security/virtual-mfa/bind"`, `href="/security/sessions"`)
		saysNot(t, welcome, "136 0013 6000")
	})
}

func TestTheEndOfTheWizardLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := staffed(s, "uma")
	c := s.Client()
	atWizard(c, uma, "//evil.example") // forgotten on the way
	done := bindByWizard(c.Get("/signin/bind"))
	if to := done.Header.Get("Location"); to != "/security/recovery-codes/new?return_to=%2Fsecurity" {
		t.Errorf("bound, and sent to %s", to)
	}
	base, _ := url.Parse(s.URL)
	for _, to := range []string{"//evil.example", `/\evil.example`, "https://evil.example", "/\t/evil.example", "javascript:alert(1)", "///evil.example", " //evil.example", "evil.example", "/%2f%2fevil.example"} {
		q := url.QueryEscape(to)
		for _, path := range []string{"/security/welcome?return_to=" + q, "/security/recovery-codes/new?return_to=" + q, "/security/reminder?return_to=" + q} {
			got := c.Get(path)
			if u, err := base.Parse(got.Header.Get("Location")); err != nil || u.Host != base.Host {
				t.Errorf("%s leads to %q", path, got.Header.Get("Location"))
			}
			for _, link := range links.FindAllStringSubmatch(got.Body, -1) {
				if u, err := base.Parse(html.UnescapeString(link[1])); err != nil || u.Scheme != "otpauth" && u.Host != base.Host {
					t.Errorf("%s links to %q", path, link[1])
				}
			}
		}
		for _, saved := range []string{"", "1"} {
			got := c.Post("/security/recovery-codes/saved", url.Values{"csrf": {c.CSRF()}, "return_to": {to}, "saved": {saved}}).Want(http.StatusSeeOther)
			if u, err := base.Parse(got.Header.Get("Location")); err != nil || u.Host != base.Host || saved == "1" && strings.Contains(got.Header.Get("Location"), "evil") && to[:2] != "/%" {
				t.Errorf("saved, and sent to %q", got.Header.Get("Location"))
			}
		}
	}
}

var links = regexp.MustCompile(`href="([^"]*)"`)

func TestTwoKindsAreTwoWaysThroughTheWizard(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := staffed(s, "uma")
	settle(s, func(n *account.Settings) { n.TwoKinds = true })
	c := s.Client()
	second := bindByWizard(atWizard(c, uma, "/security/history")).Follow().Want(http.StatusOK)
	says(t, second, "Set up another kind of proof", "Text message")
	saysNot(t, second, `value="virtual_mfa"`)
	signedOut(t, s, c, uma)
	ask := second.Submit("/signin/bind", "method", "sms").Follow().Submit("/signin/bind/phone", "country", "CN", "phone", "139 0013 9000").Follow()
	codes := ask.Submit("/signin/bind/code", "code", s.SentCode("+8613900139000")).Follow().Want(http.StatusOK)
	says(t, codes.Submit("/security/recovery-codes/saved", "saved", "1").Follow().Want(http.StatusOK), "My app", `href="/security/history"`)
}

func TestAPasswordOfOnesOwnComesLast(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma", func(_ *account.Identity, p *account.Profile) { p.PasswordReset = true })
		c := s.Client()
		page := bindByWizard(atWizard(c, uma, "/security/history")).Follow().Want(http.StatusOK)
		says(t, page, "Set your own password", "You did not choose your present password here.", "uma@"+string(uma.Account))
		signedOut(t, s, c, uma)
		for _, wrong := range []string{"", "short", testkit.Password, "password"} {
			if got := page.Submit("/signin/password", "new_password", wrong); got.StatusCode != http.StatusUnprocessableEntity {
				t.Errorf("%q: %d to %q", wrong, got.StatusCode, got.Header.Get("Location"))
			}
		}
		c.Get("/signin/bind").Want(http.StatusSeeOther) // it stands at the password
		done := page.Submit("/signin/password", "new_password", "walrus teapot hinges fog").Want(http.StatusSeeOther)
		codes := done.Follow().Want(http.StatusOK)
		says(t, codes.Submit("/security/recovery-codes/saved", "saved", "1").Follow(), `href="/security/history"`)
		page.Submit("/signin/password", "new_password", "another walrus teapot").Want(http.StatusGone)
		atDoor(s.Client(), door(uma.Account), "uma", testkit.Password).Want(http.StatusUnauthorized)
		next := atDoor(s.Client(), door(uma.Account), "uma", "walrus teapot hinges fog").Want(http.StatusSeeOther)
		if !strings.HasPrefix(next.Header.Get("Location"), "/signin/verify") {
			t.Errorf("the new password leads to %s", next.Header.Get("Location"))
		}
	})
}

func TestWhatWasTakenOffIsReplacedByItsTicketAlone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		codes, err := factor.NewRecoveryCodes(strings.NewReader(strings.Repeat("ticket", 100)))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := factor.ParseRecoveryCode(codes[0])
		if err != nil {
			t.Fatal(err)
		}
		s.Put(func(tx *store.Tx) error {
			return tx.SetEnrolment(uma.Account, uma.ID, store.Enrolment{Kind: store.Reenrol, TicketHash: prove.RecoveryHash(uma, plain), CreatedAt: tx.Now, OpensAt: tx.Now, ExpiresAt: tx.Now.Add(time.Hour)})
		})
		c := s.Client()
		ask := atWizard(c, uma, "/security/history").Want(http.StatusOK)
		if ask.Request.URL.Path != "/signin/verify" {
			t.Fatalf("the password alone leads to %s", ask.Request.URL)
		}
		c.Get("/signin/bind").Want(http.StatusSeeOther)
		got := c.Post("/signin/bind", url.Values{"csrf": {c.CSRF()}, "method": {"virtual_mfa"}}).Want(http.StatusSeeOther)
		if !strings.HasPrefix(got.Header.Get("Location"), "/signin/verify") {
			t.Errorf("the password alone binds: %s", got.Header.Get("Location"))
		}
		ask.Submit("/signin/verify", "code", "AAAAAAA-AAAAAAA").Want(http.StatusUnauthorized)
		choice := ask.Submit("/signin/verify", "code", codes[0]).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, choice, "Set up a new device")
		bindByWizard(choice)
		c.Get("/security").Want(http.StatusOK)
		next := atDoor(s.Client(), door(uma.Account), "uma", testkit.Password).Follow()
		next.Submit("/signin/verify", "code", codes[0]).Want(http.StatusUnprocessableEntity) // an app's code is asked
	})
}
