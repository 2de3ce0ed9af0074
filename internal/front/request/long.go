package request

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"countersign/internal/fault"
)

// connectionKey is where Guard keeps the context of the connection, which has
// no end but that of the connection.
type connectionKey struct{}

// piece is what is written at once of a long answer, and stillEvery how often
// it is asked whether to go on.
const (
	piece      = 16 << 10
	stillEvery = time.Second
)

// Long has f write an answer that may take its time, as long as it makes
// progress: the database bounds each statement, and a reader who takes nothing
// for as long as the server otherwise gives to a whole answer is cut off.
// still ends it where its reader may no longer have it.
//
// An answer that breaks off is not ended but torn, so that nobody takes it for
// whole. What fails before anything was written is returned, and the headers
// are as they were.
func (g *Guard) Long(w http.ResponseWriter, r *http.Request, still func(r *http.Request) error, f func(w http.ResponseWriter, r *http.Request) error) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	connection, guarded := r.Context().Value(connectionKey{}).(context.Context)
	if !guarded {
		connection = r.Context()
	}
	defer context.AfterFunc(connection, cancel)()
	r = r.WithContext(ctx)
	l := &long{ResponseWriter: w, still: func() error { return still(r) }}
	if s, ok := connection.Value(http.ServerContextKey).(*http.Server); ok && g.Machine != nil {
		l.now, l.most, l.asked = g.Machine, s.WriteTimeout, g.Machine()
	}
	before := w.Header().Clone()
	l.allow(false)
	err := f(l, r)
	l.allow(true) // for what is still kept of the answer
	if err == nil {
		err = l.failed
	}
	switch {
	case err == nil:
		return nil
	case !l.begun:
		clear(w.Header())
		maps.Copy(w.Header(), before)
		return err
	}
	if l.failed == nil { // it was not the reader
		Log(g.Log, r, err)
	}
	g.Log.Warn("an answer was broken off", "request", InfoOf(r).ID, "route", Route(r), "code", fault.From(err).Code, "error", err.Error())
	panic(http.ErrAbortHandler)
}

// A long answer is bounded piece by piece.
type long struct {
	http.ResponseWriter
	still  func() error
	now    func() time.Time // nil: nothing is bounded
	most   time.Duration    // for a piece
	asked  time.Time        // when still was
	begun  bool
	failed error // to write
}

// Unwrap is for http.ResponseController.
func (l *long) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// allow gives the reader time to take something, or any time where nothing is
// for it to take.
func (l *long) allow(bounded bool) {
	if l.now == nil || l.most <= 0 {
		return
	}
	var until time.Time
	if bounded {
		until = l.now().Add(l.most)
	}
	if err := http.NewResponseController(l.ResponseWriter).SetWriteDeadline(until); err != nil && !errors.Is(err, http.ErrNotSupported) && l.failed == nil {
		l.failed = err
	}
}

func (l *long) WriteHeader(status int) {
	l.begun = true
	l.ResponseWriter.WriteHeader(status)
}

func (l *long) Write(b []byte) (n int, err error) {
	l.begun = l.begun || len(b) > 0
	for n < len(b) && l.failed == nil {
		if err := l.goOn(); err != nil {
			return n, err
		}
		l.allow(true)
		wrote, err := l.ResponseWriter.Write(b[n:min(len(b), n+piece)])
		n += wrote
		if l.failed = err; err == nil {
			l.allow(false)
		}
	}
	return n, l.failed
}

// goOn asks whether to, once in a while.
func (l *long) goOn() error {
	if l.now == nil || l.now().Sub(l.asked) < stillEvery {
		return nil
	}
	err := l.still()
	l.asked = l.now()
	return err
}
