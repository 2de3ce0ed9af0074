package testkit

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/server"
	"countersign/internal/store/storetest"
)

// A Site is the whole product behind a real listener on this machine, in
// development mode.
type Site struct {
	*server.Server
	T      testing.TB
	URL    string
	Config config.Config
	Logs   *Lines
	web    *httptest.Server
}

// NewSite starts a site on the engine. change may change its settings.
func NewSite(t testing.TB, e storetest.Engine, change func(*config.Config)) *Site {
	t.Helper()
	s := &Site{T: t, Logs: &Lines{}, web: httptest.NewUnstartedServer(nil)}
	s.URL = "http://" + strings.Replace(s.web.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	c := config.Config{Listen: "localhost:0", Data: t.TempDir(), PublicURL: s.URL, ServiceName: "Countersign", Contact: "help@example.com", SignUp: "closed",
		SessionLength: 6 * time.Hour, SessionIdle: time.Hour, FleetAlarm: 1000, SendCeiling: 10_000, Dev: true, LogFormat: "text"}
	c.Argon2 = config.Argon2{Memory: 19456, Passes: 2, Waiting: 64}
	if e != storetest.SQLite {
		c.Database = storetest.PostgresURL(t)
	}
	if change != nil {
		change(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if change == nil {
		c.Argon2.Memory, c.Argon2.Passes = CheapHash.MemoryKiB, CheapHash.Passes
	}
	s.Config = c
	var err error
	if s.Server, err = server.Open(t.Context(), c, slog.New(slog.NewTextHandler(s.Logs, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Build(io.Discard); err != nil {
		t.Fatal(err)
	}
	s.web.Config.Handler = s.Handler()
	s.web.Start()
	t.Cleanup(s.web.Close)
	return s
}

// Account makes an account through the operator's command.
func (s *Site) Account(email, password string) {
	s.T.Helper()
	if _, err := s.SignUp.Create(s.T.Context(), email, password, true); err != nil {
		s.T.Fatal(err)
	}
}
