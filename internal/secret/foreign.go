package secret

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // other systems made hashes with it; they are replaced at the next sign-in
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

// foreignMark stands before a hash that another system made. So one in our own
// form is told from ours too: nobody has checked the password behind it.
const foreignMark = "imported:"

// Bounds of a foreign hash: to check it takes about a second and 256 MiB at
// most, and not so little that the hash is as good as the password.
const (
	foreignMaxBytes = 512
	foreignMaxKiB   = 256 << 10
	heavyKiB        = 64 << 10 // from here on one is checked at a time
	argonMaxKiB     = 1 << 20  // memory times passes
	argonMinKiB     = 512
	scryptMax       = 1 << 21 // N·r·p
	scryptMin       = 1 << 11
	pbkdf2Max       = 2_000_000 // rounds times blocks of the digest
	pbkdf2Min       = 1000      // RFC 8018 §4.2
	bcryptMax       = 14
	bcryptMin       = 5
	threadsMax      = 16
	saltMin         = 4
	saltMax         = 128
	keyMin          = 16
	keyMax          = 128
)

// Why a foreign hash is not taken.
var (
	ErrForeignForm  = errors.New("is not a hash of a kind and form that can be imported")
	ErrForeignDear  = errors.New("takes more than about a second, or 256 MiB, to check")
	ErrForeignCheap = errors.New("is made with too little work to be safe")
)

// Foreign returns the form in which a hash is kept that another system made
// (PHC strings of Argon2id, Argon2i and scrypt, PBKDF2 of passlib, Django's
// forms, bcrypt), and the name of its kind.
func Foreign(s string) (kept, kind string, err error) {
	f, err := parseForeign(s)
	if err != nil {
		return "", "", err
	}
	return foreignMark + s, f.kind, nil
}

// IsForeign reports whether a stored hash is one that another system made: its
// password was never looked at.
func IsForeign(stored string) bool { return strings.HasPrefix(stored, foreignMark) }

// A foreign is a hash of another system, taken apart.
type foreign struct {
	kind  string
	heavy bool
	is    func(password []byte) bool // in constant time
}

// key is a foreign hash of which the key is made anew and compared.
func key(kind string, want []byte, memoryKiB int, derive func(password []byte) ([]byte, error)) foreign {
	return foreign{kind: kind, heavy: memoryKiB > heavyKiB, is: func(password []byte) bool {
		got, err := derive(password)
		return err == nil && subtle.ConstantTimeCompare(got, want) == 1
	}}
}

// verifyForeign is Verify for a foreign hash. It costs a hash of ours beside
// it, so that a cheap one answers no faster than an unknown name; and costs it
// whether the password is right or not, since who is locked out must not learn
// which.
func (h *Hasher) verifyForeign(ctx context.Context, s, password string) (right bool, err error) {
	f, err := parseForeign(s)
	if err != nil {
		return false, err
	}
	leave, err := h.enter(ctx, f.heavy)
	if err != nil {
		return false, err
	}
	defer leave()
	_, salt, want, err := parsePHC(h.decoy)
	if err != nil {
		return false, err
	}
	h.key(h.params, password, salt, uint32(len(want)))
	return f.is([]byte(password)), nil
}

func parseForeign(s string) (foreign, error) {
	if len(s) > foreignMaxBytes || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) { // decoders of base64 skip the ends of lines
		return foreign{}, ErrForeignForm
	}
	if strings.HasPrefix(s, "argon2$argon2") || strings.HasPrefix(s, "bcrypt$$2") { // Django's name of the kind before the hash
		_, s, _ = strings.Cut(s, "$")
		s = "$" + strings.TrimPrefix(s, "$")
	}
	parts := strings.Split(s, "$")
	switch {
	case len(parts) == 6 && parts[0] == "" && (parts[1] == "argon2id" || parts[1] == "argon2i"):
		return parseArgon2(parts[1], parts[2], parts[3], parts[4], parts[5])
	case len(parts) == 5 && parts[0] == "" && parts[1] == "scrypt":
		return parseScryptPHC(parts[2], parts[3], parts[4])
	case len(parts) == 6 && parts[0] == "scrypt": // Django: N, salt, r, p
		return parseScryptDjango(parts)
	case len(parts) == 5 && parts[0] == "" && passlib[parts[1]].digest != nil:
		return parsePasslib(passlib[parts[1]], parts[2], parts[3], parts[4])
	case len(parts) == 4 && django[parts[0]].digest != nil:
		return parseDjango(django[parts[0]], parts[1], parts[2], parts[3])
	case len(parts) == 4 && parts[0] == "" && (parts[1] == "2a" || parts[1] == "2b" || parts[1] == "2y"):
		return parseBcrypt(s, parts[2], parts[3])
	}
	return foreign{}, ErrForeignForm
}

func parseArgon2(kind, version, cost, salt64, key64 string) (f foreign, err error) {
	n, ok := numbers(cost, "m", "t", "p")
	salt, want, err := saltAndKey(base64.RawStdEncoding, salt64, key64)
	switch {
	case err != nil:
		return f, err
	case !ok || version != "v=19" || len(salt) < 8:
		return f, ErrForeignForm
	case n[0] > foreignMaxKiB || n[1] > argonMaxKiB/n[0] || n[2] > threadsMax:
		return f, ErrForeignDear
	case n[0] < 8*n[2] || n[0]*n[1] < argonMinKiB:
		return f, ErrForeignCheap
	}
	derive := argon2.IDKey
	if kind == "argon2i" {
		derive = argon2.Key
	}
	return key(kind, want, n[0], func(password []byte) ([]byte, error) {
		return derive(password, salt, uint32(n[1]), uint32(n[0]), uint8(n[2]), uint32(len(want))), nil
	}), nil
}

func parseScryptPHC(cost, salt64, key64 string) (f foreign, err error) {
	n, ok := numbers(cost, "ln", "r", "p")
	salt, want, err := saltAndKey(base64.RawStdEncoding, salt64, key64)
	switch {
	case err != nil:
		return f, err
	case !ok:
		return f, ErrForeignForm
	case n[0] > 30:
		return f, ErrForeignDear
	}
	return newScrypt(1<<n[0], n[1], n[2], salt, want)
}

func parseScryptDjango(parts []string) (f foreign, err error) {
	n, ok := number(parts[1])
	r, ok2 := number(parts[3])
	p, ok3 := number(parts[4])
	want, err := base64.StdEncoding.Strict().DecodeString(parts[5])
	if !ok || !ok2 || !ok3 || err != nil || n < 2 || n&(n-1) != 0 || !sized([]byte(parts[2]), want) {
		return f, ErrForeignForm
	}
	return newScrypt(n, r, p, []byte(parts[2]), want)
}

func newScrypt(n, r, p int, salt, want []byte) (f foreign, err error) {
	switch {
	case r > scryptMax/n || p > scryptMax/(n*r): // of which 128 bytes each are held
		return f, ErrForeignDear
	case n*r*p < scryptMin:
		return f, ErrForeignCheap
	}
	return key("scrypt", want, n*r/8, func(password []byte) ([]byte, error) {
		return scrypt.Key(password, salt, n, r, p, len(want))
	}), nil
}

// A prf is the digest of a PBKDF2.
type prf struct {
	kind   string
	digest func() hash.Hash
}

var (
	pbkdf2SHA1   = prf{"pbkdf2-sha1", sha1.New}
	pbkdf2SHA256 = prf{"pbkdf2-sha256", sha256.New}
	pbkdf2SHA512 = prf{"pbkdf2-sha512", sha512.New}

	passlib = map[string]prf{"pbkdf2": pbkdf2SHA1, "pbkdf2-sha1": pbkdf2SHA1, "pbkdf2-sha256": pbkdf2SHA256, "pbkdf2-sha512": pbkdf2SHA512}
	django  = map[string]prf{"pbkdf2_sha1": pbkdf2SHA1, "pbkdf2_sha256": pbkdf2SHA256}
)

// parsePasslib reads the rounds as passlib writes them, or as PHC does (i=…,
// perhaps l=…), and base64 with . or + in it.
func parsePasslib(d prf, cost, salt64, key64 string) (f foreign, err error) {
	plain := strings.NewReplacer(".", "+")
	salt, want, err := saltAndKey(base64.RawStdEncoding, plain.Replace(salt64), plain.Replace(key64))
	if err != nil {
		return f, err
	}
	rounds, ok := number(cost)
	if !ok {
		var n []int
		if n, ok = numbers(cost, "i"); !ok {
			n, ok = numbers(cost, "i", "l")
			ok = ok && n[1] == len(want)
		}
		if ok {
			rounds = n[0]
		}
	}
	if !ok {
		return f, ErrForeignForm
	}
	return newPBKDF2(d, rounds, salt, want)
}

// parseDjango takes the salt as it stands: it is text.
func parseDjango(d prf, cost, salt, key64 string) (f foreign, err error) {
	rounds, ok := number(cost)
	want, err := base64.StdEncoding.Strict().DecodeString(key64)
	if !ok || err != nil || !sized([]byte(salt), want) {
		return f, ErrForeignForm
	}
	return newPBKDF2(d, rounds, []byte(salt), want)
}

func newPBKDF2(d prf, rounds int, salt, want []byte) (f foreign, err error) {
	size := d.digest().Size()
	switch blocks := (len(want) + size - 1) / size; {
	case rounds > pbkdf2Max/blocks:
		return f, ErrForeignDear
	case rounds < pbkdf2Min:
		return f, ErrForeignCheap
	}
	return key(d.kind, want, 0, func(password []byte) ([]byte, error) {
		return pbkdf2.Key(d.digest, string(password), salt, rounds, len(want))
	}), nil
}

const bcryptDigits = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func parseBcrypt(s, cost, rest string) (f foreign, err error) {
	n, err := strconv.ParseUint(cost, 10, 8)
	switch {
	case err != nil || len(cost) != 2 || n < 4 || len(rest) != 53 || strings.Trim(rest, bcryptDigits) != "":
		return f, ErrForeignForm
	case n > bcryptMax:
		return f, ErrForeignDear
	case n < bcryptMin:
		return f, ErrForeignCheap
	}
	return foreign{kind: "bcrypt", is: func(password []byte) bool {
		return bcrypt.CompareHashAndPassword([]byte(s), password) == nil
	}}, nil
}

// number reads a count as it is written in one way alone.
func number(s string) (int, bool) {
	if s == "" || len(s) > 9 || s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// numbers reads a=1,b=2: the names given, in their order.
func numbers(s string, names ...string) ([]int, bool) {
	fields := strings.Split(s, ",")
	if len(fields) != len(names) {
		return nil, false
	}
	list := make([]int, len(names))
	for k, field := range fields {
		value, named := strings.CutPrefix(field, names[k]+"=")
		n, ok := number(value)
		if !named || !ok {
			return nil, false
		}
		list[k] = n
	}
	return list, true
}

func saltAndKey(e *base64.Encoding, salt64, key64 string) (salt, want []byte, err error) {
	if salt, err = e.Strict().DecodeString(salt64); err == nil {
		want, err = e.Strict().DecodeString(key64)
	}
	if err != nil || !sized(salt, want) {
		return nil, nil, ErrForeignForm
	}
	return salt, want, nil
}

func sized(salt, want []byte) bool {
	return len(salt) >= saltMin && len(salt) <= saltMax && len(want) >= keyMin && len(want) <= keyMax
}
