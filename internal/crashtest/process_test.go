package crashtest_test

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/testkit/process"
)

func TestMain(m *testing.M) { process.Main(m) }

func (s *site) command(args ...string) *exec.Cmd { return process.Command(s.t, s.settings, args...) }

// begin starts the server, whose clock goes on from where it was.
func (s *site) begin() {
	s.t.Helper()
	s.clock.keep(s.t, s.settings["DATA"])
	s.process = process.Start(s.t, s.command("serve"))
	s.killed.Store(false)
}

// ready waits until the server serves.
func (s *site) ready() {
	s.t.Helper()
	for begun := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		res, err := http.Get(s.url + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.process.Over:
			s.t.Fatalf("the server does not start again:\n%s", s.process.Out.String())
		default:
		}
		if time.Since(begun) > 30*time.Second {
			s.t.Fatalf("the server is not ready after 30 s: %v", err)
		}
	}
}

// kill ends the server as a power cut would end it: nothing is flushed,
// nothing is said.
func (s *site) kill() {
	s.t.Helper()
	s.killed.Store(true)
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	<-s.process.Over
	for line := range strings.Lines(s.process.Out.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			s.t.Errorf("the server said: %s", line)
		}
	}
}

// verify walks every chain by the operator's command, and returns where they
// end; they must contain where they ended before.
func (s *site) verify(before []string) (heads []string) {
	s.t.Helper()
	args := []string{"audit", "verify"}
	for _, h := range before {
		args = append(args, "--head", h)
	}
	out, err := s.command(args...).CombinedOutput()
	if err != nil {
		s.t.Errorf("audit verify: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if head, ok := strings.CutSuffix(strings.TrimSpace(line), " holds"); ok {
			heads = append(heads, head)
		}
	}
	if len(heads) == 0 {
		s.t.Errorf("audit verify says nothing: %q", out)
	}
	return heads
}

// A clock is the server's, which is ahead of the machine's.
type clock struct {
	mu    sync.RWMutex // held for writing while it moves
	ahead time.Duration
}

// now is the time, within mu.
func (c *clock) now() time.Time { return time.Now().Add(c.ahead) }

// keep writes down how far ahead the clock is: a kill may have hit the server
// while it did so itself.
func (c *clock) keep(t *testing.T, data string) {
	t.Helper()
	c.mu.RLock()
	defer c.mu.RUnlock()
	if err := os.WriteFile(filepath.Join(data, "dev-clock"), []byte(c.ahead.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
