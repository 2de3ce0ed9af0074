package transfer_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"countersign/internal/store/engine"
	"countersign/internal/store/transfer"
)

var fuzzed = []engine.Table{
	{Name: "audit_head", Columns: []engine.Column{{Name: "account_id", Kind: engine.Text}, {Name: "seq", Kind: engine.Integer}, {Name: "hash", Kind: engine.Bytes}}, Key: []string{"account_id"}},
	{Name: "other", Columns: []engine.Column{{Name: "id", Kind: engine.Integer}}, Key: []string{"id"}},
}

var fuzzedRows = [][][]any{{{"1", int64(2), []byte("hash")}, {"", int64(-1), nil}}, {{int64(1)}, {nil}}}

// What the seal does not show is looked at again inside it.
func TestAnArchiveSaysWhatItHolds(t *testing.T) {
	t.Parallel()
	archive := func(h transfer.Header, more int64) []byte {
		if h.Tables == nil {
			h.Tables = fuzzed
		}
		b, err := transfer.LyingArchive(h, fuzzedRows, more)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	named := func(table, column string, kind engine.Kind) []engine.Table {
		return []engine.Table{fuzzed[0], {Name: table, Columns: []engine.Column{{Name: column, Kind: kind}}}}
	}
	good := archive(transfer.Header{}, 0)
	if _, rows, err := transfer.ReadArchive(good); err != nil || !reflect.DeepEqual(rows, fuzzedRows) {
		t.Errorf("%v, %v", rows, err)
	}
	for what, b := range map[string][]byte{
		"another digest at the end":    archive(transfer.Header{}, 1),
		"heads that are not those":     archive(transfer.Header{Heads: "2:00"}, 0),
		"something behind it":          append(bytes.Clone(good), 0),
		"another one behind it":        append(bytes.Clone(good), good...),
		"its last byte missing":        good[:len(good)-1],
		"the heads not first":          archive(transfer.Header{Tables: []engine.Table{fuzzed[1], fuzzed[0]}}, 0),
		"a table twice":                archive(transfer.Header{Tables: []engine.Table{fuzzed[0], fuzzed[0]}}, 0),
		"a table that is a statement":  archive(transfer.Header{Tables: named("x; DROP TABLE account", "id", engine.Integer)}, 0),
		"a column that is a statement": archive(transfer.Header{Tables: named("x", "id) VALUES (1); --", engine.Integer)}, 0),
		"a column of no kind":          archive(transfer.Header{Tables: named("x", "id", "date")}, 0),
		"a row of another kind":        archive(transfer.Header{Tables: named("x", "id", engine.Text)}, 0),
		"a key that is no column":      archive(transfer.Header{Tables: []engine.Table{{Name: "audit_head", Columns: fuzzed[0].Columns, Key: []string{"1; --"}}, fuzzed[1]}}, 0),
	} {
		if _, _, err := transfer.ReadArchive(b); !errors.Is(err, transfer.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whatever is read is either refused, or what a writer would have written.
func FuzzReadArchive(f *testing.F) {
	good, err := transfer.Archive(transfer.Header{Schema: 1, Tables: fuzzed}, fuzzedRows)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, rows, err := transfer.ReadArchive(b)
		if err != nil {
			return
		}
		again, err := transfer.Archive(h, rows)
		if err != nil {
			t.Fatal(err)
		}
		h2, rows2, err := transfer.ReadArchive(again)
		if err != nil || !reflect.DeepEqual(rows, rows2) || h.Schema != h2.Schema {
			t.Errorf("%v\n%v\n%v", err, rows, rows2)
		}
	})
}

func FuzzParseRow(f *testing.F) {
	columns := fuzzed[0].Columns
	f.Add(transfer.WriteRow([]any{"1", int64(2), []byte("hash")}))
	f.Add(transfer.WriteRow([]any{nil, nil, nil}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := transfer.ParseRow(columns, b)
		if err == nil && !bytes.Equal(transfer.WriteRow(r), b) {
			t.Errorf("%x is read as %v, which is written as %x", b, r, transfer.WriteRow(r))
		}
	})
}
