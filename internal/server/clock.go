package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
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
