package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

// A RAM user whose last device an administrator took off, with a security email.
func afterUnbinding() policy.Facts {
	return policy.Facts{Role: account.User, Settings: account.DefaultSettings(), Profile: account.Profile{State: account.ProfileActive}, Reenrol: true, SecurityEmail: true,
		Circumstances: policy.Circumstances{Now: now}, Proofs: proofs("password", 0)}
}

// The ticket or the security email binds the next device; and whoever has but
// the password cannot first make a mailbox of its own the security email.
func TestAfterAnUnbindingTheMailboxBindsAsTheTicketDoes(t *testing.T) {
	t.Parallel()
	binds, adds := policy.Action{Scenario: policy.ManageMFA, Name: "a", Binds: true}, policy.Action{Scenario: policy.ChangeContact, Name: "a", Adds: true}
	for _, c := range []struct {
		name    string
		mailbox bool
		allowed bool
		want    string
	}{{"allowed", true, true, "verify t e"}, {"not allowed", true, false, "verify t"}, {"none", false, true, "verify t"}} {
		f := afterUnbinding()
		f.SecurityEmail, f.Settings.AllowEmail = c.mailbox, c.allowed
		for _, a := range []policy.Action{binds, adds} {
			if d, _ := policy.Permit(a, f, nil, now); outcome(d) != c.want {
				t.Errorf("%s, %+v: %s, want %s", c.name, a, outcome(d), c.want)
			}
			for _, m := range []factor.Method{factor.Email, factor.Ticket} {
				given := []policy.Given{{ID: "g", Scenario: a.Scenario, Action: "a", Method: m, At: now}}
				d, _ := policy.Permit(a, f, given, now)
				if want := m == factor.Ticket || c.mailbox && c.allowed; (d.Step == policy.Complete) != want {
					t.Errorf("%s, %+v by %s: %s", c.name, a, m, outcome(d))
				}
			}
		}
	}
	f := afterUnbinding()
	f.SecurityEmail = false
	if d, _ := policy.Permit(policy.Action{Scenario: policy.ChangeContact, Name: "a"}, f, nil, now); d.Step != policy.Complete {
		t.Errorf("another contact by the password, which is all there is: %s", outcome(d))
	}
}

// A mailbox counts only while nothing stronger is bound: neither for a change,
// nor for a device beside another.
func TestAMailboxChangesNothingBesideADevice(t *testing.T) {
	t.Parallel()
	users(t, func(f policy.Facts) string {
		if !strong(f) && !f.Phone {
			return ""
		}
		f.Reenrol = false
		for _, s := range gated {
			a := policy.Action{Scenario: s, Name: "a", Target: "x", Binds: true, Adds: true}
			f.Proofs = append(proofs("password", 0), factor.Proof{Method: factor.Email, At: now})
			given := []policy.Given{{ID: "g", Scenario: s, Action: "a", Target: "x", Method: factor.Email, At: now}}
			if d, _ := policy.Permit(a, f, given, now); d.Step == policy.Complete || d.Allows(factor.Email) {
				return fmt.Sprintf("%s: %s", s, outcome(d))
			}
		}
		return ""
	})
}

// The email of the profile, which administrators write, is never one of the
// methods, however it is marked.
func TestTheProfilesEmailProvesNothing(t *testing.T) {
	t.Parallel()
	users(t, func(f policy.Facts) string {
		if f.SecurityEmail {
			return ""
		}
		f.EmailConfirmed, f.Proofs = true, proofs("password", 0)
		if d := policy.SignIn(f); d.Allows(factor.Email) {
			return "at the sign-in: " + outcome(d)
		}
		for _, s := range gated {
			for _, a := range []policy.Action{{Scenario: s, Name: "a"}, {Scenario: s, Name: "a", Binds: true}, {Scenario: s, Name: "a", Destructive: true}} {
				if d, _ := policy.Permit(a, f, nil, now); d.Allows(factor.Email) {
					return fmt.Sprintf("%s: %s", s, outcome(d))
				}
			}
		}
		return ""
	})
}

func TestASignInByMailIsOfTheBasicLevel(t *testing.T) {
	t.Parallel()
	f := policy.Facts{Role: account.User, Settings: account.DefaultSettings(), Profile: account.Profile{State: account.ProfileActive}, VirtualMFA: true, SecurityEmail: true, Circumstances: policy.Circumstances{Now: now}}
	f.Proofs = append(proofs("password", 0), factor.Proof{Method: factor.Email, At: now})
	if d := policy.SignIn(f); d.Step != policy.Complete {
		t.Fatal(outcome(d))
	}
	c := policy.ClaimsOf(f.Proofs)
	if c.ACR != policy.LevelEmail || !slices.Equal(c.AMR, []string{"pwd", "mca"}) || c.Strong() {
		t.Errorf("%+v", c)
	}
	f.Settings.AllowEmail = false
	if policy.Holds(f).Step == policy.Complete {
		t.Error("the session goes on when codes by mail are switched off")
	}
}
