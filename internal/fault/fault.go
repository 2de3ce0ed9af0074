// Package fault says why the product refuses, in a form that every front can show.
package fault

import (
	"errors"
	"maps"
	"time"
)

// A Kind groups refusals by what the other side can do about them.
type Kind uint8

// The kinds. The zero Kind is Internal: whatever is not a fault is ours.
const (
	Internal    Kind = iota // our mistake; the visitor sees a reference
	Invalid                 // the request does not make sense: correct it
	Unproven                // the proof offered is not right: offer another
	SignedOut               // nobody is signed in here
	Forbidden               // signed in, but not allowed
	NotFound                // no such thing, or none that concerns the visitor
	Conflict                // finished or changed elsewhere in the meantime
	Expired                 // was right, is no longer
	Throttled               // too many tries: wait, or use another way
	Unavailable             // a part is out of order: come back
)

// Ours reports whether the visitor could not have helped it.
func (k Kind) Ours() bool { return k == Internal || k == Unavailable }

// A Fault is a refusal that the visitor may see. Code is stable: it is the key
// of the sentence shown, the API's code, and what tests compare.
type Fault struct {
	Kind  Kind
	Code  string
	Field string         // the form field concerned, if one is
	Args  map[string]any // what the sentence mentions
	Wait  time.Duration  // how long until it is worth trying again; zero: no such time
}

// New declares a fault.
func New(kind Kind, code string) *Fault { return &Fault{Kind: kind, Code: code} }

// Error returns the code: sentences are the fronts' business.
func (f *Fault) Error() string { return f.Code }

// Is reports whether target is the same refusal, whatever its field and arguments.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.Code == f.Code
}

// On returns a copy of f about the form field named.
func (f *Fault) On(field string) *Fault {
	c := *f
	c.Field = field
	return &c
}

// With returns a copy of f whose sentence mentions value under key.
func (f *Fault) With(key string, value any) *Fault {
	c := *f
	c.Args = maps.Clone(f.Args)
	if c.Args == nil {
		c.Args = map[string]any{}
	}
	c.Args[key] = value
	return &c
}

// After returns a copy of f that says how long to wait. The sentence may
// mention it as Minutes, rounded up.
func (f *Fault) After(wait time.Duration) *Fault {
	c := f.With("Minutes", int((wait+time.Minute-1)/time.Minute))
	c.Wait = wait
	return c
}

var internal = New(Internal, "internal")

// From returns the fault in err's chain, or the internal one.
func From(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return internal
}
