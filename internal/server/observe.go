package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"countersign/internal/config"
	"countersign/internal/delivery"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/front/request"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/telemetry"
	"countersign/internal/trace"
)

// An observation is what the server is watched by.
type observation struct {
	metrics   *telemetry.Metrics   // nil: metrics_listen is closed
	collector *telemetry.Collector // nil: there is no trace_endpoint
	tracer    *trace.Tracer
	side      net.Listener // of metrics_listen
}

func observe(c *config.Config, log *slog.Logger) (o observation) {
	o.tracer = &trace.Tracer{Now: time.Now, Random: rand.Reader, Share: c.Observe.TraceShare}
	if c.Observe.MetricsListen != "" {
		o.metrics = telemetry.New(c.Observe.Version, providers(c))
		o.tracer.Timed = o.metrics.Timed
	}
	if c.Observe.TraceEndpoint != "" {
		resource := []trace.Attribute{trace.Text("service.name", "countersign"), trace.Text("service.version", c.Observe.Version)}
		if host, err := os.Hostname(); err == nil {
			resource = append(resource, trace.Text("service.instance.id", host+"/"+c.Listen))
		}
		o.collector = telemetry.NewCollector(c.Observe.TraceEndpoint, resource, log, o.metrics)
		o.tracer.Keep = o.collector.Keep
	}
	return o
}

// providers says who sends on each channel, in words that are few.
func providers(c *config.Config) map[message.Channel]string {
	p := map[message.Channel]string{message.Email: "none", message.SMS: "none"}
	if c.Dev {
		p[message.Email], p[message.SMS] = "development", "development"
	}
	if c.SMTP.Address != "" {
		p[message.Email] = "smtp"
	}
	if c.SMS.Provider != "" {
		p[message.SMS] = c.SMS.Provider
	}
	return p
}

// recorded is what the store tells of events.
func (o *observation) recorded() func(audit.Event) {
	if o.metrics == nil {
		return nil
	}
	return o.metrics.Recorded
}

// watchFlows has the metrics look at what Open has made.
func (s *Server) watchFlows(hasher *secret.Hasher) {
	m := s.observed.metrics
	if m == nil {
		return
	}
	s.SignIn.Charged = m.Charged
	m.Look(telemetry.Source{Stats: s.DB.Stats, Load: hasher.Load, Ready: s.DB.Ready, Now: s.clock.Now,
		Backlog: func(ctx context.Context) ([]store.Backlog, error) { return s.DB.Read(ctx).Backlog() }})
}

// watchFronts has requests and sends measured, and a line written for every
// request. In development the terminal is for messages.
func (s *Server) watchFronts(g *request.Guard, w *delivery.Worker) {
	at := slog.LevelInfo
	if s.config.Dev {
		at = slog.LevelDebug
	}
	line := telemetry.AccessLog(s.log, at)
	g.Tracer, g.Answered, w.Tracer = s.observed.tracer, line, s.observed.tracer
	if m := s.observed.metrics; m != nil {
		w.Told = m.Told
		g.Answered = func(x request.Exchange) { line(x); m.Answered(x) }
	}
}

// done notes that a job succeeded.
func (s *Server) done(job string) {
	if m := s.observed.metrics; m != nil {
		m.Done(job, s.Now())
	}
}

// Metrics is what metrics_listen serves; nil where that is closed.
func (s *Server) Metrics() http.Handler {
	if s.observed.metrics == nil {
		return nil
	}
	return s.observed.metrics.Handler(s.log, s.config.Observe.Debug)
}

// listenAside takes the address of the metrics, where they have one.
func (s *Server) listenAside() (err error) {
	if s.observed.metrics == nil {
		return nil
	}
	s.observed.side, err = net.Listen("tcp", s.config.Observe.MetricsListen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("metrics_listen: %s is taken by another program", s.config.Observe.MetricsListen)
	}
	if err != nil {
		return fmt.Errorf("metrics_listen: %w", err)
	}
	return nil
}

// serveAside serves the metrics until ctx ends.
func (s *Server) serveAside(ctx context.Context) {
	if s.observed.side == nil {
		return
	}
	h := &http.Server{Handler: s.Metrics(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	defer context.AfterFunc(ctx, func() { _ = h.Close() })()
	if err := h.Serve(s.observed.side); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("metrics are no longer served", "error", err.Error())
	}
}

// sendTraces sends traces until ctx ends.
func (s *Server) sendTraces(ctx context.Context) {
	if c := s.observed.collector; c != nil {
		c.Run(ctx)
	}
}
