package posture_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/posture"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const aDay = 24 * time.Hour

// settled is an identity that has nothing to look at.
func settled(role account.Role) posture.Own {
	s := account.DefaultSettings()
	return posture.Own{Facts: policy.Facts{Role: role, EmailConfirmed: true, VirtualMFA: true, Passkeys: 1, RecoveryCodes: 10, Settings: s, Profile: account.Profile{State: account.ProfileActive},
		PasswordChangedAt: now.Add(-30 * aDay), Circumstances: policy.Circumstances{Now: now}}, CodesMadeAt: now.Add(-30 * aDay)}
}

func bare(o *posture.Own) {
	o.Facts.VirtualMFA, o.Facts.Passkeys, o.Facts.RecoveryCodes, o.CodesMadeAt = false, 0, 0, time.Time{}
}

func TestTheCheckup(t *testing.T) {
	t.Parallel()
	both := []account.Role{account.Owner, account.User}
	owner, user := both[:1], both[1:]
	protect := func(o *posture.Own) {
		o.Facts.Protection = policy.Protection{Scenarios: []policy.Scenario{policy.SignInScenario}, Method: factor.SMS}
	}
	for _, c := range []struct {
		name   string
		who    []account.Role
		change func(o *posture.Own)
		want   string // keys; with a number where one is told; in brackets where it is advice
	}{
		{"all is well", both, func(*posture.Own) {}, ""},
		{"the password is all", both, bare, "no_mfa"},
		{"an optional user has none either", user, func(o *posture.Own) { bare(o); o.Facts.Settings.MFAOperation = account.Independent }, "no_mfa"},
		{"within the grace", user, func(o *posture.Own) { bare(o); o.Facts.Settings.GraceUntil = now.Add(aDay) }, "no_mfa"},
		{"a phone that nobody is asked for", owner, func(o *posture.Own) { bare(o); o.Facts.Phone = true }, "no_mfa"},
		{"only text messages", user, func(o *posture.Own) { bare(o); o.Facts.Phone, o.Facts.RecoveryCodes = true, 10 }, "only_sms"},
		{"only text messages, protected", owner, func(o *posture.Own) { bare(o); o.Facts.Phone, o.Facts.RecoveryCodes = true, 10; protect(o) }, "only_sms"},
		{"a phone beside a device", both, func(o *posture.Own) { o.Facts.Phone, o.Facts.Passkeys = true, 0 }, ""},
		{"a virtual MFA device alone", both, func(o *posture.Own) { o.Facts.Passkeys = 0 }, "(second_kind)"},
		{"a passkey alone", both, func(o *posture.Own) { o.Facts.VirtualMFA = false }, "(second_kind)"},
		{"a passkey alone that is nowhere else", both, func(o *posture.Own) { o.Facts.VirtualMFA, o.OnlyHere = false, true }, "only_here"},
		{"a passkey and an old key are one kind", both, func(o *posture.Own) { o.Facts.VirtualMFA, o.Facts.U2F = false, 1 }, "(u2f) (second_kind)"},
		{"a phone that is not allowed is no second kind", user, func(o *posture.Own) { o.Facts.Passkeys, o.Facts.Phone, o.Facts.Settings.AllowSMS = 0, true, false }, "(second_kind)"},
		{"an old key", both, func(o *posture.Own) { o.Facts.U2F = 1 }, "(u2f)"},
		{"no codes", both, func(o *posture.Own) { o.Facts.RecoveryCodes = 0 }, "no_codes"},
		{"one code", both, func(o *posture.Own) { o.Facts.RecoveryCodes = 1 }, "few_codes:1"},
		{"three codes", both, func(o *posture.Own) { o.Facts.RecoveryCodes = 3 }, "few_codes:3"},
		{"four codes", both, func(o *posture.Own) { o.Facts.RecoveryCodes = 4 }, ""},
		{"codes that nobody has saved", both, func(o *posture.Own) { o.CodesUnsaved = true }, "codes_unsaved"},
		{"codes of a year ago", both, func(o *posture.Own) { o.CodesMadeAt = now.Add(-365 * aDay) }, "(codes_old)"},
		{"codes of nearly a year ago", both, func(o *posture.Own) { o.CodesMadeAt = now.Add(-365*aDay + time.Second) }, ""},
		{"few old codes are few", both, func(o *posture.Own) { o.CodesMadeAt, o.Facts.RecoveryCodes = now.Add(-400*aDay), 2 }, "few_codes:2"},
		{"signed in with a recovery code", both, func(o *posture.Own) { o.Facts.Proofs = []factor.Proof{{Method: factor.RecoveryCode}} }, "lost"},
		{"a copied passkey", both, func(o *posture.Own) { o.Copied = true }, "copied"},
		{"unconfirmed email of an owner", owner, func(o *posture.Own) { o.Facts.EmailConfirmed = false }, "email_unconfirmed"},
		{"a user's profile proves nothing", user, func(o *posture.Own) { o.Facts.EmailConfirmed = false }, ""},
		{"new browsers", both, func(o *posture.Own) { o.NewSignIns = 2 }, "new_signin:2"},
		{"this was not me", both, func(o *posture.Own) { o.CheckDue = true }, "check"},
		{"a password that runs out", user, func(o *posture.Own) { o.Facts.Settings.Password.MaxAge = 44 }, "password_expires:14"},
		{"not soon", user, func(o *posture.Own) { o.Facts.Settings.Password.MaxAge = 45 }, ""},
		{"on its last day", user, func(o *posture.Own) { o.Facts.Settings.Password.MaxAge = 30 }, "password_expires"},
		{"that is not the user's to change", user, func(o *posture.Own) {
			o.Facts.Settings.Password.MaxAge, o.Facts.Settings.ChangePassword = 40, false
		}, ""},
		{"the owner's does not run out", owner, func(o *posture.Own) { o.Facts.Settings.Password.MaxAge = 40 }, ""},
		{"devices are managed by others", user, func(o *posture.Own) {
			o.Facts.Settings.ManageMFA, o.Facts.Passkeys, o.Facts.RecoveryCodes, o.Facts.U2F = false, 0, 0, 1
			o.Facts.Proofs = []factor.Proof{{Method: factor.RecoveryCode}}
		}, ""},
		{"but one that is due can be bound", user, func(o *posture.Own) { bare(o); o.Facts.Settings.ManageMFA = false }, "no_mfa"},
		{"five of many, the gravest first", both, func(o *posture.Own) {
			bare(o)
			o.CheckDue, o.Copied, o.NewSignIns, o.Facts.Phone, o.Facts.RecoveryCodes, o.CodesUnsaved, o.Facts.U2F = true, true, 3, true, 8, true, 1
			o.Facts.Proofs = []factor.Proof{{Method: factor.RecoveryCode}}
		}, "check lost copied new_signin:3 codes_unsaved"},
	} {
		for _, role := range c.who {
			o := settled(role)
			c.change(&o)
			var got []string
			for _, i := range posture.Checkup(o) {
				s := i.Key
				if i.Count > 0 {
					s += fmt.Sprintf(":%d", i.Count)
				}
				if i.Advice {
					s = "(" + s + ")"
				}
				got = append(got, s)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s (%s): %q, want %q", c.name, role, got, c.want)
			}
		}
	}
}
