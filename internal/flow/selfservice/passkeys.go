package selfservice

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// PasskeyAction is the action that creates a passkey, or one from the U2F key
// named.
func PasskeyAction(replaces string) policy.Action {
	if replaces == "" {
		return BindPasskey
	}
	a := upgradeU2F
	a.Target = replaces
	return a
}

// RemovePasskeyAction is the action that removes a passkey or U2F key.
func RemovePasskeyAction(id string) policy.Action {
	a := removePasskey
	a.Target = id
	return a
}

// KindOf is the method by which a passkey or U2F key proves.
func KindOf(p store.Passkey) factor.Method {
	if p.IsU2F() {
		return factor.U2F
	}
	return factor.Passkey
}

// Passkey returns a passkey or U2F key of the identity's own.
func (f *Flow) Passkey(ctx context.Context, s prove.Signed, id string) (store.Passkey, error) {
	return own(f.DB.Read(ctx), s.Identity, id)
}

func own(r *store.Reader, i account.Identity, id string) (store.Passkey, error) {
	p, err := r.Passkey(i.Account, i.ID, id)
	if errors.Is(err, store.ErrNoRow) {
		return p, passkey.ErrNone
	}
	return p, err
}

// room refuses a passkey beyond the quota, before a person touches a device
// for nothing.
func (f *Flow) room(facts policy.Facts) error {
	if facts.Passkeys >= f.Quotas.Passkeys {
		return passkey.ErrQuota
	}
	return nil
}

// passkeyPages is how many passkeys a session may be making at the same time.
const passkeyPages = 4

// BeginPasskey gives out what a browser makes a passkey from; of the U2F key
// named, which goes when the passkey stands (empty: of none).
func (f *Flow) BeginPasskey(ctx context.Context, v prove.Visitor, s prove.Signed, replaces string) (n prove.NewPasskey, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		i, err := tx.Identity(s.Identity.ID)
		if err != nil {
			return err
		}
		d, _, err := f.Decide(&tx.Reader, s, i, PasskeyAction(replaces)) // not used up yet
		if err := errors.Join(err, prove.Refusal(d)); err != nil {
			return err
		}
		if replaces != "" {
			old, err := ownU2F(&tx.Reader, i, replaces)
			if err != nil {
				return err
			}
			n.Replaces = old.Name
		}
		facts, err := tx.Facts(i, nil)
		if err == nil {
			err = f.room(facts)
		}
		if err != nil {
			return err
		}
		if err := tx.TrimCeremonies(ceremony.NewPasskey, s.Session.ID, passkeyPages); err != nil {
			return err
		}
		if n.Ceremony, err = f.DB.NewID(); err != nil {
			return err
		}
		c := ceremony.Ceremony{ID: n.Ceremony, Kind: ceremony.NewPasskey, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: s.Session.ID,
			TriesLeft: throttle.CeremonyTries, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.Lifetime), Private: ceremony.Private{Replaces: replaces}}
		if err := tx.AddCeremony(c); err != nil {
			return err
		}
		n.Options, err = f.PasskeyOptions(tx, i, c)
		return err
	})
	return n, err
}

// ownU2F returns a U2F key of the identity's.
func ownU2F(r *store.Reader, i account.Identity, id string) (store.Passkey, error) {
	old, err := own(r, i, id)
	if err == nil && !old.IsU2F() {
		err = passkey.ErrNone
	}
	return old, err
}

// newPasskey finds what was begun in the session.
func (f *Flow) newPasskey(r *store.Reader, s prove.Signed, id string) (ceremony.Ceremony, error) {
	c, err := r.CeremonyOfSession(ceremony.NewPasskey, id, s.Session.ID)
	if errors.Is(err, store.ErrNoRow) || (err == nil && c.Open(f.DB.Now()) != nil) {
		return c, passkey.ErrExpired
	}
	return c, err
}

// CreatePasskey keeps the passkey that a browser has made, under the name
// typed or one of its own. A U2F key in whose place it comes goes in the same
// write. codes reports whether recovery codes were made: there were none.
func (f *Flow) CreatePasskey(ctx context.Context, v prove.Visitor, s prove.Signed, ceremonyID, name string, credential []byte) (made store.Passkey, token secret.Token, codes bool, err error) {
	r := f.DB.Read(ctx)
	c, err := f.newPasskey(r, s, ceremonyID)
	if err != nil {
		return made, token, false, err
	}
	facts, err := f.mayCreate(r, s, PasskeyAction(c.Private.Replaces), name)
	if err != nil {
		return made, token, false, err
	}
	event := audit.Event{Name: audit.PasskeyCreate}
	if c.Private.Replaces != "" {
		event.Name, event.Target = audit.U2FUpgrade, c.Private.Replaces
	}
	created, err := f.ReadPasskey(ctx, v, s.Identity, facts, ceremonyID, credential, event)
	if err != nil {
		return made, token, false, err
	}
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		c, err := f.newPasskey(&tx.Reader, s, ceremonyID)
		if err != nil {
			return err
		}
		i, err := f.Permit(tx, s, PasskeyAction(c.Private.Replaces))
		if err != nil {
			return err
		}
		old, err := f.retire(tx, i, c.Private.Replaces)
		if err != nil {
			return err
		}
		if called, _ := prove.PasskeyName(name); called == "" {
			name = old.Name // it is the same key
		}
		if made, err = f.AddPasskey(tx, v, i, created, name); err != nil {
			return err
		}
		if old.ID != "" {
			err = f.Notify(tx, v, i, message.U2FUpgraded)
		} else {
			err = f.Notify(tx, v, i, message.PasskeyAdded)
		}
		if err != nil {
			return err
		}
		if token, err = f.renew(tx, s, provedBy(tx, created)); err != nil {
			return err
		}
		codes, err = f.codesWhereNone(tx, s, i)
		return err
	})
	return made, token, codes, err
}

// mayCreate checks what can be checked before the answer of the browser is
// used up: a passkey that we refuse stays on the device.
func (f *Flow) mayCreate(r *store.Reader, s prove.Signed, a policy.Action, name string) (facts policy.Facts, err error) {
	d, _, err := f.Decide(r, s, s.Identity, a)
	if err := errors.Join(err, prove.Refusal(d)); err != nil {
		return facts, err
	}
	if f.Passkeys == nil {
		return facts, passkey.ErrOff
	}
	if facts, err = r.Facts(s.Identity, nil); err != nil {
		return facts, err
	}
	if err := f.room(facts); err != nil {
		return facts, err
	}
	if name, err = prove.PasskeyName(name); name == "" || err != nil {
		return facts, err
	}
	list, err := r.Passkeys(s.Identity.Account, s.Identity.ID)
	for _, p := range list {
		if strings.EqualFold(p.Name, name) {
			return facts, passkey.ErrNameTaken
		}
	}
	return facts, err
}

// provedBy is what making a passkey proves.
func provedBy(tx *store.Tx, c passkey.Credential) factor.Proof {
	return factor.Proof{Method: factor.Passkey, At: tx.Now, Verified: c.Verified, Synced: c.BackupEligible}
}

// retire removes the U2F key in whose place a passkey comes; none where id is
// empty.
func (f *Flow) retire(tx *store.Tx, i account.Identity, id string) (old store.Passkey, err error) {
	if id == "" {
		return old, nil
	}
	if old, err = ownU2F(&tx.Reader, i, id); err != nil {
		return old, err
	}
	if err := tx.RemovePasskey(i.Account, i.ID, id, passkey.ErrNone); err != nil {
		return old, err
	}
	return old, tx.Record(audit.Event{Account: i.Account, Name: audit.U2FUpgrade, Identity: i.ID, Target: id, Details: map[string]string{"name": old.Name}})
}

// codesWhereNone makes recovery codes for whoever has none: losing a phone must
// not lock anybody out.
func (f *Flow) codesWhereNone(tx *store.Tx, s prove.Signed, i account.Identity) (made bool, err error) {
	left, _, err := tx.RecoveryCodesLeft(i.Account, i.ID)
	if err != nil || left > 0 {
		return false, err
	}
	_, err = f.NewCodes(tx, s.Session.ID, i) // after what was granted before is void
	return err == nil, err
}

// RenamePasskey gives a passkey or U2F key another name. It takes no
// verification: nothing is gained by it.
func (f *Flow) RenamePasskey(ctx context.Context, v prove.Visitor, s prove.Signed, id, typed string) error {
	name, err := prove.PasskeyName(typed)
	if err == nil && name == "" {
		err = passkey.ErrName
	}
	if err != nil {
		return err
	}
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := tx.Identity(s.Identity.ID)
		if err != nil {
			return err
		}
		if i.Epoch != s.Session.Epoch {
			return session.ErrSignedOut
		}
		facts, err := tx.Facts(i, nil)
		if err != nil {
			return err
		}
		if managed, _ := facts.Managed(); managed {
			return policy.ErrMFAManaged
		}
		p, err := own(&tx.Reader, i, id)
		if err != nil {
			return err
		}
		if err := tx.RenamePasskey(i.Account, i.ID, id, name, passkey.ErrNone); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.PasskeyUpdate, Identity: i.ID, Target: id, Details: map[string]string{"from": p.Name, "to": name}})
	})
}

// RemovePasskey removes a passkey or U2F key, and the recovery codes with it
// where nothing else is left. Every other session ends.
func (f *Flow) RemovePasskey(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (token secret.Token, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		p, err := own(&tx.Reader, s.Identity, id)
		if err != nil {
			return err
		}
		token, err = f.withdraw(tx, s, KindOf(p), RemovePasskeyAction(id), func(i account.Identity) error {
			_, err := f.DropPasskey(tx, v, i, id, passkey.ErrNone)
			return err
		})
		return err
	})
	return token, err
}

// Accepted is what a browser is told of the passkeys that still stand, so that
// it offers no others (WebAuthn §5.1.10).
type Accepted struct {
	RPID        string   `json:"rpId"`
	User        string   `json:"userId"`
	Credentials []string `json:"allAcceptedCredentialIds"`
}

// Accepted gathers it; zero for whoever never had a passkey.
func (f *Flow) Accepted(ctx context.Context, s prove.Signed) (a Accepted, err error) {
	if f.Passkeys == nil {
		return a, nil
	}
	r := f.DB.Read(ctx)
	handle, err := r.PasskeyHandleOf(s.Identity.Account, s.Identity.ID)
	if has, err := store.HasRow(err); err != nil || !has {
		return a, err
	}
	list, err := r.Passkeys(s.Identity.Account, s.Identity.ID)
	a = Accepted{f.Passkeys.ID, base64.RawURLEncoding.EncodeToString(handle), []string{}}
	for _, p := range list {
		if !p.IsU2F() {
			a.Credentials = append(a.Credentials, base64.RawURLEncoding.EncodeToString(p.Credential.ID))
		}
	}
	return a, err
}
