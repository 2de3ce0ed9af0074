package smpp

import (
	"errors"
	"strings"
)

// A Numbering is the type of number and the numbering plan of an address (SMPP
// 3.4 §5.2.5, §5.2.6).
type Numbering struct{ TON, NPI byte }

var (
	unknown       = Numbering{0, 0}
	international = Numbering{1, 1} // E.164, written without its plus
	shortCode     = Numbering{3, 0}
	alphanumeric  = Numbering{5, 0}
)

const (
	maxShortCode    = 8  // digits without a plus; what is longer is E.164
	maxAlphanumeric = 11 // 3GPP TS 23.040 §9.1.2.5
	maxE164         = 15 // ITU-T E.164 §6.2.1
)

// sourceAddress works out what a sender is.
func sourceAddress(sender string) (string, Numbering, error) {
	number, plus := strings.CutPrefix(sender, "+")
	switch {
	case sender == "":
		return "", unknown, nil // the SMSC puts in its own (SMPP 3.4 §4.4.1)
	case plus, digits(sender) && len(sender) > maxShortCode:
		if !e164(number) {
			return "", unknown, errors.New("sender is no E.164 number")
		}
		return number, international, nil
	case digits(sender):
		return sender, shortCode, nil
	}
	if len(sender) > maxAlphanumeric || strings.ContainsFunc(sender, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", unknown, errors.New("sender is neither a number nor a name of 1 to 11 ASCII characters")
	}
	return sender, alphanumeric, nil
}

// destination returns a recipient's number without its plus.
func destination(to string) (string, error) {
	if number := strings.TrimPrefix(to, "+"); e164(number) {
		return number, nil
	}
	return "", ErrDestination
}

func e164(number string) bool {
	return digits(number) && number[0] != '0' && len(number) >= 4 && len(number) <= maxE164
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
