// Package signup makes an account and its owner.
package signup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Flow makes accounts.
type Flow struct {
	*prove.Prover
	Open bool // anybody may sign up
}

// LinkLifetime is how long a set-up link is good.
const LinkLifetime = 24 * time.Hour

// Faults about signing up.
var (
	ErrClosed   = fault.New(fault.NotFound, "signup.closed")
	ErrLinkUsed = fault.New(fault.Expired, "setup.used")
	ErrNoLink   = fault.New(fault.NotFound, "setup.unknown")
)

// SetupLink makes the one-time token of the link that creates the first
// account; ok is false where there is one already.
func (f *Flow) SetupLink(ctx context.Context) (token secret.Token, ok bool, err error) {
	any, err := f.DB.Read(ctx).AnyAccount()
	if err != nil || any {
		return token, false, err
	}
	if token, err = secret.NewToken(f.Random); err != nil {
		return token, false, err
	}
	err = f.DB.Write(ctx, audit.OperatorActor("serve"), func(tx *store.Tx) error {
		if err := tx.AddSetupLink(token.Hash(), tx.Now.Add(LinkLifetime)); err != nil {
			return err
		}
		return tx.Record(audit.Event{Name: audit.SetupLink})
	})
	return token, err == nil, err
}

// Link says whether a set-up link still opens.
func (f *Flow) Link(ctx context.Context, token secret.Token) error {
	r := f.DB.Read(ctx)
	open, err := r.SetupLinkOpen(token.Hash(), f.DB.Now())
	if err != nil || open {
		return err
	}
	known, err := r.SetupLinkKnown(token.Hash())
	if err != nil {
		return err
	}
	if known {
		return ErrLinkUsed
	}
	return ErrNoLink
}

// A Progress says where a sign-up stands.
type Progress struct {
	Ceremony  string
	Token     secret.Token // set when the ceremony is new
	Email     string
	ExpiresAt time.Time
	Resend    time.Duration
}

// Begin checks what was entered and sends a code to the address. link is the
// set-up link's token, or none where sign-up is open. Whether the address
// serves an account already shows in the mail alone.
func (f *Flow) Begin(ctx context.Context, v prove.Visitor, link secret.Token, email, password string) (p Progress, err error) {
	if link.IsZero() && !f.Open {
		return p, ErrClosed
	}
	if !link.IsZero() {
		if err := f.Link(ctx, link); err != nil {
			return p, err
		}
	}
	if email, err = account.ParseEmail(email); err != nil {
		return p, err
	}
	if err := f.check(password, false, email); err != nil {
		return p, err
	}
	hash, err := f.Hasher.Hash(ctx, password)
	if err != nil {
		return p, err
	}
	if p.Token, err = secret.NewToken(f.Random); err != nil {
		return p, err
	}
	var refusal error
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		c := ceremony.Ceremony{Kind: ceremony.SignUp, TokenHash: p.Token.Hash(), TriesLeft: throttle.CeremonyTries, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.Lifetime),
			Private: ceremony.Private{Email: email, PasswordHash: hash, Locale: v.Locale.Tag}}
		if !link.IsZero() {
			c.Private.SetupLink = link.Hash()
			c.ExpiresAt = tx.Now.Add(time.Hour) // one person, at a machine of their own
		}
		if c.ID, err = f.DB.NewID(); err != nil {
			return err
		}
		if err := tx.AddCeremony(c); err != nil {
			return err
		}
		p.Ceremony, p.Email, p.ExpiresAt = c.ID, email, c.ExpiresAt
		refusal, err = f.send(tx, v, c)
		return err
	})
	if err == nil {
		err = refusal
	}
	return p, err
}

func (f *Flow) check(password string, mfa bool, email string) error {
	return account.CheckPassword(password, mfa, "countersign", f.Service.Name, email)
}

// send sends a code, or to an address that has an account a word about it.
func (f *Flow) send(tx *store.Tx, v prove.Visitor, c ceremony.Ceremony) (refusal, err error) {
	_, err = tx.IdentityByEmail(c.Private.Email)
	taken, err := store.HasRow(err)
	if err != nil {
		return nil, err
	}
	to := prove.Destination{Method: factor.Email, Email: c.Private.Email, New: true}
	if taken { // the same limits, the same rows: only the mail differs
		_, refusal, err = f.SendAs(tx, v, account.Identity{}, c, to, func(string, time.Time) (*message.Message, error) {
			first, _, err := tx.Count("told:signup:"+account.EmailKey(to.Email), 1, 24*time.Hour)
			if err != nil || !first {
				return nil, err
			}
			m := f.Service.SignUpAgain(v.Locale, to.Email)
			return &m, nil
		})
		return refusal, err
	}
	_, refusal, err = f.Prover.Send(tx, v, account.Identity{}, c, to, message.Purpose{Key: "create_account"})
	return refusal, err
}

func (f *Flow) ceremony(r *store.Reader, token secret.Token, now time.Time) (ceremony.Ceremony, error) {
	c, err := r.CeremonyByToken(ceremony.SignUp, token.Hash())
	if errors.Is(err, store.ErrNoRow) {
		return c, ceremony.ErrGone
	}
	if err != nil {
		return c, err
	}
	return c, c.Open(now)
}

// State says where the sign-up of a token stands.
func (f *Flow) State(ctx context.Context, token secret.Token) (p Progress, err error) {
	r := f.DB.Read(ctx)
	c, err := f.ceremony(r, token, f.DB.Now())
	if err != nil {
		return p, err
	}
	p = Progress{Ceremony: c.ID, Email: c.Private.Email, ExpiresAt: c.ExpiresAt}
	_, p.Resend, err = r.Counted("resend:"+c.ID, f.DB.Now())
	return p, err
}

// Resend sends another code.
func (f *Flow) Resend(ctx context.Context, v prove.Visitor, token secret.Token) error {
	var refusal error
	err := f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		c, err := f.ceremony(&tx.Reader, token, tx.Now)
		if err != nil {
			return err
		}
		refusal, err = f.send(tx, v, c)
		return err
	})
	if err == nil {
		err = refusal
	}
	return err
}

// Confirm checks the code and makes the account. It returns the address.
func (f *Flow) Confirm(ctx context.Context, v prove.Visitor, token secret.Token, code string) (email string, err error) {
	c, err := f.ceremony(f.DB.Read(ctx), token, f.DB.Now())
	if err != nil {
		return "", err
	}
	err = f.CheckSent(ctx, v, c.ID, code, func(tx *store.Tx) error {
		if c.Private.SetupLink != nil {
			if err := tx.UseSetupLink(c.Private.SetupLink, ErrLinkUsed); err != nil {
				return err
			}
		}
		if err := tx.EndCeremony(c.ID, ceremony.ErrGone); err != nil {
			return err
		}
		// The form asked for a password that may stand alone.
		_, err := f.add(tx, account.Identity{Email: c.Private.Email, EmailConfirmedAt: tx.Now, PasswordHash: c.Private.PasswordHash, PasswordAlone: true, Locale: c.Private.Locale})
		return err
	})
	return c.Private.Email, err
}

// add makes the account of an owner.
func (f *Flow) add(tx *store.Tx, owner account.Identity) (account.Account, error) {
	id, err := f.accountID()
	if err != nil {
		return account.Account{}, err
	}
	a := account.Account{ID: id, Alias: string(id), CreatedAt: tx.Now}
	if err := tx.AddAccount(a); err != nil {
		return a, err
	}
	if err := tx.VoidSetupLinks(); err != nil { // they are for the first account
		return a, err
	}
	identity, err := f.DB.NewID()
	if err != nil {
		return a, err
	}
	owner.ID, owner.Account, owner.Role, owner.CreatedAt, owner.PasswordChangedAt, owner.Epoch = account.IdentityID(identity), id, account.Owner, tx.Now, tx.Now, 1
	if err := tx.AddIdentity(owner); err != nil {
		return a, err
	}
	return a, tx.Record(audit.Event{Account: id, Name: audit.AccountReg, Identity: owner.ID, Details: map[string]string{"email": account.MaskEmail(owner.Email)}})
}

// accountID draws a number of sixteen digits that does not begin with zero.
func (f *Flow) accountID() (account.ID, error) {
	first, err := secret.Digits(f.Random, 1)
	if err != nil {
		return "", err
	}
	rest, err := secret.Digits(f.Random, account.IDDigits-1)
	if err != nil {
		return "", err
	}
	if first == "0" {
		first = "1"
	}
	return account.ID(first + rest), nil
}

// Create makes an account by the operator's hand; verified takes the
// operator's word that the address is the owner's.
func (f *Flow) Create(ctx context.Context, email, password string, verified bool) (a account.Account, err error) {
	if email, err = account.ParseEmail(email); err != nil {
		return a, err
	}
	if err := f.check(password, false, email); err != nil {
		return a, err
	}
	hash, err := f.Hasher.Hash(ctx, password)
	if err != nil {
		return a, fmt.Errorf("hash the password: %w", err)
	}
	err = f.DB.Write(ctx, audit.OperatorActor("account create"), func(tx *store.Tx) error {
		owner := account.Identity{Email: email, PasswordHash: hash, PasswordAlone: true} // the first sign-in shows the language
		if verified {
			owner.EmailConfirmedAt = tx.Now
		}
		a, err = f.add(tx, owner)
		return err
	})
	return a, err
}
