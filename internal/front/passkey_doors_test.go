package front_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// fetched are the options that the script of the page asks for, and the form
// that answers them.
func fetched(c *testkit.Client, csrf string, more ...string) (options json.RawMessage, form url.Values) {
	c.T.Helper()
	r := c.Post("/signin/passkey/options", url.Values{"csrf": {csrf}}).Want(http.StatusOK)
	var o struct {
		C       string
		Options json.RawMessage
	}
	if err := json.Unmarshal([]byte(r.Body), &o); err != nil || o.C == "" || r.Header.Get("Content-Type") != "application/json" {
		c.T.Fatalf("%v: %s", err, r.Body)
	}
	return o.Options, extra(url.Values{"csrf": {csrf}, "c": {o.C}}, more...)
}

func submitPasskey(c *testkit.Client, says func(json.RawMessage) []byte, more ...string) testkit.Reply {
	c.T.Helper()
	options, form := fetched(c, c.CSRF(), more...)
	form.Set("credential", string(says(options)))
	return c.Post("/signin/passkey", form)
}

func TestAPasskeyLandsInItsOwnAccountFromEitherDoor(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		s.Account(bob, testkit.Password)
		uma := putStaff(s, s.Identity(bob), "uma", account.User)
		mine, hers := softPhone(s), softDevice(s)
		bindPasskey(s, s.Identity(alice), mine)
		bindPasskey(s, uma, hers)
		putCodes(s, uma) // whoever has none is given some first
		doors := map[string][]string{
			"of owners":                      {"return_to", "/security/history"},
			"of RAM users":                   {"door", "ram", "return_to", "/security/history"},
			"of RAM users of one's own":      {"door", "ram", "domain", string(uma.Account), "return_to", "/security/history"},
			"of RAM users of another":        {"door", "ram", "domain", string(s.Identity(alice).Account), "return_to", "/security/history"},
			"with fields that are no form's": {"username", alice, "user", string(s.Identity(alice).ID), "account", string(s.Identity(alice).Account), "return_to", "/security/history"},
		}
		for name, fields := range doors {
			for _, one := range []struct {
				i account.Identity
				k *testkit.SoftKey
			}{{s.Identity(alice), mine}, {uma, hers}} {
				c := s.Client()
				got := submitPasskey(c, func(o json.RawMessage) []byte { return one.k.Get(o) }, fields...).Want(http.StatusSeeOther)
				if to := got.Header.Get("Location"); to != "/security/history" {
					t.Errorf("%s, %s: to %s", name, one.i.Name(), to)
				}
				says(t, c.Get("/security").Want(http.StatusOK), one.i.Name())
				who := object(t, c.Get("/api/v1/session").Want(http.StatusOK))
				if text(who["identity"]) != string(one.i.ID) || text(who["account"]) != string(one.i.Account) || text(who["acr"]) != "phr" {
					t.Errorf("%s, %s: %v", name, one.i.Name(), who)
				}
			}
		}
		for _, to := range []string{"//evil.example", "https://evil.example", `/\evil.example`} {
			got := submitPasskey(s.Client(), func(o json.RawMessage) []byte { return mine.Get(o) }, "return_to", to).Want(http.StatusSeeOther)
			if strings.Contains(got.Header.Get("Location"), "evil") {
				t.Errorf("%s leads to %s", to, got.Header.Get("Location"))
			}
		}
	})
}

func TestAPasskeyAloneIsAnsweredInItsOwnBrowser(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	k := softPhone(s)
	bindPasskey(s, s.Identity(alice), k)
	sessions := counts(t, s)["session"]
	refused := func(what string, r testkit.Reply) {
		t.Helper()
		says(t, r.Want(http.StatusUnauthorized), "name=\"password\"") // the door, again
		saysNot(t, r, "credentialId")                                 // nothing is wrong with the passkey
		if n := counts(t, s)["session"]; n != sessions {
			t.Errorf("%s: a session", what)
		}
	}
	victim, attacker := s.Client(), s.Client()
	csrf := attacker.CSRF()
	options, form := fetched(victim, victim.CSRF())
	form.Set("credential", string(k.Get(options)))
	stolen := url.Values{"csrf": {csrf}, "c": form["c"], "credential": form["credential"]}
	refused("in another browser", attacker.Post("/signin/passkey", stolen))
	_, own := fetched(attacker, csrf)
	own.Set("credential", form.Get("credential"))
	refused("for another question", attacker.Post("/signin/passkey", own))

	own = url.Values{"csrf": form["csrf"], "credential": form["credential"], "c": {"x"}}
	refused("of no ceremony", victim.Post("/signin/passkey", own))
	victim.Post("/signin/passkey", form).Want(http.StatusSeeOther)
	sessions++
	replayed := s.Client()
	replayed.Jar = victim.Jar
	refused("twice", replayed.Post("/signin/passkey", form))

	late := s.Client()
	options, form = fetched(late, late.CSRF())
	form.Set("credential", string(k.Get(options)))
	s.Pass(11 * time.Minute)
	refused("eleven minutes later", late.Post("/signin/passkey", form))

	// The cookie of a sign-in is none of a passkey alone.
	half := s.Client()
	page := half.SignIn(alice, nil).Header.Get("Location")
	_, id, _ := strings.Cut(page, "?c=")
	options, form = fetched(half, half.CSRF())
	form.Set("credential", string(k.Get(options)))
	right := form.Get("c")
	form.Set("c", id)
	refused("under the sign-in", half.Post("/signin/passkey", form))
	form.Set("c", right)
	half.Post("/signin/passkey", form).Want(http.StatusSeeOther)
}

// Whoever else knows the id of a passkey finds nothing there.
func TestAPasskeyIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	people := newCast(s)
	theirs, old := putPasskey(s, people.target, "Quill's phone"), putPasskey(s, people.target, "Quill's key", oldKey)
	all := newDump(t, s)
	tried := 0
	for name, i := range map[string]account.Identity{"owner": people.owner, "administrator": people.admin, "user": people.user, "stranger": people.stranger} {
		c := as(s, i, factor.VirtualMFA)
		c.Get("/security").Want(http.StatusOK)
		csrf := c.CSRF()
		before := all.read(t)
		for _, pattern := range s.Routes.Routes() {
			method, path, _ := strings.Cut(pattern, " ")
			if !strings.HasPrefix(path, "/security/passkeys/{id}") {
				continue
			}
			for _, id := range []string{theirs.ID, old.ID} {
				tried++
				at := strings.Replace(path, "{id}", id, 1)
				got := c.Get(at)
				if method == "POST" {
					got = c.Post(at, url.Values{"csrf": {csrf}, "name": {"Mine"}, "c": {"x"}, "credential": {"{}"}})
				}
				if got.StatusCode != http.StatusNotFound || strings.Contains(got.Body, "uill") {
					t.Errorf("%s of the %s: %d to %q", pattern, name, got.StatusCode, got.Header.Get("Location"))
				}
			}
		}
		if lines := changed(before, all.read(t)); len(lines) > 0 {
			t.Errorf("the %s changes\n%s", name, strings.Join(lines, "\n"))
		}
	}
	if tried < 40 {
		t.Errorf("only %d tries", tried)
	}
}
