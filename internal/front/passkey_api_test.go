package front_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/passkey"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
	"countersign/internal/testkit/softkey"
)

// softPhone is a passkey as phones have them, softDevice one on a security key,
// each in a browser that shows the site.
func softPhone(s *testkit.Site) *testkit.SoftKey {
	k := testkit.NewSoftKey()
	k.Origin = s.URL
	return k
}

func softDevice(s *testkit.Site) *testkit.SoftKey {
	k := testkit.NewSoftDevice()
	k.Origin = s.URL
	return k
}

// bindPasskey binds a passkey of the key straight in the store.
func bindPasskey(s *testkit.Site, i account.Identity, k *testkit.SoftKey) store.Passkey {
	s.T.Helper()
	challenge := make([]byte, passkey.ChallengeBytes)
	_, _ = rand.Read(challenge)
	var made passkey.Credential
	s.Put(func(tx *store.Tx) error {
		handle, err := tx.PasskeyHandle(i.Account, i.ID)
		if err != nil {
			return err
		}
		options, err := s.SignIn.Passkeys.Creation(challenge, passkey.User{Handle: handle, Name: i.Name(), DisplayName: i.Name()}, nil)
		if err == nil {
			made, err = s.SignIn.Passkeys.Register(k.Create(options), passkey.Lists{})
		}
		return err
	})
	return putPasskey(s, i, fmt.Sprintf("Passkey %x", made.ID[:4]), func(p *store.Passkey) { p.Credential = made })
}

// bindU2F binds the key under U2F, as an import does, of a name that the site
// has too.
func bindU2F(s *testkit.Site, i account.Identity, k *testkit.SoftKey) store.Passkey {
	s.T.Helper()
	const appID = "https://id.example/appid.json"
	s.SignIn.Passkeys.Origins = append(s.SignIn.Passkeys.Origins, "https://id.example")
	c := k.BindU2F(appID)
	return putPasskey(s, i, "Old key", func(p *store.Passkey) {
		p.Credential = passkey.Credential{ID: c.ID, PublicKey: c.Public, AppID: appID, SignCount: c.Count}
	})
}

const keyPath, keyOptions = "/api/v1/signin/passkey", "/api/v1/signin/passkey/options"

// members are those of a JSON object in turn; a credential is sent as it is.
func members(s ...string) string {
	body := map[string]json.RawMessage{}
	for n := 0; n < len(s); n += 2 {
		body[s[n]] = json.RawMessage(s[n+1])
		if s[n] != "credential" {
			b, _ := json.Marshal(s[n+1])
			body[s[n]] = b
		}
	}
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // a credential that is no JSON
	}
	return string(b)
}

// asked are the options for a key, with the token to answer under; none for a
// sign-in by a passkey alone.
func asked(c *testkit.Client, under ...string) (token string, options json.RawMessage) {
	c.T.Helper()
	r := post(c, keyOptions, members(under...)).Want(http.StatusOK)
	var o struct {
		Ceremony string
		Options  json.RawMessage
	}
	if err := json.Unmarshal([]byte(r.Body), &o); err != nil || len(o.Ceremony) != 43 || len(o.Options) < 50 {
		c.T.Fatalf("%v: %s", err, r.Body)
	}
	return o.Ceremony, o.Options
}

// answers sends what a key says.
func answers(c *testkit.Client, token string, said []byte, more ...string) testkit.Reply {
	c.T.Helper()
	if said == nil {
		c.T.Fatal("the key declines")
	}
	return post(c, keyPath, members(append([]string{"ceremony", token, "credential", string(said)}, more...)...))
}

// problem checks that a reply is the refusal named.
func problem(t *testing.T, what string, r testkit.Reply, status int, code, field string) {
	t.Helper()
	if r.StatusCode != status || r.Header.Get("Content-Type") != "application/problem+json" || len(r.Cookies()) != 0 {
		t.Errorf("%s: %d %s", what, r.StatusCode, r.Body)
		return
	}
	refusedAs(t, what, object(t, r), code, field)
}

// whoIs checks whose session an answer holds, and what it rests on.
func whoIs(t *testing.T, c *testkit.Client, r testkit.Reply, i account.Identity, amr string) {
	t.Helper()
	o := object(t, r.Want(http.StatusOK))
	if text(o["status"]) != "complete" || len(text(o["session"])) != 43 || o["ceremony"] != nil {
		t.Fatalf("got %s", r.Body)
	}
	q := c.Request("GET", "/api/v1/session", "")
	q.Header.Set("Authorization", "Bearer "+text(o["session"]))
	who := object(t, c.Send(q).Want(http.StatusOK))
	var said []string
	list, _ := who["amr"].([]any)
	for _, one := range list {
		said = append(said, text(one))
	}
	if text(who["acr"]) != "phr" || strings.Join(said, " ") != amr || text(who["identity"]) != string(i.ID) || text(who["account"]) != string(i.Account) {
		t.Errorf("a session of %v by %v, %v; want %s of %s by %s", who["identity"], who["acr"], said, i.ID, i.Account, amr)
	}
}

func TestAProgramSignsInByAPasskeyAlone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		s.Account(bob, testkit.Password)
		uma := putStaff(s, s.Identity(bob), "uma", account.User)
		mine, hers := softPhone(s), softDevice(s)
		bindPasskey(s, s.Identity(alice), mine)
		bindPasskey(s, uma, hers)
		c := s.Client()
		for _, one := range []struct {
			i   account.Identity
			k   *testkit.SoftKey
			amr string
		}{{s.Identity(alice), mine, "swk user mfa"}, {uma, hers, "hwk user mfa"}} {
			token, options := asked(c)
			if strings.Contains(string(options), "allowCredentials") && !strings.Contains(string(options), `"allowCredentials":[]`) {
				t.Errorf("the options name credentials: %s", options)
			}
			said := one.k.Get(options)
			whoIs(t, c, answers(c, token, said), one.i, one.amr)
			problem(t, "twice", answers(c, token, said), http.StatusUnauthorized, "passkey.expired", "credential")
			fresh, _ := asked(c)
			problem(t, "for another question", answers(c, fresh, said), http.StatusUnauthorized, "passkey.expired", "credential")
		}
		for name, lie := range map[string]testkit.Lie{"not verified": softkey.Clear(softkey.UV), "another site": softkey.Origin("https://evil.example"), "another type": softkey.Type("webauthn.create")} {
			token, options := asked(c)
			problem(t, name, answers(c, token, mine.Get(options, lie)), http.StatusUnauthorized, "passkey.refused", "credential")
		}
		settleOf(s, uma, func(n *account.Settings) { n.PasskeySignIn = false })
		token, options := asked(c)
		problem(t, "switched off", answers(c, token, hers.Get(options)), http.StatusForbidden, "signin.passkey_off", "")
		token, options = asked(c)
		whoIs(t, c, answers(c, token, mine.Get(options)), s.Identity(alice), "swk user mfa") // of another account, and of an owner
		token, options = asked(c)
		s.Pass(11 * time.Minute)
		problem(t, "eleven minutes later", answers(c, token, mine.Get(options)), http.StatusUnauthorized, "passkey.expired", "credential")
	})
}

// settleOf changes the settings of somebody's account.
func settleOf(s *testkit.Site, i account.Identity, change func(*account.Settings)) {
	s.T.Helper()
	next, err := s.DB.Read(s.T.Context()).Settings(i.Account)
	if err != nil {
		s.T.Fatal(err)
	}
	change(&next)
	s.Put(func(tx *store.Tx) error { return tx.SetSettings(i.Account, next) })
}

func TestAProgramTakesTheSecondStepWithAKey(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		settle(s, func(n *account.Settings) { n.PasskeySignIn = false }) // which is about keys alone
		uma := putStaff(s, s.Identity(alice), "uma", account.User)
		ben := putStaff(s, s.Identity(alice), "ben", account.User)
		phone, old, bens := softPhone(s), softDevice(s), softDevice(s)
		bindPasskey(s, uma, phone)
		bindU2F(s, uma, old)
		bindPasskey(s, ben, bens)
		c := s.Client()
		first := call(c, "/api/v1/signin", http.StatusOK, "username", "uma@"+string(uma.Account), "password", testkit.Password)
		if methods, _ := first["methods"].([]any); len(methods) != 2 || methods[0] != "passkey" || methods[1] != "u2f" {
			t.Errorf("got %v", first)
		}
		id := text(first["ceremony"])
		token, options := asked(c, "ceremony", id)
		if token != id {
			t.Errorf("another ceremony: %s", token)
		}
		problem(t, "another's passkey", answers(c, id, bens.Get(options, softkey.With(bens.Credential()))), http.StatusUnauthorized, "passkey.unknown", "credential")
		_, options = asked(c, "ceremony", id, "method", "passkey")
		problem(t, "as the wrong method", answers(c, id, phone.Get(options), "method", "u2f"), http.StatusUnauthorized, "passkey.unknown", "credential")
		problem(t, "as a method that is not bound", answers(c, id, phone.Get(options), "method", "sms"), http.StatusForbidden, "method.not_allowed", "method")
		problem(t, "by a code", post(c, "/api/v1/signin/verify", members("ceremony", id, "method", "passkey", "code", "123456")), http.StatusUnprocessableEntity, "passkey.malformed", "credential")
		_, options = asked(c, "ceremony", id)
		said := phone.Get(options, softkey.Clear(softkey.UV)) // the password was asked before
		whoIs(t, c, answers(c, id, said, "method", "passkey"), uma, "pwd swk user mfa")
		problem(t, "twice", answers(c, id, said, "method", "passkey"), http.StatusGone, "ceremony.gone", "")

		id = began(t, c, uma, "verify")
		_, options = asked(c, "ceremony", id, "method", "u2f")
		whoIs(t, c, answers(c, id, old.Get(options), "method", "u2f"), uma, "pwd hwk user mfa")

		id = began(t, c, ben, "verify")
		problem(t, "a method that is not bound", post(c, keyOptions, members("ceremony", id, "method", "u2f")), http.StatusForbidden, "method.not_allowed", "method")
		_, options = asked(c, "ceremony", id)
		foreign, _ := asked(c)
		problem(t, "the answer of another ceremony", answers(c, foreign, bens.Get(options)), http.StatusUnauthorized, "passkey.expired", "credential")
		alone, open := asked(c)
		said = bens.Get(open)
		problem(t, "an answer alone, for the second step", answers(c, id, said), http.StatusUnauthorized, "passkey.expired", "credential")
		problem(t, "switched off", answers(c, alone, said), http.StatusForbidden, "signin.passkey_off", "")
		_, options = asked(c, "ceremony", id)
		said = bens.Get(options)
		s.Pass(11 * time.Minute)
		if got := answers(c, id, said); got.StatusCode < 400 || got.StatusCode >= 500 {
			t.Errorf("eleven minutes later: %d %s", got.StatusCode, got.Body)
		}
	})
}

func TestAProgramBindsAPasskey(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		c := s.Client()
		const bind, confirm = "/api/v1/signin/bind", "/api/v1/signin/bind/confirm"
		id := began(t, c, uma, "bind")
		options := func(id string) json.RawMessage {
			o := call(c, bind, http.StatusOK, "ceremony", id, "method", "passkey")
			b, err := json.Marshal(o["options"])
			if err != nil || text(o["status"]) != "passkey" || o["key"] != nil {
				t.Fatal(o, err)
			}
			return b
		}
		confirms := func(id string, said []byte, more ...string) testkit.Reply {
			return post(c, confirm, members(append([]string{"ceremony", id, "method", "passkey", "credential", string(said)}, more...)...))
		}
		k := softPhone(s)
		if said := k.Create(options(id), softkey.Origin("https://evil.example")); said != nil {
			problem(t, "of another site", confirms(id, said), http.StatusUnauthorized, "passkey.refused", "credential")
		}
		said := k.Create(options(id))
		other := began(t, c, uma, "bind")
		problem(t, "under another sign-in", confirms(other, said), http.StatusUnauthorized, "passkey.expired", "credential")
		problem(t, "no credential", post(c, confirm, members("ceremony", id, "method", "passkey")), http.StatusUnprocessableEntity, "passkey.malformed", "credential")
		problem(t, "a credential that is none", confirms(id, []byte(`{"id":"x"}`)), http.StatusUnprocessableEntity, "passkey.malformed", "credential")
		problem(t, "no text", confirms(id, []byte(`"text"`)), http.StatusUnprocessableEntity, "passkey.malformed", "credential")
		problem(t, "a name too long", confirms(id, said, "name", strings.Repeat("x", 65)), http.StatusUnprocessableEntity, "passkey.name", "name")
		problem(t, "to prove with, not to make", answers(c, id, said), http.StatusForbidden, "method.not_allowed", "method")
		done := confirms(id, said, "name", "Script")
		if codes, _ := object(t, done)["recovery_codes"].([]any); len(codes) == 0 {
			t.Errorf("no recovery codes: %s", done.Body)
		}
		whoIs(t, c, done, uma, "pwd swk user mfa")
		problem(t, "twice", confirms(id, said), http.StatusGone, "ceremony.gone", "")
		problem(t, "in the sign-in of before", confirms(other, said), http.StatusGone, "ceremony.gone", "")
		list, err := s.DB.Read(t.Context()).Passkeys(uma.Account, uma.ID)
		if err != nil || len(list) != 1 || list[0].Name != "Script" {
			t.Fatal(list, err)
		}
		token, alone := asked(c)
		whoIs(t, c, answers(c, token, k.Get(alone, softkey.With(k.Credential()))), uma, "swk user mfa")

		ben := putStaff(s, s.Identity(alice), "ben", account.User)
		id = began(t, c, ben, "bind")
		late := softPhone(s).Create(options(id))
		s.Pass(11 * time.Minute) // the wizard is kept for half an hour, the challenge is not
		problem(t, "eleven minutes later", confirms(id, late), http.StatusUnauthorized, "passkey.expired", "credential")
		whoIs(t, c, confirms(id, softDevice(s).Create(options(id))), ben, "pwd hwk user mfa")
	})
}

var toldUnknown = regexp.MustCompile(`<div data-unknown="[^"]*" hidden></div>`)

var credentialIDs = regexp.MustCompile(`"(id|rawId|credentialId)":"[^"]*"`)

// alike compares refusals, but for the ids of the requests and of credentials.
func alike(t *testing.T, bodies map[string]string) {
	t.Helper()
	var first, of string
	for name, body := range bodies {
		body = credentialIDs.ReplaceAllString(strings.ReplaceAll(masked(body), "&#34;", `"`), `"…"`)
		if first == "" {
			first, of = body, name
		}
		if body != first {
			t.Errorf("%s and %s are not answered alike:\n%s\n%s", of, name, first, body)
		}
	}
}

// Nobody learns which credentials there are (WebAuthn §14.6.2).
func TestUnknownDeletedAndWronglySignedPasskeysAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	s.Account(bob, testkit.Password)
	mine, gone, foreign := softPhone(s), softPhone(s), softPhone(s)
	i := s.Identity(alice)
	bindPasskey(s, i, mine)
	deleted := putGone(s, i, gone)
	bindPasskey(s, s.Identity(bob), foreign)
	said := map[string]func(options json.RawMessage) []byte{
		"unknown":          func(o json.RawMessage) []byte { return mine.Get(o, softkey.LongID(32)) },
		"deleted":          func(o json.RawMessage) []byte { return gone.Get(o) },
		"a bad signature":  func(o json.RawMessage) []byte { return mine.Get(o, softkey.WrongSignature()) },
		"a foreign key":    func(o json.RawMessage) []byte { return mine.Get(o, softkey.Forged()) },
		"a foreign handle": func(o json.RawMessage) []byte { return mine.Get(o, softkey.Handle(foreign.Credential().User)) },
	}
	programs, pages := map[string]string{}, map[string]string{}
	for name, says := range said {
		c := s.Client()
		token, options := asked(c)
		r := answers(c, token, says(options))
		problem(t, name, r, http.StatusUnauthorized, "passkey.unknown", "credential")
		programs[name] = r.Body
		pages[name] = submitPasskey(s.Client(), says).Want(http.StatusUnauthorized).Body
	}
	alike(t, programs)
	for name := range said { // a passkey that is there is not to vanish from a phone
		if told, gone := strings.Contains(pages[name], "credentialId"), name == "unknown" || name == "deleted"; told != gone {
			t.Errorf("%s: the browser is told: %v", name, told)
		}
		pages[name] = toldUnknown.ReplaceAllString(pages[name], "")
	}
	alike(t, pages)

	// After the password the account is known: what answers alike are the keys.
	seconds := map[string]string{}
	said["another's"] = func(o json.RawMessage) []byte { return foreign.Get(o, softkey.With(foreign.Credential())) }
	for name, says := range said {
		c := s.Client()
		id := text(call(c, "/api/v1/signin", http.StatusOK, "username", alice, "password", testkit.Password)["ceremony"])
		_, options := asked(c, "ceremony", id)
		if name == "deleted" {
			says = func(o json.RawMessage) []byte { return gone.Get(o, softkey.With(deleted)) }
		}
		r := answers(c, id, says(options))
		problem(t, name, r, http.StatusUnauthorized, "passkey.unknown", "credential")
		seconds[name] = r.Body
	}
	alike(t, seconds)
	refused := 0
	events, err := s.DB.Read(t.Context()).History(i.Account, i.ID, 0, 100, audit.ConsoleSignin)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Refused == "passkey.unknown" && e.Details["why"] != "" {
			refused++
		}
	}
	if refused < 8 {
		t.Errorf("only %d refusals are written down", refused)
	}
}

// putGone binds a passkey and deletes it.
func putGone(s *testkit.Site, i account.Identity, k *testkit.SoftKey) *softkey.Credential {
	s.T.Helper()
	p := bindPasskey(s, i, k)
	s.Put(func(tx *store.Tx) error { return tx.RemovePasskey(i.Account, i.ID, p.ID, store.ErrNoRow) })
	return k.Credential()
}
