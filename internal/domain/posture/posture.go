// Package posture says how well an account and an identity are protected, and
// what would help most.
package posture

import (
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
)

// A Census counts the RAM users of an account who can sign in to the console.
// Those whose sign-in is enabled and who cannot are at risk, and nothing else.
type Census struct {
	Users     int
	Protected int // something is bound, and allowed, with which they take a second step
	Resistant int // a passkey or a security key is: nobody can be lured into giving it away

	Passkey, U2F, VirtualMFA, SMS int // those who have one
	Coded                         int // of those protected: who also hold recovery codes, saved

	Administrators, AdministratorsResistant int

	AtRisk map[Risk]int
}

// A Risk is what makes a user worth a look. Its name is a message key.
type Risk string

// The risks.
const (
	Distrusted   Risk = "distrusted"    // told us "this wasn't me", and has not been back since
	CounterBack  Risk = "counter_back"  // a passkey may have been copied
	Guessed      Risk = "guessed"       // so many wrong codes that more are asked for
	LockedOut    Risk = "locked_out"    // sign-in is enabled, and nothing that they have leads in
	NoMFA        Risk = "no_mfa"        // nothing is bound
	OnlySMS      Risk = "only_sms"      // nothing but a phone
	NoCodes      Risk = "no_codes"      // a device, and no recovery codes beside it
	UnsavedCodes Risk = "unsaved_codes" // codes were made that nobody has called saved
	NeverUsed    Risk = "never_used"    // sign-in enabled, and never used
	Idle         Risk = "idle"          // sign-in not used for IdleAfter
)

// Risks are all of them, the gravest first.
var Risks = []Risk{Distrusted, CounterBack, Guessed, LockedOut, NoMFA, OnlySMS, NoCodes, UnsavedCodes, NeverUsed, Idle}

// IdleAfter is how long somebody may be away before that is worth a look.
const IdleAfter = 90 * 24 * time.Hour

// FewCodes is how many recovery codes are few.
const FewCodes = 3

// An Outcome is how a sign-in ended.
type Outcome string

// The outcomes.
const (
	ByFactor      Outcome = "by_factor"      // by a passkey, or with a second step
	ByPassword    Outcome = "by_password"    // by the password alone, also in a remembered browser
	WrongPassword Outcome = "wrong_password" // the account has such a name, and the password was wrong
	Stopped       Outcome = "stopped"        // at the second step, or by a rule of the account
)

// Outcomes are all of them, in the order of charts.
var Outcomes = []Outcome{ByFactor, ByPassword, WrongPassword, Stopped}

// OutcomeOf says how the sign-in of an event ended; false: it is about none.
func OutcomeOf(e audit.Event) (Outcome, bool) {
	acr := e.Details["acr"]
	switch {
	case e.Name != audit.ConsoleSignin:
		return "", false
	case e.Refused == "signin.wrong":
		return WrongPassword, true
	case e.Refused != "":
		return Stopped, true
	case acr == "" || acr == policy.LevelPassword:
		return ByPassword, true
	}
	return ByFactor, true
}

// A Day is a day of an account, in UTC, as its overview remembers it.
type Day struct {
	Number                      int64 // days since 1970
	Known                       bool  // somebody counted users on that day
	Users, Protected, Resistant int
	SignIns                     map[Outcome]int
}

// DayOf is the number of the day, in UTC, that an instant is in.
func DayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// Begin is when the day begins.
func (d Day) Begin() time.Time { return time.Unix(d.Number*24*60*60, 0).UTC() }

// Days are the n days up to the last one, oldest first, of which those kept
// are filled in. Where nobody counted, the users are those of the day before.
func Days(kept []Day, last int64, n int) []Day {
	days := make([]Day, n)
	for i := range days {
		days[i] = Day{Number: last - int64(n-1-i), SignIns: map[Outcome]int{}}
	}
	for _, d := range kept {
		if at := int(d.Number - days[0].Number); at >= 0 && at < n {
			if d.SignIns == nil {
				d.SignIns = map[Outcome]int{}
			}
			days[at] = d
		}
	}
	for i := 1; i < n; i++ {
		if before := days[i-1]; !days[i].Known && before.Known {
			days[i].Known, days[i].Users, days[i].Protected, days[i].Resistant = true, before.Users, before.Protected, before.Resistant
		}
	}
	return days
}

// Share is part of whole in percent, as people are told: all only where it is
// all, none only where it is none.
func Share(part, whole int) int {
	switch {
	case whole <= 0 || part <= 0:
		return 0
	case part >= whole:
		return 100
	}
	return min(99, max(1, (part*100+whole/2)/whole))
}

// An Account is what its security score rests on.
type Account struct {
	Census
	Rule           account.Operation // who of the users is asked for MFA
	OwnerProtected bool              // every sign-in of the owner takes a second step
	OwnerResistant bool
	OwnerCodes     int // saved and unused
}

// A Measure is one part of the score.
type Measure struct {
	Key     string // a message key
	Weight  int    // of a hundred, where all measures apply
	Missing int    // how many people, or things, stand in the way
	Gain    int    // by how much the score would rise without them; 0 with Missing: by less than one
}

// part is a measure with what is reached of it: done of all.
type part struct {
	Measure
	done, all int
}

// parts are the measures that apply to an account. Their weights are a
// hundred together.
func (a Account) parts() []part {
	flag := func(key string, weight int, ok bool) part {
		p := part{Measure{Key: key, Weight: weight}, 0, 1}
		if ok {
			p.done = 1
		} else {
			p.Missing = 1
		}
		return p
	}
	share := func(key string, weight, done, all int) part {
		return part{Measure{Key: key, Weight: weight, Missing: all - done}, done, all}
	}
	grave := a.AtRisk[Distrusted] + a.AtRisk[CounterBack]
	parts := []part{
		flag("owner_mfa", 15, a.OwnerProtected),
		flag("owner_resistant", 10, a.OwnerResistant),
		flag("owner_codes", 5, a.OwnerCodes > FewCodes),
		share("users_mfa", 25, a.Protected, a.Users),
		share("users_resistant", 10, a.Resistant, a.Users),
		share("administrators_resistant", 10, a.AdministratorsResistant, a.Administrators),
		share("users_codes", 5, a.Coded, a.Protected),
		share("users_idle", 5, a.Users-a.AtRisk[NeverUsed]-a.AtRisk[Idle], a.Users),
	}
	rule := part{Measure{Key: "rule", Weight: 10, Missing: 1}, 0, 2}
	switch a.Rule {
	case account.Mandatory:
		rule.done, rule.Missing = 2, 0
	case account.Adaptive:
		rule.done = 1
	}
	open := flag("incidents", 5, grave == 0)
	open.Missing = grave
	if a.Users > 0 { // rules for nobody protect nobody
		parts = append(parts, rule)
	}
	if a.Users+grave > 0 { // whoever reported something may be locked out
		parts = append(parts, open)
	}
	return slices.DeleteFunc(parts, func(p part) bool { return p.all == 0 })
}

// Score is the security score, 0 to 100, and what would raise it, by the most
// first. What does not apply is left out, so that 100 can always be reached.
func (a Account) Score() (score int, missing []Measure) {
	parts := a.parts()
	points, weights := 0, 0 // in thousandths of a point
	reached := func(p part) int { return p.Weight * 1000 * p.done / p.all }
	for _, p := range parts {
		points += reached(p)
		weights += p.Weight * 1000
	}
	score = points * 100 / weights
	for _, p := range parts {
		if p.Missing > 0 {
			p.Gain = (points-reached(p)+p.Weight*1000)*100/weights - score
			missing = append(missing, p.Measure)
		}
	}
	slices.SortStableFunc(missing, func(a, b Measure) int { return b.Gain - a.Gain })
	return score, missing
}
