package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// While nodes are upgraded one after the other, those of the release before
// work with the schema of the next. So a migration adds: tables, indexes,
// columns that old statements may leave out. What it takes away must have been
// unused for a release, which the line before it says: "-- unused since 1.4".

var (
	adds = []*regexp.Regexp{
		regexp.MustCompile(`(?i)^CREATE TABLE \w+ \(.*\)$`),
		regexp.MustCompile(`(?i)^CREATE INDEX (IF NOT EXISTS )?\w+ ON \w+ .*$`),
		regexp.MustCompile(`(?i)^ALTER TABLE \w+ ADD COLUMN \w+ \w+ NOT NULL DEFAULT ('[^']*'|-?\d+)$`),
		regexp.MustCompile(`(?i)^ALTER TABLE \w+ ADD COLUMN \w+ \w+$`),
		regexp.MustCompile(`(?i)^INSERT INTO \w+ .*$`),
		regexp.MustCompile(`(?i)^UPDATE \w+ SET .*$`),
	}
	uniqueIndex = regexp.MustCompile(`(?i)^CREATE UNIQUE INDEX \w+ ON (\w+) .*$`)
	newTable    = regexp.MustCompile(`(?i)^CREATE TABLE (\w+) `)
	newFunction = regexp.MustCompile(`(?i)^CREATE FUNCTION (\w+)`)
	oldFunction = regexp.MustCompile(`(?i)^DROP FUNCTION (\w+)$`)
	body        = regexp.MustCompile(`(?s)\$\$.*?\$\$`)
	unused      = regexp.MustCompile(`^-- unused since \d+\.\d+`)
)

// tooMuch says which statements of a migration the release before may not survive.
func tooMuch(text string) (list []string) {
	created := map[string]bool{}
	excused := false
	var statement []string
	for line := range strings.Lines(body.ReplaceAllString(text, "$$$$")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "--") {
			excused = excused || unused.MatchString(line)
			continue
		}
		if line, _, _ = strings.Cut(line, " -- "); line == "" {
			continue
		}
		statement = append(statement, line)
		whole, ends := strings.CutSuffix(strings.Join(statement, " "), ";")
		if !ends {
			continue
		}
		statement = nil
		if m := newTable.FindStringSubmatch(whole); m != nil {
			created[m[1]] = true
		}
		fine := excused
		for _, r := range adds {
			fine = fine || r.MatchString(whole)
		}
		if m := uniqueIndex.FindStringSubmatch(whole); m != nil {
			fine = fine || created[m[1]]
		}
		if m := newFunction.FindStringSubmatch(whole); m != nil {
			fine, created[m[1]] = true, true
		}
		if m := oldFunction.FindStringSubmatch(whole); m != nil {
			fine = fine || created[m[1]] // for the migration alone
		}
		if excused = false; !fine {
			list = append(list, whole)
		}
	}
	if len(statement) > 0 {
		list = append(list, strings.Join(statement, " "))
	}
	return list
}

func TestTheReleaseBeforeSurvivesEveryMigration(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("migrations/*/*.sql")
	if err != nil || len(files) < 18 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		up, _, _ := strings.Cut(string(b), "-- +goose Down")
		for _, s := range tooMuch(up) {
			t.Errorf("%s: the release before may not survive %q; docs/operation.md says how to go about it", f, s)
		}
	}
}

func TestWhatTheReleaseBeforeWouldNotSurviveIsSeen(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"CREATE TABLE a (\n  id TEXT PRIMARY KEY, -- of the thing; not of another\n  n BIGINT NOT NULL\n);\nCREATE UNIQUE INDEX a_n ON a (n);": "[]",
		"CREATE INDEX IF NOT EXISTS a_n ON a (n);":                                                        "[]",
		"CREATE INDEX a_n ON a (n) WHERE n > 0;":                                                          "[]",
		"ALTER TABLE a ADD COLUMN n BIGINT NOT NULL DEFAULT 0;":                                           "[]",
		"ALTER TABLE a ADD COLUMN n BIGINT NOT NULL DEFAULT '';":                                          "[]",
		"ALTER TABLE a ADD COLUMN n BYTEA;":                                                               "[]",
		"ALTER TABLE a ADD COLUMN n BIGINT NOT NULL;":                                                     "[ALTER TABLE a ADD COLUMN n BIGINT NOT NULL]",
		"ALTER TABLE a ADD COLUMN n TEXT UNIQUE;":                                                         "[ALTER TABLE a ADD COLUMN n TEXT UNIQUE]",
		"CREATE UNIQUE INDEX a_n ON a (n);":                                                               "[CREATE UNIQUE INDEX a_n ON a (n)]",
		"ALTER TABLE a DROP COLUMN n;":                                                                    "[ALTER TABLE a DROP COLUMN n]",
		"-- unused since 1.4\nALTER TABLE a DROP COLUMN n;\nDROP TABLE b;":                                "[DROP TABLE b]",
		"-- unused since always\nALTER TABLE a DROP COLUMN n;":                                            "[ALTER TABLE a DROP COLUMN n]",
		"ALTER TABLE a RENAME COLUMN n TO m;":                                                             "[ALTER TABLE a RENAME COLUMN n TO m]",
		"ALTER TABLE a RENAME TO b;":                                                                      "[ALTER TABLE a RENAME TO b]",
		"ALTER TABLE a\n  ALTER COLUMN n TYPE TEXT;":                                                      "[ALTER TABLE a ALTER COLUMN n TYPE TEXT]",
		"ALTER TABLE a ADD CONSTRAINT c CHECK (n > 0);":                                                   "[ALTER TABLE a ADD CONSTRAINT c CHECK (n > 0)]",
		"CREATE FUNCTION f(a TEXT) RETURNS TEXT AS $$\nBEGIN\n  DROP TABLE a;\nEND $$;\nDROP FUNCTION f;": "[]",
		"DROP FUNCTION f;":                                                                                "[DROP FUNCTION f]",
		"DELETE FROM a;":                                                                                  "[DELETE FROM a]",
		"ALTER TABLE a ADD COLUMN n BIGINT NOT NULL DEFAULT 0, DROP COLUMN m;":                            "[ALTER TABLE a ADD COLUMN n BIGINT NOT NULL DEFAULT 0, DROP COLUMN m]",
		"CREATE TABLE b (id TEXT);\nDROP TABLE a":                                                         "[DROP TABLE a]",
	} {
		if got := fmt.Sprint(tooMuch(text)); got != want {
			t.Errorf("%q\ngot  %s\nwant %s", text, got, want)
		}
	}
}
