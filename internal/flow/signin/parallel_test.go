package signin_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const alice = "alice@example.com"

func ctx() context.Context { return context.Background() }

// onAll runs f on every engine.
func onAll(t *testing.T, f func(t *testing.T, w *testkit.World)) {
	t.Helper()
	testkit.On(t, f, storetest.Engines...)
}

func sessions(t *testing.T, w *testkit.World, email string) int {
	t.Helper()
	i := w.Identity(email)
	list, err := w.Read(ctx()).Sessions(i.Account, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestOneRightCodeFiftyTimesGivesOneSession(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, w *testkit.World) {
		app := w.Bind(w.Owner(alice))
		p, code := w.Password(w.Visitor, alice), app.Code(0)
		in := 0
		for _, err := range storetest.Parallel(50, func(n int) error {
			_, err := w.Answer(testkit.From(n), p, code)
			return err
		}) {
			switch {
			case err == nil:
				in++
			case errors.Is(err, factor.ErrCodeUsed), errors.Is(err, ceremony.ErrGone), errors.Is(err, ceremony.ErrNoTries):
			default:
				t.Error(err)
			}
		}
		if n := sessions(t, w, alice); in != 1 || n != 1 {
			t.Errorf("%d sign-ins, %d sessions", in, n)
		}
	})
}

func TestOneRightCodeInFiftySignInsGivesOneSession(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		var begun [50]signin.Progress
		for n := range begun {
			begun[n] = w.Password(testkit.From(n), alice)
		}
		code, in, used := app.Code(0), 0, 0
		for _, err := range storetest.Parallel(50, func(n int) error {
			_, err := w.Answer(testkit.From(n), begun[n], code)
			return err
		}) {
			switch {
			case err == nil:
				in++
			case errors.Is(err, factor.ErrCodeUsed):
				used++
			case errors.Is(err, factor.ErrMoreCodesAsked):
			default:
				t.Error(err)
			}
		}
		if n := sessions(t, w, alice); in != 1 || n != 1 {
			t.Errorf("%d sign-ins, %d sessions", in, n)
		}
		// One that lost a race may be asked for more when it is tried again: it
		// was compared, and is paid for.
		if b := w.Budget(i); b.Fails < used || b.Fails > used && !strings.Contains(t.Name(), "serializable") {
			t.Errorf("%d refused as used, %d counted", used, b.Fails)
		}
	})
}

func TestOneRecoveryCodeInTwentySignInsGivesOneSession(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Bind(i)
		codes := giveRecoveryCodes(t, w, alice)
		var begun [20]signin.Progress
		for n := range begun {
			begun[n] = w.Password(w.Visitor, alice)
		}
		in := 0
		for _, err := range storetest.Parallel(20, func(n int) error {
			_, err := w.SignIn.Answer(ctx(), w.Visitor, begun[n].Token, prove.Answer{Method: factor.RecoveryCode, Codes: codes[:1]})
			return err
		}) {
			if err == nil {
				in++
			} else if !errors.Is(err, factor.ErrRecoveryWrong) {
				t.Error(err)
			}
		}
		if n := sessions(t, w, alice); in != 1 || n != 1 {
			t.Errorf("%d sign-ins, %d sessions", in, n)
		}
	})
}

// storm sends n wrong answers at once, five to a sign-in, from many networks.
func storm(w *testkit.World, n int, codes ...string) []error {
	begun := make([]signin.Progress, n/throttle.CeremonyTries)
	for k := range begun {
		begun[k] = w.Password(testkit.From(k), alice)
	}
	return storetest.Parallel(n, func(k int) error {
		_, err := w.Answer(testkit.From(k/throttle.CeremonyTries), begun[k/throttle.CeremonyTries], codes...)
		return err
	})
}

func TestFiveHundredWrongCodesAtOnceAreCountedToTheLastOne(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		wrong := app.WrongCode()
		n := 500
		if w.Config.Isolation != 0 {
			n = 100 // most of the time goes into trying again
		}
		for _, err := range storm(w, n, wrong, wrong, wrong) {
			if !errors.Is(err, factor.ErrCodesWrong) {
				t.Fatal(err)
			}
		}
		if b := w.Budget(i); b.Left != 0 || b.Fails != n {
			t.Errorf("budget %+v", b)
		}
		refused := 0
		list, err := w.Read(ctx()).History(i.Account, i.ID, 0, 2000, audit.ConsoleSignin)
		for _, e := range list {
			if e.Refused == factor.ErrCodesWrong.Code {
				refused++
			}
		}
		if refused != n || err != nil {
			t.Errorf("%d refusals recorded, %v", refused, err)
		}
	})
}

func TestFiveHundredSingleCodesAtOnceAreTenGuesses(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		evaluated := 0
		for _, err := range storm(w, 500, app.WrongCode()) {
			switch {
			case errors.Is(err, factor.ErrCodeWrong):
				evaluated++
			case !errors.Is(err, factor.ErrMoreCodesAsked):
				t.Fatal(err)
			}
		}
		if b := w.Budget(i); evaluated != throttle.BudgetSize || b.Left != 0 || b.Fails != throttle.BudgetSize {
			t.Errorf("%d evaluated, budget %+v", evaluated, b)
		}
		if e := w.Events(i, audit.CodeBudgetEmpty); len(e) == 0 {
			t.Error("no event about the empty budget")
		}
	})
}

func TestAKnownDeviceAtOnceHasTenTries(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		first, err := w.Answer(w.Visitor, w.Password(w.Visitor, alice), app.Code(0))
		if err != nil {
			t.Fatal(err)
		}
		var begun [6]signin.Progress
		for n := range begun {
			begun[n] = w.Password(testkit.From(n), alice)
		}
		wrong := app.WrongCode()
		for _, err := range storetest.Parallel(30, func(n int) error {
			_, err := w.Answer(testkit.With(testkit.From(n), first.Session.Devices...), begun[n%6], wrong, wrong, wrong)
			return err
		}) {
			if !errors.Is(err, factor.ErrCodesWrong) {
				t.Fatal(err)
			}
		}
		if b := w.Budget(i); b.Fails != 30-throttle.DeviceTries {
			t.Errorf("the budget paid %d of 30 tries, want %d", b.Fails, 30-throttle.DeviceTries)
		}
	})
}

// A child process tries wrong codes as fast as it can, until it is killed.

const childEnv = "COUNTERSIGN_TEST_GUESSER"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(childEnv); arguments != "" {
		guesser(strings.Split(arguments, "|"))
		return
	}
	os.Exit(m.Run())
}

func guesser(arguments []string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	at, err := time.Parse(time.RFC3339, arguments[2])
	fail(err)
	now := func() time.Time { return at }
	keys, err := secret.OpenKeyring(arguments[1], rand.Reader, at)
	fail(err)
	db, err := store.Open(ctx(), store.Config{URL: arguments[0], Keys: keys, Now: now, Random: rand.Reader})
	fail(err)
	hasher, err := secret.NewHasher(testkit.CheapHash, rand.Reader, 4, 1000)
	fail(err)
	flow := &signin.Flow{Prover: &prove.Prover{DB: db, Hasher: hasher, Random: rand.Reader, FleetAlarm: 1 << 30, Fleet: &prove.Fleet{}}}
	var network atomic.Int64
	storetest.Parallel(8, func(int) error {
		for {
			v := testkit.From(int(network.Add(1)))
			p, err := flow.Begin(ctx(), v, prove.Door{}, alice, testkit.Password, "")
			fail(err)
			for range throttle.CeremonyTries {
				_, err := flow.Answer(ctx(), v, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{arguments[3], arguments[3], arguments[3]}})
				if !errors.Is(err, factor.ErrCodesWrong) {
					fail(fmt.Errorf("unexpected: %w", err))
				}
				fmt.Println("refused")
			}
		}
	})
}

func TestNoTryIsGivenBackByAKill(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		answered, before := 0, 0
		for _, until := range []int{5, 40, 80} { // killed, started again, killed again
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{w.Config.URL, w.KeysFile, w.Clock.Now().Format(time.RFC3339), app.WrongCode()}, "|"))
			child.Stderr = os.Stderr
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			lines := 0
			for s := bufio.NewScanner(out); s.Scan(); {
				if lines++; lines == until {
					if err := child.Process.Kill(); err != nil { // SIGKILL
						t.Fatal(err)
					}
				}
			}
			_ = child.Wait()
			if lines < until {
				t.Fatalf("the guesser ended by itself after %d answers", lines)
			}
			answered += lines
			b := w.Budget(i)
			if b.Fails < answered || b.Fails < before || b.Left != max(0, throttle.BudgetSize-b.Fails) {
				t.Errorf("%d answered in all, counted %+v", answered, b)
			}
			before = b.Fails
			w.Clock.Advance(20 * time.Minute) // the networks are free again
		}
		if p := w.Password(testkit.From(60000), alice); p.Codes != 2 { // another process, the same count
			t.Errorf("a clean browser is asked for %d codes", p.Codes)
		}
		if err := w.Read(ctx()).VerifyChains(func(_ store.Head, err error) error { return err }); err != nil {
			t.Error(err)
		}
	})
}

// giveRecoveryCodes makes a set for an identity straight in the store.
func giveRecoveryCodes(t testing.TB, w *testkit.World, email string) []string {
	t.Helper()
	i := w.Identity(email)
	codes, err := factor.NewRecoveryCodes(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hashes := make([][]byte, len(codes))
	for n, c := range codes {
		hashes[n] = prove.RecoveryHash(i, c)
	}
	err = w.Write(ctx(), audit.Housekeeping("test"), func(tx *store.Tx) error { return tx.ReplaceRecoveryCodes(i.Account, i.ID, hashes) })
	if err != nil {
		t.Fatal(err)
	}
	return codes
}
