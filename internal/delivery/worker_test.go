package delivery_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// A post is a store with a worker on it, inside a bubble of synctest: its time
// is the bubble's.
type post struct {
	*delivery.Worker
	t    *testing.T
	log  *lines
	stop func() // ends the worker and waits for it
}

// senderFunc is a channel's other side, as a test wants it.
type senderFunc func(context.Context, message.Message) error

func (f senderFunc) Send(ctx context.Context, m message.Message) error { return f(ctx, m) }

// inBubble runs f with a worker that is set up but not yet running.
func inBubble(t *testing.T, f func(t *testing.T, p *post)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		world := storetest.New(t, storetest.SQLite)
		_ = world.DB.Close()
		world.Config.Now = time.Now
		f(t, newPost(t, storetest.Open(t, world.Config), time.Now))
	})
}

func newPost(t *testing.T, db *store.DB, now func() time.Time) *post {
	log := &lines{logged: make(chan struct{}, 100)}
	return &post{t: t, log: log, Worker: &delivery.Worker{
		DB: db, Log: slog.New(slog.NewJSONHandler(log, nil)), Now: now, Wake: db.Woken(),
		Senders: map[message.Channel]delivery.Sender{}, Random: func() float64 { return 0.5 },
	}}
}

func (p *post) sendBy(f senderFunc) { p.Senders[message.Email] = f }

func (p *post) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	p.stop = func() {
		cancel()
		<-done
	}
	p.t.Cleanup(p.stop)
}

func (p *post) add(m message.Message) {
	p.t.Helper()
	err := p.DB.Write(p.t.Context(), audit.Housekeeping("test"), func(tx *store.Tx) error { return tx.AddMessage(m) })
	if err != nil {
		p.t.Fatal(err)
	}
}

// all returns the outbox, newest first.
func (p *post) all() []message.Message {
	p.t.Helper()
	list, err := p.DB.Messages("", 100)
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// want checks what has become of the one message.
func (p *post) want(state message.State, attempts int, lastError string) message.Message {
	p.t.Helper()
	list := p.all()
	if len(list) != 1 {
		p.t.Fatalf("%d messages", len(list))
	}
	m := list[0]
	if m.State != state || m.Attempts != attempts || !strings.Contains(m.LastError, lastError) || (lastError == "") != (m.LastError == "") {
		p.t.Errorf("message is %s after %d attempts (%q), want %s after %d (%q)", m.State, m.Attempts, m.LastError, state, attempts, lastError)
	}
	return m
}

// lines is the log. Whoever waits for an outcome takes it from logged.
type lines struct {
	mu     sync.Mutex
	text   strings.Builder
	logged chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.logged <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestQueuedMessageIsSentAtOnceAndOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		var sent []message.Message
		p.sendBy(func(_ context.Context, m message.Message) error { sent = append(sent, m); return nil })
		p.start()
		synctest.Wait()
		queued := time.Now()
		p.add(note())
		synctest.Wait()
		if len(sent) != 1 || !time.Now().Equal(queued) {
			t.Fatalf("sent %d times after %v", len(sent), time.Since(queued))
		}
		if sent[0].To != "alice@example.com" || sent[0].Text != note().Text {
			t.Errorf("sent %+v", sent[0])
		}
		p.want(message.Sent, 1, "")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if len(sent) != 1 {
			t.Errorf("sent %d times", len(sent))
		}
	})
}
