package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

var errPatience = errors.New("waited too long")

// A Patience ends what waits too long for the database: it gives up the
// connection, and the server is told. Time in which nobody waits is not
// counted, so that there may be any number of rows. The nil one has no end.
type Patience struct {
	timer  *time.Timer
	cancel context.CancelFunc
	wait   time.Duration
	late   atomic.Bool
}

// Patient returns a context for one statement and what bounds it.
func (e *Engine) Patient(ctx context.Context) (context.Context, *Patience) {
	if e.patience == 0 {
		return ctx, nil
	}
	p := &Patience{wait: e.patience}
	ctx, p.cancel = context.WithCancel(ctx)
	p.timer = time.AfterFunc(p.wait, func() {
		p.late.Store(true)
		p.cancel()
	})
	return ctx, p
}

// Rest stops the counting.
func (p *Patience) Rest() {
	if p != nil {
		p.timer.Stop()
	}
}

// GoOn counts again, from nothing.
func (p *Patience) GoOn() {
	if p != nil {
		p.timer.Reset(p.wait)
	}
}

// End ends the statement, and returns its error or that it took too long.
func (p *Patience) End(err error) error {
	if p == nil {
		return err
	}
	p.timer.Stop()
	p.cancel()
	if err != nil && p.late.Load() {
		return fmt.Errorf("%w for an answer", errPatience)
	}
	return err
}
