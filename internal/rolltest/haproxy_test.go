package rolltest_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/store/storetest"
)

// The balancer that deploy/ recommends, with its own configuration.
func TestNoRequestFailsBehindTheBalancerOfTheExample(t *testing.T) {
	t.Parallel()
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		if haproxy, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			storetest.Missing(t, "no HAProxy (Debian: apt-get install haproxy)")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	nodes := fleet(t, 2, "http://"+at, "4s")

	text, err := os.ReadFile("../../deploy/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	settings := string(text)
	for _, change := range [][2]string{
		{"    maxconn 4000\n", "    maxconn 200\n    stats socket " + socket + "\n"},
		{"bind :8080", "bind " + at},
		{"server node1 node1:8080", "server node1 " + nodes[0].address},
		{"server node2 node2:8080", "server node2 " + nodes[1].address},
		{"    server node3 node3:8080\n", ""},
	} {
		if !strings.Contains(settings, change[0]) {
			t.Fatalf("deploy/haproxy.cfg lacks %q", change[0])
		}
		settings = strings.Replace(settings, change[0], change[1], 1)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c := exec.Command(haproxy, "-db", "-f", file)
	c.Stdout, c.Stderr = io.Discard, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	// up reports what HAProxy thinks of a node: it is up, and was looked at.
	up := func(name string) bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprintln(conn, "show stat")
		table, _ := io.ReadAll(conn)
		for line := range strings.Lines(string(table)) {
			if strings.HasPrefix(line, "nodes,"+name+",") {
				return strings.Contains(line, ",UP,") && strings.Contains(line, ",L7OK,")
			}
		}
		return false
	}
	for i := range nodes {
		until(t, "a node up", func() bool { return up(fmt.Sprintf("node%d", i+1)) })
	}
	crowd := newCrowd("http://" + at)
	for i, n := range nodes {
		n.restart()
		until(t, n.address+" up again", func() bool { return up(fmt.Sprintf("node%d", i+1)) })
	}
	crowd.leave(t)
}
