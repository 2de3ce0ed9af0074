package imports

import (
	"encoding/base32"
	"errors"
	"net/url"
	"strings"

	"countersign/internal/domain/factor"
)

// Lengths of a seed in bytes (RFC 4226 §4 R6): what must be, what should be,
// and the block of the HMAC, beyond which a seed gains nothing.
const (
	seedMin    = 16
	seedWanted = factor.SeedBytes
	seedMax    = 64
)

// Why the seed of a virtual MFA device is not taken. None repeats it.
var (
	errURI       = errors.New("otpauth is not like otpauth://totp/Name?secret=BASE32")
	errNotTOTP   = errors.New("otpauth is not of TOTP: a counter cannot be brought in")
	errTOTP      = errors.New("otpauth is not of SHA1, 6 digits and 30 seconds, which are all that this server checks")
	errSeed      = errors.New("otpauth has a secret that is not base32")
	errSeedShort = errors.New("otpauth has a secret of less than 128 bits")
	errSeedLong  = errors.New("otpauth has a secret of more than 512 bits")
)

// parseSeed reads the seed of an otpauth URI, as authenticator apps scan it.
func parseSeed(uri string) ([]byte, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "otpauth" { // what went wrong would quote the secret
		return nil, errURI
	}
	if !strings.EqualFold(u.Host, "totp") {
		return nil, errNotTOTP
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errURI
	}
	for name, values := range query {
		if len(values) != 1 || name != strings.ToLower(name) { // which of them is meant, no two readers agree on
			return nil, errURI
		}
	}
	for name, only := range map[string]string{"algorithm": "SHA1", "digits": "6", "period": "30"} {
		if query.Has(name) && !strings.EqualFold(query.Get(name), only) {
			return nil, errTOTP
		}
	}
	text := strings.ToUpper(strings.TrimRight(query.Get("secret"), "="))
	if text == "" {
		return nil, errURI
	}
	if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" { // the decoder skips the ends of lines
		return nil, errSeed
	}
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	switch {
	case err != nil:
		return nil, errSeed
	case len(seed) < seedMin:
		return nil, errSeedShort
	case len(seed) > seedMax:
		return nil, errSeedLong
	}
	return seed, nil
}
