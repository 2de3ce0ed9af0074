package smpp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A session is one connection to an SMSC. One goroutine reads it, and one
// writes what the SMSC must be answered and sees whether it is still there.
type session struct {
	conn    net.Conn
	limit   time.Duration // for an answer, and for writing one PDU
	log     *slog.Logger
	receipt func(Receipt)

	writing chan struct{} // holds a value while somebody writes
	answers chan answer
	heard   chan struct{} // the SMSC has sent something
	doubted chan struct{} // it has not answered something else
	leaving chan struct{} // closed when the SMSC has unbound
	failed  chan struct{} // closed by fail
	done    chan struct{} // closed when nothing more will be read
	running sync.WaitGroup
	useful  atomic.Bool // it has answered a submit_sm

	mu      sync.Mutex
	cause   error
	last    uint32 // sequence_number
	pending map[uint32]waiting
}

// waiting is a request without an answer.
type waiting struct {
	answer   command // what answers it, beside generic_nack
	answered chan<- pdu
}

// An answer is a PDU for the keeper to write. If then is not nil, the session
// ends with it afterwards.
type answer struct {
	frame []byte
	then  error
}

const (
	enquireEvery = 30 * time.Second // of silence
	answersMost  = 64
)

var (
	errUnbound  = fmt.Errorf("%w: the SMSC unbound", ErrDisconnected)
	errGarbage  = fmt.Errorf("%w: the SMSC sent what is no PDU", ErrDisconnected)
	errSilent   = fmt.Errorf("%w: no answer to enquire_link", ErrDisconnected)
	errStuck    = fmt.Errorf("%w: the SMSC does not read", ErrDisconnected)
	errReplaced = fmt.Errorf("%w: the SMSC has forgotten the session", ErrDisconnected)
)

func newSession(conn net.Conn, c Config) *session {
	s := &session{
		conn: conn, limit: c.ResponseTimeout, log: c.Log, receipt: c.Receipt,
		writing: make(chan struct{}, 1), answers: make(chan answer, answersMost), heard: make(chan struct{}, 1), doubted: make(chan struct{}, 1),
		leaving: make(chan struct{}), failed: make(chan struct{}), done: make(chan struct{}), pending: map[uint32]waiting{},
	}
	s.running.Go(s.read)
	s.running.Go(s.keep)
	return s
}

// fail ends the session; the first cause is the one that is told.
func (s *session) fail(cause error) {
	s.mu.Lock()
	first := s.cause == nil
	if first {
		s.cause = cause
		close(s.failed)
	}
	s.mu.Unlock()
	if first {
		_ = s.conn.Close()
	}
}

func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// request sends a request and waits for its answer. The error is not nil if
// there was none, or if it was a refusal.
func (s *session) request(ctx context.Context, c command, b body) (pdu, error) {
	answered := make(chan pdu, 1)
	sequence := s.expect(c, answered)
	defer s.forget(sequence)
	frame, err := (&pdu{command: c, sequence: sequence, body: b}).encode()
	if err != nil {
		return pdu{}, &failure{err, operator}
	}
	if err := s.write(ctx, frame); err != nil {
		return pdu{}, fmt.Errorf("%v: %w", c, err)
	}
	timeout := time.NewTimer(s.limit)
	defer timeout.Stop()
	select {
	case p := <-answered:
		return judge(c, p)
	case <-s.done:
		err = s.why()
	case <-timeout.C:
		err = fmt.Errorf("%w within %v", ErrNoAnswer, s.limit)
		notify(s.doubted)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	select {
	case p := <-answered: // just now: an accepted message must not be sent again
		return judge(c, p)
	default:
		return pdu{}, fmt.Errorf("%v: %w", c, err)
	}
}

func judge(c command, p pdu) (pdu, error) {
	if p.status == OK && p.command != genericNack {
		return p, nil
	}
	return p, &StatusError{Command: c.String(), Status: p.status}
}

// expect takes a sequence_number that waits for an answer.
func (s *session) expect(c command, answered chan<- pdu) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.last = s.last%maxSequence + 1
		if _, taken := s.pending[s.last]; !taken {
			s.pending[s.last] = waiting{c | responseBit, answered}
			return s.last
		}
	}
}

func (s *session) forget(sequence uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, sequence)
}

// write writes one whole PDU. It gives up before its first octet when ctx ends,
// and afterwards only with the session.
func (s *session) write(ctx context.Context, frame []byte) error {
	select {
	case s.writing <- struct{}{}:
	case <-s.failed:
		return s.why()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.writing }()
	defer time.AfterFunc(s.limit, func() { s.fail(errStuck) }).Stop()
	if _, err := s.conn.Write(frame); err != nil {
		s.fail(fmt.Errorf("%w: %w", ErrDisconnected, err))
		return s.why()
	}
	return nil
}

// read takes in what the SMSC sends until the connection ends.
func (s *session) read() {
	defer close(s.done)
	r := bufio.NewReader(s.conn)
	for {
		frame, err := readFrame(r)
		if errors.Is(err, errLength) {
			// Where the next PDU begins cannot be told: there is nothing left to say.
			s.answer(&pdu{command: genericNack, status: InvalidLen}, errGarbage)
			<-s.failed
			return
		}
		if err != nil {
			s.fail(fmt.Errorf("%w: %w", ErrDisconnected, err))
			return
		}
		notify(s.heard)
		p, err := decode(frame)
		if s.take(&p, err) {
			<-s.failed
			return
		}
	}
}

// take deals with one PDU, of which the body may be malformed. It returns true
// if that was the last.
func (s *session) take(p *pdu, malformed error) (last bool) {
	switch {
	case p.command.response():
		s.settle(*p, malformed)
	case p.command == enquireLink:
		s.answer(&pdu{command: enquireLinkResp, sequence: p.sequence}, nil)
	case p.command == unbind:
		close(s.leaving) // once: nothing is read after it
		s.answer(&pdu{command: unbindResp, sequence: p.sequence}, errUnbound)
		return true
	case p.command == deliverSM && malformed != nil:
		s.log.Warn("the SMSC sent a malformed deliver_sm")
		s.answer(&pdu{command: deliverSMResp, status: rejected, sequence: p.sequence, body: &messageRespBody{}}, nil)
	case p.command == deliverSM:
		if r, ok := receipt(p); ok && s.receipt != nil {
			s.receipt(r)
		}
		s.answer(&pdu{command: deliverSMResp, sequence: p.sequence, body: &messageRespBody{}}, nil)
	case p.command == outbind, p.command == alertNotification: // they want no answer
	default:
		s.log.Warn("the SMSC sent a request that we do not know", "command", p.command.String())
		s.answer(&pdu{command: genericNack, status: InvalidID, sequence: p.sequence}, nil)
	}
	return false
}

// notify leaves a notice, unless there is one already.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settle gives an answer to the request that waits for it. An answer whose body
// is malformed still answers: what has been accepted must not be sent again for
// the want of a message_id.
func (s *session) settle(p pdu, malformed error) {
	s.mu.Lock()
	w, ok := s.pending[p.sequence]
	if ok = ok && (p.command == w.answer || p.command == genericNack); ok {
		delete(s.pending, p.sequence)
	}
	s.mu.Unlock()
	if malformed != nil {
		s.log.Warn("the SMSC sent a malformed answer", "command", p.command.String())
	}
	if ok {
		w.answered <- p // it has room for the one
	} else if p.command != enquireLinkResp {
		s.log.Warn("the SMSC answered what was not asked, or too late", "command", p.command.String(), "status", p.status.String())
	}
}

// answer leaves a PDU to the keeper.
func (s *session) answer(p *pdu, then error) {
	frame, err := p.encode()
	if err != nil {
		s.fail(err)
		return
	}
	select {
	case s.answers <- answer{frame, then}:
	case <-s.failed:
	}
}

// keep writes the answers, and asks after an SMSC that has been silent.
func (s *session) keep() {
	timer := time.NewTimer(enquireEvery)
	defer timer.Stop()
	asked := false
	for {
		select {
		case a := <-s.answers:
			if s.write(context.Background(), a.frame) == nil && a.then != nil {
				s.fail(a.then)
			}
		case <-s.heard:
			asked = false
			timer.Reset(enquireEvery)
		case <-s.doubted:
			if !asked {
				timer.Reset(0)
			}
		case <-timer.C:
			if asked && len(s.heard) == 0 {
				s.fail(errSilent)
				return
			}
			asked = true
			s.enquire()
			timer.Reset(s.limit)
		case <-s.failed:
			return
		}
	}
}

// enquire sends an enquire_link. Any sign of life answers it, so nobody waits.
func (s *session) enquire() {
	sequence := s.expect(enquireLink, nil)
	s.forget(sequence)
	if frame, err := (&pdu{command: enquireLink, sequence: sequence}).encode(); err == nil {
		_ = s.write(context.Background(), frame) // a failed write has ended the session
	}
}

// bind makes a session of the connection (SMPP 3.4 §4.1.5).
func (s *session) bind(ctx context.Context, c Config) error {
	_, err := s.request(ctx, bindTransceiver, &bindBody{
		systemID: c.SystemID, password: c.Password, systemType: c.SystemType, interfaceVersion: 0x34,
	})
	return err
}

// submit sends one part.
func (s *session) submit(ctx context.Context, m *messageBody) (id string, err error) {
	p, err := s.request(ctx, submitSM, m)
	if p.command.response() {
		s.useful.Store(true)
	}
	if err != nil {
		if p.status == InvalidBind {
			s.fail(errReplaced)
		}
		return "", err
	}
	if b, ok := p.body.(*messageRespBody); ok {
		id = b.messageID
	}
	return id, nil
}

// end takes leave (SMPP 3.4 §4.2) and waits until nothing runs any more.
func (s *session) end(ctx context.Context) {
	_, _ = s.request(ctx, unbind, nil) // whatever it says, we go
	s.fail(ErrClosed)
	s.running.Wait()
}
