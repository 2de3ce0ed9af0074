package store_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"countersign/internal/domain/ceremony"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// challenges counts those that are kept.
func challenges(t *testing.T, w *storetest.World) (n int) {
	t.Helper()
	if err := w.Raw(t).QueryRow("SELECT count(*) FROM passkey_challenge").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAChallengeIsUsedOnceAndWhereItWasGiven(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		c, other := newCeremony(w, 5), newCeremony(w, 5)
		expires := w.Clock.Now().Add(time.Minute)
		challenge := []byte("a challenge that nobody may read")
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.AddCeremony(c), tx.AddCeremony(other), tx.AddChallenge(c.ID, "get", challenge, expires), tx.AddChallenge(c.ID, "get", []byte("late"), expires))
		})
		use := func(id, purpose string, challenge []byte) error {
			return write(w, func(tx *store.Tx) error { return tx.UseChallenge(id, purpose, challenge, errFirst) })
		}
		for what, err := range map[string]error{
			"another ceremony":  use(other.ID, "get", challenge),
			"no ceremony":       use("", "get", challenge),
			"another purpose":   use(c.ID, "create", challenge),
			"another challenge": use(c.ID, "get", challenge[1:]),
			"none":              use(c.ID, "get", nil),
		} {
			if !errors.Is(err, errFirst) {
				t.Errorf("%s: %v", what, err)
			}
		}
		errs := storetest.Parallel(8, func(int) error { return use(c.ID, "get", challenge) })
		if n := wins(t, errs, errFirst); n != 1 {
			t.Errorf("used %d times", n)
		}
		w.Clock.Advance(time.Minute)
		if err := use(c.ID, "get", []byte("late")); !errors.Is(err, errFirst) {
			t.Errorf("an expired one: %v", err)
		}
		if err := write(w, func(tx *store.Tx) error { return tx.AddChallenge("nothing", "get", challenge, expires) }); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("for no ceremony: %v", err)
		}
		var hash []byte
		if err := w.Raw(t).QueryRow("SELECT hash FROM passkey_challenge").Scan(&hash); err != nil || len(hash) != 32 || bytes.Contains(hash, []byte("late")) {
			t.Errorf("kept as %q, %v", hash, err)
		}
	})
}

func TestChallengesDoNotPileUp(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		c, other := newCeremony(w, 5), newCeremony(w, 5)
		expires := w.Clock.Now().Add(time.Hour)
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.AddCeremony(c), tx.AddCeremony(other), tx.AddChallenge(c.ID, "create", []byte("mine"), expires), tx.AddChallenge(other.ID, "get", []byte("theirs"), expires))
		})
		const kept, all = 8, 11
		for n := range all { // at one moment
			mustWrite(t, w, func(tx *store.Tx) error { return tx.AddChallenge(c.ID, "get", []byte{byte(n)}, expires) })
		}
		use := func(id, purpose string, challenge []byte) error {
			return write(w, func(tx *store.Tx) error { return tx.UseChallenge(id, purpose, challenge, errFirst) })
		}
		for n := range all {
			if err := use(c.ID, "get", []byte{byte(n)}); (err == nil) != (n >= all-kept) {
				t.Errorf("number %d: %v", n, err)
			}
		}
		if err := errors.Join(use(c.ID, "create", []byte("mine")), use(other.ID, "get", []byte("theirs"))); err != nil {
			t.Errorf("others': %v", err)
		}
		for _, err := range storetest.Parallel(24, func(n int) error {
			return write(w, func(tx *store.Tx) error { return tx.AddChallenge(c.ID, "get", []byte{byte(n)}, expires) })
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		if n := challenges(t, w); n != kept {
			t.Errorf("%d kept", n)
		}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddChallenge(other.ID, "get", []byte("theirs"), expires) })
		mustWrite(t, w, func(tx *store.Tx) error { return tx.EndCeremony(c.ID, errFirst) })
		if n := challenges(t, w); n != 1 {
			t.Errorf("%d outlive their ceremony", n-1)
		}
	})
}

func TestOldChallengesExpire(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		c := newCeremony(w, 5)
		c.ExpiresAt = w.Clock.Now().Add(ceremony.SessionLifetime)
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.AddCeremony(c), tx.AddChallenge(c.ID, "get", []byte("short"), tx.Now.Add(time.Minute)), tx.AddChallenge(c.ID, "get", []byte("long"), tx.Now.Add(time.Hour)))
		})
		for _, s := range []struct {
			after time.Duration
			left  int
		}{{time.Minute, 2}, {time.Minute + time.Microsecond, 1}, {ceremony.SessionLifetime + time.Microsecond, 0}} {
			w.Clock.Advance(c.CreatedAt.Add(s.after).Sub(w.Clock.Now()))
			mustWrite(t, w, expired)
			if n := challenges(t, w); n != s.left {
				t.Errorf("after %s: %d left", s.after, n)
			}
		}
	})
}
