package policy_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

// rank is the order of the methods as the product states it; a recovery code
// stands in for whatever is asked beyond the mailbox.
var rank = map[factor.Method]int{"": 0, factor.Password: 1, factor.Email: 2, factor.SMS: 3, factor.VirtualMFA: 4, factor.U2F: 5, factor.Passkey: 5, factor.RecoveryCode: 5}

func TestTheMethodsHaveOneOrder(t *testing.T) {
	t.Parallel()
	order := []factor.Method{"", factor.Password, factor.Email, factor.SMS, factor.VirtualMFA, factor.Passkey}
	for n := range len(order) - 1 {
		if order[n].Strength() >= order[n+1].Strength() {
			t.Errorf("%q is not weaker than %q", order[n], order[n+1])
		}
	}
	for _, m := range []factor.Method{factor.U2F, factor.RecoveryCode, factor.Ticket} {
		if m.Strength() != factor.Passkey.Strength() {
			t.Errorf("%s does not do where a passkey does", m)
		}
	}
	if factor.Method("telepathy").Strength() != 0 {
		t.Error("what is no method has a strength")
	}
	for _, m := range policy.ProtectionMethods {
		if rank[m] <= rank[factor.Email] {
			t.Errorf("%s is offered as a second factor", m)
		}
	}
}

// has reports whether the identity has what m takes, by the product's words.
func has(f policy.Facts, m factor.Method) bool {
	switch m {
	case factor.Email:
		return f.EmailConfirmed
	case factor.SMS:
		return f.Phone
	case factor.VirtualMFA:
		return f.VirtualMFA
	case factor.Passkey:
		return f.Passkeys > 0
	case factor.U2F:
		return f.U2F > 0
	case factor.RecoveryCode:
		return f.RecoveryCodes > 0
	}
	return false
}

// strong reports whether something is bound that no mailbox and no phone can
// stand for.
func strong(f policy.Facts) bool { return f.VirtualMFA || f.Passkeys > 0 || f.U2F > 0 }

// A point of the product of everything.
type point struct {
	scenario policy.Scenario
	choice   chosen
	bound    bound
	chooses  factor.Method
	destroys bool
	proofs   []factor.Proof
	given    []policy.Given
}

func (p point) String() string {
	return fmt.Sprintf("%s choosing %q (destructive %v), %s, has %s, proofs %v, given %v", p.scenario, p.chooses, p.destroys, p.choice, p.bound, p.proofs, p.given)
}

func (p point) facts() policy.Facts {
	f := p.bound.facts()
	f.Protection, f.Proofs = p.choice.of(p.scenario), p.proofs
	return f
}

func (p point) permit() (policy.Decision, policy.Given) {
	return policy.Permit(policy.Action{Scenario: p.scenario, Name: "a", Target: "x", Chosen: p.chooses, Destructive: p.destroys}, p.facts(), p.given, now)
}

// gated reports whether anything is asked at all: always but in a scenario
// that was not chosen.
func (p point) gated() bool {
	return p.scenario != application || p.choice.covers
}

// least is the strength that the product's words ask for.
func (p point) least() int {
	least := 0
	if p.choice.covers {
		least = max(least, rank[p.choice.method])
	}
	if p.scenario != application { // identity verification
		least = max(least, rank[factor.Email], rank[p.choice.method])
		if p.facts().Phone {
			least = max(least, rank[factor.SMS])
		}
		if strong(p.facts()) { // virtual MFA is there for who lost a passkey
			least = max(least, rank[factor.VirtualMFA])
		}
	}
	if p.choosesOwn(least) { // whoever chooses a method shows that they have it, or better
		least = max(least, rank[p.chooses])
	}
	return least
}

// choosesOwn reports whether the method chosen is one that the identity has and
// that counts.
func (p point) choosesOwn(least int) bool {
	return p.gated() && has(p.facts(), p.chooses) && rank[p.chooses] >= least
}

var scenariosOfActions = []policy.Scenario{policy.ChangePassword, policy.ChangeContact, policy.ManageMFA, policy.ManageSessions, policy.ManageUsers, policy.ChangePolicy, application}

// allProofs are sessions: none, every set of methods beside the password, just
// fresh, and each alone, too old.
func allProofs() (list [][]factor.Proof) {
	list = append(list, nil)
	for set := range 1 << (len(methods) - 1) {
		proofs := session(factor.Password, policy.Freshness)
		for n, m := range methods[1:] {
			if set>>n&1 != 0 {
				proofs = append(proofs, factor.Proof{Method: m, At: now.Add(-policy.Freshness)})
			}
		}
		list = append(list, proofs)
	}
	for _, m := range methods {
		list = append(list, session(m, stale))
	}
	return list
}

// allGiven are verifications by each method: for the action just in time, for
// it too long ago, for another object, and in another scenario.
func allGiven(s policy.Scenario) (list [][]policy.Given) {
	list = append(list, nil)
	for _, m := range methods {
		list = append(list,
			[]policy.Given{{ID: "g", Scenario: s, Action: "a", Target: "x", Method: m, At: now.Add(-policy.Freshness)}},
			[]policy.Given{{ID: "g", Scenario: s, Action: "a", Target: "x", Method: m, At: now.Add(-stale)}},
			[]policy.Given{{ID: "g", Scenario: s, Action: "a", Target: "y", Method: m, At: now}},
			[]policy.Given{{ID: "g", Scenario: s, Action: "b", Target: "x", Method: m, At: now}},
			[]policy.Given{{ID: "g", Scenario: "elsewhere", Action: "a", Target: "x", Method: m, At: now}})
	}
	return list
}

var all = flag.Bool("all", false, "look at every point of the laws in place of a sample")

// each calls f for a sample of the points, or with -all for every one; it ends
// at the first failure.
func each(t *testing.T, f func(p point) string) {
	t.Helper()
	n, random := 0, rand.New(rand.NewPCG(5, 5))
	sessions := allProofs()
	for _, s := range scenariosOfActions {
		given := allGiven(s)
		for _, c := range choices {
			for b := range everything + 1 {
				for _, chooses := range []factor.Method{"", factor.SMS, factor.VirtualMFA, factor.Passkey} {
					for _, destroys := range []bool{false, true} {
						pairs(random, len(sessions), len(given), func(x, y int) {
							p := point{s, c, b, chooses, destroys, sessions[x], given[y]}
							n++
							if wrong := f(p); wrong != "" {
								t.Fatalf("%s: %s", p, wrong)
							}
						})
					}
				}
			}
		}
	}
	if n < 500_000 {
		t.Errorf("only %d points", n)
	}
}

// pairs calls f for a sample of the pairs: more of those with the first, which is
// nothing, for the second.
func pairs(random *rand.Rand, xs, ys int, f func(x, y int)) {
	if *all {
		for x := range xs {
			for y := range ys {
				f(x, y)
			}
		}
		return
	}
	for n := range 24 {
		f(random.IntN(xs), random.IntN(ys)*min(1, n%3))
	}
}

func TestWhatIsPermittedWasProvedByWhatTheProductAsksFor(t *testing.T) {
	t.Parallel()
	each(t, func(p point) string {
		d, used := p.permit()
		f, least := p.facts(), p.least()
		counts := func(m factor.Method) bool {
			if m == factor.RecoveryCode && (least <= rank[factor.Email] || !(f.Phone || strong(f)) || p.choosesOwn(least)) {
				return false // it stands in for a device, but not for one that is being chosen
			}
			return has(f, m) && rank[m] >= least
		}
		fresh := func(at time.Time) bool { return !at.Before(now.Add(-10 * time.Minute)) }
		byGiven := slices.ContainsFunc(p.given, func(g policy.Given) bool {
			return g.Scenario == p.scenario && ((g.Action == "a" && g.Target == "x") || !p.destroys) && fresh(g.At) && counts(g.Method)
		})
		bySession := !p.destroys && slices.ContainsFunc(p.proofs, func(one factor.Proof) bool {
			return one.Method != factor.RecoveryCode && fresh(one.At) && counts(one.Method)
		})
		offered := slices.ContainsFunc(methods, counts)
		want := policy.Refuse
		switch {
		case !p.gated(), byGiven, bySession:
			want = policy.Complete
		case offered:
			want = policy.Verify
		}
		switch {
		case d.Step != want:
			return fmt.Sprintf("%s, want %s", d.Step, want)
		case p.gated() && byGiven != (used.ID != ""):
			return fmt.Sprintf("uses up %q", used.ID)
		}
		for _, m := range methods { // whatever the step, the methods named are those that count
			if p.gated() && d.Allows(m) != counts(m) {
				return fmt.Sprintf("%s allowed: %v", m, d.Allows(m))
			}
		}
		if !slices.IsSortedFunc(d.Methods, func(a, b factor.Method) int {
			if a == factor.RecoveryCode || b == factor.RecoveryCode { // few, so last
				return map[bool]int{true: 1, false: -1}[a == factor.RecoveryCode]
			}
			return rank[b] - rank[a]
		}) {
			return fmt.Sprintf("not best first: %v", d.Methods)
		}
		return ""
	})
}

func TestNothingWeakerThanTheDeviceChangesAnythingThatIsAlwaysGated(t *testing.T) {
	t.Parallel()
	each(t, func(p point) string {
		if p.scenario == application || !strong(p.facts()) {
			return ""
		}
		if d, _ := p.permit(); d.Allows(factor.SMS) || d.Allows(factor.Email) || d.Allows(factor.Password) {
			return fmt.Sprint(d.Methods)
		}
		return ""
	})
}

func TestProtectionAllowsNothingWeakerThanItsMethod(t *testing.T) {
	t.Parallel()
	each(t, func(p point) string {
		if !p.choice.covers {
			return ""
		}
		d, _ := p.permit()
		for _, m := range d.Methods {
			if rank[m] < rank[p.choice.method] {
				return fmt.Sprint(d.Methods)
			}
		}
		return ""
	})
	for _, c := range choices {
		for b := range everything + 1 {
			for _, proofs := range allProofs() {
				f := b.facts()
				f.Protection, f.Proofs = c.of(policy.SignInScenario), proofs
				d := policy.SignIn(f)
				proved := slices.ContainsFunc(proofs, func(p factor.Proof) bool { return rank[p.Method] >= rank[c.method] && has(f, p.Method) })
				if c.covers && d.Step == policy.Complete && !proved {
					t.Errorf("%s, has %s: %v signs in", c, b, proofs)
				}
				if c.covers && d.Step == policy.Verify && slices.ContainsFunc(d.Methods, func(m factor.Method) bool { return rank[m] < rank[c.method] }) {
					t.Errorf("%s, has %s: offers %v", c, b, d.Methods)
				}
			}
		}
	}
}

func TestASessionByRecoveryCodeAloneMeetsEveryGate(t *testing.T) {
	t.Parallel()
	each(t, func(p point) string {
		if !p.gated() || len(p.given) > 0 || slices.ContainsFunc(p.proofs, func(one factor.Proof) bool { return one.Method != factor.RecoveryCode && one.Method != factor.Password }) {
			return ""
		}
		if d, _ := p.permit(); d.Step == policy.Complete {
			return "let through"
		}
		return ""
	})
}

func TestWhatDestroysTakesAVerificationOfItsOwnTarget(t *testing.T) {
	t.Parallel()
	each(t, func(p point) string {
		if !p.destroys || !p.gated() {
			return ""
		}
		d, g := p.permit()
		if d.Step == policy.Complete && (g.ID == "" || g.Target != "x" || g.Scenario != p.scenario) {
			return fmt.Sprintf("let through by %+v", g)
		}
		return ""
	})
}

func TestMoreProofsNeverMakeItHarder(t *testing.T) {
	t.Parallel()
	easier := map[policy.Step]int{policy.Refuse: 0, policy.ConfirmEmail: 1, policy.Verify: 2, policy.Complete: 3}
	each(t, func(p point) string {
		if len(p.given) > 0 {
			return ""
		}
		d, _ := p.permit()
		for _, m := range methods {
			more := p
			more.proofs = append(slices.Clone(p.proofs), factor.Proof{Method: m, At: now})
			if after, _ := more.permit(); easier[after.Step] < easier[d.Step] {
				return fmt.Sprintf("%s becomes %s with %s more", d.Step, after.Step, m)
			}
		}
		return ""
	})
	for _, c := range choices {
		for b := range everything + 1 {
			for _, proofs := range allProofs() {
				f := b.facts()
				f.Protection, f.Proofs = c.of(policy.SignInScenario), proofs
				if c.covers && !slices.ContainsFunc(methods, func(m factor.Method) bool { return m != factor.RecoveryCode && has(f, m) && rank[m] >= rank[c.method] }) {
					continue // cannot be saved
				}
				d := policy.SignIn(f)
				for _, m := range methods {
					f.Proofs = append(slices.Clone(proofs), factor.Proof{Method: m, At: now})
					if after := policy.SignIn(f); easier[after.Step] < easier[d.Step] {
						t.Errorf("%s, has %s, %v: %s becomes %s with %s", c, b, proofs, d.Step, after.Step, m)
					}
				}
			}
		}
	}
}

// before are the rules from before there were phones and protection: the
// device and its codes, else the mailbox.
func before(f policy.Facts) (methods []factor.Method) {
	switch {
	case f.VirtualMFA && f.RecoveryCodes > 0:
		return []factor.Method{factor.VirtualMFA, factor.RecoveryCode}
	case f.VirtualMFA:
		return []factor.Method{factor.VirtualMFA}
	case f.EmailConfirmed:
		return []factor.Method{factor.Email}
	}
	return nil
}

func TestWhileProtectionIsOffTheRulesAreThoseOfBefore(t *testing.T) {
	t.Parallel()
	each(t, func(p point) string {
		f := p.facts()
		if p.choice.method != "" || f.Phone || p.bound > keyless || p.chooses != "" || p.scenario == application {
			return ""
		}
		d, g := p.permit()
		if !slices.Equal(d.Methods, before(f)) {
			return fmt.Sprintf("takes %v, before %v", d.Methods, before(f))
		}
		proved := !p.destroys && slices.ContainsFunc(p.proofs, func(one factor.Proof) bool {
			return one.Method != factor.RecoveryCode && slices.Contains(before(f), one.Method) && one.At.After(now.Add(-stale))
		})
		if done := proved || g.ID != ""; done != (d.Step == policy.Complete) {
			return string(d.Step)
		}
		return ""
	})
	for b := range keyless + 1 {
		for _, proofs := range allProofs() {
			f := b.facts()
			f.Proofs = proofs
			gave := func(m factor.Method) bool {
				return slices.ContainsFunc(proofs, func(p factor.Proof) bool { return p.Method == m })
			}
			want := "complete"
			switch {
			case !gave(factor.Password):
				want = "refuse"
			case !f.EmailConfirmed && !gave(factor.Email):
				want = "confirm_email e"
			case f.VirtualMFA && !slices.ContainsFunc(before(f), gave):
				want = "verify m"
				if f.RecoveryCodes > 0 {
					want = "verify mr"
				}
			}
			if got := takes(policy.SignIn(f)); got != want {
				t.Errorf("has %s, %v: %s, before %s", b, proofs, got, want)
			}
		}
	}
}

func TestAChoiceThatCannotBeMadeIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scenarios []policy.Scenario
		method    factor.Method
		want      error
	}{
		{nil, factor.SMS, policy.ErrNoScenario},
		{[]policy.Scenario{""}, factor.SMS, policy.ErrNoScenario},
		{[]policy.Scenario{policy.SignInScenario, application}, factor.SMS, policy.ErrNoScenario},
		{[]policy.Scenario{policy.ManageSessions}, factor.SMS, policy.ErrNoScenario},
		{policy.Scenarios, "", policy.ErrNoMethod},
		{policy.Scenarios, factor.Email, policy.ErrNoMethod},
		{policy.Scenarios, factor.Password, policy.ErrNoMethod},
		{policy.Scenarios, factor.RecoveryCode, policy.ErrNoMethod},
		{policy.Scenarios, factor.U2F, policy.ErrNoMethod}, // whose time is over; where one is bound it does for a passkey
		{policy.Scenarios, factor.SMS, nil},
		{policy.Scenarios, factor.Passkey, nil},
		{[]policy.Scenario{policy.ManageMFA, policy.SignInScenario, policy.ManageMFA}, factor.VirtualMFA, nil},
	} {
		p, err := policy.NewProtection(c.scenarios, c.method)
		if fmt.Sprint(err) != fmt.Sprint(c.want) {
			t.Errorf("%v by %q: %v, want %v", c.scenarios, c.method, err, c.want)
		}
		if (err == nil) != p.On() {
			t.Errorf("%v by %q: on %v", c.scenarios, c.method, p.On())
		}
	}
	p, _ := policy.NewProtection([]policy.Scenario{policy.ManageMFA, policy.SignInScenario, policy.ManageMFA}, factor.SMS)
	if fmt.Sprint(p.Scenarios) != "[sign-in manage-mfa]" || !p.Covers(policy.SignInScenario) || p.Covers(policy.ChangePassword) {
		t.Errorf("%v", p.Scenarios)
	}
}

func TestTextMessagesMakeARestrictedLevel(t *testing.T) {
	t.Parallel()
	for gave, want := range map[string]string{
		"password sms":                          "urn:mfa:2r [pwd sms mfa]",
		"password email sms":                    "urn:mfa:2r [pwd sms mfa]",
		"password sms virtual_mfa":              "urn:mfa:2 [pwd otp mfa]",
		"password sms recovery_code":            "urn:mfa:2 [pwd otp mfa]",
		"password email sms virtual_mfa":        "urn:mfa:2 [pwd otp mfa]",
		"password email recovery_code":          "urn:mfa:2 [pwd otp mfa]",
		"password email virtual_mfa telepathic": "urn:mfa:2 [pwd otp mfa]",
	} {
		c := policy.ClaimsOf(proofs(gave, 0))
		if got := fmt.Sprintf("%s %v", c.ACR, c.AMR); got != want {
			t.Errorf("%q: %s, want %s", gave, got, want)
		}
	}
}
