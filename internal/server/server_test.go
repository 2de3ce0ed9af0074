package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/server"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func settings(t *testing.T, data string) config.Config {
	t.Helper()
	c := config.Config{Listen: "localhost:0", Data: data, PublicURL: "http://localhost:8080", ServiceName: "Countersign", SignUp: "closed",
		SessionLength: 6 * time.Hour, SessionIdle: time.Hour, FleetAlarm: 1000, SendCeiling: 1000, Dev: true}
	c.SMS = config.SMS{Ceiling: 100, CountryCeiling: 50}
	c.Argon2 = config.Argon2{Memory: 19456, Passes: 2, Waiting: 8}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, c config.Config) *server.Server {
	t.Helper()
	s, err := server.Open(t.Context(), c, testkit.Log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestTheDevelopmentClockOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	c := settings(t, t.TempDir())
	first := open(t, c)
	if err := first.Clock().Advance(36 * time.Hour); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	if ahead := open(t, c).Clock().Ahead(); ahead != 36*time.Hour {
		t.Errorf("the next process is %s ahead", ahead)
	}
	c.Dev = false
	if ahead := open(t, c).Clock().Ahead(); ahead != 0 {
		t.Errorf("outside development mode it is %s ahead", ahead)
	}
}

func TestADatabaseWithoutItsKeysStaysClosed(t *testing.T) {
	t.Parallel()
	c := settings(t, t.TempDir())
	_ = open(t, c).Close()
	if err := os.Rename(c.Keys, c.Keys+".lost"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Open(t.Context(), c, testkit.Log); err == nil || !strings.Contains(err.Error(), "keys do not belong") {
		t.Errorf("opened without its keys: %v", err)
	}
	if _, err := os.Stat(c.Keys); !os.IsNotExist(err) {
		t.Errorf("new keys lie in the place of the lost ones: %v", err)
	}
}

// A start on a schema that a newer program has brought is said once.
func TestASchemaThatIsNewerIsSaid(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := settings(t, t.TempDir())
			if e == storetest.Postgres {
				c.Database = storetest.PostgresURL(t)
			}
			start := func() string {
				t.Helper()
				log := &testkit.Lines{}
				s, err := server.Open(t.Context(), c, slog.New(slog.NewTextHandler(log, nil)))
				if err == nil {
					err = s.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
				return log.String()
			}
			for range 2 {
				if said := start(); strings.Contains(said, "schema") {
					t.Errorf("of its own schema it says: %s", said)
				}
			}
			raw := storetest.Raw(t, c.DatabaseURL())
			if _, err := raw.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)"); err != nil {
				t.Fatal(err)
			}
			if err := raw.Close(); err != nil {
				t.Fatal(err)
			}
			if said := start(); strings.Count(said, "level=WARN msg=\"the schema is newer than this program") != 1 || strings.Count(said, "\n") != 1 || !strings.Contains(said, " schema=999 known=") {
				t.Errorf("of a newer schema it says: %s", said)
			}
		})
	}
}

func TestNobodyElseReadsTheDatabase(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := os.Chmod(data, 0o755); err != nil { //nolint:gosec // as an operator may have it
		t.Fatal(err)
	}
	open(t, settings(t, data))
	files, err := filepath.Glob(filepath.Join(data, "*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", f, info.Mode(), err)
		}
	}
}

func TestWhatIsAskedWhileStoppingIsAnswered(t *testing.T) {
	t.Parallel()
	s := open(t, settings(t, t.TempDir()))
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
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	body := `{"username":"nobody@example.com","password":"plum otter vines sky"}`
	if _, err := fmt.Fprintf(conn, "POST /api/v1/signin HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // the request is under way
		t.Fatal(line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(answers, nil); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the request under way got %v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	if err := <-done; err != nil {
		t.Errorf("stopping: %v", err)
	}
}
