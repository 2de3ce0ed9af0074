package signin_test

import (
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/testkit"
)

// A kept is a remembered device of the model.
type kept struct {
	who        *member
	token, old session.RememberToken // what it shows now, and what it showed before
	until      time.Time
	over       string // why it is of no use any more
	ended      bool   // and what rests on it is over too
}

func (k *kept) end(why string) {
	if k != nil && k.over == "" {
		k.over, k.ended = why, true
	}
}

// remembersAt is what the browser shows of a remembered device now.
func (c *company) remembersAt(browser int) (t session.RememberToken) {
	if k := c.kept[browser]; k != nil {
		t = k.token
	}
	return t
}

// forgets ends every remembered device of a member.
func (c *company) forgets(m *member, why string) {
	for _, k := range c.all {
		if k.who == m {
			k.end(why)
		}
	}
}

// settles takes in what a sign-in that is complete makes of the browser: s is
// its session, h the sign-in.
func (c *company) settles(h, s *held, n *signin.New) {
	now, in := c.Clock.Now(), c.kept[h.browser]
	settings, err := c.Read(ctx()).Settings(c.owner.Account)
	if err != nil {
		c.r.Fatal(err)
	}
	spared := n.Session.Remembered != ""
	if spared {
		switch {
		case in == nil || in.who != h.who:
			c.r.Fatalf("%s is spared the second step by the device of another", h.who.UserName)
		case in.over != "":
			c.r.Fatalf("%s is spared the second step although %s", h.who.UserName, in.over)
		case !now.Before(in.until):
			c.r.Fatalf("%s is spared the second step at %s, after %s", h.who.UserName, now, in.until)
		case !settings.Remember, len(h.proofs) > 0, h.alone:
			c.r.Fatalf("%s is spared the second step: allowed %v, proofs %v", h.who.UserName, settings.Remember, h.proofs)
		}
		s.rests = in
		c.reached["spared"]++
	}
	switch {
	case n.Kept.Token.IsZero():
		if in != nil && in.who != h.who {
			in.end("another signed in there")
		}
		if n.Kept.Forget {
			c.kept[h.browser] = nil
		}
	case spared:
		if !n.Kept.Until.Equal(in.until) || n.Kept.Token.Secret == in.token.Secret || n.Kept.Token.Series != in.token.Series {
			c.r.Fatalf("after its use it is %+v, was %+v", n.Kept, in)
		}
		in.old, in.token = in.token, n.Kept.Token
	default:
		device := false
		for m := range h.proofs {
			device = device || m == factor.VirtualMFA || m == factor.SMS || m == factor.Passkey || m == factor.U2F
		}
		if !h.ticked || !device || !settings.Remember || !n.Kept.Until.Equal(now.Add(7*24*time.Hour)) {
			c.r.Fatalf("a device is remembered: ticked %v, proofs %v, allowed %v, until %s at %s", h.ticked, h.proofs, settings.Remember, n.Kept.Until, now)
		}
		in.end("another took its place")
		k := &kept{who: h.who, token: n.Kept.Token, until: n.Kept.Until}
		c.kept[h.browser], c.all = k, append(c.all, k)
		c.reached["remembered"]++
	}
}

// switches takes in settings that were saved.
func (c *company) switches(next account.Settings) {
	for _, k := range c.all {
		if !next.Remember && k.over == "" {
			k.over = "the setting went off" // what rests on it is asked again
		}
	}
}

// ticksBox signs somebody in with the box ticked.
func (c *company) ticksBox() {
	n, v := c.from()
	if h := c.beginAt(c.member(), n, v); h != nil {
		c.goOnWith(h, true)
	}
}

// comesBack signs somebody in where a device may be remembered.
func (c *company) comesBack() {
	n, v := c.from()
	if k := c.kept[n]; k != nil && slices.Contains(c.members, k.who) {
		c.beginAt(k.who, n, v)
		if !k.old.IsZero() && rapid.IntRange(0, 2).Draw(c.r, "and an old cookie") == 0 {
			c.replay(k)
		}
	}
}

// replays has somebody with the right password show an old cookie.
func (c *company) replays() {
	var old []*kept
	for _, k := range c.all {
		if !k.old.IsZero() && slices.Contains(c.members, k.who) {
			old = append(old, k)
		}
	}
	if len(old) == 0 {
		c.r.Skip("no old cookie")
	}
	c.replay(rapid.SampledFrom(old).Draw(c.r, "whose"))
}

func (c *company) replay(k *kept) {
	v := testkit.From(9)
	v.Remembered = k.old
	p, err := c.SignIn.Begin(ctx(), v, ram, k.who.Name(), k.who.password, "")
	if p.Session != nil && p.Session.Session.Remembered != "" {
		c.r.Fatal("an old cookie spares the second step")
	}
	if err != nil && fault.From(err).Kind != fault.Forbidden {
		return
	}
	if k.over == "" && c.Clock.Now().Before(k.until) {
		if e := c.Events(k.who.Identity, audit.RememberedReplay); len(e) == 0 {
			c.r.Fatal("an old cookie came back, and nobody is told")
		}
		c.reached["an old cookie"]++
	}
	if c.Clock.Now().Before(k.until) {
		k.end("an old cookie came back")
	}
}

// removes is a user removing a device of its own.
func (c *company) removes() {
	h := c.pick(c.sessions)
	s, err := c.SignIn.Who(ctx(), h.token)
	if err != nil {
		return
	}
	list, _, err := c.Self.Remembered(ctx(), s)
	if err != nil || len(list) == 0 {
		return
	}
	c.Given(s, selfservice.ForgetDevices)
	if rapid.Bool().Draw(c.r, "all") {
		if _, err = c.Self.ForgetAllDevices(ctx(), h.from, s); err == nil {
			c.forgets(h.who, "all were removed")
		}
	} else {
		_, err = c.Self.EndOtherSessions(ctx(), h.from, s)
		if errors.Is(err, session.ErrNotFound) || err != nil {
			return
		}
		for _, k := range c.all {
			if k.who == h.who && k != h.rests && k != h.made {
				k.end("the other sessions were ended")
			}
		}
		for _, one := range c.sessions {
			if one.who == h.who && one != h {
				one.over = "the other sessions were ended"
			}
		}
	}
	if err == nil {
		c.reached["a device is removed"]++
	}
}
