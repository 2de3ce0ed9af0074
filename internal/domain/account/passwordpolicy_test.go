package account_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/fault"
)

func TestThePasswordPolicyHasItsRanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field    string
		min, max int
		set      func(p *account.PasswordPolicy, n int)
	}{
		{"minimum_length", 8, 32, func(p *account.PasswordPolicy, n int) { p.MinimumLength = n }},
		{"different", 0, 8, func(p *account.PasswordPolicy, n int) { p.Different = n }},
		{"max_age", 0, 1095, func(p *account.PasswordPolicy, n int) { p.MaxAge = n }},
		{"reuse", 0, 24, func(p *account.PasswordPolicy, n int) { p.Reuse = n }},
		{"login_attempts", 0, 32, func(p *account.PasswordPolicy, n int) { p.LoginAttempts = n }},
		{"initial_age", 0, 90, func(p *account.PasswordPolicy, n int) { p.InitialAge = n }},
	} {
		for _, n := range []int{c.min, c.min + 1, c.max - 1, c.max} {
			p := account.DefaultPasswordPolicy()
			c.set(&p, n)
			if err := p.Check(); err != nil {
				t.Errorf("%s %d: %v", c.field, n, err)
			}
		}
		for _, n := range []int{c.min - 1, c.max + 1, -1 << 40, 1 << 40} {
			p := account.DefaultPasswordPolicy()
			c.set(&p, n)
			var wrong *fault.Fault
			if err := p.Check(); !errors.As(err, &wrong) || !errors.Is(err, account.ErrRange) || wrong.Field != c.field || wrong.Args["Min"] != c.min || wrong.Args["Max"] != c.max {
				t.Errorf("%s %d: %+v", c.field, n, err)
			}
		}
	}
}

func TestThePasswordsOfUsersFollowThePolicy(t *testing.T) {
	t.Parallel()
	short := func(n int) error { return account.ErrPasswordShort.With("Min", n) }
	type policy = account.PasswordPolicy
	for _, c := range []struct {
		name, password string
		mfa            bool
		policy         policy
		want           error
	}{
		{"seven characters", "vq7-gla", true, policy{MinimumLength: 8}, short(8)},
		{"eight characters", "vq7-glad", true, policy{MinimumLength: 8}, nil},
		{"fourteen alone", "vq7-glade-tort", false, policy{MinimumLength: 8}, short(15)},
		{"fifteen alone", "vq7-glade-torte", false, policy{MinimumLength: 8}, nil},
		{"eleven of twelve", "vq7-glade-t", true, policy{MinimumLength: 12}, short(12)},
		{"twelve of twelve", "vq7-glade-to", true, policy{MinimumLength: 12}, nil},
		{"five of twelve: says twelve", "vq7-g", true, policy{MinimumLength: 12}, short(12)},
		{"fourteen alone of twenty: says twenty", "vq7-glade-tort", false, policy{MinimumLength: 20}, short(20)},
		{"thirteen alone of twelve", "vq7-glade-tor", false, policy{MinimumLength: 12}, short(15)},
		{"thirty-one of thirty-two", "vq7-glade-torte-plum-otter-vine", false, policy{MinimumLength: 32}, short(32)},
		{"thirty-two of thirty-two", "vq7-glade-torte-plum-otter-vines", false, policy{MinimumLength: 32}, nil},
		{"nine code points of ten, in more bytes", "山高月小水落石出也", true, policy{MinimumLength: 10}, short(10)},
		{"ten code points of ten", "山高月小水落石出也哉", true, policy{MinimumLength: 10}, nil},
		{"letters and their accents are one", "e\u0301vq7-gla", true, policy{MinimumLength: 9}, short(9)},
		{"nothing", "", true, policy{MinimumLength: 12}, account.ErrPasswordMissing},
		{"too long", strings.Repeat("plum-otter", 13), true, policy{MinimumLength: 8}, account.ErrPasswordLong},
		{"a common one with every element", "P@ssw0rd12345678", true, policy{MinimumLength: 8, RequireLower: true, RequireUpper: true, RequireNumbers: true, RequireSymbols: true}, account.ErrPasswordCommon},
		{"a control character", "vq7-glade\x07torte", true, policy{MinimumLength: 8}, account.ErrPasswordForm},

		{"no lower case", "VQ7-GLADE-TORTE", true, policy{RequireLower: true}, account.ErrPasswordLower},
		{"a lower case letter", "VQ7-GLADE-TORTe", true, policy{RequireLower: true}, nil},
		{"a Greek one", "VQ7-GLADE-TORTω", true, policy{RequireLower: true}, nil},
		{"no upper case", "vq7-glade-torte", true, policy{RequireUpper: true}, account.ErrPasswordUpper},
		{"an upper case letter", "vq7-glade-tortE", true, policy{RequireUpper: true}, nil},
		{"a Cyrillic one", "vq7-glade-tortЖ", true, policy{RequireUpper: true}, nil},
		{"letters that have no case", "山高月小水落石出", true, policy{RequireLower: true, RequireUpper: true}, account.ErrPasswordLower},
		{"no number", "vqx-glade-torte", true, policy{RequireNumbers: true}, account.ErrPasswordNumber},
		{"a number", "vqx-glade-tort0", true, policy{RequireNumbers: true}, nil},
		{"an Arabic one", "vqx-glade-tort٣", true, policy{RequireNumbers: true}, nil},
		{"a word for one", "vqx-glade-tort三", true, policy{RequireNumbers: true}, account.ErrPasswordNumber},
		{"no symbol", "vq7gladetorte", true, policy{RequireSymbols: true}, account.ErrPasswordSymbol},
		{"a symbol", "vq7gladetorte!", true, policy{RequireSymbols: true}, nil},
		{"another", "vq7gladetorte€", true, policy{RequireSymbols: true}, nil},
		{"a space", "vq7 gladetorte", true, policy{RequireSymbols: true}, nil},
		{"every element", "vQ7-glade-torte", true, policy{RequireLower: true, RequireUpper: true, RequireNumbers: true, RequireSymbols: true}, nil},

		{"six different characters of eight", "vq7-gl7lgv-q7l", true, policy{Different: 8}, account.ErrPasswordDifferent.With("Min", 8)},
		{"eight different characters", "vq7-glad", true, policy{Different: 8}, nil},
		{"case makes a difference", "vqV7-glG", true, policy{Different: 8}, nil},
		{"different asked of none", "vq7-gl7lgv-q7l", true, policy{}, nil},

		{"the user name within", "vq7-Bob-torte", true, policy{NoUserName: true}, account.ErrPasswordUserName},
		{"the user name where it is allowed", "vq7-Bob-torte", true, policy{}, nil},
		{"the user name reversed", "vq7-obo-torte", true, policy{NoUserName: true}, nil},
	} {
		err := c.policy.CheckUserPassword(c.password, c.mfa, "bob", "Countersign")
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
			continue
		}
		var got, want *fault.Fault
		if errors.As(c.want, &want) && errors.As(err, &got) && want.Args["Min"] != nil && got.Args["Min"] != want.Args["Min"] {
			t.Errorf("%s: says %v, want %v", c.name, got.Args["Min"], want.Args["Min"])
		}
	}
	if err := (account.PasswordPolicy{NoUserName: true}).CheckUserPassword("vq7-glade-torte", false, ""); err != nil {
		t.Errorf("nobody's name is in every password: %v", err)
	}
	if err := account.DefaultPasswordPolicy().CheckUserPassword("marguerite-7x", true, "marguerite"); !errors.Is(err, account.ErrPasswordContext) {
		t.Errorf("a name and a few characters: %v", err)
	}
	words := append(make([]string, 0, 8), "Countersign") // of the caller, who goes on using them
	_ = account.DefaultPasswordPolicy().CheckUserPassword("vq7-glade-torte", false, "bob", words...)
	if words = words[:2]; words[1] != "" {
		t.Errorf("%q was written into the words given", words[1])
	}
}

// The policy only adds to the rules for everybody.
func TestThePolicyNeverTakesWhatTheRulesForEverybodyRefuse(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "short", "vq7-glad", "password12345678", "marguerite-marguerite", "vq7-glade-torte", "\xff\xfe plum otter vines", "好好好好好好好好好好好好好好好", strings.Repeat("plum-otter", 13)} {
		for _, mfa := range []bool{false, true} {
			all := account.CheckPassword(password, mfa, "Countersign", "marguerite")
			if err := (account.PasswordPolicy{}).CheckUserPassword(password, mfa, "marguerite", "Countersign"); fmt.Sprint(err) != fmt.Sprint(all) {
				t.Errorf("%q: %v, for everybody %v", password, err, all)
			}
		}
	}
}

func TestPeopleAreToldTheRulesThatAreAdded(t *testing.T) {
	t.Parallel()
	if rules := account.DefaultPasswordPolicy().Rules(); len(rules) > 0 {
		t.Errorf("a new account has %v", rules)
	}
	all := account.PasswordPolicy{RequireLower: true, RequireUpper: true, RequireNumbers: true, RequireSymbols: true, Different: 4, NoUserName: true, Reuse: 5}
	want := []account.Rule{{"lower", 0}, {"upper", 0}, {"number", 0}, {"symbol", 0}, {"different", 4}, {"user_name", 0}, {"reuse", 5}}
	if got := all.Rules(); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestAnInitialPasswordWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		days      int
		generated bool
		want      time.Duration // 0: for ever
	}{
		{0, false, 0},
		{0, true, 72 * time.Hour},
		{1, false, day},
		{1, true, day},
		{2, true, 2 * day},
		{3, false, 3 * day},
		{3, true, 3 * day},
		{4, false, 4 * day},
		{4, true, 72 * time.Hour},
		{14, false, 14 * day},
		{14, true, 72 * time.Hour},
		{90, false, 90 * day},
		{90, true, 72 * time.Hour},
	} {
		want := time.Time{}
		if c.want > 0 {
			want = now.Add(c.want)
		}
		if got := (account.PasswordPolicy{InitialAge: c.days}).InitialUntil(now, c.generated); !got.Equal(want) {
			t.Errorf("%d days, generated %v: until %s, want %s", c.days, c.generated, got, want)
		}
	}
}

func TestAPasswordExpiresToTheInstant(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		days int
		age  time.Duration
		want bool
	}{
		{0, 0, false},
		{0, 100000 * time.Hour, false},
		{1, 0, false},
		{1, day - 1, false},
		{1, day, true},
		{1, day + 1, true},
		{1, -day, false}, // changed later than now: a clock went back
		{1095, 1095*day - 1, false},
		{1095, 1095 * day, true},
	} {
		p := account.PasswordPolicy{MaxAge: c.days}
		for _, hard := range []bool{false, true} {
			if p.HardExpire = hard; p.Expired(now.Add(-c.age), now) != c.want {
				t.Errorf("%d days, %s old, hard %v: %v", c.days, c.age, hard, !c.want)
			}
		}
	}
	if !(account.PasswordPolicy{MaxAge: 1}).Expired(time.Time{}, now) || (account.PasswordPolicy{}).Expired(time.Time{}, now) {
		t.Error("a password of no known age expires where there is no age, or not where there is one")
	}
}
