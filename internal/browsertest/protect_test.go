package browsertest_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/locale"
)

// Numbers to which text messages could go, as written in their countries.
const (
	mobile, mobileTyped       = account.Phone("+8613812345600"), "138 1234 5600"
	newMobile, newMobileTyped = account.Phone("+819012345678"), "090-1234-5678"
)

// The documented ways of Account Protection, word for word, in each language,
// on phone and desktop, light and dark: set up with virtual MFA, signing in,
// another method, turning off, and set up with the phone that is attached.
func TestTheTourOfAccountProtection(t *testing.T) {
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p := ownerIn(t, l.Tag)
			p.entersPassword()
			p.protectsByVirtualMFA()
			p.signsInWithTheApp()
			p.changesToTextMessages()
			p.signsInByText()
			p.turnsProtectionOff()
			p.protectsByThePhoneAttached()
		})
	}
}

// inbox are the messages to an address or number, newest first.
func (p *person) inbox(to string) (list []message.Message) {
	p.T.Helper()
	all, err := p.Site.DB.Read(p.T.Context()).Messages("", 1000)
	if err != nil {
		p.T.Fatal(err)
	}
	for _, m := range all {
		if m.To == to || to == "" {
			list = append(list, m)
		}
	}
	return list
}

var digits = regexp.MustCompile(`\b(\d{6}|\d{10})\b`)

// codeTo is the newest code that was sent to an address or number.
func (p *person) codeTo(to string) string {
	p.T.Helper()
	for _, m := range p.inbox(to) {
		if code := digits.FindString(m.Text); m.Kind == "code" && code != "" {
			return code
		}
	}
	p.T.Fatalf("no code was sent to %s", to)
	return ""
}

// told checks that an address or number was written about what was just done.
func (p *person) told(to string, kind message.Kind) {
	p.T.Helper()
	if !slices.ContainsFunc(p.inbox(to), func(m message.Message) bool {
		return m.Kind == string(kind) && p.Site.Now().Sub(m.CreatedAt) < time.Minute
	}) {
		p.T.Errorf("%s was not told of %s", to, kind)
	}
}

// asked checks that the page asks who is there, and names action and object.
func (p *person) asked(purpose, object string) {
	p.T.Helper()
	p.On("/verify", "verify.title")
	p.Says(purpose)
	if got := p.Text("h1 ~ .hint b"); got != object {
		p.T.Errorf("%s: the object named is %q, want %q", purpose, got, object)
	}
}

// answers asks for a code at an address or number of the own, and enters it.
func (p *person) answers(to string, look ...string) {
	p.T.Helper()
	before := len(p.inbox(""))
	see(p, look, 0)
	p.Follow(browsertest.Submit) // Send code
	if n := len(p.inbox("")); n != before+1 {
		p.T.Errorf("%d messages were sent, want 1", n-before)
	}
	see(p, look, 1)
	p.Type("#code", p.codeTo(to))
	p.Follow(browsertest.Submit)
}

// see takes the picture that somebody wants of a moment, if any.
func see(p *person, looks []string, n int) {
	p.T.Helper()
	if n < len(looks) && looks[n] != "" {
		p.Look(looks[n])
	}
}

// wants ticks these scenarios and no others, and the method.
func (p *person) wants(method string, scenarios ...policy.Scenario) {
	p.T.Helper()
	for _, s := range policy.Scenarios {
		box := "[name=scenario][value=" + string(s) + "]"
		if browsertest.Eval[bool](p.Tab, "document.querySelector(%s).checked", box) != slices.Contains(scenarios, s) {
			p.Click(box)
		}
	}
	p.Click("[name=method][value=" + method + "]")
}

// protected checks the result page: what is on, by what, since when.
func (p *person) protected(method string, since time.Time, scenarios ...policy.Scenario) {
	p.T.Helper()
	p.On("/security/protection", "protection.title")
	p.Says("state.on")
	var want []string
	for _, s := range scenarios {
		want = append(want, p.L.T("scenario."+string(s)))
	}
	on := browsertest.Eval[[]string](p.Tab, "[...document.querySelectorAll('.choice:not(.choice-off) > span:first-child')].map(e => e.innerText)")
	if !slices.Equal(on, want) {
		p.T.Errorf("protected are %q, want %q", on, want)
	}
	facts := p.Text(".facts")
	if !strings.Contains(facts, p.L.T("method."+method)) || !strings.Contains(facts, p.L.T("protection.since")) {
		p.T.Errorf("the facts are %q", facts)
	}
	at, err := time.Parse(time.RFC3339, browsertest.Eval[string](p.Tab, "document.querySelector('.facts time').dateTime"))
	if err != nil || at.Sub(since).Abs() > time.Minute {
		p.T.Errorf("on since %s (%v), want %s", at, err, since)
	}
}

func (p *person) protectsByVirtualMFA() {
	p.T.Helper()
	p.state("protection", "state.off")
	p.Follow("#row-protection .button")
	p.On("/security/protection", "protection.title")
	p.Says("protection.about")
	p.Look("protection-off")
	p.Follow(".actions .button")
	p.On("/security/protection/setup", "protection_form.title")
	p.Look("protection-setup")
	p.Follow(browsertest.Submit)
	p.Refuses(422, "fault.protection.no_scenario")
	p.Look("protection-setup-refused")
	p.wants("virtual_mfa", policy.ChangePassword, policy.SignInScenario)
	if p.Says("protection.signin.virtual_mfa"); p.Text("p[data-effect]") != p.L.T("protection.signin.virtual_mfa") {
		p.T.Errorf("the effect of the choice is %q", p.Text("p[data-effect]"))
	}
	p.Follow(browsertest.Submit)

	p.On("/security/protection/confirm", "protection_confirm.title")
	for _, key := range []string{"protection.signin.virtual_mfa", "scenario.sign-in", "scenario.change-password", "protection_confirm.next", "protection_confirm.then.virtual_mfa"} {
		p.Says(key)
	}
	p.Look("protection-confirm")
	p.Follow(browsertest.Submit)
	p.asked("purpose.protection_on", p.L.T("method.virtual_mfa"))
	p.answers(email, "verify-protection")

	p.On("/security/protection/confirm", "bind.title")
	p.scansTheKey()
	p.Look("protection-bind")
	p.Type("#name", "Pixel 9")
	p.Type("#code", p.app.Wrong(0))
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.code.wrong")
	if uri := p.Scan(); !strings.Contains(uri, p.app.Key) || p.Value("#name") != "Pixel 9" {
		p.T.Errorf("after a wrong code the key is %q, the name %q", uri, p.Value("#name"))
	}
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)

	p.protected("virtual_mfa", p.Site.Now(), policy.SignInScenario, policy.ChangePassword)
	p.Says("done.protection_on")
	p.told(email, message.ProtectionOn)
	p.Says("protection.codes") // the way back, should the phone be lost
	p.Look("protection-on")
	p.keepsTheCodes()
	p.state("protection", "state.on")
	p.state("virtual-mfa", "state.on")
	p.Look("settings-protected")
}

// scansTheKey holds the app before the page.
func (p *person) scansTheKey() {
	p.T.Helper()
	p.Click(".steps details > summary")
	p.app.Key = strings.Join(strings.Fields(browsertest.Eval[string](p.Tab, "[...document.querySelectorAll('#key span')].map(s => s.textContent).join(' ')")), "")
	p.readsTheQR()
}

// keepsTheCodes saves the recovery codes that protection came with.
func (p *person) keepsTheCodes() {
	p.T.Helper()
	p.Follow(".actions [href='/security/recovery-codes/new']")
	p.On("/security/recovery-codes/new", "codes_new.title")
	p.Click("#saved")
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
	p.Says("done.codes_saved")
	p.state("recovery-codes", "state.on")
}

func (p *person) leaves() {
	p.T.Helper()
	p.Visit("/security")
	p.Follow(".nav .link-button")
	p.On("/signedout", "signed_out.title")
}

func (p *person) signsInWithTheApp() {
	p.T.Helper()
	p.leaves()
	p.entersPassword()
	p.On("/signin/verify", "second.title")
	p.Says("code.app_label")
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
}

// finds chooses a country by its name.
func (p *person) finds(country string) {
	p.T.Helper()
	p.Type("#country-search", p.L.Country(country))
	p.Until("the country", "document.querySelector('#country').value === '"+country+"'")
}

func (p *person) changesToTextMessages() {
	p.T.Helper()
	since := p.Site.Now()
	p.app.Wait(2 * time.Hour / 3)
	p.Visit("/security")
	p.Follow("#row-protection .button")
	p.Follow(".actions [href$='/setup']")
	p.On("/security/protection/setup", "protection_form.edit")
	p.Follow(browsertest.Submit) // as it is
	p.Refuses(409, "fault.protection.unchanged")
	p.wants("sms", policy.SignInScenario, policy.ManageMFA)
	p.Look("protection-edit")
	p.Follow(browsertest.Submit)
	p.On("/security/protection/confirm", "protection_confirm.edit")
	for _, key := range []string{"protection_confirm.added", "scenario.manage-mfa", "protection_confirm.dropped", "scenario.change-password", "protection.stronger.virtual_mfa", "protection_confirm.then.sms"} {
		p.Says(key)
	}
	p.Look("protection-confirm-edit")
	p.Follow(browsertest.Submit)
	p.asked("purpose.protection_edit", p.L.T("method.sms"))
	p.verifies("purpose.protection_edit") // by the present method

	p.On("/security/protection/confirm", "phone.attach")
	p.attaches("protection-phone", "protection-phone-refused", "protection-phone-code")
	p.protected("sms", since, policy.SignInScenario, policy.ManageMFA)
	p.Says("protection.changed")
	p.Says("done.protection_on")
	p.told(email, message.ProtectionChanged)
	p.told(string(mobile), message.PhoneAttached)
	p.Look("protection-changed")
}

// attaches goes from the form of the phone to the code that it answers with.
func (p *person) attaches(looks ...string) {
	p.T.Helper()
	p.Says("part.step", "Step", 1, "Of", 2)
	p.Says("phone.use")
	see(p, looks, 0)
	p.Type("#country-search", "zzzz")
	p.Says("phone.search.none")
	p.finds("CN")
	if hint := p.Text("#phone-hint"); !strings.Contains(hint, "131") {
		p.T.Errorf("the example of China is %q", hint)
	}
	p.Type("#phone", "12")
	p.Follow(browsertest.Submit)
	p.Refuses(422, "fault.phone.form")
	if p.Value("#country") != "CN" || p.Value("#phone") != "12" {
		p.T.Errorf("kept are %q and %q", p.Value("#country"), p.Value("#phone"))
	}
	see(p, looks, 1)
	p.Type("#phone", mobileTyped)
	p.Follow(browsertest.Submit)
	p.On("/security/protection/confirm", "confirm_new.title.sms")
	p.Says("part.step", "Step", 2, "Of", 2)
	if !strings.Contains(p.Text("main"), mobile.International()) {
		p.T.Error("the page does not say where the code went")
	}
	p.Click("main details > summary")
	p.Says("confirm_new.not_received.sms")
	see(p, looks, 2)
	p.Type("#code", wrongFor(p.codeTo(string(mobile))))
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.code.sent_wrong")
	p.Type("#code", p.codeTo(string(mobile)))
	p.Follow(browsertest.Submit)
}

// wrongFor is another code.
func wrongFor(code string) string {
	if code[0] == '0' {
		return "1" + code[1:]
	}
	return "0" + code[1:]
}

func (p *person) signsInByText() {
	p.T.Helper()
	p.leaves()
	p.entersPassword()
	p.On("/signin/verify", "second.title")
	p.follow("method.another")
	p.On("/signin/methods", "method.choose")
	p.Says("method.sms.help", "Destination", mobile.Mask())
	p.Look("methods-text")
	p.Follow(".choice[href*='method=sms']")
	p.entersTheText("second-text-send", "second-text")
	p.On("/security", "security.title")
}

// entersTheText asks for a text message and enters its code, with all that can
// be looked at on the way.
func (p *person) entersTheText(looks ...string) {
	p.T.Helper()
	p.On("/signin/verify", "second.title")
	before := len(p.inbox(string(mobile)))
	p.Says("code.will_send.sms", "Digits", 6, "Destination", "138****00", "Count", 10)
	see(p, looks, 0)
	p.Follow(browsertest.Submit)
	p.Says("code.hint.sms", "Digits", 6, "Destination", "138****00", "Count", 10)
	if text := p.Text("body"); strings.Contains(text, "1234") {
		p.T.Errorf("the number is not masked:\n%s", text)
	}
	p.Until("the time until another can be sent", `(b => b.disabled && /\d/.test(b.innerText) && +b.dataset.resend > 0 && +b.dataset.resend <= 60)(document.querySelector('[data-resend]'))`)
	see(p, looks, 1)
	p.Click("main details > summary")
	p.Says("code.not_received.sms", "Destination", "138****00")
	p.Reload()
	sent := p.inbox(string(mobile))
	if len(sent) != before+1 {
		p.T.Errorf("%d text messages, want 1", len(sent)-before)
	}
	code := p.codeTo(string(mobile))
	want := p.L.T("sms.code", "Code", code, "Service", "Countersign", "Purpose", p.L.T("purpose.signin")) + "\n\n@localhost #" + code
	if sent[0].Text != want {
		p.T.Errorf("the text message is %q, want %q", sent[0].Text, want)
	}
	p.Type("#code", wrongFor(code))
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.code.sent_wrong")
	p.Type("#code", code)
	p.Follow(browsertest.Submit)
}

func (p *person) turnsProtectionOff() {
	p.T.Helper()
	p.Follow("#row-protection .button")
	p.Follow(".actions [href$='/off']")
	p.On("/security/protection/off", "protection_off.title")
	p.Says("protection_off.virtual_mfa") // it stays bound, and is asked for
	p.Look("protection-turn-off-bound")
	p.Follow(".button-danger")
	p.asked("purpose.protection_off", "")
	p.verifies("purpose.protection_off")
	p.On("/security/protection", "protection.title")
	p.Says("done.protection_off")
	p.Says("protection.about.virtual_mfa")
	p.told(email, message.ProtectionOff)
	p.Look("protection-turned-off")
}

func (p *person) protectsByThePhoneAttached() {
	p.T.Helper()
	p.Follow(".actions .button")
	p.wants("sms", policy.ChangeContact)
	p.Says("protection_form.bound", "Name", mobile.Mask())
	p.Follow(browsertest.Submit)
	p.On("/security/protection/confirm", "protection_confirm.title")
	p.Says("protection.signin.unchanged")
	if strings.Contains(p.Text("main"), p.L.T("protection_confirm.then.sms")) {
		p.T.Error("the phone is to be attached again")
	}
	p.Follow(browsertest.Submit)
	p.verifies("purpose.protection_on")
	p.On("/security/protection/confirm", "confirm_new.title.sms")
	p.Says("code.will_send.sms", "Digits", 6, "Destination", mobile.Mask(), "Count", 10)
	p.answers(string(mobile), "protection-phone-attached-send", "protection-phone-attached")
	p.protected("sms", p.Site.Now(), policy.ChangeContact)
	p.Says("done.protection_on")
}
