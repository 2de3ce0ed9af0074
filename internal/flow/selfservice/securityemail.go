package selfservice

import (
	"context"
	"errors"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Faults about the security email.
var (
	ErrSameSecurityEmail = fault.New(fault.Conflict, "security_email.same").On("email")
	ErrNoSecurityEmail   = fault.New(fault.NotFound, "security_email.none")
	ErrEmailForbidden    = fault.New(fault.Forbidden, "security_email.forbidden").On("email")
	ErrSecurityEmailFull = prove.ErrSecurityEmailFull
)

// SecurityEmailAction is the action that binds a security email, or replaces
// the present one.
func SecurityEmailAction(present store.SecurityEmail) policy.Action {
	if present.ID == "" {
		return bindSecurityEmail
	}
	a := changeSecurityEmail.About(account.MaskEmail(present.Address))
	a.Target = present.ID
	return a
}

// RemoveSecurityEmailAction is the action that unbinds the security email.
func RemoveSecurityEmailAction(present store.SecurityEmail) policy.Action {
	a := removeSecurityEmail.About(account.MaskEmail(present.Address))
	a.Target = present.ID
	return a
}

// ChangeSecurityEmail begins to bind a security email, or to replace the one
// there is, as ChangePhone does with a phone. Whether the address can serve one
// more user is said when its code has come back.
func (f *Flow) ChangeSecurityEmail(ctx context.Context, v prove.Visitor, s prove.Signed, typed string) (id string, err error) {
	email, err := account.ParseEmail(typed)
	if err != nil {
		return "", err
	}
	r := f.DB.Read(ctx)
	facts, err := r.Facts(s.Identity, nil)
	if err != nil {
		return "", err
	}
	if !facts.Allows(factor.Email) {
		return "", ErrEmailForbidden
	}
	present, err := prove.SecurityEmailOf(r, s.Identity)
	if err != nil {
		return "", err
	}
	if present.ID != "" && account.EmailKey(email) == account.EmailKey(present.Address) {
		return "", ErrSameSecurityEmail
	}
	return f.change(ctx, v, s, SecurityEmailAction(present), ceremony.Private{Email: email})
}

// setSecurityEmail binds an address that has answered. That it serves enough
// users already is a refusal that commits: the change is over.
func (f *Flow) setSecurityEmail(tx *store.Tx, v prove.Visitor, s prove.Signed, i account.Identity, c ceremony.Ceremony, proof factor.Proof) (token secret.Token, refusal, err error) {
	err = f.BindSecurityEmail(tx, v, i, c.Action.Target, c.Private.Email)
	if errors.Is(err, ErrSecurityEmailFull) {
		if err := tx.DropCeremonies(ceremony.Contact, s.Session.ID); err != nil {
			return token, nil, err
		}
		return token, err, tx.Record(audit.Event{Account: i.Account, Name: audit.SecurityEmailBind, Identity: i.ID, Refused: ErrSecurityEmailFull.Code})
	}
	if err == nil {
		token, err = f.renew(tx, s, proof)
	}
	return token, nil, err
}

// RemoveSecurityEmail unbinds the security email. Every other session ends; the
// address is told.
func (f *Flow) RemoveSecurityEmail(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (token secret.Token, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		present, err := prove.SecurityEmailOf(&tx.Reader, s.Identity)
		if err != nil {
			return err
		}
		if present.ID == "" || present.ID != id {
			return ErrNoSecurityEmail
		}
		i, err := f.Permit(tx, s, RemoveSecurityEmailAction(present))
		if err != nil {
			return err
		}
		if err := tx.RemoveSecurityEmail(i.Account, i.ID, id, ErrNoSecurityEmail); err != nil {
			return err
		}
		if token, err = f.renew(tx, s); err != nil {
			return err
		}
		if err := f.Notify(tx, v, i, message.SecurityEmailRemoved, message.Recipient{Channel: message.Email, To: present.Address}); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.SecurityEmailUnbind, Identity: i.ID, Target: id, Details: map[string]string{"from": account.MaskEmail(present.Address)}})
	})
	return token, err
}
