package signin_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/domain/session"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/testkit"
	"countersign/internal/trace"
)

// However many sessions are seen while one write is under way, the next one
// writes all of them down; whoever goes away is in it too.
func TestSessionsThatAreSeenTogetherAreWrittenDownTogether(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, w *testkit.World) {
		const people = 300 // more than one statement takes
		i := w.Owner("ann@example.com")
		var tokens []secret.Token
		var first session.Session
		for n := range people {
			s, token := w.Session(w.Visitor, i)
			if n == 0 {
				first = s.Session
			}
			tokens = append(tokens, token)
		}
		w.Clock.Advance(session.SeenEvery)

		held, release := make(chan struct{}), make(chan struct{})
		var running sync.WaitGroup
		running.Go(func() {
			err := w.Write(ctx(), w.Visitor.Actor().Quietly(), func(tx *store.Tx) error {
				err := tx.SeeSessions([]string{first.ID})
				close(held)
				<-release
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-held
		var writes atomic.Int64
		tracer := &trace.Tracer{Now: time.Now, Timed: func(name string, _ time.Duration, _ string) {
			if name == "store.write" {
				writes.Add(1)
			}
		}}
		see := func(ctx context.Context, token secret.Token, want error) {
			running.Go(func() {
				if _, err := w.SignIn.Signed(ctx, token); !errors.Is(err, want) {
					t.Errorf("signed in with %v, want %v", err, want)
				}
			})
		}
		gathered := func(n int) {
			for end := time.Now().Add(time.Minute); w.SignIn.Gathered() != n; time.Sleep(time.Millisecond) { // polled
				if time.Now().After(end) {
					t.Fatalf("%d gathered, want %d", w.SignIn.Gathered(), n)
				}
			}
		}
		see(tracer.Into(ctx()), tokens[0], nil)
		gathered(0)
		for _, token := range tokens[1 : people-1] {
			see(ctx(), token, nil)
		}
		gathered(people - 2)
		gone, leave := context.WithCancel(ctx())
		see(gone, tokens[people-1], context.Canceled)
		gathered(people - 1)
		leave()
		close(release)
		running.Wait()
		gathered(-1)
		if n := writes.Load(); n != 2 {
			t.Errorf("%d writes for one session and those that gathered", n)
		}
		list, err := w.Read(ctx()).Sessions(i.Account, i.ID)
		if err != nil || len(list) != people {
			t.Fatalf("%d sessions, %v", len(list), err)
		}
		for _, s := range list {
			if !s.LastSeenAt.Equal(w.Clock.Now()) {
				t.Errorf("%s was seen at %v", s.ID, s.LastSeenAt)
			}
		}

		w.Clock.Advance(session.SeenEvery - time.Second) // not yet again
		if _, err := w.SignIn.Signed(tracer.Into(ctx()), tokens[0]); err != nil || writes.Load() != 2 {
			t.Errorf("%v, %d writes", err, writes.Load())
		}
	})
}
