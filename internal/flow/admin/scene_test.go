package admin_test

import (
	"context"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// A scene is an account with somebody of every role.
type scene struct {
	*testkit.World
	t     *testing.T
	f     *admin.Flow
	dns   *testkit.TXT
	owner account.Identity
	boss  account.Identity // an administrator
	look  account.Identity // an auditor
	bob   account.Identity // a user
}

// on runs f in a scene on both engines.
func on(t *testing.T, f func(t *testing.T, c *scene)) {
	t.Helper()
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) { f(t, newScene(t, w)) })
}

func newScene(t *testing.T, w *testkit.World) *scene {
	t.Helper()
	c := &scene{World: w, t: t}
	c.f, c.dns = w.Admin()
	c.owner = w.Owner("owner@example.com")
	c.boss = w.User(c.owner, "boss", account.Administrator)
	c.look = w.User(c.owner, "look", account.Auditor)
	c.bob = w.User(c.owner, "bob", account.User)
	return c
}

// as signs somebody in.
func (c *scene) as(i account.Identity) prove.Signed {
	c.t.Helper()
	s, _ := c.Session(c.Visitor, i)
	return s
}

func (c *scene) ctx() context.Context { return c.t.Context() }

// detail is what the owner sees of a user.
func (c *scene) detail(i account.Identity) admin.Detail {
	c.t.Helper()
	d, err := c.f.User(c.ctx(), prove.Signed{Identity: c.owner}, i.ID)
	if err != nil {
		c.t.Fatalf("user %s: %v", i.Name(), err)
	}
	return d
}

// verified signs somebody in who has just verified for an action.
func (c *scene) verified(i account.Identity, actions ...policy.Action) prove.Signed {
	c.t.Helper()
	s := c.as(i)
	for _, a := range actions {
		c.Given(s, a)
	}
	return s
}

// want compares a refusal.
func (c *scene) want(what string, got, want error) {
	c.t.Helper()
	testkit.Want(c.t, what, got, want)
}

// shown reads what is shown once.
func (c *scene) shown(s prove.Signed, id string) admin.Shown {
	c.t.Helper()
	what, err := c.f.Shown(c.ctx(), s, id)
	if err != nil {
		c.t.Fatalf("shown %q: %v", id, err)
	}
	return what
}

// last is the newest event of a name about somebody.
func (c *scene) last(i account.Identity, name audit.Name) audit.Event {
	c.t.Helper()
	list := c.Events(i, name)
	if len(list) == 0 {
		c.t.Fatalf("no %s about %s", name, i.Name())
	}
	return list[0]
}

// ids are those of identities.
func ids(list ...account.Identity) (all []account.IdentityID) {
	for _, i := range list {
		all = append(all, i.ID)
	}
	return all
}

// user makes another user with a profile.
func (c *scene) user(name string, p account.Profile) account.Identity {
	c.t.Helper()
	return c.UserAs(c.owner, account.Identity{UserName: name, Role: account.User, Email: name + "@staff.example"}, p)
}

// reenrol leaves a user without a device, who binds one by ticket.
func (c *scene) reenrol(i account.Identity) {
	c.t.Helper()
	c.Put(func(tx *store.Tx) error {
		return tx.SetEnrolment(i.Account, i.ID, store.Enrolment{Kind: store.Reenrol, TicketHash: []byte("old"), CreatedAt: tx.Now, OpensAt: tx.Now, ExpiresAt: tx.Now.Add(admin.TicketLifetime)})
	})
}
