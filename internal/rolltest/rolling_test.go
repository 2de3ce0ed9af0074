// Package rolltest runs real nodes: it restarts those of one PostgreSQL behind
// a balancer, and floods one with sign-ins.
package rolltest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
	"countersign/internal/testkit/process"
)

// A person uses the service through the balancer, without a pause.
type person struct {
	url, email, session string
	client              *http.Client
}

func (p *person) send(method, path, body string) (map[string]any, error) {
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if p.session != "" {
		r.Header.Set("Authorization", "Bearer "+p.session)
	}
	res, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s %s%s", method, path, res.Status, res.Header.Get("Balancer"), text)
	}
	var answer map[string]any
	return answer, json.Unmarshal(text, &answer)
}

func (p *person) signIn() error {
	p.session = ""
	answer, err := p.send("POST", "/api/v1/signin", fmt.Sprintf(`{"username":%q,"password":%q}`, p.email, testkit.Password))
	if err != nil {
		return err
	}
	session, ok := answer["session"].(string)
	if !ok {
		return fmt.Errorf("the sign-in ends in %v", answer)
	}
	p.session = session
	return nil
}

func (p *person) check() error {
	answer, err := p.send("GET", "/api/v1/session", "")
	if err == nil && answer["identity"] == nil {
		err = fmt.Errorf("the session is %v", answer)
	}
	return err
}

// fleet is nodes that share a database and keys, at one URL.
func fleet(t *testing.T, size int, at, drain string) []*node {
	shared := map[string]string{"DATABASE": storetest.PostgresURL(t), "KEYS": filepath.Join(t.TempDir(), "keys.json"), "PUBLIC_URL": at, "TRUSTED_PROXIES": "127.0.0.0/8", "DRAIN_DELAY": drain}
	var list []*node
	for range size {
		list = append(list, newNode(t, shared))
	}
	for i := range people {
		c := list[0].command("account", "create", "--email", fmt.Sprintf("owner%d@example.com", i), "--password-stdin", "--verified")
		c.Stdin = strings.NewReader(testkit.Password + "\n")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, n := range list {
		n.start()
	}
	return list
}

// behindBalancer is a fleet behind one of our own.
func behindBalancer(t *testing.T, size int) ([]*node, []*behind) {
	b := newBalancer(t)
	list := fleet(t, size, b.URL, "2s")
	var known []*behind
	for _, n := range list {
		known = append(known, b.look(t, n.address))
	}
	for _, k := range known {
		until(t, k.url.Host+" ready", k.ready.Load)
	}
	return list, known
}

// people use a fleet at once.
const people = 4

// A crowd is people who sign in and have their sessions checked, without a pause.
type crowd struct {
	stop            chan struct{}
	using           sync.WaitGroup
	signIns, checks atomic.Int64
	failed          chan error
}

func newCrowd(at string) *crowd {
	c := &crowd{stop: make(chan struct{}), failed: make(chan error, 20)}
	for i := range people {
		p := &person{url: at, email: fmt.Sprintf("owner%d@example.com", i), client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}}
		c.using.Go(func() {
			for {
				err := p.signIn()
				for n := 0; err == nil && n < 50; n++ {
					err = p.check()
					c.checks.Add(1)
				}
				c.signIns.Add(1)
				if err != nil {
					select {
					case c.failed <- err:
					default: // enough is known
					}
				}
				select {
				case <-c.stop:
					return
				default:
				}
			}
		})
	}
	return c
}

// leave has everybody stop, and says what failed.
func (c *crowd) leave(t *testing.T) {
	t.Helper()
	close(c.stop)
	c.using.Wait()
	close(c.failed)
	for err := range c.failed {
		t.Error(err)
	}
	t.Logf("%d sign-ins, %d session checks", c.signIns.Load(), c.checks.Load())
	if c.signIns.Load() < 8 || c.checks.Load() < 400 {
		t.Error("too few")
	}
}

// restart ends a node in good order and starts it again.
func (n *node) restart() {
	n.t.Helper()
	n.tell(syscall.SIGTERM)
	if state := n.ended(); !state.Success() {
		n.t.Errorf("%s ended with %s:\n%s", n.address, state, n.process.Out.String())
	}
	if out := n.process.Out.String(); !strings.Contains(out, "msg=draining for="+n.settings["DRAIN_DELAY"]) || strings.Contains(out, "level=ERROR") || strings.Contains(out, "cut off") {
		n.t.Errorf("%s said:\n%s", n.address, out)
	}
	n.start()
}

func TestEveryNodeIsRestartedAndNoRequestFails(t *testing.T) {
	t.Parallel()
	size, rounds := 2, 1
	if os.Getenv("COUNTERSIGN_TEST_FAULTS") != "" {
		size, rounds = 3, 4
	}
	nodes, known := behindBalancer(t, size)
	c := newCrowd(nodes[0].settings["PUBLIC_URL"])
	for range rounds {
		for i, n := range nodes {
			before := known[i].took.Load()
			until(t, n.address+" used", func() bool { return known[i].took.Load() > before+20 })
			n.restart()
			until(t, n.address+" ready again", known[i].ready.Load)
		}
	}
	c.leave(t)
}

func TestASecondSignalEndsANodeAtOnce(t *testing.T) {
	t.Parallel()
	nodes, known := behindBalancer(t, 1)
	n := nodes[0]
	n.settings["DRAIN_DELAY"] = "5m"
	n.tell(syscall.SIGTERM)
	n.ended()
	n.start()
	until(t, "ready again", known[0].ready.Load)
	n.tell(syscall.SIGTERM)
	until(t, "draining", func() bool { return status(n, "/readyz") == "503 draining" })
	if got := status(n, "/healthz"); got != "200 ok" {
		t.Errorf("while it drains, /healthz says %s", got)
	}
	begun := time.Now()
	n.tell(syscall.SIGTERM)
	if state := n.ended(); state.Success() || time.Since(begun) > 30*time.Second {
		t.Errorf("ended with %s after %s", state, time.Since(begun))
	}
}

func status(n *node, path string) string {
	res, err := http.Get("http://" + n.address + path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	var health struct{ Status string }
	_ = json.NewDecoder(res.Body).Decode(&health)
	return fmt.Sprint(res.StatusCode, " ", health.Status)
}

// A node whose keys are not those of the others must not be sent anybody.
func TestANodeLeftBehindByItsKeysIsNotReady(t *testing.T) {
	t.Parallel()
	nodes, known := behindBalancer(t, 2)
	n := nodes[1]
	copied := filepath.Join(t.TempDir(), "keys.json")
	text, err := os.ReadFile(n.settings["KEYS"])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	n.settings["KEYS"] = copied
	n.tell(syscall.SIGTERM)
	n.ended()
	n.start()
	until(t, "ready with a copy", known[1].ready.Load)
	if out, err := nodes[0].command("key", "rotate").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	until(t, "seen with old keys", func() bool { return status(n, "/readyz") == "503 keys do not belong to the database" })
	if got := status(nodes[0], "/readyz"); got != "200 ready" {
		t.Errorf("the node with the new key says %s", got)
	}
	if text, err = os.ReadFile(nodes[0].settings["KEYS"]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "ready with the new keys", func() bool { return status(n, "/readyz") == "200 ready" })
}

func TestTheServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	n := newNode(t, map[string]string{"DEV": "true"})
	n.settings["PUBLIC_URL"] = "http://" + n.address
	n.start("NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=100000")
	heard := map[string]int{}
	hear := func() {
		b := make([]byte, 100)
		if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		size, err := l.Read(b)
		if err != nil {
			t.Fatalf("heard %v: %v", heard, err)
		}
		heard[string(b[:size])]++
	}
	for heard["READY=1"] == 0 || heard["WATCHDOG=1"] < 3 {
		hear()
	}
	if got := status(n, "/readyz"); got != "200 ready" {
		t.Errorf("said to be ready, it says %s", got)
	}
	n.tell(syscall.SIGTERM)
	for heard["STOPPING=1"] == 0 {
		hear()
	}
	if state := n.ended(); !state.Success() {
		t.Errorf("ended with %s:\n%s", state, n.process.Out.String())
	}
}

// Nodes and their database often start together.
func TestANodeWaitsForItsDatabase(t *testing.T) {
	t.Parallel()
	there, err := url.Parse(storetest.PostgresURL(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	later := *there
	later.Host = address
	n := newNode(t, map[string]string{"DATABASE": later.String(), "DRAIN_DELAY": "0s"})
	n.settings["PUBLIC_URL"] = "http://" + n.address
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	c := n.command("serve")
	c.Stdout, c.Stderr = w, w
	n.process = process.Start(t, c)
	_ = w.Close() // it has its own
	said := make([]byte, 4096)
	size, err := r.Read(said)
	if err != nil || !strings.Contains(string(said[:size]), "the database does not answer yet") || !strings.Contains(string(said[:size]), "waiting=1m0s") {
		t.Fatalf("it says %q, %v", said[:size], err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go forward(l, there.Host)
	until(t, "ready once the database is there", func() bool { return status(n, "/readyz") == "200 ready" })
	n.tell(syscall.SIGTERM)
	if state := n.ended(); !state.Success() {
		t.Errorf("ended with %s", state)
	}
}

// forward passes connections on.
func forward(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			_ = in.Close()
			continue
		}
		go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
	}
}
