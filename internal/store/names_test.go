package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func TestAUserIsFoundByEveryNameOfItsAccount(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, b := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		ada := addUser(t, w, a, "Ada")
		addUser(t, w, b, "ada")
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.SetAlias(a.Account, "acme"), tx.AddDomainAlias(a.Account, "acme.example", "x"), tx.VerifyDomainAlias(a.Account, "acme.example", errFirst),
				tx.AddDomainAlias(a.Account, "later.example", "x"), tx.AddDomainAlias(b.Account, "later.example", "x"))
		})
		ada.Domain = "acme.ram.localhost"
		r := w.Read(ctx())
		for _, c := range []struct {
			n           account.SignInName
			user, named bool
		}{
			{account.SignInName{User: "ada", Alias: "acme"}, true, true},
			{account.SignInName{User: "ada", Alias: string(a.Account)}, true, true},
			{account.SignInName{User: "ada", Domain: "acme.example"}, true, true},
			{account.SignInName{User: "bob", Alias: "acme"}, false, true},
			{account.SignInName{User: "bob", Domain: "acme.example"}, false, true},
			{account.SignInName{User: "ada", Domain: "later.example"}, false, false},
			{account.SignInName{User: "ada", Domain: "acme"}, false, false},
			{account.SignInName{User: "ada", Alias: "acme.example"}, false, false},
			{account.SignInName{User: "ada", Alias: "nobody"}, false, false},
			{account.SignInName{User: "ada"}, false, false},
			{account.SignInName{}, false, false},
			{account.SignInName{Alias: "acme"}, false, true}, // the owner has no user name
		} {
			got, err := r.IdentityBySignInName(c.n)
			if c.user && (err != nil || got != ada) || !c.user && !errors.Is(err, store.ErrNoRow) {
				t.Errorf("%+v: got %+v, %v", c.n, got, err)
			}
			in, err := r.AccountByName(c.n)
			if c.named && (err != nil || in != account.Account{ID: a.Account, Alias: "acme", CreatedAt: w.Clock.Now()}) || !c.named && !errors.Is(err, store.ErrNoRow) {
				t.Errorf("%+v: account %+v, %v", c.n, in, err)
			}
		}
		mustWrite(t, w, func(tx *store.Tx) error { // locked as any other
			got, err := tx.IdentityBySignInName(account.SignInName{User: "ada", Alias: "acme"})
			if got != ada {
				t.Errorf("within a write: %+v", got)
			}
			return err
		})
	})
}

func TestAnAliasServesOneAccount(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		var owners []account.Identity
		for n := range 4 {
			owners = append(owners, addOwner(t, w, string(rune('a'+n))+"@example.com"))
		}
		set := func(n int, alias string) error {
			return write(w, func(tx *store.Tx) error { return tx.SetAlias(owners[n].Account, alias) })
		}
		if n := wins(t, storetest.Parallel(4, func(n int) error { return set(n, "acme") }), account.ErrAliasTaken); n != 1 {
			t.Errorf("%d accounts have the alias", n)
		}
		if err := errors.Join(set(0, "zero"), set(0, "zero"), set(0, string(owners[0].Account))); err != nil {
			t.Errorf("its own: %v", err)
		}
		_ = set(1, "one")
		if err := set(0, string(owners[1].Account)); !errors.Is(err, account.ErrAliasTaken) {
			t.Errorf("another's ID, that is nobody's alias: %v", err)
		}
		got, err := w.Read(ctx()).Account(owners[1].Account)
		if err != nil || got.Alias != "one" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestADomainServesTheAccountThatProvesIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, b, c := addOwner(t, w, "a@example.com").Account, addOwner(t, w, "b@example.com").Account, addOwner(t, w, "c@example.com").Account
		add := func(a account.ID, domain string) error {
			return write(w, func(tx *store.Tx) error { return tx.AddDomainAlias(a, domain, "code of "+string(a)) })
		}
		verify := func(a account.ID, domain string) error {
			return write(w, func(tx *store.Tx) error { return tx.VerifyDomainAlias(a, domain, errFirst) })
		}
		// Who merely claims a domain keeps nobody else from it.
		if err := errors.Join(add(a, "x.example"), add(b, "x.example"), add(a, "y.example")); err != nil {
			t.Fatal(err)
		}
		if err := add(a, "x.example"); !errors.Is(err, account.ErrDomainTaken) {
			t.Errorf("twice: %v", err)
		}
		made := w.Clock.Now()
		w.Clock.Advance(time.Hour)
		both := []account.ID{a, b}
		errs := storetest.Parallel(2, func(n int) error { return verify(both[n], "x.example") })
		if n := wins(t, errs, account.ErrDomainTaken); n != 1 {
			t.Errorf("verified by %d accounts", n)
		}
		winner, loser := a, b
		if errs[0] != nil {
			winner, loser = b, a
		}
		if err := add(c, "x.example"); !errors.Is(err, account.ErrDomainTaken) {
			t.Errorf("after another's proof: %v", err)
		}
		if err := verify(c, "x.example"); !errors.Is(err, errFirst) {
			t.Errorf("without a claim: %v", err)
		}
		w.Clock.Advance(time.Hour)
		if err := verify(winner, "x.example"); err != nil { // is no second proof
			t.Errorf("proved again: %v", err)
		}
		list, err := w.Read(ctx()).DomainAliases(winner)
		want := store.DomainAlias{Domain: "x.example", Code: "code of " + string(winner), CreatedAt: made, VerifiedAt: made.Add(time.Hour)}
		if err != nil || len(list) == 0 || list[0] != want {
			t.Errorf("got %+v, %v", list, err)
		}
		remove := func(a account.ID) error {
			return write(w, func(tx *store.Tx) error { return tx.RemoveDomainAlias(a, "x.example", errFirst) })
		}
		if err := remove(c); !errors.Is(err, errFirst) {
			t.Errorf("removed by another: %v", err)
		}
		if n := wins(t, storetest.Parallel(4, func(int) error { return remove(winner) }), errFirst); n != 1 {
			t.Errorf("removed %d times", n)
		}
		if err := errors.Join(verify(loser, "x.example"), add(c, "z.example")); err != nil {
			t.Errorf("free again: %v", err)
		}
		w.Clock.Advance(30*day + time.Second)
		mustWrite(t, w, expired)
		var left []string
		for _, id := range []account.ID{a, b, c} {
			list, _ := w.Read(ctx()).DomainAliases(id)
			for _, d := range list {
				left = append(left, d.Domain)
			}
		}
		if got := strings.Join(left, " "); got != "x.example" {
			t.Errorf("left after 30 days: %s", got)
		}
	})
}
