package transfer_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
	"countersign/internal/store/transfer"
	"countersign/internal/testkit"
)

// both are the engines between which databases go.
var both = []storetest.Engine{storetest.SQLite, storetest.Postgres}

// lively makes a world in which people have done things, and every table
// holds rows.
func lively(t *testing.T, e storetest.Engine) *testkit.World {
	t.Helper()
	w := testkit.New(t, e)
	owner := w.Owner("ada@example.com")
	w.Owner("bob@example.com")
	app := w.Bind(owner)
	w.Signed(w.Visitor, "ada@example.com", app)
	w.User(w.Again(owner), "carol", account.User)
	w.Attach(owner, "+8613800000000")
	w.Password(w.Visitor, "ada@example.com") // and no further
	fill(t, w.World)
	return w
}

// nullable are the columns that may hold nothing.
var nullable = []string{"previous_hash", "cancel_hash", "ceremony.token_hash"}

// fill puts rows of nonsense into every table but those whose content is
// checked: what a column can hold, it holds somewhere.
func fill(t *testing.T, w *storetest.World) {
	t.Helper()
	raw := w.Raw(t)
	defer func() { _ = raw.Close() }() // it counts as a program that has it open
	texts := []string{"", "x", "it's \"quoted\"", "line\nline\ttab\r", "日本語 🦊", "\\x00 \\N %s $1", strings.Repeat("long ", 3000), "é", "\u007f\u00a0"}
	for _, table := range tables(t, w.Config.URL) {
		if slices.Contains([]string{"account", "audit_event", "audit_head", "keyring_check"}, table.Name) {
			continue
		}
		n := 12
		if table.Name == "known_device" || table.Name == "seen_network" {
			n = 450 // several batches
		}
		for i := range n {
			var names, marks []string
			var args []any
			for _, c := range table.Columns {
				var v any
				switch at := table.Name + "." + c.Name; {
				case at == "identity.account_id":
					v = value(t, raw, "SELECT id FROM account LIMIT 1")
				case at == "verification.session_id":
					v = value(t, raw, "SELECT id FROM session LIMIT 1")
				case c.Name == "ceremony_id":
					v = value(t, raw, "SELECT id FROM ceremony LIMIT 1")
				case c.Name == "drift" || c.Name == "last_step":
					v = int64(i - 6)
				case c.Kind == engine.Integer:
					v = random(t, 1<<62) - 1<<61
				case (slices.Contains(nullable, c.Name) || slices.Contains(nullable, at)) && i%3 == 0:
				case c.Kind == engine.Bytes:
					b := make([]byte, 32+random(t, 40))
					_, _ = rand.Read(b)
					v = b
				default:
					v = fmt.Sprint(texts[random(t, int64(len(texts)))], random(t, 1<<60))
				}
				args = append(args, v)
				names = append(names, c.Name)
				marks = append(marks, fmt.Sprintf("$%d", len(args)))
			}
			if _, err := raw.Exec("INSERT INTO "+table.Name+" ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(marks, ", ")+")", args...); err != nil {
				t.Fatalf("%s: %v", table.Name, err)
			}
		}
	}
}

func random(t *testing.T, most int64) int64 {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(most))
	if err != nil {
		t.Fatal(err)
	}
	return n.Int64()
}

func value(t *testing.T, d *sql.DB, query string) (v any) {
	t.Helper()
	if err := d.QueryRow(query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func tables(t *testing.T, databaseURL string) []engine.Table {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{URL: databaseURL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	list, err := e.Tables(t.Context(), e.Read)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// dump reads every row of every table, by other means than the package does.
func dump(t *testing.T, databaseURL string) map[string][]string {
	t.Helper()
	raw := storetest.Raw(t, databaseURL)
	defer func() { _ = raw.Close() }()
	all := map[string][]string{}
	for _, table := range tables(t, databaseURL) {
		rows, err := raw.Query("SELECT * FROM " + table.Name)
		if err != nil {
			t.Fatal(err)
		}
		names, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		list := []string{}
		for rows.Next() {
			into := make([]any, len(names))
			for n := range into {
				into[n] = new(any)
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			var cells []string
			for n, name := range names {
				cells = append(cells, fmt.Sprintf("%s=%T:%v", name, *into[n].(*any), *into[n].(*any)))
			}
			slices.Sort(cells)
			list = append(list, strings.Join(cells, " "))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
		slices.Sort(list)
		all[table.Name] = list
	}
	return all
}

// same compares two dumps but for tables named, and for the operator's chain.
func same(t *testing.T, got, want map[string][]string, but ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d tables, want %d", len(got), len(want))
	}
	for name, rows := range want {
		if len(rows) == 0 {
			t.Errorf("%s held nothing: the test compares nothing", name)
		}
		if slices.Contains(but, name) {
			continue
		}
		if strings.HasPrefix(name, "audit_") {
			rows, got[name] = others(rows), others(got[name])
		}
		if !slices.Equal(got[name], rows) {
			t.Errorf("%s: %d rows, want %d\n%.600s\nwant\n%.600s", name, len(got[name]), len(rows), strings.Join(got[name], "\n"), strings.Join(rows, "\n"))
		}
	}
}

// others are the rows that are not of the operator's chain.
func others(rows []string) []string {
	return slices.DeleteFunc(slices.Clone(rows), func(r string) bool { return strings.HasPrefix(r, "account_id=string:0 ") })
}

// desk is where an installation with these keys does its work.
func desk(w *storetest.World, databaseURL string) *transfer.Desk {
	c := w.Config
	c.URL = databaseURL
	return &transfer.Desk{Store: c}
}

// empty is the URL of a database that is not there yet.
func empty(t *testing.T, e storetest.Engine) string {
	t.Helper()
	if e == storetest.SQLite {
		return filepath.Join(t.TempDir(), "countersign.db")
	}
	return storetest.PostgresURL(t)
}

// change changes rows of a database behind everybody's back.
func change(t *testing.T, databaseURL, query string, args ...any) {
	t.Helper()
	raw := storetest.Raw(t, databaseURL)
	defer func() { _ = raw.Close() }()
	result, err := raw.Exec(query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	if n, _ := result.RowsAffected(); n != 1 && !strings.HasPrefix(query, "CREATE") {
		t.Fatalf("%s changed %d rows", query, n)
	}
}

// left lists what there is in a database, of whoever.
func left(t *testing.T, databaseURL string) []string {
	t.Helper()
	if !engine.IsPostgres(databaseURL) {
		list, err := os.ReadDir(filepath.Dir(databaseURL))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range list {
			names = append(names, f.Name())
		}
		return names
	}
	e, err := engine.Open(t.Context(), engine.Config{URL: databaseURL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	names, err := e.Names(t.Context(), e.Read)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// events are the names of the operator's events, newest first.
func events(t *testing.T, db *store.DB) (list []audit.Name) {
	t.Helper()
	found, err := db.Read(t.Context()).History(audit.Operator, "", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		list = append(list, e.Name)
	}
	return list
}

func chainsHold(t *testing.T, db *store.DB) {
	t.Helper()
	err := db.Read(t.Context()).VerifyChains(func(_ store.Head, err error) error { return err })
	if err != nil {
		t.Error(err)
	}
}

// A killed is a move, a backup or a restore in a process of its own, which kills
// itself.
type killed struct {
	From, To, Keys string
	At             int            // the report at which
	Phase          transfer.Phase // of that report; none: of copying
	Anew           bool
	Backup         string // makes one there instead
	Restore        string // puts that one back instead
}

const killedVariable = "COUNTERSIGN_TEST_MOVE"

func TestMain(m *testing.M) {
	if text := os.Getenv(killedVariable); text != "" {
		var k killed
		if err := json.Unmarshal([]byte(text), &k); err != nil {
			panic(err)
		}
		k.run()
	}
	os.Exit(m.Run())
}

func (k killed) run() {
	keys, err := secret.OpenKeyring(k.Keys, rand.Reader, time.Time{})
	if err != nil {
		panic(err)
	}
	seen := 0
	d := &transfer.Desk{Store: store.Config{URL: k.From, Keys: keys, Now: storetest.NewClock().Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler)},
		Report: func(r transfer.Report) {
			if r.Phase == cmp.Or(k.Phase, transfer.Copying) {
				seen++
			}
			if seen == k.At {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}}
	lock, lockErr := transfer.CheapLock("twelve chars, or more")
	switch {
	case k.Backup != "":
		_, err = d.Backup(context.Background(), transfer.Backup{File: k.Backup, Lock: lock})
	case k.Restore != "":
		_, _, err = d.Restore(context.Background(), transfer.Restore{File: k.Restore, Lock: lock, Keys: k.Keys})
	default:
		_, err = d.Move(context.Background(), transfer.Move{To: k.To, Anew: k.Anew})
	}
	err = errors.Join(err, lockErr)
	fmt.Println("not killed:", err)
	os.Exit(0)
}
