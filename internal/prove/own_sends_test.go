package prove_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// home is alice's own browser: known since a sign-in of the day before.
func home(t *testing.T, w *testkit.World) prove.Visitor {
	t.Helper()
	p, code := sent(t, w, w.Visitor)
	p, err := w.SignIn.Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.SMS, Codes: []string{code}})
	if err != nil || len(p.Session.Devices) == 0 {
		t.Fatalf("sign in: %v", err)
	}
	w.Clock.Advance(24 * time.Hour)
	return testkit.With(w.Visitor, p.Session.Devices...)
}

func textTo(w *testkit.World, v prove.Visitor) error {
	return w.SignIn.Send(ctx(), v, w.Password(v, alice).Token, factor.SMS)
}

func TestTenSendsOfUnknownDevicesLeaveTheKnownDeviceItsOwn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		known := home(t, w)
		for range 2 {
			for n := range throttle.DestinationPerHour {
				testkit.Want(t, "unknown", textTo(w, testkit.From(n)), nil)
			}
			testkit.Want(t, "the sixth unknown one", textTo(w, testkit.From(9)), ceremony.ErrSendTooMany)
			w.Clock.Advance(time.Hour)
		}
		testkit.Want(t, "unknown, the eleventh of the day", textTo(w, testkit.From(9)), ceremony.ErrSendTooMany)
		for range 2 {
			for n := range throttle.DestinationPerHour {
				testkit.Want(t, fmt.Sprintf("known, number %d", n), textTo(w, known), nil)
			}
			testkit.Want(t, "the sixth known one", textTo(w, known), ceremony.ErrSendTooMany)
			w.Clock.Advance(time.Hour)
		}
		testkit.Want(t, "known, the eleventh of the day", textTo(w, known), ceremony.ErrSendTooMany)
	})
}

func TestTheSendsOfAKnownDeviceLeaveUnknownOnesTheirs(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		known := home(t, w)
		for range throttle.DestinationPerHour {
			testkit.Want(t, "known", textTo(w, known), nil)
		}
		testkit.Want(t, "unknown", textTo(w, testkit.From(1)), nil)
	})
}

func TestAnAccountThatHasPaidForItsDayStillPaysForItsKnownDevice(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		known := home(t, w)
		err := w.Write(ctx(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error {
			for range throttle.PayerPerDay {
				if _, _, err := tx.Count("sends:"+string(i.Account), throttle.PayerPerDay, 24*time.Hour); err != nil {
					return err
				}
			}
			return nil
		})
		testkit.Want(t, "count", err, nil)
		testkit.Want(t, "unknown", textTo(w, testkit.From(1)), ceremony.ErrSendTooMany)
		testkit.Want(t, "known", textTo(w, known), nil)
	})
}

// Whoever copied the cookie and guessed, or holds another's, is unknown; and a
// number that has not answered is charged to nobody's device.
func TestOnlyAKnownDeviceOfHersInGoodStandingHasSendsOfItsOwn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		known := home(t, w)
		own := func() int {
			t.Helper()
			list, err := w.Read(ctx()).Windows("sends:device:", w.Clock.Now())
			testkit.Want(t, "windows", err, nil)
			return len(list)
		}
		bob := w.Owner("bob@example.com")
		w.Attach(bob, "+8613900139000")
		w.Protect(bob, factor.SMS, policy.SignInScenario)
		p := w.Password(known, bob.Email)
		testkit.Want(t, "bob in alice's browser", w.SignIn.Send(ctx(), known, p.Token, factor.SMS), nil)
		s, _ := w.SignedBy(testkit.From(1), i, factor.SMS)
		_, err := w.Self.ChangePhone(ctx(), known, s, "", "+8613900139001")
		testkit.Want(t, "a new number", err, nil)
		if n := own(); n != 0 {
			t.Errorf("%d counts of the device's own", n)
		}
		testkit.Want(t, "her own", textTo(w, known), nil)
		if n := own(); n != 2 { // the destination and the payer
			t.Errorf("%d counts of the device's own", n)
		}
		for n := 1; n < throttle.DestinationPerHour; n++ {
			testkit.Want(t, "unknown", textTo(w, testkit.From(n)), nil)
		}
		p = w.Password(known, alice)
		for range throttle.DeviceTries {
			_, err := w.SignIn.Begin(ctx(), known, prove.Door{}, alice, "not it", "")
			testkit.Want(t, "wrong", err, prove.ErrCredentials)
		}
		testkit.Want(t, "a device that has guessed", w.SignIn.Send(ctx(), known, p.Token, factor.SMS), ceremony.ErrSendTooMany)
		testkit.Want(t, "and in a new sign-in", textTo(w, known), ceremony.ErrSendTooMany)
	})
}

func TestACeremonySendsTenMessagesThoughAllOfThemDie(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Attach(w.Owner(alice), hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id, err := w.Verify.Begin(ctx(), w.Visitor, s, selfservice.ChangePassword, "/")
		testkit.Want(t, "begin", err, nil)
		send := func() error { return w.Verify.Send(ctx(), w.Visitor, s, id, factor.SMS) }
		for n := range 10 {
			testkit.Want(t, fmt.Sprintf("number %d", n), send(), nil)
			die(t, w)
		}
		testkit.Want(t, "the eleventh", send(), ceremony.ErrSendTooMany)
		if n := len(w.Inbox(hers)); n != 10 {
			t.Errorf("%d messages", n)
		}
		if id, err = w.Verify.Begin(ctx(), w.Visitor, s, selfservice.EndSessions, "/"); err != nil {
			t.Fatal(err)
		}
		testkit.Want(t, "another verification", send(), nil)
	})
}

func die(t *testing.T, w *testkit.World) message.Message {
	t.Helper()
	m, found, err := w.ClaimMessage(ctx(), time.Minute, message.SMS)
	if err != nil || !found {
		t.Fatalf("claim: %v, %v", found, err)
	}
	testkit.Want(t, "die", w.MessageDead(ctx(), m.ID, "no route"), nil)
	return m
}

func TestAMessageThatDiesLateLeavesTheCountsOfLaterSendsAlone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		testkit.Want(t, "send", textTo(w, testkit.From(1)), nil)
		m, found, err := w.ClaimMessage(ctx(), time.Hour, message.SMS)
		if err != nil || !found || len(m.Charges) == 0 {
			t.Fatalf("%+v, %v", m, err)
		}
		w.Clock.Advance(24 * time.Hour)
		testkit.Want(t, "the next day", textTo(w, testkit.From(2)), nil)
		testkit.Want(t, "die", w.MessageDead(ctx(), m.ID, "no route"), nil)
		if n := counted(t, w, "sends:"+string(i.Account)); n != 1 {
			t.Errorf("%d counted", n)
		}
	})
}

// notify tells i of something n times.
func notify(t *testing.T, w *testkit.World, i account.Identity, kind message.Kind, n int) {
	t.Helper()
	for range n {
		err := w.Write(ctx(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error {
			return w.Prover.Notify(tx, w.Visitor, i, kind)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTenNoticesADayGoToOneNumber(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i, bob := w.Owner(alice), w.Owner("bob@example.com")
		w.Attach(i, hers)
		w.Attach(bob, hers) // they share it
		notify(t, w, i, message.RecoveryCodesMade, 3)
		notify(t, w, i, message.PasswordChanged, 6)
		notify(t, w, bob, message.PasswordChanged, 6)
		if n := len(w.Told(hers)); n != 10 {
			t.Errorf("%d text messages", n)
		}
		if a, b := len(w.Told(alice)), len(w.Told(bob.Email)); a != 9 || b != 6 {
			t.Errorf("%d and %d mails", a, b)
		}
		carol := w.Owner("carol@example.com")
		w.Attach(carol, "+8613900139000")
		notify(t, w, carol, message.PasswordChanged, 1)
		if n := len(w.Told("+8613900139000")); n != 1 {
			t.Errorf("another number: %d", n)
		}
		w.Clock.Advance(24 * time.Hour)
		notify(t, w, i, message.PasswordChanged, 1)
		if n := len(w.Told(hers)); n != 11 {
			t.Errorf("%d text messages the next day", n)
		}
	})
}

func TestNoNoticeGoesToAPhoneWhereTextsCannotBeSent(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		w.Prover.Sending.NoTexts = true
		notify(t, w, i, message.DeviceBound, 6)
		w.Prover.Sending.NoTexts, w.Prover.Sending.Countries = false, map[string]bool{"JP": true}
		notify(t, w, i, message.DeviceBound, 6)
		if m := w.Inbox(hers); len(m) != 0 {
			t.Errorf("sent %d", len(m))
		}
		if n := len(w.Told(alice)); n != 12 {
			t.Errorf("%d mails", n)
		}
		w.Prover.Sending.Countries = nil
		notify(t, w, i, message.DeviceBound, 10)
		if n := len(w.Told(hers)); n != 10 { // what was not sent was not counted
			t.Errorf("%d text messages", n)
		}
	})
}

func TestADestructiveActionPassesWhereItsScenarioAsksForNothing(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		a := policy.Action{Scenario: "an-application-s", Name: "x", Target: "y", Destructive: true}
		permit := func() error {
			return w.Write(ctx(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error {
				who, err := w.Prover.Permit(tx, s, a)
				if err == nil && who.ID != i.ID {
					err = errors.New("another's")
				}
				return err
			})
		}
		for range 2 {
			testkit.Want(t, "nothing is asked", permit(), nil)
		}
		w.Protect(i, factor.SMS, a.Scenario)
		testkit.Want(t, "protected", permit(), prove.ErrVerifyFirst)
		s = w.Verified(s, a, factor.SMS)
		testkit.Want(t, "verified", permit(), nil)
		testkit.Want(t, "used up", permit(), prove.ErrVerifyFirst)
	})
}
