package throttle_test

import (
	"fmt"
	"strings"
	"testing"

	"countersign/internal/domain/throttle"
)

func TestEveryTextMessageIsBoundedInEveryWay(t *testing.T) {
	t.Parallel()
	ceiling := throttle.Ceiling{All: 1000, Text: 300, Country: 200}
	text := throttle.Sending{Ceremony: "c", Destination: "n", Payer: "a", Network: "192.0.2.0/24", Text: true, New: true, Prefix: "+861380013", Country: "CN"}
	bound, mail := text, text
	bound.New = false
	mail.Text = false
	known := bound
	known.Device = "d"
	for _, c := range []struct {
		s    throttle.Sending
		want string
	}{
		{mail, "resend:c 1 1m0s; sends:ceremony:c 10 1h0m0s; sends:n 5 1h0m0s; sends:a 100 24h0m0s; sends:all 1000 24h0m0s all"},
		{text, "resend:c 1 1m0s; sends:ceremony:c 10 1h0m0s; sends:n 5 1h0m0s; sends:a 100 24h0m0s; texts:n 10 24h0m0s; texts:new:192.0.2.0/24 10 1h0m0s network; texts:new:+861380013 20 24h0m0s prefix; texts:country:CN 200 24h0m0s country; texts:all 300 24h0m0s total; sends:all 1000 24h0m0s all"},
		{bound, "resend:c 1 1m0s; sends:ceremony:c 10 1h0m0s; sends:n 5 1h0m0s; sends:a 100 24h0m0s; texts:n 10 24h0m0s; texts:bound:192.0.2.0/24 200 1h0m0s network; texts:bound:+861380013 500 24h0m0s prefix; texts:country:CN 200 24h0m0s country; texts:all 300 24h0m0s total; sends:all 1000 24h0m0s all"},
		{known, "resend:c 1 1m0s; sends:ceremony:c 10 1h0m0s; sends:device:d:n 5 1h0m0s; sends:device:d 100 24h0m0s; texts:device:d:n 10 24h0m0s; texts:bound:192.0.2.0/24 200 1h0m0s network; texts:bound:+861380013 500 24h0m0s prefix; texts:country:CN 200 24h0m0s country; texts:all 300 24h0m0s total; sends:all 1000 24h0m0s all"},
	} {
		var parts []string
		for _, l := range c.s.Limits(ceiling) {
			parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %d %s %s", l.Scope, l.N, l.In, l.Alarm)))
			if l.Spent != (l.Alarm != "" || l.Scope == "sends:ceremony:c") {
				t.Errorf("%s: what bounds the cost is what the operator hears of", l.Scope)
			}
		}
		if got := strings.Join(parts, "; "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if got := fmt.Sprint(throttle.Refundable(text.Limits(ceiling))); got != "[resend:c sends:n sends:a texts:n]" {
		t.Errorf("given back: %s", got)
	}
}
