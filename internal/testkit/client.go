package testkit

import (
	"encoding/base32"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Lines is a log that tests read.
type Lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A Client is a browser without a screen: it keeps cookies, fills forms, and
// stays where it was redirected from until it is told to follow.
type Client struct {
	*http.Client
	Site   *Site
	T      testing.TB
	Header http.Header // of every request
	Seen   []string    // every body so far
	mu     sync.Mutex
}

// A Reply is one answer, read whole.
type Reply struct {
	*http.Response
	Body string
	c    *Client
}

// Client opens a browser at the site.
func (s *Site) Client() *Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.T.Fatal(err)
	}
	transport := &http.Transport{}
	s.T.Cleanup(transport.CloseIdleConnections)
	return &Client{Site: s, T: s.T, Header: http.Header{}, Client: &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Send sends a request as it is.
func (c *Client) Send(r *http.Request) Reply {
	c.T.Helper()
	for name, values := range c.Header {
		if r.Header.Get(name) == "" {
			r.Header[name] = values
		}
	}
	res, err := c.Client.Do(r)
	if err != nil {
		c.T.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		c.T.Fatal(err)
	}
	c.mu.Lock()
	c.Seen = append(c.Seen, string(b))
	c.mu.Unlock()
	return Reply{res, string(b), c}
}

// Request makes a request for a path of the site.
func (c *Client) Request(method, path, body string) *http.Request {
	c.T.Helper()
	r, err := http.NewRequest(method, c.Site.URL+path, strings.NewReader(body))
	if err != nil {
		c.T.Fatal(err)
	}
	return r
}

// Get asks for a page.
func (c *Client) Get(path string) Reply { c.T.Helper(); return c.Send(c.Request("GET", path, "")) }

// Post posts a form as a page of the site would.
func (c *Client) Post(path string, form url.Values) Reply {
	c.T.Helper()
	r := c.Request("POST", path, form.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", c.Site.URL)
	return c.Send(r)
}

// CSRF is a form token of the browser's.
func (c *Client) CSRF() string {
	c.T.Helper()
	return attribute(c.Get("/signedout").Body, "csrf")
}

var (
	forms  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	inputs = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*>`)
	names  = regexp.MustCompile(`name="([^"]*)"`)
	values = regexp.MustCompile(`value="([^"]*)"`)
	key    = regexp.MustCompile(`secret=([A-Z2-7]{32})`)
)

func attribute(body, name string) string {
	for _, input := range inputs.FindAllString(body, -1) {
		if m := names.FindStringSubmatch(input); m != nil && m[1] == name {
			return html.UnescapeString(values.FindStringSubmatch(input)[1])
		}
	}
	return ""
}

// Submit fills the form of the page that posts to action, and posts it. fill
// holds names and values in turn; a name that comes again has several values.
func (r Reply) Submit(action string, fill ...string) Reply {
	r.c.T.Helper()
	for _, f := range forms.FindAllStringSubmatch(r.Body, -1) {
		if html.UnescapeString(f[1]) != action {
			continue
		}
		form := url.Values{}
		for _, input := range inputs.FindAllString(f[2], -1) {
			form.Set(names.FindStringSubmatch(input)[1], html.UnescapeString(values.FindStringSubmatch(input)[1]))
		}
		filled := map[string]bool{}
		for i := 0; i+1 < len(fill); i += 2 {
			if !filled[fill[i]] {
				form.Del(fill[i])
			}
			filled[fill[i]] = true
			form.Add(fill[i], fill[i+1])
		}
		return r.c.Post(action, form)
	}
	r.c.T.Fatalf("no form posts to %s on %s (%d):\n%s", action, r.Request.URL.Path, r.StatusCode, r.Body)
	return r
}

// Follow goes where the answer leads.
func (r Reply) Follow() Reply {
	r.c.T.Helper()
	to := r.Header.Get("Location")
	if r.StatusCode != http.StatusSeeOther || to == "" {
		r.c.T.Fatalf("%s %s leads nowhere: %d\n%s", r.Request.Method, r.Request.URL.Path, r.StatusCode, r.Body)
	}
	return r.c.Get(to)
}

// Again loads the page once more.
func (r Reply) Again() Reply {
	r.c.T.Helper()
	return r.c.Get(r.Request.URL.RequestURI())
}

// Want checks the status.
func (r Reply) Want(status int) Reply {
	r.c.T.Helper()
	if r.StatusCode != status {
		r.c.T.Errorf("%s %s: %d, want %d\n%s", r.Request.Method, r.Request.URL, r.StatusCode, status, r.Body)
	}
	return r
}

// App is the authenticator app that scans the page's key.
func (r Reply) App() *App {
	r.c.T.Helper()
	m := key.FindStringSubmatch(r.Body)
	if m == nil {
		r.c.T.Fatalf("no key on the page:\n%s", r.Body)
	}
	seed, err := base32.StdEncoding.DecodeString(m[1])
	if err != nil {
		r.c.T.Fatal(err)
	}
	return &App{Seed: seed, Now: r.c.Site.Now}
}

// MailedCode is the code of the newest mail to an address.
func (s *Site) MailedCode(to string) string { s.T.Helper(); return s.SentCode(to) }

// ProveByApp answers the verification, or the second step, that the reply
// leads to with the next code of the app.
func (r Reply) ProveByApp(app *App) Reply {
	r.c.T.Helper()
	r.c.Site.Pass(30 * time.Second) // a step is accepted once
	path, _, _ := strings.Cut(r.Header.Get("Location"), "?")
	return r.c.Get(r.Header.Get("Location")+"&method=virtual_mfa").Submit(path, "code", app.Code(0))
}

// ProveBySent answers it with a code that is sent by the method.
func (r Reply) ProveBySent(method, to string) Reply {
	r.c.T.Helper()
	path, _, _ := strings.Cut(r.Header.Get("Location"), "?")
	page := r.c.Get(r.Header.Get("Location")+"&method="+method).Submit(path+"/send", "method", method)
	return page.Follow().Submit(path, "code", r.c.Site.SentCode(to))
}

// SignIn signs in by the pages, with a code where an app is given.
func (c *Client) SignIn(email string, app *App) Reply {
	c.T.Helper()
	r := c.Get("/signin").Submit("/signin", "username", email, "password", Password)
	if app != nil {
		r = r.c.Get(r.Header.Get("Location")+"&method=virtual_mfa").Submit("/signin/verify", "code", app.Code(0))
	}
	return r.Want(http.StatusSeeOther)
}

// Bind verifies by mail and binds an app by the pages; it returns the page of
// the recovery codes.
func (c *Client) Bind(email string) (*App, Reply) {
	c.T.Helper()
	page := c.Get("/security/virtual-mfa/bind").Follow().Submit("/verify/send", "method", "email").Follow()
	page = page.Submit("/verify", "code", c.Site.MailedCode(email)).Follow()
	app := page.App()
	return app, page.Submit("/security/virtual-mfa/bind", "code", app.Code(-1), "code2", app.Code(0)).Follow().Want(http.StatusOK)
}
