package delivery_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
)

// The example of the Standard Webhooks libraries
// (https://github.com/standard-webhooks/standard-webhooks).
func TestHookIsSignedAsStandardWebhooksAre(t *testing.T) {
	t.Parallel()
	g := newGateway(t, says(204, ""))
	s, m := newHook(g.URL, g.client()), text()
	s.Template, s.Now = `{"test": 2432232314}`, func() time.Time { return time.Unix(1614265330, 999) }
	m.ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	if err := s.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r := g.only(t)
	for name, want := range map[string]string{
		"Webhook-Id": m.ID, "Webhook-Timestamp": "1614265330", "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		"Content-Type": "application/json", "X-Api-Key": hookToken,
	} {
		if got := r.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if r.Method != "POST" || r.URL.Path != "/hook-path-31fd" {
		t.Errorf("%s %s", r.Method, r.URL)
	}
}

func TestHookGetsTheMessage(t *testing.T) {
	t.Parallel()
	const rawKey = "0123456789abcdef01234567"
	want := `{"id":"m1","to":"+8613800138000","text":"一次性 code 482915, say \"it\" to nobody.\n\n@id.example.com #482915","kind":"code","locale":"zh-CN","params":{"Code":"482915","Service":"Acme \u0026 Co"}}`
	for name, test := range map[string]struct {
		change func(*delivery.Hook, *message.Message)
		body   string
		kind   string
	}{
		"default":   {func(*delivery.Hook, *message.Message) {}, want, "application/json"},
		"no params": {func(_ *delivery.Hook, m *message.Message) { m.Params = nil }, want[:strings.Index(want, `{"Code"`)] + "{}}", "application/json"},
		"raw key":   {func(h *delivery.Hook, _ *message.Message) { h.Secret = rawKey }, want, "application/json"},
		"unsigned":  {func(h *delivery.Hook, _ *message.Message) { h.Secret = "" }, want, "application/json"},
		"form": {func(h *delivery.Hook, _ *message.Message) {
			h.ContentType, h.Template = "application/x-www-form-urlencoded", `to={{urlquery .To}}&c={{.Params.Code | urlquery}}{{with .Params.None}}&none={{.}}{{end}}`
		}, "to=%2B8613800138000&c=482915", "application/x-www-form-urlencoded"},
		"kinds": {func(h *delivery.Hook, _ *message.Message) {
			h.ContentType, h.Template = "text/plain; charset=utf-8", `{{if and (eq .Kind "code") (not (eq .Locale "en"))}}{{index .Params "Code"}} {{json .Params.None}}{{else}}notice{{end}}`
		}, `482915 ""`, "text/plain; charset=utf-8"},
		"no plain id":  {func(_ *delivery.Hook, m *message.Message) { m.ID = "a.b\r\nX: y" }, strings.Replace(want, `"m1"`, `"a.b\r\nX: y"`, 1), "application/json"},
		"this machine": {func(h *delivery.Hook, _ *message.Message) { h.Headers = nil }, want, "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, says(202, "quoted"))
			s, m := newHook(g.URL, g.client()), text()
			test.change(s, &m)
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			if err := s.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			r := g.only(t)
			if r.body != test.body || r.Header.Get("Content-Type") != test.kind {
				t.Errorf("%s\n%s\nwant\n%s", r.Header.Get("Content-Type"), r.body, test.body)
			}
			key := []byte(s.Secret)
			if encoded, ok := strings.CutPrefix(s.Secret, "whsec_"); ok {
				key, _ = base64.StdEncoding.DecodeString(encoded)
			}
			mac := hmac.New(sha256.New, key)
			fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), r.body)
			signature := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
			if s.Secret == "" {
				signature = ""
			}
			if got := r.Header.Get("Webhook-Signature"); got != signature || r.Header.Get("X") != "" {
				t.Errorf("signature %q, want %q", got, signature)
			}
		})
	}
}

func TestHooksAnswersAreUnderstood(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		200: taken, 201: taken, 202: taken, 204: taken, 299: taken,
		400: permanent, 422: permanent, 404: loud, 410: loud, 401: setup, 403: setup,
		405: later, 408: later, 409: later, 413: later, 429: later, 500: later, 502: later, 503: later, 599: later,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				if status != 204 {
					_, _ = io.WriteString(w, "quoted +8613800138000")
				}
			})
			err := sendText(t, newHook(g.URL, g.client()))
			wantClass(t, err, want)
			if err != nil && !strings.Contains(err.Error(), fmt.Sprint(status)) {
				t.Errorf("no status in %v", err)
			}
		})
	}
}

func TestSetupOfTheHookIsChecked(t *testing.T) {
	t.Parallel()
	if err := newHook("https://gateway.example", nil).Validate(); err != nil {
		t.Fatal(err)
	}
	template := func(s string) func(*delivery.Hook) { return func(h *delivery.Hook) { h.Template = s } }
	plain := func(s string) func(*delivery.Hook) {
		return func(h *delivery.Hook) { h.Template, h.ContentType = s, "text/plain" }
	}
	header := func(name, value string) func(*delivery.Hook) {
		return func(h *delivery.Hook) { h.Headers = map[string]string{name: value} }
	}
	for name, spoil := range map[string]func(*delivery.Hook){
		"no URL":           func(h *delivery.Hook) { h.URL = "" },
		"clear":            func(h *delivery.Hook) { h.URL = "http://gateway.example/" },
		"user":             func(h *delivery.Hook) { h.URL = "https://u:p@gateway.example/" },
		"no base64":        func(h *delivery.Hook) { h.Secret = "whsec_" + hookToken },
		"short secret":     func(h *delivery.Hook) { h.Secret = hookToken },
		"short whsec":      func(h *delivery.Hook) { h.Secret = "whsec_c2hvcnQ=" },
		"empty whsec":      func(h *delivery.Hook) { h.Secret = "whsec_" },
		"content type":     func(h *delivery.Hook) { h.ContentType = "json" },
		"broken type":      func(h *delivery.Hook) { h.ContentType = "text/plain\r\nX: y" },
		"empty header":     header("", "a"),
		"spaced header":    header("X Y", "a"),
		"broken header":    header("X\r\nY", "a"),
		"broken value":     header("X-Key", "a\r\nX: "+hookToken),
		"signature":        header("webhook-signature", "a"),
		"host":             header("HOST", "a"),
		"length":           header("content-length", "1"),
		"coding":           header("Transfer-Encoding", "chunked"),
		"no template":      template("{{"),
		"unknown function": template("{{env .To}}"),
		"unknown field":    template("{{.Account}}"),
		"unknown depth":    template("{{.To.To}}"),
		"method":           template("{{json .String}}"),
		"no JSON":          template(`{"to":{{.To}}, "text":{{.Text}}}`),
		"breaks out":       template(`{"to":"{{.To}}","text":"{{.Text}}"}`),
		"breaks out, code": template(`{"code":"{{.Params.Code}}"}`),
		"empty":            template("{{/* nothing */}}"),
		"range":            plain("{{range .Params}}{{.}}{{end}}"),
		"range over int":   plain("{{range 1000000000}}{{end}}"),
		"range in if":      plain("{{if .To}}{{else}}{{range 9}}{{end}}{{end}}"),
		"range in with":    plain("{{with .To}}{{range 9}}{{end}}{{end}}"),
		"recursion":        plain(`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`),
		"itself":           plain(`{{template "hook"}}`),
		"block":            plain(`{{block "a" .}}{{end}}`),
		"unused":           plain(`{{define "a"}}x{{end}}y`),
		"definition":       plain(`{{define "hook"}}{{template "hook"}}{{end}}`),
		"printf":           plain(`{{printf "%1000000d" 1}}`),
		"print in a pipe":  plain(`{{json (print .To)}}`),
		"print in a field": plain(`{{(print .To).X}}`),
		"html":             plain(`{{html .To}}`),
		"call":             plain(`{{call .To}}`),
		"slice":            plain(`{{slice .To 1}}`),
		"doubling":         plain(`{{json .Params` + strings.Repeat("|json", 60) + `}}`),
		"long template":    plain(strings.Repeat(" ", 8<<10+1)),
		"deep":             plain("{{" + strings.Repeat("(", 8000) + "}}"),
		"long body":        plain(longBody),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook("https://gateway.example", delivery.NewClient(nil))
			spoil(h)
			err := h.Validate()
			if err == nil {
				t.Fatal("valid")
			}
			wantClass(t, fmt.Errorf("%w", err), later) // tells nothing
		})
	}
}

// longBody writes more than 64 KiB of values that are each short enough.
var longBody = `{{$x := json .Params}}{{$x = json $x}}{{$x = json $x}}{{$x = json $x}}{{$x = json $x}}{{$x = json $x}}{{$x = json $x}}{{$x = json $x}}{{$x = json $x}}` + strings.Repeat("{{$x}}", 100)

func TestTemplateThatFailsIsTheOperatorsToCure(t *testing.T) {
	t.Parallel()
	g := newGateway(t, says(200, ""))
	for name, template := range map[string]string{"fails": `{{index .Text 99999}}`, "no JSON": `{"kind":{{.Kind}}}`, "broken": "{{"} {
		t.Run(name, func(t *testing.T) {
			s := newHook(g.URL, g.client())
			s.Template = template
			wantClass(t, sendText(t, s), setup)
		})
	}
	s, m := newHook(g.URL, g.client()), text()
	m.Text = strings.Repeat("nobody ", 10_000)
	wantClass(t, s.Send(t.Context(), m), setup)
	if len(g.caught) != 0 {
		t.Error("sent")
	}
}

// Whatever a template says, it comes to an end, with a body of limited length
// or an error.
func FuzzHookTemplate(f *testing.F) {
	for _, seed := range []string{
		"", `{"to":{{json .To}}}`, "{{.Params.Code | urlquery}}", "{{range 9}}{{end}}", `{{with $x := index .Params "Code"}}{{$x}}{{else}}{{.}}{{end}}`,
		`{{if and (eq .Kind "code") (ne .To nil)}}{{not .ID}}{{end}}`, `{{define "a"}}{{end}}`, "{{json .|json|json|json}}", "{{- /* a */ -}}", longBody, "{{break}}", "{{((.)).To}}",
		"{{index .To 1}}", "{{1e9}}{{'a'}}{{1i}}{{0x1p-2}}", "{{eq .Params .Params}}", "{{index . 1}}", "{{json nil}}", "{{or}}", "{{block \"hook\" .}}{{end}}",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, template string, isJSON bool) {
		body, err := delivery.HookBody(template, isJSON, text())
		if len(body) > 64<<10 || err != nil && body != nil {
			t.Errorf("%d bytes, %v", len(body), err)
		}
		if err == nil && isJSON && !json.Valid(body) {
			t.Errorf("no JSON: %q", body)
		}
	})
}

// Nothing that a message says can get out of its place in the default body.
func FuzzHookDefaultBody(f *testing.F) {
	f.Add("m1", "+8613800138000", `a","to":"+1`, "code", "en", "Code", "482915")
	f.Add("\x00", "\u2028", "\xff\xfe", "{{json .}}", "</script>", `"`, `\`)
	f.Fuzz(func(t *testing.T, id, to, text, kind, locale, name, value string) {
		m := message.Message{ID: id, To: to, Text: text, Kind: kind, Locale: locale, Params: map[string]string{name: value}}
		body, err := delivery.HookBody("", true, m)
		if err != nil {
			if len(id)+len(to)+len(text)+len(kind)+len(locale)+len(name)+len(value) < 10_000 {
				t.Fatal(err)
			}
			return
		}
		var got struct {
			ID, To, Text, Kind, Locale string
			Params                     map[string]string
		}
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		for _, pair := range [][2]string{{got.ID, id}, {got.To, to}, {got.Text, text}, {got.Kind, kind}, {got.Locale, locale}} {
			if pair[0] != each(pair[1]) {
				t.Errorf("%q, want %q", pair[0], each(pair[1]))
			}
		}
		if want := map[string]string{each(name): each(value)}; !maps.Equal(got.Params, want) {
			t.Errorf("params %q, want %q", got.Params, want)
		}
	})
}

// each returns s with every byte that is no UTF-8 replaced, as JSON has it.
func each(s string) string { return string([]rune(s)) }
