package signin_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// A member is a user of the model: what it has at hand. It knows nothing of
// the product's own decisions.
type member struct {
	account.Identity
	password string
	app      *testkit.App // the one bound last
	ticket   string       // the newest
	until    time.Time    // that it is good
	stale    []string     // tickets that are no longer
	codes    []string     // of recovery
	keys     []*possession
	pending  bool // an administrator took the last device off
	known    bool // somebody else knows the password: "This wasn't me"
}

// A held is a session, or a sign-in under way, and what was shown in it.
type held struct {
	who     *member
	browser int
	from    prove.Visitor
	token   secret.Token
	proofs  map[factor.Method]time.Time
	alone   bool   // it was begun by a passkey and nothing else
	over    string // why it must be of no use any more

	ticked      bool  // the box was, at the proof
	rests, made *kept // the remembered device that spared the second step; or that is this browser
}

// A company is an account with its users and browsers.
type company struct {
	*staff
	r        *rapid.T
	members  []*member
	browsers [3][]secret.Token
	kept     [3]*kept // what they show
	all      []*kept
	sessions []*held
	open     []*held
	lost     []*possession // of users that are deleted
	reached  map[string]int
}

var companies, numbers atomic.Int64

const second = "another otter, other vines"

func newCompany(w *testkit.World, r *rapid.T, reached map[string]int) *company {
	c := &company{staff: &staff{World: w, t: w.T}, r: r, reached: reached}
	c.owner = w.Owner(fmt.Sprintf("owner%d@example.com", companies.Add(1)))
	c.admin, _ = w.Admin()
	c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation, s.Remember = account.Independent, true })
	for n := range 2 {
		c.members = append(c.members, c.hire(fmt.Sprint("user", n)))
	}
	return c
}

func (c *company) hire(name string) *member {
	m := &member{Identity: c.user(name, nil), password: testkit.Password}
	if rapid.IntRange(0, 2).Draw(c.r, "an old key") == 0 {
		c.old(m)
	}
	return m
}

func (c *company) member() *member { return rapid.SampledFrom(c.members).Draw(c.r, "who") }

// from is somebody at one of the browsers in one of the networks.
func (c *company) from() (int, prove.Visitor) {
	n := rapid.IntRange(0, len(c.browsers)-1).Draw(c.r, "browser")
	v := testkit.With(testkit.From(rapid.IntRange(1, 2).Draw(c.r, "network")), c.browsers[n]...)
	v.Remembered = c.remembersAt(n)
	return n, v
}

func (c *company) pick(list []*held) *held {
	if len(list) == 0 {
		c.r.Skip("none")
	}
	return list[len(list)-1-rapid.IntRange(0, min(len(list)-1, 3)).Draw(c.r, "which")]
}

// void says that whatever the user was granted is over, but for one.
func (c *company) void(m *member, why string, but *held) {
	for _, list := range [][]*held{c.sessions, c.open} {
		for _, h := range list {
			if h.who == m && h != but {
				h.over = why
			}
		}
	}
	c.forgets(m, why)
	if but != nil {
		but.rests, but.made = nil, nil
	}
}

// goesOn takes in what a step of a sign-in led to.
func (c *company) goesOn(h *held, p signin.Progress, err error) {
	if err != nil || p.Session == nil {
		return
	}
	if h.over != "" {
		c.r.Fatalf("a sign-in led to a session although %s", h.over)
	}
	c.trusted(h)
	if settings, err := c.Read(ctx()).Settings(c.owner.Account); err != nil || h.alone && !settings.PasskeySignIn {
		c.r.Fatalf("a session by a passkey alone although that is switched off, %v", err)
	}
	n := p.Session
	c.browsers[h.browser] = n.Devices
	s := &held{who: h.who, browser: h.browser, from: h.from, token: n.Token, proofs: h.proofs, alone: h.alone}
	c.settles(h, s, n)
	if k := c.kept[h.browser]; k != nil && !n.Kept.Token.IsZero() {
		for _, one := range c.sessions {
			if one.made == k {
				one.made = nil
			}
		}
		s.made = k
	}
	c.sessions = append(c.sessions, s)
	h.over = "it is complete"
	if n.Codes != nil {
		h.who.codes = c.codesOf(n)
	}
	way := "bare"
	for _, m := range []factor.Method{factor.Email, factor.Passkey, factor.U2F, factor.VirtualMFA, factor.SMS, factor.RecoveryCode} {
		if _, ok := h.proofs[m]; ok {
			way = string(m)
		}
	}
	if h.alone {
		way += " alone"
	}
	c.reached["in by "+way]++
}

// shows answers with what the member has by m, and reports whether it must be
// right; ok is false where it has nothing.
func (c *company) shows(h *held, m factor.Method, send func() error) (code string, right, ok bool) {
	facts := c.Facts(h.who.Identity)
	switch m {
	case factor.VirtualMFA:
		if h.who.app == nil {
			return "", false, false
		}
		c.Clock.Advance(31 * time.Second)
		return h.who.app.Code(0), facts.VirtualMFA, true
	case factor.SMS:
		if !facts.Phone || send() != nil {
			return "", false, false
		}
		return c.MailedCode(c.Sends(h.who.Identity, factor.SMS)), true, true
	case factor.Email:
		if !facts.SecurityEmail || send() != nil {
			return "", false, false
		}
		return c.MailedCode(c.Sends(h.who.Identity, factor.Email)), true, true
	case factor.RecoveryCode:
		if len(h.who.codes) == 0 {
			return "", false, false
		}
		code, h.who.codes = h.who.codes[0], h.who.codes[1:]
		return code, true, true
	case factor.Password:
		return h.who.password, true, true
	case factor.Ticket:
		if len(h.who.stale) > 0 && rapid.Bool().Draw(c.r, "an old ticket") {
			return rapid.SampledFrom(h.who.stale).Draw(c.r, "ticket"), false, true
		}
		return h.who.ticket, c.Clock.Now().Before(h.who.until), h.who.ticket != ""
	}
	return "", false, false
}

// proved notes a proof that was taken.
func (c *company) proved(h *held, m factor.Method, right bool) {
	if !right {
		c.r.Fatalf("a proof by %s is taken that is none", m)
	}
	h.proofs[m] = c.Clock.Now()
	c.reached["proved by "+string(m)]++
}

// bound notes that a device was bound, and what that took.
func (c *company) bound(h *held, before policy.Facts, fresh time.Duration, what string) {
	c.took(h, before, fresh, what)
	if h.who.pending {
		c.reached["re-enrolled"]++
	}
	h.who.pending = false
	if h.who.ticket != "" {
		h.who.stale, h.who.ticket = append(h.who.stale, h.who.ticket), ""
	}
	c.void(h.who, "a device was bound elsewhere", h)
	h.ticked = false
	c.reached[what]++
}

// number is one that nobody has.
func number() string { return fmt.Sprintf("+86139%08d", numbers.Add(1)) }

// law checks every session that is live.
func (c *company) law() {
	settings, err := c.Read(ctx()).Settings(c.owner.Account)
	if err != nil {
		c.r.Fatal(err)
	}
	now := c.Clock.Now()
	c.sessions = slices.DeleteFunc(c.sessions, func(h *held) bool {
		signed, err := c.SignIn.Signed(ctx(), h.token)
		if err != nil {
			c.reached["ended by the rules"] += map[bool]int{true: 1}[h.over == "" && strings.Contains(err.Error(), "rules")]
			return true
		}
		s, f := signed.Session, c.Facts(h.who.Identity)
		fail := func(why string) {
			c.r.Fatalf("%s is signed in %s: settings %+v, profile %+v, bound %v %v %d %d, proofs %v, unusual %q, until %s, now %s", h.who.UserName, why, settings, f.Profile, f.VirtualMFA, f.Phone, f.Passkeys, f.U2F, h.proofs, s.Unusual, s.ExpiresAt, now)
		}
		kinds := 0
		if f.VirtualMFA {
			kinds++
		}
		if f.Phone && settings.AllowSMS {
			kinds++
		}
		if f.Passkeys+f.U2F > 0 { // of one kind: they may be the same piece
			kinds++
		}
		strong := false
		for m := range h.proofs {
			strong = strong || m == factor.VirtualMFA || m == factor.Passkey || m == factor.U2F || m == factor.RecoveryCode || m == factor.SMS && settings.AllowSMS || m == factor.Email && settings.AllowEmail && f.SecurityEmail
		}
		required := settings.MFAOperation == account.Mandatory || f.Profile.MFARequired
		unusual := settings.MFAOperation == account.Adaptive && s.Unusual != ""
		graced := now.Before(settings.GraceUntil) && !s.ExpiresAt.After(settings.GraceUntil)
		asked := settings.MFAOperation == account.Mandatory || settings.MFAOperation == account.Independent || unusual
		rests := h.rests != nil && h.rests.over == ""
		switch {
		case h.over != "":
			fail("although " + h.over)
		case h.who.known:
			fail("although somebody else knows the password")
		case h.rests != nil && h.rests.ended:
			fail("although " + h.rests.over)
		case f.Profile.State != account.ProfileActive:
			fail("although disabled")
		case len(settings.Masks) > 0 && !settings.Masks[0].Contains(h.from.Address):
			fail("outside the masks")
		case s.ExpiresAt.After(s.CreatedAt.Add(time.Duration(settings.SessionHours) * time.Hour)):
			fail("for too long")
		case kinds == 0 && required && (!graced || unusual || h.who.pending):
			fail("without the device that is required")
		case kinds == 0 && unusual:
			fail("from an unusual place without a device")
		case kinds > 0 && asked && !strong && !rests:
			fail("without the proof that is asked")
		case settings.TwoKinds && required && kinds < 2 && !graced:
			fail("with one kind of two")
		case kinds == 0 && required:
			c.reached["in the grace"]++
		case asked && required:
			c.reached["required and proved"]++
		}
		return false
	})
}

// TestNobodyRequiredToHaveMFAIsInASessionWithoutIt is the law of it all.
func TestNobodyRequiredToHaveMFAIsInASessionWithoutIt(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Prover.Sending.Ceiling = throttle.Ceiling{All: 1 << 30, Text: 1 << 30, Country: 1 << 30}
		w.Prover.FleetAlarm = 1 << 30
		reached := map[string]int{}
		testkit.Sequences(t, reached, []string{"in by bare", "remembered", "spared", "an old cookie", "a device is removed", "in by virtual_mfa", "in by sms", "in by email", "proved by email", "a mailbox is bound", "a mailbox is exchanged", "a mailbox is taken off", "in by recovery_code", "in by u2f", "in by passkey", "in by passkey alone", "switched off", "proved by passkey", "proved by u2f", "proved by ticket", "re-enrolled", "dropped", "deleted", "unbound", "settings", "in the grace", "required and proved", "ended by the rules",
			"an app is bound in the wizard", "a phone is bound in the wizard", "an app is bound in a session", "an app is exchanged", "a phone is attached in a session",
			"not me", "secured by its holder", "refused until an administrator helps",
			"a passkey is made in the wizard", "a passkey is made in a session", "a U2F key becomes a passkey", "a key is removed"}, func(r *rapid.T) {
			c := newCompany(w, r, reached)
			steps := map[string]func(){
				"sign in": c.begin, "sign in again": c.begin, "go on": c.goOn, "go on again": c.goOn, "go on once more": c.goOn, "bind": c.bindOwn, "attach": c.attachOwn, "sign in alone": c.alone, "make": c.makeOwn, "make again": c.makeOwn, "make once more": c.makeOwn, "remove": c.removeOwn, "replay": c.replays, "tick": c.ticksBox, "tick again": c.ticksBox, "come back": c.comesBack, "come back again": c.comesBack, "forget": c.removes, "unbind": c.unbindOwn, "mailbox": c.mailboxOwn, "mailbox again": c.mailboxOwn,
				"sign out": c.signOut, "settings": c.settings, "profile": c.profile, "rescue": c.rescue, "not me": c.notMe, "secure": c.comesToSecure, "": c.law,
				"wait": func() {
					w.Clock.Advance(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 5 * time.Minute, 20 * time.Minute, 50 * time.Minute, 24 * time.Hour, 90 * time.Hour}).Draw(c.r, "wait"))
				},
			}
			repeat := map[string]func(*rapid.T){}
			for name, f := range steps {
				repeat[name] = func(r *rapid.T) { c.r = r; f() }
			}
			for range 3 {
				r.Repeat(repeat)
			}
		})
		if err := w.Read(ctx()).VerifyChains(func(_ store.Head, err error) error { return err }); err != nil {
			t.Error(err)
		}
	}, storetest.SQLite) // the quicker: what differs between the engines is the store's to test
}
