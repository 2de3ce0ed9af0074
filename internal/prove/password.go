package prove

import (
	"context"
	"errors"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A guess is one charged try of a password.
type guess struct {
	lane    throttle.Lane
	device  string
	network string
}

// chargePassword counts a try of a password before it is hashed: by the
// device where that is known, otherwise by the network, over all names.
func (p *Prover) chargePassword(ctx context.Context, v Visitor, find func(tx *store.Tx) (account.Identity, error)) (i account.Identity, g guess, err error) {
	var refusal error
	err = p.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		g, refusal = guess{}, nil
		var err error
		i, err = find(tx)
		if errors.Is(err, store.ErrNoRow) {
			i = account.Identity{}
		} else if err != nil {
			return err
		}
		d, known, err := p.lane(tx, v, i)
		if err != nil {
			return err
		}
		if known {
			ok, err := tx.ChargeKnownDevice(d.ID)
			if err != nil {
				return err
			}
			if ok {
				g.lane, g.device = throttle.KnownDevice, d.ID
				return nil
			}
			if err := tx.DropKnownDevice(d.ID); err != nil {
				return err
			}
		}
		g.network = "passwords:" + throttle.Network(v.Address).String()
		ok, wait, err := tx.Count(g.network, throttle.PasswordTries, throttle.PasswordWindow)
		if err == nil && !ok {
			refusal = ErrTooManyPasswords.After(wait)
		}
		return err
	})
	if err == nil {
		err = refusal
	}
	return i, g, err
}

func (g guess) forgive(tx *store.Tx) error {
	if g.lane == throttle.KnownDevice { // this try alone: the password is one step of two
		return tx.RefundKnownDevice(g.device)
	}
	return tx.Uncount(g.network)
}

// forgiveNow gives a try back that was never compared.
func (p *Prover) forgiveNow(ctx context.Context, v Visitor, g guess) error {
	return p.DB.Write(ctx, v.Actor().Quietly(), g.forgive)
}

// SignInPassword checks a user name and password. When they are right, then
// runs in the write that remembers it. An unknown name takes the same path,
// the same hash and the same writes as a wrong password.
func (p *Prover) SignInPassword(ctx context.Context, v Visitor, name, password string, then func(tx *store.Tx, i account.Identity, proof factor.Proof) error) error {
	switch {
	case strings.TrimSpace(name) == "":
		return ErrNameAbsent
	case password == "":
		return ErrPasswordAbsent
	case len(password) > secret.PasswordMaxBytes:
		return ErrPasswordHuge
	case len(name) > account.EmailMaxBytes || strings.IndexByte(name, 0) >= 0:
		name = "" // nobody's, and PostgreSQL keeps no NUL
	}
	find := func(tx *store.Tx) (account.Identity, error) { return tx.IdentityByEmail(name) }
	refusal := ErrCredentials
	return p.password(ctx, v, password, find, refusal, audit.ConsoleSignin, account.MaskEmail(name), then)
}

// CurrentPassword checks the password of an identity that is signed in.
func (p *Prover) CurrentPassword(ctx context.Context, v Visitor, i account.Identity, password string, then func(tx *store.Tx, i account.Identity, proof factor.Proof) error) error {
	switch {
	case password == "":
		return ErrPasswordAbsent
	case len(password) > secret.PasswordMaxBytes:
		return ErrPasswordHuge
	}
	find := func(tx *store.Tx) (account.Identity, error) { return tx.Identity(i.ID) }
	return p.password(ctx, v, password, find, ErrPasswordWrong, audit.PasswordModify, "", then)
}

func (p *Prover) password(ctx context.Context, v Visitor, password string, find func(tx *store.Tx) (account.Identity, error), wrong *fault.Fault, event audit.Name, target string, then func(*store.Tx, account.Identity, factor.Proof) error) error {
	i, g, err := p.chargePassword(ctx, v, find)
	if err != nil {
		return err
	}
	right, stale, err := p.Hasher.Verify(ctx, i.PasswordHash, password)
	if err != nil {
		return errors.Join(err, p.forgiveNow(context.WithoutCancel(ctx), v, g))
	}
	var rehashed string
	if stale {
		if rehashed, err = p.Hasher.Hash(ctx, password); err != nil {
			rehashed = "" // another time
		}
	}
	actor := v.Actor()
	if right {
		actor = v.As(i)
	}
	var refusal error
	err = p.DB.Write(ctx, actor, func(tx *store.Tx) error {
		refusal = nil
		if right {
			now, err := tx.Identity(i.ID)
			if err != nil {
				return err
			}
			if right = now.PasswordHash == i.PasswordHash; right { // not changed while we hashed
				if err := g.forgive(tx); err != nil {
					return err
				}
				if rehashed != "" {
					if err := tx.SetPasswordHash(i.ID, i.PasswordHash, rehashed); err != nil {
						return err
					}
				}
				return then(tx, now, factor.Proof{Method: factor.Password, At: tx.Now})
			}
		}
		refusal = wrong
		return tx.Record(audit.Event{Account: i.Account, Name: event, Identity: i.ID, Target: target, Refused: wrong.Code})
	})
	if err == nil {
		err = refusal
	}
	return err
}
