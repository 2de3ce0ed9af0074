package reset_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/message"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/reset"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func inbox(w *testkit.World, to string, kind message.Kind) (list []message.Message) {
	for _, m := range w.Inbox(to) {
		if m.Kind == string(kind) {
			list = append(list, m)
		}
	}
	return list
}

// Twenty wrong codes: one mail at once, and one that counts the rest.
func TestAnAttackSendsOneMailAndThenADigest(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		digests := func() int {
			n, err := w.Prover.SendDigests(ctx())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		w.Guess(alice, app, 1, 20)
		if n := len(inbox(w, alice, message.SecondStepFailed)); n != 1 || len(inbox(w, alice, message.BudgetEmpty)) != 1 {
			t.Errorf("%d mails at once: %v", n, w.Told(alice))
		}
		if digests() != 0 {
			t.Error("a digest before the day is over")
		}
		w.Clock.Advance(24 * time.Hour)
		if n := digests(); n != 1 {
			t.Fatalf("%d digests", n)
		}
		got := inbox(w, alice, message.SecondStepAgain)
		if len(got) != 1 || !strings.Contains(got[0].Text, "18 more times") || !strings.Contains(got[0].Text, "10.0.2.9") {
			t.Fatalf("%+v", got)
		}
		if told, err := flow(w).Told(ctx(), link(t, w, alice, string(message.SecondStepAgain))); err != nil || told.Kind != message.SecondStepFailed {
			t.Errorf("%+v, %v", told, err)
		}
		if digests() != 0 || len(inbox(w, alice, message.SecondStepAgain)) != 1 {
			t.Error("it was sent twice")
		}
		w.Guess(alice, app, 50, 1)
		if len(inbox(w, alice, message.SecondStepFailed)) != 2 {
			t.Error("the next day begins with no mail")
		}
		w.Clock.Advance(48 * time.Hour)
		if digests() != 0 {
			t.Error("a digest of nothing")
		}
	})
}

func TestASignInInAnotherBrowserIsTold(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		told := func() int { return len(inbox(w, alice, message.NewDeviceSignIn)) }
		for range 3 {
			w.Signed(testkit.From(1), alice, nil)
		}
		if told() != 0 {
			t.Errorf("the first browser of all: told %d times", told())
		}
		for range 3 {
			w.Signed(testkit.From(2), alice, nil)
		}
		if told() != 1 {
			t.Errorf("without a second step: told %d times", told())
		}
		app := w.Bind(i)
		w.Clock.Advance(time.Minute)
		p := w.Password(testkit.From(1), alice)
		p, err := w.Answer(testkit.From(1), p, app.Code(0))
		if err != nil {
			t.Fatal(err)
		}
		before := told()
		w.Clock.Advance(time.Minute)
		again := w.Password(testkit.With(testkit.From(3), p.Session.Devices...), alice)
		if _, err := w.Answer(testkit.With(testkit.From(3), p.Session.Devices...), again, app.Code(0)); err != nil || told() != before {
			t.Errorf("the known browser elsewhere: told %d times, %v", told()-before, err)
		}
		w.Clock.Advance(time.Minute)
		if _, err := w.Answer(testkit.From(4), w.Password(testkit.From(4), alice), app.Code(0)); err != nil || told() != before+1 {
			t.Errorf("another one: told %d times, %v", told()-before, err)
		}
	})
}

func TestThisWasntMeLeavesNothingGranted(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		p := w.Password(testkit.From(1), alice)
		p, err := w.Answer(testkit.From(1), p, app.Code(0))
		if err != nil {
			t.Fatal(err)
		}
		pending := w.Password(testkit.From(2), alice)
		request(t, w, alice)
		open := begin(t, w, alice)
		w.Put(func(tx *store.Tx) error { return w.Prover.Notify(tx, testkit.From(5), i, message.PasswordChanged) })
		token := link(t, w, alice, string(message.PasswordChanged))
		if err := flow(w).NotMe(ctx(), testkit.From(6), token); err != nil {
			t.Fatal(err)
		}
		if !w.Ended(t, p.Session.Token) {
			t.Error("the session goes on")
		}
		_, err = w.SignIn.State(ctx(), testkit.From(2), pending.Token)
		testkit.Want(t, "the sign-in under way", err, ceremony.ErrGone)
		if _, err := flow(w).State(ctx(), w.Visitor, open.Token); err == nil {
			t.Error("the reset under way goes on")
		}
		if list, _ := w.Read(ctx()).KnownDevices(i.Account, i.ID); len(list) != 0 {
			t.Errorf("%d browsers are known", len(list))
		}
		testkit.Want(t, "twice", flow(w).NotMe(ctx(), testkit.From(6), token), reset.ErrNotMeUsed)
		if events := w.Events(i, audit.NotMe); len(events) != 1 || events[0].Target != string(message.PasswordChanged) || events[0].Actor.Kind != "visitor" {
			t.Errorf("%+v", events)
		}
		facts := w.Facts(i)
		if !facts.Distrusted || !facts.VirtualMFA {
			t.Errorf("%+v", facts)
		}
		// A forgotten password leads out too, by two proofs.
		w.Clock.Advance(time.Hour)
		request(t, w, alice)
		if r := begin(t, w, alice); len(r.Offers) == 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestWhoAdministersHearsOfAChangeOfTheSettings(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		carol, dave := w.User(owner, "carol", account.Administrator), w.User(owner, "dave", account.Administrator)
		w.User(owner, "erin", account.Auditor)
		w.Bind(carol)
		console, _ := w.Admin()
		s, _ := w.Session(w.Visitor, carol, "password", "virtual_mfa")
		next := w.Settle(owner.Account, func(*account.Settings) {})
		next.Remember = !next.Remember
		w.Given(s, admin.ChangeSettings(next))
		if err := console.Save(ctx(), w.Visitor, s, next); err != nil {
			t.Fatal(err)
		}
		for to, want := range map[string]int{alice: 1, dave.Email: 1, carol.Email: 0, "erin@staff.example": 0} {
			if n := len(inbox(w, to, message.PolicyChanged)); n != want {
				t.Errorf("%s: %d mails", to, n)
			}
		}
	}, storetest.SQLite)
}

func TestLocksOfThePasswordAreTalliedToo(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		user := bob(w, owner)
		w.Settle(owner.Account, func(s *account.Settings) { s.Password.LoginAttempts = 2 })
		for network := range 3 {
			for range 2 {
				_, err := w.SignIn.Begin(ctx(), testkit.From(100+network), prove.Door{}, user.Name(), "wrong password of his", "")
				testkit.Want(t, "a wrong password", err, prove.ErrCredentials)
			}
		}
		w.Clock.Advance(24 * time.Hour)
		if n, err := w.Prover.SendDigests(ctx()); n != 1 || err != nil {
			t.Fatalf("%d digests, %v", n, err)
		}
		for _, to := range []string{user.Email, box} { // the profile's and the security email
			again := inbox(w, to, message.LockedAgain)
			if len(inbox(w, to, message.PasswordLocked)) != 1 || len(again) != 1 || !strings.Contains(again[0].Text, "2 more times") || !strings.Contains(again[0].Text, "10.0.102.9") {
				t.Errorf("%s: %+v", to, again)
			}
		}
	})
}
