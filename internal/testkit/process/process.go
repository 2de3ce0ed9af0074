// Package process runs the built program, for tests that restart, kill and
// watch it.
package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// program is the built program: once for all tests of a package.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "countersign-process.")
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

// Main is the TestMain of a package that runs the program.
func Main(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// Command is the program with these settings alone, by their names in capitals.
func Command(t testing.TB, settings map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "COUNTERSIGN_") || strings.HasPrefix(v, "NOTIFY_") })
	for name, value := range settings {
		c.Env = append(c.Env, "COUNTERSIGN_"+name+"="+value)
	}
	return c
}

var addresses atomic.Int64

// Address is a test's alone, to listen on: others take ports of 127.0.0.1 while
// its process is down.
func Address() string {
	return fmt.Sprintf("127.%d.%d.%d:8080", 64+os.Getpid()>>8&127, os.Getpid()&255, addresses.Add(1))
}

// A Process is one life of the program.
type Process struct {
	*exec.Cmd
	Out  bytes.Buffer // read once it has ended; empty where the command writes elsewhere
	Over chan struct{}
}

// Start starts a command.
func Start(t testing.TB, c *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: c, Over: make(chan struct{})}
	if c.Stdout == nil {
		c.Stdout, c.Stderr = &p.Out, &p.Out
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.Wait()
		close(p.Over)
	}()
	return p
}

// End kills a process that may have ended, or never been.
func (p *Process) End() {
	if p != nil {
		_ = p.Process.Kill()
		<-p.Over
	}
}

// Memory reads a line of /proc/PID/status, in MiB: VmRSS is what is resident,
// VmHWM the most that was, RssAnon what it has made itself and RssFile what of
// files is mapped.
func Memory(t testing.TB, pid int, line string) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Error(err)
			}
			return float64(kib) / 1024
		}
	}
	t.Errorf("no %s: %v", line, err)
	return 0
}
