package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is the built program: once for all tests of this package.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "countersign-crash.")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "countersign")
	c := exec.Command("go", "build", "-o", path, "countersign/cmd/countersign")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// A process is one life of the server.
type process struct {
	*exec.Cmd
	out  bytes.Buffer // read once it has ended
	over chan struct{}
}

func (s *site) command(args ...string) *exec.Cmd {
	c := exec.Command(s.program, args...)
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "COUNTERSIGN_") })
	for name, value := range s.settings {
		c.Env = append(c.Env, "COUNTERSIGN_"+name+"="+value)
	}
	return c
}

// begin starts the server, whose clock goes on from where it was.
func (s *site) begin() {
	s.t.Helper()
	s.clock.keep(s.t, s.settings["DATA"])
	p := &process{Cmd: s.command("serve"), over: make(chan struct{})}
	p.Stdout, p.Stderr = &p.out, &p.out
	if err := p.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.over)
	}()
	s.killed.Store(false)
	s.process = p
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
		case <-s.process.over:
			s.t.Fatalf("the server does not start again:\n%s", s.process.out.String())
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
	<-s.process.over
	for line := range strings.Lines(s.process.out.String()) {
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
