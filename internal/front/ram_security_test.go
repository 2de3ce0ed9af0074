package front_test

import (
	"html"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestWhatBelongsToTheOwnerIsNotThereForAUser(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := putStaff(s, independent(s), "uma", account.User)
	c := s.Client()
	enter(c, uma, nil)
	first := c.Get("/security").Want(http.StatusOK)
	says(t, first, "Security Information", "uma@"+string(uma.Account)+"."+testkit.Suffix)
	saysNot(t, first, "/security/protection", "Sign-in email", "/console")
	saysNot(t, c.Get("/security/email").Want(http.StatusOK), "Sign-in email") // its security email is there
	for _, path := range []string{"/security/protection", "/security/protection/setup", "/security/protection/off"} {
		says(t, c.Get(path).Want(http.StatusNotFound), "There is nothing at this address.")
	}
	for _, path := range []string{"/console", "/console/users", "/console/settings"} {
		says(t, c.Get(path).Want(http.StatusForbidden), "Your role in this account does not allow this.")
	}
}

func TestWhatAdministratorsManageIsReadOnly(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		uma := putStaff(s, owner, "uma", account.User)
		app := putDevice(s, uma, "Phone")
		putPhone(s, uma, "+8613800138000")
		putCodes(s, uma)
		c := s.Client()
		enter(c, uma, app)
		device := "device-" + string(uma.ID)
		settle(s, func(n *account.Settings) { n.ManageMFA, n.ChangePassword = false, false })
		managed, passwords := "Your administrators manage the devices of this account.", "Your administrators manage the passwords of this account."
		says(t, c.Get("/security").Want(http.StatusOK), managed, passwords)
		for _, path := range []string{"/security", "/security/virtual-mfa", "/security/virtual-mfa/unbind", "/security/phone", "/security/recovery-codes"} {
			page := c.Get(path).Want(http.StatusOK)
			says(t, page, managed)
			saysNot(t, page, `href="/security/virtual-mfa/replace"`, `href="/security/virtual-mfa/unbind"`, `href="/security/virtual-mfa/resynchronise"`, `href="/security/phone/change"`, `href="/security/phone/remove"`, `name="device"`, `action="/security/recovery-codes"`, `href="/security/password"`)
		}
		before := standing(t, s, uma.Account)
		for _, path := range []string{"/security/virtual-mfa/replace", "/security/virtual-mfa/resynchronise", "/security/phone/change"} {
			says(t, c.Get(path).Want(http.StatusForbidden), managed)
		}
		says(t, c.Get("/security/password").Want(http.StatusForbidden), passwords)
		csrf := c.CSRF()
		for path, form := range map[string]url.Values{
			"/security/virtual-mfa/resynchronise": {"code": {app.Code(1)}, "code2": {app.Code(2)}},
			"/security/virtual-mfa/unbind":        {"device": {device}},
			"/security/phone/change":              {"country": {"CN"}, "phone": {"139 0013 9000"}},
			"/security/phone/remove":              {},
			"/security/recovery-codes":            {},
			"/security/password":                  {"password": {testkit.Password}, "new_password": {"walrus teapot hinges fog"}},
		} {
			form.Set("csrf", csrf)
			if got := c.Post(path, form); got.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s: %d to %q", path, got.StatusCode, got.Header.Get("Location"))
			}
		}
		if after := standing(t, s, uma.Account); after != before {
			t.Errorf("changed:\n%s\n%s", before, after)
		}
		c.Get("/security/sessions").Want(http.StatusOK)
		c.Post("/security/sessions/end-others", url.Values{"csrf": {csrf}}).Want(http.StatusSeeOther)

		// What is due can be bound all the same.
		due := putStaff(s, owner, "due", account.User, func(_ *account.Identity, p *account.Profile) { p.MFARequired = true })
		settle(s, func(n *account.Settings) { n.GraceUntil = s.Now().Add(48 * time.Hour) })
		d := s.Client()
		reminder := enter(d, due, nil).Follow().Want(http.StatusOK)
		says(t, reminder, `href="/security/virtual-mfa/bind"`)
		d.Get("/security/virtual-mfa/bind").Want(http.StatusOK)
		says(t, d.Get("/security/password").Want(http.StatusForbidden), passwords)
	})
}

func TestTheLastDeviceThatIsDueIsExchangedNotDropped(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		app := putDevice(s, uma, "Old phone")
		left := putCodes(s, uma)
		c := s.Client()
		enter(c, uma, app)
		page := c.Get("/security/virtual-mfa").Want(http.StatusOK)
		says(t, page, "Your account asks for this device at sign-in", `href="/security/virtual-mfa/replace"`)
		saysNot(t, page, `href="/security/virtual-mfa/unbind"`)
		says(t, c.Get("/security/virtual-mfa/unbind").Want(http.StatusOK), "Your account asks for this device at sign-in", `href="/security/virtual-mfa/replace"`)
		drop := c.Post("/security/virtual-mfa/unbind", url.Values{"csrf": {c.CSRF()}, "device": {"device-" + string(uma.ID)}})
		if _, ok := toVerify(drop); ok {
			drop.ProveByApp(app)
			drop = c.Post("/security/virtual-mfa/unbind", url.Values{"csrf": {c.CSRF()}, "device": {"device-" + string(uma.ID)}})
		}
		if drop.StatusCode != http.StatusConflict {
			t.Errorf("it is dropped: %d to %q", drop.StatusCode, drop.Header.Get("Location"))
		}

		s.Pass(11 * time.Minute)
		key := c.Get("/security/virtual-mfa/replace").ProveByApp(app).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, key, "This takes the place of Old phone.")
		next := key.App()
		key.Submit("/security/virtual-mfa/replace", "code", next.WrongCode(), "code2", next.Code(0)).Want(http.StatusUnauthorized)
		done := key.Submit("/security/virtual-mfa/replace", "code", next.Code(-1), "code2", next.Code(0), "name", "New phone").Want(http.StatusSeeOther)
		for range 2 {
			if done.StatusCode == http.StatusSeeOther {
				done = done.Follow()
			}
		}
		done.Want(http.StatusOK)
		shows := c.Get("/security/virtual-mfa").Want(http.StatusOK)
		says(t, shows, "New phone")
		saysNot(t, shows, "Old phone")
		says(t, c.Get("/security/history"), "Old phone", "New phone")
		s.Pass(time.Minute)
		atDoor(s.Client(), door(uma.Account), "uma", testkit.Password).Follow().Submit("/signin/verify", "code", app.Code(0)).Want(http.StatusUnauthorized)
		enter(s.Client(), uma, next)
		n, err := s.DB.Read(t.Context()).User(uma.Account, uma.ID)
		if err != nil || n.RecoveryCodes != len(left) {
			t.Errorf("%d recovery codes are left of %d, %v", n.RecoveryCodes, len(left), err)
		}
		stale := key.Submit("/security/virtual-mfa/replace", "code", next.Code(1), "code2", next.Code(2)) // the key is used up
		if stale.StatusCode < 400 || stale.StatusCode >= 500 {
			t.Errorf("the form again: %d to %q", stale.StatusCode, stale.Header.Get("Location"))
		}
	})
}

func TestTheLastPhoneThatIsDueIsChangedNotRemoved(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	uma := staffed(s, "uma")
	putPhone(s, uma, "+8613800138000")
	c := s.Client()
	enter(c, uma, nil).ProveBySent("sms", "+8613800138000").Want(http.StatusSeeOther)
	page := c.Get("/security/phone").Want(http.StatusOK)
	says(t, page, "You can change the number, but not remove it.", `href="/security/phone/change"`)
	saysNot(t, page, `href="/security/phone/remove"`)
	if to := c.Get("/security/phone/remove").Want(http.StatusSeeOther).Header.Get("Location"); to != "/security/phone" {
		t.Errorf("the page of the removal leads to %s", to)
	}
	s.Pass(time.Minute)
	drop := c.Post("/security/phone/remove", url.Values{"csrf": {c.CSRF()}})
	if _, ok := toVerify(drop); ok {
		drop = drop.ProveBySent("sms", "+8613800138000")
	}
	if drop.StatusCode != http.StatusConflict {
		t.Errorf("it is removed: %d to %q", drop.StatusCode, drop.Header.Get("Location"))
	}
	putDevice(s, uma, "App") // a stronger one beside it
	says(t, c.Get("/security/phone").Want(http.StatusOK), `href="/security/phone/remove"`)
	saysNot(t, as(s, uma, factor.VirtualMFA).Get("/security/virtual-mfa").Want(http.StatusOK), "Your account asks for this device")
	if strings.Contains(page.Body, "138 0013 8000") {
		t.Error("the number is shown in full")
	}
}

var (
	shownSecret = regexp.MustCompile(`<code class="secret">([^<]+)</code>`)
	ticketShown = regexp.MustCompile(`\b[2-9A-Z]{7}-[2-9A-Z]{7}\b`)
)

// What is shown once stands nowhere: neither a password that was made, nor a
// ticket, nor what was typed before a verification.
func TestNoSecretOfAUserIsWrittenDown(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	owner := s.Identity(alice)
	ownerApp := s.PutApp(alice)
	uma := putStaff(s, owner, "uma", account.User)
	putDevice(s, uma, "Phone")
	c := as(s, owner, factor.VirtualMFA)
	secrets := map[string]string{}
	csrf := c.CSRF()
	made := c.Post("/console/users/new", url.Values{"csrf": {csrf}, "name": {"fresh"}, "role": {"user"}, "sign_in": {"1"}}).Follow().Want(http.StatusOK)
	for n, m := range shownSecret.FindAllStringSubmatch(made.Body, -1) {
		secrets["generated password "+string(rune('0'+n))] = html.UnescapeString(m[1])
	}
	at := "/console/users/" + string(uma.ID)
	ticket := c.Get(at+"/unbind?method=virtual_mfa").Want(http.StatusOK).Submit(at+"/unbind", "check", "in_person", "reason", "lost").ProveByApp(ownerApp).Follow().Want(http.StatusOK)
	for n, m := range ticketShown.FindAllString(ticket.Body, -1) {
		secrets["ticket "+string(rune('0'+n))] = m
	}
	secrets["typed password"] = "heron violet lattice 77"
	if _, ok := toVerify(c.Post(at+"/signin", url.Values{"csrf": {csrf}, "way": {"custom"}, "new_password": {secrets["typed password"]}})); !ok {
		t.Error("a password is set without a verification")
	}
	for kind, prefix := range map[string]string{"a generated password": "generated", "a ticket": "ticket"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(secrets)), func(name string) bool { return strings.HasPrefix(name, prefix) }) {
			t.Errorf("%s was not seen: %s", kind, made.Body)
		}
	}
	places := map[string]string{"the log": s.Logs.String()}
	files, err := filepath.Glob(filepath.Join(s.Config.Data, "countersign.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		places[filepath.Base(f)] = string(b)
	}
	for where, text := range places {
		for what, value := range secrets {
			if strings.Contains(text, value) || strings.Contains(text, strings.ReplaceAll(value, "-", "")) {
				t.Errorf("%s holds the %s", where, what)
			}
		}
	}
	for _, m := range s.Messages("") {
		for what, value := range secrets {
			if strings.Contains(m.Text+m.Subject, value) {
				t.Errorf("a message holds the %s", what)
			}
		}
	}
}
