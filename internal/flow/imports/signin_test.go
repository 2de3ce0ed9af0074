package imports_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/imports"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// A key that comes in by a file is a second step from then on, and its counter
// goes on from where it was.
func TestAKeyFromAFileIsASecondStep(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.RelyingParty()
		key := testkit.NewSoftDevice()
		bound := key.BindU2F("https://id.example.com/u2f.json")
		bound.Count = 40
		list, bad, err := imports.Parse(strings.NewReader(fmt.Sprintf("%s%s,%s,%s,%s,%d,\n", header, alice, hex.EncodeToString(bound.ID), hex.EncodeToString(bound.Public), bound.AppID, bound.Count)))
		if err != nil || len(bad) > 0 {
			t.Fatal(told(bad), err)
		}
		if r, err := (&imports.Flow{Prover: w.Prover}).U2F(ctx(), operator, list, bad, false); err != nil || r.Keys != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		answer := func() (signin.Progress, error) {
			p := w.Password(w.Visitor, alice)
			if p.Step != policy.Verify {
				t.Fatalf("after the password: %s", p.Step)
			}
			for _, o := range p.Asked.Offers {
				if o.Method == factor.U2F {
					return w.SignIn.Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.U2F, Credential: key.Get(o.Options)})
				}
			}
			t.Fatalf("offered: %+v", p.Asked.Offers)
			return p, nil
		}
		if p, err := answer(); err != nil || p.Session == nil {
			t.Errorf("with the key: %s, %v", p.Step, err)
		}
		bound.Count = 12
		_, err = answer()
		testkit.Want(t, "with a counter from before", err, passkey.ErrRefused)
		if n := len(w.Events(i, audit.PasskeyCounter)); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

// A browser that is known by the password alone stands for nothing more once
// there is a second step.
func TestBrowsersKnownByThePasswordAloneAreForgotten(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		bob, carol := w.User(owner, "bob", account.User), w.User(owner, "carol", account.User)
		w.Bind(carol)
		who := []account.Identity{owner, bob, carol}
		for _, i := range who {
			w.Put(func(tx *store.Tx) error {
				return tx.AddKnownDevice(session.KnownDevice{ID: "of " + string(i.ID), Account: i.Account, Identity: i.ID}, []byte(i.ID))
			})
		}
		list := keys(t, alice, "bob@"+string(owner.Account), "bob@"+string(owner.Account), "carol@"+string(owner.Account))
		if r, err := flow(w).U2F(ctx(), operator, list, nil, false); err != nil || len(r.Bad) > 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		for n, want := range []int{1, 0, 1} {
			if known, err := w.Read(ctx()).KnownDevices(who[n].Account, who[n].ID); err != nil || len(known) != want {
				t.Errorf("%s: %d known browsers, want %d, %v", who[n].Name(), len(known), want, err)
			}
		}
	})
}
