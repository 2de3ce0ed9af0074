package locale

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// countryTable has a line for each country, as the package's test takes it from
// golang.org/x/text (go test ./internal/locale -update): its code, and for each
// language its name and its place among the names. The library's own tables of
// names and of collation would be a tenth of the program.
//
//go:embed countries.txt
var countryTable string

// A countryName is the name of a country in one language.
type countryName struct {
	name  string
	place int // among the names in order
}

var countries = sync.OnceValue(func() map[string][]countryName {
	all := map[string][]countryName{}
	for line := range strings.Lines(countryTable) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for i := range All {
			place, err := strconv.Atoi(f[2+2*i])
			if err != nil {
				panic("locale: " + err.Error()) // embedded: a broken build
			}
			all[f[0]] = append(all[f[0]], countryName{f[1+2*i], place})
		}
	}
	return all
})

func (l *Locale) country(code string) (n countryName, ok bool) {
	names, ok := countries()[code]
	for i, other := range All {
		if ok && other == l {
			return names[i], true
		}
	}
	return countryName{name: code}, false
}

// Country is the name of a country (ISO 3166-1 alpha-2) in this language.
func (l *Locale) Country(code string) string {
	n, _ := l.country(code)
	return n.name
}

// CompareCountries orders countries, given by their codes, by their names as
// people who read this language expect.
func (l *Locale) CompareCountries(a, b string) int {
	x, _ := l.country(a)
	y, _ := l.country(b)
	if x.place != y.place {
		return x.place - y.place
	}
	return strings.Compare(a, b)
}
