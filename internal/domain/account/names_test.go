package account_test

import (
	"errors"
	"strings"
	"testing"

	"countersign/internal/domain/account"
)

const own account.ID = "1234567890123456"

const suffix = "ram.localhost"

func TestASignInNameIsAnAliasWithTheSuffixAnAliasOrADomain(t *testing.T) {
	t.Parallel()
	alias := func(user, alias string) account.SignInName { return account.SignInName{User: user, Alias: alias} }
	domain := func(user, domain string) account.SignInName {
		return account.SignInName{User: user, Domain: domain}
	}
	none := account.SignInName{}
	for _, c := range []struct {
		typed, door string // the domain that the door fills in
		want        account.SignInName
	}{
		{"alice@orchard.ram.localhost", "", alias("alice", "orchard")},
		{"alice@orchard", "", alias("alice", "orchard")},
		{"alice@orchard.example", "", domain("alice", "orchard.example")},
		{"alice@1234567890123456.ram.localhost", "", alias("alice", string(own))},
		{"alice@1234567890123456", "", alias("alice", string(own))},
		{"alice@xn--bcher-kva.example", "", domain("alice", "xn--bcher-kva.example")},
		{"alice@a.b.c.example", "", domain("alice", "a.b.c.example")},
		{"alice@example.com.", "", domain("alice", "example.com")},
		{" Alice.B_c-1@Orchard.RAM.localhost \n", "", alias("alice.b_c-1", "orchard")},
		{"alice", "orchard", alias("alice", "orchard")},
		{"alice", " Orchard.ram.localhost ", alias("alice", "orchard")},
		{"alice", "orchard.example", domain("alice", "orchard.example")},
		{"alice@orchard", "elsewhere", alias("alice", "orchard")}, // what is typed counts
		{strings.Repeat("a", account.UserNameMax) + "@orchard", "", alias(strings.Repeat("a", account.UserNameMax), "orchard")},

		{"", "", none},
		{"", "orchard", none},
		{"@", "orchard", none},
		{"@orchard", "", none},
		{"alice", "", none},
		{"alice@", "", none},
		{"alice@", "orchard", none}, // not the door's: something else was meant
		{"alice@@orchard", "", none},
		{"alice@orchard@ram.localhost", "", none},
		{"alice@orchard.ram.localhost@evil.example", "", none},
		{"alice@ram.localhost", "", none}, // the suffix is nobody's
		{"alice@.ram.localhost", "", none},
		{"alice@a.b.ram.localhost", "", none}, // below it are aliases alone
		{"alice@a--b.ram.localhost", "", none},
		{"alice@-orchard", "", none},
		{"alice@orchard-", "", none},
		{"alice@or--chard", "", none},
		{"alice@or_chard", "", none},
		{"alice@or chard", "", none},
		{"alice@orchard..example", "", none},
		{"alice@.example", "", none},
		{"al ice@orchard", "", none},
		{"alice\x00@orchard", "", none},
		{"alice@orchard\x00", "", none},
		{"alice@orchard\r\nset-cookie: x", "", none},
		{"alice%@orchard", "", none},
		{"' OR 1=1 --@orchard", "", none},
		{"álice@orchard", "", none},
		{"аlice@orchard", "", none}, // a Cyrillic а
		{"alice＠orchard", "", none}, // a full-width @
		{"alice@orchärd", "", none},
		{"alice\u202e@orchard", "", none},
		{"alice\u200b@orchard", "", none},
		{"alice@\xff\xfe", "", none},
		{"\xff@orchard", "", none},
		{strings.Repeat("a", account.UserNameMax+1) + "@orchard", "", none},
		{"alice@" + strings.Repeat("a", 1<<16), "", none},
		{"alice@" + strings.Repeat("a.", 1<<16), "", none},
		{strings.Repeat("@", 1<<16), "", none},
	} {
		got := account.ParseSignInName(c.typed, c.door, suffix)
		if got != c.want {
			t.Errorf("%.80q at the door of %q: %+v, want %+v", c.typed, c.door, got, c.want)
		}
		if got.IsZero() != (c.want == none) {
			t.Errorf("%.80q: nobody's %v", c.typed, got.IsZero())
		}
	}
}

// The name that the console shows is one that the door takes.
func TestTheNameShownIsTheNameTaken(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"a", "Alice.Smith", "-", ".", "_", "0", "A-B_c.9"} {
		name, err := account.ParseUserName(user)
		if err != nil {
			t.Errorf("%q: %v", user, err)
		}
		for _, alias := range []string{string(own), "abc", "a-b", strings.Repeat("a", account.AliasMax)} {
			alias, err := account.ParseAlias(alias, own)
			if err != nil {
				t.Errorf("%q: %v", alias, err)
			}
			i := account.Identity{UserName: name, Domain: alias + "." + suffix, Email: "information@orchard.example"}
			if got := account.ParseSignInName(i.Name(), "", suffix); got.User != account.UserNameKey(name) || got.Alias != alias || got.Domain != "" {
				t.Errorf("%s: %+v", i.Name(), got)
			}
		}
	}
}

func TestUserNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]error{
		"a":                                      nil,
		" a ":                                    nil,
		"A.b_c-9":                                nil,
		strings.Repeat("x", account.UserNameMax): nil,
		strings.Repeat("x", account.UserNameMax+1): account.ErrUserName,
		"":           account.ErrUserNameMissing,
		" \t\n":      account.ErrUserNameMissing,
		"a b":        account.ErrUserName,
		"a@b":        account.ErrUserName,
		"a\x00":      account.ErrUserName,
		"a\nb":       account.ErrUserName,
		"ä":          account.ErrUserName,
		"\u212a":     account.ErrUserName, // the Kelvin sign, whose lower case is k
		"a\u200d":    account.ErrUserName,
		"=cmd|'x'!A": account.ErrUserName,
		"用户":         account.ErrUserName,
		"\xff":       account.ErrUserName,
	} {
		got, err := account.ParseUserName(in)
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%.80q: %v, want %v", in, err, want)
		}
		if err == nil && got != strings.TrimSpace(in) || err != nil && got != "" {
			t.Errorf("%.80q was taken as %q", in, got)
		}
	}
	if account.UserNameKey(" Alice.B ") != "alice.b" {
		t.Error("names are compared with their case")
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"abc":                    "abc",
		" Orchard ":              "orchard",
		"a-b":                    "a-b",
		"123":                    "123",
		"a1-2b-3":                "a1-2b-3",
		strings.Repeat("a", 32):  strings.Repeat("a", 32),
		strings.Repeat("1", 15):  strings.Repeat("1", 15),
		strings.Repeat("1", 17):  strings.Repeat("1", 17),
		string(own):              string(own), // back to the account ID
		" 1234567890123456\n":    string(own),
		"123456789012345a":       "123456789012345a",
		"1234-5678901234-":       "",
		"1234567890123457":       "", // another's, or one to come
		"0000000000000000":       "",
		"1234567890-23456":       "1234567890-23456",
		"":                       "",
		"ab":                     "",
		strings.Repeat("a", 33):  "",
		"-ab":                    "",
		"ab-":                    "",
		"a--b":                   "",
		"xn--bcher-kva":          "",
		"a.b":                    "",
		"a_b":                    "",
		"a b":                    "",
		"a@b":                    "",
		"abc\x00":                "",
		"münchen":                "",
		"１２３":                    "",
		"abc.ram.localhost":      "",
		"\xff\xfe\xfd":           "",
		strings.Repeat("a", 1e6): "",
	} {
		got, err := account.ParseAlias(in, own)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, account.ErrAliasForm) {
			t.Errorf("%.80q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestDomainAliases(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 56) + ".example" // 64
	for in, want := range map[string]string{
		"orchard.example":              "orchard.example",
		" Orchard.Example. ":           "orchard.example",
		"a.b":                          "a.b",
		"xn--bcher-kva.example":        "xn--bcher-kva.example",
		"a-b.c-d.example":              "a-b.c-d.example",
		"notram.localhost":             "notram.localhost", // not below the suffix
		"localhost.example":            "localhost.example",
		long:                           long,
		"a" + long:                     "",
		strings.Repeat("a", 64) + ".b": "",
		"":                             "",
		".":                            "",
		"..":                           "",
		"example":                      "",
		"example.":                     "",
		"orchard..example":             "",
		".orchard.example":             "",
		"orchard.example..":            "",
		"-a.example":                   "",
		"a-.example":                   "",
		"a---b.example":                "",
		"a b.example":                  "",
		"a_b.example":                  "",
		"*.example":                    "",
		"bücher.example":               "",
		"orchard.example:443":          "",
		"https://orchard.example":      "",
		"alice@orchard.example":        "",
		"orchard.example\x00":          "",
		"orchard.\nexample":            "",
		suffix:                         "",
		"RAM.localhost.":               "",
		"orchard." + suffix:            "",
		"a.b." + suffix:                "",
		strings.Repeat("a.", 1e5):      "",
	} {
		got, err := account.ParseDomain(in, suffix)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, account.ErrDomainForm) {
			t.Errorf("%.80q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestLinesThatPeopleWrite(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		"":                       true,
		"  Alice Smith ":         true,
		"王小明 (财务)":               true,
		strings.Repeat("é", 128): true, // code points, not bytes
		strings.Repeat("é", 129): false,
		"a\nb":                   false,
		"a\tb":                   false,
		"a\x00b":                 false,
		"a\u0085b":               false,
		"a\x7fb":                 false,
		"\xff":                   false,
	} {
		got, err := account.ParseLine(in, account.DisplayNameMax, account.ErrDisplayName)
		if (err == nil) != ok || !ok && !errors.Is(err, account.ErrDisplayName) || ok && got != strings.TrimSpace(in) {
			t.Errorf("%.60q: %q, %v", in, got, err)
		}
	}
}

func FuzzParseSignInName(f *testing.F) {
	for _, s := range []string{"alice@orchard.ram.localhost", "alice@orchard", "alice@orchard.example", "Alice", "a@b.c.", "@", "a@@b", "a@xn--b.c", "\u212a@\u0130", "a@1234567890123456"} {
		f.Add(s, "orchard")
	}
	f.Add("alice", "orchard.example.")
	f.Fuzz(func(t *testing.T, s, door string) {
		n := account.ParseSignInName(s, door, suffix)
		if n.IsZero() {
			if n != (account.SignInName{}) {
				t.Fatalf("nobody's, and %+v", n)
			}
			return
		}
		if (n.Alias == "") == (n.Domain == "") || len(n.User) > account.UserNameMax || len(n.Alias+n.Domain) > account.DomainMax+len(suffix)+1 {
			t.Fatalf("%+v", n)
		}
		for _, r := range n.User + n.Alias + n.Domain {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r) {
				t.Fatalf("%q in %+v", r, n)
			}
		}
		if again := account.ParseSignInName(n.User+"@"+n.Alias+n.Domain, "elsewhere", suffix); again != n {
			t.Fatalf("%+v, and again %+v", n, again)
		}
		if n.Alias != "" {
			if again := account.ParseSignInName(n.User, n.Alias+"."+suffix, suffix); len(n.Alias) <= account.DomainMax && again != n {
				t.Fatalf("%+v, with the suffix %+v", n, again)
			}
		}
	})
}

func FuzzParseDomain(f *testing.F) {
	for _, s := range []string{"orchard.example", "a.b.", "xn--a.b", suffix, "a." + suffix, "-.-", "a..b", "\u212a.k", "1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := account.ParseDomain(s, suffix)
		if err != nil {
			if d != "" {
				t.Fatalf("refused, and %q", d)
			}
			return
		}
		if len(d) > account.DomainMax || !strings.Contains(d, ".") || d == suffix || strings.HasSuffix(d, "."+suffix) || strings.Trim(d, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			t.Fatalf("%q was taken as %q", s, d)
		}
		if again, err := account.ParseDomain(d, suffix); err != nil || again != d {
			t.Fatalf("%q, and again %q (%v)", d, again, err)
		}
		if n := account.ParseSignInName("alice@"+d, "", suffix); n.Domain != d || n.Alias != "" {
			t.Fatalf("%q at the door: %+v", d, n)
		}
	})
}

func FuzzParseAlias(f *testing.F) {
	for _, s := range []string{"orchard", string(own), "0000000000000000", "a--b", "\u212aab"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := account.ParseAlias(s, own)
		if err != nil {
			return
		}
		if again, err := account.ParseAlias(a, own); err != nil || again != a || len(a) < account.AliasMin || len(a) > account.AliasMax {
			t.Fatalf("%q, and again %q (%v)", a, again, err)
		}
		if len(a) == account.IDDigits && strings.Trim(a, "0123456789") == "" && a != string(own) {
			t.Fatalf("%q looks like the ID of another account", a)
		}
		if n := account.ParseSignInName("alice@"+a, "", suffix); n.Alias != a || n.Domain != "" {
			t.Fatalf("%q at the door: %+v", a, n)
		}
	})
}
