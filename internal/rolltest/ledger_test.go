package rolltest_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store/engine"
)

// errLost says that no answer came, or one that says that nobody knows: what
// was asked for may be done or not.
var errLost = errors.New("the outcome is not known")

// A ledger has what the nodes have acknowledged, and counts what they refused.
type ledger struct {
	t     *testing.T
	nodes []*node

	answers atomic.Int64 // that say something
	lost    atomic.Int64
	wrongs  atomic.Int64
	calm    atomic.Int64 // odd while nothing is broken, and nobody may be refused

	asking   *http.Client // nodes, past the balancer
	watching sync.WaitGroup

	mu       sync.Mutex
	promises []promise
	ended    []string // tokens
	refusals map[string]int
	felt     time.Duration // how long after its end a session was last taken
}

// A promise is the event that an answer says has been recorded.
type promise struct {
	request, about string
	name           audit.Name
}

func newLedger(t *testing.T, nodes []*node) *ledger {
	return &ledger{t: t, nodes: nodes, refusals: map[string]int{},
		asking: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
}

// wrong says what must never be.
func (l *ledger) wrong(format string, args ...any) {
	if l.wrongs.Add(1) <= 20 { // enough is known then
		l.t.Errorf(format, args...)
	}
}

// An answer is one that came whole and says something.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string {
	return fmt.Sprintf("%d to %q, %s\n%.2000s", a.status, a.header.Get("Location"), a.header.Get("Balancer"), a.body)
}

// send sends a request, and looks whether the answer is one that a fault may bring.
func (l *ledger) send(c *http.Client, r *http.Request) (a answer, err error) {
	calm, asked := l.calm.Load(), time.Now()
	res, err := c.Do(r.WithContext(l.t.Context()))
	if err == nil {
		var body []byte
		body, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		a = answer{res.StatusCode, res.Header, string(body)}
	}
	if l.t.Context().Err() != nil { // the test is over, and its parts go
		return a, errLost
	}
	refusal := ""
	switch by := a.header.Get("Balancer"); {
	case err != nil:
		refusal = "no answer"
	case a.status == http.StatusBadGateway && by == errNobody.Error():
		refusal = by
	case a.status == http.StatusBadGateway && by != "":
		refusal = "no answer from a node"
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
		refusal = "503"
	case a.status >= http.StatusInternalServerError:
		l.wrong("%s %s: %v", r.Method, r.URL.Path, a)
		return a, errLost
	default:
		l.answers.Add(1)
		return a, nil
	}
	l.lost.Add(1)
	l.mu.Lock()
	l.refusals[refusal+" of "+r.Method+" "+r.URL.Path]++
	l.mu.Unlock()
	if calm%2 == 1 && calm == l.calm.Load() && refusal != errNobody.Error() && time.Since(asked) < engine.DefaultPatience/2 { // else the machine is that slow
		l.wrong("nothing is broken, and %s %s: %s, %v, %v", r.Method, r.URL.Path, refusal, err, a)
	}
	return a, errLost
}

// refused is what was refused so far.
func (l *ledger) refused() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.refusals)
}

// promise notes the event that an answer says has been recorded.
func (l *ledger) promise(a answer, about string, name audit.Name) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promises = append(l.promises, promise{a.header.Get("X-Request-Id"), about, name})
}

// end notes that a session has ended: from a second later on, and for ever, no
// node may take it. What counts is when a node was asked, so that a slow
// machine makes no difference.
func (l *ledger) end(token string) {
	at := time.Now()
	l.mu.Lock()
	l.ended = append(l.ended, token)
	l.mu.Unlock()
	for _, n := range l.nodes {
		l.watching.Go(func() {
			for {
				asked := time.Now()
				status, _ := l.ask(n, token)
				late := asked.Sub(at)
				switch {
				case status == http.StatusUnauthorized:
					return
				case status == http.StatusOK && late > engine.Lease:
					l.wrong("%s takes a session that ended %s before", n.address, late)
					return
				case status == http.StatusOK:
					l.mu.Lock()
					l.felt = max(l.felt, late)
					l.mu.Unlock()
				}
				select { // the node is down, or within its second
				case <-l.t.Context().Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
}

// ask asks a node whose session it is; status 0 is no answer.
func (l *ledger) ask(n *node, token string) (status int, identity string) {
	r, err := http.NewRequest("GET", "http://"+n.address+"/api/v1/session", nil)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := l.asking.Do(r.WithContext(l.t.Context()))
	if err != nil {
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	var session struct{ Identity string }
	if err := json.NewDecoder(res.Body).Decode(&session); err != nil {
		return 0, ""
	}
	return res.StatusCode, session.Identity
}

// check compares what was acknowledged with what all nodes say and with what
// is in the database, once nobody does anything.
func (l *ledger) check(guests []*guest, d *sql.DB) {
	l.t.Helper()
	kept := map[string]string{} // whose sessions, by the hash of the token
	l.rows(d, "SELECT s.token_hash, s.identity_id FROM session s JOIN identity i ON i.id = s.identity_id AND i.epoch = s.epoch", func(scan func(...any) error) error {
		var hash []byte
		var whose string
		err := scan(&hash, &whose)
		kept[string(hash)] = whose
		return err
	})
	for _, token := range l.ended {
		if kept[hashOf(l.t, token)] != "" {
			l.wrong("a session that ended is in the database")
		}
	}
	held := 0
	for _, g := range guests {
		for _, s := range g.sessions {
			if !s.sure {
				continue
			}
			held++
			if kept[hashOf(l.t, s.token)] != g.identity {
				l.wrong("%s: an acknowledged session is lost", g.email)
			}
			for _, n := range l.nodes {
				if status, whose := l.ask(n, s.token); status != http.StatusOK || whose != g.identity {
					l.wrong("%s: at the end %s says %d of a session, and that it is %q's", g.email, n.address, status, whose)
				}
			}
		}
	}
	recorded := map[promise]bool{}
	l.rows(d, "SELECT content FROM audit_event", func(scan func(...any) error) error {
		var content []byte
		if err := scan(&content); err != nil {
			return err
		}
		var e audit.Event
		err := json.Unmarshal(content, &e)
		if e.Refused == "" {
			recorded[promise{e.Actor.Request, string(e.Identity), e.Name}] = true
		}
		return err
	})
	count := map[audit.Name]int{}
	for _, p := range l.promises {
		if count[p.name]++; !recorded[p] {
			l.wrong("%s was acknowledged, and its event is lost: %+v", p.name, p)
		}
	}
	l.t.Logf("acknowledged: %v; %d sessions ended, the last taken after %s; %d live", count, len(l.ended), l.felt.Round(time.Millisecond), held)
	if count[audit.ConsoleSignin] == 0 || count[audit.ConsoleSignout] == 0 || count[audit.SessionEnd]+count[audit.PasswordModify] == 0 {
		l.t.Error("too little was done: the test proves nothing")
	}
}

func (l *ledger) rows(d *sql.DB, query string, f func(scan func(...any) error) error) {
	l.t.Helper()
	rows, err := d.Query(query)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		l.t.Fatal(err)
	}
}

// hashOf is what the store finds the row of a token by.
func hashOf(t *testing.T, token string) string {
	t.Helper()
	parsed, err := secret.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return string(parsed.Hash())
}
