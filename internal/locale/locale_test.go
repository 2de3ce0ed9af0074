package locale_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"countersign/internal/fault"
	"countersign/internal/locale"
)

// sentences are those of a language: every form of each, one after the other.
func sentences(t *testing.T, tag string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("messages", tag+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatalf("%s: %v", tag, err)
	}
	all := map[string]string{}
	for key, v := range raw {
		switch v := v.(type) {
		case string:
			all[key] = v
		case map[string]any:
			for name, form := range v {
				if name != "one" && name != "other" {
					t.Errorf("%s: %s has a form %s, which nobody asks for", tag, key, name)
				}
				all[key] += " " + form.(string)
			}
			if v["other"] == nil {
				t.Errorf("%s: %s has no other form", tag, key)
			}
		}
		if strings.TrimSpace(all[key]) == "" {
			t.Errorf("%s: %s says nothing", tag, key)
		}
	}
	return all
}

var placeholder = regexp.MustCompile(`\{\{[^}]*\}\}`)

func TestEveryLanguageSaysTheSame(t *testing.T) {
	t.Parallel()
	english := sentences(t, locale.All[0].Tag)
	if len(english) < 200 {
		t.Fatalf("only %d sentences", len(english))
	}
	holes := func(s string) []string {
		found := placeholder.FindAllString(s, -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	for _, l := range locale.All[1:] {
		other := sentences(t, l.Tag)
		for key := range english {
			if _, ok := other[key]; !ok {
				t.Errorf("%s lacks %s", l.Tag, key)
			}
		}
		foreign := 0
		for key, s := range other {
			if _, ok := english[key]; !ok {
				t.Errorf("English lacks %s", key)
				continue
			}
			for _, hole := range holes(s) {
				if !regexp.MustCompile(`^\{\{\.[A-Z][A-Za-z]*\}\}$`).MatchString(hole) {
					t.Errorf("%s: %s has %s, which is no {{.Name}}", l.Tag, key, hole)
				}
			}
			if a, b := holes(english[key]), holes(s); !slices.Equal(a, b) {
				t.Errorf("%s: English mentions %v, %s %v", key, a, l.Tag, b)
			}
			if strings.ContainsFunc(s, func(r rune) bool { return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) }) {
				foreign++
			}
		}
		if foreign < len(other)*8/10 {
			t.Errorf("%s: %d of %d sentences are in the language", l.Tag, foreign, len(other))
		}
	}
}

var (
	inTemplates = regexp.MustCompile(`[{( ]t (?:\$?\.b|\$|\.) "([^"]+)"`)
	built       = regexp.MustCompile(`\(print "([^"]+)"`)
	inGo        = regexp.MustCompile(`\.T\("([^"]+)"( \+)?`)
	faults      = regexp.MustCompile(`fault\.New\([a-zA-Z.]+, "([^"]+)"\)`)
	actions     = regexp.MustCompile(`policy\.Action\{[^}]*Name: "([^"]+)"`)
	done        = regexp.MustCompile(`\.Done\(.*, "([a-z_]+)"\)`)
	flash       = regexp.MustCompile(`"(done\.[a-z_]+)"`)
	events      = regexp.MustCompile(`(?m)^\t[A-Z]\w+\s+Name = "(\w+)"`)
	kinds       = regexp.MustCompile(`(?m)^\t[A-Z]\w+\s+Kind = "(\w+)"`)
)

func TestEverySentenceThatIsAskedForExists(t *testing.T) {
	t.Parallel()
	keys := map[string]string{} // to where it is asked for
	prefixes := map[string]string{}
	inPages := 0
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == "artefacts") {
			return errors(err, d)
		}
		switch {
		case strings.HasSuffix(path, "_test.go"):
		case strings.HasSuffix(path, ".html"), strings.HasSuffix(path, ".go"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text := string(b)
			for _, m := range inTemplates.FindAllStringSubmatch(text, -1) {
				keys[m[1]] = path
				inPages++
			}
			for _, m := range built.FindAllStringSubmatch(text, -1) {
				prefixes[m[1]] = path
			}
			for _, m := range inGo.FindAllStringSubmatch(text, -1) {
				if m[2] != "" || strings.HasSuffix(m[1], ".") {
					prefixes[m[1]] = path
				} else {
					keys[m[1]] = path
				}
			}
			for _, m := range faults.FindAllStringSubmatch(text, -1) {
				keys["fault."+m[1]] = path
			}
			for _, m := range actions.FindAllStringSubmatch(text, -1) {
				keys["purpose."+m[1]] = path
			}
			for _, m := range done.FindAllStringSubmatch(text, -1) {
				keys["done."+m[1]] = path
			}
			for _, m := range flash.FindAllStringSubmatch(text, -1) {
				keys[m[1]] = path
			}
			if strings.HasSuffix(path, "message/notice.go") {
				for _, m := range kinds.FindAllStringSubmatch(text, -1) {
					keys["mail."+m[1]+".subject"], keys["mail."+m[1]+".text"] = path, path
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"signin", "confirm_email", "create_account"} {
		keys["purpose."+scope] = "internal/flow"
	}
	for _, status := range []string{"400", "401", "403", "404", "405", "409", "410", "415", "422", "429", "500", "503"} {
		keys["failure."+status] = "internal/front/web/page"
	}
	for _, m := range []string{"email", "virtual_mfa", "recovery_code"} {
		keys["method."+m], keys["method."+m+".help"] = "internal/domain/factor", "internal/domain/factor"
	}
	if len(keys) < 1000 || inPages < 1000 {
		t.Errorf("only %d keys seen, %d in templates", len(keys), inPages)
	}
	for _, l := range locale.All {
		have := sentences(t, l.Tag)
		for key, path := range keys {
			if _, ok := have[key]; !ok {
				t.Errorf("%s: no sentence for %s (%s)", l.Tag, key, path)
			}
		}
		for prefix, path := range prefixes {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(have)), func(k string) bool { return strings.HasPrefix(k, prefix) }) {
				t.Errorf("%s: no sentence begins with %s (%s)", l.Tag, prefix, path)
			}
		}
	}
}

func errors(err error, d fs.DirEntry) error {
	if err == nil && d.IsDir() {
		return filepath.SkipDir
	}
	return err
}

func TestEveryEventHasASentence(t *testing.T) {
	t.Parallel()
	names, err := os.ReadFile("../domain/audit/audit.go")
	if err != nil {
		t.Fatal(err)
	}
	all := events.FindAllStringSubmatch(string(names), -1)
	if len(all) < 60 {
		t.Errorf("only %d events seen", len(all))
	}
	for _, m := range all {
		for _, l := range locale.All {
			if !l.Has("event." + m[1]) {
				t.Errorf("%s: no sentence for the event %s", l.Tag, m[1])
			}
		}
	}
}

func TestTheBestLanguageIsChosen(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]string{
		"": "en", "de": "en", "ja": "ja", "ja-JP;q=0.9, en;q=0.8": "ja", "zh": "zh-CN", "zh-Hans-SG": "zh-CN", "fr, zh-CN;q=0.5": "zh-CN", "en;q=0.1, ja;q=0.2": "ja",
		"*": "en", "\xff": "en", ";;;": "en", strings.Repeat("x-", 5000): "en",
	} {
		if got := locale.Match(asked).Tag; got != want {
			t.Errorf("%.40q: %s, want %s", asked, got, want)
		}
	}
	if got := locale.Match("en", "xx", "ja").Tag; got != "ja" {
		t.Errorf("chosen ja: %s", got)
	}
}

func TestACountChoosesTheForm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tag   string
		count any
		want  string
	}{
		{"en", 0, "0 minutes ago"}, {"en", 1, "1 minute ago"}, {"en", int64(1), "1 minute ago"}, {"en", 2, "2 minutes ago"}, {"en", 21, "21 minutes ago"}, {"en", "1", "1 minute ago"}, {"en", "several", "several minutes ago"},
		{"zh-CN", 1, "1分钟前"}, {"ja", 1, "1分前"}, {"ja", 2, "2分前"},
	} {
		if got := strings.ReplaceAll(locale.Get(c.tag).T("ago.minutes", "Count", c.count), " ", ""); got != strings.ReplaceAll(c.want, " ", "") {
			t.Errorf("%s, %v: %q, want %q", c.tag, c.count, got, c.want)
		}
	}
	if got := locale.All[2].T("there is none"); got != "[there is none]" || locale.All[2].Has("there is none") {
		t.Errorf("no sentence is %q", got)
	}
	if got, want := locale.All[0].T("mail.contact", "Contact", "{{.Service}} <x>"), "{{.Service}} <x>"; !strings.Contains(got, want) {
		t.Errorf("%q: a value is not read again", got)
	}
}

func TestARefusalSaysHowLongToWait(t *testing.T) {
	t.Parallel()
	f := fault.New(fault.Throttled, "code.too_many").After(61e9)
	for _, l := range locale.All {
		if s := l.Fault(f); !strings.Contains(s, "2") || strings.Contains(s, "{{") || strings.Contains(s, "<no value>") {
			t.Errorf("%s: %q", l.Tag, s)
		}
	}
}
