package smpp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// read turns the octets of a text back into it, as a handset would.
func read(t interface{ Fatalf(string, ...any) }, alphabet Alphabet, coding byte, octets []byte) string {
	if coding == codingUCS2 {
		if len(octets)%2 != 0 {
			t.Fatalf("an odd number of octets in UCS-2: %X", octets)
		}
		units := make([]uint16, len(octets)/2)
		for i := range units {
			units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
		}
		return string(utf16.Decode(units))
	}
	var text strings.Builder
	if alphabet == Latin1 {
		for _, o := range octets {
			text.WriteRune(rune(o))
		}
		return text.String()
	}
	letters := []rune(gsmLetter)
	for i := 0; i < len(octets); i++ {
		if octets[i] != escape {
			text.WriteRune(letters[octets[i]])
			continue
		}
		if i++; i == len(octets) {
			t.Fatalf("an escape at the end of %X", octets)
		}
		for r, s := range gsmExtension {
			if s == octets[i] {
				text.WriteRune(r)
			}
		}
	}
	return text.String()
}

// join puts parts together again, each read on its own, and checks that they
// fit on the air.
func join(t interface{ Fatalf(string, ...any) }, alphabet Alphabet, reference byte, parts []part) string {
	var text strings.Builder
	for i, p := range parts {
		body, single := p.octets, len(parts) == 1
		if header := []byte{5, 0, 3, reference, byte(len(parts)), byte(i + 1)}; !single {
			if p.esmClass != 0x40 || !bytes.HasPrefix(body, header) {
				t.Fatalf("part %d: esm_class %02X, %X", i+1, p.esmClass, body)
			}
			body = body[len(header):]
		} else if p.esmClass != 0 {
			t.Fatalf("esm_class %02X for a single message", p.esmClass)
		}
		if p.dataCoding != parts[0].dataCoding || len(p.octets) > maxShortMessage {
			t.Fatalf("part %d: data_coding %d after %d, %d octets", i+1, p.dataCoding, parts[0].dataCoding, len(p.octets))
		}
		here := read(t, alphabet, p.dataCoding, body)
		text.WriteString(here)
		units, most := 0, map[bool]int{true: 160, false: 153}[single]
		for _, r := range here {
			units += len(septets(r))
		}
		if p.dataCoding == codingUCS2 {
			units, most = len(utf16.Encode([]rune(here))), map[bool]int{true: 70, false: 67}[single]
		}
		if units > most {
			t.Fatalf("part %d has %d units, at most %d", i+1, units, most)
		}
	}
	return text.String()
}

func checkSplit(t interface{ Fatalf(string, ...any) }, text string, alphabet Alphabet, reference byte) {
	parts, err := split(text, alphabet, reference)
	if errors.Is(err, ErrTooLong) {
		if utf8.RuneCountInString(text) <= 9*33 { // 33: surrogate pairs in a part
			t.Fatalf("%d runes are too long", utf8.RuneCountInString(text))
		}
		return
	}
	if err != nil || len(parts) == 0 || len(parts) > 10 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	if got, want := join(t, alphabet, reference, parts), strings.ToValidUTF8(text, "\uFFFD"); utf8.ValidString(text) && got != want {
		t.Fatalf("%s: joined again\ngot  %q\nwant %q", alphabet, got, want)
	}
}

var alphabets = []Alphabet{"", GSM7, Latin1, UCS2}

func TestJoiningUndoesSplitting(t *testing.T) {
	t.Parallel()
	letters := []rune("aZ0 @£é\n_\x1bçœ^{}[]~|\\€ΔΩ漢字😀🇨🇭Å\u00a0\ufeff")
	rapid.Check(t, func(r *rapid.T) {
		few := rapid.SliceOfN(rapid.SampledFrom(letters), 1, 6).Draw(r, "letters")
		text := string(rapid.SliceOfN(rapid.SampledFrom(few), 0, 1600).Draw(r, "text"))
		checkSplit(r, text, rapid.SampledFrom(alphabets).Draw(r, "alphabet"), rapid.Byte().Draw(r, "reference"))
	})
}

func FuzzSplit(f *testing.F) {
	f.Add("Your code is 482915.", byte(1), byte(0), byte(1))
	f.Add("aa€", byte(76), byte(1), byte(2))
	f.Add("aa😀", byte(30), byte(3), byte(3))
	f.Add("[", byte(200), byte(2), byte(255))
	f.Fuzz(func(t *testing.T, text string, times, alphabet, reference byte) {
		if len(text) <= 100 { // what is longer tells nothing new
			checkSplit(t, strings.Repeat(text, int(times)), alphabets[int(alphabet)%len(alphabets)], reference)
		}
	})
}

func TestPartsAreAsLongAsTheyMayBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text     string
		alphabet Alphabet
		want     string // data_coding, then octets of each part without its header
	}{
		{"", GSM7, "0: 0"},
		{strings.Repeat("a", 160), GSM7, "0: 160"},
		{strings.Repeat("a", 161), GSM7, "0: 153 8"},
		{strings.Repeat("€", 80), GSM7, "0: 160"},
		{strings.Repeat("€", 81), GSM7, "0: 152 10"},
		{strings.Repeat("a", 152) + "€" + strings.Repeat("b", 152), GSM7, "0: 152 153 1"},
		{strings.Repeat("a", 1530), GSM7, "0: 153 153 153 153 153 153 153 153 153 153"},
		{strings.Repeat("ç", 70), GSM7, "8: 140"},
		{strings.Repeat("ç", 71), GSM7, "8: 134 8"},
		{strings.Repeat("😀", 35), GSM7, "8: 140"},
		{strings.Repeat("😀", 36), GSM7, "8: 132 12"},
		{strings.Repeat("a", 71), UCS2, "8: 134 8"},
		{strings.Repeat("é", 160), Latin1, "0: 160"},
		{strings.Repeat("[", 80), Latin1, "0: 80"}, // two septets each on the air
		{strings.Repeat("[", 81), Latin1, "0: 76 5"},
		{"€", Latin1, "8: 2"},
		{"ç", Latin1, "8: 2"}, // in Latin-1, but no handset's default alphabet has it
	} {
		parts, err := split(c.text, c.alphabet, 7)
		if err != nil {
			t.Errorf("%.20q: %v", c.text, err)
			continue
		}
		got := fmt.Sprintf("%d:", parts[0].dataCoding)
		for _, p := range parts {
			n := len(p.octets)
			if len(parts) > 1 {
				n -= 6
			}
			got += fmt.Sprintf(" %d", n)
		}
		if got != c.want {
			t.Errorf("%d times %.4q as %s: got %s, want %s", utf8.RuneCountInString(c.text), c.text, c.alphabet, got, c.want)
		}
	}
	for _, long := range []string{strings.Repeat("a", 1531), strings.Repeat("漢", 671)} {
		if _, err := split(long, GSM7, 0); !errors.Is(err, ErrTooLong) || !Permanent(err) {
			t.Errorf("%d runes: %v", utf8.RuneCountInString(long), err)
		}
	}
}

func TestLettersGoAsTheirSeptets(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"@£$¥":         "00010203",
		"èéùìòÇ":       "040506070809",
		"\nØø\rÅå":     "0A0B0C0D0E0F",
		"Δ_ΦΓΛΩΠΨΣΘΞ":  "101112131415161718191A",
		"ÆæßÉ !\"#¤":   "1C1D1E1F2021222324",
		"¡AZÄÖÑÜ§":     "40415A5B5C5D5E5F",
		"¿azäöñüà":     "60617A7B7C7D7E7F",
		"€[]{}\\^~|\f": "1B651B3C1B3E1B281B291B2F1B141B3D1B401B0A",
	} {
		list, coding := pieces(text, GSM7)
		if got := fmt.Sprintf("%X", bytes.Join(fill(list, 1000), nil)); got != want || coding != 0 {
			t.Errorf("%q: data_coding %d, %s, want %s", text, coding, got, want)
		}
	}
	if len(gsmDefault) != 127 {
		t.Errorf("%d letters in the default alphabet, want 127", len(gsmDefault))
	}
	list, _ := pieces("a\xffb", GSM7)
	if got := fmt.Sprintf("%X", bytes.Join(fill(list, 1000), nil)); got != "0061FFFD0062" {
		t.Errorf("what is not UTF-8: %s", got)
	}
}
