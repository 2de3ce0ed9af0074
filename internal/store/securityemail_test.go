package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

var quiet = audit.Housekeeping("test")

func TestASecurityEmailIsBoundOnceAndReplacedByItsID(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u, other := addUser(t, w, owner, "ada"), addOwner(t, w, "b@example.com")
		if _, err := w.Read(ctx()).SecurityEmail(u.Account, u.ID); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("none: %v", err)
		}
		now := w.Clock.Now()
		bind := func(a account.ID, old string, e store.SecurityEmail) error {
			return w.Write(ctx(), quiet, func(tx *store.Tx) error { return tx.BindSecurityEmail(a, u.ID, old, e, errFirst) })
		}
		first := store.SecurityEmail{ID: "1", Address: "Ada@Example.net", BoundFrom: "192.0.2.1"}
		if err := bind(u.Account, "", first); err != nil {
			t.Fatal(err)
		}
		if err := bind(u.Account, "", store.SecurityEmail{ID: "2", Address: "b@example.net"}); !errors.Is(err, errFirst) {
			t.Errorf("a second one: %v", err)
		}
		if err := bind(u.Account, "0", store.SecurityEmail{ID: "2", Address: "b@example.net"}); !errors.Is(err, errFirst) {
			t.Errorf("in place of one that is not there: %v", err)
		}
		if err := bind(other.Account, "1", store.SecurityEmail{ID: "2", Address: "b@example.net"}); !errors.Is(err, errFirst) {
			t.Errorf("in another account: %v", err)
		}
		first.BoundAt = now
		if got, err := w.Read(ctx()).SecurityEmail(u.Account, u.ID); err != nil || got != first {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := w.Read(ctx()).SecurityEmail(other.Account, u.ID); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("read in another account: %v", err)
		}
		w.Clock.Advance(time.Minute)
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.UseSecurityEmail(other.Account, u.ID), tx.UseSecurityEmail(u.Account, u.ID))
		})
		first.LastUsedAt = now.Add(time.Minute)
		if got, err := w.Read(ctx()).SecurityEmail(u.Account, u.ID); err != nil || got != first {
			t.Errorf("used: %+v, %v", got, err)
		}
		second := store.SecurityEmail{ID: "2", Address: "b@example.net", BoundFrom: "192.0.2.2", BoundAt: now.Add(time.Minute)}
		if err := bind(u.Account, "1", second); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Read(ctx()).SecurityEmail(u.Account, u.ID); err != nil || got != second {
			t.Errorf("replaced: %+v, %v", got, err)
		}
		remove := func(a account.ID, id string) error {
			return w.Write(ctx(), quiet, func(tx *store.Tx) error { return tx.RemoveSecurityEmail(a, u.ID, id, errFirst) })
		}
		if err := errors.Join(remove(u.Account, "1"), remove(other.Account, "2")); !errors.Is(err, errFirst) {
			t.Errorf("the old one, or in another account: %v", err)
		}
		if err := remove(u.Account, "2"); err != nil {
			t.Error(err)
		}
	})
}

func TestAnAddressIsCountedOverAllAccountsHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		for n, address := range []string{"ada@example.net", "Ada@Example.NET", "ADA@EXAMPLE.net", "eve@example.net"} {
			u := addUser(t, w, addOwner(t, w, fmt.Sprintf("o%d@example.com", n)), "ada")
			mustWrite(t, w, func(tx *store.Tx) error {
				return tx.BindSecurityEmail(u.Account, u.ID, "", store.SecurityEmail{ID: fmt.Sprint(n), Address: address}, errFirst)
			})
		}
		if n, err := w.Read(ctx()).SecurityEmailIdentities("aDa@example.net"); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := w.Read(ctx()).SecurityEmailIdentities("nobody@example.net"); n != 0 || err != nil {
			t.Errorf("of nobody: %d, %v", n, err)
		}
	})
}

func TestANewerActivationVoidsTheOneBefore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u := addUser(t, w, owner, "ada")
		now := w.Clock.Now()
		a := store.Activation{Account: u.Account, Identity: u.ID, ID: "1", Number: "+8613800138000", Hash: []byte("first"), By: "o@example.com", CreatedAt: now, ExpiresAt: now.Add(day)}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetActivation(a) })
		b := a
		b.ID, b.Hash, b.Number = "2", []byte("second"), "+8613800138001"
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetActivation(b) })
		if _, err := w.Read(ctx()).ActivationByToken(a.Hash); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("the first link: %v", err)
		}
		b.Hash = nil // never read
		for name, read := range map[string]func() (store.Activation, error){
			"by its link":     func() (store.Activation, error) { return w.Read(ctx()).ActivationByToken([]byte("second")) },
			"by the identity": func() (store.Activation, error) { return w.Read(ctx()).Activation(u.Account, u.ID) },
			"within a write": func() (got store.Activation, err error) {
				mustWrite(t, w, func(tx *store.Tx) error { got, err = tx.Activation(u.Account, u.ID); return err })
				return got, err
			},
			"after six days": func() (store.Activation, error) {
				w.Clock.Advance(6 * day)
				mustWrite(t, w, expired)
				return w.Read(ctx()).ActivationByToken([]byte("second"))
			},
		} {
			got, err := read()
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", b) || err != nil {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if err := w.Write(ctx(), quiet, func(tx *store.Tx) error { return tx.EndActivation(u.Account, u.ID, "1", errFirst) }); !errors.Is(err, errFirst) {
			t.Errorf("ended by the id of the first: %v", err)
		}
		w.Clock.Advance(3 * day)
		mustWrite(t, w, expired)
		if _, err := w.Read(ctx()).Activation(u.Account, u.ID); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("more than a week after it expired: %v", err)
		}
	})
}
