package doctor_test

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/secret"
	"countersign/internal/server/doctor"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
)

func TestAWholeServerIsWell(t *testing.T) {
	t.Parallel()
	c := settings(t)
	mail(t, &c, hidden+"-mail", certificate(t, "localhost", ninety()))
	whole(t, &c)
	found := examine(t, &doctor.Doctor{Config: c})
	for part, text := range map[string]string{
		"keys":     "key 1 of " + time.Now().UTC().Format(time.DateOnly) + " seals",
		"database": "SQLite 3.",
		"schema":   "version ",
		"audit":    "the ends of ",
		"mail":     "by STARTTLS, signed in as countersign; nothing was sent",
		"texts":    "no provider is set",
		"url":      "leads to this server, with a certificate until " + ninety().UTC().Format(time.DateOnly),
		"proxy":    "127.0.0.1 is trusted, and says that we come from 127.0.0.1",
		"passkeys": "belong to localhost",
	} {
		want(t, found, part, doctor.OK, text)
	}
	if f := found["clock"]; f.State == doctor.Fail || !strings.Contains(f.Text, "with localhost:") {
		t.Errorf("the clock: %+v", f)
	}
	if _, ok := found["disk"]; !ok {
		t.Error("nothing of the disk")
	}
	found = examine(t, &doctor.Doctor{Config: c, SendTo: "ada@example.com"})
	want(t, found, "mail", doctor.OK, "a mail to a***@")
	found = examine(t, &doctor.Doctor{Config: c, SendTo: "nobody@example.com"})
	want(t, found, "mail", doctor.Fail, "no such mailbox")
}

func TestWhatIsBeforeTheServer(t *testing.T) {
	t.Parallel()
	past := time.Now().Add(-24 * time.Hour)
	for name, of := range map[string]struct {
		change  func(c *config.Config)
		name    string
		until   time.Time
		between func(t *testing.T, h http.Handler) http.Handler
		part    string
		state   doctor.State
		text    string
	}{
		"a proxy that appends":      {between: behind(appends), part: "proxy", state: doctor.OK, text: "is trusted"},
		"one that passes on":        {between: behind(passes), part: "proxy", state: doctor.Fail, text: "anybody chooses the address"},
		"one that says nothing":     {between: behind(func(*httputil.ProxyRequest) {}), part: "proxy", state: doctor.Fail, text: "sends no X-Forwarded-For"},
		"one that is not trusted":   {change: untrusted, between: behind(appends), part: "proxy", state: doctor.Fail, text: "X-Forwarded-For from 127.0.0.1 is ignored"},
		"one that nobody knows of":  {change: untrusted, between: behind(passes), part: "proxy", state: doctor.Fail, text: "there is one, and it says nothing"},
		"nor of what it takes away": {change: untrusted, between: behind(func(*httputil.ProxyRequest) {}), part: "proxy", state: doctor.Fail, text: "there is one, and it says nothing"},
		"one that drops the host":   {between: behind(func(r *httputil.ProxyRequest) { r.SetXForwarded(); r.Out.Host = "" }), part: "proxy", state: doctor.Fail, text: "have it pass Host on"},
		"one without a server":      {between: func(*testing.T, http.Handler) http.Handler { return answers(http.StatusBadGateway) }, part: "url", state: doctor.Fail, text: "answers 502 Bad Gateway -> start the server"},
		"somebody else":             {between: func(*testing.T, http.Handler) http.Handler { return answers(http.StatusOK) }, part: "url", state: doctor.Fail, text: "is not this server"},
		"somebody who says he is": {between: func(*testing.T, http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = fmt.Fprintf(w, `{"proof":%q,"peer":"127.0.0.1","trusted":true,"client":"127.0.0.1","forwarded":["127.0.0.1"],"host":%q}`, r.Header.Get("Countersign-Probe"), r.Host)
			})
		}, part: "url", state: doctor.Fail, text: "is not this server"},
		"an expired certificate":      {until: past, part: "url", state: doctor.Fail, text: "renew the certificate"},
		"one that is about to expire": {until: time.Now().Add(5*24*time.Hour + time.Hour), part: "certificate", state: doctor.Warn, text: "for 5 days more"},
		"another name's":              {name: "id.example.com", part: "url", state: doctor.Fail, text: "get a certificate for the name in public_url"},
		"related origins":             {change: related, part: "passkeys", state: doctor.OK, text: "names every related origin"},
		"none where they are looked for": {change: related, between: func(t *testing.T, h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/.well-known/") {
					_, _ = fmt.Fprintln(w, `{"origins":["https://example.org"]}`)
					return
				}
				h.ServeHTTP(w, r)
			})
		}, part: "passkeys", state: doctor.Fail, text: "does not name https://example.net"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := settings(t)
			if of.change != nil {
				of.change(&c)
			}
			if of.name == "" {
				of.name = "localhost"
			}
			if of.until.IsZero() {
				of.until = ninety()
			}
			f := newFront(t, &c, certificate(t, of.name, of.until))
			checked(t, &c)
			h := build(t, c)
			if of.between == nil {
				of.between = behind(replaces)
			}
			f.next = of.between(t, h)
			want(t, examine(t, &doctor.Doctor{Config: c}), of.part, of.state, of.text)
		})
	}
}

func behind(rewrite func(*httputil.ProxyRequest)) func(*testing.T, http.Handler) http.Handler {
	return func(t *testing.T, h http.Handler) http.Handler { return proxied(t, h, rewrite) }
}

func untrusted(c *config.Config) { c.TrustedProxies = nil }

func related(c *config.Config) { c.Passkey.Origins = []string{"https://example.net"} }

func answers(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

func TestProxiesThatAreAnybody(t *testing.T) {
	t.Parallel()
	c := settings(t)
	whole(t, &c)
	for text, wide := range map[string]bool{
		"": false, "127.0.0.1": false, "127.0.0.0/8": false, "10.0.0.0/8": false, "172.16.0.0/12": false, "192.168.0.0/16": false, "203.0.0.0/9": false, "::1": false, "fc00::/7": false, "fd00::/8": false, "fe80::/10": false, "2001:db8:7::/48": false, "2001:db8::/33": false,
		"0.0.0.0/0": true, "::/0": true, "128.0.0.0/1": true, "203.0.0.0/8": true, "10.0.0.0/7": true, "2001:db8::/32": true, "2000::/3": true, "fc00::/6": true,
	} {
		c.TrustedProxies = nil
		if text != "" {
			c.TrustedProxies = []string{"127.0.0.1", text}
		}
		f := examine(t, &doctor.Doctor{Config: c})["trusted"]
		switch {
		case !wide && f.State != doctor.OK:
			t.Errorf("%s: %+v", text, f)
		case wide && (f.State != doctor.Fail || f.Text != "trusted_proxies holds "+text+": whoever connects from there chooses the address he is known by"):
			t.Errorf("%s: %+v", text, f)
		}
	}
}

// What is answered to those who type the name alone.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		plain http.Handler // nil: the connection is closed
		state doctor.State
		text  string
	}{
		"nobody":              {nil, doctor.OK, "nobody answers at http://localhost:"},
		"a redirect":          {http.RedirectHandler("https://id.example.com/signin", http.StatusMovedPermanently), doctor.OK, "/signin leads to https"},
		"nothing":             {answers(http.StatusNotFound), doctor.OK, "/signin serves nothing: 404 Not Found"},
		"the page":            {answers(http.StatusOK), doctor.Fail, "/signin is answered (200 OK) without a redirect to https"},
		"a redirect to there": {http.RedirectHandler("/", http.StatusFound), doctor.Fail, "passwords may cross the network in clear -> have the proxy answer plain HTTP with a redirect to https://localhost:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := settings(t)
			f := newPlainFront(t, &c, certificate(t, "localhost", ninety()), of.plain)
			checked(t, &c)
			f.next = proxied(t, build(t, c), replaces)
			want(t, examine(t, &doctor.Doctor{Config: c}), "http", of.state, of.text)
			f.next = answers(http.StatusBadGateway)
			if f, ok := examine(t, &doctor.Doctor{Config: c})["http"]; ok {
				t.Errorf("somebody else is asked: %+v", f)
			}
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	c := settings(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	c.PublicURL = "http://localhost:" + port
	checked(t, &c)
	build(t, c)
	found := examine(t, &doctor.Doctor{Config: c})
	want(t, found, "url", doctor.Fail, "connection refused -> start the server")
	if f, ok := found["proxy"]; ok {
		t.Errorf("of the proxy nothing is known, and %+v is said", f)
	}
	c.PublicURL = "https://no-such-host.invalid"
	found = examine(t, &doctor.Doctor{Config: c})
	want(t, found, "url", doctor.Fail, "make a DNS record for no-such-host.invalid")
}

func TestKeysThatAreNotRight(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		harm  func(t *testing.T, c *config.Config)
		state doctor.State
		text  string
	}{
		"another database's": {func(t *testing.T, c *config.Config) {
			c.Keys += ".other"
			k, err := secret.OpenKeyring(c.Keys, rand.Reader, time.Now())
			if err == nil {
				err = k.Keep()
			}
			if err != nil {
				t.Fatal(err)
			}
		}, doctor.Fail, "does not belong to the database"},
		"none":             {func(_ *testing.T, c *config.Config) { c.Keys += ".lost" }, doctor.Fail, "put the keys of this database there"},
		"others read them": {func(t *testing.T, c *config.Config) { chmod(t, c.Keys, 0o640) }, doctor.Fail, "chmod 600"},
		"others swap them": {func(t *testing.T, c *config.Config) { chmod(t, filepath.Dir(c.Keys), 0o770) }, doctor.Warn, "chmod go-w"},
		"no keys at all": {func(t *testing.T, c *config.Config) {
			if err := os.WriteFile(c.Keys, []byte(`{"keys":[]}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, doctor.Fail, "holds none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := settings(t)
			whole(t, &c)
			of.harm(t, &c)
			found := examine(t, &doctor.Doctor{Config: c})
			want(t, found, "keys", of.state, of.text)
			if of.state == doctor.Fail && found["url"].State == doctor.OK {
				t.Errorf("a server with other keys is taken for this one: %+v", found["url"])
			}
			if _, err := os.Stat(c.Keys); name == "none" && !os.IsNotExist(err) {
				t.Error("the doctor made keys")
			}
		})
	}
	c := settings(t)
	whole(t, &c)
	want(t, examine(t, &doctor.Doctor{Config: c, Now: func() time.Time { return time.Now().Add(401 * 24 * time.Hour) }}), "keys", doctor.Warn, "countersign key rotate")
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestMailThatCannotBeSent(t *testing.T) {
	t.Parallel()
	c := settings(t)
	whole(t, &c)
	look := func() map[string]doctor.Finding { return examine(t, &doctor.Doctor{Config: c}) }
	want(t, look(), "mail", doctor.Warn, "no mail server is set")
	mail(t, &c, "another", certificate(t, "localhost", ninety()))
	want(t, look(), "mail", doctor.Fail, "correct smtp_username and smtp_password_file")
	mail(t, &c, hidden+"-mail", certificate(t, "localhost", time.Now().Add(-time.Hour)))
	want(t, look(), "mail", doctor.Fail, "have the mail server show a certificate that is good")
	mail(t, &c, hidden+"-mail", nil)
	want(t, look(), "mail", doctor.Fail, "offers no STARTTLS")
	c.SMTP.Address = "localhost:1"
	want(t, look(), "mail", doctor.Fail, "see that this machine may connect")
}

func TestProvidersOfTextMessages(t *testing.T) {
	t.Parallel()
	c := settings(t)
	f := whole(t, &c)
	_, port, _ := net.SplitHostPort(f.Listener.Addr().String())
	c.SMS.Provider, c.SMS.Secret, c.SMS.URL = "hook", hidden+"-hook", "https://localhost:"+port+"/"+hidden
	want(t, examine(t, &doctor.Doctor{Config: c}), "texts", doctor.OK, "hook answers at localhost:"+port)
	c.SMS.URL = "https://localhost:1/" + hidden
	want(t, examine(t, &doctor.Doctor{Config: c}), "texts", doctor.Fail, "correct sms_url")
	c.SMS.Provider, c.SMS.URL = "smpp", "localhost:"+port
	want(t, examine(t, &doctor.Doctor{Config: c}), "texts", doctor.OK, "smpp answers")
	c.SMS.TLS = true
	want(t, examine(t, &doctor.Doctor{Config: c}), "texts", doctor.OK, "smpp answers")
}

func TestAClockThatIsOff(t *testing.T) {
	t.Parallel()
	c := settings(t)
	whole(t, &c)
	at := func(off time.Duration) map[string]doctor.Finding {
		return examine(t, &doctor.Doctor{Config: c, Now: func() time.Time { return time.Now().Add(off) }})
	}
	want(t, at(-2*time.Minute), "clock", doctor.Fail, "behind localhost:")
	want(t, at(2*time.Minute), "clock", doctor.Fail, "ahead of localhost:")
	want(t, at(20*time.Second), "clock", doctor.Warn, "run chrony")
}

func TestAnInstallationThatIsNew(t *testing.T) {
	t.Parallel()
	c := settings(t)
	c.PublicURL = "http://localhost:1"
	checked(t, &c)
	found := examine(t, &doctor.Doctor{Config: c})
	want(t, found, "keys", doctor.Warn, "there are none yet")
	want(t, found, "database", doctor.Warn, "there is none yet")
	if files, err := os.ReadDir(c.Data); err != nil || len(files) > 0 {
		t.Errorf("the doctor made %v, %v", files, err)
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	c := settings(t)
	c.Database = storetest.PostgresURL(t)
	u, err := url.Parse(c.Database)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), hidden+"-database")
	c.Database = u.String()
	checked(t, &c)
	want(t, examine(t, &doctor.Doctor{Config: c}), "database", doctor.Warn, "there is none yet")
	whole(t, &c)
	raw := storetest.Raw(t, c.Database)
	fsync := ""
	if err := raw.QueryRow("SHOW fsync").Scan(&fsync); err != nil {
		t.Fatal(err)
	}
	found := examine(t, &doctor.Doctor{Config: c, Nodes: 2})
	want(t, found, "audit", doctor.OK, "of 0 chains")
	want(t, found, "database", doctor.OK, "PostgreSQL ")
	want(t, found, "schema", doctor.OK, "version ")
	want(t, found, "keys", doctor.OK, "seals")
	want(t, found, "connections", doctor.OK, "a node takes up to 17")
	if fsync == "off" { // as where the tests are to be fast
		want(t, found, "durability", doctor.Fail, "a power cut may destroy the database")
	}
	want(t, examine(t, &doctor.Doctor{Config: c, Nodes: 1000}), "connections", doctor.Fail, "1000 nodes of 17 take 17000")
	f := examine(t, &doctor.Doctor{Config: c, Now: func() time.Time { return time.Now().Add(time.Minute) }})["clock"]
	if f.State != doctor.Fail || !strings.Contains(f.Text, "ahead of the database") {
		t.Errorf("a clock that is off: %+v", f)
	}
	if _, err := raw.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)"); err != nil {
		t.Fatal(err)
	}
	want(t, examine(t, &doctor.Doctor{Config: c}), "schema", doctor.Warn, "it is of version 999")
	owned(t, c) // the release before works with the schema of the one after
	want(t, examine(t, &doctor.Doctor{Config: c}), "audit", doctor.OK, "the ends of ")
	if _, err := raw.Exec("UPDATE audit_head SET hash = 'moved' WHERE account_id = (SELECT min(account_id) FROM audit_head)"); err != nil {
		t.Fatal(err)
	}
	want(t, examine(t, &doctor.Doctor{Config: c}), "audit", doctor.Fail, "countersign audit verify")
	if _, err := raw.Exec("CREATE TABLE " + engine.Marker + " (x TEXT)"); err != nil {
		t.Fatal(err)
	}
	want(t, examine(t, &doctor.Doctor{Config: c}), "database", doctor.Fail, "has not ended")
	if _, err := raw.Exec("DROP TABLE " + engine.Marker + "; CREATE TABLE " + engine.MovedMark + " AS SELECT 1 AS one, 'm' AS move, CAST(1772000000000000 AS BIGINT) AS moved_at, 'db.example.com/id' AS moved_to"); err != nil {
		t.Fatal(err)
	}
	want(t, examine(t, &doctor.Doctor{Config: c}), "database", doctor.Fail, "it was moved to db.example.com/id at 2026-02-25 06:13 UTC -> set `database` to the URL of that one")
	u.Host = "127.0.0.1:1"
	c.Database = u.String()
	want(t, examine(t, &doctor.Doctor{Config: c}), "database", doctor.Fail, "connection refused")
}
