package transfer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"

	"countersign/internal/store/engine"
)

// A row is the values of one row in the order of its table's columns: nil,
// int64, string or []byte. What it is written as is the same whichever engine
// it was read from.
type row []any

const (
	isNull = iota
	isInteger
	isText
	isBytes
)

// values makes a row of what a driver scanned.
func values(t engine.Table, scanned []any) (row, error) {
	r := make(row, len(scanned))
	for n, v := range scanned {
		c := t.Columns[n]
		ok := true
		switch v := v.(type) {
		case nil:
		case int64:
			r[n], ok = v, c.Kind == engine.Integer
		case string:
			switch c.Kind {
			case engine.Text:
				r[n] = v
			case engine.Bytes: // SQLite keeps what it was given
				r[n] = []byte(v)
			default:
				ok = false
			}
		case []byte:
			switch c.Kind {
			case engine.Text:
				r[n] = string(v)
			case engine.Bytes:
				r[n] = append([]byte{}, v...) // the driver may use its own again
			default:
				ok = false
			}
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("%s.%s holds what is no %s", t.Name, c.Name, c.Kind)
		}
	}
	return r, nil
}

// append writes the row behind b.
func (r row) append(b []byte) []byte {
	for _, v := range r {
		switch v := v.(type) {
		case nil:
			b = append(b, isNull)
		case int64:
			b = binary.AppendVarint(append(b, isInteger), v)
		case string:
			b = append(binary.AppendUvarint(append(b, isText), uint64(len(v))), v...)
		case []byte:
			b = append(binary.AppendUvarint(append(b, isBytes), uint64(len(v))), v...)
		}
	}
	return b
}

// size is about how many bytes a row takes.
func (r row) size() (n int) {
	for _, v := range r {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
		n += 8
	}
	return n
}

var errRow = errors.New("a row cannot be read")

var tags = map[engine.Kind]byte{engine.Integer: isInteger, engine.Text: isText, engine.Bytes: isBytes}

// parseRow reads what append wrote, all of it and in that form alone.
func parseRow(columns []engine.Column, b []byte) (row, error) {
	r := make(row, len(columns))
	for n, c := range columns {
		if len(b) == 0 {
			return nil, errRow
		}
		tag := b[0]
		b = b[1:]
		if tag == isNull {
			continue
		}
		if tag != tags[c.Kind] {
			return nil, errRow
		}
		if tag == isInteger {
			v, used := binary.Varint(b)
			if used <= 0 || used != len(binary.AppendVarint(nil, v)) {
				return nil, errRow
			}
			r[n], b = v, b[used:]
			continue
		}
		size, used := binary.Uvarint(b)
		if used <= 0 || used != len(binary.AppendUvarint(nil, size)) || size > uint64(len(b)-used) {
			return nil, errRow
		}
		v := b[used : used+int(size)] //nolint:gosec // it is no more than there is
		if r[n] = string(v); tag == isBytes {
			r[n] = append([]byte{}, v...)
		}
		b = b[used+int(size):] //nolint:gosec // as above
	}
	if len(b) != 0 {
		return nil, errRow
	}
	return r, nil
}

// A Digest says what rows a table holds, in whatever order they are read: how
// many, and the sum of their SHA-256 hashes. The engines sort text differently.
type Digest struct {
	Rows int64
	sum  big.Int
}

var modulus = new(big.Int).Lsh(big.NewInt(1), 256)

func (d *Digest) add(r row, buffer []byte) []byte {
	buffer = r.append(buffer[:0])
	h := sha256.Sum256(buffer)
	var n big.Int
	d.sum.Add(&d.sum, n.SetBytes(h[:]))
	d.sum.Mod(&d.sum, modulus)
	d.Rows++
	return buffer
}

// String is ROWS:SUM.
func (d *Digest) String() string {
	var b [32]byte
	return fmt.Sprintf("%d:%s", d.Rows, hex.EncodeToString(d.sum.FillBytes(b[:])))
}
