package server_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"countersign/internal/config"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const (
	someone  = "alice@example.com"
	herPhone = "+8613800138000"
)

// running is a server outside development mode whose text messages go to the
// gateway; its users are at the site returned.
func running(t *testing.T, gateway http.HandlerFunc) *testkit.Site {
	t.Helper()
	web := httptest.NewServer(gateway)
	t.Cleanup(web.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := settings(t, t.TempDir())
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Dev, c.PublicURL = false, "http://localhost:"+port
	c.SMS = config.SMS{Provider: "hook", URL: web.URL + "/send", Secret: "a secret of more than 24 bytes", Countries: []string{"CN"}, Ceiling: 100, CountryCeiling: 50, Header: "X-Api-Key: gate"}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	s := open(t, c)
	if err := s.Build(io.Discard); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() { // the test's context has ended
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	site := &testkit.Site{Server: s, T: t, URL: c.PublicURL, Config: c}
	site.Account(someone, testkit.Password)
	site.PutPhone(someone, herPhone)
	site.PutProtection(someone, factor.SMS, policy.SignInScenario)
	site.PutCodes(someone)
	return site
}

func says(t *testing.T, r testkit.Reply, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(r.Body, w) {
			t.Errorf("%s does not say %q:\n%s", r.Request.URL.Path, w, r.Body)
		}
	}
}

func TestATextMessageGoesThroughTheGateway(t *testing.T) {
	t.Parallel()
	got := make(chan map[string]any, 10)
	s := running(t, func(_ http.ResponseWriter, r *http.Request) {
		var m map[string]any
		_ = json.NewDecoder(r.Body).Decode(&m)
		if m != nil {
			m["signed"], m["key"] = r.Header.Get("Webhook-Signature"), r.Header.Get("X-Api-Key")
		}
		got <- m
	})
	page := s.Client().SignIn(someone, nil).Follow().Submit("/signin/verify/send", "method", "sms").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	m := <-got
	text, _ := m["text"].(string)
	if m["to"] != herPhone || m["key"] != "gate" || !strings.HasPrefix(m["signed"].(string), "v1,") || len(text) < 20 || !strings.HasSuffix(text, "\n@localhost #"+text[:6]) {
		t.Fatalf("the gateway got %v", m)
	}
	page.Submit("/signin/verify", "code", text[:6]).Want(http.StatusSeeOther)
}

// The request waits a little to hear what became of the message, so that the
// page can say it.
func TestAGatewayThatFailsIsSaidPlainly(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	for name, c := range map[string]struct {
		gateway http.HandlerFunc
		says    []string
		silent  string
	}{
		"refusing":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }, []string{"We could not send the text message.", "Or try another way.", "Send code"}, `name="code"`},
		"out of order":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, []string{"has not gone out yet", `name="code"`, "/signin/methods?c="}, "Send code<"},
		"over its limit": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, []string{"has not gone out yet", `name="code"`}, "Send code<"},
		"slow":           {func(http.ResponseWriter, *http.Request) { <-hang }, []string{`name="code"`, "/signin/methods?c="}, "We could not send"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			s := running(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); c.gateway(w, r) })
			if name == "slow" {
				t.Cleanup(func() { close(hang) })
			}
			b := s.Client()
			page := b.SignIn(someone, nil).Follow().Submit("/signin/verify/send", "method", "sms").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
			says(t, page, c.says...)
			if strings.Contains(page.Body, c.silent) {
				t.Errorf("the page says %q", c.silent)
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("the gateway was asked %d times", n)
			}
			if to := b.Get("/security").Header.Get("Location"); to != "/signin" {
				t.Errorf("without a second step: %q", to)
			}
		})
	}
}

func TestASenderThatCannotWorkIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sms  config.SMS
		want string
	}{
		"a short secret":      {config.SMS{Provider: "hook", URL: "https://gateway.example.com", Secret: "short-and-hidden"}, "shorter than 24 bytes"},
		"not over TLS":        {config.SMS{Provider: "hook", URL: "http://gateway.example.com/hidden", Secret: "a secret of more than 24 bytes, hidden"}, "https"},
		"a template unclosed": {config.SMS{Provider: "hook", URL: "https://gateway.example.com", Secret: "a secret of more than 24 bytes, hidden", Template: "{{.Text"}, "template"},
	} {
		settings := settings(t, t.TempDir())
		c.sms.Countries, c.sms.Ceiling, c.sms.CountryCeiling = []string{"CN"}, 10, 10
		settings.SMS = c.sms
		if err := settings.Check(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err := open(t, settings).Build(io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A message that dies gives its sends back, but not for ever: whoever lets ten
// of them die in one ceremony begins anew.
func TestTheEleventhSendOfACeremonyIsRefusedThoughAllBeforeDied(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	s := running(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusUnprocessableEntity)
	})
	b := s.Client()
	page := b.SignIn(someone, nil).Follow().Want(http.StatusOK)
	for n := range 12 {
		got := page.Submit("/signin/verify/send", "method", "sms")
		if n < 10 {
			says(t, got.Want(http.StatusSeeOther).Follow().Want(http.StatusOK), "We could not send the text message.", "Send code")
			continue
		}
		if got.Want(http.StatusTooManyRequests); got.Header.Get("Retry-After") == "" {
			t.Error("when to come again is not said")
		}
	}
	if n := asked.Load(); n != 10 {
		t.Errorf("the gateway was asked %d times", n)
	}
	again := b.SignIn(someone, nil).Follow().Submit("/signin/verify/send", "method", "sms").Want(http.StatusSeeOther)
	says(t, again.Follow(), "We could not send the text message.")
	if n := asked.Load(); n != 11 {
		t.Errorf("with a new one, %d times", n)
	}
}

// A sender of Twilio's is a number, or a service that chooses one.
func TestTheSenderOfTwilioIsANumberOrAService(t *testing.T) {
	t.Parallel()
	account, service := "AC"+strings.Repeat("0", 32), "MG"+strings.Repeat("1", 32)
	for from, field := range map[string]string{"+15005550006": "From", service: "MessagingServiceSid"} {
		var got url.Values
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			got = r.PostForm
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"sid": "SM1", "status": "queued", "error_code": null}`)
		}))
		t.Cleanup(web.Close)
		c := settings(t, t.TempDir())
		c.SMS = config.SMS{Provider: "twilio", URL: web.URL, Account: account, Secret: "a token", From: from, Countries: []string{"CN"}, Ceiling: 10, CountryCeiling: 10}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		if err := open(t, c).TestText(t.Context(), herPhone); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
		if got.Get(field) != from || got.Get("To") != herPhone || got.Has("From") == got.Has("MessagingServiceSid") || !strings.HasPrefix(got.Get("Body"), "This is a test from Countersign.") {
			t.Errorf("from %s: Twilio got %v", from, got)
		}
	}
}

// Each ceiling is the one that its setting names, and its end is no secret
// from the operator.
func TestACeilingThatIsReachedIsLogged(t *testing.T) {
	t.Parallel()
	for limit, change := range map[string]func(c *config.Config){
		"total":   func(c *config.Config) { c.SMS.Ceiling = 2 },
		"country": func(c *config.Config) { c.SMS.CountryCeiling = 2 },
		"all":     func(c *config.Config) { c.SendCeiling = 2 },
	} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, storetest.SQLite, change)
			s.Account(someone, testkit.Password)
			s.PutPhone(someone, herPhone)
			s.PutProtection(someone, factor.SMS, policy.SignInScenario)
			b := s.Client()
			for n := range 4 {
				want := http.StatusSeeOther
				if n >= 2 {
					want = http.StatusTooManyRequests
				}
				b.SignIn(someone, nil).Follow().Submit("/signin/verify/send", "method", "sms").Want(want)
			}
			var said []string
			for line := range strings.Lines(s.Logs.String()) {
				if strings.Contains(line, "a limit is reached") {
					said = append(said, line)
				}
			}
			if len(said) != 1 || !strings.Contains(said[0], "level=ERROR") || !strings.Contains(said[0], "limit="+limit+" ") || strings.Contains(said[0], "13800138000") {
				t.Errorf("the log says %q", said)
			}
		})
	}
}
