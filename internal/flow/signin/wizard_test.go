package signin_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// opened completes a wizard, or fails.
func opened(t testing.TB, p signin.Progress, err error) *signin.New {
	t.Helper()
	if err != nil || p.Session == nil {
		t.Fatalf("no session: at %q, %v", p.Step, err)
	}
	return p.Session
}

// codesOf are the recovery codes that a session can read.
func (c *staff) codesOf(n *signin.New) []string {
	c.t.Helper()
	s, err := c.SignIn.Who(ctx(), n.Token)
	if err != nil {
		c.t.Fatal(err)
	}
	codes, err := c.Self.NewRecoveryCodes(ctx(), s)
	if err != nil {
		c.t.Fatal(err)
	}
	return codes
}

// byText names a phone and gives the code that is sent there.
func (c *staff) byText(v prove.Visitor, p signin.Progress, number string) (signin.Progress, error) {
	c.t.Helper()
	if err := c.SignIn.BindNumber(ctx(), v, p.Token, "", number); err != nil {
		c.t.Fatalf("name %s: %v", number, err)
	}
	return c.SignIn.BindCode(ctx(), v, p.Token, c.MailedCode(number))
}

func TestOneCodeBindsTheFirstDeviceAndVoidsWhatWasBefore(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		before := c.in(testkit.From(1), bob, nil)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Mandatory })
		v := testkit.With(testkit.From(2), before.Devices...)
		p := c.at(v, bob)
		if p.Step != policy.Bind || p.Session != nil || !slices.Equal(p.Setup.Kinds, []factor.Method{factor.Passkey, factor.VirtualMFA, factor.SMS}) || p.Setup.Second || p.Setup.Lost || p.Setup.Key.Key != "" {
			t.Fatalf("after the password: %s, %+v", p.Step, p.Setup)
		}
		_, err := c.SignIn.BindDevice(ctx(), v, p.Token, "", "123456", "")
		testkit.Want(t, "nothing was chosen", err, signin.ErrNotChosen)
		_, err = c.Answer(v, p, "123456")
		testkit.Want(t, "a code where none is asked", err, policy.ErrMethod)
		for _, m := range []factor.Method{factor.Email, factor.Password, factor.RecoveryCode, factor.Ticket, ""} {
			testkit.Want(t, "choose "+string(m), c.SignIn.Choose(ctx(), v, p.Token, m), signin.ErrBindMethod)
		}
		app := c.scan(v, p)
		if c.live(p.Token) {
			t.Error("the cookie of the wizard is a session")
		}
		done, err := c.SignIn.BindDevice(ctx(), v, p.Token, " My phone ", app.Code(0), "")
		n := opened(t, done, err)
		if done.ReturnTo != "/next" || n.Codes == nil || n.Session.Epoch != bob.Epoch+1 || c.Again(bob).Epoch != bob.Epoch+1 {
			t.Errorf("done: %+v", done)
		}
		if c.live(before.Token) || c.sessions(bob) != 1 {
			t.Error("a session from before lives on")
		}
		known, err := c.Read(ctx()).KnownDevices(bob.Account, bob.ID)
		if err != nil || len(known) != 1 || len(n.Devices) != 2 || n.Devices[1].Reveal() != before.Devices[0].Reveal() {
			t.Errorf("%d browsers are known, %d cookies, %v", len(known), len(n.Devices), err)
		}
		if codes := c.codesOf(n); len(codes) != factor.RecoveryCodes {
			t.Errorf("%d recovery codes", len(codes))
		}
		w, _ := c.Session(testkit.From(9), bob, factor.Password, factor.VirtualMFA)
		if codes, err := c.Self.NewRecoveryCodes(ctx(), w); err != nil || len(codes) != 0 {
			t.Errorf("another session reads %d codes, %v", len(codes), err)
		}
		if e := c.Events(bob, audit.UserMFABind); len(e) != 1 || e[0].Details["name"] != "My phone" || e[0].Actor.ID != string(bob.ID) {
			t.Errorf("events %+v", e)
		}
		if told := c.Told(bob.Email); fmt.Sprint(told) != "[device_bound]" {
			t.Errorf("told %v", told)
		}
		if claims := policy.ClaimsOf(n.Session.Proofs); claims.ACR != policy.LevelMFA {
			t.Errorf("a session of level %s", claims.ACR)
		}
		_, err = c.bind(v, p, app)
		testkit.Want(t, "the wizard is over", err, ceremony.ErrGone)
		next := c.at(testkit.From(3), bob)
		_, err = c.Answer(testkit.From(3), next, app.Code(0))
		testkit.Want(t, "the code that bound", err, factor.ErrCodeUsed)
		c.Clock.Advance(30 * time.Second)
		c.in(testkit.From(3), bob, app)
	})
}

func TestTwoCodesBindADeviceWhoseClockIsOff(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		p := c.at(c.Visitor, bob)
		app := c.scan(c.Visitor, p)
		_, err := c.SignIn.BindDevice(ctx(), c.Visitor, p.Token, "", app.Code(8), "")
		if err == nil {
			t.Fatal("one code eight steps off is taken")
		}
		_, err = c.SignIn.BindDevice(ctx(), c.Visitor, p.Token, "", app.Code(8), app.Code(10))
		if err == nil {
			t.Fatal("two codes that do not follow one another are taken")
		}
		done, err := c.SignIn.BindDevice(ctx(), c.Visitor, p.Token, "", app.Code(8), app.Code(9))
		opened(t, done, err)
		c.Clock.Advance(2 * time.Minute)
		v := testkit.From(2)
		if done, err = c.Answer(v, c.at(v, bob), app.Code(8)); err != nil || done.Session == nil {
			t.Errorf("its clock is not known: %v", err)
		}
	})
}

func TestWrongCodesOfAKeyAreBoundedAndCostNothingElse(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		p := c.at(c.Visitor, bob)
		app := c.scan(c.Visitor, p)
		for n := range 20 {
			_, err := c.SignIn.BindDevice(ctx(), c.Visitor, p.Token, "", app.WrongCode(), "")
			testkit.Want(t, fmt.Sprint("wrong code ", n), err, factor.ErrCodeWrong)
			if wrong := c.state(c.Visitor, p).Setup.Wrong; wrong != n+1 {
				t.Errorf("after %d: %d wrong", n+1, wrong)
			}
		}
		_, err := c.bind(c.Visitor, p, app)
		testkit.Want(t, "the right one, too late", err, signin.ErrBindTries)
		if c.Facts(bob).VirtualMFA {
			t.Error("it is bound")
		}
		if b := c.Budget(bob); b.Fails != 0 {
			t.Errorf("the budget paid: %+v", b)
		}
		again := c.at(c.Visitor, bob)
		done, err := c.bind(c.Visitor, again, c.scan(c.Visitor, again))
		opened(t, done, err)
	})
}

func TestAPhoneIsBoundByTheCodeSentThere(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		v := testkit.From(1)
		p := c.at(v, bob)
		testkit.Want(t, "choose", c.SignIn.Choose(ctx(), v, p.Token, factor.SMS), nil)
		_, err := c.SignIn.BindCode(ctx(), v, p.Token, "123456")
		testkit.Want(t, "none was named", err, signin.ErrNotChosen)
		testkit.Want(t, "send to none", c.SignIn.SendBind(ctx(), v, p.Token), account.ErrPhoneMissing)
		testkit.Want(t, "name it", c.SignIn.BindNumber(ctx(), v, p.Token, "CN", "13800138000"), nil)
		testkit.Want(t, "send again at once", c.SignIn.SendBind(ctx(), v, p.Token), ceremony.ErrSendSoon)
		if s := c.state(v, p).Setup; s.Phone != hers || s.Country != "CN" || !s.Sent || s.Digits != 6 {
			t.Errorf("state %+v", s)
		}
		code := c.MailedCode(hers)
		_, err = c.SignIn.BindCode(ctx(), v, p.Token, wrong(code))
		testkit.Want(t, "a wrong code", err, ceremony.ErrSentWrong)
		if told := c.Told(bob.Email); len(told) != 0 {
			t.Errorf("a mistyped code of a new phone is told: %v", told)
		}
		done, err := c.SignIn.BindCode(ctx(), v, p.Token, code)
		n := opened(t, done, err)
		if claims := policy.ClaimsOf(n.Session.Proofs); claims.ACR != policy.LevelRestricted || n.Codes == nil || len(c.codesOf(n)) != factor.RecoveryCodes {
			t.Errorf("level %s, codes %v", claims.ACR, n.Codes)
		}
		if told := c.Told(hers); !slices.Contains(told, "phone_attached") {
			t.Errorf("told %v", told)
		}
	})
}

// wrong is another code of the same length.
func wrong(code string) string {
	b := []byte(code)
	b[0] = '0' + (b[0]-'0'+1)%10
	return string(b)
}

func TestACodeSentToOneNumberNeverAttachesAnother(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		const mine, other = "+8613900139000", hers
		bob := c.user("bob", nil)
		p := c.at(c.Visitor, bob)
		testkit.Want(t, "mine", c.SignIn.BindNumber(ctx(), c.Visitor, p.Token, "", mine), nil)
		code := c.MailedCode(mine)
		testkit.Want(t, "another at once", c.SignIn.BindNumber(ctx(), c.Visitor, p.Token, "", other), ceremony.ErrSendSoon)
		if done, err := c.SignIn.BindCode(ctx(), c.Visitor, p.Token, code); err == nil || done.Session != nil || c.Facts(bob).Phone {
			t.Fatal("the code of one number attaches another that was named since")
		}
		c.Clock.Advance(time.Minute)
		testkit.Want(t, "another", c.SignIn.BindNumber(ctx(), c.Visitor, p.Token, "", other), nil)
		if done, err := c.SignIn.BindCode(ctx(), c.Visitor, p.Token, code); err == nil || done.Session != nil {
			t.Error("the code of one number attaches another")
		}
		done, err := c.SignIn.BindCode(ctx(), c.Visitor, p.Token, c.MailedCode(other))
		opened(t, done, err)
	})
}

func TestACodeSentToTheLostPhoneAttachesNoNewOne(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		c.Attach(bob, "+8613900139000")
		ticket := c.recovery(bob)
		p := c.at(c.Visitor, bob)
		testkit.Want(t, "send to the phone", c.SignIn.Send(ctx(), c.Visitor, p.Token, factor.SMS), nil)
		code := c.MailedCode("+8613900139000")
		next, err := c.SignIn.Answer(ctx(), c.Visitor, p.Token, prove.Answer{Method: factor.Ticket, Codes: []string{ticket}})
		if err != nil || next.Step != policy.Bind {
			t.Fatalf("the ticket: %s, %v", next.Step, err)
		}
		c.Clock.Advance(time.Minute)
		testkit.Want(t, "name another", c.SignIn.BindNumber(ctx(), c.Visitor, p.Token, "", hers), nil)
		if done, err := c.SignIn.BindCode(ctx(), c.Visitor, p.Token, code); err == nil || done.Session != nil {
			t.Error("the code of the lost phone attaches another")
		}
		done, err := c.SignIn.BindCode(ctx(), c.Visitor, p.Token, c.MailedCode(hers))
		opened(t, done, err)
	})
}

// recovery opens the operator's recovery of an identity; the ticket works.
func (c *staff) recovery(i account.Identity) string {
	c.t.Helper()
	codes, err := factor.NewRecoveryCodes(c.Prover.Random)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Put(func(tx *store.Tx) error {
		return tx.SetEnrolment(i.Account, i.ID, store.Enrolment{Kind: store.Recover, TicketHash: prove.RecoveryHash(i, codes[0]), CreatedAt: tx.Now, OpensAt: tx.Now, ExpiresAt: tx.Now.Add(24 * time.Hour)})
	})
	return codes[0]
}

func TestTextMessagesAreOfferedWhereThePolicyAndTheOperatorHaveThem(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		refused := func(what string, number error) {
			t.Helper()
			p := c.at(c.Visitor, bob)
			if !slices.Equal(p.Setup.Kinds, []factor.Method{factor.Passkey, factor.VirtualMFA}) {
				t.Errorf("%s: offered %v", what, p.Setup.Kinds)
			}
			testkit.Want(t, what, c.SignIn.Choose(ctx(), c.Visitor, p.Token, factor.SMS), signin.ErrBindMethod)
			testkit.Want(t, what, c.SignIn.BindNumber(ctx(), c.Visitor, p.Token, "", hers), number)
			if _, err := c.SignIn.BindCode(ctx(), c.Visitor, p.Token, "123456"); !errors.Is(err, signin.ErrNotChosen) {
				t.Errorf("%s: a code: %v", what, err)
			}
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.AllowSMS = false })
		refused("switched off", signin.ErrNotChosen)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.AllowSMS = true })
		c.Prover.Sending.NoTexts = true
		refused("nothing to send with", prove.ErrNoTexts)
		c.Prover.Sending.NoTexts = false
		c.Prover.Sending.Countries = map[string]bool{"DE": true}
		p := c.at(c.Visitor, bob)
		testkit.Want(t, "another country", c.SignIn.BindNumber(ctx(), c.Visitor, p.Token, "", hers), account.ErrPhoneCountry)
		if len(c.Inbox(hers)) != 0 {
			t.Error("a text message was sent")
		}
	})
}

func TestTheWizardIsKeptForHalfAnHour(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		p := c.at(c.Visitor, bob)
		app := c.scan(c.Visitor, p)
		testkit.Want(t, "try the other way", c.SignIn.BindNumber(ctx(), c.Visitor, p.Token, "CN", "138 0013 8000"), nil)
		c.Clock.Advance(30*time.Minute - time.Microsecond)
		s := c.state(c.Visitor, p)
		if s.Step != policy.Bind || s.Setup.Phone != hers || c.appOf(s.Setup.Key.Key).Code(0) != app.Code(0) {
			t.Errorf("what was chosen is not kept: %+v", s.Setup)
		}
		testkit.Want(t, "choose again", c.SignIn.Choose(ctx(), c.Visitor, p.Token, factor.VirtualMFA), nil)
		if c.appOf(c.state(c.Visitor, p).Setup.Key.Key).Code(0) != app.Code(0) {
			t.Error("the key that was scanned is void")
		}
		if _, err := c.SignIn.BindCode(ctx(), c.Visitor, p.Token, c.MailedCode(hers)); err == nil {
			t.Error("a code of half an hour ago is taken")
		}
		c.Clock.Advance(time.Microsecond)
		_, err := c.bind(c.Visitor, p, app)
		testkit.Want(t, "after half an hour", err, ceremony.ErrGone)
		_, err = c.SignIn.State(ctx(), c.Visitor, p.Token)
		testkit.Want(t, "its state", err, ceremony.ErrGone)
		testkit.Want(t, "choose", c.SignIn.Choose(ctx(), c.Visitor, p.Token, factor.VirtualMFA), ceremony.ErrGone)
		testkit.Want(t, "name", c.SignIn.BindNumber(ctx(), c.Visitor, p.Token, "CN", "13800138000"), ceremony.ErrGone)
		if f := c.Facts(bob); f.VirtualMFA || f.Phone || c.sessions(bob) != 0 {
			t.Error("something was bound, or opened")
		}
	})
}

func TestASecondStepLeavesHalfAnHourForTheWizard(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.TwoKinds = true })
		p := c.at(c.Visitor, bob)
		if left := p.ExpiresAt.Sub(c.Clock.Now()); left != 10*time.Minute {
			t.Errorf("the second step lasts %s", left)
		}
		c.Clock.Advance(9 * time.Minute)
		next, err := c.Answer(c.Visitor, p, app.Code(0))
		if err != nil || next.Step != policy.Bind || !next.Setup.Second || next.ExpiresAt.Sub(c.Clock.Now()) != 30*time.Minute {
			t.Fatalf("the wizard: %+v, %v", next, err)
		}
		c.Clock.Advance(29 * time.Minute)
		done, err := c.byText(c.Visitor, p, hers)
		opened(t, done, err)
	})
}

func TestTheSameWizardInTwoTabsBindsOnce(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		p := c.at(c.Visitor, bob)
		app := c.scan(c.Visitor, p)
		if other := c.scan(c.Visitor, p); other.Code(0) != app.Code(0) {
			t.Fatal("the second tab shows another key")
		}
		in := 0
		for _, err := range storetest.Parallel(8, func(int) error {
			done, err := c.bind(c.Visitor, p, app)
			if err == nil && done.Session == nil {
				err = errors.New("no session")
			}
			return err
		}) {
			switch {
			case err == nil:
				in++
			case !errors.Is(err, ceremony.ErrGone):
				t.Errorf("a tab that is late: %v", err)
			}
		}
		if in != 1 || c.sessions(bob) != 1 || len(c.Events(bob, audit.UserMFABind)) != 1 || len(c.Told(bob.Email)) != 1 {
			t.Errorf("%d sessions made, %d live, %d events", in, c.sessions(bob), len(c.Events(bob, audit.UserMFABind)))
		}
	})
}

func TestOfTwoWizardsTheFirstWins(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		one, two := c.at(testkit.From(1), bob), c.at(testkit.From(2), bob)
		first, second := c.scan(testkit.From(1), one), c.scan(testkit.From(2), two)
		if first.Code(0) == second.Code(0) && first.Code(1) == second.Code(1) {
			t.Fatal("two sign-ins show one key")
		}
		if _, err := c.bind(testkit.From(1), one, second); err == nil {
			t.Fatal("the key of one sign-in binds in another")
		}
		done, err := c.bind(testkit.From(2), two, second)
		opened(t, done, err)
		_, err = c.bind(testkit.From(1), one, first)
		testkit.Want(t, "the other", err, ceremony.ErrGone)
		_, err = c.SignIn.State(ctx(), testkit.From(1), one.Token)
		testkit.Want(t, "its state", err, ceremony.ErrGone)
		if c.sessions(bob) != 1 {
			t.Errorf("%d sessions", c.sessions(bob))
		}
		// Both at once: whoever is late finds that it is over.
		eve := c.user("eve", nil)
		var tabs [6]signin.Progress
		var apps [6]*testkit.App
		for n := range tabs {
			tabs[n] = c.at(testkit.From(n), eve)
			apps[n] = c.scan(testkit.From(n), tabs[n])
		}
		in := 0
		for _, err := range storetest.Parallel(len(tabs), func(n int) error { _, err := c.bind(testkit.From(n), tabs[n], apps[n]); return err }) {
			if err == nil {
				in++
			} else if !errors.Is(err, ceremony.ErrGone) {
				t.Errorf("late: %v", err)
			}
		}
		if in != 1 || c.sessions(eve) != 1 {
			t.Errorf("%d bound, %d sessions", in, c.sessions(eve))
		}
	})
}

func TestLeavingTheWizardLeavesTheUserSignedOut(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		p := c.at(c.Visitor, bob)
		c.scan(c.Visitor, p)
		if c.sessions(bob) != 0 || c.live(p.Token) || len(c.Events(bob, audit.ConsoleSignin)) != 0 {
			t.Error("there is a session")
		}
		if known, err := c.Read(ctx()).KnownDevices(bob.Account, bob.ID); err != nil || len(known) != 0 {
			t.Errorf("the browser is known: %v", err)
		}
		if again := c.at(c.Visitor, bob); again.Step != policy.Bind || again.Setup.Key.Key != "" {
			t.Errorf("another sign-in: %+v", again)
		}
	})
}
