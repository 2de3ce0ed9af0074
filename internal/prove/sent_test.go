package prove_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const hers = "+8613800138000"

// protected is alice, whose sign-in takes a text message.
func protected(w *testkit.World) account.Identity {
	i := w.Owner(alice)
	w.Attach(i, hers)
	w.Protect(i, factor.SMS, policy.SignInScenario)
	return i
}

// sent begins a sign-in, has a text message sent, and returns its code.
func sent(t *testing.T, w *testkit.World, v prove.Visitor) (p signin.Progress, code string) {
	t.Helper()
	p = w.Password(v, alice)
	testkit.Want(t, "send", w.SignIn.Send(ctx(), v, p.Token, factor.SMS), nil)
	return p, w.MailedCode(hers)
}

func give(w *testkit.World, v prove.Visitor, p signin.Progress, m factor.Method, code string) error {
	_, err := w.SignIn.Answer(ctx(), v, p.Token, prove.Answer{Method: m, Codes: []string{code}})
	return err
}

// notThe is a code as long as the one given, and another.
func notThe(code string) string {
	return code[:len(code)-1] + fmt.Sprint((code[len(code)-1]-'0'+1)%10)
}

func TestASentCodeWorksInItsOwnSignInAlone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		a, code := sent(t, w, testkit.From(1))
		b := w.Password(testkit.From(2), alice)
		testkit.Want(t, "in a sign-in that sent none", give(w, testkit.From(2), b, factor.SMS, code), ceremony.ErrNotSent)
		testkit.Want(t, "send there too", w.SignIn.Send(ctx(), testkit.From(2), b.Token, factor.SMS), nil)
		other := w.MailedCode(hers)
		if other == code {
			t.Fatal("two codes that are the same, one in a million: run it again")
		}
		testkit.Want(t, "in a sign-in that sent another", give(w, testkit.From(2), b, factor.SMS, code), ceremony.ErrSentWrong)
		testkit.Want(t, "by mail", give(w, testkit.From(1), a, factor.Email, code), policy.ErrMethod)
		testkit.Want(t, "as a device's", give(w, testkit.From(1), a, factor.VirtualMFA, code), policy.ErrMethod)
		s := prove.Signed{Identity: i}
		if _, _, err := w.Verify.Answer(ctx(), w.Visitor, s, a.Ceremony, prove.Answer{Method: factor.SMS, Codes: []string{code}}); !errors.Is(err, ceremony.ErrGone) {
			t.Errorf("the id of a sign-in as that of a verification: %v", err)
		}
		testkit.Want(t, "in its own", give(w, testkit.From(1), a, factor.SMS, code), nil)
		testkit.Want(t, "the other's in its own", give(w, testkit.From(2), b, factor.SMS, other), nil)
	})
}

func TestASentCodeWorksForItsPurposeAndItsWayAlone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		begin := func(a policy.Action) string {
			id, err := w.Verify.Begin(ctx(), w.Visitor, s, a, "/")
			testkit.Want(t, "begin", err, nil)
			return id
		}
		answer := func(id string, m factor.Method, code string) error {
			_, _, err := w.Verify.Answer(ctx(), w.Visitor, s, id, prove.Answer{Method: m, Codes: []string{code}})
			return err
		}
		bind, password := begin(selfservice.BindVirtualMFA), begin(selfservice.ChangePassword)
		testkit.Want(t, "mail", w.Verify.Send(ctx(), w.Visitor, s, bind, factor.Email), nil)
		mailed := w.MailedCode(alice)
		present := w.Attach(i, hers) // from now on mail does not count
		testkit.Want(t, "a mailed code as a text message", answer(bind, factor.SMS, mailed), ceremony.ErrNotSent)
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "text", w.Verify.Send(ctx(), w.Visitor, s, bind, factor.SMS), nil)
		texted := w.MailedCode(hers)
		if mailed == texted {
			t.Fatal("two codes that are the same, one in a million: run it again")
		}
		testkit.Want(t, "a mailed code as a text message, one sent", answer(bind, factor.SMS, mailed), ceremony.ErrSentWrong)
		testkit.Want(t, "a text message as a mailed code, which does not count", answer(bind, factor.Email, texted), policy.ErrMethod)
		err := w.Write(ctx(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error {
			return tx.RemovePhone(i.Account, i.ID, present.ID, store.ErrNoRow)
		})
		testkit.Want(t, "remove the phone", err, nil)
		testkit.Want(t, "a text message as a mailed code, one mailed", answer(bind, factor.Email, texted), ceremony.ErrSentWrong)
		w.Attach(i, hers)
		testkit.Want(t, "for another purpose", answer(password, factor.SMS, texted), ceremony.ErrNotSent)
		w.Protect(i, factor.SMS, policy.SignInScenario)
		p := w.Password(w.Visitor, alice)
		testkit.Want(t, "at sign-in", give(w, w.Visitor, p, factor.SMS, texted), ceremony.ErrNotSent)
		_, signedIn := sent(t, w, testkit.From(3))
		testkit.Want(t, "one of the sign-in at a step-up", answer(bind, factor.SMS, signedIn), ceremony.ErrSentWrong)
		testkit.Want(t, "mail while text messages protect", answer(bind, factor.Email, mailed), policy.ErrMethod)
		testkit.Want(t, "where it belongs", answer(bind, factor.SMS, texted), nil)
		testkit.Want(t, "once more", answer(bind, factor.SMS, texted), ceremony.ErrGone)
	})
}

func TestASentCodeDiesWithTheNumberItWentTo(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		s, _ := w.SignedBy(w.Visitor, i, factor.SMS)
		thief, code := sent(t, w, testkit.From(2))
		id, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "CN", "139 0013 9000")
		testkit.Want(t, "change the phone", err, nil)
		if c := w.MailedCode("+8613900139000"); give(w, testkit.From(2), thief, factor.SMS, c) == nil {
			t.Error("the code to the new number signs in")
		}
		_, _, err = w.Self.ConfirmContact(ctx(), w.Visitor, s, id, w.MailedCode("+8613900139000"))
		testkit.Want(t, "confirm", err, nil)
		testkit.Want(t, "the code that went to the old number", give(w, testkit.From(2), thief, factor.SMS, code), ceremony.ErrGone)
		_, now := w.Password(w.Visitor, alice), w.Sends(i, factor.SMS)
		if now != "+8613900139000" {
			t.Errorf("codes go to %s", now)
		}
	})
}

func TestASentCodeLivesTenMinutes(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		for _, c := range []struct {
			after time.Duration
			want  error
		}{{10*time.Minute - time.Second, nil}, {10*time.Minute - time.Microsecond, nil}, {10 * time.Minute, ceremony.ErrCodeExpired}, {10*time.Minute + time.Second, ceremony.ErrCodeExpired}} {
			p, code := sent(t, w, testkit.From(1))
			// The sign-in ends no later than its codes: let it live on.
			if _, err := w.Raw(t).Exec("UPDATE ceremony SET expires_at = expires_at + 3600000000"); err != nil {
				t.Fatal(err)
			}
			w.Clock.Advance(c.after)
			testkit.Want(t, c.after.String(), give(w, testkit.From(1), p, factor.SMS, code), c.want)
			w.Clock.Advance(time.Hour)
		}
		p, code := sent(t, w, testkit.From(2))
		w.Clock.Advance(10*time.Minute - time.Second)
		other, late := sent(t, w, testkit.From(3))
		testkit.Want(t, "9:59 after the password", give(w, testkit.From(2), p, factor.SMS, code), nil)
		w.Clock.Advance(10*time.Minute + time.Second)
		testkit.Want(t, "10:01 after the password", give(w, testkit.From(3), other, factor.SMS, late), ceremony.ErrGone)
	})
}

func TestTheTwoNewestCodesAreValidAndAResendClearsNothing(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		v := testkit.From(1)
		three := func() (p signin.Progress, codes []string) {
			p = w.Password(v, alice)
			for range 3 {
				testkit.Want(t, "send", w.SignIn.Send(ctx(), v, p.Token, factor.SMS), nil)
				testkit.Want(t, "at once again", w.SignIn.Send(ctx(), v, p.Token, factor.SMS), ceremony.ErrSendSoon)
				codes = append(codes, w.MailedCode(hers))
				w.Clock.Advance(time.Minute)
			}
			return p, codes
		}
		p, codes := three()
		testkit.Want(t, "the third newest", give(w, v, p, factor.SMS, codes[0]), ceremony.ErrSentWrong)
		testkit.Want(t, "the second newest", give(w, v, p, factor.SMS, codes[1]), nil)
		w.Clock.Advance(time.Hour)
		p, codes = three()
		testkit.Want(t, "the newest", give(w, v, p, factor.SMS, codes[2]), nil)

		w.Clock.Advance(time.Hour)
		p, code := sent(t, w, v)
		for range 3 {
			testkit.Want(t, "wrong", give(w, v, p, factor.SMS, notThe(code)), ceremony.ErrSentWrong)
		}
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "resend", w.SignIn.Send(ctx(), v, p.Token, factor.SMS), nil)
		for range throttle.CeremonyTries - 3 {
			testkit.Want(t, "wrong after the resend", give(w, v, p, factor.SMS, "never"+code), ceremony.ErrSentWrong)
		}
		testkit.Want(t, "the sixth try", give(w, v, p, factor.SMS, w.MailedCode(hers)), ceremony.ErrNoTries)
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "a resend when there are no tries", w.SignIn.Send(ctx(), v, p.Token, factor.SMS), ceremony.ErrNoTries)
		if b := w.Budget(w.Identity(alice)); b.Fails != 6 {
			t.Errorf("budget %+v after six wrong codes", b)
		}
	})
}

func TestWrongTextCodesEmptyTheSharedBudgetAndThenCodesAreLonger(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		early, short := sent(t, w, testkit.From(1))
		for n := range 2 {
			p, code := sent(t, w, testkit.From(10+n))
			for k := range throttle.CeremonyTries {
				testkit.Want(t, "wrong", give(w, testkit.From(20+n*10+k), p, factor.SMS, notThe(code)), ceremony.ErrSentWrong)
			}
		}
		if b := w.Budget(i); b.Left != 0 || b.Fails != 10 {
			t.Fatalf("budget %+v", b)
		}
		if told := fmt.Sprint(w.Told(alice)); told != "[budget_empty second_step_failed]" {
			t.Errorf("told of %s", told)
		}
		testkit.Want(t, "six digits from before", give(w, testkit.From(1), early, factor.SMS, short), ceremony.ErrLongerAsked)
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "send again", w.SignIn.Send(ctx(), testkit.From(1), early.Token, factor.SMS), nil)
		long := w.MailedCode(hers)
		if len(short) != 6 || len(long) != 10 {
			t.Errorf("%d digits, then %d", len(short), len(long))
		}
		if in := w.Inbox(hers); !strings.HasSuffix(in[0].Text, "\n\n@id.example.com #"+long) {
			t.Errorf("sent %q", in[0].Text)
		}
		testkit.Want(t, "six digits beside ten", give(w, testkit.From(1), early, factor.SMS, short), factor.ErrCodeForm)
		testkit.Want(t, "six of the ten digits", give(w, testkit.From(1), early, factor.SMS, long[:6]), factor.ErrCodeForm)
		if b := w.Budget(i); b.Fails != 10 {
			t.Errorf("a code that is too short was charged: %+v", b)
		}
		state, err := w.SignIn.State(ctx(), testkit.From(1), early.Token)
		if err != nil || state.Digits != 10 {
			t.Errorf("%d digits asked, %v", state.Digits, err)
		}
		testkit.Want(t, "ten digits", give(w, testkit.From(1), early, factor.SMS, long[:5]+" "+long[5:]), nil)
	})
}

func TestOneSentCodeTwentyTimesGivesOneSession(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		p, code := sent(t, w, testkit.From(1))
		in := 0
		for _, err := range storetest.Parallel(20, func(n int) error { return give(w, testkit.From(n), p, factor.SMS, code) }) {
			switch {
			case err == nil:
				in++
			case errors.Is(err, ceremony.ErrGone), errors.Is(err, ceremony.ErrNotSent), errors.Is(err, ceremony.ErrNoTries):
			default:
				t.Error(err)
			}
		}
		list, err := w.Read(ctx()).Sessions(i.Account, i.ID)
		if in != 1 || len(list) != 1 || err != nil {
			t.Errorf("%d sign-ins, %d sessions, %v", in, len(list), err)
		}
	})
}

func TestWhatIsSentIsWrittenDownWithoutTheCode(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		_, code := sent(t, w, w.Visitor)
		e := w.Events(i, audit.CodeSend)
		if len(e) != 1 || fmt.Sprint(e[0].Details) != "map[method:sms to:138****00]" {
			t.Fatalf("%+v", e)
		}
		content, err := e[0].Content()
		if err != nil || strings.Contains(string(content), code) || strings.Contains(string(content), hers) {
			t.Errorf("%s, %v", content, err)
		}
	})
}
