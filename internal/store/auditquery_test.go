package store_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// recordBy writes one event by an actor.
func recordBy(t *testing.T, w *storetest.World, a audit.Actor, e audit.Event) {
	t.Helper()
	if err := w.Write(ctx(), a, func(tx *store.Tx) error { return tx.Record(e) }); err != nil {
		t.Fatal(err)
	}
}

func numbers(list []audit.Entry) string {
	var all []string
	for _, e := range list {
		all = append(all, fmt.Sprint(e.Seq))
	}
	return strings.Join(all, " ")
}

func TestEventsAreFoundByWhatIsAsked(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		ada := audit.Actor{Kind: "administrator", ID: "ada", Name: "ada@acme", Address: "203.0.113.7", Request: "r1"}
		bob := audit.Actor{Kind: "user", ID: "bob", Name: "bob@acme", Address: "2001:db8::7", Request: "r2"}
		visitor := audit.Actor{Kind: "visitor", Address: "198.51.100.9", Request: "r3"}
		begun := w.Clock.Now()
		for _, e := range []struct {
			by audit.Actor
			audit.Event
		}{
			{ada, audit.Event{Account: "1", Name: audit.UserCreate, Identity: "bob"}},
			{visitor, audit.Event{Account: "1", Name: audit.ConsoleSignin, Identity: "bob", Refused: "signin.wrong"}},
			{bob, audit.Event{Account: "1", Name: audit.IdentityVerify, Identity: "bob", Details: map[string]string{"method": "passkey"}}},
			{bob, audit.Event{Account: "1", Name: audit.ConsoleSignin, Identity: "bob"}},
			{audit.OperatorActor("account recover"), audit.Event{Account: "1", Name: audit.RecoveryStart, Identity: "ada"}},
			{bob, audit.Event{Account: "1", Name: audit.MFABind, Identity: "bob", Refused: "code.wrong", Details: map[string]string{"method": "virtual_mfa"}}},
			{ada, audit.Event{Account: "2", Name: audit.ConsoleSignin, Identity: "bob"}},
		} {
			recordBy(t, w, e.by, e.Event)
			w.Clock.Advance(time.Hour)
		}
		prefix := netip.MustParsePrefix
		for _, c := range []struct {
			q    store.AuditQuery
			want string
		}{
			{store.AuditQuery{}, "6 5 4 3 2 1"},
			{store.AuditQuery{From: begun.Add(2 * time.Hour)}, "6 5 4 3"},
			{store.AuditQuery{Until: begun.Add(2 * time.Hour)}, "2 1"},
			{store.AuditQuery{From: begun.Add(time.Hour), Until: begun.Add(3 * time.Hour)}, "3 2"},
			{store.AuditQuery{Actor: "bob"}, "6 4 3"},
			{store.AuditQuery{Actor: "visitor"}, "2"},
			{store.AuditQuery{Actor: "operator"}, "5"},
			{store.AuditQuery{Identity: "ada"}, "5"},
			{store.AuditQuery{Names: []audit.Name{audit.ConsoleSignin, audit.MFABind}}, "6 4 2"},
			{store.AuditQuery{Result: "done"}, "5 4 3 1"},
			{store.AuditQuery{Result: "refused"}, "6 2"},
			{store.AuditQuery{Method: "passkey"}, "3"},
			{store.AuditQuery{Networks: prefix("203.0.113.7/32")}, "1"},
			{store.AuditQuery{Networks: prefix("203.0.113.0/24")}, "1"},
			{store.AuditQuery{Networks: prefix("2001:db8::/64")}, "6 4 3"},
			{store.AuditQuery{Networks: prefix("0.0.0.0/0")}, "2 1"},
			{store.AuditQuery{Request: "r2"}, "6 4 3"},
			{store.AuditQuery{Request: "' OR 1=1 --"}, ""},
			{store.AuditQuery{Before: 4}, "3 2 1"},
			{store.AuditQuery{Actor: "bob", Result: "refused", Names: []audit.Name{audit.MFABind}, Method: "virtual_mfa", Identity: "bob", From: begun, Until: begun.Add(24 * time.Hour), Networks: prefix("2001:db8::/32"), Request: "r2", Before: 7}, "6"},
		} {
			c.q.Limit = 10
			list, older, err := w.Read(ctx()).Events("1", c.q)
			if got := numbers(list); got != c.want || older != 0 || err != nil {
				t.Errorf("%+v: %q, older %d, %v; want %q", c.q, got, older, err, c.want)
			}
			var all []audit.Entry
			q := c.q
			q.Before = 0
			if err := w.Read(ctx()).EachEvent("1", q, 6, func(e audit.Entry) error { all = append(all, e); return nil }); err != nil {
				t.Errorf("%+v: %v", c.q, err)
			}
			slices.Reverse(all)
			if got := numbers(all); got != c.want && c.q.Before == 0 {
				t.Errorf("%+v, each: %q, want %q", c.q, got, c.want)
			}
			for _, e := range all {
				if e.Changed || e.Account != "1" || len(e.Hash) != 32 {
					t.Errorf("%+v", e)
				}
			}
		}
		if who, err := w.Read(ctx()).ActorCalled("1", "ADA@acme"); who != "ada" || err != nil {
			t.Errorf("ada is %q, %v", who, err)
		}
		if who, err := w.Read(ctx()).ActorCalled("3", "ada@acme"); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("in another account ada is %q, %v", who, err)
		}
	})
}

func TestPagesOfEventsMeet(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		for n := range 7 {
			recordBy(t, w, audit.Actor{Kind: "visitor", Address: fmt.Sprintf("203.0.113.%d", n%2)}, audit.Event{Account: "1", Name: audit.ConsoleSignin})
		}
		for _, c := range []struct {
			networks string
			want     []string
		}{{"", []string{"7 6 5", "4 3 2", "1"}}, {"203.0.113.0/24", []string{"7 6 5", "4 3 2", "1"}}, {"203.0.113.0/32", []string{"7 5 3", "1"}}, {"203.0.113.0/31", []string{"7 6 5", "4 3 2", "1"}}} {
			q := store.AuditQuery{Limit: 3}
			if c.networks != "" {
				q.Networks = netip.MustParsePrefix(c.networks)
			}
			var got []string
			for range 5 {
				list, older, err := w.Read(ctx()).Events("1", q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, numbers(list))
				if q.Before = older; older == 0 {
					break
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q: %q, want %q", c.networks, got, c.want)
			}
		}
	})
}

// Of a network little is found among much: the page says from where on to look
// further.
func TestLookingForANetworkEnds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		if _, err := w.Raw(t).Exec(`INSERT INTO audit_event (account_id, seq, identity_id, name, at, content, hash, address)
			WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20010) SELECT '1', n, '', 'ConsoleSignin', 1, $1, $1, CASE n WHEN 5 THEN '203.0.113.5' ELSE '192.0.2.1' END FROM n`, []byte("x")); err != nil {
			t.Fatal(err)
		}
		q := store.AuditQuery{Limit: 3, Networks: netip.MustParsePrefix("203.0.113.0/24")}
		list, older, err := w.Read(ctx()).Events("1", q)
		if len(list) != 0 || older != 11 || err != nil {
			t.Errorf("%q, older %d, %v", numbers(list), older, err)
		}
		q.Before = older
		if list, older, err := w.Read(ctx()).Events("1", q); numbers(list) != "5" || older != 0 || err != nil {
			t.Errorf("and then %q, older %d, %v", numbers(list), older, err)
		}
	})
}

func TestAChainIsCheckedOnItsOwn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		record(t, w, "1", audit.AccountReg, audit.ConsoleSignin, audit.MFABind)
		record(t, w, "2", audit.AccountReg)
		r := w.Read(ctx())
		if h, err := r.VerifyChain("1"); err != nil || h.Seq != 3 {
			t.Errorf("%+v, %v", h, err)
		}
		if h, err := r.HeadOf("1"); err != nil || h.Seq != 3 || r.Contains(audit.HeadLine(h.Account, h.Seq, h.Hash)) != nil {
			t.Errorf("the head: %+v, %v", h, err)
		}
		if _, err := r.HeadOf("3"); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("of an account without events: %v", err)
		}
		if _, err := r.AuditCheck("1"); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("nobody has looked: %v", err)
		}
		want := store.AuditCheck{Seq: 3, Broken: "it cannot be read", At: w.Clock.Now()}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetAuditCheck("1", store.AuditCheck{Seq: 2, At: tx.Now}) })
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetAuditCheck("1", want) })
		if got, err := r.AuditCheck("1"); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		if chains, err := r.Chains(); err != nil || !slices.Equal(chains, []account.ID{"1", "2"}) {
			t.Errorf("chains: %v, %v", chains, err)
		}
		if _, err := w.Raw(t).Exec("UPDATE audit_event SET refused = 'x' WHERE account_id = '1' AND seq = 2"); err != nil {
			t.Fatal(err)
		}
		var broken *audit.ErrBroken
		if _, err := r.VerifyChain("1"); !errors.As(err, &broken) || broken.Seq != 2 {
			t.Errorf("changed: %v", err)
		}
		if _, err := r.VerifyChain("2"); err != nil {
			t.Errorf("the other: %v", err)
		}
		list, _, err := r.Events("1", store.AuditQuery{Limit: 9})
		if err != nil || len(list) != 3 || list[0].Changed || !list[1].Changed || list[1].Name != audit.ConsoleSignin {
			t.Errorf("as it is shown: %+v, %v", list, err)
		}
		if _, err := w.Raw(t).Exec("UPDATE audit_head SET seq = 2 WHERE account_id = '1'"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.HeadOf("1"); !audit.IsBroken(err) {
			t.Errorf("a head that was moved: %v", err)
		}
	})
}

// What was recorded before events were looked up by more is found by it, and
// the chain holds; what cannot be read keeps nobody from starting.
func TestOlderEventsAreFoundToo(t *testing.T) {
	t.Parallel()
	for _, e := range storetest.Engines {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := storetest.New(t, e).Config // for its keys and clock
			c.URL = t.TempDir() + "/old.db"
			if e != storetest.SQLite {
				c.URL = storetest.PostgresURL(t)
			}
			if err := store.MigrateTo(ctx(), c, 7); err != nil {
				t.Fatal(err)
			}
			raw := storetest.Raw(t, c.URL)
			mac := func(id uint32, message []byte) ([]byte, error) { return c.Keys.MAC(id, "audit chain", message) }
			put := func(a account.ID, actors ...audit.Actor) {
				t.Helper()
				previous := []byte{}
				for n, actor := range actors {
					event := audit.Event{Account: a, Seq: int64(n + 1), At: c.Now().UTC().Truncate(time.Microsecond), Name: audit.MFABind, Identity: "i", Actor: actor, KeyID: c.Keys.Newest()}
					if n%2 == 1 {
						event.Refused, event.Details = "code.wrong", map[string]string{"method": "virtual\x00_mfa", "name": "<“\u2028\x00”>", "path": `c:\\u0000\u005c`}
					}
					content, err := event.Content()
					if err != nil {
						t.Fatal(err)
					}
					if previous, err = audit.Link(mac, previous, event.KeyID, content); err != nil {
						t.Fatal(err)
					}
					if _, err := raw.Exec("INSERT INTO audit_event (account_id, seq, identity_id, name, at, content, hash) VALUES ($1, $2, 'i', 'MFABind', $3, $4, $5)", string(a), n+1, event.At.UnixMicro(), content, previous); err != nil {
						t.Fatal(err)
					}
				}
				head, err := mac(c.Keys.Newest(), audit.HeadMessage(a, int64(len(actors)), previous))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := raw.Exec("INSERT INTO audit_head (account_id, seq, hash, key_id, mac) VALUES ($1, $2, $3, $4, $5)", string(a), len(actors), previous, c.Keys.Newest(), head); err != nil {
					t.Fatal(err)
				}
			}
			put("1", audit.OperatorActor("account create"), audit.Actor{Kind: "user", ID: "i", Name: "<ä\u202e\\&@\\\x00acme>", Address: "203.0.113.7", UserAgent: `"`, Request: "r"}, audit.Actor{Kind: "visitor"})
			put("2", audit.Actor{Kind: "visitor"}, audit.Actor{Kind: "visitor"})
			for _, content := range [][]byte{[]byte("nonsense"), {0xff, 0}} {
				if _, err := raw.Exec("UPDATE audit_event SET content = $1 WHERE account_id = '2' AND seq = $2", content, 1+len(content)%2); err != nil {
					t.Fatal(err)
				}
			}
			w := &storetest.World{DB: storetest.Open(t, c), Config: c}
			if b := verify(t, w); len(b) != 1 || b["2"] != 1 {
				t.Errorf("broken: %v", b)
			}
			for want, q := range map[string]store.AuditQuery{"1": {Actor: "operator"}, "2": {Actor: "i", Method: "virtual_mfa", Result: "refused", Request: "r", Networks: netip.MustParsePrefix("203.0.113.7/32")}, "3": {Actor: "visitor"}} {
				q.Limit = 9
				if list, _, err := w.Read(ctx()).Events("1", q); err != nil || numbers(list) != want || list[0].Changed {
					t.Errorf("%+v: %+v, %v", q, list, err)
				}
			}
			record(t, w, "1", audit.ConsoleSignout)
			if b := verify(t, w); b["1"] != 0 {
				t.Errorf("after one more: %v", b)
			}
		})
	}
}

// BenchmarkRecord prints how many events fifty writers record, of one account
// and each of its own.
func BenchmarkRecord(b *testing.B) {
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		for _, accounts := range []int64{1, 50} {
			b.Run(fmt.Sprintf("%s/%d accounts", e, accounts), func(b *testing.B) {
				w := storetest.New(b, e)
				actor := audit.Actor{Kind: "user", ID: "i", Name: "bob@acme", Address: "203.0.113.7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64)", Request: "0123456789abcdef"}
				var n atomic.Int64
				b.SetParallelism(25) // of two processors
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						a := account.ID(fmt.Sprint(n.Add(1) % accounts))
						err := w.Write(ctx(), actor, func(tx *store.Tx) error {
							return tx.Record(audit.Event{Account: a, Name: audit.ConsoleSignin, Identity: "i", Details: map[string]string{"method": "passkey"}})
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// The documented system has two names for some events.
func TestAnEventOfAUserIsCalledSo(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := identity(w, "owner@example.com")
		mustWrite(t, w, func(tx *store.Tx) error { return add(tx, owner) })
		mustWrite(t, w, func(tx *store.Tx) error {
			return tx.AddUser(account.Identity{ID: "user", Account: owner.Account, Role: account.User, UserName: "ada", Epoch: 1, CreatedAt: tx.Now})
		})
		for _, id := range []account.IdentityID{owner.ID, "user", "gone", ""} {
			for _, name := range []audit.Name{audit.MFABind, audit.MFAUnbind, audit.PasswordModify, audit.ConsoleSignin} {
				recordBy(t, w, audit.Actor{Kind: "visitor"}, audit.Event{Account: owner.Account, Name: name, Identity: id})
			}
		}
		for id, want := range map[account.IdentityID]string{owner.ID: "ConsoleSignin PasswordModify MFAUnbind MFABind", "user": "ConsoleSignin ChangePassword UnbindMFADevice BindMFADevice", "gone": "ConsoleSignin PasswordModify MFAUnbind MFABind"} {
			list, err := w.Read(ctx()).History(owner.Account, id, 0, 4)
			var names []string
			for _, e := range list {
				names = append(names, string(e.Name))
			}
			if got := strings.Join(names, " "); got != want || err != nil {
				t.Errorf("%s: %q, %v; want %q", id, got, err, want)
			}
		}
	})
}
