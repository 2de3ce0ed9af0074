package signin_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestWhatChangesBetweenActsOnTheWizardAtOnce(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		v := testkit.From(1)
		n := 0
		begin := func() (account.Identity, signin.Progress, *testkit.App) {
			n++
			i := c.user(fmt.Sprint("user", n), nil)
			p := c.at(v, i)
			return i, p, c.scan(v, p)
		}
		// over checks that nothing comes of a wizard any more.
		over := func(what string, i account.Identity, p signin.Progress, app *testkit.App, state error, bind error) {
			t.Helper()
			_, err := c.SignIn.State(ctx(), v, p.Token)
			testkit.Want(t, what+": state", err, state)
			done, err := c.bind(v, p, app)
			testkit.Want(t, what+": bind", err, bind)
			bound, err := c.Read(ctx()).HasVirtualMFA(i.Account, i.ID)
			if err != nil || bound || done.Session != nil || c.sessions(i) != 0 {
				t.Errorf("%s: bound %v, %v", what, bound, err)
			}
		}
		set := func(change func(*account.Settings)) { c.Settle(c.owner.Account, change) }

		i, p, app := begin()
		set(func(s *account.Settings) { s.MFAOperation = account.Independent })
		over("no device is due any more", i, p, app, nil, signin.ErrNotChosen)
		if c.at(v, i).Session == nil {
			t.Error("whoever signs in again is asked for a device")
		}
		set(func(s *account.Settings) { s.MFAOperation = account.Mandatory })

		i, p, app = begin()
		set(func(s *account.Settings) { s.Masks, _ = account.ParseMasks("192.0.2.0/24") })
		over("outside the masks", i, p, app, policy.ErrMask, signin.ErrNotChosen)
		set(func(s *account.Settings) { s.Masks = nil })

		i, p, app = begin()
		_, err := c.admin.Disable(ctx(), c.Visitor, c.boss(admin.DisableUsers([]account.IdentityID{i.ID}, "")), []account.IdentityID{i.ID})
		testkit.Want(t, "disable", err, nil)
		over("disabled", i, p, app, ceremony.ErrGone, ceremony.ErrGone)

		i, p, app = begin()
		_, err = c.admin.SetSignIn(ctx(), c.Visitor, c.boss(admin.SetUserPassword(c.detail(i))), i.ID, admin.ProfileChange{Enable: true, Password: "another otter, other vines"})
		testkit.Want(t, "a new password", err, nil)
		over("another password", i, p, app, ceremony.ErrGone, ceremony.ErrGone)

		i, p, app = begin()
		_, err = c.admin.Delete(ctx(), c.Visitor, c.boss(admin.DeleteUsers([]account.IdentityID{i.ID}, "")), []account.IdentityID{i.ID})
		testkit.Want(t, "delete", err, nil)
		over("deleted", i, p, app, ceremony.ErrGone, ceremony.ErrGone)

		i, p, _ = begin()
		testkit.Want(t, "name a phone", c.SignIn.BindNumber(ctx(), v, p.Token, "", hers), nil)
		code := c.MailedCode(hers)
		set(func(s *account.Settings) { s.AllowSMS = false })
		_, err = c.SignIn.BindCode(ctx(), v, p.Token, code)
		testkit.Want(t, "text messages were switched off after the code", err, signin.ErrNotChosen)
		if s := c.state(v, p); s.Step != policy.Bind || !slices.Equal(s.Setup.Kinds, []factor.Method{factor.Passkey, factor.VirtualMFA}) || c.Facts(i).Phone {
			t.Errorf("without text messages: %s, %+v", s.Step, s.Setup.Kinds)
		}
		done, err := c.bind(v, p, c.scan(v, p))
		opened(t, done, err)
	})
}

func TestTwoKindsAreBoundOneAfterTheOther(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.Settle(c.owner.Account, func(s *account.Settings) { s.TwoKinds = true })
		bob := c.user("bob", nil)
		p := c.at(c.Visitor, bob)
		next, err := c.bind(c.Visitor, p, c.scan(c.Visitor, p))
		if err != nil || next.Session != nil || next.Step != policy.Bind || !next.Setup.Second || !slices.Equal(next.Setup.Kinds, []factor.Method{factor.Passkey, factor.SMS}) || next.Setup.Key.Key != "" {
			t.Fatalf("after the first: %+v, %v", next, err)
		}
		if !next.ExpiresAt.Equal(p.ExpiresAt) || c.sessions(bob) != 0 {
			t.Errorf("until %s instead of %s", next.ExpiresAt, p.ExpiresAt)
		}
		testkit.Want(t, "the same kind again", c.SignIn.Choose(ctx(), c.Visitor, p.Token, factor.VirtualMFA), signin.ErrBindMethod)
		done, err := c.byText(c.Visitor, p, hers)
		n := opened(t, done, err)
		if n.Codes == nil || len(c.codesOf(n)) != factor.RecoveryCodes || c.sessions(bob) != 1 {
			t.Error("no recovery codes, or more sessions")
		}

		eve := c.user("eve", nil) // leaves after the first
		p = c.at(c.Visitor, eve)
		app := c.scan(c.Visitor, p)
		_, err = c.bind(c.Visitor, p, app)
		testkit.Want(t, "the first", err, nil)
		c.Clock.Advance(time.Minute)
		v := testkit.From(5)
		again := c.at(v, eve)
		if again.Step != policy.Verify || again.Session != nil {
			t.Fatalf("after the first alone: %s", again.Step)
		}
		testkit.Want(t, "bind before the proof", c.SignIn.Choose(ctx(), v, again.Token, factor.SMS), signin.ErrNotChosen)
		next, err = c.Answer(v, again, app.Code(0))
		if err != nil || next.Step != policy.Bind || next.Session != nil {
			t.Fatalf("after the second step: %s, %v", next.Step, err)
		}
		done, err = c.byText(v, again, "+8613900139000")
		n = opened(t, done, err)
		if n.Codes == nil || len(c.codesOf(n)) != factor.RecoveryCodes {
			t.Error("whoever left after the first has no recovery codes")
		}
	})
}

func TestANewPasswordComesAfterTheDevice(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", func(p *account.Profile) { p.PasswordReset = true })
		other := c.at(testkit.From(7), bob)
		p := c.at(c.Visitor, bob)
		_, err := c.SignIn.SetPassword(ctx(), c.Visitor, p.Token, "another otter, other vines")
		testkit.Want(t, "before the device", err, signin.ErrNotChosen)
		next, err := c.bind(c.Visitor, p, c.scan(c.Visitor, p))
		if err != nil || next.Step != policy.NewPassword || next.Session != nil || c.sessions(bob) != 0 {
			t.Fatalf("after the device: %s, %v", next.Step, err)
		}
		for bad, want := range map[string]error{testkit.Password: account.ErrPasswordSame, "short": account.ErrPasswordShort, "": account.ErrPasswordShort} {
			_, err = c.SignIn.SetPassword(ctx(), c.Visitor, p.Token, bad)
			if err == nil || bad != "" && !errors.Is(err, want) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		done, err := c.SignIn.SetPassword(ctx(), c.Visitor, p.Token, "another otter, other vines")
		n := opened(t, done, err)
		if n.Codes == nil || len(c.codesOf(n)) != factor.RecoveryCodes || done.ReturnTo != "/next" {
			t.Errorf("done %+v", done)
		}
		_, err = c.SignIn.State(ctx(), testkit.From(7), other.Token)
		testkit.Want(t, "another sign-in", err, ceremony.ErrGone)
		_, err = c.SignIn.SetPassword(ctx(), c.Visitor, p.Token, "a third otter, third vines")
		testkit.Want(t, "once more", err, ceremony.ErrGone)
		c.refused("the old password", testkit.From(3), bob, prove.ErrCredentials)
		if p := c.Facts(bob).Profile; p.PasswordReset || !p.InitialUntil.IsZero() {
			t.Errorf("profile %+v", p)
		}
	})
}

func TestEveryRecoveryCodeSignsInTheLastOneToo(t *testing.T) {
	t.Parallel()
	c := newStaff(t, testkit.New(t, storetest.SQLite))
	bob := c.user("bob", nil)
	p := c.at(c.Visitor, bob)
	d, err := c.bind(c.Visitor, p, c.scan(c.Visitor, p))
	codes := c.codesOf(opened(t, d, err))
	for n, code := range codes {
		p := c.at(c.Visitor, bob)
		done, err := c.SignIn.Answer(ctx(), c.Visitor, p.Token, prove.Answer{Method: factor.RecoveryCode, Codes: []string{code}})
		if err != nil || done.Session == nil {
			t.Errorf("code %d: %s %v", n, done.Step, err)
		}
	}
}
