package config

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Observe says how the server is watched.
type Observe struct {
	LogLevel      string  `long:"log-level" default:"info" choice:"error" choice:"warn" choice:"info" choice:"debug" description:"How much is logged: error, warn, info (with a line for every request), or debug (with those that machines make all the time)."`
	MetricsListen string  `long:"metrics-listen" description:"Address of /metrics, on a listener of its own: host:port, for a private network. Default: closed."`
	Debug         bool    `long:"debug" description:"Serve /debug/pprof there too. For this machine only."`
	TraceEndpoint string  `long:"trace-endpoint" description:"Collector that traces are sent to, by OTLP/HTTP in JSON, like http://localhost:4318. Default: none are."`
	TraceShare    float64 `long:"trace-share" default:"1" description:"Share of the requests that are traced, 0 to 1."`

	Version string // of the build
}

// Logger returns the log that the settings ask for.
func (c *Config) Logger(to io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Observe.LogLevel)) // what is no level is info
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

// checkObserve completes settings that were made without the command line.
func (c *Config) checkObserve() (wrong []error) {
	o := &c.Observe
	host, port, err := net.SplitHostPort(o.MetricsListen)
	_, number := strconv.ParseUint(port, 10, 16)
	switch {
	case o.MetricsListen == "" && o.Debug:
		wrong = append(wrong, fmt.Errorf("debug: is served where metrics_listen says, which is not set"))
	case o.MetricsListen == "":
	case err != nil || number != nil:
		wrong = append(wrong, fmt.Errorf("metrics_listen: %q is not host:port", o.MetricsListen))
	case o.MetricsListen == c.Listen && port != "0":
		wrong = append(wrong, fmt.Errorf("metrics_listen: must not be listen: whoever signs in would read it"))
	case o.Debug && !local(host):
		wrong = append(wrong, fmt.Errorf("debug: is for this machine only, but metrics_listen is %s", o.MetricsListen))
	}
	if o.TraceEndpoint != "" {
		u, err := url.Parse(o.TraceEndpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			wrong = append(wrong, fmt.Errorf("trace_endpoint: is not like http://localhost:4318"))
		} else if strings.Trim(u.Path, "/") == "" { // of OTLP/HTTP
			o.TraceEndpoint = u.Scheme + "://" + u.Host + "/v1/traces"
		}
	}
	if !(o.TraceShare >= 0 && o.TraceShare <= 1) {
		wrong = append(wrong, fmt.Errorf("trace_share: %v is not between 0 and 1", o.TraceShare))
	}
	return wrong
}
