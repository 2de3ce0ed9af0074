package admin_test

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
)

// An act is a function about one user.
type act struct {
	name   string
	reads  bool
	self   bool // may be done to oneself
	action func(d admin.Detail) policy.Action
	do     func(c *scene, s prove.Signed, i account.Identity) error
}

func both(f func([]account.IdentityID, string) policy.Action) func(d admin.Detail) policy.Action {
	return func(d admin.Detail) policy.Action { return f([]account.IdentityID{d.ID}, d.Name()) }
}

var acts = []act{
	{name: "User", reads: true, do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.User(c.ctx(), s, i.ID)
		return err
	}},
	{name: "Activity", reads: true, do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, _, err := c.f.Activity(c.ctx(), s, i.ID, 0)
		return err
	}},
	{name: "Edit", self: true, action: admin.EditUser, do: func(c *scene, s prove.Signed, i account.Identity) error {
		return c.f.Edit(c.ctx(), c.Visitor, s, i.ID, admin.NewUser{Name: cmp.Or(i.UserName, "owner"), DisplayName: "Another"})
	}},
	{name: "SetRole", action: admin.SetUserRole, do: func(c *scene, s prove.Signed, i account.Identity) error {
		role := account.Auditor
		if i.Role == role {
			role = account.User
		}
		return c.f.SetRole(c.ctx(), c.Visitor, s, i.ID, role)
	}},
	{name: "Delete", action: both(admin.DeleteUsers), do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.Delete(c.ctx(), c.Visitor, s, ids(i))
		return err
	}},
	{name: "SetSignIn", action: admin.UserSignIn, do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.SetSignIn(c.ctx(), c.Visitor, s, i.ID, admin.ProfileChange{Enable: true, MFARequired: true})
		return err
	}},
	{name: "SetSignIn, password", action: admin.SetUserPassword, do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.SetSignIn(c.ctx(), c.Visitor, s, i.ID, admin.ProfileChange{Enable: true, Generate: true})
		return err
	}},
	{name: "Disable", action: both(admin.DisableUsers), do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.Disable(c.ctx(), c.Visitor, s, ids(i))
		return err
	}},
	{name: "Clear", action: both(admin.ClearUsers), do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.Clear(c.ctx(), c.Visitor, s, ids(i))
		return err
	}},
	{name: "RequireMFA", self: true, action: both(admin.RequireUsers), do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.RequireMFA(c.ctx(), c.Visitor, s, ids(i), true)
		return err
	}},
	{name: "EndSessions", self: true, action: both(admin.EndUserSessions), do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.EndSessions(c.ctx(), c.Visitor, s, ids(i))
		return err
	}},
	{name: "EndSession", self: true, action: both(admin.EndUserSessions), do: func(c *scene, s prove.Signed, i account.Identity) error {
		other := c.as(i)
		return c.f.EndSession(c.ctx(), c.Visitor, s, i.ID, other.Session.ID)
	}},
	{name: "ForgetDevices", self: true, action: both(admin.EndUserSessions), do: func(c *scene, s prove.Signed, i account.Identity) error {
		return c.f.ForgetDevices(c.ctx(), c.Visitor, s, i.ID)
	}},
	{name: "Unbind", action: func(d admin.Detail) policy.Action { return admin.UnbindUser(d, "phone-"+string(d.ID)) }, do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.Unbind(c.ctx(), c.Visitor, s, i.ID, admin.Unbinding{Method: factor.SMS, Device: "phone-" + string(i.ID), Check: "in_person", Reason: "lost"})
		return err
	}},
	{name: "NewTicket", action: admin.IssueTicket, do: func(c *scene, s prove.Signed, i account.Identity) error {
		_, err := c.f.NewTicket(c.ctx(), c.Visitor, s, i.ID, "in_person", "lost")
		return err
	}},
}

// prepare gives a user what the act is about.
func (c *scene) prepare(a act, i account.Identity) {
	c.t.Helper()
	switch a.name {
	case "Unbind":
		c.Attach(i, "+8613800138000")
	case "NewTicket":
		c.reenrol(i)
	}
}

func TestWhoMayDoWhatToWhom(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		c.Prover.Quotas.PhoneAccounts = 1000
		roles := []account.Role{account.Owner, account.Administrator, account.Auditor, account.User}
		n := 0
		fresh := func(r account.Role) account.Identity {
			if r == account.Owner {
				return c.owner
			}
			n++
			return c.UserAs(c.owner, account.Identity{UserName: fmt.Sprintf("%s%d", r, n), Role: r}, account.Profile{State: account.ProfileActive})
		}
		for _, a := range acts {
			for _, role := range roles {
				for _, of := range append([]account.Role{"self"}, roles...) {
					actor := fresh(role)
					target := actor
					if of != "self" {
						target = fresh(of)
					}
					if !target.IsOwner() {
						c.prepare(a, target)
					}
					s := c.as(actor)
					if a.action != nil && role.Administers() && !target.IsOwner() && (of != "self" || a.self) {
						c.Given(s, a.action(c.detail(target)))
					}
					var want error
					switch {
					case a.reads && !role.Audits(), !a.reads && !role.Administers():
						want = admin.ErrForbidden
					case a.reads && target.IsOwner():
						want = admin.ErrNoUser
					case a.reads:
					case target.ID == actor.ID && !a.self:
						want = admin.ErrSelf
					case target.IsOwner():
						want = admin.ErrHigher
					}
					before := c.state(target)
					err := a.do(c, s, target)
					c.want(fmt.Sprintf("%s by %s of %s", a.name, role, of), err, want)
					if want != nil && c.state(target) != before && a.name != "EndSession" {
						t.Errorf("%s by %s of %s was refused, and changed something", a.name, role, of)
					}
				}
			}
		}
	})
}

// state is everything about an identity that an act could change.
func (c *scene) state(i account.Identity) string {
	c.t.Helper()
	r := c.Read(c.ctx())
	now, err := r.Identity(i.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	events, err := r.History(i.Account, i.ID, 0, 1000)
	if err != nil {
		c.t.Fatal(err)
	}
	sessions, err := r.Sessions(i.Account, i.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	if i.IsOwner() {
		return fmt.Sprintf("%+v %d %+v", now, len(events), sessions)
	}
	d := c.detail(i)
	enrolment := d.Enrolment != nil && string(d.Enrolment.TicketHash) == "old"
	d.Enrolment = nil
	return fmt.Sprintf("%+v %v %d %+v", d, enrolment, len(events), sessions)
}

// The functions that are about no single user.
func TestWhoMaySeeAndSet(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		settings := account.DefaultSettings()
		settings.Remember = true
		for _, i := range []account.Identity{c.owner, c.boss, c.look, c.bob} {
			next := settings
			next.IdleKeys = map[account.Role]int{account.Owner: 90, account.Administrator: 180}[i.Role]
			if next.IdleKeys == 0 {
				next.IdleKeys = 730
			}
			s := c.verified(i, admin.ChangeSettings(next))
			var reads, writes error
			if !i.Role.Audits() {
				reads = admin.ErrForbidden
			}
			if !i.Role.Administers() {
				writes = admin.ErrForbidden
			}
			_, err := c.f.Users(c.ctx(), s, userQuery(20), 1)
			c.want("Users", err, reads)
			c.want("EachUser", c.f.EachUser(c.ctx(), c.Visitor, s, userQuery(0), func(admin.Row) error { return nil }), reads)
			_, err = c.f.Settings(c.ctx(), s)
			c.want("Settings", err, reads)
			_, err = c.f.Names(c.ctx(), s)
			c.want("Names", err, reads)
			_, err = c.f.Preview(c.ctx(), c.Visitor, s, next)
			c.want("Preview", err, writes)
			c.want("Save", c.f.Save(c.ctx(), c.Visitor, s, next), writes)
			c.want("SetAlias", c.f.SetAlias(c.ctx(), c.Visitor, s, "acme-"+i.UserName+"x"), writes)
			domain := string(i.Role) + ".example"
			d, err := c.f.AddDomain(c.ctx(), c.Visitor, s, domain)
			c.want("AddDomain", err, writes)
			c.dns.Publish(domain, admin.DomainRecord+d.Code)
			c.want("VerifyDomain", c.f.VerifyDomain(c.ctx(), c.Visitor, s, domain), writes)
			c.want("RemoveDomain", c.f.RemoveDomain(c.ctx(), c.Visitor, s, domain), writes)
			_, err = c.f.Create(c.ctx(), c.Visitor, s, []admin.Line{{Number: 1, User: admin.NewUser{Name: "by-" + string(i.Role), Role: account.User}}})
			c.want("Create", err, writes)
			_, err = c.f.Shown(c.ctx(), s, "nothing")
			if want := admin.ErrShownGone; writes == nil {
				c.want("Shown", err, want)
			} else {
				c.want("Shown", err, writes)
			}
		}
	})
}

// Whatever belongs to another account does not exist.
func TestOtherAccountsDoNotExist(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		other := c.Owner("other@example.com")
		alice := c.User(other, "alice", account.User)
		mine := prove.Signed{Identity: other}
		look := func() admin.Detail {
			d, err := c.f.User(c.ctx(), mine, alice.ID)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		for _, a := range acts {
			c.prepare(a, alice)
			foreign := look()
			stranger := foreign
			stranger.Account = c.owner.Account
			s := c.as(c.boss)
			if a.action != nil {
				c.Given(s, a.action(stranger))
			}
			before, events := look(), len(c.history(alice))
			sessions := 0
			if a.name == "EndSession" {
				sessions = 1
			}
			c.want(a.name, a.do(c, s, alice), admin.ErrNoUser)
			c.want(a.name+" of the owner", a.do(c, s, other), admin.ErrNoUser)
			after := look()
			if len(after.Sessions) != len(before.Sessions)+sessions {
				t.Errorf("%s ended a session of another account", a.name)
			}
			before.Sessions, after.Sessions = nil, nil
			before.LastSignInAt = after.LastSignInAt
			if !reflect.DeepEqual(before, after) || len(c.history(alice)) != events {
				t.Errorf("%s changed a user of another account", a.name)
			}
		}
		// In company with an own user, nothing happens to either.
		both := append(ids(c.bob), alice.ID)
		s := c.verified(c.boss, admin.DeleteUsers(both, ""), admin.ClearUsers(both, ""))
		_, err := c.f.Delete(c.ctx(), c.Visitor, s, both)
		c.want("Delete with one of another account", err, admin.ErrNoUser)
		_, err = c.f.Clear(c.ctx(), c.Visitor, s, both)
		c.want("Clear with one of another account", err, admin.ErrNoUser)
		if d := c.detail(c.bob); !d.Profile.Enabled() {
			t.Error("an act that was refused reached one of two")
		}
		// Nor do lists, names or sessions of another session show anything.
		list, err := c.f.Users(c.ctx(), s, userQuery(20), 1)
		if err != nil || list.Total != 3 {
			t.Errorf("the list holds %d: %v", list.Total, err)
		}
		id, err := c.f.KeepDraft(c.ctx(), c.Visitor, s, "/console/users", map[string][]string{"a": {"b"}})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = c.f.Draft(c.ctx(), c.Visitor, c.as(other), id)
		c.want("a draft of another session", err, admin.ErrDraftGone)
		path, form, err := c.f.Draft(c.ctx(), c.Visitor, s, id)
		if err != nil || path != "/console/users" || form["a"][0] != "b" {
			t.Errorf("draft: %q, %v, %v", path, form, err)
		}
		_, _, err = c.f.Draft(c.ctx(), c.Visitor, s, id)
		c.want("a draft twice", err, admin.ErrDraftGone)
	})
}

// A verification for one user, one set of users or one action is worth nothing
// for another.
func TestVerificationsBelongToTheirTarget(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		eve := c.User(c.owner, "eve", account.User)
		for _, a := range acts {
			if a.action == nil || !a.action(c.detail(c.bob)).Destructive {
				continue
			}
			c.prepare(a, c.bob)
			s := c.as(c.boss)
			c.Given(s, a.action(c.detail(eve)))
			c.want(a.name+" with a verification for another user", a.do(c, s, c.bob), prove.ErrVerifyFirst)
			for _, b := range acts {
				if b.action != nil && b.action(c.detail(c.bob)).Name != a.action(c.detail(c.bob)).Name {
					c.Given(s, b.action(c.detail(c.bob)))
				}
			}
			c.want(a.name+" with a verification for other acts", a.do(c, s, c.bob), prove.ErrVerifyFirst)
		}
		s := c.verified(c.boss, admin.DeleteUsers(ids(c.bob), ""))
		_, err := c.f.Delete(c.ctx(), c.Visitor, s, ids(c.bob, eve))
		c.want("two deleted with a verification for one", err, prove.ErrVerifyFirst)
		s = c.verified(c.boss, admin.DeleteUsers(ids(c.bob, eve), "two"))
		_, err = c.f.Delete(c.ctx(), c.Visitor, s, ids(eve, c.bob, eve))
		c.want("the same two in another order", err, nil)
	})
}

// An administrator who is demoted meanwhile acts no more: the role is read with
// every act, not with the session.
func TestDemotedAdministratorsActNoMore(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		second := c.User(c.owner, "second", account.Administrator)
		s := c.verified(c.boss, admin.SetUserRole(c.detail(second)))
		s2 := c.verified(second, admin.SetUserRole(c.detail(c.boss)))
		results := make(chan error, 2)
		go func() { results <- c.f.SetRole(c.ctx(), c.Visitor, s, second.ID, account.User) }()
		go func() { results <- c.f.SetRole(c.ctx(), c.Visitor, s2, c.boss.ID, account.User) }()
		one, two := <-results, <-results
		if (one == nil) == (two == nil) || !errors.Is(errors.Join(one, two), admin.ErrForbidden) {
			t.Errorf("both demote each other: %v, %v", one, two)
		}
		_, err := c.f.Disable(c.ctx(), c.Visitor, map[bool]prove.Signed{true: s, false: s2}[c.Again(c.boss).Role == account.User], ids(c.bob))
		c.want("who was demoted", err, admin.ErrForbidden)
	})
}

func (c *scene) history(i account.Identity) []any {
	c.t.Helper()
	events, err := c.Read(c.ctx()).History(i.Account, i.ID, 0, 1000)
	if err != nil {
		c.t.Fatal(err)
	}
	list := make([]any, len(events))
	for n, e := range events {
		list[n] = e
	}
	return list
}
