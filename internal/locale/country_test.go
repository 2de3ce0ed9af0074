package locale_test

import (
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"countersign/internal/locale"
)

var update = flag.Bool("update", false, "write countries.txt anew, from the library")

// renamed are countries that have another name than in the library's tables.
var renamed = map[string]map[string]string{
	"SZ": {"en": "Eswatini", "zh-CN": "斯威士兰", "ja": "エスワティニ"},
	"MK": {"en": "North Macedonia", "zh-CN": "北马其顿", "ja": "北マケドニア"},
}

// nameInLibrary is what the library calls a country; empty: it knows none.
func nameInLibrary(tag, code string) string {
	if name := renamed[code][tag]; name != "" {
		return name
	}
	region, err := language.ParseRegion(code)
	if err != nil {
		return ""
	}
	return display.Regions(language.MustParse(tag)).Name(region)
}

func TestCountriesAreNamedAndOrderedAsTheLibraryDoes(t *testing.T) {
	t.Parallel()
	var codes []string
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			code := string(a) + string(b)
			if nameInLibrary("en", code) != "" {
				codes = append(codes, code)
			} else if got := locale.All[0].Country(code); got != code {
				t.Errorf("%s is called %s", code, got)
			}
		}
	}
	if len(codes) < 250 {
		t.Fatalf("only %d countries", len(codes))
	}
	rows := map[string][]string{}
	for _, l := range locale.All {
		c := collate.New(language.MustParse(l.Tag))
		compare := func(x, y string) int { return c.CompareString(nameInLibrary(l.Tag, x), nameInLibrary(l.Tag, y)) }
		if l.Tag == "ja" { // the readings of kanji are in no table; kana are in order as they are
			compare = func(x, y string) int { return strings.Compare(nameInLibrary(l.Tag, x), nameInLibrary(l.Tag, y)) }
		}
		ordered := slices.Clone(codes)
		slices.SortStableFunc(ordered, compare)
		for i, code := range ordered {
			rows[code] = append(rows[code], nameInLibrary(l.Tag, code), strconv.Itoa(i))
		}
		if *update {
			continue
		}
		ours := slices.Clone(codes)
		slices.SortFunc(ours, l.CompareCountries)
		for i, code := range ours {
			if name := nameInLibrary(l.Tag, code); l.Country(code) != name {
				t.Errorf("%s: %s is called %q, by the library %q", l.Tag, code, l.Country(code), name)
			}
			if i > 0 && compare(ours[i-1], code) > 0 {
				t.Errorf("%s: %s comes before %s", l.Tag, l.Country(ours[i-1]), l.Country(code))
			}
		}
	}
	if !*update {
		return
	}
	var b strings.Builder
	for _, code := range codes {
		b.WriteString(code + "\t" + strings.Join(rows[code], "\t") + "\n")
	}
	if err := os.WriteFile("countries.txt", []byte(b.String()), 0o644); err != nil { //nolint:gosec // a source file
		t.Fatal(err)
	}
}
