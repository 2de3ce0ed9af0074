package throttle

import "time"

// heavyWindow is the time over which failures are counted for HeavyAttack.
const heavyWindow = 24 * time.Hour

// A Budget is the unknown-device lane of one identity, as stored. All places
// and all methods that check a code share it. It never refuses: when it is
// empty a try must carry more codes (RFC 4226 §7.4), so that guessing becomes
// hopeless while the owner, who can read the codes, still gets in. The zero
// Budget is worth as much as a new one.
type Budget struct {
	Left       int       // single-code tries, 0 to BudgetSize
	RefilledAt time.Time // last refill; while full, the last time it was seen full

	Fails      int       // unknown-lane failures since FailsSince
	FailsSince time.Time // first failure of the running 24 h window; zero = none

	PasswordRefillAt time.Time // last refill by a password change; zero = never
}

// A Charge is what one try has cost, kept until the answer is known. A Charge
// that is never refunded was a failure.
type Charge struct {
	TookToken bool // the try took one of the single-code tries
}

// NewBudget returns the budget of an identity that nobody has tried yet.
func NewBudget(now time.Time) Budget {
	return Budget{Left: BudgetSize, RefilledAt: now}
}

// At returns b as it stands at now: refills applied, an ended window forgotten.
// A clock that went back changes nothing.
func (b Budget) At(now time.Time) Budget {
	if b.Left < BudgetSize {
		if n := int(now.Sub(b.RefilledAt) / BudgetRefill); n >= BudgetSize-b.Left {
			b.Left = BudgetSize
		} else if n > 0 {
			b.Left += n
			b.RefilledAt = b.RefilledAt.Add(time.Duration(n) * BudgetRefill)
		}
	}
	// A full budget saves nothing up: its next refill is due BudgetRefill
	// after the first charge.
	if b.Left >= BudgetSize {
		b.Left = BudgetSize
		if now.After(b.RefilledAt) {
			b.RefilledAt = now
		}
	}
	if b.Fails == 0 || now.Sub(b.FailsSince) >= heavyWindow {
		b.Fails, b.FailsSince = 0, time.Time{}
	}
	return b
}

// Price returns how many consecutive codes one try must carry at now: 1, 2 or
// 3. The fleet alarm, raised when failures over all identities run high, lets
// nobody in with a single code. A try that carries fewer is asked for more and
// costs nothing; a try that carries enough is charged under the same lock.
func (b Budget) Price(now time.Time, fleetAlarm bool) int {
	b = b.At(now)
	switch {
	case b.Left == 0 && b.Fails >= HeavyAttack:
		return 3
	case b.Left == 0 || fleetAlarm:
		return 2
	default:
		return 1
	}
}

// Charge takes what a try costs, before the try is checked: it counts as a
// failure until Refund says otherwise, so neither a crash nor parallel tries
// win anything (CWE-362).
func (b Budget) Charge(now time.Time) (Budget, Charge) {
	b = b.At(now)
	if b.Fails == 0 {
		b.FailsSince = now
	}
	b.Fails++
	if b.Left == 0 {
		return b, Charge{}
	}
	b.Left--
	return b, Charge{TookToken: true}
}

// Refund gives back c, once, because the try was right. Only this charge comes
// back: a success forgives no earlier failure, or a patient attacker would
// live on the owner's daily sign-ins.
func (b Budget) Refund(c Charge) Budget {
	if c.TookToken {
		b.Left = min(b.Left+1, BudgetSize)
	}
	b.Fails = max(b.Fails-1, 0)
	return b
}

// PasswordChanged returns b after the identity got a new password, which ends
// the attack of whoever knew the old one: full again, at most once per
// PasswordRefillEvery. A budget that is full already keeps that right.
func (b Budget) PasswordChanged(now time.Time) Budget {
	b = b.At(now)
	if b.Left == BudgetSize {
		return b
	}
	if !b.PasswordRefillAt.IsZero() && now.Sub(b.PasswordRefillAt) < PasswordRefillEvery {
		return b
	}
	b.Left, b.PasswordRefillAt = BudgetSize, now
	return b.At(now)
}
