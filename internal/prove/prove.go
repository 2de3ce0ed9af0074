// Package prove is the one place where a password or a code is checked: the
// try is charged in a step of its own, then compared, then used up.
package prove

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/locale"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Visitor is where a request comes from.
type Visitor struct {
	Address   netip.Addr
	UserAgent string
	Request   string         // id of the request
	Devices   []secret.Token // known-device cookies
	Locale    *locale.Locale
}

// Actor is the visitor as the hand of a change, before it is known who it is.
func (v Visitor) Actor() audit.Actor {
	return audit.Actor{Kind: "visitor", Address: v.Address.String(), UserAgent: v.UserAgent, Request: v.Request}
}

// As is the visitor acting as an identity.
func (v Visitor) As(i account.Identity) audit.Actor {
	a := v.Actor()
	a.Kind, a.ID, a.Name = string(i.Role), string(i.ID), i.Name()
	return a
}

// A Prover checks proofs against the store.
type Prover struct {
	DB      *store.DB
	Hasher  *secret.Hasher
	Random  io.Reader
	Service message.Service
	Quotas  account.Quotas
	Suffix  string // of user principal names

	Passkeys *passkey.RelyingParty // nil: the server has no name that passkeys work under

	// FleetAlarm is how many unknown-lane failures over all identities in an
	// hour raise the price for everybody.
	FleetAlarm int

	Sending Sending
}

// Faults about trying too often.
var (
	ErrTooManyCodes     = fault.New(fault.Throttled, "code.too_many")
	ErrTooManyPasswords = fault.New(fault.Throttled, "password.too_many")
	ErrCredentials      = fault.New(fault.Unproven, "signin.wrong").On("username")
	ErrPasswordWrong    = fault.New(fault.Unproven, "password.wrong").On("password")
	ErrPasswordAbsent   = fault.New(fault.Invalid, "password.absent").On("password")
	ErrNameAbsent       = fault.New(fault.Invalid, "signin.name_absent").On("username")
	ErrTicketWrong      = fault.New(fault.Unproven, "ticket.wrong").On("code")
	ErrUserNameForm     = fault.New(fault.Invalid, "signin.user_name_form").On("username")
	ErrUserNameAbsent   = fault.New(fault.Invalid, "signin.user_name_absent").On("username")
	ErrPasswordHuge     = fault.New(fault.Invalid, "password.huge").On("password")
)

// fleet are the scopes in which failures of all identities are counted: several,
// so that they rarely wait for one row.
var fleet = func() (scopes []string) {
	for n := range 16 {
		scopes = append(scopes, fmt.Sprintf("fleet:%d", n))
	}
	return scopes
}()

// An attempt is one charged try.
type attempt struct {
	lane    throttle.Lane
	device  string // id of the known device
	network string
	charge  throttle.Charge
	price   int

	proof *factor.Proof // of a key that signs, once it is checked

	confirming bool // an address is being confirmed, or a mailbox is all there is
}

// lane finds the visitor's known device for the identity. An old cookie that
// comes back was copied: the device it belonged to is known no longer.
func (p *Prover) lane(tx *store.Tx, v Visitor, i account.Identity) (d session.KnownDevice, known bool, err error) {
	if i.ID == "" {
		return d, false, nil
	}
	for _, token := range v.Devices {
		d, err = tx.KnownDevice(i.ID, token.Hash())
		if known, err = store.HasRow(err); known || err != nil {
			return d, known, err
		}
		d, err = tx.ReplayedDevice(i.ID, token.Hash())
		replayed, err := store.HasRow(err)
		if err != nil {
			return d, false, err
		}
		if replayed {
			if err := tx.DropKnownDevice(d.ID); err != nil {
				return d, false, err
			}
			if err := tx.Record(audit.Event{Account: i.Account, Name: audit.DeviceReplay, Identity: i.ID, Target: d.ID}); err != nil {
				return d, false, err
			}
		}
	}
	return session.KnownDevice{}, false, nil
}

// Known reports whether the visitor's browser is known for the identity. It
// changes nothing.
func (p *Prover) Known(tx *store.Tx, v Visitor, i account.Identity) (bool, error) {
	for _, token := range v.Devices {
		_, err := tx.KnownDevice(i.ID, token.Hash())
		if known, err := store.HasRow(err); known || err != nil {
			return known, err
		}
	}
	return false, nil
}

func (p *Prover) fleetAlarm(r *store.Reader, now time.Time) (bool, error) {
	n, err := r.CountedIn(fleet, now)
	return n >= p.FleetAlarm, err
}

// PriceIn returns how many consecutive codes a try of this visitor must carry.
// A known device pays one.
func (p *Prover) PriceIn(tx *store.Tx, v Visitor, i account.Identity) (int, error) {
	d, known, err := p.lane(tx, v, i)
	if err != nil || (known && d.Fails < throttle.DeviceTries) {
		return 1, err
	}
	b, _, err := tx.Peek().Budget(i.Account, i.ID, tx.Now)
	if err != nil {
		return 0, err
	}
	alarm, err := p.fleetAlarm(&tx.Reader, tx.Now)
	return b.Price(tx.Now, alarm), err
}

// chargeCode takes the cost of one try of a guessable code, and commits. It
// refuses, at no cost, a try that carries fewer codes than its price: carries
// says how many, given the price.
func (p *Prover) chargeCode(ctx context.Context, v Visitor, i account.Identity, ceremonyID string, carries func(tx *store.Tx, price int) error) (a attempt, err error) {
	var refusal error
	err = p.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		a, refusal = attempt{}, nil
		d, known, err := p.lane(tx, v, i)
		if err != nil {
			return err
		}
		if known {
			if refusal = carries(tx, 1); refusal != nil {
				return nil
			}
			ok, err := tx.ChargeKnownDevice(d.ID)
			if err != nil {
				return err
			}
			if ok {
				a.lane, a.device, a.price = throttle.KnownDevice, d.ID, 1
				refusal, err = spend(tx, ceremonyID)
				return err
			}
			if err := tx.DropKnownDevice(d.ID); err != nil {
				return err
			}
		}
		return p.chargeUnknown(tx, v, i, ceremonyID, carries, &a, &refusal)
	})
	if err == nil {
		err = refusal
	}
	return a, err
}

func (p *Prover) chargeUnknown(tx *store.Tx, v Visitor, i account.Identity, ceremonyID string, carries func(tx *store.Tx, price int) error, a *attempt, refusal *error) error {
	b, version, err := tx.Budget(i.Account, i.ID)
	if err != nil {
		return err
	}
	alarm, err := p.fleetAlarm(&tx.Reader, tx.Now)
	if err != nil {
		return err
	}
	a.price = b.Price(tx.Now, alarm)
	if *refusal = carries(tx, a.price); *refusal != nil {
		return nil
	}
	a.network = "codes:" + throttle.Network(v.Address).String()
	ok, wait, err := tx.Count(a.network, throttle.SourceTries, throttle.SourceWindow)
	if err != nil {
		return err
	}
	if !ok {
		*refusal = ErrTooManyCodes.After(wait)
		return nil
	}
	if *refusal, err = spend(tx, ceremonyID); err != nil || *refusal != nil {
		return errors.Join(err, tx.Uncount(a.network))
	}
	b, a.charge = b.Charge(tx.Now)
	return tx.SaveBudget(i.Account, i.ID, b, version)
}

// settle ends an attempt within the write that knows its outcome.
func (p *Prover) settle(tx *store.Tx, v Visitor, i account.Identity, a attempt, right bool) error {
	if a.lane == throttle.KnownDevice {
		if right {
			return tx.ClearKnownDevice(a.device)
		}
		return nil
	}
	if right {
		b, version, err := tx.Budget(i.Account, i.ID)
		if err != nil {
			return err
		}
		if err := tx.SaveBudget(i.Account, i.ID, b.Refund(a.charge), version); err != nil {
			return err
		}
		return tx.Uncount(a.network)
	}
	var shard [1]byte
	if _, err := io.ReadFull(p.Random, shard[:]); err != nil {
		return fmt.Errorf("choose a shard: %w", err)
	}
	if _, _, err := tx.Count(fleet[int(shard[0])%len(fleet)], 1<<30, throttle.FleetWindow); err != nil {
		return err
	}
	return p.tellOfFailure(tx, v, i, a)
}

// tellOfFailure mails the owner about a right password with a wrong second
// step: once a day, so that an attack sends one mail, and once more when the
// budget is empty.
func (p *Prover) tellOfFailure(tx *store.Tx, v Visitor, i account.Identity, a attempt) error {
	b, _, err := tx.Budget(i.Account, i.ID)
	if err != nil {
		return err
	}
	kind := message.SecondStepFailed
	if a.charge.TookToken && b.Left == 0 {
		kind = message.BudgetEmpty
		if err := tx.Record(audit.Event{Account: i.Account, Name: audit.CodeBudgetEmpty, Identity: i.ID}); err != nil {
			return err
		}
	}
	if kind == message.SecondStepFailed && a.confirming {
		return nil // whoever confirms an address mistypes now and then
	}
	first, _, err := tx.Count("told:"+string(kind)+":"+string(i.ID), 1, 24*time.Hour)
	if err != nil || !first {
		return err
	}
	return p.Notify(tx, v, i, kind)
}

// phoneNoticesPerDay bounds the notices that go to one phone.
const phoneNoticesPerDay = 10

// Notify tells the identity what has happened, by mail and, where it is
// urgent, by text message to its phone; and whoever else is concerned.
func (p *Prover) Notify(tx *store.Tx, v Visitor, i account.Identity, kind message.Kind, also ...message.Recipient) error {
	c := message.Circumstances{At: tx.Now, Address: v.Address.String(), UserAgent: v.UserAgent}
	to := also
	if i.Email != "" {
		to = append([]message.Recipient{{Channel: message.Email, To: i.Email}}, also...)
	}
	if kind.Urgent() {
		phone, err := tx.Peek().Phone(i.Account, i.ID)
		attached, err := store.HasRow(err)
		if err != nil {
			return err
		}
		if attached {
			to = append(to, message.Recipient{Channel: message.SMS, To: string(phone.Number)})
		}
	}
	for _, r := range to {
		if r.Channel == message.SMS {
			if ok, err := p.noticeFits(tx, r.To); err != nil || !ok {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := tx.AddMessage(p.Service.Notice(i, r, kind, c)); err != nil {
			return err
		}
	}
	return nil
}

// noticeFits reports whether a notice may go to a number, and counts it.
func (p *Prover) noticeFits(tx *store.Tx, number string) (bool, error) {
	if p.Sending.NoTexts || !p.Sending.Reaches(account.Phone(number).Country()) {
		return false, nil
	}
	ok, _, err := tx.Count("notices:"+number, phoneNoticesPerDay, 24*time.Hour)
	return ok, err
}
