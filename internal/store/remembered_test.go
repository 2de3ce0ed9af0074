package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/session"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// remembered has a browser of the user remembered, under the hashes "series
// of ID" and "secret of ID".
func remembered(t *testing.T, w *storetest.World, i account.Identity, id, in string) session.RememberedDevice {
	t.Helper()
	d := session.RememberedDevice{ID: id, Account: i.Account, Identity: i.ID, Epoch: 1, Session: in, ExpiresAt: w.Clock.Now().Add(session.RememberedLifetime), Address: "2001:db8::1", UserAgent: "Браузер"}
	mustWrite(t, w, func(tx *store.Tx) error {
		if _, err := tx.Facts(i, nil); err != nil {
			return err
		}
		return tx.RememberDevice(d, []byte("series of "+id), []byte("secret of "+id))
	})
	d.CreatedAt, d.LastUsedAt = w.Clock.Now(), w.Clock.Now()
	return d
}

// resting is a session that rests on a remembered device; on none where id is empty.
func resting(t *testing.T, w *storetest.World, i account.Identity, id, on string) {
	t.Helper()
	now := w.Clock.Now()
	s := session.Session{ID: id, Account: i.Account, Identity: i.ID, Epoch: 1, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(240 * time.Hour), Remembered: on}
	mustWrite(t, w, func(tx *store.Tx) error { return tx.AddSession(s, []byte("hash of "+id)) })
}

// deviceIDs are the devices that are remembered of the user.
func deviceIDs(t *testing.T, w *storetest.World, i account.Identity) (list []string) {
	t.Helper()
	all, err := w.Read(ctx()).RememberedDevices(i.Account, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		list = append(list, d.ID)
	}
	slices.Sort(list)
	return list
}

func TestARememberedDeviceIsFoundByItsSeriesAndUsedOnceBySecret(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addUser(t, w, addOwner(t, w, "ann@example.com"), "uma")
		want := remembered(t, w, i, "d", "s")
		find := func(series string) (d session.RememberedDevice, secret []byte, err error) {
			mustWrite(t, w, func(tx *store.Tx) error {
				d, secret, err = tx.RememberedDevice([]byte(series))
				return nil
			})
			return d, secret, err
		}
		if got, secret, err := find("series of d"); err != nil || got != want || string(secret) != "secret of d" {
			t.Errorf("found %+v, %q, %v; want %+v", got, secret, err, want)
		}
		if _, _, err := find("secret of d"); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("by its secret: %v", err)
		}
		// Twenty at once show the same secret, having read it: one is first, and the others read again.
		w.Clock.Advance(time.Hour)
		lost := errors.New("another was first")
		errs := storetest.Parallel(20, func(n int) error {
			return write(w, func(tx *store.Tx) error {
				d, secret, err := tx.RememberedDevice([]byte("series of d"))
				if err != nil {
					return err
				}
				if string(secret) != "secret of d" {
					return lost
				}
				d.Session, d.Address, d.UserAgent = "next", "192.0.2.1", "Other"
				return tx.UseRemembered(d, secret, []byte{byte(n)})
			})
		})
		if n := wins(t, errs, lost); n != 1 {
			t.Errorf("%d used it", n)
		}
		got, _, err := find("series of d")
		want.Session, want.Address, want.UserAgent, want.LastUsedAt = "next", "192.0.2.1", "Other", w.Clock.Now()
		if err != nil || got != want {
			t.Errorf("after its use %+v, %v; want %+v", got, err, want)
		}
		// To the microsecond.
		w.Clock.Advance(session.RememberedLifetime - time.Hour - time.Microsecond)
		if got := deviceIDs(t, w, i); len(got) != 1 {
			t.Errorf("a moment before its end: %v", got)
		}
		w.Clock.Advance(time.Microsecond)
		if got := deviceIDs(t, w, i); len(got) != 0 {
			t.Errorf("at its end: %v", got)
		}
		mustWrite(t, w, func(tx *store.Tx) error { tx.Now = tx.Now.Add(time.Second); return expired(tx) })
		if _, _, err := find("series of d"); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("expired: %v", err)
		}
	})
}

func TestWhatRestsOnARememberedDeviceGoesWithIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "ann@example.com")
		for name, one := range map[string]struct {
			forget  func(tx *store.Tx, i account.Identity, id func(string) string) error
			devices []string
			live    []string
		}{
			"one": {func(tx *store.Tx, i account.Identity, id func(string) string) error {
				return tx.ForgetRemembered(i.ID, id("a"), errFirst)
			}, []string{"b"}, []string{"at a", "on b", "alone"}},
			"one of somebody else": {func(tx *store.Tx, _ account.Identity, id func(string) string) error {
				if err := tx.ForgetRemembered(owner.ID, id("a"), errFirst); !errors.Is(err, errFirst) {
					return errors.New("it is gone")
				}
				return nil
			}, []string{"a", "b"}, []string{"at a", "on a", "on b", "alone"}},
			"all": {func(tx *store.Tx, i account.Identity, _ func(string) string) error {
				n, err := tx.ForgetAllRemembered(i.ID)
				if n != 2 {
					t.Errorf("%d", n)
				}
				return err
			}, nil, []string{"at a", "alone"}},
			"all but that of a session which rests on it": {func(tx *store.Tx, i account.Identity, id func(string) string) error {
				_, err := tx.ForgetOtherRemembered(session.Session{ID: id("on b"), Identity: i.ID, Remembered: id("b")})
				return err
			}, []string{"b"}, []string{"at a", "on b", "alone"}},
			"all but that of a session in its browser": {func(tx *store.Tx, i account.Identity, id func(string) string) error {
				_, err := tx.ForgetOtherRemembered(session.Session{ID: id("at a"), Identity: i.ID})
				return err
			}, []string{"a"}, []string{"at a", "on a", "alone"}},
			"that of a session": {func(tx *store.Tx, i account.Identity, id func(string) string) error {
				got, err := tx.ForgetRememberedOf(i.ID, id("at a"))
				if got != id("a") {
					t.Errorf("forgot %q", got)
				}
				return err
			}, []string{"b"}, []string{"at a", "on b", "alone"}},
			"that of a session which rests on it": {func(tx *store.Tx, i account.Identity, id func(string) string) error {
				_, err := tx.ForgetRememberedOf(i.ID, id("on b"))
				return err
			}, []string{"a"}, []string{"at a", "on a", "on b", "alone"}},
			"that of a session which has none": {func(tx *store.Tx, i account.Identity, id func(string) string) error {
				got, err := tx.ForgetRememberedOf(i.ID, id("alone"))
				if got != "" {
					t.Errorf("forgot %q", got)
				}
				return err
			}, []string{"a", "b"}, []string{"at a", "on a", "on b", "alone"}},
			"an epoch": {func(tx *store.Tx, i account.Identity, id func(string) string) error {
				_, err := tx.RaiseEpoch(i.ID, id("on b"))
				return err
			}, nil, []string{"on b"}},
			"an account": {func(tx *store.Tx, i account.Identity, _ func(string) string) error {
				n, err := tx.ForgetRememberedIn(i.Account)
				if n < 2 {
					t.Errorf("%d", n)
				}
				return err
			}, nil, []string{"at a", "on a", "on b", "alone"}}, // they are checked anew
			"a user": {func(tx *store.Tx, i account.Identity, _ func(string) string) error {
				return tx.DeleteUser(i.Account, i.ID)
			}, nil, nil},
		} {
			// The account of the owner, but where everybody in it is concerned.
			of := owner
			if name == "an account" {
				of = addOwner(t, w, "bob@example.com")
			}
			i, id := addUser(t, w, of, "user-"+name[len(name)-1:]+string(rune('a'+len(name)))), func(s string) string { return s + " of " + name }
			bystander := addUser(t, w, owner, "by-"+name[len(name)-1:]+string(rune('a'+len(name))))
			remembered(t, w, bystander, id("other's"), "")
			resting(t, w, bystander, id("other's session"), id("other's"))
			remembered(t, w, i, id("a"), id("at a"))
			remembered(t, w, i, id("b"), id("on b"))
			resting(t, w, i, id("at a"), "")
			resting(t, w, i, id("on a"), id("a"))
			resting(t, w, i, id("on b"), id("b"))
			resting(t, w, i, id("alone"), "")
			for _, s := range []string{"at a", "on a", "on b", "alone"} { // they are in the cache
				if !live(w.Read(ctx()), id(s)) {
					t.Fatalf("%s: no session %s", name, s)
				}
			}
			mustWrite(t, w, func(tx *store.Tx) error { return one.forget(tx, i, id) })
			var want []string
			for _, d := range one.devices {
				want = append(want, id(d))
			}
			if got := deviceIDs(t, w, i); !slices.Equal(got, want) {
				t.Errorf("%s: devices %q, want %q", name, got, want)
			}
			var rows int
			if err := w.Raw(t).QueryRow("SELECT count(*) FROM remembered_device WHERE identity_id = $1", string(i.ID)).Scan(&rows); err != nil || rows != len(want) {
				t.Errorf("%s: %d rows, %v", name, rows, err)
			}
			for _, s := range []string{"at a", "on a", "on b", "alone"} {
				if got := live(w.Read(ctx()), id(s)); got != slices.Contains(one.live, s) {
					t.Errorf("%s: session %q lives: %v", name, s, got)
				}
			}
			if len(deviceIDs(t, w, bystander)) != 1 || !live(w.Read(ctx()), id("other's session")) {
				t.Errorf("%s: of somebody else too", name)
			}
		}
	})
}

func TestASessionRestsOnADeviceWhileThatIsRemembered(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "ann@example.com")
		i, other := addUser(t, w, owner, "uma"), addUser(t, w, owner, "bo")
		remembered(t, w, i, "d", "")
		rests := func(s session.Session) bool {
			got, err := w.Read(ctx()).Rests(s)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		good := session.Session{Identity: i.ID, Epoch: 1, Remembered: "d"}
		for what, s := range map[string]session.Session{
			"none": {Identity: i.ID, Epoch: 1}, "an unknown one": {Identity: i.ID, Epoch: 1, Remembered: "e"}, "of somebody else": {Identity: other.ID, Epoch: 1, Remembered: "d"}, "from before a change": {Identity: i.ID, Epoch: 2, Remembered: "d"},
		} {
			if rests(s) {
				t.Errorf("it rests on %s", what)
			}
		}
		if !rests(good) {
			t.Error("it rests on nothing")
		}
		w.Clock.Advance(session.RememberedLifetime)
		if rests(good) {
			t.Error("it rests on one that is over")
		}
	})
}

// Settings that are saved while a sign-in is under way were not asked: the
// write is tried again, and finds them.
func TestNoDeviceIsRememberedBySettingsThatAreNoMore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addUser(t, w, addOwner(t, w, "ann@example.com"), "uma")
		settle := func(on bool) error {
			return write(w, func(tx *store.Tx) error {
				s := account.DefaultSettings()
				s.Remember = on
				if err := tx.SetSettings(i.Account, s); err != nil || on {
					return err
				}
				_, err := tx.ForgetRememberedIn(i.Account)
				return err
			})
		}
		off := errors.New("it is switched off")
		for round := range 15 {
			if err := settle(true); err != nil {
				t.Fatal(err)
			}
			errs := storetest.Parallel(4, func(n int) error {
				if n == 0 {
					return settle(false)
				}
				id, err := w.NewID()
				if err != nil {
					return err
				}
				return write(w, func(tx *store.Tx) error {
					f, err := tx.Facts(i, nil)
					if err != nil {
						return err
					}
					if !f.Settings.Remember {
						return off
					}
					return tx.RememberDevice(session.RememberedDevice{ID: id, Account: i.Account, Identity: i.ID, Epoch: 1, ExpiresAt: tx.Now.Add(time.Hour)}, []byte("s"+id), []byte("t"+id))
				})
			})
			wins(t, errs, off)
			if got := deviceIDs(t, w, i); len(got) != 0 {
				t.Fatalf("round %d: %v", round, got)
			}
		}
	})
}
