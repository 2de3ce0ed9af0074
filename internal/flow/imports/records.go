// Package imports is how the operator brings in people from elsewhere, with
// their password hashes and seeds, and security keys of the old protocol, U2F.
package imports

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"countersign/internal/prove"
)

// Bounds of a file.
const (
	RecordsMax = 20_000 // seconds, in which nobody else writes
	handleMax  = 255    // bytes: U2F gives its length in one
	appIDMax   = 512
)

// A Record is one key as the file describes it.
type Record struct {
	Line      int
	User      string // address of an owner, or name of a RAM user
	KeyHandle []byte
	PublicKey []byte // 65 bytes of X9.62, a point on P-256
	AppID     string // as the key knows it: it signs for its hash
	Counter   uint32
	Name      string // empty: one will be found
}

// keyForm is a file of keys. A name need not be given.
var keyForm = form{noun: "keys", most: RecordsMax, columns: []column{
	{name: "user"}, {name: "key_handle"}, {name: "public_key"}, {name: "app_id"}, {name: "counter", bare: true}, {name: "name", optional: true},
}}

// Parse reads a file of keys: CSV whose first line names the columns, or a JSON
// object a line. The error is about the file as a whole.
func Parse(r io.Reader) (list []Record, bad []Bad, err error) {
	seen := map[string]int{} // key handles, and the lines they stand in
	bad, err = keyForm.each(r, Either, func(number int, line fields) error {
		record, err := readKey(line)
		if err != nil {
			return err
		}
		if before, twice := seen[string(record.KeyHandle)]; twice {
			return fmt.Errorf("key_handle is that of line %d", before)
		}
		record.Line = number
		seen[string(record.KeyHandle)] = number
		list = append(list, record)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return list, bad, nil
}

func readKey(f fields) (r Record, err error) {
	r.User = f["user"]
	decode, err := encoding(f["public_key"])
	if err != nil {
		return r, err
	}
	if r.PublicKey, err = decode(f["public_key"]); err == nil {
		_, err = ecdh.P256().NewPublicKey(r.PublicKey) // which takes points of the curve alone
	}
	if err != nil {
		return r, errors.New("public_key is not a point on P-256 (X9.62, not compressed)")
	}
	if r.KeyHandle, err = decode(f["key_handle"]); err != nil {
		return r, errors.New("key_handle is not written as public_key is, in base64url or hex")
	}
	if n := len(r.KeyHandle); n == 0 || n > handleMax {
		return r, fmt.Errorf("key_handle is not 1 to %d bytes", handleMax)
	}
	if r.AppID = f["app_id"]; !isAppID(r.AppID) {
		return r, errors.New("app_id is not like https://example.com/u2f-app-id.json")
	}
	counter, err := strconv.ParseUint(f["counter"], 10, 32)
	if err != nil {
		return r, fmt.Errorf("counter is not a number from 0 to %d", uint32(1<<32-1))
	}
	r.Counter = uint32(counter)
	if r.Name, err = prove.PasskeyName(f["name"]); err != nil {
		return r, errors.New("name is longer than 64 characters, or has some that nobody sees")
	}
	return r, nil
}

const keyBytes = 65 // of X9.62, not compressed

// encoding says how the bytes of a line are written, by the length of its
// public key: a key handle alone might be read in two ways.
func encoding(key string) (func(string) ([]byte, error), error) {
	switch len(strings.TrimRight(key, "=")) {
	case hex.EncodedLen(keyBytes):
		return hex.DecodeString, nil
	case base64.RawURLEncoding.EncodedLen(keyBytes):
		return decodeBase64, nil
	}
	return nil, fmt.Errorf("public_key is not %d bytes in base64url or hex", keyBytes)
}

// decodeBase64 reads either alphabet, with or without what fills up at the end.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // which the decoder would skip
		return nil, errCSV
	}
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// isAppID reports whether a key can have been bound under s in a browser.
func isAppID(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= appIDMax && strings.HasPrefix(s, "https://") && u.Hostname() != "" && u.User == nil && u.Fragment == "" && !bytes.ContainsFunc([]byte(s), func(r rune) bool { return r <= ' ' || r > '~' })
}
