package account_test

import (
	"errors"
	"strings"
	"testing"

	"countersign/internal/domain/account"
)

func TestNumbersAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		country, typed string
		want           account.Phone
		refused        error
	}{
		{"CN", "138 0013 8000", "+8613800138000", nil},
		{"CN", "+86 138-0013-8000", "+8613800138000", nil},
		{"CN", "１３８００１３８０００", "+8613800138000", nil},
		{"DE", "01512 3456789", "+4915123456789", nil},
		{"JP", "090-1234-5678", "+819012345678", nil},
		{"US", "(201) 555-0123", "+12015550123", nil},
		{"DE", "+81 90 1234 5678", "+819012345678", nil}, // its own country code wins
		{"JP", "０９０−１２３４−５６７８", "+819012345678", nil},
		{"JP", "０９０ー１２３４ー５６７８", "+819012345678", nil},
		{"US", "0044 7400 123456", "+447400123456", nil},
		{"IT", "312 345 6789", "+393123456789", nil},
		{"", "+33 6 12 34 56 78", "+33612345678", nil},
		{"DE", "", "", account.ErrPhoneMissing},
		{"DE", "  ", "", account.ErrPhoneMissing},
		{"", "0612345678", "", account.ErrPhoneForm},
		{"XX", "0612345678", "", account.ErrPhoneForm},
		{"CN", "1380013800", "", account.ErrPhoneForm},
		{"US", "1-800-FLOWERS", "", account.ErrPhoneForm},
		{"US", "201-555-0123 ext. 5", "", account.ErrPhoneForm},
		{"DE", "01512 3456789;phone-context=+1", "", account.ErrPhoneForm},
		{"DE", strings.Repeat("1", 100), "", account.ErrPhoneForm},
		{"DE", "030 123456", "", account.ErrPhoneKind},    // fixed line
		{"DE", "0900 1 123456", "", account.ErrPhoneKind}, // premium rate
		{"GB", "0800 123 4567", "", account.ErrPhoneKind}, // free of charge
		{"DE", "110", "", account.ErrPhoneForm},
	} {
		got, err := account.ParsePhone(c.country, c.typed)
		if got != c.want || !errors.Is(err, c.refused) {
			t.Errorf("%s %q: %q, %v; want %q, %v", c.country, c.typed, got, err, c.want, c.refused)
		}
	}
}

// A message to a number of no country costs what it likes, and no list of
// countries keeps it out.
func TestNumbersOfNoCountryAreRefused(t *testing.T) {
	t.Parallel()
	for what, typed := range map[string]string{
		"Iridium": "+881612345678", "Globalstar": "+881812345678", "Inmarsat": "+870773111632", "international networks": "+882161234567",
		"more of them": "+883510012345", "freephone": "+80012345678", "shared cost": "+80812345678", "premium rate": "+979123456789", "personal": "+878101234567890",
	} {
		for _, country := range []string{"", "DE", "US"} {
			if got, err := account.ParsePhone(country, typed); got != "" || !(errors.Is(err, account.ErrPhoneKind) || errors.Is(err, account.ErrPhoneForm)) {
				t.Errorf("%s from %q: %q, %v", what, country, got, err)
			}
		}
	}
	for _, typed := range []string{"+881612345678", "+870773111632", "+883510012345"} {
		if _, err := account.ParsePhone("", typed); !errors.Is(err, account.ErrPhoneKind) {
			t.Errorf("%s: %v", typed, err)
		}
	}
}

func TestANumberIsShownMasked(t *testing.T) {
	t.Parallel()
	for p, want := range map[account.Phone]string{"+8613800138000": "138****00", "+12015550123": "201****23", "+4551234567": "****67", "": ""} {
		if got := p.Mask(); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
	if got := account.Phone("+8613800138000").International(); got != "+86 138 0013 8000" {
		t.Error(got)
	}
	if p := account.Phone("+8613800138000"); p.Country() != "CN" || p.Prefix() != "+861380013" {
		t.Error(p.Country(), p.Prefix())
	}
}

func TestEveryCountryHasAnExampleThatIsTaken(t *testing.T) {
	t.Parallel()
	list := account.PhoneCountries()
	if len(list) < 200 {
		t.Fatalf("%d countries", len(list))
	}
	for _, c := range list {
		if _, err := account.ParsePhone(c.Code, c.Example); err != nil {
			t.Errorf("%s %s: %v", c.Code, c.Example, err)
		}
	}
}

func FuzzPhone(f *testing.F) {
	for _, s := range []string{"", "138 0013 8000", "+86 138-0013-8000", "+", "++1", "tel:+1-201-555-0123", "0800 FLOWERS", "１３８", "(201) 555-0123", "\xff", "+99999999999999999999"} {
		f.Add("CN", s)
		f.Add("", s)
	}
	f.Fuzz(func(t *testing.T, country, typed string) {
		p, err := account.ParsePhone(country, typed)
		if err != nil {
			if p != "" {
				t.Errorf("%q with %v", p, err)
			}
			return
		}
		if len(p) < 5 || len(p) > 16 || p[0] != '+' || strings.Trim(string(p[1:]), "0123456789") != "" {
			t.Errorf("%q is not E.164", p)
		}
		again, err := account.ParsePhone("", string(p))
		if again != p || err != nil {
			t.Errorf("%q becomes %q, %v", p, again, err)
		}
		if hidden := len(p) - len(strings.ReplaceAll(p.Mask(), "*", "")); hidden < 4 {
			t.Errorf("%q is shown as %q", p, p.Mask())
		}
	})
}
