package delivery_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/flow/reset"
	"countersign/internal/locale"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// kinds are those of notices, as the source has them: none is forgotten.
func kinds(t *testing.T) (list []message.Kind) {
	t.Helper()
	b, err := os.ReadFile("../domain/message/notice.go")
	if err != nil {
		t.Fatal(err)
	}
	composed := []message.Kind{message.SignUpKnown, message.EmailKnown, message.RecoveryStarted, message.ResetLink, message.SecondStepAgain, message.LockedAgain, "code"} // by functions of their own
	for _, m := range regexp.MustCompile(`(?m)^\s+\w+\s+Kind = "(\w+)"`).FindAllStringSubmatch(string(b), -1) {
		if k := message.Kind(m[1]); !slices.Contains(composed, k) {
			list = append(list, k)
		}
	}
	if len(list) < 30 {
		t.Fatalf("%d kinds found", len(list))
	}
	return list
}

var links = regexp.MustCompile(`https://id\.example\.com/notme/([A-Za-z0-9_-]{43})\b`)

// A real mail server takes every notice in every language; the link in it is
// ours, and one for each.
func TestEveryNoticeArrivesAsTextAndHTMLWithItsLink(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	owner := w.Owner("alice@example.com")
	server := (&mailServer{tls: delivery.NoTLS}).start(t)
	client, told := server.client(), &reset.Flow{Prover: w.Prover}
	seen := map[string]bool{}
	for n, kind := range kinds(t) {
		for _, l := range locale.All {
			i := w.UserAs(owner, account.Identity{UserName: "u" + strings.ReplaceAll(string(kind), "_", "-") + l.Tag, Role: account.User, Email: "profile@example.com", Locale: l.Tag}, account.Profile{State: account.ProfileActive})
			w.Put(func(tx *store.Tx) error {
				if err := tx.BindSecurityEmail(i.Account, i.ID, "", store.SecurityEmail{ID: string(i.ID), Address: "security@example.com"}, store.ErrNoRow); err != nil {
					return err
				}
				return w.Prover.Notify(tx, testkit.From(n), i, kind)
			})
			var tokens []string
			for _, to := range []string{"profile@example.com", "security@example.com"} {
				m := w.Inbox(to)[0]
				if m.Kind != string(kind) || m.Locale != l.Tag {
					t.Fatalf("%s in %s: the newest is %s", kind, l.Tag, m.Kind)
				}
				if err := send(t, client, m); err != nil {
					t.Fatalf("%s in %s: %v", kind, l.Tag, err)
				}
				all := server.received()
				_, subject, parts := read(t, all[len(all)-1].data)
				if subject != m.Subject || len(parts) != 2 || parts["text/plain"] != m.Text || parts["text/html"] != m.HTML {
					t.Errorf("%s in %s: %q %q", kind, l.Tag, subject, parts)
				}
				if strings.Contains(subject+parts["text/plain"], "[") || strings.Contains(subject+parts["text/plain"], "<no value>") {
					t.Errorf("%s in %s lacks words: %q %q", kind, l.Tag, subject, parts["text/plain"])
				}
				found := links.FindStringSubmatch(parts["text/plain"])
				if kind == message.Secured {
					if found != nil {
						t.Error("the notice that all was ended leads to ending it again")
					}
					continue
				}
				if found == nil || !strings.Contains(parts["text/html"], `href="`+found[0]+`"`) {
					t.Fatalf("%s in %s: no link in %q", kind, l.Tag, parts["text/plain"])
				}
				tokens = append(tokens, found[1])
			}
			if kind == message.Secured {
				continue
			}
			if tokens[0] != tokens[1] || seen[tokens[0]] {
				t.Errorf("%s in %s: one link for one notice", kind, l.Tag)
			}
			seen[tokens[0]] = true
			token, err := secret.ParseToken(tokens[0])
			if err != nil {
				t.Fatal(err)
			}
			if n, err := told.Told(t.Context(), token); err != nil || n.Kind != kind || strings.Contains(n.Name, i.UserName) {
				t.Errorf("%s in %s: %+v, %v", kind, l.Tag, n, err)
			}
		}
	}
	w.Clock.Advance(30 * 24 * time.Hour)
	for typed := range seen {
		token, _ := secret.ParseToken(typed)
		if _, err := told.Told(t.Context(), token); err == nil {
			t.Fatal("a link is good for longer than 30 days")
		}
	}
}
