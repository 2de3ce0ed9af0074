package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// charge is a charge that counts one in a scope, and what its runs said of the
// disk.
func charge(w *storetest.World, also func(tx *store.Tx) error) (waits []bool, err error) {
	err = w.Charge(ctx(), audit.Housekeeping("test"), func(tx *store.Tx) error {
		disk, err := tx.WaitsForDisk()
		waits = append(waits, disk)
		_, _, counted := tx.Count("codes:192.0.2.0/24", 10, time.Hour)
		return errors.Join(err, counted, also(tx))
	})
	return waits, err
}

// What a try costs is there for everybody when it is charged, and the disk is
// waited for by the write that says what became of it.
func TestAChargeIsSeenAtOnceAndLeavesTheDiskToTheWriteAfterIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		waitsInAWrite := func() {
			t.Helper()
			mustWrite(t, w, func(tx *store.Tx) error {
				waits, err := tx.WaitsForDisk()
				if err == nil && !waits {
					t.Error("a write does not wait for the disk")
				}
				return err
			})
		}
		waitsInAWrite()
		for n := 1; n <= 3; n++ {
			waits, err := charge(w, func(*store.Tx) error { return nil })
			if err != nil || !slices.Equal(waits, []bool{false}) {
				t.Errorf("the runs of a charge waited for the disk: %v, %v", waits, err)
			}
			if counted, _, err := w.Read(ctx()).Counted("codes:192.0.2.0/24", w.Clock.Now()); counted != n || err != nil {
				t.Errorf("%d are counted after %d, %v", counted, n, err)
			}
		}
		waitsInAWrite()
		waitsInAWrite()
	})
}

// An event is not lost with the machine.
func TestAChargeWithAnEventIsAWrite(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "ann@example.com")
		waits, err := charge(w, func(tx *store.Tx) error {
			return tx.Record(audit.Event{Account: i.Account, Identity: i.ID, Name: audit.DeviceReplay})
		})
		if err != nil || !slices.Equal(waits, []bool{false, true}) {
			t.Errorf("its runs waited for the disk: %v, %v", waits, err)
		}
		if counted, _, err := w.Read(ctx()).Counted("codes:192.0.2.0/24", w.Clock.Now()); counted != 1 || err != nil {
			t.Errorf("%d are counted, %v", counted, err)
		}
		events, err := w.Read(ctx()).History(i.Account, i.ID, 0, 9)
		if err != nil || len(events) != 1 || events[0].Name != audit.DeviceReplay {
			t.Errorf("%v, %v", events, err)
		}
		refusal := errors.New("ours")
		if _, err := charge(w, func(*store.Tx) error { return refusal }); !errors.Is(err, refusal) {
			t.Errorf("a charge that failed says %v", err)
		}
	})
}

// Events of several accounts in one write lie in the chain of each, in the
// order in which they were recorded.
func TestEventsOfOneWriteFollowOneAnother(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, b := addOwner(t, w, "ann@example.com"), addOwner(t, w, "ben@example.com")
		names := []audit.Name{audit.DeviceReplay, audit.IdentityVerify, audit.PasswordModify}
		for range 2 {
			mustWrite(t, w, func(tx *store.Tx) (err error) {
				for n := range 15 {
					name := names[n%3]
					err = errors.Join(err, tx.Record(audit.Event{Account: b.Account, Identity: b.ID, Name: name}), tx.Record(audit.Event{Account: a.Account, Identity: a.ID, Name: name}))
				}
				return err
			})
		}
		for _, i := range []account.Identity{a, b} {
			list, err := w.Read(ctx()).History(i.Account, i.ID, 0, 99)
			if err != nil || len(list) != 30 {
				t.Fatalf("%s: %v, %v", i.Email, list, err)
			}
			for n, e := range list { // the newest first
				if want := names[2-n%3]; e.Name != want || e.Seq != int64(30-n) {
					t.Errorf("%s: %d is %s, want %d %s", i.Email, e.Seq, e.Name, 30-n, want)
				}
			}
		}
		chains := 0
		err := w.Read(ctx()).VerifyChains(func(h store.Head, broken error) error {
			if chains++; broken != nil || h.Seq != 30 {
				t.Errorf("%s ends at %d, %v", h.Account, h.Seq, broken)
			}
			return nil
		})
		if err != nil || chains != 2 {
			t.Errorf("%d chains, %v", chains, err)
		}
	})
}
