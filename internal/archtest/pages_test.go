package archtest_test

import (
	"flag"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"

	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

var update = flag.Bool("update", false, "write the generated parts of docs anew")

// keep compares the part of a page between its marks with want, or writes it.
func keep(t *testing.T, page, want string) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), "<!-- begin generated -->\n")
	got, after, ok2 := strings.Cut(rest, "<!-- end generated -->\n")
	if !ok || !ok2 {
		t.Fatalf("%s has no generated part", page)
	}
	if got == want {
		return
	}
	if !*update {
		t.Errorf("%s is not up to date; `make golden` writes it. Want:\n%s", page, want)
		return
	}
	source := before + "<!-- begin generated -->\n" + want + "<!-- end generated -->\n" + after
	if err := os.WriteFile(page, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPackageTableIsTrue(t *testing.T) {
	packages, err := load(root())
	if err != nil {
		t.Fatal(err)
	}
	const page = "../../docs/architecture.md"
	var b strings.Builder
	b.WriteString("| package | what it is |\n|---|---|\n")
	for _, p := range packages {
		if p.testsAlone() {
			continue
		}
		words := strings.TrimPrefix(strings.TrimPrefix(p.comment, "Package "), "Command ")
		words = strings.TrimPrefix(words, p.name+" ")
		words = strings.TrimPrefix(words, path.Base(p.path)+" ")
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.TrimPrefix(p.path, "internal/"), strings.ReplaceAll(words, "|", "\\|"))
	}
	keep(t, page, b.String())
}

// Sentences are kept in the page; the set of routes is the router's.
func TestEveryRouteIsListed(t *testing.T) {
	const page = "../../docs/routes.md"
	source, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	sentences := map[string]string{}
	for line := range strings.Lines(string(source)) {
		cells := strings.SplitN(strings.Trim(strings.TrimSpace(line), "|"), "|", 3)
		if len(cells) != 3 || !strings.Contains(cells[1], "`/") {
			continue
		}
		pattern := strings.TrimSpace(cells[0]) + " " + strings.Trim(strings.TrimSpace(cells[1]), "`")
		if _, twice := sentences[pattern]; twice {
			t.Errorf("%s lists %s twice", page, pattern)
		}
		sentences[pattern] = strings.TrimSpace(cells[2])
	}
	site := testkit.NewSite(t, storetest.SQLite, nil)
	var b strings.Builder
	b.WriteString("| method | path | what it does |\n|---|---|---|\n")
	listed := map[string]bool{}
	for _, pattern := range site.Routes.Routes() {
		if listed[pattern] {
			t.Errorf("%s is routed twice", pattern)
		}
		listed[pattern] = true
		method, where, _ := strings.Cut(pattern, " ")
		if method == "" || !strings.HasPrefix(where, "/") {
			t.Errorf("%q is not METHOD /path", pattern)
		}
		if sentences[pattern] == "" {
			t.Errorf("%s says nothing of %s", page, pattern)
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", method, where, sentences[pattern])
	}
	keep(t, page, b.String())
}
