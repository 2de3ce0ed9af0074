package transfer

import (
	"bytes"
	"slices"

	"countersign/internal/store/engine"
)

func init() { commitEvery, reportEvery = 150, 40 } // so that few rows are several transactions, and told of

// For tests alone.
var (
	EndedTables = ended
	KeptTables  = kept
)

// CheapLock is the lock of a passphrase that is cheap to try.
func CheapLock(passphrase string) (Lock, error) { return passphraseLock(passphrase, 2) }

// Archive writes one of tables and rows.
func Archive(h Header, rows [][][]any) ([]byte, error) { return LyingArchive(h, rows, 0) }

// LyingArchive says that the last table has more rows than it has.
func LyingArchive(h Header, rows [][][]any, more int64) ([]byte, error) {
	var b bytes.Buffer
	if h.Heads == "" {
		heads := &Digest{}
		for _, r := range rows[0] {
			heads.add(r, nil)
		}
		h.Heads = heads.String()
	}
	a, err := newArchiveWriter(&b, h)
	if err != nil {
		return nil, err
	}
	for _, list := range rows {
		a.table()
		for _, r := range list {
			if err := a.row(r); err != nil {
				return nil, err
			}
		}
		if err := a.endTable(); err != nil {
			return nil, err
		}
	}
	a.digests[len(a.digests)-1].Rows += more
	err = a.close()
	return b.Bytes(), err
}

// ReadArchive reads one, and returns what Archive takes.
func ReadArchive(b []byte) (Header, [][][]any, error) {
	a, err := newArchiveReader(bytes.NewReader(b))
	if err != nil {
		return Header{}, nil, err
	}
	rows := [][][]any{nil}
	_, err = a.read(func(_ engine.Table, r row) error {
		last := len(rows) - 1
		if r == nil {
			rows = append(rows, nil)
		} else {
			rows[last] = append(rows[last], slices.Clone(r))
		}
		return nil
	})
	return a.Header, rows[:len(rows)-1], err
}

// ParseRow reads a row, and WriteRow writes it.
func ParseRow(columns []engine.Column, b []byte) ([]any, error) { return parseRow(columns, b) }

// WriteRow writes a row.
func WriteRow(r []any) []byte { return row(r).append(nil) }
