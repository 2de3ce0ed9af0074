// Package recovery is how the operator leads someone who has lost every device
// to a new one: announced at once, open after a wait, and cancelled by whoever
// still gets in or has the link.
package recovery

import (
	"context"
	"errors"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/fault"
	"countersign/internal/locale"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Flow recovers.
type Flow struct {
	*prove.Prover
	Hasty bool // development mode: the wait may be short
}

// How long a recovery waits, and is then open.
const (
	DefaultWait  = 24 * time.Hour
	ShortestWait = time.Hour
	LongestWait  = 30 * 24 * time.Hour
	OpenFor      = 24 * time.Hour
)

// Faults about recoveries.
var (
	ErrWait         = fault.New(fault.Invalid, "recover.wait")
	ErrNothingBound = fault.New(fault.Conflict, "recover.nothing_bound")
	ErrNone         = fault.New(fault.NotFound, "recover.none")
	ErrGone         = fault.New(fault.Expired, "recover.gone")
)

// Started is a recovery that has begun. The ticket is in no other place.
type Started struct {
	Ticket             string
	OpensAt, ExpiresAt time.Time
	Told               []message.Recipient
	ToldOwner          bool // of the account: the user has no address
	Again              bool // one that was under way has given way to it
}

// Start begins a recovery and tells all addresses of the identity. From
// OpensAt on the password and the ticket lead to a new device.
func (f *Flow) Start(ctx context.Context, actor audit.Actor, identity account.Identity, wait time.Duration) (s Started, err error) {
	if wait < 0 || wait < ShortestWait && !f.Hasty || wait > LongestWait {
		return s, ErrWait
	}
	codes, err := factor.NewRecoveryCodes(f.Random)
	if err != nil {
		return s, err
	}
	link, err := secret.NewToken(f.Random)
	if err != nil {
		return s, err
	}
	err = f.DB.Write(ctx, actor, func(tx *store.Tx) error {
		i, err := tx.Identity(identity.ID)
		if err != nil {
			return err
		}
		facts, err := tx.Peek().Facts(i, nil)
		if err != nil {
			return err
		}
		if !facts.SecondFactor() && !facts.Reenrol {
			return ErrNothingBound
		}
		s = Started{Ticket: codes[0], OpensAt: tx.Now.Add(wait)}
		s.ExpiresAt = s.OpensAt.Add(OpenFor)
		_, err = prove.RecoveryOf(&tx.Reader, i, tx.Now)
		if s.Again, err = store.HasRow(err); err != nil {
			return err
		}
		e := store.Enrolment{Kind: store.Recover, TicketHash: prove.RecoveryHash(i, s.Ticket), CancelHash: link.Hash(), CreatedAt: tx.Now, OpensAt: s.OpensAt, ExpiresAt: s.ExpiresAt}
		if err := tx.SetEnrolment(i.Account, i.ID, e); err != nil {
			return err
		}
		if _, err := tx.ForgetAllRemembered(i.ID); err != nil { // a browser may be what was lost
			return err
		}
		r := message.Recovery{OpensAt: s.OpensAt, ExpiresAt: s.ExpiresAt, Cancel: f.Service.URL + "/recover/" + link.Reveal()}
		s.Told, s.ToldOwner, err = f.tell(tx, i, func(l *locale.Locale, to message.Recipient) message.Message {
			return f.Service.RecoveryStart(l, i, to, r)
		})
		if err != nil {
			return err
		}
		details := map[string]string{"opens_at": s.OpensAt.UTC().Format(time.RFC3339), "expires_at": s.ExpiresAt.UTC().Format(time.RFC3339)}
		for _, to := range s.Told {
			key := "told_" + string(to.Channel)
			details[key] = strings.TrimPrefix(details[key]+", "+Masked(to), ", ")
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryStart, Identity: i.ID, Details: details})
	})
	return s, err
}

// tell sends a message to all addresses of the identity; where a RAM user has
// none, to the owner of its account.
func (f *Flow) tell(tx *store.Tx, i account.Identity, compose func(l *locale.Locale, to message.Recipient) message.Message) (told []message.Recipient, owner bool, err error) {
	l := locale.Match("", i.Locale)
	if told, err = prove.Mailboxes(tx.Peek(), i); err != nil {
		return nil, false, err
	}
	phone, err := tx.Peek().Phone(i.Account, i.ID)
	attached, err := store.HasRow(err)
	if err != nil {
		return nil, false, err
	}
	if attached && !f.Sending.NoTexts && f.Sending.Reaches(phone.Number.Country()) {
		told = append(told, message.Recipient{Channel: message.SMS, To: string(phone.Number)})
	}
	if len(told) == 0 {
		administrators, err := tx.Administrators(i.Account)
		if err != nil {
			return nil, false, err
		}
		for _, a := range administrators {
			if a.IsOwner() {
				owner, l = true, locale.Match("", a.Locale)
				told = append(told, message.Recipient{Channel: message.Email, To: a.Email})
			}
		}
	}
	for _, to := range told {
		if err := tx.AddMessage(compose(l, to)); err != nil {
			return nil, false, err
		}
	}
	return told, owner, nil
}

// Masked is an address as others may see it.
func Masked(to message.Recipient) string {
	if to.Channel == message.SMS {
		return account.Phone(to.To).Mask()
	}
	return account.MaskEmail(to.To)
}

// State returns the recovery of an identity, waiting or open; ErrNone where
// there is none.
func (f *Flow) State(ctx context.Context, i account.Identity) (store.Enrolment, error) {
	e, err := prove.RecoveryOf(f.DB.Read(ctx), i, f.DB.Now())
	if errors.Is(err, store.ErrNoRow) {
		err = ErrNone
	}
	return e, err
}

// Withdraw ends a recovery by the operator's hand, and tells those who were
// told of it.
func (f *Flow) Withdraw(ctx context.Context, actor audit.Actor, identity account.Identity) error {
	return f.DB.Write(ctx, actor, func(tx *store.Tx) error {
		i, err := tx.Identity(identity.ID)
		if err != nil {
			return err
		}
		_, err = prove.RecoveryOf(&tx.Reader, i, tx.Now)
		if errors.Is(err, store.ErrNoRow) {
			return ErrNone
		}
		if err != nil {
			return err
		}
		if err := tx.EndEnrolment(i.Account, i.ID, store.Recover, ErrNone); err != nil {
			return err
		}
		_, _, err = f.tell(tx, i, func(l *locale.Locale, to message.Recipient) message.Message { return f.Service.RecoveryEnd(l, i, to) })
		if err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryCancel, Identity: i.ID, Details: map[string]string{"by": "operator"}})
	})
}

// A Notice is what the holder of a link may see of a recovery.
type Notice struct {
	Name               string // masked
	OpensAt, ExpiresAt time.Time
}

// Look shows the recovery that a link cancels. It changes nothing: programs
// open links too.
func (f *Flow) Look(ctx context.Context, link secret.Token) (n Notice, err error) {
	i, e, err := f.named(ctx, link)
	if err != nil {
		return n, err
	}
	return Notice{account.MaskEmail(i.Name()), e.OpensAt, e.ExpiresAt}, nil
}

// named finds the recovery that a link belongs to.
func (f *Flow) named(ctx context.Context, link secret.Token) (i account.Identity, e store.Enrolment, err error) {
	r := f.DB.Read(ctx)
	id, e, err := r.EnrolmentByCancel(link.Hash())
	if err == nil && !f.DB.Now().Before(e.ExpiresAt) {
		err = ErrGone
	}
	if err == nil {
		i, err = r.Identity(id)
	}
	if errors.Is(err, store.ErrNoRow) {
		err = ErrGone
	}
	return i, e, err
}

// Cancel ends the recovery that a link belongs to, once, and tells the person.
func (f *Flow) Cancel(ctx context.Context, v prove.Visitor, link secret.Token) error {
	found, _, err := f.named(ctx, link)
	if err != nil {
		return err
	}
	return f.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		i, err := tx.Identity(found.ID) // locked: another may be begun in its place
		if err == nil {
			_, _, err = tx.EnrolmentByCancel(link.Hash())
		}
		if errors.Is(err, store.ErrNoRow) {
			return ErrGone
		}
		if err != nil {
			return err
		}
		if err := tx.EndEnrolment(i.Account, i.ID, store.Recover, ErrGone); err != nil {
			return err
		}
		return f.RecoveryCancelled(tx, v, i, "link")
	})
}
