package signin_test

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/testkit"
	"countersign/internal/testkit/softkey"
)

// old gives a member a key bound under U2F, as an import does.
func (c *company) old(m *member) {
	k := testkit.NewSoftDevice()
	m.keys = append(m.keys, &possession{SoftKey: k, id: c.BindU2F(m.Identity, k, "https://id.example.com/u2f.json").ID, c: k.Credential(), u2f: true})
}

// keep notes a passkey that was made.
func (c *company) keep(m *member, k *testkit.SoftKey) {
	list, err := c.Read(ctx()).Passkeys(c.owner.Account, m.ID)
	if err != nil {
		c.r.Fatal(err)
	}
	for _, p := range list {
		if slices.Equal(p.Credential.ID, k.Credential().ID) {
			m.keys = append(m.keys, &possession{SoftKey: k, id: p.ID, c: k.Credential()})
			return
		}
	}
	c.r.Fatal("a passkey is made that is not there")
}

// live are the keys that are bound.
func (m *member) live() []*possession {
	return slices.DeleteFunc(slices.Clone(m.keys), func(k *possession) bool { return k.gone })
}

// authenticator draws one to make a passkey on.
func (c *company) authenticator() *testkit.SoftKey {
	if rapid.Bool().Draw(c.r, "a security key") {
		return testkit.NewSoftDevice()
	}
	return testkit.NewSoftKey()
}

// makes has one answer options, and reports whether it lies.
func (c *company) makes(options json.RawMessage) (k *testkit.SoftKey, said []byte, lie bool) {
	k = c.authenticator()
	if lie = rapid.IntRange(0, 5).Draw(c.r, "lie") == 0; lie {
		return k, k.Create(options, rapid.SampledFrom([]testkit.Lie{softkey.Origin("https://id.example.net"), softkey.Challenge(random(32)), softkey.RPID("example.net"), softkey.Type("webauthn.get"), softkey.Clear(softkey.UP)}).Draw(c.r, "which lie")), true
	}
	return k, k.Create(options), false
}

// alone signs somebody in by a passkey and nothing else.
func (c *company) alone() {
	k := c.anyKey(c.member(), factor.Passkey)
	n, v := c.from()
	d, err := c.SignIn.Discover(ctx(), v)
	if err != nil {
		c.r.Fatal(err)
	}
	f := saying(c.r)
	settings, err := c.Read(ctx()).Settings(c.owner.Account)
	if err != nil {
		c.r.Fatal(err)
	}
	p, err := c.SignIn.Discovered(ctx(), v, d.Token, k.says(d.Options, f), "")
	if errors.Is(err, policy.ErrPasskeySignIn) {
		c.reached["switched off"]++
	}
	if err != nil {
		return
	}
	whose := slices.IndexFunc(c.members, func(m *member) bool { return slices.Contains(m.keys, k) })
	if whose < 0 || k.gone || k.u2f || !f.alone || !settings.PasskeySignIn {
		c.r.Fatalf("a sign-in by a key alone: %s, gone %v, U2F %v, allowed %v", f.name, k.gone, k.u2f, settings.PasskeySignIn)
	}
	h := &held{who: c.members[whose], browser: n, from: v, token: p.Token, proofs: map[factor.Method]time.Time{factor.Passkey: c.Clock.Now()}, alone: true}
	if p.Session == nil {
		c.open = append(c.open, h)
	}
	c.goesOn(h, p, nil)
}

// anyKey draws one to answer with: mostly one of the member's that is right.
func (c *company) anyKey(m *member, by factor.Method) *possession {
	right := slices.DeleteFunc(m.live(), func(k *possession) bool { return k.method() != by })
	if len(right) > 0 && rapid.IntRange(0, 3).Draw(c.r, "another key") > 0 {
		return rapid.SampledFrom(right).Draw(c.r, "key")
	}
	all := slices.Clone(c.lost)
	for _, one := range c.members {
		all = append(all, one.keys...)
	}
	if len(all) == 0 {
		c.r.Skip("no key")
	}
	return rapid.SampledFrom(all).Draw(c.r, "any key")
}

// signs answers by a key, and reports whether that was taken.
func (c *company) signs(h *held, m factor.Method, options json.RawMessage, answer func(said []byte) error) {
	k, f := c.anyKey(h.who, m), saying(c.r)
	if answer(k.says(options, f)) == nil {
		c.proved(h, m, slices.Contains(h.who.keys, k) && !k.gone && k.method() == m && f.second)
	}
}

// offeredBy returns the options of a method.
func offeredBy(offers []prove.Offer, m factor.Method) json.RawMessage {
	for _, o := range offers {
		if o.Method == m {
			return o.Options
		}
	}
	return nil
}

// makeFirst makes a passkey in the wizard.
func (c *company) makeFirst(h *held, state signin.Progress, before policy.Facts) {
	k, said, lie := c.makes(state.Setup.Passkey)
	p, err := c.SignIn.BindPasskey(ctx(), h.from, h.token, "", said)
	if err == nil {
		if lie {
			c.r.Fatal("a lie makes a passkey in the wizard")
		}
		c.bound(h, before, ceremony.SessionLifetime, "a passkey is made in the wizard")
		c.keep(h.who, k)
		h.proofs[factor.Passkey] = c.Clock.Now()
	}
	c.goesOn(h, p, err)
}

// makeOwn makes one in a session, perhaps in place of a U2F key.
func (c *company) makeOwn() {
	var old *possession
	replaced := func() string {
		if old == nil {
			return ""
		}
		return old.id
	}
	c.own(func(s prove.Signed) policy.Action {
		for _, k := range c.of(s).live() {
			if k.u2f && rapid.IntRange(0, 4).Draw(c.r, "upgrade") > 0 {
				old = k
			}
		}
		return selfservice.PasskeyAction(replaced())
	}, func(h *held, s prove.Signed, before policy.Facts) {
		n, err := c.Self.BeginPasskey(ctx(), h.from, s, replaced())
		if err != nil {
			return
		}
		k, said, lie := c.makes(n.Options)
		_, token, _, err := c.Self.CreatePasskey(ctx(), h.from, s, n.Ceremony, "", said)
		if err != nil {
			return
		}
		if lie {
			c.r.Fatal("a lie makes a passkey in a session")
		}
		h.token = token
		what := "a passkey is made in a session"
		if old != nil {
			what, old.gone = "a U2F key becomes a passkey", true
		}
		c.bound(h, before, 11*time.Minute, what)
		c.keep(h.who, k)
		h.proofs[factor.Passkey] = c.Clock.Now()
		c.readCodes(h)
		if again, _, _, err := c.Self.CreatePasskey(ctx(), h.from, s, n.Ceremony, "", said); err == nil {
			c.r.Fatalf("an answer makes two passkeys: %+v", again)
		}
	})
}

// removeOwn removes a key of one's own.
func (c *company) removeOwn() {
	var k *possession
	c.own(func(s prove.Signed) policy.Action {
		if live := c.of(s).live(); len(live) > 0 {
			k = rapid.SampledFrom(live).Draw(c.r, "key")
			return selfservice.RemovePasskeyAction(k.id)
		}
		return selfservice.RemovePasskeyAction("none")
	}, func(h *held, s prove.Signed, _ policy.Facts) {
		if k == nil {
			return
		}
		token, err := c.Self.RemovePasskey(ctx(), h.from, s, k.id)
		if err == nil {
			h.token, k.gone = token, true
			c.void(h.who, "a key was removed elsewhere", h)
			c.reached["a key is removed"]++
		}
	})
}
