package transfer_test

import (
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
	"countersign/internal/store/transfer"
	"countersign/internal/testkit"
)

// lets are columns by which a row lets somebody in, or be known, for a while.
var lets = []string{"token_hash", "series_hash", "expires_at", "due_at", "session_id", "ceremony_id"}

// What a restore ends and what it keeps is said once more here, by another
// hand: a table that changes sides must do so twice.
func TestWhatLetsSomebodyInEndsAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, table := range tables(t, storetest.New(t, storetest.SQLite).Config.URL) {
		passes := table.Name != "outbox" && slices.ContainsFunc(table.Columns, func(c engine.Column) bool { return slices.Contains(lets, c.Name) }) // of the outbox a part stays
		if ends := slices.Contains(transfer.EndedTables, table.Name); ends != passes {
			t.Errorf("%s ends with a restore: %v, and lets somebody in: %v", table.Name, ends, passes)
		}
	}
}

// What a restore that was killed has left is nobody's to serve, to move or to
// copy, and goes with the next restore.
func TestAnUnfinishedDatabaseIsForItsRestoreAlone(t *testing.T) {
	t.Parallel()
	w := still(t, testkit.New(t, storetest.SQLite))
	unfinish := func(databaseURL string) {
		t.Helper()
		raw := storetest.Raw(t, databaseURL)
		defer func() { _ = raw.Close() }() // it counts as a program that has it open
		for _, query := range []string{
			"CREATE TABLE " + engine.Marker + " (part TEXT PRIMARY KEY, state TEXT NOT NULL)",
			"INSERT INTO " + engine.Marker + ` (part, state) VALUES ('hold', '{}'), ('', '{"kind":"restore"}')`,
		} {
			if _, err := raw.Exec(query); err != nil {
				t.Fatal(err)
			}
		}
	}
	lock := keyLock(t)
	file, _ := backup(t, w.World, transfer.Backup{Lock: lock})
	to := storetest.New(t, storetest.Postgres).Config.URL // with tables, and a row
	unfinish(to)
	d := desk(w.World, w.Config.URL)
	if _, err := d.Move(t.Context(), transfer.Move{To: to, Anew: true}); err == nil || !strings.Contains(err.Error(), "a restore into the target has not ended") {
		t.Errorf("a move into it: %v", err)
	}
	if _, _, err := desk(w.World, to).Restore(t.Context(), transfer.Restore{File: file, Lock: lock, Keys: w.KeysFile}); err != nil {
		t.Errorf("the restore, once more: %v", err)
	}
	unfinish(w.Config.URL)
	if _, err := d.Move(t.Context(), transfer.Move{To: storetest.PostgresURL(t)}); !errors.Is(err, engine.ErrUnfinished) {
		t.Errorf("a move of it: %v", err)
	}
	if _, err := d.Backup(t.Context(), transfer.Backup{File: filepath.Join(t.TempDir(), "backup"), Lock: lock}); !errors.Is(err, engine.ErrUnfinished) {
		t.Errorf("a backup of it: %v", err)
	}
}

// Whatever the database is told for everybody, a snapshot is read to its end
// by somebody who takes their time.
func TestASnapshotIsNotHurried(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	u, err := url.Parse(w.Config.URL)
	if err != nil {
		t.Fatal(err)
	}
	bounds := []string{"statement_timeout", "idle_in_transaction_session_timeout"}
	for _, name := range bounds {
		if _, err := w.Raw(t).Exec("ALTER ROLE CURRENT_USER IN DATABASE " + u.Path[1:] + " SET " + name + " = '30s'"); err != nil {
			t.Fatal(err)
		}
	}
	e, err := engine.Open(t.Context(), engine.Config{URL: w.Config.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	s, err := e.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, name := range bounds {
		var is string
		if err := s.QueryRowContext(t.Context(), "SELECT current_setting($1)", name).Scan(&is); err != nil || is != "0" {
			t.Errorf("%s is %s, %v", name, is, err)
		}
	}
}
