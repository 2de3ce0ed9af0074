package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/store"
)

// A Clock is the machine's, and in development mode ahead of it by as much as
// it was moved. What it was moved by outlives the process: the store holds
// instants, and time that runs backwards would make used codes of them.
type Clock struct {
	ahead atomic.Int64 // nanoseconds
	path  string
}

func newClock(data string, dev bool) (*Clock, error) {
	c := &Clock{}
	if !dev {
		return c, nil
	}
	c.path = filepath.Join(data, "dev-clock")
	b, err := os.ReadFile(c.path)
	if os.IsNotExist(err) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the development clock: %w", err)
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(b)))
	if err != nil || d < 0 {
		return nil, fmt.Errorf("read the development clock: %s holds %q; delete it to go back to the present", c.path, b)
	}
	c.ahead.Store(int64(d))
	return c, nil
}

// Now is the time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Ahead is how far the clock has been moved.
func (c *Clock) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) error {
	ahead := c.ahead.Add(int64(d))
	if err := os.WriteFile(c.path, []byte(time.Duration(ahead).String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the development clock: %w", err)
	}
	return nil
}

// How the time of day is compared with the time that passes.
const (
	lookEvery = time.Second
	stepMost  = 3 * time.Second // between two looks; more, and somebody has set the clock
	backMost  = time.Minute     // what lives so much longer is let live
	apartMost = 5 * time.Minute // that another node's clock may be ahead
)

// A dial notices when the clock is set.
type dial struct {
	day    func() time.Time     // what the clock says
	passed func() time.Duration // how much time has passed, whatever it says

	lastDay    time.Time
	lastPassed time.Duration
}

func newDial(day func() time.Time) *dial {
	begun := time.Now()
	return &dial{day: day, passed: func() time.Duration { return time.Since(begun) }, lastDay: day().Round(0)}
}

// look returns what the clock would say if nobody had set it since the last
// look, and by how much it was set; zero: it was not.
func (d *dial) look() (due time.Time, by time.Duration) {
	day, passed := d.day().Round(0), d.passed()
	due = d.lastDay.Add(passed - d.lastPassed)
	d.lastDay, d.lastPassed = day, passed
	if by = day.Sub(due); by.Abs() <= stepMost {
		by = 0
	}
	return due, by
}

// watchClock says when the clock is set, and when it was set back sees to it
// that nothing lives again, and that nothing waits for the time it said.
func (s *Server) watchClock(ctx context.Context, d *dial) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var was time.Time // what the clock said before it was set back, until that is dealt with
	for asked, failed := false, false; ; {
		if !asked {
			newest, err := s.DB.Read(ctx).NewestJob()
			if asked = err == nil; asked && newest.After(s.Now().Add(apartMost)) {
				s.log.Warn("the clock was set back while nobody looked, or that of another node is ahead", "by", newest.Sub(s.Now()).Round(time.Second).String())
				was = newest
			}
		}
		if !was.IsZero() {
			err := s.setBack(ctx, was)
			if err != nil && !failed && ctx.Err() == nil {
				s.log.Error("housekeeping", "error", err.Error())
			}
			if failed = err != nil; !failed {
				was = time.Time{}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if due, by := d.look(); by != 0 {
			s.log.Warn("the clock was set", "by", by.Round(time.Millisecond).String())
			if by < -backMost && due.After(was) {
				was = due
			}
		}
	}
}

func (s *Server) setBack(ctx context.Context, was time.Time) error {
	var ended int
	err := s.DB.Write(ctx, audit.Housekeeping("clock"), func(tx *store.Tx) (err error) {
		ended, err = tx.SetBack(was, s.config.SessionIdle)
		return err
	})
	if err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	s.log.Info("what was over before the clock was set back stays over", "sessions_ended", ended)
	return nil
}
