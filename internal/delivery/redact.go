package delivery

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
)

const reasonLimit = 300

var (
	addressLike = compiled(`[^\s<>"'(),;:]+@[^\s<>"'(),;:]+`)
	// Codes and telephone numbers, in groups too; replies such as 550 5.1.1 are none.
	numberLike = compiled(`\pN{2,}(?:[ -]\pN{2,})+|\pN{4,}`)
	tokenLike  = compiled(`[\pL\pN_-]{16,}`)
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
// token goes, whether it was ours or not; a gateway's code stays.
func reason(err error, m message.Message) string {
	text, code := err.Error(), ""
	var coded codedError
	if errors.As(err, &coded) {
		text, code = coded.error.Error(), coded.code+": "
	}
	// It quotes the address that was called, and that may hold anything.
	var request *url.Error
	if errors.As(err, &request) {
		text = strings.ReplaceAll(text, request.Error(), request.Op+": "+request.Err.Error())
	}
	text = printable(text, ' ')
	lines := slices.AppendSeq(append(strings.Split(m.Text, "\n"), m.Subject), maps.Values(m.Params))
	slices.SortFunc(lines, func(a, b string) int { return len(b) - len(a) }) // what holds another comes first
	for _, line := range lines {
		if line = printable(strings.TrimSpace(line), ' '); len(line) >= 8 {
			text = strings.ReplaceAll(text, line, "***")
		}
	}
	text = addressLike().ReplaceAllStringFunc(text, masked)
	text = tokenLike().ReplaceAllStringFunc(text, func(word string) string {
		if strings.ContainsFunc(word, func(r rune) bool { return r == '_' || unicode.IsNumber(r) }) {
			return "***"
		}
		return word
	})
	text = code + numberLike().ReplaceAllString(text, "***")
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
