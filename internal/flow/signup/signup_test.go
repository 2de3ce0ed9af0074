package signup_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/flow/signup"
	"countersign/internal/secret"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const alice = "alice@example.com"

func ctx() context.Context { return context.Background() }

func on(t *testing.T, f func(t *testing.T, w *testkit.World)) {
	t.Helper()
	testkit.On(t, f, storetest.Engines...)
}

func begin(w *testkit.World, link secret.Token, n int, email string) (signup.Progress, error) {
	return w.SignUp.Begin(ctx(), testkit.From(n), link, email, testkit.Password)
}

func accounts(t *testing.T, w *testkit.World) (n int) {
	t.Helper()
	if err := w.Raw(t).QueryRow("SELECT count(*) FROM account").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheSetupLinkMakesOneAccountAndCloses(t *testing.T) {
	t.Parallel()
	on(t, func(t *testing.T, w *testkit.World) {
		w.SignUp.Open = false
		_, err := begin(w, secret.Token{}, 1, alice)
		testkit.Want(t, "without a link", err, signup.ErrClosed)
		old, ok, err := w.SignUp.SetupLink(ctx())
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		link, _, err := w.SignUp.SetupLink(ctx())
		if err != nil {
			t.Fatal(err)
		}
		_, err = begin(w, old, 1, alice)
		testkit.Want(t, "the link before", err, signup.ErrLinkUsed)
		first, err := begin(w, link, 1, alice)
		testkit.Want(t, "the link", err, nil)
		second, err := begin(w, link, 2, "bob@example.com")
		testkit.Want(t, "the link in another browser", err, nil)
		mine, his := w.MailedCode(alice), w.MailedCode("bob@example.com")
		made := 0
		for _, err := range storetest.Parallel(2, func(n int) error {
			_, err := w.SignUp.Confirm(ctx(), testkit.From(n), []secret.Token{first.Token, second.Token}[n], []string{mine, his}[n])
			return err
		}) {
			if err == nil {
				made++
			} else {
				testkit.Want(t, "the other", err, signup.ErrLinkUsed)
			}
		}
		if made != 1 || accounts(t, w) != 1 {
			t.Errorf("%d confirmed, %d accounts", made, accounts(t, w))
		}
		testkit.Want(t, "the link again", w.SignUp.Link(ctx(), link), signup.ErrLinkUsed)
		if _, ok, err := w.SignUp.SetupLink(ctx()); ok || err != nil {
			t.Errorf("another link where there is an account: %v", err)
		}
	})
}

func TestASetupLinkEndsAfterADay(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	link, _, err := w.SignUp.SetupLink(ctx())
	if err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(signup.LinkLifetime)
	_, err = begin(w, link, 1, alice)
	testkit.Want(t, "a day later", err, signup.ErrLinkUsed)
	made, _ := secret.NewToken(testRandom{})
	testkit.Want(t, "a made-up one", w.SignUp.Link(ctx(), made), signup.ErrNoLink)
}

func TestASetupLinkIsForTheFirstAccountAlone(t *testing.T) {
	t.Parallel()
	on(t, func(t *testing.T, w *testkit.World) {
		link, _, err := w.SignUp.SetupLink(ctx())
		testkit.Want(t, "link", err, nil)
		w.Owner(alice)
		testkit.Want(t, "once an account exists", w.SignUp.Link(ctx(), link), signup.ErrLinkUsed)
		if _, ok, err := w.SignUp.SetupLink(ctx()); ok || err != nil {
			t.Errorf("another link was made: %v", err)
		}
	})
}

func TestSendingHasACeilingForAll(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	w.Prover.Sending.Ceiling.All = 3
	for n := range 3 {
		_, err := begin(w, secret.Token{}, n+1, fmt.Sprintf("person%d@example.com", n))
		testkit.Want(t, "below the ceiling", err, nil)
	}
	_, err := begin(w, secret.Token{}, 9, "one-more@example.com")
	testkit.Want(t, "above it", err, ceremony.ErrSendTooMany)
	w.Clock.Advance(24 * time.Hour)
	_, err = begin(w, secret.Token{}, 9, "one-more@example.com")
	testkit.Want(t, "a day later", err, nil)
}

func TestAMailedCodeEndsAfterTenMinutes(t *testing.T) {
	t.Parallel()
	on(t, func(t *testing.T, w *testkit.World) {
		link, _, err := w.SignUp.SetupLink(ctx())
		testkit.Want(t, "link", err, nil)
		p, err := begin(w, link, 1, alice) // a set-up lasts an hour, its code does not
		testkit.Want(t, "begin", err, nil)
		w.Clock.Advance(ceremony.CodeLifetime)
		_, err = w.SignUp.Confirm(ctx(), testkit.From(1), p.Token, w.MailedCode(alice))
		testkit.Want(t, "at ten minutes", err, ceremony.ErrCodeExpired)
		testkit.Want(t, "another", w.SignUp.Resend(ctx(), testkit.From(1), p.Token), nil)
		w.Clock.Advance(ceremony.CodeLifetime - time.Microsecond)
		_, err = w.SignUp.Confirm(ctx(), testkit.From(1), p.Token, w.MailedCode(alice))
		testkit.Want(t, "just before", err, nil)
	})
}

type testRandom struct{}

func (testRandom) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

func TestConfirmingTwiceAtOnceMakesOneAccount(t *testing.T) {
	t.Parallel()
	on(t, func(t *testing.T, w *testkit.World) {
		p, err := begin(w, secret.Token{}, 1, alice)
		testkit.Want(t, "begin", err, nil)
		code, made := w.MailedCode(alice), 0
		for _, err := range storetest.Parallel(20, func(n int) error {
			_, err := w.SignUp.Confirm(ctx(), testkit.From(n), p.Token, code)
			return err
		}) {
			if err == nil {
				made++
			} else if k := fault.From(err).Kind; k == fault.Internal || k == fault.Unavailable {
				t.Error(err)
			}
		}
		if made != 1 || accounts(t, w) != 1 {
			t.Errorf("%d confirmed, %d accounts", made, accounts(t, w))
		}
		i := w.Identity(alice)
		if i.EmailConfirmedAt.IsZero() || i.Role != account.Owner || len(i.Account) != account.IDDigits {
			t.Errorf("got %+v", i)
		}
		w.Password(w.Visitor, alice)
	})
}

// Both addresses get the same answers to everything a visitor can do; which
// one has an account shows in the mailbox alone.
func TestWhetherAnAddressHasAnAccountShowsInTheMailAlone(t *testing.T) {
	t.Parallel()
	on(t, func(t *testing.T, w *testkit.World) {
		w.Owner("known@example.com")
		network := 0
		script := func(email string) (said []string) {
			network += 100
			n := network
			say := func(what string, err error) {
				f := fault.From(err)
				if err == nil {
					f = &fault.Fault{}
				}
				said = append(said, fmt.Sprintf("%s: %s %v %s %v", what, f.Code, f.Kind, f.Wait, f.Args))
			}
			p, err := begin(w, secret.Token{}, n, email)
			say("begin", err)
			say("resend at once", w.SignUp.Resend(ctx(), testkit.From(n), p.Token))
			w.Clock.Advance(20 * time.Second)
			say("resend soon", w.SignUp.Resend(ctx(), testkit.From(n), p.Token))
			_, err = w.SignUp.Confirm(ctx(), testkit.From(n), p.Token, "not-it")
			say("wrong code", err)
			state, err := w.SignUp.State(ctx(), p.Token)
			say("state "+state.Resend.String(), err)
			for k := range 6 {
				w.Clock.Advance(time.Minute)
				say("resend", w.SignUp.Resend(ctx(), testkit.From(n), p.Token))
				_, err := w.SignUp.Confirm(ctx(), testkit.From(n), p.Token, "x"+fmt.Sprint(k))
				say("wrong code", err)
			}
			_, err = begin(w, secret.Token{}, n+1, email)
			say("begin again within the hour", err)
			return said
		}
		known, unknown := script("known@example.com"), script("unknow@example.com")
		for n := range unknown {
			if known[n] != unknown[n] {
				t.Errorf("known:   %s\nunknown: %s", known[n], unknown[n])
			}
		}
		if in := w.Inbox("known@example.com"); len(in) != 1 || in[0].Kind != "signup_known" {
			t.Errorf("the owner got %+v", in)
		}
	})
}

// What becomes of the mail is the same to look at, whether a code was on it, a
// word to its owner, or nothing was sent.
func TestWhetherAnAddressHasAnAccountDoesNotShowInWhatBecomesOfTheMail(t *testing.T) {
	t.Parallel()
	on(t, func(t *testing.T, w *testkit.World) {
		w.Owner("bob@example.com")
		seen := func(email string) (s string) {
			p, err := begin(w, secret.Token{}, 1, email)
			s = fmt.Sprint(err)
			for range 7 {
				for {
					m, found, err := w.ClaimMessage(ctx(), time.Hour, message.Email)
					if err != nil {
						t.Fatal(err)
					}
					if !found {
						break
					}
					testkit.Want(t, "die", w.MessageDead(ctx(), m.ID, "550 no such user"), nil)
				}
				state, err := w.SignUp.State(ctx(), p.Token)
				s += fmt.Sprint(" ", state.Resend, err, w.SignUp.Resend(ctx(), testkit.From(1), p.Token))
				w.Clock.Advance(time.Minute)
			}
			w.Clock.Advance(2 * time.Hour)
			return s
		}
		free := seen("free@example.com")
		for range 2 { // the second time nothing is sent to bob
			if taken := seen("bob@example.com"); taken != free {
				t.Errorf("free:  %s\ntaken: %s", free, taken)
			}
		}
	})
}

func TestCodesAreSentWithinLimits(t *testing.T) {
	t.Parallel()
	on(t, func(t *testing.T, w *testkit.World) {
		p, err := begin(w, secret.Token{}, 1, alice)
		testkit.Want(t, "first", err, nil)
		err = w.SignUp.Resend(ctx(), testkit.From(1), p.Token)
		testkit.Want(t, "at once", err, ceremony.ErrSendSoon)
		if s := fault.From(err).Args["Seconds"]; s != 60 {
			t.Errorf("says %v seconds", s)
		}
		sent := []string{w.MailedCode(alice)}
		for range throttle.DestinationPerHour - 1 {
			w.Clock.Advance(throttle.ResendAfter)
			testkit.Want(t, "after a minute", w.SignUp.Resend(ctx(), testkit.From(1), p.Token), nil)
			sent = append(sent, w.MailedCode(alice))
		}
		w.Clock.Advance(throttle.ResendAfter)
		testkit.Want(t, "the sixth in the hour", w.SignUp.Resend(ctx(), testkit.From(1), p.Token), ceremony.ErrSendTooMany)
		_, err = begin(w, secret.Token{}, 2, " ALICE@example.com")
		testkit.Want(t, "the sixth from elsewhere", err, ceremony.ErrSendTooMany)
		_, err = begin(w, secret.Token{}, 2, "bob@example.com")
		testkit.Want(t, "another address", err, nil)
		_, err = w.SignUp.Confirm(ctx(), testkit.From(1), p.Token, sent[2])
		testkit.Want(t, "the third newest", err, ceremony.ErrSentWrong)
		_, err = w.SignUp.Confirm(ctx(), testkit.From(1), p.Token, sent[3])
		testkit.Want(t, "the second newest", err, nil)
	})
}

func TestASignUpHasFiveTriesAndItsTime(t *testing.T) {
	t.Parallel()
	on(t, func(t *testing.T, w *testkit.World) {
		p, err := begin(w, secret.Token{}, 1, alice)
		testkit.Want(t, "begin", err, nil)
		code := w.MailedCode(alice)
		for n := range throttle.CeremonyTries {
			if n == 2 { // a new code forgives nothing
				w.Clock.Advance(time.Minute)
				testkit.Want(t, "resend", w.SignUp.Resend(ctx(), testkit.From(1), p.Token), nil)
				code = w.MailedCode(alice)
			}
			_, err := w.SignUp.Confirm(ctx(), testkit.From(n), p.Token, "wrong")
			testkit.Want(t, "wrong", err, ceremony.ErrSentWrong)
		}
		_, err = w.SignUp.Confirm(ctx(), testkit.From(9), p.Token, code)
		testkit.Want(t, "the right one, too late", err, ceremony.ErrNoTries)
		p, err = begin(w, secret.Token{}, 1, "bob@example.com")
		testkit.Want(t, "begin", err, nil)
		other, err := begin(w, secret.Token{}, 1, "carol@example.com")
		testkit.Want(t, "begin", err, nil)
		_, err = w.SignUp.Confirm(ctx(), testkit.From(20), other.Token, w.MailedCode("bob@example.com"))
		testkit.Want(t, "another's code", err, ceremony.ErrSentWrong)
		w.Clock.Advance(ceremony.Lifetime)
		_, err = w.SignUp.Confirm(ctx(), testkit.From(30), p.Token, w.MailedCode("bob@example.com"))
		testkit.Want(t, "after ten minutes", err, ceremony.ErrGone)
	})
}

func TestAPasswordIsCheckedBeforeACodeIsSent(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	for password, refusal := range map[string]error{"": account.ErrPasswordMissing, "fourteen chars": account.ErrPasswordShort, "password12345678": account.ErrPasswordCommon, "countersign2026": account.ErrPasswordContext, "alice@example.comalice@example.com": account.ErrPasswordContext} {
		_, err := w.SignUp.Begin(ctx(), w.Visitor, secret.Token{}, alice, password)
		testkit.Want(t, password, err, refusal)
	}
	for _, email := range []string{"", "alice", "a@b@c", "alice@", "@example.com", "a b@example.com", "a@example.com\r\nBcc: x@example.com", "a\x00@example.com"} {
		if _, err := begin(w, secret.Token{}, 1, email); fault.From(err).Kind != fault.Invalid {
			t.Errorf("%q: %v", email, err)
		}
	}
	if in, err := w.Read(ctx()).Messages("", 10); len(in) != 0 || err != nil {
		t.Errorf("%d messages, %v", len(in), err)
	}
}
