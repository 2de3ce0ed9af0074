package front_test

import (
	"net/http"
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
	got := c.Get("/security/virtual-mfa/bind").Follow().Submit("/verify/send", "method", "email").Want(http.StatusServiceUnavailable)
	if got.Header.Get("Retry-After") == "" || !strings.Contains(got.Body, "no mail server is set up") {
		t.Errorf("answered %v %s", got.Header, got.Body)
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
