package smpp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	password = "pa55word"
	number   = "+41791234567"
	text     = "Your code is 482915."
)

// An smsc is the far end of a Client under test, in the same bubble. Nothing of
// what a Client logs or returns may hold a secret.
type smsc struct {
	t      *testing.T
	client *Client
	conns  chan *wire
	refuse error // Dial fails with it

	mu     sync.Mutex
	said   bytes.Buffer // the log, and all errors
	dialed int
}

func (s *smsc) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(b)
}

// inBubble runs a test with a clock of its own, and a Client that is closed at
// its end.
func inBubble(t *testing.T, change func(*Config), test func(t *testing.T, s *smsc)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &smsc{t: t, conns: make(chan *wire, 10)}
		c := Config{
			Address: "smsc.example:2775", SystemID: "us", Password: password, Source: "MySite",
			Log: slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Now: time.Now, Random: func() float64 { return 0 }, Dial: s.dial,
		}
		if change != nil {
			change(&c)
		}
		s.client = New(c)
		test(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = s.client.Close(ctx)
		synctest.Wait()
		for _, secret := range []string{password, number[1:], "482915"} {
			if strings.Contains(s.said.String(), secret) {
				t.Errorf("%q was told:\n%s", secret, s.said.String())
			}
		}
	})
}

func (s *smsc) dial(context.Context, string, string) (net.Conn, error) {
	s.dialed++ // one at a time
	if s.refuse != nil {
		return nil, s.refuse
	}
	ours, theirs := net.Pipe()
	w := &wire{t: s.t, conn: theirs, got: make(chan pdu, 100), gate: make(chan struct{}, 1)}
	go w.listen()
	s.conns <- w
	return ours, nil
}

type outcome struct {
	ids []string
	err error
}

// send sends in the background.
func (s *smsc) send(ctx context.Context, m Submission) <-chan outcome {
	out := make(chan outcome, 1)
	go func() {
		ids, err := s.client.Send(ctx, m)
		if err != nil {
			_, _ = io.WriteString(s, err.Error())
		}
		out <- outcome{ids, err}
	}()
	return out
}

func (s *smsc) sendText() <-chan outcome {
	return s.send(s.t.Context(), Submission{To: number, Text: text})
}

// bound takes the next connection and binds it.
func (s *smsc) bound() *wire {
	s.t.Helper()
	w := <-s.conns
	w.reply(w.want(bindTransceiver), OK, &bindRespBody{"GSMSGW"})
	return w
}

// accepted sees a first message through, on a new connection.
func (s *smsc) accepted() *wire {
	s.t.Helper()
	sent := s.sendText()
	w := s.bound()
	w.accept("first")
	s.is(sent, "first")
	return w
}

// is checks that a message was accepted.
func (s *smsc) is(sent <-chan outcome, ids string) {
	s.t.Helper()
	if o := <-sent; o.err != nil || strings.Join(o.ids, " ") != ids {
		s.t.Errorf("sent as %q, %v; want %q", o.ids, o.err, ids)
	}
}

// fails checks that a message failed with an error that time may cure.
func (s *smsc) fails(sent <-chan outcome, want error) {
	s.t.Helper()
	if o := <-sent; !errors.Is(o.err, want) || Permanent(o.err) || Setup(o.err) || o.ids != nil {
		s.t.Errorf("sent as %q, %v; want %v", o.ids, o.err, want)
	}
}

// A wire is one connection, as the SMSC sees it.
type wire struct {
	t    *testing.T
	conn net.Conn
	got  chan pdu // closed at the end of the connection
	gate chan struct{}
}

// deaf makes the SMSC stop reading, after the next PDU, until it hears again.
func (w *wire) deaf() { w.gate <- struct{}{} }
func (w *wire) hear() { <-w.gate }

func (w *wire) listen() {
	defer close(w.got)
	for {
		frame, err := readFrame(w.conn)
		if err != nil {
			_ = w.conn.Close()
			return
		}
		p, err := decode(frame)
		if err != nil {
			w.t.Errorf("the client wrote %X: %v", frame, err)
		}
		w.got <- p
		w.gate <- struct{}{}
		<-w.gate
	}
}

// want takes the next PDU, whenever it comes.
func (w *wire) want(c command) pdu {
	w.t.Helper()
	p, ok := <-w.got
	if !ok || p.command != c {
		w.t.Errorf("got %v (%v), want %v", p.command, ok, c)
	}
	return p
}

// quiet checks that nothing has come until now.
func (w *wire) quiet() {
	w.t.Helper()
	synctest.Wait()
	select {
	case p, ok := <-w.got:
		w.t.Errorf("got %v (%v), want nothing", p.command, ok)
	default:
	}
}

// gone checks that the connection ends, and nothing comes before.
func (w *wire) gone() {
	w.t.Helper()
	if p, ok := <-w.got; ok {
		w.t.Errorf("got %v, want the end", p.command)
	}
}

func (w *wire) write(p pdu) {
	w.t.Helper()
	frame, err := p.encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.octets(frame)
}

func (w *wire) octets(b []byte) {
	w.t.Helper()
	if _, err := w.conn.Write(b); err != nil {
		w.t.Errorf("write to the client: %v", err)
	}
}

// reply answers a request.
func (w *wire) reply(p pdu, status Status, b body) {
	w.t.Helper()
	w.write(pdu{command: p.command | responseBit, status: status, sequence: p.sequence, body: b})
}

// accept takes charge of the next message.
func (w *wire) accept(id string) *messageBody {
	w.t.Helper()
	p := w.want(submitSM)
	w.reply(p, OK, &messageRespBody{id})
	m, _ := p.body.(*messageBody)
	return m
}

// refuse refuses the next message.
func (w *wire) refuse(status Status) {
	w.t.Helper()
	w.reply(w.want(submitSM), status, nil)
}
