package simulation

import (
	"time"

	"countersign/internal/domain/throttle"
)

// Lanes drives the rule itself, throttle.Budget, hour by hour.
type lanes struct {
	perDay    int  // tries of the attacker
	delivered bool // codes by message: nothing to wait for
	strict    bool // half the budget, and every refill held back as long again
}

func (p lanes) live(l *life) {
	start := time.Unix(0, 0).UTC()
	budget := throttle.NewBudget(start)
	if p.strict {
		budget.Left = throttle.BudgetSize / 2
		budget.RefilledAt = start.Add(throttle.BudgetRefill)
	}
	for day := range year {
		visits := l.day()
		for hour := range 24 {
			now := start.Add(time.Duration(day*24+hour) * time.Hour)
			if p.strict {
				budget = heldBack(budget, now)
			}
			tries := p.perDay*(hour+1)/24 - p.perDay*hour/24
			budget = p.attack(l, day, budget, now, tries)
			for len(visits) > 0 && visits[0].at < time.Duration(hour+1)*time.Hour {
				on := l.on(visits[0])
				on.tried++
				if !visits[0].known || !l.signInKnown() {
					budget = p.signInNew(l, on, budget, now)
				}
				visits = visits[1:]
			}
		}
	}
}

// attack makes tries guesses at the price asked for, all wrong: whether one
// was right is drawn later.
func (p lanes) attack(l *life, day int, b throttle.Budget, now time.Time, tries int) throttle.Budget {
	for ; tries > 0; tries-- {
		price := b.Price(now, false)
		n := 1
		if price == maxCodes {
			n = tries // the highest price stays as long as the clock does
		}
		b, _ = b.Charge(now)
		l.guess(day, price, float64(n))
		tries -= n - 1
	}
	return b
}

// heldBack puts every refill off by as long again. It holds only while the
// budget is never full, as under an attack without pause.
func heldBack(b throttle.Budget, now time.Time) throttle.Budget {
	next := b.At(now)
	if next.Left > b.Left {
		next.RefilledAt = next.RefilledAt.Add(throttle.BudgetRefill)
	}
	return next
}

// signInKnown is the owner's sign-in on a known device, which asks for one code
// whatever the budget. It reports false when his slips demoted the device.
func (l *life) signInKnown() bool {
	for range throttle.DeviceTries {
		if !l.slips() {
			l.known.codes++
			return true
		}
	}
	return false
}

// signInNew is the owner's sign-in on a device that is not known. He is
// refused if he is asked for more than he can enter.
func (p lanes) signInNew(l *life, on *visits, b throttle.Budget, now time.Time) throttle.Budget {
	for {
		price := b.Price(now, false)
		if price > maxCodes {
			on.refused++
			return b
		}
		charged, charge := b.Charge(now)
		if l.slips() {
			b = charged
			continue
		}
		on.codes += float64(price)
		if price > 1 && !p.delivered {
			// On average the first code has been on show for half a step.
			on.wait += (float64(price) - 1.5) * step.Seconds()
		}
		return charged.Refund(charge)
	}
}
