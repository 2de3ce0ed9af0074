package selfservice_test

import (
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

func unprotect(t *testing.T, w *testkit.World, i account.Identity) {
	t.Helper()
	err := w.Write(ctx(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error { return tx.RemoveProtection(i.Account, store.ErrNoRow) })
	if err != nil {
		t.Fatal(err)
	}
}

var (
	signIn   = []policy.Scenario{policy.SignInScenario}
	password = []policy.Scenario{policy.ChangePassword}
)

func begin(t *testing.T, w *testkit.World, s prove.Signed, m factor.Method, scenarios ...policy.Scenario) string {
	t.Helper()
	id, err := w.Self.BeginProtection(ctx(), w.Visitor, s, scenarios, m)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	return id
}

// setup reads where a choice stands, which must be at a step.
func setup(t *testing.T, w *testkit.World, s prove.Signed, id string, step selfservice.SetupStep) selfservice.Setup {
	t.Helper()
	u, err := w.Self.ProtectionSetup(ctx(), w.Visitor, s, id)
	if err != nil || u.Step != step {
		t.Fatalf("at %q, %v, want %q", u.Step, err, step)
	}
	return u
}

func save(w *testkit.World, s prove.Signed, id string) (selfservice.SetupStep, secret.Token, error) {
	return w.Self.SaveProtection(ctx(), w.Visitor, s, id)
}

// shortPassword gives alice a password that may not be the only factor.
func shortPassword(t *testing.T, w *testkit.World, s prove.Signed) prove.Signed {
	t.Helper()
	if _, err := w.Raw(t).Exec("UPDATE identity SET password_alone = 0"); err != nil {
		t.Fatal(err)
	}
	s.Identity.PasswordAlone = false
	return s
}

func TestProtectionByTextMessageAttachesThePhoneThatIsMissing(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		away := elsewhere(w)
		id := begin(t, w, s, factor.SMS, policy.ManageMFA, policy.SignInScenario)
		u := setup(t, w, s, id, selfservice.StepVerify)
		if u.Present.On() || fmt.Sprint(u.Wanted.Scenarios) != "[sign-in manage-mfa]" || u.Action.Name != "protection_on" || u.Action.Target != id || !u.Action.Destructive {
			t.Errorf("%+v", u)
		}
		testkit.Want(t, "a number first", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "CN", "13800138000"), prove.ErrVerifyFirst)
		testkit.Want(t, "a code first", w.Self.SendSetup(ctx(), w.Visitor, s, id), prove.ErrVerifyFirst)
		_, err := w.Self.SetupCode(ctx(), w.Visitor, s, id, "123456")
		testkit.Want(t, "answering first", err, prove.ErrVerifyFirst)
		_, _, err = save(w, s, id)
		testkit.Want(t, "saving first", err, prove.ErrVerifyFirst)
		s = w.Verified(s, u.Action, factor.Email)
		setup(t, w, s, id, selfservice.StepNumber)
		testkit.Want(t, "a code to nowhere", w.Self.SendSetup(ctx(), w.Visitor, s, id), selfservice.ErrNoPhone)
		if next, _, err := save(w, s, id); next != selfservice.StepNumber || err != nil {
			t.Errorf("saving without a phone: %s, %v", next, err)
		}
		testkit.Want(t, "no number", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "CN", "12345"), account.ErrPhoneForm)
		testkit.Want(t, "a number", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "CN", "13900139000"), nil)
		earlier := w.MailedCode(other)
		testkit.Want(t, "another one at once", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "CN", "13800138000"), ceremony.ErrSendSoon)
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "a minute later", w.Self.SendSetup(ctx(), w.Visitor, s, id), nil)
		u = setup(t, w, s, id, selfservice.StepCode)
		if u.Phone != hers || !u.NewOne || u.Country != "CN" || !u.Sent || u.Digits != 6 || u.Resend != time.Minute {
			t.Errorf("%+v", u)
		}
		code := w.MailedCode(hers)
		_, err = w.Self.SetupCode(ctx(), w.Visitor, s, id, earlier)
		testkit.Want(t, "the code to the number before", err, ceremony.ErrSentWrong)
		_, err = w.Self.SetupCode(ctx(), w.Visitor, s, id, "")
		testkit.Want(t, "no code", err, factor.ErrCodeMissing)
		if f := w.Facts(i); f.Phone || f.Protection.On() {
			t.Errorf("in force before the code: %+v", f)
		}
		token, err := w.Self.SetupCode(ctx(), w.Visitor, s, id, code)
		testkit.Want(t, "the code", err, nil)
		mine := who(t, w, token)
		f := w.Facts(i)
		if !f.Phone || f.Protection.Method != factor.SMS || fmt.Sprint(f.Protection.Scenarios) != "[sign-in manage-mfa]" || !f.Protection.Since.Equal(w.Clock.Now()) {
			t.Errorf("%+v", f)
		}
		if codes, err := w.Self.NewRecoveryCodes(ctx(), mine); err != nil || len(codes) != factor.RecoveryCodes || f.RecoveryCodes != factor.RecoveryCodes {
			t.Errorf("recovery codes: %d, %v", len(codes), err)
		}
		ended(t, w, away)
		wantTold(t, w, alice, "[protection_on phone_attached]")
		wantTold(t, w, hers, "[phone_attached]")
		wantTold(t, w, other, "[]")
		wantEvent(t, w, audit.ProtectionAdd, "map[method:sms scenarios:sign-in manage-mfa]")
		wantEvent(t, w, audit.MobileBind, "map[to:138****00]")
		if p := w.Password(testkit.From(5), alice); p.Session != nil || p.Offers[0].Method != factor.SMS {
			t.Errorf("the next sign-in: %+v", p)
		}
	})
}

func TestAChangedNumberVoidsTheCodesThatWentToTheOneBefore(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id := begin(t, w, s, factor.SMS, signIn...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.Email)
		testkit.Want(t, "hers", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "", hers), nil)
		code := w.MailedCode(hers)
		testkit.Want(t, "another's, at once", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "", other), ceremony.ErrSendSoon)
		_, err := w.Self.SetupCode(ctx(), w.Visitor, s, id, code)
		testkit.Want(t, "the code that went to hers", err, ceremony.ErrNotSent)
		if w.Facts(w.Identity(alice)).Phone {
			t.Error("a number is attached that never answered")
		}
	})
}

func TestAPhoneThatVerifiedIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id := begin(t, w, s, factor.SMS, signIn...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.SMS)
		setup(t, w, s, id, selfservice.StepSave)
		_, token, err := save(w, s, id)
		testkit.Want(t, "save", err, nil)
		s = who(t, w, token)
		wantTold(t, w, alice, "[protection_on]")
		wantTold(t, w, hers, "[]")

		app := w.Bind(i)
		id = begin(t, w, s, factor.SMS, policy.ChangePassword, policy.SignInScenario)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.VirtualMFA, app.Code(0))
		u := setup(t, w, s, id, selfservice.StepCode)
		if u.NewOne || u.Phone != hers || u.Sent {
			t.Errorf("after a code of the app: %+v", u)
		}
		if next, _, err := save(w, s, id); next != selfservice.StepCode || err != nil {
			t.Errorf("saving after a code of the app: %s, %v", next, err)
		}
		testkit.Want(t, "another number", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "", other), selfservice.ErrPhoneChanged)
		testkit.Want(t, "send", w.Self.SendSetup(ctx(), w.Visitor, s, id), nil)
		token, err = w.Self.SetupCode(ctx(), w.Visitor, s, id, w.MailedCode(hers))
		testkit.Want(t, "its code", err, nil)
		who(t, w, token)
		wantTold(t, w, alice, "[protection_changed protection_on]")
		wantTold(t, w, hers, "[protection_changed]")
	})
}

func TestProtectionByADeviceBindsItWithOneCode(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		away := elsewhere(w)
		id := begin(t, w, s, factor.VirtualMFA, password...)
		_, err := w.Self.SetupDevice(ctx(), w.Visitor, s, id, "", "123456")
		testkit.Want(t, "without a verification", err, prove.ErrVerifyFirst)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.Email)
		u := setup(t, w, s, id, selfservice.StepDevice)
		app := appOf(t, w, u.Binding)
		testkit.Want(t, "a text message", w.Self.SendSetup(ctx(), w.Visitor, s, id), policy.ErrMethod)
		testkit.Want(t, "a number", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "", hers), policy.ErrMethod)
		if next, _, err := save(w, s, id); next != selfservice.StepDevice || err != nil {
			t.Errorf("saving without a device: %s, %v", next, err)
		}
		_, err = w.Self.SetupDevice(ctx(), w.Visitor, s, id, "", app.WrongCode())
		testkit.Want(t, "wrong", err, factor.ErrCodeWrong)
		if f := w.Facts(i); f.VirtualMFA || f.Protection.On() {
			t.Errorf("in force before the code: %+v", f)
		}
		token, err := w.Self.SetupDevice(ctx(), w.Visitor, s, id, " Pixel ", app.Code(0))
		testkit.Want(t, "one code", err, nil)
		mine := who(t, w, token)
		if f := w.Facts(i); !f.VirtualMFA || f.Protection.Method != factor.VirtualMFA || f.RecoveryCodes != factor.RecoveryCodes {
			t.Errorf("%+v", f)
		}
		if codes, err := w.Self.NewRecoveryCodes(ctx(), mine); err != nil || len(codes) != factor.RecoveryCodes {
			t.Errorf("recovery codes: %d, %v", len(codes), err)
		}
		ended(t, w, away)
		wantTold(t, w, alice, "[protection_on device_bound]")
		wantEvent(t, w, audit.ProtectionAdd, "map[method:virtual_mfa scenarios:change-password]")
		p := w.Password(testkit.From(5), alice)
		_, err = w.Answer(testkit.From(5), p, app.Code(0))
		testkit.Want(t, "the code it was bound with", err, factor.ErrCodeUsed)

		_, err = w.Self.Unbind(ctx(), w.Visitor, mine, setupDeviceID(t, w, mine))
		testkit.Want(t, "unbind what protects", err, selfservice.ErrProtects)
	})
}

func setupDeviceID(t *testing.T, w *testkit.World, s prove.Signed) string {
	t.Helper()
	o, err := w.Self.Overview(ctx(), s)
	if err != nil || o.VirtualMFA.ID == "" {
		t.Fatalf("%+v, %v", o.VirtualMFA, err)
	}
	return o.VirtualMFA.ID
}

func TestEditingAndTurningOffTakeThePresentMethod(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		w.Protect(i, factor.SMS, policy.SignInScenario)
		since := w.Clock.Now()
		w.Clock.Advance(time.Hour)
		s, _ := w.SignedBy(w.Visitor, i, factor.SMS)
		id := begin(t, w, s, factor.SMS, policy.ChangeContact, policy.SignInScenario)
		u := setup(t, w, s, id, selfservice.StepVerify) // the sign-in a moment ago does not do
		if u.Action.Name != "protection_edit" || u.Present.Method != factor.SMS {
			t.Errorf("%+v", u)
		}
		v, err := w.Verify.Begin(ctx(), w.Visitor, s, u.Action, "/")
		testkit.Want(t, "begin", err, nil)
		testkit.Want(t, "by mail", w.Verify.Send(ctx(), w.Visitor, s, v, factor.Email), policy.ErrMethod)
		s = w.Verified(s, u.Action, factor.SMS)
		_, token, err := save(w, s, id)
		testkit.Want(t, "save", err, nil)
		s = who(t, w, token)
		if p := w.Facts(i).Protection; !p.Since.Equal(since) || !p.ChangedAt.Equal(w.Clock.Now()) || fmt.Sprint(p.Scenarios) != "[sign-in change-contact]" {
			t.Errorf("%+v", p)
		}
		wantTold(t, w, alice, "[protection_changed]")
		wantEvent(t, w, audit.ProtectionModify, "map[method:sms method_before:sms scenarios:sign-in change-contact scenarios_before:sign-in]")

		_, err = w.Self.TurnOffProtection(ctx(), w.Visitor, s)
		testkit.Want(t, "turn off without a verification", err, prove.ErrVerifyFirst)
		v, err = w.Verify.Begin(ctx(), w.Visitor, s, selfservice.TurnOff, "/")
		testkit.Want(t, "begin", err, nil)
		testkit.Want(t, "by mail", w.Verify.Send(ctx(), w.Visitor, s, v, factor.Email), policy.ErrMethod)
		s = w.Verified(s, selfservice.TurnOff, factor.SMS)
		short := shortPassword(t, w, s)
		_, err = w.Self.TurnOffProtection(ctx(), w.Visitor, short)
		testkit.Want(t, "turn off with a short password", err, selfservice.ErrPasswordShort)
		_, away := w.SignedBy(testkit.From(7), i, factor.SMS)
		token, err = w.Self.TurnOffProtection(ctx(), w.Visitor, s)
		testkit.Want(t, "turn off", err, nil)
		who(t, w, token)
		ended(t, w, away)
		wantTold(t, w, alice, "[protection_off protection_changed]")
		wantEvent(t, w, audit.ProtectionRemove, "map[method_before:sms scenarios_before:sign-in change-contact]")
		if p := w.Password(testkit.From(8), alice); p.Session == nil {
			t.Error("a second step is still asked")
		}
		_, err = w.Self.TurnOffProtection(ctx(), w.Visitor, who(t, w, token))
		testkit.Want(t, "turn off again", err, selfservice.ErrNotProtected)
	})
}

func TestAChoiceThatItsAuthorCouldNotLiveWithIsRefused(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		choose := func(m factor.Method, scenarios ...policy.Scenario) error {
			_, err := w.Self.BeginProtection(ctx(), w.Visitor, s, scenarios, m)
			return err
		}
		testkit.Want(t, "nothing", choose(factor.SMS), policy.ErrNoScenario)
		testkit.Want(t, "mail", choose(factor.Email, signIn...), policy.ErrNoMethod)
		w.Protect(i, factor.SMS, policy.SignInScenario)
		testkit.Want(t, "the same", choose(factor.SMS, signIn...), selfservice.ErrNothingNew)
		testkit.Want(t, "sign-in dropped, with a long password", choose(factor.SMS, password...), nil)
		s = shortPassword(t, w, s)
		testkit.Want(t, "sign-in dropped, with a short password", choose(factor.SMS, password...), selfservice.ErrPasswordShort)
		testkit.Want(t, "a device asks at sign-in anyway", choose(factor.VirtualMFA, password...), nil)
		testkit.Want(t, "more", choose(factor.SMS, policy.Scenarios...), nil)
		w.Prover.Sending.NoTexts = true
		testkit.Want(t, "no gateway", choose(factor.SMS, policy.Scenarios...), prove.ErrNoTexts)
	})
}

func TestAPasswordMadeShortMeanwhileKeepsTheChoiceFromBeingSaved(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		w.Protect(i, factor.SMS, policy.SignInScenario)
		s, _ := w.SignedBy(w.Visitor, i, factor.SMS)
		id := begin(t, w, s, factor.SMS, password...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.SMS)
		shortPassword(t, w, s)
		_, _, err := save(w, s, id)
		testkit.Want(t, "save", err, selfservice.ErrPasswordShort)
		if p := w.Facts(i).Protection; !p.Covers(policy.SignInScenario) {
			t.Errorf("saved all the same: %+v", p)
		}
	})
}

func TestAChoiceBelongsToItsSessionItsTimeAndItsVerification(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Owner(bob)
		w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		first := begin(t, w, s, factor.SMS, signIn...)
		a := setup(t, w, s, first, selfservice.StepVerify).Action
		s = w.Verified(s, a, factor.SMS)
		mate, _ := w.Signed(testkit.From(2), alice, nil)
		stranger, _ := w.Signed(testkit.From(3), bob, nil)
		for name, o := range map[string]prove.Signed{"another session of hers": mate, "another's session": stranger} {
			_, _, err := save(w, o, first)
			testkit.Want(t, name, err, selfservice.ErrProtectionGone)
			_, err = w.Self.ProtectionSetup(ctx(), w.Visitor, o, first)
			testkit.Want(t, name, err, selfservice.ErrProtectionGone)
			_, err = w.Self.SetupCode(ctx(), w.Visitor, o, first, "123456")
			testkit.Want(t, name, err, selfservice.ErrProtectionGone)
			_, err = w.Self.SetupDevice(ctx(), w.Visitor, o, first, "", "123456")
			testkit.Want(t, name, err, selfservice.ErrProtectionGone)
			testkit.Want(t, name, w.Self.SendSetup(ctx(), w.Visitor, o, first), selfservice.ErrProtectionGone)
			testkit.Want(t, name, w.Self.SetupNumber(ctx(), w.Visitor, o, first, "", other), selfservice.ErrProtectionGone)
		}
		second := begin(t, w, s, factor.SMS, password...)
		setup(t, w, s, second, selfservice.StepVerify) // the verification was for the first
		_, _, err := save(w, s, second)
		testkit.Want(t, "another choice", err, prove.ErrVerifyFirst)
		_, _, err = save(w, s, first)
		testkit.Want(t, "the choice before", err, selfservice.ErrProtectionGone)
		_, err = w.Self.TurnOffProtection(ctx(), w.Visitor, s)
		testkit.Want(t, "nothing to turn off", err, selfservice.ErrNotProtected)
		s = w.Verified(s, setup(t, w, s, second, selfservice.StepVerify).Action, factor.SMS)
		w.Clock.Advance(policy.Freshness + time.Second)
		_, _, err = save(w, s, second)
		testkit.Want(t, "ten minutes after the verification", err, prove.ErrVerifyFirst)
		w.Clock.Advance(ceremony.SessionLifetime)
		_, _, err = save(w, s, second)
		testkit.Want(t, "after half an hour", err, selfservice.ErrProtectionGone)
		if w.Facts(i).Protection.On() {
			t.Error("something was saved")
		}
	})
}

func TestASetUpHasFiveTries(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id := begin(t, w, s, factor.SMS, signIn...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.Email)
		testkit.Want(t, "a number", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "", hers), nil)
		code := w.MailedCode(hers)
		for range 5 {
			_, err := w.Self.SetupCode(ctx(), w.Visitor, s, id, wrongly(code))
			testkit.Want(t, "wrong", err, ceremony.ErrSentWrong)
		}
		_, err := w.Self.SetupCode(ctx(), w.Visitor, s, id, code)
		testkit.Want(t, "the sixth", err, selfservice.ErrProtectionTries)
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "a code when there are no tries", w.Self.SendSetup(ctx(), w.Visitor, s, id), selfservice.ErrProtectionTries)
		_, err = w.Self.ProtectionSetup(ctx(), w.Visitor, s, id)
		testkit.Want(t, "its page", err, selfservice.ErrProtectionTries)
		if b := w.Budget(i); b.Fails != 5 {
			t.Errorf("budget %+v", b)
		}

		id = begin(t, w, s, factor.SMS, signIn...)
		s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.Email)
		testkit.Want(t, "a number", w.Self.SetupNumber(ctx(), w.Visitor, s, id, "", hers), nil)
		code = w.MailedCode(hers)
		for range 4 {
			_, err := w.Self.SetupCode(ctx(), w.Visitor, s, id, wrongly(code))
			testkit.Want(t, "wrong", err, ceremony.ErrSentWrong)
		}
		_, err = w.Self.SetupCode(ctx(), w.Visitor, s, id, code)
		testkit.Want(t, "the last try, right", err, nil)
	})
}
