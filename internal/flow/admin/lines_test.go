package admin_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"countersign/internal/domain/account"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
)

var defaults = admin.NewUser{Role: account.User, SignIn: true, MFARequired: true}

func TestListsOfUsers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string // number:name:display:email:comments:role, or number!fault
		err  error
	}{
		"names":                  {text: "bob\nalice\n", want: []string{"1:bob::::user", "2:alice::::user"}},
		"CRLF and blank lines":   {text: "\r\nbob\r\n  \r\nalice", want: []string{"2:bob::::user", "4:alice::::user"}},
		"old Mac lines":          {text: "bob\ralice", want: []string{"1:bob::::user", "2:alice::::user"}},
		"BOM":                    {text: "\ufeffbob", want: []string{"1:bob::::user"}},
		"BOM before the columns": {text: "\ufeffName,Role\r\nbob,Auditor", want: []string{"2:bob::::auditor"}},
		"columns in any order":   {text: "EMAIL,Display Name,name\nb@x.example,Bob B,bob", want: []string{"2:bob:Bob B:b@x.example::user"}},
		"no columns":             {text: `bob,"Bob, the one",b@x.example,hello,administrator`, want: []string{"1:bob:Bob, the one:b@x.example:hello:administrator"}},
		"doubled quotes":         {text: `bob,"Bob ""B"" B"`, want: []string{`1:bob:Bob "B" B:::user`}},
		"a stray quote":          {text: "bob,\"Bob\nalice", want: []string{"1!users.line_form", "2:alice::::user"}},
		"a bare quote":           {text: "bob,B\"ob\nalice", want: []string{"1!users.line_form", "2:alice::::user"}},
		"trailing commas":        {text: "bob,,,,,,", want: []string{"1:bob::::user"}},
		"too many fields":        {text: "bob,,,,,x", want: []string{"1!users.line_form"}},
		"twice":                  {text: "bob\nBOB\nalice", want: []string{"1:bob::::user", "2!users.twice", "3:alice::::user"}},
		"an unknown column":      {text: "name,department\nbob,sales", want: []string{"1!users.column", "2:bob::::user"}},
		"a column twice":         {text: "name,name\nbob,alice", want: []string{"1!users.column", "2:alice::::user"}},
		"bad values": {text: "bo b\n" + strings.Repeat("x", 65) + "\nbob,,nomail\nbob,,,,owner\nbob,,,,king\n,Bob\nbob,\"a\x01b\"\nbob,,," + strings.Repeat("ü", 129),
			want: []string{"1!user.name_form", "2!user.name_form", "3!email.form", "4!user.role", "5!user.role", "6!user.name_missing", "7!user.display_name", "8!user.comments"}},
		"semicolons":        {text: "bob;Bob", want: []string{"1!user.name_form"}},
		"a user named name": {text: "bob\nname", want: []string{"1:bob::::user", "2:name::::user"}},
		"nothing":           {text: " \r\n\ufeff", want: []string{"2!user.name_form"}},
		"nobody":            {text: " \r\n\t\n", err: admin.ErrNoLines},
		"columns alone":     {text: "name,email\n", err: admin.ErrNoLines},
		"201 lines":         {text: many(201), err: admin.ErrTooManyLines},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, err := admin.ParseUsers(c.text, defaults)
			if !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			var got []string
			for _, l := range lines {
				u := l.User
				if l.Err != nil {
					got = append(got, fmt.Sprintf("%d!%s", l.Number, fault.From(l.Err).Code))
					continue
				}
				if !u.SignIn || !u.MFARequired {
					t.Errorf("line %d forgot the defaults", l.Number)
				}
				got = append(got, fmt.Sprintf("%d:%s:%s:%s:%s:%s", l.Number, u.Name, u.DisplayName, u.Email, u.Comments, u.Role))
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
	if lines, err := admin.ParseUsers("name\n"+many(200), defaults); err != nil || len(lines) != 200 {
		t.Errorf("200 lines: %d, %v", len(lines), err)
	}
}

func many(n int) string {
	var b strings.Builder
	for k := range n {
		fmt.Fprintf(&b, "user%d\r\n", k)
	}
	return b.String()
}

func FuzzParseUsers(f *testing.F) {
	for _, seed := range []string{"bob", "\ufeffname,role\r\nbob,\"x", "a,b,c,d,e,f\n\"\"\"", "name,name,name", "\r\r\n,,,,\n名前"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := admin.ParseUsers(text, defaults)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		last := 0
		for _, l := range lines {
			if l.Number <= last {
				t.Fatalf("line %d comes after %d", l.Number, last)
			}
			if last = l.Number; l.Err != nil {
				if fault.From(l.Err).Kind == fault.Internal {
					t.Errorf("line %d: %v", l.Number, l.Err)
				}
				continue
			}
			key := account.UserNameKey(l.User.Name)
			if u, err := l.User.Check(); err != nil || u != l.User || seen[key] {
				t.Errorf("line %d was taken: %+v", l.Number, l.User)
			}
			seen[key] = true
		}
	})
}

func TestGeneratedPasswordsSuitEveryPolicy(t *testing.T) {
	t.Parallel()
	f := &admin.Flow{Prover: &prove.Prover{Random: rand.Reader}}
	f.Service.Name = "Countersign"
	seen := map[string]bool{}
	for _, name := range []string{"a", "7", "-", ".", "_", "-.", "bob", "k3", "countersign", strings.Repeat("a.-", 21)} {
		for length := 8; length <= 32; length++ {
			p := account.PasswordPolicy{MinimumLength: length, RequireLower: true, RequireUpper: true, RequireNumbers: true, RequireSymbols: true, Different: 8, NoUserName: true}
			password, err := f.Generate(p, name)
			if err != nil {
				t.Fatalf("%s, %d: %v", name, length, err)
			}
			if err := p.CheckUserPassword(password, false, name, "countersign", "Countersign"); err != nil {
				t.Errorf("%q for %q: %v", password, name, err)
			}
			if len(password) > 32 || !unicode.IsLetter(rune(password[len(password)-1])) && !unicode.IsDigit(rune(password[len(password)-1])) || strings.ContainsAny(password, "0O1IlioL") || seen[password] {
				t.Errorf("%q cannot be read aloud, or came twice", password)
			}
			seen[password] = true
		}
	}
}
