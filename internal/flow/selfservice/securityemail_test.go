package selfservice_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// Whoever binds the same address at the same time waits for the other: five are
// served, however many ask at once.
func TestNoMoreThanFiveBindOneAddressAtOnce(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		var users []account.Identity
		for n := range 8 {
			users = append(users, w.User(owner, fmt.Sprint("user", n), account.User))
		}
		var all sync.WaitGroup
		refused := make([]error, len(users))
		for n, u := range users {
			all.Go(func() {
				refused[n] = w.Write(ctx(), w.Visitor.As(u), func(tx *store.Tx) error {
					return w.Prover.BindSecurityEmail(tx, w.Visitor, u, "", "shared@mail.example")
				})
			})
		}
		all.Wait()
		full := 0
		for _, err := range refused {
			if errors.Is(err, selfservice.ErrSecurityEmailFull) {
				full++
			} else if err != nil {
				t.Error(err)
			}
		}
		if n, err := w.Read(ctx()).SecurityEmailIdentities("shared@mail.example"); n != account.SecurityEmailUsers || full != len(users)-n || err != nil {
			t.Errorf("%d are served, %d refused, %v", n, full, err)
		}
	})
}

// A code that comes back to another session binds nothing.
func TestASecurityEmailIsBoundInItsOwnSession(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		uma, eve := w.User(owner, "uma", account.User), w.User(owner, "eve", account.User)
		w.Settle(owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		s, _ := w.Session(w.Visitor, uma)
		away, token := w.Session(testkit.From(3), uma)
		hers, _ := w.Session(testkit.From(4), eve)
		id, err := w.Self.ChangeSecurityEmail(ctx(), w.Visitor, s, "uma@mail.example")
		if err != nil {
			t.Fatal(err)
		}
		code := w.MailedCode("uma@mail.example")
		for name, other := range map[string]prove.Signed{"another session of hers": away, "somebody else's": hers} {
			_, _, err := w.Self.ConfirmContact(ctx(), w.Visitor, other, id, code)
			testkit.Want(t, name, err, selfservice.ErrContactGone)
		}
		before := w.Again(uma).Epoch
		m, _, err := w.Self.ConfirmContact(ctx(), w.Visitor, s, id, code)
		if err != nil || m != factor.Email || w.Again(uma).Epoch == before || !w.Ended(t, token) {
			t.Fatalf("%s, %v; the other session has ended: %v", m, err, w.Ended(t, token))
		}
		if got := w.Again(uma).Email; got != uma.Email {
			t.Errorf("the email of the profile is %q now", got)
		}
		list := w.Events(uma, audit.SecurityEmailBind)
		if len(list) != 1 || list[0].Details["to"] != "u***@m***.example" || list[0].Actor.Kind != "user" {
			t.Errorf("%+v", list)
		}
	})
}

// Not allowed by the account, no code goes out; and what was begun before does
// not outlive the change.
func TestNoSecurityEmailWhereTheAccountUsesNone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		uma := w.User(owner, "uma", account.User)
		w.Settle(owner.Account, func(s *account.Settings) { s.MFAOperation, s.AllowEmail = account.Independent, false })
		s, _ := w.Session(w.Visitor, uma)
		_, err := w.Self.ChangeSecurityEmail(ctx(), w.Visitor, s, "uma@mail.example")
		testkit.Want(t, "bind", err, selfservice.ErrEmailForbidden)
		if len(w.Inbox("uma@mail.example")) != 0 {
			t.Error("a code was sent")
		}
		e := w.Mailbox(uma, "old@mail.example")
		w.Clock.Advance(time.Minute)
		_, err = w.Self.RemoveSecurityEmail(ctx(), w.Visitor, s, e.ID)
		testkit.Want(t, "remove without a code to it", err, prove.ErrVerifyFirst)
		w.Given(s, selfservice.RemoveSecurityEmailAction(e))
		if _, err = w.Self.RemoveSecurityEmail(ctx(), w.Visitor, s, e.ID); err != nil {
			t.Errorf("it cannot be removed: %v", err)
		}
	})
}
