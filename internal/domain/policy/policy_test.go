package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

var now = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

func proofs(methods string, age time.Duration) (list []factor.Proof) {
	for _, m := range strings.Fields(methods) {
		list = append(list, factor.Proof{Method: factor.Method(m), At: now.Add(-age)})
	}
	return list
}

func said(d policy.Decision) string {
	parts := []string{string(d.Step)}
	for _, m := range d.Methods {
		parts = append(parts, string(m))
	}
	return strings.Join(parts, " ")
}

// Every combination of what an identity has and what it gave.
func TestSignInTable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		has, gave, want string
	}{
		{"", "", "refuse"},
		{"confirmed", "", "refuse"},
		{"confirmed device codes", "", "refuse"},
		{"confirmed device codes", "virtual_mfa", "refuse"},
		{"confirmed device codes", "email virtual_mfa recovery_code", "refuse"},
		{"", "password", "confirm_email email"},
		{"", "password virtual_mfa", "confirm_email email"},
		{"", "password email", "complete"},
		{"codes", "password email", "complete"},
		{"confirmed", "password", "complete"},
		{"confirmed codes", "password", "complete"},
		{"confirmed device", "password", "verify virtual_mfa"},
		{"confirmed device codes", "password", "verify virtual_mfa recovery_code"},
		{"confirmed device codes", "password email", "verify virtual_mfa recovery_code"},
		{"confirmed device", "password recovery_code", "verify virtual_mfa"},
		{"confirmed device", "password virtual_mfa", "complete"},
		{"confirmed device codes", "password recovery_code", "complete"},
		{"device codes", "password", "confirm_email email"},
		{"device codes", "password virtual_mfa", "confirm_email email"},
		{"device codes", "password email", "verify virtual_mfa recovery_code"},
		{"device codes", "password email virtual_mfa", "complete"},
		{"confirmed passkey", "password", "verify passkey"},
		{"confirmed passkey passkey", "password", "verify passkey"},
		{"confirmed passkey u2f device codes", "password", "verify passkey u2f virtual_mfa recovery_code"},
		{"confirmed u2f", "password", "verify u2f"},
		{"confirmed u2f", "password email", "verify u2f"},
		{"confirmed u2f", "password passkey", "verify u2f"}, // which is nobody's any more
		{"confirmed u2f", "password u2f", "complete"},
		{"confirmed passkey device", "password virtual_mfa", "complete"},
		{"confirmed passkey", "password passkey", "complete"}, // whether or not the key verified its user
		{"confirmed passkey", "passkey", "refuse"},
		{"confirmed passkey", "passkey email", "refuse"},
		{"confirmed u2f", "u2f", "refuse"},
		{"passkey", "password passkey", "confirm_email email"},
	} {
		if got := said(policy.SignIn(facts(c.has, c.gave, 0))); got != c.want {
			t.Errorf("has %q, gave %q: %s, want %s", c.has, c.gave, got, c.want)
		}
	}
}

func facts(has, gave string, age time.Duration) policy.Facts {
	f := policy.Facts{Role: account.Owner, EmailConfirmed: strings.Contains(has, "confirmed"), VirtualMFA: strings.Contains(has, "device"), Proofs: proofs(gave, age)}
	if strings.Contains(has, "codes") {
		f.RecoveryCodes = 3
	}
	f.Passkeys, f.U2F = strings.Count(has, "passkey"), strings.Count(has, "u2f")
	return f
}

var (
	ordinary    = policy.Action{Scenario: policy.ManageMFA, Name: "x"}
	destructive = policy.Action{Scenario: policy.ManageMFA, Name: "x", Target: "phone", Destructive: true}
)

func TestPermitTable(t *testing.T) {
	t.Parallel()
	given := func(s policy.Scenario, target string, m factor.Method, age time.Duration) []policy.Given {
		return []policy.Given{{ID: "g", Scenario: s, Action: "x", Target: target, Method: m, At: now.Add(-age)}}
	}
	for name, c := range map[string]struct {
		action policy.Action
		facts  policy.Facts
		given  []policy.Given
		want   policy.Step
		uses   string
	}{
		"nothing to prove it with":                   {ordinary, facts("", "password", 0), nil, policy.Refuse, ""},
		"a password alone":                           {ordinary, facts("confirmed", "password", 0), nil, policy.Verify, ""},
		"a device, signed in by password":            {ordinary, facts("confirmed device", "password", 0), nil, policy.Verify, ""},
		"a device, signed in with it":                {ordinary, facts("confirmed device", "password virtual_mfa", 0), nil, policy.Complete, ""},
		"a device, signed in by mail":                {ordinary, facts("confirmed device", "password email", 0), nil, policy.Verify, ""},
		"the sign-in, just in time":                  {ordinary, facts("confirmed device", "password virtual_mfa", policy.Freshness), nil, policy.Complete, ""},
		"the sign-in, too long ago":                  {ordinary, facts("confirmed device", "password virtual_mfa", policy.Freshness+1), nil, policy.Verify, ""},
		"destructive, signed in with the device":     {destructive, facts("confirmed device", "password virtual_mfa", 0), nil, policy.Verify, ""},
		"destructive, verified for it":               {destructive, facts("confirmed device", "password", 0), given(policy.ManageMFA, "phone", factor.VirtualMFA, 0), policy.Complete, "g"},
		"destructive, by recovery code":              {destructive, facts("confirmed device codes", "password", 0), given(policy.ManageMFA, "phone", factor.RecoveryCode, 0), policy.Complete, "g"},
		"destructive, verified for another":          {destructive, facts("confirmed device", "password", 0), given(policy.ManageMFA, "tablet", factor.VirtualMFA, 0), policy.Verify, ""},
		"destructive, verified for none":             {destructive, facts("confirmed device", "password", 0), given(policy.ManageMFA, "", factor.VirtualMFA, 0), policy.Verify, ""},
		"destructive, another scenario":              {destructive, facts("confirmed device", "password", 0), given(policy.ChangePassword, "phone", factor.VirtualMFA, 0), policy.Verify, ""},
		"destructive, verified by mail":              {destructive, facts("confirmed device", "password", 0), given(policy.ManageMFA, "phone", factor.Email, 0), policy.Verify, ""},
		"destructive, verified too long ago":         {destructive, facts("confirmed device", "password", 0), given(policy.ManageMFA, "phone", factor.VirtualMFA, policy.Freshness+1), policy.Verify, ""},
		"ordinary, verified for another object":      {ordinary, facts("confirmed device", "password", 0), given(policy.ManageMFA, "phone", factor.VirtualMFA, 0), policy.Complete, "g"},
		"ordinary, verified in another scenario":     {ordinary, facts("confirmed device", "password", 0), given(policy.ManageSessions, "", factor.VirtualMFA, 0), policy.Verify, ""},
		"no device, verified by mail":                {ordinary, facts("confirmed", "password", 0), given(policy.ManageMFA, "", factor.Email, 0), policy.Complete, "g"},
		"a device bound after verifying by mail":     {ordinary, facts("confirmed device", "password email", 0), given(policy.ManageMFA, "", factor.Email, 0), policy.Verify, ""},
		"a password is no verification":              {ordinary, facts("confirmed", "password", 0), given(policy.ManageMFA, "", factor.Password, 0), policy.Verify, ""},
		"a recovery code after the last one is used": {ordinary, facts("confirmed device", "password", 0), given(policy.ManageMFA, "", factor.RecoveryCode, 0), policy.Verify, ""},
	} {
		d, g := policy.Permit(c.action, c.facts, c.given, now)
		if d.Step != c.want || g.ID != c.uses {
			t.Errorf("%s: %s using %q, want %s using %q", name, d.Step, g.ID, c.want, c.uses)
		}
	}
}

// Over every combination: more proofs never make a sign-in harder, mail never
// counts beside a device, and what is complete was proved.
func TestSignInKeepsItsPromises(t *testing.T) {
	t.Parallel()
	methods := []factor.Method{factor.Password, factor.Email, factor.VirtualMFA, factor.RecoveryCode}
	rank := map[policy.Step]int{policy.Refuse: 0, policy.ConfirmEmail: 1, policy.Verify: 2, policy.Complete: 3}
	for has := range 8 {
		words := []string{"confirmed", "device", "codes"}
		var owned []string
		for n, w := range words {
			if has>>n&1 == 1 {
				owned = append(owned, w)
			}
		}
		decide := func(gave int) policy.Decision {
			var list []string
			for n, m := range methods {
				if gave>>n&1 == 1 {
					list = append(list, string(m))
				}
			}
			return policy.SignIn(facts(fmt.Sprint(owned), strings.Join(list, " "), 0))
		}
		for gave := range 16 {
			d := decide(gave)
			for n := range methods {
				if more := decide(gave | 1<<n); rank[more.Step] < rank[d.Step] {
					t.Errorf("has %v: %s becomes %s with one proof more", owned, d.Step, more.Step)
				}
			}
			password, mail, strong := gave&1 == 1, gave>>1&1 == 1, gave>>2 != 0
			if d.Step == policy.Complete && (!password || (slices.Contains(owned, "device") && !strong) || (!slices.Contains(owned, "confirmed") && !mail)) {
				t.Errorf("has %v, gave %04b: complete", owned, gave)
			}
			if slices.Contains(owned, "device") && d.Step == policy.Verify && d.Allows(factor.Email) {
				t.Errorf("has %v: mail takes the second step", owned)
			}
		}
	}
}

// Identity verification takes the strongest that is bound, or the method of
// Account Protection where that is stronger.
func TestIdentityVerificationTakesTheStrongestThatIsBound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		has, protects, want string
	}{
		{"", "", "verify email"},
		{"codes", "", "verify email"}, // which stand in for nothing
		{"phone", "", "verify sms"},
		{"phone codes", "", "verify sms recovery_code"},
		{"device", "", "verify virtual_mfa"},
		{"device codes", "", "verify virtual_mfa recovery_code"},
		{"phone device", "", "verify virtual_mfa"},
		{"phone device codes", "sms", "verify virtual_mfa recovery_code"},
		{"phone", "sms", "verify sms"},
		{"", "sms", "refuse"},
		{"phone", "virtual_mfa", "refuse"},
		{"phone codes", "virtual_mfa", "verify recovery_code"},
		{"passkey", "", "verify passkey"},
		{"passkey phone codes", "", "verify passkey recovery_code"},
		{"passkey device", "", "verify passkey virtual_mfa"}, // a lost passkey is taken off by the other
		{"u2f", "", "verify u2f"},
		{"u2f phone", "sms", "verify u2f"},
		{"passkey u2f device phone", "virtual_mfa", "verify passkey u2f virtual_mfa"},
		{"passkey device", "passkey", "verify passkey"},
		{"u2f device codes", "passkey", "verify u2f recovery_code"},
		{"device", "passkey", "refuse"},
	} {
		f := policy.Facts{Role: account.Owner, EmailConfirmed: true, Phone: strings.Contains(c.has, "phone"), VirtualMFA: strings.Contains(c.has, "device"), Passkeys: strings.Count(c.has, "passkey"), U2F: strings.Count(c.has, "u2f"), Proofs: proofs("password email", 0)}
		if strings.Contains(c.has, "codes") {
			f.RecoveryCodes = 3
		}
		if c.protects != "" {
			f.Protection = policy.Protection{Method: factor.Method(c.protects), Scenarios: []policy.Scenario{policy.SignInScenario}}
		}
		for _, s := range []policy.Scenario{policy.ChangePassword, policy.ChangeContact, policy.ManageMFA, policy.ManageSessions, policy.ManageUsers, policy.ChangePolicy} {
			mailed := []policy.Given{{ID: "g", Scenario: s, Action: "x", Target: "y", Method: factor.Email, At: now}}
			for _, destroys := range []bool{false, true} {
				want := c.want
				if want == "verify email" {
					want = "complete email"
				}
				if d, _ := policy.Permit(policy.Action{Scenario: s, Name: "x", Target: "y", Destructive: destroys}, f, mailed, now); said(d) != want {
					t.Errorf("%s, has %q, protected by %q, verified by mail: %s, want %s", s, c.has, c.protects, said(d), want)
				}
				if d, _ := policy.Permit(policy.Action{Scenario: s, Name: "x", Target: "y", Destructive: true}, f, nil, now); said(d) != c.want {
					t.Errorf("%s, has %q, protected by %q: %s, want %s", s, c.has, c.protects, said(d), c.want)
				}
			}
		}
	}
}

func TestAProofForOneActionOnAnObjectIsNoneForAnother(t *testing.T) {
	t.Parallel()
	f := facts("confirmed device", "password", 0)
	given := policy.Given{ID: "g", Scenario: policy.ManageMFA, Action: "x", Target: "phone", Method: factor.VirtualMFA, At: now}
	for name, c := range map[string]struct {
		action policy.Action
		want   policy.Step
	}{
		"itself":                 {destructive, policy.Complete},
		"another action":         {policy.Action{Scenario: policy.ManageMFA, Name: "y", Target: "phone", Destructive: true}, policy.Verify},
		"an action of no name":   {policy.Action{Scenario: policy.ManageMFA, Target: "phone", Destructive: true}, policy.Verify},
		"another object":         {policy.Action{Scenario: policy.ManageMFA, Name: "x", Target: "tablet", Destructive: true}, policy.Verify},
		"another scenario":       {policy.Action{Scenario: policy.ChangeContact, Name: "x", Target: "phone", Destructive: true}, policy.Verify},
		"what destroys nothing":  {policy.Action{Scenario: policy.ManageMFA, Name: "y", Target: "tablet"}, policy.Complete},
		"and called otherwise":   {destructive.About("Pixel"), policy.Complete},
		"nothing, elsewhere too": {policy.Action{Scenario: policy.ChangeContact, Name: "x", Target: "phone"}, policy.Verify},
	} {
		d, g := policy.Permit(c.action, f, []policy.Given{given}, now)
		if d.Step != c.want || (g.ID == "g") != (c.want == policy.Complete) {
			t.Errorf("%s: %s using %q", name, d.Step, g.ID)
		}
	}
}

func TestWhoeverChoosesAMethodTheyHaveShowsItAndNoRecoveryCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		phone, device bool
		chooses       factor.Method
		want          string
	}{
		{true, false, factor.SMS, "verify sms"},
		{true, false, factor.VirtualMFA, "verify sms recovery_code"}, // not bound yet
		{false, true, factor.VirtualMFA, "verify virtual_mfa"},
		{false, true, factor.SMS, "verify virtual_mfa recovery_code"},
		{true, true, factor.VirtualMFA, "verify virtual_mfa"},
		{true, true, factor.SMS, "verify virtual_mfa recovery_code"}, // does not count beside the device
		{true, true, "", "verify virtual_mfa recovery_code"},
	} {
		f := policy.Facts{Role: account.Owner, EmailConfirmed: true, Phone: c.phone, VirtualMFA: c.device, RecoveryCodes: 3, Proofs: proofs("password", 0)}
		given := []policy.Given{{ID: "g", Scenario: policy.ManageMFA, Action: "x", Target: "y", Method: factor.RecoveryCode, At: now}}
		a := policy.Action{Scenario: policy.ManageMFA, Name: "x", Target: "y", Chosen: c.chooses, Destructive: true}
		if d, _ := policy.Permit(a, f, nil, now); said(d) != c.want {
			t.Errorf("phone %v, device %v, choosing %q: %s, want %s", c.phone, c.device, c.chooses, said(d), c.want)
		}
		if d, _ := policy.Permit(a, f, given, now); (d.Step == policy.Complete) != strings.Contains(c.want, "recovery_code") {
			t.Errorf("phone %v, device %v, choosing %q, after a recovery code: %s", c.phone, c.device, c.chooses, said(d))
		}
	}
}

func TestClaimsTellWhatWasProved(t *testing.T) {
	t.Parallel()
	for gave, want := range map[string]string{
		"":                           "urn:mfa:1 []",
		"password":                   "urn:mfa:1 [pwd]",
		"password email":             "urn:mfa:1e [pwd mca]",
		"password virtual_mfa":       "urn:mfa:2 [pwd otp mfa]",
		"password recovery_code":     "urn:mfa:2 [pwd otp mfa]",
		"password email virtual_mfa": "urn:mfa:2 [pwd otp mfa]",
	} {
		c := policy.ClaimsOf(proofs(gave, 0))
		if got := fmt.Sprintf("%s %v", c.ACR, c.AMR); got != want {
			t.Errorf("%q: %s, want %s", gave, got, want)
		}
	}
}
