package browsertest_test

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"countersign/internal/browsertest"
)

// bindsADevice goes from Security Settings to ten recovery codes.
func (p *person) bindsADevice(look bool) {
	p.T.Helper()
	see := func(name string) {
		if look {
			p.Look(name)
		}
	}
	p.Visit("/security")
	p.Follow("#row-virtual-mfa .button")
	p.On("/verify", "verify.title")
	p.Says("purpose.bind_virtual_mfa")
	see("verify-send")
	p.Follow("main form > .button") // Send code
	p.On("/verify", "verify.title")
	see("verify-email")
	p.Type("#code", p.MailedCode())
	p.Follow(browsertest.Submit)
	p.On("/security/virtual-mfa/bind", "bind.title")

	p.Click(".steps details > summary") // Scan failed?
	p.app.Key = strings.Join(strings.Fields(browsertest.Eval[string](p.Tab, "[...document.querySelectorAll('#key span')].map(s => s.textContent).join(' ')")), "")
	uri := p.readsTheQR()
	see("bind")
	if copied := p.Copied("[data-copy='#key']"); strings.ReplaceAll(copied, " ", "") != p.app.Key {
		p.T.Errorf("copied %q, want the key %q", copied, p.app.Key)
	}

	code := p.app.Next()
	p.Type("#code", code)
	p.Type("#code2", code)
	p.Type("#name", "Pixel 9")
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.pair.same")
	if p.Scan() != uri {
		p.T.Error("the key changed after a wrong code")
	}
	if p.Value("#name") != "Pixel 9" {
		p.T.Error("the name of the device was not kept")
	}
	see("bind-refused")

	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security/recovery-codes/new", "codes_new.title")
	p.Says("done.virtual_mfa_bound")
}

// readsTheQR scans the code as it is on the screen, on phone and desktop, in
// light and dark; it must be the key that is shown to be typed.
func (p *person) readsTheQR() (uri string) {
	p.T.Helper()
	for _, width := range []int64{390, 1280} {
		p.Screen(width, width == 390)
		for _, theme := range []string{"dark", "light"} {
			p.System(theme, "")
			uri = p.Scan()
			u, err := url.Parse(uri)
			if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Query().Get("secret") != p.app.Key {
				p.T.Fatalf("at %d px, %s, the QR code says %q, the page %q", width, theme, uri, p.app.Key)
			}
			if link := browsertest.Eval[string](p.Tab, "document.querySelector('.touch-only').getAttribute('href')"); link != uri {
				p.T.Errorf("the link to the app is %q, the QR code %q", link, uri)
			}
		}
	}
	return uri
}

var recoveryCode = regexp.MustCompile(`^[2-9A-Z]{7}-[2-9A-Z]{7}$`)

func (p *person) savesRecoveryCodes() {
	p.T.Helper()
	p.codes = browsertest.Eval[[]string](p.Tab, "[...document.querySelectorAll('#codes li')].map(li => li.textContent.trim())")
	for _, c := range p.codes {
		if !recoveryCode.MatchString(c) {
			p.T.Errorf("recovery code %q", c)
		}
	}
	if len(p.codes) != 10 {
		p.T.Fatalf("%d recovery codes, want 10", len(p.codes))
	}
	all := strings.Join(p.codes, "\n") + "\n"
	p.Look("codes-new")
	if name, file := p.Download("[data-download]"); name != "recovery-codes.txt" || file != all {
		p.T.Errorf("downloaded %s: %q, want %q", name, file, all)
	}
	if copied := p.Copied("[data-copy='#codes']"); copied != all {
		p.T.Errorf("copied %q, want %q", copied, all)
	}
	browsertest.Eval[any](p.Tab, "window.print = () => { window.printed = true }; 0")
	p.Click("[data-print]")
	p.Until("the print dialogue", "window.printed === true")
	p.System("light", "print")
	printed := strings.Fields(p.Text("main"))
	onPaper := browsertest.Eval[[]string](p.Tab, "[...document.querySelectorAll('body *:not(main, .card, h1, .codes, .codes *)')].filter(e => e.checkVisibility() && !e.matches('.visually-hidden, .visually-hidden *')).map(e => e.innerText)")
	if got := printed[len(printed)-10:]; strings.Join(got, "\n")+"\n" != all || len(onPaper) != 1 {
		p.T.Errorf("on paper: %q, and %q beside the codes", p.Text("main"), onPaper)
	}
	if pdf := p.PDF(); !strings.HasPrefix(string(pdf), "%PDF") || strings.Count(string(pdf), "/Type /Page\n") != 1 {
		p.T.Errorf("the codes take %d pages of paper", strings.Count(string(pdf), "/Type /Page\n"))
	}
	p.System("light", "")

	p.Click(browsertest.Submit) // the box is not ticked
	p.Click("#saved")
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
	p.Says("done.codes_saved")
	p.state("virtual-mfa", "state.on")
	p.state("recovery-codes", "state.on")
	p.Says("row.recovery_codes.left", "Count", 10)
	p.Says("checkup.second_kind")
	p.Look("settings-on")
	p.Follow("#row-recovery-codes .button")
	p.On("/security/recovery-codes", "row.recovery_codes")
	if shown := p.Text("body"); strings.Contains(shown, p.codes[0]) {
		p.T.Error("the codes are shown twice")
	}
	p.Look("recovery-codes")
	p.Back()
	p.Follow("#row-virtual-mfa .button")
	p.On("/security/virtual-mfa", "row.virtual_mfa")
	p.Look("virtual-mfa")
}

func (p *person) resynchronises() {
	p.T.Helper()
	p.app.Wait(5 * time.Minute)
	p.app.Drift = -90 * time.Second
	p.Follow("#row-virtual-mfa .button")
	p.Follow("[href$='/resynchronise']")
	p.On("/security/virtual-mfa/resynchronise", "resync.title")
	p.Look("resynchronise")
	p.Type("#code", p.app.Next())
	p.app.Next()
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.Refuses(401, "fault.pair.apart")
	p.Look("resynchronise-refused")
	p.Type("#code", p.app.Next())
	p.Type("#code2", p.app.Next())
	p.Follow(browsertest.Submit)
	p.On("/security/virtual-mfa", "row.virtual_mfa")
	p.Says("done.resynchronised")
	p.Look("resynchronised")
}

func (p *person) unbindsTheDevice() {
	p.T.Helper()
	p.Visit("/security")
	p.Follow("#row-virtual-mfa .button")
	p.Follow("[href$='/unbind']")
	p.Says("purpose.unbind_virtual_mfa") // although the password was changed just now
	if !strings.Contains(p.Text("main"), "Pixel 9") {
		p.T.Error("the device is not named")
	}
	p.Look("verify-unbind")
	p.verifies("purpose.unbind_virtual_mfa")
	p.On("/security/virtual-mfa/unbind", "unbind.title")
	if !strings.Contains(p.Text("dl"), "Pixel 9") {
		p.T.Error("the device is not named")
	}
	p.Look("unbind")
	p.Follow(".button-danger")
	p.On("/security", "security.title")
	p.Says("done.virtual_mfa_unbound")
	p.state("virtual-mfa", "state.off")
	p.Look("settings-unbound")
}
