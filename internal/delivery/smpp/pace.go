package smpp

import (
	"context"
	"sync"
	"time"
)

const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// A pace slows submissions down when the SMSC has too many: ESME_RTHROTTLED and
// ESME_RMSGQFUL. The pause doubles from refusal to refusal and halves from
// acceptance to acceptance; after it, messages go out a tenth of it apart.
type pace struct {
	now func() time.Time

	mu    sync.Mutex
	pause time.Duration // zero: full speed
	round int           // counts the pauses
	next  time.Time     // when the next may go, while pause is not zero
}

// wait returns when a message may go, with the round in which it does.
func (p *pace) wait(ctx context.Context) (round int, err error) {
	for {
		round, wait := p.take()
		if wait <= 0 {
			return round, ctx.Err()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, context.Cause(ctx)
		}
	}
}

// take takes the turn, or says how long to wait before trying again.
func (p *pace) take() (round int, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pause == 0 {
		return p.round, 0
	}
	now := p.now()
	if wait := p.next.Sub(now); wait > 0 {
		return 0, wait
	}
	p.next = now.Add(p.pause / 10)
	return p.round, 0
}

// slower notes a refusal of what went out in a round. Of all that went out
// before a pause, only the first refusal counts.
func (p *pace) slower(round int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if round != p.round {
		return
	}
	p.round++
	p.pause = min(max(2*p.pause, firstPause), lastPause)
	p.next = p.now().Add(p.pause)
}

// faster notes an acceptance.
func (p *pace) faster() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pause /= 2; p.pause < firstPause {
		p.pause = 0
	}
}

// A backoff spaces attempts to connect.
type backoff struct {
	failures int
	due      time.Time
	last     error
}

const (
	firstBackoff = time.Second
	lastBackoff  = time.Minute
)

// failed notes a failure. The wait is between half of 2 s, 4 s … 60 s and all
// of it; random is in [0,1).
func (b *backoff) failed(err error, now time.Time, random float64) {
	full := min(2*firstBackoff<<min(b.failures, 10), lastBackoff)
	b.failures++
	b.due, b.last = now.Add(full/2+time.Duration(random*float64(full/2))), err
}
