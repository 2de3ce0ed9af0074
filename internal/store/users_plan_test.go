package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// crowd fills accounts with users of whom some have signed in, and some a profile or a phone.
func crowd(t *testing.T, w *storetest.World, sizes ...int) (owners []account.Identity) {
	t.Helper()
	start := w.Clock.Now()
	for a, size := range sizes {
		owner := addOwner(t, w, fmt.Sprintf("owner%d@example.com", a))
		owners = append(owners, owner)
		mustWrite(t, w, func(tx *store.Tx) error {
			for n := range size {
				u := user(w, owner, fmt.Sprintf("user%04d", (n*7919)%size))
				u.DisplayName, u.Comments = fmt.Sprintf("Somebody Number %d", n), strings.Repeat("about ", n%9)
				u.PasswordHash = strings.Repeat("$argon2id$v=19$", 6)
				u.CreatedAt = start.Add(-time.Duration(n%700) * day)
				if n%3 != 0 {
					u.LastSignInAt = u.CreatedAt.Add(time.Duration(n%(n%700+1)) * day)
				}
				if n%50 == 1 {
					u.Role = account.Administrator
				}
				if err := tx.AddUser(u); err != nil {
					return err
				}
				if n%4 != 0 {
					if err := tx.SetProfile(u.Account, u.ID, account.Profile{State: account.ProfileActive}); err != nil {
						return err
					}
				}
				if n%5 == 0 {
					if err := tx.AttachPhone(u.Account, u.ID, "", store.Phone{ID: "p" + string(u.ID), Number: "+8613800138000"}, errFirst); err != nil {
						return err
					}
				}
				if n%6 == 0 {
					if err := tx.AddPasskey(aPasskey(u, "k"+string(u.ID))); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return owners
}

func TestListsOfUsersReadNoOtherAccount(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := storetest.New(t, e)
			owners := crowd(t, w, 300, 5000, 400)
			w.Clock.Advance(8 * day)
			if _, err := w.Raw(t).Exec("ANALYZE"); err != nil {
				t.Fatal(err)
			}
			db := storetest.Open(t, w.Config) // which sees what was counted
			check := func(what string, f func(r *store.Reader) error) {
				t.Helper()
				r, plans := db.Explain(t)
				if err := f(r); err != nil && !errors.Is(err, context.Canceled) { // nobody waits for the answer
					t.Errorf("%s: %v", what, err)
				}
				if n := len(plans.Plans); n != 1 && (n != 2 || what != "idle") {
					t.Errorf("%s: %d queries", what, len(plans.Plans))
				}
				for _, p := range plans.Plans {
					if e == storetest.SQLite && (what == "a session" || what == "facts") && strings.Contains(p, "SCAN") { // PostgreSQL reads tables of few rows at a glance
						t.Errorf("%s: reads a whole table in\n%s", what, p)
					}
					if bad := scan(p); bad != "" {
						t.Errorf("%s: %s in\n%s", what, bad, p)
					}
				}
			}
			now := w.Clock.Now()
			for _, o := range owners {
				queries := map[string]store.UserQuery{"all": {}, "search": {Search: "number 77"}, "search for a letter": {Search: "s"}, "role": {Role: account.Administrator}, "last page": {Offset: 4980}}
				for _, mfa := range []string{"none", "any", "passkey", "virtual_mfa", "sms"} {
					queries["mfa "+mfa] = store.UserQuery{MFA: mfa}
				}
				for _, activity := range []string{"never", "idle30", "idle90", "disabled", "no_profile", "enabled", "reenrol"} {
					queries["activity "+activity] = store.UserQuery{Activity: activity}
				}
				for name, q := range queries {
					q.Now = now
					check("count "+name, func(r *store.Reader) error { _, err := r.CountUsers(o.Account, q); return err })
					for _, sort := range []string{"name", "created", "last_signin"} {
						for _, q.Descending = range []bool{false, true} {
							q.Sort, q.Limit = sort, 20
							check(fmt.Sprint("list ", name, " by ", sort, " ", q.Descending), func(r *store.Reader) error { _, err := r.Users(o.Account, q); return err })
							check(fmt.Sprint("CSV ", name, " by ", sort, " ", q.Descending), func(r *store.Reader) error {
								return r.EachUser(o.Account, q, func(store.User) error { return nil })
							})
						}
					}
				}
				check("administrators", func(r *store.Reader) error { _, err := r.CountAdministrators(o.Account); return err })
				check("passkeys", func(r *store.Reader) error { _, err := r.Passkeys(o.Account, o.ID); return err })
				check("devices", func(r *store.Reader) error { _, err := r.CountVirtualMFA(o.Account); return err })
				check("facts of all", func(r *store.Reader) error {
					return r.EachUserFacts(o.Account, now, func(store.User, policy.Facts) error { return nil })
				})
				check("facts", func(r *store.Reader) error { _, err := r.Facts(o, nil); return err })
				check("a name", func(r *store.Reader) error {
					_, err := r.IdentityBySignInName(account.SignInName{User: "user0007", Alias: string(o.Account)})
					return err
				})
			}
			addSession(t, w, owners[1], "s")
			check("a session", func(r *store.Reader) error { _, err := r.Session([]byte("hash of s")); return err })
			check("idle", func(r *store.Reader) error {
				_, err := r.IdleUsers(100, now)
				return err
			})
		})
	}
}

// scan returns the line of a plan that reads all identities, if one does.
func scan(plan string) string {
	for line := range strings.Lines(plan) {
		if strings.Contains(line, "Seq Scan on identity") || strings.TrimSpace(line) == "SCAN i" || strings.Contains(line, "SCAN i ") || strings.Contains(line, "SCAN identity") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
