package signin_test

import (
	"fmt"
	"slices"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
)

// took is what binding something takes, by the product's words: the strongest
// that is bound; after a device was taken off the ticket or the mailbox; and the
// mailbox where it is all there is.
func (c *company) took(h *held, before policy.Facts, fresh time.Duration, what string) {
	since := c.Clock.Now().Add(-fresh)
	shown := func(methods ...factor.Method) bool {
		return slices.ContainsFunc(methods, func(m factor.Method) bool { at, ok := h.proofs[m]; return ok && !at.Before(since) })
	}
	switch {
	case h.over != "":
		c.r.Fatalf("%s although %s", what, h.over)
	case before.SecondFactor() && !shown(factor.Passkey, factor.U2F, factor.VirtualMFA, factor.SMS, factor.RecoveryCode):
		c.r.Fatalf("%s by the password or a mailbox beside a device", what)
	case h.who.pending && !shown(factor.Ticket, factor.Email):
		c.r.Fatalf("%s by the password alone while re-enrolment is pending", what)
	case !before.SecondFactor() && before.SecurityEmail && !shown(factor.Ticket, factor.Email):
		c.r.Fatalf("%s by the password alone beside a mailbox", what)
	}
}

// mailboxOwn binds a security email in a session, or exchanges it.
func (c *company) mailboxOwn() {
	c.own(func(s prove.Signed) policy.Action {
		present, err := prove.SecurityEmailOf(c.Read(ctx()), s.Identity)
		if err != nil {
			c.r.Fatal(err)
		}
		return selfservice.SecurityEmailAction(present)
	}, func(h *held, s prove.Signed, before policy.Facts) {
		to := fmt.Sprintf("m%d@mail.example", numbers.Add(1))
		id, err := c.Self.ChangeSecurityEmail(ctx(), h.from, s, to)
		if err != nil {
			return
		}
		_, token, err := c.Self.ConfirmContact(ctx(), h.from, s, id, c.MailedCode(to))
		if err != nil {
			return
		}
		what := "a mailbox is bound"
		if before.SecurityEmail {
			what = "a mailbox is exchanged"
		}
		h.token = token
		c.took(h, before, 11*time.Minute, what)
		h.proofs[factor.Email] = c.Clock.Now()
		c.void(h.who, what+" elsewhere", h)
		c.reached[what]++
	})
}

// losesMailbox takes the security email off a user: where nothing else is left
// a ticket takes its place.
func (c *company) losesMailbox(m *member, before policy.Facts) {
	e, err := prove.SecurityEmailOf(c.Read(ctx()), m.Identity)
	if err != nil {
		c.r.Fatal(err)
	}
	s := c.boss(admin.UnbindUser(c.detail(m.Identity), e.ID))
	shown, err := c.admin.Unbind(ctx(), c.Visitor, s, m.ID, admin.Unbinding{Method: factor.Email, Device: e.ID, Check: "in_person", Reason: "lost"})
	if err != nil || (shown == "") != before.SecondFactor() {
		c.r.Fatalf("the mailbox: %q, %v", shown, err)
	}
	c.void(m, "the mailbox was taken off", nil)
	c.reached["a mailbox is taken off"]++
	if shown != "" {
		m.pending = true
		c.ticketed(m, s, shown)
	}
}

// ticketed hands the ticket that is shown to a member.
func (c *company) ticketed(m *member, s prove.Signed, shown string) {
	what, err := c.admin.Shown(ctx(), s, shown)
	if err != nil {
		c.r.Fatal(err)
	}
	if m.ticket != "" {
		m.stale = append(m.stale, m.ticket)
	}
	m.ticket, m.until, m.codes = what.Lines[0].Ticket, c.Clock.Now().Add(admin.TicketLifetime), nil
}
