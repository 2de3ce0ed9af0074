package delivery_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is where the tests' time stands unless they move it.
var clock = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// A letter is what a mail server accepted.
type letter struct {
	from, to string
	utf8     bool
	data     []byte
}

// A mailServer is a real SMTP server. Set its fields before start.
type mailServer struct {
	tls        string // as delivery.SMTP.TLS
	host       string // in its certificate; empty: localhost
	user, pass string // empty: no AUTH
	smtpUTF8   bool
	onMail     func() error
	onRcpt     func(to string) error
	onData     func() error

	addr string
	ca   *x509.CertPool

	mu       sync.Mutex
	letters  []letter
	sessions []*mailSession
}

func (s *mailServer) start(t testing.TB) *mailServer {
	t.Helper()
	return s.startAt(t, "127.0.0.1:0")
}

func (s *mailServer) startAt(t testing.TB, addr string) *mailServer {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	server := smtp.NewServer(s)
	server.Domain = "mx.test"
	server.AllowInsecureAuth = s.tls == delivery.NoTLS
	server.EnableSMTPUTF8 = s.smtpUTF8
	server.ErrorLog = log.New(io.Discard, "", 0)
	if s.tls != delivery.NoTLS {
		var config *tls.Config
		config, s.ca = certificate(t, s.host)
		if s.tls == delivery.ImplicitTLS {
			listener = tls.NewListener(listener, config)
		} else {
			server.TLSConfig = config
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = listener.Close() // Serve may not have taken it yet, and Close would not know it
		_ = server.Close()
		<-done
	})
	return s
}

// client returns the sender that is set up rightly for s.
func (s *mailServer) client() *delivery.SMTP {
	return &delivery.SMTP{
		Address: s.addr, TLS: s.tls, Username: s.user, Password: s.pass, RootCAs: s.ca,
		From: `"Countersign" <no-reply@accounts.example>`, Timeout: 20 * time.Second,
		Now: func() time.Time { return clock },
	}
}

func (s *mailServer) received() []letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]letter(nil), s.letters...)
}

// only returns the one letter received.
func (s *mailServer) only(t testing.TB) letter {
	t.Helper()
	all := s.received()
	if len(all) != 1 {
		t.Fatalf("received %d mails, want 1", len(all))
	}
	return all[0]
}

// commands tells how far the clients came: MAIL and AUTH commands seen.
func (s *mailServer) commands() (mails, auths int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		mails, auths = mails+session.mails, auths+session.auths
	}
	return mails, auths
}

func (s *mailServer) NewSession(*smtp.Conn) (smtp.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := &mailSession{server: s}
	s.sessions = append(s.sessions, session)
	if s.user != "" {
		return &authSession{session}, nil
	}
	return session, nil
}

type mailSession struct {
	server       *mailServer
	mails, auths int
	signedIn     bool
	now          letter
}

func (c *mailSession) Reset()        {}
func (c *mailSession) Logout() error { return nil }

func (c *mailSession) Mail(from string, opts *smtp.MailOptions) error {
	c.server.mu.Lock()
	c.mails++
	c.server.mu.Unlock()
	if c.server.user != "" && !c.signedIn {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	c.now = letter{from: from, utf8: opts.UTF8}
	if c.server.onMail != nil {
		return c.server.onMail()
	}
	return nil
}

func (c *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.now.to = to
	if c.server.onRcpt != nil {
		return c.server.onRcpt(to)
	}
	return nil
}

func (c *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if c.server.onData != nil {
		if err := c.server.onData(); err != nil {
			return err
		}
	}
	c.now.data = data
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.letters = append(c.server.letters, c.now)
	return nil
}

type authSession struct{ *mailSession }

func (c *authSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (c *authSession) Auth(string) (sasl.Server, error) {
	c.server.mu.Lock()
	c.auths++
	c.server.mu.Unlock()
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != c.server.user || password != c.server.pass {
			return smtp.ErrAuthFailed
		}
		c.signedIn = true
		return nil
	}), nil
}

// certificate makes an authority and a server certificate for host.
func certificate(t testing.TB, host string) (*tls.Config, *x509.CertPool) {
	t.Helper()
	caKey, caTemplate := key(t), &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: clock.AddDate(-20, 0, 0), NotAfter: clock.AddDate(80, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	leafKey, leaf := key(t), &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: caTemplate.NotBefore, NotAfter: caTemplate.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if host == "" {
		leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	} else {
		leaf.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: leafKey}}}, pool
}

func key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// unused returns an address where nobody listens.
func unused(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func note() message.Message {
	return message.Message{
		ID: "m1", Channel: message.Email, Kind: "sign_in_code", To: "alice@example.com",
		Subject: "Your code", Text: "Your code is 482915.\n",
	}
}

func send(t testing.TB, s *delivery.SMTP, m message.Message) error {
	t.Helper()
	return s.Send(context.Background(), m)
}
