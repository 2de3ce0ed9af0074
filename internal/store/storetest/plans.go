package storetest

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"countersign/internal/store"
	"countersign/internal/store/expiry"
)

var argument = regexp.MustCompile(`\$\d+`)

// given are rows that the statement brings along, or made before.
var given = regexp.MustCompile(`^SCAN (CONSTANT|\(|\d+-ROW VALUES)`)

// planned holds the plans of statements that were looked at.
var planned sync.Map

// whole are the statements that may read a whole table: of jobs and commands that
// are about all of it, and on tables that hold next to nothing. They are written
// as a whole, on one line; … stands for columns.
var whole = []string{
	"SELECT c.seq, COALESCE(d.day, 0), COALESCE(d.outcome, ''), COALESCE(d.counted, 0) FROM (SELECT COALESCE((SELECT s.seq FROM signin_counted s WHERE s.account_id = $1), 0) AS seq) c LEFT JOIN signin_day d ON d.account_id = $1 AND d.day >= $2", // of one row
	"SELECT EXISTS (SELECT 1 FROM account)", // ends with the first
	"UPDATE setup_link SET used_at = $1 WHERE used_at = 0",

	// What operators look at.
	"SELECT a.id, a.alias, a.created_at, … FROM account a JOIN identity i ON i.account_id = a.id AND i.role = 'owner' ORDER BY a.created_at, a.id",
	"SELECT … FROM outbox WHERE ($1 = '' OR state = $1) ORDER BY id DESC LIMIT $2",
	"SELECT scope, counted, ends_at FROM throttle_window WHERE ends_at > $1 AND counted > 0 AND substr(scope, 1, $2) = $3 ORDER BY scope",

	// Jobs, with expiry.Rarely.
	"SELECT a.id, COALESCE(s.idle_users, $1) FROM account a LEFT JOIN account_settings s ON s.account_id = a.id ORDER BY a.id",
	"SELECT account_id, identity_id, kind FROM notice_digest GROUP BY account_id, identity_id, kind HAVING min(due_at) <= $1 ORDER BY min(due_at), identity_id, kind LIMIT $2",

	// When the clock was set back.
	"DELETE FROM sent_code WHERE expires_at <= $1",
	"UPDATE setup_link SET expires_at = $1 WHERE expires_at > $1 AND expires_at <= $2",
	"UPDATE enrolment SET expires_at = $1 WHERE expires_at > $1 AND expires_at <= $2",
	"DELETE FROM session WHERE last_seen_at <= $1",
	"SELECT id, proofs FROM session WHERE last_seen_at > $1",
	"UPDATE throttle_window SET started_at = $1, ends_at = CASE WHEN substr(scope, 1, 4) = 'job:' THEN $1 ELSE ends_at - started_at + $1 END WHERE started_at > $2",
	"UPDATE notice_digest SET due_at = $1 WHERE last_at > $1",
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
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// asks reports whether a statement is one that must not read a whole table.
func asks(text string) bool {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch strings.ToUpper(first) {
	case "SELECT", "UPDATE", "DELETE", "INSERT", "WITH":
	default:
		return false
	}
	line := strings.Join(strings.Fields(text), " ")
	rarely := slices.ContainsFunc(expiry.Rarely, func(e expiry.Ending) bool { return line == "DELETE FROM "+e.From+" WHERE "+e.Where })
	return !rarely && !slices.ContainsFunc(whole, func(w string) bool {
		before, after, columns := strings.Cut(w, "…")
		return line == w || columns && strings.HasPrefix(line, before) && strings.HasSuffix(line, after)
	})
}
