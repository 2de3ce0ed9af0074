package storetest

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"countersign/internal/store"
)

var argument = regexp.MustCompile(`\$\d+`)

// given are rows that the statement brings along, or made before.
var given = regexp.MustCompile(`^SCAN (CONSTANT|\(|\d+-ROW VALUES)`)

// planned holds the plans of statements that were looked at.
var planned sync.Map

// What may read a whole table: jobs and commands that are about all of it, and
// tables that hold next to nothing.
var whole = []string{
	"SELECT c.seq,", // of one row
	"goose_db_version", "sqlite_master", "FROM setup_link", "UPDATE setup_link",
	"SELECT EXISTS (SELECT 1 FROM account)",
	"AND i.role = 'owner' ORDER BY a.created_at, a.id",                                                                                                                               // the operator's list
	"last_seen_at < $1", "last_used_at < $1", "verified_at = 0 AND created_at < $1", "'sent' AND sent_at < $1", "'dead' AND created_at < $1", "kind = 'recover' AND expires_at < $1", // once an hour
	"s.idle_users, $1) FROM account", "FROM notice_digest GROUP BY", // jobs
	"FROM outbox WHERE ($1 = '' OR state = $1) ORDER BY id DESC", "substr(scope, 1,", // what operators look at
	"DELETE FROM sent_code WHERE expires_at <= $1", "FROM session WHERE last_seen_at", "UPDATE enrolment SET expires_at = $1", "UPDATE notice_digest SET due_at = $1 WHERE last_at", // when the clock was set back
}

// Plans has the test fail where a statement that it asked of SQLite looks
// through a whole table or index: with a million identities it would take a
// million times as long.
func Plans(t testing.TB, db *store.DB, url string) {
	raw := Raw(t, url)
	for _, text := range db.Statements() {
		if _, seen := planned.LoadOrStore(text, true); seen || !asks(text) {
			continue
		}
		rows, err := raw.Query("EXPLAIN QUERY PLAN " + argument.ReplaceAllString(text, "1"))
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Error(err)
			}
			if strings.HasPrefix(detail, "SCAN ") && !given.MatchString(detail) {
				t.Errorf("%s: %s", detail, text)
			}
		}
		_ = rows.Close()
	}
}

func asks(text string) bool {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch strings.ToUpper(first) {
	case "SELECT", "UPDATE", "DELETE", "INSERT", "WITH":
	default:
		return false
	}
	for _, w := range whole {
		if strings.Contains(text, w) {
			return false
		}
	}
	return true
}
