package audit

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/sheet"
)

// A Format is how events are taken out of the house.
type Format string

// The formats.
const (
	CSV   Format = "csv"
	JSONL Format = "jsonl" // an object a line
)

// MediaType is what HTTP calls the format.
func (f Format) MediaType() string {
	if f == CSV {
		return "text/csv; charset=utf-8; header=present"
	}
	return "application/jsonl; charset=utf-8"
}

// Columns are those of a file of events as CSV.
var Columns = []string{"account", "seq", "time", "event", "result", "refused", "actor_kind", "actor", "actor_id", "address", "user_agent", "request", "identity", "user", "target", "method", "details", "key_id", "hash"}

// An Entry is an event as it was found: what was changed behind the store's
// back is still shown.
type Entry struct {
	Event
	Content []byte
	Changed bool // the content is not what it is looked up by: that is all of it that is shown
}

// ReadEntry reads a stored event of an account.
func ReadEntry(a account.ID, s Stored) Entry {
	e, err := ParseContent(s.Content)
	changed := err != nil || e.Account != a || e.Seq != s.Seq || e.Lookup() != s.Lookup
	if changed {
		e = Event{Account: a, Seq: s.Seq, At: time.UnixMicro(s.At).UTC(), Name: s.Name, Identity: s.Identity, Refused: s.Refused,
			Actor: Actor{Name: s.ActorName, Address: s.Address, Request: s.Request}}
	}
	e.Hash = s.Hash
	return Entry{e, s.Content, changed}
}

// HeadLine is a chain's end as an auditor keeps it: ACCOUNT:SEQ:HASH.
func HeadLine(a account.ID, seq int64, hash []byte) string {
	return fmt.Sprintf("%s:%d:%s", a, seq, hex.EncodeToString(hash))
}

// A Writer writes events to a file. The last line for each account is the head
// of its chain: without it the file is not whole.
type Writer struct {
	out    *bufio.Writer
	format Format
}

// NewWriter begins a file.
func NewWriter(w io.Writer, f Format) (*Writer, error) {
	out := &Writer{bufio.NewWriterSize(w, 64<<10), f}
	if f == CSV {
		return out, sheet.Write(out.out, Columns...)
	}
	return out, nil
}

// Add writes one event.
func (w *Writer) Add(e Entry) error {
	if w.format == CSV {
		return sheet.Write(w.out, record(e)...)
	}
	content := e.Content
	if e.Changed {
		var err error
		if content, err = json.Marshal(map[string]any{"account": e.Account, "seq": e.Seq, "at": e.At, "name": e.Name, "identity": e.Identity, "changed": string(e.Content)}); err != nil {
			return err
		}
	}
	line := []byte(sheet.Visible(string(content)))
	line = fmt.Appendf(line[:len(line)-1], `,"hash":"%x"}`+"\n", e.Hash)
	_, err := w.out.Write(line)
	return err
}

// Head writes where an account's chain ends.
func (w *Writer) Head(a account.ID, seq int64, hash []byte) error {
	if w.format == CSV {
		fields := make([]string, len(Columns))
		fields[0], fields[1], fields[3], fields[len(fields)-1] = string(a), strconv.FormatInt(seq, 10), "head", HeadLine(a, seq, hash)
		return sheet.Write(w.out, fields...)
	}
	_, err := fmt.Fprintf(w.out, `{"account":%q,"head":%q}`+"\n", a, HeadLine(a, seq, hash))
	return err
}

// Flush hands on what is kept.
func (w *Writer) Flush() error { return w.out.Flush() }

func record(e Entry) []string {
	result, details := "done", ""
	switch {
	case e.Changed:
		result = "changed"
	case e.Refused != "":
		result = "refused"
	}
	if len(e.Details) > 0 {
		b, _ := json.Marshal(e.Details) // keys and values are text
		details = string(b)
	}
	fields := []string{string(e.Account), strconv.FormatInt(e.Seq, 10), e.At.UTC().Format(time.RFC3339Nano), string(e.Name), result, e.Refused, e.Actor.Kind, e.Actor.Name, e.Actor.ID,
		e.Actor.Address, e.Actor.UserAgent, e.Actor.Request, string(e.Identity), e.Details["user"], e.Target, e.Details["method"], details, strconv.FormatUint(uint64(e.KeyID), 10), hex.EncodeToString(e.Hash)}
	for i, f := range fields {
		fields[i] = sheet.Cell(sheet.Visible(f))
	}
	return fields
}
