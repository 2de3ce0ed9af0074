package store_test

import (
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func TestSmoke(t *testing.T) {
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		err := w.Write(t.Context(), audit.OperatorActor("test"), func(tx *store.Tx) error {
			if err := tx.AddAccount(account.Account{ID: "1", Alias: "1", CreatedAt: tx.Now}); err != nil {
				return err
			}
			if ok, _, err := tx.Count("x", 1, 1e9); !ok || err != nil {
				t.Error(ok, err)
			}
			if ok, wait, err := tx.Count("x", 1, 1e9); ok || wait != 1e9 || err != nil {
				t.Error(ok, wait, err)
			}
			n, err := tx.CountedLike("x", tx.Now)
			if n != 1 || err != nil {
				t.Error(n, err)
			}
			return tx.Record(audit.Event{Account: "1", Name: audit.AccountReg, Identity: "i"})
		})
		if err != nil {
			t.Fatal(err)
		}
		h, err := w.Read(t.Context()).History("1", "i", 0, 10, audit.AccountReg, audit.ConsoleSignin)
		if len(h) != 1 || err != nil {
			t.Fatal(h, err)
		}
		if err := w.Read(t.Context()).VerifyChains(func(_ store.Head, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	})
}
