package front_test

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/posture"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// atRisk are the users at risk on the overview: what is said of them, and the
// links beside it.
func atRisk(r testkit.Reply) (found []string, links []string) {
	_, list, _ := strings.Cut(r.Body, `<ul class="risks">`)
	list, _, _ = strings.Cut(list, "</ul>")
	for _, m := range regexp.MustCompile(`<h3>([^<]*)</h3>`).FindAllStringSubmatch(list, -1) {
		found = append(found, m[1])
	}
	for _, m := range regexp.MustCompile(`<a[^>]* href="([^"]*)"`).FindAllStringSubmatch(list, -1) {
		links = append(links, strings.ReplaceAll(m[1], "&amp;", "&"))
	}
	return found, links
}

func TestTheOverviewLeadsToEveryoneItCounts(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		empty := c.Get("/console").Want(http.StatusOK)
		says(t, empty, "Overview", "No user can sign in yet.", "The owner signs in without a second step.", `href="/security/passkeys"`, "No report was made yet.", `href="/console/users/new"`)
		saysNot(t, empty, `id="shares-title"`)

		bo := putUser(s, "bo", account.Administrator)
		putDevice(s, bo, "Bo's phone")
		copied := putUser(s, "copied", account.User)
		putPasskey(s, copied, "Key", func(p *store.Passkey) { p.CopiedAt = s.Now() })
		for n := range 5 {
			putUser(s, fmt.Sprintf("user-%d", n), account.User)
		}
		s.Put(func(tx *store.Tx) error { return tx.SignedIn(bo.ID) })
		page := c.Get("/console").Want(http.StatusOK)
		found, links := atRisk(page)
		want := "One user whose passkey may have been copied; 5 users without MFA; 2 users without recovery codes; 6 users who never signed in"
		if strings.Join(found, "; ") != want {
			t.Errorf("at risk: %s\nwant %s", strings.Join(found, "; "), want)
		}
		says(t, page, "29 %", "2 of 7", "14 %", "1 of 7", `id="shares-title"`, "Today is the first day that was counted", "5 users have no MFA.", "6 users have no passkey and no security key.", "One administrator has no passkey and no security key.")
		lists := 0
		for _, link := range links {
			r := c.Get(link).Want(http.StatusOK)
			if strings.HasPrefix(link, "/console/users?") {
				lists++
				if n := len(namesOn(r)); n != 5 && n != 6 && n != 2 {
					t.Errorf("%s lists %d users", link, n)
				}
			}
		}
		if lists != 3 || len(links) != 3+1+3+2+3 {
			t.Errorf("%d lists in %q", lists, links)
		}
		for _, m := range regexp.MustCompile(`<ul class="gains">[\s\S]*?</ul>`).FindAllString(page.Body, -1) {
			for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(m, -1) {
				c.Get(strings.ReplaceAll(link[1], "&amp;", "&")).Want(http.StatusOK)
			}
		}

		// Whoever only looks is led to pages to look at.
		watcher := as(s, putUser(s, "watcher", account.Auditor), factor.VirtualMFA)
		page = watcher.Get("/console").Want(http.StatusOK)
		saysNot(t, page, `/signin"`, `/disable"`, `href="/console/users/new"`, `href="/security/passkeys"`)
		says(t, page, "Only the owner can do this")
		_, links = atRisk(page)
		for _, link := range links {
			watcher.Get(link).Want(http.StatusOK)
		}
		as(s, copied, factor.Passkey).Get("/console").Want(http.StatusForbidden)
	})
}

// Pictures are drawn without a style or a script of the page's own, have a name
// and a description, and say everything in a table too.
func TestChartsAreForEveryone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	signedIn(s)
	owner := s.Identity(alice)
	for n := range 12 {
		u := putUser(s, fmt.Sprintf("user-%02d", n), account.User)
		if n%3 == 0 {
			putPasskey(s, u, "Key")
		}
	}
	acrs := []string{"phr", "urn:mfa:1", "", "", "urn:mfa:2"}
	for n := range 40 {
		e := audit.Event{Account: owner.Account, Name: audit.ConsoleSignin, Identity: owner.ID, Details: map[string]string{"acr": acrs[n%5]}}
		if e.Refused = ""; n%5 == 2 {
			e.Refused = "signin.wrong"
		} else if n%5 == 3 {
			e.Refused = "code.wrong"
		}
		s.Put(func(tx *store.Tx) error { return tx.Record(e) })
	}
	if err := s.Admin.CountDays(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Pass(48 * time.Hour)
	c := as(s, owner, factor.Email)
	for _, locale := range []string{"en", "zh-CN", "ja"} {
		speak(c, locale)
		page := c.Get("/console").Want(http.StatusOK)
		if regexp.MustCompile(`<[^>]* (style|on\w+)=`).MatchString(page.Body) {
			t.Errorf("%s: a style or a script within the page", locale)
		}
		if strings.Contains(page.Body, "%!") || strings.Contains(page.Body, "NaN") {
			t.Errorf("%s: a number is no number", locale)
		}
		_, main, _ := strings.Cut(page.Body, "<main")
		charts := regexp.MustCompile(`(?s)<svg class="chart[^"]*" role="img" aria-labelledby="(\w+)-title (\w+)-desc".*?<title id="(\w+)-title">([^<]+)</title><desc id="(\w+)-desc">([^<]+)</desc>`).FindAllStringSubmatch(main, -1)
		if len(charts) != 4 {
			t.Errorf("%s: %d charts", locale, len(charts))
		}
		for _, m := range charts {
			if m[1] != m[3] || m[2] != m[5] {
				t.Errorf("%s: chart %s is named by %s and %s", locale, m[1], m[3], m[5])
			}
		}
		if n := strings.Count(main, `<div class="numbers"`); n != 3 {
			t.Errorf("%s: %d tables", locale, n)
		}
		for _, pattern := range []string{`fill="url(#mark-1)"`, `fill="url(#mark-2)"`, `fill="url(#mark-3)"`, `id="mark-1"`, `id="mark-2"`, `id="mark-3"`} {
			if !strings.Contains(main, pattern) {
				t.Errorf("%s: no %s", locale, pattern)
			}
		}
		ids := map[string]int{}
		for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page.Body, -1) {
			if ids[m[1]]++; ids[m[1]] > 1 {
				t.Errorf("%s: two elements are %s", locale, m[1])
			}
		}
		for _, svg := range regexp.MustCompile(`(?s)<svg class="chart".*?</svg>\n?(?:<ul|</figure>|<h3|<p)`).FindAllString(main, -1) {
			if err := wellFormed(svg[:strings.LastIndex(svg, "</svg>")+6]); err != nil {
				t.Errorf("%s: %v in %.200s", locale, err, svg)
			}
		}
	}
	speak(c, "en")
	page := c.Get("/console")
	day := s.Now().Add(-48 * time.Hour).UTC().Format(time.DateOnly)
	says(t, page, "<th scope=\"row\">"+day+"</th><td>16</td>", "<td>8</td><td>8</td>", "4 · 33 %")
}

// speak chooses a language in a browser.
func speak(c *testkit.Client, locale string) {
	c.T.Helper()
	c.Post("/preferences", url.Values{"csrf": {c.CSRF()}, "locale": {locale}, "return_to": {"/security"}}).Want(http.StatusSeeOther)
}

func wellFormed(s string) error {
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestTheCredentialReportTakesAVerification(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		putUser(s, "-bo", account.User)
		s.Pass(20 * time.Minute)
		page := c.Get("/console/report").Want(http.StatusOK)
		says(t, page, "No report was made yet.", "Make and load the report", "access_key_2_last_used")
		back := page.Submit("/console/report.csv").ProveBySent("email", alice)
		if to := back.Header.Get("Location"); to != "/console/report?ready=1" {
			t.Fatalf("the verification leads to %q", to)
		}
		ready := back.Follow()
		says(t, ready, "The report can be loaded now.")
		file := ready.Submit("/console/report.csv").Want(http.StatusOK)
		if file.Header.Get("Content-Type") != "text/csv; charset=utf-8; header=present" || !strings.HasPrefix(file.Header.Get("Content-Disposition"), `attachment; filename="credential-report-`) {
			t.Errorf("headers %v", file.Header)
		}
		lines, err := csv.NewReader(strings.NewReader(file.Body)).ReadAll()
		if err != nil || len(lines) != 3 || lines[1][0] != "<root>" || !strings.HasPrefix(lines[2][0], "'-bo@") || strings.Join(lines[0], ",") != strings.Join(posture.ReportColumns, ",") {
			t.Errorf("%v\n%s", err, file.Body)
		}
		if last := lines[1][2]; last == "-" || strings.HasPrefix(last, "0001") {
			t.Errorf("the owner last signed in %q", last)
		}
		after := c.Get("/console/report")
		says(t, after, "Load the report", "a***@e***.com")
		saysNot(t, after, "Make and load", "No report was made")
		c.Post("/console/report.csv", map[string][]string{"csrf": {"wrong"}}).Want(http.StatusForbidden)
	})
}

func TestTheCheckupComesFirst(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		owner := s.Identity(alice)
		items := func(r testkit.Reply) (keys string) {
			for _, m := range regexp.MustCompile(`<li class="row" id="check-(\w+)">`).FindAllStringSubmatch(r.Body, -1) {
				keys += m[1] + " "
			}
			return strings.TrimSpace(keys)
		}
		page := c.Get("/security").Want(http.StatusOK)
		if got := items(page); got != "no_mfa" {
			t.Errorf("at first: %q", got)
		}
		putDevice(s, owner, "Phone")
		putPasskey(s, owner, "Key", oldKey)
		page = c.Get("/security")
		if got := items(page); got != "no_codes u2f" {
			t.Errorf("with a device and an old key: %q", got)
		}
		says(t, page, "Recommended", "Needs attention", "/upgrade")
		for _, link := range regexp.MustCompile(`(?s)<section class="section panel" aria-labelledby="checkup">.*?</section>`).FindAllString(page.Body, -1) {
			for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(link, -1) {
				if r := c.Get(m[1]); r.StatusCode != http.StatusOK && r.StatusCode != http.StatusSeeOther {
					t.Errorf("%s: %d", m[1], r.StatusCode)
				}
			}
		}
		// A sign-in from elsewhere, after the first of all.
		s.Pass(time.Hour)
		agent := "Mozilla/5.0 (Windows NT 10.0) Somewhere/1.0"
		s.Put(func(tx *store.Tx) error {
			tx.Actor = audit.Actor{Kind: "owner", ID: string(owner.ID), Address: "198.51.100.7", UserAgent: agent}
			return tx.Record(audit.Event{Account: owner.Account, Name: audit.ConsoleSignin, Identity: owner.ID, Target: "another", Details: map[string]string{"acr": "phr", "unusual": "device network"}})
		})
		page = c.Get("/security")
		if got := items(page); got != "new_signin no_codes u2f" {
			t.Errorf("after a sign-in from elsewhere: %q", got)
		}
		says(t, page, "Somebody signed in from a browser that was not known", `href="/security/history"`)
		// The word that it was them clears it; it is recorded, once.
		history := c.Get("/security/history").Want(http.StatusOK)
		if n := strings.Count(history.Body, "Yes, it was me"); n != 1 {
			t.Errorf("%d sign-ins to answer for", n)
		}
		c.Post("/security/history", map[string][]string{"csrf": {c.CSRF()}, "event": {"x"}}).Want(http.StatusBadRequest)
		history.Submit("/security/history", "event", "1").Want(http.StatusSeeOther) // no such question
		if got := items(c.Get("/security")); got != "new_signin no_codes u2f" {
			t.Errorf("after another answer: %q", got)
		}
		number := regexp.MustCompile(`name="event" value="(\d+)"`).FindStringSubmatch(history.Body)
		if number == nil {
			t.Fatal("nothing to answer for")
		}
		for range 2 {
			says(t, history.Submit("/security/history", "event", number[1]).Want(http.StatusSeeOther).Follow(), "We will not ask about that sign-in again", "Sign-in confirmed as your own")
		}
		if e, err := s.DB.Read(t.Context()).History(owner.Account, owner.ID, 0, 9, audit.SigninConfirm); err != nil || len(e) != 1 || e[0].Target != number[1] {
			t.Errorf("events %v, %v", e, err)
		}
		if got := items(c.Get("/security")); got != "no_codes u2f" {
			t.Errorf("after the answer: %q", got)
		}
		saysNot(t, c.Get("/security/history"), "Yes, it was me")
		s.Put(func(tx *store.Tx) error { // another one
			tx.Actor = audit.Actor{Kind: "owner", ID: string(owner.ID), Address: "198.51.100.7", UserAgent: agent}
			return tx.Record(audit.Event{Account: owner.Account, Name: audit.ConsoleSignin, Identity: owner.ID, Target: "yet another", Details: map[string]string{"acr": "phr", "unusual": "device"}})
		})
		// One from this very browser, which was not known yet, is no news.
		c = as(s, owner, factor.VirtualMFA)
		s.Put(func(tx *store.Tx) error {
			tx.Actor = audit.Actor{Kind: "owner", ID: string(owner.ID), Address: "127.0.0.1", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
			return tx.Record(audit.Event{Account: owner.Account, Name: audit.ConsoleSignin, Identity: owner.ID, Target: "here", Details: map[string]string{"acr": "phr", "unusual": "device"}})
		})
		says(t, c.Get("/security"), "Somebody signed in from a browser that was not known")
		s.Pass(7 * 24 * time.Hour)
		if got := items(as(s, owner, factor.VirtualMFA).Get("/security")); got != "no_codes u2f" {
			t.Errorf("a week later: %q", got)
		}
	})
}
