package front_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/web/page"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// A person has all that can be protected, and a browser whose session does
// not suffice for anything.
type person struct {
	*testkit.Client
	account.Identity
	app                                *testkit.App
	email, phone, bind, choice, device string // ids of ceremonies that wait for nothing but the gate, and of the device
	replace                            string // id of one more: a device takes the place of the present one
	other                              string // id of another session
	user, lost                         string // ids of RAM users of the account: one has a device and is signed in, the other has lost the device
	domain                             string // a domain alias that is not proved yet
	seen                               string // the settings in force, as their preview names them
	passkey, key                       string // ids of a passkey and of a key bound under U2F
	create, upgrade, protect           string // ids of ceremonies that wait for a passkey: one more, one in place of the key, one that protects
	created, upgraded, protecting      string // and what the browser answers
}

// sentToThem is the code that those ceremonies wait for.
const sentToThem = "424242"

// A drive is a plausible request to a gated route.
type drive struct {
	fill    func(p *person) []string // names and values in turn
	protect factor.Method            // what Account Protection uses; empty: virtual MFA
	partly  bool                     // right although nothing changes: it is a step of a longer way
}

func with(names ...string) func(*person) []string {
	return func(p *person) []string {
		values := map[string]string{"$email": p.email, "$phone": p.phone, "$bind": p.bind, "$choice": p.choice, "$device": p.device, "$remembered": "m" + string(p.ID), "$other": p.other, "$user": p.user, "$domain": p.domain, "$alias": "new-" + string(p.Account), "$replace": p.replace, "$seen": p.seen, "$create": p.create, "$created": p.created, "$upgrade": p.upgrade, "$upgraded": p.upgraded, "$protect": p.protect, "$protecting": p.protecting, "$code1": p.app.Code(1), "$code2": p.app.Code(2)}
		filled := slices.Clone(names)
		for n, v := range filled {
			if found, ok := values[v]; ok {
				filled[n] = found
			}
		}
		return filled
	}
}

func TestEveryRouteIsGatedOrNeedsNoGate(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	listed := map[string]bool{}
	for _, pattern := range s.Routes.Routes() {
		listed[pattern] = true
		gate, gated := s.Routes.Gates[pattern]
		reason, open := ungated[pattern]
		switch {
		case gated == open:
			t.Errorf("%s: gated %v, on the list of those that need no gate %v", pattern, gated, open)
		case open && reason == "":
			t.Errorf("%s: no reason", pattern)
		case gated && !slices.Contains([]policy.Scenario{policy.ChangePassword, policy.ChangeContact, policy.ManageMFA, policy.ManageSessions, policy.ManageUsers, policy.ChangePolicy}, policy.Scenario(gate)):
			t.Errorf("%s is gated by %q", pattern, gate)
		}
		if _, driven := drives[pattern]; driven != gated {
			t.Errorf("%s: gated %v, driven %v", pattern, gated, driven)
		}
	}
	for _, patterns := range [][]string{slices.Collect(maps.Keys(ungated)), slices.Collect(maps.Keys(drives))} {
		for _, pattern := range patterns {
			if !listed[pattern] {
				t.Errorf("%s is no route", pattern)
			}
		}
	}
}

// newPerson is someone who signs in as signIn does and has everything bound.
func newPerson(s *testkit.Site, email string, protect factor.Method, signIn func(p *person, bind func())) *person {
	s.Account(email, testkit.Password)
	p := &person{Client: s.Client(), Identity: s.Identity(email)}
	signIn(p, func() {
		p.app = s.PutApp(email)
		p.device = "device-" + string(p.ID)
		s.PutPhone(email, "+8613800138000")
		if protect == "" {
			protect = factor.VirtualMFA
		}
		s.PutProtection(email, protect, policy.SignInScenario, policy.ChangePassword)
	})
	return p
}

// newAdministrator is newPerson for a RAM administrator of an account of its
// own, which lets everybody decide about MFA.
func newAdministrator(s *testkit.Site, email string, signIn func(p *person, bind func())) *person {
	s.Account(email, testkit.Password)
	owner := s.Identity(email)
	settings := account.DefaultSettings()
	settings.MFAOperation = account.Independent
	s.Put(func(tx *store.Tx) error { return tx.SetSettings(owner.Account, settings) })
	p := &person{Client: s.Client(), Identity: putStaff(s, owner, "boss", account.Administrator)}
	signIn(p, func() {
		p.app = putDevice(s, p.Identity, "Phone")
		p.device = "device-" + string(p.ID)
		putPhone(s, p.Identity, "+8613800138000")
	})
	return p
}

// enter signs the person in at its door, with a code where an app is given.
func (p *person) enter(app *testkit.App) testkit.Reply {
	if p.IsOwner() {
		return p.SignIn(p.Email, app)
	}
	return enter(p.Client, p.Identity, app)
}

// prepare puts into the person's session what waits for nothing but the gate:
// the codes are right, the ceremonies young.
func prepare(t *testing.T, s *testkit.Site, p *person) {
	t.Helper()
	sessions, err := s.DB.Read(t.Context()).Sessions(p.Account, p.ID)
	if err != nil || len(sessions) != 1 {
		t.Fatal(sessions, err)
	}
	phone, err := s.DB.Read(t.Context()).Phone(p.Account, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := factor.NewSeed(strings.NewReader(strings.Repeat("seed", 10)))
	if err != nil {
		t.Fatal(err)
	}
	reached := selfservice.EmailAction(p.Identity)
	if !p.IsOwner() {
		putMailbox(s, p.Identity, "old-"+string(p.ID)+"@example.com")
		reached = selfservice.SecurityEmailAction(store.SecurityEmail{ID: "mail-" + string(p.ID), Address: "old-" + string(p.ID) + "@example.com"})
	}
	id := string(p.ID)
	p.email, p.phone, p.bind, p.choice, p.other, p.replace = "e"+id, "p"+id, "b"+id, "c"+id, "o"+id, "r"+id
	p.domain = "d" + string(p.Account) + ".example.net"
	user := putStaff(s, p.Identity, "user", account.User)
	lost := putStaff(s, p.Identity, "lost", account.User)
	p.user, p.lost = string(user.ID), string(lost.ID)
	putDevice(s, user, "Their phone")
	p.seen = shown(t, preview(p.Client, "session_hours", "8"), "/console/settings/save")["seen"]
	p.passkey = putPasskey(s, p.Identity, "Passkey").ID
	p.key = putPasskey(s, p.Identity, "Key", oldKey).ID
	p.create, p.upgrade, p.protect = "n"+id, "u"+id, "k"+id
	edit := policy.Action{Scenario: policy.ManageMFA, Name: "protection_edit", Target: p.choice, Destructive: true}
	s.Put(func(tx *store.Tx) error {
		for _, c := range []ceremony.Ceremony{
			{ID: p.email, Kind: ceremony.Contact, Action: reached, Private: ceremony.Private{Email: "new-" + string(p.ID) + "@example.com"}},
			{ID: p.phone, Kind: ceremony.Contact, Action: selfservice.PhoneAction(phone), Private: ceremony.Private{Phone: "+8613700137000", Country: "CN"}},
			{ID: p.bind, Kind: ceremony.Bind, Private: ceremony.Private{Seed: seed}},
			{ID: p.replace, Kind: ceremony.Bind, Private: ceremony.Private{Seed: seed, Replaces: p.device}},
			{ID: p.create, Kind: ceremony.NewPasskey},
			{ID: p.upgrade, Kind: ceremony.NewPasskey, Private: ceremony.Private{Replaces: p.key}},
			{ID: p.protect, Kind: ceremony.Protect, Action: policy.Action{Scenario: policy.ManageMFA, Name: "protection_edit", Target: p.protect, Destructive: true}, Private: ceremony.Private{Protection: &policy.Protection{Method: factor.Passkey, Scenarios: []policy.Scenario{policy.ManageMFA}}}},
			{ID: p.choice, Kind: ceremony.Protect, Action: edit, Private: ceremony.Private{Protection: &policy.Protection{Method: factor.SMS, Scenarios: []policy.Scenario{policy.ManageMFA}}}},
		} {
			c.Account, c.Identity, c.Epoch, c.Session, c.TriesLeft, c.CreatedAt, c.ExpiresAt = p.Account, p.ID, p.Epoch, sessions[0].ID, 5, tx.Now, tx.Now.Add(ceremony.Lifetime)
			if err := tx.AddCeremony(c); err != nil {
				return err
			}
			if into := map[string]*string{p.create: &p.created, p.upgrade: &p.upgraded, p.protect: &p.protecting}[c.ID]; into != nil {
				options, err := s.SignIn.PasskeyOptions(tx, p.Identity, c)
				if err != nil {
					return err
				}
				*into = string(softDevice(s).Create(options))
				continue
			}
			m := factor.SMS
			if c.Private.Email != "" {
				m = factor.Email
			}
			if err := tx.AddSentCode(ceremony.Code{ID: "s" + c.ID, Ceremony: c.ID, Method: m, Digits: 6, CreatedAt: tx.Now, ExpiresAt: c.ExpiresAt}, sentToThem); err != nil {
				return err
			}
		}
		if err := tx.AddDomainAlias(p.Account, p.domain, "proof"); err != nil {
			return err
		}
		if err := tx.SetEnrolment(p.Account, lost.ID, store.Enrolment{Kind: store.Reenrol, TicketHash: []byte("ticket"), CreatedAt: tx.Now, OpensAt: tx.Now, ExpiresAt: tx.Now.Add(time.Hour)}); err != nil {
			return err
		}
		if err := tx.AddKnownDevice(session.KnownDevice{ID: "k" + id, Account: p.Account, Identity: user.ID}, []byte("known"+id)); err != nil {
			return err
		}
		if _, err := tx.Facts(p.Identity, nil); err != nil {
			return err
		}
		if err := tx.RememberDevice(session.RememberedDevice{ID: "m" + id, Account: p.Account, Identity: p.ID, Epoch: p.Epoch, ExpiresAt: tx.Now.Add(time.Hour)}, []byte("series"+id), []byte("secret"+id)); err != nil {
			return err
		}
		for _, i := range []account.Identity{p.Identity, user} {
			other := sessions[0]
			other.ID, other.Identity, other.Epoch = "o"+string(i.ID), i.ID, i.Epoch
			if err := tx.AddSession(other, []byte("nobody's"+other.ID)); err != nil {
				return err
			}
		}
		return nil
	})
}

// standing is all of an account that a gate protects, as the database has it.
func standing(t *testing.T, s *testkit.Site, a account.ID) string {
	t.Helper()
	raw := storetest.Raw(t, s.Config.DatabaseURL())
	defer func() { _ = raw.Close() }()
	var b strings.Builder
	for _, query := range []string{
		"SELECT id, email, email_key, email_confirmed_at, password_hash, epoch, role, name, display_name, comments FROM identity",
		"SELECT identity_id, state, mfa_required, password_reset, initial_until FROM login_profile",
		"SELECT identity_id, id FROM known_device",
		"SELECT identity_id, id FROM remembered_device",
		"SELECT identity_id, kind, ticket_hash, expires_at FROM enrolment",
		"SELECT domain, code, verified_at FROM domain_alias",
		"SELECT content, idle_users FROM account_settings",
		"SELECT id, alias FROM account",
		"SELECT id, name, drift, last_step FROM virtual_mfa",
		"SELECT id, number FROM phone",
		"SELECT id, address FROM security_email",
		"SELECT id, number, token_hash FROM activation",
		"SELECT account_id, scenarios, method, since, changed_at FROM account_protection",
		"SELECT identity_id, code_hash, created_at, used_at FROM recovery_code",
		"SELECT id, credential_id, name, sign_count, copied_at FROM passkey",
		"SELECT id, epoch, proofs FROM session",
		"SELECT id, channel, kind FROM outbox",
	} {
		of := "account_id"
		if strings.HasSuffix(query, " FROM account") {
			of = "id"
		}
		rows, err := raw.Query(query+" WHERE "+of+" = $1 ORDER BY 1, 2", string(a))
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for n := range values {
			into[n] = &values[n]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %v\n", query, values)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	return b.String()
}

// ask sends what the drive says.
func (d drive) ask(p *person, pattern string) testkit.Reply {
	method, path, _ := strings.Cut(pattern, " ")
	id := p.user
	switch {
	case strings.HasSuffix(path, "/ticket"):
		id = p.lost
	case strings.HasSuffix(path, "/upgrade"):
		id = p.key
	case strings.HasPrefix(path, "/security/passkeys/"):
		id = p.passkey
	}
	path = strings.Replace(path, "{id}", id, 1)
	form := url.Values{}
	filled := d.fill(p)
	for n := 0; n < len(filled); n += 2 {
		form.Set(filled[n], filled[n+1])
	}
	if method == "GET" {
		return p.Get(path + "?" + form.Encode())
	}
	form.Set("csrf", p.CSRF())
	return p.Post(path, form)
}

// toVerify is the id of the verification that a reply leads to.
func toVerify(r testkit.Reply) (id string, ok bool) {
	id, ok = strings.CutPrefix(r.Header.Get("Location"), "/verify?c=")
	return id, ok && r.StatusCode == http.StatusSeeOther
}

func TestNoSessionThatDoesNotSufficePassesAGate(t *testing.T) {
	t.Parallel()
	app := func(p *person, bind func()) {
		bind()
		p.enter(p.app)
	}
	for _, kind := range []struct {
		name   string
		signIn func(p *person, bind func())
		later  time.Duration
	}{
		{"live but stale", app, 11 * time.Minute},
		{"opened by a recovery code just now", func(p *person, bind func()) {
			bind()
			codes := putCodes(p.Site, p.Identity)
			p.enter(nil).Follow()
			page := p.Get("/signin/verify?method=recovery_code")
			page.Submit("/signin/verify", "code", codes[0]).Want(http.StatusSeeOther)
		}, 0},
		{"opened by the password alone", func(p *person, bind func()) {
			p.enter(nil)
			bind()
		}, 0},
	} {
		for who, of := range map[string]func(s *testkit.Site, email, pattern string) *person{
			"owner": func(s *testkit.Site, email, pattern string) *person {
				if s.Routes.Audiences[pattern] == string(page.Users) {
					return nil
				}
				return newPerson(s, email, drives[pattern].protect, kind.signIn)
			},
			"administrator": func(s *testkit.Site, email, pattern string) *person {
				if s.Routes.Audiences[pattern] == string(page.Owners) {
					return nil
				}
				return newAdministrator(s, email, kind.signIn)
			},
		} {
			t.Run(who+", "+kind.name, func(t *testing.T) {
				t.Parallel()
				s := testkit.NewSite(t, storetest.SQLite, nil)
				s.Admin.TXT = func(context.Context, string) ([]string, error) { return []string{admin.DomainRecord + "proof"}, nil }
				people := map[string]*person{}
				for n, pattern := range slices.Sorted(maps.Keys(drives)) {
					if p := of(s, fmt.Sprintf("alice%d@example.com", n), pattern); p != nil {
						people[pattern] = p
					}
				}
				if len(people) < 30 {
					t.Fatalf("only %d routes", len(people))
				}
				if kind.later > 0 {
					s.Pass(kind.later)
				}
				for pattern, p := range people {
					p.T = t
					prepare(t, s, p)
					gate(t, s, pattern, p)
				}
			})
		}
	}
}

// gate drives a route twice: the session as it is must not pass, and once
// verified it must.
func gate(t *testing.T, s *testkit.Site, pattern string, p *person) {
	t.Helper()
	d := drives[pattern]
	before := standing(t, s, p.Account)
	got := d.ask(p, pattern)
	id, ok := toVerify(got)
	if !ok {
		t.Errorf("%s passes the gate: %d to %q\n%.2000s", pattern, got.StatusCode, got.Header.Get("Location"), got.Body)
	}
	if after := standing(t, s, p.Account); after != before {
		t.Errorf("%s changes what it must not:\n%s\nis now\n%s", pattern, before, after)
	}
	if !ok {
		return
	}
	sessions, err := s.DB.Read(t.Context()).Sessions(p.Account, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	mine := slices.DeleteFunc(sessions, func(one session.Session) bool { return one.ID == p.other })
	c, err := s.DB.Read(t.Context()).CeremonyOfSession(ceremony.Verify, id, mine[0].ID)
	if err != nil || string(c.Action.Scenario) != s.Routes.Gates[pattern] {
		t.Errorf("%s asks for %q, %v; the router says %q", pattern, c.Action.Scenario, err, s.Routes.Gates[pattern])
	}

	done := p.Get(got.Header.Get("Location")+"&method=virtual_mfa").Want(http.StatusOK).Submit("/verify", "code", p.app.Code(0)).Want(http.StatusSeeOther)
	if _, again := toVerify(done); again {
		t.Errorf("%s: verified, and sent to a verification again", pattern)
	}
	proved := standing(t, s, p.Account)
	last := func(s string) []string { // without the step that the verification itself used up
		return slices.DeleteFunc(strings.Split(s, "\n"), func(line string) bool {
			return strings.Contains(line, "FROM virtual_mfa") && strings.Contains(line, p.device)
		})
	}
	if slices.Equal(last(proved), last(before)) { // nothing went on by itself
		then := d.ask(p, pattern)
		if _, again := toVerify(then); again || then.StatusCode >= 500 {
			t.Errorf("%s: with a fresh proof it answers %d to %q", pattern, then.StatusCode, then.Header.Get("Location"))
		}
		if after := standing(t, s, p.Account); after == proved && !d.partly {
			t.Errorf("%s: with a fresh proof it does nothing: %d to %q\n%.2000s", pattern, then.StatusCode, then.Header.Get("Location"), then.Body)
		}
	}
}

// What has been chosen is shown before the verification, the key of a new
// device is not.
func TestNoPageShowsASecretBeforeTheVerification(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	page := c.Get("/security/protection/setup").Submit("/security/protection/setup", "scenario", "sign-in", "method", "virtual_mfa").Follow().Want(http.StatusOK)
	confirm := page.Request.URL.RequestURI()
	i := s.Identity(alice)
	sessions, err := s.DB.Read(t.Context()).Sessions(i.Account, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	choice, err := s.DB.Read(t.Context()).CeremonyOfSession(ceremony.Protect, page.Request.URL.Query().Get("c"), sessions[0].ID)
	if err != nil || len(choice.Private.Seed) == 0 {
		t.Fatal("no key was made", err)
	}
	key := factor.SeedText(choice.Private.Seed)
	shown := func(body string) bool {
		return strings.Contains(body, "otpauth:") || strings.Contains(body, strings.ReplaceAll(key, " ", "")) || strings.Contains(body, key[:4])
	}
	for _, path := range routes(s, "GET") {
		if strings.HasPrefix(path, "/dev/") {
			continue
		}
		if got := c.Get(path + "?c=" + url.QueryEscape(choice.ID)); shown(got.Body) {
			t.Errorf("GET %s shows the key", path)
		}
	}
	if got := c.Post("/security/protection/device", url.Values{"csrf": {c.CSRF()}, "c": {choice.ID}, "code": {(&testkit.App{Seed: choice.Private.Seed, Now: s.Now}).Code(0)}}); got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(got.Header.Get("Location"), "/verify?c=") {
		t.Errorf("a right code of a key that was never shown: %d to %s", got.StatusCode, got.Header.Get("Location"))
	}
	c.Get(confirm).Submit("/security/protection/confirm").ProveBySent("email", alice).Want(http.StatusSeeOther)
	if !shown(c.Get(confirm).Body) {
		t.Error("verified, and the key is not shown")
	}
}
