package prove_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
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
			_ = check(w.Prover, ctx(), known, app.Code(1), errBroken)
			d, err := w.DB.Read(ctx()).KnownDevices(i.Account, i.ID)
			if err != nil || n <= throttle.DeviceTries && (len(d) != 1 || d[0].Fails != n) || n > throttle.DeviceTries && len(d) != 0 {
				t.Errorf("the device after %d broken tries: %+v, %v", n, d, err)
			}
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
