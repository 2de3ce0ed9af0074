package transfer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"countersign/internal/store/engine"
)

// An archive is what lies within the seal of a backup, compressed: a line
// that says what it is, a header, the rows of each table of the header in
// turn, and a trailer with the digest of each. Header, rows and trailer have
// their lengths before them; a length of zero ends a table.

const archiveLine = "countersign backup 1\n"

// A Header begins a backup.
type Header struct {
	Schema int64          `json:"schema"`  // version
	MadeAt time.Time      `json:"made_at"` // UTC
	Engine string         `json:"engine"`  // that it was made from
	KeyID  uint32         `json:"key_id"`  // with Sealed: what the database knows its keys by
	Sealed []byte         `json:"sealed"`
	Heads  string         `json:"heads"` // digest of the heads of the audit chains, which come first
	Tables []engine.Table `json:"tables"`
	Keys   []byte         `json:"keys,omitempty"` // file of the keys, where it was asked for
}

// A trailer ends it.
type trailer struct {
	Digests []string `json:"digests"` // of each table in turn
}

// headsTable comes first.
const headsTable = "audit_head"

const (
	headerMost = 16 << 20
	rowMost    = 1 << 30
)

// An archiveWriter writes one.
type archiveWriter struct {
	to      *gzip.Writer
	buffer  []byte
	digests []*Digest
}

func newArchiveWriter(w io.Writer, h Header) (*archiveWriter, error) {
	a := &archiveWriter{to: gzip.NewWriter(w)}
	if _, err := io.WriteString(a.to, archiveLine); err != nil {
		return nil, err
	}
	return a, a.json(h)
}

func (a *archiveWriter) json(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = a.sized(b)
	}
	return err
}

func (a *archiveWriter) sized(b []byte) error {
	_, err := a.to.Write(binary.AppendUvarint(nil, uint64(len(b))))
	if err == nil {
		_, err = a.to.Write(b)
	}
	return err
}

// table begins the next one.
func (a *archiveWriter) table() { a.digests = append(a.digests, &Digest{}) }

func (a *archiveWriter) row(r row) error {
	a.buffer = a.digests[len(a.digests)-1].add(r, a.buffer)
	return a.sized(a.buffer)
}

func (a *archiveWriter) endTable() error { return a.sized(nil) }

func (a *archiveWriter) close() error {
	var t trailer
	for _, d := range a.digests {
		t.Digests = append(t.Digests, d.String())
	}
	if err := a.json(t); err != nil {
		return err
	}
	return a.to.Close()
}

// ErrDamaged says that a backup is not as it was made.
var ErrDamaged = errors.New("the backup is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// An archiveReader reads one.
type archiveReader struct {
	Header
	outer *bufio.Reader
	gz    *gzip.Reader
	in    *bufio.Reader
	piece bytes.Buffer
}

func newArchiveReader(r io.Reader) (*archiveReader, error) {
	a := &archiveReader{outer: bufio.NewReader(r)}
	var err error
	if a.gz, err = gzip.NewReader(a.outer); err != nil {
		return nil, damaged("%w", err)
	}
	a.gz.Multistream(false)
	a.in = bufio.NewReader(a.gz)
	line := make([]byte, len(archiveLine))
	if _, err := io.ReadFull(a.in, line); err != nil {
		return nil, damaged("%w", err)
	}
	if string(line) != archiveLine {
		return nil, errors.New("it is no backup that this program knows")
	}
	if err := a.json(&a.Header, headerMost); err != nil {
		return nil, err
	}
	return a, a.sound()
}

// sound refuses a header that names what cannot be.
func (a *archiveReader) sound() error {
	if len(a.Tables) == 0 || a.Tables[0].Name != headsTable {
		return damaged("the heads of the audit chains do not come first")
	}
	seen := map[string]bool{}
	for _, t := range a.Tables {
		if !plain(t.Name) || seen[t.Name] || len(t.Columns) == 0 || len(t.Columns) > 1000 {
			return damaged("table %q", t.Name)
		}
		seen[t.Name] = true
		columns := map[string]bool{}
		for _, c := range t.Columns {
			if !plain(c.Name) || columns[c.Name] || tags[c.Kind] == 0 {
				return damaged("column %q of %s", c.Name, t.Name)
			}
			columns[c.Name] = true
		}
		for _, k := range t.Key {
			if !columns[k] {
				return damaged("key of %s", t.Name)
			}
		}
	}
	return nil
}

// plain reports whether a name is one that schemas of ours use.
func plain(name string) bool {
	if name == "" || len(name) > 63 {
		return false
	}
	for _, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// sized reads the next piece; what it says of its length is not believed
// before the bytes are there.
func (a *archiveReader) sized(most uint64) ([]byte, error) {
	size, err := binary.ReadUvarint(a.in)
	if err != nil {
		return nil, damaged("%w", noEOF(err))
	}
	if size > most {
		return nil, damaged("a piece of %d bytes", size)
	}
	a.piece.Reset()
	if _, err := io.CopyN(&a.piece, a.in, int64(size)); err != nil { //nolint:gosec // at most as much as a row
		return nil, damaged("%w", noEOF(err))
	}
	return a.piece.Bytes(), nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (a *archiveReader) json(v any, most uint64) error {
	b, err := a.sized(most)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return damaged("%w", err)
	}
	return nil
}

// read reads everything: f is called for each row, and with nil at the end of
// each table; what it returns ends it. All digests have been compared when
// read returns nil, and nothing follows.
func (a *archiveReader) read(f func(t engine.Table, r row) error) ([]*Digest, error) {
	var digests []*Digest
	var buffer []byte
	for _, t := range a.Tables {
		d := &Digest{}
		digests = append(digests, d)
		for {
			b, err := a.sized(rowMost)
			if err != nil {
				return nil, err
			}
			if len(b) == 0 {
				break
			}
			r, err := parseRow(t.Columns, b)
			if err != nil {
				return nil, damaged("%s: %w", t.Name, err)
			}
			buffer = d.add(r, buffer)
			if err := f(t, r); err != nil {
				return nil, err
			}
		}
		if t.Name == headsTable && d.String() != a.Heads {
			return nil, damaged("the heads of the audit chains are not those of the header")
		}
		if err := f(t, nil); err != nil {
			return nil, err
		}
	}
	return digests, a.end(digests)
}

func (a *archiveReader) end(digests []*Digest) error {
	var t trailer
	if err := a.json(&t, headerMost); err != nil {
		return err
	}
	if len(t.Digests) != len(digests) {
		return damaged("its end does not fit its beginning")
	}
	for n, d := range digests {
		if d.String() != t.Digests[n] {
			return damaged("table %s is not what was written", a.Tables[n].Name)
		}
	}
	if _, err := a.in.ReadByte(); !errors.Is(err, io.EOF) { // with it the checksum is compared
		return damaged("something follows its end (%v)", err)
	}
	if _, err := a.outer.ReadByte(); !errors.Is(err, io.EOF) {
		return damaged("something follows its end (%v)", err)
	}
	return nil
}
