package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"countersign/internal/config"
	"countersign/internal/store/engine"
)

const (
	finishing = 20 * time.Second // for requests under way, once no new ones are taken
	patient   = time.Minute      // for a database that is not there yet
	reaching  = 5 * time.Second  // for one look whether it is
)

// Await waits until PostgreSQL answers, for as long as a machine takes to
// start: nodes and database often begin together. What waiting does not mend
// is returned at once.
func Await(ctx context.Context, c config.Config, log *slog.Logger) error {
	return await(ctx, c.DatabaseURL(), log, patient, time.Second)
}

func await(ctx context.Context, url string, log *slog.Logger, patient, pause time.Duration) error {
	over := time.After(patient)
	for said := false; ; {
		look, cancel := context.WithTimeout(ctx, reaching)
		err := engine.Reach(look, url)
		cancel()
		if err == nil || ctx.Err() != nil || !engine.NotYet(err) {
			return err
		}
		if !said {
			log.Warn("the database does not answer yet", "waiting", patient.String(), "error", err.Error())
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return fmt.Errorf("the database did not answer within %s: %w", patient, err)
		case <-time.After(pause):
		}
	}
}

// leaving has connections end with the answer they carry, once the node is
// about to stop: an idle one that is closed later is one that nobody uses.
func (s *Server) leaving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// drain lets a node go without a request that fails: /readyz says for a while
// that it leaves, while everything is still served; then what is under way
// comes to its end.
func (s *Server) drain(h *http.Server, failed <-chan error) error {
	s.draining.Store(true)
	s.tell("STOPPING=1")
	if delay := s.config.Draining(); delay > 0 {
		s.log.Info("draining", "for", delay.String())
		select {
		case <-s.after(delay):
		case err := <-failed:
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), finishing)
	defer cancel()
	err := h.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were cut off", "after", finishing.String())
		return h.Close()
	}
	return err
}

// tell tells the service manager how the server is, where there is one.
func (s *Server) tell(state string) {
	if err := notify(state); err != nil {
		s.log.Warn("the service manager cannot be told", "state", state, "error", err.Error())
	}
}

// notify is sd_notify(3).
func notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte(state))
	return err
}

// watch tells the service manager, as often as it asks, that the process is
// alive. Of the database it says nothing: a new process would not mend that.
func (s *Server) watch(ctx context.Context) {
	every := watchdog(os.Getenv)
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s.tell("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// watchdog is half of the time within which the service manager wants to hear
// of this process (sd_watchdog_enabled(3)); zero: it does not.
func watchdog(env func(string) string) time.Duration {
	if pid := env("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	us, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	return time.Duration(us) * time.Microsecond / 2
}
