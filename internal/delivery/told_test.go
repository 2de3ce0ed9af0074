package delivery_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
	"countersign/internal/trace"
)

func TestWhatBecomesOfASendIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		var told []string
		var spans []trace.Span
		p.Told = func(channel message.Channel, outcome string) { told = append(told, string(channel)+" "+outcome) }
		p.Tracer = &trace.Tracer{Now: time.Now, Random: rand.Reader, Share: 1, Keep: func(s trace.Span) { spans = append(spans, s) }}
		tries := 0
		p.sendBy(func(_ context.Context, m message.Message) error {
			switch tries++; tries {
			case 1:
				return errors.New("come back, " + m.To)
			case 2:
				return nil
			}
			return delivery.Permanent(errors.New("no such mailbox"))
		})
		p.start()
		p.add(note())
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		p.add(note())
		synctest.Wait()
		p.stop()
		if !slices.Equal(told, []string{"email retry", "email sent", "email dead"}) {
			t.Errorf("told %q", told)
		}
		var codes []string
		for _, s := range spans {
			if s.Name == "send.email" {
				codes = append(codes, s.Code)
			}
		}
		if !slices.Equal(codes, []string{"internal", "", "internal"}) {
			t.Errorf("%d spans, attempts ended as %q", len(spans), codes)
		}
	})
}
