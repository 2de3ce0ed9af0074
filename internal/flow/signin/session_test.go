package signin_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestOneStepToEachSideIsAcceptedAndEachOnce(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Visitor = testkit.From(1)
		for offset, refusal := range map[int64]error{-2: factor.ErrCodeStale, -1: nil, 0: nil, 1: nil, 2: factor.ErrCodeWrong} {
			email := strings.Repeat("x", int(offset)+3) + "@example.com"
			app := w.Bind(w.Owner(email))
			_, err := w.Answer(w.Visitor, w.Password(w.Visitor, email), app.Code(offset))
			testkit.Want(t, email, err, refusal)
			if refusal != nil {
				continue
			}
			for older := int64(-1); older <= offset; older++ {
				_, err := w.Answer(testkit.From(2), w.Password(testkit.From(2), email), app.Code(older))
				testkit.Want(t, "a step not newer", err, factor.ErrCodeUsed)
			}
		}
	})
}

func TestACodeOfTheSignInDoesNotStepUp(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		s, _ := w.Signed(w.Visitor, alice, app)
		id, err := w.Verify.Begin(ctx(), w.Visitor, s, selfservice.Unbind("device-"+string(i.ID)), "/")
		testkit.Want(t, "begin", err, nil)
		_, _, err = w.Verify.Answer(ctx(), w.Visitor, s, id, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}})
		testkit.Want(t, "the same code", err, factor.ErrCodeUsed)
	})
}

func TestCodesAreTakenAsPeopleTypeThem(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	app := w.Bind(w.Owner(alice))
	for n, typed := range []func(c string) string{
		func(c string) string { return c[:3] + " " + c[3:] },
		func(c string) string { return c[:3] + "-" + c[3:] },
		func(c string) string {
			return strings.Map(func(r rune) rune { return r - '0' + '０' }, c)
		},
		func(c string) string { return "\u00a0 " + c + " " },
	} {
		for app.Code(0)[0] != '0' && n == 0 { // a leading zero is kept
			w.Clock.Advance(30 * time.Second)
		}
		_, err := w.Answer(testkit.From(n), w.Password(testkit.From(n), alice), typed(app.Code(0)))
		testkit.Want(t, typed("012345"), err, nil)
		w.Clock.Advance(time.Minute)
	}
	for _, bad := range []string{"12345", "1234567", "12345a", "١٢٣٤٥٦", "12345\x00"} {
		_, err := w.Answer(w.Visitor, w.Password(w.Visitor, alice), bad)
		testkit.Want(t, bad, err, factor.ErrCodeForm)
	}
	if b := w.Budget(w.Identity(alice)); b.Fails != 0 {
		t.Errorf("what is no code was charged: %+v", b)
	}
}

func TestASessionEndsWhenItIsIdleOrOld(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		_, idle := w.Signed(w.Visitor, alice, nil)
		_, busy := w.Signed(testkit.From(2), alice, nil)
		for at := time.Duration(0); at < session.Default.Overall-time.Minute; at += 30 * time.Minute {
			if _, err := w.SignIn.Signed(ctx(), busy); err != nil {
				t.Fatalf("in use, after %s: %v", at, err)
			}
			if at == session.Default.Idle+30*time.Minute {
				_, err := w.SignIn.Signed(ctx(), idle)
				testkit.Want(t, "idle", err, session.ErrSignedOut)
			}
			w.Clock.Advance(30 * time.Minute)
		}
		w.Clock.Advance(-time.Microsecond)
		if _, err := w.SignIn.Signed(ctx(), busy); err != nil {
			t.Errorf("just before its end: %v", err)
		}
		w.Clock.Advance(time.Microsecond)
		_, err := w.SignIn.Signed(ctx(), busy)
		testkit.Want(t, "at its end", err, session.ErrSignedOut)
	})
}

func TestAnEndedSessionIsOverAtOnce(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		signIn := func(n int) (prove.Signed, secret.Token) { return w.Signed(testkit.From(n), alice, nil) }
		over := func(what string, token secret.Token) {
			t.Helper()
			_, err := w.SignIn.Who(ctx(), token)
			testkit.Want(t, what, err, session.ErrSignedOut)
		}
		mine, _ := signIn(1)
		other, otherToken := signIn(2)
		testkit.Want(t, "end it unverified", w.Self.EndSession(ctx(), w.Visitor, mine, other.Session.ID), prove.ErrVerifyFirst)
		mine, token := verify(t, w, mine, selfservice.EndSessions)
		testkit.Want(t, "end it", w.Self.EndSession(ctx(), w.Visitor, mine, other.Session.ID), nil)
		over("the one ended", otherToken)
		testkit.Want(t, "end it again", w.Self.EndSession(ctx(), w.Visitor, mine, other.Session.ID), session.ErrNotFound)

		_, second := signIn(3)
		_, third := signIn(4)
		n, err := w.Self.EndOtherSessions(ctx(), w.Visitor, mine)
		if n != 2 || err != nil {
			t.Errorf("%d others ended, %v", n, err)
		}
		over("the second", second)
		over("the third", third)
		if _, err := w.SignIn.Who(ctx(), token); err != nil {
			t.Errorf("my own: %v", err)
		}

		_, fourth := signIn(5)
		half := w.SignIn
		w.Clock.Advance(time.Minute)
		mine, before := verify(t, w, mine, selfservice.ChangePassword)
		over("the token before the verification", token)
		after, err := half.Prover.DB.Read(ctx()).Identity(mine.Identity.ID)
		if err != nil {
			t.Fatal(err)
		}
		renewed, err := w.Self.ChangePassword(ctx(), w.Visitor, mine, testkit.Password, "another otter, other vines")
		testkit.Want(t, "change the password", err, nil)
		over("another browser, after a new password", fourth)
		over("the token before the new password", before)
		s, err := w.SignIn.Who(ctx(), renewed)
		if err != nil || s.Identity.Epoch != after.Epoch+1 {
			t.Errorf("the renewed session: epoch %d, %v", s.Identity.Epoch, err)
		}
		testkit.Want(t, "sign out", w.SignIn.SignOut(ctx(), w.Visitor, renewed), nil)
		over("after signing out", renewed)
		testkit.Want(t, "sign out again", w.SignIn.SignOut(ctx(), w.Visitor, renewed), nil)
		_, err = w.SignIn.Begin(ctx(), w.Visitor, prove.Door{}, alice, testkit.Password, "")
		testkit.Want(t, "the old password", err, prove.ErrCredentials)
	})
}

// verify proves the identity for an action by a mailed code.
func verify(t *testing.T, w *testkit.World, s prove.Signed, a policy.Action) (prove.Signed, secret.Token) {
	t.Helper()
	id, err := w.Verify.Begin(ctx(), w.Visitor, s, a, "/")
	if err == nil {
		err = w.Verify.Send(ctx(), w.Visitor, s, id, factor.Email)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := w.Verify.Answer(ctx(), w.Visitor, s, id, prove.Answer{Method: factor.Email, Codes: []string{w.MailedCode(alice)}})
	if err != nil {
		t.Fatal(err)
	}
	s, err = w.SignIn.Who(ctx(), token)
	if err != nil {
		t.Fatal(err)
	}
	return s, token
}

func TestASignInBegunBeforeANewPasswordIsOver(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		app := w.Bind(w.Owner(alice))
		s, _ := w.Signed(w.Visitor, alice, app)
		w.Clock.Advance(time.Minute)
		attacker := w.Password(testkit.From(9), alice)
		_, err := w.Self.ChangePassword(ctx(), w.Visitor, s, testkit.Password, "another otter, other vines")
		testkit.Want(t, "change the password", err, nil)
		_, err = w.Answer(testkit.From(9), attacker, app.Code(0))
		testkit.Want(t, "the sign-in from before", err, ceremony.ErrGone)
	})
}

func TestNobodySignsInWithoutAConfirmedAddress(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		if _, err := w.SignUp.Create(ctx(), alice, testkit.Password, false); err != nil {
			t.Fatal(err)
		}
		p := w.Password(w.Visitor, alice)
		if p.Session != nil || p.Step != policy.ConfirmEmail {
			t.Fatalf("got %+v", p)
		}
		answer := func(p signin.Progress, code string) (signin.Progress, error) {
			return w.SignIn.Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.Email, Codes: []string{code}})
		}
		_, err := answer(p, "123456")
		testkit.Want(t, "no code was sent", err, ceremony.ErrNotSent)
		testkit.Want(t, "send", w.SignIn.Send(ctx(), w.Visitor, p.Token, factor.Email), nil)
		code := w.MailedCode(alice)
		other := w.Password(w.Visitor, alice)
		_, err = answer(other, code)
		testkit.Want(t, "in another sign-in", err, ceremony.ErrNotSent)
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "send again", w.SignIn.Send(ctx(), w.Visitor, p.Token, factor.Email), nil)
		done, err := answer(p, code)
		if err != nil || done.Session == nil {
			t.Fatalf("the code before the newest: %v", err)
		}
		if acr := policy.ClaimsOf(done.Session.Session.Proofs).ACR; acr == policy.LevelMFA {
			t.Errorf("a mailed code makes a session of level %s", acr)
		}
		if done.Session.Devices != nil {
			t.Error("a mailed code makes the browser known")
		}
		if p := w.Password(w.Visitor, alice); p.Session == nil {
			t.Error("the address is asked for again")
		}
	})
}

func TestOnlyPathsOfThisSiteAreComeBackTo(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{"/": "/", "/security?x=1": "/security?x=1", "/a#b": "/a", "": "", "security": "", "//evil": "", `/\evil`: "", "/%2f%2fevil": "", "/%5cevil": "", "https://evil": "", "/\x7f": "", "/%zz": "", "/" + strings.Repeat("a", 1024): ""} {
		if got := prove.LocalPath(target); got != want {
			t.Errorf("%.40q: %q, want %q", target, got, want)
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "/security?x=1", "//evil", `/\evil`, "https:evil", "/%2f%2fevil", "/%5cevil", "/a//b", "/..//evil", "/@evil", "/#//evil", "/?//evil", "/\x7f", "/;//evil", "/.//evil"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		got := prove.LocalPath(target)
		if got == "" {
			return
		}
		if got[0] != '/' || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n\t\x00") {
			t.Errorf("%q became %q", target, got)
		}
		if prove.LocalPath(got) != got {
			t.Errorf("%q became %q, which becomes %q", target, got, prove.LocalPath(got))
		}
	})
}
