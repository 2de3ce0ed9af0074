package server_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"countersign/internal/config"
	"countersign/internal/domain/message"
	"countersign/internal/server"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// A letter is what the mail server took.
type letter struct{ to, id, text string }

// A mailbox is a real SMTP server on this machine that takes everything.
type mailbox struct {
	addr string
	came chan letter
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &mailbox{addr: l.Addr().String(), came: make(chan letter, 100)}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &delivering{b: b}, nil }))
	s.Domain, s.ErrorLog = "mx.test", log.New(io.Discard, "", 0)
	var running sync.WaitGroup
	running.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = l.Close() // Serve may not have taken it yet
		_ = s.Close()
		running.Wait()
	})
	return b
}

// next waits for a letter.
func (b *mailbox) next(t *testing.T) letter {
	t.Helper()
	select {
	case one := <-b.came:
		return one
	case <-time.After(time.Minute):
		t.Fatal("no mail comes")
	}
	return letter{}
}

// delivering is one connection to it.
type delivering struct {
	b  *mailbox
	to string
}

func (d *delivering) Reset()                                    {}
func (d *delivering) Logout() error                             { return nil }
func (d *delivering) Mail(string, *smtp.MailOptions) error      { return nil }
func (d *delivering) Rcpt(to string, _ *smtp.RcptOptions) error { d.to = to; return nil }

func (d *delivering) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	one := letter{to: d.to}
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return err
	}
	one.id, _, _ = strings.Cut(strings.TrimPrefix(m.Header.Get("Message-Id"), "<"), "@")
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	part, err := multipart.NewReader(m.Body, params["boundary"]).NextPart()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(part)
	one.text = string(text)
	d.b.came <- one
	return err
}

// serves runs a server until the function returned is called.
func serves(t *testing.T, s *server.Server) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Twenty wrong codes; a day later the server's own job mails what the first
// notice did not count, once, though two nodes look.
func TestTheServerMailsTheDigestWhenItsDayIsOver(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			post := newMailbox(t)
			s := testkit.NewSite(t, e, func(c *config.Config) {
				c.SMTP = config.SMTP{Address: post.addr, From: "Countersign <no-reply@accounts.example>", TLS: "none"}
			})
			s.Account(someone, testkit.Password)
			app := s.PutApp(someone)
			for range 4 {
				page := s.Client().SignIn(someone, nil).Follow().Want(http.StatusOK)
				for range 5 {
					page.Submit("/signin/verify", "code", app.WrongCode())
				}
			}
			kinds := func() map[string]int {
				n := map[string]int{}
				for _, m := range s.Messages(someone) {
					n[m.Kind]++
				}
				return n
			}
			digest := string(message.SecondStepAgain)
			if n := kinds(); n[string(message.SecondStepFailed)] != 1 || n[digest] != 0 {
				t.Fatalf("at once: %v", n)
			}

			s.Pass(24*time.Hour - time.Minute)
			if err := s.Digests(t.Context()); err != nil || kinds()[digest] != 0 {
				t.Errorf("before the day is over: %v, %v", kinds(), err)
			}
			s.Pass(10 * time.Minute)
			other := open(t, s.Config)
			if err := other.Build(io.Discard); err != nil {
				t.Fatal(err)
			}
			stops := []func(){serves(t, s.Server), serves(t, other)}
			for _, stop := range stops {
				defer stop()
			}
			var got letter
			for !strings.Contains(got.text, "more times") {
				got = post.next(t)
			}
			for _, stop := range stops { // whoever was about to send has sent
				stop()
			}
			if got.to != someone || !strings.Contains(got.text, "127.0.0.1") {
				t.Errorf("to %s:\n%s", got.to, got.text)
			}
			var queued []message.Message
			for _, m := range s.Messages(someone) {
				if m.Kind == digest {
					queued = append(queued, m)
				}
			}
			if len(queued) != 1 || queued[0].ID != got.id || queued[0].State != message.Sent {
				t.Errorf("sent was %s, queued %+v", got.id, queued)
			}
			link := regexp.MustCompile(`/notme/[\w-]+`).FindString(got.text)
			s.Client().Get(link).Want(http.StatusOK)

			s.Pass(time.Hour)
			if err := s.Digests(t.Context()); err != nil || kinds()[digest] != 1 {
				t.Errorf("an hour later: %v, %v", kinds(), err)
			}
		})
	}
}
