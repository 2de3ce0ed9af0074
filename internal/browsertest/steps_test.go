package browsertest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"countersign/internal/browsertest"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/locale"
	"countersign/internal/store"
)

// phoned is an owner with a phone, whom text messages protect at sign-in.
func phoned(t *testing.T) *person {
	t.Helper()
	p := owner(t)
	protection, err := policy.NewProtection([]policy.Scenario{policy.SignInScenario}, "sms")
	if err != nil {
		t.Fatal(err)
	}
	i := p.identity()
	err = p.Site.DB.Write(t.Context(), audit.Housekeeping("a test"), func(tx *store.Tx) error {
		if err := tx.AttachPhone(i.Account, i.ID, "", store.Phone{ID: "phone", Number: mobile}, store.ErrNoRow); err != nil {
			return err
		}
		return tx.SetProtection(i.Account, protection)
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *person) identity() account.Identity {
	p.T.Helper()
	i, err := p.Site.DB.Read(p.T.Context()).IdentityByEmail(email)
	if err != nil {
		p.T.Fatal(err)
	}
	return i
}

// In English, Chinese and Japanese by turns, through every step: what was
// chosen and typed stays, and nothing is sent but by the button.
func TestALanguageKeepsEveryStepOfAccountProtection(t *testing.T) {
	t.Parallel()
	p := owner(t)
	turn := 0
	stays := func(path, heading string) {
		t.Helper()
		before := len(p.inbox(""))
		turn++
		p.chooses("locale", locale.All[turn%3].Tag)
		p.On(path, heading)
		p.Reload()
		p.On(path, heading)
		if n := len(p.inbox("")); n != before {
			t.Errorf("%s sent %d messages by itself", path, n-before)
		}
	}
	keeps := func(want ...string) {
		t.Helper()
		turn++
		p.chooses("locale", locale.All[turn%3].Tag)
		if got := strings.Join(browsertest.Eval[[]string](p.Tab, "[...document.querySelectorAll('main input:is([type=tel], [type=email], :checked), main select')].map(e => e.value)"), " "); got != strings.Join(want, " ") {
			t.Errorf("kept is %q, want %q", got, want)
		}
	}
	p.entersPassword()
	p.Visit("/security/protection/setup")
	p.wants("sms", policy.ChangePassword, policy.ManageMFA)
	keeps("change-password", "manage-mfa", "sms")
	p.Follow(browsertest.Submit)
	stays("/security/protection/confirm", "protection_confirm.title")
	p.follow("protection_confirm.back")
	p.On("/security/protection/setup", "protection_form.title")
	keeps("change-password", "manage-mfa", "sms")
	p.Follow(browsertest.Submit)
	p.Follow(browsertest.Submit)
	stays("/verify", "verify.title")
	p.asked("purpose.protection_on", p.L.T("method.sms"))
	p.Follow(browsertest.Submit)
	stays("/verify", "verify.title")
	p.Type("#code", wrongFor(p.codeTo(email)))
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.code.sent_wrong")
	stays("/verify", "verify.title") // from a page that was posted to
	p.Type("#code", p.codeTo(email))
	p.Follow(browsertest.Submit)
	stays("/security/protection/confirm", "phone.attach")
	p.finds("CN")
	p.Type("#phone", mobileTyped)
	keeps("CN", mobileTyped)
	p.Follow(browsertest.Submit)
	stays("/security/protection/confirm", "confirm_new.title.sms")
	p.Back() // the step is the server's: the code that is under way is asked for
	p.Visit("/security/protection/setup")
	p.Back()
	p.On("/security/protection/confirm", "confirm_new.title.sms")
	p.Type("#code", p.codeTo(string(mobile)))
	p.Follow(browsertest.Submit)
	stays("/security/protection", "protection.title")

	p.Visit("/security/phone/change")
	p.finds("JP")
	p.Type("#phone", newMobileTyped)
	keeps("JP", newMobileTyped)
	p.Follow(browsertest.Submit)
	stays("/security/phone/confirm", "confirm_new.title.sms")
	p.Visit("/security/email/change")
	p.Type("#email", newEmail)
	keeps(newEmail)
	p.Follow(browsertest.Submit)
	stays("/security/email/confirm", "confirm_new.title.email")
	p.follow("confirm_new.change.email")
	keeps(newEmail)
}

// Text messages that fail are told as what they are, on every page that waits
// for one, and another may be sent at once.
func TestATextMessageThatFailsIsTold(t *testing.T) {
	t.Parallel()
	p := phoned(t)
	fails := func(looks ...string) {
		t.Helper()
		sent := p.inbox("")[0]
		if err := p.Site.DB.MessageFailed(t.Context(), sent.ID, "the provider does not answer", p.Site.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		p.Reload()
		p.Says("code.delayed.sms")
		see(p, looks, 0)
		if err := p.Site.DB.MessageDead(t.Context(), sent.ID, "no such number"); err != nil {
			t.Fatal(err)
		}
		p.Reload()
		p.Says("code.failed.sms")
		if strings.Contains(p.Text("main"), p.L.T("confirm_new.sent_to")) {
			t.Error("the page says that a code was sent")
		}
		see(p, looks, 1)
		p.Follow(browsertest.Submit) // at once
		p.Type("#code", p.codeTo(p.inbox("")[0].To))
		p.Follow(browsertest.Submit)
	}
	p.entersPassword()
	p.Follow(browsertest.Submit)
	fails("second-text-delayed", "second-text-failed")
	p.On("/security", "security.title")

	p.app.Wait(11 * time.Minute)
	p.Visit("/security/phone/change")
	p.Follow(browsertest.Submit)
	fails()
	p.On("/security/phone/change", "phone.change")
	p.finds("JP")
	p.Type("#phone", newMobileTyped)
	p.Follow(browsertest.Submit)
	fails("phone-confirm-delayed", "phone-confirm-failed")
	p.On("/security/recovery-codes/new", "codes_new.title")
	p.told(string(newMobile), message.PhoneChanged)
}

// offersCodes lets the browser hand over codes of text messages, as a phone
// does. arrive(code) is the message.
const offersCodes = `
	window.OTPCredential = class {};
	navigator.credentials.get = ({otp, signal}) => new Promise((resolve, reject) => {
		sessionStorage.asked = otp.transport.join();
		window.arrive = code => resolve({code});
		signal.addEventListener('abort', () => { sessionStorage.aborted = location.pathname; reject(new DOMException('', 'AbortError')); });
	});`

func TestACodeOfATextMessageIsFilledIn(t *testing.T) {
	t.Parallel()
	p := phoned(t)
	p.Before(offersCodes)
	p.entersPassword()
	p.Follow(browsertest.Submit)
	p.Until("the browser to be asked", "sessionStorage.asked === 'sms'")
	browsertest.Eval[any](p.Tab, "arrive(%s), 0", p.codeTo(string(mobile)))
	p.Until("the code to send itself", "location.pathname === '/security' && document.readyState === 'complete'")
	p.On("/security", "security.title")

	p.leaves() // which clears what the browser keeps
	p.entersPassword()
	p.Follow(browsertest.Submit)
	p.Until("the browser to be asked", "sessionStorage.asked === 'sms'")
	p.Type("#code", p.codeTo(string(mobile)))
	p.PressOn(kb.Enter)
	p.On("/security", "security.title")
	if at := browsertest.Eval[string](p.Tab, "sessionStorage.aborted ?? ''"); at != "/signin/verify" {
		t.Errorf("a code sent by hand leaves the browser waiting for one: %q", at)
	}
}

// A phone, no JavaScript: every step of the documented way.
func TestAccountProtectionWithoutScripts(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.Screen(390, true)
	p.WithoutScripts()
	p.entersPassword()
	p.Visit("/security/protection/setup")
	p.Follow(browsertest.Submit)
	p.Status(422)
	p.Says("fault.protection.no_scenario")
	p.wants("sms", policy.SignInScenario)
	p.Follow(browsertest.Submit)
	p.Follow(browsertest.Submit)
	p.asked("purpose.protection_on", p.L.T("method.sms"))
	p.answers(email)
	p.On("/security/protection/confirm", "phone.attach")
	if browsertest.Eval[bool](p.Tab, "document.querySelector('#country-search').checkVisibility()") {
		t.Error("the search, which needs scripts, can be seen")
	}
	browsertest.Eval[any](p.Tab, "document.querySelector('#country').focus()")
	p.Press("China")
	p.Type("#phone", "12")
	p.Follow(browsertest.Submit)
	p.Says("fault.phone.form")
	if p.Value("#country") != "CN" || p.Value("#phone") != "12" {
		t.Errorf("kept are %q and %q", p.Value("#country"), p.Value("#phone"))
	}
	p.Look("phone-without-scripts")
	p.Type("#phone", mobileTyped)
	p.Follow(browsertest.Submit)
	p.Type("#code", p.codeTo(string(mobile)))
	p.Follow(browsertest.Submit)
	p.protected("sms", p.Site.Now(), policy.SignInScenario)
	p.keepsTheCodes()

	p.leaves()
	p.entersPassword()
	p.answers(string(mobile))
	p.On("/security", "security.title")

	p.Visit("/security/protection/setup")
	p.wants("virtual_mfa", policy.SignInScenario, policy.ManageMFA)
	p.Follow(browsertest.Submit)
	p.Says("protection_confirm.unused.sms")
	p.Follow(browsertest.Submit)
	p.asked("purpose.protection_edit", p.L.T("method.virtual_mfa"))
	p.answers(string(mobile)) // the present method
	p.On("/security/protection/confirm", "bind.title")
	p.scansTheKey()
	p.Type("#code", p.app.Next())
	p.Follow(browsertest.Submit)
	p.Says("done.protection_on")
	p.Visit("/security/protection/off")
	p.Follow(".button-danger")
	p.verifies("purpose.protection_off")
	p.Says("done.protection_off")
}
