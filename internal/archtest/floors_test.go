package archtest_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// root is the repository.
func root() fs.FS { return os.DirFS("../..") }

func TestTheHouseStands(t *testing.T) {
	t.Parallel()
	packages, err := load(root())
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 20 {
		t.Fatalf("only %d packages found", len(packages))
	}
	for _, complaint := range complaints(packages) {
		t.Error(complaint)
	}
}

// Every rule is broken once, in a house of one or two files.
func TestEveryRuleIsSeen(t *testing.T) {
	t.Parallel()
	importing := func(name string, imports ...string) string {
		return "// Package " + name + " is planted.\npackage " + name + "\nimport (\n_ \"" + strings.Join(imports, "\"\n_ \"") + "\"\n)\n"
	}
	for _, c := range []struct {
		path, source, want string // want: empty for what is allowed
	}{
		{"internal/domain/account/a.go", importing("account", "countersign/internal/store"), "internal/domain/account/a.go: imports internal/store: imports go down"},
		{"internal/store/a.go", importing("store", "countersign/internal/prove"), "internal/store/a.go: imports internal/prove: imports go down"},
		{"internal/prove/a.go", importing("prove", "countersign/internal/flow/signin"), "internal/prove/a.go: imports internal/flow/signin: imports go down"},
		{"internal/flow/signin/a.go", importing("signin", "countersign/internal/front/request"), "internal/flow/signin/a.go: imports internal/front/request: imports go down"},
		{"internal/front/api/a.go", importing("api", "countersign/internal/server"), "internal/front/api/a.go: imports internal/server: imports go down"},
		{"internal/fault/a.go", importing("fault", "countersign/internal/domain/account"), "internal/fault/a.go: imports internal/domain/account: imports go down"},
		{"internal/fault/a.go", importing("fault", "countersign/internal/locale"), "internal/fault/a.go: imports internal/locale: neighbours on a floor do not import each other"},
		{"internal/flow/signin/a.go", importing("signin", "countersign/internal/flow/verify"), "internal/flow/signin/a.go: imports internal/flow/verify: neighbours on a floor do not import each other"},
		{"internal/delivery/a.go", importing("delivery", "countersign/internal/flow/verify"), "internal/delivery/a.go: imports internal/flow/verify: neighbours on a floor do not import each other"},
		{"internal/delivery/a.go", importing("delivery", "countersign/internal/prove"), "internal/delivery/a.go: imports internal/prove: delivery proves nothing"},
		{"internal/front/api/a.go", importing("api", "countersign/internal/front/web/security"), "internal/front/api/a.go: imports internal/front/web/security: neighbours on a floor do not import each other"},
		{"internal/front/request/a.go", importing("request", "countersign/internal/front/web/page"), "internal/front/request/a.go: imports internal/front/web/page: neighbours on a floor do not import each other"},
		{"internal/front/web/page/a.go", importing("page", "countersign/internal/front/api"), "internal/front/web/page/a.go: imports internal/front/api: imports go down"},
		{"internal/front/api/a.go", importing("api", "countersign/internal/config"), "internal/front/api/a.go: imports internal/config: the server alone reads the settings"},
		{"internal/server/a.go", importing("server", "countersign/internal/testkit"), "internal/server/a.go: imports internal/testkit: it is for tests"},
		{"internal/store/a.go", importing("store", "countersign/internal/store/storetest"), "internal/store/a.go: imports internal/store/storetest: it is for tests"},
		{"internal/domain/account/a.go", importing("account", "net/http"), "internal/domain/account/a.go: imports net/http: the domain knows no transport"},
		{"internal/domain/account/a.go", importing("account", "database/sql"), "internal/domain/account/a.go: imports database/sql: the store alone speaks SQL"},
		{"internal/domain/account/a.go", importing("account", "os"), "internal/domain/account/a.go: imports os: the domain touches nothing outside"},
		{"internal/domain/account/a.go", importing("account", "context"), "internal/domain/account/a.go: imports context: the domain waits for nothing"},
		{"internal/domain/account/a.go", importing("account", "crypto/rand"), "internal/domain/account/a.go: imports crypto/rand: the domain is given an io.Reader"},
		{"internal/flow/signin/a.go", importing("signin", "database/sql/driver"), "internal/flow/signin/a.go: imports database/sql/driver: the store alone speaks SQL"},
		{"internal/flow/signin/a.go", importing("signin", "net/http"), "internal/flow/signin/a.go: imports net/http: HTTP is the fronts'"},
		{"internal/store/a.go", "// Package store is planted.\npackage store\nimport \"time\"\nvar now = time.Now\n", "internal/store/a.go:4: time.Now: the server alone has a clock, and bench a watch"},
		{"internal/domain/account/a.go", "package account\n", "internal/domain/account: no package comment"},
		{"internal/flow/util/a.go", "// Package util is planted.\npackage util\n", "internal/flow/util: a name that says nothing"},
		{"internal/store/helpers.go", "// Package store is planted.\npackage store\n", "internal/store/helpers.go: a name that says nothing"},
		{"internal/store/types_test.go", "// Package store is planted.\npackage store\n", "internal/store/types_test.go: a name that says nothing"},
		{"internal/attic/a.go", "// Package attic is planted.\npackage attic\n", "internal/attic: on no floor"},
		{"internal/store/a.go", "// Package store is planted.\npackage store\n" + strings.Repeat("\n", 499), "internal/store/a.go: 501 lines, at most 500"},

		{"internal/server/a.go", importing("server", "countersign/internal/config", "countersign/internal/front/api", "countersign/internal/store"), ""},
		{"internal/front/api/a.go", importing("api", "countersign/internal/front/request", "countersign/internal/flow/signin", "net/http"), ""},
		{"internal/front/web/signin/a.go", importing("signin", "countersign/internal/front/web/page"), ""},
		{"internal/front/web/page/a.go", importing("page", "countersign/internal/front/request"), ""},
		{"internal/domain/policy/a.go", importing("policy", "countersign/internal/domain/factor", "countersign/internal/fault"), ""},
		{"internal/testkit/a.go", importing("testkit", "countersign/internal/server", "countersign/internal/store/storetest"), ""},
		{"internal/front/a_test.go", "package front_test\n", ""},
		{"internal/store/a_test.go", importing("store", "countersign/internal/testkit", "countersign/internal/store/storetest"), ""},
	} {
		packages, err := load(fstest.MapFS{c.path: {Data: []byte(c.source)}})
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(complaints(packages), "\n")
		if got != c.want {
			t.Errorf("%s\ngot  %q\nwant %q", c.source, got, c.want)
		}
	}
}

func TestLargePackageIsSeen(t *testing.T) {
	t.Parallel()
	house := fstest.MapFS{}
	for _, name := range strings.Split("a b c d e f g h i", " ") {
		house["internal/store/"+name+".go"] = &fstest.MapFile{Data: []byte("// Package store is planted.\npackage store\n" + strings.Repeat("\n", 450))}
	}
	packages, err := load(house)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(complaints(packages), "\n"), "internal/store: 4068 lines, at most 4000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
