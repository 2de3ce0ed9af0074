package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/session"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

const day = 24 * time.Hour

// user is a RAM user of the owner's account.
func user(w *storetest.World, owner account.Identity, name string) account.Identity {
	id, _ := w.NewID()
	return account.Identity{Account: owner.Account, ID: account.IdentityID("user-" + id), Role: account.User, Email: name + "@mail.example", Locale: "en", Epoch: 1, CreatedAt: w.Clock.Now(),
		UserName: name, Domain: string(owner.Account) + ".ram.localhost", DisplayName: "The " + name, Comments: "about " + name}
}

func addUser(t *testing.T, w *storetest.World, owner account.Identity, name string) account.Identity {
	t.Helper()
	u := user(w, owner, name)
	mustWrite(t, w, func(tx *store.Tx) error { return tx.AddUser(u) })
	return u
}

// dump is every row of the tables that hold what users have, so that whatever
// changes is seen.
func dump(t *testing.T, w *storetest.World) string {
	t.Helper()
	var all strings.Builder
	raw := w.Raw(t)
	for _, table := range []string{"identity", "login_profile", "password_history", "session", "virtual_mfa", "phone", "passkey", "passkey_user", "enrolment", "domain_alias", "account_settings", "seen_network", "known_device"} {
		rows, err := raw.Query("SELECT * FROM " + table + " ORDER BY 1, 2")
		if err != nil {
			t.Fatal(err)
		}
		columns, _ := rows.Columns()
		for rows.Next() {
			into := make([]any, len(columns))
			for n := range into {
				into[n] = new(any)
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			all.WriteString(table)
			for n := range into {
				fmt.Fprintf(&all, " %s=%v", columns[n], *into[n].(*any))
			}
			all.WriteByte('\n')
		}
		_ = rows.Close()
	}
	return all.String()
}

func TestAUserComesBackAsItWasKept(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		want := user(w, owner, "Ada.Lovelace")
		want.Role, want.PasswordHash, want.PasswordChangedAt, want.LastSignInAt = account.Auditor, "$x$", w.Clock.Now(), w.Clock.Now()
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddUser(want) })
		r := w.Read(ctx())
		if got, err := r.Identity(want.ID); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if got, err := r.User(want.Account, want.ID); err != nil || got != (store.User{Identity: want}) {
			t.Errorf("as a user: %+v, %v", got, err)
		}
		if want.Name() != "Ada.Lovelace@"+string(owner.Account)+".ram.localhost" {
			t.Errorf("called %s", want.Name())
		}
		if got, err := r.IdentityByEmail(want.Email); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("its email signs in %+v, %v", got, err)
		}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetAlias(owner.Account, "analytical") })
		if got, _ := r.Identity(want.ID); got.Domain != "analytical.ram.localhost" {
			t.Errorf("with an alias: %s", got.Name())
		}
		c := w.Config
		c.Suffix = "sign.example"
		if got, err := storetest.Open(t, c).Read(ctx()).User(want.Account, want.ID); err != nil || got.Name() != "Ada.Lovelace@analytical.sign.example" {
			t.Errorf("under another suffix: %s, %v", got.Name(), err)
		}
		// An owner may have the email of a user: it is no sign-in name of the latter.
		other := addOwner(t, w, want.Email)
		if got, err := r.IdentityByEmail(want.Email); err != nil || got != other {
			t.Errorf("the owner: %+v, %v", got, err)
		}
		for what, f := range map[string]func(tx *store.Tx) error{
			"an owner's address of a user": func(tx *store.Tx) error { return tx.SetEmail(want.ID, "ada@example.com") },
			"a user as owner":              func(tx *store.Tx) error { i := want; i.Role = account.Owner; return tx.UpdateUser(i) },
			"another owner":                func(tx *store.Tx) error { i := user(w, owner, "x"); i.Role = account.Owner; return tx.AddUser(i) },
			"without a name":               func(tx *store.Tx) error { return tx.AddUser(user(w, owner, "")) },
			"an owner as user":             func(tx *store.Tx) error { i := owner; i.Role, i.UserName = account.User, "x"; return tx.UpdateUser(i) },
		} {
			if write(w, f) == nil {
				t.Errorf("written: %s", what)
			}
		}
	})
}

func TestAUserNameIsUniqueInItsAccount(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, b := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		errs := storetest.Parallel(8, func(n int) error {
			u := user(w, a, []string{"Carol", "carol", "CAROL"}[n%3])
			return write(w, func(tx *store.Tx) error { return tx.AddUser(u) })
		})
		if n := wins(t, errs, account.ErrUserNameTaken); n != 1 {
			t.Errorf("%d users have the name", n)
		}
		addUser(t, w, b, "carol")
		// One name that is taken does not spoil the rest of the write.
		mustWrite(t, w, func(tx *store.Tx) error {
			if err := tx.AddUser(user(w, a, "cArol")); !errors.Is(err, account.ErrUserNameTaken) {
				t.Errorf("a taken name: %v", err)
			}
			return tx.AddUser(user(w, a, "dave"))
		})
		dave := addUser(t, w, a, "dave2")
		dave.UserName = "CaRoL"
		if err := write(w, func(tx *store.Tx) error { return tx.UpdateUser(dave) }); !errors.Is(err, account.ErrUserNameTaken) {
			t.Errorf("renamed to a taken name: %v", err)
		}
		dave.UserName = "DAVE2" // its own, in other letters
		mustWrite(t, w, func(tx *store.Tx) error { return tx.UpdateUser(dave) })
		dave.UserName = "erin"
		mustWrite(t, w, func(tx *store.Tx) error { return tx.UpdateUser(dave) })
		addUser(t, w, a, "dave2") // which is free again
		if n, err := w.Read(ctx()).CountUsers(a.Account, store.UserQuery{}); n != 4 || err != nil {
			t.Errorf("%d users, %v", n, err)
		}
	})
}

func TestWhatAdministratorsWriteAboutAUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u := addUser(t, w, owner, "bob")
		mustWrite(t, w, func(tx *store.Tx) error { return tx.ConfirmEmail(u.ID) })
		u.DisplayName, u.Comments, u.Role, u.EmailConfirmedAt = "罗伯特", "", account.Administrator, w.Clock.Now()
		mustWrite(t, w, func(tx *store.Tx) error { return tx.UpdateUser(u) })
		if got, err := w.Read(ctx()).Identity(u.ID); err != nil || got != u {
			t.Errorf("got %+v, %v; want %+v", got, err, u)
		}
		u.Email = "other@mail.example"
		mustWrite(t, w, func(tx *store.Tx) error { return tx.UpdateUser(u) })
		u.EmailConfirmedAt = time.Time{} // another address was not confirmed
		if got, err := w.Read(ctx()).Identity(u.ID); err != nil || got != u {
			t.Errorf("got %+v, %v; want %+v", got, err, u)
		}
	})
}

func TestAnotherAccountsUserIsOutOfReach(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, b := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		u := addUser(t, w, a, "bob")
		addSession(t, w, u, "s")
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.SetProfile(a.Account, u.ID, account.Profile{State: account.ProfileActive, MFARequired: true}), tx.AddDomainAlias(a.Account, "a.example", "x"),
				tx.SetUserPassword(u, "$1$", true, 3), tx.SetUserPassword(u, "$2$", true, 3), tx.AddPasskey(aPasskey(u, "p")),
				tx.SetEnrolment(a.Account, u.ID, store.Enrolment{Kind: store.Reenrol, TicketHash: []byte("t"), ExpiresAt: tx.Now.Add(day)}))
		})
		before := dump(t, w)
		foreign := u
		foreign.Account, foreign.UserName = b.Account, "mallory"
		owner := a
		owner.UserName, owner.Role = "x", account.User
		for what, f := range map[string]func(tx *store.Tx) error{
			"read":               func(tx *store.Tx) error { _, err := tx.User(b.Account, u.ID); return err },
			"owner read":         func(tx *store.Tx) error { _, err := tx.User(a.Account, a.ID); return err },
			"updated":            func(tx *store.Tx) error { return tx.UpdateUser(foreign) },
			"owner updated":      func(tx *store.Tx) error { return tx.UpdateUser(owner) },
			"deleted":            func(tx *store.Tx) error { return tx.DeleteUser(b.Account, u.ID) },
			"owner deleted":      func(tx *store.Tx) error { return tx.DeleteUser(a.Account, a.ID) },
			"profile":            func(tx *store.Tx) error { return tx.SetProfile(b.Account, u.ID, account.Profile{}) },
			"profile of owner":   func(tx *store.Tx) error { return tx.SetProfile(a.Account, a.ID, account.Profile{}) },
			"profile of nobody":  func(tx *store.Tx) error { return tx.SetProfile(a.Account, "nobody", account.Profile{}) },
			"profile cleared":    func(tx *store.Tx) error { return tx.ClearProfile(b.Account, u.ID, store.ErrNoRow) },
			"password":           func(tx *store.Tx) error { return tx.SetUserPassword(foreign, "$3$", true, 3) },
			"password of owner":  func(tx *store.Tx) error { return tx.SetUserPassword(a, "$3$", true, 3) },
			"enrolment":          func(tx *store.Tx) error { return tx.EndEnrolment(b.Account, u.ID, store.Reenrol, store.ErrNoRow) },
			"passkey read":       func(tx *store.Tx) error { _, err := tx.Passkey(b.Account, u.ID, "p"); return err },
			"passkey renamed":    func(tx *store.Tx) error { return tx.RenamePasskey(b.Account, u.ID, "p", "x", store.ErrNoRow) },
			"passkey removed":    func(tx *store.Tx) error { return tx.RemovePasskey(b.Account, u.ID, "p", store.ErrNoRow) },
			"handle made":        func(tx *store.Tx) error { _, err := tx.PasskeyHandle(b.Account, u.ID); return err },
			"domain verified":    func(tx *store.Tx) error { return tx.VerifyDomainAlias(b.Account, "a.example", store.ErrNoRow) },
			"domain removed":     func(tx *store.Tx) error { return tx.RemoveDomainAlias(b.Account, "a.example", store.ErrNoRow) },
			"settings of nobody": func(tx *store.Tx) error { return tx.SetSettings("nobody", account.DefaultSettings()) },
		} {
			if err := write(w, f); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("%s: %v", what, err)
			}
		}
		r := w.Read(ctx())
		if h, err := r.PasswordHistory(b.Account, u.ID, 9); len(h) != 0 || err != nil {
			t.Errorf("passwords %v, %v", h, err)
		}
		if list, err := r.Enrolments(b.Account, u.ID); len(list) != 0 || err != nil {
			t.Errorf("enrolments %v, %v", list, err)
		}
		if list, err := r.Users(b.Account, store.UserQuery{}); len(list) != 0 || err != nil {
			t.Errorf("listed %v, %v", list, err)
		}
		if after := dump(t, w); after != before {
			t.Errorf("was\n%s\nis\n%s", before, after)
		}
	})
}

func TestADeletedUserLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		gone, stays := addUser(t, w, owner, "gone"), addUser(t, w, owner, "stays")
		for n, u := range []account.Identity{gone, stays} {
			bind(t, w, u)
			addSession(t, w, u, u.UserName)
			c := newCeremony(w, 5)
			c.ID, c.Account, c.Identity, c.TokenHash = "c"+u.UserName, u.Account, u.ID, []byte("c"+u.UserName)
			mustWrite(t, w, func(tx *store.Tx) error {
				budget, _, err := tx.Budget(u.Account, u.ID)
				_, handleErr := tx.PasskeyHandle(u.Account, u.ID)
				_, factsErr := tx.Facts(u, nil)
				return errors.Join(err, handleErr, factsErr, tx.RememberDevice(session.RememberedDevice{Account: u.Account, Identity: u.ID, ID: u.UserName, Epoch: 1, ExpiresAt: w.Clock.Now().Add(time.Hour)}, []byte("series"+u.UserName), []byte("secret")), tx.AddPasskey(aPasskey(u, u.UserName)), tx.SaveBudget(u.Account, u.ID, budget, 0), tx.AddCeremony(c), tx.AddSentCode(ceremony.Code{ID: c.ID, Ceremony: c.ID}, "123456"),
					tx.AttachPhone(u.Account, u.ID, "", store.Phone{ID: u.UserName, Number: "+8613800138000"}, errFirst),
					tx.ReplaceRecoveryCodes(u.Account, u.ID, [][]byte{[]byte("one")}),
					tx.AddKnownDevice(session.KnownDevice{Account: u.Account, Identity: u.ID, ID: fmt.Sprint(n)}, []byte(u.UserName)),
					tx.SetProfile(u.Account, u.ID, account.Profile{State: account.ProfileActive}), tx.SeeNetwork(u.Account, u.ID, "192.0.2.0/24"),
					tx.SetUserPassword(u, "$1$", true, 3), tx.SetUserPassword(u, "$2$", true, 3),
					tx.BindSecurityEmail(u.Account, u.ID, "", store.SecurityEmail{ID: u.UserName, Address: "ada@example.net"}, errFirst),
					tx.AddLink([]byte("link"+u.UserName), store.Link{Kind: store.NotMeLink, Account: u.Account, Identity: u.ID, ExpiresAt: w.Clock.Now().Add(time.Hour)}),
					tx.CountForDigest(u.Account, u.ID, "second_step_failed", "192.0.2.7", w.Clock.Now()),
					tx.SetActivation(store.Activation{Account: u.Account, Identity: u.ID, ID: u.UserName, Number: "+8613800138000", Hash: []byte(u.UserName)}),
					tx.SetEnrolment(u.Account, u.ID, store.Enrolment{Kind: store.Recover, TicketHash: []byte("t")}))
			})
		}
		raw := w.Raw(t)
		count := func() (n map[string]int) {
			n = map[string]int{}
			for _, column := range schema(t, w) {
				if table, ok := strings.CutSuffix(column, ".identity_id"); ok {
					var rows int
					if err := raw.QueryRow("SELECT count(*) FROM "+table+" WHERE identity_id = $1", string(gone.ID)).Scan(&rows); err != nil {
						t.Fatal(err)
					}
					n[table] = rows
				}
			}
			delete(n, "audit_event")
			return n
		}
		for table, n := range count() {
			if n == 0 {
				t.Errorf("%s: the test has nothing there", table)
			}
		}
		if !live(w.Read(ctx()), "gone") {
			t.Error("not signed in")
		}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.DeleteUser(owner.Account, gone.ID) })
		if live(w.Read(ctx()), "gone") || !live(w.Read(ctx()), "stays") {
			t.Error("the wrong one is signed in")
		}
		for table, n := range count() {
			if n != 0 {
				t.Errorf("%s: %d rows left", table, n)
			}
		}
		for _, u := range []account.Identity{stays, owner} {
			if _, err := w.Read(ctx()).Identity(u.ID); err != nil {
				t.Errorf("%s: %v", u.Name(), err)
			}
		}
		if v, err := w.Read(ctx()).VirtualMFA(stays.Account, stays.ID); err != nil || len(v.Seed) == 0 {
			t.Errorf("the other's device: %v", err)
		}
		if err := write(w, func(tx *store.Tx) error { return tx.DeleteUser(owner.Account, gone.ID) }); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("again: %v", err)
		}
	})
}

func TestTheLastAdministratorStays(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		other := addOwner(t, w, "b@example.com")
		var both []account.Identity
		for n, o := range []account.Identity{owner, owner, other} {
			u := user(w, o, fmt.Sprint("admin", n))
			u.Role = account.Administrator
			mustWrite(t, w, func(tx *store.Tx) error { return tx.AddUser(u) })
			both = append(both, u)
		}
		errs := storetest.Parallel(2, func(n int) error {
			return write(w, func(tx *store.Tx) error {
				left, err := tx.CountAdministrators(owner.Account)
				if err == nil && left < 2 {
					err = errFirst
				}
				if err != nil {
					return err
				}
				time.Sleep(20 * time.Millisecond)
				return tx.DeleteUser(owner.Account, both[n].ID)
			})
		})
		if n := wins(t, errs, errFirst); n != 1 {
			t.Errorf("%d of two were removed", n)
		}
		if n, err := w.Read(ctx()).CountAdministrators(owner.Account); n != 1 || err != nil {
			t.Errorf("%d left, %v", n, err)
		}
	})
}

func TestPasswordsOfBefore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u, other := addUser(t, w, owner, "bob"), addUser(t, w, owner, "carol")
		set := func(hash string, keep int) {
			mustWrite(t, w, func(tx *store.Tx) error { return tx.SetUserPassword(u, hash, hash != "$1$", keep) })
		}
		history := func(n int) string {
			list, err := w.Read(ctx()).PasswordHistory(u.Account, u.ID, n)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(list, " ")
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.SetUserPassword(other, "$a$", true, 9), tx.SetUserPassword(other, "$b$", true, 9), tx.SetProfile(u.Account, u.ID, account.Profile{State: account.ProfileActive}))
		})
		set("$1$", 3)
		if h := history(9); h != "" {
			t.Errorf("no password joined it: %s", h)
		}
		if got, _ := w.Read(ctx()).Identity(u.ID); got.PasswordHash != "$1$" || got.PasswordAlone || !got.PasswordChangedAt.Equal(w.Clock.Now()) {
			t.Errorf("got %+v", got)
		}
		for n := range 5 { // all at one instant
			set(fmt.Sprintf("$%d$", n+2), 3)
		}
		if h := history(9); h != "$5$ $4$ $3$" {
			t.Errorf("got %s", h)
		}
		if h := history(2); h != "$5$ $4$" {
			t.Errorf("of two: %s", h)
		}
		set("$7$", 1)
		if h := history(9); h != "$6$" {
			t.Errorf("kept one: %s", h)
		}
		set("$8$", 0)
		if h := history(9); h != "" {
			t.Errorf("kept none: %s", h)
		}
		if errs := storetest.Parallel(6, func(n int) error {
			return write(w, func(tx *store.Tx) error { return tx.SetUserPassword(u, fmt.Sprint(n), true, 24) })
		}); wins(t, errs, nil) != 6 || len(slices.Compact(slices.Sorted(slices.Values(strings.Fields(history(24)))))) != 6 {
			t.Errorf("at once: %v, %s", errs, history(24))
		}
		clearProfile := func(tx *store.Tx) error { return tx.ClearProfile(u.Account, u.ID, errFirst) }
		mustWrite(t, w, clearProfile)
		got, _ := w.Read(ctx()).User(u.Account, u.ID)
		if got.PasswordHash != "" || !got.PasswordChangedAt.IsZero() || got.Profile != (account.Profile{}) || history(9) != "" {
			t.Errorf("cleared: %+v, %s", got, history(9))
		}
		if err := write(w, clearProfile); !errors.Is(err, errFirst) {
			t.Errorf("cleared again: %v", err)
		}
		if list, _ := w.Read(ctx()).PasswordHistory(other.Account, other.ID, 9); len(list) != 1 {
			t.Errorf("another's: %v", list)
		}
	})
}
