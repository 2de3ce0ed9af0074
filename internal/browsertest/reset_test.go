package browsertest_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/locale"
	"countersign/internal/testkit"
)

const newer = "gravel teapot orbit nine"

// mailed is the path of the link in the newest mail of a kind.
func (p *person) mailed(kind, prefix string) string {
	p.T.Helper()
	for _, m := range p.Site.Messages(email) {
		if _, rest, ok := strings.Cut(m.Text, p.Site.URL+prefix); ok && m.Kind == kind {
			return prefix + strings.Fields(rest)[0]
		}
	}
	p.T.Fatalf("no link in a %s", kind)
	return ""
}

// A forgotten password, and "This wasn't me", in every language: the links are
// opened in a fresh browser.
func TestTheLinksInMails(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p := ownerIn(t, l.Tag)
			app := p.Site.PutApp(email)
			p.forgets()
			p.resets(app)
			p.wasNotMe(app)
		})
	}
}

func (p *person) forgets() {
	p.T.Helper()
	p.Visit("/signin")
	p.Follow(".alt a[href='/forgot']")
	p.On("/forgot", "forgot.title")
	p.Look("forgot")
	p.Follow(browsertest.Submit)
	p.Refuses(422, "fault.signin.name_absent")
	p.Type("#username", email)
	p.Follow(browsertest.Submit)
	p.On("/forgot", "forgot.sent.title")
	p.Look("forgot-sent")
}

func (p *person) resets(app *testkit.App) {
	p.T.Helper()
	link := p.mailed(string(message.ResetLink), "/reset/")
	p.Tab = browsertest.Open(p.T, p.Site, p.L.Tag)
	p.Visit(link)
	p.On("/reset", "reset.title")
	p.Look("reset")
	p.Follow(browsertest.Submit)
	p.On("/reset/verify", "reset.verify.title")
	p.Look("reset-verify")
	p.Site.Pass(30 * time.Second)
	p.Type("#code", app.Code(0))
	p.Follow(browsertest.Submit)
	p.On("/reset/password", "reset.password.title")
	p.Look("reset-password")
	p.Type("#new_password", newer)
	p.Follow(browsertest.Submit)
	p.On("/signin", "signin.title")
	p.Says("done.password_reset")
	p.Look("signin-reset")
	p.Visit("/security") // the link signs nobody in
	p.On("/signin", "signin.title")
	p.password = newer
	p.Visit(link)
	p.Refuses(410, "fault.reset.gone")
}

func (p *person) wasNotMe(app *testkit.App) {
	p.T.Helper()
	link := p.mailed(string(message.PasswordReset), "/notme/")
	before := p.identity()
	phone := &person{Tab: browsertest.Open(p.T, p.Site, p.L.Tag), app: p.app, password: p.password}
	phone.confirms(link, before)

	p.entersPassword()
	p.Site.Pass(30 * time.Second)
	p.Type("#code", app.Code(0))
	p.Follow(browsertest.Submit)
	p.On("/signin/password", "new_password.title")
	p.Says("new_password.distrusted")
	p.Look("new-password-distrusted")
	p.Type("#new_password", "another teapot in orbit")
	p.Follow(browsertest.Submit)
	p.On("/security/check", "check.title")
	p.Look("check")
	p.Follow("form[action='/security/check'] button")
	p.On("/security", "security.title")
	p.Says("done.check_done")
}

// confirms opens the link of a notice on a phone, and says that it was nobody
// they know. Looking at it changes nothing, nor does "It was me".
func (p *person) confirms(link string, before account.Identity) {
	p.T.Helper()
	p.Visit(link)
	p.On(link, "notme.title")
	p.Look("notme")
	p.Screen(390, true)
	p.Follow(".alt a[href='/notme']")
	p.On("/notme", "notme.mine.title")
	p.Look("notme-mine")
	p.Screen(390, true)
	p.Visit(link)
	if now := p.identity(); !reflect.DeepEqual(now, before) {
		p.T.Errorf("looking makes\n%+v\nof\n%+v", now, before)
	}
	p.Follow(browsertest.Submit)
	p.On("/notme", "notme.done.title")
	if now := p.identity(); now.DistrustedAt.IsZero() || now.Epoch == before.Epoch {
		p.T.Errorf("confirming makes %+v", now)
	}
	p.Look("notme-done")
	p.Visit(link)
	p.Status(410)
	p.Says("fault.notme.used")
	p.Visit("/security") // and nobody is signed in here
	p.On("/signin", "signin.title")
}
