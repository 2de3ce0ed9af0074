package front_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// putEvent records something in an account.
func putEvent(s *testkit.Site, by audit.Actor, e audit.Event) {
	s.T.Helper()
	if err := s.DB.Write(s.T.Context(), by, func(tx *store.Tx) error { return tx.Record(e) }); err != nil {
		s.T.Fatal(err)
	}
}

// sentencesOn are the rows of the audit on a page: what stands first in each.
func sentencesOn(r testkit.Reply) (list []string) {
	for _, part := range strings.Split(r.Body, `<div class="row-what">`)[1:] {
		_, rest, _ := strings.Cut(part, "<p>")
		said, _, _ := strings.Cut(rest, "</p>")
		list = append(list, strings.NewReplacer("<bdi>", "", "</bdi>", "", "&#34;", `"`).Replace(said))
	}
	return list
}

func TestTheAuditSaysWhoDidWhat(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		ada := putStaff(s, owner, "ada", account.Administrator)
		bob := putStaff(s, owner, "bob", account.User)
		day := s.Now()
		putEvent(s, audit.Actor{Kind: "administrator", ID: string(ada.ID), Name: ada.Name(), Address: "203.0.113.7", UserAgent: "=cmd", Request: "req-1"}, audit.Event{Account: owner.Account, Name: audit.MFAUnbind, Identity: bob.ID,
			Details: map[string]string{"name": "<Phone>", "user": bob.Name(), "check": "in_person", "reason": "lost at sea"}})
		s.Pass(49 * time.Hour)
		putEvent(s, audit.Actor{Kind: "visitor", Address: "2001:db8::1", Request: "req-2"}, audit.Event{Account: owner.Account, Name: audit.ConsoleSignin, Identity: bob.ID, Refused: "code.wrong", Details: map[string]string{"method": "virtual_mfa"}})
		putEvent(s, audit.OperatorActor("account recover"), audit.Event{Account: owner.Account, Name: audit.RecoveryStart, Identity: bob.ID})
		s.Put(func(tx *store.Tx) error { return tx.DeleteUser(owner.Account, bob.ID) })
		c := as(s, ada, factor.Password)
		unbound, failed, recovery := "Virtual MFA device “&lt;Phone&gt;” unbound", "Right password, but the second step failed (Virtual MFA device)", "Recovery started by whoever runs this server"
		today, then := s.Now().UTC().Format(time.DateOnly), day.UTC().Format(time.DateOnly)
		for _, q := range []struct {
			query string
			want  []string
		}{
			{"target=" + string(bob.ID), []string{recovery, failed, unbound}},
			{"target=" + string(bob.ID) + "&from=" + today, []string{recovery, failed}},
			{"target=" + string(bob.ID) + "&to=" + then, []string{unbound}},
			{"target=" + string(bob.ID) + "&from=" + then + "&to=" + then, []string{unbound}},
			{"actor=ada&event=devices", []string{unbound}},
			{"actor=ada&event=UnbindMFADevice", []string{unbound}},
			{"actor=" + url.QueryEscape(ada.Name()) + "&event=UnbindMFADevice", []string{unbound}},
			{"actor=operator&event=recovery", []string{recovery}},
			{"target=" + string(bob.ID) + "&result=refused", []string{failed}},
			{"target=" + string(bob.ID) + "&method=virtual_mfa", []string{failed}},
			{"network=2001:db8::/32", []string{failed}},
			{"network=203.0.113.7", []string{unbound}},
			{"request=req-1", []string{unbound}},
			{"request=req-3", nil},
			{"actor=nobody", nil},
		} {
			page := c.Get("/console/audit?" + q.query).Want(http.StatusOK)
			got := sentencesOn(page)
			for n := range got {
				got[n], _, _ = strings.Cut(got[n], " · ")
			}
			if fmt.Sprint(got) != fmt.Sprint(q.want) {
				t.Errorf("%s: %q, want %q", q.query, got, q.want)
			}
		}
		for _, field := range []string{"from", "to", "result", "method", "network", "event"} {
			says(t, c.Get("/console/audit?actor=ada&"+field+"=10.0.0.").Want(http.StatusUnprocessableEntity), "There is a problem", `href="#`+field+`"`, "unbound")
		}
		says(t, c.Get("/console/audit?request=req-1"), "by "+ada.Name(), "unbound · <bdi>"+bob.Name(), "lost at sea", "In person", "203.0.113.7", `<bdi>=cmd</bdi>`, "/console/audit?request=req-1", "/console/audit?actor="+string(ada.ID))
		says(t, c.Get("/console/audit?actor=nobody"), "Nobody is called that")
		says(t, c.Get("/console/audit?actor=operator"), "by whoever runs this server")
		for range 60 {
			putEvent(s, audit.Actor{Kind: "visitor"}, audit.Event{Account: owner.Account, Name: audit.ConsoleSignin, Refused: "signin.wrong"})
		}
		first := c.Get("/console/audit?actor=visitor&event=signin")
		link := ""
		if _, rest, ok := strings.Cut(first.Body, `rel="next" href="`); ok {
			link, _, _ = strings.Cut(rest, `"`)
		}
		second := c.Get(strings.ReplaceAll(link, "&amp;", "&"))
		if a, b := len(sentencesOn(first)), len(sentencesOn(second)); a != 50 || b != 11 {
			t.Errorf("%d and %d rows by %q", a, b, link)
		}
	})
}

func TestWhetherTheRecordIsWhole(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		aude := putStaff(s, owner, "aude", account.Auditor)
		c := as(s, aude, factor.Password)
		for range 3 {
			putEvent(s, audit.Actor{Kind: "visitor"}, audit.Event{Account: owner.Account, Name: audit.ConsoleSignin, Refused: "signin.wrong"})
		}
		says(t, c.Get("/console/audit"), "Not checked yet")
		says(t, c.Get("/console/audit").Submit("/console/audit/check").Follow().Want(http.StatusOK), "Unbroken: events 1 to ", "The record was checked just now.")
		saysNot(t, as(s, owner, factor.Email).Get("/console").Want(http.StatusOK), "changed from outside")
		if _, err := storetest.Raw(t, s.Config.DatabaseURL()).Exec("UPDATE audit_event SET refused = '' WHERE account_id = $1 AND seq = 2", string(owner.Account)); err != nil {
			t.Fatal(err)
		}
		s.Pass(2 * time.Second) // nobody takes what was found then for what is so now
		says(t, c.Get("/console/audit").Submit("/console/audit/check").Want(http.StatusTooManyRequests), " seconds ago; what was found stands below. Try again in ", "Unbroken: events 1 to ")
		s.Pass(8 * time.Second)
		says(t, c.Get("/console/audit").Submit("/console/audit/check").Follow().Want(http.StatusOK), "it is broken at event 2", "This event was changed in the database")
		for _, who := range []*testkit.Client{c, as(s, owner, factor.Email)} {
			found, links := atRisk(who.Get("/console").Want(http.StatusOK))
			if len(found) == 0 || found[0] != "The audit record was changed from outside" || links[0] != "/console/audit#chain" {
				t.Errorf("the overview warns of %q, %q", found, links)
			}
		}
		if events, err := s.DB.Read(t.Context()).History(owner.Account, aude.ID, 0, 10); err != nil || len(events) > 1 {
			t.Errorf("to look leaves %d events, %v", len(events), err)
		}
	})
}

func TestTheFileOfEventsIsSafeAndEndsInTheHead(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		owner := s.Identity(alice)
		for _, text := range []string{"=cmd|' /C calc'!A0", "+1", "@sum", "a\r\nb", "\x1b[31m", "\u202egnp"} {
			putEvent(s, audit.Actor{Kind: "user", ID: "i", Name: text, Address: "203.0.113.7", UserAgent: text}, audit.Event{Account: owner.Account, Name: audit.MFABind, Identity: "i", Target: text, Details: map[string]string{"name": text}})
		}
		for _, format := range []string{"csv", "jsonl"} {
			page := c.Get("/console/audit?event=devices")
			if format == "csv" { // later it is verified
				back := page.Submit("/console/audit/export", "format", format).ProveBySent("email", alice)
				if to := back.Header.Get("Location"); to != "/console/audit?event=devices&ready="+format {
					t.Fatalf("back at %q", to)
				}
				page = back.Follow().Want(http.StatusOK)
				says(t, page, "The file can be loaded now")
			}
			file := page.Submit("/console/audit/export", "format", format).Want(http.StatusOK)
			head := file.Header.Get("Countersign-Audit-Head")
			if err := s.DB.Read(t.Context()).Contains(head); err != nil {
				t.Errorf("%s: the head %q: %v", format, head, err)
			}
			if kind := file.Header.Get("Content-Disposition"); !strings.Contains(kind, "attachment") || !strings.Contains(kind, "."+format) {
				t.Errorf("%s: %s", format, kind)
			}
			if strings.ContainsAny(file.Body, "\x1b\u202e") {
				t.Errorf("%s obeys: %q", format, file.Body)
			}
			if format == "jsonl" {
				lines := bufio.NewScanner(strings.NewReader(file.Body))
				n, last := 0, map[string]any{}
				for lines.Scan() {
					last = map[string]any{}
					if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
						t.Fatalf("%q: %v", lines.Text(), err)
					}
					n++
				}
				if n != 7 || last["head"] != head {
					t.Errorf("%d lines, the last %v", n, last)
				}
				continue
			}
			rows, err := csv.NewReader(strings.NewReader(file.Body)).ReadAll()
			if err != nil || len(rows) != 8 || rows[7][len(rows[7])-1] != head {
				t.Fatalf("%d rows, %v:\n%s", len(rows), err, file.Body)
			}
			for _, row := range rows {
				for _, cell := range row {
					if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
						t.Errorf("a formula: %q", cell)
					}
				}
			}
		}
		list, err := s.DB.Read(t.Context()).History(owner.Account, "", 0, 10, audit.AuditExport)
		if err != nil || len(list) != 2 || list[0].Details["format"] != "jsonl" || list[0].Details["events"] == "" || strings.Contains(list[0].Actor.Name, alice) {
			t.Errorf("the exports left %+v, %v", list, err)
		}
		says(t, c.Get("/console/audit?event=export"), "Audit exported (CSV)", "Audit exported (JSON lines)")
	})
}

func TestTheAuditIsTheAccountsOwn(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	people := newCast(s)
	putEvent(s, audit.Actor{Kind: "administrator", ID: string(people.admin.ID), Name: people.admin.Name(), Address: "203.0.113.7", Request: "req-of-alice"}, audit.Event{Account: people.owner.Account, Name: audit.MFAUnbind, Identity: people.target.ID,
		Details: map[string]string{"name": "Device of quentin", "user": people.target.Name()}})
	alices := as(s, people.owner, factor.VirtualMFA)
	says(t, alices.Get("/console/audit"), "Device of quentin")
	queries := []string{"", "target=" + string(people.target.ID), "target=quentin", "target=" + url.QueryEscape(people.target.Name()), "actor=" + string(people.admin.ID), "actor=" + url.QueryEscape(people.admin.Name()), "actor=" + alice, "target=" + string(people.owner.ID),
		"request=req-of-alice", "network=203.0.113.7", "network=0.0.0.0/0", "event=UnbindMFADevice", "before=999999", "actor=operator", "account=" + string(people.owner.Account)}
	who := intruders(s, people)
	for name, c := range who {
		for _, query := range queries {
			got := c.Get("/console/audit?" + query).Want(http.StatusOK)
			_, main, _ := strings.Cut(got.Body, "</form>\n<ul") // what was asked for stands in the form
			got.Body = main
			saysNothing(t, got, "page "+query+" of the "+name)
			if strings.Contains(main, "req-of-alice") {
				t.Errorf("the page %s of the %s shows a request of another account", query, name)
			}
		}
	}
	for name, c := range who {
		csrf := c.CSRF()
		for _, query := range queries {
			got := c.Post("/console/audit/export", url.Values{"csrf": {csrf}, "query": {query}, "format": {"jsonl"}}).Want(http.StatusOK)
			var lines []string
			for line := range strings.Lines(got.Body) {
				if !strings.Contains(line, `"name":"ExportAudit"`) { // which says what was asked for
					lines = append(lines, line)
				}
			}
			got.Body = strings.Join(lines, "")
			saysNothing(t, got, "file "+query+" of the "+name)
			if strings.Contains(got.Body, string(people.owner.Account)) || strings.Contains(got.Body, "req-of-alice") {
				t.Errorf("the file %s of the %s holds events of another account", query, name)
			}
		}
	}
}

// A tour of what people and administrators do: every event says by whom, from
// where and in which request, and holds neither a password, a code nor an
// address in full.
func TestEventsSayFromWhereAndHoldNoAddress(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	owner := s.Identity(alice)
	phone, next := "+8613800138000", "alice.new@elsewhere.example"
	known := []string{testkit.Password, alice, "alice.new", phone, "13800138000", "uma.profile", "ula.profile", "nobody.there", "mistyped plum"}
	verified := func(r testkit.Reply) testkit.Reply {
		if _, ok := toVerify(r); ok {
			return r.ProveBySent("email", s.Identity(alice).Email)
		}
		return r
	}
	other := s.Client()
	other.Get("/signin").Submit("/signin", "username", "nobody.there@example.org", "password", "mistyped plum otter").Want(http.StatusUnauthorized)
	other.Get("/signin").Submit("/signin", "username", alice, "password", "mistyped plum otter").Want(http.StatusUnauthorized)
	made := verified(c.Get("/console/users/new").Submit("/console/users/new", "name", "uma", "email", "uma.profile@staff.example", "role", "user", "sign_in", "1"))
	made.Want(http.StatusSeeOther)
	uma, err := s.DB.Read(t.Context()).IdentityBySignInName(account.ParseSignInName("uma", string(owner.Account), s.Config.RAMSuffix))
	if err != nil {
		t.Fatal(err)
	}
	at := "/console/users/" + string(uma.ID)
	verified(c.Get(at+"/edit").Submit(at+"/edit", "name", "ula", "email", "ula.profile@staff.example", "seen", "")).Want(http.StatusSeeOther)
	verified(c.Get(at+"/role").Submit(at+"/role", "role", "auditor")).Want(http.StatusSeeOther)
	form := verified(c.Get("/security/phone/change"))
	if form.StatusCode == http.StatusSeeOther {
		form = form.Follow()
	}
	confirm := form.Submit("/security/phone/change", "country", "CN", "phone", "13800138000").Follow()
	known = append(known, s.SentCode(phone))
	confirm.Submit("/security/phone/confirm", "code", s.SentCode(phone)).Want(http.StatusSeeOther)
	s.Pass(2 * time.Minute)
	form = c.Get("/security/email/change")
	if _, ok := toVerify(form); ok {
		form = form.ProveBySent("sms", phone).Follow()
	}
	confirm = form.Submit("/security/email/change", "email", next).Follow()
	known = append(known, s.SentCode(next))
	confirm.Submit("/security/email/confirm", "code", s.SentCode(next)).Want(http.StatusSeeOther)
	for _, m := range s.Messages("") {
		if m.Kind == "code" {
			known = append(known, s.SentCode(m.To))
		}
	}

	rows, err := storetest.Raw(t, s.Config.DatabaseURL()).Query("SELECT content FROM audit_event ORDER BY account_id, seq")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	names := map[audit.Name]bool{}
	for rows.Next() {
		var content []byte
		if err := rows.Scan(&content); err != nil {
			t.Fatal(err)
		}
		e, err := audit.ParseContent(content)
		if err != nil {
			t.Fatal(err)
		}
		names[e.Name] = true
		for _, word := range known {
			if strings.Contains(string(content), `"`+word+`"`) || len(word) > 8 && strings.Contains(string(content), word) {
				t.Errorf("%s holds %q: %s", e.Name, word, content)
			}
		}
		if e.Actor.Kind == "operator" || e.Actor.Kind == "system" {
			continue
		}
		if e.Actor.Address == "" || e.Actor.Request == "" || e.Actor.UserAgent == "" || e.At.IsZero() || e.Actor.Kind != "visitor" && e.Actor.ID == "" {
			t.Errorf("%s does not say by whom or from where: %s", e.Name, content)
		}
	}
	for _, name := range []audit.Name{audit.AccountReg, audit.ConsoleSignin, audit.IdentityVerify, audit.CodeSend, audit.UserCreate, audit.ProfileCreate, audit.UserUpdate, audit.RoleModify, audit.MobileBind, audit.EmailModify} {
		if !names[name] {
			t.Errorf("the tour has left no %s", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
