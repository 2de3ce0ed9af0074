package simulation_test

import (
	"math"
	"strings"
	"testing"

	"countersign/internal/domain/throttle/simulation"
)

// named returns the policy whose name starts with name.
func named(t *testing.T, name string) simulation.Policy {
	t.Helper()
	for _, policy := range simulation.Policies() {
		if strings.HasPrefix(policy.Name, name+" ") {
			return policy
		}
	}
	t.Fatalf("no policy %s", name)
	return simulation.Policy{}
}

// sized returns the usual configuration with a number of account-years.
func sized(accountYears int) simulation.Config {
	cfg := simulation.Default()
	cfg.AccountYears = accountYears
	return cfg
}

// agrees checks a chance against the one expected: the drawn value within
// three standard errors of it, the exact one within a share of it.
func agrees(t *testing.T, what string, got simulation.Chance, accountYears int, want, within float64) {
	t.Helper()
	if sigma := math.Sqrt(want * (1 - want) / float64(accountYears)); math.Abs(got.Drawn-want) > 3*sigma+want*within {
		t.Errorf("%s: drawn %.3g, want %.3g ± 3 × %.2g", what, got.Drawn, want, sigma)
	}
	if math.Abs(got.Exact-want) > want*within {
		t.Errorf("%s: exact %.6g, want %.6g", what, got.Exact, want)
	}
}

// chance is that of one right guess among n, each right with p.
func chance(p, n float64) float64 { return -math.Expm1(n * math.Log1p(-p)) }

func TestTwoLanesKeepTheAttackerBelowOneInTenThousand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy      string
		draws       int
		month, year float64
		codes, wait float64 // of the owner on a new device
	}{
		// Ten tries, one more every 30 days, and the rest at the price of two
		// codes: of 2,000 a day, all; of 1,000,000 a day, 2,000. Luck is drawn
		// for F1 alone; for the others the exact chance is enough.
		{"F1", 20_000_000, 10*3e-6 + 2000*30*3e-12, 22*3e-6 + 2000*365*3e-12, 2, 15},
		{"F2", 2, 10*3e-6 + 2000*30*3e-12, 22*3e-6 + 2000*365*3e-12, 3, 45},
		{"F3", 2, 5*3e-6 + 2000*30*3e-12, 11*3e-6 + 2000*365*3e-12, 3, 45},
		{"F4", 2, 10*2e-6 + 2000*30*2e-12, 22*2e-6 + 2000*365*2e-12, 3, 45},
		{"F5", 2, 10*1e-6 + 60*30*1e-10, 22*1e-6 + 60*365*1e-10, 2, 0},
	} {
		t.Run(c.policy, func(t *testing.T) {
			t.Parallel()
			got := simulation.Run(sized(c.draws), named(t, c.policy))
			agrees(t, "30 days", got.Month, c.draws, c.month, 0.001)
			agrees(t, "a year", got.Year, c.draws, c.year, 0.001)
			if got.Year.Exact > 1e-4 {
				t.Errorf("attacker gets in with %.2g in a year", got.Year.Exact)
			}
			if got.RefusedKnown != 0 || got.RefusedNew != 0 || got.Disabled != 0 {
				t.Errorf("owner refused: known device %v, new device %v, disabled %v; want never",
					got.RefusedKnown, got.RefusedNew, got.Disabled)
			}
			if math.Abs(got.Codes-c.codes) > 0.2 {
				t.Errorf("owner enters %.2f codes on a new device, want about %v", got.Codes, c.codes)
			}
			if math.Abs(got.Wait.Seconds()-c.wait) > 5 {
				t.Errorf("owner waits %v on a new device, want about %v s", got.Wait, c.wait)
			}
		})
	}
}

func TestSharedCountersAreWeakOrLockTheOwnerOut(t *testing.T) {
	t.Parallel()
	// D1 ends with the owner's first slip: rounds of 99 guesses, each followed
	// by another with 0.95.
	q := math.Pow(1-3e-6, 99)
	for _, c := range []struct {
		policy         string
		draws          int
		year, within   float64
		refused, about float64
		disabled       float64
	}{
		{"B", 4_000, chance(3e-6, 5*4*24*365), 0.001, 0.998, 0.001, 0},
		{"C1", 4_000, chance(3e-6, 4_675), 0.02, 1, 0, 0},
		{"C2", 4_000, chance(3e-6, 12_338), 0.04, 1, 0, 0},
		{"D1", 10_000, 1 - 0.05*q/(1-0.95*q), 0.03, 0.94, 0.01, 1},
		{"D2", 10_000, chance(3e-6, 100), 0.001, 1, 0, 1},
	} {
		t.Run(c.policy, func(t *testing.T) {
			t.Parallel()
			got := simulation.Run(sized(c.draws), named(t, c.policy))
			agrees(t, "a year", got.Year, c.draws, c.year, c.within)
			for on, refused := range map[string]float64{"known": got.RefusedKnown, "new": got.RefusedNew} {
				if math.Abs(refused-c.refused) > c.about {
					t.Errorf("owner refused on a %s device: %.4f, want %.4f", on, refused, c.refused)
				}
			}
			if math.Abs(got.Disabled-c.disabled) > 0.001 {
				t.Errorf("disabled in %.4f of accounts, want %v", got.Disabled, c.disabled)
			}
		})
	}
}

// A hundred straight failures sound few, but an owner who signs in daily
// without a slip makes them 99 a day.
func TestCounterClearedBySuccessIsWorthTenPercentAYear(t *testing.T) {
	t.Parallel()
	const draws = 4_000
	cfg := sized(draws)
	cfg.Owner = simulation.Owner{Daily: 1}
	got := simulation.Run(cfg, named(t, "D1"))
	agrees(t, "a year", got.Year, draws, chance(3e-6, 99*366), 0.001)
	if got.Disabled != 0 || got.RefusedKnown != 0 {
		t.Errorf("disabled in %v of accounts, owner refused %v; want never", got.Disabled, got.RefusedKnown)
	}
}

func TestSeedAloneDecidesTheResult(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"B", "C1", "D1", "F5"} {
		policy := named(t, name)
		if policy.AccountYears > 1_000_000 {
			policy.AccountYears = 1_000_000
		} else {
			policy.AccountYears = 300
		}
		cfg := simulation.Default()
		cfg.Workers = 1
		one := simulation.Run(cfg, policy)
		cfg.Workers = 3
		many := simulation.Run(cfg, policy)
		if one.Year != many.Year || one.Guesses != many.Guesses || one.Wait != many.Wait {
			t.Errorf("%s: one worker %+v, three %+v", name, one, many)
		}
		cfg.Seed++
		if other := simulation.Run(cfg, policy); other.Year.Drawn == one.Year.Drawn {
			t.Errorf("%s: two seeds drew the same %v", name, one.Year.Drawn)
		}
	}
}

func TestEveryAccountYearIsPlayed(t *testing.T) {
	t.Parallel()
	if got := simulation.Run(sized(7), named(t, "F5")); got.AccountYears != 7 || got.Guesses != 60*365 {
		t.Errorf("%d account-years with %v guesses each, want 7 with %d", got.AccountYears, got.Guesses, 60*365)
	}
}

func TestTableHasARowForEveryPolicy(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	results := simulation.Table(sized(1))
	if err := simulation.Write(&out, results); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 1+len(simulation.Policies()) {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	for i, policy := range simulation.Policies() {
		if !strings.HasPrefix(lines[i+1], policy.Name) || !strings.Contains(lines[i+1], policy.Note) {
			t.Errorf("row %d is %q, want %q with %q", i+1, lines[i+1], policy.Name, policy.Note)
		}
	}
	if want := "365,000,000"; !strings.Contains(lines[7], want) {
		t.Errorf("row of F2 is %q, want %s guesses", lines[7], want)
	}
}
