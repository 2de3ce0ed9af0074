package server_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// served is what /metrics of a server that has just begun says: the labels and
// their values by the name of a series.
func served(t *testing.T) map[string]map[string][]string {
	t.Helper()
	c := settings(t, t.TempDir())
	c.Observe.MetricsListen = "localhost:0"
	s := open(t, c)
	w := httptest.NewRecorder()
	s.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	names := map[string]map[string][]string{}
	label := regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
	for line := range strings.Lines(w.Body.String()) {
		m := regexp.MustCompile(`^(\w+)(\{.*\})? `).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if names[m[1]] == nil {
			names[m[1]] = map[string][]string{}
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			names[m[1]][l[1]] = append(names[m[1]][l[1]], l[2])
		}
	}
	// Of these there is nothing before the first request and the first job.
	names["countersign_http_requests_total"] = map[string][]string{"route": {"GET /api/v1/session"}, "status": {"2xx", "3xx", "4xx", "5xx"}}
	names["countersign_http_request_seconds_bucket"] = map[string][]string{"route": {"GET /api/v1/session"}, "le": {"1"}}
	names["countersign_job_last_success_timestamp_seconds"] = map[string][]string{"task": {"expire"}}
	if len(names) < 60 {
		t.Fatalf("only %d series are served", len(names))
	}
	return names
}

var (
	selector = regexp.MustCompile(`\b((?:countersign|go|process)_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)(=~|!=|=)"([^"]*)"`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// asks checks that a query asks for what is served: names, labels, and the
// values of labels.
func asks(t *testing.T, what, query string, names map[string]map[string][]string) {
	t.Helper()
	var labels []string
	found := selector.FindAllStringSubmatch(query, -1)
	for _, m := range found {
		has, ok := names[m[1]]
		if !ok {
			t.Errorf("%s asks for %s, which is not served: %s", what, m[1], query)
		}
		for l := range has {
			labels = append(labels, l)
		}
		for _, by := range matcher.FindAllStringSubmatch(m[2], -1) {
			if by[1] == "instance" {
				continue
			}
			if has[by[1]] == nil {
				t.Errorf("%s asks for label %s of %s", what, by[1], m[1])
			}
			for _, v := range strings.Split(by[3], "|") {
				if v = strings.TrimSuffix(v, ".*"); by[2] != "!=" && !slices.ContainsFunc(has[by[1]], func(s string) bool { return s == v || by[2] == "=~" && strings.HasPrefix(s, v) }) {
					t.Errorf("%s asks for %s=%q of %s, of which there is none from the start", what, by[1], v, m[1])
				}
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(query, -1) {
		for _, l := range strings.Split(g[1], ", ") {
			if l != "instance" && !slices.Contains(labels, l) {
				t.Errorf("%s groups by %s: %s", what, l, query)
			}
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(query, pair[:1]) != strings.Count(query, pair[1:]) {
			t.Errorf("%s: %q is not closed: %s", what, pair[:1], query)
		}
	}
	if len(found) == 0 {
		t.Errorf("%s asks for nothing: %s", what, query)
	}
}

func TestTheDashboardShowsWhatIsServed(t *testing.T) {
	t.Parallel()
	names := served(t)
	b, err := os.ReadFile("../../deploy/grafana/countersign.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title, UID    string
		SchemaVersion int
		Panels        []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ RefID, Expr string }
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	if board.Title != "Countersign" || board.UID != "countersign" || board.SchemaVersion == 0 || len(board.Panels) < 25 || len(board.Templating.List) != 2 {
		t.Errorf("%s, %d panels", board.Title, len(board.Panels))
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q is there twice, or has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if taken[[2]int{x, y}] != "" || x > 23 {
					t.Fatalf("%s lies on %s", p.Title, taken[[2]int{x, y}])
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			asks(t, p.Title, q.Expr, names)
		}
	}
	for _, v := range board.Templating.List {
		if v.Type == "query" {
			asks(t, v.Name, v.Definition, names)
		}
	}
}

func TestTheAlertsLookAtWhatIsServed(t *testing.T) {
	t.Parallel()
	names := served(t)
	b, err := os.ReadFile("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(b, &rules); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/operation.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			asks(t, r.Alert, r.Expr, names)
			if s := r.Labels["severity"]; !strings.HasPrefix(r.Alert, "Countersign") || (s != "critical" && s != "warning") || r.Annotations["summary"] == "" {
				t.Errorf("%+v", r)
			}
			if !strings.Contains(string(doc), "`"+r.Alert+"`") {
				t.Errorf("docs/operation.md does not say what to do about %s", r.Alert)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d alerts", n)
	}
}
