package request

import (
	"net/http"
	"sort"
	"strings"
)

// A Router is a ServeMux that can say what it routes.
type Router struct {
	mux      http.ServeMux
	Patterns []string
	Gates    map[string]string // of patterns: the scenario that gates them

	Audiences map[string]string // of patterns: who of those signed in may pass
	// Refuse answers what no pattern takes, as 404 or 405.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)
}

// Handle routes a pattern of the form "METHOD /path".
func (t *Router) Handle(pattern string, h http.Handler) {
	t.Patterns = append(t.Patterns, pattern)
	if g, ok := h.(interface{ Gate() string }); ok && g.Gate() != "" {
		if t.Gates == nil {
			t.Gates = map[string]string{}
		}
		t.Gates[pattern] = g.Gate()
	}
	if a, ok := h.(interface{ Audience() string }); ok {
		if t.Audiences == nil {
			t.Audiences = map[string]string{}
		}
		t.Audiences[pattern] = a.Audience()
	}
	t.mux.Handle(pattern, h)
}

// HandleFunc is Handle for a function.
func (t *Router) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	t.Handle(pattern, http.HandlerFunc(h))
}

func (t *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "*" && r.Method != http.MethodConnect {
		if _, pattern := t.mux.Handler(r); pattern != "" {
			t.mux.ServeHTTP(w, r)
			return
		}
	}
	said := &probe{header: http.Header{}} // ServeMux alone knows whether another method would do
	t.mux.ServeHTTP(said, r)
	switch {
	case said.code == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", said.header.Get("Allow"))
		t.Refuse(w, r, ErrMethod)
	case said.code >= 300 && said.code < 400 && strings.HasPrefix(said.header.Get("Location"), "/") && !strings.HasPrefix(said.header.Get("Location"), "//"):
		http.Redirect(w, r, said.header.Get("Location"), said.code)
	default:
		t.Refuse(w, r, ErrNotFound)
	}
}

// Routes returns what is routed, by path and method.
func (t *Router) Routes() []string {
	list := append([]string(nil), t.Patterns...)
	sort.Slice(list, func(i, j int) bool {
		mi, pi, _ := strings.Cut(list[i], " ")
		mj, pj, _ := strings.Cut(list[j], " ")
		if pi != pj {
			return pi < pj
		}
		return mi < mj
	})
	return list
}

// A probe takes down an answer's status and headers.
type probe struct {
	header http.Header
	code   int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) WriteHeader(code int)        { p.code = code }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
