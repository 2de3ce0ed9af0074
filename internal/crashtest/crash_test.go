package crashtest_test

import (
	"database/sql"
	"errors"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const right = testkit.Password

// Whatever was answered outlives the server: what was bound, unbound and
// revoked, every event, and every try that was paid. COUNTERSIGN_TEST_SEED
// makes the same choices once more; what runs at once still falls as it likes.
func TestNothingAnsweredIsLostWhenTheServerIsKilled(t *testing.T) {
	lives := 4
	if os.Getenv("COUNTERSIGN_TEST_COMPLETE") != "" {
		lives = 50
	}
	if testing.Short() {
		lives = 2
	}
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("COUNTERSIGN_TEST_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for n, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) { // one after the other: the load is to be felt
			t.Logf("COUNTERSIGN_TEST_SEED=%d", seed)
			play(newSite(t, e), mathrand.New(mathrand.NewPCG(seed, uint64(n))), lives)
		})
	}
}

// play kills the server as often as it has lives.
func play(s *site, r *mathrand.Rand, lives int) {
	var players []player
	s.seed(func(d *seeder) {
		for n, name := range []string{"ann", "bo"} {
			owner := d.owner(name + "@example.com")
			of := func(number int, u string) person { return person{s: s, number: 100*n + number, i: d.user(owner, u)} }
			k := &keeper{person: person{s: s, number: 100*n + 1, i: owner, app: d.device(owner)}}
			for m, u := range []string{"uma", "una", "ugo"} {
				k.subjects = append(k.subjects, &subject{person: of(2+m, u), enabled: true})
			}
			sign := &signer{person: of(10, "sam")}
			sign.app, sign.codes = d.device(sign.i), d.codes(sign.i)
			guess := &guesser{person: of(20, "gus")}
			guess.app = d.device(guess.i)
			players = append(players, k, &binder{person: of(30, "bea")}, sign, guess)
		}
	})
	var heads []string
	begun, kills := time.Now(), 0
	s.begin()
	s.ready()
	for ; s.life < lives && !s.t.Failed(); s.life++ {
		s.load(r, players)
		old := s.backends()
		s.begin()
		if kills++; r.IntN(8) == 0 { // once more, on its way up
			time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond)
			s.kill()
			s.begin()
			kills++
		}
		s.ready()
		s.forgotten(old)
		heads = s.verify(heads)
		s.look(func(d *sql.DB) {
			s.kept(d)
			for _, p := range players {
				p.begin(r)
				p.check(d)
			}
			s.promises = nil // what was promised at rest is no part of the next life's
		})
	}
	s.t.Logf("%d kills in %s; promised: %v; out when it was killed: %v, made of these: %v", kills, time.Since(begun).Round(time.Millisecond), s.promised, s.out, s.made)
}

// load has everybody do things at once, until the server is killed in the
// middle of it.
func (s *site) load(r *mathrand.Rand, players []player) {
	var running sync.WaitGroup
	for _, p := range players {
		p.begin(mathrand.New(mathrand.NewPCG(r.Uint64(), 0)))
		browsers := 1
		if _, many := p.(*guesser); many {
			browsers = 2
		}
		for range browsers {
			running.Go(func() {
				for {
					if err := p.act(); errors.Is(err, errDown) {
						return
					} else if err != nil {
						s.t.Errorf("life %d: %v", s.life, err)
						return
					}
				}
			})
		}
	}
	// Between two answers, or while a change is on its way: either by count, so
	// that a slow machine does as much.
	count, until := &s.answers, int64(r.IntN(100))
	if r.IntN(3) > 0 {
		count, until = &s.changes, 1+int64(r.IntN(5))
	}
	until += count.Load()
	for begun := time.Now(); count.Load() < until && time.Since(begun) < 10*time.Second; {
		time.Sleep(200 * time.Microsecond)
	}
	time.Sleep(time.Duration(r.Int64N(2*s.pace.Load() + 1)))
	s.kill()
	running.Wait()
	s.transport.CloseIdleConnections()
}

func addressOf(s string) netip.Addr { return netip.MustParseAddr(s) }
