package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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
		_ = world.Close()
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
	m.ID = "" // the store's to give
	err := p.DB.Write(p.t.Context(), audit.Housekeeping("test"), func(tx *store.Tx) error { return tx.AddMessage(m) })
	if err != nil {
		p.t.Fatal(err)
	}
}

// attempts has n attempts at the message end without a word.
func (p *post) attempts(n int) {
	p.t.Helper()
	for range n {
		if _, found, err := p.DB.ClaimMessage(p.t.Context(), time.Minute, message.Email); err != nil || !found {
			p.t.Fatalf("claim: %v, %v", found, err)
		}
		time.Sleep(time.Minute)
	}
}

// all returns the outbox, newest first.
func (p *post) all() []message.Message {
	p.t.Helper()
	list, err := p.DB.Read(p.t.Context()).Messages("", 100)
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

var errBusy = errors.New("busy")

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
		time.Sleep(5 * time.Minute) // longer than the lease
		synctest.Wait()
		if len(sent) != 1 {
			t.Errorf("sent %d times", len(sent))
		}
	})
}

func TestMessageIsFoundWithoutBeingWoken(t *testing.T) {
	for name, wake := range map[string]chan struct{}{"no wake": nil, "closed wake": make(chan struct{})} {
		t.Run(name, func(t *testing.T) {
			if wake != nil {
				close(wake)
			}
			inBubble(t, func(t *testing.T, p *post) {
				p.Wake = wake
				p.sendBy(func(context.Context, message.Message) error { return nil })
				p.start()
				synctest.Wait()
				p.add(note())
				time.Sleep(2 * time.Second)
				synctest.Wait()
				p.want(message.Sent, 1, "")
			})
		})
	}
}

func TestFailuresAreRetriedLessAndLessOften(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		var at []time.Time
		p.sendBy(func(context.Context, message.Message) error { at = append(at, time.Now()); return errBusy })
		p.add(note())
		p.start()
		time.Sleep(3 * time.Minute)
		p.stop()
		if len(at) != 6 { // 0 + 5 + 10 + 20 + 40 + 80 s
			t.Fatalf("%d attempts", len(at))
		}
		if m := p.want(message.Queued, 6, "busy"); !m.NextAt.Equal(at[5].Add(160 * time.Second)) {
			t.Errorf("next attempt after %v", m.NextAt.Sub(at[5]))
		}
		for i := 1; i < len(at); i++ {
			want := delivery.Backoff(i, p.Random)
			if got := at[i].Sub(at[i-1]); got < want || got > want+2*time.Second {
				t.Errorf("attempt %d after %v, want %v and at most one look more", i+1, got, want)
			}
		}
	})
}

func TestRetriesEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		tries := 0
		p.sendBy(func(context.Context, message.Message) error { tries++; return errBusy })
		p.add(note())
		p.attempts(delivery.MaxAttempts - 1)
		p.start()
		time.Sleep(time.Minute)
		p.stop()
		if p.want(message.Dead, delivery.MaxAttempts, "given up after 12 attempts: busy"); tries != 1 {
			t.Errorf("%d more attempts", tries)
		}
	})
}

func TestBackoffDoublesUpToAnHour(t *testing.T) {
	t.Parallel()
	middle := func() float64 { return 0.5 }
	for attempts, want := range map[int]time.Duration{
		1: 5 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second, 10: 2560 * time.Second, 11: time.Hour, 1000: time.Hour,
	} {
		if got := delivery.Backoff(attempts, middle); got != want {
			t.Errorf("after %d attempts %v, want %v", attempts, got, want)
		}
	}
	if got := delivery.Backoff(1, func() float64 { return 0 }); got != 4*time.Second {
		t.Errorf("at the least %v", got)
	}
	if got := delivery.Backoff(20, func() float64 { return 0.99 }); got != time.Hour {
		t.Errorf("at the most %v", got)
	}
	for range 100 {
		if got := delivery.Backoff(1, nil); got < 4*time.Second || got > 6*time.Second {
			t.Errorf("by its own chance %v", got)
		}
	}
}

func TestPermanentRefusalIsFinal(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.sendBy(func(context.Context, message.Message) error {
			return fmt.Errorf("wrapped: %w", delivery.Permanent(errors.New("no such user")))
		})
		p.add(note())
		p.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		p.want(message.Dead, 1, "no such user")
	})
}

func TestWhatHasExpiredIsNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.sendBy(func(context.Context, message.Message) error { t.Error("sent"); return nil })
		m := note()
		m.ExpiresAt = time.Now().Add(10 * time.Minute)
		p.add(m)
		time.Sleep(10 * time.Minute)
		p.start()
		synctest.Wait()
		p.want(message.Dead, 1, "expired before it could be sent")
	})
}

func TestCodeIsNotRetriedPastItsExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		tries := 0
		p.sendBy(func(context.Context, message.Message) error { tries++; return errBusy })
		m := note()
		m.ExpiresAt = time.Now().Add(12 * time.Second) // attempts at 0 s and 6 s; the next would be at 16 s
		p.add(m)
		p.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		if p.want(message.Dead, 2, "expires before the next attempt: busy"); tries != 2 {
			t.Errorf("tried %d times", tries)
		}
	})
}

func TestChannelWithoutSenderIsSaid(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.sendBy(nil)
		p.Senders[message.Email] = nil
		p.add(note())
		p.start()
		synctest.Wait()
		p.want(message.Dead, 1, "no sender for email is configured")
		if !strings.Contains(p.log.String(), `"level":"ERROR"`) {
			t.Errorf("the operator is not told: %s", p.log)
		}
	})
}

func TestDeveloperReadsMessagesOnTheTerminal(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		var out strings.Builder
		p.Development, p.Terminal = true, &out
		m := note()
		m.Channel, m.Subject, m.Locale = message.SMS, "一次性\r\nsubject", "zh-CN"
		m.Text = "code 482915\r\n\tfor \x1b[2J\u202e\u009bdevice\n"
		p.add(m)
		p.start()
		synctest.Wait()
		p.want(message.Sent, 1, "")
		for _, want := range []string{"sms to alice@example.com", "zh-CN", "Subject: 一次性  subject\n", "code 482915\n\tfor \uFFFD[2J\uFFFD\uFFFDdevice\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out.String())
			}
		}
	})
}

func TestRealSenderComesBeforeTheTerminal(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		var out strings.Builder
		p.Development, p.Terminal = true, &out
		sent := 0
		p.sendBy(func(context.Context, message.Message) error { sent++; return nil })
		p.add(note())
		p.start()
		synctest.Wait()
		if sent != 1 || out.Len() != 0 {
			t.Errorf("sent %d, printed %q", sent, out.String())
		}
	})
}

func TestPanicOfASenderIsAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		tries := 0
		p.sendBy(func(_ context.Context, m message.Message) error {
			if tries++; tries == 1 {
				panic("cannot send to " + m.Account)
			}
			return nil
		})
		p.add(note())
		p.start()
		synctest.Wait()
		p.want(message.Queued, 1, "the sender panicked")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		p.want(message.Sent, 2, "")
		if strings.Contains(p.log.String(), "cannot send") {
			t.Errorf("the log quotes the message: %s", p.log)
		}
	})
}

func TestOneSlowSendDoesNotHoldTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		var now, most, done atomic.Int32
		p.sendBy(func(_ context.Context, m message.Message) error {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			if m.Kind == "slow" {
				time.Sleep(time.Minute)
			} else {
				time.Sleep(time.Second)
			}
			done.Add(1)
			return nil
		})
		for i := range 9 {
			m := note()
			if i == 0 {
				m.Kind = "slow"
			}
			p.add(m)
		}
		p.start()
		time.Sleep(8*time.Second + time.Millisecond)
		synctest.Wait()
		if done.Load() != 8 || most.Load() != delivery.MailAtOnce {
			t.Errorf("%d sent after eight seconds, %d at once", done.Load(), most.Load())
		}
	})
}

func TestHangingSenderIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.sendBy(func(ctx context.Context, _ message.Message) error { <-ctx.Done(); return ctx.Err() })
		p.add(note())
		p.start()
		time.Sleep(91 * time.Second)
		synctest.Wait()
		p.want(message.Queued, 1, "deadline exceeded")
	})
}

func TestWhatIsBeingSentIsFinishedOnTheWayOut(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.sendBy(func(ctx context.Context, _ message.Message) error {
			select {
			case <-time.After(delivery.Grace / 2):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		p.add(note())
		p.start()
		synctest.Wait()
		p.add(note()) // on its way too
		synctest.Wait()
		p.add(note()) // waits for a slot, and goes on waiting
		p.stop()
		states := map[message.State]int{}
		for _, m := range p.all() {
			states[m.State]++
		}
		if states[message.Sent] != 2 || states[message.Queued] != 1 {
			t.Errorf("after the stop: %v", states)
		}
	})
}

func TestWhatTakesTooLongGoesBackOnTheWayOut(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.sendBy(func(ctx context.Context, _ message.Message) error { <-ctx.Done(); return ctx.Err() })
		p.add(note())
		p.start()
		synctest.Wait()
		stopped := time.Now()
		p.stop()
		if took := time.Since(stopped); took != delivery.Grace {
			t.Errorf("the stop took %v", took)
		}
		if m := p.want(message.Queued, 1, "interrupted"); !m.NextAt.Equal(time.Now()) {
			t.Errorf("due %v after the stop", time.Until(m.NextAt))
		}
	})
}

// A message that kills its worker each time is not taken for ever.
func TestAttemptsNobodySurvivedCount(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.add(note())
		p.attempts(delivery.MaxAttempts)
		p.sendBy(func(context.Context, message.Message) error { t.Error("sent"); return nil })
		p.start()
		synctest.Wait()
		p.want(message.Dead, delivery.MaxAttempts+1, "given up")
	})
}

func TestOutageOfTheStoreIsLoggedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		_ = p.DB.Close()
		p.start()
		time.Sleep(time.Minute)
		p.stop()
		if n := strings.Count(p.log.String(), "outbox cannot be read"); n != 1 {
			t.Errorf("logged %d times: %s", n, p.log)
		}
	})
}
