package factor

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238 with SHA-1 is what every authenticator app does
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"countersign/internal/fault"
)

// Parameters of the virtual MFA device (RFC 6238 §5.2, RFC 4226 §5.3).
const (
	TOTPDigits  = 6
	TOTPStep    = 30 * time.Second
	SeedBytes   = 20 // 160 bits, RFC 4226 §4 R6
	totpWindow  = 1  // steps accepted to each side
	PairWindow  = 10 // steps to each side when two codes in a row are given to learn the drift
	staleWindow = 10 // steps within which a code is recognised as ours but too old or too new
)

// Faults about codes of a virtual MFA device.
var (
	ErrCodeMissing    = fault.New(fault.Invalid, "code.missing").On("code")
	ErrCodeForm       = fault.New(fault.Invalid, "code.form").On("code")
	ErrCodeWrong      = fault.New(fault.Unproven, "code.wrong").On("code")
	ErrCodeUsed       = fault.New(fault.Unproven, "code.used").On("code")
	ErrCodeStale      = fault.New(fault.Unproven, "code.stale").On("code")
	ErrCodesWrong     = fault.New(fault.Unproven, "codes.wrong").On("code")
	ErrPairSame       = fault.New(fault.Unproven, "pair.same").On("code2")
	ErrPairApart      = fault.New(fault.Unproven, "pair.apart").On("code2")
	ErrPairNoMatch    = fault.New(fault.Unproven, "pair.no_match").On("code")
	ErrSecondMissing  = fault.New(fault.Invalid, "code.second_missing").On("code2")
	ErrMoreCodesAsked = fault.New(fault.Unproven, "code.more_asked").On("code")
)

// A VirtualDevice is what the server knows of a bound virtual MFA device.
type VirtualDevice struct {
	Seed     []byte
	Drift    int   // steps that the device's clock is ahead of ours, learned from two codes in a row
	LastStep int64 // newest step accepted; no step at or below it ever is again
}

// NewSeed draws the seed of a virtual MFA device.
func NewSeed(random io.Reader) ([]byte, error) {
	b := make([]byte, SeedBytes)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("draw a seed: %w", err)
	}
	return b, nil
}

// HOTP is RFC 4226 §5.3 for counter, with six digits.
func HOTP(seed []byte, counter int64) string { return hotp(seed)(counter) }

// hotp is HOTP of one seed, for counters one after the other.
func hotp(seed []byte) func(counter int64) string {
	m := hmac.New(sha1.New, seed)
	var c [8]byte
	var sum []byte
	return func(counter int64) string {
		binary.BigEndian.PutUint64(c[:], uint64(counter))
		m.Reset()
		m.Write(c[:])
		sum = m.Sum(sum[:0])
		at := sum[len(sum)-1] & 0xf
		return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[at:])&0x7fffffff)%1_000_000)
	}
}

// StepAt returns the time step of an instant (RFC 6238 §4.2).
func StepAt(now time.Time) int64 { return now.Unix() / int64(TOTPStep/time.Second) }

// ParseCode takes a six-digit code as typed.
func ParseCode(s string) (string, error) {
	s = NormalCode(s)
	if s == "" {
		return "", ErrCodeMissing
	}
	if !allDigits(s) || len(s) != TOTPDigits {
		return "", ErrCodeForm.With("Digits", TOTPDigits)
	}
	return s, nil
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// Verify checks codes, which must be those of consecutive steps, the newest
// within one step of now. It returns the step to be remembered as the newest
// accepted. Every step of the window is computed whatever the codes are.
// With more than one code there is one refusal for every way to be wrong.
func (d VirtualDevice) Verify(codes []string, now time.Time) (step int64, err error) {
	n := int64(len(codes))
	if n == 0 {
		return 0, ErrCodeMissing
	}
	center := StepAt(now) + int64(d.Drift)
	lowest := center - staleWindow - (n - 1)
	codeAt := hotp(d.Seed)
	made := make([]string, 2*staleWindow+n)
	for i := range made {
		made[i] = codeAt(lowest + int64(i))
	}
	matched, used, stale := int64(-1), false, false
	for i := int64(0); i <= 2*staleWindow; i++ {
		equal := 1
		for j, code := range codes {
			equal &= subtle.ConstantTimeCompare([]byte(made[i+int64(j)]), []byte(code))
		}
		oldest := lowest + i
		newest := oldest + n - 1
		near := newest >= center-totpWindow && newest <= center+totpWindow
		switch {
		case equal == 0:
		case near && oldest > d.LastStep:
			matched = newest
		case near:
			used = true
		case newest < center: // of the future nothing is said: it would be a guess worth keeping
			stale = true
		}
	}
	switch {
	case matched >= 0:
		return matched, nil
	case n > 1:
		return 0, ErrCodesWrong
	case used:
		return 0, ErrCodeUsed
	case stale:
		return 0, ErrCodeStale
	}
	return 0, ErrCodeWrong
}

// VerifyPair checks two codes of consecutive steps that may lie anywhere
// within ten steps of now: they prove the device and teach its drift
// (RFC 6238 §6). It says which rule a wrong pair broke.
func (d VirtualDevice) VerifyPair(first, second string, now time.Time) (step int64, drift int, err error) {
	if first == second {
		return 0, 0, ErrPairSame
	}
	here := StepAt(now)
	codeAt := hotp(d.Seed)
	var firstAt, secondAt []int64
	for s := here - PairWindow; s <= here+PairWindow; s++ {
		made := []byte(codeAt(s))
		if subtle.ConstantTimeCompare(made, []byte(first)) == 1 {
			firstAt = append(firstAt, s)
		}
		if subtle.ConstantTimeCompare(made, []byte(second)) == 1 {
			secondAt = append(secondAt, s)
		}
	}
	for _, a := range firstAt {
		for _, b := range secondAt {
			if b != a+1 {
				continue
			}
			if a <= d.LastStep {
				return 0, 0, ErrCodeUsed
			}
			// The second code may be typed just before or after its step ends:
			// a device one step off is a device on time.
			drift = int(b - here)
			if drift >= -1 && drift <= 1 {
				drift = 0
			}
			return b, drift, nil
		}
	}
	if len(firstAt) > 0 && len(secondAt) > 0 {
		return 0, 0, ErrPairApart
	}
	return 0, 0, ErrPairNoMatch
}

// SeedText is the seed as people type it: base32 (RFC 4648 §6) in groups of four.
func SeedText(seed []byte) string {
	s := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed)
	var b strings.Builder
	for i, r := range s {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// KeyURI is the otpauth URI that authenticator apps scan. Both issuer and
// account are escaped: a colon in a name must not move the border between them.
func KeyURI(seed []byte, issuer, account string) string {
	q := url.Values{}
	q.Set("secret", strings.ReplaceAll(SeedText(seed), " ", ""))
	q.Set("issuer", issuer)
	q.Set("algorithm", "SHA1")
	q.Set("digits", fmt.Sprint(TOTPDigits))
	q.Set("period", fmt.Sprint(int(TOTPStep/time.Second)))
	label := escapeName(issuer) + ":" + escapeName(account)
	// Apps read %20, not +, as a space.
	return "otpauth://totp/" + label + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

func escapeName(s string) string { return strings.ReplaceAll(url.PathEscape(s), ":", "%3A") }
