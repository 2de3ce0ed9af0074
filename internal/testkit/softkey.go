package testkit

import (
	"crypto/rand"
	"encoding/json"

	"countersign/internal/domain/account"
	"countersign/internal/domain/passkey"
	"countersign/internal/store"
	"countersign/internal/testkit/softkey"
)

// A SoftKey is an authenticator in software that can lie.
type SoftKey = softkey.Key

// A Lie changes what a key says.
type Lie = softkey.Lie

// NewSoftKey returns a passkey as phones have them: synced, verifying.
func NewSoftKey() *SoftKey { return softkey.New() }

// NewSoftDevice returns a passkey on a security key: bound to its device,
// counting.
func NewSoftDevice() *SoftKey { return softkey.NewDevice() }

// RelyingParty is what passkeys are bound to in this world; it is switched on.
func (w *World) RelyingParty() *passkey.RelyingParty {
	if w.Prover.Passkeys == nil {
		w.Prover.Passkeys = &passkey.RelyingParty{ID: "id.example.com", Name: "Countersign", Origins: []string{"https://id.example.com"}}
	}
	return w.Prover.Passkeys
}

// BindPasskey binds a passkey of the key straight in the store.
func (w *World) BindPasskey(i account.Identity, k *SoftKey) (p store.Passkey) {
	w.T.Helper()
	rp := w.RelyingParty()
	p = store.Passkey{Account: i.Account, Identity: i.ID, ID: w.id(), CreatedFrom: "192.0.2.7"}
	p.Name = "Passkey " + p.ID
	w.Put(func(tx *store.Tx) error {
		handle, err := tx.PasskeyHandle(i.Account, i.ID)
		if err != nil {
			return err
		}
		options, err := rp.Creation(randomBytes(passkey.ChallengeBytes), passkey.User{Handle: handle, Name: i.Name(), DisplayName: i.Name()}, nil)
		if err != nil {
			return err
		}
		if p.Credential, err = rp.Register(k.Create(options), passkey.Lists{}); err != nil {
			return err
		}
		return tx.AddPasskey(p)
	})
	return p
}

// BindU2F binds the key under U2F, as it was before it is imported, straight in
// the store.
func (w *World) BindU2F(i account.Identity, k *SoftKey, appID string) store.Passkey {
	w.T.Helper()
	w.RelyingParty()
	c := k.BindU2F(appID)
	p := store.Passkey{Account: i.Account, Identity: i.ID, ID: w.id(), Credential: passkey.Credential{ID: c.ID, PublicKey: c.Public, AppID: appID, SignCount: c.Count}}
	p.Name = "Key " + p.ID
	w.Put(func(tx *store.Tx) error { return tx.AddPasskey(p) })
	return p
}

// Discovers signs in by a passkey alone, and returns what the key said.
func (w *World) Discovers(k *SoftKey, lies ...Lie) (said json.RawMessage, err error) {
	w.T.Helper()
	d, err := w.SignIn.Discover(w.T.Context(), w.Visitor)
	if err != nil {
		w.T.Fatal(err)
	}
	said = k.Get(d.Options, lies...)
	if said == nil {
		w.T.Fatalf("the key declines %s", d.Options)
	}
	_, err = w.SignIn.Discovered(w.T.Context(), w.Visitor, d.Token, said, "")
	return said, err
}

func (w *World) id() string {
	w.T.Helper()
	id, err := w.NewID()
	if err != nil {
		w.T.Fatal(err)
	}
	return id
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
