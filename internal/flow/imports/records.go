// Package imports is how the operator brings in what people bound elsewhere:
// security keys of the old protocol, U2F.
package imports

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"countersign/internal/prove"
)

// Bounds of a file.
const (
	RecordsMax   = 20_000 // seconds, in which nobody else writes
	lineMaxBytes = 16 << 10
	handleMax    = 255 // bytes: U2F gives its length in one
	appIDMax     = 512
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

// A Bad is a line that cannot be taken, and why.
type Bad struct {
	Line int
	Why  string
}

// columns of a file, in the order in which it is best written. A name need not
// be given.
var columns = []string{"user", "key_handle", "public_key", "app_id", "counter", "name"}

// Parse reads a file: CSV whose first line names the columns, or a JSON object
// a line. The error is about the file as a whole.
func Parse(r io.Reader) (list []Record, bad []Bad, err error) {
	in := bufio.NewReaderSize(r, lineMaxBytes)
	var read func(line string) (fields, error)
	seen := map[string]int{} // key handles, and the lines they stand in
	for number := 1; ; number++ {
		line, long, err := nextLine(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the file: %w", err)
		}
		if number == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		text := strings.TrimSpace(line)
		if text == "" && !long {
			continue
		}
		if read == nil {
			if strings.HasPrefix(text, "{") {
				read = readJSON
			} else if read, err = readCSV(text); err != nil {
				return nil, nil, err
			} else {
				continue // it named the columns
			}
		}
		if len(list)+len(bad) == RecordsMax {
			return nil, nil, fmt.Errorf("the file has more than %d keys: take it apart", RecordsMax)
		}
		record, err := Record{}, errLong
		if !long {
			record, err = readLine(line, read)
		}
		if before, twice := seen[string(record.KeyHandle)]; err == nil && twice {
			err = fmt.Errorf("key_handle is that of line %d", before)
		}
		if err != nil {
			bad = append(bad, Bad{number, err.Error()})
			continue
		}
		record.Line = number
		seen[string(record.KeyHandle)] = number
		list = append(list, record)
	}
	if len(list)+len(bad) == 0 {
		return nil, nil, errors.New("the file names no keys")
	}
	return list, bad, nil
}

var (
	errLong = fmt.Errorf("the line is longer than %d bytes", lineMaxBytes)
	errCSV  = errors.New("the line is not CSV of the columns that the first line names")
	errJSON = errors.New("the line is not one JSON object of the documented fields")
)

// nextLine reads one line, of which no more is kept than lineMaxBytes.
func nextLine(in *bufio.Reader) (line string, long bool, err error) {
	b, more, err := in.ReadLine()
	line, long = string(b), more
	for more && err == nil {
		_, more, err = in.ReadLine()
	}
	if err == io.EOF && long {
		err = nil
	}
	return line, long, err
}

// fields are those of one line, as text.
type fields map[string]string

// readCSV reads the line that names the columns, and returns what reads the
// others. No field has two lines, and so a stray quote costs its own line alone.
func readCSV(header string) (func(string) (fields, error), error) {
	split := func(line string) ([]string, error) {
		r := csv.NewReader(strings.NewReader(line))
		r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
		return r.Read()
	}
	names, err := split(header)
	for n, name := range names {
		names[n] = strings.ToLower(strings.TrimSpace(name))
		if err == nil && (!slices.Contains(columns, names[n]) || slices.Contains(names[:n], names[n])) {
			err = errCSV
		}
	}
	if err != nil || len(names) < len(columns)-1 || len(names) == len(columns)-1 && slices.Contains(names, "name") {
		return nil, fmt.Errorf("the first line must name the columns: %s; or be a JSON object", strings.Join(columns, ","))
	}
	return func(line string) (fields, error) {
		values, err := split(line)
		if err != nil || len(values) != len(names) {
			return nil, errCSV
		}
		f := fields{}
		for n, v := range values {
			f[names[n]] = v
		}
		return f, nil
	}, nil
}

func readJSON(line string) (fields, error) {
	var f struct {
		User      string      `json:"user"`
		KeyHandle string      `json:"key_handle"`
		PublicKey string      `json:"public_key"`
		AppID     string      `json:"app_id"`
		Counter   json.Number `json:"counter"`
		Name      string      `json:"name"`
	}
	in := json.NewDecoder(strings.NewReader(line))
	in.DisallowUnknownFields()
	if strings.TrimSpace(line)[0] != '{' || in.Decode(&f) != nil {
		return nil, errJSON
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, errJSON
	}
	return fields{"user": f.User, "key_handle": f.KeyHandle, "public_key": f.PublicKey, "app_id": f.AppID, "counter": f.Counter.String(), "name": f.Name}, nil
}

func readLine(line string, read func(string) (fields, error)) (r Record, err error) {
	if !utf8.ValidString(line) {
		return r, errors.New("the line is not UTF-8")
	}
	f, err := read(line)
	if err != nil {
		return r, err
	}
	for _, name := range columns {
		if f[name] = strings.TrimSpace(f[name]); f[name] == "" && name != "name" {
			return r, fmt.Errorf("%s is missing", name)
		}
	}
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
