package secret_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/secret"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func keyring(t *testing.T) (*secret.Keyring, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	k, err := secret.OpenKeyring(path, rand.Reader, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("keys are written down before they are wanted")
	}
	if err := k.Keep(); err != nil {
		t.Fatal(err)
	}
	return k, path
}

// Nodes that start together on an empty directory have one key, whoever was
// first, and nobody removes it.
func TestOneOfManyFirstKeysIsKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	rings := make([]*secret.Keyring, 8)
	for n := range rings {
		var err error
		if rings[n], err = secret.OpenKeyring(path, rand.Reader, noon); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for _, k := range rings {
		all.Go(func() {
			if err := k.Keep(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, k := range rings {
		if got, err := rings[0].Open(here, k.Seal(here, []byte("seed"))); err != nil || string(got) != "seed" {
			t.Error(got, err)
		}
	}
	again, err := secret.OpenKeyring(path, rand.Reader, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Open(here, rings[1].Seal(here, []byte("seed"))); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestAFileThatIsThereIsNotWrittenAnew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if err := secret.WriteNew(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := secret.WriteNew(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("written twice: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("made with mode %v, %v", info.Mode(), err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "first" {
		t.Errorf("it holds %q, %v", b, err)
	}
}

var here = secret.Place{Table: "virtual_mfa", Row: "a/1", Column: "seed"}

func TestSealedValueOpensInItsPlaceOnly(t *testing.T) {
	t.Parallel()
	k, _ := keyring(t)
	s := k.Seal(here, []byte("seed"))
	if got, err := k.Open(here, s); err != nil || string(got) != "seed" {
		t.Fatal(got, err)
	}
	for _, elsewhere := range []secret.Place{
		{Table: "virtual_mfa", Row: "a/2", Column: "seed"}, {Table: "outbox", Row: "a/1", Column: "seed"}, {Table: "virtual_mfa", Row: "a/1", Column: "name"},
		{Table: `virtual_mfa"a/1`, Row: "", Column: "seed"},
	} {
		if _, err := k.Open(elsewhere, s); !errors.Is(err, secret.ErrSealed) {
			t.Errorf("opened in %v: %v", elsewhere, err)
		}
	}
	for i := range s.Box {
		broken := secret.Sealed{KeyID: s.KeyID, Box: bytes.Clone(s.Box)}
		broken.Box[i] ^= 1
		if _, err := k.Open(here, broken); !errors.Is(err, secret.ErrSealed) {
			t.Fatalf("opened with byte %d changed", i)
		}
	}
	if again := k.Seal(here, []byte("seed")); bytes.Equal(again.Box, s.Box) {
		t.Error("sealing twice gives the same")
	}
}

func TestOldKeysGoOnOpening(t *testing.T) {
	t.Parallel()
	k, path := keyring(t)
	running, err := secret.OpenKeyring(path, rand.Reader, noon) // another process
	if err != nil {
		t.Fatal(err)
	}
	old := k.Seal(here, []byte("old"))
	id, err := k.Rotate(noon.Add(time.Hour))
	if err != nil || id != 2 || k.Newest() != 2 {
		t.Fatal(id, k.Newest(), err)
	}
	fresh := k.Seal(here, []byte("new"))
	if fresh.KeyID != 2 {
		t.Errorf("sealed with key %d", fresh.KeyID)
	}
	for _, ring := range []*secret.Keyring{k, running} { // the running one meets a key it does not know yet
		for want, s := range map[string]secret.Sealed{"old": old, "new": fresh} {
			if got, err := ring.Open(here, s); err != nil || string(got) != want {
				t.Errorf("%q: %q, %v", want, got, err)
			}
		}
	}
	if running.Newest() != 2 {
		t.Errorf("the running process seals with key %d", running.Newest())
	}
	if _, err := k.Open(here, secret.Sealed{KeyID: 9, Box: old.Box}); !errors.Is(err, secret.ErrSealed) {
		t.Errorf("a key that is not there: %v", err)
	}
}

func TestKeyFileMustBePrivateAndWhole(t *testing.T) {
	t.Parallel()
	_, path := keyring(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("made with mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.OpenKeyring(path, rand.Reader, noon); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	for _, content := range []string{"", "{", `{"keys":[]}`, `{"keys":[{"id":1,"key":"c2hvcnQ="}]}`, `{"keys":[{"id":0,"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := secret.OpenKeyring(path, rand.Reader, noon); err == nil {
			t.Errorf("%q was taken", content)
		}
	}
}

func TestMACsDifferByKeyPurposeAndMessage(t *testing.T) {
	t.Parallel()
	k, _ := keyring(t)
	if _, err := k.Rotate(noon); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, id := range []uint32{1, 2} {
		for _, purpose := range []string{"form", "code"} {
			for _, message := range []string{"", "a", "b"} {
				m, err := k.MAC(id, purpose, []byte(message))
				if err != nil || len(m) != 32 || seen[string(m)] {
					t.Errorf("key %d, %s, %q: %x, %v", id, purpose, message, m, err)
				}
				seen[string(m)] = true
			}
		}
	}
}
