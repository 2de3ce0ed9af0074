package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"countersign/internal/delivery"
)

func TestMailGoesOutHoweverTheServerIsSecured(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", delivery.StartTLS, delivery.ImplicitTLS, delivery.NoTLS} {
		for _, user := range []string{"", "countersign"} {
			t.Run(fmt.Sprintf("%s user %s", mode, user), func(t *testing.T) {
				t.Parallel()
				server := (&mailServer{tls: mode, user: user}).with("right").start(t)
				if err := server.client().Check(context.Background()); err != nil {
					t.Fatalf("check: %v", err)
				}
				if got := server.received(); len(got) != 0 {
					t.Fatalf("the check sent %d mails", len(got))
				}
				if err := send(t, server.client(), note()); err != nil {
					t.Fatal(err)
				}
				got := server.only(t)
				if got.from != "no-reply@accounts.example" || got.to != "alice@example.com" {
					t.Errorf("envelope %s → %s", got.from, got.to)
				}
			})
		}
	}
}

func (s *mailServer) with(password string) *mailServer {
	if s.user != "" {
		s.pass = password
	}
	return s
}

func TestWrongPasswordIsTheOperatorsToCure(t *testing.T) {
	t.Parallel()
	server := (&mailServer{user: "countersign", pass: "right"}).start(t)
	client := server.client()
	client.Password = "not-the-password"
	for name, err := range map[string]error{
		"send":  send(t, client, note()),
		"check": client.Check(context.Background()),
	} {
		if err == nil || !strings.Contains(err.Error(), "user name or password") || !delivery.IsSetup(err) {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
		if delivery.IsPermanent(err) {
			t.Errorf("%s: a wrong password must not kill messages: %v", name, err)
		}
		if strings.Contains(fmt.Sprint(err), "not-the-password") {
			t.Errorf("%s: the password is in the error: %v", name, err)
		}
	}
	// Without a user name the same server refuses us at MAIL.
	client.Username, client.Password = "", ""
	if err := send(t, client, note()); err == nil || delivery.IsPermanent(err) || !delivery.IsSetup(err) {
		t.Errorf("unauthenticated: %v", err)
	}
}

func TestServerThatCannotSignUsInIsSetup(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	client := server.client()
	client.Username, client.Password = "countersign", "right"
	if err := send(t, client, note()); !delivery.IsSetup(err) || len(server.received()) != 0 {
		t.Errorf("a server without AUTH: %v", err)
	}
}

func TestNothingIsSentInClear(t *testing.T) {
	t.Parallel()
	server := (&mailServer{tls: delivery.NoTLS, user: "countersign", pass: "right"}).start(t)
	client := server.client()
	client.TLS = delivery.StartTLS
	err := send(t, client, note())
	if err == nil || !strings.Contains(err.Error(), "STARTTLS") || !delivery.IsSetup(err) {
		t.Errorf("no STARTTLS offered: %v", err)
	}
	if mails, auths := server.commands(); mails != 0 || auths != 0 {
		t.Errorf("in clear the server saw %d MAIL and %d AUTH", mails, auths)
	}
}

func TestCertificateMustBeForTheServer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{delivery.StartTLS, delivery.ImplicitTLS} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			other := (&mailServer{tls: mode, host: "other.example"}).start(t)
			right := (&mailServer{tls: mode}).start(t)
			stranger := right.client()
			stranger.RootCAs = other.ca
			for name, client := range map[string]*delivery.SMTP{"another host": other.client(), "another authority": stranger} {
				err := send(t, client, note())
				if err == nil || !strings.Contains(err.Error(), "certificate") || !delivery.IsSetup(err) {
					t.Errorf("certificate of %s: %v", name, err)
				}
			}
			for _, server := range []*mailServer{other, right} {
				if mails, _ := server.commands(); mails != 0 {
					t.Error("mail reached a server we cannot know")
				}
			}
		})
	}
}

func TestSetupIsCheckedBeforeConnecting(t *testing.T) {
	t.Parallel()
	good := delivery.SMTP{Address: "mail.example:587", From: "Countersign <no-reply@accounts.example>"}
	if err := good.Validate(); err != nil {
		t.Fatalf("good setup: %v", err)
	}
	for name, spoil := range map[string]func(*delivery.SMTP){
		"no port":               func(s *delivery.SMTP) { s.Address = "mail.example" },
		"no host":               func(s *delivery.SMTP) { s.Address = ":587" },
		"port zero":             func(s *delivery.SMTP) { s.Address = "mail.example:0" },
		"port name":             func(s *delivery.SMTP) { s.Address = "mail.example:smtp" },
		"no sender":             func(s *delivery.SMTP) { s.From = "" },
		"two senders":           func(s *delivery.SMTP) { s.From = "a@b.example, c@d.example" },
		"line break in sender":  func(s *delivery.SMTP) { s.From = "A\r\n <a@b.example>" },
		"sender outside ASCII":  func(s *delivery.SMTP) { s.From = "差出人@b.example" },
		"unknown TLS":           func(s *delivery.SMTP) { s.TLS = "maybe" },
		"clear to a name":       func(s *delivery.SMTP) { s.TLS = delivery.NoTLS },
		"clear to an address":   func(s *delivery.SMTP) { s.TLS, s.Address = delivery.NoTLS, "192.0.2.1:25" },
		"password without user": func(s *delivery.SMTP) { s.Password = "x" },
	} {
		bad := good
		spoil(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s passes", name)
		}
		if err := bad.Check(context.Background()); !delivery.IsSetup(err) {
			t.Errorf("%s: check says %v", name, err)
		}
	}
	for _, address := range []string{"localhost:25", "127.0.0.1:25", "[::1]:25"} {
		local := good
		local.TLS, local.Address = delivery.NoTLS, address
		if err := local.Validate(); err != nil {
			t.Errorf("clear to %s: %v", address, err)
		}
	}
}

func TestRefusalsAreClassed(t *testing.T) {
	t.Parallel()
	reply := func(code int) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: "no"}
	}
	for _, test := range []struct {
		step                   string
		code                   int
		wantPermanent, wantSet bool
	}{
		{"MAIL", 451, false, false},
		{"MAIL", 550, false, true}, // our sender is refused: not this message's fault
		{"RCPT", 421, false, false},
		{"RCPT", 450, false, false},
		{"RCPT", 550, true, false},
		{"RCPT", 530, false, true},
		{"DATA", 452, false, false},
		{"DATA", 554, true, false},
	} {
		t.Run(fmt.Sprintf("%d at %s", test.code, test.step), func(t *testing.T) {
			t.Parallel()
			server := &mailServer{}
			switch test.step {
			case "MAIL":
				server.onMail = func() error { return reply(test.code) }
			case "RCPT":
				server.onRcpt = func(string) error { return reply(test.code) }
			case "DATA":
				server.onData = func() error { return reply(test.code) }
			}
			err := send(t, server.start(t).client(), note())
			if err == nil || !strings.Contains(err.Error(), fmt.Sprint(test.code)) {
				t.Fatalf("got %v", err)
			}
			if got := delivery.IsPermanent(err); got != test.wantPermanent {
				t.Errorf("permanent %v, want %v: %v", got, test.wantPermanent, err)
			}
			if got := delivery.IsSetup(err); got != test.wantSet {
				t.Errorf("setup %v, want %v: %v", got, test.wantSet, err)
			}
		})
	}
}

func TestServerThatIsDownMayComeBack(t *testing.T) {
	t.Parallel()
	server := &mailServer{tls: delivery.NoTLS, addr: unused(t)}
	if err := send(t, server.client(), note()); err == nil || delivery.IsPermanent(err) {
		t.Fatalf("nobody listens: %v", err)
	}
	server.startAt(t, server.addr)
	if err := send(t, server.client(), note()); err != nil {
		t.Errorf("server is back: %v", err)
	}
}

func TestSlowServerIsGivenUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := (&mailServer{onData: func() error { <-release; return nil }}).start(t)
	t.Cleanup(func() { close(release) })
	client := server.client()
	client.Timeout = 300 * time.Millisecond
	err := send(t, client, note())
	if !errors.Is(err, context.DeadlineExceeded) && (err == nil || !strings.Contains(err.Error(), "no end within 300ms")) {
		t.Errorf("got %v", err)
	}
	if delivery.IsPermanent(err) {
		t.Errorf("slowness is permanent: %v", err)
	}
}

func TestSilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never greets
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, mode := range []string{delivery.StartTLS, delivery.ImplicitTLS} {
		silent := &mailServer{tls: mode, addr: listener.Addr().String()}
		client := silent.client()
		client.Timeout = 50 * time.Millisecond
		if err := client.Check(context.Background()); err == nil || delivery.IsPermanent(err) {
			t.Errorf("%s: got %v", mode, err)
		}
	}
}

func TestSendStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	release := make(chan struct{})
	server := (&mailServer{onRcpt: func(string) error { cancel(); <-release; return nil }}).start(t)
	t.Cleanup(func() { close(release) })
	if err := server.client().Send(ctx, note()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A mail that was accepted is sent, however the farewell goes.
func TestFarewellDoesNotUndoAnAcceptedMail(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		abrupt(conn)
	}()
	server := &mailServer{tls: delivery.NoTLS, addr: listener.Addr().String()}
	if err := send(t, server.client(), note()); err != nil {
		t.Errorf("got %v", err)
	}
	<-done
}

// abrupt speaks just enough SMTP to accept one mail, and hangs up at once.
func abrupt(conn io.ReadWriter) {
	var seen strings.Builder
	buffer := make([]byte, 4096)
	say := func(reply, until string) {
		fmt.Fprint(conn, reply)
		for seen.Reset(); !strings.HasSuffix(seen.String(), until); {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			seen.Write(buffer[:n])
		}
	}
	say("220 mx.test\r\n", "\r\n")    // EHLO
	say("250 mx.test\r\n", "\r\n")    // MAIL
	say("250 ok\r\n", "\r\n")         // RCPT
	say("250 ok\r\n", "\r\n")         // DATA
	say("354 go\r\n", "\r\n.\r\n")    // the mail
	fmt.Fprint(conn, "250 taken\r\n") // and gone, before QUIT
}

func TestPasswordIsNotPrinted(t *testing.T) {
	t.Parallel()
	client := delivery.SMTP{Address: "mail.example:587", Username: "u", Password: "hunter2-hunter2"}
	var out strings.Builder
	slog.New(slog.NewJSONHandler(&out, nil)).Info("setup", "smtp", client, "pointer", &client)
	slog.New(slog.NewTextHandler(&out, nil)).Info("setup", "smtp", client, "pointer", &client)
	if n := strings.Count(out.String(), "smtp(mail.example:587)"); n != 4 {
		t.Errorf("named %d times in %s", n, out.String())
	}
	fmt.Fprintf(&out, "%v %+v %#v %s %v %+v", client, client, client, client, &client, []delivery.SMTP{client})
	//lint:ignore SA1026 that it cannot is the point
	if _, err := json.Marshal(client); err == nil {
		t.Error("an SMTP can be marshalled")
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("printed: %s", out.String())
	}
}
