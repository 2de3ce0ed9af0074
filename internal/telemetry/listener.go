package telemetry

import (
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
		mux.HandleFunc("GET /debug/pprof/profile", during(pprof.StartCPUProfile, pprof.StopCPUProfile))
		mux.HandleFunc("GET /debug/pprof/trace", during(trace.Start, trace.Stop))
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
	if debug == 0 {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	_ = p.WriteTo(w, debug)
}

// during writes what start records until the seconds asked for are over, 30
// unless told, 300 at most.
func during(start func(io.Writer) error, stop func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.Atoi(r.FormValue("seconds"))
		if err != nil || seconds <= 0 {
			seconds = 30
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		if err := start(w); err != nil { // one at a time
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		defer stop()
		select {
		case <-time.After(time.Duration(min(seconds, 300)) * time.Second):
		case <-r.Context().Done():
		}
	}
}
