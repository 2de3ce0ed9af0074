package dialplan

import (
	_ "embed"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// table is made from the metadata of libphonenumber by the package's test
// (go test ./internal/domain/dialplan -update), which compares the two.
//
//go:embed plans.txt
var table string

// A plan is how a country numbers its telephones.
type plan struct {
	region   string // ISO 3166-1 alpha-2; world for networks of no country
	dial     int
	abroad   string // expression of what is dialled before a country code
	trunk    string // expression of what is dialled before a national number
	replaced string // what the trunk prefix becomes; empty: nothing
	leading  string // expression of how its numbers begin, where that tells countries of one code apart
	example  string // a mobile number, as people there write it
	same     bool   // fixed and mobile numbers cannot be told apart

	general, fixed, mobile ranges
	other                  []ranges
	formats                []format
}

// ranges are numbers of a kind.
type ranges struct {
	pattern       string
	lengths       []int // of a whole number; none: as the general ones
	lengthsWithin []int // of a number dialled within its area
}

// A format is how numbers are written for people abroad.
type format struct{ pattern, layout, leading string }

const world = "001"

type worldPlans struct {
	regions map[int][]string // of a country code, the main one first
	byRow   []*plan
	region  map[string]*plan
	network map[int]*plan // of codes of no country
}

// plans reads the table when first asked for: most processes never are.
var plans = sync.OnceValue(func() *worldPlans {
	w := &worldPlans{map[int][]string{}, nil, map[string]*plan{}, map[int]*plan{}}
	var p *plan
	for line := range strings.Lines(table) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch kind := f[0]; kind {
		case "code":
			w.regions[number(f[1])] = strings.Fields(f[2])
		case "plan":
			p = &plan{region: f[1], dial: number(f[2]), abroad: f[3], trunk: f[4], replaced: f[5], leading: f[6], example: f[7], same: f[8] == "same"}
			w.byRow = append(w.byRow, p)
			if p.region == world {
				w.network[p.dial] = p
			} else {
				w.region[p.region] = p
			}
		case "format":
			p.formats = append(p.formats, format{f[1], f[2], f[3]})
		default:
			r := ranges{f[1], numbers(f[2]), numbers(f[3])}
			switch kind {
			case "general":
				p.general = r
			case "fixed":
				p.fixed = r
			case "mobile":
				p.mobile = r
			case "other":
				p.other = append(p.other, r)
			}
		}
	}
	return w
})

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("dialplan: " + err.Error()) // embedded: a broken build
	}
	return n
}

func numbers(s string) (list []int) {
	for f := range strings.SplitSeq(s, ",") {
		if f != "" {
			list = append(list, number(f))
		}
	}
	return list
}

// of is the plan of a region, or of a code of no country; nil: there is none.
func (w *worldPlans) of(region string, dial int) *plan {
	if region == world {
		return w.network[dial]
	}
	return w.region[region]
}

// main is the plan that tells how numbers of a country code are read and written.
func (w *worldPlans) main(dial int) *plan {
	if regions := w.regions[dial]; len(regions) > 0 {
		return w.of(regions[0], dial)
	}
	return nil
}

func (r ranges) has(national string) bool {
	return r.pattern != "" && (len(r.lengths) == 0 || slices.Contains(r.lengths, len(national))) && whole(r.pattern).MatchString(national)
}

// kind says what a national number is used for.
func (p *plan) kind(national string) Kind {
	if !p.general.has(national) {
		return None
	}
	for _, r := range p.other {
		if r.has(national) {
			return Other
		}
	}
	mobile := p.same || p.mobile.has(national)
	switch {
	case p.fixed.has(national):
		if mobile {
			return Mobile
		}
		return Other
	case mobile && !p.same:
		return Mobile
	}
	return None
}

// A length says how that of a national number compares with those there are.
type length int

const (
	possible length = iota
	within
	short
	between
	long
)

func (p *plan) length(national string) length {
	n, all := len(national), p.general.lengths
	switch {
	case slices.Contains(p.general.lengthsWithin, n):
		return within
	case n < all[0]:
		return short
	case n > all[len(all)-1]:
		return long
	case slices.Contains(all, n):
		return possible
	}
	return between
}

// expressions are the compiled ones: those of the countries that people here
// have numbers of.
var expressions sync.Map

func expression(s string) *regexp.Regexp {
	if re, ok := expressions.Load(s); ok {
		return re.(*regexp.Regexp)
	}
	re := regexp.MustCompile(s) // of the table: a test compiles every one
	expressions.Store(s, re)
	return re
}

func whole(pattern string) *regexp.Regexp { return expression("^(?:" + pattern + ")$") }
func front(pattern string) *regexp.Regexp { return expression("^(?:" + pattern + ")") }
