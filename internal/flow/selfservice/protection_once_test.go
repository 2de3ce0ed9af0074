package selfservice_test

import (
	"errors"
	"fmt"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestOneOfTwentySavesAChoice(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Attach(w.Owner(alice), hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id := begin(t, w, s, factor.SMS, signIn...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.SMS)
		one(t, w, func(int) error {
			next, _, err := save(w, s, id)
			if err == nil && next != selfservice.StepSave {
				return errors.New(string(next))
			}
			return err
		})
		wantTold(t, w, alice, "[protection_on]")
	})
}

func TestOneOfTwentyAttachesThePhoneOfASetUp(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id := begin(t, w, s, factor.SMS, signIn...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.Email)
		testkit.Want(t, "a number", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "", hers), nil)
		code := w.MailedCode(hers)
		one(t, w, func(int) error { _, err := w.Self.SetupCode(ctx(), w.Visitor, s, id, code); return err })
		wantTold(t, w, hers, "[phone_attached]")
	})
}

func TestOneOfTwentyBindsTheDeviceOfASetUp(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id := begin(t, w, s, factor.VirtualMFA, signIn...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.Email)
		code := appOf(t, w, setup(t, w, s, id, selfservice.StepDevice).Binding).Code(0)
		one(t, w, func(int) error { _, err := w.Self.SetupDevice(ctx(), w.Visitor, s, id, "", code); return err })
		wantTold(t, w, alice, "[protection_on device_bound]")
	})
}

// Whoever is first, alice can sign in afterwards.
func TestProtectingAndRemovingThePhoneAtOnceLocksNobodyOut(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		present := w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id := begin(t, w, s, factor.SMS, signIn...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.SMS)
		s = w.Verified(s, selfservice.RemovePhoneAction(present), factor.SMS)
		one(t, w, func(n int) error {
			if n%2 == 0 {
				_, err := w.Self.RemovePhone(ctx(), w.Visitor, s, present.ID)
				if errors.Is(err, selfservice.ErrProtects) || errors.Is(err, selfservice.ErrNoPhone) {
					err = selfservice.ErrProtectionGone
				}
				return err
			}
			_, _, err := save(w, s, id)
			return err
		})
		f := w.Facts(i)
		if f.Protection.On() && !f.Phone {
			t.Error("protected by a phone that is not there")
		}
		w.Password(testkit.From(4), alice) // is refused by none
	})
}

func TestANumberServesSixIdentitiesHoweverManyComeAtOnce(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		for n := range 5 {
			w.Attach(w.Owner(fmt.Sprintf("%d@example.com", n)), hers)
		}
		type comer struct {
			s        prove.Signed
			id, code string
		}
		var comers []comer
		for n := range 4 {
			email := fmt.Sprintf("late%d@example.com", n)
			w.Owner(email)
			s, _ := w.Signed(w.Visitor, email, nil)
			s = w.Verified(s, selfservice.AttachPhone, factor.Email)
			id, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "", hers)
			testkit.Want(t, "change", err, nil)
			comers = append(comers, comer{s, id, w.MailedCode(hers)})
		}
		in := 0
		for _, err := range storetest.Parallel(len(comers), func(n int) error { _, err := confirm(w, comers[n].s, comers[n].id, comers[n].code); return err }) {
			if err == nil {
				in++
			} else if !errors.Is(err, account.ErrPhoneTaken) {
				t.Error(err)
			}
		}
		if n, err := w.Read(ctx()).PhoneIdentities(hers); in != 1 || n != 6 || err != nil {
			t.Errorf("%d came in, %d in all, %v", in, n, err)
		}
	})
}

func TestMailMakesNoRecoveryCodesBesideAPhone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.BindVirtualMFA, factor.Email) // the scenario, by mail
		w.Attach(i, hers)
		testkit.Want(t, "after a mailed code", w.Self.MakeRecoveryCodes(ctx(), w.Visitor, s), prove.ErrVerifyFirst)
		s = w.Verified(s, selfservice.MakeCodes, factor.SMS)
		testkit.Want(t, "after a text message", w.Self.MakeRecoveryCodes(ctx(), w.Visitor, s), nil)
	})
}

func TestNoticesByTextMessageWaitForNothingThatCannotSendThem(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Attach(w.Owner(alice), hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.ChangeEmail, factor.SMS)
		id, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, "new@example.com")
		testkit.Want(t, "change", err, nil)
		w.Prover.Sending.Countries = map[string]bool{"JP": true}
		_, err = confirm(w, s, id, w.MailedCode("new@example.com"))
		testkit.Want(t, "confirm", err, nil)
		wantTold(t, w, hers, "[]")
		wantTold(t, w, alice, "[email_changed]")
	})
}
