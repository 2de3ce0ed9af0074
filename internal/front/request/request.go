// Package request knows what every front needs of a request: whose address it
// comes from, its id, and what a refusal means in HTTP.
package request

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"countersign/internal/fault"
	"countersign/internal/secret"
	"countersign/internal/trace"
)

// An Info is what is known of a request before anything looks into it.
type Info struct {
	ID      string
	Address netip.Addr
	Header  http.Header
}

// UserAgent is what the client says it is, as text that can be kept: valid,
// without control characters, and not long.
func (i Info) UserAgent() string {
	ua := i.Header.Get("User-Agent")
	if len(ua) > 400 {
		ua = ua[:400]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, ua)
}

type infoKey struct{}

// InfoOf returns what Guard has found out.
func InfoOf(r *http.Request) Info { return InfoIn(r.Context()) }

// InfoIn is InfoOf for whoever has the context alone.
func InfoIn(ctx context.Context) Info {
	i, _ := ctx.Value(infoKey{}).(Info)
	return i
}

var statuses = [...]int{
	fault.Internal:    http.StatusInternalServerError,
	fault.Invalid:     http.StatusUnprocessableEntity,
	fault.Unproven:    http.StatusUnauthorized,
	fault.SignedOut:   http.StatusUnauthorized,
	fault.Forbidden:   http.StatusForbidden,
	fault.NotFound:    http.StatusNotFound,
	fault.Conflict:    http.StatusConflict,
	fault.Expired:     http.StatusGone,
	fault.Throttled:   http.StatusTooManyRequests,
	fault.Unavailable: http.StatusServiceUnavailable,
}

// Faults about requests themselves.
var (
	ErrMalformed  = fault.New(fault.Invalid, "request.malformed")
	ErrTooLarge   = fault.New(fault.Invalid, "request.too_large")
	ErrCrossSite  = fault.New(fault.Forbidden, "request.cross_site")
	ErrFormStale  = fault.New(fault.Invalid, "request.form_stale")
	ErrNotFound   = fault.New(fault.NotFound, "request.not_found")
	ErrMethod     = fault.New(fault.Invalid, "request.method")
	ErrMediaType  = fault.New(fault.Invalid, "request.media_type")
	exactStatuses = map[string]int{
		ErrMalformed.Code: http.StatusBadRequest,
		ErrTooLarge.Code:  http.StatusBadRequest,
		ErrFormStale.Code: http.StatusForbidden,
		ErrMethod.Code:    http.StatusMethodNotAllowed,
		ErrMediaType.Code: http.StatusUnsupportedMediaType,
		"password.huge":   http.StatusBadRequest,
	}
)

// Status returns the HTTP status for err, however deeply wrapped.
func Status(err error) int {
	f := fault.From(err)
	if s, ok := exactStatuses[f.Code]; ok {
		return s
	}
	return statuses[f.Kind]
}

// RetryAfter says in the header how long to wait, where the fault does.
func RetryAfter(w http.ResponseWriter, f *fault.Fault) {
	if f.Wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.Wait.Seconds()))))
	}
}

// Log writes down what is not the visitor's doing: once, with the request's id.
func Log(log *slog.Logger, r *http.Request, err error) {
	f := fault.From(err)
	if f.Kind.Ours() && !errors.Is(err, context.Canceled) {
		log.Log(r.Context(), Level(f), "request refused", "request", InfoOf(r).ID, "route", Route(r), "code", f.Code, "error", err.Error())
	}
}

// Level is how bad it is that a request is refused: a full queue is load, and
// has a metric of its own.
func Level(f *fault.Fault) slog.Level {
	if f.Is(secret.ErrBusy) {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// Route is what the request was for, as logs and counts may say it: the
// pattern that took it. A path holds tokens and names.
func Route(r *http.Request) string {
	if r.Pattern == "" || r.Pattern[0] == '/' { // a redirect of CONNECT says its path here
		return "none"
	}
	return r.Pattern
}

// longest is how long a request may wait for a part that does not answer;
// Long lifts it.
const longest = 15 * time.Second

// A Guard stands before every front.
type Guard struct {
	Next    http.Handler
	Trusted []netip.Prefix // proxies whose X-Forwarded-For counts
	Log     *slog.Logger
	Panic   http.HandlerFunc // the answer when a handler panics
	HSTS    bool
	Now     func() time.Time // of the Date header; nil: the machine's
	Machine func() time.Time // the machine's clock, which connections go by; nil: long answers are not bounded

	Tracer   *trace.Tracer  // nil: nothing is measured
	Answered func(Exchange) // is told of every request that was answered; needs the Tracer

	cross http.CrossOriginProtection
}

func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var id [9]byte
	_, _ = rand.Read(id[:]) // never fails
	info := Info{ID: hex.EncodeToString(id[:]), Address: ClientAddress(r, g.Trusted), Header: r.Header}
	ctx := context.WithValue(context.WithValue(r.Context(), infoKey{}, info), connectionKey{}, r.Context())
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if g.Tracer != nil {
		var span *trace.Running
		ctx, span = g.Tracer.Root(ctx, "request", g.caller(r))
		answer := &answer{ResponseWriter: w}
		w = answer
		defer func() { g.answered(r, info, answer, span) }()
	}
	r = r.WithContext(ctx)
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), publickey-credentials-create=(self), publickey-credentials-get=(self), otp-credentials=(self)")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Request-Id", info.ID)
	if g.HSTS {
		h.Set("Strict-Transport-Security", "max-age=63072000; includeSubDomains")
	}
	if g.Now != nil {
		h.Set("Date", g.Now().UTC().Format(http.TimeFormat))
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the sentinel itself
				panic(p)
			}
			g.Log.Error("panic", "request", info.ID, "route", Route(r), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			g.Panic(w, r)
		}
	}()
	g.Next.ServeHTTP(w, r)
}

// SameSite refuses what a browser says comes from another site.
func (g *Guard) SameSite(r *http.Request) error {
	if g.cross.Check(r) != nil {
		return ErrCrossSite
	}
	return nil
}

// ClientAddress is the address of whoever sent the request: the socket's,
// unless that is a trusted proxy; then the last address in X-Forwarded-For
// that is no trusted proxy.
func ClientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer := parseAddress(r.RemoteAddr)
	if !within(peer, trusted) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	client := peer
	for i := len(hops) - 1; i >= 0; i-- {
		a := parseAddress(strings.TrimSpace(hops[i]))
		if !a.IsValid() {
			return client
		}
		client = a
		if !within(a, trusted) {
			return a
		}
	}
	return client
}

func parseAddress(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func within(a netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if a.IsValid() && p.Contains(a) {
			return true
		}
	}
	return false
}
