package browsertest

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const point = `(selector => {
	const all = [...document.querySelectorAll(selector)].filter(e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length);
	if (all.length !== 1) return {Found: all.length};
	all[0].scrollIntoView({block: 'center', behavior: 'instant'});
	const r = all[0].getClientRects()[0], x = r.x + r.width / 2, y = r.y + r.height / 2, hit = document.elementFromPoint(x, y);
	return {Found: 1, X: x, Y: y, Free: !!hit && (all[0].contains(hit) || hit.contains(all[0]))};
})(%s)`

// Click points at the one thing that can be seen under the selector, and clicks.
func (b *Tab) Click(selector string) {
	b.T.Helper()
	at := Eval[struct {
		Found int
		X, Y  float64
		Free  bool
	}](b, point, selector)
	switch {
	case at.Found != 1:
		b.fail("%d elements to be seen under %s", at.Found, selector)
	case !at.Free:
		b.fail("something covers %s", selector)
	}
	b.must(chromedp.Do(b.ctx, chromedp.MouseClickXY(at.X, at.Y)))
}

// Follow clicks what leads to another page.
func (b *Tab) Follow(selector string) {
	b.T.Helper()
	b.leaving(func() { b.Click(selector) })
}

// Press presses keys, one after the other.
func (b *Tab) Press(keys string) {
	b.T.Helper()
	for _, r := range keys {
		for i, event := range kb.Encode(r) {
			if i == 0 { // as a keyboard does: what takes the key keeps its character back
				event.Type = input.DispatchKeyEventTypeRawKeyDown
			}
			call(b, input.DispatchKeyEvent, *event)
		}
	}
}

// PressOn presses keys that lead to another page.
func (b *Tab) PressOn(keys string) {
	b.T.Helper()
	b.leaving(func() { b.Press(keys) })
}

// Type empties a field and types text into it.
func (b *Tab) Type(selector, text string) {
	b.T.Helper()
	b.Click(selector)
	Eval[any](b, "document.activeElement.select()")
	b.Press(kb.Backspace + text)
	if got := b.Value(selector); got != text {
		b.fail("typed %q into %s, which holds %q", text, selector, got)
	}
}

// Submit is the button of the main form.
const Submit = "main form:not([data-passkey]) > .button"

// Text is what can be read under a selector.
func (b *Tab) Text(selector string) string {
	b.T.Helper()
	return Eval[string](b, "[...document.querySelectorAll(%s)].map(e => e.innerText).join('\\n')", selector)
}

// Value is what a field holds.
func (b *Tab) Value(selector string) string {
	b.T.Helper()
	return Eval[string](b, "document.querySelector(%s).value", selector)
}

// Says checks that the page says what a message key stands for.
func (b *Tab) Says(key string, args ...any) {
	b.T.Helper()
	if want := b.L.T(key, args...); !strings.Contains(b.Text("body"), want) {
		b.fail("the page does not say %q", want)
	}
}

// Refuses checks that the page says what is wrong, the status with it.
func (b *Tab) Refuses(status int, key string, args ...any) {
	b.T.Helper()
	b.Status(status)
	if want, got := b.L.T(key, args...), b.Text(".error-summary"); !strings.Contains(got, want) {
		b.fail("the refusal is %q, want %q", got, want)
	}
	if title := b.L.T("page.error_title") + b.L.T("page.colon"); !strings.HasPrefix(Eval[string](b, "document.title"), title) {
		b.fail("the title does not begin with %q", title)
	}
	if !Eval[bool](b, "document.activeElement.matches('.error-summary')") && Eval[bool](b, "document.documentElement.dataset.scripts !== 'off'") {
		b.fail("the focus is not on the refusal")
	}
}

// Waits checks that the page says to wait some minutes, up to a number.
func (b *Tab) Waits(key string, most int) {
	b.T.Helper()
	b.Status(429)
	said := b.Text(".error-summary")
	for n := 1; n <= most; n++ {
		if strings.Contains(said, b.L.T(key, "Count", n)) {
			return
		}
	}
	b.fail("the refusal is %q, want %q", said, b.L.T(key, "Count", most))
}

// Status checks the status that the page came with.
func (b *Tab) Status(want int) {
	b.T.Helper()
	if got := Eval[int](b, "performance.getEntriesByType('navigation')[0].responseStatus"); got != want {
		b.fail("status %d, want %d", got, want)
	}
}

// On checks what page this is: path and heading.
func (b *Tab) On(path, heading string) {
	b.T.Helper()
	if at := Eval[string](b, "location.pathname"); at != path {
		b.fail("at %s, want %s", at, path)
	}
	if h := b.Text("h1"); h != b.L.T(heading) {
		b.fail("heading %q, want %q", h, b.L.T(heading))
	}
	if lang := Eval[string](b, "document.documentElement.lang"); lang != b.L.Tag {
		b.fail("language %q, want %q", lang, b.L.Tag)
	}
}

// Screen gives the tab a width; a phone is touched.
func (b *Tab) Screen(width int64, phone bool) {
	b.T.Helper()
	height := int64(800)
	if phone {
		height = 844
	}
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: phone})
	call(b, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: phone, MaxTouchPoints: 1})
}

// System makes the system prefer light or dark, or print.
func (b *Tab) System(theme, media string) {
	b.T.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
}

// WithoutScripts switches JavaScript off.
func (b *Tab) WithoutScripts() {
	b.T.Helper()
	b.plain = true
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// Forget deletes a cookie.
func (b *Tab) Forget(name string) {
	b.T.Helper()
	call(b, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: b.Site.URL})
}

// Before makes every page of the tab run a script first.
func (b *Tab) Before(script string) {
	b.T.Helper()
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
}

// Reload loads the page again.
func (b *Tab) Reload() {
	b.T.Helper()
	b.leaving(func() { call(b, page.Reload, page.ReloadParams{}) })
}

// Download clicks and returns name and content of the file that arrives.
func (b *Tab) Download(selector string) (name, content string) {
	b.T.Helper()
	dir := b.T.TempDir()
	ctx := chromedp.FromContext(b.ctx)
	_, err := chromedp.CallBrowser(b.ctx, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
		Behavior: cdpbrowser.SetDownloadBehaviorBehaviorAllow, BrowserContextID: ctx.BrowserContextID, DownloadPath: dir,
	})
	b.must(err)
	b.Click(selector)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(files) == 1 && !strings.HasSuffix(files[0], ".crdownload") {
			if file, err := os.ReadFile(files[0]); err == nil && len(file) > 0 {
				return filepath.Base(files[0]), string(file)
			}
		}
	}
	b.fail("no file came")
	return "", ""
}

// Copied clicks and returns what is in the clipboard then.
func (b *Tab) Copied(selector string) string {
	b.T.Helper()
	clipboard <- struct{}{} // the machine has one
	defer func() { <-clipboard }()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		_, err := chromedp.CallBrowser(b.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
			Permission: &cdpbrowser.PermissionDescriptor{Name: name}, Setting: cdpbrowser.PermissionSettingGranted,
			BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
		})
		b.must(err)
	}
	b.Click(selector)
	b.Until("the word that it was copied", "(() => { const b = document.querySelector("+quoted(selector)+"); return b.textContent === b.dataset.done })()")
	return Eval[string](b, "navigator.clipboard.readText()")
}

var clipboard = make(chan struct{}, 1)

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

var mailed = regexp.MustCompile(`(?:^|\D)(\d{6}|\d{10})(?:\D|$)`)

// MailedCode reads the newest code in the outbox, in a tab of its own.
func (b *Tab) MailedCode() string {
	b.T.Helper()
	if b.mail == nil {
		b.mail = b.Beside()
		b.mail.Visit("/dev/outbox")
	} else {
		b.mail.Visit("/dev/outbox")
	}
	for _, text := range Eval[[]string](b.mail, "[...document.querySelectorAll('.message pre')].map(e => e.innerText)") {
		if m := mailed.FindStringSubmatch(text); m != nil {
			return m[1]
		}
	}
	b.mail.fail("no code in the outbox")
	return ""
}

// Outbox is the tab in which codes are read.
func (b *Tab) Outbox() *Tab { return b.mail }

// Query is the query of the page's address.
func (b *Tab) Query() url.Values {
	b.T.Helper()
	u, err := url.Parse(Eval[string](b, "location.href"))
	b.must(err)
	return u.Query()
}

// PDF prints the page.
func (b *Tab) PDF() []byte {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, page.PrintToPDF, page.PrintToPDFParams{})
	b.must(err)
	return r.Data
}

// Pastes puts text into a field all at once, and waits for the page to go on.
func (b *Tab) Pastes(selector, text string) {
	b.T.Helper()
	b.leaving(func() {
		b.Click(selector)
		call(b, input.InsertText, input.InsertTextParams{Text: text})
	})
}
