package selfservice_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// A life is one identity as the model knows it: what is bound, who is signed
// in and by what, and every code that was sent.
type life struct {
	*testkit.World
	r        *rapid.T
	i        account.Identity
	facts    policy.Facts
	phone    store.Phone
	app      *testkit.App
	device   string
	last     int64 // newest step of the app that was used
	keys     []lifeKey
	said     []byte // by a key, some time ago
	recovery map[string]bool
	sessions []*signed
	open     []*asking
	told     map[string][]string // the notices to each place
	reached  map[string]int
}

type signed struct {
	prove.Signed
	proofs []factor.Proof
	given  []policy.Given
}

// An asking is a ceremony under way: a sign-in, a verification, a new phone
// or a set-up.
type asking struct {
	kind   string
	id     string
	token  secret.Token // of a sign-in
	s      *signed      // of the others
	action policy.Action
	proofs []factor.Proof
	number string // that was named
	wanted policy.Protection
	begun  time.Time
	sent   []codeSent
}

type codeSent struct {
	code   string
	method factor.Method
	to     string
	at     time.Time
}

var lives int

func newLife(w *testkit.World, r *rapid.T, reached map[string]int) *life {
	lives++
	l := &life{World: w, r: r, i: w.Owner(fmt.Sprintf("life%d@example.com", lives)), recovery: map[string]bool{}, told: map[string][]string{}, reached: reached}
	l.facts.Role, l.facts.EmailConfirmed = account.Owner, true
	switch rapid.SampledFrom([]string{"bare", "bare", "phone", "protected", "protected", "device", "passkey"}).Draw(r, "begins") {
	case "phone":
		l.phone, l.facts.Phone = l.Attach(l.i, l.number()), true
	case "protected":
		l.phone, l.facts.Phone = l.Attach(l.i, l.number()), true
		l.facts.Protection = policy.Protection{Scenarios: []policy.Scenario{policy.SignInScenario}, Method: factor.SMS}
		l.Protect(l.i, factor.SMS, policy.SignInScenario)
	case "device":
		l.bound(l.Bind(l.i))
	case "passkey":
		l.keyed(testkit.NewSoftKey())
	}
	l.post()
	return l
}

// from is a visitor in a network of its own.
func (l *life) from() prove.Visitor {
	return testkit.From(rapid.IntRange(0, 60_000).Draw(l.r, "network"))
}

// number is a telephone number of this life.
func (l *life) number() account.Phone {
	return account.Phone(fmt.Sprintf("+86138%04d%04d", rapid.IntRange(0, 9999).Draw(l.r, "number"), lives%10_000))
}

// post empties the outbox, and returns the newest code to each place.
func (l *life) post() map[string]string {
	codes := map[string]string{}
	for _, channel := range []message.Channel{message.Email, message.SMS} {
		for {
			m, found, err := l.ClaimMessage(ctx(), time.Hour, channel)
			if err != nil {
				l.r.Fatal(err)
			}
			if !found {
				break
			}
			if m.Kind == "code" {
				codes[m.To] = m.Params["code"]
			} else {
				l.told[m.To] = append(l.told[m.To], m.Kind)
			}
			if err := l.MessageSent(ctx(), m.ID); err != nil {
				l.r.Fatal(err)
			}
		}
	}
	return codes
}

// with are the facts with the proofs of somebody.
func (l *life) with(proofs []factor.Proof) policy.Facts {
	f := l.facts
	f.Proofs = proofs
	f.RecoveryCodes = 0
	for _, used := range l.recovery {
		if !used {
			f.RecoveryCodes++
		}
	}
	return f
}

// changed checks that a change was permitted, and uses up what it took.
func (l *life) changed(s *signed, a policy.Action, what string) {
	d, g := policy.Permit(a, l.with(s.proofs), s.given, l.Clock.Now())
	if d.Step != policy.Complete {
		l.r.Fatalf("%s: done without a proof: has %+v, proofs %v, given %+v", what, l.facts, s.proofs, s.given)
	}
	if !l.shown(s, a) {
		l.r.Fatalf("%s: done by something weaker than what is bound: has %+v, proofs %v, given %+v", what, l.facts, s.proofs, s.given)
	}
	if a.Destructive {
		s.given = slices.DeleteFunc(s.given, func(one policy.Given) bool { return one.ID == g.ID })
	}
	l.reached[what]++
}

// shown reports, without the policy's word, whether the session has shown what
// is the strongest bound, or a recovery code in its place.
func (l *life) shown(s *signed, a policy.Action) bool {
	least := []factor.Method{factor.Email, factor.SMS, factor.VirtualMFA, factor.Passkey}
	switch {
	case l.facts.Protection.Method == factor.Passkey:
		least = least[3:]
	case l.facts.VirtualMFA || l.facts.Passkeys > 0 || l.facts.Protection.Method == factor.VirtualMFA:
		least = least[2:]
	case l.facts.Phone || l.facts.Protection.Method == factor.SMS:
		least = least[1:]
	}
	now := l.Clock.Now()
	counts := func(m factor.Method, at time.Time) bool {
		return now.Sub(at) <= 10*time.Minute && (slices.Contains(least, m) || (m == factor.RecoveryCode && len(least) < 4))
	}
	for _, g := range s.given {
		if counts(g.Method, g.At) && g.Scenario == a.Scenario && (!a.Destructive || (g.Action == a.Name && g.Target == a.Target)) {
			return true
		}
	}
	return !a.Destructive && slices.ContainsFunc(s.proofs, func(p factor.Proof) bool { return p.Method != factor.RecoveryCode && counts(p.Method, p.At) })
}

// tells checks that the newest notice to the mailbox, and where it is urgent
// to the phone, is of the kind. A phone hears no more than ten in a day.
func (l *life) tells(kind message.Kind, phone account.Phone) {
	l.post()
	last := func(to string) string {
		list := l.told[to]
		if len(list) == 0 {
			return ""
		}
		return list[len(list)-1]
	}
	if !slices.Contains(l.told[l.i.Email], string(kind)) {
		l.r.Fatalf("the mailbox was not told of %s: %v", kind, l.told[l.i.Email])
	}
	if kind.Urgent() && phone != "" && len(l.told[string(phone)]) < 10 && last(string(phone)) != string(kind) {
		l.r.Fatalf("the phone was not told of %s: %v", kind, l.told[string(phone)])
	}
	if kind.Urgent() && phone != "" {
		l.reached["told the phone"]++
	}
}

// renewed ends everything but the session that made a change.
func (l *life) renewed(s *signed, token secret.Token, proofs ...factor.Method) {
	for _, other := range l.sessions {
		if now, err := l.SignIn.Who(ctx(), token); other == s && err != nil {
			l.r.Fatalf("the session that changed something is over: %v", err)
		} else if other == s {
			s.Signed = now
		}
	}
	for _, m := range proofs {
		s.proofs = append(s.proofs, factor.Proof{Method: m, At: l.Clock.Now(), Verified: m == factor.Passkey, Synced: m == factor.Passkey})
	}
	l.sessions, l.open = []*signed{s}, nil
	l.i = s.Identity
	codes, err := l.Self.NewRecoveryCodes(ctx(), s.Signed)
	if err != nil {
		l.r.Fatal(err)
	}
	l.newCodes(codes)
}

func (l *life) newCodes(codes []string) {
	for _, c := range codes {
		if _, known := l.recovery[c]; !known { // a new set
			l.recovery = map[string]bool{}
			for _, c := range codes {
				l.recovery[c] = false
			}
			return
		}
	}
}

// lost forgets recovery codes that stood in for what is gone.
func (l *life) lost() {
	if !l.facts.SecondFactor() {
		l.recovery = map[string]bool{}
	}
}

func (l *life) session() *signed {
	if len(l.sessions) == 0 {
		return nil
	}
	return rapid.SampledFrom(l.sessions).Draw(l.r, "session")
}

func (l *life) asking(kinds ...string) *asking {
	var list []*asking
	for _, a := range l.open {
		if slices.Contains(kinds, a.kind) {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return rapid.SampledFrom(list).Draw(l.r, "ceremony")
}

// note writes down the code that a ceremony has just sent.
func (l *life) note(a *asking, m factor.Method, to string) {
	if code := l.post()[to]; code != "" {
		a.sent = append(a.sent, codeSent{code, m, to, l.Clock.Now()})
		return
	}
	l.r.Fatalf("%s: no code reached %s", a.kind, to)
}

// place is where the model has a code of the ceremony go.
func (l *life) place(a *asking, m factor.Method) string {
	switch {
	case m == factor.Email:
		return l.i.Email
	case (a.kind == "contact") || (a.kind == "setup" && !l.facts.Phone):
		return a.number
	}
	return string(l.phone.Number)
}

func (l *life) send(a *asking, m factor.Method) {
	var err error
	switch a.kind {
	case "signin":
		err = l.SignIn.Send(ctx(), l.from(), a.token, m)
	case "verify":
		err = l.Verify.Send(ctx(), l.from(), a.s.Signed, a.id, m)
	case "contact":
		m, err = factor.SMS, l.Self.SendContact(ctx(), l.from(), a.s.Signed, a.id)
	case "setup":
		m, err = factor.SMS, l.Self.SendSetup(ctx(), l.from(), a.s.Signed, a.id)
	}
	if err == nil {
		l.note(a, m, l.place(a, m))
	}
}

// proves reports whether an answer proves what it says, by the model alone.
func (l *life) proves(a *asking, m factor.Method, code string) bool {
	now := l.Clock.Now()
	switch m {
	case factor.Email, factor.SMS:
		var own []codeSent
		for _, s := range a.sent {
			if s.method == m {
				own = append(own, s)
			}
		}
		own = own[max(0, len(own)-2):]
		return slices.ContainsFunc(own, func(s codeSent) bool {
			return s.code == code && now.Before(s.at.Add(10*time.Minute)) && s.to == l.place(a, m)
		})
	case factor.VirtualMFA:
		if l.app == nil {
			return false
		}
		for offset := int64(-1); offset <= 1; offset++ {
			if step := factor.StepAt(now) + offset; step > l.last && l.app.Code(offset) == code {
				l.last = step
				return true
			}
		}
	case factor.RecoveryCode:
		used, there := l.recovery[code]
		if there && !used {
			l.recovery[code] = true
			return true
		}
	}
	return false
}

// code is one that somebody may type: the right one, an old one, another's.
func (l *life) code(a *asking, m factor.Method) string {
	how := rapid.SampledFrom([]string{"right", "right", "right", "right", "older", "another's", "wrong"}).Draw(l.r, "code")
	from := a
	if how == "another's" && len(l.open) > 0 {
		from = rapid.SampledFrom(l.open).Draw(l.r, "whose")
	}
	switch {
	case how == "wrong":
		return "000001"
	case m == factor.VirtualMFA && l.app != nil:
		return l.app.Code(rapid.SampledFrom([]int64{0, 0, 1, 2}).Draw(l.r, "step"))
	case m == factor.RecoveryCode && len(l.recovery) > 0:
		var all []string
		for c := range l.recovery {
			all = append(all, c)
		}
		slices.Sort(all)
		return rapid.SampledFrom(all[:min(3, len(all))]).Draw(l.r, "recovery code")
	case len(from.sent) == 0:
		return "000002"
	case how == "older":
		return from.sent[0].code
	}
	return from.sent[len(from.sent)-1].code
}

func (l *life) drop(a *asking) {
	l.open = slices.DeleteFunc(l.open, func(one *asking) bool { return one == a })
}

// answer takes the step of a sign-in or a verification.
func (l *life) answer(a *asking, m factor.Method, code string) {
	if m == factor.Passkey {
		l.answerKey(a)
		return
	}
	l.take(a, prove.Answer{Method: m, Codes: []string{code}}, factor.Proof{Method: m, At: l.Clock.Now()}, code, func() bool { return l.proves(a, m, code) })
}

// take answers, and checks what comes of it; right says whether the answer
// proves anything, by the model.
func (l *life) take(a *asking, answer prove.Answer, proof factor.Proof, code string, right func() bool) {
	now, m := proof.At, proof.Method
	if a.kind == "verify" {
		_, token, err := l.Verify.Answer(ctx(), l.from(), a.s.Signed, a.id, answer)
		if err != nil {
			return
		}
		if !right() || !now.Before(a.begun.Add(30*time.Minute)) {
			l.r.Fatalf("verified for %s by %s with %q", a.action.Name, m, code)
		}
		a.s.given = append([]policy.Given{{ID: a.id, Scenario: a.action.Scenario, Action: a.action.Name, Target: a.action.Target, Method: m, At: now}}, a.s.given...)
		l.reached["verified by "+string(m)]++
		if m == factor.RecoveryCode {
			l.tells(message.RecoveryCodeUsed, l.phone.Number)
		}
		l.drop(a)
		if a.s.Signed, err = l.SignIn.Who(ctx(), token); err != nil {
			l.r.Fatal(err)
		}
		return
	}
	p, err := l.SignIn.Answer(ctx(), l.from(), a.token, answer)
	if err != nil {
		return
	}
	if a.kind != "signin" || !right() || !now.Before(a.begun.Add(10*time.Minute)) {
		l.r.Fatalf("signed in by %s with %q", m, code)
	}
	a.proofs = append(a.proofs, proof)
	if m == factor.RecoveryCode {
		l.tells(message.RecoveryCodeUsed, l.phone.Number)
	}
	if p.Session != nil {
		l.drop(a)
		l.signedIn(p.Session.Token, a.proofs, m)
	}
}

func (l *life) signedIn(token secret.Token, proofs []factor.Proof, last factor.Method) {
	f := l.with(proofs)
	if last == factor.RecoveryCode {
		f.RecoveryCodes++ // the one that was just used
	}
	if d := policy.SignIn(f); d.Step != policy.Complete {
		l.r.Fatalf("a session of %v, where %s by %v is due: %+v", proofs, d.Step, d.Methods, l.facts)
	}
	s, err := l.SignIn.Who(ctx(), token)
	if err != nil || s.Identity.ID != l.i.ID || fmt.Sprint(s.Session.Proofs) != fmt.Sprint(proofs) {
		l.r.Fatalf("a session of %v, %v; the model knows %v", s.Session.Proofs, err, proofs)
	}
	l.sessions = append(l.sessions, &signed{Signed: s, proofs: proofs})
	l.reached["signed in by "+string(last)]++
}

// actions are those that somebody may verify for.
func (l *life) actions() []policy.Action {
	list := []policy.Action{selfservice.BindVirtualMFA, selfservice.ChangePassword, selfservice.PhoneAction(l.phone), selfservice.TurnOff, selfservice.MakeCodes, selfservice.EndSessions}
	if l.phone.ID != "" {
		list = append(list, selfservice.RemovePhoneAction(l.phone))
	}
	if l.device != "" {
		list = append(list, selfservice.Unbind(l.device), selfservice.Resynchronise)
	}
	list = append(list, selfservice.BindPasskey)
	for _, k := range l.keys {
		list = append(list, selfservice.RemovePasskeyAction(k.id))
	}
	for _, a := range l.open {
		if a.kind == "contact" || a.kind == "setup" {
			list = append(list, a.action, a.action, a.action)
		}
	}
	return list
}

var methodsOf = []factor.Method{factor.Email, factor.SMS, factor.VirtualMFA, factor.RecoveryCode}

func TestNoSequenceOfRequestsChangesAnythingWithoutTheProofItTakes(t *testing.T) {
	if f := flag.Lookup("rapid.steps"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("60") // a set-up alone takes five
	}
	w := testkit.New(t, storetest.SQLite)
	w.Prover.FleetAlarm = 1 << 30
	w.Prover.Sending.Ceiling = throttle.Ceiling{All: 1 << 30, Text: 1 << 30, Country: 1 << 30}
	reached := map[string]int{}
	wanted := strings.Fields("create alone drop attach replace remove bind unbind protect edit save off codes password sessions")
	wanted = append(wanted, "told the phone", "verified by email")
	for _, m := range append(slices.Clone(methodsOf[1:]), factor.Passkey) {
		wanted = append(wanted, "verified by "+string(m), "signed in by "+string(m))
	}
	testkit.Sequences(t, reached, wanted, func(r *rapid.T) {
		l := newLife(w, r, reached)
		steps := l.steps()
		for name, f := range steps {
			steps[name] = func(r *rapid.T) {
				l.r = r
				f(r)
			}
		}
		r.Repeat(steps)
	})
	if err := w.Read(ctx()).VerifyChains(func(_ store.Head, err error) error { return err }); err != nil {
		t.Error(err)
	}
}
