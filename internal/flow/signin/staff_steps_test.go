package signin_test

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/testkit"
)

// begin signs somebody in at a browser.
func (c *company) begin() {
	m := c.member()
	n, v := c.from()
	c.beginAt(m, n, v)
}

// beginAt returns the sign-in that is under way; nil: none is.
func (c *company) beginAt(m *member, n int, v prove.Visitor) *held {
	p, err := c.SignIn.Begin(ctx(), v, ram, c.Again(m.Identity).Name(), m.password, "")
	h := &held{who: m, browser: n, from: v, token: p.Token, proofs: map[factor.Method]time.Time{}}
	if err == nil && p.Session == nil {
		c.open = append(c.open, h)
	}
	c.goesOn(h, p, err)
	if err != nil || p.Session != nil {
		return nil
	}
	return h
}

// goOn takes the next step of a sign-in that is under way.
func (c *company) goOn() { c.goOnWith(c.pick(c.open), false) }

func (c *company) goOnWith(h *held, ticks bool) {
	h.from.Remembered = c.remembersAt(h.browser) // browsers send what they hold now
	v := h.from
	state, err := c.SignIn.State(ctx(), v, h.token)
	if err != nil {
		return
	}
	if h.over != "" {
		c.r.Fatalf("a sign-in goes on although %s", h.over)
	}
	switch state.Step {
	case policy.Verify:
		var next signin.Progress
		m := rapid.SampledFrom(state.Offers).Draw(c.r, "method").Method
		tick := ticks || rapid.Bool().Draw(c.r, "the box")
		if m.Signs() {
			c.signs(h, m, offeredBy(state.Offers, m), func(said []byte) error {
				p, err := c.SignIn.Answer(ctx(), v, h.token, prove.Answer{Method: m, Credential: said, Remember: tick})
				next = p
				h.ticked = h.ticked || tick && err == nil
				return err
			})
			c.goesOn(h, next, nil)
			return
		}
		code, right, ok := c.shows(h, m, func() error { return c.SignIn.Send(ctx(), v, h.token, m) })
		if !ok {
			return
		}
		p, err := c.SignIn.Answer(ctx(), v, h.token, prove.Answer{Method: m, Codes: []string{code}, Remember: tick})
		if err == nil {
			h.ticked = h.ticked || tick
			c.proved(h, m, right)
			if m == factor.RecoveryCode {
				c.forgets(h.who, "a recovery code was used")
			}
		}
		c.goesOn(h, p, err)
	case policy.Bind:
		c.wizard(h, state)
	case policy.NewPassword:
		next := second
		if h.who.password == second {
			next = testkit.Password
		}
		c.chooses(h)
		p, err := c.SignIn.SetPassword(ctx(), v, h.token, next)
		if err == nil {
			c.chosen(h)
			h.who.password = next
			c.void(h.who, "the password was changed", h)
		}
		c.goesOn(h, p, err)
	}
}

func (c *company) wizard(h *held, state signin.Progress) {
	before := c.Facts(h.who.Identity)
	switch m := rapid.SampledFrom(state.Setup.Kinds).Draw(c.r, "kind"); m {
	case factor.VirtualMFA:
		app := c.scan(h.from, signin.Progress{Token: h.token})
		p, err := c.bind(h.from, signin.Progress{Token: h.token}, app)
		if err == nil {
			h.who.app = app
			c.bound(h, before, ceremony.SessionLifetime, "an app is bound in the wizard")
			h.proofs[m] = c.Clock.Now()
		}
		c.goesOn(h, p, err)
	case factor.SMS:
		to := number()
		if c.SignIn.BindNumber(ctx(), h.from, h.token, "", to) != nil {
			return
		}
		p, err := c.SignIn.BindCode(ctx(), h.from, h.token, c.MailedCode(to))
		if err == nil {
			c.bound(h, before, ceremony.SessionLifetime, "a phone is bound in the wizard")
			h.proofs[m] = c.Clock.Now()
		}
		c.goesOn(h, p, err)
	case factor.Passkey:
		c.makeFirst(h, state, before)
	}
}

// own is somebody acting in a live session, who may verify first.
func (c *company) own(a func(s prove.Signed) policy.Action, act func(h *held, s prove.Signed, before policy.Facts)) {
	h := c.pick(c.sessions)
	s, err := c.SignIn.Who(ctx(), h.token)
	if err != nil {
		return
	}
	if rapid.IntRange(0, 3).Draw(c.r, "verify") > 0 {
		id, err := c.Verify.Begin(ctx(), h.from, s, a(s), "/")
		if err != nil {
			return
		}
		q, err := c.Verify.State(ctx(), h.from, s, id)
		if err == nil && len(q.Offers) > 0 {
			m := rapid.SampledFrom(q.Offers).Draw(c.r, "method").Method
			if m.Signs() {
				c.signs(h, m, offeredBy(q.Offers, m), func(said []byte) error {
					_, token, err := c.Verify.Answer(ctx(), h.from, s, id, prove.Answer{Method: m, Credential: said})
					if err == nil {
						h.token = token
					}
					return err
				})
			} else {
				code, right, ok := c.shows(h, m, func() error { return c.Verify.Send(ctx(), h.from, s, id, m) })
				if !ok {
					return
				}
				_, token, err := c.Verify.Answer(ctx(), h.from, s, id, prove.Answer{Method: m, Codes: []string{code}})
				if err == nil {
					c.proved(h, m, right)
					h.token = token
				}
			}
			if s, err = c.SignIn.Who(ctx(), h.token); err != nil {
				return
			}
		}
	}
	act(h, s, c.Facts(h.who.Identity))
}

// device is the id of the app that is bound, or empty.
func (c *company) device(m *member) string {
	d, err := c.Read(ctx()).VirtualMFA(c.owner.Account, m.ID)
	if err != nil {
		return ""
	}
	return d.ID
}

func (c *company) bindOwn() {
	replaced := ""
	c.own(func(s prove.Signed) policy.Action {
		if rapid.Bool().Draw(c.r, "replace") {
			replaced = c.device(c.of(s))
		}
		return selfservice.BindAction(replaced)
	}, func(h *held, s prove.Signed, before policy.Facts) {
		key, err := c.Self.BeginBind(ctx(), h.from, s, replaced)
		if err != nil {
			return
		}
		app := c.appOf(key.Key)
		token, err := c.Self.ConfirmBind(ctx(), h.from, s, key.ID, "", app.Code(-1), app.Code(0))
		if err != nil {
			return
		}
		h.who.app, h.token = app, token
		what := "an app is bound in a session"
		if replaced != "" {
			what = "an app is exchanged"
		}
		c.bound(h, before, 11*time.Minute, what)
		h.proofs[factor.VirtualMFA] = c.Clock.Now()
		c.readCodes(h)
	})
}

// of is the member who acts.
func (c *company) of(s prove.Signed) *member {
	for _, m := range c.members {
		if m.ID == s.Identity.ID {
			return m
		}
	}
	c.r.Fatalf("a session of nobody: %s", s.Identity.Name())
	return nil
}

// readCodes takes down the recovery codes that the session has just made.
func (c *company) readCodes(h *held) {
	s, err := c.SignIn.Who(ctx(), h.token)
	if err != nil { // the rules have ended it
		return
	}
	if codes, err := c.Self.NewRecoveryCodes(ctx(), s); err == nil && len(codes) > 0 {
		h.who.codes = codes
	}
}

func (c *company) attachOwn() {
	c.own(func(prove.Signed) policy.Action { return selfservice.AttachPhone }, func(h *held, s prove.Signed, before policy.Facts) {
		to := number()
		id, err := c.Self.ChangePhone(ctx(), h.from, s, "", to)
		if err != nil {
			return
		}
		_, token, err := c.Self.ConfirmContact(ctx(), h.from, s, id, c.MailedCode(to))
		if err == nil {
			h.token = token
			c.bound(h, before, 11*time.Minute, "a phone is attached in a session")
			h.proofs[factor.SMS] = c.Clock.Now()
			c.readCodes(h)
		}
	})
}

func (c *company) unbindOwn() {
	c.own(func(s prove.Signed) policy.Action { return selfservice.Unbind(c.device(c.of(s))) }, func(h *held, s prove.Signed, _ policy.Facts) {
		token, err := c.Self.Unbind(ctx(), h.from, s, c.device(h.who))
		if err == nil {
			h.token = token
			c.void(h.who, "the device was dropped elsewhere", h)
			c.reached["dropped"]++
		}
	})
}

func (c *company) signOut() {
	h := c.pick(c.sessions)
	h.from.Remembered = c.remembersAt(h.browser)
	signed := c.live(h.token)
	if c.SignIn.SignOut(ctx(), h.from, h.token) == nil {
		h.over = "it was signed out"
		here := c.kept[h.browser]
		if signed && h.rests != nil && h.rests.over == "" {
			here = h.rests
		} else if signed && h.made != nil && h.made.over == "" {
			here = h.made
		}
		if here != nil && (here.who == h.who || !signed) {
			here.end("it was signed out there")
		}
	}
}

// settings are changed by the owner.
func (c *company) settings() {
	next, err := c.Read(ctx()).Settings(c.owner.Account)
	if err != nil {
		c.r.Fatal(err)
	}
	switch rapid.SampledFrom(strings.Fields("operation operation operation sms sms email grace grace two masks hours remember remember passkeys passkeys passkeys")).Draw(c.r, "setting") {
	case "operation":
		next.MFAOperation = rapid.SampledFrom(account.Operations).Draw(c.r, "operation")
	case "sms":
		next.AllowSMS = !next.AllowSMS && !next.TwoKinds
	case "email":
		next.AllowEmail = !next.AllowEmail
	case "grace":
		next.GraceUntil = time.Time{}
		if d := rapid.SampledFrom([]time.Duration{0, 5 * time.Minute, time.Hour}).Draw(c.r, "grace"); d > 0 {
			next.GraceUntil, next.MFAOperation = c.Clock.Now().Add(d), account.Mandatory
		}
	case "two":
		next.TwoKinds = !next.TwoKinds && next.AllowSMS
	case "masks":
		next.Masks = nil
		if rapid.Bool().Draw(c.r, "masks") {
			next.Masks = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}
		}
	case "passkeys":
		next.PasskeySignIn = !next.PasskeySignIn
	case "remember":
		next.Remember = !next.Remember
	case "hours":
		next.SessionHours = rapid.IntRange(1, 3).Draw(c.r, "hours")
	}
	if c.admin.Save(ctx(), c.Visitor, c.boss(admin.ChangeSettings(next)), next) == nil {
		c.reached["settings"]++
		c.switches(next)
	}
}

// profile is what the owner changes of one user.
func (c *company) profile() {
	m := c.member()
	one := []account.IdentityID{m.ID}
	v, d := c.Visitor, c.detail(m.Identity)
	switch what := rapid.SampledFrom(strings.Fields("require require disable enable role delete password sessions")).Draw(c.r, "what"); what {
	case "require":
		_, _ = c.admin.RequireMFA(ctx(), v, c.boss(admin.RequireUsers(one, "")), one, rapid.Bool().Draw(c.r, "required"))
	case "disable":
		if n, _ := c.admin.Disable(ctx(), v, c.boss(admin.DisableUsers(one, "")), one); n == 1 {
			c.void(m, "the user was disabled", nil)
		}
	case "enable":
		_, _ = c.admin.SetSignIn(ctx(), v, c.boss(admin.UserSignIn(d)), m.ID, admin.ProfileChange{Enable: true, MFARequired: rapid.Bool().Draw(c.r, "required")})
	case "role":
		_ = c.admin.SetRole(ctx(), v, c.boss(admin.SetUserRole(d)), m.ID, rapid.SampledFrom(account.UserRoles).Draw(c.r, "role"))
	case "delete":
		if n, _ := c.admin.Delete(ctx(), v, c.boss(admin.DeleteUsers(one, "")), one); n == 1 {
			c.void(m, "the user was deleted", nil)
			for _, k := range m.keys {
				k.gone = true
			}
			c.lost = append(c.lost, m.keys...)
			c.members[slices.Index(c.members, m)] = c.hire(m.UserName)
			c.reached["deleted"]++
		}
	case "password":
		next := second
		if m.password == second {
			next = testkit.Password
		}
		_, err := c.admin.SetSignIn(ctx(), v, c.boss(admin.SetUserPassword(d)), m.ID, admin.ProfileChange{Enable: true, Password: next, Reset: rapid.Bool().Draw(c.r, "reset"), MFARequired: rapid.Bool().Draw(c.r, "required")})
		if err == nil {
			m.password, m.known = next, false
			c.void(m, "an administrator set the password", nil)
		}
	case "sessions":
		n, err := c.admin.EndSessions(ctx(), v, c.boss(admin.EndUserSessions(one, "")), one)
		if err == nil {
			c.forgets(m, "an administrator ended the sessions")
		}
		if n > 0 {
			for _, h := range c.sessions {
				if h.who == m {
					h.over = "an administrator ended it"
				}
			}
		}
	}
}

// rescue takes a device off a user, or makes another ticket.
func (c *company) rescue() {
	m := c.member()
	before := c.Facts(m.Identity)
	if before.SecurityEmail && rapid.IntRange(0, 3).Draw(c.r, "the mailbox") == 0 {
		c.losesMailbox(m, before)
		return
	}
	kind, device := factor.VirtualMFA, c.device(m)
	if before.Phone && (device == "" || rapid.Bool().Draw(c.r, "the phone")) {
		phone, _ := c.Read(ctx()).Phone(c.owner.Account, m.ID)
		kind, device = factor.SMS, phone.ID
	}
	var key *possession
	if live := m.live(); len(live) > 0 && (device == "" || rapid.Bool().Draw(c.r, "a key")) {
		key = rapid.SampledFrom(live).Draw(c.r, "which")
		kind, device = key.method(), key.id
	}
	devices := len(m.live())
	for _, one := range []bool{before.VirtualMFA, before.Phone} {
		if one {
			devices++
		}
	}
	var s prove.Signed
	var shown string
	var err error
	switch {
	case device != "":
		s = c.boss(admin.UnbindUser(c.detail(m.Identity), device))
		shown, err = c.admin.Unbind(ctx(), c.Visitor, s, m.ID, admin.Unbinding{Method: kind, Device: device, Check: "in_person", Reason: "lost"})
		m.pending = m.pending || devices == 1
		if key != nil && err == nil {
			key.gone = true
		}
		c.reached["unbound"]++
	case m.pending:
		s = c.boss(admin.IssueTicket(c.detail(m.Identity)))
		shown, err = c.admin.NewTicket(ctx(), c.Visitor, s, m.ID, "in_person", "lost")
	default:
		return
	}
	if err != nil || (shown == "") == m.pending {
		c.r.Fatalf("rescue: %q, %v, pending %v", shown, err, m.pending)
	}
	c.void(m, "a device was taken off", nil)
	if shown != "" {
		c.ticketed(m, s, shown)
	}
}
