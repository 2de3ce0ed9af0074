package delivery

import (
	"regexp"
	"strings"
	"unicode"

	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
)

const reasonLimit = 300

var (
	addressLike = regexp.MustCompile(`[^\s<>"'(),;:]+@[^\s<>"'(),;:]+`)
	// Tokens whole, and codes even where a name is glued to them.
	wordLike = []*regexp.Regexp{regexp.MustCompile(`[\pL\pN_-]{4,}`), regexp.MustCompile(`\pN{4,}`)}
)

// masked returns enough of an address or telephone number to tell two apart,
// and not enough to write to anybody.
func masked(to string) string {
	to = printable(to, ' ')
	switch {
	case strings.Contains(to, "@"):
		return account.MaskEmail(to)
	case len(to) < 7:
		return "***"
	}
	return "***" + to[len(to)-2:]
}

// reason makes one line of a sender's error, fit for the log and the store.
// Servers like to quote what they refuse: the recipient, and sometimes the
// line of the body they did not like, which may hold a code or a link.
func reason(err error, m message.Message) string {
	text := printable(err.Error(), ' ')
	text = addressLike.ReplaceAllStringFunc(text, masked)
	ours := strings.Join([]string{m.To, m.Subject, m.Text, m.HTML}, "\n")
	ours += "\n" + strings.Map(dropSpace, ours)
	for _, words := range wordLike {
		text = words.ReplaceAllStringFunc(text, func(word string) string {
			telling := len(word) >= 16 || strings.ContainsFunc(word, unicode.IsNumber)
			if telling && strings.Contains(ours, word) {
				return "***"
			}
			return word
		})
	}
	if len(text) > reasonLimit {
		text = strings.ToValidUTF8(text[:reasonLimit], "") + "…"
	}
	return text
}

func dropSpace(r rune) rune {
	if unicode.IsSpace(r) {
		return -1
	}
	return r
}

// printable replaces whatever moves a cursor, ends a line or turns the
// direction of writing, except those runes that keep names.
func printable(s string, with rune, keep ...rune) string {
	return strings.Map(func(r rune) rune {
		for _, k := range keep {
			if r == k {
				return r
			}
		}
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return with
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
