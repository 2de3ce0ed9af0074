package secret_test

import (
	"crypto/rand"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"countersign/internal/secret"
	"countersign/internal/trace"
)

// gated is randomness that is had when the gate opens.
type gated struct{ gate chan struct{} }

func (g gated) Read(b []byte) (int, error) {
	<-g.gate
	return rand.Read(b)
}

func TestTheQueueSaysHowLongItIs(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{}, 1)
	gate <- struct{}{} // for the decoy
	h := hasher(t, cheap, io.Reader(gated{gate}), 1, 1)
	var mu sync.Mutex
	var timed []string
	tracer := &trace.Tracer{Now: func() time.Time { return time.Unix(0, 0) }, Timed: func(name string, _ time.Duration, code string) {
		mu.Lock()
		defer mu.Unlock()
		timed = append(timed, name+" "+code)
	}}
	ctx := tracer.Into(t.Context())
	var both sync.WaitGroup
	is := func(running, waiting int) {
		t.Helper()
		for until := time.After(time.Minute); ; runtime.Gosched() {
			r, w, room := h.Load()
			if r == running && w == waiting && room == 1 {
				return
			}
			select {
			case <-until:
				t.Fatalf("%d running, %d waiting of %d; want %d and %d", r, w, room, running, waiting)
			default:
			}
		}
	}
	is(0, 0)
	for n := range 2 {
		both.Go(func() {
			if _, err := h.Hash(ctx, "password"); err != nil {
				t.Error(err)
			}
		})
		is(1, n)
	}
	if _, err := h.Hash(ctx, "password"); !errors.Is(err, secret.ErrBusy) {
		t.Errorf("the third: %v", err)
	}
	gate <- struct{}{}
	gate <- struct{}{}
	both.Wait()
	is(0, 0)
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(timed)
	if len(timed) != 5 || !slices.Equal(timed[:2], []string{"password.hash ", "password.hash "}) || !slices.Contains(timed, "password.wait password.busy") {
		t.Errorf("timed: %q", timed)
	}
}

func TestAPlaceInTheQueueServesForEveryHashOfItsContext(t *testing.T) {
	t.Parallel()
	h := hasher(t, cheap, rand.Reader, 1, 0)
	ctx, leave, err := h.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := h.Hash(ctx, "password"); err != nil {
			t.Errorf("with a place: %v", err)
		}
	}
	if _, err := h.Hash(t.Context(), "password"); !errors.Is(err, secret.ErrBusy) {
		t.Errorf("without one: %v", err)
	}
	if _, _, err := h.Queue(t.Context()); !errors.Is(err, secret.ErrBusy) {
		t.Errorf("a second place: %v", err)
	}
	other := hasher(t, cheap, rand.Reader, 1, 0)
	if _, elsewhere, err := other.Queue(ctx); err != nil {
		t.Error(err)
	} else {
		if _, err := other.Hash(ctx, "password"); !errors.Is(err, secret.ErrBusy) {
			t.Errorf("with a place at another hasher: %v", err)
		}
		elsewhere()
	}
	leave()
	if _, err := h.Hash(t.Context(), "password"); err != nil {
		t.Errorf("room again: %v", err)
	}
}
