package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func names(list []store.User) (n []string) {
	for _, u := range list {
		n = append(n, u.UserName)
	}
	return n
}

func TestUsersAreFoundFilteredAndSorted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		now := w.Clock.Now()
		for n, u := range []struct {
			name, display, comments string
			role                    account.Role
			created, signedIn       int // days ago; 0: never
			state                   account.ProfileState
			mfa, phone, reenrol     bool
		}{
			{"ada", "Ada Lovelace", "100% sure", account.Administrator, 200, 1, account.ProfileActive, true, true, false},
			{"Bob", "Бob_x", `back\slash`, account.User, 100, 91, account.ProfileActive, false, true, false},
			{"carol", "", "under_score", account.Auditor, 40, 31, account.ProfileInactive, true, false, false},
			{"dave", "Émile", "", account.User, 95, 0, account.ProfileIdle, false, false, true},
			{"erin", "", "100 sure", account.User, 1, 0, account.NoProfile, false, false, false},
		} {
			i := user(w, owner, u.name)
			i.DisplayName, i.Comments, i.Role, i.CreatedAt = u.display, u.comments, u.role, now.Add(-time.Duration(u.created)*day)
			if u.signedIn > 0 {
				i.LastSignInAt = now.Add(-time.Duration(u.signedIn) * day)
			}
			mustWrite(t, w, func(tx *store.Tx) error {
				err := tx.AddUser(i)
				if u.state != account.NoProfile {
					err = errors.Join(err, tx.SetProfile(i.Account, i.ID, account.Profile{State: u.state, MFARequired: true, InitialUntil: now.Add(day)}))
				}
				if u.phone {
					err = errors.Join(err, tx.AttachPhone(i.Account, i.ID, "", store.Phone{ID: fmt.Sprint(n), Number: "+8613800138000"}, errFirst))
				}
				if u.reenrol {
					err = errors.Join(err, tx.SetEnrolment(i.Account, i.ID, store.Enrolment{Kind: store.Reenrol, TicketHash: []byte("t"), ExpiresAt: now}))
				}
				return errors.Join(err, tx.ReplaceRecoveryCodes(i.Account, i.ID, [][]byte{[]byte("1"), []byte("2")}), tx.UseRecoveryCode(i.Account, i.ID, []byte("1"), errFirst))
			})
			if u.mfa {
				bind(t, w, i)
			}
		}
		addUser(t, w, other, "ada")
		r := w.Read(ctx())
		for _, c := range []struct {
			q    store.UserQuery
			want string
		}{
			{store.UserQuery{}, "ada Bob carol dave erin"},
			{store.UserQuery{Descending: true}, "erin dave carol Bob ada"},
			{store.UserQuery{Sort: "created"}, "ada Bob dave carol erin"},
			{store.UserQuery{Sort: "created", Descending: true}, "erin carol dave Bob ada"},
			{store.UserQuery{Sort: "last_signin", Descending: true, Limit: 3}, "ada carol Bob"},
			{store.UserQuery{Limit: 2, Offset: 2}, "carol dave"},
			{store.UserQuery{Limit: 2, Offset: 5}, ""},
			{store.UserQuery{Limit: 2, Offset: -1}, "ada Bob"},
			{store.UserQuery{Role: account.User}, "Bob dave erin"},
			{store.UserQuery{Role: account.Owner}, ""},
			{store.UserQuery{MFA: "none"}, "dave erin"},
			{store.UserQuery{MFA: "any"}, "ada Bob carol"},
			{store.UserQuery{MFA: "virtual_mfa"}, "ada carol"},
			{store.UserQuery{MFA: "sms"}, "Bob"},
			{store.UserQuery{Activity: "never"}, "dave erin"},
			{store.UserQuery{Activity: "idle30"}, "Bob carol dave"},
			{store.UserQuery{Activity: "idle90"}, "Bob dave"},
			{store.UserQuery{Activity: "disabled"}, "carol dave"},
			{store.UserQuery{Activity: "no_profile"}, "erin"},
			{store.UserQuery{Activity: "enabled"}, "ada Bob"},
			{store.UserQuery{Activity: "reenrol"}, "dave"},
			{store.UserQuery{Activity: "idle"}, "ada Bob carol dave erin"},
			{store.UserQuery{Activity: "enabled", MFA: "sms", Role: account.User, Search: "B"}, "Bob"},
			{store.UserQuery{Search: "LOVE"}, "ada"},
			{store.UserQuery{Search: "bOb"}, "Bob"},
			{store.UserQuery{Search: "Émile"}, "dave"},
			{store.UserQuery{Search: "100%"}, "ada"},
			{store.UserQuery{Search: "%"}, "ada"},
			{store.UserQuery{Search: "_"}, "Bob carol"},
			{store.UserQuery{Search: `\`}, "Bob"},
			{store.UserQuery{Search: `k\s`}, "Bob"},
			{store.UserQuery{Search: "' OR 1=1 --"}, ""},
			{store.UserQuery{Search: "a\x00d\xffa"}, "ada"},
			{store.UserQuery{Search: "mail.example"}, ""},
		} {
			c.q.Now = now
			list, err := r.Users(owner.Account, c.q)
			if got := strings.Join(names(list), " "); got != c.want || err != nil {
				t.Errorf("%+v: got %s, %v; want %s", c.q, got, err, c.want)
			}
			var all []store.User
			err = r.EachUser(owner.Account, c.q, func(u store.User) error { all = append(all, u); return nil })
			n, countErr := r.CountUsers(owner.Account, c.q)
			if err != nil || countErr != nil || n != len(all) || c.q.Limit == 0 && !slices.Equal(all, list) {
				t.Errorf("%+v: %d counted, %d called, %v, %v", c.q, n, len(all), err, countErr)
			}
		}
		list, _ := r.Users(owner.Account, store.UserQuery{Search: "lovelace"})
		want := account.Profile{State: account.ProfileActive, MFARequired: true, InitialUntil: now.Add(day), UpdatedAt: now}
		if len(list) != 1 || list[0].Profile != want || !list[0].VirtualMFA || !list[0].Phone || list[0].RecoveryCodes != 1 || list[0].Reenrol || list[0].Domain != string(owner.Account)+".ram.localhost" {
			t.Errorf("got %+v", list)
		}
		if err := r.EachUser(owner.Account, store.UserQuery{}, func(store.User) error { return errFirst }); !errors.Is(err, errFirst) {
			t.Errorf("a refusal: %v", err)
		}
		if n, err := r.CountVirtualMFA(owner.Account); n != 2 || err != nil {
			t.Errorf("%d devices, %v", n, err)
		}
	})
}

func TestPagesOfEqualUsersMissNobody(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		for n := range 23 {
			addUser(t, w, owner, fmt.Sprint("user", n)) // all created now, none signed in
		}
		for _, sort := range []string{"name", "created", "last_signin"} {
			for _, down := range []bool{false, true} {
				seen := map[account.IdentityID]bool{}
				for at := 0; at < 23; at += 5 {
					list, err := w.Read(ctx()).Users(owner.Account, store.UserQuery{Sort: sort, Descending: down, Offset: at, Limit: 5})
					if err != nil {
						t.Fatal(err)
					}
					for _, u := range list {
						seen[u.ID] = true
					}
				}
				if len(seen) != 23 {
					t.Errorf("%s, descending %v: %d of 23 on the pages", sort, down, len(seen))
				}
			}
		}
	})
}

func TestIdleUsersByBothConditions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner, strict := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		start := w.Clock.Now()
		profile := func(u account.Identity, s account.ProfileState) {
			mustWrite(t, w, func(tx *store.Tx) error { return tx.SetProfile(u.Account, u.ID, account.Profile{State: s}) })
		}
		settings := account.DefaultSettings()
		settings.IdleUsers = 90
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetSettings(strict.Account, settings) })
		for _, o := range []account.Identity{owner, strict} {
			for _, n := range []string{"never", "signed", "inactive", "touched", "fresh"} {
				u := addUser(t, w, o, n)
				profile(u, account.ProfileActive)
				if n == "inactive" {
					profile(u, account.ProfileInactive)
				}
			}
			addUser(t, w, o, "none")
		}
		find := func(limit int) string {
			list, err := w.Read(ctx()).IdleUsers(limit, w.Clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			n := names(list)
			for k, u := range list {
				if n[k] += ":a"; u.Account == strict.Account {
					n[k] = u.UserName + ":b"
				}
			}
			slices.Sort(n)
			return strings.Join(n, " ")
		}
		at := func(days int) { w.Clock.Advance(start.Add(time.Duration(days) * day).Sub(w.Clock.Now())) }
		named := func(o account.Identity, n string) account.Identity {
			i, err := w.Read(ctx()).IdentityBySignInName(account.SignInName{User: n, Alias: string(o.Account)})
			if err != nil {
				t.Fatal(err)
			}
			return i
		}
		at(10)
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SignedIn(named(strict, "signed").ID) })
		at(84)
		profile(named(strict, "touched"), account.ProfileActive)
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SignedIn(named(strict, "fresh").ID) })
		at(89)
		if got := find(9); got != "" {
			t.Errorf("after 89 days: %s", got)
		}
		at(90)
		if got := find(9); got != "never:b" {
			t.Errorf("after 90 days: %s", got)
		}
		at(100)
		if got := find(9); got != "never:b signed:b touched:b" {
			t.Errorf("after 100 days: %s", got)
		}
		if got := find(2); len(strings.Fields(got)) != 2 {
			t.Errorf("two of them: %s", got)
		}
		at(365)
		if got := find(5); len(strings.Fields(got)) != 5 {
			t.Errorf("five of two accounts: %s", got)
		}
		if got := find(99); got != "fresh:a fresh:b never:a never:b signed:a signed:b touched:a touched:b" {
			t.Errorf("after a year: %s", got)
		}
		if err := write(w, func(tx *store.Tx) error { return tx.SignedIn("nobody") }); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("nobody signed in: %v", err)
		}
	})
}

func TestPasskeysCountAsDevices(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		for _, u := range []struct {
			name          string
			passkeys, u2f int
			mfa, phone    bool
		}{
			{"none", 0, 0, false, false},
			{"passkey", 2, 0, false, false},
			{"u2f", 0, 1, false, false},
			{"phone", 0, 0, false, true},
			{"phone-passkey", 1, 0, false, true},
			{"phone-u2f", 0, 2, false, true},
			{"virtual", 0, 0, true, false},
			{"all", 1, 1, true, true},
		} {
			i := addUser(t, w, owner, u.name)
			for n := range u.passkeys {
				addPasskey(t, w, aPasskey(i, fmt.Sprint(u.name, "-p", n)))
			}
			for n := range u.u2f {
				addPasskey(t, w, aU2F(i, fmt.Sprint(u.name, "-u", n)))
			}
			if u.mfa {
				bind(t, w, i)
			}
			if u.phone {
				mustWrite(t, w, func(tx *store.Tx) error {
					return tx.AttachPhone(i.Account, i.ID, "", store.Phone{ID: u.name, Number: hers}, errFirst)
				})
			}
			if f, err := w.Read(ctx()).Facts(i, nil); err != nil || f.Passkeys != u.passkeys || f.U2F != u.u2f || f.VirtualMFA != u.mfa || f.Phone != u.phone {
				t.Errorf("%s: %+v, %v", u.name, f, err)
			}
			if got, err := w.Read(ctx()).User(i.Account, i.ID); err != nil || got.Passkeys != u.passkeys || got.U2F != u.u2f {
				t.Errorf("%s: %+v, %v", u.name, got, err)
			}
		}
		addPasskey(t, w, aPasskey(owner, "of the owner"))
		if f, err := w.Read(ctx()).Facts(owner, nil); err != nil || f.Passkeys != 1 || f.U2F != 0 {
			t.Errorf("the owner: %+v, %v", f, err)
		}
		for mfa, want := range map[string]string{
			"":            "all none passkey phone phone-passkey phone-u2f u2f virtual",
			"none":        "none",
			"any":         "all passkey phone phone-passkey phone-u2f u2f virtual",
			"passkey":     "all passkey phone-passkey",
			"virtual_mfa": "all virtual",
			"sms":         "phone",
		} {
			list, err := w.Read(ctx()).Users(owner.Account, store.UserQuery{MFA: mfa})
			got := names(list)
			slices.Sort(got)
			if strings.Join(got, " ") != want || err != nil {
				t.Errorf("%q: %v, %v; want %s", mfa, got, err, want)
			}
			if n, err := w.Read(ctx()).CountUsers(owner.Account, store.UserQuery{MFA: mfa}); n != len(got) || err != nil {
				t.Errorf("%q: %d counted, %v", mfa, n, err)
			}
		}
	})
}
