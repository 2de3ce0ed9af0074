package store_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
)

// until waits for what another process brings about.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond) // polled, so that nothing is taken for granted
	}
}

func hash(id string) []byte { return []byte("hash of " + id) }

// believed has a node read a session and hold it for good without a read.
func believed(t *testing.T, db *store.DB, id string) {
	t.Helper()
	until(t, "the node believes its cache", func() bool { return live(db.Read(ctx()), id) && db.Cached(hash(id)) })
}

// node opens another store on the same PostgreSQL, over a link.
func node(t *testing.T, w *storetest.World) (*store.DB, *storetest.Link) {
	t.Helper()
	l := storetest.NewLink(t, w.Config.URL)
	c := w.Config
	c.URL, c.Patience = l.URL, 2*time.Second // a busy machine is slow too
	return storetest.Open(t, c), l
}

func TestARevocationOnOneNodeIsFeltOnAll(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	others := []*store.DB{storetest.Open(t, w.Config), storetest.Open(t, w.Config)}
	slow := 0
	for name, revoke := range map[string]func(tx *store.Tx, i account.Identity, id string) error{
		"ended": func(tx *store.Tx, i account.Identity, id string) error { return tx.EndSession(i.ID, id, errFirst) },
		"all":   func(tx *store.Tx, i account.Identity, _ string) error { _, err := tx.EndSessions(i.ID); return err },
		"epoch": func(tx *store.Tx, i account.Identity, _ string) error { _, err := tx.RaiseEpoch(i.ID, ""); return err },
		"token": func(tx *store.Tx, _ account.Identity, id string) error {
			return tx.RenewSession(id, []byte("new"+id), errFirst)
		},
		"proofs": func(tx *store.Tx, _ account.Identity, id string) error {
			return tx.SetSessionProofs(id, []factor.Proof{})
		},
		"policy": func(tx *store.Tx, i account.Identity, _ string) error {
			return tx.SetSettings(i.Account, account.DefaultSettings())
		},
		"rechecked": func(tx *store.Tx, i account.Identity, _ string) error { return tx.RecheckSessions(i.ID) },
	} {
		i := addOwner(t, w, name+"@example.com")
		addSession(t, w, i, name)
		bystander := addOwner(t, w, "not."+name+"@example.com")
		addSession(t, w, bystander, "not "+name)
		for _, db := range others {
			believed(t, db, name)
			believed(t, db, "not "+name)
		}
		w.Clock.Advance(20 * time.Second)
		for _, db := range others {
			until(t, "what was read 20 seconds ago is believed", func() bool { return db.Cached(hash(name)) })
		}
		mustWrite(t, w, func(tx *store.Tx) error { return revoke(tx, i, name) })
		at := time.Now()
		for n, db := range others {
			until(t, name+" is felt elsewhere", func() bool { return !db.Cached(hash(name)) })
			if time.Since(at) > time.Second {
				slow++
			}
			s, err := db.Read(ctx()).Session(hash(name))
			if want := name == "proofs" || name == "policy" || name == "rechecked"; want != (err == nil) || err == nil && len(s.Proofs) > 0 && !s.Stale {
				t.Errorf("%s, on node %d: %+v, %v", name, n, s, err)
			}
			until(t, "the bystander is still believed", func() bool { return db.Cached(hash("not " + name)) })
		}
	}
	if slow > 4 { // of 14: the machine may be busy with something else
		t.Errorf("%d times it took longer than a second", slow)
	}
}

func TestWhatIsAnnouncedIsSaidOnceAndHoldsNoSecret(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	i := addOwner(t, w, "a@example.com")
	var mu sync.Mutex
	var heard []string
	e, err := engine.Open(ctx(), engine.Config{URL: w.Config.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	l := e.Listen(w.Clock.Now, slog.New(slog.DiscardHandler), func() {}, func(what string) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, what)
	})
	defer l.Close()
	until(t, "it hears", func() bool { return l.Holds(w.Clock.Now()) })
	refused := errors.New("refused")
	if err := write(w, func(tx *store.Tx) error { _, _ = tx.RaiseEpoch(i.ID, ""); return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	mustWrite(t, w, func(tx *store.Tx) error {
		for range 3 {
			if _, err := tx.EndSessions(i.ID); err != nil {
				return err
			}
		}
		return tx.SetSettings(i.Account, account.DefaultSettings())
	})
	mustWrite(t, w, func(tx *store.Tx) error { _, err := tx.EndSessions("last"); return err })
	until(t, "the last", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(heard) > 0 && heard[len(heard)-1] == "identity last"
	})
	mu.Lock()
	defer mu.Unlock()
	if got, want := fmt.Sprint(heard), fmt.Sprintf("[identity %s account %s identity last]", i.ID, i.Account); got != want {
		t.Errorf("heard %s, want %s", got, want)
	}
}

// A newer node may say what this one does not understand.
func TestWhatIsNotUnderstoodRevokesEverything(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	addSession(t, w, addOwner(t, w, "a@example.com"), "s")
	believed(t, w.DB, "s")
	before := w.Revocations()
	if _, err := w.Raw(t).Exec("SELECT pg_notify('countersign', 'network 192.0.2.0/24')"); err != nil {
		t.Fatal(err)
	}
	until(t, "it is felt", func() bool { return w.Revocations() > before && w.Hears() })
	if w.Cached(hash("s")) {
		t.Error("it is believed all the same")
	}
	believed(t, w.DB, "s")
}

// What was read before a revocation must not be believed after it, however
// late the reader is.
func TestALateReaderBringsNothingBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		elsewhere := storetest.Open(t, w.Config)
		i := addOwner(t, w, "a@example.com")
		for n, by := range []*store.DB{w.DB, elsewhere} {
			if by == elsewhere && !w.Engine().Postgres() {
				continue // nobody says so: the second of trust bounds it
			}
			id := fmt.Sprint("late ", n)
			addSession(t, w, i, id)
			if w.Engine().Postgres() {
				believed(t, w.DB, id)
			}
			w.ForgetSession(hash(id))
			before := w.Revocations()
			r := w.Hesitant(func() {
				mustWrite(t, &storetest.World{DB: by}, func(tx *store.Tx) error { return tx.EndSession(i.ID, id, errFirst) })
				until(t, "it is known here", func() bool { return w.Revocations() > before })
			})
			if _, err := r.Session(hash(id)); err != nil {
				t.Fatalf("what was there: %v", err)
			}
			if w.Cached(hash(id)) || live(w.Read(ctx()), id) {
				t.Errorf("a session ended by node %d lives on in the cache", n)
			}
		}
	})
}

func listenerPID(t *testing.T, raw *sql.DB) (pid int) {
	t.Helper()
	if err := raw.QueryRow("SELECT COALESCE(max(pid), 0) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'countersign listener'").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestAListenerThatWasEndedForgetsEverything(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	raw := w.Raw(t)
	i := addOwner(t, w, "a@example.com")
	addSession(t, w, i, "missed")
	addSession(t, w, i, "kept")
	believed(t, w.DB, "missed")
	believed(t, w.DB, "kept")
	pid := listenerPID(t, raw)
	if _, err := raw.Exec("SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Exec("DELETE FROM session WHERE id = 'missed'"); err != nil { // nobody says so
		t.Fatal(err)
	}
	until(t, "another one hears", func() bool {
		next := listenerPID(t, raw) // 0: there is none yet, and the old one may not know that it has ended
		return next != 0 && next != pid && w.Hears()
	})
	if w.Cached(hash("missed")) || w.Cached(hash("kept")) {
		t.Error("what was read before the channel broke is believed after it")
	}
	if live(w.Read(ctx()), "missed") {
		t.Error("the session that ended meanwhile is good")
	}
	believed(t, w.DB, "kept")
}

func TestANodeThatIsCutOffBelievesNothing(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, link := node(t, w)
	i := addOwner(t, w, "a@example.com")
	addSession(t, w, i, "s")
	believed(t, there, "s")
	link.Cut()
	until(t, "it trusts nothing", func() bool { return !there.Hears() })
	if there.Cached(hash("s")) {
		t.Error("it is believed")
	}
	if _, err := there.Read(ctx()).Session(hash("s")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("checked without a database: %v", err)
	}
	mustWrite(t, w, func(tx *store.Tx) error { return tx.EndSession(i.ID, "s", errFirst) })
	link.Mend()
	until(t, "it hears again", there.Hears)
	if there.Cached(hash("s")) || live(there.Read(ctx()), "s") {
		t.Error("it lives on")
	}
}

func TestANodeInABlackHoleBelievesNothing(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, link := node(t, w)
	i := addOwner(t, w, "a@example.com")
	addSession(t, w, i, "s")
	believed(t, there, "s")

	thaw := link.Freeze()
	w.Clock.Advance(engine.Lease + time.Microsecond) // by the clock: at once
	if there.Cached(hash("s")) {
		t.Error("believed more than a second after the last answer")
	}
	thaw()
	believed(t, there, "s")

	thaw = link.Freeze() // by the heartbeat: no answer, no trust
	until(t, "it trusts nothing", func() bool { return !there.Hears() })
	mustWrite(t, w, func(tx *store.Tx) error { return tx.EndSession(i.ID, "s", errFirst) })
	if _, err := there.Read(ctx()).Session(hash("s")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("checked in a black hole: %v", err)
	}
	thaw()
	until(t, "it hears again", there.Hears)
	until(t, "it is refused", func() bool { _, err := there.Read(ctx()).Session(hash("s")); return errors.Is(err, store.ErrNoRow) })
}

func TestAClockThatStepsTakesTheTrustAway(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, link := node(t, w)
	addSession(t, w, addOwner(t, w, "a@example.com"), "s")
	for _, step := range []time.Duration{-time.Microsecond, -time.Hour, time.Hour} {
		believed(t, there, "s")
		thaw := link.Freeze()
		w.Clock.Advance(step)
		if there.Hears() || there.Cached(hash("s")) {
			t.Errorf("a step of %s changes nothing", step)
		}
		thaw()
	}
}

// A database that speaks like PostgreSQL but has no LISTEN.
func TestWithoutListenASessionIsBelievedForASecond(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	there, link := node(t, w)
	link.Garble("LISTEN countersign", "LISTEM countersign")
	link.Garble("pg_notify", "no_notify")
	here := &storetest.World{DB: there, Clock: w.Clock}
	i := addOwner(t, w, "a@example.com")
	addSession(t, w, i, "s")
	believed(t, there, "s")
	w.Clock.Advance(time.Second)
	if !there.Cached(hash("s")) || there.Hears() {
		t.Error("it is not believed for a second")
	}
	w.Clock.Advance(time.Microsecond)
	if there.Cached(hash("s")) {
		t.Error("it is believed for longer")
	}
	for range 2 { // the first finds out
		believed(t, there, "s")
		mustWrite(t, here, func(tx *store.Tx) error { return tx.RecheckSessions(i.ID) })
		if there.Cached(hash("s")) {
			t.Error("a revocation of its own is not felt")
		}
	}
}

// A database, or a pooler, that takes LISTEN and delivers nothing.
func TestAChannelThatDeliversNothingIsNotTrusted(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	l := storetest.NewLink(t, w.Config.URL)
	l.Garble("LISTEN countersign", "LISTEN something_e")
	var said buffer
	c := w.Config
	c.URL, c.Log = l.URL, slog.New(slog.NewTextHandler(&said, nil))
	there := storetest.Open(t, c)
	addSession(t, w, addOwner(t, w, "a@example.com"), "s")
	until(t, "it says so", func() bool {
		if !live(there.Read(ctx()), "s") || there.Cached(hash("s")) {
			t.Fatal("its cache is believed, or what it read is not")
		}
		return contains(said.String(), "does not arrive")
	})
}

// A buffer that many may use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
