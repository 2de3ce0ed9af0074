package signin_test

import (
	"errors"
	"slices"

	"pgregory.net/rapid"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/reset"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// notMe is a member saying "This wasn't me" of a notice: its password is known
// to somebody else, and is enough for nothing any more.
func (c *company) notMe() {
	m := c.member()
	token, err := secret.NewToken(c.Prover.Random)
	if err != nil {
		c.r.Fatal(err)
	}
	c.Put(func(tx *store.Tx) error {
		return tx.AddLink(token.Hash(), store.Link{Kind: store.NotMeLink, Account: m.Account, Identity: m.ID, Epoch: m.Epoch, Event: string(message.NewDeviceSignIn), ExpiresAt: tx.Now.Add(prove.NotMeLifetime)})
	})
	f := &reset.Flow{Prover: c.Prover}
	if err := f.NotMe(ctx(), testkit.From(9), token); err != nil {
		c.r.Fatalf("this wasn't me: %v", err)
	}
	if err := f.NotMe(ctx(), testkit.From(9), token); !errors.Is(err, reset.ErrNotMeUsed) {
		c.r.Fatalf("this wasn't me, again: %v", err)
	}
	c.void(m, "it was said that it was somebody else", nil)
	m.known = true
	c.reached["not me"]++
}

// comesToSecure signs somebody in whose password somebody else knows, as far
// as it goes.
func (c *company) comesToSecure() {
	var known []*member
	for _, m := range c.members {
		if m.known {
			known = append(known, m)
		}
	}
	if len(known) == 0 {
		c.r.Skip("nobody")
	}
	m := rapid.SampledFrom(known).Draw(c.r, "whose")
	n, v := c.from()
	if _, err := c.SignIn.Begin(ctx(), testkit.From(9), ram, m.Name(), m.password, ""); errors.Is(err, policy.ErrDistrusted) {
		c.reached["refused until an administrator helps"]++
	}
	h := c.beginAt(m, n, v)
	for range 4 {
		if h != nil && h.over == "" {
			c.goOnWith(h, false)
		}
	}
}

// chooses is the new password that a sign-in under way asks for: never the one
// that somebody else knows.
func (c *company) chooses(h *held) {
	if h.who.known {
		if p, err := c.SignIn.SetPassword(ctx(), h.from, h.token, h.who.password); err == nil {
			c.r.Fatalf("the password that somebody else knows is set again: %s", p.Step)
		}
	}
}

// chosen notes that a sign-in under way has set a new password: where somebody
// else knew the one before, it took what that one cannot show.
func (c *company) chosen(h *held) {
	if !h.who.known {
		return
	}
	f := c.Facts(h.who.Identity)
	shown := func(methods ...factor.Method) bool {
		return slices.ContainsFunc(methods, func(m factor.Method) bool { _, ok := h.proofs[m]; return ok })
	}
	switch strong := shown(factor.Passkey, factor.U2F, factor.VirtualMFA, factor.RecoveryCode); {
	case strong:
	case f.VirtualMFA, f.Passkeys > 0, f.U2F > 0:
		c.r.Fatalf("whoever knows the password sets another beside a device: %v", h.proofs)
	case !shown(factor.SMS, factor.Email, factor.Ticket):
		c.r.Fatalf("whoever knows the password sets another: %v", h.proofs)
	}
	h.who.known = false
	c.reached["secured by its holder"]++
}

// trusted checks that no session begins by a password that somebody else knows.
func (c *company) trusted(h *held) {
	if h.who.known {
		c.r.Fatalf("%s is signed in although somebody else knows the password: %v, alone %v", h.who.UserName, h.proofs, h.alone)
	}
}
