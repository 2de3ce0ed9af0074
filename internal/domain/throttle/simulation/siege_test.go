package simulation_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/throttle"
)

// A verdict is what an answer came to.
type verdict int

const (
	wrong verdict = iota
	admitted
	moreCodes // asked, and nothing charged
	tooManyFromHere
)

// A castle is one account behind the whole rule: two lanes, price, source
// limit, and codes of RFC 4226 over 30-second steps, each used once.
type castle struct {
	seed    []byte
	codes   [8]struct{ step, code int64 } // computed so far, by step modulo 8
	used    int64                         // newest step used
	budget  throttle.Budget
	device  int // straight failures on the owner's device
	sources map[netip.Prefix]*source

	evaluated [4]int // unknown-lane answers compared, by price
}

type source struct {
	since time.Time
	tries int
}

func newCastle(draw *rand.Rand, now time.Time) *castle {
	seed := make([]byte, 20)
	for i := range seed {
		seed[i] = byte(draw.Uint32())
	}
	return &castle{seed: seed, budget: throttle.NewBudget(now), sources: map[netip.Prefix]*source{}}
}

func stepAt(now time.Time) int64 { return now.Unix() / 30 }

// code returns the six digits of a step (RFC 4226 §5.3).
func (c *castle) code(step int64) int64 {
	kept := &c.codes[step%8]
	if kept.step != step {
		mac := hmac.New(sha1.New, c.seed)
		var counter [8]byte
		binary.BigEndian.PutUint64(counter[:], uint64(step))
		mac.Write(counter[:])
		sum := mac.Sum(nil)
		word := binary.BigEndian.Uint32(sum[sum[19]&15:]) & 0x7fffffff
		kept.step, kept.code = step, int64(word%1_000_000)
	}
	return kept.code
}

// ownersCodes returns the codes an owner reads off at now and before, as many
// as one try must carry.
func (c *castle) ownersCodes(now time.Time) []int64 {
	var codes []int64
	for n := int64(c.budget.Price(now, false)) - 1; n >= 0; n-- {
		codes = append(codes, c.code(stepAt(now)-n))
	}
	return codes
}

// right reports whether codes are consecutive, the newest within a step of
// now and the oldest not used yet, and if so uses them up.
func (c *castle) right(codes []int64, now time.Time) bool {
	for newest := stepAt(now) - 1; newest <= stepAt(now)+1; newest++ {
		oldest := newest - int64(len(codes)) + 1
		same := oldest > c.used
		for i, code := range codes {
			same = same && code == c.code(oldest+int64(i))
		}
		if same {
			c.used = newest
			return true
		}
	}
	return false
}

// answer is a try on an unknown device.
func (c *castle) answer(from netip.Addr, codes []int64, now time.Time) verdict {
	network := throttle.Network(from)
	s := c.sources[network]
	if s == nil {
		s = &source{}
		c.sources[network] = s
	}
	if now.Sub(s.since) >= throttle.SourceWindow {
		*s = source{since: now}
	}
	if s.tries >= throttle.SourceTries {
		return tooManyFromHere
	}
	price := c.budget.Price(now, false)
	if len(codes) < price {
		return moreCodes
	}
	s.tries++
	var charge throttle.Charge
	c.budget, charge = c.budget.Charge(now)
	c.evaluated[price]++
	if !c.right(codes, now) {
		return wrong
	}
	c.budget = c.budget.Refund(charge)
	return admitted
}

// answerKnown is a try on the owner's device.
func (c *castle) answerKnown(code int64, now time.Time) verdict {
	if c.device++; c.device > throttle.DeviceTries {
		return moreCodes // demoted
	}
	if !c.right([]int64{code}, now) {
		return wrong
	}
	c.device = 0
	return admitted
}

const day = 24 * time.Hour

var (
	dawn = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	home = netip.MustParseAddr("2001:db8:7::1")
)

// inNetwork returns an address of the n-th network of the attacker.
func inNetwork(n int, host byte) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(n >> 8), byte(n), host})
}

// The siege is played at full length: 30 days, an attempt every 1.5 seconds
// from 3,000 networks. The attacker always carries as many random codes as he
// is asked for. The owner signs in daily at noon on his device, and at six on
// every second day on a new one.
func TestOwnerGetsInDuringASiege(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what      string
		pace      time.Duration
		evaluated int // at least
		codes     int // asked of the owner on a new device
	}{
		{"heavy", 1500 * time.Millisecond, 1_700_000, 3},
		{"light", time.Minute, 43_000, 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			draw := rand.New(rand.NewPCG(7, 11))
			castle := newCastle(draw, dawn)
			var known, elsewhere, broken int
			guess := make([]int64, 3)

			owner := func(now time.Time) {
				if now.Hour() == 12 {
					before := castle.budget
					if castle.answerKnown(castle.code(stepAt(now)), now) == admitted {
						known++
					}
					if castle.budget != before {
						t.Errorf("%v: a success on the known device changed the budget", now)
					}
					return
				}
				codes := castle.ownersCodes(now)
				if len(codes) != c.codes {
					t.Errorf("%v: owner is asked for %d codes, want %d", now, len(codes), c.codes)
				}
				mixed := slices.Clone(codes)
				mixed[0] = (mixed[0] + 1) % 1_000_000
				if got := castle.answer(home, mixed, now); got != wrong {
					t.Errorf("%v: one wrong code among right ones: verdict %d", now, got)
				}
				if got := castle.answer(home, codes[1:], now); got != moreCodes {
					t.Errorf("%v: too few codes: verdict %d", now, got)
				}
				before := castle.budget
				if castle.answer(home, codes, now) == admitted {
					elsewhere++
				}
				if castle.budget != before {
					t.Errorf("%v: a success on a new device left %+v of %+v", now, castle.budget, before)
				}
				if got := castle.answer(home, codes, now); got != wrong {
					t.Errorf("%v: used codes again: verdict %d", now, got)
				}
			}

			next := dawn.Add(12 * time.Hour) // visit of the owner
			end := dawn.Add(30 * day)
			i := 0
			for now := dawn; now.Before(end); now = now.Add(c.pace) {
				for !now.Before(next) {
					owner(next)
					if next.Hour() == 12 && next.YearDay()%2 == 0 {
						next = next.Add(6 * time.Hour)
					} else {
						next = next.Truncate(day).Add(36 * time.Hour)
					}
				}
				for n := range guess {
					guess[n] = draw.Int64N(1_000_000)
				}
				price := castle.budget.Price(now, false)
				if castle.answer(inNetwork(i%3000, byte(i)), guess[:price], now) == admitted {
					broken++
				}
				i++
			}

			if known != 30 || elsewhere != 15 {
				t.Errorf("owner admitted %d of 30 times on his device, %d of 15 on new ones", known, elsewhere)
			}
			if castle.evaluated[1] != throttle.BudgetSize {
				t.Errorf("%d single-code guesses evaluated in 30 days, want %d", castle.evaluated[1], throttle.BudgetSize)
			}
			if all := castle.evaluated[1] + castle.evaluated[2] + castle.evaluated[3]; all < c.evaluated {
				t.Errorf("%d guesses evaluated, want at least %d: this was no siege", all, c.evaluated)
			}
			if broken != 0 {
				t.Errorf("attacker admitted %d times", broken)
			}
		})
	}
}

func TestOneNetworkDoesNotCloseAnother(t *testing.T) {
	t.Parallel()
	castle := newCastle(rand.New(rand.NewPCG(1, 1)), dawn)
	for i := range throttle.SourceTries {
		if got := castle.answer(inNetwork(1, byte(i)), []int64{-1, -1}, dawn); got != wrong {
			t.Fatalf("try %d: verdict %d", i+1, got)
		}
	}
	if got := castle.answer(inNetwork(1, 200), []int64{-1, -1}, dawn); got != tooManyFromHere {
		t.Errorf("try %d of one network: verdict %d", throttle.SourceTries+1, got)
	}
	if got := castle.answer(home, castle.ownersCodes(dawn), dawn); got != admitted {
		t.Errorf("owner elsewhere: verdict %d", got)
	}
}

func TestParallelGuessesGetNoMoreThanTheBudget(t *testing.T) {
	t.Parallel()
	castle := newCastle(rand.New(rand.NewPCG(2, 2)), dawn)
	var row sync.Mutex // what the store locks
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			row.Lock()
			defer row.Unlock()
			castle.answer(inNetwork(i, 1), []int64{-1}, dawn)
		})
	}
	all.Wait()
	if castle.evaluated != [4]int{1: throttle.BudgetSize} {
		t.Errorf("evaluated by price: %v, want %d at one code", castle.evaluated, throttle.BudgetSize)
	}
}

func TestCodesAreThoseOfRFC4226(t *testing.T) {
	t.Parallel()
	castle := &castle{seed: []byte("12345678901234567890")}
	for step, want := range []int64{1: 287082, 359152, 969429, 338314, 254676, 287922, 162583, 399871, 520489} {
		if step == 0 {
			continue
		}
		if got := castle.code(int64(step)); got != want {
			t.Errorf("code of step %d is %06d, want %06d", step, got, want)
		}
	}
}
