package store_test

import (
	"fmt"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// idle reports what is held of the database: nothing may be while somebody
// takes their time with what was read.
func idle(t *testing.T, w *storetest.World, what string) {
	t.Helper()
	for name, p := range w.Engine().Pools() {
		if most := map[bool]int{true: 1}[name == "write" && !w.Engine().Postgres()]; p.Busy > most { // SQLite's one writer has its own
			t.Fatalf("%s: %d connections are held (%s)", what, p.Busy, name)
		}
	}
}

// More than is read at once, of all that is read to its end.
func TestLongReadsHoldNothingAndMissNobody(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		const events, users = 2300, 450
		owner := addOwner(t, w, "a@example.com")
		mustWrite(t, w, func(tx *store.Tx) error {
			for n := range users {
				if err := tx.AddUser(user(w, owner, fmt.Sprintf("u%04d", n))); err != nil {
					return err
				}
			}
			return nil
		})
		actor := audit.OperatorActor("test")
		if err := w.Write(ctx(), actor, func(tx *store.Tx) error {
			for n := range events {
				e := audit.Event{Account: "1", Name: audit.ConsoleSignin}
				if n%700 == 699 {
					e.Refused = "x"
				}
				if err := tx.Record(e); err != nil {
					return err
				}
			}
			return tx.Record(audit.Event{Account: owner.Account, Name: audit.AccountReg})
		}); err != nil {
			t.Fatal(err)
		}
		r := w.Read(ctx())
		for _, c := range []struct {
			q    store.AuditQuery
			each int64
		}{{store.AuditQuery{}, 1}, {store.AuditQuery{Result: "refused"}, 700}} {
			next := c.each
			err := r.EachEvent("1", c.q, events, func(e audit.Entry) error {
				idle(t, w, "events")
				if e.Seq != next {
					t.Fatalf("event %d, want %d", e.Seq, next)
				}
				next += c.each
				return nil
			})
			if err != nil || next <= events {
				t.Errorf("%+v: the next one is %d, %v", c.q, next, err)
			}
		}
		heads := map[account.ID]int64{}
		err := r.VerifyChains(func(h store.Head, err error) error {
			idle(t, w, "chains")
			heads[h.Account] = h.Seq
			return err
		})
		if err != nil || heads["1"] != events || len(heads) != 2 {
			t.Errorf("the chains: %v, %v", heads, err)
		}
		for name, each := range map[string]func(f func(store.User) error) error{
			"users": func(f func(store.User) error) error { return r.EachUser(owner.Account, store.UserQuery{}, f) },
			"facts": func(f func(store.User) error) error {
				return r.EachUserFacts(owner.Account, w.Clock.Now(), func(u store.User, _ policy.Facts) error { return f(u) })
			},
		} {
			n := 0
			err := each(func(u store.User) error {
				idle(t, w, name)
				if want := fmt.Sprintf("u%04d", n); u.UserName != want {
					t.Fatalf("%s: %s, want %s", name, u.UserName, want)
				}
				n++
				return nil
			})
			if err != nil || n != users {
				t.Errorf("%d %s, %v", n, name, err)
			}
		}
		// Whoever is gone by then is left out, and nobody is there twice.
		var seen []string
		err = r.EachUser(owner.Account, store.UserQuery{Sort: "last_signin", Descending: true}, func(u store.User) error {
			if seen = append(seen, u.UserName); len(seen) == 1 {
				return w.Write(ctx(), actor, func(tx *store.Tx) error {
					late, err := tx.Users(owner.Account, store.UserQuery{Sort: "last_signin", Descending: true, Offset: users - 2, Limit: 2})
					if err == nil {
						err = tx.DeleteUser(owner.Account, late[0].ID)
					}
					if err == nil {
						err = tx.SignedIn(late[1].ID) // comes first from now on
					}
					if err == nil {
						err = tx.Record(audit.Event{Account: owner.Account, Name: audit.UserDelete})
					}
					return err
				})
			}
			return nil
		})
		names := map[string]bool{}
		for _, name := range seen {
			names[name] = true
		}
		if err != nil || len(seen) != users-1 || len(names) != users-1 {
			t.Errorf("%d users, %d names, %v", len(seen), len(names), err)
		}
		if _, err := w.Raw(t).Exec("UPDATE audit_event SET refused = 'y' WHERE account_id = '1' AND seq = 2201"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.VerifyChain("1"); !audit.IsBroken(err) {
			t.Errorf("an event of the third page was changed: %v", err)
		}
	})
}
