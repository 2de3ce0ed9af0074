package recovery_test

import (
	"encoding/base32"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/recovery"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/testkit"
)

// ticketed signs in with the password and the ticket, up to the binding.
func ticketed(t *testing.T, w *testkit.World, v prove.Visitor, ticket string) signin.Progress {
	t.Helper()
	p := w.Password(v, alice)
	next, err := w.SignIn.Answer(ctx(), v, p.Token, prove.Answer{Method: factor.Ticket, Codes: []string{ticket}})
	if err != nil || next.Step != policy.Bind || next.Session != nil {
		t.Fatalf("with the ticket: %s, %v", next.Step, err)
	}
	next.Token = p.Token
	return next
}

// newApp chooses virtual MFA and scans its key.
func newApp(t *testing.T, w *testkit.World, v prove.Visitor, p signin.Progress) *testkit.App {
	t.Helper()
	if err := w.SignIn.Choose(ctx(), v, p.Token, factor.VirtualMFA); err != nil {
		t.Fatal(err)
	}
	state, err := w.SignIn.State(ctx(), v, p.Token)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(state.Setup.Key.Key, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return &testkit.App{Seed: seed, Now: w.Clock.Now}
}

func TestPasswordAndTicketLeadToANewDeviceInPlaceOfWhatWasLost(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		lost := w.Bind(i)
		w.Attach(i, phone)
		old, _ := w.Signed(testkit.From(1), alice, lost)
		s := start(t, w, i, time.Hour)
		v := testkit.From(2)
		try := func() error {
			_, err := w.SignIn.Answer(ctx(), v, w.Password(v, alice).Token, prove.Answer{Method: factor.Ticket, Codes: []string{s.Ticket}})
			return err
		}
		testkit.Want(t, "before the wait is over", try(), policy.ErrMethod)
		w.Clock.Advance(time.Hour)
		wrong, err := w.SignIn.Answer(ctx(), v, w.Password(v, alice).Token, prove.Answer{Method: factor.Ticket, Codes: []string{"2222222-2222222"}})
		if err == nil || wrong.Step == policy.Bind {
			t.Errorf("a wrong ticket: %s, %v", wrong.Step, err)
		}
		p := ticketed(t, w, v, s.Ticket)
		if !slices.Equal(p.Setup.Kinds, []factor.Method{factor.Passkey, factor.VirtualMFA}) {
			t.Errorf("can be bound: %v", p.Setup.Kinds)
		}
		app := newApp(t, w, v, p)
		done, err := w.SignIn.BindDevice(ctx(), v, p.Token, "New phone", app.Code(0), "")
		if err != nil || done.Session == nil {
			t.Fatalf("binding: %s, %v", done.Step, err)
		}
		if n := len(w.Events(i, audit.RecoveryFinish)); n != 1 {
			t.Errorf("%d events of the end", n)
		}
		if n := len(w.Events(i, audit.RecoveryCancel)); n != 0 {
			t.Errorf("it is called cancelled %d times", n)
		}
		if works(t, w, i, s.Ticket) {
			t.Error("the ticket works again")
		}
		_, err = flow(w).State(ctx(), i)
		testkit.Want(t, "state", err, recovery.ErrNone)
		facts := w.Facts(i)
		if !facts.VirtualMFA || facts.Phone || facts.RecoveryCodes != factor.RecoveryCodes {
			t.Errorf("bound now: virtual MFA %v, phone %v, %d codes", facts.VirtualMFA, facts.Phone, facts.RecoveryCodes)
		}
		if now := w.Identity(alice); now.Epoch == old.Identity.Epoch {
			t.Error("what was granted before is good for ever")
		}
		w.Clock.Advance(time.Minute)
		if _, err := w.Answer(testkit.From(3), w.Password(testkit.From(3), alice), lost.Code(0)); !errors.Is(err, factor.ErrCodeWrong) {
			t.Errorf("the lost device: %v", err)
		}
		w.Signed(testkit.From(4), alice, app)
	})
}

func TestWhatEndsARecoveryEndsTheSignInThatShowedItsTicket(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		app := w.Bind(i)
		for name, end := range map[string]func(){
			"the operator": func() {
				if err := flow(w).Withdraw(ctx(), operator, i); err != nil {
					t.Fatal(err)
				}
			},
			"the link": func() {
				if err := flow(w).Cancel(ctx(), w.Visitor, link(t, w, alice)); err != nil {
					t.Fatal(err)
				}
			},
			"a sign-in": func() { w.Clock.Advance(time.Minute); w.Signed(testkit.From(9), alice, app) },
			"another": func() {
				start(t, w, i, time.Hour)
			},
		} {
			s := start(t, w, i, time.Hour)
			w.Clock.Advance(time.Hour)
			v := testkit.From(5)
			p := ticketed(t, w, v, s.Ticket)
			fresh := newApp(t, w, v, p)
			end()
			done, err := w.SignIn.BindDevice(ctx(), v, p.Token, "", fresh.Code(0), "")
			if err == nil || done.Session != nil {
				t.Errorf("%s: a device was bound all the same", name)
			}
			if state, err := w.SignIn.State(ctx(), v, p.Token); err == nil && state.Step != policy.Verify || err != nil && !errors.Is(err, ceremony.ErrGone) {
				t.Errorf("%s: the sign-in is at %s, %v", name, state.Step, err)
			}
			if n := len(w.Events(i, audit.RecoveryFinish)); n != 0 {
				t.Errorf("%s: finished", name)
			}
		}
	})
}

func TestTheLastAdministratorComesBackAsTheOwnerDoes(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		bob := user(w, w.Owner(alice), "bob", "bob@example.com")
		w.Bind(bob)
		s := start(t, w, bob, time.Hour)
		w.Clock.Advance(time.Hour)
		v := testkit.From(6)
		p, err := w.SignIn.Begin(ctx(), v, prove.Door{RAM: true}, bob.Name(), testkit.Password, "")
		if err != nil || p.Step != policy.Verify {
			t.Fatalf("the password: %s, %v", p.Step, err)
		}
		next, err := w.SignIn.Answer(ctx(), v, p.Token, prove.Answer{Method: factor.Ticket, Codes: []string{s.Ticket}})
		if err != nil || next.Step != policy.Bind {
			t.Fatalf("the ticket: %s, %v", next.Step, err)
		}
		app := newApp(t, w, v, p)
		done, err := w.SignIn.BindDevice(ctx(), v, p.Token, "", app.Code(0), "")
		if err != nil || done.Session == nil {
			t.Fatalf("binding: %s, %v", done.Step, err)
		}
		if len(w.Events(bob, audit.RecoveryFinish)) != 1 || works(t, w, bob, s.Ticket) {
			t.Error("it did not end there")
		}
	})
}
