package delivery_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
)

// short is a text message, as note is a mail.
func short() message.Message {
	m := text()
	m.ExpiresAt = time.Time{}
	return m
}

func hang(ctx context.Context, _ message.Message) error { <-ctx.Done(); return ctx.Err() }

func TestNoChannelWaitsForAnother(t *testing.T) {
	for name, test := range map[string]struct {
		hanging, other message.Channel
		timeout        time.Duration
	}{
		"mail does not wait for text messages": {message.SMS, message.Email, 30 * time.Second},
		"text messages do not wait for mail":   {message.Email, message.SMS, 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *post) {
				letter := map[message.Channel]func() message.Message{message.Email: note, message.SMS: short}
				var sent atomic.Int32
				p.Senders[test.hanging] = senderFunc(hang)
				p.Senders[test.other] = senderFunc(func(context.Context, message.Message) error { sent.Add(1); return nil })
				for range 20 {
					p.add(letter[test.hanging]())
				}
				p.start()
				synctest.Wait()
				began := time.Now()
				for range 5 {
					p.add(letter[test.other]())
				}
				synctest.Wait()
				if sent.Load() != 5 || !time.Now().Equal(began) {
					t.Errorf("%d of 5 sent after %v", sent.Load(), time.Since(began))
				}
				slots := map[message.Channel]int{message.Email: delivery.MailAtOnce, message.SMS: delivery.SMSAtOnce}[test.hanging]
				cutOff := func(at time.Duration) (n int) {
					time.Sleep(time.Until(began.Add(at)))
					synctest.Wait()
					for _, m := range p.all() {
						if strings.Contains(m.LastError, "deadline exceeded") {
							n++
						}
					}
					return n
				}
				if n := cutOff(test.timeout - time.Nanosecond); n != 0 {
					t.Errorf("%d were cut off before %v", n, test.timeout)
				}
				if n := cutOff(test.timeout); n != slots {
					t.Errorf("%d were cut off after %v, want %d", n, test.timeout, slots)
				}
			})
		})
	}
}

func TestEveryChannelHasItsSlots(t *testing.T) {
	for name, test := range map[string]struct {
		letter func() message.Message
		slots  int32
	}{"mail": {note, 2}, "text messages": {short, 8}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *post) {
				var now atomic.Int32
				busy := func(ctx context.Context, m message.Message) error { now.Add(1); return hang(ctx, m) }
				p.Senders[message.Email], p.Senders[message.SMS] = senderFunc(busy), senderFunc(busy)
				for range 20 {
					p.add(test.letter())
				}
				p.start()
				synctest.Wait()
				if now.Load() != test.slots {
					t.Errorf("%d at once, want %d", now.Load(), test.slots)
				}
			})
		})
	}
}

// A word that something was queued reaches every channel, even one that is
// just looking.
func TestEveryChannelIsWoken(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		wake := make(chan struct{})
		p.Wake = wake
		var sent atomic.Int32
		count := func(context.Context, message.Message) error { sent.Add(1); return nil }
		p.Senders[message.Email], p.Senders[message.SMS] = senderFunc(count), senderFunc(count)
		p.start()
		synctest.Wait()
		for n := range int32(3) {
			began := time.Now()
			p.add(note())
			p.add(short())
			wake <- struct{}{}
			synctest.Wait()
			if sent.Load() != 2*(n+1) || !time.Now().Equal(began) {
				t.Errorf("%d sent after %v", sent.Load(), time.Since(began))
			}
		}
	})
}

func TestTextMessagesWithoutASenderAreBuried(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.add(short())
		p.start()
		synctest.Wait()
		p.want(message.Dead, 1, "no sender for sms is configured")
	})
}

func TestWaitThatTheGatewayAsksForIsKept(t *testing.T) {
	for name, test := range map[string]struct{ asked, want time.Duration }{
		"longer than ours":  {3 * time.Minute, 3 * time.Minute},
		"shorter than ours": {time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *post) {
				p.Senders[message.SMS] = senderFunc(func(context.Context, message.Message) error { return delivery.Later(errBusy, test.asked) })
				began := time.Now()
				p.add(short())
				p.start()
				synctest.Wait()
				p.stop()
				if m := p.want(message.Queued, 1, "busy"); !m.NextAt.Equal(began.Add(test.want)) {
					t.Errorf("next attempt after %v", m.NextAt.Sub(began))
				}
			})
		})
	}
}

// The operator reads the gateway's code, which looks like what we hide.
func TestCodesOfGatewaysAreKept(t *testing.T) {
	for _, code := range []string{"21211", "isv.MOBILE_NUMBER_ILLEGAL", "status 0x00000401"} {
		t.Run(code, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *post) {
				p.Senders[message.SMS] = senderFunc(func(_ context.Context, m message.Message) error {
					return delivery.Permanent(delivery.Coded(errors.New("not to "+m.To+" with 482915"), code))
				})
				p.add(short())
				p.start()
				synctest.Wait()
				if m := p.want(message.Dead, 1, code+": not to"); strings.Contains(m.LastError+p.log.String(), "482915") || strings.Contains(m.LastError, "8000") {
					t.Error(m.LastError)
				}
			})
		})
	}
}

// Whatever net/http says of a request quotes its address.
func TestAddressesOfRequestsAreHidden(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		const secret = "/hook-path?to=alice&text=Your+quoted+words&x=" + "%E4%B8%80"
		p.Senders[message.SMS] = senderFunc(func(ctx context.Context, _ message.Message) error {
			r, err := http.NewRequestWithContext(ctx, "POST", "https://gateway.example"+secret, nil)
			if err != nil {
				return err
			}
			return errors.Join(errBusy, &url.Error{Op: "Post", URL: r.URL.String(), Err: errors.New("connection refused")})
		})
		p.add(short())
		p.start()
		synctest.Wait()
		m := p.want(message.Queued, 1, "Post: connection refused")
		for _, part := range []string{"hook-path", "alice", "quoted", "gateway.example"} {
			if strings.Contains(m.LastError+p.log.String(), part) {
				t.Errorf("%s is in %s", part, m.LastError)
			}
		}
	})
}

func TestParametersOfATextAreHidden(t *testing.T) {
	inBubble(t, func(t *testing.T, p *post) {
		p.Senders[message.SMS] = senderFunc(func(context.Context, message.Message) error {
			return errors.New("template refuses Confidential Purpose for Confidential")
		})
		m := short()
		m.Params = map[string]string{"Purpose": "Confidential Purpose", "Word": "Confidential", "Empty": ""}
		p.add(m)
		p.start()
		synctest.Wait()
		p.want(message.Queued, 1, "template refuses *** for ***")
	})
}

// Sender and worker together: what Twilio says of a number ends the message,
// and is told to the operator without the number.
func TestRefusedNumberIsGivenUp(t *testing.T) {
	t.Parallel()
	g := newGateway(t, says(400, `{"code":21211,"message":"The 'To' number +8613800138000 is not a valid phone number."}`))
	p, clock, _ := mailPost(t, (&mailServer{}).start(t))
	sender := newTwilio(g.URL, g.client())
	sender.Now = clock.Now
	p.Senders[message.SMS] = sender
	p.add(short())
	p.start()
	p.outcome()
	p.want(message.Dead, 1, "21211: the number is not valid")
	g.only(t)
}
