// Package prove is the one place where a password or a code is checked: the
// try is charged, then compared, then used up.
package prove

import (
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
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
	Address    netip.Addr
	UserAgent  string
	Request    string                // id of the request
	Devices    []secret.Token        // known-device cookies
	Remembered session.RememberToken // of a remembered device
	Locale     *locale.Locale
}

// Actor is the visitor as the hand of a change, before it is known who it is.
func (v Visitor) Actor() audit.Actor {
	return audit.Actor{Kind: "visitor", Address: v.Address.String(), UserAgent: v.UserAgent, Request: v.Request}
}

// As is the visitor acting as an identity.
func (v Visitor) As(i account.Identity) audit.Actor {
	a := v.Actor()
	a.Kind, a.ID, a.Name = string(i.Role), string(i.ID), i.Name()
	if i.IsOwner() { // an address: what is recorded holds none in full
		a.Name = account.MaskEmail(i.Email)
	}
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
	Fleet      *Fleet

	Sending Sending

	// Charged is told of every try of a password or a short code, once it is
	// charged for or refused; nil: nobody is.
	Charged func(what factor.Method, c Charge)
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
	for n := range 4 {
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
func (p *Prover) Known(r *store.Reader, v Visitor, i account.Identity) (bool, error) {
	for _, token := range v.Devices {
		_, err := r.KnownDevice(i.ID, token.Hash())
		if known, err := store.HasRow(err); known || err != nil {
			return known, err
		}
	}
	return false, nil
}

// A Fleet remembers how many failures there were over all identities. That is
// believed for a second, and no longer than until the next failure here: whoever
// guesses pays by the sum as it is, and for others it need not be added up.
type Fleet struct{ lately atomic.Pointer[fleetFailures] }

type fleetFailures struct {
	n  int
	at time.Time
}

const fleetBelieved = time.Second

func (f *Fleet) forget() { f.lately.Store(&fleetFailures{}) }

// budget returns the identity's, and what a try costs by it.
func (p *Prover) budget(r *store.Reader, i account.Identity, now time.Time) (b throttle.Budget, version int64, price int, err error) {
	was := p.Fleet.lately.Load()
	if was != nil && !now.Before(was.at) && now.Before(was.at.Add(fleetBelieved)) {
		b, version, err = r.Budget(i.Account, i.ID, now)
		return b, version, b.Price(now, was.n >= p.FleetAlarm), err
	}
	b, version, failures, err := r.BudgetAmong(i.Account, i.ID, fleet, now)
	if err == nil {
		p.Fleet.lately.CompareAndSwap(was, &fleetFailures{failures, now}) // else there was one meanwhile
	}
	return b, version, b.Price(now, failures >= p.FleetAlarm), err
}

// PriceIn returns how many consecutive codes a try of this visitor must carry.
// A known device pays one.
func (p *Prover) PriceIn(tx *store.Tx, v Visitor, i account.Identity) (int, error) {
	d, known, err := p.lane(tx, v, i)
	if err != nil || (known && d.Fails < throttle.DeviceTries) {
		return 1, err
	}
	_, _, price, err := p.budget(tx.Peek(), i, tx.Now)
	return price, err
}

// chargeCode takes the cost of one try of a guessable code. It refuses a try
// that carries fewer codes than its price: carries says how many, given the
// price. The ceremony comes first: whoever sends the same answer twice waits
// there, and learns that it is over before a cookie is looked at that the first
// one has replaced.
func (p *Prover) chargeCode(tx *store.Tx, v Visitor, i account.Identity, ceremonyID string, a *attempt, carries func(price int) error) (refusal, err error) {
	if refusal, err = spend(tx, ceremonyID); err != nil || refusal != nil {
		return refusal, err
	}
	d, known, err := p.lane(tx, v, i)
	if err != nil {
		return nil, err
	}
	if known {
		if refusal := carries(1); refusal != nil {
			return refusal, nil
		}
		ok, err := tx.ChargeKnownDevice(d.ID)
		if err != nil {
			return nil, err
		}
		if ok {
			a.lane, a.device, a.price = throttle.KnownDevice, d.ID, 1
			return nil, nil
		}
		if err := tx.DropKnownDevice(d.ID); err != nil {
			return nil, err
		}
	}
	b, version, price, err := p.budget(&tx.Reader, i, tx.Now)
	if err != nil {
		return nil, err
	}
	a.price = price
	if refusal := carries(price); refusal != nil {
		return refusal, nil
	}
	a.network = "codes:" + throttle.Network(v.Address).String()
	if refusal, err = countCode(tx, a.network); err != nil || refusal != nil {
		return refusal, err
	}
	b, a.charge = b.Charge(tx.Now)
	return nil, tx.SaveBudget(i.Account, i.ID, b, version)
}

// countCode counts the try of a code by its network.
func countCode(tx *store.Tx, network string) (refusal, err error) {
	ok, wait, err := tx.Count(network, throttle.SourceTries, throttle.SourceWindow)
	if err == nil && !ok {
		refusal = ErrTooManyCodes.After(wait)
	}
	return refusal, err
}

// payCode takes what chargeCode took, unasked. A device that has had its tries
// meanwhile is known no longer, and the budget pays for it.
func payCode(i account.Identity, ceremonyID string) func(tx *store.Tx, a attempt) error {
	return func(tx *store.Tx, a attempt) error {
		if err := tx.SpendTry(ceremonyID, nil); err != nil {
			return err
		}
		if a.lane == throttle.KnownDevice {
			ok, err := tx.ChargeKnownDevice(a.device)
			if ok || err != nil {
				return err
			}
			if err := tx.DropKnownDevice(a.device); err != nil {
				return err
			}
		}
		b, version, err := tx.Budget(i.Account, i.ID) // the rows in the order of chargeCode, lest each wait for the other
		if err != nil {
			return err
		}
		if a.network != "" {
			if _, _, err := tx.Count(a.network, 1<<30, throttle.SourceWindow); err != nil {
				return err
			}
		}
		b, _ = b.Charge(tx.Now)
		return tx.SaveBudget(i.Account, i.ID, b, version)
	}
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
		if err := tx.RefundBudget(i.Account, i.ID, a.charge); err != nil {
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
	p.Fleet.forget() // for what this write asks yet
	tx.OnDone(p.Fleet.forget)
	return p.tellOfFailure(tx, v, i, a)
}
