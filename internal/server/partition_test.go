package server_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"testing"

	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// What docs/scale.md says of partitions is run: nothing else changes for
// anybody.
func TestTheAuditIsPartitionedByAccount(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/scale.md has no statements")
	}
	s := testkit.NewSite(t, storetest.Postgres, nil)
	const accounts = 12
	owner := func(n int) string { return fmt.Sprintf("owner%d@example.com", n) }
	signIns := func() {
		for n := range accounts {
			if status, answer := post(s.Handler(), "/api/v1/signin", map[string]any{"username": owner(n), "password": testkit.Password}); status != http.StatusOK || answer["session"] == nil {
				t.Fatal(status, answer)
			}
		}
	}
	events := func() (n int) {
		for k := range accounts {
			list, _, err := s.DB.Read(t.Context()).Events(s.Identity(owner(k)).Account, store.AuditQuery{Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			n += len(list)
		}
		return n
	}
	for n := range accounts {
		s.Account(owner(n), testkit.Password)
	}
	signIns()
	before := events()
	raw := storetest.Raw(t, s.Config.Database)
	if _, err := raw.Exec(string(block[1])); err != nil {
		t.Fatal(err)
	}
	if now := events(); now != before {
		t.Errorf("%d events of %d", now, before)
	}
	signIns()
	if now := events(); now < before+accounts {
		t.Errorf("%d events after as many sign-ins again, %d before", now, before)
	}
	if err := s.DB.Read(t.Context()).VerifyChains(func(_ store.Head, err error) error { return err }); err != nil {
		t.Error(err)
	}
	var used int
	if err := raw.QueryRow("SELECT COUNT(DISTINCT tableoid) FROM audit_event").Scan(&used); err != nil || used < 2 {
		t.Errorf("%d partitions are used, %v", used, err)
	}
	var plan sql.NullString
	if err := raw.QueryRow("EXPLAIN (FORMAT JSON) SELECT content FROM audit_event WHERE account_id = $1 ORDER BY seq DESC LIMIT 20", string(s.Identity(owner(0)).Account)).Scan(&plan); err != nil {
		t.Fatal(err)
	}
	if touched := regexp.MustCompile(`audit_event_\d"`).FindAllString(plan.String, -1); len(touched) != 1 {
		t.Errorf("an account's page reads %v", touched)
	}
}
