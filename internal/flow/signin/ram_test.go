package signin_test

import (
	"encoding/base32"
	"slices"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// A staff is alice's account with its RAM users.
type staff struct {
	*testkit.World
	t     testing.TB
	owner account.Identity
	admin *admin.Flow
	dns   *testkit.TXT
}

// onStaff runs f on both engines.
func onStaff(t *testing.T, f func(t *testing.T, c *staff)) {
	t.Helper()
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) { f(t, newStaff(t, w)) })
}

func newStaff(t testing.TB, w *testkit.World) *staff {
	t.Helper()
	c := &staff{World: w, t: t, owner: w.Owner(alice)}
	c.admin, c.dns = w.Admin()
	return c
}

var ram = prove.Door{RAM: true}

// user adds a user whose profile asks for nothing, unless change says so.
func (c *staff) user(name string, change func(*account.Profile)) account.Identity {
	c.t.Helper()
	p := account.Profile{State: account.ProfileActive}
	if change != nil {
		change(&p)
	}
	return c.UserAs(c.owner, account.Identity{UserName: name, Role: account.User, Email: name + "@staff.example"}, p)
}

// boss is the owner signed in, who has verified for the actions.
func (c *staff) boss(actions ...policy.Action) prove.Signed {
	c.t.Helper()
	s, _ := c.Session(c.Visitor, c.owner)
	for _, a := range actions {
		c.Given(s, a)
	}
	return s
}

// detail is what the owner sees of a user.
func (c *staff) detail(i account.Identity) admin.Detail {
	c.t.Helper()
	d, err := c.admin.User(ctx(), prove.Signed{Identity: c.owner}, i.ID)
	if err != nil {
		c.t.Fatalf("user %s: %v", i.Name(), err)
	}
	return d
}

// at gives the right password at the door of RAM users.
func (c *staff) at(v prove.Visitor, i account.Identity) signin.Progress {
	c.t.Helper()
	p, err := c.SignIn.Begin(ctx(), v, ram, c.Again(i).Name(), testkit.Password, "/next")
	if err != nil {
		c.t.Fatalf("%s gives the password: %v", i.Name(), err)
	}
	return p
}

// refused gives the right password to somebody who may not sign in.
func (c *staff) refused(what string, v prove.Visitor, i account.Identity, want error) {
	c.t.Helper()
	p, err := c.SignIn.Begin(ctx(), v, ram, i.Name(), testkit.Password, "")
	testkit.Want(c.t, what, err, want)
	if p.Session != nil {
		c.t.Errorf("%s: there is a session", what)
	}
}

// in signs somebody in, with a code where app is given.
func (c *staff) in(v prove.Visitor, i account.Identity, app *testkit.App) *signin.New {
	c.t.Helper()
	p := c.at(v, i)
	if app != nil {
		var err error
		if p, err = c.Answer(v, p, app.Code(0)); err != nil {
			c.t.Fatalf("%s gives a code: %v", i.Name(), err)
		}
	}
	if p.Session == nil {
		c.t.Fatalf("%s is at %s, not signed in", i.Name(), p.Step)
	}
	return p.Session
}

// live reports whether the token is a session's.
func (c *staff) live(token secret.Token) bool {
	_, err := c.SignIn.Signed(ctx(), token)
	return err == nil
}

// state is where the sign-in of a token stands.
func (c *staff) state(v prove.Visitor, p signin.Progress) signin.Progress {
	c.t.Helper()
	s, err := c.SignIn.State(ctx(), v, p.Token)
	if err != nil {
		c.t.Fatalf("state: %v", err)
	}
	return s
}

// scan chooses virtual MFA and scans the key.
func (c *staff) scan(v prove.Visitor, p signin.Progress) *testkit.App {
	c.t.Helper()
	if err := c.SignIn.Choose(ctx(), v, p.Token, factor.VirtualMFA); err != nil {
		c.t.Fatalf("choose virtual MFA: %v", err)
	}
	return c.appOf(c.state(v, p).Setup.Key.Key)
}

// appOf is the app that has scanned a key.
func (c *staff) appOf(key string) *testkit.App {
	c.t.Helper()
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(key, " ", ""))
	if err != nil || len(seed) == 0 {
		c.t.Fatalf("the key %q: %v", key, err)
	}
	return &testkit.App{Seed: seed, Now: c.Clock.Now}
}

// bind binds the app with one code.
func (c *staff) bind(v prove.Visitor, p signin.Progress, app *testkit.App) (signin.Progress, error) {
	return c.SignIn.BindDevice(ctx(), v, p.Token, "Phone", app.Code(0), "")
}

// enrolled is a user who has bound an app.
func (c *staff) enrolled(name string, change func(*account.Profile)) (account.Identity, *testkit.App) {
	c.t.Helper()
	i := c.user(name, change)
	return i, c.Bind(i)
}

// sessions are those of a user.
func (c *staff) sessions(i account.Identity) int {
	c.t.Helper()
	list, err := c.Read(ctx()).Sessions(i.Account, i.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	return len(list)
}

// tryName gives the right password under a name.
func (c *staff) tryName(door prove.Door, name string) (account.IdentityID, error) {
	p, err := c.SignIn.Begin(ctx(), c.Visitor, door, name, testkit.Password, "")
	if err != nil || p.Session == nil {
		return "", err
	}
	return p.Session.Identity.ID, nil
}

func TestARAMUserIsFoundUnderEachFormOfItsName(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		bob := c.user("Bob", nil)
		id := string(c.owner.Account)
		finds := func(door prove.Door, name string) {
			t.Helper()
			if found, err := c.tryName(door, name); err != nil || found != bob.ID {
				t.Errorf("%q at %+v: found %q, %v", name, door, found, err)
			}
		}
		misses := func(door prove.Door, name string) {
			t.Helper()
			_, err := c.tryName(door, name)
			testkit.Want(t, name, err, atDoor(door, name))
		}
		for _, door := range []prove.Door{ram, {}} {
			finds(door, "bob@"+id)
			finds(door, "bob@"+id+".ram.localhost")
			misses(door, "bob@acme")
			misses(door, "bob")
			misses(door, "bob@"+id+".ram.localhost.example")
			misses(door, "bob@"+id+".example")
			misses(door, "alice@"+id)
		}
		testkit.Want(t, "the alias", c.admin.SetAlias(ctx(), c.Visitor, c.boss(admin.ChangeNames), "acme"), nil)
		for _, door := range []prove.Door{ram, {}, {RAM: true, Domain: "other.example"}} {
			for _, name := range []string{"bob@acme", "bob@acme.ram.localhost", "bob@" + id, "bob@" + id + ".ram.localhost", " BOB@ACME.RAM.localhost "} {
				finds(door, name)
			}
		}
		for _, domain := range []string{"acme", "acme.ram.localhost", id, "ACME"} {
			finds(prove.Door{RAM: true, Domain: domain}, "bob")
		}
		misses(prove.Door{RAM: true, Domain: "other"}, "bob")
		testkit.Want(t, "another alias", c.admin.SetAlias(ctx(), c.Visitor, c.boss(admin.ChangeNames), "acme2"), nil)
		misses(ram, "bob@acme")
		finds(ram, "bob@acme2")
		finds(ram, "bob@"+id)
	})
}

func TestADomainAliasCountsOnceItIsProved(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		bob := c.user("bob", nil)
		d, err := c.admin.AddDomain(ctx(), c.Visitor, c.boss(admin.ChangeNames), "staff.example")
		testkit.Want(t, "add it", err, nil)
		tell := func(what string, want account.IdentityID) {
			t.Helper()
			for _, door := range []prove.Door{ram, {}} {
				found, err := c.tryName(door, "bob@staff.example")
				if found != want || (want == "") != (fault.From(err).Code == prove.ErrCredentials.Code && err != nil) {
					t.Errorf("%s, at %+v: found %q, %v", what, door, found, err)
				}
			}
		}
		tell("before it is proved", "")
		testkit.Want(t, "no record", c.admin.VerifyDomain(ctx(), c.Visitor, c.boss(admin.ChangeNames), "staff.example"), admin.ErrDomainProof)
		tell("after a proof that failed", "")
		c.dns.Publish("_countersign.staff.example", admin.DomainRecord+d.Code)
		testkit.Want(t, "prove it", c.admin.VerifyDomain(ctx(), c.Visitor, c.boss(admin.ChangeNames), "staff.example"), nil)
		tell("proved", bob.ID)
		testkit.Want(t, "take it off", c.admin.RemoveDomain(ctx(), c.Visitor, c.boss(admin.ChangeNames), "staff.example"), nil)
		tell("taken off", "")
	})
}

// atDoor is what a name that is nobody's is told: what its form alone shows,
// else nothing.
func atDoor(door prove.Door, name string) error {
	if door.RAM && door.Domain == "" && !strings.Contains(name, "@") {
		return prove.ErrUserNameForm
	}
	return prove.ErrCredentials
}

func TestTheDoorOfRAMUsersNeverFindsAnOwner(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		for _, name := range []string{alice, "alice@" + string(c.owner.Account), "@" + string(c.owner.Account), string(c.owner.Account)} {
			_, err := c.tryName(ram, name)
			testkit.Want(t, name, err, atDoor(ram, name))
			_, err = c.tryName(prove.Door{RAM: true, Domain: "example.com"}, "alice")
			testkit.Want(t, "alice at her domain", err, prove.ErrCredentials)
		}
		// A user may have the name that is the owner's address: each door finds its own.
		c.Put(func(tx *store.Tx) error {
			if err := tx.AddDomainAlias(c.owner.Account, "example.com", "code"); err != nil {
				return err
			}
			return tx.VerifyDomainAlias(c.owner.Account, "example.com", store.ErrNoRow)
		})
		namesake := c.user("alice", nil)
		for _, one := range []struct {
			door prove.Door
			want account.IdentityID
		}{{ram, namesake.ID}, {prove.Door{}, c.owner.ID}} {
			if found, err := c.tryName(one.door, alice); err != nil || found != one.want {
				t.Errorf("at %+v: %q, %v", one.door, found, err)
			}
		}
	})
}

func TestUnknownAndKnownNamesAreRefusedAlike(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		off := c.user("off", func(p *account.Profile) { p.State = account.ProfileInactive })
		never := c.user("never", func(p *account.Profile) { p.State = account.NoProfile })
		id := string(c.owner.Account)
		shape := func(a account.ID, i account.IdentityID) string {
			t.Helper()
			events, err := c.Read(ctx()).History(a, i, 0, 1, audit.ConsoleSignin, audit.PasswordAccepted, audit.PasswordLock)
			if err != nil || len(events) != 1 {
				t.Fatalf("events of %q: %+v, %v", i, events, err)
			}
			e := events[0]
			var keys []string
			for k := range e.Details {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			if strings.Contains(e.Target, "bob@") || strings.Contains(e.Target, "nobody@") {
				t.Errorf("the name stands in the event: %q", e.Target)
			}
			return strings.Join(append(keys, string(e.Name), e.Refused, e.Actor.Kind, e.Actor.ID, e.Actor.Name, e.Actor.Address), "|")
		}
		var first string
		for _, one := range []struct {
			name     string
			account  account.ID
			identity account.IdentityID
		}{
			{"bob@" + id, c.owner.Account, bob.ID},
			{"off@" + id, c.owner.Account, off.ID},
			{"never@" + id, c.owner.Account, never.ID},
			{"nobody@" + id, audit.Operator, ""},
			{"bob@1234567890123456", audit.Operator, ""},
			{"bob@unknown.example", audit.Operator, ""},
			{"x@y", audit.Operator, ""},
		} {
			for _, door := range []prove.Door{ram, {}} {
				p, err := c.SignIn.Begin(ctx(), c.Visitor, door, one.name, "not the password at all", "/next")
				if f := fault.From(err); f.Code != prove.ErrCredentials.Code || f.Error() != prove.ErrCredentials.Error() || len(f.Args) != len(prove.ErrCredentials.Args) {
					t.Errorf("%s: %v", one.name, err)
				}
				if p.Session != nil || p.Step != "" || p.Name != "" || p.Ceremony != "" {
					t.Errorf("%s: told %+v", one.name, p)
				}
				got := shape(one.account, one.identity)
				if first == "" {
					first = got
				}
				if got != first {
					t.Errorf("%s: event %q, of others %q", one.name, got, first)
				}
			}
		}
	})
}
