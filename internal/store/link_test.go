package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func TestALinkIsUsedOnceAndInTime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		add := func(kind store.LinkKind, token string) {
			mustWrite(t, w, func(tx *store.Tx) error {
				return tx.AddLink([]byte(token), store.Link{Kind: kind, Account: owner.Account, Identity: owner.ID, Epoch: 7, Event: "e", Address: "192.0.2.7", UserAgent: "Firefox", ExpiresAt: w.Clock.Now().Add(time.Hour)})
			})
		}
		use := func(kind store.LinkKind, token string) error {
			return write(w, func(tx *store.Tx) error { return tx.UseLink(kind, []byte(token), errFirst) })
		}
		add(store.ResetLink, "one")
		l, err := w.Read(ctx()).Link(store.ResetLink, []byte("one"))
		if err != nil || l.Identity != owner.ID || l.Epoch != 7 || l.Event != "e" || l.Address != "192.0.2.7" || l.UserAgent != "Firefox" || !l.UsedAt.IsZero() || !l.ExpiresAt.Equal(w.Clock.Now().Add(time.Hour)) {
			t.Errorf("%+v, %v", l, err)
		}
		for what, got := range map[string]error{"another kind": use(store.NotMeLink, "one"), "another token": use(store.ResetLink, "two")} {
			if !errors.Is(got, errFirst) {
				t.Errorf("%s: %v", what, got)
			}
		}
		if err := use(store.ResetLink, "one"); err != nil {
			t.Fatal(err)
		}
		if err := use(store.ResetLink, "one"); !errors.Is(err, errFirst) {
			t.Errorf("twice: %v", err)
		}
		add(store.ResetLink, "late")
		w.Clock.Advance(time.Hour)
		if err := use(store.ResetLink, "late"); !errors.Is(err, errFirst) {
			t.Errorf("after an hour: %v", err)
		}
		add(store.ResetLink, "void")
		add(store.NotMeLink, "kept")
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetPassword(owner.ID, "$1$", true) })
		if err := use(store.ResetLink, "void"); !errors.Is(err, errFirst) {
			t.Errorf("after a new password: %v", err)
		}
		if err := use(store.NotMeLink, "kept"); err != nil {
			t.Errorf("a new password has voided what it must not: %v", err)
		}
		w.Clock.Advance(48 * time.Hour)
		mustWrite(t, w, expired)
		if has, _ := store.HasRow(second(w.Read(ctx()).Link(store.NotMeLink, []byte("kept")))); has {
			t.Error("it is kept for ever")
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestDistrustEndsWithANewPasswordAndTheCheckByItself(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		now := func() account.Identity {
			i, err := w.Read(ctx()).Identity(owner.ID)
			if err != nil {
				t.Fatal(err)
			}
			f, err := w.Read(ctx()).Facts(owner, nil) // of before: facts are read anew
			if err != nil || f.Distrusted == i.DistrustedAt.IsZero() {
				t.Errorf("%v, %v, %v", f.Distrusted, i.DistrustedAt, err)
			}
			return i
		}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.Distrust(owner.ID) })
		if i := now(); !i.DistrustedAt.Equal(w.Clock.Now()) || !i.CheckDue.Equal(w.Clock.Now()) {
			t.Errorf("%+v", i)
		}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetPassword(owner.ID, "$1$", true) })
		if i := now(); !i.DistrustedAt.IsZero() || i.CheckDue.IsZero() {
			t.Errorf("%+v", i)
		}
		end := func() error { return write(w, func(tx *store.Tx) error { return tx.EndCheck(owner.ID, errFirst) }) }
		if err := end(); err != nil || !now().CheckDue.IsZero() {
			t.Error(err)
		}
		if err := end(); !errors.Is(err, errFirst) {
			t.Errorf("twice: %v", err)
		}
	})
}

func TestADigestCountsEverythingAndNamesSome(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		other := addOwner(t, w, "b@example.com")
		began := w.Clock.Now()
		due := began.Add(time.Hour)
		put := func(i account.Identity, address string) {
			mustWrite(t, w, func(tx *store.Tx) error { return tx.CountForDigest(i.Account, i.ID, "k", address, due) })
		}
		for n := range 30 {
			w.Clock.Advance(time.Second)
			put(owner, fmt.Sprintf("192.0.2.%d", n))
		}
		put(owner, "192.0.2.3")
		put(other, "192.0.2.3")
		if list, err := w.Read(ctx()).DueDigests(w.Clock.Now(), 9); err != nil || len(list) != 0 {
			t.Errorf("too early: %v, %v", list, err)
		}
		w.Clock.Advance(time.Hour)
		if list, err := w.Read(ctx()).DueDigests(w.Clock.Now(), 9); err != nil || len(list) != 2 {
			t.Errorf("%v, %v", list, err)
		}
		var d store.Digest
		take := func() {
			mustWrite(t, w, func(tx *store.Tx) (err error) { d, err = tx.TakeDigest(owner.Account, owner.ID, "k"); return err })
		}
		take()
		if d.Count != 31 || len(d.From) != 21 || d.From[20] != "" || !slices.Contains(d.From, "192.0.2.3") || !d.FirstAt.Equal(began.Add(time.Second)) || !d.LastAt.Equal(began.Add(30*time.Second)) {
			t.Errorf("%+v", d)
		}
		if take(); d.Count != 0 {
			t.Errorf("again: %+v", d)
		}
		if list, err := w.Read(ctx()).DueDigests(w.Clock.Now(), 9); err != nil || len(list) != 1 || list[0].Identity != other.ID {
			t.Errorf("%v, %v", list, err)
		}
	})
}
