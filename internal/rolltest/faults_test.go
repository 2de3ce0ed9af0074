package rolltest_test

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
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

	"countersign/internal/config"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/server"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// An ordeal is three nodes on one PostgreSQL behind a balancer, with links
// between that fail as the test says, and guests who use them all the while.
type ordeal struct {
	*ledger
	at     string
	known  []*behind
	fronts []*storetest.Link // between the balancer and each node
	backs  []*storetest.Link // between each node and the database
	guests []*guest
	leave  func() // has everybody stop
	begun  time.Time
}

const size = 3

// newOrdeal starts one on the database given; others are the hosts that may
// take the place of its own.
func newOrdeal(t *testing.T, guests int, database string, others ...string) *ordeal {
	t.Helper()
	b := newBalancer(t)
	o := &ordeal{at: b.URL, begun: time.Now()}
	keys := filepath.Join(t.TempDir(), "keys.json")
	var nodes []*node
	for n := range size {
		back := storetest.NewLink(t, database)
		u, err := url.Parse(back.URL)
		if err != nil {
			t.Fatal(err)
		}
		hosts := append([]string{u.Host}, others...)
		if n == 1 && len(others) > 0 { // the one that follows comes first, and is not taken
			hosts = append(others, u.Host)
		}
		u.Host = strings.Join(hosts, ",")
		u.RawQuery += "&target_session_attrs=read-write"
		one := newNode(t, map[string]string{"DATABASE": u.String(), "KEYS": keys, "PUBLIC_URL": o.at, "TRUSTED_PROXIES": "127.0.0.0/8", "DRAIN_DELAY": "0s"})
		one.settings["METRICS_LISTEN"] = strings.Replace(one.address, ":8080", ":9464", 1)
		nodes, o.backs = append(nodes, one), append(o.backs, back)
	}
	o.ledger = newLedger(t, nodes)
	o.seed(database, keys, guests)
	for _, n := range nodes {
		n.start()
		front := storetest.NewLink(t, "http://"+n.address)
		o.fronts = append(o.fronts, front)
		o.known = append(o.known, b.look(t, strings.TrimPrefix(front.URL, "http://")))
	}
	for _, k := range o.known {
		until(t, "a node ready", k.ready.Load)
	}
	stop := make(chan struct{})
	var using sync.WaitGroup
	o.leave = sync.OnceFunc(func() {
		close(stop)
		using.Wait()
	})
	t.Cleanup(o.watching.Wait)
	t.Cleanup(o.leave)
	for _, g := range o.guests {
		using.Go(func() { g.use(stop) })
	}
	o.everybody("the first rounds", 2)
	o.calm.Add(1)
	return o
}

// seed makes the database and its people; every second has an app.
func (o *ordeal) seed(database, keys string, guests int) {
	o.t.Helper()
	c := config.Config{Listen: "localhost:0", Data: filepath.Dir(keys), Database: database, Keys: keys, PublicURL: o.at, ServiceName: "Countersign", SignUp: "closed", RAMSuffix: testkit.Suffix, Quota: config.Quota(account.DefaultQuotas),
		SessionLength: 6 * time.Hour, SessionIdle: time.Hour, FleetAlarm: 1000, SendCeiling: 1000, LogFormat: "text", Argon2: config.Argon2{Memory: 19456, Passes: 2, AtOnce: 1, Waiting: 1}}
	s, err := server.Open(o.t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		o.t.Fatal(err)
	}
	for n := range guests {
		g := &guest{ledger: o.ledger, url: o.at, number: n, email: fmt.Sprintf("guest%d@example.com", n), words: []string{testkit.Password}, rng: mathrand.New(mathrand.NewPCG(uint64(n), 1)),
			client: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{}}} // longer than any fault: what a guest gave up could still be done later
		o.t.Cleanup(g.client.CloseIdleConnections)
		if _, err := s.SignUp.Create(o.t.Context(), g.email, testkit.Password, true); err != nil {
			o.t.Fatal(err)
		}
		i, err := s.DB.Read(o.t.Context()).IdentityByEmail(g.email)
		if err != nil {
			o.t.Fatal(err)
		}
		g.identity = string(i.ID)
		if n%2 == 1 {
			if g.seed, err = factor.NewSeed(rand.Reader); err != nil {
				o.t.Fatal(err)
			}
			if err := s.DB.Write(o.t.Context(), audit.Housekeeping("test"), func(tx *store.Tx) error {
				return tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: g.seed}, ID: "device-" + g.identity, Name: "Phone", BoundAt: tx.Now}, store.ErrNoRow)
			}); err != nil {
				o.t.Fatal(err)
			}
		}
		o.guests = append(o.guests, g)
	}
	if err := s.Close(); err != nil {
		o.t.Fatal(err)
	}
}

// everybody waits until each guest was answered in everything, that many rounds.
func (o *ordeal) everybody(what string, rounds int64) {
	o.t.Helper()
	for _, g := range o.guests {
		before := g.rounds.Load()
		defer until(o.t, what+": "+g.email, func() bool { return g.rounds.Load() >= before+rounds || o.wrongs.Load() > 0 })
	}
}

// some waits until others are answered while something is broken.
func (o *ordeal) some() {
	o.t.Helper()
	before := o.answers.Load()
	until(o.t, "others are answered", func() bool { return o.answers.Load() > before+20 })
}

// refused waits until somebody is refused.
func (o *ordeal) somebodyRefused() {
	o.t.Helper()
	before := o.lost.Load()
	until(o.t, "somebody is refused", func() bool { return o.lost.Load() > before })
}

func (o *ordeal) unready(n int) {
	o.t.Helper()
	until(o.t, "the balancer leaves the node alone", func() bool { return !o.known[n].ready.Load() })
}

// trusts reports whether a node believes its cache: it hears the others again.
func trusts(n *node) bool {
	res, err := http.Get("http://" + n.settings["METRICS_LISTEN"] + "/metrics")
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return err == nil && strings.Contains(string(text), "\ncountersign_session_cache_trust_seconds 30\n")
}

// under breaks something, mends it again, and looks that all is well
// afterwards without anybody's hand.
func (o *ordeal) under(what string, breaks func()) {
	o.t.Helper()
	o.calm.Add(1)
	begun, answers, refused := time.Now(), o.answers.Load(), o.refused()
	breaks()
	mended := time.Now()
	for i, n := range o.nodes {
		until(o.t, n.address+" is ready again after "+what, func() bool { return o.known[i].ready.Load() && status(n, "/readyz") == "200 ready" })
		until(o.t, n.address+" hears the others again after "+what, func() bool { return trusts(n) })
	}
	o.everybody("whole rounds after "+what, 2)
	took, now := time.Since(mended), o.refused()
	for what, n := range refused {
		now[what] -= n
	}
	maps.DeleteFunc(now, func(_ string, n int) bool { return n == 0 })
	o.t.Logf("%s: %s, and %s until all was well; %d answers; refused: %v", what, mended.Sub(begun).Round(time.Millisecond), took.Round(time.Millisecond), o.answers.Load()-answers, now)
	if took > time.Minute {
		o.t.Errorf("after %s it took %s until all was well", what, took)
	}
	for _, n := range o.nodes {
		select {
		case <-n.process.Over:
			o.t.Fatalf("%s has ended:\n%s", n.address, n.process.Out.String())
		default:
		}
	}
	o.calm.Add(1)
	o.everybody("a round in the calm after "+what, 1)
	if o.wrongs.Load() > 0 {
		o.t.FailNow()
	}
}

// end has everybody stop, and compares what was acknowledged with what is there.
func (o *ordeal) end(database string) {
	o.t.Helper()
	o.calm.Add(1)
	o.leave()
	var watched atomic.Bool
	go func() {
		o.watching.Wait()
		watched.Store(true)
	}()
	until(o.t, "all nodes have felt what has ended", watched.Load)
	for _, g := range o.guests {
		if s, err := g.password(); err != nil || s.status != http.StatusOK {
			o.wrong("%s: the password is none of those that it may be: %v", g.email, s.answer)
		}
	}
	o.check(o.guests, storetest.Raw(o.t, database))
	if out, err := o.nodes[size-1].command("audit", "verify").CombinedOutput(); err != nil {
		o.wrong("audit verify: %v\n%s", err, out)
	}
	for _, n := range o.nodes {
		n.tell(syscall.SIGTERM)
		if state := n.ended(); !state.Success() {
			o.wrong("%s ended with %s", n.address, state)
		}
		o.said(n)
	}
	o.t.Logf("in %s", time.Since(o.begun).Round(time.Second))
}

// said looks at what a node that has ended wrote down.
func (o *ordeal) said(n *node) {
	for line := range strings.Lines(n.process.Out.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "code=internal") {
			o.wrong("%s said: %s", n.address, line)
		}
		if strings.Contains(line, `"not ready"`) && strings.Contains(line, "57P01") && !strings.Contains(line, "failed to connect") {
			o.wrong("%s lets the balancer take it out for a connection that was lost: %s", n.address, line)
		}
	}
}

// The faults, each of which ends with what it broke mended.

func (o *ordeal) killed(n int) {
	before := o.known[n].took.Load()
	until(o.t, "the node is used", func() bool { return o.known[n].took.Load() > before+20 })
	o.nodes[n].tell(syscall.SIGKILL)
	o.nodes[n].ended()
	o.said(o.nodes[n])
	o.unready(n)
	o.some()
	o.nodes[n].start()
}

// The balancer hears nothing of a node; in the end its connections break.
func (o *ordeal) frontCut(n int) {
	thaw := o.fronts[n].Freeze()
	o.unready(n)
	o.fronts[n].Cut()
	o.some()
	thaw()
	o.fronts[n].Mend()
}

// What was sent meanwhile arrives late.
func (o *ordeal) frontFrozen(n int) {
	thaw := o.fronts[n].Freeze()
	o.unready(n)
	thaw()
}

func (o *ordeal) backCut(n int) {
	o.backs[n].Cut()
	o.unready(n)
	o.some()
	o.backs[n].Mend()
}

func (o *ordeal) backFrozen(n int) {
	thaw := o.backs[n].Freeze()
	o.unready(n)
	o.somebodyRefused() // after the node's patience
	o.some()
	thaw()
}

// terminated ends every connection to the database, some times.
func (o *ordeal) terminated(raw *sql.DB, times int) {
	const check = "503 of GET /api/v1/session"
	raw.SetMaxOpenConns(1)
	before := o.refused()[check]
	for range times {
		var n int
		if err := raw.QueryRow("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&n); err != nil || n < size {
			o.t.Fatalf("%d backends terminated, %v", n, err)
		}
		o.some()
	}
	if n := o.refused()[check] - before; n > times { // what is only read is read once more; one that is connecting may not be
		o.wrong("%d session checks were refused when backends were terminated %d times", n, times)
	}
}

func TestThreeNodesComeThroughAKillAndTerminatedBackends(t *testing.T) {
	t.Parallel()
	database := storetest.PostgresURL(t)
	o := newOrdeal(t, 4, database)
	raw := storetest.Raw(t, database)
	o.under("nothing", func() {})
	o.under("a node was killed", func() { o.killed(0) })
	o.under("backends were terminated", func() { o.terminated(raw, 5) })
	o.end(database)
}

func TestThreeNodesComeThroughEveryFault(t *testing.T) {
	if os.Getenv("COUNTERSIGN_TEST_FAULTS") == "" {
		t.Skip("a long test: make test-faults")
	}
	first := storetest.NewCluster(t)
	second := storetest.NewStandby(t, first)
	spare, err := url.Parse(second.URL)
	if err != nil {
		t.Fatal(err)
	}
	o := newOrdeal(t, 9, first.URL, spare.Host)
	raw := storetest.Raw(t, first.URL)
	o.under("nothing", func() {})
	for n := range size {
		o.under("a node was killed", func() { o.killed(n) })
	}
	o.under("the balancer's link was frozen and cut", func() { o.frontCut(0) })
	o.under("the balancer's link was frozen", func() { o.frontFrozen(1) })
	o.under("the database's link was cut", func() { o.backCut(1) })
	o.under("the database's link was frozen", func() { o.backFrozen(2) })
	o.under("backends were terminated", func() { o.terminated(raw, 10) })
	for what, stop := range map[string]func(testing.TB){"the server was restarted": first.Quit, "the server crashed": first.Stop} {
		o.under(what, func() {
			stop(t)
			o.somebodyRefused()
			first.Start(t)
		})
	}
	first.Followed(t)
	o.under("the server was lost for good", func() {
		first.Stop(t)
		o.somebodyRefused()
		second.Promote(t)
	})
	o.end(second.URL)
}
