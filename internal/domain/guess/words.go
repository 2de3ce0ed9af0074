package guess

import (
	_ "embed"
	"encoding/binary"
	"strings"
	"sync"
)

// The words of all lists of the library, one line for each length, sorted and
// back to back; and the best rank of each, in the same order. The package's
// test makes both (go test ./internal/domain/guess -update).
var (
	//go:embed words.txt
	words string
	//go:embed ranks.bin
	ranks string
)

// A lexicon holds the words of one length.
type lexicon struct{ words, ranks string }

// lexicons are those of each length. They point into the program.
var lexicons = sync.OnceValue(func() []lexicon {
	list, rest := []lexicon{{}}, ranks
	for line := range strings.Lines(words) {
		line = strings.TrimSuffix(line, "\n")
		n := 2 * (len(line) / len(list))
		list = append(list, lexicon{line, rest[:n]})
		rest = rest[n:]
	}
	return list
})

// rankOf is the place of word in the list where it stands first; zero: none.
func rankOf(word string) int {
	all := lexicons()
	n := len(word)
	if n >= len(all) {
		return 0
	}
	l := all[n]
	low, high := 0, len(l.words)/n
	for low < high {
		mid := (low + high) / 2
		switch w := l.words[mid*n : (mid+1)*n]; {
		case w == word:
			return int(binary.LittleEndian.Uint16([]byte(l.ranks[2*mid : 2*mid+2])))
		case w < word:
			low = mid + 1
		default:
			high = mid
		}
	}
	return 0
}
