package browsertest_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/locale"
)

const newEmail = "owner.of.new@example.org"

// The second half of the documented ways, in each language: text messages
// without a phone, signing in by them, another phone, another address, and all
// of it off again.
func TestTheTourOfThePhone(t *testing.T) {
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p := ownerIn(t, l.Tag)
			p.entersPassword()
			p.protectsByANewPhone()
			p.leaves()
			p.entersPassword()
			p.entersTheText()
			p.On("/security", "security.title")
			p.changesThePhone()
			p.changesTheEmail()
			p.turnsOffByText()
			p.removesThePhone()
		})
	}
}

func (p *person) protectsByANewPhone() {
	p.T.Helper()
	p.Visit("/security/protection/setup")
	p.wants("sms", policy.SignInScenario, policy.ChangeContact)
	p.Says("protection.signin.sms")
	p.Follow(browsertest.Submit)
	p.On("/security/protection/confirm", "protection_confirm.title")
	p.Says("protection.signin.sms")
	p.Says("protection_confirm.then.sms")
	p.Look("protection-confirm-text")
	p.Follow(browsertest.Submit)
	p.asked("purpose.protection_on", p.L.T("method.sms"))
	p.answers(email)
	p.On("/security/protection/confirm", "phone.attach")
	p.attaches()
	p.protected("sms", p.Site.Now(), policy.SignInScenario, policy.ChangeContact)
	p.told(email, message.ProtectionOn)
	p.told(string(mobile), message.PhoneAttached)
	p.Look("protection-on-text")
	p.keepsTheCodes()
	p.state("phone", "state.confirmed")
}

func (p *person) changesThePhone() {
	p.T.Helper()
	p.app.Wait(11 * time.Minute) // the sign-in is no fresh proof any more
	p.Visit("/security")
	p.Follow("#row-phone .button")
	p.On("/security/phone", "row.phone")
	p.Says("phone.protects")
	p.Look("phone")
	p.Follow("[href='/security/phone/change']")
	p.asked("purpose.change_phone", mobile.Mask())
	p.answers(string(mobile), "", "verify-text")
	p.On("/security/phone/change", "phone.change")
	p.Says("phone.stays", "Old", mobile.Mask())
	p.Look("phone-change")
	p.finds("CN")
	p.Type("#phone", mobileTyped)
	p.Follow(browsertest.Submit)
	p.Refuses(409, "fault.phone.same")
	p.finds("JP")
	p.Type("#phone", newMobileTyped)
	p.Follow(browsertest.Submit)
	p.On("/security/phone/confirm", "confirm_new.title.sms")
	p.Says("confirm_new.stays", "Old", mobile.Mask())
	p.Look("phone-confirm")
	p.staysUntilItAnswers("/security/phone", mobile.Mask(), newMobile.Mask())

	p.follow("confirm_new.change.sms") // what was typed is still there
	p.On("/security/phone/change", "phone.change")
	if p.Value("#country") != "JP" || p.Value("#phone") != newMobile.International() {
		p.T.Errorf("kept are %q and %q", p.Value("#country"), p.Value("#phone"))
	}
	p.Back()
	p.On("/security/phone/confirm", "confirm_new.title.sms")
	p.Type("#code", p.codeTo(string(newMobile)))
	p.Follow(browsertest.Submit)
	p.On("/security/phone", "row.phone")
	p.Says("done.phone_changed")
	if facts := p.Text(".facts"); !strings.Contains(facts, newMobile.Mask()) {
		p.T.Errorf("the phone is %q", facts)
	}
	for _, to := range []string{string(mobile), string(newMobile), email} {
		p.told(to, message.PhoneChanged)
	}
}

// staysUntilItAnswers looks, in another tab, what is in force.
func (p *person) staysUntilItAnswers(path, old, next string) {
	p.T.Helper()
	other := p.Beside()
	other.Visit(path)
	if facts := other.Text(".facts"); !strings.Contains(facts, old) || strings.Contains(facts, next) {
		p.T.Errorf("before the new one has answered, in force is %q", facts)
	}
}

func (p *person) changesTheEmail() {
	p.T.Helper()
	p.Visit("/security")
	p.Follow("#row-email .button")
	p.Follow("[href='/security/email/change']") // the verification of a moment ago counts
	p.On("/security/email/change", "email_change.title")
	p.Says("email_change.stays", "Old", "o***@e***.com")
	p.Look("email-change")
	p.Type("#email", email)
	p.Follow(browsertest.Submit)
	p.Refuses(409, "fault.email.same")
	p.Look("email-change-refused")
	p.Type("#email", newEmail)
	p.Follow(browsertest.Submit)
	p.On("/security/email/confirm", "confirm_new.title.email")
	p.Says("confirm_new.stays", "Old", "o***@e***.com")
	p.Says("confirm_new.sent_to")
	p.Click("main details > summary")
	p.Says("confirm_new.not_received.email")
	p.Look("email-confirm")
	p.staysUntilItAnswers("/security/email", email, newEmail)
	p.Type("#code", wrongFor(p.codeTo(newEmail)))
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.code.sent_wrong")
	p.Look("email-confirm-refused")
	p.Type("#code", p.codeTo(newEmail))
	p.Follow(browsertest.Submit)
	p.On("/security/email", "row.email")
	p.Says("done.email_changed")
	if facts := p.Text(".facts"); !strings.Contains(facts, newEmail) {
		p.T.Errorf("the address is %q", facts)
	}
	for _, to := range []string{email, newEmail, string(newMobile)} {
		p.told(to, message.EmailChanged)
	}
}

func (p *person) turnsOffByText() {
	p.T.Helper()
	p.Visit("/security/protection/off")
	p.Says("unbind.consequence")
	p.Look("protection-turn-off")
	p.Follow(".button-danger")
	p.asked("purpose.protection_off", "")
	p.answers(string(newMobile)) // the present method, although there is an address
	p.On("/security/protection", "protection.title")
	p.Says("done.protection_off")
	p.told(newEmail, message.ProtectionOff)
}

func (p *person) removesThePhone() {
	p.T.Helper()
	p.Visit("/security/phone")
	p.Follow("[href='/security/phone/remove']")
	p.On("/security/phone/remove", "phone_remove.title")
	p.Says("phone_remove.consequence")
	p.Look("phone-remove")
	p.Follow(".button-danger")
	p.asked("purpose.remove_phone", newMobile.Mask())
	p.answers(string(newMobile))
	p.On("/security/phone", "row.phone")
	p.Says("done.phone_removed")
	p.Look("phone-removed")
	p.told(string(newMobile), message.PhoneRemoved)
	p.told(newEmail, message.PhoneRemoved)

	p.leaves()
	p.Visit("/signin")
	p.Type("#username", newEmail)
	p.Type("#password", p.password)
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title") // the new address, and nothing else is asked
	p.state("phone", "state.not_attached")
	p.state("protection", "state.off")
}
