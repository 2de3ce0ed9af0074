package rolltest_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"countersign/internal/testkit/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// A node is one of the servers, through its lives.
type node struct {
	t        *testing.T
	address  string
	settings map[string]string
	process  *process.Process
}

// newNode prepares a node with an address of its own.
func newNode(t *testing.T, settings map[string]string) *node {
	n := &node{t: t, address: process.Address()}
	n.settings = map[string]string{"DATA": t.TempDir(), "LISTEN": n.address}
	for name, value := range settings {
		n.settings[name] = value
	}
	t.Cleanup(func() { n.process.End() })
	return n
}

func (n *node) command(args ...string) *exec.Cmd { return process.Command(n.t, n.settings, args...) }

func (n *node) start(env ...string) {
	n.t.Helper()
	c := n.command("serve")
	c.Env = append(c.Env, env...)
	n.process = process.Start(n.t, c)
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
	case <-n.process.Over:
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
