// Package dialplan reads and writes the world's telephone numbers. It answers
// as libphonenumber does, from a table of what the product asks of it: the
// library itself decodes everything it knows whenever the process starts.
package dialplan

import (
	"errors"
	"strconv"
	"strings"
)

// A Kind is what a number is used for.
type Kind int

// The kinds that matter here.
const (
	None   Kind = iota // there is no such number
	Other              // fixed lines, premium rate, free of charge and the like
	Mobile             // or one that can be
)

// A Number is a telephone number.
type Number struct {
	Dial     int    // country code of E.164
	National string // the rest, without what is dialled only within the country
}

// Lengths of a national number in digits: the ITU says at most 15, Germany has
// longer ones.
const (
	nationalMin = 2
	nationalMax = 17
)

// Parse reads a number as typed in the country named (ISO 3166-1 alpha-2), of
// digits and punctuation. Whether there is such a number is Kind's to say.
func Parse(typed, country string) (n Number, ok bool) {
	start := strings.IndexFunc(typed, func(r rune) bool { return isPlus(r) || isDigit(r) })
	if start < 0 || !viable(typed[start:]) {
		return Number{}, false
	}
	typed = typed[start:]
	w := plans()
	p := w.region[country]
	if p == nil && !plus(typed) {
		return Number{}, false
	}
	dial, national, err := w.cutDial(typed, p)
	if errors.Is(err, errNoSuchCode) && plus(typed) { // perhaps it was none
		dial, national, err = w.cutDial(strings.TrimLeftFunc(typed, isPlus), p)
		if err == nil && dial == 0 {
			err = errNoSuchCode
		}
	}
	if err != nil {
		return Number{}, false
	}
	if dial != 0 {
		if regions := w.regions[dial]; regions[0] != country {
			p = w.of(regions[0], dial)
		}
	} else {
		national = digits(typed)
		if p != nil {
			dial = p.dial
		}
	}
	if len(national) < nationalMin {
		return Number{}, false
	}
	if p != nil {
		switch rest := p.cutTrunk(national); p.length(rest) {
		case short, within, between: // it could be a short number as it was
		default:
			national = rest
		}
	}
	if len(national) < nationalMin || len(national) > nationalMax {
		return Number{}, false
	}
	return Number{dial, national}, true
}

// Region is the country (ISO 3166-1 alpha-2) that the number belongs to, 001
// for networks of none, or empty.
func (n Number) Region() string {
	w := plans()
	regions := w.regions[n.Dial]
	if len(regions) == 1 {
		return regions[0]
	}
	for _, region := range regions {
		p := w.region[region]
		if p.leading != "" {
			if front(p.leading).MatchString(n.National) {
				return region
			}
		} else if p.kind(n.National) != None {
			return region
		}
	}
	return ""
}

// Kind is what the number is used for.
func (n Number) Kind() Kind {
	p := plans().of(n.Region(), n.Dial)
	if p == nil || p.dial != n.Dial {
		return None
	}
	return p.kind(n.National)
}

// E164 writes the number for machines: +8613800138000.
func (n Number) E164() string { return "+" + strconv.Itoa(n.Dial) + n.National }

// International writes the number for people: +86 138 0013 8000.
func (n Number) International() string {
	p := plans().main(n.Dial)
	if p == nil {
		return n.National
	}
	written := n.National
	for _, f := range p.formats {
		if whole(f.pattern).MatchString(n.National) && (f.leading == "" || front(f.leading).MatchString(n.National)) {
			written = expression(f.pattern).ReplaceAllString(n.National, f.layout)
			break
		}
	}
	return "+" + strconv.Itoa(n.Dial) + " " + written
}

// A Country is a country that has mobile telephones.
type Country struct {
	Region  string // ISO 3166-1 alpha-2
	Dial    int    // country code of E.164
	Example string // a mobile number, as people there write it
}

// Countries are the countries with mobile numbers, by region.
func Countries() (list []Country) {
	for _, p := range plans().byRow {
		if p.example != "" {
			list = append(list, Country{p.region, p.dial, p.example})
		}
	}
	return list
}

func isPlus(r rune) bool { return r == '+' || r == '＋' }

// plus reports whether a number begins with a country code.
func plus(typed string) bool { return strings.HasPrefix(typed, "+") || strings.HasPrefix(typed, "＋") }

func isDigit(r rune) bool { return r >= '0' && r <= '9' || r >= '０' && r <= '９' }

// isPunctuation reports whether people write r between digits.
func isPunctuation(r rune) bool {
	return strings.ContainsRune("()（）-－./ \u00a0\u2010\u2011\u2012\u2013\u2015\u2212\u3000\u30fc", r)
}

// viable reports whether s may be a number: two digits, or three and more with
// punctuation, and plus signs before them alone.
func viable(s string) bool {
	count := 0
	for _, r := range strings.TrimLeftFunc(s, isPlus) {
		switch {
		case isDigit(r):
			count++
		case !isPunctuation(r):
			return false
		}
	}
	return count >= 3 || count == 2 && strings.TrimFunc(s, isDigit) == ""
}

// digits are those of s, as ASCII has them.
func digits(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9':
			return r
		case r >= '０' && r <= '９':
			return r - '０' + '0'
		}
		return -1
	}, s)
}

var (
	errNoSuchCode = errors.New("dialplan: no such country code")
	errTooShort   = errors.New("dialplan: too short for a country code")
)

// cutDial takes the country code off a number as typed where p is the plan.
// Zero: it has none.
func (w *worldPlans) cutDial(typed string, p *plan) (dial int, national string, err error) {
	all := digits(typed)
	rest, abroad := all, plus(typed)
	if !abroad && p != nil {
		rest, abroad = p.cutAbroad(all)
	}
	if abroad {
		if len(rest) <= nationalMin {
			return 0, "", errTooShort
		}
		if rest[0] != '0' {
			for i := 1; i <= min(3, len(rest)); i++ {
				if dial := number(rest[:i]); w.regions[dial] != nil {
					return dial, rest[i:], nil
				}
			}
		}
		return 0, "", errNoSuchCode
	}
	if p == nil {
		return 0, "", nil
	}
	// A country code without a plus, where the number is none with it.
	if within, ok := strings.CutPrefix(all, strconv.Itoa(p.dial)); ok {
		within = p.cutTrunk(within)
		right := whole(p.general.pattern)
		if !right.MatchString(all) && right.MatchString(within) || p.length(all) == long {
			return p.dial, within, nil
		}
	}
	return 0, "", nil
}

// cutAbroad takes off what is dialled before a country code. Those do not
// begin with zero.
func (p *plan) cutAbroad(all string) (rest string, ok bool) {
	at := front(p.abroad).FindStringIndex(all)
	if at == nil || strings.HasPrefix(all[at[1]:], "0") {
		return all, false
	}
	return all[at[1]:], true
}

// cutTrunk takes off what is dialled within the country alone, unless the
// number was one and is none without it.
func (p *plan) cutTrunk(national string) string {
	if national == "" || p.trunk == "" {
		return national
	}
	re := front(p.trunk)
	groups := re.FindStringSubmatchIndex(national)
	if groups == nil {
		return national
	}
	rest := national[groups[1]:]
	if last := len(groups) - 2; p.replaced != "" && groups[last] >= 0 {
		rest = re.ReplaceAllString(national, p.replaced)
	}
	right := whole(p.general.pattern)
	if right.MatchString(national) && !right.MatchString(rest) {
		return national
	}
	return rest
}
