package signin_test

import (
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/testkit"
)

// adaptive has the account ask only when a sign-in is unusual.
func (c *staff) adaptive() {
	c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Adaptive })
}

// comes signs bob in with whatever is asked, and checks why it was unusual:
// what was asked, what the session knows, and what the event says.
func (c *staff) comes(what string, v prove.Visitor, bob account.Identity, app *testkit.App, why string) *signin.New {
	c.t.Helper()
	p := c.at(v, bob)
	if asked := p.Step == policy.Verify; asked != (why != "") {
		c.t.Fatalf("%s: the step is %s", what, p.Step)
	}
	if p.Step == policy.Verify {
		c.Clock.Advance(30 * time.Second)
		var err error
		if p, err = c.Answer(v, p, app.Code(0)); err != nil || p.Session == nil {
			c.t.Fatalf("%s: %s, %v", what, p.Step, err)
		}
	}
	e := c.Events(bob, audit.ConsoleSignin)[0]
	said, has := e.Details["unusual"]
	if said != why || has != (why != "") || p.Session.Session.Unusual != why || e.Target != p.Session.Session.ID {
		c.t.Errorf("%s: the event says %q, the session %q, want %q", what, said, p.Session.Session.Unusual, why)
	}
	return p.Session
}

func TestASignInIsUnusualByItsBrowserOrItsNetwork(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.adaptive()
		bob, app := c.enrolled("bob", nil)
		home := testkit.Visitor("192.0.2.7")
		n := c.comes("the first", home, bob, app, "device network")
		home.Devices = n.Devices
		again := func() {
			t.Helper()
			n := c.comes("at home", home, bob, app, "")
			home.Devices = n.Devices
		}
		again()
		for address, why := range map[string]string{
			"192.0.2.255": "", "::ffff:192.0.2.1": "", "192.0.3.7": "network", "2001:db8:0:1::9": "network",
		} {
			v := testkit.With(testkit.Visitor(address), home.Devices...)
			home.Devices = c.comes(address, v, bob, app, why).Devices
			again()
		}
		for address, why := range map[string]string{"2001:db8:0:ffff::1": "", "2001:db8:1::1": "network", "192.0.4.7": "network"} {
			v := testkit.With(testkit.Visitor(address), home.Devices...)
			home.Devices = c.comes(address, v, bob, app, why).Devices
		}
		c.comes("another browser at home", testkit.Visitor("192.0.2.9"), bob, app, "device")
		c.comes("another browser elsewhere", testkit.From(1), bob, app, "device network")

		eve, hers := c.enrolled("eve", nil)
		n = c.comes("somebody else on his browser", home, eve, hers, "device network")
		if len(n.Devices) != 2 {
			t.Fatalf("the browser is known for %d", len(n.Devices))
		}
		both := testkit.With(home, n.Devices...)
		n = c.comes("she again", both, eve, hers, "")
		both.Devices = n.Devices
		n = c.comes("he again", both, bob, app, "")
		c.comes("the cookie that was exchanged since", both, bob, app, "device")
		c.comes("and the one in its place, which a replay has made useless", testkit.With(home, n.Devices...), bob, app, "device")
	})
}

func TestANetworkIsUsualForThirtyDays(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.adaptive()
		bob, app := c.enrolled("bob", nil)
		const month = 30 * 24 * time.Hour
		home, away := testkit.From(1), testkit.From(2)
		home.Devices = c.comes("the first", home, bob, app, "device network").Devices
		c.Clock.Advance(month)
		home.Devices = c.comes("after thirty days", home, bob, app, "").Devices
		c.Clock.Advance(month / 2)
		away.Devices = home.Devices
		away.Devices = c.comes("elsewhere", away, bob, app, "network").Devices
		home.Devices = away.Devices
		c.Clock.Advance(month/2 - 30*time.Second + time.Microsecond) // he waited for a code in between
		home.Devices = c.comes("a moment later than thirty days", home, bob, app, "network").Devices
		c.Clock.Advance(180 * 24 * time.Hour)
		c.comes("half a year later", home, bob, app, "device network")
	})
}

func TestOnlyASignInMakesAPlaceUsual(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.adaptive()
		bob, app := c.enrolled("bob", nil)
		v := testkit.From(1)
		c.at(v, bob) // the password alone
		p := c.at(v, bob)
		_, err := c.Answer(v, p, app.WrongCode())
		if err == nil {
			t.Fatal("a wrong code is taken")
		}
		_, _ = c.SignIn.Begin(ctx(), v, ram, bob.Name(), "not the password at all", "")
		n := c.comes("after tries that came to nothing", v, bob, app, "device network")
		// What ends his browsers makes them unknown; the network stays seen.
		testkit.Want(t, "forget", c.admin.ForgetDevices(ctx(), c.Visitor, c.boss(), bob.ID), nil)
		c.comes("forgotten", testkit.With(v, n.Devices...), bob, app, "device")
	})
}

func TestTheAdaptivePolicyAsksOnlyWhenASignInIsUnusual(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		home, away := testkit.From(1), testkit.From(2)
		free := c.user("free", nil)
		bound := c.user("bound", func(p *account.Profile) { p.MFARequired = true })
		late := c.user("late", func(p *account.Profile) { p.MFARequired = true })
		c.Settle(c.owner.Account, func(s *account.Settings) {
			s.MFAOperation, s.GraceUntil = account.Independent, c.Clock.Now().Add(time.Hour)
		})
		known := map[account.IdentityID]prove.Visitor{}
		for _, i := range []account.Identity{free, bound, late} {
			known[i.ID] = testkit.With(home, c.in(home, i, nil).Devices...)
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation, s.GraceUntil = account.Adaptive, time.Time{} })

		// Nobody has a device.
		c.refused("not required, unusual", away, free, policy.ErrUnusual)
		if e := c.Events(free, audit.ConsoleSignin)[0]; e.Refused != policy.ErrUnusual.Code {
			t.Errorf("the refusal is not written down: %+v", e)
		}
		if n := c.in(known[free.ID], free, nil); n.Session.Unusual != "" {
			t.Error("not required, usual")
		}
		for what, v := range map[string]prove.Visitor{"usual": known[bound.ID], "unusual": away} {
			if p := c.at(v, bound); p.Step != policy.Bind || p.Session != nil {
				t.Errorf("required, %s: %s", what, p.Step)
			}
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.GraceUntil = c.Clock.Now().Add(time.Hour) })
		if p := c.at(away, late); p.Step != policy.Bind || p.Session != nil {
			t.Errorf("in the grace, unusual: %s", p.Step)
		}
		if p := c.at(known[late.ID], late); p.Session == nil || !p.Session.Session.ExpiresAt.Equal(c.Clock.Now().Add(time.Hour)) {
			t.Errorf("in the grace, usual: %s", p.Step)
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.GraceUntil = time.Time{} })

		// With a device: asked when unusual, whoever is required.
		p := c.at(away, bound)
		app := c.scan(away, p)
		done, err := c.bind(away, p, app)
		n := opened(t, done, err)
		if n.Session.Unusual != "device network" {
			t.Errorf("the wizard's session: %q", n.Session.Unusual)
		}
		again := c.comes("where the device was bound", testkit.With(away, n.Devices...), bound, app, "")
		c.comes("at home, where the browser was forgotten with the binding", known[bound.ID], bound, app, "device")
		c.comes("a third place", testkit.With(testkit.From(3), again.Devices...), bound, app, "network")
	})
}
