package signin

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Discovery is a sign-in by a passkey alone that waits for its answer: the
// passkey says whose it is.
type Discovery struct {
	Ceremony string // its id, which is no secret
	Token    secret.Token
	Options  json.RawMessage // for the browser
}

// Discoveries of one network are bounded against load alone: there is nothing
// to guess.
const (
	discoveries     = 1000
	discoveryWindow = 15 * time.Minute
)

// ErrTooManyPasskeys says that the network asks too often.
var ErrTooManyPasskeys = fault.New(fault.Throttled, "passkey.too_many")

// Discover prepares a sign-in by a passkey alone.
func (f *Flow) Discover(ctx context.Context, v prove.Visitor) (d Discovery, err error) {
	if f.Passkeys == nil {
		return d, passkey.ErrOff
	}
	if d.Token, err = secret.NewToken(f.Random); err != nil {
		return d, err
	}
	if d.Ceremony, err = f.DB.NewID(); err != nil {
		return d, err
	}
	var refusal error
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		refusal = nil
		ok, wait, err := tx.Count("discover:"+throttle.Network(v.Address).String(), discoveries, discoveryWindow)
		if err != nil {
			return err
		}
		if !ok {
			refusal = ErrTooManyPasskeys.After(wait)
			return nil
		}
		c := ceremony.Ceremony{ID: d.Ceremony, Kind: ceremony.Discover, TokenHash: d.Token.Hash(), TriesLeft: throttle.CeremonyTries, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.Lifetime)}
		if err := tx.AddCeremony(c); err != nil {
			return err
		}
		d.Options, err = f.DiscoverOptions(tx, c)
		return err
	})
	if err == nil {
		err = refusal
	}
	return d, err
}

// Discovered signs in with the answer of a passkey alone
// (AuthenticationResponseJSON).
func (f *Flow) Discovered(ctx context.Context, v prove.Visitor, token secret.Token, credential []byte, returnTo string) (p Progress, err error) {
	c, err := f.DB.Read(ctx).CeremonyByToken(ceremony.Discover, token.Hash())
	if errors.Is(err, store.ErrNoRow) || err == nil && errors.Is(c.Open(f.DB.Now()), ceremony.ErrGone) {
		return p, passkey.ErrExpired
	}
	if err != nil {
		return p, err
	}
	var refusal error
	err = f.SignInPasskey(ctx, v, c.ID, credential, func(tx *store.Tx, i account.Identity, proof factor.Proof) error {
		if err := tx.EndCeremony(c.ID, passkey.ErrExpired); err != nil {
			return err
		}
		p, refusal, err = f.begin(tx, v, i, proof, returnTo)
		return err
	})
	if err == nil {
		err = refusal
	}
	if errors.Is(err, ceremony.ErrNoTries) || errors.Is(err, ceremony.ErrGone) {
		err = passkey.ErrExpired // the page begins anew by itself
	}
	return p, err
}

// BindPasskey binds the passkey that was just made, where a device comes first
// (RegistrationResponseJSON).
func (f *Flow) BindPasskey(ctx context.Context, v prove.Visitor, token secret.Token, name string, credential []byte) (p Progress, err error) {
	if _, err := prove.PasskeyName(name); err != nil {
		return p, err
	}
	var c ceremony.Ceremony
	var i account.Identity
	var facts policy.Facts
	err = f.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		var d policy.Decision
		if c, i, d, err = f.binding(tx, v, token); err == nil && !d.Allows(factor.Passkey) {
			err = ErrNotChosen
		}
		if err == nil {
			facts, err = tx.Facts(i, c.Proofs)
		}
		return err
	})
	if err != nil {
		return p, err
	}
	made, err := f.ReadPasskey(ctx, v, i, facts, c.ID, credential, audit.Event{Name: audit.PasskeyCreate})
	if err != nil {
		return p, err
	}
	var refusal error
	err = f.DB.Write(ctx, v.As(i), func(tx *store.Tx) error {
		p, refusal = Progress{}, nil
		c, i, d, err := f.binding(tx, v, token)
		if err == nil && !d.Allows(factor.Passkey) {
			err = ErrNotChosen
		}
		if err != nil {
			return err
		}
		proof := factor.Proof{Method: factor.Passkey, At: tx.Now, Verified: made.Verified, Synced: made.BackupEligible}
		p, refusal, err = f.bound(tx, v, i, c, proof, func(id *string) error {
			k, err := f.AddPasskey(tx, v, i, made, name)
			if err != nil {
				return err
			}
			*id = k.ID
			return f.Notify(tx, v, i, message.PasskeyAdded)
		})
		return err
	})
	if err == nil {
		err = refusal
	}
	return p, err
}
