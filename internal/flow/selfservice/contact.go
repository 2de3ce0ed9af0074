package selfservice

import (
	"context"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Faults about changing how someone is reached.
var (
	ErrContactGone  = fault.New(fault.Expired, "contact.gone")
	ErrContactTries = fault.New(fault.Expired, "contact.no_tries")
	ErrSamePhone    = fault.New(fault.Conflict, "phone.same").On("phone")
	ErrSameEmail    = fault.New(fault.Conflict, "email.same").On("email")
	ErrPhoneChanged = prove.ErrPhoneChanged
	ErrNoPhone      = fault.New(fault.NotFound, "phone.none")
)

// A Contact is a new phone, sign-in email or security email that has not answered yet.
type Contact struct {
	prove.Fate
	ID      string
	Method  factor.Method // SMS or Email
	Email   string
	Phone   account.Phone
	Country string // as chosen beside the phone
	Digits  int
	Valid   int // minutes that a code sent now is valid
	Resend  time.Duration
}

// PhoneAction is the action that attaches a phone, or replaces the present one.
func PhoneAction(present store.Phone) policy.Action {
	if present.ID == "" {
		return AttachPhone
	}
	a := changePhone.About(present.Number.Mask())
	a.Target = present.ID
	return a
}

// RemovePhoneAction is the action that takes the phone off.
func RemovePhoneAction(present store.Phone) policy.Action {
	a := removePhone.About(present.Number.Mask())
	a.Target = present.ID
	return a
}

// EmailAction is the action that changes the sign-in email.
func EmailAction(i account.Identity) policy.Action {
	return ChangeEmail.About(account.MaskEmail(i.Email))
}

// ChangePhone begins to attach a number: a code goes there, and until it comes
// back the present one stays in force. What was typed is kept under the id
// returned even where a verification must come first.
func (f *Flow) ChangePhone(ctx context.Context, v prove.Visitor, s prove.Signed, country, typed string) (id string, err error) {
	if err := f.Sending.Can(factor.SMS); err != nil {
		return "", err
	}
	number, err := f.ParsePhone(country, typed)
	if err != nil {
		return "", err
	}
	present, err := prove.PhoneOf(f.DB.Read(ctx), s.Identity)
	if err != nil {
		return "", err
	}
	if present.Number == number {
		return "", ErrSamePhone
	}
	return f.change(ctx, v, s, PhoneAction(present), ceremony.Private{Phone: number, Country: country})
}

// ChangeEmail begins to change the sign-in email, as ChangePhone does.
func (f *Flow) ChangeEmail(ctx context.Context, v prove.Visitor, s prove.Signed, typed string) (id string, err error) {
	email, err := account.ParseEmail(typed)
	if err != nil {
		return "", err
	}
	if account.EmailKey(email) == account.EmailKey(s.Identity.Email) {
		return "", ErrSameEmail
	}
	return f.change(ctx, v, s, EmailAction(s.Identity), ceremony.Private{Email: email})
}

func (f *Flow) change(ctx context.Context, v prove.Visitor, s prove.Signed, a policy.Action, what ceremony.Private) (id string, err error) {
	if id, err = f.DB.NewID(); err != nil {
		return "", err
	}
	err = f.SendWithin(ctx, v, s.Identity, func(tx *store.Tx) (sent string, refusal, err error) {
		i, err := f.Permit(tx, s, a)
		if errors.Is(err, prove.ErrVerifyFirst) {
			refusal = err
		} else if err != nil {
			return "", nil, err
		}
		if err := tx.DropCeremonies(ceremony.Contact, s.Session.ID); err != nil {
			return "", nil, err
		}
		c := ceremony.Ceremony{ID: id, Kind: ceremony.Contact, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: s.Session.ID,
			TriesLeft: throttle.CeremonyTries, Action: a, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.SessionLifetime), Private: what}
		if err := tx.AddCeremony(c); err != nil || refusal != nil {
			return "", refusal, err
		}
		return f.sendNew(tx, v, i, c)
	})
	return id, err
}

// sendNew sends a code to where somebody wants to be reached. An address that
// signs somebody else in gets a word about it instead: the page looks the same.
// What became of a mail is not waited for, since that would tell.
func (f *Flow) sendNew(tx *store.Tx, v prove.Visitor, i account.Identity, c ceremony.Ceremony) (id string, refusal, err error) {
	to, why := destinationOf(c), message.Purpose{Key: c.Action.Name}
	if to.Method == factor.SMS || !i.IsOwner() { // a security email signs nobody in
		return f.Send(tx, v, i, c, to, why)
	}
	_, err = tx.Peek().IdentityByEmail(to.Email)
	taken, err := store.HasRow(err)
	if err != nil {
		return "", nil, err
	}
	if !taken {
		_, refusal, err = f.Send(tx, v, i, c, to, why)
		return "", refusal, err
	}
	_, refusal, err = f.SendAs(tx, v, i, c, to, func(string, time.Time) (*message.Message, error) {
		first, _, err := tx.Count("told:email:"+account.EmailKey(to.Email), 1, 24*time.Hour)
		if err != nil || !first {
			return nil, err
		}
		m := f.Service.EmailInUse(v.Locale, to.Email)
		return &m, nil
	})
	return "", refusal, err
}

// contact finds what is being changed in the session.
func (f *Flow) contact(r *store.Reader, now time.Time, s prove.Signed, id string) (ceremony.Ceremony, error) {
	c, err := r.CeremonyOfSession(ceremony.Contact, id, s.Session.ID)
	if errors.Is(err, store.ErrNoRow) || (err == nil && !now.Before(c.ExpiresAt)) {
		return c, ErrContactGone
	}
	if err == nil && c.TriesLeft <= 0 {
		return c, ErrContactTries
	}
	return c, err
}

func destinationOf(c ceremony.Ceremony) prove.Destination {
	if c.Private.Phone != "" {
		return prove.Destination{Method: factor.SMS, Phone: c.Private.Phone, New: true}
	}
	return prove.Destination{Method: factor.Email, Email: c.Private.Email, New: true}
}

// Contact says how far the change has come.
func (f *Flow) Contact(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (k Contact, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		c, err := f.contact(&tx.Reader, tx.Now, s, id)
		if err != nil {
			return err
		}
		k = Contact{ID: c.ID, Method: destinationOf(c).Method, Email: c.Private.Email, Phone: c.Private.Phone, Country: c.Private.Country, Valid: message.ValidMinutes(tx.Now, c.CodeExpires(tx.Now))}
		k.Digits, k.Resend, k.Fate, err = f.SentState(tx, v, s.Identity, c.ID, k.Method)
		if k.Method == factor.Email && s.Identity.IsOwner() { // what became of the mail would tell whose the address is
			k.Delayed, k.Failed = false, false
		}
		return err
	})
	return k, err
}

// SendContact sends another code to the new address or number.
func (f *Flow) SendContact(ctx context.Context, v prove.Visitor, s prove.Signed, id string) error {
	return f.SendWithin(ctx, v, s.Identity, func(tx *store.Tx) (sent string, refusal, err error) {
		c, err := f.contact(&tx.Reader, tx.Now, s, id)
		if err != nil {
			return "", nil, err
		}
		i, err := f.Permit(tx, s, c.Action)
		if err != nil {
			return "", nil, err
		}
		return f.sendNew(tx, v, i, c)
	})
}

// ContactAction is the action of a change under way: for the verification
// that it takes.
func (f *Flow) ContactAction(ctx context.Context, s prove.Signed, id string) (policy.Action, error) {
	c, err := f.contact(f.DB.Read(ctx), f.DB.Now(), s, id)
	return c.Action, err
}

// ConfirmContact makes the new address or number the one in force: the code
// sent there has come back. Every other session ends; the old and the new one
// are told.
func (f *Flow) ConfirmContact(ctx context.Context, v prove.Visitor, s prove.Signed, id, code string) (m factor.Method, token secret.Token, err error) {
	r := f.DB.Read(ctx)
	c, err := f.contact(r, f.DB.Now(), s, id)
	if err != nil {
		return "", token, err
	}
	m = destinationOf(c).Method
	if d, _, err := f.Decide(r, s, s.Identity, c.Action); err != nil || d.Step != policy.Complete {
		return m, token, errors.Join(err, prove.ErrVerifyFirst)
	}
	event := audit.Event{Name: audit.EmailModify}
	switch {
	case m == factor.SMS:
		event.Name = audit.MobileBind
	case !s.Identity.IsOwner():
		event.Name = audit.SecurityEmailBind
	}
	var refusal error
	err = f.Check(ctx, v, v.As(s.Identity), s.Identity, id, prove.Answer{Method: m, Codes: []string{code}, New: true}, event, func(tx *store.Tx, proof factor.Proof) error {
		c, err := f.contact(&tx.Reader, tx.Now, s, id)
		if err != nil && !errors.Is(err, ErrContactTries) { // the last try was the right one
			return err
		}
		i, err := f.Permit(tx, s, c.Action)
		if err != nil {
			return err
		}
		if m == factor.SMS {
			if err := f.AttachPhone(tx, v, i, c.Action.Target, c.Private.Phone); err != nil {
				return err
			}
			if token, err = f.renew(tx, s, proof); err != nil {
				return err
			}
			left, _, err := tx.RecoveryCodesLeft(i.Account, i.ID)
			if err == nil && left == 0 { // whoever loses the phone needs another way
				_, err = f.NewCodes(tx, s.Session.ID, i)
			}
			return err
		}
		if !i.IsOwner() {
			token, refusal, err = f.setSecurityEmail(tx, v, s, i, c, proof)
			return err
		}
		if err := f.setEmail(tx, v, i, c.Private.Email); err != nil {
			return err
		}
		token, err = f.renew(tx, s)
		return err
	})
	if errors.Is(err, ceremony.ErrNoTries) {
		err = ErrContactTries
	}
	if err == nil {
		err = refusal
	}
	return m, token, err
}

// setEmail makes an address that has answered the one that signs in, and
// tells the old one, the new one and the phone.
func (f *Flow) setEmail(tx *store.Tx, v prove.Visitor, i account.Identity, email string) error {
	old := i.Email
	if err := tx.SetEmail(i.ID, email); err != nil {
		return err
	}
	i.Email = email
	if err := f.Notify(tx, v, i, message.EmailChanged, message.Recipient{Channel: message.Email, To: old}); err != nil {
		return err
	}
	return tx.Record(audit.Event{Account: i.Account, Name: audit.EmailModify, Identity: i.ID, Details: map[string]string{"from": account.MaskEmail(old), "to": account.MaskEmail(email)}})
}

// RemovePhone takes the phone off. Every other session ends; the phone is told.
func (f *Flow) RemovePhone(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (token secret.Token, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		present, err := prove.PhoneOf(&tx.Reader, s.Identity)
		if err != nil {
			return err
		}
		if present.ID == "" || present.ID != id {
			return ErrNoPhone
		}
		facts, err := tx.Facts(s.Identity, nil)
		if err != nil {
			return err
		}
		if facts.Needs(factor.SMS) {
			return needed(s.Identity)
		}
		i, err := f.Permit(tx, s, RemovePhoneAction(present))
		if err != nil {
			return err
		}
		if err := tx.RemovePhone(i.Account, i.ID, id, ErrNoPhone); err != nil {
			return err
		}
		if facts.Phone = false; !facts.SecondFactor() {
			if err := tx.ReplaceRecoveryCodes(i.Account, i.ID, nil); err != nil {
				return err
			}
		}
		if token, err = f.renew(tx, s); err != nil {
			return err
		}
		if err := f.Notify(tx, v, i, message.PhoneRemoved, message.Recipient{Channel: message.SMS, To: string(present.Number)}); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.MobileUnbind, Identity: i.ID, Target: id, Details: map[string]string{"from": present.Number.Mask()}})
	})
	return token, err
}
