// Package trace measures what a request goes through: spans, each with its
// time. Whoever begins one does not know who looks, if anybody does.
package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"countersign/internal/fault"
)

// A Tracer decides which traces are kept, and hands them on. It travels in the
// context; without one nothing is measured.
type Tracer struct {
	Now    func() time.Time
	Random io.Reader
	Share  float64                                            // of the traces that begin here: how many are kept, 0 to 1
	Keep   func(Span)                                         // takes spans that have ended; nil: none is kept
	Timed  func(name string, took time.Duration, code string) // is told of every span, kept or not, and the code of its failure; nil: nobody counts
}

// An Attribute says something about a span: text, or a number.
type Attribute struct {
	Key    string
	Text   string
	Number int64
	IsText bool
}

// Text is an attribute that holds text. It must be of a known set: a span
// leaves the house.
func Text(key, value string) Attribute { return Attribute{Key: key, Text: value, IsText: true} }

// Number is an attribute that holds a number.
func Number(key string, value int64) Attribute { return Attribute{Key: key, Number: value} }

// A Span is a step of a trace.
type Span struct {
	Trace      [16]byte
	ID, Parent [8]byte
	Name       string
	Root       bool // the first of this process
	Began      time.Time
	Took       time.Duration
	Attributes []Attribute
	Code       string // of the failure or refusal; empty: done
	Failed     bool   // it was ours, not the visitor's
}

// A Running span has not ended. A nil one measures nothing.
type Running struct {
	span   Span
	tracer *Tracer
	kept   bool
}

type key struct{}

// under is what a context carries.
type under struct {
	tracer *Tracer
	span   *Running // nil, or not kept: nothing below is kept either
}

// Into returns a context whose spans the tracer is told of.
func (t *Tracer) Into(ctx context.Context) context.Context {
	return context.WithValue(ctx, key{}, under{tracer: t})
}

// Root begins a trace, or goes on with that of the caller.
func (t *Tracer) Root(ctx context.Context, name string, caller Parent) (context.Context, *Running) {
	s := &Running{tracer: t, span: Span{Name: name, Root: true, Began: t.Now()}}
	if t.Keep != nil {
		s.kept = t.begin(&s.span, caller)
	}
	return context.WithValue(ctx, key{}, under{t, s}), s
}

// begin draws the ids of a span, and whether it is kept.
func (t *Tracer) begin(s *Span, caller Parent) bool {
	var drawn [24]byte
	if _, err := io.ReadFull(t.Random, drawn[:]); err != nil {
		return false // what is measured never stands in the way
	}
	s.Trace, s.ID = [16]byte(drawn[:16]), [8]byte(drawn[16:])
	if caller.Valid() {
		s.Trace, s.Parent = caller.Trace, caller.Span
		return caller.Kept
	}
	const one = 1 << 53
	return float64(binary.BigEndian.Uint64(drawn[8:16])>>11)/one < t.Share
}

// Start begins a step of what the context is in the midst of. Outside a trace
// it is timed, and not kept.
func Start(ctx context.Context, name string) (context.Context, *Running) {
	u, ok := ctx.Value(key{}).(under)
	if !ok {
		return ctx, nil
	}
	above := u.span != nil && u.span.kept
	if !above && u.tracer.Timed == nil {
		return ctx, nil
	}
	s := &Running{tracer: u.tracer, span: Span{Name: name, Began: u.tracer.Now()}}
	if !above {
		return ctx, s
	}
	s.span.Trace, s.span.Parent, s.kept = u.span.span.Trace, u.span.span.ID, true
	if _, err := io.ReadFull(u.tracer.Random, s.span.ID[:]); err != nil {
		s.kept = false
	}
	return context.WithValue(ctx, key{}, under{u.tracer, s}), s
}

// Note says something about the span.
func (s *Running) Note(a ...Attribute) {
	if s != nil && s.kept {
		s.span.Attributes = append(s.span.Attributes, a...)
	}
}

// Rename gives the span the name that it turned out to have.
func (s *Running) Rename(name string) {
	if s != nil {
		s.span.Name = name
	}
}

// ID is the trace's, empty where it is not kept.
func (s *Running) ID() string {
	if s == nil || !s.kept {
		return ""
	}
	return s.span.TraceID()
}

// End ends the span. Of an error the code alone is kept: its words may quote
// what somebody sent.
func (s *Running) End(err error) time.Duration {
	if s == nil {
		return 0
	}
	code := ""
	if err != nil {
		f := fault.From(err)
		code = f.Code
		s.span.Failed = f.Kind.Ours()
		if errors.Is(err, context.Canceled) {
			code, s.span.Failed = "canceled", false // somebody went away
		}
	}
	s.span.Code = code
	return s.end()
}

// EndAs ends the span with a code of the caller's.
func (s *Running) EndAs(code string, failed bool) time.Duration {
	if s == nil {
		return 0
	}
	s.span.Code, s.span.Failed = code, failed
	return s.end()
}

func (s *Running) end() time.Duration {
	s.span.Took = max(0, s.tracer.Now().Sub(s.span.Began))
	if s.tracer.Timed != nil {
		s.tracer.Timed(s.span.Name, s.span.Took, s.span.Code)
	}
	if s.kept {
		s.tracer.Keep(s.span)
	}
	return s.span.Took
}
