package admin_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// An administrator verifies as people do, by a code of the app: that serves one
// act, once.
func TestVerificationByTheAppServesOnce(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		app := c.Bind(c.boss)
		s, _ := c.Session(c.Visitor, c.boss, factor.Password)
		c.want("the password alone, a device being bound", c.f.Edit(c.ctx(), c.Visitor, s, c.bob.ID, admin.NewUser{Name: "bob", Comments: "x"}), prove.ErrVerifyFirst)
		a := admin.DeleteUsers(ids(c.bob, c.look), "two users")
		s = c.Verified(s, a, factor.VirtualMFA, app.Code(0))
		c.want("another act of the scenario that destroys nothing", c.f.Edit(c.ctx(), c.Visitor, s, c.bob.ID, admin.NewUser{Name: "bob", Comments: "x"}), nil)
		_, err := c.f.Delete(c.ctx(), c.Visitor, s, ids(c.bob))
		c.want("one of the two", err, prove.ErrVerifyFirst)
		_, err = c.f.Clear(c.ctx(), c.Visitor, s, ids(c.bob, c.look))
		c.want("the same two, another act", err, prove.ErrVerifyFirst)
		n, err := c.f.Delete(c.ctx(), c.Visitor, s, ids(c.look, c.bob))
		if err != nil || n != 2 {
			t.Errorf("%d deleted, %v", n, err)
		}
	})
}

// Of many who use one verification at once, one does.
func TestVerificationsServeOnceInParallel(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		c.Bind(c.bob)
		device := "device-" + string(c.bob.ID)
		s := c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), device))
		u := admin.Unbinding{Method: factor.VirtualMFA, Device: device, Check: "other", Reason: "lost"}
		done := 0
		for _, err := range storetest.Parallel(6, func(int) error {
			_, err := c.f.Unbind(c.ctx(), c.Visitor, s, c.bob.ID, u)
			return err
		}) {
			switch {
			case err == nil:
				done++
			case !errors.Is(err, admin.ErrNothingBound):
				t.Errorf("unbind: %v", err)
			}
		}
		if done != 1 || len(c.Told("bob@staff.example")) != 1 {
			t.Errorf("%d unbound it, %v", done, c.Told("bob@staff.example"))
		}
		// Of many who give a name at once, one does.
		made := 0
		s = c.as(c.owner)
		for n, err := range storetest.Parallel(6, func(n int) error {
			if n%2 == 0 {
				return c.f.Edit(c.ctx(), c.Visitor, s, []account.Identity{c.bob, c.look, c.boss}[n/2].ID, admin.NewUser{Name: "wanted"})
			}
			_, err := c.f.Create(c.ctx(), c.Visitor, s, []admin.Line{{Number: 1, User: admin.NewUser{Name: "Wanted", Role: account.User}}})
			return err
		}) {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, account.ErrUserNameTaken):
				t.Errorf("%d: %v", n, err)
			}
		}
		if made != 1 {
			t.Errorf("the name was given %d times", made)
		}
	})
}

// A session that is over, or whose identity is gone, does nothing.
func TestSessionsThatAreOverDoNothing(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		second := c.User(c.owner, "second", account.Administrator)
		s := c.verified(second, admin.DeleteUsers(ids(c.bob), ""))
		boss := c.as(c.boss)
		if _, err := c.f.Disable(c.ctx(), c.Visitor, boss, ids(second)); err != nil {
			t.Fatal(err)
		}
		_, err := c.f.Delete(c.ctx(), c.Visitor, s, ids(c.bob))
		c.want("who was disabled", err, session.ErrSignedOut)
		c.want("an alias", c.f.SetAlias(c.ctx(), c.Visitor, s, "acme"), session.ErrSignedOut)
		c.Given(boss, admin.DeleteUsers(ids(second), ""))
		if _, err := c.f.Delete(c.ctx(), c.Visitor, boss, ids(second)); err != nil {
			t.Fatal(err)
		}
		_, err = c.f.Delete(c.ctx(), c.Visitor, s, ids(c.bob))
		c.want("who is gone", err, session.ErrSignedOut)
		c.want("an alias", c.f.SetAlias(c.ctx(), c.Visitor, s, "acme"), session.ErrSignedOut)
	})
}

// Every action is called something, and what destroys names its target.
func TestActions(t *testing.T) {
	t.Parallel()
	d := admin.Detail{}
	d.ID, d.UserName, d.Domain = "u1", "bob", "acme.ram.localhost"
	settings := account.DefaultSettings()
	all := map[string]policy.Action{}
	some := []account.IdentityID{"u2", "u1"}
	for _, a := range []policy.Action{admin.CreateUsers, admin.ExportUsers, admin.ChangeNames, admin.EditUser(d), admin.SetUserRole(d), admin.UserSignIn(d), admin.SetUserPassword(d), admin.UnbindUser(d, "x"), admin.IssueTicket(d),
		admin.DeleteUsers(some, "two"), admin.DisableUsers(some, "two"), admin.ClearUsers(some, "two"), admin.RequireUsers(some, "two"), admin.EndUserSessions(some, "two"), admin.ChangeSettings(settings)} {
		if _, twice := all[a.Name]; twice || !testkit.Visitor("192.0.2.1").Locale.Has("purpose."+a.Name) {
			t.Errorf("%s has no name of its own", a.Name)
		}
		if all[a.Name] = a; a.Destructive && a.Target == "" {
			t.Errorf("%s names no target", a.Name)
		}
	}
	if all["set_role"].Object != "bob@acme.ram.localhost" || all["unbind_user"].Target == all["set_role"].Target {
		t.Errorf("%+v", all)
	}
	if admin.DeleteUsers([]account.IdentityID{"u1", "u2", "u1"}, "").Target != all["delete_users"].Target || admin.DeleteUsers([]account.IdentityID{"u1u2"}, "").Target == all["delete_users"].Target {
		t.Error("the target depends on the order, or not on who")
	}
	same, other := settings, settings
	same.Masks = []netip.Prefix{}
	other.Password.MaxAge = 1
	if admin.ChangeSettings(same) != all["change_settings"] || admin.ChangeSettings(other) == all["change_settings"] {
		t.Error("a verification for settings is one for others, or not for its own")
	}
}

func TestQuotaOfDomainsHoldsInParallel(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		s := []prove.Signed{c.as(c.owner), c.as(c.boss)}
		add := func(n int, domain string) error {
			_, err := c.f.AddDomain(c.ctx(), c.Visitor, s[n], domain)
			return err
		}
		for n := range admin.DomainsMax - 1 {
			c.want("one of them", add(0, fmt.Sprintf("d%d.example", n)), nil)
		}
		for range 30 {
			added := 0
			for n, err := range storetest.Parallel(2, func(n int) error { return add(n, fmt.Sprintf("last%d.example", n)) }) {
				if err != nil {
					c.want("one too many", err, admin.ErrDomainsMany)
					continue
				}
				added++
				c.want("remove it", c.f.RemoveDomain(c.ctx(), c.Visitor, s[n], fmt.Sprintf("last%d.example", n)), nil)
			}
			if added != 1 {
				t.Fatalf("%d were added where one had room", added)
			}
		}
	})
}
