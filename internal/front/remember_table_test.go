package front_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/imports"
	"countersign/internal/flow/recovery"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// codeOf is a code of the app at a step that was not shown yet.
func codeOf(app *testkit.App, s *testkit.Site) string {
	s.Pass(31 * time.Second)
	return app.Code(0)
}

// atSecond gives the password of a RAM user and comes to what is asked.
func atSecond(c *testkit.Client, i account.Identity) testkit.Reply {
	c.T.Helper()
	return atDoor(c, door(i.Account), i.UserName, testkit.Password).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
}

// ticks signs a RAM user in with the box ticked.
func ticks(c *testkit.Client, i account.Identity, app *testkit.App) {
	c.T.Helper()
	atSecond(c, i).Submit("/signin/verify", "code", codeOf(app, c.Site), "remember", "1").Want(http.StatusSeeOther)
	if cookie(c, "remember") == "" {
		c.T.Fatalf("%s is not remembered", i.UserName)
	}
}

// cookie is the value of a cookie that the browser holds.
func cookie(c *testkit.Client, name string) string {
	at, err := url.Parse(c.Site.URL)
	if err != nil {
		c.T.Fatal(err)
	}
	for _, one := range c.Jar.Cookies(at) {
		if one.Name == "countersign_"+name {
			return one.Value
		}
	}
	return ""
}

// setCookie puts a cookie into the browser.
func setCookie(c *testkit.Client, name, value string) {
	at, err := url.Parse(c.Site.URL)
	if err != nil {
		c.T.Fatal(err)
	}
	c.Jar.SetCookies(at, []*http.Cookie{{Name: "countersign_" + name, Value: value, Path: "/"}})
}

// spares reports whether a remembered device spares the second step: in a
// browser that knows nothing but its cookie.
func spares(s *testkit.Site, i account.Identity, remembered, password string) bool {
	s.T.Helper()
	c := s.Client()
	setCookie(c, "remember", remembered)
	r := atDoor(c, door(i.Account), i.UserName, password)
	switch to := r.Header.Get("Location"); {
	case r.StatusCode == http.StatusSeeOther && to == "/security":
		return true
	case r.StatusCode == http.StatusSeeOther && strings.HasPrefix(to, "/signin/"), r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusUnauthorized:
		return false
	}
	s.T.Fatalf("%s signs in: %d to %q\n%s", i.UserName, r.StatusCode, r.Header.Get("Location"), r.Body)
	return false
}

// A scene is a user with two remembered devices, in each of which a session
// rests on it; a session by an app; and a sign-in under way.
type scene struct {
	s       *testkit.Site
	owner   account.Identity
	uma     account.Identity
	app     *testkit.App
	a, d    *testkit.Client // remembered
	b       *testkit.Client // signed in by the app
	c       *testkit.Client // at the second step
	under   string          // its page
	old     string          // cookie of a, from before its last use
	self    *selfservice.Flow
	v       prove.Visitor
	now     string // the password
	prover  *prove.Prover
	another account.Identity // of the account
	t       *testing.T
}

func newScene(t *testing.T, s *testkit.Site, n int) *scene {
	t.Helper()
	owner := s.Identity(alice)
	sc := &scene{t: t, s: s, owner: owner, now: testkit.Password, prover: s.SignIn.Prover, v: testkit.Visitor("192.0.2.7")}
	sc.uma, sc.another = putStaff(s, owner, fmt.Sprintf("uma-%d", n), account.User), putStaff(s, owner, fmt.Sprintf("bo-%d", n), account.User)
	sc.app = putDevice(s, sc.uma, "Phone")
	putPhone(s, sc.uma, fmt.Sprintf("+86138001%05d", n))
	sc.self = &selfservice.Flow{Prover: sc.prover, Lifetimes: session.Default}
	sc.a, sc.b, sc.c, sc.d = s.Client(), s.Client(), s.Client(), s.Client()
	for _, c := range []*testkit.Client{sc.a, sc.d} {
		ticks(c, sc.uma, sc.app)
		sc.old = cookie(sc.a, "remember")
		if r := atDoor(c, door(sc.uma.Account), sc.uma.UserName, testkit.Password); r.Header.Get("Location") != "/security" {
			t.Fatalf("not spared: %d to %q", r.StatusCode, r.Header.Get("Location"))
		}
	}
	sc.old = ""
	atSecond(sc.b, sc.uma).Submit("/signin/verify", "code", codeOf(sc.app, s)).Want(http.StatusSeeOther)
	sc.under = atSecond(sc.c, sc.uma).Request.URL.RequestURI()
	return sc
}

// who is signed in in a browser, having verified for the actions.
func (sc *scene) who(c *testkit.Client, actions ...policy.Action) prove.Signed {
	sc.t.Helper()
	token, err := secret.ParseToken(cookie(c, "session"))
	if err != nil {
		sc.t.Fatal(err)
	}
	s, err := sc.s.SignIn.Who(sc.t.Context(), token)
	if err != nil {
		sc.t.Fatal(err)
	}
	sc.given(s, factor.VirtualMFA, actions...)
	return s
}

func (sc *scene) given(s prove.Signed, m factor.Method, actions ...policy.Action) {
	sc.t.Helper()
	for _, a := range actions {
		id, err := sc.s.DB.NewID()
		if err != nil {
			sc.t.Fatal(err)
		}
		sc.s.Put(func(tx *store.Tx) error {
			return tx.AddVerification(s.Session.ID, policy.Given{ID: id, Scenario: a.Scenario, Action: a.Name, Target: a.Target, Method: m, At: tx.Now})
		})
	}
}

// boss is the owner, who has verified for the actions.
func (sc *scene) boss(actions ...policy.Action) prove.Signed {
	sc.t.Helper()
	s := sc.who(as(sc.s, sc.owner, factor.Email))
	sc.given(s, factor.Email, actions...)
	return s
}

// holds gives a browser the token that a change has made.
func (sc *scene) holds(c *testkit.Client, token secret.Token, err error) {
	sc.t.Helper()
	if err != nil {
		sc.t.Fatal(err)
	}
	setCookie(c, "session", token.Reveal())
}

func (sc *scene) must(err error) {
	sc.t.Helper()
	if err != nil {
		sc.t.Fatal(err)
	}
}

func (sc *scene) one() []account.IdentityID { return []account.IdentityID{sc.uma.ID} }

// save changes the settings as an administrator does.
func (sc *scene) save(change func(n *account.Settings)) {
	sc.t.Helper()
	next, err := sc.s.DB.Read(sc.t.Context()).Settings(sc.owner.Account)
	sc.must(err)
	change(&next)
	sc.must(sc.s.Admin.Save(sc.t.Context(), sc.v, sc.boss(admin.ChangeSettings(next)), next))
}

// A fate is what lives on after an event: the remembered devices A and D with
// what rests on them, the session B and the sign-in C.
type fate struct{ a, restsA, b, c, d, restsD bool }

func (f fate) String() string {
	var said []string
	for _, one := range []struct {
		lives bool
		name  string
	}{{f.a, "device A"}, {f.restsA, "session on A"}, {f.b, "session B"}, {f.c, "sign-in C"}, {f.d, "device D"}, {f.restsD, "session on D"}} {
		if one.lives {
			said = append(said, one.name)
		}
	}
	return strings.Join(said, ", ")
}

// fate looks what lives.
func (sc *scene) fate() (f fate) {
	sc.t.Helper()
	f.restsA, f.b, f.restsD = sc.a.Get("/security").StatusCode == http.StatusOK, sc.b.Get("/security").StatusCode == http.StatusOK, sc.d.Get("/security").StatusCode == http.StatusOK
	f.c = sc.c.Get(sc.under).StatusCode == http.StatusOK
	f.a, f.d = spares(sc.s, sc.uma, cookie(sc.a, "remember"), sc.now), spares(sc.s, sc.uma, cookie(sc.d, "remember"), sc.now)
	return f
}

var (
	everything = fate{true, true, true, true, true, true}
	nothing    = fate{}
	onlyB      = fate{b: true}
	notA       = fate{b: true, c: true, d: true, restsD: true}
	noDevice   = fate{b: true, c: true}
)

// revocations are the events, and what each must leave.
var revocations = []struct {
	name string
	act  func(sc *scene, ctx context.Context)
	want fate
}{
	{"nothing", func(*scene, context.Context) {}, everything},
	{"half an hour", func(sc *scene, _ context.Context) { sc.s.Pass(30 * time.Minute) }, fate{true, true, true, false, true, true}},
	{"signing in there again", func(sc *scene, _ context.Context) {
		atDoor(sc.a, door(sc.uma.Account), sc.uma.UserName, testkit.Password).Want(http.StatusSeeOther)
	}, everything},
	{"signing out there", func(sc *scene, _ context.Context) { sc.a.Get("/security").Submit("/signout").Want(http.StatusSeeOther) }, notA},
	{"signing out elsewhere", func(sc *scene, _ context.Context) { sc.b.Get("/security").Submit("/signout").Want(http.StatusSeeOther) }, fate{true, true, false, true, true, true}},
	{"another user signing in there", func(sc *scene, _ context.Context) {
		putDevice(sc.s, sc.another, "Phone")
		app := bound2(sc)
		atSecond(sc.a, sc.another).Submit("/signin/verify", "code", codeOf(app, sc.s)).Want(http.StatusSeeOther)
		setCookie(sc.a, "session", "")
	}, notA},
	{"the owner signing in there", func(sc *scene, _ context.Context) {
		sc.a.SignIn(alice, nil)
		setCookie(sc.a, "session", "")
	}, notA},
	{"another user's right password there", func(sc *scene, _ context.Context) {
		putDevice(sc.s, sc.another, "Phone")
		atSecond(sc.a, sc.another)
	}, everything},
	{"a wrong password there", func(sc *scene, _ context.Context) {
		atDoor(sc.s.Client(), door(sc.uma.Account), sc.uma.UserName, "not her password at all").Want(http.StatusUnauthorized)
	}, everything},
	{"an old cookie of it that comes back", func(sc *scene, _ context.Context) {
		before := cookie(sc.a, "remember")
		atDoor(sc.a, door(sc.uma.Account), sc.uma.UserName, testkit.Password).Want(http.StatusSeeOther)
		if spares(sc.s, sc.uma, before, sc.now) {
			sc.t.Error("an old cookie spares the second step")
		}
	}, notA},
	{"changing the password", func(sc *scene, ctx context.Context) {
		sc.now = "another otter, other vines"
		token, err := sc.self.ChangePassword(ctx, sc.v, sc.who(sc.b, selfservice.ChangePassword), testkit.Password, sc.now)
		sc.holds(sc.b, token, err)
	}, onlyB},
	{"a password set by an administrator", func(sc *scene, ctx context.Context) {
		d, err := sc.s.Admin.User(ctx, sc.boss(), sc.uma.ID)
		sc.must(err)
		sc.now = "another otter, other vines"
		_, err = sc.s.Admin.SetSignIn(ctx, sc.v, sc.boss(admin.SetUserPassword(d)), sc.uma.ID, admin.ProfileChange{Enable: true, Password: sc.now})
		sc.must(err)
	}, nothing},
	{"disabling, and enabling again", func(sc *scene, ctx context.Context) {
		_, err := sc.s.Admin.Disable(ctx, sc.v, sc.boss(admin.DisableUsers(sc.one(), "")), sc.one())
		sc.must(err)
		d, err := sc.s.Admin.User(ctx, sc.boss(), sc.uma.ID)
		sc.must(err)
		_, err = sc.s.Admin.SetSignIn(ctx, sc.v, sc.boss(admin.UserSignIn(d)), sc.uma.ID, admin.ProfileChange{Enable: true})
		sc.must(err)
	}, nothing},
	{"clearing console sign-in", func(sc *scene, ctx context.Context) {
		_, err := sc.s.Admin.Clear(ctx, sc.v, sc.boss(admin.ClearUsers(sc.one(), "")), sc.one())
		sc.must(err)
	}, nothing},
	{"deleting the user", func(sc *scene, ctx context.Context) {
		_, err := sc.s.Admin.Delete(ctx, sc.v, sc.boss(admin.DeleteUsers(sc.one(), "")), sc.one())
		sc.must(err)
	}, nothing},
	{"an administrator taking a device off", func(sc *scene, ctx context.Context) {
		d, err := sc.s.Admin.User(ctx, sc.boss(), sc.uma.ID)
		sc.must(err)
		device := "device-" + string(sc.uma.ID)
		_, err = sc.s.Admin.Unbind(ctx, sc.v, sc.boss(admin.UnbindUser(d, device)), sc.uma.ID, admin.Unbinding{Method: factor.VirtualMFA, Device: device, Check: "in_person", Reason: "lost"})
		sc.must(err)
	}, nothing},
	{"taking a phone off", func(sc *scene, ctx context.Context) {
		phone, err := sc.s.DB.Read(ctx).Phone(sc.uma.Account, sc.uma.ID)
		sc.must(err)
		token, err := sc.self.RemovePhone(ctx, sc.v, sc.who(sc.b, selfservice.RemovePhoneAction(phone)), phone.ID)
		sc.holds(sc.b, token, err)
	}, onlyB},
	{"asking for a link to a new password, and opening it", asksForALink, everything},
	{"a password reset by the link in the mail", resetsByLink, nothing},
	{"a phone's activation link, sent and opened", looksAtActivation, everything},
	{"a phone's activation link, confirmed", activates, nothing},
	{"typing a security email", typesMailbox, everything},
	{"binding a security email", bindsMailbox, onlyB},
	{"binding a security email there", bindsMailboxThere, fate{restsA: true}},
	{"changing the security email", changesMailbox, onlyB},
	{"removing the security email", removesMailbox, onlyB},
	{"an administrator taking the security email off", losesMailbox, nothing},
	{"exchanging the app", func(sc *scene, ctx context.Context) {
		device := "device-" + string(sc.uma.ID)
		s := sc.who(sc.b, selfservice.BindAction(device))
		key, err := sc.self.BeginBind(ctx, sc.v, s, device)
		sc.must(err)
		app := appOf(sc.s, key.URI)
		token, err := sc.self.ConfirmBind(ctx, sc.v, s, key.ID, "", app.Code(-1), app.Code(0))
		sc.holds(sc.b, token, err)
	}, onlyB},
	{"an import of a key by the operator", func(sc *scene, ctx context.Context) { importKey(sc, ctx) }, noDevice},
	{"a notice that was no news to her: this wasn't me", func(sc *scene, _ context.Context) {
		link := regexp.MustCompile(`/notme/[\w-]+`).FindString(sc.s.Messages(sc.uma.Email)[0].Text)
		c := sc.s.Client()
		c.Get(link).Want(http.StatusOK).Submit(link)
	}, nothing},
	{"the operator's recovery, from its start", func(sc *scene, ctx context.Context) {
		_, err := (&recovery.Flow{Prover: sc.prover, Hasty: true}).Start(ctx, sc.v.Actor(), sc.uma, 0)
		testkit.Want(sc.t, "start", err, nil)
	}, noDevice},
	{"the operator's recovery", func(sc *scene, ctx context.Context) { recovered(sc, ctx) }, nothing},
	{"ending the session there", func(sc *scene, ctx context.Context) {
		sc.must(sc.self.EndSession(ctx, sc.v, sc.who(sc.b, selfservice.EndSessions), sc.who(sc.a).Session.ID))
	}, notA},
	{"ending the other sessions from elsewhere", func(sc *scene, ctx context.Context) {
		_, err := sc.self.EndOtherSessions(ctx, sc.v, sc.who(sc.b, selfservice.EndSessions))
		sc.must(err)
	}, noDevice},
	{"ending the other sessions from there", func(sc *scene, ctx context.Context) {
		_, err := sc.self.EndOtherSessions(ctx, sc.v, sc.who(sc.a, selfservice.EndSessions))
		sc.must(err)
	}, fate{a: true, restsA: true, c: true}},
	{"removing the device", func(sc *scene, ctx context.Context) {
		_, err := sc.self.ForgetDevice(ctx, sc.v, sc.who(sc.b, selfservice.ForgetDevices), sc.who(sc.a).Session.Remembered)
		sc.must(err)
	}, notA},
	{"removing all devices", func(sc *scene, ctx context.Context) {
		_, err := sc.self.ForgetAllDevices(ctx, sc.v, sc.who(sc.b, selfservice.ForgetDevices))
		sc.must(err)
	}, noDevice},
	{"an administrator ending all sessions", func(sc *scene, ctx context.Context) {
		_, err := sc.s.Admin.EndSessions(ctx, sc.v, sc.boss(admin.EndUserSessions(sc.one(), "")), sc.one())
		sc.must(err)
	}, fate{c: true}},
	{"an administrator ending the session there", func(sc *scene, ctx context.Context) {
		sc.must(sc.s.Admin.EndSession(ctx, sc.v, sc.boss(admin.EndUserSessions(sc.one(), "")), sc.uma.ID, sc.who(sc.a).Session.ID))
	}, notA},
	{"an administrator forgetting the devices", func(sc *scene, ctx context.Context) {
		sc.must(sc.s.Admin.ForgetDevices(ctx, sc.v, sc.boss(admin.EndUserSessions(sc.one(), "")), sc.uma.ID))
	}, noDevice},
	{"the setting going off", func(sc *scene, _ context.Context) { sc.save(func(n *account.Settings) { n.Remember = false }) }, noDevice},
	{"the setting going off, and on again", func(sc *scene, _ context.Context) {
		sc.save(func(n *account.Settings) { n.Remember = false })
		sc.save(func(n *account.Settings) { n.Remember = true })
	}, noDevice},
	{"another setting", func(sc *scene, _ context.Context) { sc.save(func(n *account.Settings) { n.IdleUsers = 180 }) }, everything},
	{"another role", func(sc *scene, ctx context.Context) {
		d, err := sc.s.Admin.User(ctx, sc.boss(), sc.uma.ID)
		sc.must(err)
		sc.must(sc.s.Admin.SetRole(ctx, sc.v, sc.boss(admin.SetUserRole(d)), sc.uma.ID, account.Auditor))
	}, everything},
	{"MFA required of the user", func(sc *scene, ctx context.Context) {
		_, err := sc.s.Admin.RequireMFA(ctx, sc.v, sc.boss(admin.RequireUsers(sc.one(), "")), sc.one(), true)
		sc.must(err)
	}, everything},
	{"seven days", func(sc *scene, _ context.Context) { sc.s.Pass(session.RememberedLifetime) }, nothing},
}

// bound2 is the app of the other user, which was just bound.
func bound2(sc *scene) *testkit.App {
	var seed []byte
	sc.s.Put(func(tx *store.Tx) error {
		d, err := tx.VirtualMFA(sc.another.Account, sc.another.ID)
		seed = d.Seed
		return err
	})
	return &testkit.App{Seed: seed, Now: sc.s.Now}
}

// importKey binds a key that comes in by the operator's file.
func importKey(sc *scene, ctx context.Context) {
	sc.t.Helper()
	sc.s.SignIn.Passkeys.Origins = append(sc.s.SignIn.Passkeys.Origins, "https://id.example")
	k := testkit.NewSoftDevice().BindU2F("https://id.example/appid.json")
	report, err := (&imports.Flow{Prover: sc.prover}).U2F(ctx, sc.v.Actor(), []imports.Record{{Line: 2, User: sc.uma.Name(), KeyHandle: k.ID, PublicKey: k.Public, AppID: k.AppID}}, nil, false)
	if err != nil || report.Keys != 1 {
		sc.t.Fatalf("%+v, %v", report, err)
	}
}

// recovered leads the user to a new device by the operator's ticket.
func recovered(sc *scene, ctx context.Context) {
	sc.t.Helper()
	started, err := (&recovery.Flow{Prover: sc.prover, Hasty: true}).Start(ctx, sc.v.Actor(), sc.uma, 0)
	sc.must(err)
	p, err := sc.s.SignIn.Begin(ctx, sc.v, prove.Door{RAM: true}, sc.uma.Name(), testkit.Password, "")
	sc.must(err)
	q, err := sc.s.SignIn.Answer(ctx, sc.v, p.Token, prove.Answer{Method: factor.Ticket, Codes: []string{started.Ticket}})
	sc.must(err)
	if q.Step != policy.Bind {
		sc.t.Fatalf("the ticket leads to %s", q.Step)
	}
	sc.must(sc.s.SignIn.Choose(ctx, sc.v, p.Token, factor.VirtualMFA))
	state, err := sc.s.SignIn.State(ctx, sc.v, p.Token)
	sc.must(err)
	app := appOf(sc.s, state.Setup.Key.URI)
	_, err = sc.s.SignIn.BindDevice(ctx, sc.v, p.Token, "", app.Code(0), "")
	sc.must(err)
}

func TestWhatEachRevocationLeaves(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		for n, one := range revocations {
			settle(s, func(next *account.Settings) { next.Remember = true })
			sc := newScene(t, s, n)
			one.act(sc, t.Context())
			if got := sc.fate(); got != one.want {
				t.Errorf("%s leaves %v; want %v", one.name, got, one.want)
			}
		}
	})
}
