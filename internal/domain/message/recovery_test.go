package message_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/locale"
)

func TestARecoveryIsToldWithItsTimesAndTheWayOut(t *testing.T) {
	t.Parallel()
	who := account.Identity{Account: "1234567890123456", Role: account.User, UserName: "bob", Domain: "orchard.ram.localhost"}
	r := message.Recovery{OpensAt: at, ExpiresAt: at.Add(24 * time.Hour), Cancel: service.URL + "/recover/token"}
	for _, l := range locale.All {
		for _, c := range []struct {
			kind  string
			m     func(to message.Recipient) message.Message
			words []string
		}{
			{"recovery_started", func(to message.Recipient) message.Message { return service.RecoveryStart(l, who, to, r) }, []string{l.Time(at), l.Time(r.ExpiresAt), r.Cancel, "bob@orchard.ram.localhost"}},
			{"recovery_cancelled", func(to message.Recipient) message.Message { return service.RecoveryEnd(l, who, to) }, []string{"bob@orchard.ram.localhost"}},
		} {
			mail, text := c.m(mailbox), c.m(phone)
			for _, m := range []message.Message{mail, text} {
				all := m.Subject + m.Text
				if m.Kind != c.kind || m.Locale != l.Tag || m.Account != string(who.Account) || !strings.Contains(all, "Countersign") || strings.Contains(all, "<no value>") || strings.Contains(all, "[") {
					t.Errorf("%s, %s: %+v", l.Tag, c.kind, m)
				}
			}
			for _, w := range c.words {
				if !strings.Contains(mail.Text, w) {
					t.Errorf("%s, %s does not say %q: %s", l.Tag, c.kind, w, mail.Text)
				}
			}
			asHTML(t, mail, l.Tag)
			if mail.Subject == "" || !strings.Contains(mail.Text, service.Contact) || strings.Contains(c.m(phone).Text, "://") || len([]rune(text.Text)) > 200 || text.Subject != "" || text.Params["service"] != "Countersign" {
				t.Errorf("%s, %s: %+v\n%+v", l.Tag, c.kind, mail, text)
			}
		}
	}
}
