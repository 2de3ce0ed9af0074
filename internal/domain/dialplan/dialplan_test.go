package dialplan_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"

	"countersign/internal/domain/dialplan"
)

// typeable is what forms let through (account.ParsePhone).
const typeable = "0123456789０１２３４５６７８９+＋()（）-－./ \t\u00a0\u2010\u2011\u2012\u2013\u3000"

func notTyped(r rune) bool { return !strings.ContainsRune(typeable, r) }

// compare asks the library and the table the same, and reports what kind of
// number it was.
func compare(t *testing.T, typed, country string) dialplan.Kind {
	t.Helper()
	want, err := phonenumbers.Parse(typed, country)
	got, ok := dialplan.Parse(typed, country)
	if ok != (err == nil) {
		t.Fatalf("%q in %q: read %v, the library says %v", typed, country, ok, err)
	}
	if !ok {
		return dialplan.None
	}
	if want.GetExtension() != "" {
		t.Fatalf("%q in %q: an extension", typed, country)
	}
	if e := phonenumbers.Format(want, phonenumbers.E164); got.E164() != e {
		t.Fatalf("%q in %q: %s, the library says %s", typed, country, got.E164(), e)
	}
	if n := phonenumbers.GetNationalSignificantNumber(want); got.National != n {
		t.Fatalf("%q in %q: %s within the country, the library says %s", typed, country, got.National, n)
	}
	if r := phonenumbers.GetRegionCodeForNumber(want); got.Region() != r {
		t.Fatalf("%q in %q: belongs to %s, the library says %s", typed, country, got.Region(), r)
	}
	if i := phonenumbers.Format(want, phonenumbers.INTERNATIONAL); got.International() != i {
		t.Fatalf("%q in %q: written %s, by the library %s", typed, country, got.International(), i)
	}
	kind := dialplan.None
	if phonenumbers.IsValidNumber(want) {
		kind = dialplan.Other
		if canBeMobile(want) {
			kind = dialplan.Mobile
		}
	}
	if got.Kind() != kind {
		t.Fatalf("%q in %q: kind %d, the library says %d (%d)", typed, country, got.Kind(), kind, phonenumbers.GetNumberType(want))
	}
	return kind
}

var kinds = []phonenumbers.PhoneNumberType{phonenumbers.FIXED_LINE, phonenumbers.MOBILE, phonenumbers.TOLL_FREE, phonenumbers.PREMIUM_RATE, phonenumbers.SHARED_COST,
	phonenumbers.VOIP, phonenumbers.PERSONAL_NUMBER, phonenumbers.PAGER, phonenumbers.UAN, phonenumbers.VOICEMAIL}

// Every kind of number of every country, in every form in which people type
// it, and numbers beside them.
func TestNumbersAreReadAsTheLibraryReadsThem(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 33)) //nolint:gosec // the same numbers each time
	digit := func(s string) string {
		b := []byte(s)
		if i := random.IntN(len(b)); b[i] >= '0' && b[i] <= '9' {
			b[i] = byte('0' + random.IntN(10))
		}
		return string(b)
	}
	count := map[dialplan.Kind]int{}
	look := func(typed, country string) {
		if !strings.ContainsFunc(typed, notTyped) {
			count[compare(t, typed, country)]++
		}
	}
	for region := range phonenumbers.GetSupportedRegions() {
		for _, kind := range kinds {
			n := phonenumbers.GetExampleNumberForType(region, kind)
			if n == nil {
				continue
			}
			e164 := phonenumbers.Format(n, phonenumbers.E164)
			abroad := phonenumbers.FormatOutOfCountryCallingNumber(n, "DE")
			for _, typed := range []string{e164, e164[1:], "++" + e164, "00" + e164[1:], "＋" + e164[1:], abroad,
				phonenumbers.Format(n, phonenumbers.NATIONAL), phonenumbers.Format(n, phonenumbers.INTERNATIONAL), phonenumbers.GetNationalSignificantNumber(n),
				"0" + phonenumbers.GetNationalSignificantNumber(n), "1" + phonenumbers.GetNationalSignificantNumber(n)} {
				for _, country := range []string{region, []string{"", "DE", "US", "XX", "001"}[random.IntN(5)]} {
					look(typed, country)
				}
				look(typed+"5", region)
				look(typed[:len(typed)-1], region)
				for range 2 {
					typed = digit(typed)
					look(typed, region)
				}
			}
		}
	}
	var regions []string
	for region := range phonenumbers.GetSupportedRegions() {
		regions = append(regions, region)
	}
	typeable := []rune(typeable)
	for range 5_000 {
		s := make([]rune, random.IntN(18))
		for i := range s {
			s[i] = rune('0' + random.IntN(10))
			if random.IntN(12) == 0 {
				s[i] = typeable[random.IntN(len(typeable))]
			}
		}
		country := regions[random.IntN(len(regions))]
		look(string(s), country)
		look("+"+string(s), country)
		look("+"+strconv.Itoa(phonenumbers.GetCountryCodeForRegion(country))+string(s), "")
	}
	t.Log(count)
	for kind, least := range map[dialplan.Kind]int{dialplan.None: 20_000, dialplan.Other: 15_000, dialplan.Mobile: 4_000} {
		if count[kind] < least {
			t.Errorf("only %d numbers of kind %d", count[kind], kind)
		}
	}
}

func TestNumbersOfNoCountryAreReadToo(t *testing.T) {
	t.Parallel()
	for code := range phonenumbers.GetSupportedGlobalNetworkCallingCodes() {
		n := phonenumbers.GetExampleNumberForNonGeoEntity(code)
		if n == nil {
			continue
		}
		e164 := phonenumbers.Format(n, phonenumbers.E164)
		compare(t, e164, "")
		compare(t, e164, "DE")
		compare(t, e164+"1", "")
		if got, ok := dialplan.Parse(e164, ""); !ok || got.Region() != "001" {
			t.Errorf("%s: %v, %q", e164, ok, got.Region())
		}
	}
}

func TestEveryCountryHasTheExampleOfTheLibrary(t *testing.T) {
	t.Parallel()
	list, last := dialplan.Countries(), ""
	for _, c := range list {
		if c.Region <= last {
			t.Errorf("%s after %s", c.Region, last)
		}
		last = c.Region
		n, ok := dialplan.Parse(c.Example, c.Region)
		if !ok || n.Kind() != dialplan.Mobile || n.Dial != c.Dial || c.Dial != phonenumbers.GetCountryCodeForRegion(c.Region) || c.Example != example(c.Region) {
			t.Errorf("%+v: %+v, %v", c, n, ok)
		}
	}
	want := 0
	for region := range phonenumbers.GetSupportedRegions() {
		if phonenumbers.GetExampleNumberForType(region, phonenumbers.MOBILE) != nil {
			want++
		}
	}
	if len(list) != want {
		t.Errorf("%d countries, the library has %d", len(list), want)
	}
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"138 0013 8000", "+86 138-0013-8000", "+", "++1", "12", "(12", "１３８", "(201) 555-0123", "+99999999999999999999", "0044 7400 123456", "+0049", "011 49 1512 3456789"} {
		f.Add(s, "CN")
		f.Add(s, "US")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, typed, country string) {
		if len(typed) > 64 || strings.ContainsFunc(typed, notTyped) {
			t.Skip()
		}
		compare(t, typed, country)
	})
}
