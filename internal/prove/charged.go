package prove

import (
	"errors"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
)

// A Charge is what a try of something guessable came to, before it was checked.
type Charge string

// The charges.
const (
	ChargeKnown    Charge = "known_device"  // paid by a browser that is known
	ChargeOne      Charge = "one_code"      // paid by the budget: one code
	ChargeTwo      Charge = "two_codes"     // the budget is empty, or everybody pays two
	ChargeThree    Charge = "three_codes"   // under heavy attack
	ChargeAsked    Charge = "asked_again"   // fewer codes or digits than the price: asked for more, at no cost
	ChargeNetwork  Charge = "network_limit" // too many from this network
	ChargeOver     Charge = "ceremony_over" // no tries are left in this sign-in or verification, or it is gone
	ChargeUnpaid   Charge = "failed"        // ours
	ChargePassword Charge = "counted"       // a password's try, by its network
)

// Charges are all of them.
var Charges = []Charge{ChargeKnown, ChargeOne, ChargeTwo, ChargeThree, ChargeAsked, ChargeNetwork, ChargeOver, ChargeUnpaid, ChargePassword}

func (p *Prover) charged(what factor.Method, c Charge) {
	if p.Charged != nil {
		p.Charged(what, c)
	}
}

// chargeOf is what became of the try of a code.
func (a attempt) chargeOf(err error) Charge {
	switch {
	case err == nil && a.lane == throttle.KnownDevice:
		return ChargeKnown
	case err == nil && a.price >= 3:
		return ChargeThree
	case err == nil && a.price == 2:
		return ChargeTwo
	case err == nil:
		return ChargeOne
	case errors.Is(err, factor.ErrMoreCodesAsked), errors.Is(err, ceremony.ErrLongerAsked), errors.Is(err, factor.ErrCodeForm):
		return ChargeAsked
	}
	return refusedCharge(err)
}

// chargeOf is what became of the try of a password.
func (g guess) chargeOf(err error) Charge {
	switch {
	case err == nil && g.lane == throttle.KnownDevice:
		return ChargeKnown
	case err == nil:
		return ChargePassword
	}
	return refusedCharge(err)
}

func refusedCharge(err error) Charge {
	switch {
	case errors.Is(err, ErrTooManyCodes), errors.Is(err, ErrTooManyPasswords):
		return ChargeNetwork
	case errors.Is(err, ceremony.ErrNoTries), errors.Is(err, ceremony.ErrGone):
		return ChargeOver
	}
	return ChargeUnpaid
}
