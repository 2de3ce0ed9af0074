package smpp

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSilentSMSCIsAskedEveryThirtySeconds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		start := time.Now()
		for range 3 {
			time.Sleep(29 * time.Second)
			w.quiet()
			w.reply(w.want(enquireLink), OK, nil)
		}
		if took := time.Since(start); took != 90*time.Second {
			t.Errorf("three questions in %v", took)
		}
		time.Sleep(20 * time.Second)
		w.write(pdu{command: enquireLink, sequence: 77}) // a sign of life
		if p := w.want(enquireLinkResp); p.sequence != 77 || p.status != OK {
			t.Errorf("answered %+v", p)
		}
		time.Sleep(29 * time.Second)
		w.quiet()
		w.want(enquireLink)
		asked := time.Now()
		w.gone()
		if took := time.Since(asked); took != 10*time.Second {
			t.Errorf("gone after %v", took)
		}
		s.accepted()
	})
}

func TestHalfAPDUHoldsNothingUpForEver(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.sendText()
		p := w.want(submitSM)
		w.octets([]byte{0, 0, 0, 0x20, 0x80, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0})
		s.fails(sent, ErrNoAnswer)
		w.want(enquireLink)
		w.gone()

		sent = s.sendText()
		w = s.bound()
		p = w.want(submitSM)
		frame, err := (&pdu{command: submitSMResp, sequence: p.sequence, body: &messageRespBody{"slow"}}).encode()
		if err != nil {
			t.Fatal(err)
		}
		for i := range frame {
			w.octets(frame[i : i+1])
			time.Sleep(100 * time.Millisecond)
		}
		s.is(sent, "slow")
	})
}

func TestSMSCMayUnbind(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.sendText()
		w.want(submitSM)
		w.deaf()
		w.write(pdu{command: enquireLink, sequence: 4}) // its answer is the last that is read
		w.want(enquireLinkResp)
		w.write(pdu{command: unbind, sequence: 5})
		synctest.Wait()
		next := s.sendText() // too late for this session
		synctest.Wait()
		w.hear()
		if p := w.want(unbindResp); p.sequence != 5 || p.status != OK {
			t.Errorf("answered %+v", p)
		}
		w.gone()
		s.fails(sent, ErrDisconnected)
		s.bound().accept("next")
		s.is(next, "next")
	})
}

// answering is a connection on which the answer comes, and the end with it,
// before the request has quite been written.
type answering struct {
	net.Conn
	s *session
}

func (a answering) Write(b []byte) (int, error) {
	a.s.settle(pdu{command: submitSMResp, sequence: 1, body: &messageRespBody{"just"}}, nil)
	close(a.s.done)
	return len(b), nil
}

func TestAnswerCountsMoreThanTheEnd(t *testing.T) {
	t.Parallel()
	for range 50 { // among several things that are ready, chance decides
		s := &session{
			limit: time.Minute, writing: make(chan struct{}, 1), done: make(chan struct{}),
			pending: map[uint32]waiting{}, cause: ErrDisconnected,
		}
		s.conn = answering{s: s}
		if id, err := s.submit(t.Context(), &messageBody{}); err != nil || id != "just" {
			t.Fatalf("%q, %v", id, err)
		}
	}
}

func TestGarbageIsRefused(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		for _, c := range []struct {
			pdu    pdu
			answer command
			status Status
		}{
			{pdu{command: 0x00000103, raw: []byte("data_sm")}, genericNack, InvalidID},
			{pdu{command: 0x00ABCDEF}, genericNack, InvalidID},
			{pdu{command: submitSM, raw: []byte("\x01")}, genericNack, InvalidID},
			{pdu{command: deliverSM, raw: []byte("\x01")}, deliverSMResp, 0x66},
		} {
			c.pdu.sequence = 9
			w.write(c.pdu)
			if p := w.want(c.answer); p.sequence != 9 || p.status != c.status {
				t.Errorf("%v was answered by %+v", c.pdu.command, p)
			}
		}
		// What wants no answer gets none: two peers could go on like that for ever.
		for _, c := range []command{genericNack, 0x80ABCDEF, submitSMResp, alertNotification, outbind} {
			w.write(pdu{command: c, sequence: 1000})
			w.quiet()
		}
		sent := s.sendText()
		w.accept("still there")
		s.is(sent, "still there")

		open := s.sendText()
		w.want(submitSM)
		w.octets([]byte("HTTP/1.1 400 Bad Request\r\n")[:8]) // no PDU is that long
		if p := w.want(genericNack); p.sequence != 0 || p.status != InvalidLen {
			t.Errorf("answered %+v", p)
		}
		w.gone()
		s.fails(open, ErrDisconnected)
		s.accepted()
	})
}

func TestSMSCThatDoesNotReadIsLeft(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		w.deaf()
		stuck := s.client.session
		start := time.Now()
		first, second := s.sendText(), s.sendText()
		one, two := <-first, <-second
		if one.err == nil || two.err == nil || Permanent(one.err) || Permanent(two.err) {
			t.Errorf("%v, %v", one.err, two.err)
		}
		<-stuck.done
		w.hear()
		if took := time.Since(start); took > 20*time.Second || !errors.Is(stuck.why(), errStuck) {
			t.Errorf("left after %v: %v", took, stuck.why())
		}
	})
}

func TestReceiptsAreTakenAndAnswered(t *testing.T) {
	var got []Receipt
	inBubble(t, func(c *Config) { c.Receipt = func(r Receipt) { got = append(got, r) } }, func(t *testing.T, s *smsc) {
		w := s.accepted()
		deliver := func(esm byte, short string) {
			w.write(pdu{command: deliverSM, sequence: 3, body: &messageBody{
				sourceTON: 1, sourceNPI: 1, source: number[1:], dest: "MySite", esmClass: esm, shortMessage: []byte(short),
			}})
			p := w.want(deliverSMResp)
			if b, ok := p.body.(*messageRespBody); !ok || b.messageID != "" || p.status != OK || p.sequence != 3 {
				t.Errorf("answered %+v", p)
			}
		}
		deliver(4, "id:first sub:001 dlvrd:001 submit date:2603140926 done date:2603140927 stat:DELIVRD err:000 text:"+text)
		deliver(0, "id:second stat:DELIVRD is what a person might write")
		if len(got) != 1 || got[0].ID != "first" || got[0].State != Delivered {
			t.Errorf("receipts %+v", got)
		}
	})
}

// While the SMSC keeps us busy with receipts and reads no answer, both sides
// would stand still if the reader of one waited for the reader of the other.
func TestReceiptsInARowDoNotWaitForTheirAnswers(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		frame, err := (&pdu{command: deliverSM, body: &messageBody{esmClass: 4, shortMessage: []byte("id:1 stat:DELIVRD")}}).encode()
		if err != nil {
			t.Fatal(err)
		}
		w.deaf()
		start := time.Now()
		for range 50 {
			w.octets(frame)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the SMSC was kept waiting for %v", took)
		}
		w.hear()
		for range 50 {
			w.want(deliverSMResp)
		}
	})
}

func TestCloseWaitsAndUnbinds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.sendText()
		p := w.want(submitSM)
		closed := make(chan error, 1)
		go func() { closed <- s.client.Close(t.Context()) }()
		w.quiet()
		if _, err := s.client.Send(t.Context(), Submission{To: number, Text: text}); !errors.Is(err, ErrClosed) {
			t.Errorf("sent while closing: %v", err)
		}
		w.reply(p, OK, &messageRespBody{"last"})
		s.is(sent, "last")
		leave := w.want(unbind)
		w.quiet()
		w.reply(leave, OK, nil)
		w.gone()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := s.client.Close(t.Context()); err != nil {
			t.Errorf("closed again: %v", err)
		}
	})
}

func TestCloseDoesNotWaitBeyondItsContext(t *testing.T) {
	for name, prepare := range map[string]func(s *smsc) <-chan outcome{
		"for an answer": func(s *smsc) <-chan outcome {
			w := s.accepted()
			sent := s.sendText()
			w.want(submitSM)
			return sent
		},
		"for a bind": func(s *smsc) <-chan outcome {
			sent := s.sendText()
			(<-s.conns).want(bindTransceiver)
			return sent
		},
		"for a pause": func(s *smsc) <-chan outcome {
			w := s.accepted()
			sent := s.sendText()
			w.refuse(Throttled)
			<-sent
			s.client.pace.next = time.Now().Add(lastPause)
			sent = s.sendText()
			synctest.Wait()
			return sent
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, s *smsc) {
				sent := prepare(s)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				start := time.Now()
				if err := s.client.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("closed: %v", err)
				}
				if took := time.Since(start); took != 2*time.Second {
					t.Errorf("closed after %v", took)
				}
				s.fails(sent, ErrClosed)
			})
		})
	}
	t.Run("for_a_farewell", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, s *smsc) {
			s.accepted()
			start := time.Now()
			if err := s.client.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took != 10*time.Second {
				t.Errorf("closed after %v", took)
			}
		})
	})
}

// A connection that comes about after its sender has gone must not outlive the
// Client.
func TestCloseEndsAConnectionThatNobodyWaitsFor(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		ctx, cancel := context.WithCancel(t.Context())
		sent := s.send(ctx, Submission{To: number, Text: text})
		w := <-s.conns
		bind := w.want(bindTransceiver)
		cancel()
		s.fails(sent, context.Canceled)
		w.reply(bind, OK, nil)
		synctest.Wait()
		go func() {
			if p, ok := <-w.got; ok {
				w.reply(p, OK, nil)
			}
		}()
		if err := s.client.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
