package delivery_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
)

// noon is what the senders take for now.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	twilioAccount = "AC0123456789abcdef0123456789abcdef"
	twilioSecret  = "twilio-secret-5f3a"
	aliyunSecret  = "aliyun-secret-9c1d"
	hookSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hookToken     = "hook-token-77e2"
)

func text() message.Message {
	return message.Message{
		ID: "m1", Channel: message.SMS, Kind: "code", To: "+8613800138000", Locale: "zh-CN",
		Text: "一次性 code 482915, say \"it\" to nobody.\n\n@id.example.com #482915\n", Params: map[string]string{"Code": "482915", "Service": "Acme & Co"},
		ExpiresAt: noon.Add(10 * time.Minute),
	}
}

// A caught request is what a gateway was sent.
type caught struct {
	*http.Request
	body string
}

// A gateway answers as a test wants it.
type gateway struct {
	*httptest.Server
	caught chan caught
}

func newGateway(t *testing.T, answer http.HandlerFunc) *gateway {
	t.Helper()
	return startGateway(t, answer, func(s *httptest.Server) { s.StartTLS() })
}

func startGateway(t *testing.T, answer http.HandlerFunc, start func(*httptest.Server)) *gateway {
	t.Helper()
	g := &gateway{caught: make(chan caught, 100)}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		g.caught <- caught{r, string(b)}
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		answer(w, r)
	}))
	g.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(g.Server)
	t.Cleanup(g.Close)
	return g
}

// only returns the one request that was sent.
func (g *gateway) only(t *testing.T) caught {
	t.Helper()
	if len(g.caught) != 1 {
		t.Fatalf("%d requests", len(g.caught))
	}
	return <-g.caught
}

func (g *gateway) client() *delivery.Client {
	roots := x509.NewCertPool()
	if g.Certificate() != nil {
		roots.AddCert(g.Certificate())
	}
	return delivery.NewClient(roots)
}

func now() time.Time { return noon }

func newTwilio(url string, c *delivery.Client) *delivery.Twilio {
	return &delivery.Twilio{Base: url, Account: twilioAccount, Secret: twilioSecret, From: "+15005550006", Client: c, Now: now}
}

func newAliyun(url string, c *delivery.Client) *delivery.Aliyun {
	return &delivery.Aliyun{
		Endpoint: url, AccessKeyID: "LTAI5tExample", AccessKeySecret: aliyunSecret, SignName: "阿里云",
		TemplateCode: "SMS_154950909", Client: c, Now: now, Random: rand.NewChaCha8([32]byte{1}),
	}
}

func newHook(url string, c *delivery.Client) *delivery.Hook {
	return &delivery.Hook{URL: url + "/hook-path-31fd", Secret: hookSecret, Headers: map[string]string{"X-Api-Key": hookToken}, Client: c, Now: now}
}

// eachSender runs f for the sender of every kind of gateway, at an address.
func eachSender(t *testing.T, f func(t *testing.T, sender func(url string, c *delivery.Client) delivery.Sender)) {
	for name, sender := range map[string]func(string, *delivery.Client) delivery.Sender{
		"twilio": func(url string, c *delivery.Client) delivery.Sender { return newTwilio(url, c) },
		"aliyun": func(url string, c *delivery.Client) delivery.Sender { return newAliyun(url, c) },
		"hook":   func(url string, c *delivery.Client) delivery.Sender { return newHook(url, c) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, sender)
		})
	}
}

// How an error is to be taken.
const (
	taken     = "taken"
	later     = "temporary"
	setup     = "setup"
	permanent = "permanent"
	loud      = "permanent and setup"
)

// wantClass checks how err is to be taken, and that it tells nothing.
func wantClass(t *testing.T, err error, want string) {
	t.Helper()
	got := taken
	switch {
	case err == nil:
	case delivery.IsPermanent(err) && delivery.IsSetup(err):
		got = loud
	case delivery.IsPermanent(err):
		got = permanent
	case delivery.IsSetup(err):
		got = setup
	default:
		got = later
	}
	if got != want {
		t.Errorf("%s (%v), want %s", got, err, want)
	}
	for _, secret := range []string{
		"13800138000", "482915", "nobody", "Acme", "一次性", twilioAccount, twilioSecret, aliyunSecret, "LTAI5tExample",
		hookSecret, hookToken, "hook-path-31fd", "SMS_154950909", "quoted",
	} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%q is in %q", secret, err)
		}
	}
}

func sendText(t *testing.T, s delivery.Sender) error {
	t.Helper()
	return s.Send(t.Context(), text())
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// raw answers with bytes of its own, and hangs up.
func raw(bytes string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, bytes)
			_ = conn.Close()
		}
	}
}

func TestAnswersThatAreNoneAreTemporary(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"server error":  says(500, `{"message":"quoted +8613800138000"}`),
		"unavailable":   says(503, "<html>quoted"),
		"request time":  says(408, ""),
		"too many":      says(429, ""),
		"hangs up":      raw(""),
		"half a header": raw("HTTP/1.1 200 O"),
		"no HTTP":       raw("quoted 482915\r\n\r\n"),
		"no status":     raw("HTTP/1.1 quoted OK\r\n\r\n"),
		"bad length":    raw("HTTP/1.1 500 Oops\r\nContent-Length: quoted\r\n\r\n"),
		"huge header":   raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("quoted", 50_000) + "\r\n\r\n"),
		"cut body":      raw("HTTP/1.1 500 Oops\r\nContent-Length: 1000\r\n\r\n{\"code\": 5"),
	} {
		t.Run(name, func(t *testing.T) {
			eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
				g := newGateway(t, answer)
				wantClass(t, sendText(t, sender(g.URL, g.client())), later)
			})
		})
	}
}

func TestRefusedCredentialsAreSetup(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403} {
		eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
			g := newGateway(t, says(status, "<html>quoted"))
			wantClass(t, sendText(t, sender(g.URL, g.client())), setup)
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
				other := newGateway(t, says(200, `{"sid":"SM1","ResponseCode":"OK"}`))
				g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", other.URL+"/quoted")
					w.WriteHeader(status)
				})
				roots := x509.NewCertPool()
				roots.AddCert(g.Certificate())
				roots.AddCert(other.Certificate())
				wantClass(t, sendText(t, sender(g.URL, delivery.NewClient(roots))), setup)
				if len(other.caught) != 0 {
					t.Error("the redirect was followed")
				}
			})
		})
	}
}

func TestEndlessBodyIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]map[string]string{
		200: {"twilio": later, "aliyun": later, "hook": taken},
		500: {"twilio": later, "aliyun": later, "hook": later},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
				ended := make(chan struct{})
				g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) {
					defer close(ended)
					w.WriteHeader(status)
					for {
						if _, err := w.Write(make([]byte, 32<<10)); err != nil {
							return
						}
					}
				})
				wantClass(t, sendText(t, sender(g.URL, g.client())), want[t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]])
				<-ended // because we hung up
			})
		})
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
		ctx, cancel := context.WithCancel(t.Context())
		g := newGateway(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		wantClass(t, sender(g.URL, g.client()).Send(ctx, text()), later)
	})
}

// A gateway that says nothing, or that never comes to an end, holds us for ten
// seconds.
func TestSlowGatewayIsLeft(t *testing.T) {
	for name, trickle := range map[string]string{"silent": "", "header by header": "X-Header: quoted\r\n", "body by bit": "x"} {
		t.Run(name, func(t *testing.T) {
			for kind, want := range map[string]string{"twilio": later, "aliyun": later, "hook": later} {
				t.Run(kind, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := delivery.NewClient(nil)
						var open sync.WaitGroup
						defer open.Wait()
						c.DialLocal(func() (net.Conn, error) {
							ours, theirs := net.Pipe()
							open.Go(func() { trickling(theirs, trickle) })
							return ours, nil
						})
						var s delivery.Sender = newHook("http://localhost", c)
						switch kind {
						case "twilio":
							s = newTwilio("http://localhost", c)
						case "aliyun":
							s = newAliyun("http://localhost", c)
						}
						if trickle == "x" && kind == "hook" {
							want = taken // it said so before
						}
						began := time.Now()
						wantClass(t, sendText(t, s), want)
						if took := time.Since(began); took != 10*time.Second {
							t.Errorf("took %v", took)
						}
					})
				})
			}
		})
	}
}

// trickling reads the request and answers 200 OK bit by bit, without end.
func trickling(conn net.Conn, bit string) {
	defer conn.Close()
	request := bufio.NewReader(conn)
	r, err := http.ReadRequest(request)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	head := "HTTP/1.1 200 OK\r\n"
	if bit == "x" {
		head += "Content-Length: 1000\r\n\r\n"
	}
	if bit != "" {
		_, err = io.WriteString(conn, head)
	}
	for err == nil {
		time.Sleep(time.Second)
		if bit == "" {
			_, err = request.ReadByte() // until we hang up
		} else {
			_, err = io.WriteString(conn, bit)
		}
	}
}

func TestRetryAfterIsHeard(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "0": 0, "-5": 0, "soon": 0, "": 0, "86400": time.Hour, "99999999999999": 0,
		noon.Add(90 * time.Second).Format(http.TimeFormat):  90 * time.Second,
		noon.Add(-90 * time.Second).Format(http.TimeFormat): 0,
	} {
		t.Run(header, func(t *testing.T) {
			eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
				for status, body := range map[int]string{429: `{"code":20429,"Code":"Throttling.User"}`, 503: ""} {
					g := newGateway(t, func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Retry-After", header)
						says(status, body)(w, r)
					})
					err := sendText(t, sender(g.URL, g.client()))
					wantClass(t, err, later)
					if got := delivery.Wait(err); got != want {
						t.Errorf("HTTP %d: wait %v, want %v", status, got, want)
					}
				}
			})
		})
	}
}

func TestGatewayMustBeWhoItIs(t *testing.T) {
	t.Parallel()
	none := says(200, `{"sid":"SM1","ResponseCode":"OK"}`)
	eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
		g := newGateway(t, none)
		old := startGateway(t, none, func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
			s.StartTLS()
		})
		clear := startGateway(t, none, func(s *httptest.Server) { s.Start() })
		other, roots := certificate(t, "other.example")
		foreign := startGateway(t, none, func(s *httptest.Server) {
			s.TLS = other
			s.StartTLS()
		})
		nobody := delivery.NewClient(x509.NewCertPool())
		for name, s := range map[string]delivery.Sender{
			"unknown authority": sender(g.URL, nobody),
			"another host":      sender(foreign.URL, delivery.NewClient(roots)),
			"old TLS":           sender(old.URL, old.client()),
			"no TLS":            sender("https"+strings.TrimPrefix(clear.URL, "http"), nobody),
			"http elsewhere":    sender("http://gateway.example", nobody),
			"metadata":          sender("https://169.254.169.254", nobody),
			"mapped metadata":   sender("https://[::ffff:169.254.169.254]", nobody),
			"link-local":        sender("https://[fe80::1%25lo]", nobody),
			"unspecified":       sender("https://0.0.0.0", nobody),
		} {
			t.Run(name, func(t *testing.T) { wantClass(t, sendText(t, s), setup) })
		}
		for _, server := range []*gateway{g, old, clear, foreign} {
			if len(server.caught) != 0 {
				t.Errorf("%s got a message", server.URL)
			}
		}
		t.Run("nobody there", func(t *testing.T) {
			wantClass(t, sendText(t, sender("https://"+unused(t), nobody)), later)
		})
		t.Run("this machine in clear", func(t *testing.T) {
			wantClass(t, sendText(t, sender(clear.URL, nobody)), taken)
		})
	})
}

func TestClearTextStaysOnThisMachine(t *testing.T) {
	t.Parallel()
	local := delivery.NewClient(nil).Local()
	for _, to := range []string{"http://192.0.2.1/", "http://169.254.169.254/", "http://[2001:db8::1]/"} {
		if _, err := local.Get(to); err == nil || !strings.Contains(err.Error(), "do not call") {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestRecipientMustBeANumber(t *testing.T) {
	t.Parallel()
	eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
		g := newGateway(t, says(500, ""))
		s := sender(g.URL, g.client())
		for _, to := range []string{"", "alice@example.com", "13800138000", "+0138001380", "+86138,+86139", "+861380013800012345", "+86 13800138000", "+8613800138000\n", "+٨٦١٣٨٠٠"} {
			m := text()
			m.To = to
			wantClass(t, s.Send(t.Context(), m), permanent)
		}
		m := text()
		m.Text = " \n"
		wantClass(t, s.Send(t.Context(), m), permanent)
		if len(g.caught) != 0 {
			t.Error("something was sent")
		}
	})
}

func TestSendersPrintNoSecret(t *testing.T) {
	t.Parallel()
	eachSender(t, func(t *testing.T, sender func(string, *delivery.Client) delivery.Sender) {
		s := sender("https://gateway.example", nil)
		var value any = s
		switch s := s.(type) {
		case *delivery.Twilio:
			value = *s
		case *delivery.Aliyun:
			value = *s
		case *delivery.Hook:
			value = *s
		}
		for _, v := range []any{s, value} {
			wantClass(t, fmt.Errorf("%v %+v %#v %s", v, v, v, v), later)
		}
	})
}
