// Package sheet writes CSV that spreadsheets take for text, and nothing else.
package sheet

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Write writes one record (RFC 4180), every field in quotes: some spreadsheets
// part fields at semicolons, and would take what follows for a cell.
func Write(w io.Writer, fields ...string) error {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.ReplaceAll(f, `"`, `""`) + `"`)
	}
	b.WriteString("\r\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Cell keeps a spreadsheet from taking a cell for a formula (CWE-1236).
func Cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(s)[0]) {
		return "'" + s
	}
	return s
}

// Visible writes what has no glyph as JSON would: line ends, escapes of
// terminals, and what turns the direction of text. In a string of JSON it means
// the same as before.
func Visible(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch hi, lo := utf16.EncodeRune(r); {
		case !hidden(r):
			b.WriteRune(r)
		case hi != unicode.ReplacementChar:
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }
