package smpp

import (
	"unicode/utf16"
	"unicode/utf8"
)

// An Alphabet says how an SMSC reads data_coding 0, its "default alphabet"
// (SMPP 3.4 §5.2.19): the specification leaves that open. Whatever a message
// holds beyond that alphabet goes as UCS-2, data_coding 8, on which all agree.
type Alphabet string

const (
	GSM7   Alphabet = "gsm7"   // GSM 03.38, one septet in an octet; also if empty
	Latin1 Alphabet = "latin1" // ISO 8859-1, of which ASCII is a part
	UCS2   Alphabet = "ucs2"   // do not use data_coding 0 at all
)

const (
	codingDefault byte = 0x00
	codingUCS2    byte = 0x08
)

// The GSM 7 bit default alphabet (3GPP TS 23.038 §6.2.1) by septet; at 0x1B is
// the escape to the extension table (§6.2.1.1).
const (
	escape    = 0x1B
	gsmLetter = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1BÆæßÉ" +
		" !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§" +
		"¿abcdefghijklmnopqrstuvwxyzäöñüà"
)

var gsmExtension = map[rune]byte{
	'\f': 0x0A, '^': 0x14, '{': 0x28, '}': 0x29, '\\': 0x2F,
	'[': 0x3C, '~': 0x3D, ']': 0x3E, '|': 0x40, '€': 0x65,
}

var gsmDefault = func() map[rune]byte {
	table := make(map[rune]byte, 127)
	septet := byte(0)
	for _, r := range gsmLetter {
		if septet != escape {
			table[r] = septet
		}
		septet++
	}
	return table
}()

// septets returns the septets of a rune, none if GSM 03.38 lacks it.
func septets(r rune) []byte {
	if s, ok := gsmDefault[r]; ok {
		return []byte{s}
	}
	if s, ok := gsmExtension[r]; ok {
		return []byte{escape, s}
	}
	return nil
}

// A piece is what must stay in one part: a rune as octets, and what it costs
// on the air in septets or in UTF-16 units.
type piece struct {
	octets []byte
	units  int
}

// pieces encodes a text. Text that is not UTF-8 becomes U+FFFD where it is not.
func pieces(text string, alphabet Alphabet) (list []piece, coding byte) {
	if alphabet != UCS2 {
		if list, ok := defaultPieces(text, alphabet); ok {
			return list, codingDefault
		}
	}
	list = make([]piece, 0, utf8.RuneCountInString(text))
	for _, r := range text {
		var octets []byte
		for _, unit := range utf16.AppendRune(nil, r) {
			octets = append(octets, byte(unit>>8), byte(unit))
		}
		list = append(list, piece{octets, len(octets) / 2})
	}
	return list, codingUCS2
}

func defaultPieces(text string, alphabet Alphabet) ([]piece, bool) {
	list := make([]piece, 0, utf8.RuneCountInString(text))
	for _, r := range text {
		air := septets(r)
		if air == nil {
			return nil, false
		}
		octets := air
		if alphabet == Latin1 {
			// Such an SMSC translates to GSM 03.38 for the air: a letter that
			// is in one of the two alphabets only would arrive as another.
			if r > 0xFF {
				return nil, false
			}
			octets = []byte{byte(r)}
		}
		list = append(list, piece{octets, len(air)})
	}
	return list, true
}

// Limits of one message on the air, in the units of a piece: 140 octets, less
// the 6 of the header if there are several parts (3GPP TS 23.040 §9.2.3.24.1).
const (
	singleSeptets, partSeptets = 160, 153
	singleUCS2, partUCS2       = 70, 67

	maxParts = 10
)

// A part is the short_message of one submit_sm, and how to read it.
type part struct {
	esmClass, dataCoding byte
	octets               []byte
}

const udhIndicator = 0x40 // in esm_class: short_message begins with a header (SMPP 3.4 §5.2.12)

// split cuts a text into parts that a handset joins by their 8-bit reference.
// Neither a pair of surrogates nor an escape and its septet is torn apart.
func split(text string, alphabet Alphabet, reference byte) ([]part, error) {
	list, coding := pieces(text, alphabet)
	single, each := singleSeptets, partSeptets
	if coding == codingUCS2 {
		single, each = singleUCS2, partUCS2
	}
	if whole := fill(list, single); len(whole) == 1 {
		return []part{{0, coding, whole[0]}}, nil
	}
	texts := fill(list, each)
	if len(texts) > maxParts {
		return nil, ErrTooLong
	}
	parts := make([]part, len(texts))
	for i, octets := range texts {
		header := []byte{5, 0, 3, reference, byte(len(texts)), byte(i + 1)}
		parts[i] = part{udhIndicator, coding, append(header, octets...)}
	}
	return parts, nil
}

// fill puts as many pieces into each of its chunks as fit; there is one chunk
// at least.
func fill(list []piece, most int) [][]byte {
	chunks, used := [][]byte{nil}, 0
	for _, p := range list {
		if used+p.units > most {
			chunks, used = append(chunks, nil), 0
		}
		last := len(chunks) - 1
		chunks[last] = append(chunks[last], p.octets...)
		used += p.units
	}
	return chunks
}
