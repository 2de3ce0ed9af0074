package prove_test

import (
	"slices"
	"testing"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestEveryTryIsToldByWhatItWasCharged(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		var told []string
		w.Prover.Charged = func(m factor.Method, c prove.Charge) { told = append(told, string(m)+" "+string(c)) }
		is := func(what string, want ...string) {
			t.Helper()
			if !slices.Equal(told, want) {
				t.Errorf("%s: %q, want %q", what, told, want)
			}
			told = nil
		}
		v := testkit.From(1)
		p := w.Password(v, alice)
		is("a password", "password counted")
		_, _ = w.Answer(v, p, app.WrongCode())
		is("a wrong code", "virtual_mfa one_code")
		done, err := w.Answer(v, p, app.Code(0))
		if err != nil || done.Session == nil {
			t.Fatal(err)
		}
		is("the right one", "virtual_mfa one_code")

		known := testkit.With(testkit.From(2), done.Session.Devices...)
		p = w.Password(known, alice)
		_, _ = w.Answer(known, p, app.WrongCode())
		is("a known browser", "password known_device", "virtual_mfa known_device")

		w.Guess(alice, app, 100, throttle.BudgetSize)
		told = nil
		v = testkit.From(3)
		p = w.Password(v, alice)
		_, _ = w.Answer(v, p, app.WrongCode())
		_, _ = w.Answer(v, p, app.WrongCode(), app.WrongCode())
		is("an empty budget", "password counted", "virtual_mfa asked_again", "virtual_mfa two_codes")
		for n := 0; n <= throttle.PasswordTries && !slices.Contains(told, "password network_limit"); n++ {
			_, _ = w.SignIn.Begin(ctx(), testkit.From(9), prove.Door{}, "nobody@example.com", "a wrong password of nobody", "")
		}
		if !slices.Contains(told, "password network_limit") {
			t.Errorf("many passwords of a network: %q", told[max(0, len(told)-3):])
		}
	}, storetest.SQLite)
}
