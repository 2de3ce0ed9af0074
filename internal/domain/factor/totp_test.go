package factor_test

import (
	"encoding/base32"
	"errors"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"pgregory.net/rapid"

	"countersign/internal/domain/factor"
)

var rfcSeed = []byte("12345678901234567890")

// RFC 4226 appendix D.
func TestHOTPVectors(t *testing.T) {
	for counter, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := factor.HOTP(rfcSeed, int64(counter)); got != want {
			t.Errorf("counter %d: got %s, want %s", counter, got, want)
		}
	}
}

// RFC 6238 appendix B, SHA-1 rows; the vectors have eight digits, of which ours are the last six.
func TestTOTPVectors(t *testing.T) {
	for _, c := range []struct {
		unix int64
		want string
	}{{59, "94287082"}, {1111111109, "07081804"}, {1111111111, "14050471"}, {1234567890, "89005924"}, {2000000000, "69279037"}, {20000000000, "65353130"}} {
		now := time.Unix(c.unix, 0)
		d := factor.VirtualDevice{Seed: rfcSeed}
		if step, err := d.Verify([]string{c.want[2:]}, now); err != nil || step != c.unix/30 {
			t.Errorf("at %d: step %d, %v", c.unix, step, err)
		}
	}
}

func TestAgreesWithAnIndependentImplementation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "seed")
		unix := rapid.Int64Range(0, 1<<36).Draw(t, "unix")
		want, err := totp.GenerateCode(base32.StdEncoding.EncodeToString(seed), time.Unix(unix, 0))
		if err != nil {
			t.Fatal(err)
		}
		if got := factor.HOTP(seed, unix/30); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

var noon = time.Date(2026, 3, 1, 12, 0, 10, 0, time.UTC)

func code(seed []byte, offset int64) string {
	return factor.HOTP(seed, factor.StepAt(noon)+offset)
}

func TestOneCodeIsAcceptedOneStepToEachSide(t *testing.T) {
	for drift := -3; drift <= 3; drift++ {
		for off := int64(-14); off <= 14; off++ {
			d := factor.VirtualDevice{Seed: rfcSeed, Drift: drift}
			_, err := d.Verify([]string{code(rfcSeed, off)}, noon)
			rel := off - int64(drift)
			var want error
			switch {
			case rel < -10 || rel > 1: // a code of the future must look like any wrong one
				want = factor.ErrCodeWrong
			case rel < -1:
				want = factor.ErrCodeStale
			}
			if !errors.Is(err, want) || (want == nil) != (err == nil) {
				t.Errorf("drift %d, code of step %+d: got %v, want %v", drift, off, err, want)
			}
		}
	}
}

func TestAStepIsAcceptedOnce(t *testing.T) {
	d := factor.VirtualDevice{Seed: rfcSeed}
	step, err := d.Verify([]string{code(rfcSeed, 0)}, noon)
	if err != nil {
		t.Fatal(err)
	}
	d.LastStep = step
	if _, err := d.Verify([]string{code(rfcSeed, 0)}, noon); !errors.Is(err, factor.ErrCodeUsed) {
		t.Errorf("same code again: %v", err)
	}
	if _, err := d.Verify([]string{code(rfcSeed, -1)}, noon); !errors.Is(err, factor.ErrCodeUsed) {
		t.Errorf("an older one after it: %v", err)
	}
	if _, err := d.Verify([]string{code(rfcSeed, 1)}, noon); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestConsecutiveCodesHaveOneRefusal(t *testing.T) {
	c := func(offs ...int64) (codes []string) {
		for _, o := range offs {
			codes = append(codes, code(rfcSeed, o))
		}
		return codes
	}
	d := factor.VirtualDevice{Seed: rfcSeed}
	for _, good := range [][]string{c(-1, 0), c(0, 1), c(-2, -1), c(-2, -1, 0), c(-1, 0, 1)} {
		if _, err := d.Verify(good, noon); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range [][]string{c(0, -1), c(0, 0), c(-1, 1), c(-3, -2), c(1, 2), {code(rfcSeed, -1), "000000"}, {"000000", code(rfcSeed, 0)}, c(-1, 0, 2), c(-3, -2, 0)} {
		if _, err := d.Verify(bad, noon); !errors.Is(err, factor.ErrCodesWrong) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	d.LastStep = factor.StepAt(noon) - 1
	if _, err := d.Verify(c(-1, 0), noon); !errors.Is(err, factor.ErrCodesWrong) {
		t.Errorf("with the older step used: %v", err)
	}
	if _, err := d.Verify(c(0, 1), noon); err != nil {
		t.Errorf("both steps unused: %v", err)
	}
}

func TestTwoCodesTeachTheDrift(t *testing.T) {
	d := factor.VirtualDevice{Seed: rfcSeed}
	for first := int64(-10); first <= 9; first++ {
		step, drift, err := d.VerifyPair(code(rfcSeed, first), code(rfcSeed, first+1), noon)
		if err != nil {
			t.Errorf("pair from %+d: %v", first, err)
			continue
		}
		want := int(first + 1)
		if want >= -1 && want <= 1 {
			want = 0
		}
		if drift != want || step != factor.StepAt(noon)+first+1 {
			t.Errorf("pair from %+d: drift %d, want %d", first, drift, want)
		}
	}
	for _, c := range []struct {
		name          string
		first, second string
		want          error
	}{
		{"the same twice", code(rfcSeed, 0), code(rfcSeed, 0), factor.ErrPairSame},
		{"in the wrong order", code(rfcSeed, 1), code(rfcSeed, 0), factor.ErrPairApart},
		{"one left out", code(rfcSeed, -1), code(rfcSeed, 1), factor.ErrPairApart},
		{"beyond ten steps", code(rfcSeed, 10), code(rfcSeed, 11), factor.ErrPairNoMatch},
		{"before ten steps", code(rfcSeed, -12), code(rfcSeed, -11), factor.ErrPairNoMatch},
		{"second is no code", code(rfcSeed, 0), "000000", factor.ErrPairNoMatch},
	} {
		if _, _, err := d.VerifyPair(c.first, c.second, noon); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	d.LastStep = factor.StepAt(noon)
	if _, _, err := d.VerifyPair(code(rfcSeed, 0), code(rfcSeed, 1), noon); !errors.Is(err, factor.ErrCodeUsed) {
		t.Errorf("pair with a used step: %v", err)
	}
}

func TestCodesAsTyped(t *testing.T) {
	for _, in := range []string{"012345", "012 345", "012-345", " 012345 ", "０１２３４５", "０１２－３４５", "012\u00a0345"} {
		if got, err := factor.ParseCode(in); err != nil || got != "012345" {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for in, want := range map[string]error{"": factor.ErrCodeMissing, "   ": factor.ErrCodeMissing, "12345": factor.ErrCodeForm, "1234567": factor.ErrCodeForm, "12345a": factor.ErrCodeForm, "١٢٣٤٥٦": factor.ErrCodeForm} {
		if _, err := factor.ParseCode(in); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
}

func TestKeyURISurvivesOddNames(t *testing.T) {
	for _, name := range []string{"alice@example.com", "a:b@c", "名前 さん", "a&secret=x", "a/b?c#d", "50%"} {
		u, err := url.Parse(factor.KeyURI(rfcSeed, "Our: Service & 会社", name))
		if err != nil {
			t.Fatal(err)
		}
		issuer, account, ok := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), ":")
		if !ok || strings.Contains(account, ":") {
			t.Fatalf("label %q has not exactly one border", u.EscapedPath())
		}
		gotIssuer, _ := url.PathUnescape(issuer)
		gotName, _ := url.PathUnescape(account)
		if gotIssuer != "Our: Service & 会社" || gotName != name || u.Query().Get("issuer") != gotIssuer || u.Query().Get("secret") != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" {
			t.Errorf("%q came back as %q of %q in %s", name, gotName, gotIssuer, u)
		}
	}
}

func TestRecoveryCodesAreTakenAsTyped(t *testing.T) {
	codes, err := factor.NewRecoveryCodes(rand.NewChaCha8([32]byte{7}))
	if err != nil || len(codes) != 10 {
		t.Fatal(len(codes), err)
	}
	seen := map[string]bool{}
	for _, c := range codes {
		if seen[c] {
			t.Errorf("%s twice", c)
		}
		seen[c] = true
		for _, typed := range []string{c, strings.ToLower(c), strings.ReplaceAll(c, "-", ""), " " + strings.ReplaceAll(c, "-", " ")} {
			if got, err := factor.ParseRecoveryCode(typed); err != nil || got != c {
				t.Errorf("%q: %q, %v", typed, got, err)
			}
		}
	}
	if _, err := factor.ParseRecoveryCode("0000-0000-0000-0000"); !errors.Is(err, factor.ErrRecoveryForm) {
		t.Error(err)
	}
}

func FuzzCodes(f *testing.F) {
	f.Add("012 345")
	f.Add("ABCD-EFGH")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := factor.ParseCode(s); err == nil && (len(c) != 6 || strings.Trim(c, "0123456789") != "") {
			t.Errorf("%q became %q", s, c)
		}
		if c, err := factor.ParseRecoveryCode(s); err == nil {
			if again, err := factor.ParseRecoveryCode(c); err != nil || again != c {
				t.Errorf("%q became %q, then %q", s, c, again)
			}
		}
	})
}
