package account

import (
	"slices"
	"strings"
	"sync"

	"github.com/nyaruka/phonenumbers"

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
	n, err := phonenumbers.Parse(typed, country)
	if abroad, ok := strings.CutPrefix(typed, "00"); ok && (err != nil || !phonenumbers.IsValidNumber(n)) {
		n, err = phonenumbers.Parse("+"+abroad, country) // how many countries begin a number abroad
	}
	if err != nil || n.GetExtension() != "" || !phonenumbers.IsValidNumber(n) {
		return "", ErrPhoneForm
	}
	if len(phonenumbers.GetRegionCodeForNumber(n)) != 2 || phonenumbers.GetRegionCodeForNumber(n) == "ZZ" { // satellites and other numbers of no country
		return "", ErrPhoneKind
	}
	switch phonenumbers.GetNumberType(n) {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE:
		return Phone(phonenumbers.Format(n, phonenumbers.E164)), nil
	}
	return "", ErrPhoneKind
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

func (p Phone) parsed() *phonenumbers.PhoneNumber {
	n, err := phonenumbers.Parse(string(p), "")
	if err != nil {
		return &phonenumbers.PhoneNumber{}
	}
	return n
}

// Country is where the number belongs (ISO 3166-1 alpha-2).
func (p Phone) Country() string { return phonenumbers.GetRegionCodeForNumber(p.parsed()) }

// International writes the number for people: +86 138 0013 8000.
func (p Phone) International() string {
	if p == "" {
		return ""
	}
	return phonenumbers.Format(p.parsed(), phonenumbers.INTERNATIONAL)
}

// Prefix is the number without its last digits.
func (p Phone) Prefix() string { return string(p[:max(0, len(p)-PhonePrefixDigits)]) }

// Mask shows the number to someone who should recognise it but not learn it:
// 138****00.
func (p Phone) Mask() string {
	if p == "" {
		return ""
	}
	national := phonenumbers.GetNationalSignificantNumber(p.parsed())
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
var PhoneCountries = sync.OnceValue(func() (list []PhoneCountry) {
	for code := range phonenumbers.GetSupportedRegions() {
		n := phonenumbers.GetExampleNumberForType(code, phonenumbers.MOBILE)
		if n == nil {
			continue
		}
		example := phonenumbers.Format(n, phonenumbers.NATIONAL)
		if _, err := ParsePhone(code, example); err != nil { // the national form is not what the library itself reads
			example = phonenumbers.Format(n, phonenumbers.INTERNATIONAL)
		}
		list = append(list, PhoneCountry{code, int(n.GetCountryCode()), example})
	}
	slices.SortFunc(list, func(a, b PhoneCountry) int { return strings.Compare(a.Code, b.Code) })
	return list
})
