package front_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// settle puts settings into force behind every rule.
func settle(s *testkit.Site, change func(*account.Settings)) {
	s.T.Helper()
	next := settingsOf(s)
	change(&next)
	s.Put(func(tx *store.Tx) error { return tx.SetSettings(s.Identity(alice).Account, next) })
}

// putMember makes a RAM user of alice's account who may sign in.
func putMember(s *testkit.Site, name string, role account.Role) account.Identity {
	s.T.Helper()
	hash, err := s.SignIn.Hasher.Hash(s.T.Context(), testkit.Password)
	if err != nil {
		s.T.Fatal(err)
	}
	i := account.Identity{ID: account.IdentityID("member-" + name), Account: s.Identity(alice).Account, Role: role, UserName: name, CreatedAt: s.Now(), PasswordHash: hash, PasswordChangedAt: s.Now()}
	s.Put(func(tx *store.Tx) error {
		if err := tx.AddUser(i); err != nil {
			return err
		}
		return tx.SetProfile(i.Account, i.ID, account.Profile{State: account.ProfileActive})
	})
	return i
}

// bound binds an app to a RAM user.
func bound(s *testkit.Site, i account.Identity) *testkit.App {
	s.T.Helper()
	seed, err := factor.NewSeed(rand.Reader)
	if err != nil {
		s.T.Fatal(err)
	}
	s.Put(func(tx *store.Tx) error {
		return tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: seed}, ID: "device-" + string(i.ID), Name: "Phone"}, store.ErrNoRow)
	})
	return &testkit.App{Seed: seed, Now: s.Now}
}

// memberIn signs a RAM user in by the pages.
func memberIn(s *testkit.Site, name string, app *testkit.App) *testkit.Client {
	s.T.Helper()
	c := s.Client()
	door := "/signin/ram/" + string(s.Identity(alice).Account)
	r := c.Get(door).Want(http.StatusOK).Submit(door, "username", name, "password", testkit.Password).Want(http.StatusSeeOther)
	if app != nil {
		c.Get(r.Header.Get("Location")+"&method=virtual_mfa").Submit("/signin/verify", "code", app.Code(0)).Want(http.StatusSeeOther)
	}
	return c
}

// group is the part of a preview under a heading.
func group(r testkit.Reply, heading string) string {
	_, rest, _ := strings.Cut(r.Body, "<h3>"+heading)
	part, _, _ := strings.Cut(rest, "<h3>")
	return part
}

func TestThePreviewNamesWhoIsAffected(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		settle(s, func(n *account.Settings) { n.MFAOperation = account.Independent })
		for _, name := range []string{"bob", "carol", "dave", "erin"} {
			putMember(s, name, account.User)
		}
		a := s.Identity(alice).Account
		bound(s, account.Identity{Account: a, ID: "member-carol"})
		s.Put(func(tx *store.Tx) error {
			if err := tx.SetProfile(a, "member-erin", account.Profile{State: account.ProfileInactive}); err != nil {
				return err
			}
			return tx.AttachPhone(a, "member-dave", "", store.Phone{ID: "phone-dave", Number: phone, BoundAt: s.Now()}, store.ErrNoRow)
		})
		in := memberIn(s, "bob", nil)
		in.Get("/security").Want(http.StatusOK)

		page := preview(c).Want(http.StatusOK)
		says(t, page, "1 change", "This account has 4 users, of whom 3 may sign in.", "Must bind a device: 1 user", `href="/console/users/member-bob"`, "Locked out: nobody", "1 session that is open now ends", "You are the owner: these settings do not concern you.")
		saysNot(t, page, "member-carol", "member-dave", "member-erin")
		if got := group(page, "Must bind a device"); !strings.Contains(got, ">bob<") {
			t.Errorf("who must bind: %s", got)
		}
		done := page.Submit("/console/settings/save").ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, done, "The settings are saved.")
		if got := in.Get("/security"); got.StatusCode != http.StatusSeeOther {
			t.Errorf("bob goes on with his session: %d", got.StatusCode)
		}

		page = preview(c, "allow_sms", "").Want(http.StatusOK)
		if got := group(page, "Must bind a device: 1 user"); !strings.Contains(got, "member-dave") {
			t.Errorf("without text messages dave must bind:\n%s", page.Body)
		}
		page = preview(c, "mfa_operation", "adaptive").Want(http.StatusOK)
		if got := group(page, "No longer asked"); !strings.Contains(got, "member-dave") || !strings.Contains(got, "member-carol") {
			t.Errorf("only on unusual sign-ins:\n%s", page.Body)
		}
		says(t, preview(c).Want(http.StatusOK), "There is nothing to save.")
	})
}

func TestTheAuthorOfSettingsIsNotLockedOut(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	owner := signedIn(s)
	app := bound(s, putMember(s, "ada", account.Administrator))
	ada := memberIn(s, "ada", app)
	page := preview(ada, "masks", "198.51.100.0/24").Want(http.StatusConflict)
	says(t, page, "You would lock yourself out", "You come from 127.0.0.1. Add it", "<title>Error")
	saysNot(t, page, `action="/console/settings/save"`)
	back := page.Submit("/console/settings").Want(http.StatusOK)
	if got := shown(t, back, "/console/settings/preview")["masks"]; got != "198.51.100.0/24" {
		t.Errorf("the networks became %q", got)
	}
	fits := preview(ada, "masks", "198.51.100.0/24 127.0.0.0/8").Want(http.StatusOK)
	says(t, fits, "You can still sign in yourself.")
	values := shown(t, fits, "/console/settings/save")
	forged := []string{}
	for name, v := range values {
		if name == "masks" {
			v = "198.51.100.0/24"
		}
		forged = append(forged, name, v)
	}
	got := ada.Post("/console/settings/save", postOf(t, fits, forged...))
	if got.StatusCode == http.StatusSeeOther {
		got = got.ProveByApp(app)
	}
	got.Want(http.StatusConflict)
	says(t, got, "You would lock yourself out")
	if masks := settingsOf(s).Masks; len(masks) != 0 {
		t.Errorf("networks %v", masks)
	}
	saved(owner, "masks", "198.51.100.0/24") // the owner may: it is not kept out
	owner.Get("/console/settings").Want(http.StatusOK)
	if got := ada.Get("/console/settings"); got.StatusCode == http.StatusOK {
		t.Error("ada stays in from outside")
	}
}

func TestSavingSettingsTakesAVerificationForExactlyThese(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		eight, nine := preview(c, "session_hours", "8"), preview(c, "session_hours", "9")
		first := eight.Submit("/console/settings/save").Want(http.StatusSeeOther)
		second := nine.Submit("/console/settings/save").Want(http.StatusSeeOther)
		says(t, c.Get(first.Header.Get("Location")), "settings")
		second.ProveBySent("email", alice).Want(http.StatusSeeOther)
		if got := settingsOf(s).SessionHours; got != 9 {
			t.Errorf("verified for 9 hours, saved %d", got)
		}
		// The one verification was for the one change: what it preceded is gone by.
		stale := eight.Submit("/console/settings/save").Want(http.StatusConflict)
		says(t, stale, "The settings were changed in another tab", "9 hours", "8 hours")
		stale.Submit("/console/settings/save").Want(http.StatusSeeOther)
		if got := settingsOf(s).SessionHours; got != 9 {
			t.Errorf("saved %d hours without a verification", got)
		}
		names := []audit.Name{audit.PreferenceModify, audit.PasswordPolicyModify}
		i := s.Identity(alice)
		list, err := s.DB.Read(t.Context()).History(i.Account, "", 0, 10, names...)
		if err != nil || len(list) != 1 {
			t.Errorf("events %v, %v", list, err)
		}
		saved(c, "session_hours", "9", "reuse", "5")
		if got := settingsOf(s); got.SessionHours != 9 || got.Password.Reuse != 5 {
			t.Errorf("saved %+v", got)
		}
	})
}

func TestAuditorsReadSettingsAndNames(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	signedIn(s)
	c := memberIn(s, "otto", bound(s, putMember(s, "otto", account.Auditor)))
	page := c.Get("/console/settings").Want(http.StatusOK)
	says(t, page, "MFA for RAM user sign-in", "All users", "6 hours", "LoginSessionDuration", "Allowed methods: Text message")
	saysNot(t, page, "/console/settings/preview", "<textarea", "<select")
	says(t, c.Get("/console/names").Want(http.StatusOK), string(s.Identity(alice).Account))
	saysNot(t, c.Get("/console/names"), `action="/console/names`)
	csrf := c.CSRF()
	for _, path := range []string{"/console/settings", "/console/settings/preview", "/console/settings/save", "/console/names/alias", "/console/names/domain", "/console/names/domain/verify", "/console/names/domain/remove"} {
		c.Post(path, map[string][]string{"csrf": {csrf}, "alias": {"stolen"}, "domain": {"example.com"}}).Want(http.StatusForbidden)
	}
	user := memberIn(s, "ursula", bound(s, putMember(s, "ursula", account.User)))
	for _, path := range []string{"/console/settings", "/console/names"} {
		user.Get(path).Want(http.StatusForbidden)
	}
	if got := settingsOf(s); !reflect.DeepEqual(got, account.DefaultSettings()) {
		t.Errorf("settings %+v", got)
	}
}

// named posts a form of the page of names, with a verification where one is asked for.
func named(c *testkit.Client, action string, fill ...string) testkit.Reply {
	c.T.Helper()
	r := c.Get("/console/names").Want(http.StatusOK).Submit(action, fill...)
	if strings.HasPrefix(r.Header.Get("Location"), "/verify?") {
		r = r.ProveBySent("email", alice)
	}
	if r.StatusCode == http.StatusSeeOther {
		r = r.Follow()
	}
	return r
}

func TestTheAliasOfAnAccount(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		s.Account("zoe@example.com", testkit.Password)
		s.Put(func(tx *store.Tx) error { return tx.SetAlias(s.Identity("zoe@example.com").Account, "taken") })
		id := string(s.Identity(alice).Account)
		says(t, c.Get("/console/names").Want(http.StatusOK), id, "alice@"+id+"."+s.Admin.Suffix, s.URL+"/signin/ram/"+id, "alice@example.com")
		for typed, want := range map[string]string{"taken": "Another account has this alias.", "a": "3 to 32", "two--hyphens": "3 to 32", "1234567890123456": "account ID"} {
			got := named(c, "/console/names/alias", "alias", typed)
			says(t, got, want, `href="#alias"`, `value="`+typed+`"`, "<title>Error")
		}
		done := named(c, "/console/names/alias", "alias", " ACME ").Want(http.StatusOK)
		says(t, done, "The alias is changed.", "alice@acme."+s.Admin.Suffix, s.URL+"/signin/ram/acme", "<code class=\"reference\">alice@acme</code>")
		putMember(s, "bob", account.User)
		for _, door := range []string{"acme", id} {
			c := s.Client()
			c.Get("/signin/ram/"+door).Want(http.StatusOK).Submit("/signin/ram/"+door, "username", "bob", "password", testkit.Password).Want(http.StatusSeeOther)
		}
	})
}

func TestADomainAliasIsProvedByItsTXTRecord(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	records, asked := map[string][]string{}, []string{}
	var failing error
	s.Admin.TXT = func(_ context.Context, name string) ([]string, error) {
		asked = append(asked, name)
		if failing != nil {
			return nil, failing
		}
		if r, ok := records[name]; ok {
			return r, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	c := signedIn(s)
	for _, typed := range []string{"nodots", "acme." + s.Admin.Suffix, "exa mple.com", "-.com"} {
		got := named(c, "/console/names/domain", "domain", typed)
		says(t, got, "Enter a domain like example.com", `href="#domain"`, `value="`+typed+`"`)
	}
	page := named(c, "/console/names/domain", "domain", "Example.ORG.").Want(http.StatusOK)
	says(t, page, "The domain is added.", "Not verified", "_countersign.example.org", "countersign-domain-verification=")
	says(t, named(c, "/console/names/domain", "domain", "example.org"), "in your list already")

	unproved := named(c, "/console/names/domain/verify")
	says(t, unproved, "The TXT record was not found.", `href="#verify-example.org"`, `id="verify-example.org"`)
	if !slices.Contains(asked, "_countersign.example.org") || !slices.Contains(asked, "example.org") {
		t.Errorf("asked for %v", asked)
	}
	failing = errors.New("the resolver is down")
	says(t, named(c, "/console/names/domain/verify"), "The DNS does not answer")
	failing = nil
	_, value, _ := strings.Cut(page.Body, `id="txt-value-0">`)
	value, _, _ = strings.Cut(value, "<")
	records["_countersign.example.org"] = []string{"v=spf1 -all", value}
	done := named(c, "/console/names/domain/verify").Want(http.StatusOK)
	says(t, done, "The domain is verified.", "Verified", "alice@example.org")
	saysNot(t, done, "countersign-domain-verification=")

	putMember(s, "bob", account.User)
	door := s.Client()
	door.Get("/signin/ram").Want(http.StatusOK).Submit("/signin/ram", "username", "bob@example.org", "password", testkit.Password).Want(http.StatusSeeOther)

	gone := named(c, "/console/names/domain/remove").Want(http.StatusOK)
	says(t, gone, "The domain is removed.", "None so far.")
	door = s.Client()
	door.Get("/signin/ram").Submit("/signin/ram", "username", "bob@example.org", "password", testkit.Password).Want(http.StatusUnauthorized)
}
