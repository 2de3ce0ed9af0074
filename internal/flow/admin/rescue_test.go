package admin_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
)

func TestUnbindingALostDevice(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		c.Bind(c.bob)
		phone := c.Attach(c.bob, "+8613800138000")
		device := "device-" + string(c.bob.ID)
		_, token := c.Session(c.Visitor, c.bob, factor.Password, factor.VirtualMFA)
		c.know(c.bob)
		u := admin.Unbinding{Method: factor.VirtualMFA, Device: device, Check: "known_phone", Reason: "left in a taxi"}
		s := c.as(c.boss)
		try := func(change func(*admin.Unbinding)) error {
			other := u
			change(&other)
			if !strings.HasPrefix(other.Device, "none") {
				c.Given(s, admin.UnbindUser(c.detail(c.bob), other.Device))
			}
			_, err := c.f.Unbind(c.ctx(), c.Visitor, s, c.bob.ID, other)
			return err
		}
		c.want("no reason", try(func(u *admin.Unbinding) { u.Reason = " " }), admin.ErrNoReason)
		c.want("a long reason", try(func(u *admin.Unbinding) { u.Reason = strings.Repeat("x", 201) }), admin.ErrNoReason)
		c.want("two lines", try(func(u *admin.Unbinding) { u.Reason = "a\nb" }), admin.ErrNoReason)
		c.want("no check", try(func(u *admin.Unbinding) { u.Check = "" }), admin.ErrNoCheck)
		c.want("an unknown check", try(func(u *admin.Unbinding) { u.Check = "guess" }), admin.ErrNoCheck)
		c.want("another device", try(func(u *admin.Unbinding) { u.Device = phone.ID }), admin.ErrNothingBound)
		c.want("a phone by its method", try(func(u *admin.Unbinding) { u.Method = factor.SMS }), admin.ErrNothingBound)
		c.want("no method", try(func(u *admin.Unbinding) { u.Method = factor.Email }), admin.ErrNothingBound)
		_, err := c.f.Unbind(c.ctx(), c.Visitor, c.as(c.boss), c.bob.ID, u)
		c.want("without a verification", err, prove.ErrVerifyFirst)
		if c.Ended(t, token) || !c.detail(c.bob).VirtualMFA || len(c.Told("bob@staff.example")) > 0 {
			t.Fatal("something happened although it was refused")
		}

		// A phone is left: no ticket.
		s = c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), device))
		shown, err := c.f.Unbind(c.ctx(), c.Visitor, s, c.bob.ID, u)
		if err != nil || shown != "" || !c.Ended(t, token) {
			t.Fatalf("unbind: %q, %v", shown, err)
		}
		c.void("unbinding", c.bob, 1)
		if d := c.detail(c.bob); d.VirtualMFA || !d.Phone || d.Enrolment != nil {
			t.Errorf("bob %+v", d)
		}
		if e := c.last(c.bob, audit.UserMFAUnbind); e.Actor.ID != string(c.boss.ID) || e.Details["check"] != "known_phone" || e.Details["reason"] != "left in a taxi" || e.Details["name"] != "Phone" || e.Target != device {
			t.Errorf("event %+v", e)
		}
		for _, to := range []string{"bob@staff.example", string(phone.Number)} {
			if told := c.Told(to); len(told) != 1 || told[0] != "device_unbound_by_admin" {
				t.Errorf("%s was told %v", to, told)
			}
		}

		// The phone too: then the ticket.
		u = admin.Unbinding{Method: factor.SMS, Device: phone.ID, Check: "in_person", Reason: "stolen"}
		_, err = c.f.NewTicket(c.ctx(), c.Visitor, s, c.bob.ID, "in_person", "lost")
		c.want("a ticket for whoever has a device", err, admin.ErrNoEnrolment)
		s = c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), phone.ID))
		if shown, err = c.f.Unbind(c.ctx(), c.Visitor, s, c.bob.ID, u); err != nil {
			t.Fatal(err)
		}
		if told := c.Told(string(phone.Number)); len(told) != 2 {
			t.Errorf("the phone that was removed was told %v", told)
		}
		ticket := c.ticket(s, shown)
		if d := c.detail(c.bob); d.Phone || d.CodesLeft != 0 || d.Enrolment == nil || !d.Enrolment.ExpiresAt.Equal(c.Clock.Now().Add(24*time.Hour)) || !d.Reenrol {
			t.Errorf("bob %+v", d)
		}
		c.open(ticket, true)
		if e := c.last(c.bob, audit.MobileUnbind); e.Details["from"] != phone.Number.Mask() || e.Details["reason"] != "stolen" {
			t.Errorf("event %+v", e)
		}
		_, err = c.f.Unbind(c.ctx(), c.Visitor, s, c.bob.ID, u)
		c.want("again", err, admin.ErrNothingBound)

		// Another ticket voids the first.
		epoch := c.detail(c.bob).Epoch
		_, err = c.f.NewTicket(c.ctx(), c.Visitor, s, c.bob.ID, "in_person", "")
		c.want("a ticket without a reason", err, admin.ErrNoReason)
		_, err = c.f.NewTicket(c.ctx(), c.Visitor, s, c.bob.ID, "in_person", "lost")
		c.want("a ticket without a verification", err, prove.ErrVerifyFirst)
		c.Given(s, admin.IssueTicket(c.detail(c.bob)))
		if shown, err = c.f.NewTicket(c.ctx(), c.Visitor, s, c.bob.ID, "in_person", "the first was lost"); err != nil {
			t.Fatal(err)
		}
		c.void("another ticket", c.bob, epoch)
		c.open(ticket, false)
		ticket = c.ticket(s, shown)
		c.open(ticket, true)
		if !slices.Contains(c.Told("bob@staff.example"), "ticket_made") {
			t.Error("bob was not told of the ticket")
		}
		c.Clock.Advance(24*time.Hour - time.Microsecond)
		c.open(ticket, true)
		c.Clock.Advance(time.Microsecond)
		c.open(ticket, false)
	})
}

// ticket reads the ticket that is shown once.
func (c *scene) ticket(s prove.Signed, shown string) string {
	c.t.Helper()
	what := c.shown(s, shown)
	if what.Kind != "ticket" || len(what.Lines) != 1 || what.Lines[0].UPN != c.bob.Name() {
		c.t.Fatalf("shown %+v", what)
	}
	code, err := factor.ParseRecoveryCode(what.Lines[0].Ticket)
	if err != nil || code != what.Lines[0].Ticket {
		c.t.Fatalf("ticket %q: %v", what.Lines[0].Ticket, err)
	}
	return code
}

func (c *scene) open(ticket string, want bool) {
	c.t.Helper()
	open, err := c.Read(c.ctx()).TicketOpen(c.bob.Account, c.bob.ID, prove.RecoveryHash(c.bob, ticket), c.Clock.Now())
	if err != nil || open != want {
		c.t.Errorf("the ticket is open: %v, want %v; %v", open, want, err)
	}
}

func TestDetailOfAUser(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		c.Bind(c.bob)
		c.Attach(c.bob, "+8613800138000")
		c.Session(c.Visitor, c.bob, factor.Password, factor.VirtualMFA)
		for _, v := range []struct {
			as        prove.Signed
			mayChange bool
		}{{c.as(c.owner), true}, {c.as(c.boss), true}, {c.as(c.look), false}} {
			d, err := c.f.User(c.ctx(), v.as, c.bob.ID)
			if err != nil || d.MayChange != v.mayChange || d.Self || len(d.Devices) != 2 || len(d.Sessions) != 1 || d.Budget.Left != 10 || d.Method != factor.VirtualMFA {
				t.Errorf("%s sees %+v, %v", v.as.Identity.Role, d, err)
			}
			if d.Devices[0].Name != "Phone" || d.Devices[1].Name != "138****00" {
				t.Errorf("devices %+v", d.Devices)
			}
		}
		d, err := c.f.User(c.ctx(), c.as(c.boss), c.boss.ID)
		if err != nil || !d.Self {
			t.Errorf("self: %+v, %v", d, err)
		}
		_, err = c.f.User(c.ctx(), c.as(c.boss), "unknown")
		c.want("unknown", err, admin.ErrNoUser)
		s := c.as(c.boss)
		for n := range 30 {
			if _, err := c.f.RequireMFA(c.ctx(), c.Visitor, s, ids(c.bob), n%2 == 0); err != nil {
				t.Fatal(err)
			}
		}
		events, more, err := c.f.Activity(c.ctx(), c.as(c.look), c.bob.ID, 0)
		if err != nil || !more || len(events) != admin.ActivityPage || events[0].Actor.ID != string(c.boss.ID) {
			t.Errorf("%d events, %v, %v", len(events), more, err)
		}
		events, more, err = c.f.Activity(c.ctx(), c.as(c.look), c.bob.ID, events[len(events)-1].Seq)
		if err != nil || more || len(events) != 5 {
			t.Errorf("%d older events, %v, %v", len(events), more, err)
		}
	})
}
