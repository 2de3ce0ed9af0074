package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves /metrics and, where debug is on, /debug/pprof/: on a listener
// of its own, never beside what people reach.
func (m *Metrics) Handler(log *slog.Logger, debug bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}))
	if debug {
		mux.HandleFunc("GET /debug/pprof/{$}", listProfiles)
		mux.HandleFunc("GET /debug/pprof/{name}", writeProfile)
		mux.HandleFunc("GET /debug/pprof/profile", during(30, 300, pprof.StartCPUProfile, pprof.StopCPUProfile))
		mux.HandleFunc("GET /debug/pprof/trace", during(1, 10, trace.Start, trace.Stop))
	}
	return mux
}

// What follows is what net/http/pprof serves, as far as `go tool pprof` and
// `go tool trace` ask for it. That package also shows the command line, in
// which there may be a password, and serves all of it on every default mux.

func listProfiles(w http.ResponseWriter, _ *http.Request) {
	for _, p := range pprof.Profiles() {
		_, _ = fmt.Fprintf(w, "%s %d\n", p.Name(), p.Count())
	}
	_, _ = fmt.Fprint(w, "profile?seconds=30\ntrace?seconds=1\n")
}

func writeProfile(w http.ResponseWriter, r *http.Request) {
	p := pprof.Lookup(r.PathValue("name"))
	if p == nil {
		http.NotFound(w, r)
		return
	}
	debug, _ := strconv.Atoi(r.FormValue("debug"))
	if r.FormValue("gc") != "" {
		runtime.GC()
	}
	w.Header().Set("Content-Type", map[bool]string{true: "application/octet-stream", false: "text/plain; charset=utf-8"}[debug == 0])
	_ = p.WriteTo(w, debug)
}

// during answers with what start records until the seconds asked for are over:
// usual ones unless told, most ones at most.
func during(usual, most int, start func(io.Writer) error, stop func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.Atoi(r.FormValue("seconds"))
		if err != nil || seconds <= 0 {
			seconds = usual
		}
		var record bytes.Buffer // whoever does not read holds up no other
		if err := start(&record); err != nil {
			http.Error(w, err.Error(), http.StatusConflict) // one at a time
			return
		}
		select {
		case <-time.After(time.Duration(min(seconds, most)) * time.Second):
		case <-r.Context().Done():
		}
		stop()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(record.Bytes())
	}
}
