package selfservice_test

import (
	"context"
	"encoding/base32"
	"errors"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const alice = "alice@example.com"

func ctx() context.Context { return context.Background() }

// verified proves the identity for an action, by a mailed code or the app.
func verified(t *testing.T, w *testkit.World, s prove.Signed, a policy.Action, app *testkit.App) prove.Signed {
	t.Helper()
	id, err := w.Verify.Begin(ctx(), w.Visitor, s, a, "/next")
	if err != nil {
		t.Fatal(err)
	}
	answer := prove.Answer{Method: factor.VirtualMFA}
	if app == nil {
		if err := w.Verify.Send(ctx(), w.Visitor, s, id, factor.Email); err != nil {
			t.Fatal(err)
		}
		answer = prove.Answer{Method: factor.Email, Codes: []string{w.MailedCode(alice)}}
	} else {
		answer.Codes = []string{app.Code(0)}
	}
	to, token, err := w.Verify.Answer(ctx(), w.Visitor, s, id, answer)
	if err != nil || to != "/next" {
		t.Fatalf("verify: %q, %v", to, err)
	}
	return who(t, w, token)
}

func who(t *testing.T, w *testkit.World, token secret.Token) prove.Signed {
	t.Helper()
	s, err := w.SignIn.Who(ctx(), token)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func appOf(t *testing.T, w *testkit.World, b prove.Key) *testkit.App {
	t.Helper()
	seed, err := base32.StdEncoding.DecodeString(strings.ReplaceAll(b.Key, " ", ""))
	if err != nil || len(seed) != factor.SeedBytes {
		t.Fatalf("key %q: %v", b.Key, err)
	}
	return &testkit.App{Seed: seed, Now: w.Clock.Now}
}

func TestADeviceIsActiveOnlyAfterTwoOfItsCodes(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		_, err := w.Self.BeginBind(ctx(), w.Visitor, s, "")
		testkit.Want(t, "without a verification", err, prove.ErrVerifyFirst)
		s = verified(t, w, s, selfservice.BindVirtualMFA, nil)
		old, err := w.Self.BeginBind(ctx(), w.Visitor, s, "")
		testkit.Want(t, "begin", err, nil)
		b, err := w.Self.BeginBind(ctx(), w.Visitor, s, "")
		testkit.Want(t, "begin again", err, nil)
		if old.Key == b.Key {
			t.Error("the same key twice")
		}
		confirm := func(id, first, second string) error {
			_, err := w.Self.ConfirmBind(ctx(), w.Visitor, s, id, "", first, second)
			return err
		}
		before, app := appOf(t, w, old), appOf(t, w, b)
		testkit.Want(t, "the older key", confirm(old.ID, before.Code(-1), before.Code(0)), selfservice.ErrBindGone)
		testkit.Want(t, "codes of the older key", confirm(b.ID, before.Code(-1), before.Code(0)), factor.ErrPairNoMatch)
		testkit.Want(t, "one code twice", confirm(b.ID, app.Code(0), app.Code(0)), factor.ErrPairSame)
		testkit.Want(t, "codes apart", confirm(b.ID, app.Code(-2), app.Code(0)), factor.ErrPairApart)
		testkit.Want(t, "codes the wrong way round", confirm(b.ID, app.Code(0), app.Code(-1)), factor.ErrPairApart)
		testkit.Want(t, "no second code", confirm(b.ID, app.Code(0), ""), factor.ErrSecondMissing)
		testkit.Want(t, "no codes", confirm(b.ID, "", ""), factor.ErrCodeMissing)
		testkit.Want(t, "letters", confirm(b.ID, "12345a", app.Code(0)), factor.ErrCodeForm)
		_, err = w.Self.ConfirmBind(ctx(), w.Visitor, s, b.ID, strings.Repeat("名", 65), app.Code(-1), app.Code(0))
		testkit.Want(t, "a long name", err, prove.ErrDeviceName)
		if p := w.Password(w.Visitor, alice); p.Session == nil {
			t.Error("an abandoned binding asks for a second step")
		}
		if bd := w.Budget(i); bd.Fails != 0 {
			t.Errorf("wrong pairs of a page's own key cost %+v", bd)
		}
		token, err := w.Self.ConfirmBind(ctx(), w.Visitor, s, b.ID, " 電話 ", app.Code(-1), app.Code(0))
		if err != nil {
			t.Fatalf("confirm: %v", err)
		}
		mine := who(t, w, token)
		for range 2 { // a page that is loaded again still has them
			if codes, err := w.Self.NewRecoveryCodes(ctx(), mine); err != nil || len(codes) != factor.RecoveryCodes {
				t.Fatalf("recovery codes: %d, %v", len(codes), err)
			}
		}
		testkit.Want(t, "saved", w.Self.RecoveryCodesSaved(ctx(), w.Visitor, mine), nil)
		if codes, err := w.Self.NewRecoveryCodes(ctx(), mine); err != nil || codes != nil {
			t.Errorf("after they were saved: %v, %v", codes, err)
		}
		testkit.Want(t, "once more", confirm(b.ID, app.Code(0), app.Code(1)), selfservice.ErrBindGone)
		p := w.Password(w.Visitor, alice)
		if p.Step != policy.Verify || p.Offers[0].Method != factor.VirtualMFA || p.Offers[0].Device != "電話" {
			t.Errorf("the next sign-in: %+v", p)
		}
		_, err = w.Answer(w.Visitor, p, app.Code(0))
		testkit.Want(t, "the code it was bound with", err, factor.ErrCodeUsed)
		w.Clock.Advance(30 * time.Second)
		_, err = w.Answer(w.Visitor, p, app.Code(0))
		testkit.Want(t, "the next code", err, nil)
		if in := w.Inbox(alice); in[len(in)-1].Kind == "" || !told(w, "device_bound") {
			t.Error("the owner was not told")
		}
	})
}

func told(w *testkit.World, kind string) bool {
	for _, m := range w.Inbox(alice) {
		if m.Kind == kind {
			return true
		}
	}
	return false
}

func TestAKeyEndsAfterTenMinutesAndBelongsToItsSession(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		other, _ := w.Signed(testkit.From(2), alice, nil)
		s = verified(t, w, s, selfservice.BindVirtualMFA, nil)
		b, err := w.Self.BeginBind(ctx(), w.Visitor, s, "")
		testkit.Want(t, "begin", err, nil)
		app := appOf(t, w, b)
		_, err = w.Self.ConfirmBind(ctx(), w.Visitor, other, b.ID, "", app.Code(-1), app.Code(0))
		testkit.Want(t, "in another session", err, selfservice.ErrBindGone)
		_, err = w.Self.Binding(ctx(), other, b.ID)
		testkit.Want(t, "its key in another session", err, selfservice.ErrBindGone)
		w.Clock.Advance(ceremony.Lifetime)
		_, err = w.Self.ConfirmBind(ctx(), w.Visitor, s, b.ID, "", app.Code(-1), app.Code(0))
		testkit.Want(t, "after ten minutes", err, selfservice.ErrBindGone)
	})
}

func TestUnbindingTakesAProofOfItsOwn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		device := "device-" + string(i.ID)
		s, _ := w.Signed(w.Visitor, alice, app)
		other, otherToken := func() (prove.Signed, secret.Token) {
			w.Clock.Advance(time.Minute)
			return w.Signed(testkit.From(3), alice, app)
		}()
		_ = other
		_, err := w.Self.Unbind(ctx(), w.Visitor, s, device)
		testkit.Want(t, "with the sign-in alone", err, prove.ErrVerifyFirst)
		w.Clock.Advance(time.Minute)
		s = verified(t, w, s, selfservice.MakeCodes, app)
		_, err = w.Self.Unbind(ctx(), w.Visitor, s, device)
		testkit.Want(t, "with a proof for something else", err, prove.ErrVerifyFirst)
		w.Clock.Advance(time.Minute)
		s = verified(t, w, s, selfservice.Unbind("another device"), app)
		_, err = w.Self.Unbind(ctx(), w.Visitor, s, device)
		testkit.Want(t, "with a proof for another device", err, prove.ErrVerifyFirst)
		w.Clock.Advance(time.Minute)
		s = verified(t, w, s, selfservice.Unbind(device), app)
		w.Clock.Advance(policy.Freshness + time.Second)
		_, err = w.Self.Unbind(ctx(), w.Visitor, s, device)
		testkit.Want(t, "with an old proof", err, prove.ErrVerifyFirst)
		s = verified(t, w, s, selfservice.Unbind(device), app)
		_, err = w.Self.Unbind(ctx(), w.Visitor, s, "another device")
		testkit.Want(t, "another device", err, selfservice.ErrNotBound)
		token, err := w.Self.Unbind(ctx(), w.Visitor, s, device)
		testkit.Want(t, "with its own", err, nil)
		if _, err := w.SignIn.Signed(ctx(), otherToken); !errors.Is(err, session.ErrSignedOut) {
			t.Errorf("another session lives on: %v", err)
		}
		who(t, w, token) // this one goes on
		if p := w.Password(w.Visitor, alice); p.Session == nil {
			t.Error("a second step is still asked")
		}
		if !told(w, "device_unbound") || len(w.Events(i, audit.MFAUnbind)) != 1 {
			t.Error("the owner was not told, or nothing was recorded")
		}
	})
}

func TestAProofForUnbindingIsUsedOnceAmongTwenty(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		device := "device-" + string(i.ID)
		s, _ := w.Signed(w.Visitor, alice, app)
		w.Clock.Advance(time.Minute)
		s = verified(t, w, s, selfservice.Unbind(device), app)
		done := 0
		for _, err := range storetest.Parallel(20, func(int) error { _, err := w.Self.Unbind(ctx(), w.Visitor, s, device); return err }) {
			if err == nil {
				done++
			} else if !errors.Is(err, selfservice.ErrNotBound) && !errors.Is(err, prove.ErrVerifyFirst) && !errors.Is(err, session.ErrSignedOut) {
				t.Error(err)
			}
		}
		if done != 1 {
			t.Errorf("unbound %d times", done)
		}
	})
}

func TestAPasswordTooShortToStandAloneKeepsTheDevice(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	i := w.Owner(alice)
	app := w.Bind(i)
	s, _ := w.Signed(w.Visitor, alice, app)
	token, err := w.Self.ChangePassword(ctx(), w.Visitor, s, testkit.Password, "vines0tt")
	testkit.Want(t, "eight characters beside a device", err, nil)
	s = who(t, w, token)
	w.Clock.Advance(time.Minute)
	s = verified(t, w, s, selfservice.Unbind("device-"+string(i.ID)), app)
	_, err = w.Self.Unbind(ctx(), w.Visitor, s, "device-"+string(i.ID))
	testkit.Want(t, "unbind", err, selfservice.ErrPasswordAlone)
}

func TestAMailedCodeNeverVerifiesOnceADeviceIsBound(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		id, err := w.Verify.Begin(ctx(), w.Visitor, s, selfservice.ChangePassword, "/")
		testkit.Want(t, "begin", err, nil)
		testkit.Want(t, "send", w.Verify.Send(ctx(), w.Visitor, s, id, factor.Email), nil)
		code := w.MailedCode(alice)
		app := w.Bind(i) // in another browser, meanwhile
		for _, m := range []factor.Method{factor.Email, factor.Password, "", "sms"} {
			_, _, err = w.Verify.Answer(ctx(), w.Visitor, s, id, prove.Answer{Method: m, Codes: []string{code}})
			testkit.Want(t, "answer by "+string(m), err, policy.ErrMethod)
		}
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "another code", w.Verify.Send(ctx(), w.Visitor, s, id, factor.Email), policy.ErrMethod)
		for _, m := range []factor.Method{factor.Email, "", "sms"} {
			_, err = w.SignIn.Answer(ctx(), w.Visitor, w.Password(w.Visitor, alice).Token, prove.Answer{Method: m, Codes: []string{code}})
			testkit.Want(t, "sign in by "+string(m), err, policy.ErrMethod)
		}
		_, _, err = w.Verify.Answer(ctx(), w.Visitor, s, id, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}})
		testkit.Want(t, "the device", err, nil)
		// Verified in another tab: what does not count still does not.
		second, err := w.Verify.Begin(ctx(), w.Visitor, s, selfservice.ChangePassword, "/other")
		testkit.Want(t, "begin", err, nil)
		for _, m := range []factor.Method{factor.Email, factor.Password, "", "sms"} {
			_, _, err = w.Verify.Answer(ctx(), w.Visitor, s, second, prove.Answer{Method: m, Codes: []string{"123456"}})
			testkit.Want(t, "verified already, by "+string(m), err, policy.ErrMethod)
		}
	})
}

func TestADriftedClockIsLearnedFromTwoCodesInARow(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		s, _ := w.Signed(w.Visitor, alice, app)
		w.Clock.Advance(2 * time.Minute)
		p := w.Password(w.Visitor, alice)
		_, err := w.Answer(w.Visitor, p, app.Code(3))
		testkit.Want(t, "one code three steps ahead", err, factor.ErrCodeWrong)
		testkit.Want(t, "the same code twice", w.Self.Resynchronise(ctx(), w.Visitor, s, app.Code(3), app.Code(3)), factor.ErrPairSame)
		testkit.Want(t, "eleven steps ahead", w.Self.Resynchronise(ctx(), w.Visitor, s, app.Code(10), app.Code(11)), factor.ErrPairNoMatch)
		testkit.Want(t, "two in a row", w.Self.Resynchronise(ctx(), w.Visitor, s, app.Code(3), app.Code(4)), nil)
		testkit.Want(t, "the same two again", w.Self.Resynchronise(ctx(), w.Visitor, s, app.Code(3), app.Code(4)), factor.ErrCodeUsed)
		w.Clock.Advance(time.Minute)
		_, err = w.Answer(w.Visitor, p, app.Code(4))
		testkit.Want(t, "one code, four steps ahead, from then on", err, nil)
		if b := w.Budget(i); b.Fails != 4 {
			t.Errorf("wrong pairs were not counted like other tries: %+v", b)
		}
	})
}

func TestRecoveryCodesStandInForTheDevice(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		_, err := w.NewCodes(verified(t, w, s, selfservice.MakeCodes, nil))
		testkit.Want(t, "without a device", err, selfservice.ErrNoDevice)
		app := w.Bind(i)
		s, _ = w.Signed(w.Visitor, alice, app)
		old, err := w.NewCodes(s)
		testkit.Want(t, "make", err, nil)
		codes, err := w.NewCodes(s)
		testkit.Want(t, "make again", err, nil)
		use := func(code string) error {
			p, err := w.SignIn.Answer(ctx(), w.Visitor, w.Password(w.Visitor, alice).Token, prove.Answer{Method: factor.RecoveryCode, Codes: []string{code}})
			if err == nil && policy.ClaimsOf(p.Session.Session.Proofs).ACR != policy.LevelMFA {
				t.Error("the session is of a lower level")
			}
			return err
		}
		testkit.Want(t, "of the old set", use(old[0]), factor.ErrRecoveryWrong)
		testkit.Want(t, "as people type it", use(strings.ToLower(strings.ReplaceAll(codes[0], "-", " "))), nil)
		testkit.Want(t, "again", use(codes[0]), factor.ErrRecoveryWrong)
		testkit.Want(t, "no code", use(""), factor.ErrCodeMissing)
		if !told(w, "recovery_code_used") || !told(w, "recovery_codes_made") {
			t.Error("the owner was not told")
		}
		bob := w.Owner("bob@example.com")
		w.Bind(bob)
		p, err := w.SignIn.Begin(ctx(), w.Visitor, prove.Door{}, "bob@example.com", testkit.Password, "")
		testkit.Want(t, "begin", err, nil)
		_, err = w.SignIn.Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.RecoveryCode, Codes: []string{codes[1]}})
		if err == nil {
			t.Error("another's recovery code signs in")
		}
	})
}
