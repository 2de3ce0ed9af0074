package guess

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/trustelem/zxcvbn/adjacency"
	"github.com/trustelem/zxcvbn/match"
	"github.com/trustelem/zxcvbn/scoring"
)

// shifted are the signs that take the shift key on a keyboard.
var shifted = map[string]string{"qwerty": `~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:"ZXCVBNM<>?`, "dvorak": `~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:"ZXCVBNM<>?`}

// walks are keys beside each other on a keyboard.
func walks(password string) (list []*match.Match) {
	for _, name := range []string{"qwerty", "dvorak", "keypad", "mac_keypad"} {
		keys := adjacency.Graphs[name].Graph
		for i := 0; i < len(password)-1; {
			direction, turns, shifts := -1, 0, strings.Count(shifted[name], password[i:i+1])
			j := i + 1
			for ; j < len(password); j++ {
				to, at := neighbour(keys[password[j-1:j]], password[j:j+1])
				if to < 0 {
					break
				}
				shifts += at
				if to != direction {
					turns, direction = turns+1, to
				}
			}
			if j-i > 2 {
				list = append(list, &match.Match{Pattern: "spatial", I: i, J: j - 1, Token: password[i:j], Graph: name, Turns: turns, ShiftedCount: shifts})
			}
			i = j
		}
	}
	return list
}

// neighbour is the direction in which a key lies; one where it is shifted.
func neighbour(around []string, key string) (direction, shift int) {
	for direction, keys := range around {
		if at := strings.Index(keys, key); at >= 0 {
			return direction, min(at, 1)
		}
	}
	return -1, 0
}

// repeats are the same characters again and again.
func repeats(password string) (list []*match.Match) {
	for i := 0; i < len(password); {
		short, long := 0, 0 // lengths of the shortest and of the longest that comes again at once
		for n := 1; n <= (len(password)-i)/2; n++ {
			if password[i:i+n] == password[i+n:i+2*n] {
				if short == 0 {
					short = n
				}
				long = n
			}
		}
		if short == 0 {
			i++
			continue
		}
		token := run(password[i:], short)
		base := token[:short]
		if other := run(password[i:], long); len(other) > len(token) {
			token, base = other, period(other)
		}
		of := scoring.MostGuessableMatchSequence(base, matches(base, nil), false)
		list = append(list, &match.Match{Pattern: "repeat", I: i, J: i + len(token) - 1, Token: token, BaseToken: base, BaseGuesses: of.Guesses, BaseMatches: of.Sequence, RepeatCount: len(token) / len(base)})
		i += len(token)
	}
	return list
}

// run is the first n characters of s, as often as they follow each other.
func run(s string, n int) string {
	end := n
	for strings.HasPrefix(s[end:], s[:n]) {
		end += n
	}
	return s[:end]
}

// period is the shortest that s is a repetition of.
func period(s string) string {
	for n := 1; n < len(s); n++ {
		if len(s)%n == 0 && run(s, n) == s {
			return s[:n]
		}
	}
	return s
}

// sequences are characters at the same distance from each other.
func sequences(password string) (list []*match.Match) {
	if len(password) < 2 {
		return nil
	}
	add := func(i, j, delta int) {
		size := max(delta, -delta)
		if (j-i > 1 || size == 1) && size > 0 && size <= 5 {
			list = append(list, &match.Match{Pattern: "sequence", I: i, J: j, Token: password[i : j+1], Ascending: delta > 0})
		}
	}
	i, last := 0, int(password[1])-int(password[0])
	for k := 2; k < len(password); k++ {
		if delta := int(password[k]) - int(password[k-1]); delta != last {
			add(i, k-1, last)
			i, last = k-1, delta
		}
	}
	add(i, len(password)-1, last)
	return list
}

var year = regexp.MustCompile(`19\d\d|200\d|201\d`)

// years are those that people were born in.
func years(password string) (list []*match.Match) {
	for _, at := range year.FindAllStringIndex(password, -1) {
		list = append(list, &match.Match{Pattern: "regex", RegexName: "recent_year", I: at[0], J: at[1] - 1, Token: password[at[0]:at[1]]})
	}
	return list
}

// splits are where a date without separators may be taken apart, by length.
var splits = map[int][][2]int{4: {{1, 2}, {2, 3}}, 5: {{1, 3}, {2, 3}}, 6: {{1, 2}, {2, 4}, {4, 5}}, 7: {{1, 3}, {2, 3}, {4, 5}, {4, 6}}, 8: {{2, 4}, {4, 6}}}

var separated = regexp.MustCompile(`^(\d{1,4})([\s/\\_.-])(\d{1,2})([\s/\\_.-])(\d{1,4})$`)

// dates are days of a year, in any order and with any separator.
func dates(password string) (list []*match.Match) {
	var all []*match.Match
	add := func(i, j, year int, separator string) {
		all = append(all, &match.Match{Pattern: "date", I: i, J: j, Token: password[i : j+1], Year: year, Separator: separator})
	}
	for i := range password {
		for j := i + 3; j <= i+7 && j < len(password); j++ {
			token := password[i : j+1]
			if strings.Trim(token, "0123456789") != "" {
				break
			}
			best, found := 0, false
			for _, s := range splits[len(token)] {
				y, ok := yearOf(token[:s[0]], token[s[0]:s[1]], token[s[1]:])
				if ok && (!found || distance(y) < distance(best)) {
					best, found = y, true
				}
			}
			if found {
				add(i, j, best, "")
			}
		}
	}
	for i := range password {
		for j := i + 5; j <= i+9 && j < len(password); j++ {
			f := separated.FindStringSubmatch(password[i : j+1])
			if f == nil || f[2] != f[4] {
				continue
			}
			if y, ok := yearOf(f[1], f[3], f[5]); ok {
				add(i, j, y, f[2])
			}
		}
	}
	for _, m := range all { // what is part of another one is noise
		part := false
		for _, o := range all {
			part = part || o != m && o.I <= m.I && o.J >= m.J
		}
		if !part {
			list = append(list, m)
		}
	}
	return list
}

func distance(year int) int { return max(year-scoring.ReferenceYear, scoring.ReferenceYear-year) }

// Years that people write with four digits.
const (
	yearMin = 1000
	yearMax = 2050
)

// yearOf is the year of a date whose parts are given as they are written.
func yearOf(first, second, third string) (year int, ok bool) {
	var n [3]int
	over12, over31, zeros := 0, 0, 0
	for i, s := range []string{first, second, third} {
		n[i], _ = strconv.Atoi(s)
		switch {
		case n[i] > 99 && n[i] < yearMin, n[i] > yearMax:
			return 0, false
		case n[i] > 31:
			over31++
			over12++
		case n[i] > 12:
			over12++
		case n[i] == 0:
			zeros++
		}
	}
	if n[1] > 31 || n[1] == 0 || over31 >= 2 || over12 == 3 || zeros >= 2 {
		return 0, false
	}
	orders := [][3]int{{n[2], n[0], n[1]}, {n[0], n[1], n[2]}} // the year last, the year first
	for _, o := range orders {
		if o[0] >= yearMin {
			return o[0], isDay(o[1], o[2])
		}
	}
	for _, o := range orders {
		if isDay(o[1], o[2]) {
			switch y := o[0]; {
			case y > 99:
				return y, true
			case y > 50:
				return y + 1900, true
			default:
				return y + 2000, true
			}
		}
	}
	return 0, false
}

// isDay reports whether the numbers are a day and a month, in any order.
func isDay(a, b int) bool { return a <= 31 && b <= 12 || b <= 31 && a <= 12 }
