// Package reset is how somebody who has forgotten the password sets another by
// a link in a mail, and how somebody who is told of what they did not do puts
// an end to it.
package reset

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Flow resets.
type Flow struct {
	*prove.Prover
}

// LinkLifetime is how long a link that leads to a new password is good.
const LinkLifetime = time.Hour

// Links that one network may ask for in an hour.
const requestsPerNetwork = 20

// Faults about asking for a link. Those about the name are for the record
// alone: the page says the same to everybody.
var (
	ErrTooMany   = fault.New(fault.Throttled, "forgot.too_many")
	errNobody    = fault.New(fault.NotFound, "forgot.nobody")
	errNoMailbox = fault.New(fault.Conflict, "forgot.no_mailbox")
	errTooSoon   = fault.New(fault.Throttled, "forgot.too_soon")
)

// mailbox is where the link of an identity goes: of an owner the confirmed
// sign-in email, of a user the security email, never the one of its profile,
// which administrators write. The refusal says why to nowhere.
func mailbox(r *store.Reader, i account.Identity) (address string, refusal *fault.Fault, err error) {
	facts, err := r.Facts(i, nil)
	if _, err = store.HasRow(err); err != nil {
		return "", nil, err
	}
	e, err := prove.SecurityEmailOf(r, i)
	switch {
	case err != nil:
		return "", nil, err
	case i.ID == "":
		return "", errNobody, nil
	case i.IsOwner() && facts.EmailConfirmed:
		return i.Email, nil, nil
	case i.IsOwner():
		return "", errNoMailbox, nil
	case !facts.Profile.Enabled():
		return "", policy.ErrDisabled, nil
	case !facts.Settings.ChangePassword:
		return "", policy.ErrPasswordManaged, nil
	case e.ID == "" || !facts.Allows(factor.Email):
		return "", errNoMailbox, nil
	}
	return e.Address, nil, nil
}

// addressHash is what a link keeps of where it went: it is good for nothing
// once another address has taken the place.
func addressHash(address string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(account.EmailKey(address))))
}

// Request has a link sent that leads to a new password, if the name is one
// whose link has somewhere to go. Nobody who asks can tell: the same limits,
// the same rows, the same answer; what was made for nobody is taken out again.
func (f *Flow) Request(ctx context.Context, v prove.Visitor, domain, name string) error {
	name = strings.TrimSpace(name)
	if name == "" {
		return prove.ErrNameAbsent
	}
	if err := f.Sending.Can(factor.Email); err != nil {
		return err
	}
	if len(name) > account.EmailMaxBytes || strings.IndexByte(name, 0) >= 0 {
		name = "-" // nobody's
	}
	door := prove.Door{}
	if !strings.Contains(name, "@") {
		door = prove.Door{RAM: true, Domain: domain}
	}
	token, err := secret.NewToken(f.Random)
	if err != nil {
		return err
	}
	var refusal error
	err = f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		refusal = nil
		network := throttle.Network(v.Address).String()
		ok, wait, err := tx.Count("forgot:"+network, requestsPerNetwork, time.Hour)
		if err != nil {
			return err
		}
		if !ok {
			refusal = ErrTooMany.After(wait)
			return tx.Record(audit.Event{Name: audit.PasswordForgot, Target: account.MaskEmail(name), Refused: ErrTooMany.Code})
		}
		i, err := f.Find(tx.Peek(), door, name)
		if errors.Is(err, store.ErrNoRow) {
			i = account.Identity{}
		} else if err != nil {
			return err
		}
		return f.request(tx, v, i, name, token)
	})
	if err == nil {
		err = refusal
	}
	return err
}

// request is Request for the identity of the name; one without an id is nobody.
func (f *Flow) request(tx *store.Tx, v prove.Visitor, i account.Identity, name string, token secret.Token) error {
	address, why, err := mailbox(tx.Peek(), i)
	if err != nil {
		return err
	}
	key, payer := string(i.ID), string(i.Account)
	if why != nil {
		key, payer = addressHash(name), throttle.Network(v.Address).String()
	}
	fits, err := f.LinkFits(tx, v, key, payer)
	if err != nil {
		return err
	}
	// The same statements run for everybody: where there is nothing to do, on
	// rows that nobody has.
	var uncounted, dropped string
	var voided account.IdentityID
	var unlinked []byte
	switch {
	case why != nil && fits: // nothing goes out
		uncounted = throttle.SendScope
	case why == nil && !fits: // the link that is under way stays good
		why = errTooSoon
	}
	if why == nil {
		voided = i.ID
	}
	if err := errors.Join(tx.Uncount(uncounted), tx.VoidLinks(voided, store.ResetLink)); err != nil {
		return err
	}
	expires := tx.Now.Add(LinkLifetime)
	l := store.Link{Kind: store.ResetLink, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Event: addressHash(address), Address: v.Address.String(), UserAgent: v.UserAgent, ExpiresAt: expires}
	if err := tx.AddLink(token.Hash(), l); err != nil {
		return err
	}
	m := f.Service.Reset(i, address, f.Service.URL+"/reset/"+token.Reveal(), tx.Now, expires)
	if m.ID, err = f.DB.NewID(); err != nil {
		return err
	}
	if err := tx.AddMessage(m); err != nil {
		return err
	}
	event := audit.Event{Account: i.Account, Name: audit.PasswordForgot, Identity: i.ID, Target: account.MaskEmail(name), Details: map[string]string{"to": account.MaskEmail(address)}}
	if why != nil {
		dropped, unlinked = m.ID, token.Hash()
		event.Refused, event.Details = why.Code, nil
	}
	if err := errors.Join(tx.DropMessage(dropped), tx.DropLink(unlinked)); err != nil {
		return err
	}
	return tx.Record(event)
}
