package archtest_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
)

const module = "countersign/"

// A pkg is one directory of Go files.
type pkg struct {
	path    string // from the root of the repository
	name    string
	comment string
	files   []file
}

type file struct {
	path    string
	test    bool
	lines   int
	imports []string
	clock   []int // lines that read the machine's clock
}

// load reads every Go file below the root.
func load(root fs.FS) ([]pkg, error) {
	found := map[string]*pkg{}
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); p != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(p) != ".go" {
			return nil
		}
		source, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(p)
		if found[dir] == nil {
			found[dir] = &pkg{path: dir}
		}
		found[dir].add(p, source, parsed)
		return nil
	})
	list := make([]pkg, 0, len(found))
	for _, p := range found {
		list = append(list, *p)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].path < list[j].path })
	return list, err
}

func (p *pkg) add(name string, source []byte, parsed *ast.File) {
	f := file{path: name, test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(source, []byte("\n"))}
	for _, spec := range parsed.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value) // it has been parsed
		f.imports = append(f.imports, imported)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Now" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				f.clock = append(f.clock, bytes.Count(source[:s.Pos()-parsed.FileStart], []byte("\n"))+1)
			}
		}
		return true
	})
	if !f.test || p.name == "" {
		p.name = strings.TrimSuffix(parsed.Name.Name, "_test")
	}
	if parsed.Doc != nil {
		p.comment = strings.Join(strings.Fields(parsed.Doc.Text()), " ")
	}
	p.files = append(p.files, f)
}

// testsAlone reports whether there is nothing but tests in a directory.
func (p *pkg) testsAlone() bool {
	return !slices.ContainsFunc(p.files, func(f file) bool { return !f.test })
}

// The floors, by the beginning of a path. Imports go down.
var floors = []struct {
	prefix string
	floor  int
}{
	{"cmd/", 9},
	{"internal/bench", 8},
	{"internal/server", 7},
	{"internal/front/web/page", 5},
	{"internal/front/request", 5},
	{"internal/front/", 6},
	{"internal/telemetry", 6},
	{"internal/flow/", 4},
	{"internal/delivery", 4},
	{"internal/prove", 3},
	{"internal/store/engine", 1},
	{"internal/store", 2},
	{"internal/config", 2}, // it reads settings into words of the domain
	{"internal/domain/", 1},
	{"internal/trace", 0},
	{"internal/fault", 0},
	{"internal/secret", 0},
	{"internal/locale", 0},
}

// beside stand beside the house: tests alone import them.
var beside = []string{"internal/testkit", "internal/store/storetest", "internal/telemetry/oteltest", "internal/browsertest", "internal/archtest"}

// withinFloor are the imports allowed between packages of one floor.
var withinFloor = []struct{ from, to string }{
	{"internal/domain/", "internal/domain/"},
	{"internal/front/web/page", "internal/front/request"},
	{"internal/delivery", "internal/delivery/smpp"},
	{"internal/store/transfer", "internal/store"},
	{"internal/store", "internal/store/expiry"}, {"internal/store", "internal/store/rewind"}, {"internal/store", "internal/store/belief"},
	{"internal/fault", ""}, {"internal/secret", "internal/fault"}, {"internal/secret", "internal/trace"}, {"internal/trace", "internal/fault"}, {"internal/locale", "internal/fault"},
}

// never lists what a floor may not import although it lies below, or is not ours.
var never = []struct{ from, to, why string }{
	{"internal/domain/", "net/http", "the domain knows no transport"},
	{"internal/domain/", "os", "the domain touches nothing outside"},
	{"internal/domain/", "context", "the domain waits for nothing"},
	{"internal/domain/", "crypto/rand", "the domain is given an io.Reader"},
	{"internal/delivery", "internal/prove", "delivery proves nothing"},
	{"internal/prove", "net/http", "HTTP is the fronts'"},
	{"internal/flow/", "net/http", "HTTP is the fronts'"},
	{"internal/store", "net/http", "HTTP is the fronts'"},
	{"internal/store", "internal/config", "the server alone reads the settings"},
	{"internal/prove", "internal/config", "the server alone reads the settings"},
	{"internal/flow/", "internal/config", "the server alone reads the settings"},
	{"internal/delivery", "internal/config", "the server alone reads the settings"},
	{"internal/front/", "internal/config", "the server alone reads the settings"},
	{"internal/front/", "internal/delivery", "fronts ask flows"},
}

var badNames = []string{"util", "utils", "common", "helper", "helpers", "model", "models", "type", "types", "misc"}

const (
	fileMost    = 500
	packageMost = 4000
)

// under reports whether p is the package prefix, or below it.
func under(p, prefix string) bool {
	if prefix == "" {
		return false
	}
	return p == prefix || strings.HasPrefix(p, strings.TrimSuffix(prefix, "/")+"/")
}

func isBeside(p string) bool {
	for _, b := range beside {
		if under(p, b) {
			return true
		}
	}
	return false
}

func floorOf(p string) (int, bool) {
	for _, f := range floors {
		if under(p, f.prefix) {
			return f.floor, true
		}
	}
	return 0, false
}

// complaints says which rule is broken where.
func complaints(packages []pkg) (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, p := range packages {
		if !p.testsAlone() && !strings.HasPrefix(p.comment, "Package "+p.name+" ") && !strings.HasPrefix(p.comment, "Command ") {
			say("%s: no package comment", p.path)
		}
		if bad(p.path) || bad(p.name) {
			say("%s: a name that says nothing", p.path)
		}
		if _, ok := floorOf(p.path); !ok && !isBeside(p.path) && !p.testsAlone() {
			say("%s: on no floor", p.path)
		}
		lines := 0
		for _, f := range p.files {
			if f.lines > fileMost {
				say("%s: %d lines, at most %d", f.path, f.lines, fileMost)
			}
			if bad(f.path) {
				say("%s: a name that says nothing", f.path)
			}
			if f.test {
				continue
			}
			lines += f.lines
			list = append(list, imports(p.path, f)...)
			if !isBeside(p.path) && !under(p.path, "internal/server") && !under(p.path, "internal/bench") {
				for _, line := range f.clock {
					say("%s:%d: time.Now: the server alone has a clock, and bench a watch", f.path, line)
				}
			}
		}
		if lines > packageMost {
			say("%s: %d lines, at most %d", p.path, lines, packageMost)
		}
	}
	return list
}

func bad(p string) bool {
	base := strings.TrimSuffix(strings.TrimSuffix(path.Base(p), ".go"), "_test")
	for _, name := range badNames {
		if base == name {
			return true
		}
	}
	return false
}

// imports says what a file that is no test must not import.
func imports(from string, f file) (list []string) {
	for _, imported := range f.imports {
		to, ours := strings.CutPrefix(imported, module)
		if why := refused(from, to, ours); why != "" {
			list = append(list, fmt.Sprintf("%s: imports %s: %s", f.path, to, why))
		}
	}
	return list
}

func refused(from, to string, ours bool) string {
	if ours && isBeside(to) && !isBeside(from) {
		return "it is for tests"
	}
	if isBeside(from) {
		return ""
	}
	if (to == "database/sql" || under(to, "database/sql")) && !under(from, "internal/store") {
		return "the store alone speaks SQL"
	}
	for _, n := range never {
		if under(from, n.from) && to == n.to {
			return n.why
		}
	}
	if !ours {
		return ""
	}
	above, _ := floorOf(from)
	below, _ := floorOf(to)
	switch {
	case below > above:
		return "imports go down"
	case below < above || from == to:
		return ""
	}
	for _, w := range withinFloor {
		if under(from, w.from) && under(to, w.to) {
			return ""
		}
	}
	return "neighbours on a floor do not import each other"
}
