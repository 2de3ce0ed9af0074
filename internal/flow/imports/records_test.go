package imports_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"

	"countersign/internal/flow/imports"
)

const header = "user,key_handle,public_key,app_id,counter,name\n"

// key is the public half of a key, X9.62.
func key(t testing.TB) []byte {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k.PublicKey().Bytes()
}

var b64 = base64.RawURLEncoding.EncodeToString

// told are the bad lines as number:reason.
func told(bad []imports.Bad) (list []string) {
	for _, b := range bad {
		list = append(list, fmt.Sprintf("%d:%s", b.Line, b.Why))
	}
	return list
}

func TestAKeyIsReadHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	k := key(t)
	handle := []byte{0xfb, 0xff, 0xfe, 0xca} // +//+yg== in the other alphabet
	std := base64.StdEncoding.EncodeToString
	object := func(counter string) string {
		return fmt.Sprintf(`{"user":"alice@example.com","key_handle":%q,"public_key":%q,"app_id":"https://id.example.com","counter":%s}`, b64(handle), b64(k), counter)
	}
	row := func(handle, key string) string {
		return "alice@example.com," + handle + "," + key + ",https://id.example.com,7,"
	}
	for name, text := range map[string]string{
		"base64url":        header + row(b64(handle), b64(k)),
		"base64":           header + row(std(handle), std(k)),
		"hex":              header + row(hex.EncodeToString(handle), hex.EncodeToString(k)),
		"HEX":              header + row(strings.ToUpper(hex.EncodeToString(handle)), strings.ToUpper(hex.EncodeToString(k))),
		"CRLF and a BOM":   "\ufeff" + strings.ReplaceAll(header+row(b64(handle), b64(k)), "\n", "\r\n") + "\r\n\r\n",
		"quotes":           header + `"alice@example.com", "` + b64(handle) + `", "` + b64(k) + `","https://id.example.com",7,""`,
		"any order":        "Counter,App_ID,public_key,key_handle,USER\n7,https://id.example.com," + b64(k) + "," + b64(handle) + ",alice@example.com",
		"JSON":             object("7"),
		"JSON, and a text": "\n" + object(`"7"`) + "\n",
	} {
		list, bad, err := imports.Parse(strings.NewReader(text))
		if err != nil || len(bad) != 0 || len(list) != 1 {
			t.Errorf("%s: %v, %v, %v", name, list, told(bad), err)
			continue
		}
		if r := list[0]; r.User != "alice@example.com" || !slices.Equal(r.KeyHandle, handle) || !slices.Equal(r.PublicKey, k) || r.AppID != "https://id.example.com" || r.Counter != 7 || r.Name != "" || r.Line < 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestBadLinesAreSaidByNumber(t *testing.T) {
	t.Parallel()
	k, off := key(t), key(t)
	off[64] ^= 1
	short := append([]byte{2}, k[1:33]...)
	row := func(change map[string]string) string {
		f := map[string]string{"user": "alice@example.com", "key_handle": b64([]byte(fmt.Sprint(change))), "public_key": b64(k), "app_id": "https://id.example.com", "counter": "0", "name": "Key"}
		for name, v := range change {
			f[name] = v
		}
		return strings.Join([]string{f["user"], f["key_handle"], f["public_key"], f["app_id"], f["counter"], f["name"]}, ",")
	}
	one := func(name, v string) string { return row(map[string]string{name: v}) }
	rows := []struct{ line, want string }{
		{row(nil), ""},
		{one("user", " "), "user is missing"},
		{one("key_handle", ""), "key_handle is missing"},
		{one("key_handle", "===="), "key_handle is not 1 to 255 bytes"},
		{one("key_handle", "a b"), "key_handle is not written as public_key is, in base64url or hex"},
		{one("key_handle", b64(make([]byte, 256))), "key_handle is not 1 to 255 bytes"},
		{one("key_handle", b64(make([]byte, 255))), ""},
		{one("public_key", b64(k[1:])), "public_key is not 65 bytes in base64url or hex"},
		{one("public_key", b64(short)), "public_key is not 65 bytes in base64url or hex"},
		{one("public_key", b64(off)), "public_key is not a point on P-256 (X9.62, not compressed)"},
		{one("public_key", b64(make([]byte, 65))), "public_key is not a point on P-256 (X9.62, not compressed)"},
		{one("public_key", strings.Repeat("?", 87)), "public_key is not a point on P-256 (X9.62, not compressed)"},
		{one("public_key", hex.EncodeToString(k)), "key_handle is not written as public_key is, in base64url or hex"},
		{one("app_id", "http://id.example.com"), "app_id is not like https://example.com/u2f-app-id.json"},
		{one("app_id", "id.example.com"), "app_id is not like https://example.com/u2f-app-id.json"},
		{one("app_id", "https:///x"), "app_id is not like https://example.com/u2f-app-id.json"},
		{one("app_id", "https://me@example.com"), "app_id is not like https://example.com/u2f-app-id.json"},
		{one("app_id", "https://example.com/a b"), "app_id is not like https://example.com/u2f-app-id.json"},
		{one("counter", ""), "counter is missing"},
		{one("counter", "-1"), "counter is not a number from 0 to 4294967295"},
		{one("counter", "4294967296"), "counter is not a number from 0 to 4294967295"},
		{one("counter", "1.5"), "counter is not a number from 0 to 4294967295"},
		{one("counter", "4294967295"), ""},
		{one("name", strings.Repeat("ü", 65)), "name is longer than 64 characters, or has some that nobody sees"},
		{one("name", "a\x01b"), "name is longer than 64 characters, or has some that nobody sees"},
		{one("name", "\xff"), "the line is not UTF-8"},
		{row(nil), "key_handle is that of line 2"},
		{row(nil) + ",x", "the line is not CSV of the columns that the first line names"},
		{"alice", "the line is not CSV of the columns that the first line names"},
		{`alice,"`, "the line is not CSV of the columns that the first line names"},
		{"{}", "the line is not CSV of the columns that the first line names"},
		{one("name", strings.Repeat("x", 20_000)), "the line is longer than 16384 bytes"},
		{one("name", "last"), ""},
	}
	text, want, good := header, []string(nil), 0
	for n, r := range rows {
		text += r.line + "\n"
		if r.want != "" {
			want = append(want, fmt.Sprintf("%d:%s", n+2, r.want))
		} else {
			good++
		}
	}
	list, bad, err := imports.Parse(strings.NewReader(text))
	if err != nil || len(list) != good || strings.Join(told(bad), "\n") != strings.Join(want, "\n") {
		t.Errorf("%d good, want %d, %v; bad\n%s\nwant\n%s", len(list), good, err, strings.Join(told(bad), "\n"), strings.Join(want, "\n"))
	}

	first := fmt.Sprintf(`{"user":"alice@example.com","key_handle":"AAAA","public_key":%q,"app_id":"https://id.example.com","counter":0}`, b64(k))
	for line, want := range map[string]string{
		first + " " + first: "2:the line is not one JSON object of the documented fields",
		`{"user":"alice`:    "2:the line is not one JSON object of the documented fields",
		`[1]`:               "2:the line is not one JSON object of the documented fields",
		`{"user":1}`:        "2:the line is not one JSON object of the documented fields",
		strings.Replace(first, "{", `{"secret":"x",`, 1): "2:the line is not one JSON object of the documented fields",
		`{}`:                       "2:user is missing",
		`{"user":null}`:            "2:user is missing",
		header[:len(header)-1]:     "2:the line is not one JSON object of the documented fields",
		first:                      "2:key_handle is that of line 1",
		first[:len(first)-2] + "}": "2:the line is not one JSON object of the documented fields",
	} {
		list, bad, err := imports.Parse(strings.NewReader(first + "\n" + line))
		if err != nil || len(list) != 1 || strings.Join(told(bad), "\n") != want {
			t.Errorf("%s: %d good, %v, %v; want %s", line, len(list), told(bad), err, want)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func TestAFileThatIsNoneIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	const columns = "the first line must name the columns: user,key_handle,public_key,app_id,counter,name; or be a JSON object"
	for name, c := range map[string]struct {
		in   io.Reader
		want string
	}{
		"nothing":            {strings.NewReader(" \n\r\n"), "the file names no keys"},
		"columns alone":      {strings.NewReader(header), "the file names no keys"},
		"no columns":         {strings.NewReader("alice@example.com,AAAA,BBBB,https://x.example,0,\n"), columns + "; column 1 of 6 is none of these"},
		"an unknown column":  {strings.NewReader("user,key_handle,public_key,app_id,counter,label\n"), columns + "; column 6 of 6 is none of these"},
		"a column too few":   {strings.NewReader("user,key_handle,public_key,app_id,name\n"), columns + "; counter is missing"},
		"a column twice":     {strings.NewReader("user,key_handle,public_key,app_id,counter,counter\n"), columns + "; counter is there twice"},
		"a long blank line":  {strings.NewReader(strings.Repeat(" ", 20_000)), columns},
		"a quote that stays": {strings.NewReader("\"user\n"), columns},
		"a disk that fails":  {broken{}, "read the file: the disk is gone"},
		"too many":           {strings.NewReader(header + strings.Repeat("x\n", imports.RecordsMax+1)), "the file has more than 20000 keys: take it apart"},
	} {
		if list, bad, err := imports.Parse(c.in); err == nil || err.Error() != c.want || list != nil || bad != nil {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	k := b64(key(f))
	for _, seed := range []string{"", header, header + "alice@example.com,AAAA," + k + ",https://x.example,1,Key\nalice@example.com,AAAA," + k + ",https://x.example,1,\n",
		"\ufeff" + header + "a,b,c,d,e,\"f\n", `{"user":"a","key_handle":"AA","public_key":"` + k + `","app_id":"https://x","counter":4294967295}` + "\n{}\n[", "{\n\x00", strings.Repeat(" ", 17_000) + "\n{"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, bad, err := imports.Parse(strings.NewReader(text))
		if err != nil {
			if len(list)+len(bad) > 0 {
				t.Fatalf("%v, and %d keys all the same", err, len(list))
			}
			return
		}
		lines, seen := strings.Count(text, "\n")+1, map[string]bool{}
		if len(list)+len(bad) > lines {
			t.Fatalf("%d keys in %d lines", len(list)+len(bad), lines)
		}
		for _, r := range list {
			if _, err := ecdh.P256().NewPublicKey(r.PublicKey); err != nil || len(r.PublicKey) != 65 || len(r.KeyHandle) < 1 || len(r.KeyHandle) > 255 || r.User == "" || !strings.HasPrefix(r.AppID, "https://") || len([]rune(r.Name)) > 64 || seen[string(r.KeyHandle)] || r.Line < 1 || r.Line > lines {
				t.Fatalf("taken: %+v", r)
			}
			if strings.ContainsFunc(r.Name+r.AppID, unicode.IsControl) {
				t.Fatalf("with what nobody sees: %+v", r)
			}
			seen[string(r.KeyHandle)] = true
		}
		for _, b := range bad {
			if b.Why == "" || strings.ContainsAny(b.Why, "\r\n") || len(b.Why) > 200 || b.Line < 1 || b.Line > lines {
				t.Fatalf("bad: %+v", b)
			}
		}
	})
}
