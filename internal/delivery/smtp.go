package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/wneessen/go-mail/smtp"

	"countersign/internal/domain/message"
)

// How the connection to a mail server is protected.
const (
	StartTLS    = "starttls" // RFC 3207, required: a server without it gets nothing from us
	ImplicitTLS = "implicit" // RFC 8314 §3.3, mostly port 465
	NoTLS       = "none"     // for a relay on this machine only
)

const (
	defaultTimeout = time.Minute
	dialTimeout    = 10 * time.Second
	quitTimeout    = 5 * time.Second
)

// SMTP sends mail through one configured server (RFC 5321), one connection a
// message. It never sends in clear across a network.
type SMTP struct {
	Address  string // host:port
	Username string // empty: do not sign in
	Password string
	From     string           // address with or without a display name; bounces go there
	TLS      string           // empty means StartTLS
	HELO     string           // our name in EHLO; empty: the domain of From
	Timeout  time.Duration    // of a whole exchange; zero means a minute
	RootCAs  *x509.CertPool   // nil: the system's
	Now      func() time.Time // for the Date of a mail
}

// Format keeps the password out of whatever prints an SMTP.
func (s SMTP) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "smtp(%s)", s.Address) }

// LogValue keeps the password out of the log.
func (s SMTP) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Validate says what is wrong with the setup, as far as it can be seen without
// connecting.
func (s *SMTP) Validate() error {
	_, _, err := s.setup()
	return err
}

func (s *SMTP) setup() (host string, from *mail.Address, err error) {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil || host == "" {
		return "", nil, fmt.Errorf("mail server %q is not host:port", s.Address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", nil, fmt.Errorf("mail server %q: no such port", s.Address)
	}
	from, err = mail.ParseAddress(s.From)
	if err != nil || strings.ContainsFunc(s.From, unicode.IsControl) ||
		strings.ContainsFunc(from.Address, func(r rune) bool { return r <= ' ' || r > unicode.MaxASCII }) {
		return "", nil, fmt.Errorf("mail sender %q is not an address", s.From)
	}
	switch s.TLS {
	case "", StartTLS, ImplicitTLS:
	case NoTLS:
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return "", nil, fmt.Errorf("mail server %q: mail without TLS goes to this machine only", s.Address)
		}
	default:
		return "", nil, fmt.Errorf("mail TLS %q is none of %s, %s, %s", s.TLS, StartTLS, ImplicitTLS, NoTLS)
	}
	if s.Username == "" && s.Password != "" {
		return "", nil, errors.New("a mail password without a user name")
	}
	return host, from, nil
}

// Check connects, secures the connection, signs in and leaves.
func (s *SMTP) Check(ctx context.Context) error {
	return s.exchange(ctx, func(*smtp.Client, *mail.Address) error { return nil })
}

// Send hands m to the server. What the server refuses for good about the
// recipient or the content (5yz, RFC 5321 §4.2.1) is permanent; what is wrong
// with the network, the server or our own standing there is not.
func (s *SMTP) Send(ctx context.Context, m message.Message) error {
	to, err := recipient(m.To)
	if err != nil {
		return Permanent(err)
	}
	return s.exchange(ctx, func(client *smtp.Client, from *mail.Address) error {
		msg, err := compose(m, from, to, s.Now())
		if err != nil {
			return Permanent(err)
		}
		// RFC 6531 §3.1. The parameter is kept from mail that does not need it:
		// a next hop without it would bounce the mail.
		ascii := !strings.ContainsFunc(m.To, func(r rune) bool { return r > unicode.MaxASCII })
		if offered, _ := client.Extension("SMTPUTF8"); !ascii && !offered {
			return Permanent(errors.New("the mail server takes no address outside ASCII"))
		}
		client.SkipSMTPUTF8(ascii)

		// A refused sender is our setup, whoever the message is for.
		if err := client.Mail("<" + from.Address + ">"); err != nil {
			return refusal("MAIL FROM", err, false)
		}
		if err := client.Rcpt("<" + to.Address + ">"); err != nil {
			return refusal("RCPT TO", err, true)
		}
		data, err := client.Data()
		if err != nil {
			return refusal("DATA", err, true)
		}
		if _, err := msg.WriteTo(data); err != nil {
			return fmt.Errorf("write the mail: %w", err)
		}
		if err := data.Close(); err != nil {
			return refusal("end of mail", err, true)
		}
		return nil
	})
}

// refusal classes the answer to command. about tells whether a 5yz concerns
// the message; otherwise it concerns us.
func refusal(command string, err error, about bool) error {
	wrapped := fmt.Errorf("%s: %w", command, err)
	var reply *textproto.Error
	if !errors.As(err, &reply) || reply.Code < 500 {
		return wrapped
	}
	unauthenticated := []int{530, 534, 535, 538} // RFC 4954 §6, RFC 3207 §4: at any command
	if !about || slices.Contains(unauthenticated, reply.Code) {
		return setupError{wrapped}
	}
	return Permanent(wrapped)
}

// exchange runs one SMTP session around do. Only do's error counts once do has
// run: a farewell that fails must not have an accepted mail sent again.
func (s *SMTP) exchange(ctx context.Context, do func(*smtp.Client, *mail.Address) error) error {
	host, from, err := s.setup()
	if err != nil {
		return setupError{err}
	}
	limit := s.Timeout
	if limit <= 0 {
		limit = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no end within %v", limit))
	defer cancel()

	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("connect to the mail server: %w", err)
	}
	defer conn.Close()
	// The SMTP client knows no context: closing under it is what ends it.
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	client, err := s.greet(conn, host, from)
	if err == nil {
		err = do(client, from)
	}
	if err == nil {
		defer time.AfterFunc(quitTimeout, func() { conn.Close() }).Stop()
		_ = client.Quit()
		return nil
	}
	if ctx.Err() != nil && !IsPermanent(err) {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// greet takes a new connection to the point where mail can be sent.
func (s *SMTP) greet(conn net.Conn, host string, from *mail.Address) (*smtp.Client, error) {
	// A name may resolve to anything: what counts is where we are connected.
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); s.TLS == NoTLS && (!ok || !remote.IP.IsLoopback()) {
		return nil, setupError{fmt.Errorf("%s is not on this machine: no mail without TLS", conn.RemoteAddr())}
	}
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: s.RootCAs}
	if s.TLS == ImplicitTLS {
		conn = tls.Client(conn, config)
	}
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		return nil, secured("greeting", err)
	}
	helo := s.HELO
	if helo == "" {
		helo = from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	}
	if err := client.Hello(helo); err != nil {
		return nil, fmt.Errorf("EHLO: %w", err)
	}
	if s.TLS == "" || s.TLS == StartTLS {
		// Offered or not is said in clear: whoever strips the offer, or merely
		// forgot it, must not get the mail (RFC 3207 §6).
		if offered, _ := client.Extension("STARTTLS"); !offered {
			return nil, setupError{errors.New("the mail server offers no STARTTLS: not sending in clear")}
		}
		if err := client.StartTLS(config); err != nil {
			return nil, secured("STARTTLS", err)
		}
	}
	if s.Username != "" {
		if err := s.signIn(client, host); err != nil {
			return nil, err
		}
	}
	return client, nil
}

func secured(step string, err error) error {
	wrapped := fmt.Errorf("%s: %w", step, err)
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return setupError{wrapped}
	}
	return wrapped
}

func (s *SMTP) signIn(client *smtp.Client, host string) error {
	_, list := client.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(list))
	clear := s.TLS == NoTLS // loopback, or we would not be here
	var mechanism smtp.Auth
	switch {
	case slices.Contains(offered, "PLAIN"):
		mechanism = smtp.PlainAuth("", s.Username, s.Password, host, clear)
	case slices.Contains(offered, "LOGIN"):
		mechanism = smtp.LoginAuth(s.Username, s.Password, host, clear)
	case slices.Contains(offered, "SCRAM-SHA-256"):
		mechanism = smtp.ScramSHA256Auth(s.Username, s.Password)
	default:
		return setupError{fmt.Errorf("the mail server offers no way to sign in that we know (AUTH %q)", list)}
	}
	err := client.Auth(mechanism)
	var reply *textproto.Error
	if errors.As(err, &reply) && reply.Code >= 500 {
		return setupError{fmt.Errorf("the mail server refuses our user name or password: %w", err)}
	}
	if err != nil {
		return fmt.Errorf("sign in to the mail server: %w", err)
	}
	return nil
}
