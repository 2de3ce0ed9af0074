package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/passkey"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// aPasskey is a passkey of the identity, named as its id and credential are.
func aPasskey(i account.Identity, id string) store.Passkey {
	return store.Passkey{Account: i.Account, Identity: i.ID, ID: id, Name: id, Credential: passkey.Credential{ID: []byte(id), PublicKey: []byte("key of " + id), Format: "none"}}
}

// aU2F is a key of the identity that was bound under U2F.
func aU2F(i account.Identity, id string) store.Passkey {
	p := aPasskey(i, id)
	p.AppID = "https://old.example.com"
	return p
}

func addPasskey(t *testing.T, w *storetest.World, p store.Passkey) {
	t.Helper()
	mustWrite(t, w, func(tx *store.Tx) error { return tx.AddPasskey(p) })
}

func ids(list []store.Passkey) string {
	var all []string
	for _, p := range list {
		all = append(all, p.ID)
	}
	return strings.Join(all, " ")
}

func TestAPasskeyComesBackAsItWasKept(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		r, now := w.Read(ctx()), w.Clock.Now()
		full := store.Passkey{
			Account: i.Account, Identity: i.ID, ID: "z", Name: "Ключ 钥匙", CopiedAt: now.Add(-time.Hour), CreatedAt: now.Add(-time.Minute), CreatedFrom: "192.0.2.1",
			LastUsedAt: now.Add(-time.Second), LastUsedFrom: "2001:db8::1", LastUsedAgent: "Mozilla/5.0 (X11)",
			Credential: passkey.Credential{
				ID: []byte{0, 255, 1}, PublicKey: []byte{4, 0, 9}, AppID: "https://old.example.com/app-id.json", AAGUID: passkey.AAGUID{1, 2, 15: 0xfe}, Transports: []string{"usb", "nfc"},
				BackupEligible: true, BackedUp: true, Verified: true, SignCount: math.MaxUint32, Format: "fido-u2f",
			},
		}
		bare := store.Passkey{Account: i.Account, Identity: i.ID, ID: "a", Name: "bare", Credential: passkey.Credential{ID: []byte("b"), PublicKey: []byte("key")}}
		for _, p := range []store.Passkey{bare, full} {
			addPasskey(t, w, p)
		}
		theirs := aPasskey(other, "theirs")
		theirs.Credential.ID = bytes.Repeat([]byte{7}, passkey.IDMaxBytes)
		addPasskey(t, w, theirs)
		if got, err := r.PasskeyByCredential(theirs.Credential.ID); err != nil || got.ID != theirs.ID {
			t.Errorf("of a long credential: %s, %v", got.ID, err)
		}
		bare.CreatedAt = now
		list, err := r.Passkeys(i.Account, i.ID)
		if err != nil || !reflect.DeepEqual(list, []store.Passkey{full, bare}) { // the oldest first
			t.Errorf("got %+v, %v", list, err)
		}
		for _, want := range []store.Passkey{full, bare} {
			for what, f := range map[string]func(r *store.Reader) (store.Passkey, error){
				"by id":         func(r *store.Reader) (store.Passkey, error) { return r.Passkey(i.Account, i.ID, want.ID) },
				"by credential": func(r *store.Reader) (store.Passkey, error) { return r.PasskeyByCredential(want.Credential.ID) },
			} {
				if got, err := f(r); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %+v, %v", what, got, err)
				}
				mustWrite(t, w, func(tx *store.Tx) error {
					got, err := f(&tx.Reader)
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s within a write: %+v", what, got)
					}
					return err
				})
			}
		}
		if !full.IsU2F() || bare.IsU2F() {
			t.Error("the wrong one is of U2F")
		}
		for _, c := range [][]byte{nil, {}, []byte("nobody's"), {0, 255}, {0, 255, 1, 0}} {
			if got, err := r.PasskeyByCredential(c); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("by %v: %+v, %v", c, got, err)
			}
		}
		if got, err := r.Passkeys(i.Account, "nobody"); len(got) != 0 || err != nil {
			t.Errorf("of nobody: %+v, %v", got, err)
		}
	})
}

func TestACredentialIsOnePersons(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		var people []account.Identity
		for n := range 3 {
			people = append(people, addOwner(t, w, fmt.Sprintf("o%d@example.com", n)))
		}
		errs := storetest.Parallel(12, func(n int) error {
			p := aPasskey(people[n%3], fmt.Sprint("p", n))
			p.Credential.ID = []byte("one and the same")
			if n%2 == 0 {
				p.AppID = "https://old.example.com" // a key of U2F is a credential too
			}
			return write(w, func(tx *store.Tx) error { return tx.AddPasskey(p) })
		})
		if n := wins(t, errs, passkey.ErrTaken); n != 1 {
			t.Errorf("%d have the credential", n)
		}
		before, err := w.Read(ctx()).PasskeyByCredential([]byte("one and the same"))
		if err != nil {
			t.Fatal(err)
		}
		// Nothing is overwritten, and what was refused does not spoil the rest of the write.
		for _, i := range people {
			mustWrite(t, w, func(tx *store.Tx) error {
				p := aPasskey(i, "again"+string(i.ID))
				p.Credential.ID, p.SignCount = before.Credential.ID, 77
				if err := tx.AddPasskey(p); !errors.Is(err, passkey.ErrTaken) {
					t.Errorf("again: %v", err)
				}
				p.Name = before.Name // both are taken where it is the same person's
				if err := tx.AddPasskey(p); !errors.Is(err, passkey.ErrTaken) {
					t.Errorf("again under its name: %v", err)
				}
				return tx.AddPasskey(aPasskey(i, "next"+string(i.ID)))
			})
			if list, err := w.Read(ctx()).Passkeys(i.Account, i.ID); err != nil || !strings.Contains(ids(list), "next") || strings.Contains(ids(list), "again") {
				t.Errorf("has %s, %v", ids(list), err)
			}
		}
		if after, err := w.Read(ctx()).PasskeyByCredential(before.Credential.ID); err != nil || !reflect.DeepEqual(after, before) {
			t.Errorf("was %+v, is %+v, %v", before, after, err)
		}
	})
}

func TestPasskeysOfOnePersonDifferByName(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u, v := addUser(t, w, owner, "ada"), addUser(t, w, owner, "bob")
		named := func(i account.Identity, id, name string) store.Passkey {
			p := aPasskey(i, id)
			p.Name = name
			return p
		}
		errs := storetest.Parallel(9, func(n int) error {
			p := named(u, fmt.Sprint("p", n), []string{"Ärger", "ärger", "ÄRGER"}[n%3])
			return write(w, func(tx *store.Tx) error { return tx.AddPasskey(p) })
		})
		if n := wins(t, errs, passkey.ErrNameTaken); n != 1 {
			t.Errorf("%d have the name", n)
		}
		addPasskey(t, w, named(v, "v", "Ärger"))
		mustWrite(t, w, func(tx *store.Tx) error {
			if err := tx.AddPasskey(named(u, "x", " äRGER ")); !errors.Is(err, passkey.ErrNameTaken) {
				t.Errorf("a taken name: %v", err)
			}
			return tx.AddPasskey(named(u, "second", "Second"))
		})
		rename := func(i account.Identity, id, name string) error {
			return write(w, func(tx *store.Tx) error { return tx.RenamePasskey(i.Account, i.ID, id, name, errFirst) })
		}
		foreign := u
		foreign.Account = addOwner(t, w, "b@example.com").Account
		for _, c := range []struct {
			who      account.Identity
			id, name string
			want     error
		}{
			{u, "second", "ärger", passkey.ErrNameTaken},
			{u, "second", "SECOND", nil}, // its own, in other letters
			{u, "second", "Third", nil},
			{u, "gone", "Fourth", errFirst},
			{v, "second", "Mine", errFirst},
			{foreign, "second", "Mine", errFirst},
			{v, "v", "Third", nil},
		} {
			if err := rename(c.who, c.id, c.name); !errors.Is(err, c.want) {
				t.Errorf("%s as %s: %v, want %v", c.id, c.name, err, c.want)
			}
		}
		if p, err := w.Read(ctx()).Passkey(u.Account, u.ID, "second"); err != nil || p.Name != "Third" {
			t.Errorf("called %q, %v", p.Name, err)
		}
		addPasskey(t, w, named(u, "third", "second")) // which is free again
	})
}

func TestACounterIsMovedOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		p := aPasskey(i, "p")
		p.SignCount = math.MaxUint32 - 1
		addPasskey(t, w, p)
		addPasskey(t, w, aPasskey(i, "q"))
		created := w.Clock.Now()
		w.Clock.Advance(time.Hour)
		use := func(id string, before, after uint32, backed bool) error {
			return write(w, func(tx *store.Tx) error {
				return tx.UsePasskey(id, before, after, backed, "192.0.2.9", "Mozilla/5.0", errFirst)
			})
		}
		errs := storetest.Parallel(8, func(int) error { return use("p", math.MaxUint32-1, math.MaxUint32, true) })
		if n := wins(t, errs, errFirst); n != 1 {
			t.Errorf("moved %d times", n)
		}
		p.SignCount, p.BackedUp, p.CreatedAt, p.LastUsedAt, p.LastUsedFrom, p.LastUsedAgent = math.MaxUint32, true, created, w.Clock.Now(), "192.0.2.9", "Mozilla/5.0"
		if got, err := w.Read(ctx()).Passkey(i.Account, i.ID, "p"); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("got %+v, %v; want %+v", got, err, p)
		}
		if got, err := w.Read(ctx()).Passkey(i.Account, i.ID, "q"); err != nil || !got.LastUsedAt.IsZero() {
			t.Errorf("the other: %+v, %v", got, err)
		}
		for range 2 { // one that does not count
			if err := use("q", 0, 0, false); err != nil {
				t.Errorf("without a counter: %v", err)
			}
		}
		if err := use("gone", 0, 1, false); !errors.Is(err, errFirst) {
			t.Errorf("one that is not there: %v", err)
		}
		w.Clock.Advance(time.Hour)
		mustWrite(t, w, func(tx *store.Tx) error { return errors.Join(tx.MarkCopied("p"), tx.MarkCopied("gone")) })
		p.CopiedAt = w.Clock.Now()
		if got, err := w.Read(ctx()).Passkey(i.Account, i.ID, "p"); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("copied: got %+v, %v; want %+v", got, err, p)
		}
		if got, _ := w.Read(ctx()).Passkey(i.Account, i.ID, "q"); !got.CopiedAt.IsZero() {
			t.Errorf("the other: %+v", got)
		}
	})
}

func TestAPasskeyIsRemovedOnceAndByItsOwn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner, stranger := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		u := addUser(t, w, owner, "ada")
		addPasskey(t, w, aPasskey(u, "p"))
		addPasskey(t, w, aU2F(u, "k"))
		remove := func(a account.ID, i account.IdentityID, id string) error {
			return write(w, func(tx *store.Tx) error { return tx.RemovePasskey(a, i, id, errFirst) })
		}
		for _, c := range []struct {
			a account.ID
			i account.IdentityID
		}{{owner.Account, owner.ID}, {stranger.Account, u.ID}, {stranger.Account, stranger.ID}, {"", ""}} {
			if err := remove(c.a, c.i, "p"); !errors.Is(err, errFirst) {
				t.Errorf("by %v: %v", c, err)
			}
			if p, err := w.Read(ctx()).Passkey(c.a, c.i, "p"); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("read by %v: %+v, %v", c, p, err)
			}
		}
		errs := storetest.Parallel(6, func(int) error { return remove(u.Account, u.ID, "p") })
		if n := wins(t, errs, errFirst); n != 1 {
			t.Errorf("removed %d times", n)
		}
		if list, err := w.Read(ctx()).Passkeys(u.Account, u.ID); err != nil || ids(list) != "k" {
			t.Errorf("left %s, %v", ids(list), err)
		}
		if _, err := w.Read(ctx()).PasskeyByCredential([]byte("p")); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("by its credential: %v", err)
		}
		addPasskey(t, w, aPasskey(stranger, "p")) // anybody may have it now
	})
}

func TestAUserHandleIsMadeOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		if h, err := w.Read(ctx()).PasskeyHandleOf(i.Account, i.ID); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("none yet: %x, %v", h, err)
		}
		handles := make([][]byte, 8)
		storetest.Parallel(len(handles), func(n int) error {
			return write(w, func(tx *store.Tx) (err error) {
				handles[n], err = tx.PasskeyHandle(i.Account, i.ID)
				return err
			})
		})
		h, err := w.Read(ctx()).PasskeyHandleOf(i.Account, i.ID)
		if err != nil || len(h) != passkey.HandleBytes || bytes.Contains(h, make([]byte, 8)) {
			t.Errorf("%x, %v", h, err)
		}
		for _, each := range handles {
			if !bytes.Equal(each, h) {
				t.Errorf("one got %x, another %x", each, h)
			}
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			theirs, err := tx.PasskeyHandle(other.Account, other.ID)
			if bytes.Equal(theirs, h) {
				t.Error("two have one handle")
			}
			return err
		})
		for _, wrong := range [][2]string{{string(other.Account), string(i.ID)}, {string(i.Account), "nobody"}} {
			err := write(w, func(tx *store.Tx) error {
				_, err := tx.PasskeyHandle(account.ID(wrong[0]), account.IdentityID(wrong[1]))
				return err
			})
			if !errors.Is(err, store.ErrNoRow) {
				t.Errorf("of %v: %v", wrong, err)
			}
		}
	})
}
