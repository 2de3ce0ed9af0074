package smpp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Client sends through one connection, which it makes when the first message
// wants it, keeps open, and makes anew when it was lost. It may be used by many
// goroutines at once.
type Client struct {
	config Config
	slots  chan struct{} // the window
	pace   *pace
	begun  *memory

	life context.Context // ends when Close gives up waiting
	cut  context.CancelCauseFunc

	sends   sync.WaitGroup
	running sync.WaitGroup // what connects, and what watches the session

	mu         sync.Mutex
	closed     bool
	session    *session    // nil: not bound
	connecting *connecting // nil: nobody is
	backoff    backoff
}

// connecting is an attempt that any number of senders wait for.
type connecting struct {
	done    chan struct{}
	session *session
	err     error
}

// A Submission is one text message.
type Submission struct {
	To      string    // E.164, with or without its plus
	Text    string    // of at most 10 parts
	Expires time.Time // worth nothing afterwards; zero: the SMSC decides
}

// A PartialError is the refusal of a part of a long message of which earlier
// parts were accepted. No part after the refused one was tried.
//
// The recipient sees nothing useful of an incomplete message, so the rest is
// worth sending if the refusal is temporary: the next Send of the same
// Submission to the same Client within a day goes on with the part that is
// missing, and does not send the accepted ones again.
type PartialError struct {
	IDs   []string // message_ids of the accepted parts
	Parts int      // of the whole message
	Err   error    // why the next part was not accepted
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d parts were accepted, then: %v", len(e.IDs), e.Parts, e.Err)
}

func (e *PartialError) Unwrap() error { return e.Err }

// New returns a Client, which does not connect yet. A Config that Validate
// refuses makes every Send fail.
func New(c Config) *Client {
	c = c.withDefaults()
	life, cut := context.WithCancelCause(context.Background())
	return &Client{
		config: c, slots: make(chan struct{}, max(c.Window, 1)), pace: &pace{now: c.Now}, begun: &memory{},
		life: life, cut: cut,
	}
}

// Format keeps the password out of whatever prints a Client.
func (c *Client) Format(f fmt.State, verb rune) { c.config.Format(f, verb) }

// slowTries is how often one Send offers a part to an SMSC that is too busy,
// when it has already taken an earlier part of the same message.
const slowTries = 5

// Send submits each part of a message, one after the other, and returns their
// message_ids (SMPP 3.4 §4.4.2) when the SMSC has taken charge of all of them.
// Of several, none is submitted before its predecessor was accepted, so that a
// refusal of the first leaves nothing behind; for what a later refusal leaves,
// see PartialError. While the SMSC is too busy, Send waits for its turn, at
// most until ctx ends.
//
// Permanent and Setup say what to do about an error. ErrNoAnswer,
// ErrDisconnected and the end of ctx leave open whether the SMSC has the one
// part that was under way. The next Send offers it again, with the same
// concatenation reference, by which a handset can tell that it is the same.
func (c *Client) Send(ctx context.Context, m Submission) (ids []string, err error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.sends.Done()
	if err := c.config.Validate(); err != nil {
		return nil, &failure{err, operator}
	}
	to, err := destination(m.To)
	if err != nil {
		return nil, err
	}
	key := keyOf(to, m)
	parts, err := split(m.Text, c.config.Alphabet, key[0])
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(context.Cause(c.life)) })()

	ids = c.begun.take(key, c.config.Now())
	for len(ids) < len(parts) {
		id, err := c.sendPart(ctx, to, parts[len(ids)], m.Expires, len(ids) > 0)
		switch {
		case err == nil:
			ids = append(ids, id)
		case len(ids) == 0:
			return nil, err
		default:
			if !Permanent(err) {
				c.begun.keep(key, ids, c.config.Now())
			}
			return ids, &PartialError{IDs: ids, Parts: len(parts), Err: err}
		}
	}
	return ids, nil
}

// enter counts a Send, unless the Client is closed.
func (c *Client) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.sends.Add(1)
	return nil
}

// sendPart submits a part; if patient, several times to an SMSC that is too
// busy.
func (c *Client) sendPart(ctx context.Context, to string, p part, expires time.Time, patient bool) (id string, err error) {
	for try := 1; ; try++ {
		id, err = c.submit(ctx, to, p, expires)
		var refused *StatusError
		if !patient || try == slowTries || !errors.As(err, &refused) || !refused.Status.slow() {
			return id, err
		}
	}
}

func (c *Client) submit(ctx context.Context, to string, p part, expires time.Time) (id string, err error) {
	if _, err := c.bound(ctx); err != nil {
		return "", err
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the window: %w", context.Cause(ctx))
	}
	round, err := c.pace.wait(ctx)
	if err != nil {
		return "", fmt.Errorf("wait, since the SMSC is too busy: %w", err)
	}
	s, err := c.bound(ctx) // again: much may have happened while we waited
	if err != nil {
		return "", err
	}
	source, numbering, err := c.config.source()
	if err != nil {
		return "", err
	}
	valid, err := validity(expires, c.config.Now())
	if err != nil {
		return "", err
	}
	id, err = s.submit(ctx, &messageBody{
		sourceTON: numbering.TON, sourceNPI: numbering.NPI, source: source,
		destTON: international.TON, destNPI: international.NPI, dest: to,
		esmClass: p.esmClass, dataCoding: p.dataCoding, shortMessage: p.octets,
		validityPeriod: valid, registeredDelivery: 1, // a receipt, whatever becomes of it (SMPP 3.4 §5.2.17)
	})
	var refused *StatusError
	switch {
	case err == nil:
		c.pace.faster()
	case errors.As(err, &refused) && refused.Status.slow():
		c.pace.slower(round)
		c.config.Log.Warn("the SMSC is too busy", "status", refused.Status.String())
	}
	return id, err
}

// bound returns a session, and makes one if there is none. While connecting
// failed a short time ago, it fails at once with what that failed with.
func (c *Client) bound(ctx context.Context) (*session, error) {
	c.mu.Lock()
	for c.session != nil && !c.lost(c.session) {
		s := c.session
		c.mu.Unlock()
		select {
		case <-s.leaving: // it ends presently, and takes nothing more
		default:
			return s, nil
		}
		select {
		case <-s.failed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errUnbound, context.Cause(ctx))
		}
		c.mu.Lock()
	}
	attempt := c.connecting
	if attempt == nil {
		if wait := c.backoff.due.Sub(c.config.Now()); wait > 0 {
			defer c.mu.Unlock()
			return nil, fmt.Errorf("%w: %w", ErrBackoff, c.backoff.last)
		}
		attempt = &connecting{done: make(chan struct{})}
		c.connecting = attempt
		c.running.Go(func() { c.connect(attempt) })
	}
	c.mu.Unlock()
	select {
	case <-attempt.done:
		return attempt.session, attempt.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to the SMSC: %w", context.Cause(ctx))
	}
}

// connect makes a session, and watches it until it ends.
func (c *Client) connect(attempt *connecting) {
	s, err := c.bind()
	c.mu.Lock()
	c.connecting = nil
	attempt.session, attempt.err = s, err
	if err != nil {
		c.failed(err)
	}
	c.session = s
	c.mu.Unlock()
	close(attempt.done)
	if err != nil {
		return
	}
	c.config.Log.Info("bound to the SMSC", "address", c.config.Address)

	select {
	case <-s.failed:
	case <-c.life.Done():
		s.fail(ErrClosed)
	}
	c.mu.Lock()
	c.lost(s)
	closed := c.closed
	c.mu.Unlock()
	if !closed {
		c.config.Log.Warn("the connection to the SMSC ended", "reason", s.why().Error())
	}
	s.running.Wait()
}

// lost reports whether s has ended, and forgets it then. The caller holds the
// lock.
func (c *Client) lost(s *session) bool {
	select {
	case <-s.failed:
	default:
		return false
	}
	if c.session != s {
		return true
	}
	c.session = nil
	if s.useful.Load() {
		c.backoff = backoff{}
	} else {
		// An SMSC that binds us only to drop us must not be hammered.
		c.failed(s.why())
	}
	return true
}

// failed notes that there is no session. The caller holds the lock.
func (c *Client) failed(err error) {
	if !c.closed {
		c.backoff.failed(err, c.config.Now(), c.config.Random())
	}
}

func (c *Client) bind() (*session, error) {
	conn, err := c.config.connect(c.life)
	if err != nil {
		c.config.Log.Warn("no connection to the SMSC", "reason", err.Error())
		return nil, err
	}
	s := newSession(conn, c.config)
	if err := s.bind(c.life, c.config); err != nil {
		s.fail(err)
		s.running.Wait()
		c.config.Log.Warn("the SMSC did not bind us", "reason", err.Error())
		return nil, err
	}
	return s, nil
}

// Close lets what is being sent finish until ctx ends, unbinds (SMPP 3.4 §4.2)
// and waits until nothing of the Client runs. Every later Send fails.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	// Past ctx, everything is cut off, and ends within moments.
	defer context.AfterFunc(ctx, func() { c.cut(ErrClosed) })()
	c.sends.Wait()
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s != nil {
		s.end(ctx)
	}
	c.cut(ErrClosed)
	c.running.Wait()
	return context.Cause(ctx)
}
