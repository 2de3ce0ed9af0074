package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// A stepped is a site that runs, and whose clock is set forth and back.
type stepped struct {
	*testkit.Site
	visitor prove.Visitor
}

func newStepped(t *testing.T, e storetest.Engine) *stepped {
	return &stepped{testkit.NewSite(t, e, nil), testkit.Visitor("192.0.2.7")}
}

// run runs the server until the end of the test.
func (s *stepped) run(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	res, err := http.Get("http://" + l.Addr().String() + "/healthz") // from now on the clock is watched
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}

// set sets the clock, and waits until the server has dealt with it.
func (s *stepped) set(by time.Duration) {
	s.T.Helper()
	line := "msg=\"the clock was set\" by="
	if by < 0 {
		line = dealtWith
	}
	before := strings.Count(s.Logs.String(), line)
	s.Pass(by)
	s.says(line, before)
}

const dealtWith = "what was over before the clock was set back stays over"

// says waits until the server has said a line once more.
func (s *stepped) says(line string, before int) {
	s.T.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); strings.Count(s.Logs.String(), line) == before; <-tick.C {
		if time.Since(begun) > time.Minute {
			s.T.Fatalf("it does not say %q:\n%s", line, s.Logs.String())
		}
	}
}

func (s *stepped) begin(email, password string) (signin.Progress, error) {
	return s.SignIn.Begin(s.T.Context(), s.visitor, prove.Door{}, email, password, "")
}

func (s *stepped) code(p signin.Progress, code string) (signin.Progress, error) {
	return s.SignIn.Answer(s.T.Context(), s.visitor, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{code}})
}

// spray guesses passwords from a network until that is stopped.
func (s *stepped) spray(network string) {
	s.T.Helper()
	for n := 0; ; n++ {
		_, err := s.SignIn.Begin(s.T.Context(), testkit.Visitor(network), prove.Door{}, fmt.Sprintf("nobody%d@example.com", n), "wrong", "")
		if errors.Is(err, prove.ErrTooManyPasswords) {
			return
		}
		if !errors.Is(err, prove.ErrCredentials) || n > throttle.PasswordTries {
			s.T.Fatalf("guess %d: %v", n, err)
		}
	}
}

// The clock of the machine is set forth and back by hours while the server
// runs and people are signed in.
func TestNothingLivesAgainWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := newStepped(t, e)
			s.run(t)
			s.Account("ada@example.com", testkit.Password)
			s.Account("bob@example.com", testkit.Password)
			app := s.PutApp("ada@example.com")
			must := func(p signin.Progress, err error) signin.Progress {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			who := func(p signin.Progress) error {
				_, err := s.SignIn.Who(t.Context(), p.Session.Token)
				return err
			}
			used := app.Code(0)
			ada := must(s.code(must(s.begin("ada@example.com", testkit.Password)), used))
			begun := must(s.begin("ada@example.com", testkit.Password))
			link := []byte("hash of a link")
			s.Put(func(tx *store.Tx) error { return tx.AddSetupLink(link, tx.Now.Add(time.Hour)) })
			early := s.Now()

			s.set(5 * time.Hour)
			if err := who(ada); fault.From(err).Kind != fault.SignedOut {
				t.Errorf("a session that idled for five hours: %v", err)
			}
			bob := must(s.begin("bob@example.com", testkit.Password))
			if bob.Session == nil || who(bob) != nil {
				t.Fatalf("bob is not signed in: %+v", bob)
			}
			s.spray("198.51.100.7")

			s.set(-5 * time.Hour)
			if s.Now().Sub(early) > time.Hour {
				t.Fatal("this test took an hour")
			}
			if who(ada) == nil {
				t.Error("a session that was over is live again")
			}
			if who(bob) == nil {
				t.Error("a session with a proof of the future is live")
			}
			if p, err := s.code(begun, app.Code(1)); err == nil {
				t.Errorf("a ceremony that was over goes on: %+v", p)
			}
			if open, err := s.DB.Read(t.Context()).SetupLinkOpen(link, s.Now()); open || err != nil {
				t.Errorf("a link that was over is open: %v, %v", open, err)
			}
			if _, err := s.SignIn.Begin(t.Context(), testkit.Visitor("198.51.100.8"), prove.Door{}, "bob@example.com", "wrong", ""); !errors.Is(err, prove.ErrTooManyPasswords) {
				t.Errorf("the network has its tries again: %v", err)
			} else if wait := fault.From(err).Wait; wait > throttle.PasswordWindow {
				t.Errorf("it waits %s for a window of %s", wait, throttle.PasswordWindow)
			}
			again := must(s.begin("ada@example.com", testkit.Password))
			if p, err := s.code(again, used); err == nil {
				t.Errorf("a used code is taken: %+v", p)
			}

			// And it recovers by itself.
			s.Pass(factor.TOTPStep)
			if ada = must(s.code(again, app.Code(0))); ada.Session == nil || who(ada) != nil {
				t.Errorf("ada is not signed in with the next code: %+v", ada)
			}
			s.Pass(throttle.PasswordWindow)
			if _, err := s.SignIn.Begin(t.Context(), testkit.Visitor("198.51.100.8"), prove.Door{}, "bob@example.com", testkit.Password, ""); err != nil {
				t.Errorf("the network after its window: %v", err)
			}
			for line := range strings.Lines(s.Logs.String()) {
				if strings.Contains(line, "level=ERROR") && !strings.Contains(line, "msg=message") { // one that is under way when the clock jumps is sent again
					t.Errorf("it said:\n%s", s.Logs.String())
				}
			}
		})
	}
}

func TestAClockThatWasSetBackWhileNobodyLooked(t *testing.T) {
	t.Parallel()
	s := newStepped(t, storetest.SQLite)
	link := []byte("hash of a link")
	s.Put(func(tx *store.Tx) error { return tx.AddSetupLink(link, tx.Now.Add(time.Hour)) })
	s.Pass(5 * time.Hour)
	s.Put(func(tx *store.Tx) error {
		_, _, err := tx.Count("job:days", 1, time.Hour)
		return err
	})
	s.Pass(-5 * time.Hour)
	s.run(t)
	s.says(dealtWith, 0)
	if open, err := s.DB.Read(t.Context()).SetupLinkOpen(link, s.Now()); open || err != nil {
		t.Errorf("a link that was over is open: %v, %v", open, err)
	}
	if !strings.Contains(s.Logs.String(), "the clock was set back while nobody looked") {
		t.Errorf("it said:\n%s", s.Logs.String())
	}
}
