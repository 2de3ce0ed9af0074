package admin_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/session"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

const strong = "Velvet-otter 72 canyons"

// know makes a browser a known one.
func (c *scene) know(i account.Identity) {
	c.t.Helper()
	c.Put(func(tx *store.Tx) error {
		id, err := c.NewID()
		if err != nil {
			return err
		}
		return tx.AddKnownDevice(session.KnownDevice{ID: id, Account: i.Account, Identity: i.ID}, []byte(id))
	})
}

// void checks that all that was granted to a user is gone.
func (c *scene) void(what string, i account.Identity, epoch int64) {
	c.t.Helper()
	d := c.detail(i)
	if len(d.Sessions) > 0 || len(d.Known) > 0 || d.Epoch <= epoch {
		c.t.Errorf("%s left %d sessions, %d browsers, epoch %d", what, len(d.Sessions), len(d.Known), d.Epoch)
	}
}

func TestPasswordSetByAnAdministrator(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		set := func(p admin.ProfileChange) (admin.Shown, error) {
			s := c.verified(c.boss, admin.SetUserPassword(c.detail(c.bob)))
			id, err := c.f.SetSignIn(c.ctx(), c.Visitor, s, c.bob.ID, p)
			if err != nil || id == "" {
				return admin.Shown{}, err
			}
			return c.shown(s, id), nil
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.Password.Reuse = 2; s.Password.RequireSymbols = true })
		_, token := c.Session(c.Visitor, c.bob)
		c.know(c.bob)
		if _, err := set(admin.ProfileChange{Enable: true, Password: strong}); err != nil {
			t.Fatal(err)
		}
		c.void("a new password", c.bob, 1)
		if !c.Ended(t, token) {
			t.Error("the session lives on")
		}
		d := c.detail(c.bob)
		if d.Profile.PasswordReset || d.Profile.MFARequired || !d.Profile.InitialUntil.Equal(c.Clock.Now().Add(14*24*time.Hour)) {
			t.Errorf("profile %+v", d.Profile)
		}
		if right, _, err := c.Prover.Hasher.Verify(c.ctx(), d.PasswordHash, strong); !right || err != nil {
			t.Errorf("the password is another: %v", err)
		}
		if e := c.last(c.bob, audit.ProfileUpdate); e.Details["password"] != "custom" || e.Actor.ID != string(c.boss.ID) {
			t.Errorf("event %+v", e)
		}
		if told := c.Told("bob@staff.example"); len(told) != 1 || told[0] != "password_set_by_admin" {
			t.Errorf("told %v", told)
		}
		for password, want := range map[string]error{
			strong:                        account.ErrPasswordSame,
			testkit.Password:              account.ErrPasswordReused, // a space is a symbol
			"Ab1-x":                       account.ErrPasswordShort,
			"plumottervinesskyandmore":    account.ErrPasswordSymbol,
			"countersign-countersign-":    account.ErrPasswordContext,
			"Velvet-otter\x0072 canyons!": account.ErrPasswordForm,
		} {
			_, err := set(admin.ProfileChange{Enable: true, Password: password})
			c.want(password, err, want)
		}
		what, err := set(admin.ProfileChange{Enable: true, Generate: true, Password: "ignored", MFARequired: true})
		if err != nil || what.Kind != "password" || len(what.Lines) != 1 {
			t.Fatalf("shown %+v, %v", what, err)
		}
		d = c.detail(c.bob)
		line := what.Lines[0]
		if right, _, err := c.Prover.Hasher.Verify(c.ctx(), d.PasswordHash, line.Password); !right || err != nil || line.UPN != c.bob.Name() || !line.Until.Equal(c.Clock.Now().Add(72*time.Hour)) {
			t.Errorf("shown %+v, %v", line, err)
		}
		if !d.Profile.PasswordReset || !d.Profile.MFARequired || !d.PasswordAlone || !d.Profile.InitialUntil.Equal(line.Until) {
			t.Errorf("profile %+v", d.Profile)
		}
		_, err = set(admin.ProfileChange{Enable: true, Password: testkit.Password})
		c.want("one before the last", err, account.ErrPasswordReused)
		_, err = set(admin.ProfileChange{Enable: true, Password: "Another-otter 73 canyons"})
		c.want("a third", err, nil)
		_, err = set(admin.ProfileChange{Enable: true, Password: testkit.Password + "!"})
		c.want("another", err, nil)
		s := c.as(c.boss)
		_, err = c.f.SetSignIn(c.ctx(), c.Visitor, s, c.bob.ID, admin.ProfileChange{Enable: true, Generate: true})
		c.want("without a verification", err, prove.ErrVerifyFirst)
		c.Given(s, admin.UserSignIn(c.detail(c.bob)))
		_, err = c.f.SetSignIn(c.ctx(), c.Visitor, s, c.bob.ID, admin.ProfileChange{Enable: true, Generate: true})
		c.want("with one for the settings alone", err, prove.ErrVerifyFirst)
	})
}

func TestConsoleSignIn(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		s := c.as(c.boss)
		none := c.user("none", account.Profile{})
		set := func(i account.Identity, p admin.ProfileChange) error {
			_, err := c.f.SetSignIn(c.ctx(), c.Visitor, s, i.ID, p)
			return err
		}
		c.want("enable without a password", set(none, admin.ProfileChange{Enable: true}), admin.ErrPasswordNeeded)
		c.want("disable what never was", set(none, admin.ProfileChange{}), admin.ErrNoProfile)
		c.Given(s, admin.SetUserPassword(c.detail(none)))
		c.want("enable with one", set(none, admin.ProfileChange{Enable: true, Generate: true}), nil)
		c.last(none, audit.ProfileCreate)

		_, token := c.Session(c.Visitor, c.bob)
		c.know(c.bob)
		c.want("require MFA", set(c.bob, admin.ProfileChange{Enable: true, MFARequired: true, Reset: true}), nil)
		d := c.detail(c.bob)
		if !d.Profile.MFARequired || !d.Profile.PasswordReset || d.Epoch != 1 || len(d.Sessions) != 1 || !d.Sessions[0].Stale || len(d.Known) != 1 {
			t.Errorf("MFA required: %+v", d)
		}
		if len(c.Told("bob@staff.example")) > 0 {
			t.Error("told of a password that was not set")
		}
		_, err := c.SignIn.Who(c.ctx(), token)
		c.want("a session without the device that is due", err, session.ErrRulesChanged)
		c.Session(c.Visitor, c.bob)
		c.want("disable", set(c.bob, admin.ProfileChange{MFARequired: true}), nil)
		c.void("disabling", c.bob, 1)
		if d := c.detail(c.bob); d.Profile.State != account.ProfileInactive || d.PasswordHash == "" {
			t.Errorf("disabled: %+v", d.Profile)
		}
		c.want("enable again", set(c.bob, admin.ProfileChange{Enable: true}), nil)
	})
}

func TestGroupsOfActs(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		none := c.user("none", account.Profile{})
		idle := c.user("idle", account.Profile{State: account.ProfileIdle})
		all := ids(c.bob, none, idle, c.look)
		s := c.as(c.boss)
		for _, i := range []account.Identity{c.bob, c.look} {
			c.Session(c.Visitor, i)
			c.know(i)
		}
		n, err := c.f.RequireMFA(c.ctx(), c.Visitor, s, all, true)
		if err != nil || n != 3 || !c.detail(c.bob).Profile.MFARequired || !c.detail(c.bob).Sessions[0].Stale {
			t.Errorf("%d required, %v", n, err)
		}
		n, err = c.f.RequireMFA(c.ctx(), c.Visitor, s, all, true)
		if err != nil || n != 0 {
			t.Errorf("again: %d, %v", n, err)
		}
		n, err = c.f.RequireMFA(c.ctx(), c.Visitor, s, append(all, c.boss.ID), false)
		if err != nil || n != 3 {
			t.Errorf("no longer: %d, %v", n, err)
		}
		n, err = c.f.Disable(c.ctx(), c.Visitor, s, append(all, all...))
		if err != nil || n != 3 || c.detail(idle).Profile.State != account.ProfileInactive {
			t.Errorf("%d disabled, %v", n, err)
		}
		c.void("disabling", c.bob, 1)
		c.void("disabling", c.look, 1)
		if n, err = c.f.Disable(c.ctx(), c.Visitor, s, all); err != nil || n != 0 {
			t.Errorf("again: %d, %v", n, err)
		}
		_, err = c.f.Clear(c.ctx(), c.Visitor, s, all)
		c.want("clear without a verification", err, prove.ErrVerifyFirst)
		c.Given(s, admin.ClearUsers(all, ""))
		if n, err = c.f.Clear(c.ctx(), c.Visitor, s, all); err != nil || n != 3 {
			t.Errorf("%d cleared, %v", n, err)
		}
		if d := c.detail(c.bob); d.Profile != (account.Profile{}) || d.PasswordHash != "" {
			t.Errorf("cleared: %+v", d)
		}
		c.last(c.bob, audit.ProfileDelete)
		var many []account.IdentityID
		for n := range admin.SelectionMax + 1 {
			many = append(many, account.IdentityID(strings.Repeat("a", n+1)))
		}
		_, err = c.f.Disable(c.ctx(), c.Visitor, s, many)
		c.want("too many", err, admin.ErrTooMany)
		_, err = c.f.Disable(c.ctx(), c.Visitor, s, append(ids(c.bob), "unknown"))
		c.want("one unknown", err, admin.ErrNoUser)
	})
}

// Idle users are disabled when both conditions hold, to the microsecond.
func TestIdleUsersAreDisabled(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		const us = time.Microsecond
		c.Settle(c.owner.Account, func(s *account.Settings) { s.IdleUsers = 90 })
		now := c.Clock.Now()
		days := func(n int) time.Time { return now.Add(-time.Duration(n) * 24 * time.Hour) }
		made := map[string]account.Identity{}
		for name, at := range map[string]struct {
			created, signedIn, updated time.Time
			state                      account.ProfileState
		}{
			"idle":     {days(400), days(90), days(7), account.ProfileActive},
			"never":    {days(90), time.Time{}, days(7), account.ProfileActive},
			"recent":   {days(400), days(90).Add(us), days(30), account.ProfileActive},
			"new":      {days(90).Add(us), time.Time{}, days(30), account.ProfileActive},
			"touched":  {days(400), days(300), days(7).Add(us), account.ProfileActive},
			"inactive": {days(400), days(300), days(30), account.ProfileInactive},
			"none":     {days(400), days(300), days(30), account.NoProfile},
		} {
			move := func(to time.Time) { c.Clock.Advance(to.Sub(c.Clock.Now())) }
			move(at.created)
			i := c.user(name, account.Profile{State: at.state})
			if !at.signedIn.IsZero() {
				move(at.signedIn)
				c.Put(func(tx *store.Tx) error { return tx.SignedIn(i.ID) })
			}
			if at.state != account.NoProfile {
				move(at.updated)
				c.Put(func(tx *store.Tx) error { return tx.SetProfile(i.Account, i.ID, account.Profile{State: at.state}) })
			}
			move(now)
			made[name] = i
		}
		_, token := c.Session(c.Visitor, c.bob)
		n, err := c.f.DisableIdle(c.ctx())
		if err != nil || n != 2 {
			t.Errorf("%d disabled, %v", n, err)
		}
		for name, i := range made {
			d, due := c.detail(i), name == "idle" || name == "never"
			if (d.Profile.State == account.ProfileIdle) != due || (d.Epoch > 1) != due || (len(c.Told(i.Email)) == 1) != due {
				t.Errorf("%s: %+v, epoch %d, told %v", name, d.Profile, d.Epoch, c.Told(i.Email))
			}
			if due {
				if e := c.last(i, audit.IdleDisable); e.Actor.Kind != "system" {
					t.Errorf("event %+v", e)
				}
			}
		}
		if c.Ended(t, token) {
			t.Error("somebody who is not idle was signed out")
		}
		if n, err = c.f.DisableIdle(c.ctx()); err != nil || n != 0 {
			t.Errorf("again: %d, %v", n, err)
		}
		c.Clock.Advance(us)
		if n, err = c.f.DisableIdle(c.ctx()); err != nil || n != 3 {
			t.Errorf("a microsecond later: %d, %v", n, err)
		}
		// Enabled again, a user has a week.
		s := c.as(c.boss)
		if _, err := c.f.SetSignIn(c.ctx(), c.Visitor, s, made["idle"].ID, admin.ProfileChange{Enable: true}); err != nil {
			t.Fatal(err)
		}
		if n, err = c.f.DisableIdle(c.ctx()); err != nil || n != 0 {
			t.Errorf("just enabled: %d, %v", n, err)
		}
	})
}
