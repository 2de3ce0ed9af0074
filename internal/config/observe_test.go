package config_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"countersign/internal/config"
)

func TestWhatWatchesTheServerIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    config.Observe
		want string // of the complaint; empty: none
	}{
		{config.Observe{}, ""},
		{config.Observe{MetricsListen: "localhost:9464"}, ""},
		{config.Observe{MetricsListen: "10.0.0.7:9464"}, ""},
		{config.Observe{MetricsListen: "localhost:9464", Debug: true}, ""},
		{config.Observe{MetricsListen: "[::1]:9464", Debug: true}, ""},
		{config.Observe{Debug: true}, "debug: is served where metrics_listen says, which is not set"},
		{config.Observe{MetricsListen: "10.0.0.7:9464", Debug: true}, "debug: is for this machine only, but metrics_listen is 10.0.0.7:9464"},
		{config.Observe{MetricsListen: ":9464", Debug: true}, "debug: is for this machine only, but metrics_listen is :9464"},
		{config.Observe{MetricsListen: "9464"}, `metrics_listen: "9464" is not host:port`},
		{config.Observe{MetricsListen: "localhost:99999"}, `metrics_listen: "localhost:99999" is not host:port`},
		{config.Observe{MetricsListen: "localhost:8080"}, "metrics_listen: must not be listen: whoever signs in would read it"},
		{config.Observe{TraceEndpoint: "http://localhost:4318"}, ""},
		{config.Observe{TraceEndpoint: "https://collector.example.com/otlp/v1/traces"}, ""},
		{config.Observe{TraceEndpoint: "localhost:4318"}, "trace_endpoint: is not like http://localhost:4318"},
		{config.Observe{TraceEndpoint: "grpc://localhost:4317"}, "trace_endpoint: is not like http://localhost:4318"},
		{config.Observe{TraceEndpoint: "http://user:hidden@localhost:4318"}, "trace_endpoint: is not like http://localhost:4318"},
		{config.Observe{TraceShare: 1.5}, "trace_share: 1.5 is not between 0 and 1"},
		{config.Observe{TraceShare: -0.1}, "trace_share: -0.1 is not between 0 and 1"},
	} {
		s, err := parse("")
		if err != nil {
			t.Fatal(err)
		}
		s.Observe = c.o
		got := ""
		if err := s.Check(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.o, got, c.want)
		}
	}
	s, err := parse("metrics_listen: localhost:9464\nlog_level: debug\ntrace_share: 0.5\ndebug: true")
	if err != nil || s.Observe.MetricsListen != "localhost:9464" || s.Observe.LogLevel != "debug" || s.Observe.TraceShare != 0.5 || !s.Observe.Debug {
		t.Fatalf("by a file: %+v, %v", s.Observe, err)
	}
	s.Observe.TraceEndpoint = "http://localhost:4318/"
	if err := s.Check(); err != nil || s.Observe.TraceEndpoint != "http://localhost:4318/v1/traces" {
		t.Errorf("%s, %v", s.Observe.TraceEndpoint, err)
	}
}

func TestTheLogSaysAsMuchAsItIsTo(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]string{"error": "e", "warn": "ew", "info": "ewi", "": "ewi", "debug": "ewid"} {
		for _, format := range []string{"text", "json"} {
			c := config.Config{LogFormat: format, Observe: config.Observe{LogLevel: level}}
			var b bytes.Buffer
			l := c.Logger(&b)
			for n, name := range []string{"e", "w", "i", "d"} {
				l.Log(t.Context(), []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug}[n], name)
			}
			if n := strings.Count(b.String(), "\n"); n != len(want) || strings.HasPrefix(b.String(), "{") != (format == "json") {
				t.Errorf("%s as %s: %s", level, format, b.String())
			}
		}
	}
}
