package account

import (
	"strings"

	"countersign/internal/domain/dialplan"
	"countersign/internal/fault"
)

// Phone is a telephone number in the form of E.164: +8613800138000. Empty: none.
type Phone string

// PhonePrefixDigits is how many digits at the end of a number are left out of
// its prefix: neighbours in a range share the rest.
const PhonePrefixDigits = 4

// phoneMaxBytes bounds what is looked at of a number as typed.
const phoneMaxBytes = 64

// Faults about telephone numbers.
var (
	ErrPhoneMissing = fault.New(fault.Invalid, "phone.missing").On("phone")
	ErrPhoneForm    = fault.New(fault.Invalid, "phone.form").On("phone")
	ErrPhoneKind    = fault.New(fault.Invalid, "phone.kind").On("phone")
	ErrPhoneCountry = fault.New(fault.Invalid, "phone.country").On("country")
	ErrPhoneTaken   = fault.New(fault.Conflict, "phone.taken").On("phone")
)

// ParsePhone reads a number as typed, in the country named (ISO 3166-1
// alpha-2); a number with its own country code needs none. Only numbers that
// can be mobile ones are taken: others cannot receive text messages, or make
// money for whoever has them sent.
func ParsePhone(country, typed string) (Phone, error) {
	switch typed = strings.TrimSpace(typed); {
	case typed == "":
		return "", ErrPhoneMissing
	case len(typed) > phoneMaxBytes || strings.ContainsFunc(typed, notOfANumber):
		return "", ErrPhoneForm
	}
	typed = hyphens.Replace(typed)
	n, ok := dialplan.Parse(typed, country)
	if abroad, cut := strings.CutPrefix(typed, "00"); cut && (!ok || n.Kind() == dialplan.None) {
		n, ok = dialplan.Parse("+"+abroad, country) // how many countries begin a number abroad
	}
	if !ok {
		return "", ErrPhoneForm
	}
	switch kind := n.Kind(); {
	case kind == dialplan.None:
		return "", ErrPhoneForm
	case kind != dialplan.Mobile, len(n.Region()) != 2: // satellites and other numbers of no country
		return "", ErrPhoneKind
	}
	return Phone(n.E164()), nil
}

// hyphens are what keyboards have for one.
var hyphens = strings.NewReplacer("\u2212", "-", "\u30fc", "-", "\u2015", "-")

// notOfANumber reports whether r has no place in a number: letters are not
// read as the keys they stand on.
func notOfANumber(r rune) bool {
	switch {
	case r >= '0' && r <= '9', r >= '０' && r <= '９', strings.ContainsRune("+＋()（）-－./ \t\u00a0\u2010\u2011\u2012\u2013\u2015\u2212\u3000\u30fc", r):
		return false
	}
	return true
}

func (p Phone) parsed() dialplan.Number {
	n, _ := dialplan.Parse(string(p), "")
	return n
}

// Country is where the number belongs (ISO 3166-1 alpha-2).
func (p Phone) Country() string { return p.parsed().Region() }

// International writes the number for people: +86 138 0013 8000.
func (p Phone) International() string {
	if p == "" {
		return ""
	}
	return p.parsed().International()
}

// Prefix is the number without its last digits.
func (p Phone) Prefix() string { return string(p[:max(0, len(p)-PhonePrefixDigits)]) }

// Mask shows the number to someone who should recognise it but not learn it:
// 138****00.
func (p Phone) Mask() string {
	if p == "" {
		return ""
	}
	national := p.parsed().National
	if len(national) < 9 {
		return "****" + national[max(0, len(national)-2):]
	}
	return national[:3] + "****" + national[len(national)-2:]
}

// A PhoneCountry is a country that has telephone numbers.
type PhoneCountry struct {
	Code    string // ISO 3166-1 alpha-2
	Dial    int    // country code of E.164
	Example string // a mobile number, as people there write it
}

// PhoneCountries are the countries with mobile numbers, by code.
func PhoneCountries() (list []PhoneCountry) {
	for _, c := range dialplan.Countries() {
		list = append(list, PhoneCountry{c.Region, c.Dial, c.Example})
	}
	return list
}
