package signin_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// A person of the model: what they have, and what was used up. It knows
// nothing of the product's own decisions.
type person struct {
	account.Identity
	app       *testkit.App // nil: no device
	confirmed bool
	last      int64          // newest step used
	drifts    map[int64]bool // what the product may believe about the clock
	recovery  []string
	used      map[string]bool
	keys      []*possession
}

// A try is one sign-in of the model: begun with the right password.
type try struct {
	p          *person
	progress   signin.Progress
	begun      time.Time
	email, mfa bool // proved
	over       bool
	sent       []sentCode
	by         string   // what proved the device
	answers    [][]byte // of keys, that were given
}

type sentCode struct {
	code string
	at   time.Time
	dead bool
}

var people atomic.Int64

func newPerson(w *testkit.World, confirmed, bound bool) *person {
	email := fmt.Sprintf("p%d@example.com", people.Add(1))
	if _, err := w.SignUp.Create(ctx(), email, testkit.Password, confirmed); err != nil {
		w.T.Fatal(err)
	}
	p := &person{Identity: w.Identity(email), confirmed: confirmed, drifts: map[int64]bool{0: true}, used: map[string]bool{}}
	if bound {
		p.app = w.Bind(p.Identity)
		p.recovery = giveRecoveryCodes(w.T, w, email)[:2]
	}
	return p
}

// accepts says whether codes of steps prove the person's device now, by either
// rule: at its time, or as a pair within ten steps.
func (p *person) accepts(steps []int64, now int64) (ok bool, drifts map[int64]bool) {
	for n := 1; n < len(steps); n++ {
		if steps[n] != steps[n-1]+1 {
			return false, nil
		}
	}
	if steps[0] <= p.last {
		return false, nil
	}
	newest := steps[len(steps)-1]
	drifts = map[int64]bool{}
	for d := range p.drifts {
		if off := newest - now - d; off >= -1 && off <= 1 {
			ok = true
			drifts[d] = true
		}
	}
	if len(steps) == 2 && steps[0] >= now-10 && newest <= now+10 {
		ok = true
		if off := newest - now; off < -1 || off > 1 {
			drifts[off] = true
		} else {
			drifts[0] = true
		}
	}
	return ok, drifts
}

var digits = regexp.MustCompile(`\b\d{6}\b|\b\d{10}\b`)

// mayRefuse are the refusals that a right answer may meet: limits, and what is over.
var mayRefuse = []error{factor.ErrMoreCodesAsked, prove.ErrTooManyCodes, prove.ErrTooManyPasswords, ceremony.ErrNoTries, ceremony.ErrGone, ceremony.ErrLongerAsked, ceremony.ErrSendSoon, ceremony.ErrSendTooMany, factor.ErrCodesWrong}

func refusable(err error) bool {
	return slices.ContainsFunc(mayRefuse, func(r error) bool { return errors.Is(err, r) })
}

func TestNoSequenceOfRequestsReachesASessionWithoutTheFactorsAskedFor(t *testing.T) {
	w := testkit.New(t, storetest.SQLite)
	w.Prover.FleetAlarm = 1 << 30
	reached := map[string]int{}
	networks := 0
	testkit.Sequences(t, reached, []string{"device true, email false", "device false, email false", "device false, email true", "a passkey alone", "a passkey", "a U2F key"}, func(r *rapid.T) {
		all := []*person{newPerson(w, true, true), newPerson(w, true, true), newPerson(w, true, false), newPerson(w, false, false), newPerson(w, false, true)}
		all = append(all, withKeys(w, newPerson(w, true, false)), withKeys(w, newPerson(w, false, true)))
		withKeys(w, all[0])
		networks += 4
		browsers := []prove.Visitor{testkit.From(networks), testkit.From(networks + 1), testkit.From(networks + 2)}
		var tries []*try
		var open []*alone
		finish := func(one *try, progress signin.Progress, err error, valid bool, what string) {
			if err != nil {
				if valid && !refusable(err) {
					r.Fatalf("%s: refused with %v", what, err)
				}
				return
			}
			if !valid {
				r.Fatalf("%s: accepted", what)
			}
			if progress.Session == nil {
				return
			}
			p := one.p
			if progress.Session.Identity.ID != p.ID || progress.Session.Session.Identity != p.ID {
				r.Fatalf("%s: the session is another's", what)
			}
			if (!p.confirmed && !one.email) || (p.bound() && !one.mfa) {
				r.Fatalf("%s: a session with email %v, device %v", what, one.email, one.mfa)
			}
			one.over = true
			p.confirmed = true
			reached[fmt.Sprintf("device %v, email %v", one.mfa, one.email)]++
			reached[one.by]++
		}
		keyed := &keyed{World: w, all: all, browsers: browsers, tries: &tries, open: &open, finish: finish}
		steps := map[string]func(*rapid.T){
			"a passkey alone": keyed.alone, "a key": keyed.second, "a key again": keyed.second, "replay": keyed.replay, "remove a key": keyed.remove,
			"begin": func(r *rapid.T) {
				p := rapid.SampledFrom(all).Draw(r, "person")
				b := rapid.IntRange(0, 2).Draw(r, "browser")
				password := rapid.SampledFrom([]string{testkit.Password, testkit.Password, testkit.Password, "", testkit.Password + " ", "wrong"}).Draw(r, "password")
				progress, err := w.SignIn.Begin(ctx(), browsers[b], prove.Door{}, p.Email, password, "")
				one := &try{p: p, progress: progress, begun: w.Clock.Now()}
				finish(one, progress, err, password == testkit.Password, "begin")
				if err == nil && progress.Session == nil {
					tries = append(tries, one)
				}
			},
			"code": func(r *rapid.T) {
				if len(tries) == 0 {
					return
				}
				one := rapid.SampledFrom(tries).Draw(r, "sign-in")
				whose := one.p
				if rapid.IntRange(0, 4).Draw(r, "another's") == 0 {
					whose = rapid.SampledFrom(all).Draw(r, "whose")
				}
				if whose.app == nil {
					return
				}
				now := factor.StepAt(w.Clock.Now())
				first := now + int64(rapid.SampledFrom([]int{0, 0, 0, -1, 1, -2, 2, -6, 6, -11, 11}).Draw(r, "offset"))
				steps := []int64{first}
				for range rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2}).Draw(r, "more") {
					steps = append(steps, steps[len(steps)-1]+int64(rapid.SampledFrom([]int{1, 1, 1, 1, 0, 2}).Draw(r, "gap")))
				}
				codes := make([]string, len(steps))
				for n, s := range steps {
					codes[n] = factor.HOTP(whose.app.Seed, s)
				}
				method := rapid.SampledFrom([]factor.Method{factor.VirtualMFA, factor.VirtualMFA, factor.VirtualMFA, factor.VirtualMFA, factor.Email, factor.RecoveryCode, factor.Password, ""}).Draw(r, "method")
				valid, drifts := one.p.accepts(steps, now)
				valid = valid && whose == one.p && method == factor.VirtualMFA && !one.over && one.step() == "device" && one.open(w.Clock.Now())
				b := rapid.IntRange(0, 2).Draw(r, "browser")
				progress, err := w.SignIn.Answer(ctx(), browsers[b], one.progress.Token, prove.Answer{Method: method, Codes: codes})
				if err == nil && valid {
					one.mfa, one.p.last, one.p.drifts = true, steps[len(steps)-1], drifts
				}
				if len(steps) == 3 || len(steps) == 2 { // the price decides by which rule two are read
					finish(one, progress, err, valid, "codes")
					return
				}
				finish(one, progress, err, valid, "code")
			},
			"recovery code": func(r *rapid.T) {
				if len(tries) == 0 {
					return
				}
				one := rapid.SampledFrom(tries).Draw(r, "sign-in")
				whose := rapid.SampledFrom(append([]*person{one.p, one.p, one.p}, all...)).Draw(r, "whose")
				if len(whose.recovery) == 0 {
					return
				}
				code := rapid.SampledFrom(whose.recovery).Draw(r, "code")
				valid := whose == one.p && !whose.used[code] && !one.over && one.step() == "device" && one.open(w.Clock.Now())
				progress, err := w.SignIn.Answer(ctx(), browsers[0], one.progress.Token, prove.Answer{Method: factor.RecoveryCode, Codes: []string{code}})
				if err == nil && valid {
					one.mfa = true
					whose.used[code] = true
				}
				finish(one, progress, err, valid, "recovery code")
			},
			"send": func(r *rapid.T) {
				if len(tries) == 0 {
					return
				}
				one := rapid.SampledFrom(tries).Draw(r, "sign-in")
				err := w.SignIn.Send(ctx(), browsers[1], one.progress.Token, factor.Email)
				if err == nil {
					if one.step() != "email" || one.over {
						r.Fatal("a code was sent that the policy does not ask for")
					}
					one.sent = append(one.sent, sentCode{code: digits.FindString(w.Inbox(one.p.Email)[0].Text), at: w.Clock.Now()})
				}
			},
			"mailed code": func(r *rapid.T) {
				if len(tries) == 0 {
					return
				}
				one, from := rapid.SampledFrom(tries).Draw(r, "sign-in"), rapid.SampledFrom(tries).Draw(r, "code of")
				if rapid.Bool().Draw(r, "its own") {
					from = one
				}
				if len(from.sent) == 0 {
					return
				}
				n := rapid.IntRange(0, len(from.sent)-1).Draw(r, "which")
				valid := from == one && !one.over && one.step() == "email" && one.open(w.Clock.Now()) && !from.sent[n].dead &&
					n >= len(from.sent)-2 && w.Clock.Now().Before(from.sent[n].at.Add(10*time.Minute))
				progress, err := w.SignIn.Answer(ctx(), browsers[2], one.progress.Token, prove.Answer{Method: factor.Email, Codes: []string{from.sent[n].code}})
				if err == nil && valid {
					one.email, one.p.confirmed = true, true
					for k := range one.sent {
						one.sent[k].dead = true
					}
				}
				finish(one, progress, err, valid, "mailed code")
			},
			"wait": func(r *rapid.T) {
				w.Clock.Advance(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 16 * time.Minute}).Draw(r, "wait"))
			},
			"": func(*rapid.T) {},
		}
		r.Repeat(steps)
		r.Repeat(steps)
	})
	if err := w.Read(ctx()).VerifyChains(func(_ store.Head, err error) error { return err }); err != nil {
		t.Error(err)
	}
}

// step is what the model asks next of a sign-in.
func (one *try) step() string {
	switch {
	case !one.p.confirmed && !one.email:
		return "email"
	case one.p.bound() && !one.mfa:
		return "device"
	}
	return ""
}

func (one *try) open(now time.Time) bool { return now.Before(one.begun.Add(10 * time.Minute)) }
