package trace

import (
	"encoding/hex"
	"strings"
)

// TraceID is the id of the span's trace, as it is written.
func (s Span) TraceID() string { return hex.EncodeToString(s.Trace[:]) }

// SpanID is the span's own id, as it is written.
func (s Span) SpanID() string { return hex.EncodeToString(s.ID[:]) }

// ParentID is the id of the span above it; empty: there is none.
func (s Span) ParentID() string {
	if s.Parent == [8]byte{} {
		return ""
	}
	return hex.EncodeToString(s.Parent[:])
}

// A Parent is the span of a caller, in another process. The zero one is none.
type Parent struct {
	Trace [16]byte
	Span  [8]byte
	Kept  bool
}

// Valid reports whether there is a caller.
func (p Parent) Valid() bool { return p.Trace != [16]byte{} && p.Span != [8]byte{} }

// ParseParent reads a traceparent header (W3C Trace Context, Level 1 §3.2).
// What is not one is none: no request fails by it.
func ParseParent(header string) (p Parent) {
	const length = len("00-00000000000000000000000000000000-0000000000000000-00")
	if len(header) < length || header[2] != '-' || header[35] != '-' || header[52] != '-' {
		return Parent{}
	}
	if strings.ContainsAny(header[:length], "ABCDEF") { // lower case alone
		return Parent{}
	}
	var version, flags [1]byte
	for _, part := range []struct {
		into []byte
		from string
	}{{version[:], header[:2]}, {p.Trace[:], header[3:35]}, {p.Span[:], header[36:52]}, {flags[:], header[53:55]}} {
		if _, err := hex.Decode(part.into, []byte(part.from)); err != nil {
			return Parent{}
		}
	}
	switch {
	case version[0] == 0xff:
		return Parent{}
	case version[0] == 0 && len(header) != length:
		return Parent{}
	case len(header) > length && header[length] != '-': // of a later version more may follow
		return Parent{}
	case !p.Valid():
		return Parent{}
	}
	p.Kept = flags[0]&1 == 1
	return p
}
