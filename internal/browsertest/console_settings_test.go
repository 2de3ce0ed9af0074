package browsertest_test

import (
	"regexp"
	"strings"
	"testing"

	"countersign/internal/browsertest"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/flow/recovery"
	"countersign/internal/locale"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// previews posts the form of the settings.
func (p *person) previews() {
	p.T.Helper()
	p.Follow(".settings-next .button")
}

// saves saves what is previewed, after a verification.
func (p *person) saves() {
	p.T.Helper()
	p.Follow("form[action$='/save'] .button")
	p.On("/verify", "verify.title") // always: it is for exactly these values
	p.proves("purpose.change_settings")
	p.On("/console/settings", "settings.title")
	p.Says("done.settings_saved")
}

// wouldLockHerselfOut chooses networks that the administrator is not in.
func (m *member) wouldLockHerselfOut() {
	m.T.Helper()
	m.Visit("/console/settings")
	m.Type("#session_hours", "99")
	m.previews()
	m.Status(422)
	m.Type("#session_hours", "8")
	m.Type("#masks", "203.0.113.0/24")
	m.previews()
	m.Refuses(409, "fault.settings.author_mask")
	m.Says("settings_preview.author")
	if browsertest.Eval[bool](m.Tab, "!!document.querySelector(\"form[action$='/save']\")") {
		m.T.Error("it can be saved all the same")
	}
	m.Look("settings-locked")
	m.Follow("form[action='/console/settings'] button")
	m.On("/console/settings", "settings.title")
	m.shows("#session_hours", "8")
	m.shows("#masks", "203.0.113.0/24")
}

// changesTheRules switches text messages and self-management off.
func (c *company) changesTheRules() {
	c.T.Helper()
	c.Visit("/console/settings")
	if c.Text("h1") != c.L.T("settings.title") {
		c.entersPassword()
		c.Visit("/console/settings")
	}
	c.Look("settings")
	c.previews()
	c.On("/console/settings/preview", "settings_preview.title")
	c.Says("settings_preview.nothing")
	c.Visit("/console/settings")
	c.Click("#allow_sms")
	c.Click("#manage_mfa")
	c.previews()
	c.On("/console/settings/preview", "settings_preview.title")
	if people := c.Text(".people"); !strings.Contains(people, "dan") {
		c.T.Errorf("who must bind a device: %q", people)
	}
	c.Look("settings-preview")
	c.saves()
	if browsertest.Eval[bool](c.Tab, "document.querySelector('#allow_sms').checked || document.querySelector('#manage_mfa').checked") {
		c.T.Error("the settings are as before")
	}
}

// comesBackUnderNewRules is asked to sign in again: the text message that the
// session rests on is no longer enough.
func (m *member) comesBackUnderNewRules() {
	m.T.Helper()
	m.Visit("/security/history")
	m.On("/signin/ram/"+m.domain(), "ram.title")
	m.Says("done.rules_changed")
	m.Look("rules-changed")
	m.types()
	m.On("/signin/verify", "second.title") // the phone still says who it is
	m.answers(string(mobile))
	m.binds()
	m.On("/security/welcome", "welcome.title") // the recovery codes of before are still good
	m.Follow(".actions .button")
	m.On("/security/history", "row.history")
}

// isManaged sees Security Information, and changes nothing there.
func (m *member) isManaged() {
	m.T.Helper()
	m.Visit("/security")
	m.Says("fault.managed.mfa")
	m.Look("staff-security-managed")
	m.Visit("/security/virtual-mfa")
	m.Says("fault.managed.mfa")
	if n := browsertest.Eval[int](m.Tab, "document.querySelectorAll('main .button').length"); n > 0 {
		m.T.Errorf("%d buttons for a device that is managed", n)
	}
	m.Visit("/security/recovery-codes")
	m.Says("fault.managed.mfa")
	for _, path := range []string{"/security/virtual-mfa/replace", "/security/virtual-mfa/unbind", "/security/virtual-mfa/resynchronise"} {
		m.Visit(path)
		if !strings.Contains(m.Text("main"), m.L.T("fault.managed.mfa")) {
			m.T.Errorf("%s says %q", path, m.Text("main"))
		}
	}
}

// The owner gives the account another alias, and users sign in with it in each
// of the documented forms.
func TestTheNamesOfTheAccount(t *testing.T) {
	t.Parallel()
	c := founded(t, "en")
	c.hires("eve,Eve")
	c.Visit("/console/names")
	c.Type("#alias", "-Acme-")
	c.Follow("[action$='/alias'] .button")
	c.proves("purpose.change_names")
	c.Status(422)
	c.Says("fault.alias.form", "Min", 3, "Max", 32)
	c.Look("names-refused")
	c.Type("#alias", "acme")
	c.Follow("[action$='/alias'] .button")
	c.proves("purpose.change_names")
	c.Says("done.alias_changed")
	if copied := c.Copied("[data-copy='#signin-url']"); copied != c.Site.URL+"/signin/ram/acme" {
		t.Errorf("the address is %q", copied)
	}
	c.Type("#domain", "example.org")
	c.Follow("[action$='/domain'] .button")
	c.proves("purpose.change_names")
	c.Says("done.domain_added")
	c.Look("names-domain")
	c.Click("details:has(#remove-example\\.org) summary")
	c.Follow("#remove-example\\.org")
	c.proves("purpose.change_names")
	c.Says("done.domain_removed")

	c.domain = "acme.ram.localhost"
	m := c.member("eve")
	m.joins()
	for _, name := range []string{"eve@acme", "EVE@acme.ram.localhost", "eve@" + c.id()} {
		m.leaves()
		m.name = name
		m.returns()
		m.On("/security", "security.title.user")
	}
	m.leaves()
	m.Visit("/signin/ram/acme")
	m.Type("#username", "eve")
	m.Type("#password", m.password)
	m.Follow(browsertest.Submit)
	m.On("/signin/verify", "second.title")
	m.Visit("/signin") // and at the other door, for whoever comes there
	m.Type("#username", "eve@acme")
	m.Type("#password", m.password)
	m.Follow(browsertest.Submit)
	m.On("/signin/verify", "second.title")
}

// id is the account's ID.
func (c *company) id() string { return string(c.identity().Account) }

// disables takes console sign-in from somebody, who is signed out at once, and
// gives it back with another password.
func (m *member) disables(of *member) {
	m.T.Helper()
	user := "/console/users/" + m.id(of)
	m.Visit(user + "/authentication")
	m.Follow("main [href$='/disable']")
	m.Follow("main form .button-danger, main form .button:not(.button-secondary)")
	m.proves("purpose.disable_users")
	m.Says("done.user_disabled")
	of.Visit("/security")
	of.On("/signin/ram/"+of.domain(), "ram.title")
	of.types()
	of.Refuses(403, "fault.signin.disabled")

	m.Visit(user + "/signin")
	m.Click("#way-generate")
	m.Follow("main form .button:not(.button-secondary)")
	m.proves("purpose.set_user_password")
	m.On("/console/shown", "shown.password")
	of.password = m.Text(".secret")
	m.Look("staff-password")
	m.Click("#saved")
	m.Follow("main form > .button")
	m.told("dan@example.com", message.PasswordSetByAdmin)
	of.enters()
	of.Type("#code", of.app.Next())
	of.Follow(browsertest.Submit)
	of.setsPassword()
	of.On("/security", "security.title.user")
}

// isLeftAlone finds nothing to change on the page of her own.
func (m *member) isLeftAlone() {
	m.T.Helper()
	user := "/console/users/" + m.id(m)
	for _, page := range []string{user, user + "/authentication", user + "/sessions"} {
		m.Visit(page)
		m.Says("user.why.self")
		if found := browsertest.Eval[[]string](m.Tab, changes); len(found) > 0 {
			m.T.Errorf("%s offers %v", page, found)
		}
	}
	m.Look("staff-self")
}

var recoveryLink = regexp.MustCompile(`/recover/\S+`)

// cancelsTheRecovery follows the link of the mail that the operator's recovery
// sends.
func (m *member) cancelsTheRecovery() {
	m.T.Helper()
	all, err := m.Site.DB.Read(m.T.Context()).Users(m.identity().Account, store.UserQuery{Search: "carol", Limit: 1, Now: m.Site.Now()})
	if err != nil || len(all) != 1 {
		m.T.Fatal(len(all), err)
	}
	f := &recovery.Flow{Prover: m.Site.SignIn.Prover, Hasty: true}
	if _, err := f.Start(m.T.Context(), audit.Housekeeping("a test"), all[0].Identity, recovery.DefaultWait); err != nil {
		m.T.Fatal(err)
	}
	link := ""
	for _, mail := range m.inbox("carol@example.com") {
		if found := recoveryLink.FindString(mail.Text); link == "" {
			link = found
		}
	}
	m.Visit(link)
	if h := m.Text("h1"); h != m.L.T("recover.title") {
		m.T.Errorf("the heading is %q", h)
	}
	m.Look("recover")
	m.Follow(browsertest.Submit)
	m.Says("done.recovery_cancelled")
	m.Visit(link)
	m.Status(410)
}

// The pages of the console with users in every state, in the languages
// in which TestTheConsoleShowsWhoIsProtected does not look at them.
func TestTheConsoleInEveryLanguage(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All[1:] {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			site := testkit.NewSite(t, storetest.SQLite, nil)
			site.Account(email, testkit.Password)
			p := &person{Tab: browsertest.Open(t, site, l.Tag), app: &browsertest.App{T: t, Site: site}, password: testkit.Password}
			p.entersPassword()
			p.Visit("/console/users")
			p.Look("console-none")
			crew(site)
			for _, page := range []struct{ name, path string }{
				{"list", "/console/users"}, {"no-match", "/console/users?q=zzz"}, {"new", "/console/users/new"}, {"new-many", "/console/users/new?many=1"},
				{"overview", "/console/users/user-ada"}, {"authentication", "/console/users/user-ada/authentication"}, {"sessions", "/console/users/user-ada/sessions"},
				{"pending", "/console/users/user-grace.hopper-of-the-very-long-names/authentication"}, {"edit", "/console/users/user-ada/edit"}, {"role", "/console/users/user-ada/role"},
				{"signin", "/console/users/user-ada/signin"}, {"delete", "/console/users/user-ada/delete"}, {"unbind", "/console/users/user-ada/unbind?method=virtual_mfa"},
				{"names", "/console/names"},
			} {
				p.Visit(page.path)
				p.Status(200)
				p.Look("console-" + page.name)
			}
			p.Visit("/console/users")
			p.Click(`[value="user-carol"]`)
			p.Follow(`.selection [value=disable]`)
			p.Look("console-selection")
		})
	}
}
