// Package testkit is the test world: a store, the flows, a server, people who
// use them, and a clock that moves.
package testkit

import (
	"crypto/rand"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/flow/signup"
	"countersign/internal/flow/verify"
	"countersign/internal/locale"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// CheapHash is a password hash for tests that are not about hashing.
var CheapHash = secret.Argon2{MemoryKiB: 64, Passes: 1, Threads: 1}

// Suffix is that of user principal names.
const Suffix = "ram.localhost"

// Password is one that every rule accepts.
const Password = "plum otter vines sky"

// A World is the flows on a store of their own. Its clock stands still until
// it is moved.
type World struct {
	*storetest.World
	T       testing.TB
	Prover  *prove.Prover
	SignIn  *signin.Flow
	SignUp  *signup.Flow
	Verify  *verify.Flow
	Self    *selfservice.Flow
	Visitor prove.Visitor // an unknown browser at an address of documentation (RFC 5737)
}

// New makes a world on the engine.
func New(t testing.TB, e storetest.Engine) *World {
	t.Helper()
	w := &World{World: storetest.New(t, e), T: t}
	if e == storetest.SQLite {
		t.Cleanup(func() { storetest.Plans(t, w.DB, w.Config.URL) })
	}
	hasher, err := secret.NewHasher(CheapHash, rand.Reader, 4, 1000)
	if err != nil {
		t.Fatal(err)
	}
	w.Prover = &prove.Prover{DB: w.DB, Hasher: hasher, Random: rand.Reader, FleetAlarm: 1000, Fleet: &prove.Fleet{}, Quotas: account.DefaultQuotas, Suffix: Suffix, Sending: prove.Sending{Ceiling: throttle.Ceiling{All: 10_000, Text: 5000, Country: 1000}}, Service: message.Service{Name: "Countersign", URL: "https://id.example.com"}}
	w.Prover.Passkeys = &passkey.RelyingParty{ID: "id.example.com", Name: "Countersign", Origins: []string{"https://id.example.com"}}
	w.SignIn = &signin.Flow{Prover: w.Prover, Lifetimes: session.Default}
	w.SignUp = &signup.Flow{Prover: w.Prover, Open: true}
	w.Verify = &verify.Flow{Prover: w.Prover}
	w.Self = &selfservice.Flow{Prover: w.Prover, Lifetimes: session.Default}
	w.Visitor = Visitor("192.0.2.7")
	return w
}

// Visitor is an unknown browser at an address.
func Visitor(address string) prove.Visitor {
	return prove.Visitor{Address: netip.MustParseAddr(address), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Request: "test", Locale: locale.All[0]}
}

// Owner makes an account and returns its owner.
func (w *World) Owner(email string) account.Identity {
	w.T.Helper()
	if _, err := w.SignUp.Create(w.T.Context(), email, Password, true); err != nil {
		w.T.Fatal(err)
	}
	return w.Identity(email)
}

// Identity reads an identity by its address.
func (w *World) Identity(email string) account.Identity {
	w.T.Helper()
	i, err := w.Read(w.T.Context()).IdentityByEmail(email)
	if err != nil {
		w.T.Fatal(err)
	}
	return i
}

// Bind binds a virtual MFA device straight in the store, and returns it.
func (w *World) Bind(i account.Identity) *App {
	w.T.Helper()
	seed, err := factor.NewSeed(rand.Reader)
	if err != nil {
		w.T.Fatal(err)
	}
	err = w.Write(w.T.Context(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error {
		return tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: seed}, ID: "device-" + string(i.ID), Name: "Phone"}, store.ErrNoRow)
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return &App{Seed: seed, Now: w.Clock.Now}
}

// Signed signs the identity in with its password and, where one is bound, a
// code of app.
func (w *World) Signed(v prove.Visitor, email string, app *App) (prove.Signed, secret.Token) {
	w.T.Helper()
	p, err := w.SignIn.Begin(w.T.Context(), v, prove.Door{}, email, Password, "")
	if err == nil && app != nil {
		p, err = w.SignIn.Answer(w.T.Context(), v, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}})
	}
	if err != nil || p.Session == nil {
		w.T.Fatalf("sign in as %s: %v, %v", email, p.Step, err)
	}
	s, err := w.SignIn.Who(w.T.Context(), p.Session.Token)
	if err != nil {
		w.T.Fatal(err)
	}
	return s, p.Session.Token
}

// An App is an authenticator app.
type App struct {
	Seed []byte
	Now  func() time.Time
}

// Code is what the app shows, that many steps from now.
func (a *App) Code(offset int64) string { return factor.HOTP(a.Seed, factor.StepAt(a.Now())+offset) }

var codeInMail = regexp.MustCompile(`\b\d{6}\b|\b\d{10}\b`)

// MailedCode returns the code of the newest message to an address.
func (w *World) MailedCode(to string) string {
	w.T.Helper()
	for _, m := range w.Inbox(to) {
		if c := codeInMail.FindString(m.Text); c != "" && m.Kind == "code" {
			return c
		}
	}
	w.T.Fatalf("no code was sent to %s", to)
	return ""
}

// Inbox returns the messages to an address, newest first.
func (w *World) Inbox(to string) (list []message.Message) {
	w.T.Helper()
	all, err := w.Read(w.T.Context()).Messages("", 1000)
	if err != nil {
		w.T.Fatal(err)
	}
	for _, m := range all {
		if strings.EqualFold(m.To, to) {
			list = append(list, m)
		}
	}
	return list
}

// Log is where tests send logs: nowhere.
var Log = slog.New(slog.DiscardHandler)
