package delivery_test

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
)

// read parses a mail as its reader would.
func read(t testing.TB, data []byte) (header mail.Header, subject string, parts map[string]string) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("not a mail: %v\n%s", err, data)
	}
	subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatalf("subject: %v", err)
	}
	parts = map[string]string{}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatalf("content type: %v", err)
	}
	if kind != "multipart/alternative" {
		parts[kind] = decoded(t, m.Header.Get("Content-Transfer-Encoding"), m.Body)
		return m.Header, subject, parts
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return m.Header, subject, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil || !strings.EqualFold(params["charset"], "utf-8") {
			t.Fatalf("part %s: %v", p.Header.Get("Content-Type"), err)
		}
		parts[kind] = decoded(t, p.Header.Get("Content-Transfer-Encoding"), p)
	}
}

func decoded(t testing.TB, encoding string, r io.Reader) string {
	t.Helper()
	if encoding != "quoted-printable" {
		t.Fatalf("transfer encoding %q", encoding)
	}
	b, err := io.ReadAll(quotedprintable.NewReader(r))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

func TestMailReadsAsWritten(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("新しい端末からサインインがありました。", 8)
	for name, m := range map[string]message.Message{
		"English":  {Subject: "Your code is 482915", Text: "Your code is 482915.\n\n.a line with a dot\n"},
		"Chinese":  {Subject: "您的验证码：482915", Text: "您的验证码是 482915，10 分钟内有效。\n"},
		"Japanese": {Subject: "確認コード 482915", Text: "確認コードは 482915 です。\n" + long + "\n"},
		"long":     {Subject: long, Text: long + "\n"},
		"emoji":    {Subject: "🔐 👩‍💻", Text: "👩‍💻\n"},
		"HTML":     {Subject: "新设备登录", Text: "新设备登录\n", HTML: "<p>新设备<b>登录</b> = 100 %</p>\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := (&mailServer{smtpUTF8: true}).start(t)
			m.To, m.ID = "alice@example.com", "01HX-2_3"
			if err := send(t, server.client(), m); err != nil {
				t.Fatal(err)
			}
			got := server.only(t)
			header, subject, parts := read(t, got.data)
			if subject != m.Subject {
				t.Errorf("subject %q, want %q", subject, m.Subject)
			}
			if parts["text/plain"] != m.Text || parts["text/html"] != m.HTML {
				t.Errorf("parts %q", parts)
			}
			if got.utf8 {
				t.Error("SMTPUTF8 asked for without need")
			}
			for _, line := range strings.Split(string(got.data), "\r\n") {
				if len(line) > 998 || strings.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
					t.Errorf("line not fit for transport: %q", line)
				}
			}
			wantHeader(t, header, "To", "<alice@example.com>")
			wantHeader(t, header, "From", `"Countersign" <no-reply@accounts.example>`)
			wantHeader(t, header, "Message-Id", "<01HX-2_3@accounts.example>")
			wantHeader(t, header, "Auto-Submitted", "auto-generated")
			if date, err := header.Date(); err != nil || !date.Equal(clock) {
				t.Errorf("date %v, %v; want %v", date, err, clock)
			}
			known := []string{"Date", "From", "To", "Subject", "Message-Id", "Mime-Version", "Auto-Submitted",
				"Content-Type", "Content-Transfer-Encoding"}
			for name := range header {
				if !slices.Contains(known, name) {
					t.Errorf("header %s: %q", name, header[name])
				}
			}
		})
	}
}

func wantHeader(t testing.TB, header mail.Header, name, want string) {
	t.Helper()
	if got := header[name]; len(got) != 1 || got[0] != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

func TestDisplayNameSurvives(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	client := server.client()
	client.From = `"アカウント, \"center\"" <no-reply@accounts.example>`
	if err := send(t, client, note()); err != nil {
		t.Fatal(err)
	}
	header, _, _ := read(t, server.only(t).data)
	from, err := header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != `アカウント, "center"` {
		t.Errorf("from %v, %v", from, err)
	}
}

func TestLineBreakInSubjectAddsNothing(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	m := note()
	m.Subject = "New device:\r\nBcc: eve@evil.example\n\nbody\x00\u2028\u202e"
	if err := send(t, server.client(), m); err != nil {
		t.Fatalf("the warning is silenced: %v", err)
	}
	header, subject, parts := read(t, server.only(t).data)
	if header.Get("Bcc") != "" || parts["text/plain"] != m.Text {
		t.Errorf("injected: %v %v", header, parts)
	}
	if want := "New device:  Bcc: eve@evil.example  body"; subject != want {
		t.Errorf("subject %q, want %q", subject, want)
	}
}

func TestSubjectThatLooksEncodedIsNotDecoded(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	m := note()
	m.Subject = "New device: =?utf-8?q?mine=0D=0A?="
	if err := send(t, server.client(), m); err != nil {
		t.Fatal(err)
	}
	if _, subject, _ := read(t, server.only(t).data); subject != "New device: = ?utf-8?q?mine=0D=0A?=" {
		t.Errorf("subject %q", subject)
	}
}

func TestLongSubjectIsCut(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	m := note()
	m.Subject = strings.Repeat("x", 2000)
	if err := send(t, server.client(), m); err != nil {
		t.Fatal(err)
	}
	if _, subject, _ := read(t, server.only(t).data); subject != strings.Repeat("x", 199)+"…" {
		t.Errorf("subject %q", subject)
	}
}

func TestOnlyOneBareAddressIsARecipient(t *testing.T) {
	t.Parallel()
	server := (&mailServer{smtpUTF8: true}).start(t)
	for _, to := range []string{
		"", "alice", "@example.com", "alice@", "alice@example.com\r\nRCPT TO:<eve@evil.example>",
		"alice@example.com\nBcc: eve@evil.example", "alice@example.com>\r\n", " alice@example.com",
		"alice@example.com, eve@evil.example", "Alice <alice@example.com>", "<alice@example.com>",
		`"a b"@example.com`, "friends: alice@example.com;", "alice@example.com (comment)", "alice\x00@example.com",
		strings.Repeat("a", 250) + "@example.com",
	} {
		m := note()
		m.To = to
		if err := send(t, server.client(), m); !delivery.IsPermanent(err) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if got := server.received(); len(got) != 0 {
		t.Errorf("sent to %q", got[0].to)
	}
}

func TestAddressOutsideASCIINeedsTheExtension(t *testing.T) {
	t.Parallel()
	m := note()
	m.To = "用户@例子.example"
	able := (&mailServer{smtpUTF8: true}).start(t)
	if err := send(t, able.client(), m); err != nil {
		t.Fatal(err)
	}
	if got := able.only(t); got.to != m.To || !got.utf8 {
		t.Errorf("sent to %q, SMTPUTF8 %v", got.to, got.utf8)
	}
	unable := (&mailServer{}).start(t)
	if err := send(t, unable.client(), m); !delivery.IsPermanent(err) {
		t.Errorf("without SMTPUTF8: %v", err)
	}
}

func TestMailWithoutTextIsNotSent(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	m := note()
	m.Text, m.HTML = "", "<p>only this</p>"
	if err := send(t, server.client(), m); !delivery.IsPermanent(err) || len(server.received()) != 0 {
		t.Errorf("got %v", err)
	}
}

var ourID = regexp.MustCompile(`^<[0-9A-Za-z_-]*@accounts\.example>$`)

func FuzzNothingIsInjected(f *testing.F) {
	f.Add("Your code", "alice@example.com", "m1")
	f.Add("a\r\nBcc: x@y", "a@b\r\nBcc: c@d", "x\r\n")
	f.Add("=?utf-8?q?a=0D=0ABcc:_x?=", "用户@例子.example", "é>")
	from := &mail.Address{Name: "Countersign", Address: "no-reply@accounts.example"}
	f.Fuzz(func(t *testing.T, title, to, id string) {
		m := message.Message{ID: id, To: to, Subject: title, Text: "text"}
		msg, err := delivery.Compose(m, from, clock.In(time.UTC))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if _, err := msg.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		header, subject, parts := read(t, out.Bytes())
		if strings.ContainsFunc(subject, unicode.IsControl) {
			t.Errorf("subject reads %q", subject)
		}
		if id := header.Get("Message-Id"); !ourID.MatchString(id) {
			t.Errorf("message id %q", id)
		}
		if len(header) != 9 || parts["text/plain"] != "text" {
			t.Errorf("%d headers, parts %q:\n%s", len(header), parts, out.Bytes())
		}
		list, err := header.AddressList("To")
		if err != nil || len(list) != 1 || list[0].Address != to {
			t.Errorf("to %q became %v, %v", to, list, err)
		}
	})
}
