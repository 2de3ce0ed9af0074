package browsertest_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/store"
)

// settles makes settings those of the account, as somebody in another browser
// would.
func (c *company) settles(change func(*account.Settings)) {
	c.T.Helper()
	i := c.identity()
	s, err := c.Site.DB.Read(c.T.Context()).Settings(i.Account)
	if err != nil {
		c.T.Fatal(err)
	}
	change(&s)
	c.Site.Put(func(tx *store.Tx) error { return tx.SetSettings(i.Account, s) })
}

// readsTheKey types it off the page, instead of scanning it.
func (m *member) readsTheKey() {
	m.T.Helper()
	m.app.Key = strings.Join(browsertest.Eval[[]string](m.Tab, "[...document.querySelectorAll('#key span')].map(s => s.textContent)"), "")
}

// step says at which page of the wizard somebody stands, and that nobody is
// signed in while it lasts.
func (m *member) step(path, heading string) {
	m.T.Helper()
	m.On(path, heading)
	if nav := m.Text(".nav"); nav != "" {
		m.T.Errorf("at %s the page offers %q", path, nav)
	}
}

// The way back of the browser works at every step, reloading changes nothing,
// and leaving does not sign in.
func TestTheWizardGoesBackAndIsReloaded(t *testing.T) {
	t.Parallel()
	c := founded(t, "en")
	c.hires("eve,Eve,eve@example.com")
	m := c.member("eve")
	m.Visit("/security/history")
	m.follow("signin.ram")
	m.types()
	m.step("/signin/bind", "wizard.title")
	m.Reload()
	m.step("/signin/bind", "wizard.title")
	choice := browsertest.Eval[string](m.Tab, "location.href")

	m.Follow("[name=method][value=virtual_mfa]")
	m.readsTheKey()
	key := m.app.Key
	m.Reload()
	m.step("/signin/bind", "bind.title")
	m.readsTheKey()
	if m.app.Key != key {
		t.Error("reloading makes another key")
	}
	m.Back()
	m.step("/signin/bind", "wizard.title")
	m.Follow("[name=method][value=sms]")
	m.step("/signin/bind", "phone.attach")
	m.follow("wizard.another")
	m.step("/signin/bind", "wizard.title")
	m.Back()
	m.step("/signin/bind", "phone.attach")
	m.finds("CN")
	m.Type("#phone", mobileTyped)
	m.Follow(browsertest.Submit)
	m.step("/signin/bind", "confirm_new.title.sms")
	sent := len(m.inbox(""))
	m.Reload()
	m.step("/signin/bind", "confirm_new.title.sms")
	m.follow("confirm_new.change.sms")
	m.step("/signin/bind", "phone.attach")
	m.shows("#country", "CN")
	m.Back()
	m.step("/signin/bind", "confirm_new.title.sms")
	if n := len(m.inbox("")); n != sent {
		t.Errorf("going back and forth sent %d messages", n-sent)
	}

	m.Visit("/security") // leaving: nobody is signed in
	m.step("/signin/ram/"+m.domain(), "ram.title")
	m.Visit(choice) // and coming back goes on
	m.step("/signin/bind", "wizard.title")
	m.Follow("[name=method][value=virtual_mfa]")
	m.readsTheKey()
	if m.app.Key != key {
		t.Error("coming back makes another key")
	}
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.step("/signin/password", "new_password.title")
	m.Back() // the device is bound: what the browser has kept of the step before leads on
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.step("/signin/password", "new_password.title")
	m.Back()
	m.Reload()
	m.step("/signin/password", "new_password.title")
	m.Reload()
	m.step("/signin/password", "new_password.title")
	m.setsPassword()
	m.On("/security/recovery-codes/new", "codes_new.title")
	codes := m.Text("#codes")
	m.Reload()
	if again := m.Text("#codes"); again != codes {
		t.Errorf("reloading shows %q, was %q", again, codes)
	}
	m.keeps()
	m.On("/security/history", "row.history") // the page first asked for
	m.Back()
	m.On("/security/welcome", "welcome.title")
	m.Back() // the codes were called saved
	if strings.Contains(m.Text("body"), strings.Fields(codes)[0]) {
		t.Error("the codes come back")
	}
	m.Visit(choice)
	m.Status(410)
	m.Says("fault.ceremony.gone")
	m.Look("wizard-over")
}

// One sign-in in two tabs: what is bound in one is over in the other, which
// says so and goes on from there.
func TestTheWizardInTwoTabs(t *testing.T) {
	t.Parallel()
	c := founded(t, "en")
	c.hires("eve,Eve\nfinn,Finn\ngil,Gil")
	m := c.member("eve")
	m.enters()
	m.Follow("[name=method][value=virtual_mfa]")
	m.readsTheKey()
	other := &member{&person{Tab: m.Beside(), app: m.app, password: m.password}, m.name}
	other.Visit(browsertest.Eval[string](m.Tab, "location.href"))
	other.step("/signin/bind", "bind.title")
	if uri := other.Scan(); !strings.Contains(uri, m.app.Key) {
		t.Error("the second tab shows another key")
	}
	third := &member{&person{Tab: m.Beside(), app: m.app, password: m.password}, m.name}
	third.Visit(strings.Split(browsertest.Eval[string](m.Tab, "location.href"), "&")[0])
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.step("/signin/password", "new_password.title")
	other.Type("#code", m.app.Next())
	other.Follow(browsertest.Submit)
	other.step("/signin/password", "new_password.title") // it stands elsewhere by now
	third.Follow("[name=method][value=sms]")
	third.step("/signin/password", "new_password.title")
	other.setsPassword()
	other.On("/security/recovery-codes/new", "codes_new.title")
	m.Type("#new_password", "another one of the nine lamps")
	m.Follow(browsertest.Submit)
	m.Status(410)
	m.Says("fault.ceremony.gone")
	m.Look("wizard-over-other-tab")
	m.Visit("/security") // the browser is signed in all the same
	m.On("/security", "security.title.user")
	other.keeps()

	c.expires("finn")
	c.expiresMeanwhile("gil")
}

// expires leaves the wizard lying for half an hour.
func (c *company) expires(name string) {
	c.T.Helper()
	m := c.member(name)
	m.enters()
	m.Follow("[name=method][value=virtual_mfa]")
	m.readsTheKey()
	c.app.Wait(ceremony.SessionLifetime + time.Second)
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.Refuses(410, "fault.ceremony.gone")
	if h := m.Text("h1"); h != m.L.T("ram.title") {
		m.T.Errorf("it goes on at %q", h)
	}
	m.Look("wizard-expired")
	m.Type("#username", m.name) // the form goes on from here
	m.Type("#password", m.password)
	m.Follow(browsertest.Submit)
	m.binds()
	m.setsPassword()
	m.keeps()
	m.On("/security", "security.title.user")
}

// expiresMeanwhile waits until the password that was given has had its time.
func (c *company) expiresMeanwhile(name string) {
	c.T.Helper()
	m := c.member(name)
	c.app.Wait(73 * time.Hour)
	m.enters()
	m.Status(403)
	m.Says("fault.signin.initial_expired")
	m.Look("staff-initial-expired")
}

// The owner changes the rules while somebody is on the way.
func TestTheRulesChangeUnderTheWizard(t *testing.T) {
	t.Parallel()
	c := founded(t, "en")
	c.hires("eve,Eve\nfinn,Finn\ngil,Gil\nhal,Hal")

	eve := c.member("eve") // text messages are switched off while the code is on its way
	eve.enters()
	eve.Follow("[name=method][value=sms]")
	eve.finds("CN")
	eve.Type("#phone", mobileTyped)
	eve.Follow(browsertest.Submit)
	code := eve.codeTo(string(mobile))
	c.Visit("/console/settings")
	c.Click("#allow_sms")
	c.previews()
	c.saves()
	eve.Type("#code", code)
	eve.Follow(browsertest.Submit)
	eve.step("/signin/bind", "wizard.title")
	if kinds := eve.Text(".choices"); strings.Contains(kinds, eve.L.T("method.sms")) {
		t.Errorf("offered are %q", kinds)
	}
	eve.Look("wizard-rules-changed")
	eve.binds()
	eve.setsPassword()
	eve.keepsAlone()
	eve.On("/security", "security.title.user")

	finn := c.member("finn") // nobody is asked any more
	finn.enters()
	finn.Follow("[name=method][value=virtual_mfa]")
	finn.readsTheKey()
	c.settles(func(s *account.Settings) { s.MFAOperation, s.AllowSMS = account.Independent, true })
	finn.clearsRequirement()
	finn.Reload()
	finn.step("/signin/password", "new_password.title")
	finn.setsPassword()
	finn.On("/security", "security.title.user")
	finn.state("virtual-mfa", "state.off")
	c.settles(func(s *account.Settings) { s.MFAOperation = account.Mandatory })
	finn.Visit("/security/sessions") // and all are asked again: the session is not enough
	finn.On("/signin/ram/"+finn.domain(), "ram.title")
	finn.Says("done.rules_changed")
	finn.types()
	finn.binds()
	finn.keeps()
	finn.On("/security/sessions", "row.sessions")

	gil := c.member("gil") // two kinds are required
	gil.enters()
	gil.Follow("[name=method][value=virtual_mfa]")
	gil.readsTheKey()
	c.settles(func(s *account.Settings) { s.TwoKinds = true })
	gil.Type("#code", gil.app.Next())
	gil.Follow(browsertest.Submit)
	gil.step("/signin/bind", "wizard.second")
	gil.Look("wizard-second")
	gil.Follow("[name=method][value=sms]")
	gil.finds("JP")
	gil.Type("#phone", newMobileTyped)
	gil.Follow(browsertest.Submit)
	gil.Type("#code", gil.codeTo(string(newMobile)))
	gil.Follow(browsertest.Submit)
	gil.setsPassword()
	gil.keepsAlone()
	gil.On("/security", "security.title.user")
	gil.state("phone", "state.confirmed")

	hal := c.member("hal") // grace: reminded, and let in
	c.settles(func(s *account.Settings) {
		s.TwoKinds, s.GraceUntil = false, c.Site.Now().Add(48*time.Hour)
	})
	hal.enters()
	hal.setsPassword()
	hal.On("/security/reminder", "reminder.title")
	hal.Look("reminder")
	hal.follow("reminder.later")
	hal.On("/security", "security.title.user")
	hal.Says("checkup.no_mfa")
	hal.app.Wait(20 * time.Minute)
	c.settles(func(s *account.Settings) { s.GraceUntil = time.Time{} })
	hal.Visit("/security/history")
	hal.On("/signin/ram/"+hal.domain(), "ram.title")
	hal.Says("done.rules_changed")
}

// clearsRequirement makes MFA optional in the own profile.
func (m *member) clearsRequirement() {
	m.T.Helper()
	owner := m.identity()
	users, err := m.Site.DB.Read(m.T.Context()).Users(owner.Account, store.UserQuery{Search: strings.TrimSuffix(m.name, "@"+m.domain()), Limit: 1, Now: m.Site.Now()})
	if err != nil || len(users) != 1 {
		m.T.Fatal(len(users), err)
	}
	users[0].Profile.MFARequired = false
	m.Site.Put(func(tx *store.Tx) error { return tx.SetProfile(owner.Account, users[0].ID, users[0].Profile) })
}

// keepsAlone keeps the codes, and binds no second kind.
func (m *member) keepsAlone() {
	m.T.Helper()
	m.On("/security/recovery-codes/new", "codes_new.title")
	m.Click("#saved")
	m.Follow(browsertest.Submit)
	m.On("/security/welcome", "welcome.title")
	m.follow("welcome.later")
}

// A phone, no JavaScript: the wizard, and a device that is unbound.
func TestTheWizardAndTheUnbindingWithoutScripts(t *testing.T) {
	t.Parallel()
	c := founded(t, "en")
	c.Screen(390, true)
	c.WithoutScripts()
	c.hires("eve,Eve,eve@example.com")
	m := c.member("eve")
	m.Screen(390, true)
	m.WithoutScripts()
	m.Visit("/security/history")
	m.follow("signin.ram")
	m.types()
	m.binds("", "wizard-app-without-scripts")
	m.setsPassword()
	m.keeps("wizard-codes-without-scripts")
	m.On("/security/history", "row.history")

	c.Visit("/console/users?q=eve")
	c.Follow("tbody th a")
	c.Follow(".tabs [href$='/authentication']")
	c.Follow(`main [href*="/unbind"]`)
	c.Follow("main form .button-danger")
	c.Status(422)
	c.Says("fault.unbind.check")
	c.Look("unbind-without-scripts")
	browsertest.Eval[any](c.Tab, "document.querySelector('#check').focus()")
	c.Press("In person")
	c.Type("#reason", "Lost on the train")
	c.Follow("main form .button-danger")
	c.proves("purpose.unbind_user")
	c.On("/console/shown", "shown.ticket")
	c.Look("ticket-without-scripts")
	ticket := strings.TrimSpace(c.Text(".ticket"))
	c.Click("#saved")
	c.Follow("main form > .button")

	m.Visit("/security")
	m.types()
	m.On("/signin/verify", "ticket.title")
	m.Type("#code", ticket)
	m.Follow(browsertest.Submit)
	m.app = &browsertest.App{T: t, Site: m.Site}
	m.Follow("[name=method][value=virtual_mfa]")
	m.readsTheKey()
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.keeps()
	m.On("/security", "security.title.user")
	m.state("virtual-mfa", "state.on")
}
