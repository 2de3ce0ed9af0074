package signin_test

import (
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

const mailbox = "bob@mail.example"

// byMail answers the step with a code to the security email.
func (c *staff) byMail(v prove.Visitor, p signin.Progress, code func(sent string) string) (signin.Progress, error) {
	c.t.Helper()
	if err := c.SignIn.Send(ctx(), v, p.Token, factor.Email); err != nil {
		c.t.Fatal(err)
	}
	return c.SignIn.Answer(ctx(), v, p.Token, prove.Answer{Method: factor.Email, Codes: []string{code(c.MailedCode(mailbox))}})
}

func same(sent string) string { return sent }

func other(sent string) string { return string('0'+(sent[0]-'0'+1)%10) + sent[1:] }

func TestASignInByMailIsTakenAfterTheDeviceAndSaysSo(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		c.Bind(bob)
		e := c.Mailbox(bob, mailbox)
		v := testkit.From(3)
		p := c.at(v, bob)
		var methods []factor.Method
		for _, o := range p.Offers {
			methods = append(methods, o.Method)
			if o.Method == factor.Email && o.Destination != account.MaskEmail(mailbox) {
				t.Errorf("goes to %q", o.Destination)
			}
		}
		if !slices.Equal(methods, []factor.Method{factor.VirtualMFA, factor.Email}) {
			t.Errorf("offers %v", methods)
		}
		_, err := c.byMail(v, p, other)
		testkit.Want(t, "another code", err, ceremony.ErrSentWrong)
		for _, to := range []string{bob.Email, mailbox} { // the password was right: it concerns bob
			if told := c.Told(to); !slices.Contains(told, "second_step_failed") {
				t.Errorf("%s was told %v", to, told)
			}
		}
		c.Clock.Advance(time.Minute)
		done, err := c.byMail(v, p, same)
		if err != nil || done.Session == nil {
			t.Fatalf("%s, %v", done.Step, err)
		}
		if claims := policy.ClaimsOf(done.Session.Session.Proofs); claims.ACR != policy.LevelEmail || !slices.Equal(claims.AMR, []string{"pwd", "mca"}) {
			t.Errorf("%+v", claims)
		}
		if got, err := c.Read(ctx()).SecurityEmail(bob.Account, bob.ID); err != nil || got.ID != e.ID || !got.LastUsedAt.Equal(c.Clock.Now()) {
			t.Errorf("used: %+v, %v", got, err)
		}
		if done.Session.Codes != nil {
			t.Error("recovery codes are handed out for a mailbox")
		}

		// It was used last, and is still not what is asked first of who has a device.
		c.Settle(bob.Account, func(s *account.Settings) { s.AllowEmail = false })
		if c.live(done.Session.Token) {
			t.Error("the session goes on when codes by mail are switched off")
		}
	})
}

// Whoever has the password and the mailbox may be who took both: the operator's
// recovery goes on, which a device would cancel.
func TestASignInByMailCancelsNoRecovery(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		app := c.Bind(bob)
		c.Mailbox(bob, mailbox)
		now := c.Clock.Now()
		c.Put(func(tx *store.Tx) error {
			return tx.SetEnrolment(bob.Account, bob.ID, store.Enrolment{Kind: store.Recover, TicketHash: prove.RecoveryHash(bob, "x"), CreatedAt: now, OpensAt: now, ExpiresAt: now.Add(24 * time.Hour)})
		})
		going := func() bool {
			list, err := c.Read(ctx()).Enrolments(bob.Account, bob.ID)
			if err != nil {
				t.Fatal(err)
			}
			return len(list) == 1
		}
		v := testkit.From(3)
		if done, err := c.byMail(v, c.at(v, bob), same); err != nil || done.Session == nil || !going() {
			t.Fatalf("by mail: %s, %v; it goes on: %v", done.Step, err, going())
		}
		c.Clock.Advance(time.Minute)
		c.in(testkit.From(4), bob, app)
		if going() {
			t.Error("a sign-in with the device does not cancel it")
		}
	})
}

// A second kind that is due is bound by whoever shows the first: by mail nobody
// comes that far.
func TestAMailboxBindsNoSecondKind(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		c.Bind(bob)
		c.Mailbox(bob, mailbox)
		c.Settle(bob.Account, func(s *account.Settings) { s.MFAOperation, s.TwoKinds = account.Mandatory, true })
		v := testkit.From(3)
		p := c.at(v, bob)
		for _, o := range p.Offers {
			if o.Method == factor.Email {
				t.Error("is offered")
			}
		}
		testkit.Want(t, "a code by mail", c.SignIn.Send(ctx(), v, p.Token, factor.Email), policy.ErrMethod)
	})
}

// The security email comes before a first device too: whoever has but the
// password binds none in its place.
func TestASecurityEmailIsAskedBeforeADeviceIsBound(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", func(p *account.Profile) { p.MFARequired = true })
		c.Mailbox(bob, mailbox)
		v := testkit.From(3)
		p := c.at(v, bob)
		if p.Step != policy.Verify {
			t.Fatalf("is at %s", p.Step)
		}
		testkit.Want(t, "binds at once", c.SignIn.Choose(ctx(), v, p.Token, factor.VirtualMFA), signin.ErrNotChosen)
		next, err := c.byMail(v, p, same)
		if err != nil || next.Step != policy.Bind {
			t.Fatalf("%s, %v", next.Step, err)
		}
		app := c.scan(v, p)
		if done, err := c.bind(v, p, app); err != nil || done.Session == nil {
			t.Fatalf("%s, %v", done.Step, err)
		}
	})
}
