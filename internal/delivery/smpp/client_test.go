package smpp

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMessageGoesOutAsSetUp(t *testing.T) {
	inBubble(t, func(c *Config) { c.SystemType = "VMS" }, func(t *testing.T, s *smsc) {
		sent := s.send(t.Context(), Submission{To: number, Text: "8 €", Expires: time.Now().Add(10 * time.Minute)})
		w := <-s.conns
		bind := w.want(bindTransceiver)
		if want := (&bindBody{systemID: "us", password: password, systemType: "VMS", interfaceVersion: 0x34}); !reflect.DeepEqual(bind.body, want) {
			t.Errorf("bound as %+v", bind.body)
		}
		w.quiet()
		w.reply(bind, OK, nil)
		p := w.want(submitSM)
		if want := (&messageBody{
			sourceTON: 5, source: "MySite", destTON: 1, destNPI: 1, dest: number[1:],
			validityPeriod: "000000001000000R", registeredDelivery: 1, shortMessage: []byte("8 \x1be"),
		}); !reflect.DeepEqual(p.body, want) {
			t.Errorf("submitted %+v", p.body)
		}
		if bind.sequence != 1 || p.sequence != 2 {
			t.Errorf("numbered %d, %d", bind.sequence, p.sequence)
		}
		w.reply(p, OK, &messageRespBody{"12ef"})
		s.is(sent, "12ef")
	})
}

func TestConnectionIsSharedAndKept(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		one, two := s.sendText(), s.sendText()
		w := s.bound()
		first, second := w.want(submitSM), w.want(submitSM)
		w.reply(second, OK, &messageRespBody{"b"}) // answers may overtake each other
		w.reply(first, OK, &messageRespBody{"a"})
		a, b := <-one, <-two
		if got := a.ids[0] + b.ids[0]; got != "ab" && got != "ba" {
			t.Errorf("ids %s", got)
		}
		time.Sleep(20 * time.Second)
		three := s.sendText()
		w.accept("c")
		s.is(three, "c")
		if s.dialed != 1 {
			t.Errorf("%d connections", s.dialed)
		}
	})
}

func TestWindowBoundsWhatIsUnanswered(t *testing.T) {
	inBubble(t, func(c *Config) { c.Window = 2 }, func(t *testing.T, s *smsc) {
		sent := []<-chan outcome{s.sendText(), s.sendText(), s.sendText()}
		w := s.bound()
		first := w.want(submitSM)
		w.want(submitSM)
		w.quiet()
		ctx, cancel := context.WithCancel(t.Context())
		waiting := s.send(ctx, Submission{To: number, Text: text})
		synctest.Wait()
		cancel()
		s.fails(waiting, context.Canceled)
		w.quiet()
		w.reply(first, OK, &messageRespBody{"a"})
		w.accept("c")
		accepted := 0
		for _, o := range sent {
			if (<-o).err == nil {
				accepted++
			}
		}
		if accepted != 2 {
			t.Errorf("%d accepted, want 2, and one without an answer", accepted)
		}
	})
}

func TestSlowAnswerIsAwaitedForTenSeconds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		start := time.Now()
		sent := s.sendText()
		late := w.want(submitSM)
		s.fails(sent, ErrNoAnswer)
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("waited %v", took)
		}
		s.client.session.mu.Lock()
		if _, waits := s.client.session.pending[late.sequence]; waits {
			t.Error("its answer is still waited for")
		}
		s.client.session.mu.Unlock()
		w.reply(w.want(enquireLink), OK, nil)       // is it there at all?
		w.reply(late, OK, &messageRespBody{"late"}) // nobody waits any more
		sent = s.sendText()
		w.accept("next")
		s.is(sent, "next")
	})
}

func TestDeadConnectionIsFoundOutSoon(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.sendText()
		w.want(submitSM)
		s.fails(sent, ErrNoAnswer)
		doubt := time.Now()
		w.want(enquireLink)
		sent = s.sendText()
		w.want(submitSM)
		w.gone()
		if o := <-sent; o.err == nil || Permanent(o.err) {
			t.Errorf("%v", o.err)
		}
		if took := time.Since(doubt); took != 10*time.Second {
			t.Errorf("found out after %v", took)
		}
		s.accepted()
	})
}

func TestContextEndsWaitingForTheAnswer(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sent := s.send(ctx, Submission{To: number, Text: text})
		w.want(submitSM)
		s.fails(sent, context.DeadlineExceeded)
	})
}

func TestBindWithoutAnAnswerFails(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		sent := s.sendText()
		w := <-s.conns
		w.want(bindTransceiver)
		s.fails(sent, ErrNoAnswer)
		w.gone()
		s.fails(s.sendText(), ErrBackoff)
	})
}

func TestRefusedBindIsTheOperatorsToCure(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		for _, status := range []Status{0x0D, 0x0E, 0x0F} {
			sent := s.sendText()
			w := <-s.conns
			w.reply(w.want(bindTransceiver), status, nil)
			o := <-sent
			var refused *StatusError
			if !errors.As(o.err, &refused) || refused.Status != status || refused.Command != "bind_transceiver" || !Setup(o.err) || Permanent(o.err) {
				t.Errorf("%v: %v", status, o.err)
			}
			w.gone()
			if o := <-s.sendText(); !errors.Is(o.err, ErrBackoff) || !Setup(o.err) {
				t.Errorf("%v, while waiting: %v", status, o.err)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestAttemptsToConnectAreSpaced(t *testing.T) {
	for random, want := range map[float64]string{
		0:       "1s 2s 4s 8s 16s 30s 30s",
		0.99999: "2s 4s 8s 16s 32s 1m0s 1m0s",
	} {
		t.Run(fmt.Sprint(random), func(t *testing.T) {
			inBubble(t, func(c *Config) { c.Random = func() float64 { return random } }, func(t *testing.T, s *smsc) {
				s.refuse = errors.New("connection refused")
				s.fails(s.sendText(), s.refuse)
				last := time.Now()
				var waits []string
				for len(waits) < 7 {
					time.Sleep(100 * time.Millisecond)
					dialed := s.dialed
					o := <-s.sendText()
					if !errors.Is(o.err, s.refuse) || errors.Is(o.err, ErrBackoff) == (s.dialed != dialed) {
						t.Fatalf("%v", o.err)
					}
					if s.dialed != dialed {
						waits = append(waits, time.Since(last).Round(100*time.Millisecond).String())
						last = time.Now()
					}
				}
				if got := strings.Join(waits, " "); got != want {
					t.Errorf("waited %s, want %s", got, want)
				}
			})
		})
	}
}

func TestSMSCThatBindsOnlyToDropIsNotHammered(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		sent := s.sendText()
		w := s.bound()
		w.want(submitSM)
		_ = w.conn.Close()
		s.fails(sent, ErrDisconnected)
		s.fails(s.sendText(), ErrBackoff)
		time.Sleep(time.Second)
		s.accepted()
	})
}

func TestGoodConnectionEndsTheSpacing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		s.refuse = errors.New("connection refused")
		for range 5 {
			s.fails(s.sendText(), s.refuse)
			time.Sleep(time.Minute)
		}
		dial := s.refuse
		s.refuse = nil
		w := s.accepted()
		_ = w.conn.Close()
		synctest.Wait()
		s.refuse = dial
		s.fails(s.sendText(), s.refuse)
		time.Sleep(time.Second)
		s.refuse = nil
		s.accepted()
	})
}

// What waited for its turn goes out on the connection that there is by then.
func TestConnectionMayChangeInAPause(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.sendText()
		w.refuse(Throttled)
		<-sent
		sent = s.sendText()
		synctest.Wait()
		_ = w.conn.Close()
		s.bound().accept("new")
		s.is(sent, "new")
	})
}

func TestDisconnectInTheMiddleOfAWindow(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := []<-chan outcome{s.sendText(), s.sendText(), s.sendText()}
		w.want(submitSM)
		p := w.want(submitSM)
		w.want(submitSM)
		w.reply(p, OK, &messageRespBody{"just"})
		_ = w.conn.Close()
		failed := 0
		for _, o := range sent {
			if got := <-o; got.err == nil && got.ids[0] != "just" {
				t.Errorf("%v", got.ids)
			} else if got.err != nil && !errors.Is(got.err, ErrDisconnected) || Permanent(got.err) {
				t.Errorf("%v", got.err)
			} else if got.err != nil {
				failed++
			}
		}
		if failed != 2 {
			t.Errorf("%d of 3 failed, want 2", failed)
		}
		s.accepted() // at once: it was a good connection
	})
}

func TestAnswersToWhatWasNotAskedCountForNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		sent := s.sendText()
		w := s.bound()
		p := w.want(submitSM)
		w.write(pdu{command: submitSMResp, sequence: p.sequence + 1, body: &messageRespBody{"other"}})
		w.write(pdu{command: submitSMResp, sequence: 0})
		w.write(pdu{command: enquireLinkResp, sequence: p.sequence})
		w.write(pdu{command: 0x80000103, sequence: p.sequence})
		w.quiet()
		w.reply(p, OK, &messageRespBody{"right"})
		s.is(sent, "right")
		w.reply(p, OK, &messageRespBody{"twice"})
		w.quiet()
	})
}

func TestSequenceNumbersStartAgainAtOne(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		number := func() {
			s.client.session.mu.Lock()
			s.client.session.last = maxSequence - 1
			s.client.session.mu.Unlock()
		}
		number()
		open := s.sendText()
		last := w.want(submitSM)
		number() // the next is taken
		sent := s.sendText()
		first := w.want(submitSM)
		if last.sequence != maxSequence || first.sequence != 1 {
			t.Errorf("numbered %X, %X", last.sequence, first.sequence)
		}
		w.reply(first, OK, &messageRespBody{"b"})
		w.reply(last, OK, &messageRespBody{"a"})
		s.is(sent, "b")
		s.is(open, "a")
	})
}

func TestAcceptanceCountsHoweverTheAnswerLooks(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		for _, raw := range []string{"", strings.Repeat("a", 70)} {
			sent := s.sendText()
			p := w.want(submitSM)
			w.write(pdu{command: submitSMResp, sequence: p.sequence, raw: []byte(raw)})
			s.is(sent, "")
		}
	})
}

func TestNackRefusesTheRequest(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		for status, setup := range map[Status]bool{InvalidID: true, OK: false} {
			sent := s.sendText()
			p := w.want(submitSM)
			w.write(pdu{command: genericNack, status: status, sequence: p.sequence})
			o := <-sent
			var refused *StatusError
			if !errors.As(o.err, &refused) || refused.Status != status || Setup(o.err) != setup || Permanent(o.err) {
				t.Errorf("%v: %v", status, o.err)
			}
		}
	})
}

func TestForgottenSessionIsBoundAnew(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.sendText()
		w.refuse(InvalidBind)
		if o := <-sent; o.err == nil || Permanent(o.err) || Setup(o.err) {
			t.Errorf("%v", o.err)
		}
		w.gone()
		s.accepted()
	})
}

func TestBadSubmissionsNeedNoSMSC(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		for want, m := range map[error]Submission{
			ErrDestination: {To: "0791234567", Text: text},
			ErrTooLong:     {To: number, Text: strings.Repeat(text, 100)},
		} {
			if o := <-s.send(t.Context(), m); !errors.Is(o.err, want) || !Permanent(o.err) {
				t.Errorf("got %v, want %v", o.err, want)
			}
		}
		if s.dialed != 0 {
			t.Error("connected")
		}
		w := s.accepted()
		if o := <-s.send(t.Context(), Submission{To: number, Text: text, Expires: time.Now()}); !errors.Is(o.err, ErrExpired) || !Permanent(o.err) {
			t.Errorf("expired: %v", o.err)
		}
		w.quiet()
	})
}

func TestConnectingGoesOnWithoutTheSenderWhoBegan(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		ctx, cancel := context.WithCancel(t.Context())
		first := s.send(ctx, Submission{To: number, Text: text})
		w := <-s.conns
		bind := w.want(bindTransceiver)
		second := s.sendText()
		synctest.Wait()
		cancel()
		s.fails(first, context.Canceled)
		w.reply(bind, OK, nil)
		w.accept("second")
		s.is(second, "second")
	})
}
