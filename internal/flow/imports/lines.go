package imports

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of every file.
const (
	lineMaxBytes = 16 << 10
	fileMaxBytes = 64 << 20
)

// A Bad is a line that cannot be taken, and why. It repeats nothing that may be
// secret.
type Bad struct {
	Line int
	Why  string
}

// A Format is how a file is written.
type Format string

// The formats.
const (
	Either Format = "" // as its first line is
	CSV    Format = "csv"
	JSON   Format = "json" // an object a line
)

// A form is what the lines of a kind of file hold.
type form struct {
	columns []column // in the order in which they are best written
	noun    string   // what the lines are about, of many
	most    int      // of which a file has no more
}

type column struct {
	name     string
	optional bool
	bare     bool // JSON may write it without quotes: a number, true or false
}

func (f form) names() (list []string) {
	for _, c := range f.columns {
		list = append(list, c.name)
	}
	return list
}

var (
	errLong = fmt.Errorf("the line is longer than %d bytes", lineMaxBytes)
	errUTF8 = errors.New("the line is not UTF-8")
	errCSV  = errors.New("the line is not CSV of the columns that the first line names")
	errJSON = errors.New("the line is not one JSON object of the documented fields")
)

// each reads a file and calls take with the number and the fields of each line:
// trimmed, and none missing that must be there. What take finds wrong makes the
// line a bad one. The error is about the file as a whole.
func (f form) each(r io.Reader, format Format, take func(number int, line fields) error) (bad []Bad, err error) {
	in := bufio.NewReaderSize(&bounded{r, fileMaxBytes}, lineMaxBytes)
	var read func(line string) (fields, error)
	lines := 0
	for number := 1; ; number++ {
		line, long, err := nextLine(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the file: %w", err)
		}
		if number == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		text := strings.TrimSpace(line)
		if text == "" && !long {
			continue
		}
		if read == nil {
			if format == JSON || format == Either && strings.HasPrefix(text, "{") {
				read = f.readJSON
			} else if read, err = f.readCSV(text); err != nil {
				return nil, err
			} else {
				continue // it named the columns
			}
		}
		if lines++; lines > f.most {
			return nil, fmt.Errorf("the file has more than %d %s: take it apart", f.most, f.noun)
		}
		err = errLong
		if !long {
			var found fields
			if found, err = f.readLine(line, read); err == nil {
				err = take(number, found)
			}
		}
		if err != nil {
			bad = append(bad, Bad{number, err.Error()})
		}
	}
	if lines == 0 {
		return nil, fmt.Errorf("the file names no %s", f.noun)
	}
	return bad, nil
}

// bounded reads so many bytes, and then fails: a file may have no end.
type bounded struct {
	io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("it has more than %d MiB: take it apart", fileMaxBytes>>20)
	}
	n, err := b.Reader.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

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

func (f form) readLine(line string, read func(string) (fields, error)) (fields, error) {
	if !utf8.ValidString(line) {
		return nil, errUTF8
	}
	found, err := read(line)
	if err != nil {
		return nil, err
	}
	for _, c := range f.columns {
		if found[c.name] = strings.TrimSpace(found[c.name]); found[c.name] == "" && !c.optional {
			return nil, fmt.Errorf("%s is missing", c.name)
		}
	}
	return found, nil
}

// readCSV reads the line that names the columns, and returns what reads the
// others. No field has two lines, and so a stray quote costs its own line alone.
func (f form) readCSV(header string) (func(string) (fields, error), error) {
	split := func(line string) ([]string, error) {
		r := csv.NewReader(strings.NewReader(line))
		r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
		return r.Read()
	}
	names, err := split(header)
	if why := f.misnamed(names); err != nil || !utf8.ValidString(header) || why != "" {
		switch {
		case strings.HasPrefix(header, "["):
			why = "; it begins an array, of which each object must be a line of its own"
		case !utf8.ValidString(header):
			why = "; it is not UTF-8"
		case err != nil:
			why = ""
		}
		return nil, fmt.Errorf("the first line must name the columns: %s; or be a JSON object%s", strings.Join(f.names(), ","), why)
	}
	return func(line string) (fields, error) {
		values, err := split(line)
		if err != nil || len(values) != len(names) {
			return nil, errCSV
		}
		found := fields{}
		for n, v := range values {
			found[names[n]] = v
		}
		return found, nil
	}, nil
}

// misnamed says what is wrong with the names of columns, which it makes lower
// case. It does not repeat them: the line may be one of people.
func (f form) misnamed(names []string) string {
	known := f.names()
	for n, name := range names {
		names[n] = strings.ToLower(strings.TrimSpace(name))
		switch {
		case !slices.Contains(known, names[n]):
			return fmt.Sprintf("; column %d of %d is none of these", n+1, len(names))
		case slices.Contains(names[:n], names[n]):
			return "; " + names[n] + " is there twice"
		}
	}
	for _, c := range f.columns {
		if !c.optional && !slices.Contains(names, c.name) {
			return "; " + c.name + " is missing"
		}
	}
	return ""
}

// readJSON reads one object, each field of it once.
func (f form) readJSON(line string) (fields, error) {
	in := json.NewDecoder(strings.NewReader(line))
	in.UseNumber()
	if open, err := in.Token(); err != nil || open != json.Delim('{') {
		return nil, errJSON
	}
	found := fields{}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return nil, errJSON
		}
		name, _ := key.(string)
		at := slices.IndexFunc(f.columns, func(c column) bool { return c.name == name })
		if _, twice := found[name]; at < 0 || twice {
			return nil, errJSON
		}
		value, err := in.Token()
		if err != nil {
			return nil, errJSON
		}
		text, ok := plain(value, f.columns[at].bare)
		if !ok {
			return nil, errJSON
		}
		found[name] = text
	}
	if _, err := in.Token(); err != nil {
		return nil, errJSON
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, errJSON
	}
	return found, nil
}

// plain is a JSON value as CSV would have it; bare: not a text alone.
func plain(value json.Token, bare bool) (string, bool) {
	switch v := value.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case json.Number:
		return v.String(), bare
	case bool:
		return fmt.Sprint(v), bare
	}
	return "", false
}
