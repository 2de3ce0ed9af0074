package crashtest_test

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/server"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
	"countersign/internal/testkit/process"
)

// A site is the built program on one store, through all its lives.
type site struct {
	t         *testing.T
	settings  map[string]string // of its environment
	url       string
	driver    string // of the database, and
	source    string // where it is
	transport *http.Transport
	clock     clock

	process *process.Process
	killed  atomic.Bool
	answers atomic.Int64 // that came
	changes atomic.Int64 // that were sent
	pace    atomic.Int64 // nanoseconds in which answers come of late
	life    int

	mu       sync.Mutex
	promises []promise // since the last look, made by whole answers
	recorded []audit.Event
	promised map[string]int               // how often, for the log
	out      map[string]int               // changes whose answer was out, and
	made     map[string]int               // those of them that were made
	events   map[account.ID]int64         // seen so far
	refused  map[account.IdentityID]int64 // codes of apps, by the events
}

// A promise is the event that an answer says has been recorded.
type promise struct {
	request string
	about   account.IdentityID // empty: whoever it concerns
	name    audit.Name
	refused string
	answer  string
}

// newSite prepares a store of the engine with people in it.
func newSite(t *testing.T, e storetest.Engine) *site {
	at := process.Address()
	data := t.TempDir()
	s := &site{t: t, url: "http://" + at, transport: &http.Transport{MaxIdleConnsPerHost: 32}, promised: map[string]int{}, out: map[string]int{}, made: map[string]int{}, events: map[account.ID]int64{}, refused: map[account.IdentityID]int64{},
		settings: map[string]string{"LISTEN": at, "PUBLIC_URL": "http://" + at, "DATA": data, "DEV": "true", "TRUSTED_PROXIES": "127.0.0.0/8",
			"SESSION_LENGTH": "24h", "SESSION_IDLE": "24h", "FLEET_ALARM": "1000000", "RAM_SUFFIX": testkit.Suffix}}
	s.driver, s.source = "sqlite", "file:"+filepath.Join(data, "countersign.db")+"?_pragma=busy_timeout(10000)"
	if e != storetest.SQLite {
		s.settings["DATABASE"] = storetest.PostgresURL(t)
		s.driver, s.source = "pgx", s.settings["DATABASE"]
	}
	t.Cleanup(func() { s.process.End() })
	return s
}

// A seeder puts people into the store before the server first runs.
type seeder struct {
	*server.Server
	t    *testing.T
	hash string
}

// seed opens the store as a command would.
func (s *site) seed(f func(d *seeder)) {
	s.t.Helper()
	c := config.Config{Listen: s.settings["LISTEN"], Data: s.settings["DATA"], Database: s.settings["DATABASE"], PublicURL: s.url, ServiceName: "Countersign", SignUp: "closed",
		RAMSuffix: testkit.Suffix, Quota: config.Quota(account.DefaultQuotas), SessionLength: 24 * time.Hour, SessionIdle: 24 * time.Hour, FleetAlarm: 1, SendCeiling: 1, Dev: true, LogFormat: "text",
		Keys: filepath.Join(s.settings["DATA"], "keys.json"), Argon2: config.Argon2{Memory: 19456, Passes: 2, AtOnce: 1, Waiting: 1}}
	on, err := server.Open(s.t.Context(), c, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	d := &seeder{Server: on, t: s.t}
	if d.hash, err = on.SignIn.Hasher.Hash(s.t.Context(), testkit.Password); err != nil {
		s.t.Fatal(err)
	}
	f(d)
	if err := on.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (d *seeder) put(f func(tx *store.Tx) error) {
	d.t.Helper()
	if err := d.DB.Write(d.t.Context(), audit.Housekeeping("test"), f); err != nil {
		d.t.Fatal(err)
	}
}

// owner makes an account whose users choose for themselves.
func (d *seeder) owner(email string) account.Identity {
	d.t.Helper()
	a, err := d.SignUp.Create(d.t.Context(), email, testkit.Password, true)
	if err != nil {
		d.t.Fatal(err)
	}
	d.put(func(tx *store.Tx) error {
		settings := account.DefaultSettings()
		settings.MFAOperation, settings.SessionHours, settings.Password.LoginAttempts = account.Independent, 24, 32
		return tx.SetSettings(a.ID, settings)
	})
	return d.again(d.identity(email))
}

func (d *seeder) identity(email string) account.IdentityID {
	d.t.Helper()
	i, err := d.DB.Read(d.t.Context()).IdentityByEmail(email)
	if err != nil {
		d.t.Fatal(err)
	}
	return i.ID
}

func (d *seeder) again(id account.IdentityID) account.Identity {
	d.t.Helper()
	i, err := d.DB.Read(d.t.Context()).Identity(id)
	if err != nil {
		d.t.Fatal(err)
	}
	return i
}

// user adds a RAM user who can sign in.
func (d *seeder) user(owner account.Identity, name string) account.Identity {
	d.t.Helper()
	id, err := d.DB.NewID()
	if err != nil {
		d.t.Fatal(err)
	}
	i := account.Identity{ID: account.IdentityID(id), Account: owner.Account, Role: account.User, UserName: name, Locale: "en", Epoch: 1,
		PasswordHash: d.hash, PasswordAlone: true, PasswordChangedAt: d.Now(), CreatedAt: d.Now()}
	d.put(func(tx *store.Tx) error {
		if err := tx.AddUser(i); err != nil {
			return err
		}
		return tx.SetProfile(i.Account, i.ID, account.Profile{State: account.ProfileActive})
	})
	return d.again(i.ID)
}

// device binds an app.
func (d *seeder) device(i account.Identity) *app {
	d.t.Helper()
	seed, err := factor.NewSeed(rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	d.put(func(tx *store.Tx) error {
		return tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: seed}, ID: "device-" + string(i.ID), Name: "Phone", BoundAt: d.Now()}, store.ErrNoRow)
	})
	return &app{seed: seed}
}

// codes makes recovery codes.
func (d *seeder) codes(i account.Identity) []string {
	d.t.Helper()
	codes, err := factor.NewRecoveryCodes(rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	var hashes [][]byte
	for _, c := range codes {
		plain, err := factor.ParseRecoveryCode(c)
		if err != nil {
			d.t.Fatal(err)
		}
		hashes = append(hashes, prove.RecoveryHash(i, plain))
	}
	d.put(func(tx *store.Tx) error { return tx.ReplaceRecoveryCodes(i.Account, i.ID, hashes) })
	return codes
}

// An app shows codes, each once.
type app struct {
	seed []byte
	last int64 // newest step of which a code was sent
	used int64 // newest step of which the server said that it took the code
}

// spend has use send n codes in a row that were never sent before, while the
// clock stands still as far as codes go.
func (s *site) spend(a *app, n int, use func(codes []string) error) error {
	for {
		s.clock.mu.RLock()
		now := factor.StepAt(s.clock.now())
		step := max(a.last+1, now)
		if step+int64(n)-1 <= now+1 {
			defer s.clock.mu.RUnlock()
			var codes []string
			for i := range n {
				codes = append(codes, factor.HOTP(a.seed, step+int64(i)))
			}
			a.last = step + int64(n) - 1
			return use(codes)
		}
		s.clock.mu.RUnlock()
		if err := s.tick(); err != nil {
			return err
		}
	}
}

// tick moves the clock by a step of the apps, while no code is under way.
func (s *site) tick() error {
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	if s.killed.Load() {
		return errDown
	}
	s.clock.ahead += factor.TOTPStep // whether the server still hears of it or not
	b := s.browser("127.0.0.1")
	r, err := b.send("POST", "/dev/clock", "application/json", `{"advance": "`+factor.TOTPStep.String()+`"}`, "")
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%v", r)
	}
	return err
}

// promise notes the event that an answer says has been recorded.
func (s *site) promise(r reply, about account.IdentityID, name audit.Name, refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promises = append(s.promises, promise{r.id(), about, name, refused, r.Request.Method + " " + r.Request.URL.Path})
	s.promised[strings.TrimSpace(string(name)+" "+refused)]++
}

// same are names of one thing: of an owner, and of a RAM user.
var same = map[audit.Name]audit.Name{"BindMFADevice": audit.MFABind, "UnbindMFADevice": audit.MFAUnbind}

// unanswered is how often something was recorded since the last look of which
// no answer has told: what came with a change whose answer was out, and else
// nothing.
func (s *site) unanswered(about account.IdentityID, name audit.Name) (n int) {
	for _, e := range s.recorded {
		if e.Identity == about && e.Name == name && e.Refused == "" {
			n++
		}
	}
	for _, p := range s.promises {
		if p.about == about && p.name == name && p.refused == "" {
			n--
		}
	}
	return n
}

// look opens the database beside the server for as long as f takes.
func (s *site) look(f func(d *sql.DB)) {
	s.t.Helper()
	d, err := sql.Open(s.driver, s.source)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	f(d)
}

// number is what a query for one number says.
func (s *site) number(d *sql.DB, query string, args ...any) (n int64) {
	s.t.Helper()
	if err := d.QueryRow(query, args...).Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// kept looks for the event of every promise among those that are new.
func (s *site) kept(d *sql.DB) {
	s.t.Helper()
	rows, err := d.Query("SELECT account_id, seq, content FROM audit_event ORDER BY account_id, seq")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	found := map[string][]audit.Event{}
	s.recorded = nil
	for rows.Next() {
		var a account.ID
		var seq int64
		var content []byte
		if err := rows.Scan(&a, &seq, &content); err != nil {
			s.t.Fatal(err)
		}
		if seq <= s.events[a] {
			continue
		}
		s.events[a] = seq
		var e audit.Event
		if err := json.Unmarshal(content, &e); err != nil {
			s.t.Fatal(err)
		}
		if one, ok := same[e.Name]; ok {
			e.Name = one
		}
		found[e.Actor.Request], s.recorded = append(found[e.Actor.Request], e), append(s.recorded, e)
		if e.Details["method"] == string(factor.VirtualMFA) && strings.HasPrefix(e.Refused, "code") {
			s.refused[e.Identity]++
		}
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	for _, p := range s.promises {
		ok := false
		for _, e := range found[p.request] {
			ok = ok || e.Refused == p.refused && e.Name == p.name && (p.about == "" || e.Identity == p.about)
		}
		if !ok {
			s.t.Errorf("life %d: %s was answered, but its event (%s %s) is lost: %v", s.life, p.answer, p.name, p.refused, found[p.request])
		}
	}
}

// backends are the connections that PostgreSQL serves.
func (s *site) backends() map[int64]bool {
	s.t.Helper()
	pids := map[int64]bool{}
	if s.driver == "sqlite" {
		return pids
	}
	s.look(func(d *sql.DB) {
		rows, err := d.Query("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		if err != nil {
			s.t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var pid int64
			if err := rows.Scan(&pid); err != nil {
				s.t.Fatal(err)
			}
			pids[pid] = true
		}
		if err := rows.Err(); err != nil {
			s.t.Fatal(err)
		}
	})
	return pids
}

// forgotten waits until PostgreSQL has noticed of each connection that its
// client is dead: what was sent before is done or undone by then.
func (s *site) forgotten(old map[int64]bool) {
	s.t.Helper()
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		left := 0
		for pid := range s.backends() {
			if old[pid] {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Since(begun) > 30*time.Second {
			s.t.Fatalf("%d connections of the dead server are still served", left)
		}
	}
}

// pick is one of a list.
func pick[T any](r *mathrand.Rand, list []T) T { return list[r.IntN(len(list))] }

// network is where a person comes from in this life: another one each time,
// so that none has tried too often.
func (s *site) network(person int) string {
	return strings.Join([]string{"10", fmt.Sprint(person), fmt.Sprint(s.life % 250), "9"}, ".")
}

// hashOf is what the store finds the row of a token by.
func hashOf(token string) []byte {
	t, err := secret.ParseToken(token)
	if err != nil {
		panic(err)
	}
	return t.Hash()
}
