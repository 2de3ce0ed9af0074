package delivery_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
)

func TestLogAndReasonAreDiscreet(t *testing.T) {
	quote := func(m message.Message) error {
		return fmt.Errorf("550 5.1.1 <%s>: no %s\r\nlevel=INFO: %q (%s) code=482915 is_482915 482 915 482-915 t=dGhpc2lzYXRva2VuZm9yYWxpbms %s",
			strings.ToUpper(m.To), m.To, m.Text, m.Subject, strings.Repeat("and 300 so on, authentication-required ", 100))
	}
	secrets := []string{"alice@", "ALICE@", "example.com", "EXAMPLE", "482915", "482 915", "482-915", "10086", "Your code", "or https", "dGhpc2lzYXRva2VuZm9yYWxpbms", "13800138000"}
	for _, test := range []struct {
		channel  message.Channel
		to, seen string
	}{
		{message.Email, "alice@example.com", "a***@e***.com"},
		{message.SMS, "+8613800138000", "***00"},
		{message.SMS, "10086", `"***"`},
	} {
		for outcome, class := range map[string]func(error) error{"retry": func(err error) error { return err }, "dead": delivery.Permanent} {
			t.Run(test.to+" "+outcome, func(t *testing.T) {
				inBubble(t, func(t *testing.T, p *post) {
					p.Senders[test.channel] = senderFunc(func(_ context.Context, m message.Message) error { return class(quote(m)) })
					m := note()
					m.Channel, m.To, m.Text = test.channel, test.to, "code 482 915 or https://x.example/dGhpc2lzYXRva2VuZm9yYWxpbms\n"
					p.add(m)
					p.start()
					synctest.Wait()
					p.stop()
					written := p.log.String() + p.all()[0].LastError
					for _, secret := range secrets {
						if strings.Contains(written, secret) {
							t.Errorf("%s is in %s", secret, written)
						}
					}
					for _, want := range []string{test.seen, `"kind":"sign_in_code"`, `"attempt":1`, "and 300 so on, authentication-required", `"outcome":"` + outcome, string(test.channel), "550 5.1.1", p.all()[0].ID} {
						if !strings.Contains(written, want) {
							t.Errorf("no %s in %s", want, written)
						}
					}
					if e := p.all()[0].LastError; strings.ContainsAny(e, "\r\n") || len(e) > 310 {
						t.Errorf("reason %q", e)
					}
				})
			})
		}
	}
}
