// Package secret makes, hashes, seals and compares what must not be printed.
package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/big"

	"countersign/internal/fault"
)

// TokenSize is the length of a token in bytes (256 bits).
const TokenSize = 32

// A Token is a bearer secret of 256 random bits. It prints as "[secret]"; the
// store keeps its hash alone.
type Token struct{ value string }

// ErrBadToken is the answer to what cannot be a token of ours.
var ErrBadToken = fault.New(fault.Invalid, "secret.bad_token")

// NewToken draws a token from random.
func NewToken(random io.Reader) (Token, error) {
	var b [TokenSize]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Token{}, fmt.Errorf("draw a token: %w", err)
	}
	return Token{base64.RawURLEncoding.EncodeToString(b[:])}, nil
}

// ParseToken takes a token as it comes from a cookie, a header or a link.
func ParseToken(s string) (Token, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != TokenSize || len(s) != base64.RawURLEncoding.EncodedLen(TokenSize) { // the decoder skips line ends
		return Token{}, ErrBadToken
	}
	return Token{s}, nil
}

// Reveal returns the token itself, for the one who is to hold it.
func (t Token) Reveal() string { return t.value }

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.value == "" }

// Hash returns what the store keeps. A token has 256 random bits, so that a
// plain hash cannot be searched.
func (t Token) Hash() []byte {
	h := sha256.Sum256([]byte(t.value))
	return h[:]
}

// String hides the token.
func (t Token) String() string { return "[secret]" }

// LogValue hides the token.
func (t Token) LogValue() slog.Value { return slog.StringValue("[secret]") }

// GoString hides the token.
func (t Token) GoString() string { return "[secret]" }

// Digits draws a code of n decimal digits, each value equally likely.
func Digits(random io.Reader, n int) (string, error) {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	v, err := rand.Int(random, limit)
	if err != nil {
		return "", fmt.Errorf("draw a code: %w", err)
	}
	return fmt.Sprintf("%0*d", n, v), nil
}

// Equal compares in constant time.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
