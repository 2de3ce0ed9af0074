package selfservice_test

import (
	"encoding/base32"
	"errors"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/testkit"
)

// seedOf reads a key as an app does; nil: none.
func seedOf(r *rapid.T, key string) []byte {
	seed, err := base32.StdEncoding.DecodeString(strings.ReplaceAll(key, " ", ""))
	if err != nil {
		r.Fatal(err)
	}
	if len(seed) == 0 {
		return nil
	}
	return seed
}

// steps are what may happen in a life.
func (l *life) steps() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"sign in":  func(*rapid.T) { l.signIn() },
		"sign in2": func(*rapid.T) { l.signIn() },
		"send": func(r *rapid.T) {
			if a := l.asking("signin", "verify", "contact", "setup"); a != nil {
				l.send(a, rapid.SampledFrom(methodsOf[:2]).Draw(r, "method"))
			}
		},
		"answer": func(r *rapid.T) {
			if a := l.asking("signin", "verify"); a != nil {
				m := rapid.SampledFrom(methodsOf).Draw(r, "method")
				l.answer(a, m, l.code(a, m))
			}
		},
		"answer as if it were a sign-in": func(r *rapid.T) {
			if a := l.asking("verify", "contact", "setup"); a != nil && len(a.sent) > 0 {
				for _, other := range l.open {
					if other.kind == "signin" {
						m := rapid.SampledFrom(methodsOf[:2]).Draw(r, "method")
						l.answer(other, m, a.sent[len(a.sent)-1].code)
						return
					}
				}
			}
		},
		"verify":  func(*rapid.T) { l.verify() },
		"verify2": func(*rapid.T) { l.verify() },
		"phone":   func(*rapid.T) { l.changePhone() },
		"confirm phone": func(*rapid.T) {
			if a := l.asking("contact"); a != nil {
				l.confirmPhone(a)
			}
		},
		"remove phone": func(*rapid.T) { l.removePhone() },
		"bind":         func(*rapid.T) { l.bind() },
		"create":       func(*rapid.T) { l.create() },
		"drop":         func(*rapid.T) { l.dropKey() },
		"alone":        func(*rapid.T) { l.alone() },
		"unbind":       func(*rapid.T) { l.unbind() },
		"choose":       func(*rapid.T) { l.choose() },
		"choose2":      func(*rapid.T) { l.choose() },
		"set up": func(*rapid.T) {
			if a := l.asking("setup"); a != nil {
				l.setUp(a)
			}
		},
		"turn off": func(*rapid.T) { l.turnOff() },
		"others":   func(*rapid.T) { l.others() },
		"wait": func(r *rapid.T) {
			l.Clock.Advance(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, 61 * time.Second, 61 * time.Second, 61 * time.Second, 6 * time.Minute, 11 * time.Minute, 11 * time.Minute, 31 * time.Minute}).Draw(r, "wait"))
			l.sweep()
		},
		"": func(*rapid.T) {},
	}
}

// sweep forgets sessions that are over.
func (l *life) sweep() {
	now := l.Clock.Now()
	var live []*signed
	for _, s := range l.sessions {
		if s.Session.Live(now, session.Default) {
			live = append(live, s)
		}
	}
	l.sessions = live
	var open []*asking
	for _, a := range l.open {
		for _, s := range live {
			if a.s == s {
				open = append(open, a)
			}
		}
		if a.kind == "signin" {
			open = append(open, a)
		}
	}
	l.open = open
}

func (l *life) signIn() {
	p, err := l.SignIn.Begin(ctx(), l.from(), prove.Door{}, l.i.Email, testkit.Password, "")
	if err != nil {
		return
	}
	proofs := []factor.Proof{{Method: factor.Password, At: l.Clock.Now()}}
	if p.Session != nil {
		l.signedIn(p.Session.Token, proofs, factor.Password)
		return
	}
	a := &asking{kind: "signin", id: p.Ceremony, token: p.Token, proofs: proofs, begun: l.Clock.Now()}
	l.open = append(l.open, a)
	l.goOn(a)
}

// goOn does what is asked at once, most of the time.
func (l *life) goOn(a *asking) {
	if rapid.IntRange(0, 3).Draw(l.r, "later") == 0 {
		return
	}
	m := rapid.SampledFrom(methodsOf).Draw(l.r, "method")
	if due := l.due(a); len(due) > 0 && rapid.IntRange(0, 5).Draw(l.r, "another method") > 0 {
		m = rapid.SampledFrom(due).Draw(l.r, "due")
	}
	if m.Sent() {
		l.send(a, m)
	}
	l.answer(a, m, l.code(a, m))
}

// due are the methods that a ceremony asks for.
func (l *life) due(a *asking) []factor.Method {
	if a.kind == "signin" {
		return policy.SignIn(l.with(a.proofs)).Methods
	}
	d, _ := policy.Permit(a.action, l.with(a.s.proofs), a.s.given, l.Clock.Now())
	return d.Methods
}

// first verifies for an action, most of the time.
func (l *life) first(s *signed, action policy.Action) {
	if rapid.IntRange(0, 2).Draw(l.r, "at once") > 0 {
		l.verifyFor(s, action)
	}
}

func (l *life) verify() {
	s := l.session()
	if s == nil {
		return
	}
	l.verifyFor(s, rapid.SampledFrom(l.actions()).Draw(l.r, "action"))
}

func (l *life) verifyFor(s *signed, action policy.Action) {
	id, err := l.Verify.Begin(ctx(), l.from(), s.Signed, action, "/")
	if err != nil {
		return
	}
	for _, a := range l.open {
		if a.id == id {
			l.goOn(a)
			return
		}
	}
	a := &asking{kind: "verify", id: id, s: s, action: action, begun: l.Clock.Now()}
	l.open = append(l.open, a)
	l.goOn(a)
}

func (l *life) changePhone() {
	s := l.session()
	if s == nil {
		return
	}
	number := l.number()
	if number == l.phone.Number {
		return
	}
	l.first(s, selfservice.PhoneAction(l.phone))
	id, err := l.Self.ChangePhone(ctx(), l.from(), s.Signed, "", string(number))
	if err != nil && !errors.Is(err, prove.ErrVerifyFirst) {
		return
	}
	a := &asking{kind: "contact", id: id, s: s, action: selfservice.PhoneAction(l.phone), number: string(number), begun: l.Clock.Now()}
	if err == nil {
		l.changed(s, a.action, "a code to a new number")
		l.note(a, factor.SMS, a.number)
	}
	l.replace(a)
	if err == nil && rapid.Bool().Draw(l.r, "confirm at once") {
		l.confirmPhone(a)
	}
}

// replace makes a ceremony the only one of its kind in its session.
func (l *life) replace(a *asking) {
	for _, other := range append([]*asking{}, l.open...) {
		if other.kind == a.kind && other.s == a.s {
			l.drop(other)
		}
	}
	l.open = append(l.open, a)
}

func (l *life) confirmPhone(a *asking) {
	code := l.code(a, factor.SMS)
	_, token, err := l.Self.ConfirmContact(ctx(), l.from(), a.s.Signed, a.id, code)
	if err != nil {
		return
	}
	if !l.proves(a, factor.SMS, code) {
		l.r.Fatalf("a phone is attached by %q", code)
	}
	what, kind := "attach", message.PhoneAttached
	if l.facts.Phone {
		what, kind = "replace", message.PhoneChanged
	}
	l.changed(a.s, a.action, what)
	l.facts.Phone = true
	l.renewed(a.s, token, factor.SMS)
	l.readPhone(a.number)
	l.tells(kind, l.phone.Number)
	if f := l.with(nil); what == "attach" && f.RecoveryCodes == 0 {
		l.r.Fatal("a first phone, and no recovery codes")
	}
}

func (l *life) readPhone(number string) {
	p, err := l.Read(ctx()).Phone(l.i.Account, l.i.ID)
	if err != nil || string(p.Number) != number {
		l.r.Fatalf("%s is attached, %v, and %s has answered", p.Number, err, number)
	}
	l.phone = p
}

func (l *life) removePhone() {
	s := l.session()
	if s == nil || l.phone.ID == "" {
		return
	}
	l.first(s, selfservice.RemovePhoneAction(l.phone))
	token, err := l.Self.RemovePhone(ctx(), l.from(), s.Signed, l.phone.ID)
	if err != nil {
		return
	}
	if l.facts.Protection.Method == factor.SMS {
		l.r.Fatal("the phone that protects was removed")
	}
	l.changed(s, selfservice.RemovePhoneAction(l.phone), "remove")
	l.facts.Phone, l.phone.ID, l.phone.Number = false, "", ""
	l.lost()
	l.renewed(s, token)
}

func (l *life) bind() {
	s := l.session()
	if s == nil {
		return
	}
	l.first(s, selfservice.BindVirtualMFA)
	b, err := l.Self.BeginBind(ctx(), l.from(), s.Signed, "")
	if err != nil {
		return
	}
	l.changed(s, selfservice.BindVirtualMFA, "a key is shown")
	app := &testkit.App{Seed: seedOf(l.r, b.Key), Now: l.Clock.Now}
	token, err := l.Self.ConfirmBind(ctx(), l.from(), s.Signed, b.ID, "", app.Code(-1), app.Code(0))
	if err != nil {
		l.r.Fatalf("bind: %v", err)
	}
	l.changed(s, selfservice.BindVirtualMFA, "bind")
	l.tells(message.DeviceBound, l.phone.Number)
	l.bound(app)
	l.renewed(s, token, factor.VirtualMFA)
}

func (l *life) bound(app *testkit.App) {
	d, err := l.Read(ctx()).VirtualMFA(l.i.Account, l.i.ID)
	if err != nil {
		l.r.Fatal(err)
	}
	l.facts.VirtualMFA, l.app, l.device, l.last = true, app, d.ID, d.LastStep
}

func (l *life) unbind() {
	s := l.session()
	if s == nil || l.device == "" {
		return
	}
	l.first(s, selfservice.Unbind(l.device))
	token, err := l.Self.Unbind(ctx(), l.from(), s.Signed, l.device)
	if err != nil {
		return
	}
	if l.facts.Protection.Method == factor.VirtualMFA {
		l.r.Fatal("the device that protects was unbound")
	}
	l.changed(s, selfservice.Unbind(l.device), "unbind")
	l.tells(message.DeviceUnbound, l.phone.Number)
	l.facts.VirtualMFA, l.app, l.device = false, nil, ""
	l.lost()
	l.renewed(s, token)
}

func (l *life) choose() {
	s := l.session()
	if s == nil {
		return
	}
	scenarios := rapid.SliceOfNDistinct(rapid.SampledFrom(policy.Scenarios), 1, 3, rapid.ID).Draw(l.r, "scenarios")
	methods := slices.Clone(policy.ProtectionMethods)
	if l.facts.Protection.On() { // what is bound needs nothing more, and comes to its end
		methods = append(methods, l.facts.Protection.Method, l.facts.Protection.Method, l.facts.Protection.Method)
	}
	m := rapid.SampledFrom(methods).Draw(l.r, "by")
	id, err := l.Self.BeginProtection(ctx(), l.from(), s.Signed, scenarios, m)
	if err != nil {
		return
	}
	u, err := l.Self.ProtectionSetup(ctx(), l.from(), s.Signed, id)
	if err != nil {
		l.r.Fatal(err)
	}
	a := &asking{kind: "setup", id: id, s: s, action: u.Action, wanted: u.Wanted, begun: l.Clock.Now()}
	l.replace(a)
	l.first(s, u.Action)
	for range rapid.IntRange(0, 3).Draw(l.r, "steps at once") {
		if slices.Contains(l.open, a) {
			l.setUp(a)
		}
	}
}

// setUp tries one step of a choice, due or not.
func (l *life) setUp(a *asking) {
	s := a.s
	u, err := l.Self.ProtectionSetup(ctx(), l.from(), s.Signed, a.id)
	if err != nil {
		return
	}
	step := u.Step
	if rapid.IntRange(0, 5).Draw(l.r, "out of turn") == 0 {
		step = rapid.SampledFrom([]selfservice.SetupStep{selfservice.StepDevice, selfservice.StepNumber, selfservice.StepCode, selfservice.StepSave}).Draw(l.r, "step")
	}
	switch step {
	case selfservice.StepNumber:
		number := string(l.number())
		err := l.Self.SetupNumber(ctx(), l.from(), s.Signed, a.id, "", number)
		now, err2 := l.Self.ProtectionSetup(ctx(), l.from(), s.Signed, a.id)
		if err2 == nil && string(now.Phone) == number { // named, sent or not
			a.number, a.sent = number, nil
		}
		if err == nil {
			l.note(a, factor.SMS, number)
		}
	case selfservice.StepCode:
		if len(a.sent) == 0 {
			l.send(a, factor.SMS)
		}
		code := l.code(a, factor.SMS)
		token, err := l.Self.SetupCode(ctx(), l.from(), s.Signed, a.id, code)
		if err != nil {
			return
		}
		if !l.proves(a, factor.SMS, code) {
			l.r.Fatalf("protection is set up by %q", code)
		}
		l.changed(s, a.action, "protect")
		attached := l.facts.Phone
		l.facts.Phone, l.facts.Protection = true, a.wanted
		l.renewed(s, token, factor.SMS)
		if !attached {
			l.readPhone(a.number)
		}
	case selfservice.StepDevice:
		seed := seedOf(l.r, u.Binding.Key)
		if seed == nil {
			_, err := l.Self.SetupDevice(ctx(), l.from(), s.Signed, a.id, "", "123456")
			if err == nil {
				l.r.Fatal("a device is bound that nobody was shown")
			}
			return
		}
		app := &testkit.App{Seed: seed, Now: l.Clock.Now}
		token, err := l.Self.SetupDevice(ctx(), l.from(), s.Signed, a.id, "", app.Code(0))
		if err != nil {
			return
		}
		l.changed(s, a.action, "protect")
		l.facts.Protection = a.wanted
		l.bound(app)
		l.renewed(s, token, factor.VirtualMFA)
	case selfservice.StepSave:
		next, token, err := l.Self.SaveProtection(ctx(), l.from(), s.Signed, a.id)
		if err != nil || next != selfservice.StepSave {
			return
		}
		if l.facts.Protection.On() {
			l.reached["edit"]++
			l.tells(message.ProtectionChanged, l.phone.Number)
		}
		l.changed(s, a.action, "save")
		if a.wanted.Method == factor.Passkey && l.facts.Passkeys == 0 {
			l.r.Fatal("protected by a passkey, and there is none")
		}
		if (a.wanted.Method == factor.SMS && !l.facts.Phone) || (a.wanted.Method == factor.VirtualMFA && !l.facts.VirtualMFA) {
			l.r.Fatalf("protected by %s, which is not bound", a.wanted.Method)
		}
		l.facts.Protection = a.wanted
		l.renewed(s, token)
	}
}

func (l *life) turnOff() {
	s := l.session()
	if s == nil {
		return
	}
	l.first(s, selfservice.TurnOff)
	token, err := l.Self.TurnOffProtection(ctx(), l.from(), s.Signed)
	if err != nil {
		return
	}
	l.changed(s, selfservice.TurnOff, "off")
	l.tells(message.ProtectionOff, l.phone.Number)
	l.facts.Protection = policy.Protection{}
	l.renewed(s, token)
}

// others are the changes that leave what is bound as it is.
func (l *life) others() {
	s := l.session()
	if s == nil {
		return
	}
	switch rapid.SampledFrom([]string{"codes", "password", "sessions"}).Draw(l.r, "change") {
	case "codes":
		l.first(s, selfservice.MakeCodes)
		if l.Self.MakeRecoveryCodes(ctx(), l.from(), s.Signed) == nil {
			l.changed(s, selfservice.MakeCodes, "codes")
			codes, err := l.Self.NewRecoveryCodes(ctx(), s.Signed)
			if err != nil {
				l.r.Fatal(err)
			}
			l.newCodes(codes)
		}
	case "password":
		l.first(s, selfservice.ChangePassword)
		const next = "another otter, other vines"
		token, err := l.Self.ChangePassword(ctx(), l.from(), s.Signed, testkit.Password, next)
		if err != nil {
			return
		}
		l.changed(s, selfservice.ChangePassword, "password")
		l.tells(message.PasswordChanged, l.phone.Number)
		l.renewed(s, token)
		if token, err = l.Self.ChangePassword(ctx(), l.from(), s.Signed, next, testkit.Password); err != nil {
			l.r.Fatalf("back: %v", err)
		}
		l.renewed(s, token)
	case "sessions":
		l.first(s, selfservice.EndSessions)
		if _, err := l.Self.EndOtherSessions(ctx(), l.from(), s.Signed); err == nil {
			l.changed(s, selfservice.EndSessions, "sessions")
			l.sessions = []*signed{s}
			l.sweep()
		}
	}
}
