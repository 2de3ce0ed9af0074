package browsertest_test

import (
	"slices"
	"strings"
	"testing"

	"countersign/internal/browsertest"
	"countersign/internal/domain/message"
	"countersign/internal/locale"
	"countersign/internal/store"
)

// Buttons of a page with a form for a passkey, which may stand beside another
// one.
const (
	withoutPasskey = "main form:not([data-passkey]) > .button"
	withPasskey    = "[data-passkey-go]"
	passkeyStatus  = "[data-passkey-status]"
)

// withPassword passes the first step with the password.
func (p *person) withPassword() {
	p.T.Helper()
	p.Visit("/signin")
	p.Type("#username", email)
	p.Type("#password", p.password)
	p.Follow(withoutPasskey)
}

// declines presses the button with a passkey, and waits for the quiet word
// that it did not work, which leaves the page as it is.
func (p *person) declines(key string) {
	p.T.Helper()
	p.Click(withPasskey)
	p.Until("the word that it did not work", `document.querySelector('[data-passkey-status]').textContent !== ''`)
	if got, want := p.Text(passkeyStatus), p.L.T(key); got != want {
		p.T.Errorf("the page says %q, want %q", got, want)
	}
	if errors := p.Text(".error-summary"); errors != "" {
		p.T.Errorf("that is called a problem: %q", errors)
	}
}

// arrives waits for a page to which scripts lead.
func (p *person) arrives(path string) {
	p.T.Helper()
	p.Until("the page "+path, `location.pathname === '`+path+`' && document.readyState === 'complete' && performance.getEntriesByType('navigation')[0].responseStatus === 200`)
}

// has are the names of the passkeys bound.
func (p *person) has(want ...string) (list []store.Passkey) {
	p.T.Helper()
	i := p.identity()
	list, err := p.Site.DB.Read(p.T.Context()).Passkeys(i.Account, i.ID)
	if err != nil {
		p.T.Fatal(err)
	}
	var names []string
	for _, k := range list {
		names = append(names, k.Name)
	}
	if !slices.Equal(names, want) {
		p.T.Errorf("bound are %q, want %q", names, want)
	}
	return list
}

// savesTheCodes that came with the first device, and goes on.
func (p *person) savesTheCodes() {
	p.T.Helper()
	p.On("/security/recovery-codes/new", "codes_new.title")
	p.codes = browsertest.Eval[[]string](p.Tab, "[...document.querySelectorAll('#codes li')].map(li => li.textContent.trim())")
	p.Click("#saved")
	p.Follow(browsertest.Submit)
}

// named is what a passkey is called that nobody has named, made in this browser
// by an authenticator that nobody knows.
func (p *person) named() string {
	p.T.Helper()
	return p.L.T("passkey.default", "Browser", message.Browser(p.L, browsertest.Eval[string](p.Tab, "navigator.userAgent")))
}

// calls gives the passkey on the page a name.
func (p *person) calls(name string) {
	p.T.Helper()
	p.Type("#name", name)
	p.Follow("main form > .button-secondary")
}

// is checks the heading of a page whose path has an ID.
func (p *person) is(heading string, args ...any) {
	p.T.Helper()
	if got, want := p.Text("h1"), p.L.T(heading, args...); got != want {
		p.T.Fatalf("heading %q, want %q, at %s:\n%s", got, want, browsertest.Eval[string](p.Tab, "location.href"), p.Text("main"))
	}
}

// Passkeys of an owner, from the first one to the last, in each language, on
// phone and desktop, light and dark.
func TestTheTourOfThePasskey(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p := ownerIn(t, l.Tag)
			laptop := p.Holds(browsertest.Laptop())
			p.createsTheFirst(laptop)
			p.isDeclinedASecond(laptop)
			p.signsInWithAPasskey(laptop)
			key := p.createsAnother(laptop)
			p.verifiesByPasskey(key)
			p.removesThePasskey(laptop)
			p.readsOfPasskeys()
		})
	}
}

func (p *person) createsTheFirst(laptop *browsertest.Authenticator) {
	p.T.Helper()
	p.withPassword()
	p.On("/security", "security.title")
	p.state("passkeys", "state.off")
	p.Says("passkey.benefit")
	p.Follow("#row-passkeys .button")
	p.asked("purpose.bind_passkey", "")
	p.answers(email)
	p.On("/security/passkeys/new", "passkey_new.title")
	for _, key := range []string{"passkey.benefit", "passkey.benefit.more", "passkey.where"} {
		p.Says(key)
	}
	p.Click("main details > summary")
	p.Says("passkey_new.learn.where")

	laptop.Unlock(false)
	p.declines("passkey.js.cancelled")
	p.Look("passkey-cancelled")
	p.has()
	laptop.Unlock(true)
	p.Follow(withPasskey)
	p.Says("done.passkey_created")
	p.told(email, message.PasskeyAdded)
	p.savesTheCodes()
	p.is("passkey.ready")
	p.Says("passkey.saved.devices")
	p.Says("passkey.means.devices")
	p.Look("passkey-ready")
	p.shows("#name", p.named())
	p.calls("Blue laptop")
	p.is("passkey.ready")
	p.Says("done.passkey_renamed")
	p.has("Blue laptop")
	p.Follow(".actions .button")
	p.On("/security", "security.title")
	p.Look("passkey-settings")
}

func (p *person) isDeclinedASecond(laptop *browsertest.Authenticator) {
	p.T.Helper()
	p.Follow("#row-passkeys .button")
	p.On("/security/passkeys", "row.passkeys")
	p.Follow(".actions [href='/security/passkeys/new']")
	p.On("/security/passkeys/new", "passkey_new.title")
	p.declines("passkey.js.exists")
	p.Look("passkey-exists")
	p.has("Blue laptop")
	laptop.Becomes(1)
}

func (p *person) signsInWithAPasskey(laptop *browsertest.Authenticator) {
	p.T.Helper()
	laptop.Touch(false) // the browser suggests it, and nobody takes that
	p.leaves()
	p.Visit("/signin")
	if field := browsertest.Eval[string](p.Tab, "document.querySelector('#username').autocomplete"); field != "username webauthn" {
		p.T.Errorf("the field is filled in with %q", field)
	}
	laptop.Answers(withPasskey)
	p.On("/security", "security.title")
	if who := p.Text(".who"); !strings.Contains(who, email) {
		p.T.Errorf("signed in is %q", who)
	}

	laptop.Unlock(false)
	p.leaves()
	p.Visit("/signin/ram")
	p.declines("passkey.js.cancelled")
	p.Look("passkey-signin-cancelled")
	laptop.Unlock(true)
	p.Follow(withPasskey) // of an owner, at the door of the RAM users
	p.On("/security", "security.title")

	p.leaves()
	laptop.Touch(false)
	p.Visit("/security/history")
	p.Says("signin.to_continue")
	laptop.Answers(withPasskey)
	p.On("/security/history", "row.history")

	p.leaves()
	browsertest.Eval[any](p.Tab, "document.querySelector('main .button').click(), 0") // to the sign-in, where the suggestion is taken at once
	p.arrives("/security")
	p.Visit("/security/passkeys")
	if card := p.Text("li[id^=passkey-]"); !strings.Contains(card, "Chrome") || !strings.Contains(card, "127.0.0.1") {
		p.T.Errorf("where it was used: %q", card)
	}
	p.Says("passkey.backed_up")
}

func (p *person) createsAnother(laptop *browsertest.Authenticator) *browsertest.Authenticator {
	p.T.Helper()
	laptop.Touch(false)
	key := p.Holds(browsertest.SecurityKey())
	p.Visit("/security/passkeys/new")
	p.Follow(withPasskey)
	p.is("passkey.ready")
	p.Says("passkey.saved.key")
	p.Says("passkey.means.key")
	p.calls("blue LAPTOP")
	p.Refuses(409, "fault.passkey.name_taken")
	p.shows("#name", "blue LAPTOP")
	p.calls("Key on the ring")
	p.is("passkey.ready")
	p.has("Blue laptop", "Key on the ring")
	p.Follow(".alt a")
	p.On("/security/passkeys", "row.passkeys")
	p.Look("passkeys-two")
	return key
}

// verifiesByPasskey is asked again before something goes, and leaves it.
func (p *person) verifiesByPasskey(key *browsertest.Authenticator) {
	p.T.Helper()
	p.goesStale()
	p.Follow("li[id^=passkey-]:first-child [href$='/remove']")
	p.asked("purpose.remove_passkey", "Blue laptop")
	if ask := p.Text("main"); !strings.Contains(ask, "Blue laptop") || !strings.Contains(ask, "Key on the ring") {
		p.T.Errorf("asked for is %q", ask)
	}
	p.Look("passkey-verify")
	key.Unlock(false)
	p.declines("passkey.js.cancelled")
	key.Unlock(true)
	p.Follow(withPasskey)
	p.is("passkey_remove.title")
	p.Says("passkey_remove.phone_keeps")
	p.Says("passkey_remove.left")
	p.Look("passkey-remove")
}

func (p *person) removesThePasskey(laptop *browsertest.Authenticator) {
	p.T.Helper()
	p.Follow(".button-danger")
	p.On("/security/passkeys", "row.passkeys")
	p.Says("done.passkey_removed")
	p.Says("passkeys.alone")
	p.told(email, message.PasskeyRemoved)
	p.has("Key on the ring")
	laptop.Becomes(0) // the browser was told
	p.Follow("li[id^=passkey-] [href$='/remove']")
	p.asked("purpose.remove_passkey", "Key on the ring")
	p.Follow(withPasskey)
	p.is("passkey_remove.title")
	p.Says("passkey_remove.nothing_left")
	p.Look("passkey-remove-last")
	p.Follow(".alt a")
	p.has("Key on the ring")
}

func (p *person) readsOfPasskeys() {
	p.T.Helper()
	p.Visit("/security/history")
	log := p.Text(".rows-log")
	for browsertest.Eval[int](p.Tab, "document.querySelectorAll('nav .button').length") > 0 {
		p.Follow("nav .button")
		log += p.Text(".rows-log")
	}
	for _, want := range []string{
		p.L.T("event.CreatePasskey", "Name", p.named()), p.L.T("event.UpdatePasskey", "From", p.named(), "To", "Blue laptop"), p.L.T("event.DeletePasskey", "Name", "Blue laptop"),
	} {
		if !strings.Contains(log, want) {
			p.T.Errorf("the history does not say %q; it says\n%s", want, log)
		}
	}
}
