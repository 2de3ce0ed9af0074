package server_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
	"countersign/internal/testkit/process"
)

// A measured program, running.
type measured struct {
	*exec.Cmd
	url string
}

// build builds a program: ours as people do.
func build(b *testing.B, program string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), filepath.Base(program))
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, program)
	if program == ours {
		c = exec.Command("make", "-C", "../..", "build", "BINARY="+path)
	}
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// The programs that are measured.
const (
	ours = "countersign/cmd/countersign"
	bare = "./testdata/bare"
)

// start runs the program on data, until the first healthy answer, and says how
// long that took.
func start(b *testing.B, program, data string) (*measured, time.Duration) {
	b.Helper()
	return run(b, func(address string) *exec.Cmd {
		return exec.Command(program, "serve", "--listen", address, "--data", data, "--argon2-at-once", "2")
	})
}

func run(b *testing.B, at func(address string) *exec.Cmd) (*measured, time.Duration) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	p := &measured{at(address), "http://" + address}
	begun := time.Now()
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.end)
	for {
		if res, err := http.Get(p.url + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return p, time.Since(begun)
			}
		}
		if time.Since(begun) > 30*time.Second {
			b.Fatal("no healthy answer in 30 s")
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *measured) end() { _ = p.Process.Kill(); _ = p.Wait() }

// memory is a line of the status of the process, in MiB: VmHWM is the most since
// resetPeak.
func (p *measured) memory(b *testing.B, line string) float64 {
	b.Helper()
	return process.Memory(b, p.Process.Pid, line)
}

// resetPeak has VmHWM begin anew (proc(5), clear_refs).
func (p *measured) resetPeak(b *testing.B) {
	b.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.Process.Pid), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

// calm waits until the resident memory has stayed the same for three seconds:
// the server gives back what only the start took after two.
func (p *measured) calm(b *testing.B) {
	b.Helper()
	last, since := p.memory(b, "VmRSS"), time.Now()
	for time.Since(since) < 3*time.Second {
		time.Sleep(100 * time.Millisecond)
		if now := p.memory(b, "VmRSS"); max(now-last, last-now) > 0.1 {
			last, since = now, time.Now()
		}
	}
}

// The size of the program.
func BenchmarkBinary(b *testing.B) {
	program := build(b, ours)
	size := int64(0)
	for b.Loop() {
		info, err := os.Stat(program)
		if err != nil {
			b.Fatal(err)
		}
		size = info.Size()
	}
	b.ReportMetric(float64(size)/1e6, "MB")
}

// From the start of the process to the first healthy answer, store opened:
// with no store there, and with one of an account; beside a server that does
// nothing. They take turns.
func BenchmarkColdStart(b *testing.B) {
	program, other := build(b, ours), build(b, bare)
	var first, again, nothing time.Duration
	for b.Loop() {
		data := b.TempDir()
		p, took := run(b, func(address string) *exec.Cmd { return exec.Command(other, address) })
		nothing += took
		p.end()
		p, took = start(b, program, data)
		first += took
		p.end()
		create := exec.Command(program, "account", "create", "--email", benchEmail, "--password-stdin", "--verified", "--data", data)
		create.Stdin = strings.NewReader(testkit.Password + "\n")
		if out, err := create.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		p, took = start(b, program, data)
		again += took
		p.end()
	}
	b.ReportMetric(float64(first)/float64(b.N)/1e6, "ms-first")
	b.ReportMetric(float64(again)/float64(b.N)/1e6, "ms-again")
	b.ReportMetric(float64(nothing)/float64(b.N)/1e6, "ms-bare")
	b.ReportMetric(float64(again)/float64(nothing), "×bare")
}

// Resident memory of the program: idle, at most and at the end of 2,000
// sign-ins of which a hundred at a time wait for two password hashes, and
// beside it a server that does nothing.
func BenchmarkResidentMemory(b *testing.B) {
	program, data := build(b, ours), b.TempDir()
	nothing, _ := run(b, func(address string) *exec.Cmd { return exec.Command(build(b, bare), address) })
	nothing.calm(b)
	const all, together = 2_000, 100
	s := testkit.NewSite(b, storetest.SQLite, func(c *config.Config) { c.Data, c.Dev = data, false })
	for i := range together { // tries that are under way count against a name
		s.Account(fmt.Sprintf("flood%d@example.com", i), testkit.Password)
	}
	_ = s.Close()
	p, _ := start(b, program, data)
	p.calm(b)
	idle, anonymous := p.memory(b, "VmRSS"), p.memory(b, "RssAnon")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: together}}
	p.resetPeak(b)
	var done, refused atomic.Int64
	for b.Loop() {
		until := done.Load() + all
		var running sync.WaitGroup
		for i := range together {
			running.Go(func() {
				body := fmt.Appendf(nil, `{"username": "flood%d@example.com", "password": %q}`, i, testkit.Password)
				for done.Load() < until {
					res, err := client.Post(p.url+"/api/v1/signin", "application/json", bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					switch res.StatusCode {
					case http.StatusOK:
						done.Add(1)
					case http.StatusServiceUnavailable, http.StatusTooManyRequests: // the queue is full: that is what it is for
						refused.Add(1)
						time.Sleep(50 * time.Millisecond)
					default:
						b.Error(res.Status)
						return
					}
				}
			})
		}
		running.Wait()
	}
	b.ReportMetric(nothing.memory(b, "VmRSS"), "MiB-bare")
	b.ReportMetric(idle, "MiB-idle")
	b.ReportMetric(anonymous, "MiB-idle-anonymous")
	b.ReportMetric(p.memory(b, "VmHWM"), "MiB-most")
	b.ReportMetric(p.memory(b, "VmRSS"), "MiB-after")
	b.ReportMetric(float64(refused.Load())/float64(done.Load()), "refused-per-sign-in")
}

// Resident memory with 100,000 live sessions, each of which was used once
// since the start.
func BenchmarkSessionsInMemory(b *testing.B) {
	program, data := build(b, ours), b.TempDir()
	tokens := manySessions(b, data, 100_000)
	p, _ := start(b, program, data)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	p.resetPeak(b)
	for b.Loop() {
		var next atomic.Int64
		var running sync.WaitGroup
		for range 32 {
			running.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(tokens)); i = next.Add(1) - 1 {
					r, err := http.NewRequestWithContext(b.Context(), "GET", p.url+"/api/v1/session", nil)
					if err != nil {
						b.Error(err)
						return
					}
					r.Header.Set("Authorization", "Bearer "+tokens[i])
					do(b, client, r)
				}
			})
		}
		running.Wait()
	}
	b.ReportMetric(p.memory(b, "VmHWM"), "MiB-most")
	b.ReportMetric(p.memory(b, "VmRSS"), "MiB-after")
}

// manySessions opens a store in data, signs somebody in, and keeps n sessions
// like that one.
func manySessions(b *testing.B, data string, n int) (tokens []string) {
	b.Helper()
	s := testkit.NewSite(b, storetest.SQLite, func(c *config.Config) { c.Data, c.Dev = data, false })
	defer func() { _ = s.Close() }()
	s.Account(benchEmail, testkit.Password)
	_, answer := post(s.Handler(), "/api/v1/signin", map[string]any{"username": benchEmail, "password": testkit.Password})
	token, err := secret.ParseToken(fmt.Sprint(answer["session"]))
	if err != nil {
		b.Fatal(answer, err)
	}
	like, err := s.DB.Read(b.Context()).Session(token.Hash())
	if err != nil {
		b.Fatal(err)
	}
	for len(tokens) < n {
		err := s.DB.Write(b.Context(), audit.Housekeeping("bench"), func(tx *store.Tx) error {
			for range min(1000, n-len(tokens)) {
				token, err := secret.NewToken(rand.Reader)
				if err != nil {
					return err
				}
				if like.ID, err = s.DB.NewID(); err != nil {
					return err
				}
				if err := tx.AddSession(like, token.Hash()); err != nil {
					return err
				}
				tokens = append(tokens, token.Reveal())
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return tokens
}
