package store_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
)

func ctx() context.Context { return context.Background() }

func record(t *testing.T, w *storetest.World, a account.ID, names ...audit.Name) {
	t.Helper()
	for _, name := range names {
		err := w.Write(ctx(), audit.OperatorActor("test"), func(tx *store.Tx) error {
			return tx.Record(audit.Event{Account: a, Name: name, Identity: "i", Details: map[string]string{"b": "2", "a": "1"}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// verify returns the number of the first bad event of every chain that is broken.
func verify(t *testing.T, w *storetest.World) map[account.ID]int64 {
	t.Helper()
	broken := map[account.ID]int64{}
	err := w.Read(ctx()).VerifyChains(func(h store.Head, err error) error {
		var b *audit.ErrBroken
		if errors.As(err, &b) {
			if b.Account != h.Account {
				t.Errorf("chain %s is blamed on %s", h.Account, b.Account)
			}
			broken[h.Account] = b.Seq
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return broken
}

func TestWhatIsChangedInTheDatabaseBreaksTheChain(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		at   int64 // the first bad event
		do   []string
	}{{"edit an event", 3, []string{"UPDATE audit_event SET content = $bytes WHERE account_id = '$a' AND seq = 3"}},
		{"edit a hash", 2, []string{"UPDATE audit_event SET hash = $bytes WHERE account_id = '$a' AND seq = 2"}},
		{"delete the first", 1, []string{"DELETE FROM audit_event WHERE account_id = '$a' AND seq = 1"}},
		{"delete one", 4, []string{"DELETE FROM audit_event WHERE account_id = '$a' AND seq = 4"}},
		{"delete one and close the gap", 3, []string{"DELETE FROM audit_event WHERE account_id = '$a' AND seq = 3",
			"UPDATE audit_event SET seq = 3 WHERE account_id = '$a' AND seq = 4", "UPDATE audit_event SET seq = 4 WHERE account_id = '$a' AND seq = 5", "UPDATE audit_head SET seq = 4 WHERE account_id = '$a'"}},
		{"reorder", 2, []string{"UPDATE audit_event SET seq = 99 WHERE account_id = '$a' AND seq = 2", "UPDATE audit_event SET seq = 2 WHERE account_id = '$a' AND seq = 3",
			"UPDATE audit_event SET seq = 3 WHERE account_id = '$a' AND seq = 99"}},
		{"cut off the end", 5, []string{"DELETE FROM audit_event WHERE account_id = '$a' AND seq = 5"}},
		{"delete all events", 1, []string{"DELETE FROM audit_event WHERE account_id = '$a'"}},
		{"delete the head", 6, []string{"DELETE FROM audit_head WHERE account_id = '$a'"}},
		{"delete the head and the first", 1, []string{"DELETE FROM audit_head WHERE account_id = '$a'", "DELETE FROM audit_event WHERE account_id = '$a' AND seq = 1"}},
		{"move the head back", 5, []string{"DELETE FROM audit_event WHERE account_id = '$a' AND seq = 5", "UPDATE audit_head SET seq = 4 WHERE account_id = '$a'"}},
		{"hide an event from its owner", 2, []string{"UPDATE audit_event SET identity_id = 'nobody' WHERE account_id = '$a' AND seq = 2"}},
		{"call an event something else", 3, []string{"UPDATE audit_event SET name = 'AccountReg' WHERE account_id = '$a' AND seq = 3"}},
		{"date an event back", 4, []string{"UPDATE audit_event SET at = at - 1 WHERE account_id = '$a' AND seq = 4"}},
		{"lay an event at another's door", 2, []string{"UPDATE audit_event SET actor = 'somebody' WHERE account_id = '$a' AND seq = 2"}},
		{"rename who did it", 3, []string{"UPDATE audit_event SET actor_name = 'somebody' WHERE account_id = '$a' AND seq = 3"}},
		{"have it come from elsewhere", 4, []string{"UPDATE audit_event SET address = '192.0.2.1' WHERE account_id = '$a' AND seq = 4"}},
		{"make it part of another request", 5, []string{"UPDATE audit_event SET request = 'r' WHERE account_id = '$a' AND seq = 5"}},
		{"call it refused", 1, []string{"UPDATE audit_event SET refused = 'no' WHERE account_id = '$a' AND seq = 1"}},
		{"say that a key did it", 2, []string{"UPDATE audit_event SET method = 'passkey' WHERE account_id = '$a' AND seq = 2"}},
		{"put one in at the end", 6, []string{"INSERT INTO audit_event SELECT account_id, 6, identity_id, name, at, content, hash, actor, actor_name, address, request, refused, method FROM audit_event WHERE account_id = '$a' AND seq = 5"}},
		{"put one in between", 3, []string{"UPDATE audit_event SET seq = 6 WHERE account_id = '$a' AND seq = 5", "UPDATE audit_event SET seq = 5 WHERE account_id = '$a' AND seq = 4", "UPDATE audit_event SET seq = 4 WHERE account_id = '$a' AND seq = 3",
			"INSERT INTO audit_event SELECT account_id, 3, identity_id, name, at, content, hash, actor, actor_name, address, request, refused, method FROM audit_event WHERE account_id = '$a' AND seq = 2"}},
		{"cut off the end and mend the head", 5, []string{"DELETE FROM audit_event WHERE account_id = '$a' AND seq = 5",
			"UPDATE audit_head SET seq = 4, hash = (SELECT hash FROM audit_event WHERE account_id = '$a' AND seq = 4) WHERE account_id = '$a'"}},
		{"take another chain's event", 2, []string{"UPDATE audit_event SET content = (SELECT content FROM audit_event WHERE account_id = '2' AND seq = 2), hash = (SELECT hash FROM audit_event WHERE account_id = '2' AND seq = 2) WHERE account_id = '$a' AND seq = 2"}},
	}
	five := []audit.Name{audit.AccountReg, audit.ConsoleSignin, audit.MFABind, audit.PasswordModify, audit.ConsoleSignout}
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		of := func(n int) account.ID { return account.ID(fmt.Sprintf("account %d", n)) }
		for n := range cases {
			record(t, w, of(n), five...)
		}
		record(t, w, "2", five...)
		if b := verify(t, w); len(b) != 0 {
			t.Fatalf("untouched: %v", b)
		}
		raw, other := w.Raw(t), "x'7b7d'"
		if engine.IsPostgres(w.Config.URL) {
			other = "'\\x7b7d'"
		}
		for n, c := range cases {
			for _, q := range c.do {
				if r, err := raw.Exec(strings.NewReplacer("$bytes", other, "$a", string(of(n))).Replace(q)); err != nil || rows(r) == 0 {
					t.Fatalf("%s: %v", q, err)
				}
			}
		}
		broken := verify(t, w)
		for n, c := range cases {
			if got := broken[of(n)]; got != c.at {
				t.Errorf("%s: broken at event %d, want %d", c.name, got, c.at)
			}
		}
		if len(broken) != len(cases) {
			t.Errorf("%d chains are broken, want %d", len(broken), len(cases))
		}
	})
}

func rows(r sql.Result) int64 {
	n, _ := r.RowsAffected()
	return n
}

func TestAHeadKeptElsewhereShowsWhatWasCutOff(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		record(t, w, "1", audit.AccountReg, audit.ConsoleSignin, audit.MFABind)
		var head string
		err := w.Read(ctx()).VerifyChains(func(h store.Head, err error) error {
			head = fmt.Sprintf("%s:%d:%s", h.Account, h.Seq, hex.EncodeToString(h.Hash))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		record(t, w, "1", audit.ConsoleSignout)
		if err := w.Read(ctx()).Contains(head); err != nil {
			t.Errorf("a chain that has grown: %v", err)
		}
		raw := w.Raw(t)
		for _, q := range []string{ // a forger who knows the schema cuts the chain and mends the head
			"UPDATE audit_head SET seq = 2, hash = (SELECT hash FROM audit_event WHERE account_id = '1' AND seq = 2)",
			"DELETE FROM audit_event WHERE account_id = '1' AND seq > 2",
		} {
			if _, err := raw.Exec(q); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Read(ctx()).Contains(head); !audit.IsBroken(err) {
			t.Errorf("cut off: %v", err)
		}
		for _, bad := range []string{"", "1", "1:2", "1:x:00", "1:0:00", "1:1:zz", "a:b:c:d"} {
			if err := w.Read(ctx()).Contains(bad); err == nil || audit.IsBroken(err) {
				t.Errorf("%q is taken for a head: %v", bad, err)
			}
		}
	})
}

func TestAWriteWithoutAnEventIsRefused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := identity(w, "a@example.com")
		err := w.Write(ctx(), audit.OperatorActor("test"), func(tx *store.Tx) error { return add(tx, i) })
		if err == nil {
			t.Error("it went through")
		}
		if _, err := w.Read(ctx()).Identity(i.ID); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("and left something: %v", err)
		}
		if err := w.Write(ctx(), audit.OperatorActor("test").Quietly(), func(tx *store.Tx) error { return add(tx, i) }); err != nil {
			t.Errorf("housekeeping: %v", err)
		}
	})
}

func TestParallelEventsMakeOneChain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		errs := storetest.Parallel(50, func(n int) error {
			return w.Write(ctx(), audit.OperatorActor("test"), func(tx *store.Tx) error {
				if n%2 == 0 { // of two accounts at once
					if err := tx.Record(audit.Event{Account: "2", Name: audit.ConsoleSignin, Target: fmt.Sprint(n)}); err != nil {
						return err
					}
				}
				return tx.Record(audit.Event{Account: "1", Name: audit.ConsoleSignin, Identity: "i", Target: fmt.Sprint(n)})
			})
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if b := verify(t, w); len(b) != 0 {
			t.Errorf("broken: %v", b)
		}
		list, err := w.Read(ctx()).History("1", "i", 0, 100)
		if err != nil || len(list) != 50 {
			t.Fatalf("%d events, %v", len(list), err)
		}
		seen := map[string]bool{}
		for n, e := range list {
			seen[e.Target] = true
			if e.Seq != int64(50-n) {
				t.Errorf("event %d is numbered %d", n, e.Seq)
			}
		}
		if len(seen) != 50 {
			t.Errorf("%d different events", len(seen))
		}
	})
}

func TestHistoryIsTheIdentitysOwn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		record(t, w, "1", audit.AccountReg, audit.ConsoleSignin, audit.MFABind, audit.ConsoleSignin)
		record(t, w, "2", audit.ConsoleSignin)
		all, err := w.Read(ctx()).History("1", "i", 0, 10, audit.ConsoleSignin)
		if err != nil || len(all) != 2 || all[0].Seq != 4 || all[1].Seq != 2 {
			t.Errorf("got %+v, %v", all, err)
		}
		if older, err := w.Read(ctx()).History("1", "i", 4, 10, audit.ConsoleSignin); err != nil || len(older) != 1 || older[0].Seq != 2 {
			t.Errorf("older: %+v, %v", older, err)
		}
		if none, err := w.Read(ctx()).History("1", "someone else", 0, 10); err != nil || len(none) != 0 {
			t.Errorf("another's: %+v, %v", none, err)
		}
	})
}
