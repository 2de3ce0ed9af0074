package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/signin"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
	"countersign/internal/store/transfer"
	"countersign/internal/testkit"
)

// keyLock makes a key and its lock.
func keyLock(t *testing.T) transfer.Lock {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup.key")
	if err := transfer.NewKey(path, storetest.NewClock().Now()); err != nil {
		t.Fatal(err)
	}
	l, err := transfer.KeyLock(path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// backup makes one of a world's database.
func backup(t *testing.T, w *storetest.World, b transfer.Backup) (string, transfer.Done) {
	t.Helper()
	b.File = filepath.Join(t.TempDir(), "backup")
	done, err := desk(w, w.Config.URL).Backup(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return b.File, done
}

func TestABackupOfOneEngineRestoresIntoTheOther(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := lively(t, e)
			lock := keyLock(t)
			file, made := backup(t, w.World, transfer.Backup{Lock: lock})
			want := dump(t, w.Config.URL)
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file: %v, %v", info.Mode(), err)
			}
			h, done, err := desk(w.World, w.Config.URL).Check(t.Context(), file, lock)
			if err != nil || done.Rows != made.Rows || int(done.Rows) != rowsOf(want) || done.Chains != 3 || h.Engine == "" || len(h.Keys) > 0 || !h.MadeAt.Equal(w.Clock.Now()) {
				t.Errorf("checked: %+v, made %+v, %v", done, made, err)
			}
			for _, into := range both {
				d := desk(w.World, empty(t, into))
				_, restored, err := d.Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: w.KeysFile})
				if err != nil {
					t.Fatalf("into %s: %v", into, err)
				}
				if restored.Rows != made.Rows || restored.Tables != made.Tables || restored.Chains != 3 {
					t.Errorf("into %s: %+v, made %+v", into, restored, made)
				}
				got := dump(t, d.Store.URL)
				for _, name := range transfer.EndedTables {
					if len(got[name]) > 0 {
						t.Errorf("into %s: %s holds %d rows", into, name, len(got[name]))
					}
				}
				same(t, got, want, append([]string{"outbox", "virtual_mfa"}, transfer.EndedTables...)...)
				db := storetest.Open(t, d.Store)
				chainsHold(t, db)
				if list := events(t, db); !slices.Equal(list[:2], []audit.Name{audit.DatabaseRestore, audit.DatabaseBackup}) {
					t.Errorf("into %s: the operator's events: %v", into, list)
				}
				if _, _, err := d.Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: w.KeysFile}); err == nil {
					t.Errorf("into %s: restored over another", into)
				}
			}
		})
	}
}

func TestWhatWasEndedDoesNotLiveAgain(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := testkit.New(t, e)
			owner := w.Owner("ada@example.com")
			app := w.Bind(owner)
			signed, token := w.Signed(w.Visitor, "ada@example.com", app)
			codes, err := w.NewCodes(signed)
			if err != nil {
				t.Fatal(err)
			}
			lock := keyLock(t)
			file, _ := backup(t, w.World, transfer.Backup{Lock: lock})
			w.Clock.Advance(10 * time.Minute)
			d := desk(w.World, empty(t, e))
			if _, _, err := d.Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: w.KeysFile}); err != nil {
				t.Fatal(err)
			}
			back := *w
			back.World = &storetest.World{DB: storetest.Open(t, d.Store), Clock: w.Clock, Keys: w.Keys, Config: d.Store}
			prover := *w.Prover
			prover.DB = back.DB
			back.Prover, back.SignIn = &prover, &signin.Flow{Prover: &prover, Lifetimes: w.SignIn.Lifetimes}
			if _, err := back.SignIn.Who(t.Context(), token); err == nil {
				t.Error("a session of before lives")
			}
			// Codes up to now may have been used; the one after next is new.
			for _, offset := range []int64{-1, 0, 1} {
				if _, err := back.Answer(w.Visitor, back.Password(w.Visitor, "ada@example.com"), app.Code(offset)); !errors.Is(err, factor.ErrCodeUsed) {
					t.Errorf("the code of step %+d: %v", offset, err)
				}
			}
			w.Clock.Advance(2 * factor.TOTPStep)
			if _, err := back.Answer(w.Visitor, back.Password(w.Visitor, "ada@example.com"), app.Code(0)); err != nil {
				t.Errorf("a new code: %v", err)
			}
			if len(codes) == 0 {
				t.Error("no recovery codes")
			}
		})
	}
}

func TestADamagedBackupIsRefused(t *testing.T) {
	t.Parallel()
	w := lively(t, storetest.SQLite)
	lock := keyLock(t)
	file, _ := backup(t, w.World, transfer.Backup{Lock: lock})
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const chunk = 64<<10 + 16
	if len(good) < 2*chunk+1000 {
		t.Fatalf("the backup has %d bytes, which is no more than two chunks", len(good))
	}
	d := desk(w.World, w.Config.URL)
	refused := func(t interface{ Errorf(string, ...any) }, what string, b []byte) {
		path := filepath.Join(filepath.Dir(file), "damaged")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Errorf("%v", err)
		}
		if _, _, err := d.Check(context.Background(), path, lock); !errors.Is(err, transfer.ErrDamaged) && !errors.Is(err, transfer.ErrLocked) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for at := 0; at < len(good)+chunk; at += chunk / 2 { // in every chunk
		b := bytes.Clone(good)
		b[min(at, len(b)-1)] ^= 1
		refused(t, "changed", b)
	}
	payload := bytes.Index(good, []byte("\n--- ")) + len("\n--- ") + 43 + 1 + 16
	for at := payload; at < len(good); at += chunk { // at the borders of chunks
		refused(t, "cut at a border", good[:at])
	}
	refused(t, "longer", append(bytes.Clone(good), 0))
	refused(t, "twice", append(bytes.Clone(good), good...))
	refused(t, "two chunks exchanged", slices.Concat(good[:payload], good[payload+chunk:payload+2*chunk], good[payload:payload+chunk], good[payload+2*chunk:]))
	refused(t, "a chunk left out", slices.Concat(good[:payload], good[payload+chunk:]))
	rapid.Check(t, func(r *rapid.T) {
		at := rapid.IntRange(0, len(good)-1).Draw(r, "at")
		b := bytes.Clone(good)
		if b[at] ^= rapid.ByteRange(1, 255).Draw(r, "by"); rapid.Bool().Draw(r, "cut") {
			b = good[:at]
		}
		refused(r, "damaged", b)
	})
	if _, _, err := d.Check(t.Context(), file, lock); err != nil {
		t.Errorf("as it was made: %v", err)
	}
	if _, _, err := d.Check(t.Context(), file, keyLock(t)); !errors.Is(err, transfer.ErrLocked) {
		t.Errorf("by another key: %v", err)
	}

	// What fails leaves nothing, late as it may fail.
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, good[:len(good)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, into := range both {
		d := desk(w.World, empty(t, into))
		if _, _, err := d.Restore(t.Context(), transfer.Restore{File: bad, Lock: lock, Keys: w.KeysFile}); !errors.Is(err, transfer.ErrDamaged) {
			t.Errorf("into %s: %v", into, err)
		}
		if names := left(t, d.Store.URL); len(names) > 0 {
			t.Errorf("into %s: it left %v", into, names)
		}
	}
}

// What the chains say counts, whoever could seal the file.
func TestABackupOfABrokenChainIsRefused(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{
		"an event changed": "UPDATE audit_event SET name = 'x' WHERE account_id <> '0' AND seq = (SELECT max(seq) FROM audit_event)",
		"a tail cut off":   "DELETE FROM audit_event WHERE account_id = (SELECT min(account_id) FROM audit_event WHERE account_id <> '0') AND seq = 1",
	} {
		w := testkit.New(t, storetest.SQLite)
		w.Owner("ada@example.com")
		change(t, w.Config.URL, query)
		lock := keyLock(t)
		file, _ := backup(t, w.World, transfer.Backup{Lock: lock})
		if _, _, err := desk(w.World, w.Config.URL).Check(t.Context(), file, lock); !audit.IsBroken(err) {
			t.Errorf("%s: checked: %v", name, err)
		}
		d := desk(w.World, empty(t, storetest.SQLite))
		if _, _, err := d.Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: w.KeysFile}); !audit.IsBroken(err) {
			t.Errorf("%s: restored: %v", name, err)
		}
		if names := left(t, d.Store.URL); len(names) > 0 {
			t.Errorf("%s: it left %v", name, names)
		}
	}
}

func TestABackupIsOfOneMoment(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := lively(t, e)
			owner := w.Identity("ada@example.com")
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			for range 4 {
				writers.Go(func() {
					for ctx.Err() == nil {
						_ = w.Write(ctx, w.Visitor.As(owner), func(tx *store.Tx) error {
							return tx.Record(audit.Event{Account: owner.Account, Identity: owner.ID, Name: audit.LocaleModify})
						})
					}
				})
			}
			lock := keyLock(t)
			d := desk(w.World, w.Config.URL)
			for n := range 3 {
				file := filepath.Join(t.TempDir(), "backup")
				seen := 0
				d.Report = func(r transfer.Report) { // others write between one table and the next
					if seen++; r.Phase == transfer.Writing && seen < 8 {
						_ = w.Write(ctx, w.Visitor.As(owner), func(tx *store.Tx) error {
							return tx.Record(audit.Event{Account: owner.Account, Identity: owner.ID, Name: audit.LocaleModify})
						})
					}
				}
				if _, err := d.Backup(t.Context(), transfer.Backup{File: file, Lock: lock}); err != nil {
					t.Fatal(err)
				}
				d.Report = nil
				if _, done, err := d.Check(t.Context(), file, lock); err != nil || done.Chains != 3 {
					t.Errorf("backup %d: %+v, %v", n, done, err)
				}
			}
			stop()
			writers.Wait()
		})
	}
}

func TestAnOlderSchemaIsRestoredAndBroughtUpToDate(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		w := storetest.New(t, e)
		c := w.Config
		c.URL = empty(t, e)
		old, err := engine.Open(t.Context(), engine.Config{URL: c.URL})
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Migrate(t.Context(), store.Migrations(), 2); err != nil {
			t.Fatal(err)
		}
		sealed := w.Keys.Seal(secret.Place{Table: "keyring_check", Row: "database", Column: "sealed"}, []byte("countersign"))
		for query, args := range map[string][]any{
			"INSERT INTO keyring_check (name, key_id, sealed) VALUES ('database', $1, $2)":                                                       {sealed.KeyID, sealed.Box},
			"INSERT INTO phone (account_id, identity_id, id, number, bound_at, bound_from, last_used_at) VALUES ('a', 'b', 'c', 'd', 1, 'e', 2)": nil,
		} {
			if _, err := old.Write.Exec(query, args...); err != nil {
				t.Fatal(err)
			}
		}
		d := &transfer.Desk{Store: c}
		file := filepath.Join(t.TempDir(), "backup")
		lock := keyLock(t)
		if _, err := d.Backup(t.Context(), transfer.Backup{File: file, Lock: lock}); err != nil {
			t.Fatal(err)
		}
		if v, err := old.Version(t.Context(), old.Read); v != 2 || err != nil {
			t.Errorf("the backup left version %d, %v", v, err)
		}
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		if h, _, err := d.Check(t.Context(), file, lock); err != nil || h.Schema != 2 {
			t.Errorf("schema %d, %v", h.Schema, err)
		}
		for _, into := range both {
			d := desk(w, empty(t, into))
			if _, _, err := d.Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: w.KeysFile}); err != nil {
				t.Fatal(err)
			}
			got := dump(t, d.Store.URL)
			if _, ok := got["account_day"]; !ok || len(got["phone"]) != 1 || !strings.Contains(got["phone"][0], "number=string:d") {
				t.Errorf("%s into %s: %v", e, into, got["phone"])
			}
		}
	}
}

func TestKeysGoWithABackupOnlyWhereAskedFor(t *testing.T) {
	t.Parallel()
	w := lively(t, storetest.SQLite)
	lock, err := transfer.CheapLock("twelve chars, or more")
	if err != nil {
		t.Fatal(err)
	}
	for _, with := range []bool{false, true} {
		b := transfer.Backup{Lock: lock}
		if with {
			b.Keys = w.KeysFile
		}
		file, _ := backup(t, w.World, b)
		d := desk(w.World, empty(t, storetest.SQLite))
		d.Store.Keys = nil
		keys := filepath.Join(filepath.Dir(d.Store.URL), "keys.json")
		_, _, err := d.Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: keys})
		if !with {
			if err == nil || !strings.Contains(err.Error(), "the keys are missing") {
				t.Errorf("without any keys: %v", err)
			}
			if names := left(t, d.Store.URL); len(names) > 0 {
				t.Errorf("it left %v", names)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(keys)
		want, err2 := os.ReadFile(w.KeysFile)
		if info, _ := os.Stat(keys); err != nil || err2 != nil || !bytes.Equal(got, want) || info.Mode().Perm() != 0o600 {
			t.Errorf("the keys came back as %v, %v, %v", info.Mode(), err, err2)
		}
		sealed, err := os.ReadFile(file)
		if err != nil || bytes.Contains(sealed, want[20:60]) {
			t.Error("the keys lie open in the backup")
		}
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	for _, tt := range []struct {
		text, want string
		mode       os.FileMode
	}{
		{"AGE-SECRET-KEY-1 nonsense", "holds no key", 0o600},
		{"", "holds no key", 0o600},
		{"short", "holds no key", 0o640},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		want := tt.want
		if tt.mode != 0o600 {
			want = "readable by others (mode 0640)"
		}
		if _, err := transfer.KeyLock(path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%q: %v", tt.text, err)
		}
	}
	if err := os.WriteFile(path, []byte("eleven char\nand more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.PassphraseLock(path); err == nil || !strings.Contains(err.Error(), "shorter than 12") {
		t.Errorf("a short passphrase: %v", err)
	}
	if err := transfer.NewKey(path, storetest.NewClock().Now()); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key over another file: %v", err)
	}
}
