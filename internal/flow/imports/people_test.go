package imports_test

import (
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"countersign/internal/domain/account"
	"countersign/internal/flow/imports"
	"countersign/internal/secret"
)

const (
	// jBCrypt, TestBCrypt.java: of the password "a"
	bcryptOfA = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"
	// RFC 6238, appendix B: the seed of its vectors for SHA-1
	rfcSeed = "12345678901234567890"
)

var (
	rfcSeed32 = base32.StdEncoding.EncodeToString([]byte(rfcSeed))
	allNames  = "name,display_name,role,email,comments,state,password_hash,must_change,mfa_required,otpauth,created,last_signin,password_changed"
)

func uri(query string) string { return "otpauth://totp/Old:bob?" + query }

func TestAPersonIsReadHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	row := `Bob,"Bob ""B"", of Press",Auditor,bob@example.com,=cmd|' /C calc'!A0,inactive,` + bcryptOfA + `,yes,TRUE,` + uri("secret="+rfcSeed32) + `,2020-02-29,2026-01-01T09:30:00+01:00,2025-05-05`
	object := fmt.Sprintf(`{"name":"Bob","display_name":"Bob \"B\", of Press","role":"auditor","email":"bob@example.com","comments":"=cmd|' /C calc'!A0","state":"inactive","password_hash":%q,"must_change":true,"mfa_required":"1","otpauth":%q,"created":"2020-02-29","last_signin":"2026-01-01T08:30:00Z","password_changed":"2025-05-05"}`, bcryptOfA, uri("secret="+rfcSeed32))
	for name, c := range map[string]struct {
		text   string
		format imports.Format
	}{
		"CSV":              {allNames + "\n" + row, imports.Either},
		"CSV as such":      {allNames + "\n" + row, imports.CSV},
		"CRLF and a BOM":   {"\ufeff" + allNames + "\r\n\r\n" + row + "\r\n", imports.Either},
		"columns in upper": {strings.ToUpper(allNames) + "\n" + row, imports.Either},
		"JSON":             {object, imports.Either},
		"JSON as such":     {"\n " + object + "\n", imports.JSON},
		"JSON by escapes":  {strings.ReplaceAll(object, "Bob", `\u0042ob`), imports.JSON},
	} {
		list, bad, err := imports.ParsePeople(strings.NewReader(c.text), c.format)
		if err != nil || len(bad) != 0 || len(list) != 1 {
			t.Errorf("%s: %d people, %v, %v", name, len(list), told(bad), err)
			continue
		}
		p := list[0]
		p.Line = 0
		want := imports.Person{Name: "Bob", DisplayName: `Bob "B", of Press`, Role: account.Auditor, Email: "bob@example.com", Comments: "=cmd|' /C calc'!A0", State: account.ProfileInactive,
			Hash: p.Hash, Kind: "bcrypt", MustChange: true, MFARequired: true, Seed: []byte(rfcSeed), Created: time.Date(2020, 2, 29, 0, 0, 0, 0, time.UTC),
			LastSignIn: time.Date(2026, 1, 1, 8, 30, 0, 0, time.UTC), PasswordSet: time.Date(2025, 5, 5, 0, 0, 0, 0, time.UTC)}
		if fmt.Sprint(p) != fmt.Sprint(want) || !secret.IsForeign(p.Hash) || !strings.HasSuffix(p.Hash, bcryptOfA) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	list, bad, err := imports.ParsePeople(strings.NewReader("name\nbob\ncleo"), imports.Either)
	if err != nil || len(bad) > 0 || len(list) != 2 || list[1].Name != "cleo" || list[1].Role != account.User || list[1].State != account.NoProfile || list[1].Hash != "" || list[1].Line != 3 {
		t.Errorf("names alone: %+v, %v, %v", list, told(bad), err)
	}
	if list, _, err := imports.ParsePeople(strings.NewReader("password_hash,name\n"+bcryptOfA+",bob\n"), imports.Either); err != nil || len(list) != 1 || list[0].State != account.ProfileActive || list[0].MustChange {
		t.Errorf("name and password: %+v, %v", list, err)
	}
}

func TestBadPeopleAreSaidByNumber(t *testing.T) {
	t.Parallel()
	const sign = "password_hash is missing: state, must_change, mfa_required and password_changed are about the sign-in with it"
	const name = "name is not 1 to 64 letters (a to z), digits, dots, underscores and hyphens"
	const json = "the line is not one JSON object of the documented fields"
	for _, c := range []struct{ line, want string }{
		{`"name":""`, "name is missing"},
		{`"name":null`, "name is missing"},
		{`"display_name":"x"`, "name is missing"},
		{`"name":"bob smith"`, name},
		{`"name":"b\u043eb"`, name}, // o of another script
		{`"name":"bob\u0000"`, name},
		{`"name":"bob@acme"`, name},
		{`"name":"` + strings.Repeat("b", 65) + `"`, name},
		{`"name":"bob","display_name":"` + strings.Repeat("ü", 129) + `"`, "display_name is longer than 128 characters, or has some that nobody sees"},
		{`"name":"bob","display_name":"bob\u202Enimda"`, "display_name is longer than 128 characters, or has some that nobody sees"},
		{`"name":"bob","comments":"a\nb"`, "comments is longer than 128 characters, or has some that nobody sees"},
		{`"name":"bob","email":"bob"`, "email is no address"},
		{`"name":"bob","email":"bob@example.com\r\nBcc: eve@example.com"`, "email is no address"},
		{`"name":"bob","role":"owner"`, "role is none of administrator, auditor and user"},
		{`"name":"bob","role":"root"`, "role is none of administrator, auditor and user"},
		{`"name":"bob","state":"idle"`, "state is none of active, inactive and none"},
		{`"name":"bob","state":"active"`, sign},
		{`"name":"bob","must_change":true`, sign},
		{`"name":"bob","mfa_required":"yes"`, sign},
		{`"name":"bob","password_changed":"2020-01-01"`, sign},
		{`"name":"bob","password_hash":"` + bcryptOfA + `","state":"none"`, "state is none, and yet there is a password_hash"},
		{`"name":"bob","password_hash":"` + bcryptOfA + `","must_change":"maybe"`, "must_change is neither yes nor no"},
		{`"name":"bob","password_hash":"hunter2"`, "password_hash is not a hash of a kind and form that can be imported"},
		{`"name":"bob","password_hash":"` + strings.Replace(bcryptOfA, "$06$", "$30$", 1) + `"`, "password_hash takes more than about a second, or 256 MiB, to check"},
		{`"name":"bob","password_hash":"$pbkdf2$1$OB.dtnSEXZK8U5cgxU/GYQ$y5LKPOplRmok7CZp/aqVDVg8zGI"`, "password_hash is made with too little work to be safe"},
		{`"name":"bob","created":"yesterday"`, "created is not a time like 2026-03-02 or 2026-03-02T09:30:00Z"},
		{`"name":"bob","created":"2026-02-30"`, "created is not a time like 2026-03-02 or 2026-03-02T09:30:00Z"},
		{`"name":"bob","last_signin":"0001-01-01"`, "last_signin is not a time like 2026-03-02 or 2026-03-02T09:30:00Z"},
		{`"name":"bob","created":1583020800`, json},
		{`"name":"bob","otpauth":"` + rfcSeed32 + `"`, "otpauth is not like otpauth://totp/Name?secret=BASE32"},
		{`"name":"bob","name":"eve"`, json},
		{`"name":7`, json},
		{`"name":"bob","must_change":[true]`, json},
		{`"name":"bob","password":"hunter2"`, json},
		{`"NAME":"bob"`, json},
		{`"name":"bob"} {"name":"eve"`, json},
		{`"name":"bob",`, json},
	} {
		list, bad, err := imports.ParsePeople(strings.NewReader("{"+c.line+"}"), imports.Either)
		if err != nil || len(list) != 0 || strings.Join(told(bad), "\n") != "1:"+c.want {
			t.Errorf("%s: %d people, %v, %v", c.line, len(list), told(bad), err)
		}
	}
	list, bad, err := imports.ParsePeople(strings.NewReader("name,comments\nbob,a,b\nbob\n\"bob,x\ncleo,\"a\"b\nann,\xff\nBob,\nBOB,\nname,comments\neve,"+strings.Repeat("x", 17_000)+"\ndora,last"), imports.Either)
	want := []string{"2:the line is not CSV of the columns that the first line names", "3:the line is not CSV of the columns that the first line names", "4:the line is not CSV of the columns that the first line names",
		"5:the line is not CSV of the columns that the first line names", "6:the line is not UTF-8", "8:name is that of line 7", "10:the line is longer than 16384 bytes"}
	if err != nil || !slices.Equal(told(bad), want) || len(list) != 3 || list[2].Name != "dora" {
		t.Errorf("CSV: %+v, %q, %v", list, told(bad), err)
	}
}

// forever is a file without an end.
type forever struct{ b byte }

func (f *forever) Read(p []byte) (int, error) {
	for n := range p {
		p[n] = f.b
	}
	return len(p), nil
}

func TestAFileOfNoPeopleIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	columns := "the first line must name the columns: " + allNames + "; or be a JSON object"
	for name, c := range map[string]struct {
		text   string
		format imports.Format
		want   string
	}{
		"nothing":            {"", imports.Either, "the file names no people"},
		"columns alone":      {"name\n", imports.Either, "the file names no people"},
		"no columns":         {"bob,Bob\n", imports.Either, columns + "; column 1 of 2 is none of these"},
		"an unknown column":  {"name,password\nbob,hunter2\n", imports.Either, columns + "; column 2 of 2 is none of these"},
		"a column twice":     {"name,name\nbob,eve\n", imports.Either, columns + "; name is there twice"},
		"without names":      {"email\nbob@example.com\n", imports.Either, columns + "; name is missing"},
		"JSON said to be":    {`{"name":"bob"}`, imports.CSV, columns},
		"too many":           {"name\n" + strings.Repeat("x\n", imports.PeopleMax+1), imports.Either, "the file has more than 10000 people: take it apart"},
		"a quote that stays": {"\"name\nbob\n", imports.Either, columns},
		"semicolons":         {"name;email\nbob;\n", imports.Either, columns + "; column 1 of 1 is none of these"},
		"an array":           {"[{\"name\":\"bob\"}]\n", imports.Either, columns + "; it begins an array, of which each object must be a line of its own"},
		"UTF-16":             {"\xff\xfen\x00a\x00m\x00e\x00\n\x00", imports.Either, columns + "; it is not UTF-8"},
	} {
		if list, bad, err := imports.ParsePeople(strings.NewReader(c.text), c.format); err == nil || err.Error() != c.want || list != nil || bad != nil {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	for _, endless := range []string{"\n", "x", "\x00", "{"} {
		if _, _, err := imports.ParsePeople(&forever{endless[0]}, imports.Either); err == nil || err.Error() != "read the file: it has more than 64 MiB: take it apart" {
			t.Errorf("%q without an end: %v", endless, err)
		}
	}
	if _, _, err := imports.ParsePeople(broken{}, imports.Either); err == nil || err.Error() != "read the file: the disk is gone" {
		t.Error(err)
	}
}

func TestSeedsAreReadAsAppsScanThem(t *testing.T) {
	t.Parallel()
	seed := func(bytes int) string {
		return strings.TrimRight(base32.StdEncoding.EncodeToString(make([]byte, bytes)), "=")
	}
	other := "otpauth is not of SHA1, 6 digits and 30 seconds, which are all that this server checks"
	form := "otpauth is not like otpauth://totp/Name?secret=BASE32"
	for text, want := range map[string]string{
		// Key URI Format of Google Authenticator: its examples
		"otpauth://totp/Example:alice@google.com?secret=" + rfcSeed32 + "&issuer=Example":                                         "",
		"otpauth://totp/ACME%20Co:john.doe@email.com?secret=" + rfcSeed32 + "&issuer=ACME%20Co&algorithm=SHA1&digits=6&period=30": "",
		"otpauth://TOTP/x?secret=" + strings.ToLower(rfcSeed32) + "&algorithm=sha1&image=https%3A%2F%2Fexample.com%2Fx.png":       "",
		"OTPAUTH://totp/x?secret=" + seed(16):                  "",
		uri("secret=" + seed(20) + "===="):                     "",
		uri("secret=" + seed(64)):                              "",
		uri("secret=" + seed(15)):                              "otpauth has a secret of less than 128 bits",
		uri("secret=" + seed(10)):                              "otpauth has a secret of less than 128 bits",
		uri("secret=A"):                                        "otpauth has a secret of less than 128 bits",
		uri("secret=" + seed(65)):                              "otpauth has a secret of more than 512 bits",
		uri("secret=" + seed(20) + "1"):                        "otpauth has a secret that is not base32",
		uri("secret=" + seed(10) + "%0A" + seed(10)):           "otpauth has a secret that is not base32",
		uri("secret=" + seed(10) + "=" + seed(10)):             "otpauth has a secret that is not base32",
		uri("secret="):                                         form,
		uri("issuer=x"):                                        form,
		uri("secret=" + seed(20) + "&secret=" + seed(16)):      form,
		uri("secret=" + seed(20) + "&Digits=8"):                form,
		uri("secret=" + seed(20) + ";digits=8"):                form,
		uri("secret=%zz"):                                      form,
		"otpauth://totp/%zz?secret=" + seed(20):                form,
		"https://totp/x?secret=" + seed(20):                    form,
		seed(20):                                               form,
		"otpauth://hotp/x?secret=" + seed(20) + "&counter=1":   "otpauth is not of TOTP: a counter cannot be brought in",
		"otpauth-migration://offline?data=CjEKCkhlbGxvId6tvu8": form,
		uri("secret=" + seed(32) + "&algorithm=SHA256"):        other,
		uri("secret=" + seed(64) + "&algorithm=SHA512"):        other,
		uri("secret=" + seed(20) + "&algorithm=MD5"):           other,
		uri("secret=" + seed(20) + "&digits=8"):                other,
		uri("secret=" + seed(20) + "&digits="):                 other,
		uri("secret=" + seed(20) + "&period=60"):               other,
	} {
		list, bad, err := imports.ParsePeople(strings.NewReader(fmt.Sprintf("{\"name\":\"bob\",\"otpauth\":%q}", text)), imports.Either)
		switch {
		case err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (len(list) != 0 || strings.Join(told(bad), "\n") != "1:"+want):
			t.Errorf("%s: %d taken, %v; want %s", text, len(list), told(bad), want)
		case want == "" && (len(list) != 1 || len(list[0].Seed) < 16):
			t.Errorf("%s: %v", text, told(bad))
		case want == "" && strings.Contains(strings.ToUpper(text), rfcSeed32) && string(list[0].Seed) != rfcSeed:
			t.Errorf("%s: another seed", text)
		}
	}
}

func FuzzPeople(f *testing.F) {
	for _, text := range []string{"", "name\nbob", allNames + "\nBob,x,user,bob@example.com,c,active," + bcryptOfA + ",no,no," + uri("secret="+rfcSeed32) + ",2020-01-01,2020-01-01,2020-01-01\nbob,,,,,,,,,,,,\n",
		`{"name":"bob","must_change":true,"password_hash":"` + bcryptOfA + `","otpauth":"` + uri("secret="+rfcSeed32) + `"}` + "\n{}\n[", "{\n\x00", "\ufeffname\n\"", strings.Repeat(" ", 17_000) + "\n{", "name,otpauth\nbob," + uri("secret="+rfcSeed32+"&period=31")} {
		f.Add(text, "")
		f.Add(text, "json")
		f.Add(text, "csv")
	}
	f.Fuzz(func(t *testing.T, text, format string) {
		list, bad, err := imports.ParsePeople(strings.NewReader(text), imports.Format(format))
		if err != nil {
			if len(list)+len(bad) > 0 || errors.Unwrap(err) != nil {
				t.Fatalf("%v, and %d people all the same", err, len(list))
			}
			return
		}
		lines, seen := strings.Count(text, "\n")+1, map[string]bool{}
		if len(list)+len(bad) > lines {
			t.Fatalf("%d people in %d lines", len(list)+len(bad), lines)
		}
		for _, p := range list {
			key := account.UserNameKey(p.Name)
			if _, err := account.ParseUserName(p.Name); err != nil || seen[key] || p.Line < 1 || p.Line > lines || p.Role.Rank() < 1 || p.Role == account.Owner {
				t.Fatalf("taken: %+v", p)
			}
			if (p.Hash == "") != (p.State == account.NoProfile) || p.Hash != "" && !secret.IsForeign(p.Hash) || len(p.Hash) > 600 || p.Seed != nil && (len(p.Seed) < 16 || len(p.Seed) > 64) {
				t.Fatalf("taken: %+v", p)
			}
			if all := p.DisplayName + p.Comments + p.Email; strings.ContainsFunc(all, unicode.IsControl) || !utf8.ValidString(all) || len([]rune(p.DisplayName)) > 128 {
				t.Fatalf("with what nobody sees: %+v", p)
			}
			seen[key] = true
		}
		for _, b := range bad {
			if b.Why == "" || strings.ContainsAny(b.Why, "\r\n") || len(b.Why) > 200 || b.Line < 1 || b.Line > lines {
				t.Fatalf("bad: %+v", b)
			}
		}
	})
}
