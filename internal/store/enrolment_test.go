package store_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/session"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func TestATicketWorksWhileItIsOpen(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u, v := addUser(t, w, owner, "ada"), addUser(t, w, owner, "bob")
		now := w.Clock.Now()
		ticket := store.Enrolment{Kind: store.Reenrol, TicketHash: []byte("ticket"), CreatedAt: now, OpensAt: now, ExpiresAt: now.Add(day)}
		recovery := store.Enrolment{Kind: store.Recover, TicketHash: []byte("recovery"), CancelHash: []byte("cancel"), CreatedAt: now, OpensAt: now.Add(time.Hour), ExpiresAt: now.Add(2 * time.Hour)}
		set := func(i account.Identity, e store.Enrolment) {
			mustWrite(t, w, func(tx *store.Tx) error { return tx.SetEnrolment(i.Account, i.ID, e) })
		}
		old := ticket
		old.TicketHash = []byte("old")
		set(u, old)
		set(u, ticket)
		set(u, recovery)
		set(v, old)
		r := w.Read(ctx())
		if list, err := r.Enrolments(u.Account, u.ID); err != nil || !reflect.DeepEqual(list, []store.Enrolment{recovery, ticket}) {
			t.Errorf("got %+v, %v", list, err)
		}
		for _, c := range []struct {
			hash string
			at   time.Duration
			open bool
		}{
			{"old", 0, false}, {"ticket", 0, true}, {"ticket", day - 1, true}, {"ticket", day, false}, {"ticket", -time.Second, false}, {"", 0, false},
			{"recovery", 0, false}, {"recovery", time.Hour, true}, {"recovery", 2 * time.Hour, false}, {"cancel", time.Hour, false},
		} {
			if open, err := r.TicketOpen(u.Account, u.ID, []byte(c.hash), now.Add(c.at)); open != c.open || err != nil {
				t.Errorf("%s after %s: %v, %v", c.hash, c.at, open, err)
			}
		}
		if i, e, err := r.EnrolmentByCancel([]byte("cancel")); err != nil || i != u.ID || !reflect.DeepEqual(e, recovery) {
			t.Errorf("by its link: %s %+v, %v", i, e, err)
		}
		for _, none := range [][]byte{nil, {}, []byte("ticket")} {
			if i, _, err := r.EnrolmentByCancel(none); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("by %q: %s, %v", none, i, err)
			}
		}
		end := func(k store.EnrolmentKind, gone error) error {
			return write(w, func(tx *store.Tx) error { return tx.EndEnrolment(u.Account, u.ID, k, gone) })
		}
		if n := wins(t, storetest.Parallel(8, func(int) error { return end(store.Reenrol, errFirst) }), errFirst); n != 1 {
			t.Errorf("ended %d times", n)
		}
		if err := end(store.Reenrol, nil); err != nil {
			t.Errorf("none to end: %v", err)
		}
		w.Clock.Advance(7*day + 2*time.Hour)
		mustWrite(t, w, expired)
		if list, _ := r.Enrolments(u.Account, u.ID); len(list) != 1 {
			t.Errorf("gone before its time: %+v", list)
		}
		w.Clock.Advance(time.Second)
		mustWrite(t, w, expired)
		if list, _ := r.Enrolments(u.Account, u.ID); len(list) != 0 {
			t.Errorf("left: %+v", list)
		}
		if list, _ := r.Enrolments(v.Account, v.ID); len(list) != 1 { // a ticket runs out, the need of one does not
			t.Errorf("re-enrolment: %+v", list)
		}
	})
}

func TestKnownBrowsersAndNetworks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u, v := addUser(t, w, owner, "ada"), addUser(t, w, owner, "bob")
		know := func(i account.Identity, id string) {
			mustWrite(t, w, func(tx *store.Tx) error {
				return tx.AddKnownDevice(session.KnownDevice{Account: i.Account, Identity: i.ID, ID: id}, []byte(id))
			})
		}
		start := w.Clock.Now()
		know(u, "old")
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SeeNetwork(u.Account, u.ID, "192.0.2.0/24") })
		w.Clock.Advance(day)
		know(u, "new")
		know(v, "other")
		mustWrite(t, w, func(tx *store.Tx) error { _, err := tx.ChargeKnownDevice("new"); return err })
		r := w.Read(ctx())
		list, err := r.KnownDevices(u.Account, u.ID)
		want := []session.KnownDevice{
			{ID: "new", Account: u.Account, Identity: u.ID, Fails: 1, CreatedAt: start.Add(day), LastUsedAt: start.Add(day)},
			{ID: "old", Account: u.Account, Identity: u.ID, CreatedAt: start, LastUsedAt: start},
		}
		if err != nil || !reflect.DeepEqual(list, want) {
			t.Errorf("got %+v, %v", list, err)
		}
		seen := func(i account.Identity, network string, since time.Time) bool {
			s, _, err := r.Seen(i.Account, i.ID, network, since)
			if err != nil {
				t.Error(err)
			}
			return s
		}
		if !seen(u, "192.0.2.0/24", start) || seen(u, "192.0.2.0/24", start.Add(time.Microsecond)) || seen(u, "198.51.100.0/24", start) || seen(v, "192.0.2.0/24", start) {
			t.Error("the wrong networks were seen")
		}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SeeNetwork(u.Account, u.ID, "192.0.2.0/24") })
		if !seen(u, "192.0.2.0/24", start.Add(day)) {
			t.Error("not seen again")
		}
		var n int64
		mustWrite(t, w, func(tx *store.Tx) (err error) { n, err = tx.DropKnownDevices(u.ID); return err })
		if list, _ := r.KnownDevices(u.Account, u.ID); n != 2 || len(list) != 0 {
			t.Errorf("%d dropped, left %+v", n, list)
		}
		if list, _ := r.KnownDevices(v.Account, v.ID); len(list) != 1 {
			t.Errorf("another's: %+v", list)
		}
		expire := func() { mustWrite(t, w, expired) }
		w.Clock.Advance(90 * day)
		if expire(); !seen(u, "192.0.2.0/24", start) {
			t.Error("forgotten too early")
		}
		w.Clock.Advance(time.Second)
		if expire(); seen(u, "192.0.2.0/24", start) {
			t.Error("seen for ever")
		}
		w.Clock.Advance(90 * day)
		if list, _ := r.KnownDevices(v.Account, v.ID); len(list) != 0 {
			t.Errorf("listed after its time: %+v", list)
		}
	})
}

func TestAHeldWindow(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		hold := func() { mustWrite(t, w, func(tx *store.Tx) error { return tx.Hold("lock", time.Hour) }) }
		want := func(when string, n int, wait time.Duration) {
			t.Helper()
			if got, left, err := w.Read(ctx()).Counted("lock", w.Clock.Now()); got != n || left != wait || err != nil {
				t.Errorf("%s: %d for %s, %v", when, got, left, err)
			}
		}
		hold()
		want("one that was not there", 1, time.Hour)
		mustWrite(t, w, func(tx *store.Tx) error { return tx.ClearCount("lock") })
		want("a cleared one", 0, 0)
		for range 3 {
			mustWrite(t, w, func(tx *store.Tx) error { _, _, err := tx.Count("lock", 5, day); return err })
		}
		hold()
		want("one that ran", 3, time.Hour)
		w.Clock.Advance(30 * time.Minute)
		hold()
		want("one that is held", 3, time.Hour)
		w.Clock.Advance(time.Hour)
		want("one that ended", 0, 0)
		hold()
		want("one that had ended", 1, time.Hour)
		mustWrite(t, w, func(tx *store.Tx) error {
			_, _, err := tx.Count("other", 5, day)
			return errors.Join(err, tx.ClearCount("lock"))
		})
		if n, _, _ := w.Read(ctx()).Counted("other", w.Clock.Now()); n != 1 {
			t.Errorf("another was cleared")
		}
	})
}

func TestACeremonyMayOutliveARaisedEpoch(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u, v := addUser(t, w, owner, "ada"), addUser(t, w, owner, "bob")
		addSession(t, w, u, "s")
		for id, i := range map[string]account.Identity{"keep": u, "end": u, "other": v} {
			c := newCeremony(w, 5)
			c.ID, c.Account, c.Identity, c.Epoch, c.TokenHash = id, i.Account, i.ID, 1, []byte(id)
			mustWrite(t, w, func(tx *store.Tx) error { return tx.AddCeremony(c) })
		}
		kind := newCeremony(w, 5).Kind
		mustWrite(t, w, func(tx *store.Tx) error { _, err := tx.RaiseEpoch(u.ID, "keep"); return err })
		r := w.Read(ctx())
		for id, epoch := range map[string]int64{"keep": 2, "end": 0, "other": 1} {
			c, err := r.CeremonyByToken(kind, []byte(id))
			if epoch == 0 && !errors.Is(err, store.ErrNoRow) || epoch > 0 && (err != nil || c.Epoch != epoch) {
				t.Errorf("%s: epoch %d, %v", id, c.Epoch, err)
			}
		}
		if live(r, "s") {
			t.Error("a session lives on")
		}
	})
}
