package simulation

import "hash/fnv"

// A Policy is one set of limits together with the attack that suits it best.
// The attacker knows the password, has addresses enough and never pauses.
type Policy struct {
	Name         string
	Note         string
	AccountYears int                   // played unless Config says otherwise
	Chances      [maxCodes + 1]float64 // that one guess is right, by the codes it carries

	live  func(*life)
	lives int // different owners' years; zero = one per account-year
}

// seed keeps the luck of one policy apart from that of the others.
func (p Policy) seed() uint64 {
	h := fnv.New64a()
	h.Write([]byte(p.Name))
	return h.Sum64()
}

// Chances of one guess, by how many codes it carries.
var (
	threeSteps = [maxCodes + 1]float64{0, 3e-6, 3e-12, 3e-18} // 6 digits of the last, this and the next time step
	twoSteps   = [maxCodes + 1]float64{0, 2e-6, 2e-12, 2e-18} // of the last and this one
	delivered  = [maxCodes + 1]float64{0, 1e-6, 1e-10, 1e-10} // one code of 6, then 10 digits outstanding
)

// Policies returns what is compared: counters the whole account shares (B, C,
// D), and the two lanes of package throttle (F).
func Policies() []Policy {
	const (
		rare   = 20_000_000 // account-years to see what happens once in 10,000
		owners = 4
	)
	return []Policy{
		{
			Name: "B fixed 5 per 15 min", AccountYears: 20_000, Chances: threeSteps,
			Note: "weapon and weak", live: fixedWindow,
		},
		{
			Name: "C1 doubling delay, cleared by owner", AccountYears: 20_000, Chances: threeSteps,
			Note: "owner waits for hours", live: doublingDelay(0),
		},
		{
			Name: "C2 doubling to 1 h, cleared by owner", AccountYears: 20_000, Chances: threeSteps,
			Note: "owner waits up to 1 h", live: doublingDelay(3600),
		},
		{
			Name: "D1 off after 100, attacker stops at 99", AccountYears: 100_000, Chances: threeSteps,
			Note: "owner's own slip is number 100", live: offAfterHundred(99),
		},
		{
			Name: "D2 off after 100, attacker wants that", AccountYears: 100_000, Chances: threeSteps,
			Note: "anyone with the password can do it", live: offAfterHundred(100),
		},
		{
			Name: "F1 two lanes, 2,000 tries/day", AccountYears: rare, Chances: threeSteps,
			live: lanes{perDay: 2000}.live, lives: owners,
		},
		{
			Name: "F2 two lanes, 1,000,000 tries/day", AccountYears: rare, Chances: threeSteps,
			live: lanes{perDay: 1_000_000}.live, lives: owners,
		},
		{
			Name: "F3 budget 5, refill 60 days", AccountYears: rare, Chances: threeSteps,
			Note: "stricter option", live: lanes{perDay: 1_000_000, strict: true}.live, lives: owners,
		},
		{
			Name: "F4 previous and current code only", AccountYears: rare, Chances: twoSteps,
			live: lanes{perDay: 1_000_000}.live, lives: owners,
		},
		{
			Name: "F5 delivered codes, 20 a day", AccountYears: rare, Chances: delivered,
			Note: "6, then 10 digits; two outstanding double it", live: lanes{perDay: 60, delivered: true}.live, lives: owners,
		},
	}
}
