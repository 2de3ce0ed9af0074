package signin_test

import (
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// day is the unit of these tests.
const day = 24 * time.Hour

// A browser keeps the cookies of the sign-ins made in it.
type browser struct{ prove.Visitor }

// holds takes in what a sign-in gives to the browser.
func (b *browser) holds(n *signin.New) *signin.New {
	if n.Devices != nil {
		b.Devices = n.Devices
	}
	if !n.Kept.Token.IsZero() || n.Kept.Forget {
		b.Remembered = n.Kept.Token
	}
	return n
}

// lets has the account let devices be remembered.
func (c *staff) lets() {
	c.Settle(c.owner.Account, func(s *account.Settings) { s.Remember = true })
}

// ticks signs somebody in by a code, with the box ticked.
func (c *staff) ticks(b *browser, i account.Identity, app *testkit.App) *signin.New {
	c.t.Helper()
	n := c.gives(b, c.at(b.Visitor, i), app, true)
	if n.Kept.Token.IsZero() || !n.Kept.Until.Equal(c.Clock.Now().Add(7*day)) {
		c.t.Fatalf("%s ticks the box: %+v", i.Name(), n.Kept)
	}
	return n
}

// gives completes a sign-in with a code of the app.
func (c *staff) gives(b *browser, p signin.Progress, app *testkit.App, tick bool) *signin.New {
	c.t.Helper()
	c.Clock.Advance(31 * time.Second)
	p, err := c.SignIn.Answer(ctx(), b.Visitor, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}, Remember: tick})
	return b.holds(opened(c.t, p, err))
}

// spared signs somebody in who must not be asked for the second step, and
// checks what the session says of itself.
func (c *staff) spared(what string, b *browser, i account.Identity) *signin.New {
	c.t.Helper()
	p := c.at(b.Visitor, i)
	if p.Session == nil {
		c.t.Fatalf("%s: asked for %s", what, p.Step)
	}
	s := p.Session.Session
	claims := policy.ClaimsOf(s.Proofs)
	if s.Remembered == "" || len(s.Proofs) != 1 || claims.ACR != policy.LevelPassword || len(claims.AMR) != 1 || claims.AMR[0] != "pwd" {
		c.t.Errorf("%s: the session rests on %q and %v", what, s.Remembered, s.Proofs)
	}
	if e := c.Events(i, audit.ConsoleSignin)[0]; e.Details["remembered"] != s.Remembered || e.Details["acr"] != policy.LevelPassword || e.Details["method"] != string(factor.Password) {
		c.t.Errorf("%s: the event says %v", what, e.Details)
	}
	return b.holds(p.Session)
}

// asked gives the password where the second step must be asked.
func (c *staff) asked(what string, v prove.Visitor, i account.Identity) signin.Progress {
	c.t.Helper()
	p := c.at(v, i)
	if p.Step != policy.Verify || p.Session != nil {
		c.t.Errorf("%s: the step is %s", what, p.Step)
	}
	return p
}

// remembers are the devices that are remembered of somebody.
func (c *staff) remembers(i account.Identity) []session.RememberedDevice {
	c.t.Helper()
	list, err := c.Read(ctx()).RememberedDevices(i.Account, i.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

func TestARememberedDeviceIsSparedTheSecondStepForSevenDaysFromTheProof(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		c.lets()
		home := &browser{testkit.From(1)}
		first := c.ticks(home, bob, app)
		ticked := c.Clock.Now()
		if first.Session.Remembered != "" || policy.ClaimsOf(first.Session.Proofs).ACR != policy.LevelMFA {
			t.Errorf("the session of the tick: %+v", first.Session)
		}
		if e := c.Events(bob, audit.RememberedAdd); len(e) != 1 || e[0].Target != c.remembers(bob)[0].ID {
			t.Errorf("events: %+v", e)
		}
		if told := c.Told(bob.Email); len(told) == 0 || told[0] != string(message.RememberedAdded) {
			t.Errorf("told %v", told)
		}
		shown := home.Remembered
		for n := 1; n <= 6; n++ { // daily use does not extend it
			c.Clock.Advance(ticked.Add(time.Duration(n) * day).Sub(c.Clock.Now()))
			home.Visitor = testkit.With(testkit.From(n), home.Devices...) // from anywhere
			home.Remembered = shown
			s := c.spared("in time", home, bob)
			if home.Remembered.Series != shown.Series || home.Remembered.Secret == shown.Secret || !s.Kept.Until.Equal(ticked.Add(7*day)) {
				t.Fatalf("day %d: %+v", n, s.Kept)
			}
			shown = home.Remembered
			if d := c.remembers(bob); len(d) != 1 || !d[0].ExpiresAt.Equal(ticked.Add(7*day)) || !d[0].CreatedAt.Equal(ticked) || !d[0].LastUsedAt.Equal(c.Clock.Now()) || d[0].Address != home.Address.String() {
				t.Fatalf("day %d: %+v", n, d)
			}
		}
		c.Clock.Advance(ticked.Add(7*day - 15*time.Minute).Sub(c.Clock.Now())) // day 6.99
		last := c.spared("day 6.99", home, bob)
		if !last.Session.ExpiresAt.Equal(ticked.Add(7 * day)) {
			t.Errorf("a session outlives what it rests on: %s", last.Session.ExpiresAt)
		}
		c.Clock.Advance(30 * time.Minute) // day 7.01
		if c.live(last.Token) {
			t.Error("the session goes on after the seven days")
		}
		p := c.asked("day 7.01", home.Visitor, bob)
		c.gives(home, p, app, false)
		if !home.Remembered.IsZero() {
			t.Error("the browser keeps what is worth nothing")
		}
		c.asked("without the box", home.Visitor, bob)
		if e := c.Events(bob, audit.RememberedReplay); len(e) != 0 {
			t.Errorf("reported: %+v", e)
		}
	})
}

func TestABoxThatIsNotTickedOrNotOfferedRemembersNothing(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		none := func(what string, n *signin.New) {
			t.Helper()
			if n.Kept != (signin.Kept{}) || len(c.remembers(bob)) != 0 {
				t.Errorf("%s: %+v, %v", what, n.Kept, c.remembers(bob))
			}
		}
		b := &browser{testkit.From(1)}
		p := c.at(b.Visitor, bob)
		if p.Remember != nil {
			t.Errorf("switched off, and offered by %v", p.Remember)
		}
		none("switched off", c.gives(b, p, app, true))
		c.lets()
		b = &browser{testkit.From(2)}
		p = c.at(b.Visitor, bob)
		if len(p.Remember) != 1 || p.Remember[0] != factor.VirtualMFA {
			t.Errorf("offered by %v", p.Remember)
		}
		none("not ticked", c.gives(b, p, app, false))
		codes, err := factor.NewRecoveryCodes(c.Prover.Random)
		if err != nil {
			t.Fatal(err)
		}
		c.Put(func(tx *store.Tx) error {
			return tx.ReplaceRecoveryCodes(bob.Account, bob.ID, [][]byte{prove.RecoveryHash(bob, codes[0])})
		})
		p = c.at(testkit.From(3), bob)
		p, err = c.SignIn.Answer(ctx(), testkit.From(3), p.Token, prove.Answer{Method: factor.RecoveryCode, Codes: codes[:1], Remember: true})
		none("a recovery code", opened(t, p, err))
		// An owner is asked at every sign-in.
		own := c.Bind(c.owner)
		p = c.Password(testkit.From(4), alice)
		if p.Remember != nil {
			t.Errorf("offered to the owner by %v", p.Remember)
		}
		c.Clock.Advance(31 * time.Second)
		p, err = c.SignIn.Answer(ctx(), testkit.From(4), p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{own.Code(0)}, Remember: true})
		if n := opened(t, p, err); n.Kept != (signin.Kept{}) || len(c.remembers(c.owner)) != 0 {
			t.Errorf("the owner's device is remembered: %+v", n.Kept)
		}
		// A wrong code with the box ticked, and a right one without.
		p = c.at(testkit.From(5), bob)
		_, err = c.SignIn.Answer(ctx(), testkit.From(5), p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.WrongCode()}, Remember: true})
		testkit.Want(t, "a wrong code", err, factor.ErrCodeWrong)
		none("a wrong code with it", c.gives(&browser{testkit.From(5)}, p, app, false))
	})
}

func TestADeviceIsNotRememberedByTheWizard(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.lets()
		bob := c.user("bob", nil)
		v := testkit.From(1)
		p := c.at(v, bob)
		n, err := c.bind(v, p, c.scan(v, p))
		if s := opened(t, n, err); s.Kept != (signin.Kept{}) || len(c.remembers(bob)) != 0 {
			t.Errorf("%+v", s.Kept)
		}
		// Ticked where a second kind comes next: the box is not there, and does nothing.
		eve, app := c.enrolled("eve", nil)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.TwoKinds = true })
		if p = c.at(v, eve); p.Remember != nil {
			t.Errorf("offered by %v", p.Remember)
		}
		c.Clock.Advance(31 * time.Second)
		q, err := c.SignIn.Answer(ctx(), v, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}, Remember: true})
		if err != nil || q.Step != policy.Bind {
			t.Fatalf("%s, %v", q.Step, err)
		}
		q, err = c.byText(v, p, "+8613900139111")
		if s := opened(t, q, err); s.Kept != (signin.Kept{}) || len(c.remembers(eve)) != 0 {
			t.Errorf("%+v", s.Kept)
		}
	})
}

func TestATickOutlivesANewPasswordButNotADeviceThatIsBound(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.lets()
		bob, app := c.enrolled("bob", func(p *account.Profile) { p.PasswordReset = true })
		b := &browser{testkit.From(1)}
		p := c.at(b.Visitor, bob)
		if p.Step != policy.Verify || len(p.Remember) != 1 {
			t.Fatalf("%s, %v", p.Step, p.Remember)
		}
		c.Clock.Advance(31 * time.Second)
		q, err := c.SignIn.Answer(ctx(), b.Visitor, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}, Remember: true})
		if err != nil || q.Step != policy.NewPassword {
			t.Fatalf("%s, %v", q.Step, err)
		}
		q, err = c.SignIn.SetPassword(ctx(), b.Visitor, p.Token, second)
		if n := b.holds(opened(t, q, err)); n.Kept.Token.IsZero() || len(c.remembers(bob)) != 1 {
			t.Errorf("%+v", n.Kept)
		}
		// A password that is due again is not set without the second step.
		c.Put(func(tx *store.Tx) error {
			return tx.SetProfile(bob.Account, bob.ID, account.Profile{State: account.ProfileActive, PasswordReset: true})
		})
		again, err := c.SignIn.Begin(ctx(), b.Visitor, ram, c.Again(bob).Name(), second, "")
		if err != nil || again.Step != policy.Verify {
			t.Errorf("a new password is due: %s, %v", again.Step, err)
		}
	})
}

func TestAnOldCookieThatComesBackEndsTheRememberedDevice(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		c.lets()
		home, elsewhere := &browser{testkit.From(1)}, &browser{testkit.From(2)}
		ticked := c.ticks(home, bob, app)
		c.ticks(elsewhere, bob, app)
		old := home.Visitor
		rests := c.spared("the first time", home, bob)
		other := c.spared("another device", elsewhere, bob)
		told := len(c.Told(bob.Email))
		thief := testkit.From(9)
		thief.Remembered = old.Remembered
		// The password is still needed, and a wrong one says nothing of the cookie.
		if _, err := c.SignIn.Begin(ctx(), thief, ram, bob.Name(), "not the password of his", ""); err == nil || !c.live(rests.Token) || len(c.remembers(bob)) != 2 {
			t.Errorf("a wrong password: %v", err)
		}
		c.asked("the old cookie", thief, bob)
		if c.live(rests.Token) || !c.live(ticked.Token) || !c.live(other.Token) {
			t.Error("what rests on the device must end, and nothing else")
		}
		if list := c.remembers(bob); len(list) != 1 {
			t.Errorf("remembered: %+v", list)
		}
		if e := c.Events(bob, audit.RememberedReplay); len(e) != 1 || e[0].Target != rests.Session.Remembered || e[0].Actor.Address != thief.Address.String() {
			t.Errorf("events: %+v", e)
		}
		if got := c.Told(bob.Email); len(got) != told+1 || got[0] != string(message.RememberedCopied) {
			t.Errorf("told %v", got)
		}
		// The newest is worth nothing either, and is no second report.
		c.gives(home, c.asked("the newest cookie", home.Visitor, bob), app, false)
		if e := c.Events(bob, audit.RememberedReplay); len(e) != 1 || !home.Remembered.IsZero() {
			t.Errorf("events: %+v, cookie kept", e)
		}
		c.spared("another device again", elsewhere, bob)
	})
}

// A database that was restored from a copy knows the cookie from before its
// last use: the browser's is newer, and is refused as an old one is.
func TestACookieThatIsNewerThanTheDatabaseIsRefused(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		c.lets()
		home := &browser{testkit.From(1)}
		c.ticks(home, bob, app)
		d := c.remembers(bob)[0]
		var before []byte
		c.Put(func(tx *store.Tx) (err error) {
			_, before, err = tx.RememberedDevice(home.Remembered.Series.Hash())
			return err
		})
		c.spared("before the copy is restored", home, bob)
		c.Put(func(tx *store.Tx) error {
			_, now, err := tx.RememberedDevice(home.Remembered.Series.Hash())
			if err != nil {
				return err
			}
			return tx.UseRemembered(d, now, before)
		})
		c.asked("a cookie newer than the row", home.Visitor, bob)
		if e := c.Events(bob, audit.RememberedReplay); len(e) != 1 || len(c.remembers(bob)) != 0 {
			t.Errorf("events %+v, remembered %v", e, c.remembers(bob))
		}
	})
}

func TestARememberedDeviceIsOfNoUseToAnybodyElse(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		eve, hers := c.enrolled("eve", nil)
		c.lets()
		shared := &browser{testkit.From(1)}
		c.ticks(shared, bob, app)
		rests := c.spared("his own", shared, bob)
		// The password of another, with his cookie: nothing is spared, nor lost before she is in.
		p := c.asked("his cookie, her password", shared.Visitor, eve)
		if len(c.remembers(bob)) != 1 || !c.live(rests.Token) {
			t.Error("lost before anybody signed in")
		}
		cookie := shared.Remembered
		c.gives(shared, p, hers, false)
		if len(c.remembers(bob)) != 0 || c.live(rests.Token) || !shared.Remembered.IsZero() {
			t.Errorf("another signed in there: %v", c.remembers(bob))
		}
		if e := c.Events(bob, audit.RememberedForget); len(e) != 1 || e[0].Details["why"] != "another" || e[0].Actor.Name != "" || e[0].Actor.ID != "" {
			t.Errorf("events: %+v", e)
		}
		shared.Remembered = cookie
		c.asked("his again", shared.Visitor, bob)
		// By the owner, too; and her own box replaces his.
		c.gives(shared, c.at(shared.Visitor, bob), app, true)
		p = c.Password(shared.Visitor, alice)
		if p.Session == nil || !p.Session.Kept.Forget || len(c.remembers(bob)) != 0 {
			t.Errorf("the owner signed in there: %+v, %v", p.Session, c.remembers(bob))
		}
		shared.Remembered = session.RememberToken{}
		c.ticks(shared, bob, app)
		c.ticks(shared, eve, hers)
		if len(c.remembers(bob)) != 0 || len(c.remembers(eve)) != 1 {
			t.Errorf("remembered: %v, %v", c.remembers(bob), c.remembers(eve))
		}
		c.spared("hers", shared, eve)
		c.asked("his", shared.Visitor, bob)
		if e := c.Events(bob, audit.RememberedReplay); len(e) != 0 {
			t.Errorf("reported: %+v", e)
		}
	})
}

func TestARememberedDeviceNeverCountsForAnAction(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		c.lets()
		b := &browser{testkit.From(1)}
		c.ticks(b, bob, app)
		n := c.spared("bob", b, bob)
		s, err := c.SignIn.Who(ctx(), n.Token)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []policy.Action{selfservice.BindVirtualMFA, selfservice.ChangePassword, selfservice.AttachPhone, selfservice.MakeCodes, selfservice.EndSessions, selfservice.ForgetDevices, selfservice.Unbind("x")} {
			d, _, err := c.Prover.Decide(c.Read(ctx()), s, s.Identity, a)
			if err != nil || d.Step != policy.Verify || !d.Allows(factor.VirtualMFA) || d.Allows(factor.Password) {
				t.Errorf("%s: %+v, %v", a.Name, d, err)
			}
		}
		if err := c.Self.EndSession(ctx(), b.Visitor, s, "x"); err == nil {
			t.Error("a session ends without the proof")
		}
	})
}

func TestARecoveryCodeEndsEveryRememberedDevice(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		c.lets()
		b := &browser{testkit.From(1)}
		ticked := c.ticks(b, bob, app)
		signed, err := c.SignIn.Who(ctx(), ticked.Token)
		testkit.Want(t, "signed", err, nil)
		codes, err := c.NewCodes(signed)
		testkit.Want(t, "codes", err, nil)
		rests := c.spared("bob", b, bob)
		p := c.asked("elsewhere", testkit.From(2), bob)
		p, err = c.SignIn.Answer(ctx(), testkit.From(2), p.Token, prove.Answer{Method: factor.RecoveryCode, Codes: codes[:1]})
		if err != nil || p.Session == nil {
			t.Fatalf("%s, %v", p.Step, err)
		}
		if len(c.remembers(bob)) != 0 || c.live(rests.Token) || !c.live(ticked.Token) {
			t.Error("a device is remembered still, or more has ended than rests on it")
		}
		c.asked("what was remembered", b.Visitor, bob)
	})
}

func TestASessionOnARememberedDeviceHoldsWhileThatIsThere(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		c.lets()
		b := &browser{testkit.From(1)}
		ticked := c.ticks(b, bob, app)
		rests := c.spared("bob", b, bob)
		save := func(change func(s *account.Settings)) {
			t.Helper()
			next, err := c.Read(ctx()).Settings(c.owner.Account)
			if err != nil {
				t.Fatal(err)
			}
			change(&next)
			boss := c.boss(admin.ChangeSettings(next))
			p, err := c.admin.Preview(ctx(), c.Visitor, boss, next)
			if err != nil {
				t.Fatal(err)
			}
			if next.Remember == (p.SignedOut == 1) {
				t.Errorf("the preview says that %d sessions end", p.SignedOut)
			}
			if err := c.admin.Save(ctx(), c.Visitor, boss, next); err != nil {
				t.Fatal(err)
			}
		}
		save(func(s *account.Settings) { s.IdleUsers = 90 })
		if !c.live(rests.Token) || !c.live(ticked.Token) {
			t.Error("it ended by a change that is none of its business")
		}
		save(func(s *account.Settings) { s.Remember = false })
		_, err := c.SignIn.Signed(ctx(), rests.Token)
		testkit.Want(t, "switched off", err, session.ErrRulesChanged)
		if !c.live(ticked.Token) || len(c.remembers(bob)) != 0 {
			t.Error("the session of the proof ended, or the device is still there")
		}
		c.asked("switched off", b.Visitor, bob)
		save(func(s *account.Settings) { s.Remember = true })
		c.asked("on again", b.Visitor, bob)
		if e := c.Events(bob, audit.RememberedReplay); len(e) != 0 {
			t.Errorf("reported: %+v", e)
		}
	})
}
