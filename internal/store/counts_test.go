package store_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/trace"
)

func TestEventsAreToldOnceTheyAreCommitted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		var mu sync.Mutex
		var told []string
		c := w.Config
		c.Recorded = func(e audit.Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(e.Target, " ", e.Seq))
		}
		db := storetest.Open(t, c)
		record := func(target string, end error) error {
			return db.Write(ctx(), audit.OperatorActor("test"), func(tx *store.Tx) error {
				if err := tx.Record(audit.Event{Account: "a", Name: audit.KeyRotate, Target: target}); err != nil {
					return err
				}
				return end
			})
		}
		away := errors.New("taken back")
		if err := record("kept", nil); err != nil {
			t.Fatal(err)
		}
		if err := record("taken back", away); !errors.Is(err, away) {
			t.Fatal(err)
		}
		if err := record("after", nil); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told, []string{"kept 1", "after 2"}) {
			t.Errorf("told of %q", told)
		}
		// Writes that lose races are tried again, and told of once.
		if err := errors.Join(storetest.Parallel(6, func(n int) error { return record(fmt.Sprint("by ", n), nil) })...); err != nil {
			t.Fatal(err)
		}
		if slices.Sort(told); len(told) != 8 || len(slices.Compact(told)) != 8 {
			t.Errorf("told of %q", told)
		}
	})
}

func TestTheStoreCountsItself(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		for range 3 {
			_, _ = w.Read(ctx()).Session([]byte("of nobody"))
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			return tx.Record(audit.Event{Account: "a", Name: audit.KeyRotate})
		})
		if _, err := w.Read(ctx()).VerifyChain("a"); err != nil {
			t.Fatal(err)
		}
		s := w.Stats()
		if s.Misses != 3 || s.Hits != 0 || s.Hold != 1 || s.Broken != 0 || s.Unavailable != 0 {
			t.Errorf("%+v", s)
		}
		if p, ok := s.Pools["write"]; !ok || p.Most < 1 || p.Open < 1 || p.Busy > p.Open {
			t.Errorf("pools %+v", s.Pools)
		}
		if _, err := w.Raw(t).Exec("UPDATE audit_event SET refused = 'no' WHERE account_id = 'a'"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Read(ctx()).VerifyChain("a"); !audit.IsBroken(err) {
			t.Fatal(err)
		}
		if s := w.Stats(); s.Hold != 1 || s.Broken != 1 {
			t.Errorf("%+v", s)
		}
		_ = w.Close()
		if err := w.Ready(ctx()); err == nil {
			t.Fatal("a closed store is ready")
		}
		if s := w.Stats(); s.Unavailable == 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTheBacklogIsWhatWaitsAndWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		began := w.Clock.Now()
		queue(t, w, 4)
		w.Clock.Advance(time.Minute)
		queue(t, w, 1)
		for n, end := range []func(m message.Message) error{
			func(m message.Message) error { return w.MessageDead(ctx(), m.ID, "no such mailbox") },
			func(m message.Message) error { return w.MessageSent(ctx(), m.ID) },
		} {
			m, found, err := w.ClaimMessage(ctx(), time.Minute, message.Email)
			if err != nil || !found {
				t.Fatal(n, found, err)
			}
			if err := end(m); err != nil {
				t.Fatal(err)
			}
		}
		list, err := w.Read(ctx()).Backlog()
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		for _, b := range list {
			want := map[message.State]int{message.Queued: 3, message.Dead: 1}[b.State]
			if b.N != want || b.Channel != message.Email || !b.Oldest.Equal(began) {
				t.Errorf("%+v", b)
			}
		}
	})
}

// A lost race and a missing row are no failures of ours.
func TestSpansSayHowAWriteWent(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		var spans []trace.Span
		tracer := &trace.Tracer{Now: w.Clock.Now, Random: rand.Reader, Share: 1, Keep: func(s trace.Span) { spans = append(spans, s) }}
		for _, c := range []struct {
			err    error
			code   string
			failed bool
		}{{nil, "", false}, {store.ErrNoRow, "no_row", false}, {errors.New("about alice@example.com"), "store.unavailable", true}} {
			spans = nil
			in, root := tracer.Root(ctx(), "request", trace.Parent{})
			_ = w.Write(in, audit.Housekeeping("test"), func(*store.Tx) error { return c.err })
			root.End(nil)
			if len(spans) != 4 {
				t.Fatalf("%d spans", len(spans))
			}
			begin, transaction, write := spans[0], spans[1], spans[2]
			if begin.Parent != transaction.ID || transaction.Parent != write.ID || write.Parent != spans[3].ID || write.Name != "store.write" || transaction.Name != "store.transaction" || begin.Name != "store.begin" {
				t.Errorf("%+v", spans)
			}
			if write.Code != c.code || write.Failed != c.failed || transaction.Failed != c.failed {
				t.Errorf("%v: %q, %v", c.err, write.Code, write.Failed)
			}
		}
	})
}
