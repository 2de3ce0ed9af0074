package guess_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/trustelem/zxcvbn"
	"github.com/trustelem/zxcvbn/frequency"

	"countersign/internal/domain/guess"
)

var update = flag.Bool("update", false, "write the words anew, from the library")

func TestTheWordsAreThoseOfTheLibrary(t *testing.T) {
	t.Parallel()
	best := map[string]int{}
	for _, list := range frequency.FrequencyLists {
		own := map[string]int{}
		for i, w := range list {
			own[strings.ToLower(w)] = i + 1 // where a word is twice, the library takes the later one
		}
		for w, rank := range own {
			if r, ok := best[w]; !ok || rank < r {
				best[w] = rank
			}
		}
	}
	var byLength [][]string
	for w, rank := range best {
		if strings.Contains(w, "\n") || w == "" || rank > math.MaxUint16 {
			t.Fatalf("%q has no place in the lists", w)
		}
		for len(byLength) < len(w) {
			byLength = append(byLength, nil)
		}
		byLength[len(w)-1] = append(byLength[len(w)-1], w)
	}
	var words, ranks bytes.Buffer
	for _, list := range byLength {
		slices.Sort(list)
		before := ""
		for i, w := range list {
			shared := 0
			for i%guess.Block != 0 && w[shared] == before[shared] {
				shared++
			}
			words.WriteString(string(rune('A'+shared)) + w[shared:])
			before = w
			ranks.Write(binary.LittleEndian.AppendUint16(nil, uint16(best[w]))) //nolint:gosec // bounded above
		}
		words.WriteByte('\n')
	}
	for name, want := range map[string][]byte{"words.txt": words.Bytes(), "ranks.bin": ranks.Bytes()} {
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil { //nolint:gosec // a source file
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the library knows (%v); run go test ./internal/domain/guess -update", name, err)
		}
	}
	if *update {
		return // the program has the old ones
	}
	for w, rank := range best {
		if got := guess.RankOf(w); got != rank {
			t.Errorf("%q has rank %d, not %d", w, got, rank)
		}
		for _, other := range []string{w + "a", w[1:], w[:len(w)-1] + "~"} {
			if got := guess.RankOf(other); got != best[other] {
				t.Errorf("%q has rank %d, not %d", other, got, best[other])
			}
		}
	}
}

// same compares what we say with what the library says.
func same(t *testing.T, password string, words []string) {
	t.Helper()
	want, got := zxcvbn.PasswordStrength(password, words).Guesses, guess.Guesses(password, words)
	if math.Abs(got-want) > 1e-9*want {
		t.Errorf("%q with %q: %g guesses, the library says %g", password, words, got, want)
	}
}

var parts = []string{"password", "p4ssw0rd", "drowssap", "dragon", "correct", "horse", "iloveyou", "abc", "fedcba", "13579", "qwerty", "zxcvbn", "1qaz2wsx", "789456", "aaa", "ababab", "aabaab", "xyzxyz",
	"1987", "2004", "13.12.1999", "1/1/91", "31121987", "2015_06_04", "99-1-31", "111504", "alice", "ecila", "4l1c3", "@dm1n", "!", "$", "7", "-", " ", "zq", "{[<(", "it's", "smith", "+7|1", "0"}

// What people put together, in any order, and what nobody does.
func TestGuessesAreThoseOfTheLibrary(t *testing.T) {
	t.Parallel()
	for _, a := range parts {
		same(t, a, nil)
		same(t, a, []string{"Alice", "example.org"})
		for _, b := range parts {
			same(t, a+b, []string{"alice"})
		}
	}
	random := rand.New(rand.NewPCG(7, 33)) //nolint:gosec // the same passwords each time
	for range 500 {
		var b strings.Builder
		for range 2 + random.IntN(4) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		for range random.IntN(4) {
			b.WriteByte(byte(' ' + random.IntN(95)))
		}
		s := b.String()
		same(t, strings.ToLower(s[:min(len(s), 24)]), []string{"alice", "smith"})
	}
	var digits []byte
	for range 500 {
		digits = digits[:0]
		for range 4 + random.IntN(8) {
			digits = append(digits, "0123456789019/.-"[random.IntN(16)])
		}
		same(t, string(digits), nil)
	}
	list := frequency.FrequencyLists["passwords"]
	for range 500 {
		same(t, strings.ToLower(list[random.IntN(len(list))]), nil)
	}
	same(t, strings.Repeat("correcthorse", 6)[:64], nil)
}

func FuzzGuesses(f *testing.F) {
	for _, p := range parts {
		f.Add(p, "alice")
		f.Add(p+"x"+p, "")
	}
	f.Fuzz(func(t *testing.T, password, word string) {
		if len(password) > 20 || password != strings.ToLower(password) || strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Skip() // account.CheckPassword lets nothing else through
		}
		same(t, password, []string{word})
	})
}
