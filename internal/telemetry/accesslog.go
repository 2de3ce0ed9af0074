package telemetry

import (
	"context"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"countersign/internal/front/request"
)

// quiet are the routes that machines ask all the time: their lines are for
// whoever asks for every detail.
var quiet = map[string]bool{
	"GET /healthz": true, "GET /readyz": true, "GET /api/v1/session": true, "GET /assets/{hash}/{name}": true,
}

// plain drops what a terminal would obey, or show as something else.
func plain(r rune) rune {
	if !unicode.IsPrint(r) {
		return -1
	}
	return r
}

// AccessLog returns what writes a line for every request, at a level. The line
// has the route, never the path or the query: in those there are tokens.
func AccessLog(log *slog.Logger, at slog.Level) func(request.Exchange) {
	return func(x request.Exchange) {
		level := at
		if quiet[x.Route] && x.Status < 500 {
			level = slog.LevelDebug
		}
		if !log.Enabled(context.Background(), level) {
			return
		}
		attrs := []slog.Attr{
			slog.String("request", x.ID), slog.String("route", x.Route), slog.Int("status", x.Status), slog.Int64("bytes", x.Bytes),
			slog.Float64("ms", float64(x.Took/time.Microsecond)/1000),
		}
		if x.Address.IsValid() {
			attrs = append(attrs, slog.String("address", x.Address.String()))
		}
		if agent := strings.Map(plain, x.UserAgent()); agent != "" {
			attrs = append(attrs, slog.String("agent", agent))
		}
		if x.Trace != "" {
			attrs = append(attrs, slog.String("trace", x.Trace))
		}
		log.LogAttrs(context.Background(), level, "answered", attrs...)
	}
}
