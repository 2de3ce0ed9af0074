package policy_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

// The columns of testdata/users.table that are circumstances, with what each
// can be.
var columns = [][]string{
	{"mandatory", "independent", "adaptive"},
	{"yes", "no"},
	{"none", "virtual", "phone", "both", "off"},
	{"yes", "no"},
	{"yes", "no"},
	{"yes", "no"},
	{"usual", "unusual"},
	{"yes", "no"},
	{"yes", "no"},
}

// situations are all combinations, but for two kinds while there is only one:
// such settings cannot be saved.
func situations() (list [][]string) {
	list = [][]string{nil}
	for _, values := range columns {
		var longer [][]string
		for _, before := range list {
			for _, v := range values {
				longer = append(longer, append(before[:len(before):len(before)], v))
			}
		}
		list = longer
	}
	var possible [][]string
	for _, s := range list {
		if s[2] != "off" || s[3] == "no" {
			possible = append(possible, s)
		}
	}
	return possible
}

func situation(s []string) policy.Facts {
	yes := func(n int) bool { return s[n] == "yes" }
	f := policy.Facts{Role: account.User, Settings: account.DefaultSettings(), Profile: account.Profile{State: account.ProfileActive, MFARequired: yes(1)}}
	f.Settings.MFAOperation, f.Settings.TwoKinds, f.Settings.Remember, f.Settings.AllowSMS = account.Operation(s[0]), yes(3), true, s[2] != "off"
	f.VirtualMFA, f.Phone = s[2] == "virtual" || s[2] == "both", s[2] == "phone" || s[2] == "both" || s[2] == "off"
	f.Reenrol, f.Recovering = yes(4), yes(8)
	if yes(5) {
		f.Settings.GraceUntil = now.Add(time.Hour)
	}
	f.Circumstances = policy.Circumstances{Now: now, Unusual: s[6] == "unusual", Remembered: yes(7)}
	f.PasswordChangedAt = now.Add(-24 * time.Hour)
	f.Proofs = proofs("password", 0)
	return f
}

var short = map[factor.Method]string{factor.Password: "p", factor.Email: "e", factor.SMS: "s", factor.VirtualMFA: "m", factor.RecoveryCode: "r", factor.Ticket: "t"}

// outcome is a decision in the words of the table.
func outcome(d policy.Decision) string {
	words := []string{string(d.Step)}
	if d.Step == policy.Complete {
		words[0] = "done"
	}
	for _, m := range d.Methods {
		words = append(words, short[m])
	}
	if d.Reason != nil {
		words = append(words, strings.TrimPrefix(d.Reason.Code, "signin."))
	}
	if d.Grace {
		words[0] += "~"
	}
	return strings.Join(words, " ")
}

type tableRow struct {
	line  int
	cells []string
	met   int
}

func (r tableRow) meets(s []string) bool {
	for n, v := range s {
		if r.cells[n] != "*" && !strings.Contains(","+r.cells[n]+",", ","+v+",") {
			return false
		}
	}
	return true
}

func readTable(t *testing.T) (rows []*tableRow) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "users.table"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		if text := strings.TrimSpace(lines.Text()); text != "" && text[0] != '#' {
			row := &tableRow{line: n, cells: strings.Split(text, "|")}
			for c := range row.cells {
				row.cells[c] = strings.TrimSpace(row.cells[c])
			}
			if len(row.cells) != len(columns)+3 {
				t.Fatalf("users.table:%d has %d cells", n, len(row.cells))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// The decision at the sign-in of RAM users, in every situation.
func TestTheSignInOfUsersIsThatOfTheTable(t *testing.T) {
	t.Parallel()
	rows := readTable(t)
	points := situations()
	for _, s := range points {
		var row *tableRow
		for _, r := range rows {
			if !r.meets(s) {
				continue
			}
			if row != nil {
				t.Fatalf("%v meets users.table:%d and :%d", s, row.line, r.line)
			}
			row = r
		}
		if row == nil {
			t.Errorf("no row of users.table is about %v", s)
			continue
		}
		row.met++
		f := situation(s)
		after := policy.SignIn(f)
		then, ticket := "-", "-"
		if after.Step == policy.Verify {
			f.Proofs = append(proofs("password", 0), factor.Proof{Method: after.Methods[0], At: now})
			then = outcome(policy.SignIn(f))
			if after.Allows(factor.Ticket) {
				f.Proofs = proofs("password ticket", 0)
				ticket = outcome(policy.SignIn(f))
			}
		}
		want := row.cells[len(columns):]
		if got := []string{outcome(after), then, ticket}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("users.table:%d, %v:\n got %q\nwant %q", row.line, s, got, want)
		}
	}
	for _, r := range rows {
		if r.met == 0 {
			t.Errorf("users.table:%d is about nothing", r.line)
		}
	}
	if len(points) != 1728 {
		t.Errorf("%d situations", len(points))
	}
}
