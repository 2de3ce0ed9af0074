package smpp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestBusySMSCSlowsTheSenderDown(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		var waits []time.Duration
		try := func(status Status) {
			t.Helper()
			start := time.Now()
			sent := s.sendText()
			p := <-w.got
			for p.command == enquireLink { // a pause is long
				w.reply(p, OK, nil)
				p = <-w.got
			}
			waits = append(waits, time.Since(start))
			w.reply(p, status, nil)
			o := <-sent
			var refused *StatusError
			if status != OK && (!errors.As(o.err, &refused) || refused.Status != status || Permanent(o.err) || Setup(o.err)) {
				t.Errorf("%v: %v", status, o.err)
			}
		}
		for i := range 7 {
			try([]Status{Throttled, QueueFull}[i%2])
		}
		for range 8 {
			try(OK)
		}
		// The pause is over; the next ones come a tenth of the halved pause apart.
		want := "[0s 1s 2s 4s 8s 16s 30s 30s 3s 1.5s 750ms 375ms 0s 0s 0s]"
		if got := fmt.Sprint(waits); got != want {
			t.Errorf("waited\n%s, want\n%s", got, want)
		}
	})
}

func TestRefusalsOfOneWindowCountOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		var sent []<-chan outcome
		for range 5 {
			sent = append(sent, s.sendText())
		}
		var open []pdu
		for range 5 {
			open = append(open, w.want(submitSM))
		}
		for _, p := range open {
			w.reply(p, Throttled, nil)
		}
		for _, o := range sent {
			<-o
		}
		start := time.Now()
		sent = []<-chan outcome{s.sendText(), s.sendText()}
		w.accept("a")
		if took := time.Since(start); took != time.Second {
			t.Errorf("a pause of %v after one window", took)
		}
		w.accept("b")
		for _, o := range sent {
			if got := <-o; got.err != nil {
				t.Error(got.err)
			}
		}
	})
}

func TestWaitingForABusySMSCEndsWithTheContext(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.sendText()
		w.refuse(Throttled)
		<-sent
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		s.fails(s.send(ctx, Submission{To: number, Text: text}), context.DeadlineExceeded)
		w.quiet()
	})
}

var long = Submission{To: number, Text: strings.Repeat(text, 20)} // 400 septets: three parts

func header(m *messageBody) []byte { return m.shortMessage[:6] }

func TestPartsGoOneAfterTheOther(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.send(t.Context(), long)
		var parts []part
		for _, id := range []string{"a", "b", "c"} {
			p := w.want(submitSM)
			w.quiet()
			m := p.body.(*messageBody)
			parts = append(parts, part{m.esmClass, m.dataCoding, m.shortMessage})
			w.reply(p, OK, &messageRespBody{id})
		}
		s.is(sent, "a b c")
		if got := join(t, GSM7, parts[0].octets[3], parts); got != long.Text {
			t.Errorf("got %q", got)
		}
	})
}

func TestRefusedFirstPartLeavesNothingBehind(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.send(t.Context(), long)
		w.refuse(Throttled)
		o := <-sent
		var partial *PartialError
		if o.err == nil || errors.As(o.err, &partial) || o.ids != nil {
			t.Errorf("%q, %v", o.ids, o.err)
		}
		w.quiet()
	})
}

func TestPartRefusedForGoodEndsTheMessage(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.send(t.Context(), long)
		w.accept("a")
		w.refuse(0x01)
		o := <-sent
		var partial *PartialError
		if !errors.As(o.err, &partial) || len(partial.IDs) != 1 || partial.Parts != 3 || !Permanent(o.err) ||
			o.err.Error() != "1 of 3 parts were accepted, then: submit_sm: ESME_RINVMSGLEN (0x01)" {
			t.Errorf("%v", o.err)
		}
		w.quiet()
		if n := len(s.client.begun.begun); n != 0 {
			t.Errorf("%d remembered", n)
		}
	})
}

func TestNextSendGoesOnWithTheMissingPart(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.send(t.Context(), long)
		first := w.accept("a")
		w.refuse(0x45)
		o := <-sent
		var partial *PartialError
		if !errors.As(o.err, &partial) || Permanent(o.err) || strings.Join(o.ids, " ") != "a" {
			t.Errorf("%q, %v", o.ids, o.err)
		}
		other := s.send(t.Context(), Submission{To: "+41791234568", Text: long.Text})
		for _, id := range []string{"x", "y", "z"} {
			w.accept(id)
		}
		s.is(other, "x y z")

		sent = s.send(t.Context(), long)
		for i, id := range []string{"b", "c"} {
			m := w.accept(id)
			if want := append(header(first)[:5:5], byte(i+2)); string(header(m)) != string(want) {
				t.Errorf("header %X, want %X", header(m), want)
			}
		}
		s.is(sent, "a b c")

		sent = s.send(t.Context(), long) // it is done: this is another message
		for _, id := range []string{"d", "e", "f"} {
			w.accept(id)
		}
		s.is(sent, "d e f")
	})
}

func TestAcceptedPartsAreForgottenInTime(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		sent := s.send(t.Context(), long)
		w.accept("a")
		w.refuse(0x45)
		<-sent
		_ = s.client.Close(expired(t))
		s.client = New(s.client.config)
		s.client.begun.keep(keyOf(number[1:], long), []string{"a"}, time.Now())
		time.Sleep(rememberFor + 1)
		sent = s.send(t.Context(), long)
		w = s.bound()
		for _, id := range []string{"b", "c", "d"} {
			w.accept(id)
		}
		s.is(sent, "b c d")
	})
	var m memory
	now := time.Now()
	for i := range rememberMost + 1 {
		m.keep([32]byte{byte(i), byte(i >> 8)}, []string{"a"}, now)
	}
	if len(m.begun) != rememberMost || m.take([32]byte{}, now) != nil || m.take([32]byte{1}, now) == nil {
		t.Errorf("%d remembered", len(m.begun))
	}
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// When some parts have been taken, a busy SMSC is worth waiting for.
func TestLaterPartsArePatient(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *smsc) {
		w := s.accepted()
		start := time.Now()
		sent := s.send(t.Context(), long)
		w.accept("a")
		w.refuse(Throttled)
		w.refuse(QueueFull)
		w.accept("b")
		w.accept("c")
		s.is(sent, "a b c")
		if took := time.Since(start); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("took %v", took)
		}
		sent = s.send(t.Context(), long)
		w.accept("a")
		for range slowTries {
			w.refuse(Throttled)
		}
		var partial *PartialError
		if o := <-sent; !errors.As(o.err, &partial) || Permanent(o.err) {
			t.Errorf("%v", o.err)
		}
		synctest.Wait()
		w.quiet()
	})
}
