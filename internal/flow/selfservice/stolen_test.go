package selfservice_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/testkit"
)

// TestAStolenMailboxWithALiveSessionChangesNothingOnceAPhoneIsAttached is the
// attack of the report: whoever reads the mail and has a session neither binds
// a device, nor makes codes, nor changes anything, whatever they proved by mail
// before.
func TestAStolenMailboxWithALiveSessionChangesNothingOnceAPhoneIsAttached(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		_, away := w.Signed(testkit.From(2), alice, nil)
		for _, a := range []policy.Action{selfservice.BindVirtualMFA, selfservice.ChangePassword, selfservice.EmailAction(i), selfservice.EndSessions} {
			s = w.Verified(s, a, factor.Email) // every scenario, just before
		}
		begun, err := w.Self.BeginBind(ctx(), w.Visitor, s, "")
		testkit.Want(t, "bind while mail is all there is", err, nil)
		app := appOf(t, w, begun)
		choice := map[factor.Method]func() string{}
		for _, m := range policy.ProtectionMethods {
			choice[m] = func() string { return begin(t, w, s, m, policy.Scenarios...) }
		}
		present := w.Attach(i, hers)
		w.Clock.Advance(time.Second)
		read := len(w.Inbox(alice))

		actions := []policy.Action{selfservice.BindVirtualMFA, selfservice.MakeCodes, selfservice.ChangePassword, selfservice.EmailAction(i), selfservice.PhoneAction(present), selfservice.AttachPhone,
			selfservice.RemovePhoneAction(present), selfservice.TurnOff, selfservice.EndSessions, selfservice.Resynchronise, selfservice.Unbind("device")}
		for _, m := range policy.ProtectionMethods {
			actions = append(actions, setup(t, w, s, choice[m](), selfservice.StepVerify).Action)
		}
		for _, a := range actions {
			id, err := w.Verify.Begin(ctx(), w.Visitor, s, a, "/")
			testkit.Want(t, a.Name+": begin", err, nil)
			testkit.Want(t, a.Name+" by mail", w.Verify.Send(ctx(), w.Visitor, s, id, factor.Email), policy.ErrMethod)
			_, _, err = w.Verify.Answer(ctx(), w.Visitor, s, id, prove.Answer{Method: factor.Email, Codes: []string{"123456"}})
			testkit.Want(t, a.Name+" by mail", err, policy.ErrMethod)
		}

		protect := func(m factor.Method, f func(id string) error) func() error {
			return func() error { return f(choice[m]()) }
		}
		token := func(f func() (secret.Token, error)) func() error {
			return func() error { _, err := f(); return err }
		}
		for name, try := range map[string]func() error{
			"bind a device": func() error { _, err := w.Self.BeginBind(ctx(), w.Visitor, s, ""); return err },
			"confirm the device begun before": token(func() (secret.Token, error) {
				return w.Self.ConfirmBind(ctx(), w.Visitor, s, begun.ID, "", app.Code(-1), app.Code(0))
			}),
			"make recovery codes": func() error { return w.Self.MakeRecoveryCodes(ctx(), w.Visitor, s) },
			"change the password": token(func() (secret.Token, error) {
				return w.Self.ChangePassword(ctx(), w.Visitor, s, testkit.Password, "another otter, other vines")
			}),
			"change the address":   func() error { _, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, "new@example.com"); return err },
			"change the phone":     func() error { _, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "", other); return err },
			"remove the phone":     token(func() (secret.Token, error) { return w.Self.RemovePhone(ctx(), w.Visitor, s, present.ID) }),
			"end the sessions":     func() error { _, err := w.Self.EndOtherSessions(ctx(), w.Visitor, s); return err },
			"end a session":        func() error { return w.Self.EndSession(ctx(), w.Visitor, s, "another") },
			"name a number":        protect(factor.SMS, func(id string) error { return w.Self.SetupNumber(ctx(), w.Visitor, s, id, "", other) }),
			"have a code sent":     protect(factor.SMS, func(id string) error { return w.Self.SendSetup(ctx(), w.Visitor, s, id) }),
			"answer a set-up":      protect(factor.SMS, func(id string) error { _, err := w.Self.SetupCode(ctx(), w.Visitor, s, id, "123456"); return err }),
			"save a choice":        protect(factor.SMS, func(id string) error { _, _, err := save(w, s, id); return err }),
			"protect by a device":  protect(factor.VirtualMFA, func(id string) error { _, err := w.Self.SetupDevice(ctx(), w.Visitor, s, id, "", "123456"); return err }),
			"save without a phone": protect(factor.VirtualMFA, func(id string) error { _, _, err := save(w, s, id); return err }),
		} {
			testkit.Want(t, name, try(), prove.ErrVerifyFirst)
		}
		w.Protect(i, factor.SMS, policy.SignInScenario)
		_, err = w.Self.TurnOffProtection(ctx(), w.Visitor, s)
		testkit.Want(t, "turn protection off", err, prove.ErrVerifyFirst)
		unprotect(t, w, i)

		if f := w.Facts(i); f.VirtualMFA || f.RecoveryCodes != 0 || f.Protection.On() || w.Sends(i, factor.SMS) != hers {
			t.Errorf("left: %+v", f)
		}
		if _, err := w.SignIn.Signed(ctx(), away); err != nil {
			t.Errorf("the owner is signed out: %v", err)
		}
		for _, to := range []string{hers, other, "new@example.com"} {
			if n := len(w.Inbox(to)); n != 0 {
				t.Errorf("%d messages to %s", n, to)
			}
		}
		if n := len(w.Inbox(alice)); n != read {
			t.Errorf("%d more mails", n-read)
		}
		// The owner does all of it with the phone.
		s = w.Verified(s, selfservice.BindVirtualMFA, factor.SMS)
		_, err = w.Self.ConfirmBind(ctx(), w.Visitor, s, begun.ID, "", app.Code(-1), app.Code(0))
		testkit.Want(t, "with the phone", err, nil)
	})
}

func TestAMailedSignInIsNoVerificationBesideAPhone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.BindVirtualMFA, factor.Email)
		testkit.Want(t, "codes, nothing bound", w.Self.MakeRecoveryCodes(ctx(), w.Visitor, s), selfservice.ErrNoDevice)
		if _, err := w.Raw(t).Exec("UPDATE identity SET email_confirmed_at = 0"); err != nil {
			t.Fatal(err)
		}
		w.Attach(i, hers)
		s, _ = w.SignedBy(testkit.From(2), i, factor.Email) // the address is confirmed by it
		testkit.Want(t, "codes", w.Self.MakeRecoveryCodes(ctx(), w.Visitor, s), prove.ErrVerifyFirst)
		_, err := w.Self.BeginBind(ctx(), w.Visitor, s, "")
		testkit.Want(t, "a device", err, prove.ErrVerifyFirst)
	})
}

func TestAProofForOneActionOnAnObjectIsNoneForAnother(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		present := w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		replace, remove := selfservice.PhoneAction(present), selfservice.RemovePhoneAction(present)
		if replace.Scenario != remove.Scenario || replace.Target != remove.Target || replace.Target != present.ID || replace.Name == remove.Name {
			t.Fatalf("the object is not the same: %+v, %+v", replace, remove)
		}
		s = w.Verified(s, replace, factor.SMS)
		_, err := w.Self.RemovePhone(ctx(), w.Visitor, s, present.ID)
		testkit.Want(t, "remove with a proof for replacing", err, prove.ErrVerifyFirst)

		// The same id as a choice of Account Protection, turned on and edited.
		id := begin(t, w, s, factor.SMS, signIn...)
		on := setup(t, w, s, id, selfservice.StepVerify).Action
		s = w.Verified(s, on, factor.SMS)
		setup(t, w, s, id, selfservice.StepSave)
		w.Protect(i, factor.SMS, policy.ChangePassword)
		edit := on
		edit.Name = "protection_edit"
		d, _, err := w.Prover.Decide(w.Read(ctx()), s, i, edit)
		if err != nil || d.Step != policy.Verify {
			t.Errorf("edit with a proof for turning on: %s, %v", d.Step, err)
		}
		off := selfservice.TurnOff
		off.Name = "protection_on"
		s = w.Verified(s, off, factor.SMS)
		_, err = w.Self.TurnOffProtection(ctx(), w.Visitor, s)
		testkit.Want(t, "turn off with a proof for another action on it", err, prove.ErrVerifyFirst)
		s = w.Verified(s, selfservice.TurnOff, factor.SMS)
		_, err = w.Self.TurnOffProtection(ctx(), w.Visitor, s)
		testkit.Want(t, "turn off with its own", err, nil)
	})
}

func TestWhoeverChoosesAPhoneTheyHaveShowsItAndNoRecoveryCode(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		codes, err := w.NewCodes(w.Verified(s, selfservice.MakeCodes, factor.SMS))
		testkit.Want(t, "codes", err, nil)
		s, _ = w.Signed(w.Visitor, alice, nil)
		refused := func(m factor.Method, want error) {
			t.Helper()
			a := setup(t, w, s, begin(t, w, s, m, signIn...), selfservice.StepVerify).Action
			id, err := w.Verify.Begin(ctx(), w.Visitor, s, a, "/")
			testkit.Want(t, "begin", err, nil)
			_, _, err = w.Verify.Answer(ctx(), w.Visitor, s, id, prove.Answer{Method: factor.RecoveryCode, Codes: codes[:1]})
			testkit.Want(t, "a recovery code for choosing "+string(m), err, want)
		}
		refused(factor.SMS, policy.ErrMethod)
		if n := w.Facts(i).RecoveryCodes; n != factor.RecoveryCodes {
			t.Errorf("%d codes left", n)
		}
		refused(factor.VirtualMFA, nil) // which is not bound: losing the phone must not keep it away
		w.Bind(i)
		codes = codes[1:]
		refused(factor.SMS, nil) // does not count beside a device; a step of its own asks for it
		codes = codes[1:]
		refused(factor.VirtualMFA, policy.ErrMethod)
	})
}

func TestFiveSetsOfRecoveryCodesAreMadeInAnHour(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		app := w.Bind(w.Owner(alice))
		w.Bind(w.Owner(bob))
		s, _ := w.Signed(w.Visitor, alice, app)
		var last []string
		for n := range 5 {
			codes, err := w.NewCodes(s)
			testkit.Want(t, fmt.Sprintf("set %d", n), err, nil)
			last = codes
		}
		err := w.Self.MakeRecoveryCodes(ctx(), w.Visitor, s)
		testkit.Want(t, "the sixth", err, selfservice.ErrTooManyCodes)
		if codes, err := w.Self.NewRecoveryCodes(ctx(), s); err != nil || fmt.Sprint(codes) != fmt.Sprint(last) {
			t.Errorf("the fifth set is void: %v", err)
		}
		if n := len(w.Told(alice)); n != 5 {
			t.Errorf("told %d times", n)
		}
		if e := w.Events(s.Identity, audit.RecoveryCodesCreate); len(e) != 5 {
			t.Errorf("%d events", len(e))
		}
		w.Clock.Advance(time.Hour - time.Second)
		s, _ = w.Signed(w.Visitor, alice, app)
		testkit.Want(t, "at 59:59", w.Self.MakeRecoveryCodes(ctx(), w.Visitor, s), selfservice.ErrTooManyCodes)
		w.Clock.Advance(time.Second)
		testkit.Want(t, "an hour later", w.Self.MakeRecoveryCodes(ctx(), w.Visitor, s), nil)
	})
}

func TestTheFirstPhoneBringsRecoveryCodes(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		attach := func(number string, m factor.Method, a policy.Action, code ...string) prove.Signed {
			t.Helper()
			s = w.Verified(s, a, m, code...)
			id, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "", number)
			testkit.Want(t, "change", err, nil)
			token, err := confirm(w, s, id, w.MailedCode(number))
			testkit.Want(t, "confirm", err, nil)
			return who(t, w, token)
		}
		s = attach(hers, factor.Email, selfservice.AttachPhone)
		codes, err := w.Self.NewRecoveryCodes(ctx(), s)
		if err != nil || len(codes) != factor.RecoveryCodes || w.Facts(i).RecoveryCodes != factor.RecoveryCodes {
			t.Fatalf("%d codes, %v", len(codes), err)
		}
		testkit.Want(t, "saved", w.Self.RecoveryCodesSaved(ctx(), w.Visitor, s), nil)
		present, err := w.Read(ctx()).Phone(i.Account, i.ID)
		testkit.Want(t, "phone", err, nil)
		w.Clock.Advance(time.Minute)
		s = attach(other, factor.RecoveryCode, selfservice.PhoneAction(present), codes[0]) // the phone is lost
		if made, err := w.Self.NewRecoveryCodes(ctx(), s); err != nil || made != nil || w.Facts(i).RecoveryCodes != factor.RecoveryCodes-1 {
			t.Errorf("a second phone made codes: %d, %v", len(made), err)
		}
	})
}

func TestResynchronisingWithoutADeviceAsksForNoVerification(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		testkit.Want(t, "no device", w.Self.Resynchronise(ctx(), w.Visitor, s, "123456", "654321"), selfservice.ErrNotBound)
		w.Attach(i, hers)
		testkit.Want(t, "a phone alone", w.Self.Resynchronise(ctx(), w.Visitor, s, "123456", "654321"), selfservice.ErrNotBound)
		app := w.Bind(i)
		testkit.Want(t, "a device", w.Self.Resynchronise(ctx(), w.Visitor, s, app.Code(0), app.Code(1)), prove.ErrVerifyFirst)
		if _, err := w.SignIn.Who(ctx(), secret.Token{}); !errors.Is(err, session.ErrSignedOut) {
			t.Errorf("nobody: %v", err)
		}
	})
}
