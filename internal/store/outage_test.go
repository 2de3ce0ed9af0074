package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/session"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// rounds is how often a fault is made: a few times always, many times where
// the long tests are asked for.
func rounds(short, long int) int {
	if os.Getenv("COUNTERSIGN_TEST_FAULTS") != "" {
		return long
	}
	return short
}

// A ledger writes sessions and remembers which were acknowledged.
type ledger struct {
	db      *store.DB
	owner   account.Identity
	next    atomic.Int64
	refused atomic.Int64

	extra int // sessions that it has not written

	mu    sync.Mutex
	acked []string
}

// write writes one session, with an event; what is refused must be refused as
// the database's fault.
func (l *ledger) write(t *testing.T) error {
	id := fmt.Sprint("n", l.next.Add(1))
	now := l.db.Now()
	err := l.db.Write(ctx(), audit.OperatorActor("test"), func(tx *store.Tx) error {
		s := session.Session{ID: id, Account: l.owner.Account, Identity: l.owner.ID, Epoch: 1, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour)}
		if err := tx.AddSession(s, hash(id)); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: l.owner.Account, Name: audit.SessionEnd, Target: id})
	})
	switch {
	case err == nil:
		l.mu.Lock()
		l.acked = append(l.acked, id)
		l.mu.Unlock()
	case errors.Is(err, store.ErrUnavailable) && !strings.Contains(err.Error(), "23505"): // a row that is there already: it was written twice
		l.refused.Add(1)
	default:
		t.Errorf("refused with %v", err)
	}
	return err
}

// until writes from several sides until the work is done.
func (l *ledger) until(t *testing.T, done <-chan struct{}) {
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = l.write(t)
				}
			}
		})
	}
	writers.Wait()
}

func (l *ledger) check(t *testing.T) {
	t.Helper()
	until(t, "it writes again", func() bool { return l.write(t) == nil })
	list, err := l.db.Read(ctx()).Sessions(l.owner.Account, l.owner.ID)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, s := range list {
		there[s.ID] = true
	}
	for _, id := range l.acked {
		if !there[id] {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	if err := l.db.Read(ctx()).VerifyChains(func(h store.Head, err error) error {
		if h.Account == l.owner.Account && int(h.Seq) != len(list)-l.extra {
			t.Errorf("%d events of %d writes", h.Seq, len(list))
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	t.Logf("%d acknowledged, %d refused, %d there", len(l.acked), l.refused.Load(), len(list))
}

func TestTerminatedBackendsLoseNothingAcknowledged(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	raw := w.Raw(t)
	raw.SetMaxOpenConns(1)
	l := &ledger{db: w.DB, owner: addOwner(t, w, "a@example.com")}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range rounds(20, 300) {
			before := l.next.Load()
			if _, err := raw.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
				t.Error(err)
			}
			until(t, "somebody writes", func() bool { return l.next.Load() > before+4 })
		}
	}()
	l.until(t, done)
	l.check(t)
}

// on opens a store on a server of the test's own.
func on(t *testing.T, c *storetest.Cluster, connections int) *storetest.World {
	w := storetest.New(t, storetest.SQLite) // for its keys and clock
	w.Config.URL, w.Config.Connections = c.URL, connections
	w.DB = storetest.Open(t, w.Config)
	return w
}

func TestARestartedServerIsFoundAgain(t *testing.T) {
	t.Parallel()
	c := storetest.NewCluster(t)
	w := on(t, c, 0)
	l := &ledger{db: w.DB, owner: identity(w, "a@example.com")}
	mustWrite(t, w, func(tx *store.Tx) error { return add(tx, l.owner) })
	for range rounds(1, 10) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			before, refused := l.next.Load(), l.refused.Load()
			until(t, "somebody writes", func() bool { return l.next.Load() > before+20 })
			c.Stop(t)
			until(t, "writes are refused", func() bool { return l.refused.Load() > refused })
			if _, err := w.Read(ctx()).Identity(l.owner.ID); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("read without a server: %v", err)
			}
			c.Start(t)
			until(t, "it answers", func() bool { return w.Ready(ctx()) == nil })
		}()
		l.until(t, done)
		l.check(t)
	}
}

// Another server takes the place of the one that was lost; both are in the URL.
func TestAFailoverLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	first := storetest.NewCluster(t)
	w := on(t, first, 0) // makes the schema
	l := &ledger{owner: identity(w, "a@example.com")}
	mustWrite(t, w, func(tx *store.Tx) error { return add(tx, l.owner) })
	second := storetest.NewStandby(t, first)
	a, _ := url.Parse(first.URL)
	b, _ := url.Parse(second.URL)
	b.Host += "," + a.Host // the one that follows comes first, and is not taken
	w.Config.URL = b.String()
	l.db = storetest.Open(t, w.Config)
	addSession(t, &storetest.World{DB: l.db, Clock: w.Clock}, l.owner, "s")
	l.extra = 1
	believed(t, l.db, "s")
	done := make(chan struct{})
	go func() {
		defer close(done)
		before := l.next.Load()
		until(t, "somebody writes", func() bool { return l.next.Load() > before+20 })
		first.Stop(t)
		until(t, "it believes nothing", func() bool { return !l.db.Hears() })
		second.Promote(t)
		until(t, "it has found the other", func() bool { return l.db.Ready(ctx()) == nil })
	}()
	l.until(t, done)
	l.check(t)
	until(t, "it hears again", l.db.Hears)
	believed(t, l.db, "s")
	mustWrite(t, &storetest.World{DB: l.db}, func(tx *store.Tx) error { return tx.EndSession(l.owner.ID, "s", errFirst) })
	if live(l.db.Read(ctx()), "s") {
		t.Error("a session that ended is good")
	}
}

// Every connection of the pool is lost, and one request comes.
func TestAPoolOfLostConnectionsRefusesNobody(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	raw := w.Raw(t)
	i := addOwner(t, w, "a@example.com")
	for name, ask := range map[string]func() error{
		"a read":  func() error { _, err := w.Read(ctx()).Identity(i.ID); return err },
		"a write": func() error { return write(w, func(tx *store.Tx) error { return tx.SeeSessions([]string{"x"}) }) },
	} {
		const many = 8
		var all sync.WaitGroup
		all.Add(many)
		storetest.Parallel(many, func(int) error {
			return write(w, func(tx *store.Tx) error {
				if _, err := tx.Peek().Identity(i.ID); err != nil {
					return err
				}
				all.Done()
				all.Wait()
				return nil
			})
		})
		var ended int
		if err := raw.QueryRow("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Scan(&ended); err != nil || ended < many {
			t.Fatalf("%d ended, %v", ended, err)
		}
		until(t, "they are gone", func() bool {
			return len(records(t, raw, "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'countersign'")) == 0
		})
		if err := ask(); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
}

// What the test before leaves to chance: nothing is wrong with these to see. The
// driver asks a connection that has rested for a second, so they are used just
// before.
func TestConnectionsThatAreLostUnseenRefuseNobody(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	i := addOwner(t, w, "a@example.com")
	for name, ask := range map[string]func(r *store.Reader, w *storetest.World) error{
		"a read": func(r *store.Reader, _ *storetest.World) error { return failure(r.Identity(i.ID)) },
		"a list": func(r *store.Reader, _ *storetest.World) error { return failure(r.Sessions(i.Account, i.ID)) },
		"a write": func(_ *store.Reader, w *storetest.World) error {
			return write(w, func(tx *store.Tx) error { return tx.SeeSessions([]string{"x"}) })
		},
	} {
		there, link := node(t, w)
		const many = 8
		use := func() {
			var all sync.WaitGroup
			all.Add(many)
			storetest.Parallel(many, func(int) error {
				return write(&storetest.World{DB: there}, func(tx *store.Tx) error {
					if _, err := tx.Peek().Identity(i.ID); err != nil {
						return err
					}
					all.Done()
					all.Wait()
					return nil
				})
			})
		}
		for range 3 {
			use()
			use() // all of them are there by now
			link.Lose()
			if err := ask(there.Read(ctx()), &storetest.World{DB: there}); err != nil {
				t.Errorf("%s is refused: %v", name, err)
			}
		}
	}
	there, link := node(t, w)
	runs := 0
	err := write(&storetest.World{DB: there}, func(tx *store.Tx) error {
		if runs++; runs == 1 {
			link.Lose()
		}
		return tx.SeeSessions([]string{"x"})
	})
	if err != nil || runs != 2 {
		t.Errorf("a write that lost its connection before the COMMIT: %v after %d runs", err, runs)
	}
}

func TestACommitOfWhichNobodyKnowsIsNeitherDoneNorDoneTwice(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, link := node(t, w)
	i := addOwner(t, w, "a@example.com")
	addSession(t, w, i, "s")
	believed(t, there, "s")
	runs, before := 0, uint64(0)
	frozen := make(chan func(), 1)
	err := there.Write(ctx(), audit.Housekeeping("test"), func(tx *store.Tx) error {
		runs++
		tx.OnDone(func() { t.Error("taken for done") })
		_, err := tx.EndSessions(i.ID)
		before = there.Revocations()
		link.Await("commit", func() { frozen <- link.FreezeAnswers() })
		return err
	})
	if len(frozen) == 0 {
		t.Fatal("COMMIT was never sent")
	}
	thaw := <-frozen
	if !errors.Is(err, store.ErrUnavailable) || !contains(err.Error(), "not known") || runs != 1 {
		t.Errorf("%v after %d runs", err, runs)
	}
	if there.Cached(hash("s")) || there.Revocations() == before {
		t.Error("a session that may have ended is believed")
	}
	if live(w.Read(ctx()), "s") {
		t.Error("the COMMIT did not arrive, and the test proves nothing")
	}
	thaw()
	until(t, "it is refused", func() bool { _, err := there.Read(ctx()).Session(hash("s")); return errors.Is(err, store.ErrNoRow) })
}

func TestASlowDatabaseIsRefusedInTime(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, link := node(t, w)
	i := addOwner(t, w, "a@example.com")
	other := &storetest.World{DB: there}
	lock, err := w.Raw(t).Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec("SELECT 1 FROM identity WHERE id = $1 FOR UPDATE", string(i.ID)); err != nil {
		t.Fatal(err)
	}
	raise := func(tx *store.Tx) error { _, err := tx.RaiseEpoch(i.ID, ""); return err }
	if err := write(other, raise); !errors.Is(err, store.ErrUnavailable) || !contains(err.Error(), "55P03") {
		t.Errorf("waiting for a lock: %v", err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, other, raise)
	if err := there.Ask("SELECT pg_sleep(60) -- slow"); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) {
		t.Errorf("a slow statement: %v", err)
	}
	raw := w.Raw(t)
	until(t, "the server has stopped it", func() bool {
		return len(records(t, raw, "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '% -- slow'")) == 0
	})
	thaw := link.Freeze()
	for name, err := range map[string]error{
		"a read":  failure(there.Read(ctx()).Identity(i.ID)),
		"a write": write(other, raise),
	} {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) {
			t.Errorf("%s of a database that does not answer: %v", name, err)
		}
	}
	thaw()
	until(t, "it writes again", func() bool { return write(other, raise) == nil })
}

func failure[T any](_ T, err error) error { return err }

// A node that stops in the middle of a write, as one whose machine is put to
// sleep does, keeps the others waiting for a while only.
func TestANodeThatStopsHoldsNoLocks(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, _ := node(t, w)
	i := addOwner(t, w, "a@example.com")
	var after error
	err := write(&storetest.World{DB: there}, func(tx *store.Tx) error {
		if _, err := tx.Identity(i.ID); err != nil {
			return err
		}
		until(t, "another node writes", func() bool {
			return write(w, func(tx *store.Tx) error { _, err := tx.Identity(i.ID); return err }) == nil
		})
		after = tx.SeeSessions([]string{"s"})
		return after
	})
	if after == nil || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("it goes on as if nothing had happened: %v, %v", after, err)
	}
}

func TestExhaustedConnectionsAreRefusedAndComeBack(t *testing.T) {
	t.Parallel()
	cluster := storetest.NewCluster(t, "max_connections=8", "superuser_reserved_connections=0", "max_wal_senders=0")
	w := on(t, cluster, 50)
	i := identity(w, "a@example.com")
	mustWrite(t, w, func(tx *store.Tx) error { return add(tx, i) })
	full := make(chan struct{})
	var once sync.Once
	var refused atomic.Int64
	errs := storetest.Parallel(20, func(int) error {
		err := write(w, func(tx *store.Tx) error {
			_, err := tx.Peek().Identity(i.ID)
			<-full
			return err
		})
		if errors.Is(err, store.ErrUnavailable) && contains(err.Error(), "53300") {
			refused.Add(1)
			once.Do(func() { close(full) })
		}
		return err
	})
	for _, err := range errs {
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("refused with %v", err)
		}
	}
	if n := refused.Load(); n == 0 || n == 20 {
		t.Errorf("%d of 20 refused", n)
	}
	until(t, "it writes again", func() bool { return write(w, func(tx *store.Tx) error { return tx.SeeSessions([]string{"x"}) }) == nil })
}

// A pool of which all connections are taken is waited for, and not for ever.
func TestABusyPoolIsRefusedInTime(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	c := w.Config
	c.Connections, c.Patience = 2, time.Second
	db := &storetest.World{DB: storetest.Open(t, c)}
	err := write(db, func(*store.Tx) error {
		return write(db, func(*store.Tx) error {
			return write(db, func(*store.Tx) error { return nil })
		})
	})
	if !errors.Is(err, store.ErrUnavailable) || !contains(err.Error(), "waited too long for a connection") {
		t.Errorf("got %v", err)
	}
	mustWrite(t, db, func(*store.Tx) error { return nil })
}

func TestAFullDiskIsRefusedAndReadsGoOn(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.SQLite)
	pages := func(most string) {
		t.Helper()
		tx, err := w.Engine().Begin(ctx())
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := tx.QueryRowContext(ctx(), "PRAGMA max_page_count = "+most).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	full(t, w, func() { pages("1") }, func() { pages("1000000") }) // 1: as few as there are
}

func full(t *testing.T, w *storetest.World, fill, empty func()) {
	t.Helper()
	l := &ledger{db: w.DB, owner: addOwner(t, w, "a@example.com")}
	if err := l.write(t); err != nil {
		t.Fatal(err)
	}
	fill()
	until(t, "the disk is full", func() bool { return l.write(t) != nil })
	for range 3 {
		err := l.write(t)
		if !errors.Is(err, store.ErrUnavailable) || !contains(err.Error(), "full") {
			t.Errorf("on a full disk: %v", err)
		}
		if _, err := w.Read(ctx()).Identity(l.owner.ID); err != nil {
			t.Errorf("a read on a full disk: %v", err)
		}
		if !live(w.Read(ctx()), "n1") {
			t.Error("a session check on a full disk fails")
		}
	}
	empty()
	l.check(t)
}
