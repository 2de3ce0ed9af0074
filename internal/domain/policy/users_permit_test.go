package policy_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
)

// gated are the scenarios that always take a verification.
var gated = []policy.Scenario{policy.ChangePassword, policy.ChangeContact, policy.ManageMFA, policy.ManageSessions, policy.ManageUsers, policy.ChangePolicy}

// identifies are the methods that say who a RAM user is, by the product's
// words: whatever is bound that no code can be diverted of, else a phone, also
// one that is no longer allowed while there is nothing else, and the codes of
// either; where nothing is bound, the mailbox that is the user's own, and the
// password only without that.
func identifies(f policy.Facts) (methods []factor.Method) {
	switch {
	case strong(f):
		for _, m := range []factor.Method{factor.Passkey, factor.U2F, factor.VirtualMFA} {
			if has(f, m) {
				methods = append(methods, m)
			}
		}
	case f.Phone:
		methods = []factor.Method{factor.SMS}
	case f.SecurityEmail:
		return []factor.Method{factor.Email}
	default: // the ticket is for binding alone
		return []factor.Method{factor.Password}
	}
	if f.RecoveryCodes > 0 {
		methods = append(methods, factor.RecoveryCode)
	}
	return methods
}

func TestAUserChangesNothingByLessThanTheStrongestThatIsBound(t *testing.T) {
	t.Parallel()
	every := append([]factor.Method{factor.Password}, others...)
	users(t, func(f policy.Facts) string {
		if f.Remembered || f.Unusual || f.Settings.Remember {
			return "" // of the sign-in
		}
		want := identifies(f)
		for _, s := range gated {
			ordinary, destroys := policy.Action{Scenario: s, Name: "a", Target: "x"}, policy.Action{Scenario: s, Name: "a", Target: "x", Destructive: true}
			f.Proofs = nil
			if d, _ := policy.Permit(destroys, f, nil, now); d.Step != policy.Verify || !slices.Equal(d.Methods, want) {
				return fmt.Sprintf("%s: %s, want %v", s, outcome(d), want)
			}
			for _, m := range every {
				counts := slices.Contains(want, m)
				f.Proofs = []factor.Proof{{Method: m, At: now.Add(-policy.Freshness)}}
				if d, _ := policy.Permit(ordinary, f, nil, now); (d.Step == policy.Complete) != (counts && m != factor.RecoveryCode) {
					return fmt.Sprintf("%s, signed in with %s: %s", s, m, outcome(d))
				}
				if d, _ := policy.Permit(destroys, f, nil, now); d.Step == policy.Complete {
					return fmt.Sprintf("%s, destructive, signed in with %s", s, m)
				}
				f.Proofs = []factor.Proof{{Method: m, At: now.Add(-stale)}}
				if d, _ := policy.Permit(ordinary, f, nil, now); d.Step == policy.Complete {
					return fmt.Sprintf("%s, signed in with %s long ago", s, m)
				}
				own := []policy.Given{{ID: "g", Scenario: s, Action: "a", Target: "x", Method: m, At: now}}
				if d, g := policy.Permit(destroys, f, own, now); (d.Step == policy.Complete) != counts || (g.ID == "g") != counts {
					return fmt.Sprintf("%s, verified by %s: %s using %q", s, m, outcome(d), g.ID)
				}
				own[0].Target = "y"
				if d, _ := policy.Permit(destroys, f, own, now); d.Step == policy.Complete {
					return fmt.Sprintf("%s, verified by %s for another", s, m)
				}
			}
		}
		return ""
	})
}

func TestWhatAdministratorsManageUsersDoNotChange(t *testing.T) {
	t.Parallel()
	none := situation([]string{"mandatory", "no", "none", "no", "no", "no", "usual", "no", "no"})
	enough := situation([]string{"mandatory", "no", "virtual", "no", "no", "no", "usual", "no", "no"})
	short := situation([]string{"mandatory", "no", "virtual", "yes", "no", "no", "usual", "no", "no"})
	optional := situation([]string{"independent", "no", "none", "no", "no", "no", "usual", "no", "no"})
	off := situation([]string{"mandatory", "no", "off", "no", "no", "no", "usual", "no", "no"})
	for _, c := range []struct {
		name     string
		facts    policy.Facts
		mfa, pw  bool // users may change them
		scenario policy.Scenario
		binds    bool
		want     *fault.Fault
	}{
		{"a device, unbound", enough, false, true, policy.ManageMFA, false, policy.ErrMFAManaged},
		{"a device, replaced", enough, false, true, policy.ManageMFA, true, policy.ErrMFAManaged},
		{"a phone, attached beside a device", enough, false, true, policy.ChangeContact, true, policy.ErrMFAManaged},
		{"a phone, taken off", enough, false, true, policy.ChangeContact, false, policy.ErrMFAManaged},
		{"a device that is due", none, false, true, policy.ManageMFA, true, nil},
		{"a phone that is due", none, false, true, policy.ChangeContact, true, nil},
		{"a device that is due beside a phone that is off", off, false, true, policy.ManageMFA, true, nil},
		{"recovery codes, with a device due", none, false, true, policy.ManageMFA, false, policy.ErrMFAManaged},
		{"a second kind that is due", short, false, true, policy.ChangeContact, true, nil},
		{"the first kind, with a second due", short, false, true, policy.ManageMFA, false, policy.ErrMFAManaged},
		{"a device that nobody asks for", optional, false, true, policy.ManageMFA, true, policy.ErrMFAManaged},
		{"the password, with devices managed", enough, false, true, policy.ChangePassword, false, nil},
		{"the password", enough, true, false, policy.ChangePassword, false, policy.ErrPasswordManaged},
		{"a device, with the password managed", enough, true, false, policy.ManageMFA, false, nil},
		{"sessions", enough, false, false, policy.ManageSessions, false, nil},
		{"an administrator's users", enough, false, false, policy.ManageUsers, false, nil},
		{"an administrator's policy", enough, false, false, policy.ChangePolicy, false, nil},
	} {
		for _, role := range append([]account.Role{account.Owner}, account.UserRoles...) {
			f := c.facts
			f.Role, f.Settings.ManageMFA, f.Settings.ChangePassword = role, c.mfa, c.pw
			f.Proofs = gave[len(gave)-1]
			want := c.want
			if role == account.Owner { // whom no settings of RAM users concern
				want = nil
			}
			verified := []policy.Given{{ID: "g", Scenario: c.scenario, Action: "a", Target: "x", Method: factor.VirtualMFA, At: now}}
			for _, destroys := range []bool{false, true} {
				d, g := policy.Permit(policy.Action{Scenario: c.scenario, Name: "a", Target: "x", Binds: c.binds, Destructive: destroys}, f, verified, now)
				if d.Reason != want || want != nil && (d.Step != policy.Refuse || len(d.Methods) > 0 || g.ID != "") {
					t.Errorf("%s, %s: %s (%v)", c.name, role, outcome(d), d.Reason)
				}
			}
			if mfa, password := f.Managed(); mfa != (role != account.Owner && !c.mfa) || password != (role != account.Owner && !c.pw) {
				t.Errorf("%s, %s: the pages say %v, %v", c.name, role, mfa, password)
			}
		}
	}
}

// After a device was taken off, the ticket binds the next one, and does nothing
// else: the password alone never binds.
func TestTheTicketIsForBindingAlone(t *testing.T) {
	t.Parallel()
	f := policy.Facts{Role: account.User, Settings: account.DefaultSettings(), Profile: account.Profile{State: account.ProfileActive}, Reenrol: true,
		Proofs: []factor.Proof{{Method: factor.Password, At: now}}}
	f.Now = now
	ticket := []policy.Given{{ID: "g", Scenario: policy.ManageMFA, Action: "a", Method: factor.Ticket, At: now}}
	binds, other := policy.Action{Scenario: policy.ManageMFA, Name: "a", Binds: true}, policy.Action{Scenario: policy.ManageMFA, Name: "a", Destructive: true}
	if d, _ := policy.Permit(binds, f, nil, now); d.Step != policy.Verify || !slices.Equal(d.Methods, []factor.Method{factor.Ticket}) {
		t.Errorf("bind by the password: %s", outcome(d))
	}
	if d, _ := policy.Permit(binds, f, ticket, now); d.Step != policy.Complete {
		t.Errorf("bind by the ticket: %s", outcome(d))
	}
	if d, _ := policy.Permit(other, f, ticket, now); d.Step == policy.Complete {
		t.Error("the ticket does something else")
	}
}

// What the pages and the console say of a user is what the sign-in does.
func TestWhatIsDueIsWhatTheSignInAsksFor(t *testing.T) {
	t.Parallel()
	users(t, func(f policy.Facts) string {
		kinds := counted(f)
		missing := must(f) && (len(kinds) == 0 || f.Settings.TwoKinds && len(kinds) < 2)
		if f.Due() != missing || f.Protected() != (len(kinds) > 0) || !slices.Equal(f.Usable(), kinds) {
			return fmt.Sprintf("due %v, protected %v, usable %v", f.Due(), f.Protected(), f.Usable())
		}
		f.Settings.GraceUntil, f.Recovering, f.Proofs = now, false, gave[len(gave)-1]
		helped := f.Reenrol && f.Unusual && f.Settings.MFAOperation == account.Adaptive && len(kinds) == 0
		if d := policy.SignIn(f); (d.Step == policy.Bind) != (missing || helped) {
			return "everything proved: " + outcome(d)
		}
		return ""
	})
	owner := policy.Facts{Role: account.Owner, Settings: account.DefaultSettings(), Profile: account.Profile{MFARequired: true}}
	if owner.Due() {
		t.Error("the settings of RAM users make a device due of the owner")
	}
}

// A device that is needed can be exchanged and not dropped: without it the
// user would be asked to bind one at the next sign-in.
func TestADeviceIsNeededWhereDroppingItLeavesOneDue(t *testing.T) {
	t.Parallel()
	users(t, func(f policy.Facts) string {
		if f.Settings.MFAOperation == account.Adaptive && !f.Profile.MFARequired {
			return "" // see TestWhoeverIsAskedOnlyWhenUnusualKeepsADevice
		}
		for _, m := range []factor.Method{factor.Passkey, factor.U2F, factor.VirtualMFA, factor.SMS} {
			without := f
			switch {
			case m == factor.SMS:
				without.Phone = false
			case m == factor.VirtualMFA:
				without.VirtualMFA = false
			case m == factor.Passkey:
				without.Passkeys = max(0, f.Passkeys-1)
			default:
				without.U2F = max(0, f.U2F-1)
			}
			// Where nothing that counts goes, what is due was due before.
			if want := len(counted(without)) < len(counted(f)) && without.Due(); f.Needs(m) != want {
				return fmt.Sprintf("%s needed: %v", m, f.Needs(m))
			}
			if !reflect.DeepEqual(f.Without(m), without) {
				return fmt.Sprintf("without %s: %s", m, describe(f.Without(m)))
			}
		}
		for _, m := range []factor.Method{factor.Email, factor.Password, factor.RecoveryCode, factor.Ticket} {
			if f.Needs(m) {
				return fmt.Sprintf("%s needed", m)
			}
		}
		return ""
	})
}

// Without its device such a user would be refused when unusual.
func TestWhoeverIsAskedOnlyWhenUnusualKeepsADevice(t *testing.T) {
	t.Parallel()
	for device, needs := range map[string]string{
		"none": "[]", "virtual": "[virtual_mfa]", "phone": "[sms]", "virtual+phone": "[]", "off": "[]", "virtual+off": "[virtual_mfa]", "passkey": "[passkey]", "passkey+passkey": "[]", "u2f": "[u2f]",
		"u2f+u2f": "[]", "passkey+u2f": "[]", "passkey+virtual": "[]", "passkey+phone": "[]", "passkey+off": "[passkey]", "u2f+off": "[u2f]",
	} {
		f := situation([]string{"adaptive", "no", device, "no", "no", "no", "usual", "no", "no"})
		var list []factor.Method
		for _, m := range methods {
			if f.Needs(m) {
				list = append(list, m)
			}
		}
		if got := fmt.Sprint(list); got != needs {
			t.Errorf("%s: %s, want %s", device, got, needs)
		}
	}
}

func TestOwnersAreAllowedEveryMethodAndUsersThoseOfTheirAccount(t *testing.T) {
	t.Parallel()
	every := append([]factor.Method{factor.Password}, others...)
	for bits := range 4 {
		s := account.Settings{AllowSMS: bits&1 != 0, AllowEmail: bits&2 != 0}
		for _, m := range every {
			want := m == factor.SMS && s.AllowSMS || m == factor.Email && s.AllowEmail || m != factor.SMS && m != factor.Email
			if got := (policy.Facts{Role: account.User, Settings: s}).Allows(m); got != want {
				t.Errorf("%s, sms %v, mail %v: %v", m, s.AllowSMS, s.AllowEmail, got)
			}
			if !(policy.Facts{Role: account.Owner, Settings: s}).Allows(m) {
				t.Errorf("the owner is not allowed %s", m)
			}
		}
	}
}

func TestAccountProtectionOffersUsersAndPolicy(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(policy.Scenarios); got != "[sign-in change-password change-contact manage-mfa manage-users change-policy]" {
		t.Error(got)
	}
	for _, s := range gated { // also while protection is off
		f := policy.Facts{Role: account.Owner, EmailConfirmed: true, VirtualMFA: true, Proofs: proofs("password", 0)}
		if d, _ := policy.Permit(policy.Action{Scenario: s, Name: "x"}, f, nil, now); outcome(d) != "verify m" {
			t.Errorf("%s: %s", s, outcome(d))
		}
	}
}
