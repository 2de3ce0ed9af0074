package prove

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Faults about sending.
var (
	ErrNoMail       = fault.New(fault.Unavailable, "mail.unavailable").After(time.Hour)
	ErrNoTexts      = fault.New(fault.Unavailable, "sms.unavailable").After(time.Hour)
	ErrPhoneCountry = fault.New(fault.Unavailable, "sms.country_closed").After(24 * time.Hour)
)

// Sending is what the operator has set up for codes.
type Sending struct {
	NoMail, NoTexts bool // nothing is configured to send them with
	Ceiling         throttle.Ceiling

	// Countries are those to which text messages go (ISO 3166-1 alpha-2);
	// nil: everywhere.
	Countries map[string]bool

	// Alarm tells the operator that a ceiling was reached. It may be nil.
	Alarm func(what, scope string)

	// Patience is how long a request waits to hear that its message was taken.
	Patience time.Duration
}

// Reaches reports whether text messages go to a country.
func (s Sending) Reaches(country string) bool { return s.Countries == nil || s.Countries[country] }

// Can says why no code can be sent by the method; nil: it can.
func (s Sending) Can(m factor.Method) error {
	switch {
	case m == factor.Email && s.NoMail:
		return ErrNoMail
	case m == factor.SMS && s.NoTexts:
		return ErrNoTexts
	}
	return nil
}

// A Destination is where a code goes.
type Destination struct {
	Method factor.Method
	Email  string
	Phone  account.Phone
	New    bool // has not proved itself yet
}

func (d Destination) key() string {
	to := account.EmailKey(d.Email)
	if d.Method == factor.SMS {
		to = string(d.Phone)
	}
	key := fmt.Sprintf("%x", sha256.Sum256([]byte(to)))
	if d.New { // whoever has codes sent to an address must not use up its owner's
		return "new:" + key
	}
	return key
}

// Masked is the destination as others may see it.
func (d Destination) Masked() string {
	if d.Method == factor.SMS {
		return d.Phone.Mask()
	}
	return account.MaskEmail(d.Email)
}

// recipient is the destination as messages know it.
func (d Destination) recipient() message.Recipient {
	if d.Method == factor.SMS {
		return message.Recipient{Channel: message.SMS, To: string(d.Phone)}
	}
	return message.Recipient{Channel: message.Email, To: d.Email}
}

// DestinationOf is the server's own record of where codes of the method go;
// never the request's.
func DestinationOf(r *store.Reader, i account.Identity, m factor.Method) (Destination, error) {
	switch m {
	case factor.Email:
		if i.IsOwner() {
			return Destination{Method: m, Email: i.Email}, nil
		}
		e, err := SecurityEmailOf(r, i) // never the email of the profile, which administrators write
		if err == nil && e.ID == "" {
			err = policy.ErrMethod
		}
		return Destination{Method: m, Email: e.Address}, err
	case factor.SMS:
		p, err := r.Phone(i.Account, i.ID)
		if errors.Is(err, store.ErrNoRow) {
			return Destination{}, policy.ErrMethod
		}
		return Destination{Method: m, Phone: p.Number}, err
	}
	return Destination{}, policy.ErrMethod
}

// Deliver sends a code for a ceremony to a destination, in a write of its own,
// and waits a little to hear what became of it.
func (p *Prover) Deliver(ctx context.Context, v Visitor, i account.Identity, c ceremony.Ceremony, to func(tx *store.Tx) (Destination, error), why message.Purpose) error {
	return p.SendWithin(ctx, v, i, func(tx *store.Tx) (id string, refusal, err error) {
		d, err := to(tx)
		if err != nil {
			return "", nil, err
		}
		return p.Send(tx, v, i, c, d, why)
	})
}

// SendWithin runs a write that sends a code, and waits a little to hear what
// became of the message named; of none where the id is empty.
func (p *Prover) SendWithin(ctx context.Context, v Visitor, i account.Identity, send func(tx *store.Tx) (id string, refusal, err error)) error {
	var refusal error
	var id string
	err := p.DB.Write(ctx, v.As(i).Quietly(), func(tx *store.Tx) (err error) {
		id, refusal, err = send(tx)
		return err
	})
	if err == nil {
		err = refusal
	}
	if err == nil && id != "" {
		p.await(ctx, id)
	}
	return err
}

// await returns when the message was taken or refused, or patience ends.
func (p *Prover) await(ctx context.Context, id string) {
	const look = 40 * time.Millisecond
	for waited := time.Duration(0); waited < p.Sending.Patience; waited += look {
		state, _, reason, err := p.DB.Read(ctx).Outcome(id)
		if err != nil || state != message.Queued || reason != "" {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(look):
		}
	}
}

// Send makes a code for a ceremony and puts it into the outbox, within a
// write. The refusal of one that comes too soon is a value: the write goes on.
func (p *Prover) Send(tx *store.Tx, v Visitor, i account.Identity, c ceremony.Ceremony, to Destination, why message.Purpose) (id string, refusal, err error) {
	if to.Method == factor.Email && i.ID != "" && !i.IsOwner() && !to.New { // others may have their codes sent there too
		why.Name = i.Name()
	}
	return p.SendAs(tx, v, i, c, to, func(code string, expires time.Time) (*message.Message, error) {
		m := p.Service.Code(v.Locale, i.Account, to.recipient(), why, code, tx.Now, expires)
		return &m, nil
	})
}

// SendAs is Send with a message of the caller's: one that does not carry the
// code leaves a ceremony that looks like any other and that nobody can finish.
// It may be nil: then nothing is sent.
func (p *Prover) SendAs(tx *store.Tx, v Visitor, i account.Identity, c ceremony.Ceremony, to Destination, compose func(code string, expires time.Time) (*message.Message, error)) (id string, refusal, err error) {
	if err := p.Sending.Can(to.Method); err != nil {
		return "", nil, err
	}
	device := ""
	if i.ID != "" && !to.New {
		d, known, err := p.lane(tx, v, i)
		if err != nil {
			return "", nil, err
		}
		if known && d.Fails < throttle.DeviceTries {
			device = d.ID
		}
	}
	limits, err := p.limits(v, i, c.ID, device, to)
	if err != nil {
		return "", nil, err
	}
	if refusal, err = p.within(tx, limits); err != nil || refusal != nil {
		return "", refusal, err
	}
	price := 1
	if i.ID != "" {
		if price, err = p.PriceIn(tx, v, i); err != nil {
			return "", nil, err
		}
	}
	code, err := secret.Digits(p.Random, throttle.DigitsAt(price))
	if err != nil {
		return "", nil, err
	}
	codeID, err := p.DB.NewID()
	if err != nil {
		return "", nil, err
	}
	if id, err = p.DB.NewID(); err != nil {
		return "", nil, err
	}
	expires := c.CodeExpires(tx.Now)
	m, err := compose(code, expires)
	if err != nil {
		return "", nil, err
	}
	if err := tx.AddSentCode(ceremony.Code{ID: codeID, Ceremony: c.ID, Method: to.Method, Digits: len(code), CreatedAt: tx.Now, ExpiresAt: expires, Message: id}, code); err != nil {
		return "", nil, err
	}
	if m != nil {
		m.ID = id
		if to.Method != factor.Email || !to.New { // what dies on its way to a new address must not tell whether a code was on it
			m.Charges = throttle.Refundable(limits)
		}
		if err := tx.AddMessage(*m); err != nil {
			return "", nil, err
		}
	}
	return id, nil, tx.Record(audit.Event{Account: i.Account, Name: audit.CodeSend, Identity: i.ID, Details: map[string]string{"method": string(to.Method), "to": to.Masked()}})
}

// SendLink puts a message that carries a link in place of a code into the
// outbox, under the limits of codes. asked names what is asked for: the same
// again must wait.
func (p *Prover) SendLink(tx *store.Tx, v Visitor, i account.Identity, asked string, to Destination, m message.Message) (refusal, err error) {
	if err := p.Sending.Can(to.Method); err != nil {
		return nil, err
	}
	limits, err := p.limits(v, i, asked, "", to)
	if err != nil {
		return nil, err
	}
	if refusal, err = p.within(tx, limits); err != nil || refusal != nil {
		return refusal, err
	}
	m.Charges = throttle.Refundable(limits)
	return nil, tx.AddMessage(m)
}

// limits are all that a sending for a ceremony must be within. device is the
// known device that pays for it; empty: none.
func (p *Prover) limits(v Visitor, i account.Identity, ceremonyID, device string, to Destination) ([]throttle.Limit, error) {
	s := throttle.Sending{Device: device, Ceremony: ceremonyID, Destination: to.key(), Payer: string(i.Account), Network: throttle.Network(v.Address).String(),
		Text: to.Method == factor.SMS, New: to.New}
	if s.Text {
		s.Prefix, s.Country = to.Phone.Prefix(), to.Phone.Country()
		if !p.Sending.Reaches(s.Country) {
			return nil, ErrPhoneCountry
		}
	}
	if s.Payer == "" { // of no account yet: the network's
		s.Payer = s.Network
	}
	return s.Limits(p.Sending.Ceiling), nil
}

// within counts a sending under all its limits, or under none of them and
// returns the refusal.
func (p *Prover) within(tx *store.Tx, limits []throttle.Limit) (refusal, err error) {
	for n, l := range limits {
		ok, wait, err := tx.Count(l.Scope, l.N, l.In)
		if err != nil {
			return nil, err
		}
		if ok {
			continue
		}
		for _, counted := range limits[:n] {
			if err := tx.Uncount(counted.Scope); err != nil {
				return nil, err
			}
		}
		if n == 0 { // the one before went out a moment ago
			return ceremony.ErrSendSoon.After(wait).With("Seconds", int((wait+time.Second-1)/time.Second)), nil
		}
		if l.Alarm != "" {
			if err := p.alarm(tx, l); err != nil {
				return nil, err
			}
		}
		return ceremony.ErrSendTooMany.After(wait), nil
	}
	return nil, nil
}

// alarm tells the operator, once in a window, that a ceiling was reached.
func (p *Prover) alarm(tx *store.Tx, l throttle.Limit) error {
	first, _, err := tx.Count("alarm:"+l.Scope, 1, l.In)
	if err != nil || !first {
		return err
	}
	if p.Sending.Alarm != nil {
		tx.OnDone(func() { p.Sending.Alarm(l.Alarm, l.Scope) })
	}
	return tx.Record(audit.Event{Account: audit.Operator, Name: audit.SendAlarm, Target: l.Scope, Details: map[string]string{"limit": l.Alarm, "count": fmt.Sprint(l.N)}})
}
