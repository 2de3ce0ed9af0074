package front_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// Loading a page sends nothing, however often; and no code is ever anywhere
// but in its message.
func TestRefreshingSendsNothingAndCodesStayInTheirMessages(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	var urls []string
	refresh := func(page testkit.Reply) testkit.Reply {
		t.Helper()
		n := len(s.Messages(""))
		at := page.Request.URL.RequestURI()
		for range 5 {
			page = page.Again().Want(http.StatusOK)
		}
		if sent := len(s.Messages("")) - n; sent != 0 {
			t.Errorf("refreshing %s sends %d messages", at, sent)
		}
		urls = append(urls, at)
		return page
	}
	verify := func(to testkit.Reply, method, where string) testkit.Reply {
		t.Helper()
		page := refresh(c.Get(to.Header.Get("Location") + "&method=" + method))
		page = refresh(page.Submit("/verify/send", "method", method).Follow())
		refresh(c.Get(strings.Replace(page.Request.URL.RequestURI(), "/verify?", "/verify/methods?", 1)))
		return page.Submit("/verify", "code", s.SentCode(where)).Want(http.StatusSeeOther)
	}
	page := verify(choose(c, "sms", "sign-in").Submit("/security/protection/confirm"), "email", alice).Follow()
	page = refresh(refresh(page).Submit("/security/protection/phone", "country", "CN", "phone", phone).Follow())
	s.Pass(time.Minute)
	page = refresh(page.Submit("/security/protection/code/send", "method", "sms").Follow())
	refresh(page.Submit("/security/protection/code", "code", s.SentCode(phone)).Follow())
	protected(t, s, alice, factor.SMS, policy.SignInScenario)
	page = c.Get("/security/email/change").Want(http.StatusOK) // the code of a moment ago counts
	page = refresh(refresh(page).Submit("/security/email/change", "email", "next@example.com").Follow())
	page.Submit("/security/email/confirm", "code", wrongOf(s.SentCode("next@example.com"))).Want(http.StatusUnauthorized)
	page = refresh(c.Get("/security/phone/change").Submit("/security/phone/change", "country", "CN", "phone", otherOne).Follow())
	page.Submit("/security/phone/confirm", "code", s.SentCode(otherOne)).Want(http.StatusSeeOther)
	s.Pass(11 * time.Minute)
	in := s.Client()
	n := len(s.Messages(""))
	first := in.SignIn(alice, nil).Header.Get("Location")
	for range 5 {
		in.Get(first).Want(http.StatusOK)
		in.Get(strings.Replace(first, "/verify?", "/methods?", 1)).Want(http.StatusOK)
	}
	if len(s.Messages("")) != n {
		t.Error("refreshing the second step sends messages")
	}
	sent := in.Get(first).Submit("/signin/verify/send", "method", "sms").Follow()
	urls = append(urls, sent.Request.URL.RequestURI())
	for range 5 {
		in.Get(sent.Request.URL.RequestURI()).Want(http.StatusOK)
	}
	if len(s.Messages("")) != n+1 {
		t.Errorf("%d messages for one code", len(s.Messages(""))-n)
	}
	sent.Submit("/signin/verify", "code", s.SentCode(otherOne)).Want(http.StatusSeeOther)

	var codes []string
	for _, m := range s.Messages("") {
		if code := codeLike.FindString(m.Text); m.Kind == "code" && !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	if len(codes) < 6 {
		t.Fatalf("only %d codes were seen", len(codes))
	}
	places := map[string]string{"a URL": strings.Join(urls, "\n"), "the log": s.Logs.String(), "a page": strings.Join(append(c.Seen, in.Seen...), "\n")}
	i := s.Identity(alice)
	events, err := s.DB.Read(t.Context()).History(i.Account, i.ID, 0, 1000)
	if err != nil || len(events) < 15 {
		t.Fatal(len(events), err)
	}
	for _, e := range events {
		b, err := e.Content()
		if err != nil {
			t.Fatal(err)
		}
		places["the audit trail"] += string(b) + "\n"
	}
	files, err := filepath.Glob(filepath.Join(s.Config.Data, "countersign.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		places["the database"] += string(b)
	}
	for where, holds := range places {
		for _, code := range codes {
			look := code
			if where == "the database" {
				look = `"` + code + `"` // six digits occur by chance in ids and instants
			}
			if where == "a page" {
				look = ">" + code + "<"
			}
			if strings.Contains(holds, look) {
				t.Errorf("%s holds the code %s", where, code)
			}
		}
		if where == "the log" && (strings.Contains(holds, "138001380") || strings.Contains(holds, alice)) {
			t.Errorf("the log holds an address:\n%s", holds)
		}
		if where == "the audit trail" && (strings.Contains(holds, "13800138000") || strings.Contains(holds, "13900139000")) {
			t.Errorf("the audit trail holds a number in full:\n%s", holds)
		}
	}
}
