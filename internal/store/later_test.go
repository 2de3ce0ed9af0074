package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
)

const (
	addWindow = "INSERT INTO throttle_window (scope, started_at, ends_at, counted) VALUES ($1, 0, $2, 1)"
	noWindow  = "UPDATE throttle_window SET counted = 7 WHERE scope = 'nobody'"
)

func windows(t *testing.T, w *storetest.World) int {
	t.Helper()
	all, err := w.Read(ctx()).Windows("x:", w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// What nobody waits for is done in its order, however much of it there is.
func TestWhatWaitsIsDoneBeforeWhatComesAfterIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		ends := w.Clock.Now().Add(time.Hour).UnixMicro()
		mustWrite(t, w, func(tx *store.Tx) error {
			for n := range 200 {
				if err := tx.Later(addWindow, fmt.Sprint("x:", n), ends); err != nil {
					return err
				}
				if n%50 != 7 {
					continue
				}
				if counted, _, err := tx.Counted(fmt.Sprint("x:", n), tx.Now); counted != 1 || err != nil {
					t.Errorf("%d: %d, %v", n, counted, err)
				}
			}
			return tx.Later("DELETE FROM throttle_window WHERE scope = 'x:199'")
		})
		if n := windows(t, w); n != 199 {
			t.Errorf("%d, want 199", n)
		}
	})
}

// What fails or is refused late undoes all of the write, and leaves a good
// connection behind.
func TestWhatIsRefusedLateUndoesTheWrite(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		refusal := errors.New("refused")
		ends := w.Clock.Now().Add(time.Hour).UnixMicro()
		another := func(tx *store.Tx) error { _, _, err := tx.Counted("x:0", tx.Now); return err }
		twice := func(tx *store.Tx) error { return tx.Later(addWindow, "x:1", ends) }
		for what, c := range map[string]struct {
			f    func(tx *store.Tx) error
			want error
		}{
			"refused by the next":   {func(tx *store.Tx) error { return errors.Join(tx.OneLater(refusal, noWindow), another(tx)) }, refusal},
			"refused at the COMMIT": {func(tx *store.Tx) error { return errors.Join(another(tx), tx.OneLater(refusal, noWindow)) }, refusal},
			"the first of two": {func(tx *store.Tx) error {
				return errors.Join(tx.OneLater(refusal, noWindow), tx.OneLater(errFirst, noWindow), another(tx))
			}, refusal},
			"failed at the next":   {func(tx *store.Tx) error { return errors.Join(twice(tx), twice(tx), another(tx)) }, store.ErrUnavailable},
			"failed at the COMMIT": {func(tx *store.Tx) error { return errors.Join(another(tx), twice(tx), twice(tx)) }, store.ErrUnavailable},
			"nothing before it":    {func(tx *store.Tx) error { return errors.Join(twice(tx), twice(tx)) }, store.ErrUnavailable},
		} {
			for range engine.DefaultConnections + 1 {
				err := write(w, func(tx *store.Tx) error {
					return errors.Join(tx.Later(addWindow, "x:0", ends), c.f(tx))
				})
				if !errors.Is(err, c.want) || errors.Is(err, engine.ErrUnknown) {
					t.Errorf("%s: %v, want %v", what, err, c.want)
				}
				if n := windows(t, w); n != 0 {
					t.Fatalf("%s: %d are left", what, n)
				}
			}
		}
		runs := 0
		err := write(w, func(tx *store.Tx) error {
			if runs++; runs < 3 {
				return tx.OneLater(store.ErrLost, noWindow)
			}
			return nil
		})
		if err != nil || runs != 3 {
			t.Errorf("a write that was not first: %v after %d runs", err, runs)
		}
	})
}

// Whoever overlooks that a write never began writes nothing.
func TestNothingIsWrittenOutsideATransaction(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	ends := w.Clock.Now().Add(time.Hour).UnixMicro()
	for what, f := range map[string]func(tx *store.Tx){
		"one":            func(tx *store.Tx) { _, _, _ = tx.Count("x:0", 1, time.Hour) },
		"one that waits": func(tx *store.Tx) { _ = tx.Later(addWindow, "x:0", ends) },
		"two that wait":  func(tx *store.Tx) { _, _ = tx.Later(addWindow, "x:0", ends), tx.Later(addWindow, "x:1", ends) },
	} {
		err := write(w, func(tx *store.Tx) error {
			_ = tx.Later("no SQL at all")
			_, _, _ = tx.Counted("x:0", tx.Now)
			f(tx)
			return nil
		})
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, engine.ErrUnknown) {
			t.Errorf("%s: %v", what, err)
		}
		if n := windows(t, w); n != 0 {
			t.Errorf("%s: %d are there", what, n)
		}
	}
}

// A database that says nothing to what waits until the COMMIT is unavailable.
func TestWhatWaitsDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, link := node(t, w)
	thaw := func() {}
	err := there.Write(ctx(), audit.Housekeeping("test"), func(tx *store.Tx) error {
		thaw = link.Freeze()
		return tx.Uncount("x:0")
	})
	thaw()
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// An event costs two ways to PostgreSQL and back, and so does what the write
// does before it, unless it asks.
func TestWaysToTheDatabase(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, link := node(t, w)
	i := addOwner(t, w, "a@example.com")
	event := audit.Event{Account: i.Account, Identity: i.ID, Name: audit.IdentityVerify}
	ways := func(f func(tx *store.Tx) error) (n int) {
		t.Helper()
		for range 3 { // by the last the statements are known
			before := link.Answers()
			if err := there.Write(ctx(), audit.Housekeeping("test"), f); err != nil {
				t.Fatal(err)
			}
			n = link.Answers() - before
		}
		return n
	}
	for what, c := range map[string]struct {
		f    func(tx *store.Tx) error
		want int
	}{
		"nothing":            {func(*store.Tx) error { return nil }, 0},
		"a read":             {func(tx *store.Tx) error { _, err := tx.Identity(i.ID); return err }, 2},
		"what nobody awaits": {func(tx *store.Tx) error { return errors.Join(tx.Uncount("a"), tx.Uncount("b"), tx.Uncount("c")) }, 2},
		"an event":           {func(tx *store.Tx) error { return tx.Record(event) }, 2},
		"all of them": {func(tx *store.Tx) error {
			_, err := tx.Identity(i.ID)
			return errors.Join(err, tx.Uncount("a"), tx.Record(event), tx.Record(event))
		}, 3},
	} {
		if got := ways(c.f); got != c.want {
			t.Errorf("%s: %d ways to the database, want %d", what, got, c.want)
		}
	}
}
