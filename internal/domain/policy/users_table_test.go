package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

// The columns of the tables that are circumstances, with what each can be; the
// devices are those of the list in users.table.
var columns = [][]string{
	{"mandatory", "independent", "adaptive"},
	{"yes", "no"},
	{},
	{"yes", "no"},
	{"yes", "no"},
	{"yes", "no"},
	{"usual", "unusual"},
	{"yes", "no"},
	{"yes", "no"},
}

const deviceColumn = 2

// situations are all combinations.
func situations(devices []string) (list [][]string) {
	list = [][]string{nil}
	for n, values := range columns {
		if n == deviceColumn {
			values = devices
		}
		var longer [][]string
		for _, before := range list {
			for _, v := range values {
				longer = append(longer, append(before[:len(before):len(before)], v))
			}
		}
		list = longer
	}
	return list
}

func situation(s []string) policy.Facts {
	yes := func(n int) bool { return s[n] == "yes" }
	f := policy.Facts{Role: account.User, Settings: account.DefaultSettings(), Profile: account.Profile{State: account.ProfileActive, MFARequired: yes(1)}}
	f.Settings.MFAOperation, f.Settings.TwoKinds, f.Settings.Remember = account.Operation(s[0]), yes(3), true
	for _, device := range strings.Split(s[deviceColumn], "+") {
		switch device {
		case "virtual":
			f.VirtualMFA = true
		case "phone":
			f.Phone = true
		case "off":
			f.Phone, f.Settings.AllowSMS = true, false
		case "nosms":
			f.Settings.AllowSMS = false
		case "passkey":
			f.Passkeys++
		case "u2f":
			f.U2F++
		case "mail":
			f.SecurityEmail = true
		case "mailoff":
			f.SecurityEmail, f.Settings.AllowEmail = true, false
		case "none":
		default:
			panic("no device: " + device)
		}
	}
	f.Reenrol, f.Recovering = yes(4), yes(8)
	if yes(5) {
		f.Settings.GraceUntil = now.Add(time.Hour)
	}
	f.Circumstances = policy.Circumstances{Now: now, Unusual: s[6] == "unusual", Remembered: yes(7)}
	f.PasswordChangedAt = now.Add(-24 * time.Hour)
	f.Proofs = proofs("password", 0)
	return f
}

var short = map[factor.Method]string{factor.Password: "p", factor.Email: "e", factor.SMS: "s", factor.VirtualMFA: "m", factor.Passkey: "k", factor.U2F: "u", factor.RecoveryCode: "r", factor.Ticket: "t"}

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

// A bunch is what can be bound, as the list in users.table says of it.
type bunch struct{ group, have, more, anew, ticket string }

type tableRow struct {
	at    string
	cells []string
	met   int
	wrong int
}

func (r tableRow) meets(s []string, group string) bool {
	for n, v := range s {
		cell := "," + r.cells[n] + ","
		if cell != ",*," && !strings.Contains(cell, ","+v+",") && (n != deviceColumn || cell != ","+group+",") {
			return false
		}
	}
	return true
}

// want are the outcomes of the row for what is bound.
func (r tableRow) want(b bunch) (want []string) {
	for _, cell := range r.cells[len(columns):] {
		want = append(want, strings.NewReplacer("HAVE", b.have, "DEVICES", strings.TrimSuffix(b.have, " e"), "MORE", b.more, "ANEW", b.anew, "TICKET", b.ticket).Replace(cell))
	}
	return want
}

func cellsOf(line string) (cells []string) {
	for _, cell := range strings.Split(line, "|") {
		cells = append(cells, strings.TrimSpace(cell))
	}
	return cells
}

// readTable reads the rows of a table, and the list of what can be bound.
func readTable(t *testing.T, name string) (rows []*tableRow, devices []string, bunches map[string]bunch) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	bunches = map[string]bunch{}
	for n, line := range strings.Split(string(text), "\n") {
		switch line = strings.TrimSpace(line); {
		case line == "" || line[0] == '#':
		case line[0] == '=':
			c := cellsOf(line[1:])
			devices = append(devices, c[0])
			bunches[c[0]] = bunch{group: c[1], have: c[2], more: c[3], anew: c[4], ticket: "t"}
			if c[0] == "mail" {
				bunches[c[0]] = bunch{group: c[1], have: c[2], more: c[3], anew: c[4], ticket: "t e"}
			}
		default:
			row := &tableRow{at: fmt.Sprintf("%s:%d", name, n+1), cells: cellsOf(line)}
			if len(row.cells) != len(columns)+3 {
				t.Fatalf("%s has %d cells", row.at, len(row.cells))
			}
			rows = append(rows, row)
		}
	}
	return rows, devices, bunches
}

// eachRow calls got for every situation and compares with its row of a table.
func eachRow(t *testing.T, name string, got func(f policy.Facts) []string) {
	t.Helper()
	_, devices, bunches := readTable(t, "users.table")
	rows, _, _ := readTable(t, name)
	points := situations(devices)
	for _, s := range points {
		b := bunches[s[deviceColumn]]
		var row *tableRow
		for _, r := range rows {
			if !r.meets(s, b.group) {
				continue
			}
			if row != nil {
				t.Fatalf("%v meets %s and %s", s, row.at, r.at)
			}
			row = r
		}
		if row == nil {
			t.Errorf("no row of %s is about %v", name, s)
			continue
		}
		row.met++
		if got, want := got(situation(s)), row.want(b); !slices.Equal(got, want) {
			if row.wrong++; row.wrong > 1 {
				continue
			}
			t.Errorf("%s, %v:\n got %q\nwant %q", row.at, s, got, want)
		}
	}
	for _, r := range rows {
		if r.met == 0 || r.wrong > 1 {
			t.Errorf("%s is about %d situations, of which %d are otherwise", r.at, r.met, r.wrong)
		}
	}
	if len(points) != 29*384 {
		t.Errorf("%d situations", len(points))
	}
}

// The decision at the sign-in of RAM users, in every situation.
func TestTheSignInOfUsersIsThatOfTheTable(t *testing.T) {
	t.Parallel()
	eachRow(t, "users.table", func(f policy.Facts) []string {
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
		return []string{outcome(after), then, ticket}
	})
}

// What concerns the password is nothing to who gave none.
func TestTheSignInOfUsersByPasskeyAloneIsThatOfTheTable(t *testing.T) {
	t.Parallel()
	eachRow(t, "alone.table", func(f policy.Facts) []string {
		var first []string
		for n := range 5 {
			f := f
			switch n {
			case 1:
				f.Profile.InitialUntil = now.Add(-time.Hour)
			case 2:
				f.Profile.PasswordReset = true
			case 3:
				f.Settings.Password.MaxAge = 1
			case 4:
				f.Settings.Password.MaxAge, f.Settings.Password.HardExpire = 1, true
			}
			f.Proofs = verified
			alone := outcome(policy.SignIn(f))
			unverified := "refuse"
			for _, short := range [][]factor.Proof{proofs("passkey", 0), proofs("u2f", 0), {{Method: factor.U2F, At: now, Verified: true}}, append(proofs("passkey", 0), factor.Proof{Method: factor.U2F, At: now, Verified: true})} {
				f.Proofs = short
				if d := policy.SignIn(f); outcome(d) != unverified {
					unverified = fmt.Sprintf("%v: %s", short, outcome(d))
				}
			}
			f.Proofs, f.Settings.PasskeySignIn = verified, false
			outcomes := []string{alone, unverified, outcome(policy.SignIn(f))}
			if n > 0 && !slices.Equal(outcomes, first) {
				return append(first, "because of the password: "+fmt.Sprint(n, outcomes))
			}
			first = outcomes
		}
		return first
	})
}
