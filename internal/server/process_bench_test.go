package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/testkit"
)

// A process is the built program, running.
type process struct {
	*exec.Cmd
	url string
}

// build builds the program as `make build` does.
func build(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "countersign")
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "countersign/cmd/countersign")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// start runs the program until the first healthy answer, and says how long
// that took.
func start(b *testing.B, program, data string) (*process, time.Duration) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	p := &process{exec.Command(program, "serve", "--listen", address, "--data", data), "http://" + address}
	begun := time.Now()
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
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

// resident is the resident memory of the process in MiB.
func (p *process) resident(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

// From the start of the process to the first healthy answer, store opened:
// with no store there, and with one.
func BenchmarkColdStart(b *testing.B) {
	program := build(b)
	var first, again time.Duration
	for b.Loop() {
		data := b.TempDir()
		p, took := start(b, program, data)
		first += took
		_ = p.Process.Kill()
		_ = p.Wait()
		p, took = start(b, program, data)
		again += took
		_ = p.Process.Kill()
		_ = p.Wait()
	}
	b.ReportMetric(float64(first)/float64(b.N)/1e6, "ms-first")
	b.ReportMetric(float64(again)/float64(b.N)/1e6, "ms-again")
}

// Resident memory of the program: idle, and after 10,000 sign-ins of which
// eight at a time wait for the password hash.
func BenchmarkResidentMemory(b *testing.B) {
	program, data := build(b), b.TempDir()
	create := exec.Command(program, "account", "create", "--email", benchEmail, "--password-stdin", "--verified", "--data", data)
	create.Stdin = strings.NewReader(testkit.Password + "\n")
	if out, err := create.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	p, _ := start(b, program, data)
	idle := p.resident(b)
	body, err := json.Marshal(map[string]string{"username": benchEmail, "password": testkit.Password})
	if err != nil {
		b.Fatal(err)
	}
	const all, together = 10_000, 8
	for b.Loop() {
		var running sync.WaitGroup
		for range together {
			running.Go(func() {
				for range all / together {
					res, err := http.Post(p.url+"/api/v1/signin", "application/json", bytes.NewReader(body))
					if err != nil || res.StatusCode != http.StatusOK {
						b.Error(res, err)
						return
					}
					_ = res.Body.Close()
				}
			})
		}
		running.Wait()
	}
	b.ReportMetric(idle, "MiB-idle")
	b.ReportMetric(p.resident(b), "MiB-after")
}
