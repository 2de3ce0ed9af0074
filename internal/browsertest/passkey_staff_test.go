package browsertest_test

import (
	"strings"
	"testing"

	"countersign/internal/browsertest"
	"countersign/internal/domain/message"
	"countersign/internal/locale"
)

// withNothingSuggested keeps the browser from offering passkeys by itself,
// which the virtual one takes at once.
func (p *person) withNothingSuggested() {
	p.T.Helper()
	p.Before("if (window.PublicKeyCredential) PublicKeyCredential.isConditionalMediationAvailable = async () => false")
}

// entersName passes the first step at the door of the RAM users.
func (m *member) entersName() {
	m.T.Helper()
	m.Visit("/signin/ram?other=1")
	m.Type("#username", m.name)
	m.Type("#password", m.password)
	m.Follow(withoutPasskey)
}

// Passkeys of a RAM user, from the first sign-in to the passkey that an
// administrator removes, in each language, on phone and desktop, light and
// dark.
func TestTheTourOfPasskeysOfTheStaff(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			c := &company{person: ownerIn(t, l.Tag), initial: map[string]string{}}
			c.withPassword()
			c.hires("eve,Eve Ek,eve@example.com")
			m := c.member("eve")
			laptop := m.Holds(browsertest.Laptop())
			m.joinsByPasskey(laptop)
			m.comesThroughBothDoors(laptop)
			c.forbidsPasskeysAlone()
			m.usesItAsSecondStep()
			c.removesThePasskeyOf(m)
			m.isToldThatItIsGone(laptop)
		})
	}
}

func (m *member) joinsByPasskey(laptop *browsertest.Authenticator) {
	m.T.Helper()
	m.entersName()
	m.On("/signin/bind", "wizard.title")
	if first := browsertest.Eval[string](m.Tab, "document.querySelector('.choice').value"); first != "passkey" {
		m.T.Errorf("the first choice is %q", first)
	}
	m.Says("wizard.needs.passkey")
	m.Look("passkey-wizard-choice")
	m.Follow("[name=method][value=passkey]")
	m.On("/signin/bind", "passkey.new")
	m.Says("part.step", "Step", 2, "Of", 3)
	m.Says("passkey.benefit")
	m.Look("passkey-wizard")
	laptop.Unlock(false)
	m.declines("passkey.js.cancelled")
	laptop.Unlock(true)
	m.Reload()
	m.Follow(withPasskey)
	m.setsPassword()
	m.On("/security/recovery-codes/new", "codes_new.title")
	m.told("eve@example.com", message.PasskeyAdded)
	m.savesTheCodes()
	m.isConfirmed("passkey.saved.devices")
	m.On("/security/welcome", "welcome.title")
	m.Says("method.passkey")
	m.Look("passkey-wizard-welcome")
	m.follow("welcome.later")
	m.On("/security", "security.title.user")
}

// isConfirmed is told where the new passkey is, and goes on.
func (p *person) isConfirmed(where string) {
	p.T.Helper()
	if !strings.HasPrefix(browsertest.Eval[string](p.Tab, "location.pathname"), "/security/passkeys/") {
		p.T.Errorf("at %s, nobody says where the passkey is", browsertest.Eval[string](p.Tab, "location.pathname"))
		return
	}
	p.is("passkey.ready")
	p.Says(where)
	p.Follow(".actions .button")
}

func (m *member) comesThroughBothDoors(laptop *browsertest.Authenticator) {
	m.T.Helper()
	laptop.Touch(false)
	for _, door := range []string{"/signin", "/signin/ram", "/signin/ram?other=1"} {
		m.leaves()
		m.Visit(door)
		laptop.Answers(withPasskey)
		m.On("/security", "security.title.user")
		if who := m.Text(".who"); !strings.Contains(who, m.name) {
			m.T.Errorf("from %s, signed in is %q", door, who)
		}
		laptop.Touch(false)
	}
	m.leaves()
	laptop.Touch(true)
	browsertest.Eval[any](m.Tab, "location.href = '/signin/ram', 0") // where the suggestion is taken at once
	m.arrives("/security")
	m.withNothingSuggested()
	m.leaves()
}

func (c *company) forbidsPasskeysAlone() {
	c.T.Helper()
	c.Visit("/console/settings")
	c.Says("settings.passkey_signin.hint")
	c.Click("#passkey_signin")
	c.previews()
	c.On("/console/settings/preview", "settings_preview.title")
	c.saves()
}

func (m *member) usesItAsSecondStep() {
	m.T.Helper()
	for _, door := range []string{"/signin", "/signin/ram"} {
		m.Visit(door)
		m.Follow(withPasskey)
		m.Refuses(403, "fault.signin.passkey_off")
		m.leadsSomewhere()
	}
	m.Look("passkey-off")
	m.entersName()
	m.On("/signin/verify", "second.title")
	m.Says("passkey.ask.passkey", "Device", m.named())
	m.follow("method.another")
	m.On("/signin/methods", "method.choose")
	m.Look("passkey-methods")
	m.Follow(".choice[href*='method=passkey']")
	m.Follow(withPasskey)
	m.On("/security", "security.title.user")
	m.Visit("/security/history")
}

// leadsSomewhere checks that the link in a refusal leads to what is wrong.
func (p *person) leadsSomewhere() {
	p.T.Helper()
	if dead := browsertest.Eval[[]string](p.Tab, "[...document.querySelectorAll('.error-summary a')].map(a => a.getAttribute('href')).filter(h => !document.querySelector(h))"); len(dead) > 0 {
		p.T.Errorf("the refusal links to %q, which is not on the page", dead)
	}
}

func (c *company) removesThePasskeyOf(m *member) {
	c.T.Helper()
	c.Visit("/console/users?mfa=passkey")
	if list := c.Text("tbody"); !strings.Contains(list, "eve") || !strings.Contains(list, c.L.T("kind.passkey")) {
		c.T.Errorf("listed are %q", list)
	}
	c.Follow("tbody th a")
	c.Follow(".tabs [href$='/authentication']")
	c.Says("user.passkey.synced")
	c.Look("passkey-console-user")
	c.Follow(`main [href*="/unbind"]`)
	c.Says("admin_unbind.passkey")
	browsertest.Eval[any](c.Tab, `document.querySelector('#check').value = 'in_person', 0`)
	c.Type("#reason", "Lost on the train")
	c.Look("passkey-console-unbind")
	c.Follow("main form .button-danger")
	c.proves("purpose.unbind_user")
	c.On("/console/shown", "shown.ticket")
	m.codes = []string{strings.TrimSpace(c.Text(".ticket"))}
	c.Click("#saved")
	c.Follow("main form > .button")
	c.told("eve@example.com", message.DeviceUnboundByAdmin)
	c.Visit("/console/users?q=eve")
	c.Follow("tbody th a")
	c.Follow(".tabs [href$='/activity']")
}

func (m *member) isToldThatItIsGone(laptop *browsertest.Authenticator) {
	m.T.Helper()
	laptop.Becomes(1)
	m.Visit("/security")
	m.On("/signin/ram/"+m.domain(), "ram.title")
	m.Follow(withPasskey)
	m.Refuses(401, "fault.passkey.unknown")
	m.leadsSomewhere()
	laptop.Becomes(0) // the browser was told
	m.Look("passkey-gone")
	m.Visit("/signin/ram")
	m.declines("passkey.js.cancelled")
	m.Type("#username", m.name)
	m.Type("#password", m.password)
	m.Follow(withoutPasskey)
	m.On("/signin/verify", "ticket.title")
	m.Type("#code", m.codes[0])
	m.Follow(browsertest.Submit)
	m.On("/signin/bind", "wizard.lost")
	m.Follow("[name=method][value=passkey]")
	m.Follow(withPasskey)
	m.savesTheCodes()
	laptop.Becomes(1)
	m.Visit("/security")
	m.On("/security", "security.title.user")
}
