package storetest

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A Cluster is a PostgreSQL server of the test's own, which it may stop.
type Cluster struct {
	URL string // of an empty database

	bin, dir string
	as       *syscall.Credential
	options  string
	port     string
}

// NewCluster starts one; settings are like max_connections=10. What it
// acknowledges it has written down, but not forced to the disk.
func NewCluster(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	c := place(t)
	c.do(t, "initdb", "-D", c.dir+"/data", "-U", "countersign", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	c.run(t, settings)
	return c
}

// NewStandby starts a copy of a server that follows it. From then on the
// server acknowledges nothing that the copy has not got.
func NewStandby(t testing.TB, of *Cluster) *Cluster {
	t.Helper()
	c := place(t)
	c.do(t, "pg_basebackup", "-D", c.dir+"/data", "-R", "--no-sync", "--checkpoint=fast", "-h", "127.0.0.1", "-p", of.port, "-U", "countersign")
	c.run(t, nil)
	raw := Raw(t, of.URL)
	for _, q := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if _, err := raw.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	of.Followed(t)
	return c
}

// Followed waits until a copy counts: before that, whatever is acknowledged
// might be lost.
func (c *Cluster) Followed(t testing.TB) {
	t.Helper()
	raw := Raw(t, c.URL)
	for followed := false; !followed; {
		if err := raw.QueryRow("SELECT EXISTS (SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync')").Scan(&followed); err != nil {
			t.Fatal(err)
		}
	}
}

// Promote has a copy take the place of what it follows.
func (c *Cluster) Promote(t testing.TB) {
	t.Helper()
	c.do(t, "pg_ctl", "-D", c.dir+"/data", "-w", "promote")
	raw := Raw(t, c.URL)
	for _, q := range []string{"ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()"} { // it has none
		if _, err := raw.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
}

// place finds the programs and makes a directory for a server.
func place(t testing.TB) *Cluster {
	t.Helper()
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(bins) == 0 {
		Missing(t, "no PostgreSQL server here (Debian: apt-get install postgresql)")
	}
	c := &Cluster{bin: filepath.Dir(bins[len(bins)-1])}
	dir, err := os.MkdirTemp("/tmp", "countersign-cluster.") // not the test's own: the server runs as somebody else
	if err != nil {
		t.Fatal(err)
	}
	c.dir = dir
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		c.as = somebody(t)
		if err := os.Chown(dir, int(c.as.Uid), int(c.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// run starts the server for the first time, at a port of its own.
func (c *Cluster) run(t testing.TB, settings []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, c.port, _ = net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	c.options = "-p " + c.port + " -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c shared_buffers=16MB -c fsync=off"
	for _, s := range settings {
		c.options += " -c " + s
	}
	c.URL = "postgres://countersign@127.0.0.1:" + c.port + "/postgres?sslmode=disable"
	c.Start(t)
	t.Cleanup(func() { _ = c.command("pg_ctl", "-D", c.dir+"/data", "-m", "immediate", "-w", "stop").Run() })
}

func somebody(t testing.TB) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)} //nolint:gosec // parsed as 32 bits
}

func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...) //nolint:gosec // PostgreSQL's own
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "HOME="+c.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	return cmd
}

func (c *Cluster) do(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := c.command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out // a file: what is started keeps it open
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		t.Fatalf("%s: %v\n%s", name, err, strings.TrimSpace(string(said)))
	}
}

// Start starts the server again.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	c.do(t, "pg_ctl", "-D", c.dir+"/data", "-w", "-l", c.dir+"/server.log", "-o", c.options, "start")
}

// Quit stops it in good order: it ends its connections first.
func (c *Cluster) Quit(t testing.TB) {
	t.Helper()
	c.do(t, "pg_ctl", "-D", c.dir+"/data", "-m", "fast", "-w", "stop")
}

// Stop stops it at once, as a crash does.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	c.do(t, "pg_ctl", "-D", c.dir+"/data", "-m", "immediate", "-w", "stop")
}
