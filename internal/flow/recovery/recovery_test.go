package recovery_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/flow/recovery"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

const (
	alice = "alice@example.com"
	phone = "+8613800138000"
)

var operator = audit.OperatorActor("account recover")

func ctx() context.Context { return context.Background() }

func flow(w *testkit.World) *recovery.Flow { return &recovery.Flow{Prover: w.Prover} }

// user adds the last administrator of the owner's account.
func user(w *testkit.World, owner account.Identity, name, email string) account.Identity {
	return w.UserAs(owner, account.Identity{UserName: name, Role: account.Administrator, Email: email, Locale: "ja"}, account.Profile{State: account.ProfileActive, MFARequired: true})
}

func start(t *testing.T, w *testkit.World, i account.Identity, wait time.Duration) recovery.Started {
	t.Helper()
	s, err := flow(w).Start(ctx(), operator, i, wait)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// link is the token of the newest link that was mailed to an address.
func link(t *testing.T, w *testkit.World, to string) secret.Token {
	t.Helper()
	for _, m := range w.Inbox(to) {
		if _, rest, ok := strings.Cut(m.Text, "https://id.example.com/recover/"); ok {
			token, err := secret.ParseToken(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
	}
	t.Fatalf("no link was sent to %s", to)
	return secret.Token{}
}

// works reports whether the ticket counts now.
func works(t *testing.T, w *testkit.World, i account.Identity, ticket string) bool {
	t.Helper()
	r := w.Read(ctx())
	open, err := r.TicketOpen(i.Account, i.ID, prove.RecoveryHash(i, ticket), w.Now())
	if err != nil {
		t.Fatal(err)
	}
	facts, err := r.Facts(i, nil)
	if err != nil {
		t.Fatal(err)
	}
	if open && !facts.Recovering {
		t.Error("the ticket works although the policy knows of no recovery")
	}
	return open
}

func TestATicketWorksFromTheEndOfTheWaitForADay(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Bind(i)
		s := start(t, w, i, recovery.DefaultWait)
		for _, c := range []struct {
			pass time.Duration
			want bool
		}{{0, false}, {24*time.Hour - time.Second, false}, {time.Second, true}, {24*time.Hour - time.Second, true}, {time.Second, false}} {
			w.Clock.Advance(c.pass)
			if got := works(t, w, i, s.Ticket); got != c.want {
				t.Errorf("%s after the start: %v", w.Now().Sub(s.OpensAt.Add(-recovery.DefaultWait)), got)
			}
			_, err := flow(w).State(ctx(), i)
			if over := !w.Now().Before(s.ExpiresAt); over {
				testkit.Want(t, "state when it is over", err, recovery.ErrNone)
			} else {
				testkit.Want(t, "state", err, nil)
			}
		}
		if parsed, err := factor.ParseRecoveryCode(strings.ToLower(s.Ticket)); err != nil || parsed != s.Ticket {
			t.Errorf("the ticket as typed: %q, %v", parsed, err)
		}
		if works(t, w, w.Owner("bob@example.com"), s.Ticket) {
			t.Error("the ticket works for somebody else")
		}
	})
}

func TestEveryAddressIsToldAtOnceInThePersonsLanguage(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, phone)
		s := start(t, w, i, recovery.DefaultWait)
		mails, texts := w.Inbox(alice), w.Inbox(phone)
		if len(mails) != 1 || len(texts) != 1 || len(s.Told) != 2 || s.ToldOwner || s.Again {
			t.Fatalf("%d mails, %d texts, %+v", len(mails), len(texts), s)
		}
		if m := mails[0]; m.Kind != string(message.RecoveryStarted) || strings.Contains(m.Text, s.Ticket) || !strings.Contains(m.Text, "3 March 2026, 09:30 UTC") || !strings.Contains(m.Text, alice) {
			t.Errorf("the mail: %+v", m)
		}
		if m := texts[0]; m.Kind != string(message.RecoveryStarted) || strings.Contains(m.Text, "://") || len([]rune(m.Text)) > 200 || m.Params["service"] != "Countersign" {
			t.Errorf("the text message: %+v", m)
		}
		events := w.Events(i, audit.RecoveryStart)
		if len(events) != 1 || events[0].Actor.Kind != "operator" || events[0].Details["told_email"] != "a***@e***.com" || events[0].Details["told_sms"] != "138****00" || events[0].Details["opens_at"] == "" {
			t.Errorf("events %+v", events)
		}

		w.Prover.Sending.NoTexts = true
		if s := start(t, w, i, recovery.DefaultWait); len(s.Told) != 1 || !s.Again {
			t.Errorf("without text messages: %+v", s)
		}
		w.Prover.Sending.NoTexts = false

		bob := user(w, i, "bob", "")
		w.Bind(bob)
		if s := start(t, w, bob, recovery.DefaultWait); len(s.Told) != 1 || s.Told[0].To != alice || !s.ToldOwner {
			t.Errorf("a user without an address: %+v", s)
		}
		if m := w.Inbox(alice)[0]; !strings.Contains(m.Text, bob.Name()) || m.Locale != "en" {
			t.Errorf("the owner is told %+v", m)
		}
		carol := user(w, i, "carol", "carol@example.com")
		w.Bind(carol)
		if s := start(t, w, carol, recovery.DefaultWait); len(s.Told) != 1 || s.Told[0].To != "carol@example.com" || s.ToldOwner {
			t.Errorf("a user with an address: %+v", s)
		}
		for who, address := range map[account.Identity]string{bob: "bob@box.example", carol: "carol@box.example"} {
			w.Put(func(tx *store.Tx) error {
				return tx.BindSecurityEmail(who.Account, who.ID, "", store.SecurityEmail{ID: address, Address: address}, store.ErrNoRow)
			})
		}
		if s := start(t, w, bob, recovery.DefaultWait); len(s.Told) != 1 || s.Told[0].To != "bob@box.example" || s.ToldOwner {
			t.Errorf("a user with a security email: %+v", s)
		}
		if s := start(t, w, carol, recovery.DefaultWait); len(s.Told) != 2 || s.Told[1].To != "carol@box.example" || w.Events(carol, audit.RecoveryStart)[0].Details["told_email"] != "c***@e***.com, c***@b***.example" {
			t.Errorf("a user with two addresses: %+v, %+v", s, w.Events(carol, audit.RecoveryStart)[0].Details)
		}
		if m := w.Inbox("carol@example.com")[0]; m.Locale != "ja" {
			t.Errorf("carol is told in %s", m.Locale)
		}
	})
}

func TestWhatCannotBeRecovered(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		_, err := flow(w).Start(ctx(), operator, i, recovery.DefaultWait)
		testkit.Want(t, "nothing is bound", err, recovery.ErrNothingBound)
		w.Bind(i)
		for _, wait := range []time.Duration{-time.Hour, 0, time.Hour - 1, recovery.LongestWait + 1} {
			_, err := flow(w).Start(ctx(), operator, i, wait)
			testkit.Want(t, wait.String(), err, recovery.ErrWait)
		}
		testkit.Want(t, "withdraw", flow(w).Withdraw(ctx(), operator, i), recovery.ErrNone)
		if len(w.Inbox(alice)) != 0 || len(w.Events(i, audit.RecoveryStart))+len(w.Events(i, audit.RecoveryCancel)) != 0 {
			t.Error("a refusal was told or recorded")
		}
		hasty := flow(w)
		hasty.Hasty = true
		s, err := hasty.Start(ctx(), operator, i, 0)
		if err != nil || !works(t, w, i, s.Ticket) {
			t.Errorf("in development mode: %v", err)
		}
		_, err = hasty.Start(ctx(), operator, i, -1)
		testkit.Want(t, "a wait into the past", err, recovery.ErrWait)
	})
}

// Whoever was unbound by an administrator has nothing bound, and needs a
// ticket all the same.
func TestAUserWhoWaitsForATicketCanBeRecovered(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		bob := user(w, w.Owner(alice), "bob", "bob@example.com")
		w.Put(func(tx *store.Tx) error {
			return tx.SetEnrolment(bob.Account, bob.ID, store.Enrolment{Kind: store.Reenrol, TicketHash: []byte("lost"), CreatedAt: tx.Now, OpensAt: tx.Now, ExpiresAt: tx.Now.Add(time.Hour)})
		})
		s := start(t, w, bob, time.Hour)
		w.Clock.Advance(time.Hour)
		if !works(t, w, bob, s.Ticket) {
			t.Error("the ticket does not work")
		}
		if err := flow(w).Withdraw(ctx(), operator, bob); err != nil {
			t.Fatal(err)
		}
		if list, err := w.Read(ctx()).Enrolments(bob.Account, bob.ID); err != nil || len(list) != 1 || list[0].Kind != store.Reenrol {
			t.Errorf("what is left: %+v, %v", list, err)
		}
	})
}

func TestTheLinkCancelsOnceAndLookingChangesNothing(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Bind(i)
		s := start(t, w, i, time.Hour)
		token := link(t, w, alice)
		for range 3 {
			n, err := flow(w).Look(ctx(), token)
			if err != nil || n.Name != "a***@e***.com" || !n.OpensAt.Equal(s.OpensAt) || !n.ExpiresAt.Equal(s.ExpiresAt) {
				t.Errorf("%+v, %v", n, err)
			}
		}
		w.Clock.Advance(time.Hour)
		if !works(t, w, i, s.Ticket) {
			t.Error("looking cancelled it")
		}
		var done [8]error
		var all sync.WaitGroup
		for n := range done {
			all.Go(func() { done[n] = flow(w).Cancel(ctx(), testkit.Visitor("198.51.100.9"), token) })
		}
		all.Wait()
		right := 0
		for _, err := range done {
			if err == nil {
				right++
				continue
			}
			testkit.Want(t, "another one", err, recovery.ErrGone)
		}
		events := w.Events(i, audit.RecoveryCancel)
		if right != 1 || len(events) != 1 || events[0].Actor.Kind != "visitor" || events[0].Actor.Address != "198.51.100.9" || events[0].Details["by"] != "link" {
			t.Errorf("%d times, %+v", right, events)
		}
		if works(t, w, i, s.Ticket) {
			t.Error("the ticket still works")
		}
		if told := w.Told(alice); !slices.Equal(told, []string{"recovery_cancelled", "recovery_started"}) {
			t.Errorf("told %v", told)
		}
		_, err := flow(w).Look(ctx(), token)
		testkit.Want(t, "a used link", err, recovery.ErrGone)
		_, err = flow(w).Look(ctx(), secret.Token{})
		testkit.Want(t, "no link", err, recovery.ErrGone)
	})
}

func TestALinkIsOverWithItsRecovery(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Bind(i)
		first := start(t, w, i, time.Hour)
		old := link(t, w, alice)
		w.Clock.Advance(time.Minute)
		second := start(t, w, i, time.Hour)
		testkit.Want(t, "the link of one that was replaced", flow(w).Cancel(ctx(), w.Visitor, old), recovery.ErrGone)
		w.Clock.Advance(time.Hour)
		if works(t, w, i, first.Ticket) || !works(t, w, i, second.Ticket) {
			t.Error("not the newest ticket alone works")
		}
		w.Clock.Advance(recovery.OpenFor)
		_, err := flow(w).Look(ctx(), link(t, w, alice))
		testkit.Want(t, "a link of one that is over", err, recovery.ErrGone)
		testkit.Want(t, "its use", flow(w).Cancel(ctx(), w.Visitor, link(t, w, alice)), recovery.ErrGone)
		if len(w.Events(i, audit.RecoveryCancel)) != 0 {
			t.Error("something was cancelled")
		}
	})
}

func TestASignInCancelsWhatIsUnderWayAndNothingElse(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Bind(i)
		signIn := func() {
			t.Helper()
			err := w.Write(ctx(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error { return w.Prover.CancelRecovery(tx, w.Visitor, i) })
			if err != nil {
				t.Fatal(err)
			}
		}
		cancelled := func() int { return len(w.Events(i, audit.RecoveryCancel)) }
		if signIn(); cancelled() != 0 || len(w.Inbox(alice)) != 0 {
			t.Error("without a recovery")
		}
		start(t, w, i, time.Hour)
		if signIn(); cancelled() != 1 || w.Told(alice)[0] != "recovery_cancelled" {
			t.Error("while it waits")
		}
		if signIn(); cancelled() != 1 {
			t.Error("a second time")
		}
		s := start(t, w, i, time.Hour)
		w.Clock.Advance(time.Hour)
		if signIn(); cancelled() != 2 || works(t, w, i, s.Ticket) {
			t.Error("while it is open")
		}
		start(t, w, i, time.Hour)
		w.Clock.Advance(time.Hour + recovery.OpenFor)
		if signIn(); cancelled() != 2 {
			t.Error("when it is over")
		}
		e := w.Events(i, audit.RecoveryCancel)[0]
		if e.Details["by"] != "signin" || e.Actor.ID != string(i.ID) {
			t.Errorf("%+v", e)
		}
	})
}

func TestWhatTheOperatorTakesBackIsToldToThoseWhoWereTold(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, phone)
		s := start(t, w, i, time.Hour)
		if err := flow(w).Withdraw(ctx(), operator, i); err != nil {
			t.Fatal(err)
		}
		w.Clock.Advance(time.Hour)
		if works(t, w, i, s.Ticket) {
			t.Error("the ticket works")
		}
		for _, to := range []string{alice, phone} {
			if told := w.Told(to); !slices.Equal(told, []string{"recovery_cancelled", "recovery_started"}) {
				t.Errorf("%s was told %v", to, told)
			}
		}
		if e := w.Events(i, audit.RecoveryCancel); len(e) != 1 || e[0].Actor.Kind != "operator" || e[0].Details["by"] != "operator" {
			t.Errorf("%+v", e)
		}
	})
}
