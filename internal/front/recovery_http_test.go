package front_test

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/flow/recovery"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// recovering begins the recovery of alice, who has an app, and returns the
// path of the link in the newest mail.
func recovering(t *testing.T, s *testkit.Site) (path string, started recovery.Started) {
	t.Helper()
	f := &recovery.Flow{Prover: s.SignIn.Prover}
	started, err := f.Start(t.Context(), audit.OperatorActor("account recover"), s.Identity(alice), recovery.DefaultWait)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(s.Messages(alice)[0].Text, s.URL+"/recover/")
	if !ok {
		t.Fatalf("no link in the mail:\n%s", s.Messages(alice)[0].Text)
	}
	return "/recover/" + strings.Fields(rest)[0], started
}

// cancellations counts the events of them.
func cancellations(t *testing.T, s *testkit.Site) int {
	t.Helper()
	i := s.Identity(alice)
	list, err := s.DB.Read(t.Context()).History(i.Account, i.ID, 0, 100, audit.RecoveryCancel)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestTheLinkInTheMailCancelsTheRecovery(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, e, nil)
			s.Account(alice, testkit.Password)
			s.PutApp(alice)
			path, started := recovering(t, s)
			c := s.Client() // a fresh browser
			for range 3 {
				page := c.Get(path).Want(http.StatusOK)
				says(t, page, "a***@e***.com", "Cancel the recovery", started.OpensAt.UTC().Format(time.RFC3339), started.ExpiresAt.UTC().Format(time.RFC3339))
				saysNot(t, page, alice, started.Ticket, "works already")
			}
			c.Send(c.Request("HEAD", path, "")).Want(http.StatusOK)
			if cancellations(t, s) != 0 {
				t.Fatal("looking cancelled it")
			}
			// A form without its token is shown again, and cancels nothing.
			says(t, c.Post(path, url.Values{"csrf": {"x"}}).Want(http.StatusForbidden), "Cancel the recovery", `action="`+path+`"`)
			if cancellations(t, s) != 0 {
				t.Fatal("without the form's token")
			}
			s.Pass(recovery.DefaultWait)
			page := c.Get(path).Want(http.StatusOK)
			says(t, page, "works already")
			done := page.Submit(path).Want(http.StatusSeeOther)
			if to := done.Header.Get("Location"); to != "/signin" {
				t.Errorf("leads to %s", to)
			}
			says(t, done.Follow().Want(http.StatusOK), "The recovery is cancelled.")
			if n := cancellations(t, s); n != 1 {
				t.Errorf("%d events", n)
			}
			over := c.Get(path).Want(http.StatusGone)
			says(t, over, "There is nothing to cancel here")
			says(t, page.Submit(path).Want(http.StatusGone), "There is nothing to cancel here")
			unknown := c.Get("/recover/" + strings.Repeat("A", 43)).Want(http.StatusGone)
			text := func(r testkit.Reply) string {
				_, main, _ := strings.Cut(r.Body, "<main")
				main, _, _ = strings.Cut(main, `<p class="reference"`)
				return html.UnescapeString(main)
			}
			if text(over) != text(unknown) {
				t.Errorf("used: %s\nunknown: %s", text(over), text(unknown))
			}
			c.Get("/recover/x").Want(http.StatusGone)
			if strings.Contains(s.Logs.String(), strings.TrimPrefix(path, "/recover/")) {
				t.Error("the token of the link is in the log")
			}
		})
	}
}

func TestACompletedSignInCancelsTheRecovery(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	app := s.PutApp(alice)
	c := s.Client()
	half := c.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Want(http.StatusSeeOther)
	help := strings.Replace(half.Header.Get("Location"), "/verify", "/help", 1)
	saysNot(t, c.Get(help).Want(http.StatusOK), "is under way")
	path, started := recovering(t, s)
	// Whoever knows the password is told on the page that says what helps.
	times := []string{started.OpensAt.UTC().Format(time.RFC3339), started.ExpiresAt.UTC().Format(time.RFC3339)}
	says(t, c.Get(help).Want(http.StatusOK), "A recovery of your sign-in is under way", times[0], times[1])
	s.Pass(recovery.DefaultWait)
	half = c.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Want(http.StatusSeeOther)
	open := c.Get(strings.Replace(half.Header.Get("Location"), "/verify", "/help", 1)).Want(http.StatusOK)
	says(t, open, "lead to a new device already", times[1])
	saysNot(t, open, times[0], started.Ticket)
	if cancellations(t, s) != 0 {
		t.Error("the password alone cancelled it")
	}
	c.Get(half.Header.Get("Location")+"&method=virtual_mfa").Submit("/signin/verify", "code", app.Code(0)).Want(http.StatusSeeOther)
	if cancellations(t, s) != 1 {
		t.Error("a completed sign-in did not cancel it")
	}
	if m := s.Messages(alice)[0]; m.Kind != "recovery_cancelled" {
		t.Errorf("the newest message is %s", m.Kind)
	}
	s.Client().Get(path).Want(http.StatusGone)
}
