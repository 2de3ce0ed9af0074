package prove

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/store"
)

// RecoveryOf returns the operator's recovery of an identity, waiting or open;
// store.ErrNoRow where there is none.
func RecoveryOf(r *store.Reader, i account.Identity, now time.Time) (store.Enrolment, error) {
	list, err := r.Enrolments(i.Account, i.ID)
	if err != nil {
		return store.Enrolment{}, err
	}
	for _, e := range list {
		if e.Kind == store.Recover && now.Before(e.ExpiresAt) {
			return e, nil
		}
	}
	return store.Enrolment{}, store.ErrNoRow
}

// CancelRecovery ends the operator's recovery of an identity that has signed in
// without its ticket: nothing is lost. Where there is none, it does nothing.
func (p *Prover) CancelRecovery(tx *store.Tx, v Visitor, i account.Identity) error {
	_, err := RecoveryOf(tx.Peek(), i, tx.Now)
	if found, err := store.HasRow(err); !found || err != nil {
		return err
	}
	err = tx.EndEnrolment(i.Account, i.ID, store.Recover, store.ErrNoRow)
	if ended, err := store.HasRow(err); !ended || err != nil { // the link was first
		return err
	}
	return p.RecoveryCancelled(tx, v, i, "signin")
}

// RecoveryCancelled records that a visitor has cancelled a recovery, and how,
// and tells the person.
func (p *Prover) RecoveryCancelled(tx *store.Tx, v Visitor, i account.Identity, by string) error {
	if err := tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryCancel, Identity: i.ID, Details: map[string]string{"by": by}}); err != nil {
		return err
	}
	var also []message.Recipient
	if i.Email == "" { // the phone alone has heard of it
		phone, err := tx.Peek().Phone(i.Account, i.ID)
		if attached, err := store.HasRow(err); err != nil {
			return err
		} else if attached {
			also = append(also, message.Recipient{Channel: message.SMS, To: string(phone.Number)})
		}
	}
	return p.Notify(tx, v, i, message.RecoveryCancelled, also...)
}
