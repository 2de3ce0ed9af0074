package policy_test

import (
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

func shown(methods ...factor.Method) (list []factor.Proof) {
	for _, m := range methods {
		list = append(list, factor.Proof{Method: m, At: time.Unix(1, 0), Verified: m == factor.Passkey})
	}
	return list
}

// After "This wasn't me" the password alone opens nothing, whatever else the
// account asks; what is shown beside it leads to a new password.
func TestWhoWasTakenForSomebodyElseShowsMoreThanThePassword(t *testing.T) {
	t.Parallel()
	owner := policy.Facts{Role: account.Owner, EmailConfirmed: true}
	user := policy.Facts{Role: account.User, Settings: account.DefaultSettings(), Profile: account.Profile{State: account.ProfileActive}}
	user.Settings.MFAOperation = account.Independent
	with := func(f policy.Facts, change func(*policy.Facts)) policy.Facts { change(&f); return f }
	for name, c := range map[string]struct {
		facts   policy.Facts
		methods []factor.Method // that are asked; nil: an administrator must help
	}{
		"owner with nothing":       {owner, []factor.Method{factor.Email}},
		"owner with a phone":       {with(owner, func(f *policy.Facts) { f.Phone, f.RecoveryCodes = true, 3 }), []factor.Method{factor.SMS, factor.RecoveryCode}},
		"owner with an app":        {with(owner, func(f *policy.Facts) { f.VirtualMFA = true }), []factor.Method{factor.VirtualMFA}},
		"owner with app and phone": {with(owner, func(f *policy.Facts) { f.VirtualMFA, f.Phone = true, true }), []factor.Method{factor.VirtualMFA}},
		"owner protected by message": {with(owner, func(f *policy.Facts) {
			f.VirtualMFA, f.Phone = true, true
			f.Protection = policy.Protection{Scenarios: []policy.Scenario{policy.SignInScenario}, Method: factor.SMS}
		}), []factor.Method{factor.VirtualMFA}},
		"user with nothing":         {user, nil},
		"user with a mailbox":       {with(user, func(f *policy.Facts) { f.SecurityEmail = true }), []factor.Method{factor.Email}},
		"user with an app":          {with(user, func(f *policy.Facts) { f.VirtualMFA = true }), []factor.Method{factor.VirtualMFA}},
		"user with app and mailbox": {with(user, func(f *policy.Facts) { f.VirtualMFA, f.SecurityEmail = true, true }), []factor.Method{factor.VirtualMFA}},
		"user in a remembered browser": {with(user, func(f *policy.Facts) {
			f.VirtualMFA, f.Settings.Remember, f.Remembered = true, true, true
		}), []factor.Method{factor.VirtualMFA}},
		"user who must bind": {with(user, func(f *policy.Facts) { f.Settings.MFAOperation = account.Mandatory }), nil},
		"user who must bind, with a mailbox": {with(user, func(f *policy.Facts) {
			f.Settings.MFAOperation, f.SecurityEmail = account.Mandatory, true
		}), []factor.Method{factor.Email}},
	} {
		f := c.facts
		f.Distrusted, f.Proofs = true, shown(factor.Password)
		d := policy.SignIn(f)
		if c.methods == nil {
			if d.Step != policy.Refuse || d.Reason != policy.ErrDistrusted {
				t.Errorf("%s: %+v", name, d)
			}
			continue
		}
		if d.Step != policy.Verify || !slices.Equal(d.Methods, c.methods) {
			t.Errorf("%s: %+v, want %v", name, d, c.methods)
		}
		for _, m := range c.methods {
			f.Proofs = shown(factor.Password, m)
			next := policy.SignIn(f)
			due := f.Role == account.User && f.Settings.MFAOperation == account.Mandatory
			if due && next.Step != policy.Bind || !due && next.Step != policy.NewPassword {
				t.Errorf("%s, after %s: %+v", name, m, next)
			}
			f.Distrusted = false
			if now := policy.SignIn(f); !due && now.Step != policy.Complete {
				t.Errorf("%s, with the new password: %+v", name, now)
			}
			f.Distrusted = true
		}
	}
	alone := policy.Facts{Role: account.Owner, EmailConfirmed: true, Passkeys: 1, Distrusted: true, Proofs: shown(factor.Passkey)}
	if d := policy.SignIn(alone); d.Step != policy.NewPassword {
		t.Errorf("a passkey alone: %+v", d)
	}
	barred := with(user, func(f *policy.Facts) {
		f.Distrusted, f.Profile.State, f.Proofs = true, account.ProfileInactive, shown(factor.Password)
	})
	if d := policy.SignIn(barred); d.Reason != policy.ErrDisabled {
		t.Errorf("a disabled user: %+v", d)
	}
}

// A stolen mailbox alone changes no password where anything else is bound.
func TestALinkInAMailIsOneProofWhereTwoAreBound(t *testing.T) {
	t.Parallel()
	for _, role := range []account.Role{account.Owner, account.User} {
		for bits := range 1 << 8 {
			on := func(n int) bool { return bits>>n&1 == 1 }
			f := policy.Facts{Role: role, EmailConfirmed: role == account.Owner, SecurityEmail: role != account.Owner, VirtualMFA: on(0), Phone: on(1), Settings: account.DefaultSettings(),
				Profile: account.Profile{State: account.ProfileActive}, Proofs: shown(factor.Email), Recovering: on(6)}
			if on(2) {
				f.Passkeys = 1
			}
			if on(3) {
				f.U2F = 1
			}
			if on(4) {
				f.RecoveryCodes = 2
			}
			f.Reenrol = on(5) && role == account.User && !f.SecondFactor()
			f.Settings.AllowSMS = on(7)
			d := policy.Reset(f)
			if !f.SecondFactor() && !f.Reenrol && !f.Recovering {
				if d.Step != policy.NewPassword {
					t.Errorf("%s with nothing beside the mailbox: %+v", role, d)
				}
				continue
			}
			if d.Step != policy.Verify || d.Allows(factor.Email) || d.Allows(factor.Password) || len(d.Methods) == 0 {
				t.Errorf("%s, %08b: %+v", role, bits, d)
			}
			strong := f.VirtualMFA || f.Passkeys+f.U2F > 0
			if d.Allows(factor.SMS) && strong {
				t.Errorf("%s, %08b: a text message does for who has a device", role, bits)
			}
			for _, m := range d.Methods {
				f.Proofs = shown(factor.Email, m)
				if next := policy.Reset(f); next.Step != policy.NewPassword {
					t.Errorf("%s, %08b, after %s: %+v", role, bits, m, next)
				}
			}
			f.Proofs = shown(factor.Email, factor.Password)
			if next := policy.Reset(f); next.Step != policy.Verify {
				t.Errorf("%s, %08b: the password leads to another: %+v", role, bits, next)
			}
		}
	}
}
