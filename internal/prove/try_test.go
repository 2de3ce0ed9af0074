package prove_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

var errBroken = errors.New("broken")

// A reader that has nothing to read fails the write of a wrong code alone.
type dry struct{}

func (dry) Read([]byte) (int, error) { return 0, errBroken }

// Whatever fails after a code was compared, and even if it fails for the right
// ones alone or for the wrong ones alone: nobody guesses for nothing.
func TestATryWhoseWriteFailsIsPaidFor(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		check := func(p *prove.Prover, ctx context.Context, v prove.Visitor, code string, then error) error {
			return p.Check(ctx, v, v.As(i), i, "", prove.Answer{Method: factor.VirtualMFA, Codes: []string{code}}, audit.Event{Name: audit.IdentityVerify}, func(tx *store.Tx, _ factor.Proof) error {
				return errors.Join(then, tx.Record(audit.Event{Account: i.Account, Identity: i.ID, Name: audit.IdentityVerify}))
			})
		}
		broken := *w.Prover
		broken.Random = dry{}
		v, paid := testkit.From(1), 0
		costs := func(what string, err, want error) {
			t.Helper()
			testkit.Want(t, what, err, want)
			paid++
			if b := w.Budget(i); b.Fails != paid || b.Left != throttle.BudgetSize-paid {
				t.Errorf("%s: %+v, want %d paid", what, b, paid)
			}
			if n, _, err := w.DB.Read(ctx()).Counted("codes:"+throttle.Network(v.Address).String(), w.Clock.Now()); n != paid || err != nil {
				t.Errorf("%s: the network has %d, %v, want %d", what, n, err, paid)
			}
		}
		costs("a right code, broken", check(w.Prover, ctx(), v, app.Code(0), errBroken), errBroken)
		costs("a wrong code, broken", check(&broken, ctx(), v, app.WrongCode(), nil), errBroken)
		gone, leave := context.WithCancel(ctx())
		err := w.Prover.Check(gone, v, v.As(i), i, "", prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}}, audit.Event{Name: audit.IdentityVerify}, func(tx *store.Tx, _ factor.Proof) error {
			leave()
			return tx.Record(audit.Event{Account: i.Account, Identity: i.ID, Name: audit.IdentityVerify})
		})
		costs("a visitor who left", err, context.Canceled)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic came through")
				}
			}()
			_ = w.Prover.Check(ctx(), v, v.As(i), i, "", prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}}, audit.Event{}, func(*store.Tx, factor.Proof) error { panic("ours") })
		}()
		costs("a panic", nil, nil)
		costs("a wrong code", check(w.Prover, ctx(), v, app.WrongCode(), nil), factor.ErrCodeWrong)
		if err := check(w.Prover, ctx(), v, app.Code(0), nil); err != nil {
			t.Errorf("the right code, which nothing has used up: %v", err)
		}
		if events := w.Events(i, audit.IdentityVerify); len(events) != 2 {
			t.Errorf("%d events: %v", len(events), events)
		}

		cookie, err := secret.NewToken(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w.Put(func(tx *store.Tx) error {
			return tx.AddKnownDevice(session.KnownDevice{ID: "known", Account: i.Account, Identity: i.ID}, cookie.Hash())
		})
		known := testkit.With(v, cookie)
		for n := 1; n <= throttle.DeviceTries+1; n++ {
			before := w.Budget(i)
			_ = check(w.Prover, ctx(), known, app.Code(1), errBroken)
			d, err := w.DB.Read(ctx()).KnownDevices(i.Account, i.ID)
			if err != nil || len(d) != 1 || d[0].Fails != min(n, throttle.DeviceTries) {
				t.Errorf("the device after %d broken tries: %+v, %v", n, d, err)
			}
			if b := w.Budget(i); b.Fails-before.Fails != max(0, n-throttle.DeviceTries) {
				t.Errorf("the budget after %d broken tries: %+v, before that %+v", n, b, before)
			}
		}
	})
}

// Those that fail side by side are all compared at the price of the first, and
// all are paid, whatever price, network and ceremony say by then.
func TestTriesThatFailTogetherAreAllPaidFor(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		v := testkit.From(1)
		at := w.Password(v, alice)
		code := app.Code(0)
		var compared atomic.Int64
		storetest.Parallel(3*throttle.BudgetSize, func(n int) error {
			ceremony := ""
			if n%2 == 0 {
				ceremony = at.Ceremony
			}
			return w.Prover.Check(ctx(), v, v.As(i), i, ceremony, prove.Answer{Method: factor.VirtualMFA, Codes: []string{code, app.Code(1)}}, audit.Event{Name: audit.IdentityVerify}, func(*store.Tx, factor.Proof) error {
				compared.Add(1)
				return errBroken
			})
		})
		if b := w.Budget(i); int64(b.Fails) < compared.Load() || b.Left != max(0, throttle.BudgetSize-b.Fails) {
			t.Errorf("%d were compared: %+v", compared.Load(), b)
		}
		if n, _, err := w.DB.Read(ctx()).Counted("codes:"+throttle.Network(v.Address).String(), w.Clock.Now()); int64(n) < compared.Load() || err != nil {
			t.Errorf("%d were compared: the network has %d, %v", compared.Load(), n, err)
		}
		t.Logf("%d were compared", compared.Load())
	})
}

// A run that lost a race was compared, though the next one is refused before it
// is: its ceremony is over by then.
func TestATryThatLosesARaceIsPaidFor(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		at := w.Password(w.Visitor, alice)
		runs := 0
		err := w.Prover.Check(ctx(), w.Visitor, w.Visitor.As(i), i, at.Ceremony, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}}, audit.Event{Name: audit.IdentityVerify}, func(*store.Tx, factor.Proof) error {
			runs++
			w.Clock.Advance(time.Hour)
			return &pgconn.PgError{Code: "40001"}
		})
		testkit.Want(t, "the try", err, ceremony.ErrGone)
		if n, _, counted := w.DB.Read(ctx()).Counted("codes:"+throttle.Network(w.Visitor.Address).String(), w.Clock.Now()); runs != 1 || n != 1 || counted != nil || w.Budget(i).Fails != 1 {
			t.Errorf("%d runs, the network has %d, %+v, %v", runs, n, w.Budget(i), counted)
		}
	}, storetest.Postgres)
}

// One that cannot be paid for is said to be ours, whatever it came to.
func TestATryThatCannotBePaidForIsUnavailable(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		var told []prove.Charge
		w.Prover.Charged = func(_ factor.Method, c prove.Charge) { told = append(told, c) }
		err := w.Prover.Check(ctx(), w.Visitor, w.Visitor.As(i), i, "", prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}}, audit.Event{Name: audit.IdentityVerify}, func(*store.Tx, factor.Proof) error {
			return errors.Join(factor.ErrCodeUsed, w.DB.Close())
		})
		if fault.From(err).Kind != fault.Unavailable {
			t.Errorf("%v", err)
		}
		if !slices.Equal(told, []prove.Charge{prove.ChargeUnpaid}) {
			t.Errorf("told %v", told)
		}
	})
}

// Whoever sends the same answer twice has copied no cookie.
func TestOneAnswerTwentyTimesLeavesTheDeviceKnown(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		done, err := w.Answer(w.Visitor, w.Password(w.Visitor, alice), app.Code(0))
		if err != nil || done.Session == nil {
			t.Fatal(err)
		}
		w.Clock.Advance(time.Minute)
		known := testkit.With(w.Visitor, done.Session.Devices...)
		at, code := w.Password(known, alice), app.Code(0)
		var in atomic.Int64
		storetest.Parallel(20, func(int) error {
			done, err := w.SignIn.Answer(ctx(), known, at.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{code}})
			if err == nil && done.Session != nil {
				in.Add(1)
			}
			return err
		})
		devices, err := w.DB.Read(ctx()).KnownDevices(i.Account, i.ID)
		if err != nil || len(devices) != 1 || in.Load() != 1 {
			t.Errorf("%d came in, known: %+v, %v", in.Load(), devices, err)
		}
		if replays := w.Events(i, audit.DeviceReplay); len(replays) != 0 {
			t.Errorf("%d cookies were taken for copies", len(replays))
		}
	})
}

func TestAChallengeWhoseWriteFailsIsUsedUp(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		key := testkit.NewSoftKey()
		w.BindPasskey(w.Owner(alice), key)
		d, err := w.SignIn.Discover(ctx(), w.Visitor)
		if err != nil {
			t.Fatal(err)
		}
		said := key.Get(d.Options)
		for _, want := range []error{errBroken, passkey.ErrStale} {
			err := w.Prover.SignInPasskey(ctx(), w.Visitor, d.Ceremony, said, func(*store.Tx, account.Identity, factor.Proof) error { return errBroken })
			testkit.Want(t, "the answer", err, want)
		}
	})
}
