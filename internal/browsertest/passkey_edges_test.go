package browsertest_test

import (
	"testing"

	"countersign/internal/browsertest"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/locale"
)

// withAPasskey is an owner who has one passkey, on what is at hand, and
// recovery codes, and is signed out.
func withAPasskey(t *testing.T, kind browsertest.Kind) (*person, *browsertest.Authenticator) {
	t.Helper()
	return withAPasskeyIn(t, "en", kind)
}

func withAPasskeyIn(t *testing.T, language string, kind browsertest.Kind) (*person, *browsertest.Authenticator) {
	t.Helper()
	p := ownerIn(t, language)
	p.withNothingSuggested()
	held := p.Holds(kind)
	p.withPassword()
	p.Visit("/security/passkeys/new")
	p.answers(email)
	p.Follow(withPasskey)
	p.savesTheCodes()
	p.calls("My passkey")
	p.leaves()
	return p, held
}

// usesACode takes the other way, where a passkey is asked for.
func (p *person) usesACode() {
	p.T.Helper()
	p.follow("method.another")
	p.Follow(".choice[href*='recovery_code']")
	p.Type("#code", p.codes[0])
	p.Follow(browsertest.Submit)
	p.codes = p.codes[1:]
}

func TestAPasskeyDeletedOnTheDevice(t *testing.T) {
	t.Parallel()
	p, phone := withAPasskey(t, browsertest.Phone())
	phone.Deletes()
	p.Visit("/signin")
	p.declines("passkey.js.cancelled")
	p.withPassword()
	p.On("/signin/verify", "second.title")
	p.declines("passkey.js.cancelled")
	p.usesACode()
	p.On("/security", "security.title")
	p.has("My passkey") // until its owner removes it
}

// A passkey whose authenticator does not unlock proves no more than that it is
// there: after a password.
func TestAPasskeyThatUnlocksNothingIsNotEnoughAlone(t *testing.T) {
	t.Parallel()
	p, key := withAPasskey(t, browsertest.SecurityKey())
	bare := browsertest.SecurityKey()
	bare.HasUserVerification, bare.IsUserVerified = false, false
	key.Copy(p.Tab, bare)
	key.Lost()
	p.Visit("/signin")
	p.declines("passkey.js.cancelled")
	p.withPassword()
	p.Follow(withPasskey)
	p.On("/security", "security.title")
	p.Visit("/security/passkeys/new")
	if browsertest.Eval[string](p.Tab, "location.pathname") == "/verify" {
		p.Follow(withPasskey)
	}
	p.On("/security/passkeys/new", "passkey_new.title")
	p.declines("passkey.js.cancelled") // one that signs in alone has to unlock
	p.has("My passkey")
}

func TestAnAnswerThatIsWrongSignsNobodyIn(t *testing.T) {
	t.Parallel()
	p, laptop := withAPasskey(t, browsertest.Laptop())
	laptop.Lies(true)
	p.withPassword()
	p.Follow(withPasskey)
	p.On("/signin/verify", "second.title")
	p.Status(401)
	p.leadsSomewhere()
	p.Look("passkey-second-refused")
	laptop.Becomes(1)
	laptop.Lies(false)
	p.Follow(withPasskey)
	p.On("/security", "security.title")

	p.leaves()
	laptop.Lies(true)
	p.Visit("/signin")
	p.Follow(withPasskey)
	p.Refuses(401, "fault.passkey.unknown")
	p.leadsSomewhere()
	p.Visit("/security")
	p.On("/signin", "signin.title")
}

// The counter of a passkey goes back: there may be a copy of it.
func TestAPasskeyThatMayHaveBeenCopied(t *testing.T) {
	t.Parallel()
	p, key := withAPasskey(t, browsertest.SecurityKey())
	credential := key.Passkeys()[0].CredentialID
	for range 2 {
		p.Visit("/signin")
		p.Follow(withPasskey)
		p.On("/security", "security.title")
		p.leaves()
	}
	key.Counts(credential, 1)
	p.Visit("/signin")
	p.Follow(withPasskey)
	p.Status(401)
	p.leadsSomewhere()
	p.Look("passkey-copied-signin")
	p.told(email, message.PasskeyCopied)
	p.withPassword()
	p.usesACode()
	p.On("/security", "security.title")
	p.Visit("/security/passkeys")
	p.Says("passkey.copied")
	p.Look("passkey-copied")
	p.Follow("li[id^=passkey-] a:not([href$=remove])")
	p.Says("passkey.copied.text")
	p.Look("passkey-copied-one")
}

// A browser that cannot do passkeys is told so where one would come next, and
// goes another way.
func TestABrowserWithoutPasskeys(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p, _ := withAPasskeyIn(t, l.Tag, browsertest.Laptop())
			p.Tab = browsertest.Open(t, p.Site, l.Tag)
			p.Before("delete window.PublicKeyCredential")
			p.Visit("/signin")
			p.hasNoButton()
			p.withPassword()
			p.hasNoButton()
			p.Says("passkey.js.none")
			p.Look("no-passkeys-second")
			p.usesACode()
			p.On("/security", "security.title")
			p.Visit("/security/passkeys/new")
			if browsertest.Eval[string](p.Tab, "location.pathname") == "/verify" {
				p.usesACode()
			}
			p.On("/security/passkeys/new", "passkey_new.title")
			p.hasNoButton()
			p.Says("passkey.js.none")
			p.Look("no-passkeys-new")

			p.Tab = browsertest.Open(t, p.Site, l.Tag)
			p.WithoutScripts()
			p.Visit("/signin")
			p.hasNoButton()
			p.withPassword()
			p.hasNoButton()
			p.Says("passkey.js.noscript")
			p.Look("passkey-without-scripts-second")
			p.usesACode()
			p.On("/security", "security.title")
			p.Visit("/security/passkeys/new")
			if browsertest.Eval[string](p.Tab, "location.pathname") == "/verify" {
				p.usesACode()
			}
			p.Says("passkey.js.noscript")
		})
	}
}

// hasNoButton checks that none is offered that would do nothing.
func (p *person) hasNoButton() {
	p.T.Helper()
	if n := browsertest.Eval[int](p.Tab, "[...document.querySelectorAll('[data-passkey-go]')].filter(b => b.checkVisibility()).length"); n > 0 {
		p.T.Errorf("at %s there is a button for a passkey", browsertest.Eval[string](p.Tab, "location.pathname"))
	}
}

// A passkey proves who is there in every scenario.
func TestEveryScenarioTakesAPasskey(t *testing.T) {
	t.Parallel()
	p, _ := withAPasskey(t, browsertest.Laptop())
	p.Visit("/signin")
	p.Follow(withPasskey)
	p.Visit("/security/password") // a passkey alone proves both
	p.On("/security/password", "password.title")
	p.goesStale()
	for path, purpose := range map[string]string{
		"/security/password": "purpose.change_password", "/security/virtual-mfa/bind": "purpose.bind_virtual_mfa", "/security/passkeys/new": "purpose.bind_passkey", "/security/phone/change": "purpose.attach_phone",
	} {
		p.goesStale()
		p.Visit(path)
		p.asked(purpose, "")
		p.Follow(withPasskey)
		p.arrives(path)
	}
	p.goesStale()
	p.Visit("/security/recovery-codes")
	p.Follow(browsertest.Submit)
	p.asked("purpose.recovery_codes", "")
	p.Follow(withPasskey)
	p.On("/security/recovery-codes/new", "codes_new.title")
}

// Account Protection by passkey: created on the way, asked for at sign-in, and
// not to be removed from under it.
func TestTheTourOfProtectionByPasskey(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p := ownerIn(t, l.Tag)
			p.withNothingSuggested()
			laptop := p.Holds(browsertest.Laptop())
			p.withPassword()
			p.Visit("/security/protection/setup")
			p.Look("passkey-protection-setup")
			p.wants("passkey", policy.SignInScenario, policy.ChangeContact)
			p.Follow(browsertest.Submit)
			p.On("/security/protection/confirm", "protection_confirm.title")
			p.Says("protection.signin.passkey")
			p.Says("protection_confirm.then.passkey")
			p.Look("passkey-protection-confirm")
			p.Follow(browsertest.Submit)
			p.asked("purpose.protection_on", p.L.T("method.passkey"))
			p.answers(email)
			p.On("/security/protection/confirm", "passkey.new")
			laptop.Unlock(false)
			p.declines("passkey.js.cancelled")
			laptop.Unlock(true)
			p.Follow(withPasskey)
			p.protected("passkey", p.Site.Now(), policy.SignInScenario, policy.ChangeContact)
			p.Says("done.protection_on")
			p.told(email, message.ProtectionOn)
			p.Look("passkey-protection-on")

			p.leaves()
			p.withPassword()
			p.On("/signin/verify", "second.title")
			p.Look("passkey-second")
			p.Follow(withPasskey)
			p.On("/security", "security.title")
			p.Visit("/security/passkeys")
			p.Follow("li[id^=passkey-] [href$='/remove']")
			if browsertest.Eval[string](p.Tab, "location.pathname") == "/verify" {
				p.Follow(withPasskey)
			}
			p.Says("passkey_remove.protects")
			p.Look("passkey-protects")
			if p.Text(".button-danger") != "" {
				t.Error("it can be removed all the same")
			}
		})
	}
}
