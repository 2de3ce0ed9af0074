// Package browsertest drives Chromium through the pages as a person would:
// it points, types and looks, with an authenticator app at hand.
package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"countersign/internal/locale"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// patience is how long anything on a page may take, on a busy machine.
const patience = 30 * time.Second

// root is the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// The browser is one process for all tests of a package, started by the
// first. Every test has a context of its own: cookies, storage, downloads.
var browser struct {
	sync.Once
	context   context.Context
	stop      context.CancelFunc
	userAgent string
	err       error
}

// Main runs the tests of a package and stops the browser.
func Main(m *testing.M) int {
	code := m.Run()
	if browser.stop != nil {
		browser.stop()
	}
	return code
}

func start(t testing.TB) {
	t.Helper()
	program := ""
	for _, name := range []string{"google-chrome", "chromium-browser", "chromium"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
		}
	}
	if program == "" {
		storetest.Missing(t, "no Chromium: run the tests by `make test`")
	}
	for _, need := range []string{"oathtool", "zbarimg"} {
		if _, err := exec.LookPath(need); err != nil {
			storetest.Missing(t, "no "+need+": run the tests by `make test`")
		}
	}
	axe(t)
	browser.Do(func() {
		dir, err := os.MkdirTemp("", "countersign-chromium-")
		if err != nil {
			browser.err = err
			return
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(program), chromedp.UserDataDir(dir), chromedp.WSURLReadTimeout(patience),
			chromedp.Flag("headless", "new"), chromedp.DisableGPU, chromedp.Flag("no-sandbox", os.Getuid() == 0),
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true),
			chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost"))
		allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, stop := chromedp.NewContext(allocator)
		browser.context = ctx
		browser.stop = func() {
			stop()
			stopAllocator()
			_ = os.RemoveAll(dir)
		}
		if browser.err = chromedp.Do(ctx); browser.err == nil {
			browser.userAgent, browser.err = chromedp.Run(ctx, chromedp.Evaluate[string]("navigator.userAgent"))
		}
	})
	if browser.err != nil {
		t.Fatal("start Chromium: ", browser.err)
	}
}

// A Tab is a page in a browser, and someone before it.
type Tab struct {
	T    testing.TB
	Site *testkit.Site
	L    *locale.Locale

	ctx       context.Context
	mutex     sync.Mutex
	complaint []string
	mail      *Tab
	pages     int
	plain     bool // JavaScript is off
}

// Open opens a tab in a fresh browser that asks for pages in a language.
func Open(t testing.TB, site *testkit.Site, language string) *Tab {
	t.Helper()
	start(t)
	ctx, stop := chromedp.NewContext(browser.context, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	return open(t, site, language, ctx)
}

// Beside opens another tab of the same browser.
func (b *Tab) Beside() *Tab {
	b.T.Helper()
	ctx, stop := chromedp.NewContext(b.ctx)
	b.T.Cleanup(stop)
	return open(b.T, b.Site, b.L.Tag, ctx)
}

func open(t testing.TB, site *testkit.Site, language string, ctx context.Context) *Tab {
	t.Helper()
	b := &Tab{T: t, Site: site, L: locale.Get(language), ctx: ctx}
	b.must(chromedp.Do(ctx))
	b.must(chromedp.Listen(ctx, b.hear))
	call(b, log.Enable, cdp.Empty{})
	call(b, network.Enable, network.EnableParams{})
	call(b, page.Enable, page.EnableParams{})
	call(b, cdpruntime.Enable, cdp.Empty{})
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	call(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
		UserAgent: strings.ReplaceAll(browser.userAgent, "Headless", ""), AcceptLanguage: language,
	})
	b.Screen(1280, false)
	t.Cleanup(func() {
		for _, c := range b.Complaints() {
			t.Error("the browser complains: " + c)
		}
	})
	return b
}

// hear notes what no page may cause: errors, violations of the content
// security policy, requests to others.
func (b *Tab) hear(event any) {
	complain := func(format string, args ...any) {
		b.mutex.Lock()
		defer b.mutex.Unlock()
		b.complaint = append(b.complaint, fmt.Sprintf(format, args...))
	}
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || (u.Host != "" && "http://"+u.Host != b.Site.URL) {
			complain("request to %s", e.Request.URL)
		}
	case *log.EventEntryAdded:
		refusedPage := e.Entry.Source == log.EntrySourceNetwork && !strings.Contains(e.Entry.URL, "/assets/")
		if (e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning) && !refusedPage {
			complain("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *cdpruntime.EventExceptionThrown:
		complain("exception: %s", e.ExceptionDetails.Text)
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			complain("console.%s: %s", e.Type, e.Args[0].Value)
		}
	}
}

// Complaints takes what the browser has complained of; what nobody takes
// fails the test.
func (b *Tab) Complaints() []string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	taken := b.complaint
	b.complaint = nil
	return taken
}

func (b *Tab) must(err error) {
	b.T.Helper()
	if err != nil {
		b.T.Fatal("drive Chromium: ", err)
	}
}

// fail ends the test, and shows what was on the page.
func (b *Tab) fail(format string, args ...any) {
	b.T.Helper()
	where, _ := b.try("location.href + '\\n' + document.body.innerText")
	file := filepath.Join(artefacts(b.T), "failed-"+strings.ReplaceAll(b.T.Name(), "/", "-")+".png")
	if image, err := b.picture(nil); err == nil {
		_ = os.WriteFile(file, image, 0o600)
	}
	b.T.Fatalf(format+"\non the page (%s):\n%s", append(args, file, where)...)
}

// try runs a script in the page and returns its value as JSON.
func (b *Tab) try(script string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, cdpruntime.Evaluate, cdpruntime.EvaluateParams{Expression: script, ReturnByValue: new(true), AwaitPromise: new(true)})
	if err != nil {
		return nil, err
	}
	if r.ExceptionDetails != nil {
		what := r.ExceptionDetails.Text
		if e := r.ExceptionDetails.Exception; e != nil {
			what = e.Description
		}
		return nil, fmt.Errorf("script: %s", what)
	}
	return json.RawMessage(r.Result.Value), nil
}

// Eval runs a script in the page of b and returns its value.
func Eval[T any](b *Tab, script string, args ...any) (value T) {
	b.T.Helper()
	for i, a := range args {
		text, err := json.Marshal(a)
		b.must(err)
		args[i] = string(text)
	}
	if len(args) > 0 {
		script = fmt.Sprintf(script, args...)
	}
	raw, err := b.try(script)
	if err != nil {
		b.T.Fatalf("%s: %v", script, err)
	}
	if len(raw) > 0 {
		b.must(json.Unmarshal(raw, &value))
	}
	return value
}

// Until waits for a script to be true.
func (b *Tab) Until(what, script string) {
	b.T.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if raw, err := b.try(script); err == nil && string(raw) == "true" {
			return
		}
	}
	b.fail("waited in vain for %s", what)
}

// leaving does what leads to another page, and waits for it.
func (b *Tab) leaving(do func()) {
	b.T.Helper()
	b.pages++
	Eval[int](b, fmt.Sprintf("window.before = %d", b.pages)) // one restored by Back has an older number
	do()
	b.Until("another page", fmt.Sprintf("window.before !== %d && ", b.pages)+"document.readyState === 'complete' && location.protocol !== 'about:'")
}

// Visit opens a page of the site.
func (b *Tab) Visit(path string) {
	b.T.Helper()
	b.leaving(func() {
		call(b, page.Navigate, page.NavigateParams{URL: b.Site.URL + strings.TrimPrefix(path, b.Site.URL)})
	})
}

// Back goes back in history.
func (b *Tab) Back() {
	b.T.Helper()
	history := call(b, page.GetNavigationHistory, cdp.Empty{})
	b.leaving(func() {
		call(b, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex-1].ID})
	})
}

// call sends a command of the DevTools protocol to the tab.
func call[P, R any](b *Tab, command cdp.Command[P, R], params P) R {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.T.Fatalf("%s: %v", command.Method, err)
	}
	return r
}
