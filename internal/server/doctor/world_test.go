package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"countersign/internal/config"
	"countersign/internal/server"
	"countersign/internal/server/doctor"
	"countersign/internal/testkit"
)

// hidden begins every secret of these tests.
const hidden = "must-not-be-told"

// An authority that this machine trusts, for as long as the tests run.
var (
	authority    *x509.Certificate
	authorityKey *ecdsa.PrivateKey
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "countersign-doctor.")
	if err != nil {
		panic(err)
	}
	authority = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: time.Now().Add(100 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	if authorityKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "authority.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		panic(err)
	}
	_ = os.Setenv("SSL_CERT_FILE", file)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// certificate is good for a name until an instant.
func certificate(t *testing.T, name string, until time.Time) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-90 * 24 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

var ninety = func() time.Time { return time.Now().Add(90 * 24 * time.Hour) }

// settings are right for a server at https://localhost:PORT.
func settings(t *testing.T) config.Config {
	t.Helper()
	c := config.Config{Listen: "127.0.0.1:0", Data: t.TempDir(), PublicURL: "https://localhost", ServiceName: "Countersign", SignUp: "closed", TrustedProxies: []string{"127.0.0.1"},
		SessionLength: 6 * time.Hour, SessionIdle: time.Hour, FleetAlarm: 1000, SendCeiling: 1000}
	c.SMS = config.SMS{Ceiling: 100, CountryCeiling: 50}
	c.Argon2 = config.Argon2{Memory: 19456, Passes: 2, Waiting: 8}
	return c
}

func checked(t *testing.T, c *config.Config) {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
}

// A front is what people reach: TLS, and a proxy before the server.
type front struct {
	*httptest.Server
	next http.Handler
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.next.ServeHTTP(w, r) }

func newFront(t *testing.T, c *config.Config, tls *tls.Config) *front {
	t.Helper()
	f := &front{next: http.NotFoundHandler()}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	f.TLS = tls
	f.StartTLS()
	t.Cleanup(f.Close)
	_, port, _ := net.SplitHostPort(f.Listener.Addr().String())
	c.PublicURL = "https://localhost:" + port
	return f
}

// newPlainFront is one that answers without TLS too, at the same port; nil: it
// closes such a connection.
func newPlainFront(t *testing.T, c *config.Config, tls *tls.Config, plain http.Handler) *front {
	t.Helper()
	f := &front{next: http.NotFoundHandler()}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.TLS != nil:
			f.ServeHTTP(w, r)
		case plain == nil:
			panic(http.ErrAbortHandler)
		default:
			plain.ServeHTTP(w, r)
		}
	}))
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	f.Listener = eitherWay{f.Listener, tls}
	f.Start()
	t.Cleanup(f.Close)
	_, port, _ := net.SplitHostPort(f.Listener.Addr().String())
	c.PublicURL = "https://localhost:" + port
	return f
}

// eitherWay listens for TLS and for what is none: the first byte tells.
type eitherWay struct {
	net.Listener
	tls *tls.Config
}

func (l eitherWay) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	first := []byte{0}
	_, _ = io.ReadFull(conn, first)
	conn = &begun{conn, first}
	if first[0] == 0x16 { // a handshake
		return tls.Server(conn, l.tls), nil
	}
	return conn, nil
}

// A begun connection is one of which the first byte was read.
type begun struct {
	net.Conn
	first []byte
}

func (c *begun) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// build makes the server of the settings, and returns what answers for it.
func build(t *testing.T, c config.Config) http.Handler {
	t.Helper()
	s, err := server.Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Build(io.Discard); err != nil {
		t.Fatal(err)
	}
	return s.Handler()
}

// owned makes an account.
func owned(t *testing.T, c config.Config) {
	t.Helper()
	s, err := server.Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err == nil {
		_, err = s.SignUp.Create(t.Context(), "owner@example.com", testkit.Password, true)
		err = errors.Join(err, s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// proxied is a handler behind a proxy that changes requests by rewrite.
func proxied(t *testing.T, h http.Handler, rewrite func(r *httputil.ProxyRequest)) http.Handler {
	t.Helper()
	back := httptest.NewServer(h)
	t.Cleanup(back.Close)
	to, err := url.Parse(back.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
		rewrite(r)
	}}
}

func replaces(r *httputil.ProxyRequest) { r.SetXForwarded() }

func appends(r *httputil.ProxyRequest) {
	r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	r.SetXForwarded()
}

func passes(r *httputil.ProxyRequest) {
	r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
}

// whole is a server with all that it needs.
func whole(t *testing.T, c *config.Config) *front {
	t.Helper()
	f := newFront(t, c, certificate(t, "localhost", ninety()))
	checked(t, c)
	f.next = proxied(t, build(t, *c), replaces)
	return f
}

// examine has the doctor look, and sees that no secret is told.
func examine(t *testing.T, d *doctor.Doctor) map[string]doctor.Finding {
	t.Helper()
	by := map[string]doctor.Finding{}
	for _, f := range d.Examine(t.Context()) {
		if text := fmt.Sprint(f); strings.Contains(text, hidden) || strings.ContainsAny(text, "\r\n") {
			t.Errorf("a secret, or more than a line: %q", text)
		}
		if (f.State == doctor.OK) != (f.Do == "") {
			t.Errorf("%s without a word on what to do, or the reverse: %+v", f.State, f)
		}
		if had, ok := by[f.Part]; !ok || had.State == doctor.OK {
			by[f.Part] = f
		}
	}
	return by
}

func want(t *testing.T, found map[string]doctor.Finding, part string, state doctor.State, text string) {
	t.Helper()
	if f := found[part]; f.State != state || !strings.Contains(f.Text+" -> "+f.Do, text) {
		t.Errorf("%s is %+v, want %s with %q", part, f, state, text)
	}
}

// A mailServer is a real one, which lets nobody in but with its password.
type mailServer struct{ password string }

func (m mailServer) NewSession(*smtp.Conn) (smtp.Session, error) {
	return &mailSession{server: m}, nil
}

type mailSession struct{ server mailServer }

func (*mailSession) Reset()                               {}
func (*mailSession) Logout() error                        { return nil }
func (*mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (*mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	}
	return nil
}
func (*mailSession) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
func (*mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, password string) error {
		if password != s.server.password {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "wrong password " + password}
		}
		return nil
	}), nil
}

// mail starts a mail server and sets it.
func mail(t *testing.T, c *config.Config, password string, tls *tls.Config) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtp.NewServer(mailServer{password})
	s.Domain = "localhost"
	s.TLSConfig = tls
	s.AllowInsecureAuth = true
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c.SMTP = config.SMTP{Address: "localhost:" + port, Username: "countersign", Password: hidden + "-mail", From: "id@example.com", TLS: "starttls"}
}
