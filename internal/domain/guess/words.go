package guess

import (
	_ "embed"
	"encoding/binary"
	"sort"
	"strings"
	"sync"
)

// The words of all lists of the library, one line for each length, sorted; and
// the best rank of each, in the same order. A word is written as a letter that
// says how much it shares with the one before (A: nothing, B: a letter …), and
// the rest. The package's test makes both (go test ./internal/domain/guess -update).
var (
	//go:embed words.txt
	words string
	//go:embed ranks.bin
	ranks string
)

// block is how many words are read one after the other at most: the first of so
// many is written whole.
const block = 16

// A lexicon holds the words of one length.
type lexicon struct {
	text, ranks string
	blocks      []uint32 // where they begin in text
}

// lexicons are those of each length. They point into the program.
var lexicons = sync.OnceValue(func() []lexicon {
	list, rest := []lexicon{{}}, ranks
	for line := range strings.Lines(words) {
		l := lexicon{text: strings.TrimSuffix(line, "\n")}
		n, at := 0, 0
		for ; at < len(l.text); n++ {
			if n%block == 0 {
				l.blocks = append(l.blocks, uint32(at)) //nolint:gosec // less than a megabyte
			}
			at += 1 + len(list) - int(l.text[at]-'A')
		}
		l.ranks, rest = rest[:2*n], rest[2*n:]
		list = append(list, l)
	}
	return list
})

// rankOf is the place of word in the list where it stands first; zero: none.
func rankOf(word string) int {
	all, n := lexicons(), len(word)
	if n >= len(all) {
		return 0
	}
	l := all[n]
	in := sort.Search(len(l.blocks), func(i int) bool { return l.text[l.blocks[i]+1:][:n] > word }) - 1
	if in < 0 {
		return 0
	}
	at, same := int(l.blocks[in]), 0 // letters of word that the last one read begins with
	for i := 2 * block * in; i < min(2*block*(in+1), len(l.ranks)); i += 2 {
		shared := int(l.text[at] - 'A')
		rest := l.text[at+1:][:n-shared]
		at += 1 + len(rest)
		if shared != same { // less: beyond word; more: as far from it as the last one
			if shared < same {
				return 0
			}
			continue
		}
		for same < n && rest[same-shared] == word[same] {
			same++
		}
		if same == n {
			return int(binary.LittleEndian.Uint16([]byte(l.ranks[i : i+2])))
		}
	}
	return 0
}
