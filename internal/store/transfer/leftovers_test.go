package transfer_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/store/storetest"
	"countersign/internal/store/transfer"
	"countersign/internal/testkit"
)

// What a backup that was killed has left goes with the next one beside it.
// What is new, what is being written, and what is no backup's stays.
func TestABackupRemovesWhatOneThatWasKilledHasLeft(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	lock, dir := keyLock(t), t.TempDir()
	written := func(path string, ago time.Duration) {
		t.Helper()
		if err := os.Chtimes(path, time.Time{}, w.Clock.Now().Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	others := []string{".countersign-backup", ".countersign-backup-directory", ".countersign-backup-link", "countersign-backup-1"}
	for n, name := range others {
		path := filepath.Join(dir, name)
		err := os.WriteFile(path, []byte("somebody's"), 0o600)
		if n == 1 || n == 2 {
			err = os.Remove(path)
		}
		if err == nil && n == 1 {
			err = os.Mkdir(path, 0o700)
		}
		if err == nil && n == 2 {
			err = os.Symlink(others[0], path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n != 2 {
			written(path, 48*time.Hour)
		}
	}
	found := func(what string, want ...string) {
		t.Helper()
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range list {
			names = append(names, f.Name())
		}
		want = slices.Concat(want, others)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("%s: there are %v, want %v", what, names, want)
		}
	}
	kill(t, killed{From: w.Config.URL, Keys: w.KeysFile, At: 1, Phase: transfer.Writing, Backup: filepath.Join(dir, "killed")})
	partial := func() string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(dir, ".countersign-backup-[0-9]*"))
		if err != nil || len(list) != 1 {
			t.Fatalf("of a backup under way, or killed, there are %v, %v", list, err)
		}
		return list[0]
	}
	rest := partial()

	var log bytes.Buffer
	d := desk(w.World, w.Config.URL)
	d.Store.Log = slog.New(slog.NewTextHandler(&log, nil))
	backUp := func(name string) {
		t.Helper()
		if _, err := d.Backup(t.Context(), transfer.Backup{File: filepath.Join(dir, name), Lock: lock}); err != nil {
			t.Fatal(err)
		}
	}
	written(rest, 59*time.Minute)
	backUp("first")
	found("one that is new", "first", filepath.Base(rest))
	if log.Len() > 0 {
		t.Errorf("told: %s", &log)
	}
	written(rest, time.Hour)
	backUp("second")
	found("one that is old", "first", "second")
	if !strings.Contains(log.String(), "removed what a backup that was killed had left") || !strings.Contains(log.String(), rest) {
		t.Errorf("told: %q", &log)
	}

	// One that has waited for days, and goes on.
	slow, asked := desk(w.World, w.Config.URL), false
	slow.Report = func(transfer.Report) {
		if asked {
			return
		}
		asked = true
		rest = partial()
		written(rest, 48*time.Hour)
		backUp("third")
		found("one under way", "first", "second", "third", filepath.Base(rest))
	}
	if _, err := slow.Backup(t.Context(), transfer.Backup{File: filepath.Join(dir, "fourth"), Lock: lock}); err != nil || !asked {
		t.Fatal(err, asked)
	}
	found("in the end", "first", "second", "third", "fourth")
	if _, _, err := d.Check(t.Context(), filepath.Join(dir, "fourth"), lock); err != nil {
		t.Errorf("the one that was slow: %v", err)
	}
}

// What a restore that was killed has left goes with the next one beside it,
// and nothing else does.
func TestARestoreRemovesWhatOneThatWasKilledHasLeft(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	lock, err := transfer.CheapLock("twelve chars, or more")
	if err != nil {
		t.Fatal(err)
	}
	file, dir := filepath.Join(t.TempDir(), "backup"), t.TempDir()
	if _, err := desk(w.World, w.Config.URL).Backup(t.Context(), transfer.Backup{File: file, Lock: lock}); err != nil {
		t.Fatal(err)
	}
	others := []string{".countersign-restore", ".countersign-restore-file", "countersign-restore-1"}
	for n, name := range others {
		path := filepath.Join(dir, name)
		err := os.Mkdir(path, 0o700)
		if n == 1 {
			err = errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	under := func() []string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(dir, ".countersign-restore-[0-9]*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	to := filepath.Join(dir, "countersign.db")
	kill(t, killed{From: to, Keys: w.KeysFile, At: 1, Restore: file})
	rest := under()
	if len(rest) != 1 {
		t.Fatalf("a restore that was killed left %v", rest)
	}

	var log bytes.Buffer
	d := desk(w.World, to)
	d.Store.Log = slog.New(slog.NewTextHandler(&log, nil))
	asked := false
	d.Report = func(transfer.Report) {
		if asked {
			return
		}
		asked = true
		if now := under(); len(now) != 1 || now[0] == rest[0] {
			t.Errorf("of the one that was killed and the one that goes on there are %v", now)
		}
		// Another beside it leaves what is being filled alone.
		beside := desk(w.World, filepath.Join(dir, "other.db"))
		if _, _, err := beside.Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: w.KeysFile}); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := d.Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: w.KeysFile}); err != nil || !asked {
		t.Fatal(err, asked)
	}
	if now := under(); len(now) > 0 {
		t.Errorf("in the end there are %v", now)
	}
	if text := log.String(); strings.Count(text, "removed what a restore that was killed had left") != 1 || !strings.Contains(text, rest[0]) {
		t.Errorf("told: %q", text)
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
