package store_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/throttle"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// Behind some poolers nothing can be prepared, and nobody asks the server for
// the types of parameters: the driver is told what our values are.
func TestADatabaseThatPreparesNothing(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "describe_exec"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := storetest.New(t, storetest.Postgres)
			i := addOwner(t, w, "a@example.com")
			bind(t, w, i)
			c := w.Config
			u, err := url.Parse(c.URL)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			q.Set("default_query_exec_mode", mode)
			u.RawQuery = q.Encode()
			c.URL = u.String()
			db := storetest.Open(t, c)
			err = db.Write(ctx(), audit.OperatorActor("test"), func(tx *store.Tx) error {
				b, version, counted, err := tx.BudgetAmong(i.Account, i.ID, []string{"x:1", "x:2"}, tx.Now)
				device, deviceErr := tx.VirtualMFA(i.Account, i.ID)
				ok, _, countErr := tx.Count("x:1", 10, time.Hour)
				_, epochErr := tx.RaiseEpoch(i.ID, "")
				_, usersErr := tx.Users(i.Account, store.UserQuery{Search: "a", Limit: 5, Offset: 1, Now: tx.Now})
				if counted != 0 || !ok || device.ID == "" {
					t.Errorf("counted %d, %t; device %q", counted, ok, device.ID)
				}
				return errors.Join(err, deviceErr, countErr, epochErr, usersErr, tx.SaveBudget(i.Account, i.ID, b, version), tx.RefundBudget(i.Account, i.ID, throttle.Charge{}), tx.Uncount("x:1"),
					tx.AcceptStep(i.Account, i.ID, device.ID, 8, 1), tx.Record(audit.Event{Account: i.Account, Identity: i.ID, Name: audit.IdentityVerify, Details: map[string]string{"method": "virtual_mfa"}}))
			})
			if err != nil {
				t.Fatal(err)
			}
			if d, err := db.Read(ctx()).VirtualMFA(i.Account, i.ID); err != nil || d.LastStep != 8 {
				t.Errorf("the step is %d, %v", d.LastStep, err)
			}
		})
	}
}
