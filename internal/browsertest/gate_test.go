package browsertest_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
)

// goesStale lets so much time pass that no verification counts any more.
func (p *person) goesStale() {
	p.T.Helper()
	p.app.Wait(policy.Freshness + time.Second)
}

// shows checks what a field holds.
func (p *person) shows(selector, want string) {
	p.T.Helper()
	if got := p.Value(selector); got != want {
		p.T.Errorf("%s holds %q, want %q", selector, got, want)
	}
}

// Whatever is changed meets the gate. The page that asks names the action and
// its object; what was entered before is there after it, or is simply done.
func TestEveryChangeMeetsTheGate(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.entersPassword()
	p.goesStale()
	p.bindsThroughTheGate()
	p.attachesThroughTheGate()
	p.changesTheAddressThroughTheGate()
	p.choosesThroughTheGate()
	p.changesThePasswordThroughTheGate()
	p.changesTheDeviceThroughTheGate()
}

func (p *person) bindsThroughTheGate() {
	p.T.Helper()
	p.Visit("/security/virtual-mfa/bind")
	p.asked("purpose.bind_virtual_mfa", "")
	p.answers(email)
	p.On("/security/virtual-mfa/bind", "bind.title")
	p.app.Wait(9 * time.Minute)
	p.Visit("/security/virtual-mfa/bind") // a key that outlives the verification
	p.scansTheKey()
	key := p.app.Key
	p.app.Wait(2 * time.Minute)
	p.Type("#name", "Pixel 9")
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.asked("purpose.bind_virtual_mfa", "")
	p.answers(email)
	p.On("/security/virtual-mfa/bind", "bind.title")
	p.shows("#name", "Pixel 9")
	if uri := p.Scan(); !strings.Contains(uri, key) {
		p.T.Errorf("the key was %s, now the code says %s", key, uri)
	}
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security/recovery-codes/new", "codes_new.title")
	p.told(email, message.DeviceBound)
}

func (p *person) attachesThroughTheGate() {
	p.T.Helper()
	p.Visit("/security/phone/change")
	p.On("/security/phone/change", "phone.attach")
	p.goesStale()
	p.finds("CN")
	p.Type("#phone", mobileTyped)
	p.Follow(browsertest.Submit)
	p.asked("purpose.attach_phone", "")
	if len(p.inbox(string(mobile))) > 0 {
		p.T.Error("a text message went out before the verification")
	}
	p.verifies("purpose.attach_phone")
	p.On("/security/phone/change", "phone.attach")
	p.shows("#country", "CN")
	p.shows("#phone", mobile.International())
	p.Follow(browsertest.Submit)
	p.On("/security/phone/confirm", "confirm_new.title.sms")
	p.app.Wait(5 * time.Minute)
	p.Type("#code", p.codeTo(string(mobile)))
	p.Follow(browsertest.Submit)
	p.On("/security/phone", "row.phone")
	p.told(string(mobile), message.PhoneAttached)
}

func (p *person) changesTheAddressThroughTheGate() {
	p.T.Helper()
	p.Visit("/security/email/change")
	p.goesStale()
	p.Type("#email", newEmail)
	p.Follow(browsertest.Submit)
	p.asked("purpose.change_email", "o***@e***.com")
	p.verifies("purpose.change_email")
	p.On("/security/email/change", "email_change.title")
	p.shows("#email", newEmail)
	if len(p.inbox(newEmail)) > 0 {
		p.T.Error("a message went out before the verification")
	}
}

func (p *person) choosesThroughTheGate() {
	p.T.Helper()
	p.Visit("/security/protection/setup")
	p.wants("virtual_mfa", policy.ChangeContact)
	p.Follow(browsertest.Submit)
	p.Follow(browsertest.Submit)
	p.asked("purpose.protection_on", p.L.T("method.virtual_mfa")) // although one was given just now
	p.verifies("purpose.protection_on")
	p.protected("virtual_mfa", p.Site.Now(), policy.ChangeContact) // nothing is missing: saved as it was chosen

	p.Visit("/security/phone")
	p.goesStale()
	p.Follow("[href='/security/phone/remove']")
	p.Follow(".button-danger")
	p.asked("purpose.remove_phone", mobile.Mask())
	p.verifies("purpose.remove_phone")
	p.Says("done.phone_removed")

	p.Visit("/security/protection/off")
	p.Follow(".button-danger")
	p.asked("purpose.protection_off", "") // the one before is used up
	p.verifies("purpose.protection_off")
	p.Says("done.protection_off")
}

func (p *person) changesThePasswordThroughTheGate() {
	p.T.Helper()
	p.Visit("/security/password")
	p.On("/verify", "verify.title") // of another scenario
	p.asked("purpose.change_password", "")
	p.verifies("purpose.change_password")
	p.On("/security/password", "password.title")
	p.goesStale()
	p.Type("#password", p.password)
	p.Type("#new_password", newPassword)
	p.Follow(browsertest.Submit)
	p.asked("purpose.change_password", "")
	p.verifies("purpose.change_password")
	p.On("/security/password", "password.title")
	p.shows("#new_password", "") // a password is not kept
	p.Type("#password", p.password)
	p.Type("#new_password", newPassword)
	p.Follow(browsertest.Submit)
	p.Says("done.password_changed")
	p.password = newPassword
}

func (p *person) changesTheDeviceThroughTheGate() {
	p.T.Helper()
	p.goesStale()
	p.Visit("/security/recovery-codes")
	p.Follow(browsertest.Submit)
	p.asked("purpose.recovery_codes", "")
	p.verifies("purpose.recovery_codes")
	p.On("/security/recovery-codes/new", "codes_new.title") // made, without asking again
	p.Says("done.recovery_codes_made")

	p.goesStale()
	p.Visit("/security/virtual-mfa/resynchronise")
	p.asked("purpose.resynchronise", "Pixel 9")
	p.verifies("purpose.resynchronise")
	p.On("/security/virtual-mfa/resynchronise", "resync.title")
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.Says("done.resynchronised")

	p.Visit("/security/virtual-mfa/unbind")
	p.asked("purpose.unbind_virtual_mfa", "Pixel 9") // although one was given just now
	p.verifies("purpose.unbind_virtual_mfa")
	p.On("/security/virtual-mfa/unbind", "unbind.title")
	p.Follow(".button-danger")
	p.Says("done.virtual_mfa_unbound")
	p.told(email, message.DeviceUnbound)
}

// What protects the account cannot be taken from under it, and the pages say
// what to do instead.
func TestWhatProtectsStays(t *testing.T) {
	t.Parallel()
	p := phoned(t)
	p.entersPassword()
	p.answers(string(mobile))
	p.Visit("/security/phone/remove")
	p.On("/security/phone", "row.phone")
	p.Says("phone.protects")

	p.Visit("/security/protection/setup")
	p.wants("virtual_mfa", policy.SignInScenario)
	p.Follow(browsertest.Submit)
	p.Follow(browsertest.Submit)
	p.answers(string(mobile))
	p.scansTheKey()
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.Says("done.protection_on")
	p.Visit("/security/virtual-mfa/unbind")
	p.On("/security/virtual-mfa/unbind", "unbind.title")
	p.Says("unbind.protects")
	p.Look("unbind-protects")
	p.Follow(".actions [href='/security/protection']")
	p.On("/security/protection", "protection.title")

	p.Back()
	p.Back()
	p.Back() // the choice is saved: its pages are over, and say so
	p.Status(410)
	p.Says("fault.protection.gone")
	p.Look("protection-gone")
}
