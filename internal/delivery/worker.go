package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"countersign/internal/domain/message"
	"countersign/internal/store"
	"countersign/internal/trace"
)

// How patient the Worker is.
const (
	MaxAttempts = 12              // then a message is dead
	MailAtOnce  = 2               // mails being sent at the same time
	SMSAtOnce   = 8               // text messages being sent at the same time
	FirstRetry  = 5 * time.Second // doubled from attempt to attempt
	LastRetry   = time.Hour       // and never more than this
	Grace       = 5 * time.Second

	pollEvery   = 2 * time.Second
	mailTimeout = 90 * time.Second
	smsTimeout  = 30 * time.Second
	recordLimit = 10 * time.Second
)

// A lane is what a channel has to itself, so that none waits for another.
type lane struct {
	atOnce  int
	timeout time.Duration // of one attempt
}

var lanes = map[message.Channel]lane{
	message.Email: {MailAtOnce, mailTimeout},
	message.SMS:   {SMSAtOnce, smsTimeout},
}

// A Worker empties the outbox. Any number of them may share a database: each
// message is claimed by one, and comes back after its lease if that one dies.
// A message can therefore arrive twice, but is never lost.
type Worker struct {
	DB          *store.DB
	Senders     map[message.Channel]Sender
	Development bool      // print to Terminal what has no sender, instead of burying it
	Terminal    io.Writer // only in Development; what is written there holds codes
	Log         *slog.Logger
	Now         func() time.Time
	Random      func() float64  // [0,1), spreads retries; nil: math/rand
	Wake        <-chan struct{} // something was queued; without it the next look is within two seconds

	Tracer *trace.Tracer                                 // nil: sends are not measured
	Told   func(channel message.Channel, outcome string) // is told what became of every claim: sent, retry or dead; nil: nobody is
}

// Run delivers until ctx ends. What is being sent then may take Grace to
// finish; what takes longer goes back into the queue.
func (w *Worker) Run(ctx context.Context) {
	senders := w.senders()
	sendCtx, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var looking, sending sync.WaitGroup
	var broken atomic.Int32 // lanes that cannot read the outbox
	var bells []chan<- struct{}
	for channel, lane := range lanes {
		bell := make(chan struct{}, 1)
		bells = append(bells, bell)
		looking.Go(func() {
			w.look(ctx, channel, lane.atOnce, bell, &broken, func(m message.Message, done func()) {
				sending.Go(func() {
					defer done()
					w.deliver(sendCtx, senders[channel], m)
				})
			})
		})
	}
	w.ring(ctx, bells)
	looking.Wait()
	defer time.AfterFunc(Grace, cut).Stop()
	sending.Wait()
}

// ring tells every lane what Wake says, until ctx ends.
func (w *Worker) ring(ctx context.Context, bells []chan<- struct{}) {
	wake := w.Wake
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-wake:
			if !open {
				wake = nil // a closed channel would have us spin
			}
		}
		for _, bell := range bells {
			select {
			case bell <- struct{}{}:
			default: // it has yet to hear the last one
			}
		}
	}
}

// look claims the messages of one channel, as many at once as there are slots,
// and has send take each of them.
func (w *Worker) look(ctx context.Context, channel message.Channel, atOnce int, bell <-chan struct{}, broken *atomic.Int32, send func(m message.Message, done func())) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	slots := make(chan struct{}, atOnce)
	failed := false
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		m, found, err := w.claim(ctx, channel)
		// Once per outage, not every two seconds of it, nor for every channel.
		if err != nil && !failed && broken.Add(1) == 1 && ctx.Err() == nil {
			w.Log.LogAttrs(ctx, slog.LevelError, "outbox cannot be read", slog.Any("error", err))
		}
		if err == nil && failed {
			broken.Add(-1)
		}
		failed = err != nil
		if found {
			send(m, func() { <-slots })
			continue
		}
		<-slots
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-bell:
		}
	}
}

func (w *Worker) senders() map[message.Channel]Sender {
	all := map[message.Channel]Sender{}
	if w.Development {
		terminal := &DevelopmentSender{Out: w.Terminal}
		all[message.Email], all[message.SMS] = terminal, terminal
	}
	for channel, sender := range w.Senders {
		if sender != nil {
			all[channel] = sender
		}
	}
	return all
}

func (w *Worker) claim(ctx context.Context, channel message.Channel) (message.Message, bool, error) {
	if ctx.Err() != nil {
		return message.Message{}, false, ctx.Err()
	}
	m, found, err := w.DB.ClaimMessage(ctx, message.Lease, channel)
	return m, found && err == nil, err
}

// deliver makes one attempt at m, already counted by the claim.
func (w *Worker) deliver(ctx context.Context, sender Sender, m message.Message) {
	if w.Tracer != nil {
		var span *trace.Running
		ctx, span = w.Tracer.Root(ctx, "send", trace.Parent{})
		span.Note(trace.Text("countersign.channel", string(m.Channel)), trace.Number("countersign.attempt", int64(m.Attempts)))
		defer func() { span.End(nil) }()
	}
	switch {
	case expired(m, w.Now()):
		w.bury(ctx, m, slog.LevelWarn, "expired before it could be sent")
		return
	case sender == nil:
		w.bury(ctx, m, slog.LevelError, fmt.Sprintf("no sender for %s is configured", m.Channel))
		return
	case m.Attempts > MaxAttempts: // whoever claimed it before did not live to say how it went
		w.bury(ctx, m, slog.LevelError, fmt.Sprintf("given up after %d attempts", MaxAttempts))
		return
	}
	err := w.attempt(ctx, sender, m)
	if err == nil {
		w.record(ctx, m, slog.LevelInfo, "sent", "", func(ctx context.Context) error {
			return w.DB.MessageSent(ctx, m.ID)
		})
		return
	}
	why, now := reason(err, m), w.Now()
	level := slog.LevelWarn
	if isSetup(err) {
		level = slog.LevelError
	}
	wait := Backoff(m.Attempts, w.Random)
	var later laterError
	if errors.As(err, &later) {
		wait = max(wait, later.wait)
	}
	retryAt := now.Add(wait)
	switch {
	case IsPermanent(err):
		w.bury(ctx, m, level, why)
	case ctx.Err() != nil:
		w.retry(ctx, m, slog.LevelInfo, "interrupted by our shutdown", now)
	case m.Attempts >= MaxAttempts:
		w.bury(ctx, m, level, fmt.Sprintf("given up after %d attempts: %s", MaxAttempts, why))
	case expired(m, retryAt):
		w.bury(ctx, m, level, "expires before the next attempt: "+why)
	default:
		w.retry(ctx, m, level, why, retryAt)
	}
}

func expired(m message.Message, at time.Time) bool {
	return !m.ExpiresAt.IsZero() && !at.Before(m.ExpiresAt)
}

var errPanic = errors.New("the sender panicked")

func (w *Worker) attempt(ctx context.Context, sender Sender, m message.Message) (err error) {
	ctx, cancel := context.WithTimeout(ctx, lanes[m.Channel].timeout)
	defer cancel()
	ctx, span := trace.Start(ctx, "send."+string(m.Channel))
	defer func() { span.End(err) }()
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		// Only what the runtime says of itself is sure not to quote the message.
		err = setupError{fmt.Errorf("%w (%T)", errPanic, r)}
		if fromRuntime, ok := r.(runtime.Error); ok {
			err = setupError{fmt.Errorf("%w: %w", errPanic, fromRuntime)}
		}
		w.Log.LogAttrs(ctx, slog.LevelError, "sender panicked", append(describe(m), slog.String("stack", string(debug.Stack())))...)
	}()
	return sender.Send(ctx, m)
}

// Backoff returns how long to wait after the given number of failed attempts:
// 5 s, 10 s, … an hour, each up to a fifth shorter or longer, so that messages
// that failed together do not come back together.
func Backoff(attempts int, random func() float64) time.Duration {
	wait := FirstRetry
	for i := 1; i < attempts && wait < LastRetry; i++ {
		wait *= 2
	}
	if random == nil {
		random = rand.Float64
	}
	return min(time.Duration(float64(wait)*(0.8+0.4*random())), LastRetry)
}

func (w *Worker) bury(ctx context.Context, m message.Message, level slog.Level, why string) {
	w.record(ctx, m, level, "dead", why, func(ctx context.Context) error {
		return w.DB.MessageDead(ctx, m.ID, why)
	})
}

func (w *Worker) retry(ctx context.Context, m message.Message, level slog.Level, why string, at time.Time) {
	w.record(ctx, m, level, "retry", why, func(ctx context.Context) error {
		return w.DB.MessageFailed(ctx, m.ID, why, at)
	})
}

// record writes the outcome down even while we are being stopped: what is not
// recorded is done again.
func (w *Worker) record(ctx context.Context, m message.Message, level slog.Level, outcome, why string, write func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	attrs := append(describe(m), slog.String("outcome", outcome))
	if why != "" {
		attrs = append(attrs, slog.String("reason", why))
	}
	if err := write(ctx); err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.Any("unrecorded", err))
	}
	w.Log.LogAttrs(ctx, level, "message", attrs...)
	if w.Told != nil {
		w.Told(m.Channel, outcome)
	}
}

func describe(m message.Message) []slog.Attr {
	return []slog.Attr{
		slog.String("id", m.ID), slog.String("kind", m.Kind), slog.String("channel", string(m.Channel)),
		slog.Int("attempt", m.Attempts), slog.String("to", masked(m.To)),
	}
}
