package browsertest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"countersign/internal/browsertest"
	"countersign/internal/domain/message"
	"countersign/internal/locale"
)

// staffPassword is what RAM users choose.
const staffPassword = "a kettle of seven sparrows"

// A company is an account whose owner sits before a browser, with the initial
// passwords of the users that were created.
type company struct {
	*person
	initial map[string]string // by sign-in name
	domain  string            // that the names end in
}

// A member is a RAM user before a browser of their own.
type member struct {
	*person
	name string // to sign in with
}

func founded(t *testing.T, language string) *company {
	t.Helper()
	c := &company{person: ownerIn(t, language), initial: map[string]string{}}
	c.entersPassword()
	return c
}

// proves answers a verification where one is asked for.
func (p *person) proves(purpose string) {
	p.T.Helper()
	if browsertest.Eval[string](p.Tab, "location.pathname") != "/verify" {
		return
	}
	p.Says(purpose)
	if p.app.Key == "" {
		p.answers(email)
		return
	}
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
}

// hires creates users, one a line, and reads the passwords off the page.
func (c *company) hires(lines string, looks ...string) {
	c.T.Helper()
	c.Visit("/console/users/new?many=1")
	browsertest.Eval[any](c.Tab, "document.querySelector('#users').value = %s, 0", lines) // pasted
	see(c.person, looks, 0)
	c.Follow("main form .button:not(.button-secondary)")
	c.proves("purpose.create_users")
	if heading := "shown.created"; strings.Contains(strings.TrimSpace(lines), "\n") {
		c.On("/console/shown", heading)
	} else {
		c.On("/console/shown", heading+".one")
	}
	see(c.person, looks, 1)
	for _, row := range browsertest.Eval[[][]string](c.Tab, "[...document.querySelectorAll('tr:has(.secret)')].map(tr => [tr.querySelector('th').innerText, tr.querySelector('.secret').innerText])") {
		c.initial[row[0]] = row[1]
		name, domain, _ := strings.Cut(row[0], "@")
		c.initial[name], c.domain = row[1], domain
	}
	c.Click("#saved")
	c.Follow("main form > .button")
	c.Says("done.shown")
	if strings.Contains(c.Text("body"), c.initial[strings.Split(lines, ",")[0]]) {
		c.T.Error("a password is shown again")
	}
}

// member opens a browser for somebody of the company.
func (c *company) member(name string) *member {
	c.T.Helper()
	return &member{&person{Tab: browsertest.Open(c.T, c.Site, c.L.Tag), app: &browsertest.App{T: c.T, Site: c.Site}, password: c.initial[name]}, name + "@" + c.domain}
}

// enters passes the first step at the door of the RAM users.
func (m *member) enters() {
	m.T.Helper()
	m.Visit("/signin/ram?other=1")
	m.types()
}

func (m *member) types() {
	m.T.Helper()
	m.Type("#username", m.name)
	m.Type("#password", m.password)
	m.Follow(browsertest.Submit)
}

// binds sets up an app in the wizard.
func (m *member) binds(looks ...string) {
	m.T.Helper()
	m.bindsAt("wizard.title", looks...)
}

func (m *member) bindsAt(heading string, looks ...string) {
	m.T.Helper()
	m.On("/signin/bind", heading)
	m.Says("part.step", "Step", 1, "Of", 3)
	see(m.person, looks, 0)
	m.Follow("[name=method][value=virtual_mfa]")
	m.On("/signin/bind", "bind.title")
	m.Says("part.step", "Step", 2, "Of", 3)
	if len(looks) > 1 {
		m.scansTheKey()
	} else {
		m.readsTheKey()
	}
	see(m.person, looks, 1)
	m.Type("#name", "Pixel 9")
	if len(looks) > 1 {
		m.Type("#code", m.app.Wrong(0))
		m.Follow(browsertest.Submit)
		m.Status(401)
		m.Says("fault.code.wrong")
		m.shows("#name", "Pixel 9")
		see(m.person, looks, 2)
	}
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
}

// chooses a password in place of the one that was given.
func (m *member) setsPassword(looks ...string) {
	m.T.Helper()
	m.On("/signin/password", "new_password.title")
	m.Says("new_password.why")
	see(m.person, looks, 0)
	if len(looks) > 0 {
		m.Type("#new_password", "short")
		m.Follow(browsertest.Submit)
		m.Status(422)
	}
	m.Type("#new_password", staffPassword)
	m.Follow(browsertest.Submit)
	m.password = staffPassword
}

// keeps the recovery codes, and is welcomed.
func (m *member) keeps(looks ...string) {
	m.T.Helper()
	m.On("/security/recovery-codes/new", "codes_new.title")
	m.codes = browsertest.Eval[[]string](m.Tab, "[...document.querySelectorAll('#codes li')].map(li => li.textContent.trim())")
	if len(m.codes) != 10 {
		m.T.Errorf("%d recovery codes", len(m.codes))
	}
	see(m.person, looks, 0)
	m.Click("#saved")
	m.Follow(browsertest.Submit)
	m.On("/security/welcome", "welcome.title")
	m.Says("part.step", "Step", 3, "Of", 3)
	m.Says("welcome.second")
	see(m.person, looks, 1)
	m.follow("welcome.later")
}

// joins signs in for the first time, without looking around.
func (m *member) joins() {
	m.T.Helper()
	m.enters()
	m.binds()
	m.setsPassword()
	m.keeps()
	m.On("/security", "security.title.user")
}

// returns signs in with password and app.
func (m *member) returns() {
	m.T.Helper()
	m.enters()
	m.On("/signin/verify", "second.title")
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
}

// From the first user that is created to the device that is lost, each role at
// its own browser, in each language, on phone and desktop, light and dark.
func TestTheTourOfTheStaff(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			c := founded(t, l.Tag)
			c.hires("ada,Ada Lovelace,ada@example.com,,administrator\nbo,Bo Ek,,,auditor\ncarol,Carol Ek,carol@example.com\ndan,Dan Ek,dan@example.com\n", "", "staff-created")
			ada, bo, carol, dan := c.member("ada"), c.member("bo"), c.member("carol"), c.member("dan")
			ada.joinsWithAnApp()
			dan.joinsByText()
			carol.joins()
			bo.joins()
			bo.readsEverything("/console/users/" + ada.id(carol))
			bo.findsAndExports()
			carol.looksAfterHerself()
			ada.unbinds(carol)
			carol.enrolsAgain(ada)
			carol.isRefusedTheConsole()
			ada.wouldLockHerselfOut()
			c.changesTheRules()
			dan.comesBackUnderNewRules()
			carol.isManaged()
			ada.disables(dan)
			ada.isLeftAlone()
			carol.cancelsTheRecovery()
		})
	}
}

func (m *member) joinsWithAnApp() {
	m.T.Helper()
	m.Visit("/console/users?role=auditor")
	m.On("/signin", "signin.title")
	m.follow("signin.ram")
	m.On("/signin/ram", "ram.title")
	m.Says("signin.to_continue")
	m.Look("staff-signin")
	right := m.password
	m.password = "not this one"
	m.types()
	m.Refuses(401, "fault.signin.wrong")
	m.password = right
	m.types()
	m.binds("wizard-choice", "wizard-app")
	m.setsPassword("wizard-password")
	m.keeps("wizard-codes", "wizard-welcome")
	m.On("/console/users", "users.title") // the page first asked for
	if role := m.Query().Get("role"); role != "auditor" {
		m.T.Errorf("the query is lost: %q", role)
	}
	m.told("ada@example.com", message.DeviceBound)
	m.Visit("/signin/ram")
	m.Says("ram.username.domain", "Domain", m.domain())
}

func (m *member) domain() string {
	_, domain, _ := strings.Cut(m.name, "@")
	return domain
}

func (m *member) joinsByText() {
	m.T.Helper()
	m.Visit("/signin/ram/" + m.domain())
	m.Type("#username", strings.TrimSuffix(m.name, "@"+m.domain())) // the door knows the rest
	m.Type("#password", m.password)
	m.Follow(browsertest.Submit)
	m.On("/signin/bind", "wizard.title")
	m.Follow("[name=method][value=sms]")
	m.On("/signin/bind", "phone.attach")
	m.Says("part.step", "Step", 2, "Of", 3)
	m.Look("wizard-phone")
	m.finds("CN")
	m.Type("#phone", "12")
	m.Follow(browsertest.Submit)
	m.Refuses(422, "fault.phone.form")
	m.shows("#phone", "12")
	m.Type("#phone", mobileTyped)
	m.Follow(browsertest.Submit)
	m.On("/signin/bind", "confirm_new.title.sms")
	m.Look("wizard-phone-code")
	m.Type("#code", wrongFor(m.codeTo(string(mobile))))
	m.Follow(browsertest.Submit)
	m.Refuses(401, "fault.code.sent_wrong")
	m.Type("#code", m.codeTo(string(mobile)))
	m.Follow(browsertest.Submit)
	m.setsPassword()
	m.keeps()
	m.On("/security", "security.title.user")
	m.told(string(mobile), message.PhoneAttached)
}

// id is the ID of somebody, as the list links it.
func (m *member) id(of *member) string {
	m.T.Helper()
	m.Visit("/console/users?q=" + strings.TrimSuffix(of.name, "@"+of.domain()))
	return strings.TrimPrefix(browsertest.Eval[string](m.Tab, "document.querySelector('tbody th a').getAttribute('href')"), "/console/users/")
}

// changes is whatever on a page of the console changes something.
const changes = `[...document.querySelectorAll('main form[method=post]:not([action$=".csv"], [action^="/console/audit/"]), main a')]
	.map(e => new URL(e.action ?? e.href).pathname)
	.filter(path => path.startsWith('/console') && !/^\/console(\/(audit|report))?$|^\/console\/(users|settings|names)?(\/[0-9a-zA-Z_-]+(\/(authentication|sessions|activity))?)?$|^$/.test(path) || path.endsWith('/new'))`

// readsEverything is what an auditor does: every page, and no button.
func (m *member) readsEverything(user string) {
	m.T.Helper()
	for _, page := range []struct{ path, look string }{
		{"/console", "auditor-overview"}, {"/console/report", ""}, {"/console/audit", ""},
		{"/console/users", "auditor-users"}, {user, ""}, {user + "/authentication", ""}, {user + "/sessions", ""}, {user + "/activity", ""},
		{"/console/settings", "auditor-settings"}, {"/console/names", ""},
	} {
		m.Visit(page.path)
		m.Status(200)
		if found := browsertest.Eval[[]string](m.Tab, changes); len(found) > 0 {
			m.T.Errorf("%s offers an auditor %v", page.path, found)
		}
		if page.look != "" {
			m.Look(page.look)
		}
	}
	for _, path := range []string{"/console/users/new", user + "/edit", user + "/role", user + "/signin", user + "/delete", user + "/unbind?method=virtual_mfa"} {
		m.Visit(path)
		m.Status(403)
	}
	m.Says("fault.console.forbidden")
}

// findsAndExports searches, filters and sorts the list, and takes it along.
func (m *member) findsAndExports() {
	m.T.Helper()
	names := func(want ...string) {
		m.T.Helper()
		if got := browsertest.Eval[[]string](m.Tab, "[...document.querySelectorAll('tbody th')].map(th => th.innerText)"); !slices.Equal(got, want) {
			m.T.Errorf("listed are %q, want %q", got, want)
		}
	}
	m.Visit("/console/users")
	names("ada", "bo", "carol", "dan")
	m.Follow("th[aria-sort] a[href*='sort=-name']")
	names("dan", "carol", "bo", "ada")
	m.Type("#q", "ek")
	m.PressOn(kb.Enter)
	names("dan", "carol", "bo")
	browsertest.Eval[any](m.Tab, "document.querySelector('#mfa').value = 'sms', 0")
	m.Follow(".filter-go .button")
	names("dan")
	m.shows("#q", "ek")
	m.goesStale()
	m.Follow("form[action$='.csv'] .button")
	m.proves("purpose.export_users")
	m.Says("users.csv.ready")
	if name, file := m.Download(".note .link-button"); !strings.HasPrefix(name, "users-") || !strings.Contains(strings.ReplaceAll(file, `"`, ""), "dan,Dan Ek,dan@example.com") || strings.Contains(file, "carol") {
		m.T.Errorf("exported is %s: %q", name, file)
	}
}

// looksAfterHerself is what a user does for themself.
func (m *member) looksAfterHerself() {
	m.T.Helper()
	m.Visit("/security")
	m.state("virtual-mfa", "state.on")
	m.state("recovery-codes", "state.on")
	m.Look("staff-security")
	m.Follow("#row-virtual-mfa .button")
	m.Says("virtual_mfa.needed") // required: it can be exchanged, and not dropped
	m.Visit("/security/virtual-mfa/unbind")
	m.Says("virtual_mfa.needed")
	m.Follow(".actions [href$='/replace']")
	m.proves("purpose.replace_virtual_mfa")
	m.On("/security/virtual-mfa/replace", "bind.title")
	m.Says("bind.replaces", "Name", "Pixel 9")
	m.scansTheKey()
	m.Look("staff-replace")
	m.Type("#name", "Pixel 10")
	m.Type("#code", m.app.Next())
	m.Type("#code2", m.app.Next())
	m.Follow(browsertest.Submit)
	m.Visit("/security/virtual-mfa")
	if !strings.Contains(m.Text("dl"), "Pixel 10") {
		m.T.Errorf("the device is %q", m.Text("dl"))
	}
	m.Visit("/security/sessions")
	m.Visit("/security/history")
}

// unbinds takes the device of somebody off who has lost it, and prints the
// ticket.
func (m *member) unbinds(of *member) {
	m.T.Helper()
	m.Visit("/console/users/" + m.id(of) + "/authentication")
	m.Follow(`main [href*="/unbind"]`)
	m.Says("admin_unbind.follows")
	m.Follow("main form .button-danger")
	m.Refuses(422, "fault.unbind.check")
	browsertest.Eval[any](m.Tab, `document.querySelector('#check').value = 'known_phone', 0`)
	m.Type("#reason", "Lost on the train")
	m.Look("staff-unbind")
	m.Follow("main form .button-danger")
	m.On("/verify", "verify.title")
	m.proves("purpose.unbind_user")
	m.On("/console/shown", "shown.ticket")
	of.codes = []string{strings.TrimSpace(m.Text(".ticket"))}
	m.Look("staff-ticket")
	m.Click("#saved")
	m.Follow("main form > .button")
	m.Says("done.shown")
	m.told("carol@example.com", message.DeviceUnboundByAdmin)
	m.Visit("/console/users?mfa=none")
	m.Look("staff-reenrol")
}

// enrolsAgain is signed out, and binds another device by the ticket.
func (m *member) enrolsAgain(admin *member) {
	m.T.Helper()
	m.Visit("/security")
	m.On("/signin/ram/"+m.domain(), "ram.title")
	m.types()
	m.On("/signin/verify", "ticket.title")
	m.Look("staff-ticket-asked")
	m.Type("#code", "ABCDEFG-HJKMNPQ")
	m.Follow(browsertest.Submit)
	m.Refuses(401, "fault.ticket.wrong")
	m.Type("#code", strings.ToLower(m.codes[0]))
	m.Follow(browsertest.Submit)
	m.app = &browsertest.App{T: m.T, Site: m.Site}
	m.bindsAt("wizard.lost", "wizard-lost")
	m.keeps()
	m.On("/security", "security.title.user")
	m.state("virtual-mfa", "state.on")
	admin.Visit("/console/users?q=carol")
	if !strings.Contains(admin.Text("tbody"), admin.L.T("kind.virtual_mfa")) {
		admin.T.Errorf("the list says %q", admin.Text("tbody"))
	}
}

func (m *member) isRefusedTheConsole() {
	m.T.Helper()
	if strings.Contains(m.Text(".nav"), m.L.T("console.title")) {
		m.T.Error("a user is offered the console")
	}
	for _, path := range []string{"/console/users", "/console/settings", "/console/names", "/console/users/new"} {
		m.Visit(path)
		m.Status(403)
		m.On(path, "failure.403")
		m.Says("fault.console.forbidden")
	}
	m.Look("console-forbidden")
}
