package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func TestAWindowHoldsItsLimitAndNoMore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		count := func() (ok bool, wait time.Duration) {
			mustWrite(t, w, func(tx *store.Tx) (err error) {
				ok, wait, err = tx.Count("x:1", 10, time.Minute)
				return err
			})
			return ok, wait
		}
		errs := storetest.Parallel(50, func(int) error {
			return write(w, func(tx *store.Tx) error {
				ok, wait, err := tx.Count("x:1", 10, time.Minute)
				if err == nil && !ok {
					if wait != time.Minute {
						t.Errorf("wait %s", wait)
					}
					err = errFirst
				}
				return err
			})
		})
		if n := wins(t, errs, errFirst); n != 10 {
			t.Errorf("%d of 50 counted", n)
		}
		w.Clock.Advance(59 * time.Second)
		if ok, wait := count(); ok || wait != time.Second {
			t.Errorf("a second before the end: %v, %s", ok, wait)
		}
		w.Clock.Advance(time.Second)
		if ok, _ := count(); !ok {
			t.Error("at its end the window is still closed")
		}
		if n, wait, err := w.Read(ctx()).Counted("x:1", w.Clock.Now()); n != 1 || wait != time.Minute || err != nil {
			t.Errorf("the new window holds %d for %s, %v", n, wait, err)
		}
		for range 3 {
			mustWrite(t, w, func(tx *store.Tx) error { return tx.Uncount("x:1") })
		}
		if n, _, err := w.Read(ctx()).Counted("x:1", w.Clock.Now()); n != 0 || err != nil {
			t.Errorf("it holds %d, %v", n, err)
		}
	})
}

func TestWindowsAreSummed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		for n, scope := range []string{"fleet:1", "fleet:2", "fleet:2", "fleets:3", "other:fleet:4"} {
			mustWrite(t, w, func(tx *store.Tx) error {
				_, _, err := tx.Count(scope, 100, time.Duration(n+1)*time.Minute)
				return err
			})
		}
		if n, err := w.Read(ctx()).CountedIn([]string{"fleet:1", "fleet:2", "fleet:9"}, w.Clock.Now()); n != 3 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		if n, err := w.Read(ctx()).CountedIn([]string{"fleet:1", "fleet:2", "fleet:9"}, w.Clock.Now().Add(time.Minute)); n != 2 || err != nil {
			t.Errorf("a minute on: %d, %v", n, err)
		}
	})
}

// What a try costs does not grow with the windows of others that run.
func TestASumReadsNoOtherWindow(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		var scopes []string
		for n := range 16 {
			scopes = append(scopes, fmt.Sprintf("fleet:%d", n))
		}
		raw := w.Raw(t)
		look := func(when string) {
			t.Helper()
			r, plans := storetest.Open(t, w.Config).Explain(t) // whose plans are new
			_, _, _, err := r.BudgetAmong("a", "i", scopes, w.Clock.Now())
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if len(plans.Plans) == 0 {
				t.Error("nothing was asked")
			}
			for _, p := range plans.Plans {
				for _, whole := range []string{"Seq Scan on throttle_window", "throttle_window_ends", "SCAN throttle_window"} {
					if strings.Contains(p, whole) {
						t.Errorf("%s: %s in\n%s", when, whole, p)
					}
				}
			}
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			for n := range 2000 {
				if _, _, err := tx.Count(fmt.Sprintf("codes:10.0.%d.0", n), 1, time.Hour); err != nil {
					return err
				}
			}
			return nil
		})
		look("before the rows were counted")
		if _, err := raw.Exec("ANALYZE"); err != nil {
			t.Fatal(err)
		}
		look("after")
	})
}

func TestNoChargeIsLostAmongFifty(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		errs := storetest.Parallel(50, func(int) error {
			return write(w, func(tx *store.Tx) error {
				b, version, err := tx.Budget("a", "i")
				if err != nil {
					return err
				}
				b, _ = b.Charge(tx.Now)
				return tx.SaveBudget("a", "i", b, version)
			})
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			b, version, err := tx.Budget("a", "i")
			if b.Fails != 50 || b.Left != 0 || version != 50 || !b.FailsSince.Equal(w.Clock.Now()) {
				t.Errorf("got %+v, version %d", b, version)
			}
			return err
		})
	})
}

func TestABudgetReadBeforeAnotherWriteIsNotSaved(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		save := func(left int) {
			mustWrite(t, w, func(tx *store.Tx) error {
				_, version, err := tx.Budget("a", "i")
				if err != nil {
					return err
				}
				return tx.SaveBudget("a", "i", throttle.Budget{Left: left}, version)
			})
		}
		save(9)
		runs := 0
		mustWrite(t, w, func(tx *store.Tx) error { // the version of an earlier read: the whole write must run again
			runs++
			version := int64(0)
			if runs > 1 {
				version = 1
			}
			return tx.SaveBudget("a", "i", throttle.Budget{Left: 5}, version)
		})
		if runs != 2 {
			t.Errorf("%d runs", runs)
		}
	})
}

// Each charge comes back once, whatever was charged or given back since.
func TestChargesComeBackInAnyOrder(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		var all []throttle.Charge
		for range 20 {
			var c throttle.Charge
			mustWrite(t, w, func(tx *store.Tx) error {
				b, version, err := tx.Budget("a", "i")
				if err != nil {
					return err
				}
				b, c = b.Charge(tx.Now)
				return tx.SaveBudget("a", "i", b, version)
			})
			all = append(all, c)
		}
		first, last := all[0], all[len(all)-1]
		refund := func(c throttle.Charge) {
			t.Helper()
			mustWrite(t, w, func(tx *store.Tx) error { return tx.RefundBudget("a", "i", c) })
		}
		is := func(left, fails int) {
			t.Helper()
			if b, _, err := w.Read(ctx()).Budget("a", "i", w.Clock.Now()); b.Left != left || b.Fails != fails || err != nil {
				t.Errorf("%d left and %d failures, want %d and %d, %v", b.Left, b.Fails, left, fails, err)
			}
		}
		is(0, 20)
		refund(last) // it took nothing but a failure
		is(0, 19)
		refund(first)
		is(1, 18)
		for _, err := range storetest.Parallel(18, func(n int) error {
			return write(w, func(tx *store.Tx) error { return tx.RefundBudget("a", "i", all[n+1]) })
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		is(throttle.BudgetSize, 0)
	})
}

// The statement says what the rule says.
func TestRefundsAreThoseOfTheRule(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		n := 0
		for left := range throttle.BudgetSize + 1 {
			for _, fails := range []int{0, 1, 7} {
				for _, took := range []bool{false, true} {
					n++
					i := account.IdentityID(fmt.Sprint("i", n))
					b, c := throttle.Budget{Left: left, Fails: fails, RefilledAt: w.Clock.Now(), FailsSince: w.Clock.Now()}, throttle.Charge{TookToken: took}
					mustWrite(t, w, func(tx *store.Tx) error { return tx.SaveBudget("a", i, b, 0) })
					mustWrite(t, w, func(tx *store.Tx) error { return tx.RefundBudget("a", i, c) })
					got, version, err := w.Read(ctx()).Budget("a", i, w.Clock.Now())
					if want := b.Refund(c); got != want || version != 2 || err != nil {
						t.Errorf("%+v less %+v is %+v of version %d, want %+v, %v", b, c, got, version, want, err)
					}
				}
			}
		}
	})
}

func newCeremony(w *storetest.World, tries int) ceremony.Ceremony {
	id, _ := w.NewID()
	now := w.Clock.Now()
	return ceremony.Ceremony{ID: id, Kind: ceremony.SignIn, Account: "a", Identity: "i", Epoch: 3, TokenHash: []byte(id), Proofs: []factor.Proof{{Method: factor.Password, At: now}},
		TriesLeft: tries, ReturnTo: "/x", Action: policy.Action{Scenario: policy.ManageMFA, Name: "n", Target: "t", Destructive: true}, CreatedAt: now, ExpiresAt: now.Add(ceremony.Lifetime),
		Private: ceremony.Private{Email: "a@example.com", Seed: []byte("seed that nobody may read")}}
}

func TestTriesOfACeremonyNeverFallBelowNone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		c := newCeremony(w, throttle.CeremonyTries)
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddCeremony(c) })
		spend := func(id string) error {
			return write(w, func(tx *store.Tx) error { return tx.SpendTry(id, errFirst) })
		}
		if n := wins(t, storetest.Parallel(50, func(int) error { return spend(c.ID) }), errFirst); n != throttle.CeremonyTries {
			t.Errorf("%d tries", n)
		}
		got, err := w.Read(ctx()).CeremonyByToken(ceremony.SignIn, c.TokenHash)
		if err != nil || got.TriesLeft != 0 {
			t.Errorf("%d left, %v", got.TriesLeft, err)
		}
		late := newCeremony(w, 5)
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddCeremony(late) })
		w.Clock.Advance(ceremony.Lifetime)
		if err := spend(late.ID); !errors.Is(err, errFirst) {
			t.Errorf("after its time: %v", err)
		}
	})
}

func TestACeremonyIsKeptSealedAndEndsOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		c := newCeremony(w, 5)
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddCeremony(c) })
		got, err := w.Read(ctx()).CeremonyByToken(ceremony.SignIn, c.TokenHash)
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, c)
		}
		for _, wrong := range []func() error{
			func() error { _, err := w.Read(ctx()).CeremonyByToken(ceremony.SignUp, c.TokenHash); return err },
			func() error {
				_, err := w.Read(ctx()).CeremonyOfSession(ceremony.SignIn, c.ID, "another session")
				return err
			},
		} {
			if err := wrong(); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("found where it does not belong: %v", err)
			}
		}
		var private string
		if err := w.Raw(t).QueryRow("SELECT CAST(private AS TEXT) FROM ceremony").Scan(&private); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"a@example.com", "c2VlZCB0aGF0"} {
			if contains(private, secret) {
				t.Errorf("%q is readable in the row", secret)
			}
		}
		errs := storetest.Parallel(20, func(int) error {
			return write(w, func(tx *store.Tx) error { return tx.EndCeremony(c.ID, errFirst) })
		})
		if n := wins(t, errs, errFirst); n != 1 {
			t.Errorf("ended %d times", n)
		}
	})
}

func TestASentCodeBelongsToItsCeremonyAndIsUsedOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		c, other := newCeremony(w, 5), newCeremony(w, 5)
		send := func(of ceremony.Ceremony, code string) {
			mustWrite(t, w, func(tx *store.Tx) error {
				id, err := w.NewID()
				if err != nil {
					return err
				}
				return tx.AddSentCode(ceremony.Code{ID: id, Ceremony: of.ID, Method: factor.Email, Digits: len(code), CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(time.Minute)}, code)
			})
			w.Clock.Advance(time.Second)
		}
		mustWrite(t, w, func(tx *store.Tx) error { return errors.Join(tx.AddCeremony(c), tx.AddCeremony(other)) })
		for _, code := range []string{"111111", "222222", "0333333333"} {
			send(c, code)
		}
		send(other, "444444")
		r := w.Read(ctx())
		sent, err := r.SentCodes(c.ID, factor.Email)
		if err != nil || len(sent) != ceremony.CodesValid || sent[0].Digits != 10 {
			t.Fatalf("got %+v, %v", sent, err)
		}
		for code, want := range map[string]bool{"0333333333": true, "333333333": false, "222222": true, "111111": false, "444444": false, "": false} {
			is := false
			for _, s := range sent {
				one, err := r.CodeIs(s, code)
				if err != nil {
					t.Fatal(err)
				}
				is = is || one
			}
			if is != want {
				t.Errorf("%q counts: %v", code, is)
			}
		}
		moved := sent[0]
		moved.Ceremony = other.ID
		if is, _ := r.CodeIs(moved, "0333333333"); is {
			t.Error("a code counts in another ceremony")
		}
		errs := storetest.Parallel(20, func(int) error {
			return write(w, func(tx *store.Tx) error { return tx.UseSentCodes(c.ID, errFirst) })
		})
		if n := wins(t, errs, errFirst); n != 1 {
			t.Errorf("used %d times", n)
		}
		if left, _ := r.SentCodes(other.ID, factor.Email); len(left) != 1 {
			t.Error("the other ceremony's code is gone")
		}
	})
}

func TestAKnownDeviceHasItsTriesAndRemembersItsOldCookie(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		first, second := []byte("first"), []byte("second")
		mustWrite(t, w, func(tx *store.Tx) error {
			return tx.AddKnownDevice(session.KnownDevice{ID: "d", Account: "a", Identity: "i"}, first)
		})
		charge := func(int) error {
			return write(w, func(tx *store.Tx) error {
				ok, err := tx.ChargeKnownDevice("d")
				if err == nil && !ok {
					return errFirst
				}
				return err
			})
		}
		if n := wins(t, storetest.Parallel(50, charge), errFirst); n != throttle.DeviceTries {
			t.Errorf("%d tries", n)
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			if _, err := tx.KnownDevice("someone else", first); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("known for another identity: %v", err)
			}
			return tx.RotateKnownDevice("d", second)
		})
		mustWrite(t, w, func(tx *store.Tx) error {
			d, err := tx.KnownDevice("i", second)
			if d.Fails != 0 || err != nil {
				t.Errorf("after rotation: %+v, %v", d, err)
			}
			if _, err := tx.KnownDevice("i", first); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("the old cookie is known: %v", err)
			}
			if d, err := tx.ReplayedDevice("i", first); err != nil || d.ID != "d" {
				t.Errorf("the old cookie's return goes unnoticed: %v", err)
			}
			return nil
		})
		w.Clock.Advance(session.KnownDeviceLifetime)
		mustWrite(t, w, func(tx *store.Tx) error {
			if _, err := tx.KnownDevice("i", second); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("known for ever: %v", err)
			}
			return nil
		})
	})
}
