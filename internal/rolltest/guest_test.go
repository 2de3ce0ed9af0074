package rolltest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/testkit"
)

// A guest signs in and out, ends sessions and changes the password, and knows
// what was acknowledged. Whatever a guest asks for is asked once.
type guest struct {
	*ledger
	url             string
	number          int
	email, identity string
	rng             *mathrand.Rand
	client          *http.Client
	rounds          atomic.Int64 // in which everything was answered

	words     []string // the password; two while nobody knows which it is
	doubts    int      // changes of it of which nobody knows
	seed      []byte   // of an app; nil: none is bound
	step      int64    // the newest of which a code was sent
	sessions  []*held
	unsettled time.Time // until then, what was lost may still end sessions
}

// A held session is one that was acknowledged. It is sure as long as nothing
// was asked for that may have ended it.
type held struct {
	token string
	sure  bool
}

// late is how long after its answer was lost a request may still take effect:
// a node gives it up after a quarter of a minute, and PostgreSQL may take its
// time for the COMMIT.
const late = 40 * time.Second

var errNoCode = errors.New("the app shows no new code yet")

// use has the guest do things until stop is closed.
func (g *guest) use(stop <-chan struct{}) {
	for {
		if err := g.round(); err == nil {
			g.rounds.Add(1)
		} else {
			time.Sleep(50 * time.Millisecond) // as people wait who were refused
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

func (g *guest) round() error {
	fresh, err := g.signIn()
	if err != nil && !errors.Is(err, errNoCode) {
		return err
	}
	for range 12 { // every node has seen it then
		if len(g.sessions) == 0 {
			break
		}
		if err := g.see(g.sessions[g.rng.IntN(len(g.sessions))]); err != nil {
			return err
		}
	}
	if g.seed != nil && fresh != nil && fresh.sure && slices.Contains(g.sessions, fresh) && len(g.sessions) > 1 { // who has a password alone would have to prove more
		if g.rng.IntN(2) == 0 && len(g.words) == 1 && g.doubts < 4 { // a wrong guess of which it is counts
			return g.changePassword(fresh)
		}
		return g.endOthers(fresh)
	}
	for len(g.sessions) > 2 {
		if err := g.signOut(g.sessions[0]); err != nil {
			return err
		}
	}
	return nil
}

// hold takes a session that was acknowledged.
func (g *guest) hold(token string, asked time.Time) *held {
	s := &held{token, asked.After(g.unsettled)}
	g.sessions = append(g.sessions, s)
	return s
}

func (g *guest) drop(s *held) {
	g.sessions = slices.DeleteFunc(g.sessions, func(one *held) bool { return one == s })
}

// doubt says that all sessions but one may have ended, or may yet.
func (g *guest) doubt(but *held) {
	g.unsettled = time.Now().Add(late)
	for _, s := range g.sessions {
		s.sure = s.sure && s == but
	}
}

// ends notes that all sessions but one have ended.
func (g *guest) ends(but *held) {
	for _, s := range g.sessions {
		if s != but {
			g.end(s.token)
		}
	}
	g.sessions = slices.DeleteFunc(g.sessions, func(s *held) bool { return s != but })
}

// A step is what the JSON front says, a refusal among it.
type step struct {
	answer
	Status                            any
	Ceremony, Session, Identity, Code string
}

func (g *guest) api(method, path, token string, in map[string]string) (s step, err error) {
	body := ""
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return s, err
		}
		body = string(b)
	}
	r, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		return s, err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("X-Forwarded-For", g.network())
	if s.answer, err = g.send(g.client, r); err != nil || s.body == "" {
		return s, err
	}
	if err := json.Unmarshal([]byte(s.body), &s); err != nil {
		g.wrong("%s %s: %v: %v", method, path, err, s.answer)
		return s, errLost
	}
	return s, nil
}

func (g *guest) network() string { return fmt.Sprintf("10.9.%d.9", g.number) }

// password begins a sign-in with what is the password, or may be.
func (g *guest) password() (s step, err error) {
	asked := time.Now()
	for n, word := range g.words {
		if s, err = g.api("POST", "/api/v1/signin", "", map[string]string{"username": g.email, "password": word}); err != nil {
			return s, err
		}
		if s.status == http.StatusOK {
			g.words[0], g.words[n] = word, g.words[0]
			if asked.After(g.unsettled) {
				g.words = g.words[:1]
			}
			break
		}
	}
	return s, nil
}

// signIn signs in, if the app has a code for it.
func (g *guest) signIn() (*held, error) {
	asked := time.Now()
	next := max(g.step+1, factor.StepAt(asked))
	if g.seed != nil && next > factor.StepAt(asked)+1 {
		time.Sleep(50 * time.Millisecond)
		return nil, errNoCode
	}
	s, err := g.password()
	if err != nil {
		return nil, err
	}
	if s.Status == "verify" && g.seed != nil {
		g.promise(s.answer, g.identity, audit.PasswordAccepted)
		g.step = next
		if s, err = g.api("POST", "/api/v1/signin/verify", "", map[string]string{"ceremony": s.Ceremony, "method": string(factor.VirtualMFA), "code": factor.HOTP(g.seed, next)}); err != nil {
			return nil, err
		}
		if s.status == http.StatusUnauthorized && time.Since(asked) > factor.TOTPStep/2 {
			return nil, errNoCode // it was on its way for too long
		}
	}
	if s.Status != "complete" || s.Session == "" {
		g.wrong("%s is not signed in: %v", g.email, s.answer)
		return nil, errLost
	}
	g.promise(s.answer, g.identity, audit.ConsoleSignin)
	return g.hold(s.Session, asked), nil
}

// see has a session checked.
func (g *guest) see(s *held) error {
	a, err := g.api("GET", "/api/v1/session", s.token, nil)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK && a.Identity == g.identity:
		return nil
	case a.status == http.StatusUnauthorized && !s.sure:
		g.drop(s)
		return nil
	}
	g.wrong("%s has a session, and is told: %v", g.email, a.answer)
	g.drop(s)
	return errLost
}

func (g *guest) signOut(s *held) error {
	sure := s.sure
	s.sure = false
	a, err := g.api("DELETE", "/api/v1/session", s.token, nil)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusNoContent:
		g.promise(a.answer, g.identity, audit.ConsoleSignout)
		g.end(s.token)
	case a.status != http.StatusUnauthorized || sure:
		g.wrong("%s is not signed out: %v", g.email, a.answer)
	}
	g.drop(s)
	return nil
}

// endOthers ends all sessions but one, by its page.
func (g *guest) endOthers(mine *held) error {
	a, _, err := g.post(mine, "/security/sessions", "/security/sessions/end-others", func() { g.doubt(mine) })
	if err != nil {
		return err
	}
	g.promise(a, g.identity, audit.SessionEnd)
	g.ends(mine)
	return nil
}

// changePassword changes the password, by its page, which ends all other
// sessions and gives this one another token.
func (g *guest) changePassword(mine *held) error {
	asked := time.Now()
	next := fmt.Sprintf("%s %d", testkit.Password, g.rng.Uint32())
	a, token, err := g.post(mine, "/security/password", "/security/password", func() {
		g.doubt(nil)
		g.words, g.doubts = append(g.words, next), g.doubts+1
	}, "password", g.words[0], "new_password", next)
	if err != nil {
		return err
	}
	g.promise(a, g.identity, audit.PasswordModify)
	g.words = []string{next}
	g.ends(nil)
	g.hold(token, asked)
	return nil
}

var (
	forms  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	hidden = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*>`)
	name   = regexp.MustCompile(`name="([^"]*)"`)
	value  = regexp.MustCompile(`value="([^"]*)"`)
)

// post fills the form of a page that posts to action, and posts it. Nothing has
// changed unless lost is called, and then nobody knows. It returns the session
// token that the browser has afterwards.
func (g *guest) post(s *held, page, action string, lost func(), fill ...string) (a answer, token string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return a, "", err
	}
	at, err := url.Parse(g.url)
	if err != nil {
		return a, "", err
	}
	jar.SetCookies(at, []*http.Cookie{{Name: "countersign_session", Value: s.token, Path: "/"}})
	browser := &http.Client{Jar: jar, Transport: g.client.Transport, Timeout: g.client.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	visit := func(method, path, body string) (answer, error) {
		r, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
		if err != nil {
			return answer{}, err
		}
		r.Header.Set("Origin", g.url)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("X-Forwarded-For", g.network())
		if body != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return g.send(browser, r)
	}
	if a, err = visit("GET", page, ""); err != nil {
		return a, "", err
	}
	form := url.Values{}
	for _, f := range forms.FindAllStringSubmatch(a.body, -1) {
		if html.UnescapeString(f[1]) == action {
			for _, input := range hidden.FindAllString(f[2], -1) {
				form.Set(name.FindStringSubmatch(input)[1], html.UnescapeString(value.FindStringSubmatch(input)[1]))
			}
		}
	}
	if len(form) == 0 {
		g.wrong("%s: no form posts to %s on %s: %v", g.email, action, page, a)
		return a, "", errLost
	}
	for i := 0; i+1 < len(fill); i += 2 {
		form.Set(fill[i], fill[i+1])
	}
	if a, err = visit("POST", action, form.Encode()); err != nil {
		lost()
		return a, "", err
	}
	to, _, _ := strings.Cut(a.header.Get("Location"), "?")
	if a.status != http.StatusSeeOther || !strings.HasPrefix(page, to) || to == "" {
		g.wrong("%s: %s: %v", g.email, action, a)
		lost()
		return a, "", errLost
	}
	for _, c := range jar.Cookies(at) {
		if c.Name == "countersign_session" {
			token = c.Value
		}
	}
	return a, token, nil
}
