package rewind_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/store"
	"countersign/internal/store/rewind"
	"countersign/internal/store/storetest"
)

const (
	step = 5 * time.Hour
	idle = time.Hour
)

func do(t *testing.T, w *storetest.World, f func(tx *store.Tx) error) {
	t.Helper()
	if err := w.Write(t.Context(), audit.Housekeeping("test"), f); err != nil {
		t.Fatal(err)
	}
}

// signed adds a session that was made, and proved, when the clock says now.
func signed(t *testing.T, w *storetest.World, i account.Identity, id string) {
	t.Helper()
	do(t, w, func(tx *store.Tx) error {
		return tx.AddSession(session.Session{ID: id, Account: i.Account, Identity: i.ID, Epoch: 1, CreatedAt: tx.Now, LastSeenAt: tx.Now, ExpiresAt: tx.Now.Add(12 * time.Hour),
			Proofs: []factor.Proof{{Method: factor.Password, At: tx.Now}}}, []byte(id))
	})
}

func counts(t *testing.T, w *storetest.World, scope string, limit int, window time.Duration) (ok bool, wait time.Duration) {
	t.Helper()
	do(t, w, func(tx *store.Tx) (err error) {
		ok, wait, err = tx.Count(scope, limit, window)
		return err
	})
	return ok, wait
}

func TestAClockThatIsSetBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := account.Identity{ID: "i", Account: "1", Role: account.Owner, Email: "ada@example.com", Epoch: 1, CreatedAt: w.Clock.Now()}
		do(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.AddAccount(account.Account{ID: "1", Alias: "1", CreatedAt: tx.Now}), tx.AddIdentity(i))
		})
		link, budget := []byte("link"), throttle.NewBudget(w.Clock.Now())
		w.Clock.Advance(-3 * time.Hour)
		signed(t, w, i, "old")
		w.Clock.Advance(3 * time.Hour)
		signed(t, w, i, "idle")
		counts(t, w, "long", 1, 24*time.Hour)
		do(t, w, func(tx *store.Tx) error {
			if _, err := tx.Facts(i, nil); err != nil {
				return err
			}
			short := ceremony.Ceremony{ID: "over", Kind: ceremony.SignIn, TokenHash: []byte("over"), Account: i.Account, Identity: i.ID, TriesLeft: 5, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.Lifetime)}
			long := ceremony.Ceremony{ID: "long", Kind: ceremony.SignIn, TokenHash: []byte("long"), Account: i.Account, Identity: i.ID, TriesLeft: 5, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(2 * step)}
			return errors.Join(tx.AddSetupLink(link, tx.Now.Add(time.Hour)), tx.AddCeremony(short), tx.AddCeremony(long),
				tx.AddSentCode(ceremony.Code{ID: "code", Ceremony: "long", Method: factor.Email, Digits: 6, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.CodeLifetime)}, "123456"),
				tx.RememberDevice(session.RememberedDevice{ID: "device", Account: i.Account, Identity: i.ID, Epoch: 1, ExpiresAt: tx.Now.Add(time.Hour)}, []byte("series"), []byte("secret")))
		})
		live := func(id string) bool {
			t.Helper()
			s, err := w.Read(t.Context()).Session([]byte(id))
			if err != nil && !errors.Is(err, store.ErrNoRow) {
				t.Fatal(err)
			}
			return err == nil && s.Live(w.Clock.Now(), session.Lifetimes{Idle: idle, Overall: 12 * time.Hour})
		}

		w.Clock.Advance(step)
		do(t, w, func(tx *store.Tx) error { return tx.SeeSessions([]string{"old"}) })
		signed(t, w, i, "new")
		for range 3 {
			counts(t, w, "passwords:x", 3, throttle.PasswordWindow)
		}
		counts(t, w, "job:x", 1, 24*time.Hour)
		do(t, w, func(tx *store.Tx) error {
			g := policy.Given{ID: "g", Scenario: "x", Action: "x", Method: factor.Email, At: tx.Now}
			queued := message.Message{Account: string(i.Account), Channel: message.Email, Kind: "code", To: i.Email}
			first, second := queued, queued
			first.ID, second.ID = "m1", "m2"
			b, _ := budget.Charge(tx.Now)
			return errors.Join(tx.AddVerification("old", g), tx.AddMessage(first), tx.AddMessage(second), tx.SaveBudget(i.Account, i.ID, b, 0))
		})
		claimed := func() (ids []string) {
			t.Helper()
			for {
				m, found, err := w.ClaimMessage(t.Context(), time.Minute, message.Email)
				if err != nil {
					t.Fatal(err)
				}
				if !found {
					return ids
				}
				ids = append(ids, m.ID)
			}
		}
		if ids := claimed(); len(ids) != 2 { // and the node dies with one of them
			t.Fatalf("claimed %v", ids)
		}
		if err := w.MessageFailed(context.Background(), "m2", "later", w.Clock.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		do(t, w, func(tx *store.Tx) error {
			return tx.AddMessage(message.Message{ID: "m3", Account: string(i.Account), Channel: message.Email, Kind: "code", To: i.Email})
		})
		was := w.Clock.Now()

		w.Clock.Advance(-step)
		if open, _ := w.Read(t.Context()).SetupLinkOpen(link, w.Clock.Now()); !open || !live("idle") || len(claimed()) != 0 {
			t.Error("the clock that went back is not felt: this test shows nothing")
		}
		ended := 0
		do(t, w, func(tx *store.Tx) (err error) {
			ended, err = tx.SetBack(was, idle)
			return err
		})
		if live("idle") || live("new") || !live("old") || ended != 1 {
			t.Errorf("sessions: idle %v, new %v, old %v; %d ended", live("idle"), live("new"), live("old"), ended)
		}
		r := w.Read(t.Context())
		if open, err := r.SetupLinkOpen(link, w.Clock.Now()); open || err != nil {
			t.Errorf("the link is open: %v, %v", open, err)
		}
		if codes, err := r.SentCodes("long", factor.Email); len(codes) != 0 || err != nil {
			t.Errorf("codes: %v, %v", codes, err)
		}
		if given, err := r.Verifications("old", time.Time{}); len(given) != 0 || err != nil {
			t.Errorf("verifications: %v, %v", given, err)
		}
		if b, _, err := r.Budget(i.Account, i.ID, w.Clock.Now()); b.At(w.Clock.Now()).Left != throttle.BudgetSize-1 || err != nil {
			t.Errorf("the budget is %+v, %v", b, err)
		}
		for id, want := range map[string]bool{"over": false, "long": true} {
			var has bool
			do(t, w, func(tx *store.Tx) (err error) { has, err = tx.HasCeremony(id); return err })
			if has != want {
				t.Errorf("ceremony %s: %v", id, has)
			}
		}
		if ids := claimed(); !slices.Equal(ids, []string{"m3"}) {
			t.Errorf("%v can be sent at once: of two an attempt may be under way", ids)
		}
		w.Clock.Advance(3 * time.Minute)
		if ids := claimed(); !slices.Contains(ids, "m1") || !slices.Contains(ids, "m2") {
			t.Errorf("after what an attempt takes, %v can be sent", ids)
		}
		if ok, _ := counts(t, w, "job:x", 1, 24*time.Hour); !ok {
			t.Error("the job does not run")
		}
		if ok, wait := counts(t, w, "passwords:x", 3, throttle.PasswordWindow); ok || wait > throttle.PasswordWindow {
			t.Errorf("a full window: %v, %s", ok, wait)
		}
		if ok, wait := counts(t, w, "long", 1, 24*time.Hour); ok || wait > 24*time.Hour {
			t.Errorf("a full window of before: %v, %s", ok, wait)
		}
		w.Clock.Advance(throttle.PasswordWindow)
		if ok, _ := counts(t, w, "passwords:x", 3, throttle.PasswordWindow); !ok {
			t.Error("a window from the future does not end")
		}
	})
}

// A new table with rows that expire has to be thought of.
func TestEverythingThatExpiresIsThoughtOf(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.Postgres)
	rows, err := storetest.Raw(t, w.Config.URL).Query("SELECT table_name FROM information_schema.columns WHERE column_name = 'expires_at' AND table_schema = current_schema()")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	thought := append(append([]string{"outbox"}, rewind.Gone...), rewind.Expired...) // a message that is over is looked at when it is sent
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		at := slices.Index(thought, table)
		if at < 0 {
			t.Errorf("%s has rows that expire: what becomes of them when the clock is set back?", table)
			continue
		}
		thought = slices.Delete(thought, at, at+1)
	}
	if err := rows.Err(); err != nil || len(thought) != 0 {
		t.Errorf("these do not expire: %q, %v", thought, err)
	}
}
