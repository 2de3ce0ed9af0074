package signin_test

import (
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// A crew is one live session of each sort.
type crew struct {
	*staff
	who    map[string]account.Identity
	tokens map[string]secret.Token
}

const (
	away = "198.51.100.7"
	far  = "2001:db8::7"
)

// newCrew signs users in: bare by the password alone, app and text by their
// only device, both by either of two, spare by a recovery code, and the owner.
func newCrew(t testing.TB, w *testkit.World) *crew {
	t.Helper()
	c := &crew{newStaff(t, w), map[string]account.Identity{}, map[string]secret.Token{}}
	c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
	add := func(name string) account.Identity {
		c.who[name] = c.user(name, nil)
		return c.who[name]
	}
	c.tokens["bare"] = c.in(testkit.Visitor(away), add("bare"), nil).Token
	app := c.Bind(add("app"))
	c.tokens["app"] = c.in(testkit.Visitor(far), c.who["app"], app).Token
	c.Attach(add("text"), hers)
	c.tokens["text"] = c.texted("text")
	both := c.Bind(add("both"))
	c.Attach(c.who["both"], "+8613900139000")
	c.tokens["both by app"] = c.in(c.Visitor, c.who["both"], both).Token
	c.tokens["both by text"] = c.texted("both")
	c.who["both by app"], c.who["both by text"] = c.who["both"], c.who["both"]
	c.Bind(add("spare"))
	_, c.tokens["spare"] = c.Session(c.Visitor, c.who["spare"], factor.Password, factor.RecoveryCode)
	c.Put(func(tx *store.Tx) error {
		return tx.ReplaceRecoveryCodes(c.owner.Account, c.who["spare"].ID, [][]byte{[]byte("hash")})
	})
	c.who["owner"] = c.owner
	_, c.tokens["owner"] = c.Session(c.Visitor, c.owner)
	return c
}

// texted signs somebody in by a text message.
func (c *crew) texted(name string) secret.Token {
	c.t.Helper()
	p := c.at(c.Visitor, c.who[name])
	err := c.SignIn.Send(ctx(), c.Visitor, p.Token, factor.SMS)
	if err == nil {
		p, err = c.SignIn.Answer(ctx(), c.Visitor, p.Token, prove.Answer{Method: factor.SMS, Codes: []string{c.MailedCode(c.Sends(c.who[name], factor.SMS))}})
	}
	return opened(c.t, p, err).Token
}

// left checks that the sessions named have ended, and that the others live on
// and are not looked at again.
func (c *crew) left(what string, ended ...string) {
	c.t.Helper()
	over := map[string]bool{}
	for _, name := range ended {
		over[name] = true
	}
	for name, token := range c.tokens {
		s, err := c.SignIn.Signed(ctx(), token)
		if !over[name] {
			if err != nil || s.Session.Stale {
				c.t.Errorf("%s: the session of %s: %v, stale %v", what, name, err, s.Session.Stale)
			}
			list, err := c.Read(ctx()).Sessions(c.owner.Account, c.who[name].ID)
			for _, kept := range list {
				if kept.ID == s.Session.ID && kept.Stale {
					c.t.Errorf("%s: the session of %s is looked at again at every request, %v", what, name, err)
				}
			}
			continue
		}
		testkit.Want(c.t, what+": "+name, err, session.ErrRulesChanged)
		_, err = c.SignIn.Signed(ctx(), token)
		testkit.Want(c.t, what+": "+name+" again", err, session.ErrSignedOut)
		if e := c.Events(c.who[name], audit.SessionEnd); len(e) != 1 || e[0].Details["why"] != "policy" || e[0].Target == "" || e[0].Actor.Name != "policy" {
			c.t.Errorf("%s: events of %s: %+v", what, name, e)
		}
		delete(c.tokens, name)
	}
}

func TestAChangeOfSettingsActsOnTheNextRequest(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		change func(now time.Time, s *account.Settings)
		ended  []string
	}{
		"nothing that matters": {func(_ time.Time, s *account.Settings) { s.IdleUsers, s.Password.MinimumLength = 90, 20 }, nil},
		"MFA for everybody":    {func(_ time.Time, s *account.Settings) { s.MFAOperation = account.Mandatory }, []string{"bare"}},
		"MFA for everybody, in time": {func(now time.Time, s *account.Settings) {
			s.MFAOperation, s.GraceUntil = account.Mandatory, now.Add(time.Hour)
		}, nil},
		"MFA for everybody, too late": {func(now time.Time, s *account.Settings) { s.MFAOperation, s.GraceUntil = account.Mandatory, now }, []string{"bare"}},
		"only when unusual":           {func(_ time.Time, s *account.Settings) { s.MFAOperation = account.Adaptive }, []string{"bare"}}, // came from a place not seen before
		"no text messages":            {func(_ time.Time, s *account.Settings) { s.AllowSMS = false }, []string{"both by text"}},        // text alone is not required
		"no text messages, MFA for everybody": {func(_ time.Time, s *account.Settings) {
			s.MFAOperation, s.AllowSMS = account.Mandatory, false
		}, []string{"bare", "text", "both by text"}},
		"no mailed codes": {func(_ time.Time, s *account.Settings) { s.AllowEmail = false }, nil},
		"two kinds for everybody": {func(_ time.Time, s *account.Settings) {
			s.MFAOperation, s.TwoKinds = account.Mandatory, true
		}, []string{"bare", "app", "text", "spare"}},
		"two kinds of whom it is required": {func(_ time.Time, s *account.Settings) { s.TwoKinds = true }, nil},
		"a mask":                           {func(_ time.Time, s *account.Settings) { s.Masks, _ = account.ParseMasks("192.0.2.0/24") }, []string{"bare", "app"}},
		"masks":                            {func(_ time.Time, s *account.Settings) { s.Masks, _ = account.ParseMasks("192.0.2.7, 2001:db8::/64") }, []string{"bare"}},
		"masks that leave everybody": {func(_ time.Time, s *account.Settings) {
			s.Masks, _ = account.ParseMasks("0.0.0.0/0 ::/0")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.On(t, func(t *testing.T, w *testkit.World) {
				c := newCrew(t, w)
				c.left("before")
				c.Clock.Advance(time.Minute)
				c.Settle(c.owner.Account, func(s *account.Settings) { one.change(c.Clock.Now(), s) })
				c.left("after", one.ended...)
				c.left("later")
			})
		})
	}
}

func TestAShorterSessionActsOnTheSessionsThereAre(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, app := c.enrolled("bob", nil)
		old, begun := c.in(testkit.From(1), bob, app).Token, c.Clock.Now()
		pass := func(d time.Duration) {
			for ; d > 0; d -= 30 * time.Minute {
				c.Clock.Advance(min(d, 30*time.Minute))
				_, _ = c.SignIn.Signed(ctx(), old)
			}
		}
		pass(2 * time.Hour)
		young := c.in(testkit.From(2), bob, app).Token
		c.Settle(c.owner.Account, func(s *account.Settings) { s.SessionHours = 3 })
		s, err := c.SignIn.Signed(ctx(), old)
		if err != nil || !s.Session.ExpiresAt.Equal(begun.Add(3*time.Hour)) {
			t.Errorf("until %s, %v", s.Session.ExpiresAt, err)
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.SessionHours = 24 })
		if s, err = c.SignIn.Signed(ctx(), old); err != nil || !s.Session.ExpiresAt.Equal(begun.Add(3*time.Hour)) {
			t.Errorf("a longer one makes it longer: until %s, %v", s.Session.ExpiresAt, err)
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.SessionHours = 2 })
		_, err = c.SignIn.Signed(ctx(), old)
		testkit.Want(t, "one that is two hours old", err, session.ErrRulesChanged)
		if s, err = c.SignIn.Signed(ctx(), young); err != nil || !s.Session.ExpiresAt.Equal(c.Clock.Now().Add(2*time.Hour)) {
			t.Errorf("the young one: until %s, %v", s.Session.ExpiresAt, err)
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.SessionHours = 24 })
		long := c.in(testkit.From(3), bob, nextCode(c, app)).Session
		if !long.ExpiresAt.Equal(long.CreatedAt.Add(24 * time.Hour)) {
			t.Errorf("a new one lasts until %s", long.ExpiresAt)
		}
	})
}

// nextCode waits until the app shows a code that was not used.
func nextCode(c *staff, app *testkit.App) *testkit.App {
	c.Clock.Advance(30 * time.Second)
	return app
}

func TestASessionInsideTheGraceEndsWithIt(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		until := c.Clock.Now().Add(40 * time.Minute)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.GraceUntil = until })
		bob, eve := c.user("bob", nil), c.user("eve", nil)
		p := c.at(testkit.From(1), bob)
		if p.Session == nil || !p.Reminder.Equal(until) || !p.Session.Session.ExpiresAt.Equal(until) {
			t.Fatalf("in the grace: %s, reminded of %s", p.Step, p.Reminder)
		}
		if again := c.at(testkit.From(2), bob); again.Session == nil || !again.Reminder.IsZero() {
			t.Errorf("reminded twice a day: %s", again.Reminder)
		}
		other := c.in(testkit.From(1), eve, nil)
		c.Clock.Advance(10 * time.Minute)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.GraceUntil = until.Add(time.Hour) })
		s, err := c.SignIn.Signed(ctx(), p.Session.Token)
		if err != nil || !s.Session.ExpiresAt.Equal(until) {
			t.Errorf("a longer grace: until %s, %v", s.Session.ExpiresAt, err)
		}
		sooner := c.Clock.Now().Add(15 * time.Minute)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.GraceUntil = sooner })
		if s, err = c.SignIn.Signed(ctx(), p.Session.Token); err != nil || !s.Session.ExpiresAt.Equal(sooner) {
			t.Errorf("a shorter grace: until %s, %v", s.Session.ExpiresAt, err)
		}
		c.Clock.Advance(15*time.Minute - time.Microsecond)
		if !c.live(p.Session.Token) || !c.live(other.Token) {
			t.Error("it ends before the grace")
		}
		c.Clock.Advance(time.Microsecond)
		if c.live(p.Session.Token) || c.live(other.Token) {
			t.Error("it outlives the grace")
		}
		if p := c.at(testkit.From(1), bob); p.Step != policy.Bind {
			t.Errorf("after the grace: %s", p.Step)
		}
		// Whoever came before there was a grace keeps to it too.
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		free := c.in(testkit.From(1), bob, nil)
		until = c.Clock.Now().Add(20 * time.Minute)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation, s.GraceUntil = account.Mandatory, until })
		if s, err = c.SignIn.Signed(ctx(), free.Token); err != nil || !s.Session.ExpiresAt.Equal(until) {
			t.Errorf("from before the grace: until %s, %v", s.Session.ExpiresAt, err)
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.GraceUntil = time.Time{} })
		_, err = c.SignIn.Signed(ctx(), free.Token)
		testkit.Want(t, "no grace any more", err, session.ErrRulesChanged)
	})
}

func TestAChangeOfOneProfileActsOnItsSessionsAlone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		c := newCrew(t, w)
		eve := c.user("eve", nil)
		hers := c.in(c.Visitor, eve, nil).Token
		all := []account.IdentityID{c.who["bare"].ID, c.who["app"].ID, c.who["text"].ID, c.who["both"].ID}
		n, err := c.admin.RequireMFA(ctx(), c.Visitor, c.boss(admin.RequireUsers(all, "")), all, true)
		if n != 4 || err != nil {
			t.Fatalf("%d changed, %v", n, err)
		}
		c.left("required of some", "bare")
		if !c.live(hers) {
			t.Error("another user is signed out")
		}
		_, err = c.admin.SetSignIn(ctx(), c.Visitor, c.boss(admin.UserSignIn(c.detail(eve))), eve.ID, admin.ProfileChange{Enable: true, MFARequired: true})
		testkit.Want(t, "required of eve", err, nil)
		_, err = c.SignIn.Signed(ctx(), hers)
		testkit.Want(t, "eve", err, session.ErrRulesChanged)

		off := []account.IdentityID{c.who["app"].ID}
		_, err = c.admin.Disable(ctx(), c.Visitor, c.boss(admin.DisableUsers(off, "")), off)
		testkit.Want(t, "disable", err, nil)
		_, err = c.SignIn.Signed(ctx(), c.tokens["app"])
		testkit.Want(t, "the one disabled", err, session.ErrSignedOut)
		delete(c.tokens, "app")
		gone := []account.IdentityID{c.who["text"].ID}
		_, err = c.admin.Delete(ctx(), c.Visitor, c.boss(admin.DeleteUsers(gone, "")), gone)
		testkit.Want(t, "delete", err, nil)
		_, err = c.SignIn.Signed(ctx(), c.tokens["text"])
		testkit.Want(t, "the one deleted", err, session.ErrSignedOut)
		delete(c.tokens, "text")
		c.left("the others")
	})
}

func TestRequestsAtOnceAgreeOnWhatEnds(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, w *testkit.World) {
		c := newCrew(t, w)
		for round := range 3 {
			c.Settle(c.owner.Account, func(s *account.Settings) { s.IdleUsers = []int{90, 180, 365}[round] })
			for _, err := range storetest.Parallel(8, func(int) error { _, err := c.SignIn.Signed(ctx(), c.tokens["app"]); return err }) {
				testkit.Want(t, "one that lives on", err, nil)
			}
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Mandatory })
		for _, err := range storetest.Parallel(8, func(int) error { _, err := c.SignIn.Signed(ctx(), c.tokens["bare"]); return err }) {
			if err == nil {
				t.Error("one that ended is let in")
			}
		}
		if e := c.Events(c.who["bare"], audit.SessionEnd); len(e) != 1 {
			t.Errorf("its end is written down %d times", len(e))
		}
	})
}
