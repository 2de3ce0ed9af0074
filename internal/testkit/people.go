package testkit

import (
	"errors"
	"fmt"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// From is an unknown browser in the n-th network.
func From(n int) prove.Visitor {
	return Visitor(fmt.Sprintf("10.%d.%d.9", n>>8&255, n&255))
}

// With is the visitor in a browser that holds known-device cookies.
func With(v prove.Visitor, devices ...secret.Token) prove.Visitor {
	v.Devices = devices
	return v
}

// WrongCode is six digits that the app shows at no step near now.
func (a *App) WrongCode() string {
	for n := 0; ; n++ {
		code := fmt.Sprintf("%06d", n*7919%1_000_000)
		near := false
		for offset := int64(-15); offset <= 15; offset++ {
			near = near || a.Code(offset) == code
		}
		if !near {
			return code
		}
	}
}

// Budget is the unknown-device lane of the identity as it stands now.
func (w *World) Budget(i account.Identity) (b throttle.Budget) {
	w.T.Helper()
	err := w.Write(w.T.Context(), w.Visitor.Actor().Quietly(), func(tx *store.Tx) (err error) {
		b, _, err = tx.Budget(i.Account, i.ID)
		b = b.At(tx.Now)
		return err
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return b
}

// Password gives the right password and returns where the sign-in stands.
func (w *World) Password(v prove.Visitor, email string) signin.Progress {
	w.T.Helper()
	p, err := w.SignIn.Begin(w.T.Context(), v, prove.Door{}, email, Password, "")
	if err != nil {
		w.T.Fatalf("sign in as %s: %v", email, err)
	}
	return p
}

// Answer takes the step of a sign-in with codes of the app.
func (w *World) Answer(v prove.Visitor, p signin.Progress, codes ...string) (signin.Progress, error) {
	return w.SignIn.Answer(w.T.Context(), v, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: codes})
}

// Guess makes n wrong tries, each with three codes so that it is one at any
// price, each from a network of its own, the first of which is number from.
func (w *World) Guess(email string, app *App, from, n int) {
	w.T.Helper()
	wrong := app.WrongCode()
	for k := 0; k < n; {
		p := w.Password(From(from+k), email)
		for range min(throttle.CeremonyTries, n-k) {
			_, err := w.Answer(From(from+k), p, wrong, wrong, wrong)
			if !errors.Is(err, factor.ErrCodesWrong) {
				w.T.Fatalf("try %d: %v", k, err)
			}
			k++
		}
	}
}

// Events are those of a name that concern the identity, newest first.
func (w *World) Events(i account.Identity, name audit.Name) (list []audit.Event) {
	w.T.Helper()
	list, err := w.Read(w.T.Context()).History(i.Account, i.ID, 0, 1000, name)
	if err != nil {
		w.T.Fatal(err)
	}
	return list
}

// NewCodes makes recovery codes and reads them, as their owner does.
func (w *World) NewCodes(s prove.Signed) ([]string, error) {
	w.T.Helper()
	if err := w.Self.MakeRecoveryCodes(w.T.Context(), w.Visitor, s); err != nil {
		return nil, err
	}
	return w.Self.NewRecoveryCodes(w.T.Context(), s)
}

// Attach attaches a phone straight in the store.
func (w *World) Attach(i account.Identity, number account.Phone) store.Phone {
	w.T.Helper()
	p := store.Phone{ID: "phone-" + string(i.ID), Number: number, BoundFrom: "192.0.2.7"}
	err := w.Write(w.T.Context(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error {
		return tx.AttachPhone(i.Account, i.ID, "", p, store.ErrNoRow)
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return p
}

// Protect turns Account Protection on straight in the store.
func (w *World) Protect(i account.Identity, m factor.Method, scenarios ...policy.Scenario) {
	w.T.Helper()
	err := w.Write(w.T.Context(), w.Visitor.As(i).Quietly(), func(tx *store.Tx) error {
		return tx.SetProtection(i.Account, policy.Protection{Scenarios: scenarios, Method: m})
	})
	if err != nil {
		w.T.Fatal(err)
	}
}

// Facts are what the policy knows of the identity.
func (w *World) Facts(i account.Identity) policy.Facts {
	w.T.Helper()
	f, err := w.Read(w.T.Context()).Facts(i, nil)
	if err != nil {
		w.T.Fatal(err)
	}
	return f
}

// Mailbox binds a security email straight in the store.
func (w *World) Mailbox(i account.Identity, address string) store.SecurityEmail {
	w.T.Helper()
	e := store.SecurityEmail{ID: "mail-" + string(i.ID), Address: address, BoundFrom: "192.0.2.7"}
	w.Put(func(tx *store.Tx) error {
		return tx.BindSecurityEmail(i.Account, i.ID, "", e, store.ErrNoRow)
	})
	return e
}

// Sends is where codes of the method go.
func (w *World) Sends(i account.Identity, m factor.Method) string {
	w.T.Helper()
	switch {
	case m == factor.Email && i.IsOwner():
		return i.Email
	case m == factor.Email:
		e, err := w.Read(w.T.Context()).SecurityEmail(i.Account, i.ID)
		if err != nil {
			w.T.Fatal(err)
		}
		return e.Address
	}
	p, err := w.Read(w.T.Context()).Phone(i.Account, i.ID)
	if err != nil {
		w.T.Fatal(err)
	}
	return string(p.Number)
}

// SignedBy signs the identity in with its password and a code sent by m.
func (w *World) SignedBy(v prove.Visitor, i account.Identity, m factor.Method) (prove.Signed, secret.Token) {
	w.T.Helper()
	p := w.Password(v, i.Email)
	err := w.SignIn.Send(w.T.Context(), v, p.Token, m)
	if err == nil {
		p, err = w.SignIn.Answer(w.T.Context(), v, p.Token, prove.Answer{Method: m, Codes: []string{w.MailedCode(w.Sends(i, m))}})
	}
	if err != nil || p.Session == nil {
		w.T.Fatalf("sign in as %s by %s: %v, %v", i.Email, m, p.Step, err)
	}
	s, err := w.SignIn.Who(w.T.Context(), p.Session.Token)
	if err != nil {
		w.T.Fatal(err)
	}
	return s, p.Session.Token
}

// Verified proves the identity for an action: by a code sent by m, or by the
// code given.
func (w *World) Verified(s prove.Signed, a policy.Action, m factor.Method, code ...string) prove.Signed {
	w.T.Helper()
	id, err := w.Verify.Begin(w.T.Context(), w.Visitor, s, a, "/next")
	if err == nil && m.Sent() {
		err = w.Verify.Send(w.T.Context(), w.Visitor, s, id, m)
		code = []string{w.MailedCode(w.Sends(s.Identity, m))}
	}
	if err != nil {
		w.T.Fatalf("verify by %s: %v", m, err)
	}
	_, token, err := w.Verify.Answer(w.T.Context(), w.Visitor, s, id, prove.Answer{Method: m, Codes: code})
	if err != nil {
		w.T.Fatalf("verify by %s: %v", m, err)
	}
	if s, err = w.SignIn.Who(w.T.Context(), token); err != nil {
		w.T.Fatal(err)
	}
	return s
}

// Told are the notices to an address or number of what was changed, newest
// first: those of a sign-in in another browser, of which tests have many, are
// in the Inbox alone.
func (w *World) Told(to string) (kinds []string) {
	w.T.Helper()
	for _, m := range w.Inbox(to) {
		if m.Kind != "code" && m.Kind != string(message.NewDeviceSignIn) {
			kinds = append(kinds, m.Kind)
		}
	}
	return kinds
}

// On runs f in a world on each of the engines named; on SQLite and PostgreSQL
// where none is.
func On(t *testing.T, f func(t *testing.T, w *World), engines ...storetest.Engine) {
	t.Helper()
	if len(engines) == 0 {
		engines = []storetest.Engine{storetest.SQLite, storetest.Postgres}
	}
	for _, e := range engines {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			f(t, New(t, e))
		})
	}
}

// Want compares a refusal with the one that is due; nil: none.
func Want(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
