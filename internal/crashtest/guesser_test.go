package crashtest_test

import (
	"database/sql"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"sync"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
)

// A guesser knows the password of somebody with an app, and tries codes; and
// passwords elsewhere. Several browsers do so at once.
type guesser struct {
	person
	mu      sync.Mutex
	fails   int64            // wrong codes that were answered, ever
	tries   map[string]tries // of this life, by network
	opened  map[string]int64 // wrong codes answered, by ceremony of this life
	network int
}

// tries are what a network was refused.
type tries struct {
	codes, passwords int64
	since            int64 // microseconds: before the first one
}

func (p *guesser) begin(r *mathrand.Rand) {
	p.person.begin(r)
	p.tries, p.opened = map[string]tries{}, map[string]int64{}
}

// from is a browser in a network that nobody has tried from.
func (p *guesser) from() *browser {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network++
	return p.s.browser(fmt.Sprintf("%d.%d.%d.9", 40+p.number/100, p.network/250, p.network%250))
}

func (p *guesser) add(b *browser, codes, passwords, since int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tries[b.network]
	if t.since == 0 {
		t.since = since
	}
	t.codes, t.passwords = t.codes+codes, t.passwords+passwords
	p.tries[b.network] = t
	p.fails += codes
}

func (p *guesser) now() int64 {
	p.s.clock.mu.RLock()
	defer p.s.clock.mu.RUnlock()
	return p.s.clock.now().UnixMicro()
}

// act tries some wrong passwords, or the codes of one sign-in.
func (p *guesser) act() error {
	b := p.from()
	p.mu.Lock()
	passwords := p.rng.IntN(4) == 0
	n := 1 + p.rng.IntN(throttle.SourceTries)
	p.mu.Unlock()
	if passwords {
		return p.guessPasswords(b, n)
	}
	st, err := b.api("/api/v1/signin", map[string]string{"username": p.i.Name(), "password": right})
	if err != nil {
		return err
	}
	if st.Status != "verify" {
		return fmt.Errorf("no second step: %v", st.reply)
	}
	return p.guessCodes(b, st)
}

func (p *guesser) guessPasswords(b *browser, n int) error {
	for range n {
		since := p.now()
		st, err := b.api("/api/v1/signin", map[string]string{"username": p.i.Name(), "password": "not the password"})
		if err != nil {
			return err
		}
		if st.Refused != prove.ErrCredentials.Code {
			return fmt.Errorf("a wrong password: %v", st.reply)
		}
		p.s.promise(st.reply, p.i.ID, audit.ConsoleSignin, st.Refused)
		p.add(b, 0, 1, since)
	}
	return nil
}

func (p *guesser) guessCodes(b *browser, begun step) error {
	price := max(1, begun.Codes)
	for {
		since := p.now()
		in := map[string]string{"ceremony": begun.Ceremony, "method": "virtual_mfa"}
		for n, code := range p.wrong(price) {
			in[[]string{"code", "code2", "code3"}[n]] = code
		}
		st, err := b.api("/api/v1/signin/verify", in)
		switch {
		case err != nil:
			return err
		case st.Refused == factor.ErrMoreCodesAsked.Code:
			price = st.Codes
		case st.reply.StatusCode == http.StatusUnauthorized:
			p.s.promise(st.reply, p.i.ID, audit.ConsoleSignin, st.Refused)
			p.add(b, 1, 0, since)
			p.mu.Lock()
			p.opened[begun.Ceremony]++
			p.mu.Unlock()
		case st.Refused == ceremony.ErrNoTries.Code:
			return nil
		default:
			return fmt.Errorf("a wrong code: %v", st.reply)
		}
	}
}

// wrong are codes that the app shows at no time near now.
func (p *guesser) wrong(n int) (codes []string) {
	p.s.clock.mu.RLock()
	now := factor.StepAt(p.s.clock.now())
	p.s.clock.mu.RUnlock()
	near := map[string]bool{}
	for step := now - 20; step <= now+20; step++ {
		near[factor.HOTP(p.app.seed, step)] = true
	}
	for k := 0; len(codes) < n; k++ {
		if code := fmt.Sprintf("%06d", k*7919%1_000_000); !near[code] {
			codes = append(codes, code)
		}
	}
	return codes
}

// check sees to it that whatever was answered has been paid for.
func (p *guesser) check(d *sql.DB) {
	left, fails := int64(throttle.BudgetSize), int64(0)
	if p.rows(d, "guess_budget WHERE") == 1 {
		left = p.s.number(d, "SELECT tries_left FROM guess_budget WHERE identity_id = $1", p.i.ID)
		fails = p.s.number(d, "SELECT fails FROM guess_budget WHERE identity_id = $1", p.i.ID)
	}
	if most := max(0, throttle.BudgetSize-p.fails); left > most {
		p.fail("%d tries are left after %d wrong codes, at most %d may be", left, p.fails, most)
	}
	if fails < p.fails {
		p.fail("%d failures are counted of %d", fails, p.fails)
	}
	if refused := p.s.refused[p.i.ID]; fails < refused || refused < p.fails {
		p.fail("%d failures are counted, %d recorded, %d were answered", fails, refused, p.fails)
	}
	for network, t := range p.tries {
		scope := throttle.Network(addressOf(network)).String()
		p.counted(d, "codes:"+scope, t.since, t.codes)
		p.counted(d, "passwords:"+scope, t.since, t.passwords)
		lock := fmt.Sprintf("lock:%s:%d:%s", p.i.ID, p.i.PasswordChangedAt.UnixMicro(), scope)
		p.counted(d, lock, t.since, t.passwords)
	}
	for token, spent := range p.opened {
		if left := p.s.number(d, "SELECT COALESCE(max(tries_left), 0) FROM ceremony WHERE token_hash = $1", hashOf(token)); left > throttle.CeremonyTries-spent {
			p.fail("a sign-in has %d tries left after %d", left, spent)
		}
	}
}

// counted looks into the window of a scope, unless it has begun anew since.
func (p *guesser) counted(d *sql.DB, scope string, since, n int64) {
	if n == 0 {
		return
	}
	anew := p.s.number(d, "SELECT COALESCE(max(started_at), 0) FROM throttle_window WHERE scope = $1", scope)
	if anew > since+int64(throttle.SourceWindow.Microseconds()) {
		return
	}
	if got := p.s.number(d, "SELECT COALESCE(max(counted), 0) FROM throttle_window WHERE scope = $1", scope); got < n {
		p.fail("%d tries are counted of %d in %s", got, n, scope)
	}
}
