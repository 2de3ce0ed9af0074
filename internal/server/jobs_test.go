package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/store/storetest"
)

// node is a server of a cluster, as far as jobs need it.
func node(w *storetest.World) *Server {
	return &Server{DB: w.DB, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func TestAJobRunsOnOneNodeOnceADay(t *testing.T) {
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		var ran atomic.Int32
		all := func() int {
			ran.Store(0)
			var running sync.WaitGroup
			for range 8 {
				s := node(w)
				running.Go(func() {
					for range 3 {
						if err := s.once(t.Context(), "job:test", 24*time.Hour, func(context.Context) error { ran.Add(1); return nil }); err != nil {
							t.Error(err)
						}
					}
				})
			}
			running.Wait()
			return int(ran.Load())
		}
		for _, c := range []struct {
			pass time.Duration
			want int
		}{{0, 1}, {24*time.Hour - time.Second, 0}, {time.Second, 1}, {time.Hour, 0}, {48 * time.Hour, 1}} {
			w.Clock.Advance(c.pass)
			if n := all(); n != c.want {
				t.Errorf("after %s more: ran %d times, want %d", c.pass, n, c.want)
			}
		}
	})
}

func TestAJobThatFailsRunsAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		s, broken, ran := node(w), errors.New("broken"), 0
		ctx, cancel := context.WithCancel(t.Context())
		err := s.once(ctx, "job:test", time.Hour, func(context.Context) error { cancel(); return broken })
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		for range 2 {
			if err := s.once(t.Context(), "job:test", time.Hour, func(context.Context) error { ran++; return nil }); err != nil {
				t.Error(err)
			}
		}
		if ran != 1 {
			t.Errorf("ran %d times after it failed, want 1", ran)
		}
	})
}
