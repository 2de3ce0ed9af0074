package server

import (
	"testing"
	"time"
)

func TestTheDialNoticesThatTheClockIsSet(t *testing.T) {
	t.Parallel()
	day, passed := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), time.Duration(0)
	d := newDial(func() time.Time { return day })
	d.passed = func() time.Duration { return passed }
	for _, c := range []struct {
		day, passed, want time.Duration
	}{
		{time.Second, time.Second, 0},
		{time.Hour, time.Hour, 0},                // a machine that was busy
		{time.Second + stepMost, time.Second, 0}, // a clock that is slewed
		{5 * time.Hour, time.Second, 5*time.Hour - time.Second},
		{time.Second, time.Second, 0}, // once for each step
		{-5 * time.Hour, time.Second, -5*time.Hour - time.Second},
		{0, 4 * time.Second, -4 * time.Second},
		{time.Second, time.Second, 0},
	} {
		want := day.Add(c.passed)
		day, passed = day.Add(c.day), passed+c.passed
		if due, by := d.look(); by != c.want || !due.Equal(want) {
			t.Errorf("%s after %s: set by %s from %s, want %s from %s", c.day, c.passed, by, due, c.want, want)
		}
	}
}
