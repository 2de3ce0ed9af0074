package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"countersign/internal/store/storetest"
)

// artefacts is where screenshots go.
func artefacts(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("COUNTERSIGN_TEST_ARTEFACTS")
	if dir == "" {
		dir = filepath.Join(root(), "artefacts", "screens")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for people to look at
		t.Fatal(err)
	}
	return dir
}

// axe-core checks pages for accessibility. scripts/axe fetches it.
var axeSource struct {
	sync.Once
	script string
	err    error
}

func axe(t testing.TB) string {
	t.Helper()
	axeSource.Do(func() {
		file := os.Getenv("COUNTERSIGN_TEST_AXE")
		if file == "" {
			out, err := exec.Command(filepath.Join(root(), "scripts", "axe")).CombinedOutput()
			if err != nil {
				axeSource.err = fmt.Errorf("%w: %s", err, out)
				return
			}
			file = strings.TrimSpace(string(out))
		}
		script, err := os.ReadFile(file)
		axeSource.script, axeSource.err = string(script), err
	})
	if axeSource.err != nil {
		storetest.Missing(t, "no axe-core: "+axeSource.err.Error())
	}
	return axeSource.script
}

const runAxe = `axe.run(document, {
	runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
	rules: {'target-size': {enabled: true}}, resultTypes: ['violations'],
}).then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ': ' + v.help + ' at ' + n.target + ' (' + n.failureSummary + ')')))`

// overflow lists what sticks out of the page to the right.
const overflow = `(() => {
	const page = document.documentElement;
	if (page.scrollWidth <= page.clientWidth) return [];
	return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > page.clientWidth + .5 && !e.closest('.visually-hidden'))
		.map(e => e.tagName + '.' + e.className + ' ends at ' + e.getBoundingClientRect().right + ' of ' + page.clientWidth);
})()`

// small lists what is harder to hit than the design allows: lower than 44 px.
const small = `[...document.querySelectorAll('a.button, button, summary, input:not([type=hidden], [type=checkbox], [type=radio]), select, .check label, .alt a, .choice')]
	.filter(e => e.checkVisibility({visibilityProperty: true}) && e.getBoundingClientRect().height < 43.9)
	.map(e => e.tagName + ' ' + e.innerText + ' is ' + e.getBoundingClientRect().height + ' px high')`

// Look takes pictures of the page in both widths and themes, and checks that
// it is accessible and nothing sticks out.
func (b *Tab) Look(name string) {
	b.T.Helper()
	dir := filepath.Join(artefacts(b.T), b.L.Tag)
	b.must(os.MkdirAll(dir, 0o755)) //nolint:gosec // for people to look at
	for _, width := range []int64{320, 390, 1280} {
		b.Screen(width, width < 1280)
		for _, theme := range []string{"light", "dark"} {
			b.System(theme, "")
			if width == 320 { // the desktop at 400 %
				b.report(name, width, theme, Eval[[]string](b, overflow))
				break
			}
			image, err := b.picture(nil)
			b.must(err)
			b.must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, theme)), image, 0o600))
			if b.plain { // nor does axe run
				b.report(name, width, theme, append(Eval[[]string](b, overflow), Eval[[]string](b, small)...))
			} else if b.L.Tag == "en" || (width == 390 && theme == "light") {
				b.report(name, width, theme, b.Faults())
			} else {
				b.report(name, width, theme, Eval[[]string](b, overflow))
			}
		}
		b.System("light", "")
	}
}

func (b *Tab) report(name string, width int64, theme string, faults []string) {
	b.T.Helper()
	for _, f := range faults {
		b.T.Errorf("%s in %s at %d px, %s: %s", name, b.L.Tag, width, theme, f)
	}
}

// Faults lists what is wrong with the page as it is shown now.
func (b *Tab) Faults() []string {
	b.T.Helper()
	Eval[any](b, "window.axe || eval?.("+quoted(axe(b.T))+"), 0")
	return append(append(Eval[[]string](b, overflow), Eval[[]string](b, small)...), Eval[[]string](b, runAxe)...)
}

// picture is the page as it is on the screen, or a part of it.
func (b *Tab) picture(clip *page.Viewport) ([]byte, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: new(true), OptimizeForSpeed: new(true), Clip: clip,
	})
	return r.Data, err
}

// Scan reads the QR code that the page shows, as a phone held before the
// screen would.
func (b *Tab) Scan() string {
	b.T.Helper()
	at := Eval[page.Viewport](b, `(() => {
		const r = document.querySelector('.qr').getBoundingClientRect();
		return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height, scale: 1};
	})()`)
	image, err := b.picture(&at)
	b.must(err)
	file := filepath.Join(b.T.TempDir(), "qr.png")
	b.must(os.WriteFile(file, image, 0o600))
	out, err := exec.Command("zbarimg", "-q", "--raw", file).Output()
	if err != nil {
		b.fail("zbarimg does not read the QR code: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// Colours are those of the page's ground and text.
func (b *Tab) Colours() string {
	b.T.Helper()
	raw := Eval[json.RawMessage](b, "(s => s.backgroundColor + ' ' + s.color)(getComputedStyle(document.body))")
	return string(raw)
}
