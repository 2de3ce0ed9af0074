package front_test

import (
	"crypto/rand"
	"encoding/csv"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/session"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// putUser makes a RAM user of alice's account straight in the store, with
// console sign-in.
func putUser(s *testkit.Site, name string, role account.Role, change ...func(*account.Identity)) account.Identity {
	s.T.Helper()
	owner := s.Identity(alice)
	i := account.Identity{ID: account.IdentityID("user-" + strings.ToLower(name)), Account: owner.Account, Role: role, UserName: name, Locale: "en", Epoch: 1, CreatedAt: s.Now()}
	for _, c := range change {
		c(&i)
	}
	s.Put(func(tx *store.Tx) error {
		if err := tx.AddUser(i); err != nil {
			return err
		}
		return tx.SetProfile(i.Account, i.ID, account.Profile{State: account.ProfileActive, MFARequired: true})
	})
	return i
}

func putDevice(s *testkit.Site, i account.Identity, name string) *testkit.App {
	s.T.Helper()
	seed, err := factor.NewSeed(rand.Reader)
	if err != nil {
		s.T.Fatal(err)
	}
	s.Put(func(tx *store.Tx) error {
		return tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: seed}, ID: "device-" + string(i.ID), Name: name}, store.ErrNoRow)
	})
	return &testkit.App{Seed: seed, Now: s.Now}
}

// as is a browser in which the identity is signed in, by the proofs given.
func as(s *testkit.Site, i account.Identity, by ...factor.Method) *testkit.Client {
	s.T.Helper()
	token, err := secret.NewToken(rand.Reader)
	if err != nil {
		s.T.Fatal(err)
	}
	proofs := []factor.Proof{{Method: factor.Password, At: s.Now()}}
	for _, m := range by {
		proofs = append(proofs, factor.Proof{Method: m, At: s.Now()})
	}
	s.Put(func(tx *store.Tx) error {
		id, err := s.DB.NewID()
		if err != nil {
			return err
		}
		return tx.AddSession(session.Session{ID: id, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Proofs: proofs, CreatedAt: s.Now(), ExpiresAt: s.Now().Add(6 * time.Hour), Address: "127.0.0.1", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}, token.Hash())
	})
	c := s.Client()
	at, err := url.Parse(s.URL)
	if err != nil {
		s.T.Fatal(err)
	}
	c.Jar.SetCookies(at, []*http.Cookie{{Name: "countersign_session", Value: token.Reveal(), Path: "/"}})
	return c
}

// namesOn are the users of a list, in its order.
func namesOn(r testkit.Reply) (names []string) {
	for _, m := range regexp.MustCompile(`<th scope="row"><a href="/console/users/[^"]*">([^<]*)</a>`).FindAllStringSubmatch(r.Body, -1) {
		names = append(names, html.UnescapeString(m[1]))
	}
	return names
}

func wantNames(t *testing.T, r testkit.Reply, want ...string) {
	t.Helper()
	if got := namesOn(r.Want(http.StatusOK)); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s: users %q, want %q", r.Request.URL, got, want)
	}
}

func TestTheListOfUsersIsSearchedFilteredSortedAndPaged(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		says(t, c.Get("/console/users").Want(http.StatusOK), "No users yet", "0 users", "Create the first user")
		for n := range 23 {
			putUser(s, fmt.Sprintf("user-%02d", n), account.User)
			s.Pass(time.Second)
		}
		bo := putUser(s, "Bo", account.Auditor, func(i *account.Identity) { i.DisplayName = "Bo Ek"; i.LastSignInAt = s.Now() })
		putDevice(s, bo, "Bo's phone")
		s.Put(func(tx *store.Tx) error { return tx.SignedIn(bo.ID) })
		s.Put(func(tx *store.Tx) error {
			return tx.SetProfile(bo.Account, "user-user-03", account.Profile{State: account.ProfileIdle})
		})

		first := c.Get("/console/users")
		says(t, first, "24 users", "1–20 of 24", "Page 1 of 2", `aria-sort="ascending"`)
		if names := namesOn(first); len(names) != 20 || names[0] != "Bo" || names[1] != "user-00" {
			t.Errorf("first page: %q", names)
		}
		wantNames(t, c.Get("/console/users?page=2"), "user-19", "user-20", "user-21", "user-22")
		if r := c.Get("/console/users?page=9"); r.Header.Get("Location") != "/console/users?page=2" {
			t.Errorf("a page beyond the last: %d %s", r.StatusCode, r.Header.Get("Location"))
		}
		if n := len(namesOn(c.Get("/console/users?size=50"))); n != 24 {
			t.Errorf("%d users on a page of 50", n)
		}
		if names := namesOn(c.Get("/console/users?sort=-name")); names[0] != "user-22" {
			t.Errorf("from Z to A: %q", names)
		}
		newest := c.Get("/console/users?sort=-last_signin")
		says(t, newest, `<th scope="col" aria-sort="descending"><a href="/console/users?sort=last_signin">`)
		if names := namesOn(newest); names[0] != "Bo" {
			t.Errorf("last sign-in first: %q", names)
		}
		if names := namesOn(c.Get("/console/users?sort=created")); names[0] != "user-00" {
			t.Errorf("oldest first: %q", names)
		}

		wantNames(t, c.Get("/console/users?q=eK"), "Bo")
		wantNames(t, c.Get("/console/users?q=USER-1&sort=-name&page=1"), "user-19", "user-18", "user-17", "user-16", "user-15", "user-14", "user-13", "user-12", "user-11", "user-10")
		wantNames(t, c.Get("/console/users?mfa=virtual_mfa"), "Bo")
		wantNames(t, c.Get("/console/users?role=auditor&mfa=any&activity=enabled"), "Bo")
		wantNames(t, c.Get("/console/users?activity=disabled"), "user-03")
		found := c.Get("/console/users?q=bo&role=auditor")
		says(t, found, "1 of 24 users match", "Virtual MFA device", "Good", "Enabled", "moments ago", "Auditor", `value="bo"`)
		says(t, c.Get("/console/users?activity=disabled"), "Disabled: idle", "None")
		says(t, c.Get("/console/users?activity=enabled&mfa=none"), "Due, nothing bound")
		says(t, c.Get("/console/users?q=nobody").Want(http.StatusOK), "No user matches", "0 of 24 users match", "Clear filters")
		c.Get("/console/users?q=%25&mfa=x&activity=y&role=owner&sort=password_hash&page=-1&size=9999").Want(http.StatusOK)
		c.Get("/console/users?q=%00").Want(http.StatusBadRequest)
	})
}

func TestTheFileOfUsersIsSafeForSpreadsheets(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		putUser(s, "ann", account.User, func(i *account.Identity) {
			i.DisplayName, i.Comments, i.Email = `=HYPERLINK("https://evil.example","x")`, `+1, "quoted"`, "ann@example.com"
		})
		putUser(s, "-dash", account.Auditor, func(i *account.Identity) { i.DisplayName = "@SUM(A1)" })
		putUser(s, "zoe", account.User)
		back := c.Get("/console/users?q=a").Submit("/console/users.csv").ProveBySent("email", alice)
		if to := back.Header.Get("Location"); to != "/console/users?q=a&ready=1" {
			t.Fatalf("back at %q", to)
		}
		ready := back.Follow().Want(http.StatusOK)
		says(t, ready, "The file can be loaded now")
		file := ready.Submit("/console/users.csv").Want(http.StatusOK)
		if kind := file.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/csv") || !strings.Contains(file.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s, %s", kind, file.Header.Get("Content-Disposition"))
		}
		rows, err := csv.NewReader(strings.NewReader(file.Body)).ReadAll()
		if err != nil || len(rows) != 3 {
			t.Fatalf("%d rows, %v:\n%s", len(rows), err, file.Body)
		}
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
					t.Errorf("a formula: %q", cell)
				}
			}
		}
		if rows[0][0] != "name" || rows[1][0] != "'-dash" || rows[2][3] != `'+1, "quoted"` {
			t.Errorf("%q", rows)
		}
	})
}

func TestEveryLineOfAListOfUsersIsAnswered(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		putUser(s, "taken", account.User)
		c.Get("/console/users/new").Submit("/console/users/new", "role", "user", "name", "").Want(http.StatusUnprocessableEntity)
		c.Get("/console/users/new?many=1").Submit("/console/users/new", "role", "user", "users", " \n\n").Want(http.StatusUnprocessableEntity)
		text := "name,display_name,email,comments,role\r\nann,Ann Øst,ann@example.com,\"first, of all\",auditor\r\n\r\nTaken,,,,\r\nno spaces,,,,\r\nann,,,,\r\nzed,,not an address,,\r\nbo,,,,\r\n"
		c.Get("/console/users").Want(http.StatusOK)
		asked := c.Get("/console/users/new?many=1").Submit("/console/users/new", "role", "user", "sign_in", "1", "mfa_required", "1", "users", text)
		to := asked.ProveBySent("email", alice).Want(http.StatusSeeOther) // what was asked for simply happens
		if !strings.HasPrefix(to.Header.Get("Location"), "/console/shown?c=") {
			t.Fatalf("goes on at %q\n%s", to.Header.Get("Location"), to.Body)
		}
		page := to.Follow().Want(http.StatusOK)
		says(t, page, "ann@", "bo@", "This is shown only once", "4 lines were refused", "Taken", "no spaces", "zed")
		passwords := regexp.MustCompile(`<code class="secret">([^<]+)</code>`).FindAllStringSubmatch(page.Body, -1)
		if len(passwords) != 2 || len(passwords[0][1]) < 12 || passwords[0][1] == passwords[1][1] {
			t.Errorf("passwords %q", passwords)
		}
		list := c.Get("/console/users")
		wantNames(t, list, "ann", "bo", "taken")
		saysNot(t, list, passwords[0][1])
		page.Again().Want(http.StatusOK)
		page.Submit("/console/shown/done").Follow().Want(http.StatusOK) // not saved: still there
		page.Submit("/console/shown/done", "saved", "1").Want(http.StatusSeeOther)
		page.Again().Want(http.StatusGone)
		ann := c.Get("/console/users?q=ann")
		says(t, ann, "Ann Øst", "Auditor", "Enabled, not used yet")

		single := c.Get("/console/users/new").Submit("/console/users/new", "role", "user", "name", "TAKEN", "comments", "kept as typed").Want(http.StatusConflict)
		says(t, single, `value="kept as typed"`, `id="name-error"`)
		plain := c.Get("/console/users/new").Submit("/console/users/new", "role", "user", "name", "plain").Follow().Want(http.StatusOK)
		says(t, plain, "The user was created", "without console sign-in")
		saysNot(t, plain, "shown only once", `name="saved"`)
		plain.Submit("/console/shown/done").Follow().Want(http.StatusOK)
		other := as(s, putUser(s, "other", account.Administrator), factor.VirtualMFA)
		other.Get(strings.TrimPrefix(page.Request.URL.String(), s.URL)).Want(http.StatusGone)
	})
}

func TestAFormWaitsForTheVerificationWithoutItsPassword(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		bo := putUser(s, "bo", account.User)
		const chosen = "gravel lantern tulip 9 Hat!"
		form := c.Get("/console/users/" + string(bo.ID) + "/signin").Want(http.StatusOK)
		asked := form.Submit("/console/users/"+string(bo.ID)+"/signin", "way", "custom", "new_password", chosen, "reset", "1")
		says(t, c.Get(asked.Header.Get("Location")+"&method=email"), bo.UserName)
		again := asked.ProveBySent("email", alice).Want(http.StatusOK)
		says(t, again, "it was not kept", `value="custom" aria-describedby="about-custom" checked`, `name="reset" value="1" aria-describedby="about-reset" checked`)
		saysNot(t, again, chosen)
		weak := again.Submit("/console/users/"+string(bo.ID)+"/signin", "way", "custom", "new_password", "short").Want(http.StatusUnprocessableEntity)
		done := weak.Submit("/console/users/"+string(bo.ID)+"/signin", "way", "custom", "new_password", chosen, "reset", "1").Want(http.StatusSeeOther)
		says(t, done.Follow(), "Console sign-in was saved", "must set a new one")
		rows, err := s.DB.Read(t.Context()).User(bo.Account, bo.ID)
		if err != nil || rows.PasswordHash == "" || !rows.Profile.PasswordReset {
			t.Errorf("%+v, %v", rows.Profile, err)
		}
		for _, seen := range c.Seen {
			if strings.Contains(seen, chosen) {
				t.Error("the password was on a page")
			}
		}
	})
}

func TestASelectionIsShownBeforeAnythingHappensToIt(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		admin := putUser(s, "admin", account.Administrator)
		app := putDevice(s, admin, "Phone")
		ann, bo := putUser(s, "ann", account.User), putUser(s, "bo", account.User)
		c := as(s, admin, factor.VirtualMFA)
		list := c.Get("/console/users").Want(http.StatusOK)
		says(t, list.Submit("/console/users/selection", "action", "disable").Want(http.StatusOK), "Nobody was chosen")
		list.Submit("/console/users/selection", "action", "promote", "user", string(ann.ID)).Want(http.StatusUnprocessableEntity)
		ask := list.Submit("/console/users/selection", "action", "delete", "user", string(ann.ID), "user", string(bo.ID), "user", string(admin.ID), "user", "gone").Want(http.StatusOK)
		says(t, ask, "2 users", "Left out", "This is you", "cannot be undone")
		confirm := func(page testkit.Reply, ids ...string) testkit.Reply {
			fill := []string{}
			for _, id := range ids {
				fill = append(fill, "user", id)
			}
			return page.Submit("/console/users/selection/confirm", fill...)
		}
		done := confirm(ask, string(ann.ID), string(bo.ID)).ProveByApp(app).Want(http.StatusSeeOther)
		says(t, done.Follow(), "The chosen users were deleted")
		wantNames(t, c.Get("/console/users"), "admin")
	})
}

func TestUnbindingGivesATicketThatIsShownOnce(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		bo := putUser(s, "bo", account.User, func(i *account.Identity) { i.Email = "bo@example.com" })
		putDevice(s, bo, "Bo's phone")
		his := as(s, bo, factor.VirtualMFA)
		his.Get("/security").Want(http.StatusOK)
		at := "/console/users/" + string(bo.ID)
		says(t, c.Get(at+"/authentication").Want(http.StatusOK), "Bo's phone", "Unbind…", "No wrong codes")
		says(t, c.Get(at+"/sessions").Want(http.StatusOK), "Firefox", "End all sessions")
		form := c.Get(at + "/unbind?method=virtual_mfa").Want(http.StatusOK)
		says(t, form, "Bo's phone", "Nothing is left", "24 hours")
		form.Submit(at+"/unbind", "check", "in_person").Want(http.StatusUnprocessableEntity)
		says(t, form.Submit(at+"/unbind", "reason", "lost at sea").Want(http.StatusUnprocessableEntity), `value="lost at sea"`, `id="check-error"`)
		to := form.Submit(at+"/unbind", "check", "in_person", "reason", "lost at sea").ProveBySent("email", alice).Want(http.StatusSeeOther)
		page := to.Follow().Want(http.StatusOK)
		ticket := regexp.MustCompile(`[A-Z0-9]{7}-[A-Z0-9]{7}`).FindString(page.Body)
		if ticket == "" {
			t.Fatalf("no ticket:\n%s", page.Body)
		}
		says(t, page, "Good until", "in a call to a number that you knew before")
		if to := his.Get("/security").Header.Get("Location"); !strings.HasPrefix(to, "/signin") {
			t.Errorf("still signed in: %q", to)
		}
		after := c.Get(at + "/authentication").Want(http.StatusOK)
		says(t, after, "Re-enrolment pending", "New ticket", "No MFA device")
		saysNot(t, after, ticket)
		page.Submit("/console/shown/done", "saved", "1").Want(http.StatusSeeOther)
		page.Again().Want(http.StatusGone)
		says(t, c.Get(at+"/activity").Want(http.StatusOK), "unbound", "by the owner of the account", "Identity checked: In person. Reason: lost at sea")
		c.Get(at + "/unbind?method=virtual_mfa").Want(http.StatusConflict)

		s.Pass(25 * time.Hour)
		c = s.Client()
		c.SignIn(alice, nil)
		says(t, c.Get(at+"/authentication"), "The ticket has expired")
		again := c.Get(at+"/ticket").Want(http.StatusOK).Submit(at+"/ticket", "check", "known_phone", "reason", "called back").ProveBySent("email", alice).Follow().Want(http.StatusOK)
		if other := regexp.MustCompile(`[A-Z0-9]{7}-[A-Z0-9]{7}`).FindString(again.Body); other == "" || other == ticket {
			t.Errorf("second ticket %q, first %q", other, ticket)
		}
	})
}

func TestWhatPeopleCallThemselvesIsText(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	const hostile = `"><script>alert(1)</script>{{.}}`
	bo := putUser(s, "bo", account.User, func(i *account.Identity) { i.DisplayName, i.Comments = hostile, hostile+"'" })
	putDevice(s, bo, hostile)
	at := "/console/users/" + string(bo.ID)
	for _, path := range []string{"/console/users", "/console/users?q=" + url.QueryEscape(hostile), at, at + "/authentication", at + "/sessions", at + "/activity", at + "/edit", at + "/role", at + "/signin", at + "/delete", at + "/unbind?method=virtual_mfa"} {
		r := c.Get(path).Want(http.StatusOK)
		if strings.Contains(r.Body, "<script>alert") {
			t.Errorf("%s runs what a name says", path)
		}
	}
	r := c.Get("/console/users").Submit("/console/users/selection", "action", "disable", "user", string(bo.ID)).Want(http.StatusOK)
	if strings.Contains(r.Body, "<script>alert") {
		t.Error("the selection runs what a name says")
	}
}

func TestAuditorsReadTheConsoleAndFindNoForm(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	auditor, bo := putUser(s, "auditor", account.Auditor), putUser(s, "bo", account.User)
	putDevice(s, auditor, "Phone")
	putDevice(s, bo, "Phone")
	c := as(s, auditor, factor.VirtualMFA)
	at := "/console/users/" + string(bo.ID)
	for _, path := range []string{"/console/users", at, at + "/authentication", at + "/sessions", at + "/activity"} {
		r := c.Get(path).Want(http.StatusOK)
		_, main, _ := strings.Cut(r.Body, "<main")
		main, _, _ = strings.Cut(main, "</main>")
		main = strings.ReplaceAll(main, `method="post" action="/console/users.csv"`, "") // an auditor's business too
		for _, no := range []string{`method="post"`, `type="checkbox"`, "/unbind", "/edit", "/delete", "/users/new"} {
			if strings.Contains(main, no) {
				t.Errorf("%s offers an auditor %s", path, no)
			}
		}
	}
	says(t, c.Get(at), "as an auditor")
	for _, path := range []string{"/console/users/new", at + "/edit", at + "/role", at + "/signin", at + "/disable", at + "/clear", at + "/delete", at + "/sessions/end", at + "/devices/forget", at + "/unbind?method=virtual_mfa", at + "/ticket"} {
		c.Get(path).Want(http.StatusForbidden)
	}
	csrf := c.CSRF()
	for _, path := range []string{"/console/users/new", at + "/edit", at + "/role", at + "/signin", at + "/disable", at + "/clear", at + "/delete", at + "/sessions/end", at + "/devices/forget", at + "/unbind", at + "/ticket", "/console/users/selection", "/console/users/selection/confirm", "/console/shown/done"} {
		c.Post(path, url.Values{"csrf": {csrf}}).Want(http.StatusForbidden)
	}
	as(s, bo, factor.VirtualMFA).Get("/console/users").Want(http.StatusForbidden)
}

func TestNobodyActsOnThemselvesOrOnAHigherRole(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	s.Account(bob, testkit.Password)
	admin := putUser(s, "admin", account.Administrator)
	putDevice(s, admin, "Phone")
	c := as(s, admin, factor.VirtualMFA)
	at := "/console/users/" + string(admin.ID)
	page := c.Get(at + "/authentication").Want(http.StatusOK)
	says(t, page, "This is you", "countersign account recover")
	saysNot(t, page, "Unbind…")
	c.Get(at + "/unbind?method=virtual_mfa").Want(http.StatusForbidden)
	c.Post(at+"/unbind", url.Values{"csrf": {c.CSRF()}, "method": {"virtual_mfa"}, "check": {"in_person"}, "reason": {"mine"}}).Want(http.StatusForbidden)
	c.Get("/console/users/" + string(s.Identity(alice).ID)).Want(http.StatusNotFound) // the owner is no RAM user
	stranger := s.Client()
	stranger.SignIn(bob, nil)
	stranger.Get(at).Want(http.StatusNotFound)
	wantNames(t, stranger.Get("/console/users"))
}
