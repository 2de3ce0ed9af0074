package prove

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle"
	"countersign/internal/store"
)

// An Offer is a method that proves what is asked, as the visitor may know it.
type Offer struct {
	Method      factor.Method
	Destination string // masked
	Device      string // its name
	Down        bool   // codes cannot be sent by it at all
	LastUsedAt  time.Time
	Options     json.RawMessage // for the browser, of a key that signs
	Fate
}

// A Fate is what became of the newest code that a ceremony sent.
type Fate struct {
	Sent    bool // there is one
	Delayed bool // it has not gone out yet, and was tried
	Failed  bool // it will not go out
}

// Asked is what a visitor is asked in a ceremony.
type Asked struct {
	Offers []Offer       // best first
	Codes  int           // how many consecutive codes a try of virtual MFA takes
	Digits int           // length of a sent code
	Resend time.Duration // until another code may be sent
	Valid  int           // minutes that a code sent now is valid
}

// Ask describes methods to a visitor in a ceremony, at the price of now.
func (p *Prover) Ask(tx *store.Tx, v Visitor, i account.Identity, c ceremony.Ceremony, methods []factor.Method) (a Asked, err error) {
	ceremonyID := c.ID
	a.Valid = message.ValidMinutes(tx.Now, c.CodeExpires(tx.Now))
	if a.Codes, err = p.PriceIn(tx, v, i); err != nil {
		return a, err
	}
	a.Digits = throttle.DigitsAt(a.Codes)
	for _, m := range methods {
		o := Offer{Method: m, Down: p.Sending.Can(m) != nil}
		switch m {
		case factor.Email:
			if o.Destination, o.LastUsedAt, err = mailbox(tx, i); err != nil {
				return a, err
			}
		case factor.SMS:
			phone, err := tx.Peek().Phone(i.Account, i.ID)
			if err != nil {
				return a, err
			}
			o.Destination, o.LastUsedAt = phone.Number.Mask(), phone.LastUsedAt
			o.Down = o.Down || !p.Sending.Reaches(phone.Number.Country())
		case factor.VirtualMFA:
			device, err := tx.Peek().VirtualMFA(i.Account, i.ID)
			if err != nil {
				return a, err
			}
			o.Device, o.LastUsedAt = device.Name, device.LastUsedAt
		case factor.Passkey, factor.U2F:
			if err := p.offerKeys(tx, i, c, &o); err != nil {
				return a, err
			}
		}
		if m.Sent() {
			if o.Fate, err = FateOf(tx.Peek(), ceremonyID, m); err != nil {
				return a, err
			}
		}
		a.Offers = append(a.Offers, o)
	}
	a.Resend, err = ResendIn(tx.Peek(), ceremonyID, tx.Now)
	return a, err
}

// mailbox is where codes by mail go, masked, and when one came back last; of an
// owner that is not noted.
func mailbox(tx *store.Tx, i account.Identity) (masked string, used time.Time, err error) {
	if i.IsOwner() {
		return account.MaskEmail(i.Email), used, nil
	}
	e, err := tx.Peek().SecurityEmail(i.Account, i.ID)
	return account.MaskEmail(e.Address), e.LastUsedAt, err
}

// offerKeys completes the offer of keys that sign.
func (p *Prover) offerKeys(tx *store.Tx, i account.Identity, c ceremony.Ceremony, o *Offer) error {
	keys, err := p.keys(tx, i, o.Method)
	if err != nil {
		return err
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
		if k.LastUsedAt.After(o.LastUsedAt) {
			o.LastUsedAt = k.LastUsedAt
		}
	}
	o.Device = strings.Join(names, ", ")
	usable := func(k store.Passkey) bool { return p.Passkeys.Answers(k.Credential) }
	if o.Down = p.Passkeys == nil || !slices.ContainsFunc(keys, usable); o.Down {
		return nil
	}
	o.Options, err = p.request(tx, c, keys, false)
	return err
}

// ResendIn is how long a ceremony waits until it may send another code.
func ResendIn(r *store.Reader, ceremonyID string, now time.Time) (time.Duration, error) {
	n, wait, err := r.Counted(throttle.ResendScope(ceremonyID), now)
	if n == 0 { // given back
		wait = 0
	}
	return wait, err
}

// FateOf says what became of the newest code that a ceremony sent by a method.
func FateOf(r *store.Reader, ceremonyID string, m factor.Method) (f Fate, err error) {
	sent, err := r.SentCodes(ceremonyID, m)
	if err != nil || len(sent) == 0 {
		return f, err
	}
	f.Sent = true
	state, _, reason, err := r.Outcome(sent[0].Message)
	if known, err := store.HasRow(err); err != nil || !known {
		return f, err // long gone, or one that carries no code
	}
	f.Failed, f.Delayed = state == message.Dead, state == message.Queued && reason != ""
	return f, nil
}
