package rolltest_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// program is the built program: once for all tests of this package.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "countersign-roll.")
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

// A node is one of the servers, through its lives.
type node struct {
	t        *testing.T
	address  string
	settings map[string]string
	process  *process
}

// A process is one life of a node.
type process struct {
	*exec.Cmd
	out  bytes.Buffer // read once it has ended
	over chan struct{}
}

var nodes atomic.Int64

// newNode prepares a node with an address of its own: others take ports of
// 127.0.0.1 while it is down.
func newNode(t *testing.T, settings map[string]string) *node {
	n := &node{t: t, settings: map[string]string{"DATA": t.TempDir()}}
	n.address = fmt.Sprintf("127.%d.%d.%d:8080", 64+os.Getpid()>>8&127, os.Getpid()&255, 101+nodes.Add(1))
	n.settings["LISTEN"] = n.address
	for name, value := range settings {
		n.settings[name] = value
	}
	t.Cleanup(func() {
		if n.process != nil {
			_ = n.process.Process.Kill()
			<-n.process.over
		}
	})
	return n
}

func (n *node) command(args ...string) *exec.Cmd {
	n.t.Helper()
	path, err := program()
	if err != nil {
		n.t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "COUNTERSIGN_") || strings.HasPrefix(v, "NOTIFY_") })
	for name, value := range n.settings {
		c.Env = append(c.Env, "COUNTERSIGN_"+name+"="+value)
	}
	return c
}

func (n *node) start(env ...string) {
	n.t.Helper()
	p := &process{Cmd: n.command("serve"), over: make(chan struct{})}
	p.Env = append(p.Env, env...)
	p.Stdout, p.Stderr = &p.out, &p.out
	if err := p.Start(); err != nil {
		n.t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.over)
	}()
	n.process = p
}

func (n *node) tell(signal syscall.Signal) {
	n.t.Helper()
	if err := n.process.Process.Signal(signal); err != nil {
		n.t.Fatal(err)
	}
}

// ended waits until the process is over, and returns how.
func (n *node) ended() *os.ProcessState {
	n.t.Helper()
	select {
	case <-n.process.over:
		return n.process.ProcessState
	case <-time.After(time.Minute):
		n.t.Fatalf("%s does not end", n.address)
		return nil
	}
}

// until waits for what must come about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); !holds(); <-tick.C {
		if time.Since(begun) > time.Minute {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}
