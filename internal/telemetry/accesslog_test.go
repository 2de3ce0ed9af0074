package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"countersign/internal/front/request"
	"countersign/internal/telemetry"
)

var hostileAgents = []string{
	"", "plain", `" onload="x`, `\`, `\"`, "a\nlevel=ERROR msg=forged", "a\r\n{\"level\":\"ERROR\"}", "\x00\x01\x1b[31mred", "\u2028\u2029", "\xff\xfe\xf0", "\xf0\x9f", "💥", "\u202egnp.exe",
	`{"a":"b"}`, `</script>`, strings.Repeat("é", 5000), strings.Repeat("\xf0", 500), "a=b c=\"d\"", "\u0085", "\u009b2J", "\u200b", "\U000e0041", "\ufeff",
}

func exchange(agent string) request.Exchange {
	return request.Exchange{Info: request.Info{ID: "0a1b", Address: netip.MustParseAddr("203.0.113.9"), Header: http.Header{"User-Agent": {agent}, "Cookie": {"session=hidden"}}},
		Route: "POST /signin", Status: 303, Bytes: 7, Took: 1234567 * time.Nanosecond}
}

func TestALineIsOneJSONObjectWhateverTheBrowserIsCalled(t *testing.T) {
	t.Parallel()
	for _, agent := range hostileAgents {
		var b bytes.Buffer
		telemetry.AccessLog(slog.New(slog.NewJSONHandler(&b, nil)), slog.LevelInfo)(exchange(agent))
		line, rest, _ := strings.Cut(b.String(), "\n")
		var got struct {
			Time                              time.Time
			Level, Msg, Request, Route, Agent string
			Address                           string
			Status, Bytes                     int
			MS                                float64
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil || rest != "" {
			t.Errorf("%q: %q, %v", agent, b.String(), err)
		}
		if got.Level != "INFO" || got.Msg != "answered" || got.Request != "0a1b" || got.Route != "POST /signin" || got.Status != 303 || got.Bytes != 7 || got.MS != 1.234 || got.Address != "203.0.113.9" {
			t.Errorf("%q: %+v", agent, got)
		}
		for _, r := range line {
			if !unicode.IsPrint(r) || r == utf8.RuneError {
				t.Errorf("%q: the line holds %q", agent, r)
			}
		}
		b.Reset()
		telemetry.AccessLog(slog.New(slog.NewTextHandler(&b, nil)), slog.LevelInfo)(exchange(agent))
		if strings.Count(b.String(), "\n") != 1 || strings.Count(b.String(), "level=") != 1+strings.Count(agent, "level=") {
			t.Errorf("%q: as text %q", agent, b.String())
		}
	}
}

func TestWhatMachinesAskAllTheTimeIsADetail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		route  string
		status int
		at     slog.Level
		level  string
	}{
		{"POST /signin", 303, slog.LevelInfo, "INFO"}, {"none", 404, slog.LevelInfo, "INFO"}, {"POST /signin", 303, slog.LevelDebug, "DEBUG"},
		{"GET /healthz", 200, slog.LevelInfo, "DEBUG"}, {"GET /api/v1/session", 401, slog.LevelInfo, "DEBUG"}, {"GET /api/v1/session", 503, slog.LevelInfo, "INFO"},
	} {
		var b bytes.Buffer
		x := exchange("browser")
		x.Route, x.Status = c.route, c.status
		telemetry.AccessLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), c.at)(x)
		if !strings.Contains(b.String(), "level="+c.level+" ") {
			t.Errorf("%s, %d: %s", c.route, c.status, b.String())
		}
		b.Reset()
		telemetry.AccessLog(slog.New(slog.NewTextHandler(&b, nil)), c.at)(x)
		if (b.Len() > 0) != (c.level == "INFO") {
			t.Errorf("%s, %d: at info it says %q", c.route, c.status, b.String())
		}
	}
}
