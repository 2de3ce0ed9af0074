package prove

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/store"
)

// An Offer is a method that proves what is asked, as the visitor may know it.
type Offer struct {
	Method      factor.Method
	Destination string // masked
	Device      string // its name
	Sent        bool   // a code is on its way
}

// Asked is what a visitor is asked in a ceremony.
type Asked struct {
	Offers []Offer       // best first
	Codes  int           // how many consecutive codes a try of virtual MFA takes
	Digits int           // length of a sent code
	Resend time.Duration // until another code may be sent
}

// Ask describes methods to a visitor, at the price of now.
func (p *Prover) Ask(tx *store.Tx, v Visitor, i account.Identity, ceremonyID string, methods []factor.Method) (a Asked, err error) {
	if a.Codes, err = p.PriceIn(tx, v, i); err != nil {
		return a, err
	}
	a.Digits = throttle.DigitsAt(a.Codes)
	for _, m := range methods {
		o := Offer{Method: m}
		switch m {
		case factor.Email:
			sent, err := tx.SentCodes(ceremonyID)
			if err != nil {
				return a, err
			}
			o.Destination, o.Sent = account.MaskEmail(i.Email), len(sent) > 0
		case factor.VirtualMFA:
			device, err := tx.Peek().VirtualMFA(i.Account, i.ID)
			if err != nil {
				return a, err
			}
			o.Device = device.Name
		}
		a.Offers = append(a.Offers, o)
	}
	_, a.Resend, err = tx.Counted("resend:"+ceremonyID, tx.Now)
	return a, err
}
