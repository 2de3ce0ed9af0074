package transfer_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
	"countersign/internal/store/transfer"
	"countersign/internal/testkit"
)

// small makes a world with a person in it, and closes its store.
func small(t *testing.T, e storetest.Engine) *testkit.World {
	t.Helper()
	w := testkit.New(t, e)
	w.Owner("ada@example.com")
	return still(t, w)
}

// opened returns what a server or a command is told that opens a database.
func opened(t *testing.T, w *testkit.World, databaseURL string) error {
	t.Helper()
	c := w.Config
	c.URL = databaseURL
	db, err := store.Open(t.Context(), c)
	if err == nil {
		err = db.Close()
	}
	return err
}

// wantMoved checks that an error says of a database where it was moved to.
func wantMoved(t *testing.T, what string, err error, to string) {
	t.Helper()
	name := to[strings.LastIndex(to, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	var m *engine.ErrMoved
	if !errors.As(err, &m) || m.To != "127.0.0.1/"+name {
		t.Errorf("%s: %v, want that it was moved to %s", what, err, name)
	}
}

func moved(t *testing.T, d *transfer.Desk, m transfer.Move) error {
	t.Helper()
	_, err := d.Move(t.Context(), m)
	return err
}

func TestAMovedDatabaseStaysClosedUntilItIsReopened(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := small(t, e)
			from, to, other := w.Config.URL, storetest.PostgresURL(t), storetest.PostgresURL(t)
			d := desk(w.World, from)
			if m, err := d.Moved(t.Context()); m != nil || err == nil {
				t.Errorf("before: %v, %v", m, err)
			}
			if err := moved(t, d, transfer.Move{To: to}); err != nil {
				t.Fatal(err)
			}
			wantMoved(t, "a server", opened(t, w, from), to)
			_, err := d.Backup(t.Context(), transfer.Backup{File: filepath.Join(t.TempDir(), "backup"), Lock: keyLock(t)})
			wantMoved(t, "a backup", err, to)
			err = moved(t, d, transfer.Move{To: to})
			wantMoved(t, "the same move again", err, to)
			if !strings.Contains(err.Error(), "; the target is not empty: it holds ") {
				t.Errorf("the same move again: %v", err)
			}
			wantMoved(t, "another move", moved(t, d, transfer.Move{To: other}), to)
			if names := left(t, other); len(names) > 0 {
				t.Errorf("what was refused left %v", names)
			}

			m, err := d.Moved(t.Context())
			if err != nil || !m.At.Equal(w.Clock.Now()) || strings.ContainsAny(m.To, "@:?") {
				t.Fatalf("the mark: %+v, %v", m, err)
			}
			raw := w.Raw(t)
			var n int
			if err := raw.QueryRow("SELECT count(*) FROM account").Scan(&n); err != nil {
				t.Fatal(err)
			}
			if err := d.Reopen(t.Context(), m); !errors.Is(err, engine.ErrBusy) {
				t.Errorf("reopened while somebody has it open: %v", err)
			}
			if err := raw.Close(); err != nil {
				t.Fatal(err)
			}
			if err := d.Reopen(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if err := d.Reopen(t.Context(), m); !errors.Is(err, engine.ErrReopened) {
				t.Errorf("reopened twice: %v", err)
			}
			db := storetest.Open(t, w.Config)
			list := slices.DeleteFunc(events(t, db), func(n audit.Name) bool { return n != audit.DatabaseReopen })
			if len(list) != 1 {
				t.Errorf("the operator's events: %v", list)
			}
			chainsHold(t, db)
			_ = db.Close()
			if err := moved(t, d, transfer.Move{To: other}); err != nil {
				t.Errorf("a move after it was reopened: %v", err)
			}
			wantMoved(t, "a server", opened(t, w, from), other)
		})
	}
}

// Whatever step a move is killed at, one database is open or none, and the
// same move ends with one.
func TestAMoveThatIsKilledAtItsEnd(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		for _, phase := range []transfer.Phase{transfer.Checking, transfer.Leaving} {
			t.Run(string(e)+" "+string(phase), func(t *testing.T) {
				t.Parallel()
				w := small(t, e)
				from, to, other := w.Config.URL, storetest.PostgresURL(t), storetest.PostgresURL(t)
				d := desk(w.World, from)
				kill(t, killed{From: from, To: to, Keys: w.KeysFile, At: 1, Phase: phase})
				if err := opened(t, w, to); !errors.Is(err, engine.ErrUnfinished) {
					t.Fatalf("the target is open: %v", err)
				}
				if phase == transfer.Checking {
					if m, err := d.Moved(t.Context()); m != nil || err == nil || err.Error() != "the database was not moved: it is open" {
						t.Fatalf("the source is marked before the target was checked: %+v, %v", m, err)
					}
				} else {
					wantMoved(t, "the source", opened(t, w, from), to)
					wantMoved(t, "another move", moved(t, d, transfer.Move{To: other, Anew: true}), to)
					if names := left(t, other); len(names) > 0 {
						t.Errorf("what was refused left %v", names)
					}
				}
				if err := moved(t, d, transfer.Move{To: to}); err != nil {
					t.Fatal(err)
				}
				wantMoved(t, "the source", opened(t, w, from), to)
				if err := opened(t, w, to); err != nil {
					t.Errorf("the target: %v", err)
				}
			})
		}
	}
}

func TestAMoveBegunAnewAfterItWasKilledAtItsEnd(t *testing.T) {
	t.Parallel()
	w := still(t, lively(t, storetest.SQLite))
	from, to := w.Config.URL, storetest.PostgresURL(t)
	d := desk(w.World, from)
	kill(t, killed{From: from, To: to, Keys: w.KeysFile, At: 1, Phase: transfer.Leaving})
	kill(t, killed{From: from, To: to, Keys: w.KeysFile, At: 3, Anew: true})
	wantMoved(t, "the source", opened(t, w, from), to)
	if err := moved(t, d, transfer.Move{To: to}); err != nil {
		t.Fatal(err)
	}
	same(t, dump(t, to), dump(t, from))

	// Reopened, it is another database than the one that was copied.
	w = small(t, storetest.SQLite)
	from, to = w.Config.URL, storetest.PostgresURL(t)
	d = desk(w.World, from)
	kill(t, killed{From: from, To: to, Keys: w.KeysFile, At: 1, Phase: transfer.Leaving})
	m, err := d.Moved(t.Context())
	if err == nil {
		err = d.Reopen(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := opened(t, w, from); err != nil {
		t.Errorf("the source, reopened: %v", err)
	}
	if err := moved(t, d, transfer.Move{To: to}); !errors.Is(err, transfer.ErrChanged) {
		t.Errorf("the move goes on with what was reopened: %v", err)
	}
	if err := opened(t, w, to); !errors.Is(err, engine.ErrUnfinished) {
		t.Errorf("the target: %v", err)
	}
	if err := moved(t, d, transfer.Move{To: to, Anew: true}); err != nil {
		t.Fatal(err)
	}
	wantMoved(t, "the source", opened(t, w, from), to)
}

// A target that a move was once begun into is not that of the move that ended.
func TestAnOlderTargetIsNoSecondDatabase(t *testing.T) {
	t.Parallel()
	w := small(t, storetest.SQLite)
	from, first, second := w.Config.URL, storetest.PostgresURL(t), storetest.PostgresURL(t)
	d := desk(w.World, from)
	kill(t, killed{From: from, To: first, Keys: w.KeysFile, At: 1, Phase: transfer.Checking})
	if err := moved(t, d, transfer.Move{To: second}); err != nil {
		t.Fatal(err)
	}
	for _, anew := range []bool{false, true} {
		wantMoved(t, "the older target", moved(t, d, transfer.Move{To: first, Anew: anew}), second)
		if err := opened(t, w, first); !errors.Is(err, engine.ErrUnfinished) {
			t.Errorf("the older target is open: %v", err)
		}
	}
}

// The hold on a target ends before the move does: whoever takes the target then
// keeps it.
func TestATargetThatIsTakenAtTheEndIsNotOpened(t *testing.T) {
	t.Parallel()
	w := small(t, storetest.SQLite)
	to := storetest.PostgresURL(t)
	d := desk(w.World, w.Config.URL)
	d.Report = func(r transfer.Report) {
		if r.Phase == transfer.Leaving {
			change(t, to, "UPDATE "+engine.Marker+" SET state = '{\"kind\":\"move\",\"move\":\"another\"}' WHERE part = ''")
		}
	}
	if err := moved(t, d, transfer.Move{To: to}); err == nil || !strings.Contains(err.Error(), "another move has begun to fill the target") {
		t.Errorf("the move: %v", err)
	}
	if err := opened(t, w, to); !errors.Is(err, engine.ErrUnfinished) {
		t.Errorf("the target: %v", err)
	}
	wantMoved(t, "the source", opened(t, w, w.Config.URL), to)
}

// Who waits while a database is moved finds it moved.
func TestWhoWaitsForAMoveDoesNotGoOnThere(t *testing.T) {
	t.Parallel()
	for _, e := range both {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := small(t, e)
			to := storetest.PostgresURL(t)
			watch := storetest.Raw(t, to[:strings.LastIndex(to, "/")]+"/postgres?sslmode=disable")
			d := desk(w.World, w.Config.URL)
			told, between := make(chan error, 1), errors.New("it was not asked")
			started := false
			d.Report = func(r transfer.Report) {
				switch {
				case r.Phase == transfer.Copying && !started:
					started = true
					go func() { told <- opened(t, w, w.Config.URL) }()
					if e == storetest.SQLite {
						return // nobody sees who waits for a file
					}
					name := w.Config.URL[strings.LastIndex(w.Config.URL, "/")+1:]
					name, _, _ = strings.Cut(name, "?")
					for waiting := 0; waiting == 0; time.Sleep(10 * time.Millisecond) {
						if err := watch.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'", name).Scan(&waiting); err != nil {
							t.Error(err)
							return
						}
						if len(told) > 0 {
							t.Error("it did not wait")
							return
						}
					}
				case r.Phase == transfer.Leaving && e == storetest.SQLite: // marked, and the lock is there still
					var n int
					raw, err := sql.Open("sqlite", "file:"+w.Config.URL+"?_pragma=busy_timeout(1)")
					if err != nil {
						t.Error(err)
						return
					}
					between = errors.Join(raw.QueryRow("SELECT count(*) FROM account").Scan(&n), raw.Close())
				}
			}
			if err := moved(t, d, transfer.Move{To: to}); err != nil {
				t.Fatal(err)
			}
			err := <-told
			if e == storetest.SQLite && err != nil && strings.Contains(err.Error(), "locked") {
				err = opened(t, w, w.Config.URL) // a slow machine: it waits for ten seconds, and no longer
			}
			wantMoved(t, "who waited", err, to)
			if e == storetest.SQLite && (between == nil || !strings.Contains(between.Error(), "locked")) {
				t.Errorf("between mark and end somebody reads the old file: %v", between)
			}
		})
	}
}
