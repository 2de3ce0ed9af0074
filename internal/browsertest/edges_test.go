package browsertest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"countersign/internal/browsertest"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/throttle"
	"countersign/internal/locale"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// owner is someone with an account, before a fresh browser.
func owner(t *testing.T) *person {
	t.Helper()
	return ownerIn(t, "en")
}

func ownerIn(t *testing.T, language string) *person {
	t.Helper()
	site := testkit.NewSite(t, storetest.SQLite, nil)
	site.Account(email, testkit.Password)
	return &person{Tab: browsertest.Open(t, site, language), app: &browsertest.App{T: t, Site: site}, password: testkit.Password}
}

// bound is an owner whose device is bound, and who is signed out.
func bound(t *testing.T) *person {
	t.Helper()
	p := owner(t)
	p.entersPassword()
	p.bindsADevice(false)
	p.Visit("/security")
	p.Follow(".nav .link-button")
	return p
}

func TestTwoCodesAreAskedOnceManyWereWrong(t *testing.T) {
	t.Parallel()
	p := bound(t)
	p.Tab = browsertest.Open(t, p.Site, "en") // a browser that is not known
	for n := range throttle.BudgetSize {
		if n%throttle.CeremonyTries == 0 {
			p.entersPassword()
		}
		p.Type("#code", p.app.Wrong(n))
		p.Follow(browsertest.Submit)
	}
	p.On("/signin/verify", "signin.title")
	p.Refuses(410, "fault.ceremony.no_tries")
	p.Look("second-no-tries")

	p.entersPassword()
	p.Says("codes.ask", "Count", 2)
	p.Click("summary:not(.menu *)")
	p.Says("codes.why_text")
	p.Look("second-two-codes")
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.Waits("fault.code.too_many", 15)
	p.Look("second-too-many")

	p.app.Wait(throttle.SourceWindow)
	p.entersPassword()
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.Says("codes.ask", "Count", 2)
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.At(0))
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.codes.wrong")
	p.Look("second-two-codes-refused")
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
}

func TestTooManyPasswordsMeanAWait(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.Visit("/signin")
	p.Type("#username", "somebody@example.com")
	for range throttle.PasswordTries {
		p.Type("#password", "not this one")
		p.Follow(browsertest.Submit)
		p.Refuses(401, "fault.signin.wrong")
	}
	p.Type("#password", "not this one")
	p.Follow(browsertest.Submit)
	p.Waits("fault.password.too_many", 15)
	p.Look("signin-too-many")
}

// chooses opens a menu of the header and chooses from it.
func (p *person) chooses(name, value string) {
	p.T.Helper()
	p.Click(".menu:has([name=" + name + "]) summary")
	p.Follow(".menu [name=" + name + "][value='" + value + "']")
	if name == "locale" {
		p.L = locale.Get(value)
	}
}

func TestALanguageKeepsTheStepAndWhatWasTyped(t *testing.T) {
	t.Parallel()
	p := bound(t)
	p.Visit("/signin?return_to=%2Fsecurity%2Fhistory")
	p.Type("#username", email)
	p.Click(".menu:has([name=locale]) summary")
	p.Look("menu")
	p.Click(".menu:has([name=locale]) summary")
	p.chooses("locale", "ja")
	p.On("/signin", "signin.title")
	if kept := p.Value("#username"); kept != email {
		t.Errorf("the address was not kept: %q", kept)
	}
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit)
	p.On("/signin/verify", "second.title")
	step := p.Query().Get("c")
	p.chooses("locale", "zh-CN")
	p.On("/signin/verify", "second.title")
	p.Type("#code", p.app.Wrong(0))
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.code.wrong")
	p.chooses("locale", "en") // from a page that was posted to
	p.On("/signin/verify", "second.title")
	if now := p.Query().Get("c"); now != step {
		t.Errorf("another ceremony: %q, was %q", now, step)
	}
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security/history", "row.history") // where one wanted to go
}

func TestAThemeChosenBeatsTheSystems(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.Visit("/signin")
	light := p.Colours()
	p.System("dark", "")
	dark := p.Colours()
	if dark == light {
		t.Fatalf("light and dark are both %s", light)
	}
	for _, c := range []struct{ system, chosen, want string }{
		{"light", "dark", dark}, {"dark", "dark", dark}, {"dark", "light", light}, {"light", "light", light}, {"light", "auto", light}, {"dark", "auto", dark},
	} {
		p.System(c.system, "")
		p.chooses("theme", c.chosen)
		p.On("/signin", "signin.title")
		if got := p.Colours(); got != c.want {
			t.Errorf("system %s, chosen %s: %s, want %s", c.system, c.chosen, got, c.want)
		}
		if c.chosen != "auto" && browsertest.Eval[string](p.Tab, "document.querySelector('meta[name=color-scheme]').content") != c.chosen {
			t.Errorf("chosen %s, the browser's own parts are not told", c.chosen)
		}
	}
}

func TestPagesThatAreOverSayWhatToDo(t *testing.T) {
	t.Parallel()
	p := bound(t)

	p.Visit("/signin")
	p.Forget("countersign_browser")
	p.Type("#username", email)
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit)
	p.On("/signin", "signin.title")
	p.Refuses(403, "fault.request.form_stale")
	p.Look("form-expired")
	if got := p.Value("#username"); got != email {
		t.Errorf("what was entered is gone: %q", got)
	}
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit) // the form that came back is good
	p.app.Wait(ceremony.Lifetime)
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/signin/verify", "signin.title")
	p.Refuses(410, "fault.ceremony.gone")
	p.Look("ceremony-expired")
	p.Type("#username", email) // the form goes on from here
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit)
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")

	p.app.Wait(61 * time.Minute) // the session idles away
	p.Visit("/security/history")
	p.On("/signin", "signin.title")
	p.Says("signin.to_continue")
	p.Type("#username", email)
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit)
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security/history", "row.history")

	p.Visit("/nowhere")
	p.Status(404)
	p.On("/nowhere", "failure.404")
	p.Says("fault.request.not_found")
	p.Look("not-found")
	p.Visit("/signout")
	p.Status(405)
	p.On("/signout", "failure.405")
	p.Says("fault.request.method")
	p.Look("method-not-allowed")
	p.Visit("/setup/" + strings.Repeat("A", 43))
	p.Status(404)
	p.Says("fault.setup.unknown")
}

func TestOfTwoTabsOneBindsADevice(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.entersPassword()
	p.Follow("#row-virtual-mfa .button")
	p.Follow("main form > .button")
	p.Type("#code", p.MailedCode())
	p.Follow(browsertest.Submit)
	p.On("/security/virtual-mfa/bind", "bind.title")
	second := &person{Tab: p.Beside(), app: &browsertest.App{T: t, Site: p.Site}, password: p.password}
	for _, one := range []*person{p, second} {
		one.Visit("/security/virtual-mfa/bind")
		one.Click(".steps details > summary")
		one.app.Key = strings.Join(strings.Fields(one.Text("#key")), "")
	}
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.Status(410) // the second tab has made a newer key
	p.Says("fault.bind.gone")
	p.Look("bind-gone")
	second.Type("#code", second.app.Next())
	second.Type("#code2", second.app.Next())
	second.Follow(browsertest.Submit)
	second.On("/security/recovery-codes/new", "codes_new.title")
	p.Visit("/security/virtual-mfa/bind")
	p.On("/security/virtual-mfa", "row.virtual_mfa")
}

func TestSignInAndBindWithoutScripts(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.WithoutScripts()
	p.entersPassword()
	p.On("/security", "security.title")
	p.bindsWithoutScripts()
	p.Click("#saved")
	p.Follow(browsertest.Submit)
	p.Says("done.codes_saved")
	p.Follow(".nav .link-button")
	p.On("/signedout", "signed_out.title")
	p.Follow("main .button")
	p.Type("#username", email)
	p.Type("#password", "not this one")
	p.Follow(browsertest.Submit)
	p.Status(401)
	p.Says("fault.signin.wrong")
	if p.Value("#username") != email {
		t.Error("the address was not kept")
	}
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit)
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
	p.chooses("locale", "ja")
	p.On("/security", "security.title")
}

func (p *person) bindsWithoutScripts() {
	p.T.Helper()
	p.Follow("#row-virtual-mfa .button")
	p.Follow("main form > .button")
	p.Type("#code", p.MailedCode())
	p.Follow(browsertest.Submit)
	p.On("/security/virtual-mfa/bind", "bind.title")
	p.Click(".steps details > summary")
	p.app.Key = strings.Join(strings.Fields(p.Text("#key")), "")
	if p.Scan() == "" || p.app.Key == "" {
		p.T.Fatal("no key")
	}
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security/recovery-codes/new", "codes_new.title")
	if n := browsertest.Eval[int](p.Tab, "[...document.querySelectorAll('main button')].filter(b => b.checkVisibility()).length"); n != 1 {
		p.T.Errorf("%d buttons can be seen, want the one that works without scripts", n)
	}
}

func TestSignInByKeyboardAlone(t *testing.T) {
	t.Parallel()
	p := bound(t)
	p.Visit("/security")
	p.On("/signin", "signin.title")
	p.focus("#username") // the page begins where one types
	p.Press(email + kb.Tab)
	p.focus("#password")
	p.Press("not this one" + kb.Tab)
	p.focus(".reveal-toggle")
	p.Press(kb.Enter)
	if kind := browsertest.Eval[string](p.Tab, "document.querySelector('#password').type"); kind != "text" {
		t.Errorf("the password is not shown: type %q", kind)
	}
	p.Press(kb.Tab)
	p.focus(browsertest.Submit)
	p.PressOn(kb.Enter)
	p.Refuses(401, "fault.signin.wrong")
	p.Press(kb.Tab)
	p.focus(".error-summary a")
	p.Press(kb.Enter)
	p.focus("#username")
	p.Press(kb.Tab)
	p.focus("#password")
	p.Press(p.password)
	p.PressOn(kb.Enter)
	p.On("/signin/verify", "second.title")
	p.focus("#code")
	p.Press(p.app.Next())
	p.PressOn(kb.Enter)
	p.On("/security", "security.title")

	p.Press(kb.Tab)
	p.focus(".skip")
	if top := browsertest.Eval[float64](p.Tab, "document.activeElement.getBoundingClientRect().top"); top < 0 {
		t.Error("the way past the header cannot be seen")
	}
	for range 3 {
		p.Press(kb.Tab)
	}
	p.focus(".menu:has([name=locale]) summary")
	p.Press(kb.Enter + kb.Tab)
	p.focus(".menu [name=locale][value=en]")
	p.Press(kb.Escape)
	p.focus(".menu:has([name=locale]) summary")
	if browsertest.Eval[bool](p.Tab, "document.querySelector('.menu').open") {
		t.Error("Escape leaves the menu open")
	}
	seen := map[string]bool{}
	for range 60 { // through all of the page and out of it
		p.Press(kb.Tab)
		at := browsertest.Eval[string](p.Tab, "document.activeElement === document.body ? '' : document.activeElement.innerText")
		if at == "" {
			break
		}
		p.focus(":focus")
		seen[at] = true
	}
	for _, want := range []string{p.L.T("page.sign_out"), p.L.T("action.manage") + p.L.T("row.virtual_mfa")} {
		found := false
		for s := range seen {
			found = found || strings.Join(strings.Fields(s), "") == strings.Join(strings.Fields(want), "")
		}
		if !found {
			t.Errorf("%q is not reached by Tab: %v", want, seen)
		}
	}
}

// focus checks where the focus is, and that it can be seen.
func (p *person) focus(selector string) {
	p.T.Helper()
	at := browsertest.Eval[struct {
		Here, Seen bool
		What       string
	}](p.Tab, `(() => {
		const e = document.activeElement, s = getComputedStyle(e);
		return {Here: e.matches(%s), Seen: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2, What: e.outerHTML.slice(0, 200)};
	})()`, selector)
	if !at.Here || !at.Seen {
		p.T.Fatalf("the focus is on %s, to be seen: %v; want it on %s", at.What, at.Seen, selector)
	}
}

func TestAPastedCodeSendsItself(t *testing.T) {
	t.Parallel()
	p := bound(t)
	p.entersPassword()
	code := p.app.Next()
	p.Pastes("#code", code[:3]+"\u2009"+code[3:]) // as some apps copy it
	p.On("/security", "security.title")
}

func TestAnIdleSessionIsWarned(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.entersPassword()
	p.Before(`{
		const real = setTimeout;
		let first = true;
		window.setTimeout = (f, ms, ...args) => {
			if (ms > 6e5 && first) [ms, first] = [50, false];
			return real(f, ms, ...args);
		};
	}`)
	p.Visit("/security/email")
	p.Until("the warning", "!document.querySelector('.idle-warning').hidden")
	p.focus("[data-ping]")
	p.Says("idle.title")
	p.Look("idle-warning")
	p.Click("[data-ping]")
	p.Until("the warning to go", "document.querySelector('.idle-warning').hidden")
}

// Checks that never fail are worth nothing.
func TestFaultsAreSeen(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.Visit("/signin")
	if f := p.Faults(); len(f) > 0 {
		t.Fatal(f)
	}
	browsertest.Eval[any](p.Tab, `document.querySelector('main').append(...['img', 'input', 'a'].map(n => document.createElement(n))), (() => {
		const [image, field, link] = [...document.querySelectorAll('main > :is(img, input, a)')];
		image.width = 2000;
		link.className = 'button';
		link.href = '/';
		link.style.minHeight = '20px';
		document.querySelector('h1').style.color = '#aaa';
	})()`)
	faults := strings.Join(p.Faults(), "\n")
	for _, want := range []string{"image-alt", "label:", "link-name", "color-contrast", "ends at 2", "px high"} {
		if !strings.Contains(faults, want) {
			t.Errorf("%q is not seen; seen was\n%s", want, faults)
		}
	}
	browsertest.Eval[any](p.Tab, `fetch('http://elsewhere.example/').catch(() => 0), console.error('help'), document.body.append(Object.assign(document.createElement('script'), {textContent: '1'}))`)
	p.Visit("/signin")
	complaints := strings.Join(p.Complaints(), "\n")
	for _, want := range []string{"connect-src", "script-src", "console.error"} {
		if !strings.Contains(complaints, want) {
			t.Errorf("no complaint about %s; there was\n%s", want, complaints)
		}
	}
}
