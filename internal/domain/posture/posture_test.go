package posture_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/posture"
)

func TestTheScoreOfAnAccount(t *testing.T) {
	t.Parallel()
	best := func() posture.Account {
		return posture.Account{Census: posture.Census{Users: 10, Protected: 10, Resistant: 10, Coded: 10, Administrators: 2, AdministratorsResistant: 2, AtRisk: map[posture.Risk]int{}},
			Rule: account.Mandatory, OwnerProtected: true, OwnerResistant: true, OwnerCodes: 10}
	}
	for _, c := range []struct {
		name   string
		change func(a *posture.Account)
		score  int
		want   string // key+gain(missing), the largest gain first
	}{
		{"all is done", func(*posture.Account) {}, 100, ""},
		{"nothing is", func(a *posture.Account) {
			*a = posture.Account{Census: posture.Census{Users: 4, Administrators: 1, AtRisk: map[posture.Risk]int{posture.NeverUsed: 4, posture.Distrusted: 1, posture.CounterBack: 2}}, Rule: account.Independent}
		}, 0, "users_mfa+26(4) owner_mfa+15(1) owner_resistant+10(1) users_resistant+10(4) administrators_resistant+10(1) rule+10(1) owner_codes+5(1) users_idle+5(4) incidents+5(3)"},
		{"half of the users", func(a *posture.Account) { a.Protected, a.Resistant, a.Coded = 5, 5, 5 }, 82, "users_mfa+13(5) users_resistant+5(5)"},
		{"the owner alone is missing", func(a *posture.Account) { a.OwnerProtected, a.OwnerResistant, a.OwnerCodes = false, false, 0 }, 70, "owner_mfa+15(1) owner_resistant+10(1) owner_codes+5(1)"},
		{"three codes are few", func(a *posture.Account) { a.OwnerCodes = 3 }, 95, "owner_codes+5(1)"},
		{"four are not", func(a *posture.Account) { a.OwnerCodes = 4 }, 100, ""},
		{"adaptive is worth half", func(a *posture.Account) { a.Rule = account.Adaptive }, 95, "rule+5(1)"},
		{"as each profile says is worth nothing", func(a *posture.Account) { a.Rule = account.Independent }, 90, "rule+10(1)"},
		{"no administrators: what concerns them is left out", func(a *posture.Account) { a.Administrators, a.AdministratorsResistant, a.Resistant = 0, 0, 0 }, 88, "users_resistant+12(10)"},
		{"one of a thousand is missing: it is not all", func(a *posture.Account) { a.Users, a.Protected, a.Resistant, a.Coded = 1000, 999, 1000, 999 }, 99, "users_mfa+1(1)"},
		{"idle and unused ones", func(a *posture.Account) { a.AtRisk[posture.Idle], a.AtRisk[posture.NeverUsed] = 2, 3 }, 97, "users_idle+3(5)"},
		{"a copied passkey", func(a *posture.Account) { a.AtRisk[posture.CounterBack] = 1 }, 95, "incidents+5(1)"},
		{"nobody but an owner without anything", func(a *posture.Account) { *a = posture.Account{Rule: account.Mandatory} }, 0, "owner_mfa+50(1) owner_resistant+33(1) owner_codes+16(1)"},
		{"nobody but a careful owner", func(a *posture.Account) { a.Census = posture.Census{} }, 100, ""},
	} {
		a := best()
		c.change(&a)
		score, missing := a.Score()
		var got []string
		for _, m := range missing {
			got = append(got, m.Key+"+"+itoa(m.Gain)+"("+itoa(m.Missing)+")")
		}
		if score != c.score || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %d, %s; want %d, %s", c.name, score, strings.Join(got, " "), c.score, c.want)
		}
	}
}

func itoa(n int) string {
	if n < 0 {
		return "-" + itoa(-n)
	}
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// The score is between 0 and 100, is 100 exactly when nothing is missing, and
// whoever does what a measure asks for gains what it promised.
func TestScoresKeepTheirPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		upTo := func(n int, name string) int { return rapid.IntRange(0, n).Draw(t, name) }
		a := posture.Account{Rule: rapid.SampledFrom(account.Operations).Draw(t, "rule"), OwnerProtected: rapid.Bool().Draw(t, "owner"), OwnerResistant: rapid.Bool().Draw(t, "key"), OwnerCodes: upTo(10, "codes")}
		a.Users = upTo(2000, "users")
		a.Protected = upTo(a.Users, "protected")
		a.Resistant, a.Coded = upTo(a.Protected, "resistant"), upTo(a.Protected, "coded")
		a.Administrators = upTo(a.Users, "administrators")
		a.AdministratorsResistant = upTo(a.Administrators, "resistant administrators")
		unused := upTo(a.Users, "unused")
		a.AtRisk = map[posture.Risk]int{posture.NeverUsed: unused, posture.Idle: upTo(a.Users-unused, "idle"), posture.Distrusted: upTo(a.Users, "distrusted")}
		score, missing := a.Score()
		if score < 0 || score > 100 || (score == 100) != (len(missing) == 0) {
			t.Fatalf("score %d with %v missing", score, missing)
		}
		for n, m := range missing {
			if n > 0 && missing[n-1].Gain < m.Gain || m.Gain < 0 {
				t.Fatalf("gains %v", missing)
			}
			done := a
			switch m.Key {
			case "owner_mfa":
				done.OwnerProtected = true
			case "owner_resistant":
				done.OwnerResistant = true
			case "owner_codes":
				done.OwnerCodes = 10
			case "users_resistant":
				done.Resistant = a.Users
			case "administrators_resistant":
				done.AdministratorsResistant = a.Administrators
			case "users_codes":
				done.Coded = a.Protected
			case "users_idle":
				done.AtRisk = map[posture.Risk]int{posture.Distrusted: a.AtRisk[posture.Distrusted]}
			case "rule":
				done.Rule = account.Mandatory
			case "incidents":
				done.AtRisk = map[posture.Risk]int{posture.NeverUsed: a.AtRisk[posture.NeverUsed], posture.Idle: a.AtRisk[posture.Idle]}
			default: // more users with MFA are more who need codes
				continue
			}
			if after, _ := done.Score(); after != score+m.Gain {
				t.Fatalf("%s: from %d to %d, although %d were promised", m.Key, score, after, m.Gain)
			}
		}
	})
}

func TestShares(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ part, whole, want int }{{0, 0, 0}, {0, 9, 0}, {9, 9, 100}, {1, 1000, 1}, {999, 1000, 99}, {1, 3, 33}, {2, 3, 67}, {1, 2, 50}, {3, 2, 100}} {
		if got := posture.Share(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d: %d, want %d", c.part, c.whole, got, c.want)
		}
	}
}

func TestDaysAreFilledIn(t *testing.T) {
	t.Parallel()
	kept := []posture.Day{{Number: 102, SignIns: map[posture.Outcome]int{posture.ByFactor: 2}}, {Number: 101, Known: true, Users: 3, Protected: 2, Resistant: 1}, {Number: 90, Known: true, Users: 9}, {Number: 105}}
	days := posture.Days(kept, 104, 5)
	if len(days) != 5 || days[0].Number != 100 || days[4].Number != 104 {
		t.Fatalf("%+v", days)
	}
	for n, want := range []posture.Day{{Known: false}, {Known: true, Users: 3}, {Known: true, Users: 3}, {Known: true, Users: 3}, {Known: true, Users: 3}} {
		if d := days[n]; d.Known != want.Known || d.Users != want.Users || d.SignIns == nil {
			t.Errorf("day %d: %+v", n, d)
		}
	}
	if days[2].SignIns[posture.ByFactor] != 2 {
		t.Errorf("sign-ins: %+v", days[2])
	}
	at := time.Date(2026, 3, 1, 23, 59, 59, 0, time.UTC)
	if d := (posture.Day{Number: posture.DayOf(at)}); !d.Begin().Equal(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%s is of the day that begins at %s", at, d.Begin())
	}
}

func TestHowSignInsEnd(t *testing.T) {
	t.Parallel()
	acr := func(level string) map[string]string { return map[string]string{"acr": level} }
	for _, c := range []struct {
		e    audit.Event
		want posture.Outcome
	}{
		{audit.Event{Name: audit.ConsoleSignin, Details: acr("phr")}, posture.ByFactor},
		{audit.Event{Name: audit.ConsoleSignin, Details: acr("urn:mfa:2")}, posture.ByFactor},
		{audit.Event{Name: audit.ConsoleSignin, Details: acr("urn:mfa:2r")}, posture.ByFactor},
		{audit.Event{Name: audit.ConsoleSignin, Details: acr("urn:mfa:1e")}, posture.ByFactor},
		{audit.Event{Name: audit.ConsoleSignin, Details: acr("urn:mfa:1")}, posture.ByPassword},
		{audit.Event{Name: audit.ConsoleSignin}, posture.ByPassword},
		{audit.Event{Name: audit.ConsoleSignin, Refused: "signin.wrong"}, posture.WrongPassword},
		{audit.Event{Name: audit.ConsoleSignin, Refused: "code.wrong", Details: map[string]string{"method": "virtual_mfa"}}, posture.Stopped},
		{audit.Event{Name: audit.ConsoleSignin, Refused: "signin.disabled"}, posture.Stopped},
		{audit.Event{Name: audit.PasswordModify, Refused: "signin.wrong"}, ""},
	} {
		if got, ok := posture.OutcomeOf(c.e); got != c.want || ok != (c.want != "") {
			t.Errorf("%+v: %q, want %q", c.e, got, c.want)
		}
	}
}

func TestLinesOfTheCredentialReport(t *testing.T) {
	t.Parallel()
	made, changed := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)), time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	user := account.Identity{Role: account.User, UserName: "bo", Domain: "acme.ram.localhost", CreatedAt: made, PasswordHash: "$x$", PasswordChangedAt: changed, LastSignInAt: changed}
	dash := user
	dash.UserName, dash.LastSignInAt = "-bo", time.Time{}
	keyOnly := user
	keyOnly.PasswordHash = ""
	const keys = ",FALSE,N/A,N/A,N/A,FALSE,N/A,N/A,N/A"
	for _, c := range []struct {
		name string
		c    posture.Credentials
		want string
	}{
		{"the owner", posture.Credentials{Identity: account.Identity{Role: account.Owner, Email: "o@example.com", CreatedAt: made, PasswordChangedAt: changed, PasswordHash: "$x$"}, MFA: true, MaxAge: 30},
			"<root>,2026-01-02T02:04:05Z,-,TRUE,N/A,2026-02-01T00:00:00Z,-,TRUE"},
		{"a user", posture.Credentials{Identity: user, Profile: account.Profile{State: account.ProfileActive}, MFA: true}, "bo@acme.ram.localhost,2026-01-02T02:04:05Z,2026-02-01T00:00:00Z,TRUE,TRUE,2026-02-01T00:00:00Z,-,TRUE"},
		{"whose password rotates", posture.Credentials{Identity: user, Profile: account.Profile{State: account.ProfileActive}, MaxAge: 28}, "bo@acme.ram.localhost,2026-01-02T02:04:05Z,2026-02-01T00:00:00Z,TRUE,TRUE,2026-02-01T00:00:00Z,2026-03-01T00:00:00Z,FALSE"},
		{"who is disabled", posture.Credentials{Identity: user, Profile: account.Profile{State: account.ProfileIdle}}, "bo@acme.ram.localhost,2026-01-02T02:04:05Z,2026-02-01T00:00:00Z,TRUE,FALSE,2026-02-01T00:00:00Z,-,FALSE"},
		{"without a profile, named like a formula", posture.Credentials{Identity: dash, MFA: true}, "'-bo@acme.ram.localhost,2026-01-02T02:04:05Z,-,FALSE,N/A,N/A,N/A,N/A"},
		{"without a password", posture.Credentials{Identity: keyOnly, Profile: account.Profile{State: account.ProfileActive}, MFA: true}, "bo@acme.ram.localhost,2026-01-02T02:04:05Z,2026-02-01T00:00:00Z,FALSE,FALSE,N/A,N/A,TRUE"},
	} {
		fields := c.c.Fields()
		if got := strings.Join(fields, ","); got != c.want+keys || len(fields) != len(posture.ReportColumns) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want+keys)
		}
	}
	if got := strings.Join(posture.ReportColumns, ","); got != "user,user_creation_time,user_last_logon,password_exist,password_active,password_last_changed,password_next_rotation,mfa_active,"+
		"access_key_1_exist,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used,access_key_2_exist,access_key_2_active,access_key_2_last_rotated,access_key_2_last_used" {
		t.Errorf("columns %s", got)
	}
}
