package admin_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/session"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/store"
)

func userQuery(size int) store.UserQuery { return store.UserQuery{Limit: size} }

func TestListOfUsers(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		for n := range 45 {
			c.user(fmt.Sprintf("staff%02d", n), account.Profile{})
		}
		c.Bind(c.bob)
		c.Attach(c.look, "+8613800138000")
		c.Settle(c.owner.Account, func(s *account.Settings) { s.AllowSMS = false })
		s := c.verified(c.look, admin.ExportUsers)
		l, err := c.f.Users(c.ctx(), s, userQuery(20), 3)
		if err != nil || l.Total != 48 || l.Matching != 48 || l.Pages != 3 || l.Page != 3 || len(l.Users) != 8 {
			t.Errorf("page 3: %d of %d, %d pages, %d users, %v", l.Page, l.Total, l.Pages, len(l.Users), err)
		}
		for _, page := range []int{-1, 0, 1, 99} {
			if l, err = c.f.Users(c.ctx(), s, userQuery(7), page); err != nil || l.Size != 20 || l.Page != min(max(page, 1), 3) || len(l.Users) == 0 {
				t.Errorf("page %d: %d with %d of %d, %v", page, l.Page, len(l.Users), l.Size, err)
			}
		}
		q := userQuery(20)
		q.Search = "nobody like that"
		if l, err = c.f.Users(c.ctx(), s, q, 5); err != nil || l.Matching != 0 || l.Page != 1 || l.Pages != 1 {
			t.Errorf("nobody: %+v, %v", l, err)
		}
		rows := map[string]admin.Row{}
		err = c.f.EachUser(c.ctx(), c.Visitor, s, store.UserQuery{}, func(r admin.Row) error { rows[r.UserName] = r; return nil })
		if err != nil || len(rows) != 48 {
			t.Fatalf("export: %d, %v", len(rows), err)
		}
		if r := rows["bob"]; r.Method != factor.VirtualMFA || r.Due || len(r.Kinds) != 1 {
			t.Errorf("bob: %+v", r)
		}
		if r := rows["look"]; r.Method != "" || !r.Due || len(r.Kinds) != 0 || !r.Phone {
			t.Errorf("a phone that is not allowed counts: %+v", r)
		}
		c.Clock.Advance(11 * time.Minute)
		err = c.f.EachUser(c.ctx(), c.Visitor, s, store.UserQuery{}, func(admin.Row) error { return nil })
		c.want("an export without a fresh verification", err, prove.ErrVerifyFirst)
	})
}

func TestCreatingUsers(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		s := c.as(c.boss)
		lines, err := admin.ParseUsers("name,display_name,email,role\nann,Ann A,ann@x.example,\nBOB\nben,,,administrator\nbad name\nann", admin.NewUser{Role: account.User, SignIn: true, MFARequired: true})
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.f.Create(c.ctx(), c.Visitor, s, lines)
		if err != nil {
			t.Fatal(err)
		}
		what := c.shown(s, id)
		var faults []string
		for _, l := range what.Lines {
			faults = append(faults, fmt.Sprintf("%d %s %s", l.Number, l.Name, l.Fault))
			if (l.Fault == "") != (l.ID != "" && l.Password != "" && l.UPN == l.Name+"@"+string(c.owner.Account)+".ram.localhost") {
				t.Errorf("line %+v", l)
			}
		}
		if got := strings.Join(faults, ", "); got != "2 ann , 3 BOB user.name_taken, 4 ben , 5 bad name user.name_form, 6 ann users.twice" || what.Kind != "created" {
			t.Errorf("%s: %s", what.Kind, got)
		}
		ann := what.Lines[0]
		i, err := c.Read(c.ctx()).Identity(ann.ID)
		if err != nil {
			t.Fatal(err)
		}
		d := c.detail(i)
		if d.DisplayName != "Ann A" || d.Email != "ann@x.example" || d.Role != account.User || d.Profile.State != account.ProfileActive || !d.Profile.MFARequired || !d.Profile.PasswordReset || !d.Profile.InitialUntil.Equal(c.Clock.Now().Add(account.InitialLifetime)) || !ann.Until.Equal(d.Profile.InitialUntil) {
			t.Errorf("ann: %+v", d)
		}
		if right, _, err := c.Prover.Hasher.Verify(c.ctx(), i.PasswordHash, ann.Password); !right || err != nil {
			t.Errorf("the password shown is not hers: %v", err)
		}
		if e := c.last(i, audit.UserCreate); e.Actor.ID != string(c.boss.ID) || e.Details["user"] != "ann" {
			t.Errorf("event: %+v", e)
		}
		c.last(i, audit.ProfileCreate)
		// What is shown belongs to the session, and goes.
		_, err = c.f.Shown(c.ctx(), c.as(c.boss), id)
		c.want("in another session", err, admin.ErrShownGone)
		c.want("done", c.f.DropShown(c.ctx(), c.Visitor, s, id), nil)
		_, err = c.f.Shown(c.ctx(), s, id)
		c.want("after it is done", err, admin.ErrShownGone)
		c.want("done twice", c.f.DropShown(c.ctx(), c.Visitor, s, id), admin.ErrShownGone)

		one := func(u admin.NewUser) (string, error) {
			return c.f.Create(c.ctx(), c.Visitor, s, []admin.Line{{Number: 1, Text: u.Name, User: u}})
		}
		_, err = one(admin.NewUser{Name: "Ann", Role: account.User})
		c.want("one whose name is taken", err, account.ErrUserNameTaken)
		_, err = one(admin.NewUser{Name: "x", Role: account.Owner})
		c.want("an owner", err, account.ErrRole)
		_, err = one(admin.NewUser{Role: account.User})
		c.want("one without a name", err, account.ErrUserNameMissing)
		_, err = c.f.Create(c.ctx(), c.Visitor, s, nil)
		c.want("nobody", err, admin.ErrNoLines)
		_, err = c.f.Create(c.ctx(), c.Visitor, s, make([]admin.Line, 202))
		c.want("too many", err, admin.ErrTooManyLines)
		if id, err = one(admin.NewUser{Name: "quiet", Role: account.Auditor}); err != nil {
			t.Fatal(err)
		}
		quiet := c.shown(s, id).Lines[0]
		i, err = c.Read(c.ctx()).Identity(quiet.ID)
		if d := c.detail(i); err != nil || quiet.Password != "" || d.Profile.State != account.NoProfile || i.PasswordHash != "" || d.Role != account.Auditor {
			t.Errorf("without console sign-in: %+v, %v", d, err)
		}
		c.Clock.Advance(10 * time.Minute)
		_, err = c.f.Shown(c.ctx(), s, id)
		c.want("after ten minutes", err, admin.ErrShownGone)
		c.Clock.Advance(time.Microsecond)
		_, err = one(admin.NewUser{Name: "late", Role: account.User})
		c.want("without a fresh proof", err, prove.ErrVerifyFirst)
	})
}

func TestQuotaOfUsersHoldsInParallel(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		c.f.Quotas.Users = 10 // three are there
		s, boss := c.as(c.owner), c.as(c.boss)
		var wg sync.WaitGroup
		var mu sync.Mutex
		made, full := 0, 0
		for n := range 4 {
			s := []prove.Signed{s, boss}[n%2]
			wg.Go(func() {
				var lines []admin.Line
				for k := range 4 {
					lines = append(lines, admin.Line{Number: k + 1, User: admin.NewUser{Name: fmt.Sprintf("p%d-%d", n, k), Role: account.User}})
				}
				id, err := c.f.Create(c.ctx(), c.Visitor, s, lines)
				if err != nil {
					t.Errorf("create: %v", err)
					return
				}
				what, err := c.f.Shown(c.ctx(), s, id)
				if err != nil {
					t.Errorf("shown: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, l := range what.Lines {
					switch l.Fault {
					case "":
						made++
					case admin.ErrQuotaUsers.Code:
						full++
					default:
						t.Errorf("line %+v", l)
					}
				}
			})
		}
		wg.Wait()
		n, err := c.Read(c.ctx()).CountUsers(c.owner.Account, store.UserQuery{})
		if err != nil || n != 10 || made != 7 || full != 9 {
			t.Errorf("%d users, %d made, %d refused, %v", n, made, full, err)
		}
		_, err = c.f.Create(c.ctx(), c.Visitor, s, []admin.Line{{Number: 1, User: admin.NewUser{Name: "more", Role: account.User}}})
		c.want("one beyond", err, admin.ErrQuotaUsers)
	})
}

func TestEditingUsers(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		s := c.as(c.boss)
		edit := func(u admin.NewUser) error { return c.f.Edit(c.ctx(), c.Visitor, s, c.bob.ID, u) }
		c.want("edit", edit(admin.NewUser{Name: "Robert", DisplayName: " Rob ", Email: "rob@x.example", Comments: "c", Role: account.Administrator}), nil)
		d := c.detail(c.bob)
		if d.UserName != "Robert" || d.DisplayName != "Rob" || d.Email != "rob@x.example" || d.Comments != "c" || d.Role != account.User {
			t.Errorf("bob: %+v", d)
		}
		if e := c.last(c.bob, audit.UserUpdate); e.Details["from"] != "bob" || e.Details["to"] != "Robert" || e.Details["fields"] != "name display_name email comments" {
			t.Errorf("event: %+v", e)
		}
		c.want("nothing new", edit(admin.NewUser{Name: "Robert", DisplayName: "Rob", Email: "rob@x.example", Comments: "c"}), nil)
		if n := len(c.Events(c.bob, audit.UserUpdate)); n != 1 {
			t.Errorf("%d events", n)
		}
		c.want("another case", edit(admin.NewUser{Name: "ROBERT"}), nil)
		c.want("a name that is taken", edit(admin.NewUser{Name: "Boss"}), account.ErrUserNameTaken)
		c.want("no name", edit(admin.NewUser{}), account.ErrUserNameMissing)
		c.want("no address", edit(admin.NewUser{Name: "bob", Email: "x"}), account.ErrEmailForm)
		c.want("two lines", edit(admin.NewUser{Name: "bob", Comments: "a\nb"}), account.ErrComments)
		c.want("a long display name", edit(admin.NewUser{Name: "bob", DisplayName: strings.Repeat("x", 129)}), account.ErrDisplayName)
	})
}

func TestChangingRoles(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		s := c.verified(c.boss, admin.SetUserRole(c.detail(c.bob)))
		c.want("no such role", c.f.SetRole(c.ctx(), c.Visitor, s, c.bob.ID, account.Owner), account.ErrRole)
		c.want("the same", c.f.SetRole(c.ctx(), c.Visitor, s, c.bob.ID, account.User), admin.ErrSameRole)
		c.want("auditor", c.f.SetRole(c.ctx(), c.Visitor, s, c.bob.ID, account.Auditor), nil)
		c.want("the verification is used up", c.f.SetRole(c.ctx(), c.Visitor, s, c.bob.ID, account.User), prove.ErrVerifyFirst)
		if e := c.last(c.bob, audit.RoleModify); e.Details["from"] != "user" || e.Details["to"] != "auditor" {
			t.Errorf("event: %+v", e)
		}
		if told := c.Told("bob@staff.example"); !slices.Contains(told, "role_changed") {
			t.Errorf("told: %v", told)
		}
		// The role acts at once, in the session there is.
		bob := c.as(c.bob)
		if _, err := c.f.Users(c.ctx(), bob, userQuery(20), 1); err != nil {
			t.Errorf("an auditor: %v", err)
		}
		// The owner demotes the last administrator.
		s = c.verified(c.owner, admin.SetUserRole(c.detail(c.boss)))
		c.want("the last administrator", c.f.SetRole(c.ctx(), c.Visitor, s, c.boss.ID, account.User), nil)
	})
}

func TestDeletingUsers(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		_, token := c.Session(c.Visitor, c.bob)
		both := ids(c.bob, c.look)
		s := c.verified(c.boss, admin.DeleteUsers(both, "two"))
		n, err := c.f.Delete(c.ctx(), c.Visitor, s, both)
		if err != nil || n != 2 || !c.Ended(t, token) {
			t.Errorf("%d deleted, %v", n, err)
		}
		_, err = c.f.User(c.ctx(), s, c.bob.ID)
		c.want("who is gone", err, admin.ErrNoUser)
		_, err = c.f.Delete(c.ctx(), c.Visitor, s, both)
		c.want("again", err, admin.ErrNoUser)
		_, err = c.f.Delete(c.ctx(), c.Visitor, s, nil)
		c.want("nobody", err, admin.ErrNobody)
		_, err = c.f.Delete(c.ctx(), c.Visitor, s, slices.Repeat([]account.IdentityID{"x"}, 300))
		c.want("one many times", err, admin.ErrNoUser)
		if e := c.last(c.bob, audit.UserDelete); e.Details["user"] != c.bob.Name() {
			t.Errorf("event: %+v", e)
		}
	})
}

func TestEndingSessionsOfUsers(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		_, one := c.Session(c.Visitor, c.bob)
		second, two := c.Session(c.Visitor, c.bob)
		s := c.as(c.boss)
		c.want("one", c.f.EndSession(c.ctx(), c.Visitor, s, c.bob.ID, second.Session.ID), nil)
		if c.Ended(t, one) || !c.Ended(t, two) {
			t.Error("the wrong session ended")
		}
		if c.f.EndSession(c.ctx(), c.Visitor, s, c.bob.ID, s.Session.ID) == nil {
			t.Error("a session of somebody else ended under the user's id")
		}
		other, mine := c.Session(c.Visitor, c.boss)
		_ = other
		n, err := c.f.EndSessions(c.ctx(), c.Visitor, s, ids(c.bob, c.boss, c.look))
		if err != nil || n != 2 || !c.Ended(t, one) || !c.Ended(t, mine) {
			t.Errorf("%d ended, %v", n, err)
		}
		n, err = c.f.EndSessions(c.ctx(), c.Visitor, s, ids(c.bob, c.boss))
		if err != nil || n != 0 {
			t.Errorf("again: %d, %v", n, err)
		}
		c.want("a browser that is not remembered", c.f.ForgetDevice(c.ctx(), c.Visitor, s, c.bob.ID, "x"), session.ErrNotRemembered)
		c.want("devices", c.f.ForgetDevices(c.ctx(), c.Visitor, s, c.bob.ID), nil)
		c.last(c.bob, audit.DevicesForget)
	})
}
