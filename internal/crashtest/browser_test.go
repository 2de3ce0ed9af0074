package crashtest_test

import (
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// errDown says that no answer came: the server was killed.
var errDown = errors.New("the server is down")

// A browser sends what one person sends in one life of the server.
type browser struct {
	*http.Client
	site    *site
	network string // it seems to come from
}

// A reply is an answer that came whole: what it says has been promised.
type reply struct {
	*http.Response
	body string
}

func (r reply) id() string { return r.Header.Get("X-Request-Id") }

// to is the path that the answer leads to.
func (r reply) to() string {
	path, _, _ := strings.Cut(r.Header.Get("Location"), "?")
	return path
}

func (r reply) String() string {
	return fmt.Sprintf("%s %s: %d to %q\n%s", r.Request.Method, r.Request.URL.Path, r.StatusCode, r.Header.Get("Location"), r.body)
}

func (s *site) browser(network string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err)
	}
	return &browser{site: s, network: network, Client: &http.Client{Jar: jar, Transport: s.transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browser) send(method, path, kind, body, bearer string) (reply, error) {
	r, err := http.NewRequest(method, b.site.url+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("X-Forwarded-For", b.network)
	r.Header.Set("User-Agent", "crashtest")
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	} else {
		r.Header.Set("Origin", b.site.url)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	sent := time.Now()
	res, err := b.Do(r)
	if err != nil {
		return reply{}, b.site.down(err)
	}
	all, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return reply{}, b.site.down(err)
	}
	b.site.answers.Add(1)
	if path != "/api/v1/signin" { // which takes as long as the hash of the password
		b.site.pace.Store((7*b.site.pace.Load() + int64(time.Since(sent))) / 8)
	}
	if res.StatusCode >= http.StatusInternalServerError {
		return reply{res, string(all)}, fmt.Errorf("%v", reply{res, string(all)})
	}
	return reply{res, string(all)}, nil
}

// down takes an error of the network: expected of a server that was killed,
// and of no other.
func (s *site) down(err error) error {
	if s.killed.Load() {
		return errDown
	}
	return err
}

func (b *browser) get(path string) (reply, error) { return b.send("GET", path, "", "", "") }

var (
	forms  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	hidden = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*>`)
	name   = regexp.MustCompile(`name="([^"]*)"`)
	value  = regexp.MustCompile(`value="([^"]*)"`)
	key    = regexp.MustCompile(`secret=([A-Z2-7]{32})`)
	listed = regexp.MustCompile(`<li>([0-9A-Z]{7}-[0-9A-Z]{7})</li>`)
)

// submit fills the form of the page that posts to action, and posts it. fill
// holds names and values in turn.
func (b *browser) submit(page reply, action string, fill ...string) (reply, error) {
	for _, f := range forms.FindAllStringSubmatch(page.body, -1) {
		if html.UnescapeString(f[1]) != action {
			continue
		}
		form := url.Values{}
		for _, input := range hidden.FindAllString(f[2], -1) {
			form.Set(name.FindStringSubmatch(input)[1], html.UnescapeString(value.FindStringSubmatch(input)[1]))
		}
		for i := 0; i+1 < len(fill); i += 2 {
			form.Set(fill[i], fill[i+1])
		}
		return b.send("POST", action, "application/x-www-form-urlencoded", form.Encode(), "")
	}
	return reply{}, fmt.Errorf("no form posts to %s on %v", action, page)
}

// seedOn is the seed of the key that a page shows.
func seedOn(page reply) ([]byte, error) {
	m := key.FindStringSubmatch(page.body)
	if m == nil {
		return nil, fmt.Errorf("no key on %v", page)
	}
	return base32.StdEncoding.DecodeString(m[1])
}

// codesOn are the recovery codes that a page shows.
func codesOn(page reply) (codes []string) {
	for _, m := range listed.FindAllStringSubmatch(page.body, -1) {
		codes = append(codes, m[1])
	}
	return codes
}

// A step is what the JSON front answers, a refusal among it.
type step struct {
	reply    reply
	Status   any    `json:"status"` // a number in a refusal
	Ceremony string `json:"ceremony"`
	Codes    int    `json:"codes"`
	Session  string `json:"session"`
	Device   string `json:"device"`
	Refused  string `json:"code"`
}

func (b *browser) api(path string, in map[string]string) (s step, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return s, err
	}
	if s.reply, err = b.send("POST", path, "application/json", string(body), ""); err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(s.reply.body), &s); err != nil {
		return s, fmt.Errorf("%w: %v", err, s.reply)
	}
	return s, nil
}

// alive reports whether a token signs somebody in.
func (b *browser) alive(token string) (bool, error) {
	r, err := b.send("GET", "/api/v1/session", "", "", token)
	if err == nil && r.StatusCode != http.StatusOK && r.StatusCode != http.StatusUnauthorized {
		err = fmt.Errorf("%v", r)
	}
	return r.Response != nil && r.StatusCode == http.StatusOK, err
}

// carry puts a token into one of the browser's cookies.
func (b *browser) carry(cookie, token string) {
	b.Jar.SetCookies(b.at(), []*http.Cookie{{Name: "countersign_" + cookie, Value: token, Path: "/"}})
}

// has reports whether the browser has the cookie.
func (b *browser) has(cookie string) bool {
	return slices.ContainsFunc(b.Jar.Cookies(b.at()), func(c *http.Cookie) bool { return c.Name == "countersign_"+cookie })
}

func (b *browser) at() *url.URL {
	at, err := url.Parse(b.site.url)
	if err != nil {
		panic(err)
	}
	return at
}
