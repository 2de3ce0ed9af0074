package testkit

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A TXT is a DNS of TXT records alone.
type TXT struct {
	mu      sync.Mutex
	Records map[string][]string
	Err     error // instead of an answer
}

// Look looks a name up.
func (d *TXT) Look(_ context.Context, name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Err != nil {
		return nil, d.Err
	}
	if records, ok := d.Records[name]; ok {
		return records, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// Publish publishes a record.
func (d *TXT) Publish(name, record string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Records == nil {
		d.Records = map[string][]string{}
	}
	d.Records[name] = append(d.Records[name], record)
}

// Admin is the console's flow on the world, with a DNS of its own.
func (w *World) Admin() (*admin.Flow, *TXT) {
	dns := &TXT{}
	return &admin.Flow{Prover: w.Prover, Lifetimes: session.Default, TXT: dns.Look}, dns
}

// User adds a RAM user to the account of the owner straight in the store, with
// the password that every rule accepts.
func (w *World) User(owner account.Identity, name string, role account.Role) account.Identity {
	w.T.Helper()
	return w.UserAs(owner, account.Identity{UserName: name, Role: role, Email: name + "@staff.example"}, account.Profile{State: account.ProfileActive})
}

// passwordHash is made once a world: hashing is slow.
var passwordHashes sync.Map

// UserAs adds a RAM user as described.
func (w *World) UserAs(owner, i account.Identity, p account.Profile) account.Identity {
	w.T.Helper()
	hash, ok := passwordHashes.Load(w.Prover.Hasher)
	if !ok {
		made, err := w.Prover.Hasher.Hash(w.T.Context(), Password)
		if err != nil {
			w.T.Fatal(err)
		}
		hash = made
		passwordHashes.Store(w.Prover.Hasher, made)
	}
	id, err := w.NewID()
	if err != nil {
		w.T.Fatal(err)
	}
	i.ID, i.Account, i.Epoch, i.CreatedAt = account.IdentityID(id), owner.Account, 1, w.Clock.Now()
	if p.State != account.NoProfile {
		i.PasswordHash, i.PasswordChangedAt, i.PasswordAlone = hash.(string), i.CreatedAt, true
	}
	w.Put(func(tx *store.Tx) error {
		if err := tx.AddUser(i); err != nil || p.State == account.NoProfile {
			return err
		}
		return tx.SetProfile(i.Account, i.ID, p)
	})
	return w.Again(i)
}

// Again reads an identity once more.
func (w *World) Again(i account.Identity) account.Identity {
	w.T.Helper()
	i, err := w.Read(w.T.Context()).Identity(i.ID)
	if err != nil {
		w.T.Fatal(err)
	}
	return i
}

// Put writes straight into the store, behind every rule.
func (w *World) Put(f func(tx *store.Tx) error) {
	w.T.Helper()
	if err := w.Write(w.T.Context(), w.Visitor.Actor().Quietly(), f); err != nil {
		w.T.Fatal(err)
	}
}

// Settle makes settings those of the account, straight in the store.
func (w *World) Settle(a account.ID, change func(*account.Settings)) account.Settings {
	w.T.Helper()
	s, err := w.Read(w.T.Context()).Settings(a)
	if err != nil {
		w.T.Fatal(err)
	}
	change(&s)
	w.Put(func(tx *store.Tx) error { return tx.SetSettings(a, s) })
	return s
}

// Session makes a session of the identity straight in the store, from the
// visitor's address, that rests on the proofs given (none: the password, and
// an owner's mailbox).
func (w *World) Session(v prove.Visitor, i account.Identity, methods ...factor.Method) (prove.Signed, secret.Token) {
	w.T.Helper()
	if len(methods) == 0 {
		methods = []factor.Method{factor.Password}
		if i.IsOwner() {
			methods = append(methods, factor.Email)
		}
	}
	token, err := secret.NewToken(w.Prover.Random)
	if err != nil {
		w.T.Fatal(err)
	}
	id, err := w.NewID()
	if err != nil {
		w.T.Fatal(err)
	}
	i = w.Again(i)
	now := w.Clock.Now()
	s := session.Session{ID: id, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(6 * time.Hour), Address: v.Address.String(), UserAgent: v.UserAgent}
	for _, m := range methods {
		s.Proofs = append(s.Proofs, factor.Proof{Method: m, At: now})
	}
	w.Put(func(tx *store.Tx) error {
		if err := tx.SignedIn(i.ID); err != nil {
			return err
		}
		return tx.AddSession(s, token.Hash())
	})
	return prove.Signed{Session: s, Identity: w.Again(i)}, token
}

// Given keeps a verification for an action straight in the store, by the
// strongest method that the identity has.
func (w *World) Given(s prove.Signed, a policy.Action) {
	w.T.Helper()
	d, _, err := w.Prover.Decide(w.Read(w.T.Context()), s, w.Again(s.Identity), a)
	if err != nil || d.Step == policy.Refuse || len(d.Methods) == 0 {
		w.T.Fatalf("verify for %s: %v, %v", a.Name, d, err)
	}
	id, err := w.NewID()
	if err != nil {
		w.T.Fatal(err)
	}
	g := policy.Given{ID: id, Scenario: a.Scenario, Action: a.Name, Target: a.Target, Method: d.Methods[0], At: w.Clock.Now()}
	w.Put(func(tx *store.Tx) error { return tx.AddVerification(s.Session.ID, g) })
}

// Ended reports whether a token signs nobody in any more.
func (w *World) Ended(t testing.TB, token secret.Token) bool {
	t.Helper()
	_, err := w.SignIn.Who(t.Context(), token)
	return err != nil
}
