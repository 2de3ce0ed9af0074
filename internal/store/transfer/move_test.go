package transfer_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
	"countersign/internal/store/transfer"
	"countersign/internal/testkit"
)

// still closes a world's store, as a server that is stopped does.
func still(t *testing.T, w *testkit.World) *testkit.World {
	t.Helper()
	if err := w.DB.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEveryTableIsThoughtOf(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		w := storetest.New(t, e)
		var names []string
		for _, table := range tables(t, w.Config.URL) {
			names = append(names, table.Name)
		}
		thought := slices.Concat(transfer.EndedTables, transfer.KeptTables)
		slices.Sort(names)
		slices.Sort(thought)
		if !slices.Equal(names, thought) {
			t.Errorf("%s: the schema has\n%v, what a restore ends or keeps is\n%v", e, names, thought)
		}
	}
}

func TestAMovedDatabaseIsTheSame(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := still(t, lively(t, e))
			want := dump(t, w.Config.URL)
			to := storetest.PostgresURL(t)
			d := desk(w.World, w.Config.URL)
			ended := map[string]bool{}
			midway := map[transfer.Phase]int{}
			d.Report = func(r transfer.Report) {
				if !r.Ended && r.Rows > 0 && r.Rows < int64(len(want[r.Table])) && r.Total >= r.Rows && (r.Phase == transfer.Reading || int(r.OfAll) == rowsOf(want)) {
					midway[r.Phase]++
				}
				if r.Phase == transfer.Copying && r.Ended {
					ended[r.Table] = r.Rows == r.Of && int(r.Rows) == len(want[r.Table])
				}
			}
			done, err := d.Move(t.Context(), transfer.Move{To: to})
			if err != nil {
				t.Fatal(err)
			}
			rows := 0
			for name, list := range want {
				rows += len(list)
				if !ended[name] {
					t.Errorf("of %s no end was reported, or a wrong one", name)
				}
			}
			for _, phase := range []transfer.Phase{transfer.Reading, transfer.Copying, transfer.Comparing} {
				if midway[phase] == 0 {
					t.Errorf("%s: nothing is told in the midst of a table", phase)
				}
			}
			if done.Tables != len(want) || int(done.Rows) != rows || done.Chains != 2 {
				t.Errorf("done: %+v, want %d tables, %d rows, 2 chains", done, len(want), rows)
			}
			same(t, dump(t, to), want)
			same(t, dump(t, w.Config.URL), want)

			c := w.Config
			c.URL = to
			db := storetest.Open(t, c)
			chainsHold(t, db)
			if list := events(t, db); list[0] != audit.DatabaseMove {
				t.Errorf("the operator's events: %v", list)
			}
			if _, err := d.Move(t.Context(), transfer.Move{To: to}); err == nil || !strings.Contains(err.Error(), "not empty: it holds ") {
				t.Errorf("a second move into it: %v", err)
			}
		})
	}
}

func TestAMoveGoesOnWhereItWasKilled(t *testing.T) {
	t.Parallel()
	kills := map[storetest.Engine][]int{storetest.SQLite: {1, 9, 40}, storetest.Postgres: {12}}
	if os.Getenv("COUNTERSIGN_TEST_FAULTS") != "" { // a table further each time
		kills = map[storetest.Engine][]int{}
		for at := 1; at < 36; at += 2 {
			kills[storetest.SQLite], kills[storetest.Postgres] = append(kills[storetest.SQLite], at), append(kills[storetest.Postgres], at)
		}
	}
	for _, e := range both {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := still(t, lively(t, e))
			to := storetest.PostgresURL(t)
			for _, at := range kills[e] {
				kill(t, killed{From: w.Config.URL, To: to, Keys: w.KeysFile, At: at})
				c := w.Config
				c.URL = to
				if _, err := store.Open(t.Context(), c); !errors.Is(err, engine.ErrUnfinished) {
					t.Fatalf("a store opened on half of it: %v", err)
				}
			}
			before := rowsOf(dump(t, to))
			if before == 0 {
				t.Fatal("nothing was copied before the kill")
			}
			d := desk(w.World, w.Config.URL)
			d.Report = func(r transfer.Report) {
				if r.Phase == transfer.Copying && before > 0 {
					if int(r.Total) > before+200 {
						t.Errorf("the first batch after the kill ends at %d rows, %d were there", r.Total, before)
					}
					if int(r.Total) >= before {
						before = 0
					}
				}
			}
			if _, err := d.Move(t.Context(), transfer.Move{To: to}); err != nil {
				t.Fatal(err)
			}
			same(t, dump(t, to), dump(t, w.Config.URL))
		})
	}
}

func rowsOf(d map[string][]string) (n int) {
	for _, rows := range d {
		n += len(rows)
	}
	return n
}

// kill runs a move that kills itself.
func kill(t *testing.T, k killed) {
	t.Helper()
	b, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), killedVariable+"="+string(b))
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestAMoveRefuses(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := lively(t, e)
			move := func(d *transfer.Desk, to string) error {
				_, err := d.Move(t.Context(), transfer.Move{To: to})
				return err
			}
			to := storetest.PostgresURL(t)
			d := desk(w.World, w.Config.URL)

			// A server that runs, whatever it does.
			if err := move(d, to); !errors.Is(err, engine.ErrBusy) {
				t.Errorf("from under a server: %v", err)
			}
			still(t, w)

			// Keys of another installation, or none.
			other, err := secret.OpenKeyring(filepath.Join(t.TempDir(), "keys.json"), rand.Reader, w.Clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			stranger := desk(w.World, w.Config.URL)
			stranger.Store.Keys = other
			if err := move(stranger, to); err == nil || !strings.Contains(err.Error(), "the keys do not belong") {
				t.Errorf("with other keys: %v", err)
			}
			stranger.Store.Keys = nil
			if err := move(stranger, to); err == nil || !strings.Contains(err.Error(), "the keys are missing") {
				t.Errorf("without keys: %v", err)
			}

			// Where there is no database, or no target.
			if err := move(desk(w.World, filepath.Join(t.TempDir(), "none.db")), to); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("from nowhere: %v", err)
			}
			if err := move(d, "/tmp/file.db"); err == nil {
				t.Error("into a file")
			}
			if names := left(t, to); len(names) > 0 {
				t.Errorf("what was refused left %v", names)
			}

			// A target with other data, ours or not.
			change(t, to, "CREATE TABLE bread (id BIGINT)")
			if err := move(d, to); err == nil || !strings.HasSuffix(err.Error(), "not empty: it holds bread") {
				t.Errorf("into somebody else's: %v", err)
			}
			if err := move(d, storetest.New(t, storetest.Postgres).Config.URL); err == nil || !strings.Contains(err.Error(), "not empty") {
				t.Errorf("into one of ours: %v", err)
			}
		})
	}
}

func TestAMoveNoticesWhatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	w := still(t, lively(t, storetest.SQLite))
	to := storetest.PostgresURL(t)
	kill(t, killed{From: w.Config.URL, To: to, Keys: w.KeysFile, At: 9})
	d := desk(w.World, w.Config.URL)
	change(t, w.Config.URL, "UPDATE known_device SET fails = fails + 1 WHERE id = (SELECT max(id) FROM known_device)")
	if _, err := d.Move(t.Context(), transfer.Move{To: to}); !errors.Is(err, transfer.ErrChanged) {
		t.Fatalf("the source has changed since: %v", err)
	}
	if _, err := d.Move(t.Context(), transfer.Move{To: to, Anew: true}); err != nil {
		t.Fatal(err)
	}
	same(t, dump(t, to), dump(t, w.Config.URL))
}

func TestAMoveComparesEveryRow(t *testing.T) {
	t.Parallel()
	w := still(t, lively(t, storetest.SQLite))
	for _, query := range []string{
		"UPDATE seen_network SET last_at = last_at + 1 WHERE network = (SELECT max(network) FROM seen_network)",
		"DELETE FROM seen_network WHERE network = (SELECT max(network) FROM seen_network)",
		"INSERT INTO seen_network (account_id, identity_id, network, last_at) VALUES ('a', 'b', 'c', 1)",
	} {
		to := storetest.PostgresURL(t)
		d := desk(w.World, w.Config.URL)
		copied := 0
		d.Report = func(r transfer.Report) {
			if r.Phase == transfer.Copying && r.Ended {
				if copied++; copied == len(transfer.EndedTables)+len(transfer.KeptTables) {
					change(t, to, query)
				}
			}
		}
		if _, err := d.Move(t.Context(), transfer.Move{To: to}); err == nil || !strings.Contains(err.Error(), "table seen_network is not the same on both sides") {
			t.Errorf("%s: %v", query, err)
		}
		c := w.Config
		c.URL = to
		if _, err := store.Open(t.Context(), c); !errors.Is(err, engine.ErrUnfinished) {
			t.Errorf("it serves: %v", err)
		}
	}
}

func TestOneFillsATargetAtATime(t *testing.T) {
	t.Parallel()
	w, other := still(t, testkit.New(t, storetest.SQLite)), testkit.New(t, storetest.SQLite)
	lock := keyLock(t)
	file, _ := backup(t, other.World, transfer.Backup{Lock: lock})
	still(t, other)
	to := storetest.PostgresURL(t)
	d := desk(w.World, w.Config.URL)
	asked := false
	d.Report = func(r transfer.Report) {
		if asked || r.Phase != transfer.Copying {
			return
		}
		asked = true
		if _, err := desk(other.World, other.Config.URL).Move(t.Context(), transfer.Move{To: to, Anew: true}); err == nil || !strings.Contains(err.Error(), "another move or restore into the target is under way") {
			t.Errorf("another move: %v", err)
		}
		if _, _, err := desk(other.World, to).Restore(t.Context(), transfer.Restore{File: file, Lock: lock}); err == nil || !strings.Contains(err.Error(), "a move into the target has not ended") {
			t.Errorf("a restore: %v", err)
		}
	}
	if _, err := d.Move(t.Context(), transfer.Move{To: to}); err != nil || !asked {
		t.Errorf("the first: %v, %v", err, asked)
	}
}
