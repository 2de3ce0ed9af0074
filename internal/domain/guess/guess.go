// Package guess estimates how many guesses a password withstands. The numbers
// are zxcvbn's, and so is the search among the matches; the matches are found
// here, in word lists that stay as they are in the program: the library makes
// maps of them, 10 MB, whenever the process starts.
package guess

import (
	"slices"
	"strings"

	"github.com/trustelem/zxcvbn/match"
	"github.com/trustelem/zxcvbn/scoring"
)

// Guesses is how many guesses find password, which is ASCII in small letters,
// when the words given are among the first.
func Guesses(password string, words []string) float64 {
	return scoring.MostGuessableMatchSequence(password, matches(password, words), false).Guesses
}

// matches are the parts of password that are words or patterns.
func matches(password string, words []string) []*match.Match {
	own := make(map[string]int, len(words))
	for i, w := range words {
		own[strings.ToLower(w)] = i + 1
	}
	list := wordsIn(password, own)
	for _, m := range wordsIn(reverse(password), own) {
		m.Token, m.Reversed = reverse(m.Token), true
		m.I, m.J = len(password)-1-m.J, len(password)-1-m.I
		list = append(list, m)
	}
	list = append(list, disguised(password, own)...)
	list = append(list, walks(password)...)
	list = append(list, repeats(password)...)
	list = append(list, sequences(password)...)
	list = append(list, years(password)...)
	list = append(list, dates(password)...)
	match.Sort(list)
	return list
}

// wordsIn are the words of the lists, and of those of one's own, in password.
func wordsIn(password string, own map[string]int) (list []*match.Match) {
	for i := range password {
		for j := i; j < len(password); j++ {
			token := password[i : j+1]
			word := strings.ToLower(token)
			rank := rankOf(word)
			if r, ok := own[word]; ok && (rank == 0 || r < rank) {
				rank = r
			}
			if rank != 0 {
				list = append(list, &match.Match{Pattern: "dictionary", I: i, J: j, Token: token, MatchedWord: word, Rank: rank})
			}
		}
	}
	return list
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// disguises are the letters that signs stand for.
var disguises = []struct {
	letter string
	signs  []string
}{
	{"a", []string{"4", "@"}}, {"b", []string{"8"}}, {"c", []string{"(", "{", "[", "<"}}, {"e", []string{"3"}}, {"g", []string{"6", "9"}}, {"i", []string{"1", "!", "|"}},
	{"l", []string{"1", "|", "7"}}, {"o", []string{"0"}}, {"s", []string{"$", "5"}}, {"t", []string{"+", "7"}}, {"x", []string{"%"}}, {"z", []string{"2"}},
}

// A reading says which letter each sign stands for.
type reading []struct{ sign, letter string }

// readings are the ways to read the signs in password. As in the library, those
// that grow from one share its memory, so that a few of very many are lost: the
// numbers are to be the same.
func readings(password string) []reading {
	list := []reading{{}}
	for _, d := range disguises {
		var signs []string
		for _, s := range d.signs {
			if strings.Contains(password, s) {
				signs = append(signs, s)
			}
		}
		if signs == nil {
			continue
		}
		var next []reading
		for _, sign := range signs {
			for _, r := range list {
				this := struct{ sign, letter string }{sign, d.letter}
				i := slices.IndexFunc(r, func(x struct{ sign, letter string }) bool { return x.sign == sign })
				if i < 0 {
					next = append(next, append(r, this))
					continue
				}
				other := append(append(make(reading, 0, len(r)), r[:i]...), r[i+1:]...)
				next = append(next, r, append(other, this))
			}
		}
		list = distinct(next)
	}
	return list
}

func distinct(list []reading) (kept []reading) {
	seen := map[string]bool{}
	for _, r := range list {
		slices.SortStableFunc(r, func(x, y struct{ sign, letter string }) int { return strings.Compare(x.sign, y.sign) })
		var key strings.Builder
		for _, x := range r {
			key.WriteString(x.sign + "," + x.letter)
		}
		if !seen[key.String()] {
			seen[key.String()] = true
			kept = append(kept, r)
		}
	}
	return kept
}

// disguised are words with signs for letters.
func disguised(password string, own map[string]int) (list []*match.Match) {
	for _, r := range readings(password) {
		if len(r) == 0 {
			break
		}
		sub := map[string]string{}
		for _, x := range r {
			sub[x.sign] = x.letter
		}
		read := strings.Map(func(c rune) rune {
			if letter, ok := sub[string(c)]; ok {
				return rune(letter[0])
			}
			return c
		}, password)
		for _, m := range wordsIn(read, own) {
			token := password[m.I : m.J+1]
			if len(token) <= 1 || strings.ToLower(token) == m.MatchedWord {
				continue
			}
			m.Sub = map[string]string{}
			for sign, letter := range sub {
				if strings.Contains(token, sign) {
					m.Sub[sign] = letter
				}
			}
			m.L33t, m.Token = true, token
			list = append(list, m)
		}
	}
	return list
}
