package policy

import (
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/fault"
)

// ErrDistrusted says that somebody else knew the password, and that a user has
// nothing beside it: an administrator sets another.
var ErrDistrusted = fault.New(fault.Forbidden, "signin.distrusted")

// beyond are the methods that say who somebody is when the password says
// nothing: those of an identity verification, and tickets.
func (f Facts) beyond() []factor.Method {
	methods := without(f.atLeast(f.identityFloor()), factor.Password)
	if f.Recovering {
		methods = append(without(methods, factor.Ticket), factor.Ticket)
	}
	return methods
}

// secured is what the decision d about a sign-in becomes once its identity has
// said "This wasn't me": whoever knows the password must show more, and then
// chooses another. A passkey alone is more.
func (f Facts) secured(d Decision) Decision {
	if !f.Distrusted || d.Step == Refuse || d.Step == ConfirmEmail {
		return d
	}
	methods := f.beyond()
	switch {
	case !f.proved(methods, time.Time{}):
		if len(methods) == 0 {
			return Decision{Step: Refuse, Reason: ErrDistrusted}
		}
		return Decision{Step: Verify, Methods: methods}
	case d.Step == Complete:
		return Decision{Step: NewPassword}
	}
	return d
}

// Reset decides what somebody still needs who has followed the link that leads
// to a new password: NewPassword when nothing. The link has shown the mailbox,
// which therefore counts no more; whatever else is bound is asked.
func Reset(f Facts) Decision {
	methods := without(f.beyond(), factor.Email)
	if f.Reenrol && !f.SecondFactor() { // a device was taken off: the mailbox alone is not to follow it
		methods = []factor.Method{factor.Ticket}
	}
	switch {
	case f.proved(methods, time.Time{}):
		return Decision{Step: NewPassword}
	case len(methods) > 0:
		return Decision{Step: Verify, Methods: methods}
	case f.SecondFactor() || f.identityFloor() > factor.Email.Strength(): // nothing that is bound counts
		return Decision{Step: Refuse}
	}
	return Decision{Step: NewPassword}
}
