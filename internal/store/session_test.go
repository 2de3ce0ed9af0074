package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/expiry"
	"countersign/internal/store/storetest"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func addSession(t *testing.T, w *storetest.World, i account.Identity, id string) session.Session {
	t.Helper()
	now := w.Clock.Now()
	s := session.Session{ID: id, Account: i.Account, Identity: i.ID, Epoch: 1, Proofs: []factor.Proof{{Method: factor.Password, At: now}, {Method: factor.VirtualMFA, At: now}},
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour), Address: "2001:db8::1", UserAgent: "Браузер"}
	mustWrite(t, w, func(tx *store.Tx) error { return tx.AddSession(s, []byte("hash of "+id)) })
	return s
}

func live(r *store.Reader, id string) bool {
	_, err := r.Session([]byte("hash of " + id))
	return err == nil
}

func TestARevokedSessionIsGoneAtOnceHereAndWithinASecondElsewhere(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		elsewhere := storetest.Open(t, w.Config)
		here, there := w.Read(ctx()), elsewhere.Read(ctx())
		for name, revoke := range map[string]func(tx *store.Tx, i account.Identity, id string) error{
			"ended": func(tx *store.Tx, i account.Identity, id string) error { return tx.EndSession(i.ID, id, errFirst) },
			"ended with others": func(tx *store.Tx, i account.Identity, _ string) error {
				_, err := tx.EndOtherSessions(i.ID, "k")
				return err
			},
			"credentials changed": func(tx *store.Tx, i account.Identity, _ string) error { _, err := tx.RaiseEpoch(i.ID, ""); return err },
			"given another token": func(tx *store.Tx, _ account.Identity, id string) error {
				return tx.RenewSession(id, []byte("new "+id), errFirst)
			},
			"the identity's epoch": func(tx *store.Tx, i account.Identity, _ string) error {
				_, err := tx.RaiseEpoch(i.ID, "kept")
				return err
			},
		} {
			id := "session " + name
			i := addOwner(t, w, strings.ReplaceAll(name, " ", ".")+"@example.com")
			want := addSession(t, w, i, id)
			for _, r := range []*store.Reader{here, there} { // once from the database, once from the cache
				for range 2 {
					if got, err := r.Session([]byte("hash of " + id)); err != nil || !reflect.DeepEqual(got, want) {
						t.Fatalf("%s: got %+v, %v", name, got, err)
					}
				}
			}
			mustWrite(t, w, func(tx *store.Tx) error { return revoke(tx, i, id) })
			if live(here, id) {
				t.Errorf("%s: still good in this process", name)
			}
			if w.Engine().Postgres() { // it hears of it; else the second of trust is over
				until(t, name+" is felt in another process", func() bool { return !elsewhere.Cached([]byte("hash of " + id)) })
			}
			w.Clock.Advance(time.Second + time.Microsecond)
			if live(there, id) {
				t.Errorf("%s: still good after a second in another process", name)
			}
		}
	})
}

func TestTheCacheNeverOutlivesARevocationBesideIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		for n := range 20 {
			id := fmt.Sprint(n)
			addSession(t, w, i, id)
			storetest.Parallel(8, func(k int) error { // readers fill the cache while the session ends
				if k == 0 {
					return write(w, func(tx *store.Tx) error { return tx.EndSession(i.ID, id, errFirst) })
				}
				live(w.Read(ctx()), id)
				return nil
			})
			if live(w.Read(ctx()), id) {
				t.Fatal("a session lives on in the cache")
			}
		}
	})
}

func TestARaisedEpochVoidsAllButTheSessionKept(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		for _, id := range []string{"keep", "end"} {
			addSession(t, w, i, id)
		}
		addSession(t, w, other, "theirs")
		c := newCeremony(w, 5)
		c.Identity, c.Account = i.ID, i.Account
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddCeremony(c) })
		mustWrite(t, w, func(tx *store.Tx) error {
			epoch, err := tx.RaiseEpoch(i.ID, "keep")
			if epoch != 2 {
				t.Errorf("epoch %d", epoch)
			}
			return err
		})
		r := w.Read(ctx())
		if !live(r, "keep") || live(r, "end") || !live(r, "theirs") {
			t.Errorf("keep %v, end %v, theirs %v", live(r, "keep"), live(r, "end"), live(r, "theirs"))
		}
		if _, err := r.CeremonyByToken(c.Kind, c.TokenHash); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("a ceremony from before lives on: %v", err)
		}
		list, err := r.Sessions(i.Account, i.ID)
		if err != nil || len(list) != 1 || list[0].ID != "keep" || list[0].Epoch != 2 {
			t.Errorf("listed: %+v, %v", list, err)
		}
		// A row that another process wrote with the epoch of before is no session.
		stale := session.Session{ID: "stale", Account: i.Account, Identity: i.ID, Epoch: 1, CreatedAt: w.Clock.Now(), ExpiresAt: w.Clock.Now().Add(time.Hour)}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddSession(stale, []byte("hash of stale")) })
		if live(r, "stale") {
			t.Error("a session of an old epoch is good")
		}
	})
}

func TestOnlyTheOwnerEndsASession(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, b := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		addSession(t, w, a, "s")
		err := write(w, func(tx *store.Tx) error { return tx.EndSession(b.ID, "s", errFirst) })
		if !errors.Is(err, errFirst) || !live(w.Read(ctx()), "s") {
			t.Errorf("another identity ended it: %v", err)
		}
	})
}

func TestAVerificationIsUsedOnceAndEndsWithItsSession(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		addSession(t, w, i, "s")
		given := policy.Given{ID: "v", Scenario: policy.ManageMFA, Action: "unbind", Target: "device", Method: factor.VirtualMFA, At: w.Clock.Now()}
		later := given
		later.ID = "v2"
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.AddVerification("s", given), tx.AddVerification("s", later))
		})
		since := w.Clock.Now()
		list, err := w.Read(ctx()).Verifications("s", since)
		if err != nil || len(list) != 2 {
			t.Fatalf("got %+v, %v", list, err)
		}
		for _, g := range list {
			if g.At = g.At.UTC(); g != given && g != later {
				t.Errorf("got %+v, want %+v", g, given)
			}
		}
		if old, _ := w.Read(ctx()).Verifications("s", since.Add(time.Microsecond)); len(old) != 0 {
			t.Errorf("older ones count: %+v", old)
		}
		errs := storetest.Parallel(20, func(int) error {
			return write(w, func(tx *store.Tx) error { return tx.UseVerification("v", errFirst) })
		})
		if n := wins(t, errs, errFirst); n != 1 {
			t.Errorf("used %d times", n)
		}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.EndSession(i.ID, "s", errFirst) })
		if left, _ := w.Read(ctx()).Verifications("s", since); len(left) != 0 {
			t.Errorf("left behind: %+v", left)
		}
	})
}

func TestWhatIsOverIsRemoved(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		addSession(t, w, i, "s")
		c := newCeremony(w, 5)
		mustWrite(t, w, func(tx *store.Tx) error {
			_, _, err := tx.Count("x", 1, time.Minute)
			return errors.Join(err, tx.AddCeremony(c), tx.AddSentCode(ceremony.Code{ID: "c", Ceremony: c.ID, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(time.Minute)}, "123456"))
		})
		expire := func() (n int) {
			mustWrite(t, w, expired)
			if err := w.Raw(t).QueryRow("SELECT (SELECT count(*) FROM session) + (SELECT count(*) FROM ceremony) + (SELECT count(*) FROM sent_code) + (SELECT count(*) FROM throttle_window)").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := expire(); n != 4 {
			t.Errorf("%d of 4 rows left before their time", n)
		}
		w.Clock.Advance(time.Hour + time.Second)
		if n := expire(); n != 0 {
			t.Errorf("%d rows left after it", n)
		}
		if _, err := w.Read(ctx()).Identity(i.ID); err != nil {
			t.Errorf("the identity went with them: %v", err)
		}
	})
}

// expired removes all that is over.
func expired(tx *store.Tx) error { return errors.Join(tx.Expire(), tx.Sweep(time.Hour)) }

// What is removed every minute is not looked for in whole tables.
func TestWhatIsOverIsFoundByAnIndex(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		raw := w.Raw(t)
		raw.SetMaxOpenConns(1)
		explain, whole := "EXPLAIN QUERY PLAN ", "SCAN "
		if engine.IsPostgres(w.Config.URL) {
			explain, whole = "EXPLAIN ", "Seq Scan"
			if _, err := raw.Exec("SET enable_seqscan = off"); err != nil { // so few rows are read whole
				t.Fatal(err)
			}
		}
		for _, e := range expiry.Often {
			query := "DELETE FROM " + e.From + " WHERE " + e.Where
			rows, err := raw.Query(explain + strings.ReplaceAll(query, "$1", "1"))
			if err != nil {
				t.Fatal(err)
			}
			columns, _ := rows.Columns()
			into := make([]any, len(columns))
			for n := range into {
				into[n] = new(any)
			}
			for rows.Next() {
				if err := rows.Scan(into...); err != nil {
					t.Fatal(err)
				}
				if line := fmt.Sprint(*into[len(into)-1].(*any)); strings.Contains(line, whole) {
					t.Errorf("%s reads the whole table: %s", query, line)
				}
			}
			_ = rows.Close()
		}
	})
}
