package request

import (
	"net/http"
	"time"

	"countersign/internal/trace"
)

// An Exchange is a request that was answered, without what logs and counts
// must not know of it.
type Exchange struct {
	Info
	Route  string // METHOD /pattern; "none" where no pattern took it
	Status int
	Bytes  int64 // of the answer's body
	Took   time.Duration
	Trace  string // its id where it is kept
}

// caller is the span of the proxy that sends a request. Anybody else could
// fill our traces with what they like.
func (g *Guard) caller(r *http.Request) (none trace.Parent) {
	if len(r.Header["Traceparent"]) != 1 || !within(parseAddress(r.RemoteAddr), g.Trusted) {
		return none
	}
	return trace.ParseParent(r.Header["Traceparent"][0])
}

// answered tells of a request that is over.
func (g *Guard) answered(r *http.Request, info Info, a *answer, span *trace.Running) {
	x := Exchange{Info: info, Route: Route(r), Status: a.code(), Bytes: a.bytes, Trace: span.ID()}
	span.Rename(x.Route)
	span.Note(trace.Text("http.route", x.Route), trace.Number("http.response.status_code", int64(x.Status)), trace.Text("countersign.request", x.ID))
	failed := ""
	if x.Status >= http.StatusInternalServerError {
		failed = http.StatusText(x.Status)
	}
	x.Took = span.EndAs(failed, failed != "")
	if g.Answered != nil {
		g.Answered(x)
	}
}

// An answer takes down what is answered.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK { // what comes before it is no answer
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

func (a *answer) code() int {
	if a.status == 0 { // nothing was written
		return http.StatusOK
	}
	return a.status
}
