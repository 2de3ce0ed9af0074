package prove_test

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
	"countersign/internal/trace"
)

type randReader struct{}

func (randReader) Read(p []byte) (int, error) { return rand.Read(p) }

func setBudget(t *testing.T, w *testkit.World, i account.Identity, b throttle.Budget) {
	t.Helper()
	err := w.Write(ctx(), audit.Housekeeping("test"), func(tx *store.Tx) error {
		_, version, err := tx.Budget(i.Account, i.ID)
		if err != nil {
			return err
		}
		return tx.SaveBudget(i.Account, i.ID, b, version)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// knownBrowser signs in with two steps, and returns the browser afterwards.
func knownBrowser(t *testing.T, w *testkit.World, v prove.Visitor, app *testkit.App) prove.Visitor {
	t.Helper()
	p, err := w.Answer(v, w.Password(v, alice), app.Code(0))
	if err != nil || len(p.Session.Devices) == 0 {
		t.Fatalf("sign in: %v", err)
	}
	v.Devices = p.Session.Devices
	return v
}

func TestAKnownDevicePaysFromItsOwnCounter(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		known := knownBrowser(t, w, w.Visitor, app)
		for range 2 {
			p := w.Password(known, alice)
			for range throttle.CeremonyTries - 1 {
				_, err := w.Answer(known, p, app.WrongCode())
				testkit.Want(t, "wrong on the known device", err, factor.ErrCodeWrong)
			}
		}
		if b := w.Budget(i); b.Left != throttle.BudgetSize || b.Fails != 0 {
			t.Errorf("the known device spent the budget: %+v", b)
		}
		w.Clock.Advance(60e9)
		knownBrowser(t, w, known, app)
	})
}

// Whoever knows the password and copied the cookie has ten tries, however
// often the right password is given between them.
func TestTenStraightFailuresDemoteAKnownDevice(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		known := knownBrowser(t, w, w.Visitor, app)
		tries := 0
		for w.Budget(i).Fails == 0 && tries < 40 {
			v := testkit.From(tries) // the networks are not what stops it
			v.Devices = known.Devices
			p := w.Password(v, alice)
			_, err := w.Answer(v, p, app.WrongCode())
			testkit.Want(t, "wrong", err, factor.ErrCodeWrong)
			tries++
		}
		if tries != throttle.DeviceTries+1 {
			t.Errorf("%d tries until the budget paid, want %d", tries, throttle.DeviceTries+1)
		}
	})
}

func TestWrongPasswordsDemoteAKnownDeviceToo(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		app := w.Bind(w.Owner(alice))
		known := knownBrowser(t, w, w.Visitor, app)
		for range throttle.DeviceTries {
			_, err := w.SignIn.Begin(ctx(), known, prove.Door{}, alice, "not it", "")
			testkit.Want(t, "wrong", err, prove.ErrCredentials)
		}
		if n := counted(t, w, "passwords:192.0.2.0/24"); n != 0 {
			t.Errorf("the network was charged %d for the known device", n)
		}
		_, err := w.SignIn.Begin(ctx(), known, prove.Door{}, alice, "not it", "")
		testkit.Want(t, "wrong", err, prove.ErrCredentials)
		if n := counted(t, w, "passwords:192.0.2.0/24"); n != 1 {
			t.Errorf("the network was charged %d once the device was unknown", n)
		}
	})
}

func TestMistypingAPasswordCostsTheKnownDeviceNothingInTheEnd(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		known := knownBrowser(t, w, w.Visitor, w.Bind(i))
		// The device is unbound: from now on the password completes the sign-in.
		err := w.Write(ctx(), audit.Housekeeping("test"), func(tx *store.Tx) error {
			return tx.RemoveVirtualMFA(i.Account, i.ID, "device-"+string(i.ID), store.ErrNoRow)
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for range throttle.DeviceTries - 1 {
				_, err := w.SignIn.Begin(ctx(), known, prove.Door{}, alice, "not it", "")
				testkit.Want(t, "wrong", err, prove.ErrCredentials)
			}
			w.Password(known, alice)
		}
		if n := counted(t, w, "passwords:192.0.2.0/24"); n != 0 {
			t.Errorf("the network was charged %d: the device was demoted", n)
		}
	})
}

func counted(t *testing.T, w *testkit.World, scope string) int {
	t.Helper()
	n, _, err := w.Read(ctx()).Counted(scope, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAReplayedDeviceCookieMakesTheDeviceUnknown(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		yesterday := knownBrowser(t, w, w.Visitor, app)
		w.Clock.Advance(24 * 3600e9)
		today := knownBrowser(t, w, yesterday, app)
		if today.Devices[0] == yesterday.Devices[0] {
			t.Fatal("the cookie did not change at sign-in")
		}
		w.Guess(alice, app, 100, throttle.BudgetSize)
		if p := w.Password(today, alice); p.Codes != 1 {
			t.Errorf("known: %d codes", p.Codes)
		}
		if p := w.Password(yesterday, alice); p.Codes != 2 {
			t.Errorf("with yesterday's cookie: %d codes", p.Codes)
		}
		if e := w.Events(i, audit.DeviceReplay); len(e) != 1 {
			t.Errorf("%d events about the copy", len(e))
		}
		if p := w.Password(today, alice); p.Codes != 2 {
			t.Errorf("the device that was copied is known: %d codes", p.Codes)
		}
	})
}

func TestADeviceCookieIsWorthNothingForAnotherIdentity(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		app := w.Bind(w.Owner(alice))
		bob := w.Owner("bob@example.com")
		his := w.Bind(bob)
		known := knownBrowser(t, w, w.Visitor, app)
		w.Guess("bob@example.com", his, 100, throttle.BudgetSize)
		if p := w.Password(known, "bob@example.com"); p.Codes != 2 {
			t.Errorf("%d codes", p.Codes)
		}
		if p := w.Password(testkit.With(w.Visitor, token(t)), alice); p.Codes != 1 {
			t.Errorf("a made-up cookie: %d codes", p.Codes)
		}
		if s, err := w.SignIn.Signed(ctx(), known.Devices[0]); err == nil {
			t.Errorf("a device cookie opens a session: %+v", s)
		}
	})
}

func token(t *testing.T) secret.Token {
	t.Helper()
	tok, err := secret.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestTheHasherRefusesWhatItCannotTakeAndGivesTheTryBack(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		hasher, err := secret.NewHasher(testkit.CheapHash, rand.Reader, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.Prover.Hasher = hasher
		busy := 0
		for _, err := range parallel(40, func() error {
			_, err := w.SignIn.Begin(ctx(), w.Visitor, prove.Door{}, alice, testkit.Password, "")
			return err
		}) {
			switch {
			case errors.Is(err, secret.ErrBusy):
				busy++
			case err != nil && !errors.Is(err, prove.ErrTooManyPasswords):
				t.Error(err)
			}
		}
		if n := counted(t, w, "passwords:192.0.2.0/24"); n != 0 {
			t.Errorf("%d tries stayed counted; %d were refused as busy", n, busy)
		}
	})
}

func TestWhoFindsTheQueueFullDoesNotReachTheDatabase(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		hasher, err := secret.NewHasher(testkit.CheapHash, rand.Reader, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.Prover.Hasher = hasher
		_, leave, err := hasher.Queue(ctx())
		if err != nil {
			t.Fatal(err)
		}
		var timed []string
		tracer := &trace.Tracer{Now: time.Now, Timed: func(name string, _ time.Duration, code string) { timed = append(timed, name+" "+code) }}
		begin := func() error {
			_, err := w.SignIn.Begin(tracer.Into(ctx()), w.Visitor, prove.Door{}, alice, testkit.Password, "")
			return err
		}
		testkit.Want(t, "full", begin(), secret.ErrBusy)
		if !slices.Equal(timed, []string{"password.wait password.busy"}) {
			t.Errorf("it took %q", timed)
		}
		leave()
		testkit.Want(t, "room again", begin(), nil)
	})
}

func parallel(n int, f func() error) []error {
	return storetest.Parallel(n, func(int) error { return f() })
}
