package front_test

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/session"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// putStaff makes a RAM user of the account of somebody, who signs in to the
// console with the password that every rule accepts.
func putStaff(s *testkit.Site, of account.Identity, name string, role account.Role, change ...func(*account.Identity, *account.Profile)) account.Identity {
	s.T.Helper()
	hash, err := s.SignIn.Hasher.Hash(s.T.Context(), testkit.Password)
	if err != nil {
		s.T.Fatal(err)
	}
	id, err := s.DB.NewID()
	if err != nil {
		s.T.Fatal(err)
	}
	i := account.Identity{ID: account.IdentityID(id), Account: of.Account, Role: role, UserName: name, Email: name + "@staff.example", Locale: "en", Epoch: 1, CreatedAt: s.Now(), PasswordHash: hash, PasswordChangedAt: s.Now(), PasswordAlone: true}
	p := account.Profile{State: account.ProfileActive}
	for _, c := range change {
		c(&i, &p)
	}
	s.Put(func(tx *store.Tx) error {
		if err := tx.AddUser(i); err != nil {
			return err
		}
		return tx.SetProfile(i.Account, i.ID, p)
	})
	if i, err = s.DB.Read(s.T.Context()).Identity(i.ID); err != nil {
		s.T.Fatal(err)
	}
	return i
}

func putPhone(s *testkit.Site, i account.Identity, number string) {
	s.T.Helper()
	p := store.Phone{ID: "phone-" + string(i.ID), Number: account.Phone(number), BoundAt: s.Now()}
	s.Put(func(tx *store.Tx) error { return tx.AttachPhone(i.Account, i.ID, "", p, store.ErrNoRow) })
}

func putCodes(s *testkit.Site, i account.Identity) []string {
	s.T.Helper()
	codes, err := factor.NewRecoveryCodes(rand.Reader)
	if err != nil {
		s.T.Fatal(err)
	}
	var hashes [][]byte
	for _, c := range codes {
		plain, err := factor.ParseRecoveryCode(c)
		if err != nil {
			s.T.Fatal(err)
		}
		hashes = append(hashes, prove.RecoveryHash(i, plain))
	}
	s.Put(func(tx *store.Tx) error { return tx.ReplaceRecoveryCodes(i.Account, i.ID, hashes) })
	return codes
}

// door is where the RAM users of an account sign in.
func door(a account.ID) string { return "/signin/ram/" + string(a) }

// enter signs a RAM user in at its door, with a code where an app is given.
func enter(c *testkit.Client, i account.Identity, app *testkit.App) testkit.Reply {
	c.T.Helper()
	r := c.Get(door(i.Account)).Want(http.StatusOK).Submit(door(i.Account), "username", i.UserName, "password", testkit.Password)
	if app != nil {
		r = c.Get(r.Header.Get("Location")+"&method=virtual_mfa").Submit("/signin/verify", "code", app.Code(0))
	}
	return r.Want(http.StatusSeeOther)
}

// A dump is all that the database holds.
type dump struct {
	raw    *sql.DB
	tables []string
}

func newDump(t *testing.T, s *testkit.Site) *dump {
	t.Helper()
	d := &dump{raw: storetest.Raw(t, s.Config.DatabaseURL())}
	rows, err := d.raw.Query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		d.tables = append(d.tables, name)
	}
	if err := rows.Err(); err != nil || len(d.tables) < 20 {
		t.Fatal(d.tables, err)
	}
	slices.Sort(d.tables)
	return d
}

// read returns the rows of every table but those left out.
func (d *dump) read(t *testing.T, without ...string) string {
	t.Helper()
	var b strings.Builder
	for _, table := range d.tables {
		if slices.Contains(without, table) {
			continue
		}
		rows, err := d.raw.Query("SELECT * FROM " + table)
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
			if n := slices.Index(columns, "last_seen_at"); n >= 0 {
				values[n] = nil // is written once a minute, whatever is asked for
			}
			fmt.Fprintln(&b, table, values)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	return b.String()
}

// changed are the lines by which two dumps differ.
func changed(before, after string) (lines []string) {
	was := map[string]int{}
	for line := range strings.SplitSeq(before, "\n") {
		was[line]++
	}
	for line := range strings.SplitSeq(after, "\n") {
		if was[line]--; was[line] < 0 {
			lines = append(lines, "+ "+line)
		}
	}
	for line, n := range was {
		if n > 0 {
			lines = append(lines, "- "+line)
		}
	}
	return lines
}

// A cast is an account with somebody of every role, and another account.
type cast struct {
	owner, admin, auditor, user account.Identity
	stranger                    account.Identity // administrator of the other account
	target                      account.Identity // user of the account, who has a device, a phone, a session and a known browser
}

func newCast(s *testkit.Site) (c cast) {
	s.T.Helper()
	s.Account(alice, testkit.Password)
	s.Account(bob, testkit.Password)
	c.owner = s.Identity(alice)
	c.admin = putStaff(s, c.owner, "ada", account.Administrator)
	c.auditor = putStaff(s, c.owner, "aude", account.Auditor)
	c.user = putStaff(s, c.owner, "uma", account.User)
	c.target = putStaff(s, c.owner, "quentin", account.User, func(i *account.Identity, _ *account.Profile) {
		i.DisplayName, i.Comments = "Quentin Quill", "quay 7"
	})
	c.stranger = putStaff(s, s.Identity(bob), "strange", account.Administrator)
	for _, i := range []account.Identity{c.admin, c.auditor, c.user, c.target, c.stranger} {
		putDevice(s, i, "Device of "+i.UserName)
	}
	s.PutApp(alice)
	putPhone(s, c.target, "+8613800138000")
	as(s, c.target, factor.VirtualMFA)
	s.Put(func(tx *store.Tx) error {
		if err := tx.AddDomainAlias(c.owner.Account, "quill.example.org", "proof"); err != nil {
			return err
		}
		return tx.AddKnownDevice(session.KnownDevice{ID: "known-quentin", Account: c.target.Account, Identity: c.target.ID}, []byte("known"))
	})
	return c
}

// public are the beginnings of the paths that are for people who are not
// signed in too. Every other route must have an audience.
var public = []string{"/{$}", "/.well-known/", "/assets/", "/healthz", "/readyz", "/preferences", "/setup/", "/signup", "/signin", "/signout", "/signedout", "/recover/", "/forgot", "/reset", "/notme", "/activate", "/api/v1/", "/dev/"}

// auditorsMay are the paths of the console at which auditors ask for what
// changes nothing: files, and whether the record is whole.
var auditorsMay = []string{"/console/users.csv", "/console/report.csv", "/console/audit/check", "/console/audit/export"}

// refusal is the status with which an audience refuses a role; 0: it admits it.
func refusal(a page.Audience, r account.Role) int {
	reads, changes := r == account.Owner || r == account.Administrator || r == account.Auditor, r == account.Owner || r == account.Administrator
	switch {
	case a == page.Owners && r != account.Owner, a == page.Users && r == account.Owner:
		return http.StatusNotFound
	case a == page.Auditors && !reads, a == page.Administrators && !changes:
		return http.StatusForbidden
	}
	return 0
}

func TestEveryRouteIsPublicOrHasAnAudience(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	known := []page.Audience{page.Anyone, page.Owners, page.Users, page.Auditors, page.Administrators}
	for _, pattern := range s.Routes.Routes() {
		method, path, _ := strings.Cut(pattern, " ")
		open := slices.ContainsFunc(public, func(p string) bool { return strings.HasPrefix(path, p) })
		a, has := s.Routes.Audiences[pattern]
		switch {
		case open == has:
			t.Errorf("%s: public %v, audience %q", pattern, open, a)
		case has && !slices.Contains(known, page.Audience(a)):
			t.Errorf("%s is for %q", pattern, a)
		case strings.HasPrefix(path, "/console") && method != "GET" && a != string(page.Administrators) && !slices.Contains(auditorsMay, path):
			t.Errorf("%s is for %q", pattern, a)
		case strings.HasPrefix(path, "/console") && a != string(page.Administrators) && a != string(page.Auditors):
			t.Errorf("%s is for %q", pattern, a)
		case s.Routes.Gates[pattern] != "" && !has:
			t.Errorf("%s is gated for nobody", pattern)
		}
	}
}

// The sessions are too old for what takes a verification, so that nothing that
// is gated happens; who is refused is refused before.
func TestTheAudienceAloneDecidesWhoPasses(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	people := newCast(s)
	own, keys := map[string]store.Passkey{"signed out": putPasskey(s, people.target, "Passkey")}, map[string]store.Passkey{"signed out": putPasskey(s, people.target, "Key", oldKey)}
	signedIn := map[string]account.Identity{"owner": people.owner, "administrator": people.admin, "auditor": people.auditor, "user": people.user, "stranger": people.stranger}
	clients := map[string]*testkit.Client{"signed out": s.Client()}
	for name, i := range signedIn {
		clients[name] = as(s, i, factor.VirtualMFA)
		own[name], keys[name] = putPasskey(s, i, "Passkey"), putPasskey(s, i, "Key", oldKey)
	}
	s.Pass(20 * time.Minute)
	tokens := map[string]string{}
	for name, c := range clients {
		tokens[name] = c.CSRF()
		if name != "signed out" {
			c.Get("/security").Want(http.StatusOK) // "last seen" is written once a minute
		}
	}
	all := newDump(t, s)
	forbidden, nothing := "Your role in this account does not allow this.", "There is nothing at this address."
	for _, pattern := range s.Routes.Routes() {
		a, has := s.Routes.Audiences[pattern]
		if !has {
			continue
		}
		method, path, _ := strings.Cut(pattern, " ")
		at, personal := path, strings.HasPrefix(path, "/security/passkeys/{id}")
		d := drives[pattern]
		form := url.Values{}
		if d.fill != nil {
			p := &person{app: &testkit.App{Seed: []byte("12345678901234567890"), Now: s.Now}, user: string(people.target.ID), domain: "quill.example.org"}
			for n, filled := 0, d.fill(p); n < len(filled); n += 2 {
				form.Set(filled[n], filled[n+1])
			}
		}
		form.Set("user", string(people.target.ID))
		for name, c := range clients {
			i := signedIn[name]
			id := string(people.target.ID)
			switch {
			case strings.HasSuffix(at, "/upgrade"):
				id = keys[name].ID
			case personal:
				id = own[name].ID
			}
			path := strings.Replace(at, "{id}", id, 1)
			before := all.read(t)
			var got testkit.Reply
			if method == "GET" {
				got = c.Get(path)
			} else {
				form.Set("csrf", tokens[name])
				got = c.Post(path, form)
			}
			to := got.Header.Get("Location")
			want := refusal(page.Audience(a), i.Role)
			switch {
			case name == "signed out":
				want = http.StatusSeeOther
				if !strings.HasPrefix(to, "/signin") {
					t.Errorf("%s of somebody signed out leads to %q", pattern, to)
				}
			case want == 0 && name == "stranger" && strings.Contains(pattern, "{id}") && !personal:
				want = http.StatusNotFound
			}
			switch {
			case want != 0 && got.StatusCode != want:
				t.Errorf("%s of %s: %d to %q, want %d\n%.600s", pattern, name, got.StatusCode, to, want, got.Body)
			case want == 0 && (got.StatusCode >= 500 || strings.HasPrefix(to, "/signin") || strings.Contains(got.Body, forbidden) || strings.Contains(got.Body, nothing)):
				t.Errorf("%s of %s: %d to %q, although it is for %s\n%.600s", pattern, name, got.StatusCode, to, a, got.Body)
			}
			if want == http.StatusForbidden && !strings.Contains(got.Body, forbidden) {
				t.Errorf("%s of %s does not say why:\n%.600s", pattern, name, got.Body)
			}
			if want != 0 || name == "stranger" {
				for _, word := range []string{"uentin", "uill", "quay", "13800138000", "138 **** 8000"} {
					if name != "stranger" && i.Role.Audits() || method == "POST" && word == "uentin" && path == "/console/users/selection" {
						continue
					}
					if strings.Contains(got.Body, word) && !strings.Contains(path, word) {
						t.Errorf("%s of %s shows %q", pattern, name, word)
					}
				}
			}
			if want != 0 {
				if lines := changed(before, all.read(t)); len(lines) > 0 {
					t.Errorf("%s of %s is refused and changes\n%s", pattern, name, strings.Join(lines, "\n"))
				}
			} else if s.Routes.Gates[pattern] != "" {
				after := all.read(t, "ceremony", "audit_event")
				for _, line := range changed(before, after) {
					if strings.HasPrefix(line, "+ ") {
						t.Errorf("%s of %s does without a verification\n%s", pattern, name, line)
					}
				}
			}
		}
	}
}

// The role is that of now, not of the sign-in, nor of the form that waits for a
// verification.
func TestARoleThatWasTakenAwayIsGoneAtOnce(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		ada := putStaff(s, owner, "ada", account.Administrator)
		app := putDevice(s, ada, "Phone")
		target := putStaff(s, owner, "quentin", account.User)
		at := "/console/users/" + string(target.ID)
		c := s.Client()
		enter(c, ada, app)
		s.Pass(11 * time.Minute)
		waiting := c.Get(at + "/delete").Want(http.StatusOK).Submit(at + "/delete").Want(http.StatusSeeOther)
		list := c.Get("/console/users").Want(http.StatusOK)
		demote := func(r account.Role) {
			ada.Role = r
			s.Put(func(tx *store.Tx) error { return tx.UpdateUser(ada) })
		}
		demote(account.Auditor)
		c.Get("/console/users").Want(http.StatusOK)
		c.Get(at + "/edit").Want(http.StatusForbidden)
		list.Submit("/console/users/selection", "action", "disable", "user", string(target.ID)).Want(http.StatusForbidden)
		refused := waiting.ProveByApp(app).Want(http.StatusForbidden)
		says(t, refused, "Your role in this account does not allow this.")
		if _, err := s.DB.Read(t.Context()).User(target.Account, target.ID); err != nil {
			t.Errorf("the form that waited was done: %v", err)
		}
		demote(account.User)
		for _, path := range []string{"/console", "/console/users", at, "/console/settings", "/console/names"} {
			c.Get(path).Want(http.StatusForbidden)
		}
		saysNot(t, c.Get("/security").Want(http.StatusOK), `href="/console`)
	})
}
