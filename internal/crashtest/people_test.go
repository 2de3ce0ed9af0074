package crashtest_test

import (
	"database/sql"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/testkit"
)

// A player does things until the server dies, and knows what it was promised.
type player interface {
	begin(r *mathrand.Rand) // a life of the server
	act() error             // one thing; errDown: no answer came
	check(d *sql.DB)        // in the next life, while nobody else does anything
}

// A person has a name, a password, a browser and perhaps an app.
type person struct {
	s      *site
	number int
	i      account.Identity
	app    *app // nil: none is bound
	rng    *mathrand.Rand
	b      *browser
	device string // known-device token
	asked  string // the change whose answer is out; empty: none
}

func (p *person) begin(r *mathrand.Rand) { p.rng, p.b = r, p.s.browser(p.s.network(p.number)) }

// ask says that a change is sent now.
func (p *person) ask(what string) {
	p.asked = what
	p.s.changes.Add(1)
}

// settled says that what was asked has been looked into.
func (p *person) settled() {
	if p.asked != "" {
		p.s.out[p.asked]++
	}
	p.asked = ""
}

func (p *person) fail(format string, args ...any) {
	p.s.t.Helper()
	p.s.t.Errorf("life %d, %s: %s", p.s.life, p.i.Name(), fmt.Sprintf(format, args...))
}

// rows counts rows of the identity.
func (p *person) rows(d *sql.DB, from string) int64 {
	p.s.t.Helper()
	return p.s.number(d, "SELECT count(*) FROM "+from+" identity_id = $1", p.i.ID)
}

// recorded checks that a change whose answer was out is recorded if it was
// made, and not otherwise; and that nothing else is.
func (p *person) recorded(name audit.Name, made bool) {
	p.s.t.Helper()
	want := 0
	if made {
		want = 1
		p.s.made[string(name)]++
	}
	if n := p.s.unanswered(p.i.ID, name); n != want {
		p.fail("%d times %s is recorded without an answer, made: %v", n, name, made)
	}
}

// password begins a sign-in with the right password.
func (p *person) password() (step, error) {
	st, err := p.b.api("/api/v1/signin", map[string]string{"username": p.i.Name(), "password": testkit.Password, "device": p.device})
	if err == nil && st.Status == "verify" {
		p.s.promise(st.reply, p.i.ID, audit.PasswordAccepted, "")
	}
	return st, err
}

// verify takes the second step.
func (p *person) verify(ceremony, method string, codes ...string) (step, error) {
	in := map[string]string{"ceremony": ceremony, "method": method, "device": p.device}
	for n, code := range codes {
		in[[]string{"code", "code2", "code3"}[n]] = code
	}
	return p.b.api("/api/v1/signin/verify", in)
}

// signIn signs in, with codes of the app where they are asked for.
func (p *person) signIn() (token string, err error) {
	st, err := p.password()
	if err != nil {
		return "", err
	}
	if ceremony := st.Ceremony; st.Status == "verify" && p.app != nil {
		for n := max(1, st.Codes); n > 0; {
			err = p.s.spend(p.app, n, func(codes []string) (err error) {
				st, err = p.verify(ceremony, "virtual_mfa", codes...)
				return err
			})
			if err != nil {
				return "", err
			}
			if n = 0; st.Refused == factor.ErrMoreCodesAsked.Code {
				n = st.Codes
			}
		}
		if st.Status == "complete" {
			p.app.used = p.app.last
		}
	}
	return p.in(st)
}

// in is the end of a sign-in.
func (p *person) in(st step) (string, error) {
	if st.Status != "complete" {
		return "", fmt.Errorf("%s is not signed in: %v", p.i.Name(), st.reply)
	}
	p.s.promise(st.reply, p.i.ID, audit.ConsoleSignin, "")
	if st.Device != "" {
		p.device = st.Device
	}
	return st.Session, nil
}

// open signs in for the pages.
func (p *person) open() (string, error) {
	token, err := p.signIn()
	if err == nil {
		p.b.carry("session", token)
		p.b.carry("device", p.device)
	}
	return token, err
}

// confirmed takes the verification that an answer leads to, if it does:
// then its answer is that of what was asked for.
func (p *person) confirmed(r reply) (reply, error) {
	if r.StatusCode != http.StatusSeeOther || r.to() != "/verify" {
		return r, nil
	}
	page, err := p.b.get(r.Header.Get("Location") + "&method=virtual_mfa")
	if err != nil {
		return r, err
	}
	n := 1 + strings.Count(page.body, `name="code2"`) + strings.Count(page.body, `name="code3"`)
	err = p.s.spend(p.app, n, func(codes []string) error {
		var fill []string
		for n, code := range codes {
			fill = append(fill, []string{"code", "code2", "code3"}[n], code)
		}
		r, err = p.b.submit(page, "/verify", fill...)
		return err
	})
	if err != nil {
		return r, err
	}
	if r.StatusCode != http.StatusSeeOther {
		return r, fmt.Errorf("%s is not verified: %v", p.i.Name(), r)
	}
	p.app.used = p.app.last
	p.s.promise(r, p.i.ID, audit.IdentityVerify, "")
	return r, nil
}

// once offers the newest code that the server took once more.
func (p *person) once(d *sql.DB) {
	p.s.t.Helper()
	if p.app == nil || p.app.used == 0 {
		return
	}
	if step := p.s.number(d, "SELECT last_step FROM virtual_mfa WHERE identity_id = $1", p.i.ID); step < p.app.used {
		p.fail("the code of step %d was taken, and %d is the newest that is used up", p.app.used, step)
	}
	st, err := p.password()
	if err != nil || st.Status != "verify" {
		p.fail("the right password: %v, %v", err, st.reply)
		return
	}
	st, err = p.verify(st.Ceremony, "virtual_mfa", factor.HOTP(p.app.seed, p.app.used))
	if err != nil || st.reply.StatusCode != http.StatusUnauthorized {
		p.fail("a used code: %v, %v", err, st.reply)
	}
}

// sessions are the tokens that must sign somebody in, and those that must not.
type sessions struct{ alive, dead []string }

// end ends all but some.
func (l *sessions) end(but ...string) {
	for _, token := range l.alive {
		if !slices.Contains(but, token) {
			l.dead = append(l.dead, token)
		}
	}
	l.alive = slices.DeleteFunc(l.alive, func(token string) bool { return !slices.Contains(but, token) })
}

// check asks for every session. It forgets the dead ones: once is enough.
func (l *sessions) check(p *person) {
	p.s.t.Helper()
	for _, token := range l.alive {
		if ok, err := p.b.alive(token); err != nil || !ok {
			p.fail("a session is lost: %v", err)
		}
	}
	for _, token := range l.dead {
		if ok, err := p.b.alive(token); err != nil || ok {
			p.fail("a session that was ended is back: %v", err)
		}
	}
	l.dead = nil
}

// either takes what may have ended all of some sessions: it must have ended
// all, or none.
func (l *sessions) either(p *person, all []string) (ended bool) {
	p.s.t.Helper()
	n := 0
	for _, token := range all {
		ok, err := p.b.alive(token)
		if err != nil {
			p.fail("a session: %v", err)
		}
		if !ok {
			n++
		}
	}
	if n != 0 && n != len(all) {
		p.fail("%d of %d sessions have ended", n, len(all))
	}
	if n > 0 {
		l.alive = slices.DeleteFunc(l.alive, func(token string) bool { return slices.Contains(all, token) })
	}
	return n > 0
}

// A binder binds an app, and unbinds it.
type binder struct {
	person
	next *app // that is being bound
	sessions
}

func (p *binder) act() error {
	if !p.b.has("session") {
		if _, err := p.open(); err != nil {
			return err
		}
	}
	if p.rng.IntN(3) == 0 {
		other, err := p.signIn()
		if err != nil {
			return err
		}
		p.alive = append(p.alive, other)
	}
	change := p.unbind
	if p.app == nil {
		change = p.bind
	}
	err := change()
	if err == nil { // with a credential changes everything that rested on it
		p.asked = ""
		p.end()
	}
	return err
}

func (p *binder) bind() error {
	const path = "/security/virtual-mfa/bind"
	page, err := p.b.get(path)
	if err == nil && page.to() == "/verify" { // the password was too long ago
		if _, err = p.open(); err == nil {
			page, err = p.b.get(path)
		}
	}
	if err != nil {
		return err
	}
	seed, err := seedOn(page)
	if err != nil {
		return err
	}
	p.next = &app{seed: seed}
	var r reply
	err = p.s.spend(p.next, 2, func(codes []string) error {
		p.ask("bind")
		r, err = p.b.submit(page, path, "code", codes[0], "code2", codes[1])
		return err
	})
	if err == nil && (r.StatusCode != http.StatusSeeOther || r.to() != "/security/recovery-codes/new") {
		p.asked, err = "", fmt.Errorf("nothing is bound: %v", r)
	}
	if err == nil {
		p.s.promise(r, p.i.ID, audit.MFABind, "")
		p.app, p.next.used = p.next, p.next.last
	}
	return err
}

func (p *binder) unbind() error {
	const path = "/security/virtual-mfa/unbind"
	r, err := p.b.get(path)
	if err != nil {
		return err
	}
	if _, err = p.confirmed(r); err != nil {
		return err
	}
	page, err := p.b.get(path)
	if err != nil {
		return err
	}
	p.ask("unbind")
	if r, err = p.b.submit(page, path); err != nil {
		return err
	}
	if r.StatusCode != http.StatusSeeOther || r.to() != "/security" {
		p.asked = ""
		return fmt.Errorf("nothing is unbound: %v", r)
	}
	p.s.promise(r, p.i.ID, audit.MFAUnbind, "")
	p.app = nil
	return nil
}

func (p *binder) check(d *sql.DB) {
	bound := p.rows(d, "virtual_mfa WHERE") == 1
	done := false
	p.recorded(audit.MFABind, p.asked == "bind" && bound)
	p.recorded(audit.MFAUnbind, p.asked == "unbind" && !bound)
	switch {
	case p.asked == "bind" && bound:
		p.app, done = p.next, true
	case p.asked == "unbind" && !bound:
		p.app, done = nil, true
	}
	if bound != (p.app != nil) {
		p.fail("bound: %v, promised: %v", bound, p.app != nil)
	}
	if done {
		p.end()
	}
	p.settled()
	if codes := p.rows(d, "recovery_code WHERE used_at = 0 AND"); codes != 0 && !bound || codes != 10 && bound {
		p.fail("bound: %v, with %d recovery codes", bound, codes)
	}
	p.sessions.check(&p.person)
	p.alive = nil
	p.once(d)
	if _, err := p.signIn(); err != nil { // with what is bound, and without what is not
		p.fail("%v", err)
	}
}
