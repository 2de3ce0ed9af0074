package rolltest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
	"countersign/internal/testkit/process"
)

const (
	floodTimes  = 10  // as many sign-ins as the processors could hash
	floodMemory = 128 // MiB that the node may have at most, as the issue says
	floodCores  = 2   // processors the node may use, so that every machine says the same
	floodReturn = 4   // MiB that may stay once the flood is over and the memory of hashes given back
)

// memory is a line of the status of the node's process, in MiB.
func (n *node) memory(line string) float64 {
	n.t.Helper()
	return process.Memory(n.t, n.process.Process.Pid, line)
}

// processor is the time that processors have spent on a process.
func processor(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	ticks := 0
	for _, one := range f[11:13] { // as the process, and in the system
		n, err := strconv.Atoi(one)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}

// A river is a node, and what is known of it before the flood.
type river struct {
	t      *testing.T
	node   *node
	client *http.Client
	next   atomic.Int64 // number of a sign-in
	cost   time.Duration
	sample []string // tokens of sessions that are checked

	places chan struct{} // of the test: what has no answer yet
	under  sync.WaitGroup

	answers, refused, right, wrong, unsent atomic.Int64
}

// A reply is what the node says to a sign-in.
type reply struct {
	status     int
	retry      string // header
	Session    string
	Code       string
	RetryAfter int `json:"retry_after"`
}

// signIn signs in from a network of its own.
func (r *river) signIn(name, password string) (reply, error) {
	n := r.next.Add(1)
	body, err := json.Marshal(map[string]string{"username": name, "password": password})
	if err != nil {
		return reply{}, err
	}
	q, err := http.NewRequest("POST", "http://"+r.node.address+"/api/v1/signin", bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("X-Forwarded-For", fmt.Sprintf("%d.%d.%d.9", 20+n>>16, n>>8&255, n&255))
	res, err := r.client.Do(q)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, err
	}
	a := reply{status: res.StatusCode, retry: res.Header.Get("Retry-After")}
	return a, json.Unmarshal(text, &a)
}

// one is one sign-in of the flood: the right password, a wrong one, or a name
// that nobody has. Whatever is not right, wrong or busy is an error.
func (r *river) one(n int) {
	owner := fmt.Sprintf("owner%d@example.com", n%people)
	name, password := owner, testkit.Password
	switch n % 4 {
	case 1:
		password = fmt.Sprintf("not the password %d", n)
	case 2:
		name = fmt.Sprintf("nobody%d@example.com", n)
	case 3:
		name = fmt.Sprintf("nobody%d@nowhere.ram.localhost", n)
	}
	a, err := r.signIn(name, password)
	r.answers.Add(1)
	switch {
	case err != nil:
		r.t.Errorf("sign-in %d: %v", n, err)
	case a.status == http.StatusServiceUnavailable:
		seconds, err := strconv.Atoi(a.retry)
		if err != nil || seconds < 1 || a.RetryAfter != seconds || a.Code != "password.busy" {
			r.t.Errorf("sign-in %d is refused with %+v", n, a)
		}
		r.refused.Add(1)
	case n%4 == 0:
		if a.status != http.StatusOK || a.Session == "" {
			r.t.Errorf("the right password, sign-in %d: %+v", n, a)
		}
		r.right.Add(1)
	default:
		if a.status != http.StatusUnauthorized || a.Code != "signin.wrong" || a.Session != "" {
			r.t.Errorf("sign-in %d as %s: %+v", n, name, a)
		}
		r.wrong.Add(1)
	}
}

// flood offers sign-ins in an open loop, whatever became of those before, for
// as long as told: so many times more than that many processors could hash.
// They are not all answered yet when it returns.
func (r *river) flood(length time.Duration, cores float64) {
	rate := floodTimes * cores / r.cost.Seconds()
	all := int(rate * length.Seconds())
	begun := time.Now()
	for n := range all {
		if wait := time.Until(begun.Add(time.Duration(float64(n) / rate * float64(time.Second)))); wait > 0 {
			time.Sleep(wait)
		}
		select {
		case r.places <- struct{}{}:
		default:
			r.unsent.Add(1)
			continue
		}
		r.under.Go(func() {
			r.one(n)
			<-r.places
		})
	}
	r.t.Logf("%d sign-ins offered in %.1f s", all, time.Since(begun).Seconds())
}

// A spell is what was seen for a while.
type spell struct {
	checks       float64 // of sessions, a second
	node, client float64 // processors they had
	hashed       float64 // processors that hashed
}

// left is the checks a second for each processor that was left to them.
func (s spell) left() float64 { return s.checks / max(0.01, s.node+s.client-s.hashed) }

func (s spell) String() string {
	return fmt.Sprintf("%.0f checks/s, node %.2f and client %.2f processors, %.2f of them hash: %.0f checks/s for each of the others", s.checks, s.node, s.client, s.hashed, s.left())
}

// during has sessions checked while f runs, on as many connections as there
// are, without a pause.
func (r *river) during(f func()) (s spell) {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.t.Context())
	var done atomic.Int64
	var under sync.WaitGroup
	for _, token := range r.sample {
		under.Go(func() {
			p := &person{url: "http://" + r.node.address, session: token, client: r.client}
			for ctx.Err() == nil {
				if err := p.check(); err != nil {
					r.t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	begun, node, client := time.Now(), processor(r.t, r.node.process.Process.Pid), processor(r.t, os.Getpid())
	checked, hashed := done.Load(), r.right.Load()+r.wrong.Load()
	f()
	wall := time.Since(begun).Seconds()
	s.checks = float64(done.Load()-checked) / wall
	s.node = (processor(r.t, r.node.process.Process.Pid) - node).Seconds() / wall
	s.client = (processor(r.t, os.Getpid()) - client).Seconds() / wall
	s.hashed = float64(r.right.Load()+r.wrong.Load()-hashed) * r.cost.Seconds() / wall
	stop()
	under.Wait()
	return s
}

// newRiver starts a node of floodCores processors, with the hashes and the
// queue that it has by itself, and measures what a sign-in costs it.
func newRiver(t *testing.T, settings map[string]string) *river {
	r := &river{t: t, node: newNode(t, settings), places: make(chan struct{}, 1000), client: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}
	t.Cleanup(r.client.CloseIdleConnections)
	r.node.settings["PUBLIC_URL"] = "http://" + r.node.address
	r.node.settings["TRUSTED_PROXIES"] = "127.0.0.0/8"
	r.node.settings["DRAIN_DELAY"] = "0s"
	for i := range people {
		c := r.node.command("account", "create", "--email", fmt.Sprintf("owner%d@example.com", i), "--password-stdin", "--verified")
		c.Stdin = strings.NewReader(testkit.Password + "\n")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	r.node.start(fmt.Sprintf("GOMAXPROCS=%d", floodCores))
	until(t, "ready", func() bool { return status(r.node, "/readyz") == "200 ready" })
	before := processor(t, r.node.process.Process.Pid)
	const some = 12
	for n := range some {
		a, err := r.signIn(fmt.Sprintf("owner%d@example.com", n%people), testkit.Password)
		if err != nil || a.status != http.StatusOK || a.Session == "" {
			t.Fatalf("before the flood: %+v, %v", a, err)
		}
		if len(r.sample) < 8 {
			r.sample = append(r.sample, a.Session)
		}
	}
	r.cost = max((processor(t, r.node.process.Process.Pid)-before)/some, time.Millisecond)
	return r
}

// watch samples the resident memory until stop is called, which returns the most.
func (r *river) watch() (stop func() float64) {
	over, most := make(chan struct{}), 0.0
	var under sync.WaitGroup
	under.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, r.node.memory("VmRSS"))
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	})
	return func() float64 { close(over); under.Wait(); return most }
}

// Ten times more sign-ins than the processors can hash: most are told to come
// back, nobody is told what is not so, and everything else goes on.
//
// Session checks are to keep at least half of their unloaded rate per core
// left to them. Both are measured on the same connections, in turns, and the
// median of each counts; the flood is ten times what the processors could hash
// that the checks before it could get. What is left to them is the time that
// node and client had, less the hashes: their number times what a sign-in alone
// costs. So whatever else the machine does is left out; what the flood itself
// costs (its client, and the refusals) is not, which makes it harder. A node
// that hashed on every processor would leave nothing, and half of nothing is
// soon kept: so hashes must not take more than floodCores-1, and a quarter for
// what is not measured well.
//
// Figures of a second on a busy machine say little: only the long form
// asserts them.
func TestAFloodOfSignIns(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		storetest.Missing(t, "no /proc here")
	}
	t.Run("sqlite", func(t *testing.T) { flooded(t, map[string]string{}) })
	if os.Getenv("COUNTERSIGN_TEST_FAULTS") != "" {
		t.Run("postgres", func(t *testing.T) { flooded(t, map[string]string{"DATABASE": storetest.PostgresURL(t)}) })
	}
}

func flooded(t *testing.T, settings map[string]string) {
	long := os.Getenv("COUNTERSIGN_TEST_FAULTS") != ""
	rounds, length := 1, 3*time.Second
	if long {
		rounds, length = 5, 6*time.Second
	} else {
		settings["ARGON2_WAITING"] = "16" // where the machine has no time, the last of 64 would wait for longer than a connection may
	}
	r := newRiver(t, settings)
	idle := r.node.memory("VmRSS")
	stop := r.watch()
	var calm, wild []spell
	for range rounds {
		still := r.during(func() { time.Sleep(length) })
		calm = append(calm, still)
		t.Logf("calm: %s", still)
		cores := min(floodCores, max(0.1, still.node+still.client)) // that are there to be had
		wild = append(wild, r.during(func() { r.flood(length, cores) }))
		t.Logf("flood: %s", wild[len(wild)-1])
		r.under.Wait()
	}
	answers, refused, right, wrong := r.answers.Load(), r.refused.Load(), r.right.Load(), r.wrong.Load()
	if a, err := r.signIn("owner0@example.com", testkit.Password); err != nil || a.status != http.StatusOK || a.Session == "" {
		t.Errorf("the first sign-in after the flood: %+v, %v", a, err)
	}
	most, peak := stop(), r.node.memory("VmHWM")
	t.Logf("a sign-in costs %s; of %d, %d were right, %d wrong, %d refused, %d never sent; %.0f MiB before, %.0f MiB at most (%.0f seen)",
		r.cost, answers, right, wrong, refused, r.unsent.Load(), idle, peak, most)
	if refused*2 <= answers || right == 0 || wrong == 0 {
		t.Errorf("of %d sign-ins %d were refused, %d right, %d wrong", answers, refused, right, wrong)
	}
	if peak > floodMemory || most > floodMemory {
		t.Errorf("the node had %.0f MiB, at most %d are allowed", max(peak, most), floodMemory)
	}
	of := func(list []spell, f func(spell) float64) float64 {
		var values []float64
		for _, s := range list {
			values = append(values, f(s))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	kept, hashed := of(wild, spell.left)/of(calm, spell.left), 0.0
	for _, s := range wild {
		hashed = max(hashed, s.hashed)
	}
	t.Logf("session checks keep %.2f of their rate per processor left to them; hashes take %.2f processors at most", kept, hashed)
	if !long {
		return
	}
	if got := of(calm, func(s spell) float64 { return s.node + s.client }); got < floodCores/4.0 {
		t.Logf("others use this machine, of which only %.2f processors are to be had: its rates say nothing", got)
	} else if kept < 0.5 || hashed > (floodCores-1)*1.25 {
		t.Errorf("session checks keep %.2f of their rate, hashes take %.2f processors", kept, hashed)
	}
	begun := time.Now() // housekeeping gives back what nobody has used for a minute
	for now := 0.0; ; time.Sleep(time.Second) {
		if now = r.node.memory("VmRSS"); now <= idle+floodReturn {
			t.Logf("%.0f MiB %.0f s later", now, time.Since(begun).Seconds())
			return
		}
		if time.Since(begun) > 4*time.Minute {
			t.Errorf("%.0f MiB are still resident, %.0f were before", now, idle)
			return
		}
	}
}
