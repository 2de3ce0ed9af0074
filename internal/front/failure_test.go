package front_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countersign/internal/config"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestWithoutAMailServerNobodyIsToldThatACodeIsOnItsWay(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, func(c *config.Config) { c.Dev = false })
	s.Account(alice, testkit.Password)
	c := s.Client()
	c.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Want(http.StatusSeeOther)
	to := c.Get("/security/virtual-mfa/bind").Want(http.StatusSeeOther).Header.Get("Location")
	page := c.Get(to).Want(http.StatusOK)
	if !strings.Contains(page.Body, "Emails cannot be sent at the moment.") || !strings.Contains(page.Body, "help@example.com") || strings.Contains(page.Body, `action="/verify/send"`) {
		t.Errorf("the page offers what cannot be done:\n%s", page.Body)
	}
	got := c.Post("/verify/send", url.Values{"csrf": {c.CSRF()}, "c": {strings.TrimPrefix(to, "/verify?c=")}, "method": {"email"}}).Want(http.StatusServiceUnavailable)
	if got.Header.Get("Retry-After") == "" || !strings.Contains(got.Body, "no mail server is set up") {
		t.Errorf("answered %v %s", got.Header, got.Body)
	}
	if n := len(s.Messages("")); n != 0 {
		t.Errorf("%d messages lie in the outbox", n)
	}
}

func TestAnotherCeremonysPageLeavesThisOneAlone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	link, err := s.SetupURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	confirm := c.Get(strings.TrimPrefix(link, s.URL)).Submit(strings.TrimPrefix(link, s.URL), "email", alice, "password", testkit.Password).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	c.Get("/signin/verify").Want(http.StatusGone)
	confirm.Submit("/signup/verify", "code", s.MailedCode(alice)).Want(http.StatusSeeOther)
}
