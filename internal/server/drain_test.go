package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/server"
	"countersign/internal/store/storetest"
)

func TestANodeThatLeavesSaysSoAndStillServes(t *testing.T) {
	t.Parallel()
	c := settings(t, t.TempDir())
	c.Dev, c.Database, c.DrainDelay = false, storetest.PostgresURL(t), 3*time.Second
	s := open(t, c)
	asked, over := make(chan time.Duration, 1), make(chan time.Time)
	s.SetAfter(func(d time.Duration) <-chan time.Time {
		asked <- d
		return over
	})
	if err := s.Build(io.Discard); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(running, l) }()
	ask := func(path string) (string, bool) {
		t.Helper()
		res, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		var told struct{ Status string }
		_ = json.NewDecoder(res.Body).Decode(&told)
		return strconv.Itoa(res.StatusCode) + " " + told.Status, res.Close
	}
	if told, closing := ask("/readyz"); told != "200 ready" || closing {
		t.Errorf("a node that serves says %q, closing %v", told, closing)
	}
	stop()
	if d := <-asked; d != 3*time.Second {
		t.Errorf("it leaves after %s", d)
	}
	for path, want := range map[string]string{"/readyz": "503 draining", "/healthz": "200 ok", "/signin": "200 "} {
		if told, closing := ask(path); told != want || !closing {
			t.Errorf("while it leaves, %s says %q, closing %v", path, told, closing)
		}
	}
	close(over)
	if err := <-done; err != nil {
		t.Errorf("ending: %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}

func TestOnlyNodesOfManyDrain(t *testing.T) {
	t.Parallel()
	for _, of := range []struct {
		c    config.Config
		want time.Duration
	}{
		{config.Config{Database: "postgres://x", DrainDelay: time.Second}, time.Second},
		{config.Config{Database: "postgres://x", DrainDelay: time.Second, Dev: true}, 0},
		{config.Config{DrainDelay: time.Second}, 0},
	} {
		if got := of.c.Draining(); got != of.want {
			t.Errorf("%+v: %s", of.c, got)
		}
	}
	for _, d := range []time.Duration{-1, 5*time.Minute + 1} {
		c := settings(t, t.TempDir())
		c.DrainDelay = d
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), "drain_delay: ") {
			t.Errorf("%s is taken: %v", d, err)
		}
	}
}

func TestADatabaseIsWaitedForWhereThatHelps(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	there := storetest.PostgresURL(t)
	if err := server.AwaitFor(t.Context(), there, log, time.Minute, time.Millisecond); err != nil || said.String() != "" {
		t.Errorf("a database that is there: %v, %q", err, said.String())
	}
	if err := server.AwaitFor(t.Context(), t.TempDir()+"/file.db", log, 0, 0); err != nil {
		t.Errorf("a file: %v", err)
	}
	u, err := url.Parse(there)
	if err != nil {
		t.Fatal(err)
	}
	lacking := *u
	lacking.Path = "/no_such_database"
	if err := server.AwaitFor(t.Context(), lacking.String(), log, time.Minute, time.Millisecond); err == nil || !strings.Contains(err.Error(), "no_such_database") || said.String() != "" {
		t.Errorf("one that does not exist is waited for: %v, %q", err, said.String())
	}
	u.Host = "127.0.0.1:1"
	u.User = url.UserPassword("ada", "must-not-be-told")
	err = server.AwaitFor(t.Context(), u.String(), log, 50*time.Millisecond, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "the database did not answer within 50ms: reach PostgreSQL at 127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}
	if strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "the database does not answer yet") || strings.Contains(said.String()+err.Error(), "must-not-be-told") {
		t.Errorf("it said %q", said.String())
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.AwaitFor(gone, u.String(), log, time.Minute, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("told to stop, it says %v", err)
	}
}

func TestTheWatchdogIsFedTwiceInItsTime(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]time.Duration{
		"": 0, "60000000,": 30 * time.Second, "60000000," + strconv.Itoa(os.Getpid()): 30 * time.Second, "60000000,1": 0, "-1,": 0, "x,": 0, "0,": 0,
	} {
		usec, pid, _ := strings.Cut(env, ",")
		got := server.Watchdog(func(name string) string {
			return map[string]string{"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}[name]
		})
		if got != want {
			t.Errorf("%q: every %s, want %s", env, got, want)
		}
	}
}
