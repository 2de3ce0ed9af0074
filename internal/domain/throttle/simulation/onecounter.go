package simulation

import "time"

// fixedWindow allows the account five tries in each quarter of an hour. The
// attacker takes them at the start of it, one every 400 ms; the owner is
// refused unless he comes in between.
func fixedWindow(l *life) {
	const tries, window, pace = 5, 15 * time.Minute, 400 * time.Millisecond
	for day := range year {
		guesses := float64(tries * (24 * time.Hour / window))
		for _, v := range l.day() {
			on := l.on(v)
			on.tried++
			if v.at%window >= tries*pace {
				on.refused++
				continue
			}
			on.codes++
			guesses--
		}
		l.guess(day, 1, guesses)
	}
}

// doublingDelay makes the account wait 1, 2, 4 … seconds after each failure,
// at most longest if that is not zero. The owner finds a delay running, waits
// for its end, gets in and so clears it; his slips are left out.
func doublingDelay(longest float64) func(*life) {
	const day = 24 * 60 * 60
	return func(l *life) {
		cleared := 0.0 // when the count last was, in seconds
		// between counts the tries the attacker makes until then.
		between := func(until float64) {
			n, _ := doubled(until-cleared, longest)
			l.year[1] += n
			if cleared < month*day {
				n, _ = doubled(min(until, month*day)-cleared, longest)
				l.month[1] += n
			}
		}
		for d := range year {
			for _, v := range l.day() {
				at := float64(d*day) + v.at.Seconds()
				if at < cleared {
					continue // still waiting since the last time
				}
				on := l.on(v)
				on.tried++
				on.refused++
				_, next := doubled(at-cleared, longest)
				between(min(cleared+next, year*day))
				cleared += next
			}
		}
		if cleared < year*day {
			between(year * day)
		}
	}
}

// doubled returns how many tries fit into the seconds before elapsed, the
// first at 0, and when the next one is allowed.
func doubled(elapsed, longest float64) (tries, next float64) {
	delay := 1.0
	for next < elapsed {
		if longest > 0 && delay >= longest {
			more := float64(int((elapsed-next)/longest)) + 1
			return tries + more, next + more*longest
		}
		tries++
		next += delay
		delay *= 2
	}
	return tries, next
}

// offAfterHundred switches the authenticator off at 100 straight failures and
// forgets them at a success. The attacker makes spent of them at once, and
// again whenever the owner has cleared the count.
func offAfterHundred(spent int) func(*life) {
	const most = 100
	return func(l *life) {
		l.guess(0, 1, float64(spent))
		l.disabled = spent >= most
		for day := range year {
			for _, v := range l.day() {
				on := l.on(v)
				on.tried++
				if l.disabled {
					on.refused++
					continue
				}
				if l.slips() && spent+1 >= most {
					l.disabled = true
					on.refused++
					continue
				}
				on.codes++
				l.guess(day, 1, float64(spent))
			}
		}
	}
}
