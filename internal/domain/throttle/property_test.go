package throttle_test

import (
	"testing"
	"time"

	"countersign/internal/domain/throttle"
	"pgregory.net/rapid"
)

// A history is what happened to one budget, with time passing at will.
type history struct {
	now     time.Time
	budget  throttle.Budget
	singles []time.Time // wrong tries that carried one code
	refills []time.Time // by a new password
}

func (h *history) fail() {
	price := h.budget.Price(h.now, false)
	b, c := h.budget.Charge(h.now)
	h.budget = b
	if price == 1 {
		h.singles = append(h.singles, h.now)
	}
	if c.TookToken != (price == 1) {
		panic("a try at one code and only that takes a token")
	}
}

func (h *history) changePassword() {
	before := h.budget.At(h.now)
	h.budget = h.budget.PasswordChanged(h.now)
	if h.budget.Left > before.Left {
		h.refills = append(h.refills, h.now)
	}
}

// wait draws a pause that is often just short of, at or past a limit.
func wait(t *rapid.T) time.Duration {
	limit := rapid.SampledFrom([]time.Duration{
		0, time.Minute, time.Hour, day, 5 * day, throttle.BudgetRefill, throttle.PasswordRefillEvery,
	}).Draw(t, "limit")
	off := rapid.SampledFrom([]time.Duration{-1, 0, 0, 1, 7 * time.Hour}).Draw(t, "off")
	return max(0, limit+off)
}

func within(times []time.Time, from time.Time, length time.Duration) (n int) {
	for _, at := range times {
		if !at.Before(from) && at.Sub(from) < length {
			n++
		}
	}
	return n
}

func TestNoYearHasMoreThanTwentyTwoSingleCodes(t *testing.T) {
	t.Parallel()
	const year, refillsInAYear = 365 * day, 365 / 30
	rapid.Check(t, func(t *rapid.T) {
		h := history{now: start, budget: throttle.NewBudget(start)}
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) { h.now = h.now.Add(wait(t)) },
			"fail": func(t *rapid.T) { h.fail() },
			"drain": func(t *rapid.T) {
				for h.budget.Price(h.now, false) == 1 {
					h.fail()
				}
			},
			"succeed": func(t *rapid.T) {
				b, c := h.budget.Charge(h.now)
				h.budget = b
				for range rapid.IntRange(0, 3).Draw(t, "failures meanwhile") {
					h.fail()
				}
				h.budget = h.budget.Refund(c)
			},
			"change password": func(t *rapid.T) { h.changePassword() },
			"": func(t *rapid.T) {
				if h.budget.Left < 0 || h.budget.Left > throttle.BudgetSize || h.budget.Fails < 0 {
					t.Fatalf("impossible budget %+v", h.budget)
				}
			},
		})
		for _, from := range h.singles {
			n, refills := within(h.singles, from, year), within(h.refills, from, year)
			if most := throttle.BudgetSize*(1+refills) + refillsInAYear; n > most {
				t.Fatalf("%d single-code guesses in the year from %v with %d new passwords, want at most %d", n, from, refills, most)
			}
		}
		for _, from := range h.refills {
			if n := within(h.refills, from, throttle.PasswordRefillEvery); n > 1 {
				t.Fatalf("%d refills by a new password within %v", n, throttle.PasswordRefillEvery)
			}
		}
	})
}

// anyBudget draws a budget some history could have left behind, with a time
// at which it is looked at next.
func anyBudget(t *rapid.T) (throttle.Budget, time.Time) {
	h := history{now: start, budget: throttle.NewBudget(start)}
	for range rapid.IntRange(0, 6).Draw(t, "events") {
		h.now = h.now.Add(wait(t))
		for range rapid.SampledFrom([]int{0, 1, 9, 10, 1989, 2000}).Draw(t, "failures") {
			h.fail()
		}
		if rapid.IntRange(0, 5).Draw(t, "password") == 0 {
			h.changePassword()
		}
	}
	return h.budget, h.now.Add(wait(t))
}

func TestSuccessNeverRefills(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, now := anyBudget(t)
		alarm := rapid.Bool().Draw(t, "alarm")
		before := b.At(now)
		charged, c := b.Charge(now)
		others := rapid.IntRange(0, 20).Draw(t, "failures meanwhile")
		after := fail(charged, now, others).Refund(c)
		if want := max(0, before.Left-others); after.Left > before.Left || after.Left < want || after.Left > want+1 {
			t.Fatalf("%d tries left before, %d after a success among %d failures", before.Left, after.Left, others)
		}
		if after.Fails != before.Fails+others {
			t.Fatalf("%d failures before, %d after a success among %d more", before.Fails, after.Fails, others)
		}
		if after.Price(now, alarm) < before.Price(now, alarm) {
			t.Fatalf("a success made tries cheaper: %+v, then %+v", before, after)
		}
	})
}

func TestPriceFallsOnlyWithTimeOrANewPassword(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, now := anyBudget(t)
		alarm := rapid.Bool().Draw(t, "alarm")
		price := b.Price(now, alarm)
		if price < 1 || price > 3 || alarm && price < 2 {
			t.Fatalf("price %d with alarm %v", price, alarm)
		}
		for range rapid.SampledFrom([]int{1, 2, 10, 2001}).Draw(t, "tries") {
			b, _ = b.Charge(now)
			next := b.Price(now, alarm)
			if next < price {
				t.Fatalf("a failure lowered the price from %d to %d: %+v", price, next, b)
			}
			price = next
		}
		earlier := now.Add(-wait(t))
		if got := b.Price(earlier, alarm); got < price {
			t.Fatalf("a clock that went back lowered the price from %d to %d: %+v", price, got, b)
		}
	})
}

func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, now := anyBudget(t)
		later := now.Add(wait(t))
		if once, twice := b.At(later), b.At(now).At(later); once != twice {
			t.Fatalf("looked at once %+v, twice %+v", once, twice)
		}
		if seen, again := b.At(later), b.At(later).At(now); again != seen {
			t.Fatalf("a clock that went back made %+v of %+v", again, seen)
		}
	})
}
