package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func queue(t *testing.T, w *storetest.World, n int) {
	t.Helper()
	for k := range n {
		mustWrite(t, w, func(tx *store.Tx) error {
			return tx.AddMessage(message.Message{Account: "a", Channel: message.Email, Kind: "code", To: fmt.Sprintf("%d@example.com", k), Subject: "Subject", Text: "the code is 271828", Locale: "en", ExpiresAt: tx.Now.Add(time.Hour)})
		})
	}
}

func TestEveryMessageIsClaimedByOneWorker(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		const messages = 24
		queue(t, w, messages)
		other := storetest.Open(t, w.Config)
		var mu sync.Mutex
		claimed := map[string]int{}
		errs := storetest.Parallel(8, func(n int) error {
			db := []*store.DB{w.DB, other}[n%2]
			for {
				m, found, err := db.ClaimMessage(ctx(), time.Minute, message.Email)
				if err != nil || !found {
					return err
				}
				if m.Text != "the code is 271828" || m.Attempts != 1 {
					return fmt.Errorf("got %+v", m)
				}
				mu.Lock()
				claimed[m.To]++
				mu.Unlock()
			}
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for to, n := range claimed {
			if n != 1 {
				t.Errorf("%s claimed %d times", to, n)
			}
		}
		if len(claimed) != messages {
			t.Errorf("%d of %d claimed", len(claimed), messages)
		}
	})
}

func claim(t *testing.T, w *storetest.World) (message.Message, bool) {
	t.Helper()
	m, found, err := w.ClaimMessage(ctx(), time.Minute, message.Email)
	if err != nil {
		t.Fatal(err)
	}
	return m, found
}

func TestAMessageIsClaimedForItsChannel(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		queue(t, w, 1)
		for _, step := range []struct {
			channel message.Channel
			found   bool
		}{{message.SMS, false}, {message.Email, true}, {message.Email, false}} {
			m, found, err := w.ClaimMessage(ctx(), time.Minute, step.channel)
			if err != nil || found != step.found || found && m.Channel != step.channel {
				t.Errorf("%s: %v, %v, %v", step.channel, m.Channel, found, err)
			}
		}
	})
}

func TestAMessageIsTakenOverWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		queue(t, w, 1)
		if _, found := claim(t, w); !found {
			t.Fatal("not due at once")
		}
		w.Clock.Advance(time.Minute - time.Microsecond)
		if _, found := claim(t, w); found {
			t.Error("claimed within the lease")
		}
		w.Clock.Advance(time.Microsecond)
		m, found := claim(t, w)
		if !found || m.Attempts != 2 {
			t.Fatalf("after the lease: %v, attempt %d", found, m.Attempts)
		}
		if err := w.MessageFailed(ctx(), m.ID, "greylisted", w.Clock.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.Clock.Advance(time.Hour)
		if m, found = claim(t, w); !found || m.Attempts != 3 || m.LastError != "greylisted" {
			t.Fatalf("after its retry: %v, %+v", found, m)
		}
		if err := w.MessageSent(ctx(), m.ID); err != nil {
			t.Fatal(err)
		}
		if err := w.MessageFailed(ctx(), m.ID, "late word", w.Clock.Now()); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("a sent message fails: %v", err)
		}
		w.Clock.Advance(24 * time.Hour)
		if _, found := claim(t, w); found {
			t.Error("sent twice")
		}
	})
}

func TestADeadMessageStaysUntilItIsTriedAgain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		queue(t, w, 1)
		m, _ := claim(t, w)
		if err := w.MessageDead(ctx(), m.ID, "550 no such user"); err != nil {
			t.Fatal(err)
		}
		w.Clock.Advance(time.Hour)
		if _, found := claim(t, w); found {
			t.Error("a dead message is sent")
		}
		dead, err := w.Read(ctx()).Messages(message.Dead, 10)
		if err != nil || len(dead) != 1 || dead[0].LastError != "550 no such user" || dead[0].To != "0@example.com" {
			t.Errorf("listed: %+v, %v", dead, err)
		}
		if err := w.RetryMessage(ctx(), audit.OperatorActor("test"), m.ID); err != nil {
			t.Fatal(err)
		}
		if err := w.RetryMessage(ctx(), audit.OperatorActor("test"), m.ID); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("a queued one is put back: %v", err)
		}
		if again, found := claim(t, w); !found || again.Attempts != 1 {
			t.Errorf("put back: %v, %+v", found, again)
		}
	})
}

func TestAMessageThatCannotBeOpenedDoesNotBlockTheOthers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		queue(t, w, 2)
		raw := w.Raw(t)
		var sealed string
		if err := raw.QueryRow("SELECT CAST(sealed AS TEXT) FROM outbox ORDER BY id LIMIT 1").Scan(&sealed); err != nil || contains(sealed, "271828") || contains(sealed, "example") {
			t.Errorf("a message is readable in the database: %v", err)
		}
		if _, err := raw.Exec("UPDATE outbox SET sealed = (SELECT sealed FROM outbox ORDER BY id DESC LIMIT 1) WHERE id = (SELECT min(id) FROM outbox)"); err != nil {
			t.Fatal(err)
		}
		var got int
		for range 3 {
			if _, found := claim(t, w); found {
				got++
			}
		}
		dead, err := w.Read(ctx()).Messages(message.Dead, 10)
		if got != 1 || len(dead) != 1 || err != nil {
			t.Errorf("%d claimed, %d dead, %v", got, len(dead), err)
		}
	})
}

func TestAMessageWakesTheWorkerAfterTheCommit(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		err := write(w, func(tx *store.Tx) error {
			return errors.Join(tx.AddMessage(message.Message{Channel: message.Email, Kind: "code"}), errFirst)
		})
		if !errors.Is(err, errFirst) {
			t.Fatal(err)
		}
		select {
		case <-w.Woken():
			t.Error("woken by a write that was rolled back")
		default:
		}
		if _, found := claim(t, w); found {
			t.Error("a message was left by a write that was rolled back")
		}
		queue(t, w, 1)
		select {
		case <-w.Woken():
		default:
			t.Error("not woken")
		}
	})
}

// charged counts one under the scope and queues a message that was counted for.
func charged(t *testing.T, w *storetest.World, id string) {
	t.Helper()
	mustWrite(t, w, func(tx *store.Tx) error {
		if _, _, err := tx.Count("charged", 10, time.Hour); err != nil {
			return err
		}
		return tx.AddMessage(message.Message{ID: id, Channel: message.Email, Kind: "code", To: "a@example.com", Text: "the code is 271828", Params: map[string]string{"code": "271828"}, Charges: []string{"charged"}})
	})
}

func wantCharged(t *testing.T, w *storetest.World, when string, want int) {
	t.Helper()
	if n, _, err := w.Read(ctx()).Counted("charged", w.Clock.Now()); n != want || err != nil {
		t.Errorf("%s: %d counted, %v, want %d", when, n, err, want)
	}
}

func TestADeadMessageGivesBackNothingOfALaterWindow(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		charged(t, w, "first")
		w.Clock.Advance(time.Hour - time.Microsecond)
		charged(t, w, "second")
		w.Clock.Advance(time.Microsecond)
		charged(t, w, "third")
		wantCharged(t, w, "in the new window", 1)
		for _, id := range []string{"first", "second"} {
			if err := w.MessageDead(ctx(), id, "no route"); err != nil {
				t.Fatal(err)
			}
			wantCharged(t, w, "when one of the old window died", 1)
		}
		if err := w.MessageDead(ctx(), "third", "no route"); err != nil {
			t.Fatal(err)
		}
		wantCharged(t, w, "when one of the same instant died", 0)
	})
}

func TestAMessageSentAgainByHandGivesBackOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		charged(t, w, "dies")
		charged(t, w, "goes on")
		charged(t, w, "goes on too")
		for n, want := range []string{"[charged]", "[]", "[]"} {
			var m message.Message
			for {
				one, found := claim(t, w)
				if !found {
					break
				}
				if one.ID == "dies" {
					m = one
				}
			}
			if m.To != "a@example.com" || m.Text != "the code is 271828" || m.Params["code"] != "271828" || fmt.Sprint(m.Charges) != want {
				t.Errorf("time %d: %+v", n, m)
			}
			if err := w.MessageDead(ctx(), "dies", "no route"); err != nil {
				t.Fatal(err)
			}
			wantCharged(t, w, fmt.Sprintf("dead %d times", n+1), 2)
			if err := w.RetryMessage(ctx(), audit.OperatorActor("test"), "dies"); err != nil {
				t.Fatal(err)
			}
		}
	})
}
