package testkit

import (
	"crypto/rand"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/prove"
	"countersign/internal/server"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
)

// A Site is the whole product behind a real listener on this machine, in
// development mode.
type Site struct {
	*server.Server
	T      testing.TB
	URL    string
	Config config.Config
	Logs   *Lines
	web    *httptest.Server
}

// NewSite starts a site on the engine. change may change its settings.
func NewSite(t testing.TB, e storetest.Engine, change func(*config.Config)) *Site {
	t.Helper()
	s := &Site{T: t, Logs: &Lines{}, web: httptest.NewUnstartedServer(nil)}
	s.URL = "http://" + strings.Replace(s.web.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	c := config.Config{Listen: "localhost:0", Data: t.TempDir(), PublicURL: s.URL, ServiceName: "Countersign", Contact: "help@example.com", SignUp: "closed",
		SessionLength: 6 * time.Hour, SessionIdle: time.Hour, FleetAlarm: 1000, SendCeiling: 10_000, Dev: true, LogFormat: "text"}
	c.RAMSuffix, c.Quota = Suffix, config.Quota(account.DefaultQuotas)
	c.SMS = config.SMS{Ceiling: 5000, CountryCeiling: 1000}
	c.Argon2 = config.Argon2{Memory: 19456, Passes: 2, Waiting: 64}
	c.DatabaseConnections, c.DatabasePatience = engine.DefaultConnections, storetest.Patience
	if e != storetest.SQLite {
		c.Database = storetest.PostgresURL(t)
	}
	if change != nil {
		change(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if change == nil {
		c.Argon2.Memory, c.Argon2.Passes = CheapHash.MemoryKiB, CheapHash.Passes
	}
	s.Config = c
	var err error
	if s.Server, err = server.Open(t.Context(), c, c.Logger(s.Logs)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if e == storetest.SQLite {
		t.Cleanup(func() { storetest.Plans(t, s.DB, c.DatabaseURL()) })
	}
	if err := s.Build(io.Discard); err != nil {
		t.Fatal(err)
	}
	s.web.Config.Handler = s.Handler()
	s.web.Start()
	t.Cleanup(s.web.Close)
	return s
}

// Account makes an account through the operator's command.
func (s *Site) Account(email, password string) {
	s.T.Helper()
	if _, err := s.SignUp.Create(s.T.Context(), email, password, true); err != nil {
		s.T.Fatal(err)
	}
}

// Pass moves the site's clock on.
func (s *Site) Pass(d time.Duration) {
	s.T.Helper()
	if err := s.Clock().Advance(d); err != nil {
		s.T.Fatal(err)
	}
}

// Identity reads an identity by its address.
func (s *Site) Identity(email string) account.Identity {
	s.T.Helper()
	i, err := s.DB.Read(s.T.Context()).IdentityByEmail(email)
	if err != nil {
		s.T.Fatal(err)
	}
	return i
}

// Put writes straight into the store, behind every rule.
func (s *Site) Put(f func(tx *store.Tx) error) {
	s.T.Helper()
	if err := s.DB.Write(s.T.Context(), audit.Housekeeping("test"), f); err != nil {
		s.T.Fatal(err)
	}
}

// PutApp binds an app straight in the store.
func (s *Site) PutApp(email string) *App {
	s.T.Helper()
	seed, err := factor.NewSeed(rand.Reader)
	if err != nil {
		s.T.Fatal(err)
	}
	i := s.Identity(email)
	s.Put(func(tx *store.Tx) error {
		return tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: seed}, ID: "device-" + string(i.ID), Name: "Phone"}, store.ErrNoRow)
	})
	return &App{Seed: seed, Now: s.Now}
}

// PutPhone attaches a number straight in the store.
func (s *Site) PutPhone(email, number string) store.Phone {
	s.T.Helper()
	i := s.Identity(email)
	p := store.Phone{ID: "phone-" + string(i.ID), Number: account.Phone(number), BoundAt: s.Now()}
	s.Put(func(tx *store.Tx) error { return tx.AttachPhone(i.Account, i.ID, "", p, store.ErrNoRow) })
	return p
}

// PutProtection turns Account Protection on straight in the store.
func (s *Site) PutProtection(email string, m factor.Method, scenarios ...policy.Scenario) {
	s.T.Helper()
	i := s.Identity(email)
	s.Put(func(tx *store.Tx) error {
		return tx.SetProtection(i.Account, policy.Protection{Method: m, Scenarios: scenarios})
	})
}

// PutCodes makes recovery codes straight in the store.
func (s *Site) PutCodes(email string) []string {
	s.T.Helper()
	codes, err := factor.NewRecoveryCodes(rand.Reader)
	if err != nil {
		s.T.Fatal(err)
	}
	i := s.Identity(email)
	var hashes [][]byte
	for _, c := range codes {
		plain, err := factor.ParseRecoveryCode(c)
		if err != nil {
			s.T.Fatal(err)
		}
		hashes = append(hashes, prove.RecoveryHash(i, plain))
	}
	s.Put(func(tx *store.Tx) error { return tx.ReplaceRecoveryCodes(i.Account, i.ID, hashes) })
	return codes
}

// Messages are those to an address or number, newest first; all of them where
// none is named.
func (s *Site) Messages(to string) (list []message.Message) {
	s.T.Helper()
	all, err := s.DB.Read(s.T.Context()).Messages("", 1000)
	if err != nil {
		s.T.Fatal(err)
	}
	for _, m := range all {
		if to == "" || strings.EqualFold(m.To, to) {
			list = append(list, m)
		}
	}
	return list
}

// SentCode is the code of the newest message to an address or number.
func (s *Site) SentCode(to string) string {
	s.T.Helper()
	for _, m := range s.Messages(to) {
		if c := codeInMail.FindString(m.Text); c != "" && m.Kind == "code" {
			return c
		}
	}
	s.T.Fatalf("no code was sent to %s", to)
	return ""
}
