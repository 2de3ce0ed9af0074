package prove

import (
	"slices"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/store"
)

// Help is what somebody really has who cannot use what is asked. It is told
// after the right password, or within a session.
type Help struct {
	Offers    []Offer // what takes this step, best first
	CodesLeft int     // unused recovery codes
	Mailbox   bool    // a security email is bound which does not count here
	Owner     bool    // whom the operator helps, and no administrator
	Contact   string  // of the account's administrators, as they wrote it; may be empty

	Recovery     store.Enrolment // by the operator, under way; the zero one: none is
	RecoveryOpen bool            // its ticket works already
}

// HelpWith gathers it, for what takes the step.
func (p *Prover) HelpWith(r *store.Reader, i account.Identity, offers []Offer) (h Help, err error) {
	h = Help{Offers: offers, Owner: i.IsOwner()}
	now := p.DB.Now()
	h.Recovery, err = RecoveryOf(r, i, now)
	underway, err := store.HasRow(err)
	if err != nil {
		return h, err
	}
	h.RecoveryOpen = underway && !now.Before(h.Recovery.OpensAt)
	if h.CodesLeft, _, err = r.RecoveryCodesLeft(i.Account, i.ID); err != nil || h.Owner {
		return h, err
	}
	e, err := SecurityEmailOf(r, i)
	if err != nil {
		return h, err
	}
	h.Mailbox = e.ID != "" && !slices.ContainsFunc(offers, func(o Offer) bool { return o.Method == factor.Email })
	settings, err := r.Settings(i.Account)
	h.Contact = settings.Contact
	return h, err
}
