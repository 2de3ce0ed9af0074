package policy_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

var update = flag.Bool("update", false, "write testdata/decisions.golden anew")

const application policy.Scenario = "application:x" // one that is asked only where it is chosen

// methods in the order of the masks: p e s m u k r.
var methods = []factor.Method{factor.Password, factor.Email, factor.SMS, factor.VirtualMFA, factor.U2F, factor.Passkey, factor.RecoveryCode}

// mask shows the methods for which yes holds, each at its place.
func mask(yes func(m factor.Method) bool) string {
	var b strings.Builder
	for _, m := range methods {
		if yes(m) {
			b.WriteString(short[m])
		} else {
			b.WriteString("-")
		}
	}
	return b.String()
}

// A bound is what an identity has; bit by bit email, phone, device (virtual
// MFA), codes, passkey, U2F key.
type bound int

const (
	everything bound = 63
	keyless    bound = 15 // everything but keys that sign
)

// listed are those of the golden file: everything without keys, and keys beside
// some of it.
func listed() (list []bound) {
	for has := range keyless + 1 {
		list = append(list, has)
	}
	return append(list, 16, 16|1, 16|1|2, 16|1|4, 16|1|2|4, 16|1|8, 16|1|2|4|8, 32|1, 32|1|2|4, 32|1|8, 48|1, 48|1|8)
}

func (b bound) facts() policy.Facts {
	f := policy.Facts{Role: account.Owner, EmailConfirmed: b&1 != 0, Phone: b&2 != 0, VirtualMFA: b&4 != 0}
	if b&8 != 0 {
		f.RecoveryCodes = 3
	}
	if b&16 != 0 {
		f.Passkeys = 1
	}
	if b&32 != 0 {
		f.U2F = 1
	}
	return f
}

func (b bound) String() string {
	var words []string
	for n, w := range []string{"email", "phone", "device", "codes", "passkey", "u2f"} {
		if b>>n&1 != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(append(words, "-")[:max(1, len(words))], " ")
}

// A chosen is Account Protection as it relates to the scenario at hand.
type chosen struct {
	method factor.Method
	covers bool
}

var choices = []chosen{{"", false}, {factor.SMS, true}, {factor.SMS, false}, {factor.VirtualMFA, true}, {factor.VirtualMFA, false}, {factor.Passkey, true}, {factor.Passkey, false}}

func (c chosen) of(s policy.Scenario) policy.Protection {
	other := policy.ChangeContact
	if s == other {
		other = policy.ChangePassword
	}
	switch {
	case c.method == "":
		return policy.Protection{}
	case c.covers:
		return policy.Protection{Scenarios: []policy.Scenario{s}, Method: c.method}
	}
	return policy.Protection{Scenarios: []policy.Scenario{other}, Method: c.method}
}

func (c chosen) String() string {
	switch {
	case c.method == "":
		return "protection off"
	case c.covers:
		return "protected by " + string(c.method)
	}
	return "another scenario protected by " + string(c.method)
}

// session are the proofs of a sign-in with the password and m, that long ago.
func session(m factor.Method, age time.Duration) []factor.Proof {
	list := []factor.Proof{{Method: factor.Password, At: now.Add(-age)}}
	if m != factor.Password {
		list = append(list, factor.Proof{Method: m, At: now.Add(-age)})
	}
	return list
}

const stale = policy.Freshness + time.Microsecond

// tableOf is the block of a scenario and an action that chooses a method (or none).
func tableOf(s policy.Scenario, chooses factor.Method) string {
	var b strings.Builder
	for _, c := range choices {
		fmt.Fprintf(&b, "\n%s\n", c)
		if s == policy.SignInScenario {
			fmt.Fprintf(&b, "  %-32s %-20s %s\n", "has", "after the password", "with the password and")
		} else {
			fmt.Fprintf(&b, "  %-32s %-20s %-10s %-9s %-9s %-10s %-9s %-10s | %s\n", "has", "takes", "signed in", "long ago", "verified", "long ago", "other obj", "other scen", "destructive: signed in, verified, other object")
		}
		for _, has := range listed() {
			b.WriteString(rowOf(s, chooses, c, has))
		}
	}
	return b.String()
}

func rowOf(s policy.Scenario, chooses factor.Method, c chosen, has bound) string {
	f := has.facts()
	f.Protection = c.of(s)
	if s == policy.SignInScenario {
		f.Proofs = session(factor.Password, 0)
		first := policy.SignIn(f)
		return strings.TrimRight(fmt.Sprintf("  %-32s %-20s %s\n", has, takes(first), mask(func(m factor.Method) bool {
			f.Proofs = session(m, 0)
			return policy.SignIn(f).Step == policy.Complete
		})), " ")
	}
	signed := func(destructive bool, age time.Duration) string {
		return mask(func(m factor.Method) bool {
			f.Proofs = session(m, age)
			d, _ := policy.Permit(policy.Action{Scenario: s, Name: "a", Target: "x", Chosen: chooses, Destructive: destructive}, f, nil, now)
			return d.Step == policy.Complete
		})
	}
	verified := func(destructive bool, g policy.Given, age time.Duration) string {
		return mask(func(m factor.Method) bool {
			f.Proofs = session(factor.Password, 0)
			g.ID, g.Method, g.At = "g", m, now.Add(-age)
			d, _ := policy.Permit(policy.Action{Scenario: s, Name: "a", Target: "x", Chosen: chooses, Destructive: destructive}, f, []policy.Given{g}, now)
			return d.Step == policy.Complete
		})
	}
	f.Proofs = session(factor.Password, 0)
	d, _ := policy.Permit(policy.Action{Scenario: s, Name: "a", Target: "x", Chosen: chooses, Destructive: true}, f, nil, now)
	here, other, elsewhere := policy.Given{Scenario: s, Action: "a", Target: "x"}, policy.Given{Scenario: s, Action: "a", Target: "y"}, policy.Given{Scenario: "elsewhere", Action: "a", Target: "x"}
	return fmt.Sprintf("  %-32s %-20s %-10s %-9s %-9s %-10s %-9s %-10s | %s %s %s\n", has, takes(d), signed(false, 0), signed(false, stale), verified(false, here, 0), verified(false, here, stale),
		verified(false, other, 0), verified(false, elsewhere, 0), signed(true, 0), verified(true, here, 0), verified(true, other, 0))
}

// takes says what is next, and the methods that take it, best first.
func takes(d policy.Decision) string {
	var order string
	for _, m := range d.Methods {
		order += short[m]
	}
	return strings.TrimSpace(string(d.Step) + " " + order)
}

const legend = `What each scenario takes, for every choice in Account Protection and what an identity can have bound.
p password, e email code, s text message, m virtual MFA ("device"), u U2F key, k passkey, r recovery code; - in its place: it does not do.
"takes": what comes next for a session of the password alone, best method first.
"signed in": the sign-in with the password and this method a moment ago lets the action pass; "long ago": more than ten minutes ago.
"verified": a verification by this method for the action does; "other obj", "other scen": one for another object, or in another scenario.
Written by: go test ./internal/domain/policy -run Decisions -update
`

// The whole policy, for people to read: a change of the rules is a change of
// this file.
func TestDecisionsAreThoseOfTheGoldenFile(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(legend)
	var names [][]string
	var blocks []string
	add := func(name, block string) { // scenarios that are alike share a block
		if at := slices.Index(blocks, block); at >= 0 {
			names[at] = append(names[at], name)
			return
		}
		names, blocks = append(names, []string{name}), append(blocks, block)
	}
	add(string(policy.SignInScenario), tableOf(policy.SignInScenario, ""))
	scenarios := []policy.Scenario{policy.ChangePassword, policy.ChangeContact, policy.ManageMFA, policy.ManageSessions, policy.ManageUsers, policy.ChangePolicy, application}
	for _, chooses := range []factor.Method{"", factor.SMS, factor.VirtualMFA, factor.Passkey} {
		for _, s := range scenarios {
			name := string(s)
			if chooses != "" {
				name += ", choosing " + string(chooses)
			}
			add(name, tableOf(s, chooses))
		}
	}
	for n, block := range blocks {
		fmt.Fprintf(&b, "\n## %s\n%s", strings.Join(names[n], "; "), block)
	}
	golden := filepath.Join("testdata", "decisions.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, old := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for n := range max(len(got), len(old)) {
		if n >= len(got) || n >= len(old) || got[n] != old[n] {
			t.Fatalf("decisions.golden:%d differs (see -update):\n got %q\nwant %q", n+1, at(got, n), at(old, n))
		}
	}
}

func at(lines []string, n int) string {
	if n < len(lines) {
		return lines[n]
	}
	return "(nothing)"
}
