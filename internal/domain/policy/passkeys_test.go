package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

// verified is the proof of a passkey that verified its user, and nothing else.
var verified = []factor.Proof{{Method: factor.Passkey, At: now, Verified: true}}

func TestAPasskeyAloneSignsTheOwnerIn(t *testing.T) {
	t.Parallel()
	unverified := proofs("passkey", 0)
	key := []factor.Proof{{Method: factor.U2F, At: now, Verified: true}}
	for _, c := range []struct {
		has, protects string
		gave          []factor.Proof
		want          string
	}{
		{"confirmed passkey", "", verified, "done"},
		{"confirmed passkey passkey device phone codes", "", verified, "done"},
		{"confirmed passkey phone", "sms", verified, "done"},
		{"confirmed passkey device", "virtual_mfa", verified, "done"},
		{"confirmed passkey", "passkey", verified, "done"},
		{"passkey", "", verified, "confirm_email e"}, // the address is another matter
		{"passkey", "", append(proofs("email", 0), verified...), "done"},
		{"confirmed passkey", "", unverified, "refuse"},
		{"confirmed passkey", "", append(proofs("email sms virtual_mfa u2f recovery_code ticket", 0), unverified...), "refuse"},
		{"confirmed passkey", "passkey", unverified, "refuse"},
		{"confirmed u2f", "", key, "refuse"},
		{"confirmed passkey u2f", "", key, "refuse"},
		{"confirmed passkey u2f", "", append(slices.Clone(key), unverified...), "refuse"},
		{"confirmed", "", verified, "refuse"}, // it was taken off meanwhile
		{"confirmed device", "", verified, "refuse"},
		{"confirmed u2f", "", verified, "refuse"},
		{"confirmed passkey", "", nil, "refuse"},
	} {
		for bits := range 4 {
			f := facts(c.has, "", 0)
			f.Proofs, f.Phone, f.Recovering = c.gave, strings.Contains(c.has, "phone"), bits&1 != 0
			if bits&2 != 0 {
				f.Settings = account.DefaultSettings()
			} // else, also without the setting: it is about RAM users
			if c.protects != "" {
				f.Protection = policy.Protection{Method: factor.Method(c.protects), Scenarios: policy.Scenarios}
			}
			if got := outcome(policy.SignIn(f)); got != c.want {
				t.Errorf("has %q, protected by %q, recovering %v, gave %v: %s, want %s", c.has, c.protects, f.Recovering, c.gave, got, c.want)
			}
		}
	}
}

// The bars that are about the user hold however it signs in; those about the
// password only for who gives one.
func TestWhatBarsWhoHasAPasskey(t *testing.T) {
	t.Parallel()
	users(t, func(free policy.Facts) string {
		if free.Passkeys == 0 {
			return ""
		}
		free.Proofs = verified
		alone := policy.SignIn(free)
		for n, bar := range bars {
			f := free
			bar.on(&f)
			d := policy.SignIn(f)
			f.Settings.PasskeySignIn = false
			off := policy.SignIn(f)
			switch about := n < 6; { // the user
			case about && (d.Step != policy.Refuse || d.Reason != bar.reason || off.Reason != bar.reason):
				return bar.name + ": " + outcome(d) + ", switched off: " + outcome(off)
			case !about && (!alike(d, alone) || off.Step != policy.Refuse || off.Reason != policy.ErrPasskeySignIn):
				return bar.name + ": " + outcome(d) + ", switched off: " + outcome(off)
			}
		}
		f := free
		f.Profile.PasswordReset = true
		if d := policy.SignIn(f); !alike(d, alone) {
			return "a new password is asked: " + outcome(d)
		}
		f.Proofs, f.Settings.PasskeySignIn = gave[len(gave)-1], false // a second factor it always is
		if d := policy.SignIn(f); d.Reason == policy.ErrPasskeySignIn {
			return "after the password: " + outcome(d)
		}
		if hold := policy.Holds(f); hold.Reason != nil {
			return "a session does not go on: " + outcome(hold)
		}
		return ""
	})
}

// What nobody gave a password for rests on a passkey that is bound, allowed and
// verified its user, whoever asks and whatever else was given.
func TestNobodyIsInWithoutAPasswordOrAPasskeyThatVerifiedItsUser(t *testing.T) {
	t.Parallel()
	law := func(f policy.Facts) string {
		for set := range 1 << len(others) {
			without := gave[set][1:]
			for _, uv := range []bool{false, true} {
				f.Proofs = slices.Clone(without)
				for n := range f.Proofs {
					f.Proofs[n].Verified = uv
				}
				owner := f.Role == account.Owner
				alone := uv && given(f, factor.Passkey) && f.Passkeys > 0
				switch d := policy.SignIn(f); {
				case f.Alone() != alone:
					return fmt.Sprintf("%v: alone: %v", f.Proofs, !alone)
				case !alone && (d.Step != policy.Refuse || d.Reason != nil || len(d.Methods) > 0):
					return fmt.Sprintf("%v: %s", f.Proofs, outcome(d))
				case alone && !owner && f.Settings.PasskeySignIn == (d.Reason != nil):
					return fmt.Sprintf("%v: %s", f.Proofs, outcome(d))
				case alone && owner && d.Step == policy.Refuse, alone && d.Step == policy.Verify, d.Step == policy.NewPassword:
					return fmt.Sprintf("%v: %s", f.Proofs, outcome(d))
				}
			}
		}
		return ""
	}
	n := 0
	users(t, func(f policy.Facts) string {
		n++
		if n%16 > 0 && !*all {
			return ""
		}
		f.Settings.PasskeySignIn = n%3 > 0
		return law(f)
	})
	for b := range everything + 1 {
		for _, c := range choices {
			f := b.facts()
			f.EmailConfirmed = true
			f.Protection = c.of(policy.SignInScenario)
			if c.method == factor.Passkey && c.covers && f.Passkeys == 0 {
				continue
			}
			if wrong := law(f); wrong != "" {
				t.Fatalf("an owner, %s, has %s: %s", c, b, wrong)
			}
		}
	}
}

func TestAfterThePasswordAKeyNeedNotVerifyItsUser(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, _ int) string {
		f.Proofs = slices.Clone(f.Proofs)
		for n := range f.Proofs {
			f.Proofs[n].Verified, f.Proofs[n].Synced = true, true
		}
		if f.Settings.PasskeySignIn = false; !alike(policy.SignIn(f), d) {
			return "verified: " + outcome(policy.SignIn(f))
		}
		return ""
	})
}

func TestWhatAnOwnerNeedsIsWhatProtectsTheAccount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ has, protects, needs string }{
		{"passkey device phone", "", "[]"},
		{"phone device passkey u2f", "sms", "[sms]"},
		{"phone device passkey u2f", "virtual_mfa", "[virtual_mfa]"},
		{"passkey device phone", "passkey", "[passkey]"},
		{"passkey passkey", "passkey", "[]"},
		{"u2f device", "passkey", "[u2f]"},
		{"u2f u2f", "passkey", "[]"},
		{"passkey u2f", "passkey", "[]"}, // either does
		{"device", "passkey", "[]"},      // there is none to be dropped
	} {
		f := facts(c.has, "", 0)
		f.Phone, f.Protection, f.Settings = strings.Contains(c.has, "phone"), policy.Protection{Method: factor.Method(c.protects)}, account.DefaultSettings()
		f.Profile.MFARequired, f.Settings.TwoKinds = true, true // of RAM users
		var needs []factor.Method
		for _, m := range methods {
			if f.Needs(m) {
				needs = append(needs, m)
			}
		}
		if got := fmt.Sprint(needs); got != c.needs {
			t.Errorf("has %q, protected by %q: needs %s, want %s", c.has, c.protects, got, c.needs)
		}
	}
}

func TestWhatRemainsWithoutADevice(t *testing.T) {
	t.Parallel()
	full := policy.Facts{Role: account.User, Passkeys: 3, U2F: 2, VirtualMFA: true, Phone: true, RecoveryCodes: 3, EmailConfirmed: true}
	f := full
	for n, m := range strings.Fields("passkey passkey u2f virtual_mfa passkey sms u2f passkey u2f virtual_mfa sms email recovery_code password ticket telepathy") {
		f = f.Without(factor.Method(m))
		want := policy.Facts{Role: account.User, Passkeys: []int{2, 1, 1, 1, 0, 0, 0}[min(n, 6)], U2F: []int{2, 2, 1, 1, 1, 1, 0}[min(n, 6)], VirtualMFA: n < 3, Phone: n < 5, RecoveryCodes: 3, EmailConfirmed: true}
		if fmt.Sprint(f) != fmt.Sprint(want) {
			t.Errorf("%d, without %s: %v", n, m, f)
		}
		if f.SecondFactor() != (n < 6) {
			t.Errorf("%d, without %s: a second factor %v", n, m, f.SecondFactor())
		}
	}
	if full.Passkeys != 3 || !full.VirtualMFA {
		t.Error("what remains changes what there is")
	}
}

// The password of whoever is asked for a key is never the only one.
func TestWithAKeyThePasswordIsNeverAlone(t *testing.T) {
	t.Parallel()
	for has, want := range map[string]bool{"confirmed": false, "confirmed codes": false, "confirmed passkey": true, "confirmed u2f": true, "confirmed device": true} {
		if f := facts(has, "", 0); f.MFA() != want {
			t.Errorf("an owner with %q: %v", has, !want)
		}
	}
	for device, want := range map[string]bool{"none": false, "off": false, "passkey": true, "u2f": true, "u2f+off": true, "phone": true} {
		f := situation([]string{"independent", "no", device, "no", "no", "no", "usual", "no", "no"})
		if f.MFA() != want {
			t.Errorf("a user with %q: %v", device, !want)
		}
	}
}

// Who chooses a method for Account Protection shows that it is still there, or
// one that does in its place: else the choice locks them out.
func TestWhoeverChoosesPasskeysShowsOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		has     string
		chooses factor.Method
		want    string
	}{
		{"passkey codes", factor.Passkey, "verify k"},
		{"passkey device codes", factor.Passkey, "verify k"}, // the device does not show the key
		{"passkey u2f device codes", factor.Passkey, "verify k u"},
		{"passkey device codes", factor.VirtualMFA, "verify k m"}, // which will be asked, and a key does
		{"passkey phone codes", factor.SMS, "verify k r"},         // does not count beside the key
		{"device codes", factor.Passkey, "verify m r"},            // not bound yet
		{"u2f codes", factor.Passkey, "verify u r"},               // likewise: one is made before this is saved
		{"passkey codes", factor.VirtualMFA, "verify k r"},
		{"passkey device codes", "", "verify k m r"},
	} {
		f := facts("confirmed "+c.has, "password", 0)
		f.Phone = strings.Contains(c.has, "phone")
		a := policy.Action{Scenario: policy.ManageMFA, Name: "x", Target: "y", Chosen: c.chooses, Destructive: true}
		d, _ := policy.Permit(a, f, nil, now)
		if outcome(d) != c.want {
			t.Errorf("has %q, choosing %q: %s, want %s", c.has, c.chooses, outcome(d), c.want)
		}
		for _, m := range methods {
			verified := []policy.Given{{ID: "g", Scenario: policy.ManageMFA, Action: "x", Target: "y", Method: m, At: now}}
			if after, _ := policy.Permit(a, f, verified, now); (after.Step == policy.Complete) != slices.Contains(strings.Fields(c.want)[1:], short[m]) {
				t.Errorf("has %q, choosing %q, after %s: %s", c.has, c.chooses, m, outcome(after))
			}
		}
	}
}

// The table of shared/security.md part 3.
func TestClaimsOfKeys(t *testing.T) {
	t.Parallel()
	one := func(m factor.Method, uv, synced bool) factor.Proof {
		return factor.Proof{Method: m, At: now, Verified: uv, Synced: synced}
	}
	for n, c := range []struct {
		with   string
		proofs []factor.Proof
		want   string
	}{
		{"password", []factor.Proof{one(factor.Passkey, true, false)}, "phr [pwd hwk user mfa]"},
		{"password", []factor.Proof{one(factor.Passkey, false, false)}, "phr [pwd hwk user mfa]"},
		{"password", []factor.Proof{one(factor.Passkey, true, true)}, "phr [pwd swk user mfa]"},
		{"password", []factor.Proof{one(factor.Passkey, false, true)}, "phr [pwd swk user mfa]"},
		{"password", []factor.Proof{one(factor.U2F, false, false)}, "phr [pwd hwk user mfa]"},
		{"password email sms virtual_mfa recovery_code", []factor.Proof{one(factor.Passkey, true, false)}, "phr [pwd hwk user mfa]"},
		{"password", []factor.Proof{one(factor.U2F, false, false), one(factor.Passkey, true, true)}, "phr [pwd swk user mfa]"}, // no more is claimed than both hold
		{"password", []factor.Proof{one(factor.Passkey, true, true), one(factor.Passkey, true, false)}, "phr [pwd swk user mfa]"},
		{"", []factor.Proof{one(factor.Passkey, true, true)}, "phr [swk user mfa]"},
		{"", []factor.Proof{one(factor.Passkey, true, false)}, "phr [hwk user mfa]"},
		{"email", []factor.Proof{one(factor.Passkey, true, false)}, "phr [hwk user mfa]"},
		{"password ticket", nil, "urn:mfa:1 [pwd]"},
	} {
		list := append(proofs(c.with, time.Hour), c.proofs...)
		for range 2 { // in whatever order
			claims := policy.ClaimsOf(list)
			if got := fmt.Sprintf("%s %v", claims.ACR, claims.AMR); got != c.want {
				t.Errorf("%d, %v: %s, want %s", n, list, got, c.want)
			}
			if want := now; len(c.proofs) > 0 && !claims.AuthTime.Equal(want) {
				t.Errorf("%d: at %s", n, claims.AuthTime)
			}
			slices.Reverse(list)
		}
	}
}

// A RAM user with a passkey, at the network's and the account's edges.
func TestAPasskeyDoesNotReachOverTheMask(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{"192.0.2.7": "done", "::ffff:192.0.2.7": "done", "198.51.100.7": "refuse mask", "2001:db8::7": "refuse mask"} {
		f := situation([]string{"mandatory", "yes", "passkey", "no", "no", "no", "unusual", "no", "no"})
		f.Settings.Masks, f.Address = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, netip.MustParseAddr(from)
		f.Proofs = verified
		if got := outcome(policy.SignIn(f)); got != want {
			t.Errorf("from %s: %s, want %s", from, got, want)
		}
	}
}
