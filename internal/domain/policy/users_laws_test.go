package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
)

// keys are how many passkeys and U2F keys somebody has.
var keys = [][2]int{{0, 0}, {1, 0}, {2, 0}, {0, 1}, {0, 2}, {1, 1}}

// users calls f with the facts of RAM users in a sample of the situations that
// settings which can be saved lead to, or with -all in every one, without
// proofs; it ends at the first failure.
func users(t *testing.T, f func(f policy.Facts) string) {
	t.Helper()
	n, random := 0, rand.New(rand.NewPCG(6, 6))
	for at := range len(account.Operations) * len(keys) {
		operation, key := account.Operations[at/len(keys)], keys[at%len(keys)]
		for bits := range 1 << 14 {
			if !*all && random.IntN(7) > 0 {
				continue
			}
			bit := func(n int) bool { return bits>>n&1 != 0 }
			u := policy.Facts{Role: account.User, Settings: account.DefaultSettings(), Profile: account.Profile{State: account.ProfileActive, MFARequired: bit(0)}, PasswordChangedAt: now.Add(-time.Hour)}
			u.VirtualMFA, u.Phone, u.Reenrol, u.Recovering, u.SecurityEmail, u.EmailConfirmed = bit(1), bit(2), bit(3), bit(4), bit(5), !bit(5) // the profile's mail is another matter
			u.Passkeys, u.U2F = key[0], key[1]
			if bit(6) {
				u.RecoveryCodes = 3
			}
			u.Settings.MFAOperation, u.Settings.AllowSMS, u.Settings.AllowEmail, u.Settings.TwoKinds, u.Settings.Remember = operation, bit(7), bit(8), bit(9), bit(10)
			if bit(11) {
				u.Settings.GraceUntil = now.Add(time.Minute)
			}
			u.Circumstances = policy.Circumstances{Now: now, Address: netip.MustParseAddr("192.0.2.7"), Unusual: bit(12), Remembered: bit(13)}
			if !u.SecurityEmail && !u.Settings.AllowEmail {
				continue
			}
			n++
			if wrong := f(u); wrong != "" {
				t.Fatalf("%s: %s", describe(u), wrong)
			}
		}
	}
	if n < 25_000 {
		t.Errorf("only %d situations", n)
	}
}

func describe(f policy.Facts) string {
	s := f.Settings
	return fmt.Sprintf("%s, must %v, passkeys %d, u2f %d, virtual %v, phone %v, codes %d, mail %v; allows sms %v, mail %v; two kinds %v, grace %v, reenrol %v, recovering %v, unusual %v, remembered %v (setting %v), state %q, proofs %v",
		s.MFAOperation, f.Profile.MFARequired, f.Passkeys, f.U2F, f.VirtualMFA, f.Phone, f.RecoveryCodes, f.SecurityEmail, s.AllowSMS, s.AllowEmail, s.TwoKinds, !s.GraceUntil.IsZero(), f.Reenrol, f.Recovering, f.Unusual, f.Remembered, s.Remember, f.Profile.State, f.Proofs)
}

// others are the methods that come after the password.
var others = []factor.Method{factor.Email, factor.SMS, factor.VirtualMFA, factor.Passkey, factor.U2F, factor.RecoveryCode, factor.Ticket}

// gave are the proofs of the password and a set of others.
var gave = func() (list [1 << 7][]factor.Proof) {
	for set := range list {
		list[set] = proofs("password", 0)
		for n, m := range others {
			if set>>n&1 != 0 {
				list[set] = append(list[set], factor.Proof{Method: m, At: now})
			}
		}
	}
	return list
}()

// eachSignIn calls f with those situations and a sample of the sets of proofs,
// among them none and all.
func eachSignIn(t *testing.T, f func(f policy.Facts, d policy.Decision, set int) string) {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	users(t, func(u policy.Facts) string {
		for n := range gave {
			set := n
			if !*all && n > 1 {
				if n == 12 {
					break
				}
				set = random.IntN(len(gave))
			} else if !*all {
				set = n * (len(gave) - 1)
			}
			u.Proofs = gave[set]
			if wrong := f(u, policy.SignIn(u), set); wrong != "" {
				return fmt.Sprintf("%v: %s: %s", u.Proofs, outcome(policy.SignIn(u)), wrong)
			}
		}
		return ""
	})
}

// The product's words, once more and apart from the code: what counts as a
// device, who must have one, and which proofs are those of a device.
func counted(f policy.Facts) (kinds []factor.Method) {
	if f.Passkeys > 0 {
		kinds = append(kinds, factor.Passkey)
	} else if f.U2F > 0 { // of one kind with passkeys
		kinds = append(kinds, factor.U2F)
	}
	if f.VirtualMFA {
		kinds = append(kinds, factor.VirtualMFA)
	}
	if f.Phone && f.Settings.AllowSMS {
		kinds = append(kinds, factor.SMS)
	}
	return kinds
}

func must(f policy.Facts) bool {
	return f.Settings.MFAOperation == account.Mandatory || f.Profile.MFARequired
}

func inGrace(f policy.Facts) bool { return f.Now.Before(f.Settings.GraceUntil) }

func given(f policy.Facts, m factor.Method) bool {
	return slices.ContainsFunc(f.Proofs, func(p factor.Proof) bool { return p.Method == m })
}

func gaveDevice(f policy.Facts) bool {
	kinds := counted(f)
	return slices.ContainsFunc(append(slices.Clone(kinds), factor.U2F), func(m factor.Method) bool { return has(f, m) && given(f, m) }) || len(kinds) > 0 && f.RecoveryCodes > 0 && given(f, factor.RecoveryCode)
}

// standsIn reports whether the mailbox was shown where it may stand in for a
// device that is out of reach.
func standsIn(f policy.Facts) bool {
	return len(counted(f)) > 0 && f.SecurityEmail && f.Settings.AllowEmail && given(f, factor.Email)
}

func alike(a, b policy.Decision) bool {
	return a.Step == b.Step && a.Grace == b.Grace && a.Reason == b.Reason && slices.Equal(a.Methods, b.Methods)
}

func in(d policy.Decision) bool { return d.Step == policy.Complete || d.Step == policy.NewPassword }

func TestNobodyWhoMustHaveADeviceIsInWithoutOneOutsideTheGrace(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, _ int) string {
		if !in(d) {
			if d.Grace {
				return "a grace for nobody"
			}
			return ""
		}
		kinds, adaptive := counted(f), f.Settings.MFAOperation == account.Adaptive
		missing := must(f) && (len(kinds) == 0 || f.Settings.TwoKinds && len(kinds) < 2)
		switch {
		case missing && !inGrace(f):
			return "a device is missing"
		case missing != d.Grace:
			return "the session does not end with the grace"
		case missing && len(kinds) == 0 && (f.Reenrol || adaptive && f.Unusual):
			return "the grace is not for them"
		case len(kinds) == 0 && adaptive && f.Unusual:
			return "unusual, and no device"
		case len(kinds) == 0, gaveDevice(f), standsIn(f), f.Remembered && f.Settings.Remember, adaptive && !f.Unusual:
			return ""
		}
		return "no device was shown"
	})
}

func TestThePasswordAloneBindsNothingInPlaceOfSomething(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, set int) string {
		if d.Step != policy.Bind {
			return ""
		}
		bound := strong(f) || f.Phone
		something := f.Reenrol || bound || f.SecurityEmail
		byTicket := given(f, factor.Ticket) && (f.Recovering || f.Reenrol && !bound)
		byMail := given(f, factor.Email) && f.SecurityEmail && !bound && (!f.Reenrol || f.Settings.AllowEmail)
		byBound := bound && slices.ContainsFunc([]factor.Method{factor.Passkey, factor.U2F, factor.VirtualMFA, factor.SMS, factor.RecoveryCode}, func(m factor.Method) bool { return has(f, m) && given(f, m) })
		switch {
		case set == 0 && something:
			return "by the password alone"
		case !byTicket && !byBound && !byMail && something:
			return "by what shows nothing"
		case !must(f) && !byTicket && !(f.Reenrol && f.Unusual && f.Settings.MFAOperation == account.Adaptive):
			return "none is due"
		}
		return ""
	})
}

func TestADeviceIsBoundOfAKindThatIsAllowedAndNeverMail(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, _ int) string {
		if d.Allows(factor.Email) && (d.Step != policy.Verify || !f.SecurityEmail || strong(f) && !f.Settings.AllowEmail) || d.Allows(factor.Password) {
			return "is no second factor"
		}
		if d.Step != policy.Bind {
			return ""
		}
		anew := f.Recovering && given(f, factor.Ticket)
		if len(d.Methods) == 0 {
			return "nothing to bind"
		}
		for _, m := range d.Methods {
			switch {
			case m != factor.Passkey && m != factor.VirtualMFA && m != factor.SMS: // no U2F key: whose time is over
				return "no kind of device"
			case m == factor.Passkey && !anew && f.U2F > 0:
				return "is no other kind"
			case m == factor.SMS && !f.Settings.AllowSMS:
				return "not allowed"
			case !anew && slices.Contains(counted(f), m):
				return "is bound already"
			}
		}
		if slices.Contains(f.Bindable(), factor.Email) || !anew && !slices.Equal(d.Methods, f.Bindable()) {
			return fmt.Sprintf("the pages offer %v", f.Bindable())
		}
		return ""
	})
}

func TestARememberedBrowserIsSparedTheSecondStepAndNothingElse(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, _ int) string {
		if f.Remembered {
			return ""
		}
		f.Remembered = true
		remembered := policy.SignIn(f)
		if alike(remembered, d) {
			return ""
		}
		switch {
		case !f.Settings.Remember:
			return "although the setting is off: " + outcome(remembered)
		case d.Step != policy.Verify || remembered.Step != policy.Complete || len(counted(f)) == 0:
			return "becomes " + outcome(remembered)
		}
		f.Proofs = append(slices.Clone(f.Proofs), factor.Proof{Method: d.Methods[0], At: now})
		f.Remembered = false
		if then := policy.SignIn(f); !alike(then, remembered) {
			return fmt.Sprintf("becomes %s, where the second step leads to %s", outcome(remembered), outcome(then))
		}
		return ""
	})
}

// bars are what keeps a user out whatever else holds, in the order in which
// they answer.
var bars = []struct {
	name   string
	reason *fault.Fault
	on     func(f *policy.Facts)
}{
	{"idle", policy.ErrIdle, func(f *policy.Facts) { f.Profile.State = account.ProfileIdle }},
	{"disabled", policy.ErrDisabled, func(f *policy.Facts) { f.Profile.State = account.ProfileInactive }},
	{"no profile", policy.ErrDisabled, func(f *policy.Facts) { f.Profile.State = account.NoProfile }},
	{"an unknown state", policy.ErrDisabled, func(f *policy.Facts) { f.Profile.State = "ACTIVE" }},
	{"mask", policy.ErrMask, func(f *policy.Facts) { f.Settings.Masks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }},
	{"mask, no address", policy.ErrMask, func(f *policy.Facts) {
		f.Settings.Masks, f.Address = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, netip.Addr{}
	}},
	{"initial password, to the instant", policy.ErrInitialExpired, func(f *policy.Facts) { f.Profile.InitialUntil = now }},
	{"initial password", policy.ErrInitialExpired, func(f *policy.Facts) { f.Profile.InitialUntil, f.Profile.PasswordReset = now.Add(-time.Hour), true }},
	{"password", policy.ErrPasswordExpired, func(f *policy.Facts) {
		f.Settings.Password.MaxAge, f.Settings.Password.HardExpire, f.PasswordChangedAt = 1, true, now.Add(-24*time.Hour)
	}},
}

func TestWhoeverIsBarredIsRefusedWhateverElseHolds(t *testing.T) {
	t.Parallel()
	users(t, func(free policy.Facts) string {
		for n, bar := range bars {
			f := free
			bar.on(&f)
			for _, set := range []int{0, len(gave) - 1, len(gave)/2 - 1} {
				f.Proofs = gave[set]
				d := policy.SignIn(f)
				if d.Step != policy.Refuse || d.Reason != bar.reason || len(d.Methods) > 0 {
					return bar.name + ": " + outcome(d)
				}
			}
			f.Proofs = gave[len(gave)-1][1:] // all but the password
			if d := policy.SignIn(f); d.Step != policy.Refuse || d.Reason != nil {
				return bar.name + ", before the right password: " + outcome(d)
			}
			if hold := policy.Holds(f); n < 6 && (hold.Step != policy.Refuse || hold.Reason == nil) {
				return bar.name + ": a session goes on: " + outcome(hold)
			}
		}
		return ""
	})
	all := policy.Facts{Role: account.User, Settings: account.DefaultSettings(), Profile: account.Profile{State: account.ProfileActive}, Circumstances: policy.Circumstances{Now: now}, Proofs: gave[0]}
	for _, bar := range slices.Backward(bars) { // the first of several answers
		bar.on(&all)
		if d := policy.SignIn(all); d.Reason != bar.reason {
			t.Errorf("%s: %s", bar.name, outcome(d))
		}
	}
}

func TestWhatDoesNotBarYet(t *testing.T) {
	t.Parallel()
	fresh := situation([]string{"independent", "no", "none", "no", "no", "no", "usual", "no", "no"})
	for name, c := range map[string]struct {
		change func(f *policy.Facts)
		want   string
	}{
		"nothing":                                 {func(*policy.Facts) {}, "done"},
		"an initial password, just in time":       {func(f *policy.Facts) { f.Profile.InitialUntil = now.Add(1) }, "done"},
		"a password to be reset":                  {func(f *policy.Facts) { f.Profile.PasswordReset = true }, "new_password"},
		"a password a day old but for an instant": {func(f *policy.Facts) { f.Settings.Password.MaxAge, f.PasswordChangedAt = 1, now.Add(-24*time.Hour+1) }, "done"},
		"a password a day old":                    {func(f *policy.Facts) { f.Settings.Password.MaxAge = 1 }, "new_password"},
		"the same, and hard":                      {func(f *policy.Facts) { f.Settings.Password.MaxAge, f.Settings.Password.HardExpire = 1, true }, "refuse password_expired"},
		"hard without an age":                     {func(f *policy.Facts) { f.Settings.Password.HardExpire = true }, "done"},
		"a reset after the second step":           {func(f *policy.Facts) { f.VirtualMFA, f.Profile.PasswordReset = true, true }, "verify m"},
		"a reset after binding":                   {func(f *policy.Facts) { f.Profile.MFARequired, f.Profile.PasswordReset = true, true }, "bind k m s"},
		"a reset in the grace": {func(f *policy.Facts) {
			f.Profile.MFARequired, f.Profile.PasswordReset, f.Settings.GraceUntil = true, true, now.Add(1)
		}, "new_password~"},
		"the grace, to the instant": {func(f *policy.Facts) { f.Profile.MFARequired, f.Settings.GraceUntil = true, now }, "bind k m s"},
		"inside the mask": {func(f *policy.Facts) {
			f.Settings.Masks, f.Address = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, netip.MustParseAddr("::ffff:192.0.2.1")
		}, "done"},
		"a role of no name": {func(f *policy.Facts) { f.Role, f.Profile.State = "", account.NoProfile }, "refuse disabled"},
	} {
		f := fresh
		c.change(&f)
		if got := outcome(policy.SignIn(f)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAnUnusualSignInWithoutADeviceIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, _ int) string {
		recovered := f.Recovering && given(f, factor.Ticket)
		want := f.Settings.MFAOperation == account.Adaptive && f.Unusual && len(counted(f)) == 0 && !f.Profile.MFARequired && !f.Reenrol && !recovered // a ticket is the help that they are told to ask for
		if (d.Reason == policy.ErrUnusual) != want || want != (d.Step == policy.Refuse) {
			return "refused as unusual: " + fmt.Sprint(!want)
		}
		return ""
	})
}

var ease = map[policy.Step]int{policy.Refuse: 0, policy.Verify: 1, policy.Bind: 2, policy.NewPassword: 3, policy.Complete: 4}

func TestMoreProofsNeverMakeTheSignInOfAUserHarder(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, set int) string {
		for n, m := range others {
			if m == factor.Ticket && f.Recovering && d.Step != policy.Verify {
				continue // it says that what is bound is lost, and is not asked for
			}
			f.Proofs = gave[set|1<<n]
			after := policy.SignIn(f)
			switch offered := d.Step == policy.Verify && d.Allows(m); {
			case ease[after.Step] < ease[d.Step]:
				return fmt.Sprintf("with %s it is %s", m, outcome(after))
			case offered && ease[after.Step] == ease[d.Step]:
				return fmt.Sprintf("%s is taken, and asked for again", m)
			case m == factor.Email && (!f.SecurityEmail || len(counted(f)) > 0 && !f.Settings.AllowEmail) && !alike(after, d):
				return fmt.Sprintf("a mailbox makes it %s", outcome(after))
			case m == factor.Ticket && !f.Recovering && (!f.Reenrol || strong(f) || f.Phone) && !alike(after, d):
				return fmt.Sprintf("a ticket of nothing makes it %s", outcome(after))
			}
		}
		return ""
	})
}

func TestEverySignInOfAUserComesToAnEnd(t *testing.T) {
	t.Parallel()
	users(t, func(f policy.Facts) string {
		f.Proofs = gave[0]
		for range 3 {
			d := policy.SignIn(f)
			if d.Step == policy.Refuse && d.Reason == nil {
				return "refused without a reason"
			}
			if d.Step != policy.Verify {
				return ""
			}
			if len(d.Methods) == 0 || len(slices.Compact(slices.Sorted(slices.Values(d.Methods)))) != len(d.Methods) {
				return fmt.Sprintf("offers %v", d.Methods)
			}
			f.Proofs = append(slices.Clone(f.Proofs), factor.Proof{Method: d.Methods[len(d.Methods)-1], At: now})
		}
		return "goes on for ever"
	})
}

func TestForcingAllUsersIsNeverEasierThanAskingSome(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, _ int) string {
		if f.Settings.MFAOperation != account.Mandatory {
			return ""
		}
		f.Settings.MFAOperation = account.Independent
		if some := policy.SignIn(f); ease[some.Step] < ease[d.Step] {
			return "as each profile says it is " + outcome(some)
		}
		return ""
	})
}

func TestAPasswordThatIsNeverAloneNeverSignsInAlone(t *testing.T) {
	t.Parallel()
	users(t, func(f policy.Facts) string {
		f.Proofs, f.Remembered = gave[0], false
		if d := policy.SignIn(f); f.MFA() && in(d) {
			return "signs in"
		}
		return ""
	})
}

func TestASessionGoesOnOnlyWhereItsSignInWould(t *testing.T) {
	t.Parallel()
	eachSignIn(t, func(f policy.Facts, d policy.Decision, set int) string {
		if hold := policy.Holds(f); !alike(hold, d) {
			return "holds: " + outcome(hold)
		}
		if set != 0 && set != len(gave)-1 {
			return ""
		}
		for _, bar := range bars[6:] { // the password's matters wait
			barred := f
			bar.on(&barred)
			if !alike(policy.Holds(barred), d) {
				return bar.name + " ends the session"
			}
		}
		f.Profile.PasswordReset = true // likewise
		if hold := policy.Holds(f); hold.Step == policy.NewPassword {
			return "asks for a new password"
		}
		return ""
	})
	owner := policy.Facts{Role: account.Owner, VirtualMFA: true}
	if policy.Holds(owner).Step != policy.Complete {
		t.Error("the settings of RAM users end the owner's session")
	}
}

func TestTheOwnersRecoveryLeadsToANewDevice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ has, gave, want string }{
		{"confirmed", "password", "done"}, // nothing is lost
		{"confirmed device", "password", "verify m t"},
		{"confirmed device codes", "password", "verify m r t"},
		{"confirmed phone", "password", "verify s t"}, // asked for the ticket's sake
		{"confirmed phone codes", "password recovery_code", "done"},
		{"confirmed phone", "password email", "verify s t"},
		{"confirmed phone", "password ticket", "bind k m"},
		{"confirmed phone device", "password sms", "verify m t"},
		{"confirmed device", "password virtual_mfa", "done"},
		{"confirmed device", "password email", "verify m t"},
		{"confirmed device", "password ticket", "bind k m"},
		{"confirmed device", "ticket", "refuse"},
		{"confirmed passkey", "password", "verify k t"},
		{"confirmed passkey passkey device phone", "password", "verify k m t"},
		{"confirmed u2f codes", "password", "verify u r t"},
		{"confirmed passkey", "password ticket", "bind k m"},
		{"confirmed u2f", "password u2f", "done"},
		{"confirmed passkey", "ticket", "refuse"},
		{"confirmed passkey phone", "password sms", "verify k t"},
		{"device", "password ticket", "confirm_email e"},
	} {
		f := facts(c.has, c.gave, 0)
		f.Recovering, f.Phone = true, strings.Contains(c.has, "phone")
		if got := outcome(policy.SignIn(f)); got != c.want {
			t.Errorf("has %q, gave %q: %s, want %s", c.has, c.gave, got, c.want)
		}
		f.Recovering = false
		if d := policy.SignIn(f); d.Allows(factor.Ticket) || d.Step == policy.Bind {
			t.Errorf("has %q, gave %q, no recovery open: %s", c.has, c.gave, outcome(d))
		}
		a := policy.Action{Scenario: policy.ManageMFA, Name: "x"}
		if d, _ := policy.Permit(a, f, nil, now); c.gave == "password ticket" && d.Step == policy.Complete {
			t.Errorf("has %q: the ticket lets a session change devices", c.has)
		}
	}
}
