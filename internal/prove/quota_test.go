package prove_test

import (
	"fmt"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestPeopleWhoBindAtOnceShareTheQuotaOfTheirAccount(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		const quota, people = 3, 12
		w.Prover.Quotas.MFADevices = quota
		owner := w.Owner(alice)
		var users []account.Identity
		for n := range people {
			users = append(users, w.User(owner, fmt.Sprintf("user%d", n), account.User))
		}
		bound := 0
		for _, err := range storetest.Parallel(people, func(n int) error {
			i := users[n]
			return w.DB.Write(ctx(), w.Visitor.As(i), func(tx *store.Tx) error {
				return w.Prover.AddVirtualMFA(tx, w.Visitor, i, factor.VirtualDevice{Seed: make([]byte, factor.SeedBytes)}, "app")
			})
		}) {
			if err == nil {
				bound++
				continue
			}
			testkit.Want(t, "one too many", err, prove.ErrQuotaDevices)
		}
		if bound != quota {
			t.Errorf("%d are bound of %d", bound, quota)
		}
	})
}
