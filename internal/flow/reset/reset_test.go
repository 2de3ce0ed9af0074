package reset_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/reset"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

const (
	alice = "alice@example.com"
	box   = "bob@mailbox.example"
	fresh = "gravel teapot orbit nine"
)

func ctx() context.Context { return context.Background() }

func flow(w *testkit.World) *reset.Flow { return &reset.Flow{Prover: w.Prover} }

var links = regexp.MustCompile(`https://id\.example\.com/(reset|notme)/([A-Za-z0-9_-]{43})\b`)

// link is the one of the newest message of a kind to an address.
func link(t *testing.T, w *testkit.World, to, kind string) secret.Token {
	t.Helper()
	for _, m := range w.Inbox(to) {
		if m.Kind == kind {
			token, err := secret.ParseToken(links.FindStringSubmatch(m.Text)[2])
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
	}
	t.Fatalf("no %s to %s", kind, to)
	return secret.Token{}
}

func count(w *testkit.World, to, kind string) (n int) {
	for _, k := range w.Told(to) {
		if k == kind {
			n++
		}
	}
	return n
}

// bob is a RAM user with a security email.
func bob(w *testkit.World, owner account.Identity) account.Identity {
	i := w.UserAs(owner, account.Identity{UserName: "bob", Role: account.User, Email: "bob@staff.example"}, account.Profile{State: account.ProfileActive})
	w.Settle(owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
	w.Put(func(tx *store.Tx) error {
		return tx.BindSecurityEmail(i.Account, i.ID, "", store.SecurityEmail{ID: "mailbox-bob", Address: box}, store.ErrNoRow)
	})
	return i
}

func request(t *testing.T, w *testkit.World, name string) {
	t.Helper()
	w.Clock.Advance(2 * time.Minute)
	if err := flow(w).Request(ctx(), testkit.From(70), "", name); err != nil {
		t.Fatal(err)
	}
}

// begin follows the newest link.
func begin(t *testing.T, w *testkit.World, to string) reset.Progress {
	t.Helper()
	p, err := flow(w).Begin(ctx(), w.Visitor, link(t, w, to, "reset_link"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func signsIn(w *testkit.World, name, password string) bool {
	_, err := w.SignIn.Begin(ctx(), testkit.From(71), prove.Door{}, name, password, "")
	return err == nil
}

func TestALinkLeadsToANewPasswordAndEndsWhatWasGranted(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		user := bob(w, i)
		for who, to := range map[account.Identity]string{i: alice, user: box} {
			_, token := w.Session(w.Visitor, who)
			pending, err := w.SignIn.Begin(ctx(), testkit.From(3), prove.Door{}, who.Name(), testkit.Password, "")
			if err != nil {
				t.Fatal(err)
			}
			request(t, w, who.Name())
			if w.Ended(t, token) || !signsIn(w, who.Name(), testkit.Password) {
				t.Error("asking changes something")
			}
			p := begin(t, w, to)
			if p.Step != policy.NewPassword || w.Ended(t, token) {
				t.Fatalf("%s: %+v", to, p)
			}
			if _, err := flow(w).SetPassword(ctx(), w.Visitor, p.Token, "short"); !errors.Is(err, account.ErrPasswordShort) {
				t.Errorf("a short password: %v", err)
			}
			if _, err := flow(w).SetPassword(ctx(), w.Visitor, p.Token, testkit.Password); !errors.Is(err, account.ErrPasswordSame) {
				t.Errorf("the same password: %v", err)
			}
			if _, err := flow(w).SetPassword(ctx(), w.Visitor, p.Token, fresh); err != nil {
				t.Fatal(err)
			}
			if !w.Ended(t, token) {
				t.Error("the session goes on")
			}
			if pending.Session == nil {
				if _, err := w.SignIn.State(ctx(), testkit.From(3), pending.Token); err == nil {
					t.Error("the sign-in under way goes on")
				}
			}
			if signsIn(w, who.Name(), testkit.Password) || !signsIn(w, who.Name(), fresh) {
				t.Error("the old password signs in, or the new one does not")
			}
			if count(w, to, "password_reset") != 1 || len(w.Events(who, audit.PasswordReset)) != 1 {
				t.Error("nobody was told, or nothing was recorded")
			}
			for what, err := range map[string]error{
				"the link again":     second(flow(w).Look(ctx(), link(t, w, to, "reset_link"))),
				"the ceremony again": second(flow(w).SetPassword(ctx(), w.Visitor, p.Token, "another teapot in orbit")),
			} {
				if err == nil {
					t.Errorf("%s works", what)
				}
			}
		}
		if count(w, "bob@staff.example", "reset_link") != 0 {
			t.Error("a link went to the email of the profile")
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestALinkIsGoodForOneHourOnceAndUntilTheNext(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		user := bob(w, i)
		look := func(token secret.Token) error { return second(flow(w).Look(ctx(), token)) }
		for _, c := range []struct {
			what string
			who  account.Identity
			to   string
			end  func()
		}{
			{"an hour", i, alice, func() { w.Clock.Advance(time.Hour) }},
			{"a new request", i, alice, func() { request(t, w, alice) }},
			{"a new password", i, alice, func() { change(t, w, i) }},
			{"not me", i, alice, func() { w.Put(func(tx *store.Tx) error { _, err := tx.RaiseEpoch(i.ID, ""); return err }) }},
			{"a disabled user", user, box, func() { state(w, user, account.ProfileInactive) }},
			{"another address", user, box, func() { rebind(w, user, "new@mailbox.example") }},
			{"passwords managed", user, "new@mailbox.example", func() { w.Settle(user.Account, func(s *account.Settings) { s.ChangePassword = false }) }},
		} {
			state(w, user, account.ProfileActive)
			request(t, w, c.who.Name())
			token := link(t, w, c.to, "reset_link")
			p := begin(t, w, c.to)
			if err := look(token); err != nil {
				t.Fatalf("before %s: %v", c.what, err)
			}
			c.end()
			testkit.Want(t, "after "+c.what, look(token), reset.ErrGone)
			if _, err := flow(w).Begin(ctx(), w.Visitor, token); !errors.Is(err, reset.ErrGone) {
				t.Errorf("begun after %s: %v", c.what, err)
			}
			if _, err := flow(w).SetPassword(ctx(), w.Visitor, p.Token, fresh+" "+c.what); err == nil {
				t.Errorf("set after %s", c.what)
			}
		}
	})
}

// change gives the identity another password, as its own page does.
func change(t *testing.T, w *testkit.World, i account.Identity) {
	t.Helper()
	w.Put(func(tx *store.Tx) error { return tx.SetPassword(i.ID, w.Again(i).PasswordHash, true) })
}

func state(w *testkit.World, i account.Identity, s account.ProfileState) {
	w.Put(func(tx *store.Tx) error { return tx.SetProfile(i.Account, i.ID, account.Profile{State: s}) })
}

func rebind(w *testkit.World, i account.Identity, to string) {
	w.Put(func(tx *store.Tx) error {
		return tx.BindSecurityEmail(i.Account, i.ID, "mailbox-bob", store.SecurityEmail{ID: "mailbox-bob", Address: to}, store.ErrNoRow)
	})
}

func TestTheSecondFactorIsAskedWhereOneIsBound(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		s, _ := w.Signed(testkit.From(4), alice, app)
		w.Clock.Advance(time.Minute)
		w.Given(s, policy.Action{Scenario: policy.ManageMFA, Name: "recovery_codes"})
		codes, err := w.NewCodes(s)
		if err != nil {
			t.Fatal(err)
		}
		for name, answer := range map[string]func() prove.Answer{
			"the app":         func() prove.Answer { return prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}} },
			"a recovery code": func() prove.Answer { return prove.Answer{Method: factor.RecoveryCode, Codes: []string{codes[0]}} },
		} {
			w.Clock.Advance(time.Hour)
			request(t, w, alice)
			p := begin(t, w, alice)
			if p.Step != policy.Verify || slices.ContainsFunc(p.Offers, func(o prove.Offer) bool { return o.Method == factor.Email }) {
				t.Fatalf("%s: %+v", name, p)
			}
			if strings.Contains(p.Name, "alice@") {
				t.Errorf("whoever has the mailbox learns %s", p.Name)
			}
			_, err := flow(w).SetPassword(ctx(), w.Visitor, p.Token, fresh+name)
			testkit.Want(t, "without the second factor", err, reset.ErrStep)
			for _, m := range []factor.Method{factor.Email, factor.Password, factor.SMS, factor.Ticket} {
				_, err = flow(w).Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: m, Codes: []string{testkit.Password}})
				testkit.Want(t, "by "+string(m), err, policy.ErrMethod)
			}
			testkit.Want(t, "a code to the mailbox", flow(w).Send(ctx(), w.Visitor, p.Token, factor.Email), policy.ErrMethod)
			_, err = flow(w).Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.WrongCode()}})
			testkit.Want(t, "a wrong code", err, factor.ErrCodeWrong)
			p, err = flow(w).Answer(ctx(), w.Visitor, p.Token, answer())
			if err != nil || p.Step != policy.NewPassword {
				t.Fatalf("%s: %+v, %v", name, p, err)
			}
		}
		facts := w.Facts(i)
		if !facts.VirtualMFA || facts.RecoveryCodes != len(codes)-1 {
			t.Errorf("a factor came or went: %+v", facts)
		}
	})
}

func TestTriesAreCountedAsAtSignIn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		before := w.Budget(i).Left
		request(t, w, alice)
		p := begin(t, w, alice)
		for range 3 {
			_, err := flow(w).Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.WrongCode()}})
			testkit.Want(t, "a wrong code", err, factor.ErrCodeWrong)
		}
		if left := w.Budget(i).Left; left != before-3 {
			t.Errorf("%d tries left of %d", left, before)
		}
	})
}

func TestTheLastTryMayBeRight(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		request(t, w, alice)
		p := begin(t, w, alice)
		answer := func(code string) (reset.Progress, error) {
			return flow(w).Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{code}})
		}
		for range throttle.CeremonyTries - 1 {
			testkit.Want(t, "a wrong code", second(answer(app.WrongCode())), factor.ErrCodeWrong)
		}
		if done, err := answer(app.Code(0)); err != nil || done.Step != policy.NewPassword {
			t.Errorf("the last try: %+v, %v", done, err)
		}
		if at, err := flow(w).State(ctx(), w.Visitor, p.Token); err != nil || at.Step != policy.NewPassword {
			t.Errorf("after it: %+v, %v", at, err)
		}
		testkit.Want(t, "the new password", second(flow(w).SetPassword(ctx(), w.Visitor, p.Token, fresh)), nil)
	})
}

// Who has nothing where a link could go gets none; the answer is the same.
func TestNobodyLearnsWhoseMailboxGetsALink(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		user := bob(w, i)
		plain := w.User(i, "carol", account.User)
		idle := w.User(i, "dave", account.User)
		state(w, idle, account.ProfileIdle)
		sent := func() (n int) {
			all, err := w.Read(ctx()).Messages("", 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				if m.Kind == "reset_link" {
					n++
				}
			}
			return n
		}
		for name, want := range map[string]int{alice: 1, user.Name(): 1, plain.Name(): 0, idle.Name(): 0, "carol@staff.example": 0, "bob@staff.example": 0, box: 0, "nobody@example.com": 0, "nobody": 0, strings.Repeat("x", 400): 0, "a\x00b": 0} {
			w.Clock.Advance(time.Hour)
			before := sent()
			if err := flow(w).Request(ctx(), testkit.From(9), "", name); err != nil {
				t.Errorf("%.30q: %v", name, err)
			}
			if got := sent() - before; got != want {
				t.Errorf("%.30q: %d links", name, got)
			}
		}
		if events := w.Events(plain, audit.PasswordForgot); len(events) != 1 || events[0].Refused != "forgot.no_mailbox" {
			t.Errorf("%+v", events)
		}
		testkit.Want(t, "no name", flow(w).Request(ctx(), w.Visitor, "", " "), prove.ErrNameAbsent)
		// A door knows the domain.
		w.Clock.Advance(time.Hour)
		if err := flow(w).Request(ctx(), testkit.From(9), user.Domain, "bob"); err != nil || count(w, box, "reset_link") != 2 {
			t.Errorf("at the door: %v", err)
		}
	})
}

func TestLinksAreFewAndOneNetworkIsToldToWait(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		v := testkit.From(40)
		for n := range 20 {
			if n > 0 {
				w.Clock.Advance(61 * time.Second)
			}
			name := alice
			if n >= 10 {
				name = "nobody@example.com"
			}
			if err := flow(w).Request(ctx(), v, "", name); err != nil {
				t.Fatalf("request %d: %v", n, err)
			}
		}
		if got := count(w, alice, "reset_link"); got != 5 {
			t.Errorf("%d links in an hour", got)
		}
		for _, name := range []string{alice, "nobody@example.com"} {
			testkit.Want(t, name, flow(w).Request(ctx(), v, "", name), reset.ErrTooMany)
		}
		// The last link stays good: asking too often voids nothing.
		if _, err := flow(w).Look(ctx(), link(t, w, alice, "reset_link")); err != nil {
			t.Errorf("the last link: %v", err)
		}
	})
}

// Two who use one link at once: one password stands.
func TestOneLinkSetsOnePassword(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		request(t, w, alice)
		var tokens []secret.Token
		for range 4 {
			tokens = append(tokens, begin(t, w, alice).Token)
		}
		var wg sync.WaitGroup
		errs := make([]error, len(tokens))
		for n, token := range tokens {
			wg.Go(func() { _, errs[n] = flow(w).SetPassword(ctx(), w.Visitor, token, fresh+strings.Repeat("z", n)) })
		}
		wg.Wait()
		set := 0
		for _, err := range errs {
			if err == nil {
				set++
			}
		}
		if events := w.Events(i, audit.PasswordReset); set != 1 || len(events) != 1 {
			t.Errorf("%d were set, %d recorded: %v", set, len(events), errs)
		}
	})
}
