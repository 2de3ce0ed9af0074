// Package simulation plays a year of guessing against limits on sign-in codes,
// and counts how often the attacker gets in and the owner does not.
package simulation

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

const (
	year     = 365 // days
	month    = 30  // days
	maxCodes = 3   // consecutive codes the owner is ready to enter
	step     = 30 * time.Second
)

// A Config says how much is played, and with what owner. The result depends
// on Seed, AccountYears and Owner only.
type Config struct {
	Seed         uint64
	AccountYears int // of each policy; zero = the policy's own number
	Workers      int // zero = one per processor
	Owner        Owner
}

// An Owner is how somebody uses an account that is under attack. All fields
// are chances from 0 to 1.
type Owner struct {
	Daily     float64 // per day: signs in with a code on a known device
	Elsewhere float64 // per day: signs in on a new device
	Passkey   float64 // per sign-in on a new device: with a passkey, so without a code
	Slip      float64 // per code entered: mistypes it; below 1
}

// Default returns an owner who signs in on 90 % of days and on a new device
// about monthly, half of the time with a passkey, and mistypes every 20th code.
func Default() Config {
	return Config{Seed: 1, Owner: Owner{Daily: 0.9, Elsewhere: 1.0 / 30, Passkey: 0.5, Slip: 0.05}}
}

// A Result is what a policy came to, as means over its account-years.
type Result struct {
	Policy       Policy
	AccountYears int
	Guesses      float64 // per account-year, at any price
	Month, Year  Chance  // that the attacker got in within 30 days, 365 days
	Disabled     float64 // share of accounts whose authenticator was switched off

	RefusedKnown, RefusedNew float64 // share of the owner's sign-ins with a code refused at the first try

	Codes float64       // asked of the owner in one sign-in on a new device
	Wait  time.Duration // there, on average, until the last of them can be read
}

// A Chance is a probability found in two ways: by drawing the attacker's luck,
// and exactly, from the number of guesses that were made at each price.
type Chance struct {
	Drawn float64
	Error float64 // two standard errors of Drawn
	Exact float64
}

// Run plays policy. Each owner's year is lived through once; the attacker's
// luck in it is drawn anew for every account-year that shares it.
func Run(cfg Config, policy Policy) Result {
	accounts := policy.AccountYears
	if cfg.AccountYears > 0 {
		accounts = cfg.AccountYears
	}
	workers := cfg.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}

	lives := accounts
	if policy.lives > 0 {
		lives = min(lives, policy.lives)
	}
	shares := make([]tally, min(lives, 64)) // of the work; fixed, so that sums do not depend on workers
	next := make(chan int)
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for i := range next {
				shares[i] = play(cfg, policy, i, len(shares), lives, accounts)
			}
		})
	}
	for i := range shares {
		next <- i
	}
	close(next)
	done.Wait()

	var sum tally
	for _, share := range shares {
		sum.add(share)
	}
	return sum.result(policy, accounts)
}

// Table plays every policy.
func Table(cfg Config) []Result {
	var results []Result
	for _, policy := range Policies() {
		results = append(results, Run(cfg, policy))
	}
	return results
}

// play lives through every life whose number is share modulo shares.
func play(cfg Config, policy Policy, share, shares, lives, accounts int) tally {
	var sum tally
	for n := share; n < lives; n += shares {
		draw := rand.New(rand.NewPCG(cfg.Seed^policy.seed(), uint64(n)))
		l := life{owner: cfg.Owner, draw: draw}
		policy.live(&l)
		draws := accounts / lives
		if n < accounts%lives {
			draws++
		}
		sum.addLife(&l, policy, draws)
	}
	return sum
}

// A life is one year of one account.
type life struct {
	owner Owner
	draw  *rand.Rand

	month, year [maxCodes + 1]float64 // guesses made so far, by the codes each carried
	known, new  visits
	disabled    bool

	today [2]visit // room for what day returns
}

// Visits are the owner's sign-ins with a code.
type visits struct {
	tried, refused float64
	codes, wait    float64 // in admitted ones; wait in seconds
}

// guess notes n guesses made on a day.
func (l *life) guess(day, codes int, n float64) {
	l.year[codes] += n
	if day < month {
		l.month[codes] += n
	}
}

// A visit is one sign-in of the owner with a code.
type visit struct {
	at    time.Duration // into the day
	known bool          // on a known device
}

// day draws the owner's sign-ins of the next day, in order.
func (l *life) day() []visit {
	all := l.today[:0]
	if l.draw.Float64() < l.owner.Daily {
		all = append(all, visit{l.moment(), true})
	}
	if l.draw.Float64() < l.owner.Elsewhere*(1-l.owner.Passkey) {
		all = append(all, visit{l.moment(), false})
	}
	if len(all) == 2 && all[1].at < all[0].at {
		all[0], all[1] = all[1], all[0]
	}
	return all
}

func (l *life) moment() time.Duration { return time.Duration(l.draw.Int64N(int64(24 * time.Hour))) }

func (l *life) slips() bool { return l.draw.Float64() < l.owner.Slip }

// on returns where a visit is counted.
func (l *life) on(v visit) *visits {
	if v.known {
		return &l.known
	}
	return &l.new
}

// A tally sums up account-years.
type tally struct {
	guesses, disabled   float64
	monthHits, yearHits float64 // account-years in which the attacker got in
	monthOdds, yearOdds float64 // sum of the exact chances
	known, new          visits
	lives               float64
}

// addLife counts a life, in which the attacker's luck is drawn draws times. One
// draw settles a whole year: the risk that must add up before he is in is
// exponential, and a guess right with chance p adds -log(1-p) to it.
func (t *tally) addLife(l *life, policy Policy, draws int) {
	var month, year float64
	for codes, chance := range policy.Chances {
		month -= l.month[codes] * math.Log1p(-chance)
		year -= l.year[codes] * math.Log1p(-chance)
		t.guesses += l.year[codes] * float64(draws)
	}
	for range draws {
		luck := l.draw.ExpFloat64()
		if luck < year {
			t.yearHits++
		}
		if luck < month {
			t.monthHits++
		}
	}
	t.monthOdds -= math.Expm1(-month) * float64(draws)
	t.yearOdds -= math.Expm1(-year) * float64(draws)
	t.known.add(l.known)
	t.new.add(l.new)
	if l.disabled {
		t.disabled++
	}
	t.lives++
}

func (t *tally) add(o tally) {
	t.guesses += o.guesses
	t.disabled += o.disabled
	t.monthHits += o.monthHits
	t.yearHits += o.yearHits
	t.monthOdds += o.monthOdds
	t.yearOdds += o.yearOdds
	t.known.add(o.known)
	t.new.add(o.new)
	t.lives += o.lives
}

func (v *visits) add(o visits) {
	v.tried += o.tried
	v.refused += o.refused
	v.codes += o.codes
	v.wait += o.wait
}

func (t *tally) result(policy Policy, accounts int) Result {
	n := float64(accounts)
	chance := func(hits, odds float64) Chance {
		p := hits / n
		return Chance{Drawn: p, Error: 2 * math.Sqrt(p*(1-p)/n), Exact: odds / n}
	}
	r := Result{
		Policy: policy, AccountYears: accounts,
		Guesses: t.guesses / n, Disabled: t.disabled / t.lives,
		Month: chance(t.monthHits, t.monthOdds), Year: chance(t.yearHits, t.yearOdds),
		RefusedKnown: t.known.refused / max(1, t.known.tried),
		RefusedNew:   t.new.refused / max(1, t.new.tried),
	}
	if admitted := t.new.tried - t.new.refused; admitted > 0 {
		r.Codes = t.new.codes / admitted
		r.Wait = time.Duration(t.new.wait / admitted * float64(time.Second))
	}
	return r
}
