// Package throttle says who has tried too often, and what a try costs now.
package throttle

import "time"

// Limits on guessing. They follow from one goal: whoever knows the password
// and never stops trying is right with less than 1 in 10,000 in a year, and
// yet can never lock the owner out (NIST SP 800-63B-4 §3.2.2; CWE-307,
// CWE-645). Package simulation checks the arithmetic.
const (
	BudgetSize          = 10                   // single-code tries of one identity from unknown devices
	BudgetRefill        = 30 * 24 * time.Hour  // after which one such try comes back
	PasswordRefillEvery = 180 * 24 * time.Hour // between two refills by a change of password

	HeavyAttack = 2000 // unknown-lane failures in 24 h from which three codes are asked

	DeviceTries   = 10 // straight failures that demote a known device
	CeremonyTries = 5  // code tries of one sign-in, then the password is asked again

	SourceTries  = 10 // code tries of one network in SourceWindow
	SourceWindow = 15 * time.Minute

	PasswordTries  = 20 // wrong passwords of one network over all names in PasswordWindow
	PasswordWindow = 15 * time.Minute

	FleetWindow = time.Hour // over which failures of all identities are counted for the fleet alarm
)

// A Lane says who pays for a failure.
type Lane uint8

// The zero lane is the one that pays most.
const (
	UnknownDevice Lane = iota // the Budget of the identity
	KnownDevice               // the counter of the device alone, cleared by a success on it
)

// DigitsAt returns the length of a delivered code at a price. A code that was
// sent at a lower price is too short once the price has risen.
func DigitsAt(price int) int {
	if price <= 1 {
		return 6
	}
	return 10
}
