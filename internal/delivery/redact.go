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
	// Codes and telephone numbers, in groups too; replies such as 550 5.1.1 are none.
	numberLike = regexp.MustCompile(`\pN{2,}(?:[ -]\pN{2,})+|\pN{4,}`)
	tokenLike  = regexp.MustCompile(`[\pL\pN_-]{16,}`)
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
// line of the body they did not like. What could be a code, a number or a
// token goes, whether it was ours or not.
func reason(err error, m message.Message) string {
	text := printable(err.Error(), ' ')
	for _, line := range append(strings.Split(m.Text, "\n"), m.Subject) {
		if line = printable(strings.TrimSpace(line), ' '); len(line) >= 8 {
			text = strings.ReplaceAll(text, line, "***")
		}
	}
	text = addressLike.ReplaceAllStringFunc(text, masked)
	text = tokenLike.ReplaceAllStringFunc(text, func(word string) string {
		if strings.ContainsFunc(word, func(r rune) bool { return r == '_' || unicode.IsNumber(r) }) {
			return "***"
		}
		return word
	})
	text = numberLike.ReplaceAllString(text, "***")
	if len(text) > reasonLimit {
		text = strings.ToValidUTF8(text[:reasonLimit], "") + "…"
	}
	return text
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
