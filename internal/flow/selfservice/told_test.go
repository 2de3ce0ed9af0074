package selfservice_test

import (
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/testkit"
)

// TestWhatIsUrgentGoesToThePhoneToo follows a thief who reads the mail: the
// phone hears of every step.
func TestWhatIsUrgentGoesToThePhoneToo(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		heard := func(want string) {
			t.Helper()
			wantTold(t, w, hers, want)
			w.Clock.Advance(time.Minute)
		}
		s = w.Verified(s, selfservice.ChangePassword, factor.SMS)
		token, err := w.Self.ChangePassword(ctx(), w.Visitor, s, testkit.Password, "another otter, other vines")
		testkit.Want(t, "password", err, nil)
		heard("[password_changed]")
		s = w.Verified(who(t, w, token), selfservice.BindVirtualMFA, factor.SMS)
		b, err := w.Self.BeginBind(ctx(), w.Visitor, s, "")
		testkit.Want(t, "begin", err, nil)
		app := appOf(t, w, b)
		token, err = w.Self.ConfirmBind(ctx(), w.Visitor, s, b.ID, "", app.Code(-1), app.Code(0))
		testkit.Want(t, "bind", err, nil)
		heard("[device_bound password_changed]")
		s = who(t, w, token)
		codes, err := w.NewCodes(s)
		testkit.Want(t, "codes", err, nil)
		heard("[device_bound password_changed]") // new codes void a set, and no more
		s = w.Verified(s, selfservice.EmailAction(i), factor.RecoveryCode, codes[0])
		heard("[recovery_code_used device_bound password_changed]")
		id, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, "new@example.com")
		testkit.Want(t, "address", err, nil)
		token, err = confirm(w, s, id, w.MailedCode("new@example.com"))
		testkit.Want(t, "confirm", err, nil)
		heard("[email_changed recovery_code_used device_bound password_changed]")
		s = who(t, w, token)
		device := setupDeviceID(t, w, s)
		s = w.Verified(s, selfservice.Unbind(device), factor.VirtualMFA, app.Code(0))
		token, err = w.Self.Unbind(ctx(), w.Visitor, s, device)
		testkit.Want(t, "unbind", err, nil)
		heard("[device_unbound email_changed recovery_code_used device_bound password_changed]")
		s = who(t, w, token)
		for n, scenarios := range [][]policy.Scenario{signIn, password} {
			id = begin(t, w, s, factor.SMS, scenarios...)
			s = w.Verified(s, setup(t, w, s, id, selfservice.StepVerify).Action, factor.SMS)
			_, token, err = save(w, s, id)
			testkit.Want(t, fmt.Sprintf("choice %d", n), err, nil)
			s = who(t, w, token)
			w.Clock.Advance(time.Minute)
		}
		heard("[protection_changed device_unbound email_changed recovery_code_used device_bound password_changed]")
		w.Clock.Advance(time.Hour)
		s, _ = signedWith(t, w, "new@example.com", "another otter, other vines")
		s = w.Verified(s, selfservice.TurnOff, factor.SMS)
		_, err = w.Self.TurnOffProtection(ctx(), w.Visitor, s)
		testkit.Want(t, "off", err, nil)
		heard("[protection_off protection_changed device_unbound email_changed recovery_code_used device_bound password_changed]")
	})
}

func signedWith(t *testing.T, w *testkit.World, email, password string) (prove.Signed, error) {
	t.Helper()
	p, err := w.SignIn.Begin(ctx(), w.Visitor, prove.Door{}, email, password, "")
	if err != nil || p.Session == nil {
		t.Fatalf("sign in: %v, %v", p.Step, err)
	}
	return who(t, w, p.Session.Token), nil
}

func TestARecoveryCodeAtSignInIsToldToThePhone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Attach(i, hers)
		app := w.Bind(i)
		s, _ := w.Signed(w.Visitor, alice, app)
		codes, err := w.NewCodes(s)
		testkit.Want(t, "codes", err, nil)
		p := w.Password(testkit.From(2), alice)
		_, err = w.SignIn.Answer(ctx(), testkit.From(2), p.Token, prove.Answer{Method: factor.RecoveryCode, Codes: codes[:1]})
		testkit.Want(t, "sign in", err, nil)
		wantTold(t, w, hers, "[recovery_code_used]")
	})
}

// whatIsSeen is all that somebody learns of an address that they name.
func whatIsSeen(w *testkit.World, s prove.Signed, email string, ends func(id string) error) (seen string) {
	id, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, email)
	seen = fmt.Sprint(err)
	for n := range 7 {
		for {
			m, found, err := w.ClaimMessage(ctx(), time.Hour, message.Email)
			if err != nil || !found {
				break
			}
			if err := ends(m.ID); err != nil {
				w.T.Fatal(err)
			}
		}
		k, err := w.Self.Contact(ctx(), w.Visitor, s, id)
		seen += fmt.Sprint(n, err, k.Sent, k.Delayed, k.Failed, k.Digits, k.Resend, " ", w.Self.SendContact(ctx(), w.Visitor, s, id), "\n")
		w.Clock.Advance(time.Minute)
	}
	return seen
}

// The page of a new address says the same of one that is taken, whatever
// becomes of the mail: one that dies gives nothing back, for none may have
// been sent.
func TestATakenAddressIsNotToldApartByWhatBecomesOfItsMail(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(w *testkit.World, id string) error{
		"arrives": func(w *testkit.World, id string) error { return w.MessageSent(ctx(), id) },
		"waits": func(w *testkit.World, id string) error {
			return w.MessageFailed(ctx(), id, "greylisted", w.Clock.Now().Add(time.Hour))
		},
		"dies": func(w *testkit.World, id string) error { return w.MessageDead(ctx(), id, "550 no such user") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.On(t, func(t *testing.T, w *testkit.World) {
				w.Owner(alice)
				w.Owner(bob)
				seen := func(email string) string {
					s, _ := w.Signed(w.Visitor, alice, nil)
					s = w.Verified(s, selfservice.ChangeEmail, factor.Email)
					defer w.Clock.Advance(2 * time.Hour)
					return whatIsSeen(w, s, email, func(id string) error { return ends(w, id) })
				}
				free := seen("free@example.com")
				for _, again := range []string{"at first", "later that day"} {
					if taken := seen(bob); taken != free {
						t.Errorf("%s: free\n%s\ntaken\n%s", again, free, taken)
					}
				}
			})
		})
	}
}

func TestAMailToANewAddressIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		w.Owner(bob)
		s, _ := w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.ChangeEmail, factor.Email)
		w.Prover.Sending.Patience = 20 * time.Second // nobody delivers
		begun := time.Now()
		for _, email := range []string{"free@example.com", bob} {
			id, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, email)
			testkit.Want(t, email, err, nil)
			w.Clock.Advance(time.Minute)
			testkit.Want(t, "again", w.Self.SendContact(ctx(), w.Visitor, s, id), nil)
		}
		if took := time.Since(begun); took >= w.Prover.Sending.Patience {
			t.Errorf("waited %s", took)
		}
	})
}
