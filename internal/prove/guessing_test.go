package prove_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const alice = "alice@example.com"

func ctx() context.Context { return context.Background() }

// on runs f on SQLite and on PostgreSQL.
func TestGuessesAreChargedToTheIdentityWhereverTheyComeFrom(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		wrong := app.WrongCode()
		evaluated, asked := 0, 0
		for n := range 40 { // a network, a browser and a sign-in of its own each
			_, err := w.Answer(testkit.From(n), w.Password(testkit.From(n), alice), wrong)
			switch {
			case errors.Is(err, factor.ErrCodeWrong):
				evaluated++
			case errors.Is(err, factor.ErrMoreCodesAsked):
				asked++
			default:
				t.Fatal(err)
			}
		}
		if evaluated != throttle.BudgetSize || asked != 40-throttle.BudgetSize {
			t.Errorf("%d single codes evaluated, %d asked for more", evaluated, asked)
		}
		if b := w.Budget(i); b.Left != 0 || b.Fails != throttle.BudgetSize {
			t.Errorf("budget %+v", b)
		}
	})
}

func TestEveryDoorChargesTheSameBudget(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(testkit.From(1), alice, nil) // no device yet: the mail code is the method
		id, err := w.Verify.Begin(ctx(), testkit.From(1), s, selfservice.ChangePassword, "/")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Verify.Send(ctx(), testkit.From(1), s, id, factor.Email); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			_, _, err := w.Verify.Answer(ctx(), testkit.From(n+1), s, id, prove.Answer{Method: factor.Email, Codes: []string{"x" + fmt.Sprint(n) + "-never"}})
			testkit.Want(t, "mail code", err, ceremony.ErrSentWrong)
		}
		app := w.Bind(i)
		w.Guess(alice, app, 10, 4) // sign-in
		s, _ = w.Signed(testkit.From(90), alice, app)
		w.Clock.Advance(policyFresh)
		unbind, err := w.Verify.Begin(ctx(), testkit.From(91), s, selfservice.Unbind("device-"+string(i.ID)), "/")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // step-up
			_, _, err := w.Verify.Answer(ctx(), testkit.From(91), s, unbind, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.WrongCode()}})
			testkit.Want(t, "step-up", err, factor.ErrCodeWrong)
		}
		if b := w.Budget(i); b.Left != 0 || b.Fails != 10 {
			t.Errorf("budget %+v", b)
		}
		_, _, err = w.Verify.Answer(ctx(), testkit.From(92), s, unbind, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}})
		testkit.Want(t, "one code with an empty budget", err, factor.ErrMoreCodesAsked)
	})
}

const policyFresh = 11 * time.Minute

func TestASuccessNeverRefillsTheBudget(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		first, err := w.Answer(testkit.From(1), w.Password(testkit.From(1), alice), app.Code(0))
		if err != nil {
			t.Fatal(err)
		}
		w.Guess(alice, app, 10, throttle.BudgetSize)
		known := testkit.With(testkit.From(1), first.Session.Devices...)
		for range 3 { // the owner signs in day by day on the known device
			w.Clock.Advance(time.Hour)
			p, err := w.Answer(known, w.Password(known, alice), app.Code(0))
			if err != nil || p.Session == nil {
				t.Fatalf("the owner on the known device: %v", err)
			}
			known.Devices = p.Session.Devices
		}
		if b := w.Budget(i); b.Left != 0 {
			t.Errorf("%d single codes after the owner's successes", b.Left)
		}
		p := w.Password(testkit.From(200), alice)
		if p.Codes != 2 {
			t.Errorf("a clean browser is asked for %d codes", p.Codes)
		}
		w.Clock.Advance(time.Minute)
		if _, err := w.Answer(testkit.From(200), p, app.Code(0), app.Code(1)); err != nil {
			t.Errorf("two codes: %v", err)
		}
		if b := w.Budget(i); b.Left != 0 {
			t.Errorf("%d single codes after two codes", b.Left)
		}
	})
}

func TestASuccessGivesBackItsOwnTryAlone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		w.Guess(alice, app, 1, 4)
		if _, err := w.Answer(testkit.From(9), w.Password(testkit.From(9), alice), app.Code(0)); err != nil {
			t.Fatal(err)
		}
		if b := w.Budget(i); b.Left != throttle.BudgetSize-4 || b.Fails != 4 {
			t.Errorf("budget %+v after four failures and a success", b)
		}
	})
}

func TestTheOwnerIsAlwaysAdmitted(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		first, err := w.Answer(w.Visitor, w.Password(w.Visitor, alice), app.Code(0))
		if err != nil {
			t.Fatal(err)
		}
		s, err := w.SignIn.Who(ctx(), first.Session.Token)
		if err != nil {
			t.Fatal(err)
		}
		codes, err := w.NewCodes(s)
		if err != nil {
			t.Fatal(err)
		}
		w.Guess(alice, app, 1000, 60) // somebody who has the password
		w.Clock.Advance(90 * time.Second)
		known := testkit.With(w.Visitor, first.Session.Devices...)
		if p, err := w.Answer(known, w.Password(known, alice), app.Code(0)); err != nil || p.Session == nil {
			t.Errorf("known device: %v", err)
		}
		w.Clock.Advance(90 * time.Second)
		fresh := testkit.Visitor("2001:db8::7")
		if p, err := w.Answer(fresh, w.Password(fresh, alice), app.Code(0), app.Code(1)); err != nil || p.Session == nil {
			t.Errorf("two codes on a new device: %v", err)
		}
		p := w.Password(fresh, alice)
		p, err = w.SignIn.Answer(ctx(), fresh, p.Token, prove.Answer{Method: factor.RecoveryCode, Codes: []string{codes[3]}})
		if err != nil || p.Session == nil {
			t.Errorf("recovery code: %v", err)
		}
		if _, err := w.SignIn.Answer(ctx(), fresh, w.Password(fresh, alice).Token, prove.Answer{Method: factor.RecoveryCode, Codes: []string{codes[3]}}); !errors.Is(err, factor.ErrRecoveryWrong) {
			t.Errorf("the same one again: %v", err)
		}
	})
}

func TestTwoCodesHaveOneAnswer(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		w.Guess(alice, app, 1, throttle.BudgetSize)
		v, wrong := testkit.From(99), app.WrongCode()
		p := w.Password(v, alice)
		for name, codes := range map[string][]string{
			"right, wrong": {app.Code(0), wrong}, "wrong, right": {wrong, app.Code(0)}, "wrong, wrong": {wrong, wrong}, "not in a row": {app.Code(-1), app.Code(1)}, "the same twice": {app.Code(0), app.Code(0)},
		} {
			_, err := w.Answer(v, p, codes...)
			if !errors.Is(err, factor.ErrCodesWrong) || fault.From(err).Field != "code" {
				t.Errorf("%s: %v", name, err)
			}
		}
		p = w.Password(v, alice)
		if _, err := w.Answer(v, p, app.Code(0), app.Code(1)); err != nil {
			t.Fatalf("two in a row: %v", err)
		}
		w.Clock.Advance(30 * time.Second)
		for _, codes := range [][]string{{app.Code(-1), app.Code(0)}, {app.Code(0), app.Code(1)}} {
			if _, err := w.Answer(testkit.From(100), w.Password(testkit.From(100), alice), codes...); !errors.Is(err, factor.ErrCodesWrong) {
				t.Errorf("a step used before: %v", err)
			}
		}
	})
}

func TestASignInHasFiveTries(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		p := w.Password(w.Visitor, alice)
		for range throttle.CeremonyTries {
			_, err := w.Answer(w.Visitor, p, app.WrongCode())
			testkit.Want(t, "wrong", err, factor.ErrCodeWrong)
		}
		_, err := w.Answer(w.Visitor, p, app.Code(0))
		testkit.Want(t, "the right code, too late", err, ceremony.ErrNoTries)
		p = w.Password(w.Visitor, alice)
		w.Clock.Advance(ceremony.Lifetime)
		_, err = w.Answer(w.Visitor, p, app.Code(0))
		testkit.Want(t, "after its time", err, ceremony.ErrGone)
	})
}

func TestANetworkHasTenTries(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		wrong := app.WrongCode()
		guess := func(address string) error {
			v := testkit.Visitor(address)
			_, err := w.Answer(v, w.Password(v, alice), wrong, wrong, wrong)
			return err
		}
		for n := range throttle.SourceTries {
			testkit.Want(t, "within the limit", guess(fmt.Sprintf("198.51.100.%d", n)), factor.ErrCodesWrong)
		}
		before := w.Budget(i)
		err := guess("198.51.100.200")
		testkit.Want(t, "the eleventh", err, prove.ErrTooManyCodes)
		if f := fault.From(err); f.Wait != throttle.SourceWindow || f.Kind != fault.Throttled {
			t.Errorf("wait %s", f.Wait)
		}
		if b := w.Budget(i); b != before {
			t.Errorf("a refused try was charged: %+v", b)
		}
		testkit.Want(t, "another network", guess("203.0.113.1"), factor.ErrCodesWrong)
		w.Clock.Advance(throttle.SourceWindow)
		testkit.Want(t, "after the window", guess("198.51.100.1"), factor.ErrCodesWrong)
	})
}

func TestAHeavyAttackAsksForThreeCodes(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	i := w.Owner(alice)
	app := w.Bind(i)
	heavy := throttle.NewBudget(w.Clock.Now())
	for range throttle.HeavyAttack - 1 {
		heavy, _ = heavy.Charge(w.Clock.Now())
	}
	setBudget(t, w, i, heavy)
	v := testkit.From(1)
	if p := w.Password(v, alice); p.Codes != 2 {
		t.Errorf("at 1,999 failures: %d codes", p.Codes)
	}
	w.Guess(alice, app, 50, 1)
	p := w.Password(v, alice)
	if p.Codes != 3 {
		t.Errorf("at 2,000 failures: %d codes", p.Codes)
	}
	_, err := w.Answer(v, p, app.Code(-1), app.Code(0))
	testkit.Want(t, "two codes", err, factor.ErrMoreCodesAsked)
	if n := fault.From(err).Args["Count"]; n != 3 {
		t.Errorf("asked for %v", n)
	}
	w.Clock.Advance(time.Minute)
	if p, err := w.Answer(v, p, app.Code(-1), app.Code(0), app.Code(1)); err != nil || p.Session == nil {
		t.Errorf("three codes: %v", err)
	}
	w.Clock.Advance(24 * time.Hour)
	if p := w.Password(v, alice); p.Codes != 2 {
		t.Errorf("a day later: %d codes", p.Codes)
	}
}

func TestTheFleetAlarmAsksEverybodyForTwoCodes(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Prover.FleetAlarm = 12
		i, bob := w.Owner(alice), w.Owner("bob@example.com")
		app, his := w.Bind(i), w.Bind(bob)
		known, err := w.Answer(w.Visitor, w.Password(w.Visitor, "bob@example.com"), his.Code(0))
		if err != nil {
			t.Fatal(err)
		}
		w.Guess(alice, app, 1, 11)
		if p := w.Password(w.Visitor, "bob@example.com"); p.Codes != 1 {
			t.Errorf("before the alarm: %d codes", p.Codes)
		}
		w.Guess(alice, app, 50, 1)
		if p := w.Password(w.Visitor, "bob@example.com"); p.Codes != 2 {
			t.Errorf("in the alarm: %d codes", p.Codes)
		}
		if p := w.Password(testkit.With(w.Visitor, known.Session.Devices...), "bob@example.com"); p.Codes != 1 {
			t.Errorf("in the alarm on a known device: %d codes", p.Codes)
		}
		if b := w.Budget(bob); b.Left != throttle.BudgetSize {
			t.Errorf("the alarm cost the others: %+v", b)
		}
		w.Clock.Advance(throttle.FleetWindow)
		if p := w.Password(w.Visitor, "bob@example.com"); p.Codes != 1 {
			t.Errorf("an hour later: %d codes", p.Codes)
		}
	})
}

func TestTheBudgetComesBackOneAMonthAndWithANewPassword(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		w.Guess(alice, app, 1, throttle.BudgetSize)
		w.Clock.Advance(throttle.BudgetRefill - time.Second)
		if b := w.Budget(i); b.Left != 0 {
			t.Errorf("%d left before a month", b.Left)
		}
		w.Clock.Advance(time.Second)
		if b := w.Budget(i); b.Left != 1 {
			t.Errorf("%d left after a month", b.Left)
		}
		s, _ := w.Signed(w.Visitor, alice, app)
		if _, err := w.Self.ChangePassword(ctx(), w.Visitor, s, testkit.Password, "another otter, other vines"); err != nil {
			t.Fatal(err)
		}
		if b := w.Budget(i); b.Left != throttle.BudgetSize {
			t.Errorf("%d left after a new password", b.Left)
		}
	})
}

func TestTheOwnerIsToldOnceADayAndInTheirLanguage(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		if err := w.Self.SetLocale(ctx(), w.Visitor, s, "ja"); err != nil {
			t.Fatal(err)
		}
		app := w.Bind(i)
		kinds := func() map[string]int {
			n := map[string]int{}
			for _, m := range w.Inbox(alice) {
				n[m.Kind]++
				if m.Locale != "ja" {
					t.Errorf("%s is in %s", m.Kind, m.Locale)
				}
			}
			return n
		}
		w.Guess(alice, app, 1, throttle.BudgetSize-1)
		if k := kinds(); k["second_step_failed"] != 1 || len(k) != 1 {
			t.Errorf("after nine: %v", k)
		}
		w.Guess(alice, app, 50, 15)
		if k := kinds(); k["second_step_failed"] != 1 || k["budget_empty"] != 1 || len(k) != 2 {
			t.Errorf("after the budget is empty: %v", k)
		}
		if e := w.Events(i, audit.CodeBudgetEmpty); len(e) != 1 {
			t.Errorf("%d events about the budget", len(e))
		}
		w.Clock.Advance(24 * time.Hour)
		w.Guess(alice, app, 100, 5)
		if k := kinds(); k["second_step_failed"] != 2 {
			t.Errorf("the next day: %v", k)
		}
	})
}

func TestWrongPasswordsAreBoundedByNetworkOverAllNames(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		app := w.Bind(w.Identity(alice))
		first, err := w.Answer(w.Visitor, w.Password(w.Visitor, alice), app.Code(0))
		if err != nil {
			t.Fatal(err)
		}
		spray := testkit.Visitor("198.51.100.1")
		for n := range throttle.PasswordTries {
			name := alice
			if n > 0 {
				name = fmt.Sprintf("%d@example.com", n)
			}
			_, err := w.SignIn.Begin(ctx(), spray, prove.Door{}, name, "one password for all of them", "")
			testkit.Want(t, name, err, prove.ErrCredentials)
		}
		_, err = w.SignIn.Begin(ctx(), spray, prove.Door{}, alice, testkit.Password, "")
		testkit.Want(t, "the network is full", err, prove.ErrTooManyPasswords)
		known := testkit.With(spray, first.Session.Devices...)
		if _, err := w.SignIn.Begin(ctx(), known, prove.Door{}, alice, testkit.Password, ""); err != nil {
			t.Errorf("the owner's known device in that network: %v", err)
		}
		w.Password(testkit.From(7), alice)
		w.Clock.Advance(throttle.PasswordWindow)
		w.Password(spray, alice)
	})
}

func TestAPasswordIsTakenAsItIsMeant(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	long := ""
	for n := range 20 {
		long += fmt.Sprintf("é%dwq ", n)
	}
	if _, err := w.SignUp.Create(ctx(), alice, long[:len(long)-1], true); err != nil {
		t.Fatal(err)
	}
	composed := long[:len(long)-1]
	decomposed := ""
	for _, r := range composed {
		if r == 'é' {
			decomposed += "e\u0301"
		} else {
			decomposed += string(r)
		}
	}
	for name, c := range map[string]struct {
		password string
		right    bool
	}{"as set": {composed, true}, "decomposed": {decomposed, true}, "first 72 bytes": {composed[:72], false}, "upper case": {"É" + composed[2:], false}, "a blank more": {composed + " ", false}} {
		_, err := w.SignIn.Begin(ctx(), w.Visitor, prove.Door{}, alice, c.password, "")
		if (err == nil) != c.right {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := w.SignIn.Begin(ctx(), w.Visitor, prove.Door{}, alice, string(make([]byte, secret.PasswordMaxBytes+1)), "")
	testkit.Want(t, "huge", err, prove.ErrPasswordHuge)
}

func TestADearerHashIsMadeAtTheNextSignIn(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	before := w.Owner(alice).PasswordHash
	hasher, err := secret.NewHasher(secret.Argon2{MemoryKiB: 128, Passes: 2, Threads: 1}, randReader{}, 2, 10)
	if err != nil {
		t.Fatal(err)
	}
	w.Prover.Hasher = hasher
	w.Password(w.Visitor, alice)
	after := w.Identity(alice).PasswordHash
	if after == before || after[:len("$argon2id$v=19$m=128,t=2,p=1$")] != "$argon2id$v=19$m=128,t=2,p=1$" {
		t.Errorf("the hash is %s", after)
	}
	w.Password(w.Visitor, alice)
	if w.Identity(alice).PasswordHash != after {
		t.Error("hashed anew without need")
	}
}
