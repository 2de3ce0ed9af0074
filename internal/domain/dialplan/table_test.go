package dialplan_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

var update = flag.Bool("update", false, "write plans.txt anew, from the library")

// TestTheTableIsThatOfTheLibrary fails when a newer version of the library
// knows other numbers: -update, and look at what has changed.
func TestTheTableIsThatOfTheLibrary(t *testing.T) {
	t.Parallel()
	want := tableOfLibrary(t)
	if *update {
		if err := os.WriteFile("plans.txt", []byte(want), 0o644); err != nil { //nolint:gosec // a source file
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("plans.txt")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("plans.txt is not what the library knows; run go test ./internal/domain/dialplan -update, and build again")
	}
}

func tableOfLibrary(t *testing.T) string {
	t.Helper()
	all, err := phonenumbers.MetadataCollection()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	row := func(fields ...string) {
		for _, f := range fields {
			if strings.ContainsAny(f, "\t\n") {
				t.Fatalf("%q does not fit into a row", f)
			}
		}
		b.WriteString(strings.Join(fields, "\t") + "\n")
	}
	var codes []int
	for code := range phonenumbers.GetSupportedCallingCodes() {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	for _, code := range codes {
		row("code", strconv.Itoa(code), strings.Join(phonenumbers.GetRegionCodesForCountryCode(code), " "))
	}
	list := slices.Clone(all.GetMetadata())
	slices.SortFunc(list, func(x, y *phonenumbers.PhoneMetadata) int {
		return strings.Compare(fmt.Sprintf("%s %03d", x.GetId(), x.GetCountryCode()), fmt.Sprintf("%s %03d", y.GetId(), y.GetCountryCode()))
	})
	for _, m := range list {
		region, code := m.GetId(), int(m.GetCountryCode())
		if region != "001" && !phonenumbers.GetSupportedRegions()[region] {
			continue
		}
		same := ""
		if m.GetSameMobileAndFixedLinePattern() {
			same = "same"
		}
		row("plan", region, strconv.Itoa(code), m.GetInternationalPrefix(), m.GetNationalPrefixForParsing(), m.GetNationalPrefixTransformRule(), m.GetLeadingDigits(), example(region), same)
		for _, d := range []struct {
			kind string
			desc *phonenumbers.PhoneNumberDesc
		}{
			{"general", m.GetGeneralDesc()}, {"fixed", m.GetFixedLine()}, {"mobile", m.GetMobile()}, {"other", m.GetPremiumRate()}, {"other", m.GetTollFree()}, {"other", m.GetSharedCost()},
			{"other", m.GetVoip()}, {"other", m.GetPersonalNumber()}, {"other", m.GetPager()}, {"other", m.GetUan()}, {"other", m.GetVoicemail()},
		} {
			if d.desc.GetNationalNumberPattern() == "" || slices.Equal(d.desc.GetPossibleLength(), []int32{-1}) {
				if d.kind == "general" {
					t.Fatalf("%s has no general pattern", region)
				}
				continue
			}
			row(d.kind, d.desc.GetNationalNumberPattern(), numbersOf(d.desc.GetPossibleLength()), numbersOf(d.desc.GetPossibleLengthLocalOnly()))
		}
		if phonenumbers.GetRegionCodeForCountryCode(code) != region {
			continue // numbers are written as in the main region of the code
		}
		formats := m.GetIntlNumberFormat()
		if len(formats) == 0 {
			formats = m.GetNumberFormat()
		}
		for _, f := range formats {
			leading := ""
			if all := f.GetLeadingDigitsPattern(); len(all) > 0 {
				leading = all[len(all)-1] // the most exact
			}
			row("format", f.GetPattern(), f.GetFormat(), leading)
		}
	}
	return b.String()
}

func numbersOf(list []int32) string {
	var s []string
	for _, n := range list {
		s = append(s, strconv.Itoa(int(n)))
	}
	return strings.Join(s, ",")
}

// example is a mobile number of a region as people there write it, where the
// library itself reads that.
func example(region string) string {
	n := phonenumbers.GetExampleNumberForType(region, phonenumbers.MOBILE)
	if n == nil {
		return ""
	}
	national := phonenumbers.Format(n, phonenumbers.NATIONAL)
	again, err := phonenumbers.Parse(national, region)
	if err != nil || !phonenumbers.IsValidNumber(again) || !canBeMobile(again) || strings.ContainsFunc(national, notTyped) {
		return phonenumbers.Format(n, phonenumbers.INTERNATIONAL)
	}
	return national
}

func canBeMobile(n *phonenumbers.PhoneNumber) bool {
	kind := phonenumbers.GetNumberType(n)
	return kind == phonenumbers.MOBILE || kind == phonenumbers.FIXED_LINE_OR_MOBILE
}
