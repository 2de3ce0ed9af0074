// Package storetest gives every test a store of its own, on each engine.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to make and drop databases

	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
)

// A Clock is time that tests move.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at an ordinary moment.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, 3, 2, 9, 30, 5, 0, time.UTC)}
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the time.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// An Engine is a database and how it is used.
type Engine string

// The engines.
const (
	SQLite       Engine = "sqlite"
	Postgres     Engine = "postgres"
	Serializable Engine = "postgres, serializable"
)

// Engines are all of them.
var Engines = []Engine{SQLite, Postgres, Serializable}

// A World is a store and what it stands on.
type World struct {
	*store.DB
	Clock    *Clock
	Keys     *secret.Keyring
	KeysFile string
	Config   store.Config
}

// Each runs f on every engine.
func Each(t *testing.T, f func(t *testing.T, w *World)) {
	for _, e := range Engines {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			f(t, New(t, e))
		})
	}
}

// Patience is that of tests which are not about it: hundreds of requests at once
// on a busy machine wait for their connections.
const Patience = 2 * time.Minute

// New opens a fresh store on the engine.
func New(t testing.TB, e Engine) *World {
	t.Helper()
	dir := t.TempDir()
	w := &World{Clock: NewClock(), KeysFile: filepath.Join(dir, "keys.json")}
	keys, err := secret.OpenKeyring(w.KeysFile, rand.Reader, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.Keys = keys
	w.Config = store.Config{Keys: keys, Now: w.Clock.Now, Random: rand.Reader, URL: filepath.Join(dir, "countersign.db"), Patience: Patience}
	if e != SQLite {
		w.Config.URL = PostgresURL(t)
	}
	if e == Serializable {
		w.Config.Isolation = sql.LevelSerializable
	}
	w.DB = Open(t, w.Config)
	return w
}

// Open opens a store and closes it at the end of the test.
func Open(t testing.TB, c store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

var databases atomic.Int64

// PostgresURL makes an empty database and drops it at the end of the test.
func PostgresURL(t testing.TB) string {
	t.Helper()
	admin := os.Getenv("COUNTERSIGN_TEST_POSTGRES")
	if admin == "" {
		Missing(t, "no PostgreSQL: run the tests by `make test`, or set COUNTERSIGN_TEST_POSTGRES to the URL of one")
	}
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	do := func(query string) {
		d, err := sql.Open("pgx", admin)
		if err == nil {
			_, err = d.Exec(query)
			_ = d.Close()
		}
		if err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	do("CREATE DATABASE " + name)
	t.Cleanup(func() { do("DROP DATABASE " + name + " WITH (FORCE)") })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Missing ends a test for which the machine lacks something: as a failure
// where all parts are promised (`make test`, CI), as a skip elsewhere.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("COUNTERSIGN_TEST_COMPLETE") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Raw opens the database behind the store's back, as whoever holds a copy of it would.
func (w *World) Raw(t testing.TB) *sql.DB {
	t.Helper()
	return Raw(t, w.Config.URL)
}

// Raw opens the database at a store's URL without the store.
func Raw(t testing.TB, storeURL string) *sql.DB {
	t.Helper()
	driver, source := "pgx", storeURL
	if !engine.IsPostgres(storeURL) {
		driver, source = "sqlite", "file:"+storeURL+"?_pragma=busy_timeout(10000)"
	}
	d, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// Parallel runs f n times at once and returns what each run returned.
func Parallel(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}
