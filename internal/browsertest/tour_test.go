package browsertest_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/locale"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Main(m)) }

const (
	email       = "owner@example.com"
	newPassword = "quiet lamp over river nine"
)

// A person sits before a browser with an authenticator app.
type person struct {
	*browsertest.Tab
	app      *browsertest.App
	password string
	codes    []string // recovery codes
}

// The list of the issue, "What a person can do", from the set-up link to the
// second device, in each language, on phone and desktop, light and dark.
func TestTheOwnersTour(t *testing.T) {
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			site := testkit.NewSite(t, storetest.SQLite, nil)
			p := &person{Tab: browsertest.Open(t, site, l.Tag), app: &browsertest.App{T: t, Site: site}, password: testkit.Password}
			p.createsTheAccount()
			p.signsInWithAPassword()
			p.bindsADevice(true)
			p.savesRecoveryCodes()
			p.signsOut()
			p.signsInWithACode()
			p.usesARecoveryCode()
			p.signsInWithADriftedApp()
			p.resynchronises()
			p.endsAnotherSession()
			p.changesThePassword()
			p.readsTheHistory()
			p.unbindsTheDevice()
			p.bindsADevice(false)
			p.Visit("/security")
			p.state("virtual-mfa", "state.on")
		})
	}
}

func (p *person) createsTheAccount() {
	p.T.Helper()
	link, err := p.Site.SetupURL(p.T.Context())
	if err != nil {
		p.T.Fatal(err)
	}
	p.Visit(link)
	p.On(strings.TrimPrefix(link, p.Site.URL), "signup.title")
	p.Look("setup")

	p.Type("#email", email)
	p.Type("#new_password", "short")
	p.Follow(browsertest.Submit)
	p.Refuses(422, "fault.password.short", "Min", 15)
	if kept := p.Value("#email"); kept != email {
		p.T.Errorf("the address was not kept: %q", kept)
	}
	if p.Value("#new_password") != "" {
		p.T.Error("the password came back")
	}
	p.Look("setup-refused")

	p.Type("#new_password", p.password)
	p.Click(".reveal-toggle")
	if kind := browsertest.Eval[string](p.Tab, "document.querySelector('#new_password').type"); kind != "text" {
		p.T.Errorf("the password is not shown: type %q", kind)
	}
	p.Follow(browsertest.Submit)
	p.On("/signup/verify", "confirm.title")
	p.Look("confirm")
	p.Type("#code", "000000")
	code := p.MailedCode()
	p.Outbox().Look("outbox")
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.code.sent_wrong")
	p.Type("#code", code)
	p.Follow(browsertest.Submit)
	p.On("/signin", "signin.title")
	p.Says("done.account_created")
	p.Look("signin-first")
	p.Visit(link)
	p.Status(410)
	p.On(strings.TrimPrefix(link, p.Site.URL), "failure.410")
	p.Says("fault.setup.used")
	p.Look("setup-used")
}

// entersPassword goes to the sign-in and passes its first step.
func (p *person) entersPassword() {
	p.T.Helper()
	p.Visit("/signin")
	p.Type("#username", email)
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit)
}

func (p *person) signsInWithAPassword() {
	p.T.Helper()
	p.Visit("/security")
	p.On("/signin", "signin.title")
	p.Look("signin")
	p.Follow(browsertest.Submit)
	p.Refuses(422, "fault.signin.name_absent")
	p.Type("#username", email)
	p.Type("#password", "not this one")
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.signin.wrong")
	if p.Value("#username") != email || p.Value("#password") != "" {
		p.T.Error("of the form, the address is to be kept and the password is not")
	}
	p.Look("signin-refused")
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
	p.state("email", "state.confirmed")
	p.state("password", "state.set")
	p.state("virtual-mfa", "state.off")
	p.state("recovery-codes", "state.off")
	p.state("sessions", "row.sessions.active", "Count", 1)
	p.Says("checkup.no_mfa")
	p.Look("settings-off")
	p.Follow("#row-email .button")
	p.On("/security/email", "row.email")
	p.Look("email")
	p.Follow(".alt a")
	p.Follow("#row-recovery-codes .button")
	p.Says("recovery.first_bind")
	p.Look("recovery-codes-off")
	p.Follow(".alt a")
}

// state checks what a row of Security Settings says.
func (p *person) state(row, key string, args ...any) {
	p.T.Helper()
	if got, want := p.Text("#row-"+row+" .pill"), p.L.T(key, args...); got != want {
		p.T.Errorf("row %s: state %q, want %q", row, got, want)
	}
}

// signsOut leaves, and looks whether Back brings anything back.
func (p *person) signsOut() {
	p.T.Helper()
	p.Visit("/security")
	p.Follow(".nav .link-button")
	p.On("/signedout", "signed_out.title")
	for range 4 {
		p.Back()
		if page := p.Text("body"); strings.Contains(page, p.L.T("security.title")) || strings.Contains(page, email) {
			p.T.Fatalf("Back shows something private:\n%s", page)
		}
	}
	p.Visit("/signedout")
	p.Look("signedout")
}

func (p *person) signsInWithACode() {
	p.T.Helper()
	p.entersPassword()
	p.On("/signin/verify", "second.title")
	p.Look("second")
	p.Follow(browsertest.Submit)
	p.Refuses(422, "fault.code.missing")
	last := p.app.At(0) // the second code of the binding
	for _, refused := range []struct{ code, key, look string }{
		{p.app.Wrong(0), "fault.code.wrong", "second-wrong"},
		{last, "fault.code.used", "second-used"},
		{p.app.At(-5 * time.Minute), "fault.code.stale", "second-stale"},
	} {
		p.Type("#code", refused.code)
		p.Follow(browsertest.Submit)
		p.Refuses(401, refused.key)
		if p.Value("#code") != "" {
			p.T.Error("a wrong code is kept")
		}
		p.Look(refused.look)
	}
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
}

func (p *person) usesARecoveryCode() {
	p.T.Helper()
	p.Follow(".nav .link-button")
	p.entersPassword()
	p.follow("method.another")
	p.On("/signin/methods", "method.choose")
	p.Look("methods")
	p.Follow(".choice[href*='recovery_code']")
	p.On("/signin/verify", "second.title")
	p.Type("#code", "ABCDEFG-HJKMNPQ")
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.recovery.wrong")
	p.Look("recovery-code-refused")
	p.Type("#code", strings.ToLower(strings.ReplaceAll(p.codes[0], "-", " ")))
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
	p.Says("row.recovery_codes.left", "Count", 9)
	p.codes = p.codes[1:]
}

// follow follows the link that says what a key stands for.
func (p *person) follow(key string) {
	p.T.Helper()
	browsertest.Eval[any](p.Tab, "[...document.querySelectorAll('main a')].forEach(a => a.toggleAttribute('data-here', a.innerText === %s))", p.L.T(key))
	p.Follow("[data-here]")
}

func (p *person) signsInWithADriftedApp() {
	p.T.Helper()
	p.app.Wait(5 * time.Minute)
	p.app.Drift = 90 * time.Second
	p.Follow(".nav .link-button")
	p.entersPassword()
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.code.wrong")
	p.follow("codes.drifted_link")
	p.Says("codes.drifted")
	p.Look("second-drifted")
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
	p.Follow(".nav .link-button")
	p.entersPassword()
	p.Type("#code", p.app.Next()) // one is enough now
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
}

// verifies proves to a page that asks who is there.
func (p *person) verifies(purpose string) {
	p.T.Helper()
	p.On("/verify", "verify.title")
	p.Says(purpose)
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
}

func (p *person) endsAnotherSession() {
	p.T.Helper()
	other := &person{Tab: browsertest.Open(p.T, p.Site, p.L.Tag), app: p.app, password: p.password}
	other.entersPassword()
	other.Type("#code", p.app.Next())
	other.Follow(browsertest.Submit)
	other.On("/security", "security.title")
	other.state("sessions", "row.sessions.active", "Count", 2)

	p.app.Wait(11 * time.Minute) // the sign-in is no fresh proof any more
	p.Visit("/security/sessions")
	p.On("/security/sessions", "row.sessions")
	p.Look("sessions")
	p.Follow("[name=session]")
	p.Look("verify-code")
	p.verifies("purpose.end_sessions")
	p.On("/security/sessions", "row.sessions")
	p.Says("done.session_ended") // what the button asked for, without asking again
	p.Look("sessions-ended")
	other.Visit("/security")
	other.On("/signin", "signin.title")

	other.entersPassword()
	other.Type("#code", p.app.Next())
	other.Follow(browsertest.Submit)
	p.Visit("/security/sessions")
	p.Follow("form[action$='end-others'] .button")
	p.Says("done.sessions_ended")
	other.Visit("/security")
	other.On("/signin", "signin.title")
}

func (p *person) changesThePassword() {
	p.T.Helper()
	p.app.Wait(11 * time.Minute)
	p.Visit("/security")
	p.Follow("#row-password .button")
	p.verifies("purpose.change_password")
	p.On("/security/password", "password.title")
	p.Look("password")
	p.Type("#password", "not this one")
	p.Type("#new_password", newPassword)
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.password.wrong")
	p.Look("password-refused")
	p.Type("#password", p.password)
	p.Type("#new_password", newPassword)
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
	p.Says("done.password_changed")
	p.password = newPassword
}

func (p *person) readsTheHistory() {
	p.T.Helper()
	p.Visit("/security")
	p.Follow("#row-history .button")
	p.On("/security/history", "row.history")
	p.Look("history")
	var all strings.Builder
	for {
		all.WriteString(p.Text(".rows-log"))
		if browsertest.Eval[int](p.Tab, "document.querySelectorAll('nav .button').length") == 0 {
			break
		}
		p.Follow("nav .button")
	}
	for _, want := range []string{
		p.L.T("event.AccountReg"), p.L.T("event.ConsoleSignin.refused"),
		p.L.T("event.ConsoleSignin", "How", p.L.T("how.urn:mfa:1")), p.L.T("event.IdentityVerify", "Method", p.L.T("method.email")),
		p.L.T("event.MFABind", "Name", "Pixel 9"), p.L.T("event.RecoveryCodesCreate"), p.L.T("event.ConsoleSignout"),
		p.L.T("event.ConsoleSignin.refused_code", "Method", p.L.T("method.virtual_mfa")), p.L.T("event.ConsoleSignin", "How", p.L.T("how.urn:mfa:2")),
		p.L.T("event.RecoveryCodeUse"), p.L.T("event.MFAResynchronise.refused"), p.L.T("event.MFAResynchronise"), p.L.T("event.SessionEnd"),
		p.L.T("event.PasswordModify.refused"), p.L.T("event.PasswordModify"),
	} {
		if !strings.Contains(all.String(), want) {
			p.T.Errorf("the history does not say %q; it says\n%s", want, all.String())
		}
	}
}
