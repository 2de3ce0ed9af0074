package throttle_test

import (
	"testing"
	"time"

	"countersign/internal/domain/throttle"
)

const day = 24 * time.Hour

var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// fail charges n tries at now and refunds none.
func fail(b throttle.Budget, now time.Time, n int) throttle.Budget {
	for range n {
		b, _ = b.Charge(now)
	}
	return b
}

func TestPriceRisesWithFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		fails int
		later time.Duration
		alarm bool
		want  int
	}{
		{"untouched", 0, 0, false, 1},
		{"one try left", 9, 0, false, 1},
		{"empty", 10, 0, false, 2},
		{"empty, one failure short of a heavy attack", 1999, 0, false, 2},
		{"heavy attack", 2000, 0, false, 3},
		{"heavier attack", 50_000, 0, false, 3},
		{"heavy attack, window about to end", 2000, day - 1, false, 3},
		{"heavy attack a day ago", 2000, day, false, 2},
		{"empty, just short of a refill", 10, 30*day - 1, false, 2},
		{"empty 30 days ago", 10, 30 * day, false, 1},
		{"heavy attack 30 days ago", 2000, 30 * day, false, 1},
		{"fleet alarm", 0, 0, true, 2},
		{"fleet alarm, empty", 10, 0, true, 2},
		{"fleet alarm, heavy attack", 2000, 0, true, 3},
	} {
		b := fail(throttle.NewBudget(start), start, c.fails)
		if got := b.Price(start.Add(c.later), c.alarm); got != c.want {
			t.Errorf("%s: a try must carry %d codes, want %d", c.what, got, c.want)
		}
	}
}

func TestTriesLeftStillCostOneCodeUnderHeavyAttack(t *testing.T) {
	t.Parallel()
	b := fail(throttle.NewBudget(start), start, throttle.HeavyAttack).PasswordChanged(start)
	if got := b.Price(start, false); got != 1 {
		t.Errorf("with %d tries left a try must carry %d codes, want 1", b.Left, got)
	}
	b = fail(b, start, throttle.BudgetSize)
	if got := b.Price(start, false); got != 3 {
		t.Errorf("with the tries gone again a try must carry %d codes, want 3", got)
	}
}

func TestOneTryComesBackEveryThirtyDays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		later time.Duration
		want  int
	}{
		{0, 0}, {30*day - 1, 0}, {30 * day, 1}, {59 * day, 1}, {60 * day, 2}, {299 * day, 9}, {300 * day, 10},
		{10_000 * day, 10}, {-day, 0}, {-400 * day, 0},
	} {
		b := fail(throttle.NewBudget(start), start, throttle.BudgetSize).At(start.Add(c.later))
		if b.Left != c.want {
			t.Errorf("after %v: %d tries left, want %d", c.later, b.Left, c.want)
		}
	}
}

func TestPartOfARefillIsKept(t *testing.T) {
	t.Parallel()
	b := fail(throttle.NewBudget(start), start, throttle.BudgetSize)
	b = b.At(start.Add(45 * day)) // one and a half
	if b = b.At(start.Add(60 * day)); b.Left != 2 {
		t.Errorf("after 60 days: %d tries left, want 2", b.Left)
	}
}

func TestFullBudgetSavesNothingUp(t *testing.T) {
	t.Parallel()
	later := start.Add(400 * day)
	b := fail(throttle.NewBudget(start), later, throttle.BudgetSize)
	if b.Left != 0 {
		t.Fatalf("%d tries left at once, want 0", b.Left)
	}
	if b = b.At(later.Add(30*day - 1)); b.Left != 0 {
		t.Errorf("%d tries left before the first refill, want 0", b.Left)
	}
	if b = b.At(later.Add(30 * day)); b.Left != 1 {
		t.Errorf("%d tries left after the first refill, want 1", b.Left)
	}
}

func TestAYearOfGuessingGetsTwentyTwoSingleCodes(t *testing.T) {
	t.Parallel()
	b, singles := throttle.NewBudget(start), 0
	for hour := range 365 * 24 {
		now := start.Add(time.Duration(hour) * time.Hour)
		for range 20 {
			if b.Price(now, false) == 1 {
				singles++
			}
			b, _ = b.Charge(now)
		}
	}
	if singles != 22 {
		t.Errorf("%d single-code guesses in a year, want 22", singles)
	}
}

func TestSuccessGivesBackItsOwnChargeOnly(t *testing.T) {
	t.Parallel()
	for _, fails := range []int{0, 1, 9, 10, 11, 1999, 2000} {
		before := fail(throttle.NewBudget(start), start, fails)
		charged, c := before.Charge(start)
		after := charged.Refund(c)
		if fails == 0 { // the window it opened holds nothing
			after = after.At(start)
		}
		if after != before {
			t.Errorf("after %d failures a success left %+v, want %+v", fails, after, before)
		}
		if c.TookToken != (fails < throttle.BudgetSize) {
			t.Errorf("after %d failures: TookToken = %v", fails, c.TookToken)
		}
	}
}

func TestLateRefundNeverOverfills(t *testing.T) {
	t.Parallel()
	b, c := throttle.NewBudget(start).Charge(start)
	b = b.At(start.Add(30 * day)).Refund(c)
	if b.Left != throttle.BudgetSize {
		t.Errorf("%d tries left, want %d", b.Left, throttle.BudgetSize)
	}
	if b = (throttle.Budget{}).Refund(throttle.Charge{}); b.Fails != 0 {
		t.Errorf("%d failures, want 0", b.Fails)
	}
}

func TestHeavyAttackIsCountedFromItsFirstFailure(t *testing.T) {
	t.Parallel()
	b := fail(throttle.NewBudget(start), start, 1000)
	noon := start.Add(12 * time.Hour)
	b = fail(b, noon, 1000)
	if got := b.Price(noon, false); got != 3 {
		t.Errorf("2,000 failures within 12 h: price %d, want 3", got)
	}
	next := start.Add(day)
	if b = fail(b, next, 1); b.Fails != 1 || !b.FailsSince.Equal(next) {
		t.Errorf("a day later: %d failures since %v, want 1 since %v", b.Fails, b.FailsSince, next)
	}
}

func TestNewPasswordRefillsOncePerHalfYear(t *testing.T) {
	t.Parallel()
	b := fail(throttle.NewBudget(start), start, 50)
	for _, c := range []struct {
		day, want int
	}{{1, 10}, {2, 0}, {29, 0}, {180, 5}, {181, 10}, {182, 0}, {361, 10}} {
		now := start.Add(time.Duration(c.day) * day)
		b = b.PasswordChanged(now)
		if b.Left != c.want {
			t.Errorf("new password on day %d: %d tries left, want %d", c.day, b.Left, c.want)
		}
		if seen := b.At(now); b != seen {
			t.Errorf("new password on day %d left %+v, not yet %+v", c.day, b, seen)
		}
		if c.day == 29 || c.day == 180 {
			continue // left to refill by itself
		}
		b = fail(b, now, b.Left)
	}
}

func TestNewPasswordOnAFullBudgetKeepsTheRefill(t *testing.T) {
	t.Parallel()
	b := throttle.NewBudget(start).PasswordChanged(start)
	b = fail(b, start, 10).PasswordChanged(start.Add(day))
	if b.Left != throttle.BudgetSize {
		t.Errorf("%d tries left, want %d", b.Left, throttle.BudgetSize)
	}
}

func TestZeroBudgetIsWorthANewOne(t *testing.T) {
	t.Parallel()
	if got, want := (throttle.Budget{}).At(start), throttle.NewBudget(start); got != want {
		t.Errorf("zero budget is %+v, want %+v", got, want)
	}
}

func TestDeliveredCodesGrowWithThePrice(t *testing.T) {
	t.Parallel()
	for price, want := range []int{1: 6, 2: 10, 3: 10} {
		if price == 0 {
			continue
		}
		if got := throttle.DigitsAt(price); got != want {
			t.Errorf("at price %d a code has %d digits, want %d", price, got, want)
		}
	}
}

func TestForgottenLaneIsUnknown(t *testing.T) {
	t.Parallel()
	var lane throttle.Lane
	if lane != throttle.UnknownDevice {
		t.Errorf("zero lane is %d, want the unknown device", lane)
	}
}
