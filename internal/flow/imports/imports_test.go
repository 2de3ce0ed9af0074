package imports_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/passkey"
	"countersign/internal/flow/imports"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

const (
	alice = "alice@example.com"
	appID = "https://legacy.example.com/u2f.json"
)

var operator = audit.OperatorActor("import u2f")

func ctx() context.Context { return context.Background() }

func flow(w *testkit.World) *imports.Flow {
	p := *w.Prover
	p.Passkeys = &passkey.RelyingParty{ID: "id.example.com", Name: "Test", Origins: []string{"https://id.example.com", "https://example.net"}}
	return &imports.Flow{Prover: &p}
}

// keys are records for the users named, each with a key of its own.
func keys(t *testing.T, users ...string) (list []imports.Record) {
	t.Helper()
	for n, u := range users {
		list = append(list, imports.Record{Line: n + 2, User: u, KeyHandle: fmt.Appendf(nil, "%s %d", t.Name(), n), PublicKey: key(t), AppID: appID, Counter: uint32(n)})
	}
	return list
}

// bound are the keys of an identity, as name:counter.
func bound(t *testing.T, w *testkit.World, i account.Identity) (list []string) {
	t.Helper()
	all, err := w.Read(ctx()).Passkeys(i.Account, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		list = append(list, fmt.Sprintf("%s:%d", k.Name, k.SignCount))
	}
	return list
}

func TestKeysComeInForOwnersAndUsers(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		bob := w.User(owner, "bob", account.Administrator)
		id := string(owner.Account)
		list := keys(t, "ALICE@example.com", "bob@"+id, "Bob@"+id+"."+testkit.Suffix, alice)
		list[2].Name = "At home"
		dry, err := flow(w).U2F(ctx(), operator, list, nil, true)
		if err != nil || len(dry.Bad) > 0 || dry.Keys != 4 || dry.Users != 2 {
			t.Fatalf("dry: %+v, %v", dry, err)
		}
		if n := len(bound(t, w, owner)) + len(bound(t, w, bob)) + len(w.Events(bob, audit.U2FImport)); n != 0 {
			t.Fatalf("dry: %d rows and events", n)
		}
		done, err := flow(w).U2F(ctx(), operator, list, nil, false)
		if err != nil || len(done.Bad) > 0 || done.Keys != 4 || done.Users != 2 {
			t.Fatalf("%+v, %v", done, err)
		}
		if got := bound(t, w, owner); !slices.Equal(got, []string{"Security key:0", "Security key 2:3"}) {
			t.Errorf("the owner has %v", got)
		}
		if got := bound(t, w, bob); !slices.Equal(got, []string{"Security key:1", "At home:2"}) {
			t.Errorf("the user has %v", got)
		}
		k, err := w.Read(ctx()).PasskeyByCredential(list[2].KeyHandle)
		if err != nil || k.Identity != bob.ID || !k.IsU2F() || k.AppID != appID || !slices.Equal(k.PublicKey, list[2].PublicKey) || !k.CreatedAt.Equal(w.Clock.Now()) || k.BackupEligible || k.Verified {
			t.Errorf("kept: %+v, %v", k, err)
		}
		if f := w.Facts(owner); f.U2F != 2 || f.Passkeys != 0 || !f.SecondFactor() {
			t.Errorf("facts of the owner: %+v", f)
		}
		events := w.Events(bob, audit.U2FImport)
		if len(events) != 2 || events[0].Actor.Kind != "operator" || events[0].Target == "" || events[0].Details["app_id"] != appID {
			t.Errorf("events: %+v", events)
		}
		again, err := flow(w).U2F(ctx(), operator, list, nil, false)
		if err != nil || strings.Join(told(again.Bad), " ") != "2:key_handle is bound already 3:key_handle is bound already 4:key_handle is bound already 5:key_handle is bound already" {
			t.Errorf("twice: %v, %v", told(again.Bad), err)
		}
	})
}

// One bad line, wherever it was found to be one, keeps all others out.
func TestABadLineKeepsAllOthersOut(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		w.User(owner, "bob", account.User)
		bob := "bob@" + string(owner.Account)
		for name, c := range map[string]struct {
			change func(list []imports.Record)
			want   string
		}{
			"nobody":                 {func(l []imports.Record) { l[1].User = "eve@example.com" }, "3:user is neither the address of an owner nor the name of a RAM user"},
			"nobody's name":          {func(l []imports.Record) { l[1].User = "bob\x00 b" }, "3:user is neither the address of an owner nor the name of a RAM user"},
			"a user's mail address":  {func(l []imports.Record) { l[1].User = "bob@staff.example" }, "3:user is neither the address of an owner nor the name of a RAM user"},
			"a name twice":           {func(l []imports.Record) { l[1].User, l[0].Name, l[1].Name = alice, "Key", "KEY" }, "3:name is that of another key of the user"},
			"another site":           {func(l []imports.Record) { l[1].AppID = "https://example.org/u2f.json" }, "3:app_id is of another site than https://id.example.com, https://example.net: no browser lets the key sign there"},
			"two AppIDs of one user": {func(l []imports.Record) { l[1].User, l[1].AppID = alice, "https://example.net" }, "3:app_id differs from that of another key of the user, " + appID + ": all of a user must have one"},
			"several": {func(l []imports.Record) { l[1].User, l[2].User = "eve@example.com", "eve@example.com" },
				"3:user is neither the address of an owner nor the name of a RAM user 4:user is neither the address of an owner nor the name of a RAM user"},
		} {
			list := keys(t, alice, bob, bob)
			c.change(list)
			got, err := flow(w).U2F(ctx(), operator, list, nil, false)
			if err != nil || strings.Join(told(got.Bad), " ") != c.want {
				t.Errorf("%s: %v, %v; want %s", name, told(got.Bad), err, c.want)
			}
		}
		read := []imports.Bad{{Line: 1, Why: "bad"}, {Line: 9, Why: "bad"}}
		got, err := flow(w).U2F(ctx(), operator, keys(t, alice, "eve@example.com"), read, false)
		if err != nil || len(got.Bad) != 3 || got.Bad[0].Line != 1 || got.Bad[1].Line != 3 || got.Bad[2].Line != 9 {
			t.Errorf("with lines that could not be read: %v, %v", told(got.Bad), err)
		}
		if n := len(bound(t, w, owner)) + len(w.Events(owner, audit.U2FImport)); n != 0 {
			t.Errorf("%d rows and events", n)
		}
		other := keys(t, alice)
		other[0].AppID = "https://EXAMPLE.net:8443/x" // of a related origin
		if got, err := flow(w).U2F(ctx(), operator, other, nil, false); err != nil || got.Keys != 1 {
			t.Errorf("of a related origin: %+v, %v", got, err)
		}
	})
}

func TestTheQuotaBoundsKeysThatComeIn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		w.Put(func(tx *store.Tx) error { // passkeys do not count
			return tx.AddPasskey(store.Passkey{ID: "p", Name: "Security key", Account: owner.Account, Identity: owner.ID, Credential: passkey.Credential{ID: []byte("p"), PublicKey: []byte("p")}})
		})
		six := []string{alice, alice, alice, alice, alice, alice}
		got, err := flow(w).U2F(ctx(), operator, keys(t, six...), nil, false)
		if err != nil || strings.Join(told(got.Bad), " ") != "7:the user would have more keys than quota_passkeys allows, 5" {
			t.Errorf("six: %v, %v", told(got.Bad), err)
		}
		if got, err = flow(w).U2F(ctx(), operator, keys(t, six[:5]...), nil, false); err != nil || got.Keys != 5 || got.Users != 1 {
			t.Errorf("five: %+v, %v", got, err)
		}
		if all := bound(t, w, owner); len(all) != 6 || !slices.Contains(all, "Security key 6:4") {
			t.Errorf("bound: %v", all)
		}
		more := keys(t, alice)
		more[0].KeyHandle = []byte("another")
		if got, err = flow(w).U2F(ctx(), operator, more, nil, false); err != nil || len(got.Bad) != 1 {
			t.Errorf("a sixth: %+v, %v", got, err)
		}
		off := &imports.Flow{Prover: flow(w).Prover}
		off.Passkeys = nil
		_, err = off.U2F(ctx(), operator, more, nil, false)
		testkit.Want(t, "without a name of the server", err, passkey.ErrOff)
	})
}

func TestTwoImportsAtOnceBindNoKeyTwice(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		list := keys(t, alice, alice, alice)
		reports := make(chan imports.Report, 4)
		for range cap(reports) {
			go func() {
				r, err := flow(w).U2F(ctx(), operator, list, nil, false)
				if err != nil {
					t.Error(err)
				}
				reports <- r
			}()
		}
		done := 0
		for range cap(reports) {
			if r := <-reports; len(r.Bad) == 0 {
				done++
			} else if len(r.Bad) != 3 {
				t.Errorf("in part: %v", told(r.Bad))
			}
		}
		if n := len(bound(t, w, owner)); done != 1 || n != 3 {
			t.Errorf("%d imports went through, %d keys", done, n)
		}
	})
}
