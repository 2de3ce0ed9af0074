package signin_test

import (
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/testkit"
)

const hers = "+8613800138000"

// protected is a world with alice, whose sign-in takes a text message.
func protected(w *testkit.World) {
	i := w.Owner(alice)
	w.Attach(i, hers)
	w.Protect(i, factor.SMS, policy.SignInScenario)
}

func bySMS(w *testkit.World, v prove.Visitor, p signin.Progress, code string) (signin.Progress, error) {
	return w.SignIn.Answer(ctx(), v, p.Token, prove.Answer{Method: factor.SMS, Codes: []string{code}})
}

func TestASignInThatIsProtectedTakesATextMessage(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		p := w.Password(w.Visitor, alice)
		if p.Session != nil || p.Step != policy.Verify || len(p.Offers) != 1 || p.Offers[0].Method != factor.SMS || p.Offers[0].Destination != "138****00" || p.Offers[0].Sent || p.Digits != 6 || p.Resend != 0 {
			t.Fatalf("after the password: %+v", p)
		}
		if in := w.Inbox(hers); len(in) != 0 {
			t.Error("a text message was sent before anybody asked for one")
		}
		testkit.Want(t, "send", w.SignIn.Send(ctx(), w.Visitor, p.Token, factor.SMS), nil)
		in := w.Inbox(hers)
		if code := w.MailedCode(hers); len(in) != 1 || in[0].Text != code+" is your Countersign code to sign in. Do not share it.\n\n@id.example.com #"+code {
			t.Errorf("sent %q", in[0].Text)
		}
		state, err := w.SignIn.State(ctx(), w.Visitor, p.Token)
		if err != nil || !state.Offers[0].Sent || state.Resend != time.Minute {
			t.Errorf("after sending: %+v, %v", state, err)
		}
		done, err := bySMS(w, w.Visitor, p, w.MailedCode(hers))
		if err != nil || done.Session == nil {
			t.Fatalf("the code: %v", err)
		}
		if c := policy.ClaimsOf(done.Session.Session.Proofs); c.ACR != "urn:mfa:2r" || fmt.Sprint(c.AMR) != "[pwd sms mfa]" {
			t.Errorf("claims %+v", c)
		}
		if e := w.Events(w.Identity(alice), audit.ConsoleSignin); len(e) != 1 || e[0].Details["acr"] != "urn:mfa:2r" || e[0].Details["amr"] != "pwd sms mfa" {
			t.Errorf("events %+v", e)
		}
		known := testkit.With(testkit.From(7), done.Session.Devices...)
		if len(known.Devices) != 1 {
			t.Fatal("the browser is not known")
		}
		again := w.Password(known, alice)
		if again.Session != nil || again.Step != policy.Verify {
			t.Error("a known browser skips the text message")
		}
		_, err = bySMS(w, known, again, "000000")
		testkit.Want(t, "nothing was sent", err, ceremony.ErrNotSent)
		if b := w.Budget(w.Identity(alice)); b.Fails != 0 {
			t.Errorf("a known browser pays from the shared budget: %+v", b)
		}
		_, err = bySMS(w, w.Visitor, p, w.MailedCode(hers))
		testkit.Want(t, "the code once more", err, ceremony.ErrGone)
	})
}

func TestATextMessageDoesNotHelpWhereItIsNotAsked(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		if p := w.Password(w.Visitor, alice); p.Session == nil {
			t.Error("a phone alone makes sign-in take more")
		}
		app := w.Bind(i)
		p := w.Password(w.Visitor, alice)
		if len(p.Offers) != 1 || p.Offers[0].Method != factor.VirtualMFA {
			t.Fatalf("beside a device: %+v", p.Offers)
		}
		for _, m := range []factor.Method{factor.SMS, factor.Email} {
			testkit.Want(t, "send by "+string(m), w.SignIn.Send(ctx(), w.Visitor, p.Token, m), policy.ErrMethod)
		}
		_, err := bySMS(w, w.Visitor, p, "123456")
		testkit.Want(t, "answer by text message", err, policy.ErrMethod)
		if len(w.Inbox(hers)) != 0 {
			t.Error("a code was sent")
		}
		_, err = w.Answer(w.Visitor, p, app.Code(0))
		testkit.Want(t, "the device", err, nil)
	})
}

func TestWhatTheOwnerChoseForSigningInComesFirst(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		app := w.Bind(w.Identity(alice))
		first := func() factor.Method {
			p := w.Password(w.Visitor, alice)
			m, err := w.SignIn.Preferred(ctx(), w.Visitor, p.Token)
			if err != nil || len(p.Offers) != 2 {
				t.Fatalf("%+v, %v", p.Offers, err)
			}
			return m
		}
		if m := first(); m != factor.SMS {
			t.Errorf("before any was used: %s", m)
		}
		w.SignedBy(w.Visitor, w.Identity(alice), factor.SMS)
		if m := first(); m != factor.SMS {
			t.Errorf("after a text message: %s", m)
		}
		w.Clock.Advance(time.Minute)
		w.Signed(w.Visitor, alice, app)
		if m := first(); m != factor.SMS {
			t.Errorf("after the device: %s", m)
		}
	})
}

func TestARecoveryCodeStandsInForALostPhoneButNotForTheNextChange(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		codes := giveRecoveryCodes(t, w, alice)
		p := w.Password(w.Visitor, alice)
		p, err := w.SignIn.Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.RecoveryCode, Codes: codes[:1]})
		if err != nil || p.Session == nil {
			t.Fatal(err)
		}
		s, err := w.SignIn.Who(ctx(), p.Session.Token)
		testkit.Want(t, "who", err, nil)
		_, err = w.Self.ChangePhone(ctx(), w.Visitor, s, "CN", "13900139000")
		testkit.Want(t, "replace the phone at once", err, prove.ErrVerifyFirst)
	})
}

func TestTheSecondStepLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		p := w.Password(w.Visitor, alice)
		_, err := w.SignIn.Who(ctx(), p.Token)
		if err == nil {
			t.Error("the cookie of a sign-in is a session")
		}
	})
}
