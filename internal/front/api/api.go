// Package api is the JSON front: the same flows under the same rules as the pages.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	jsonv2 "github.com/go-json-experiment/json"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/flow/signin"
	"countersign/internal/front/request"
	"countersign/internal/locale"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

// Routes is what Mount needs of a router.
type Routes interface {
	Handle(pattern string, h http.Handler)
}

// An API serves programs.
type API struct {
	Flow  *signin.Flow
	Guard *request.Guard
	Log   *slog.Logger

	// SessionCookie is the name of the pages' session cookie, and Secure
	// whether it is for https alone.
	SessionCookie string
	Secure        bool
}

// bodyMaxBytes bounds a request's body.
const bodyMaxBytes = 64 << 10

// A Problem is a refusal (RFC 9457). Code is stable.
type Problem struct {
	Type       string `json:"type" doc:"URN of the code"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail,omitempty" doc:"A sentence for people, in the language asked for"`
	Code       string `json:"code" doc:"Stable name of the refusal"`
	Field      string `json:"field,omitempty" doc:"The member of the request that it is about"`
	Instance   string `json:"instance,omitempty" doc:"Id of the request"`
	RetryAfter int    `json:"retry_after,omitempty" doc:"Seconds to wait"`
	Codes      int    `json:"codes,omitempty" doc:"How many codes in a row a try must carry"`
}

// Error makes a Problem an error, as huma wants it.
func (p *Problem) Error() string { return p.Code }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of RFC 9457.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// problem turns a refusal into its Problem, and writes down what is ours.
func (a *API) problem(ctx context.Context, err error) error {
	f := fault.From(err)
	info := request.InfoIn(ctx)
	p := newProblem(request.Status(err), f.Code, a.locale(ctx).Fault(f), info.ID)
	if f.Kind.Ours() {
		a.Log.Log(ctx, request.Level(f), "request refused", "request", info.ID, "front", "api", "code", f.Code, "error", err.Error())
	}
	p.Field = f.Field
	if n, ok := f.Args["Count"].(int); ok && f.Is(factor.ErrMoreCodesAsked) {
		p.Codes = n
	}
	if f.Wait > 0 {
		p.RetryAfter = int((f.Wait + time.Second - 1) / time.Second)
		return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {strconv.Itoa(p.RetryAfter)}})
	}
	if p.Status == http.StatusUnauthorized {
		return huma.ErrorWithHeaders(p, http.Header{"WWW-Authenticate": {`Bearer realm="countersign"`}})
	}
	return p
}

func newProblem(status int, code, detail, instance string) *Problem {
	return &Problem{Type: "urn:countersign:problem:" + code, Title: http.StatusText(status), Status: status, Detail: detail, Code: code, Instance: instance}
}

func (a *API) locale(ctx context.Context) *locale.Locale {
	return locale.Match(request.InfoIn(ctx).Header.Get("Accept-Language"))
}

// fromSchema is the refusal of a body that does not fit its description. The
// values that were sent are not repeated: they may be secrets.
func fromSchema(ctx huma.Context, status int, _ string, errs ...error) huma.StatusError {
	f := request.ErrMalformed
	switch {
	case status == http.StatusRequestEntityTooLarge:
		f = request.ErrTooLarge
	case status == http.StatusUnsupportedMediaType, status == http.StatusNotAcceptable:
		f = request.ErrMediaType
	case status >= http.StatusInternalServerError:
		f = fault.New(fault.Internal, "internal")
	}
	detail, id := "", ""
	if ctx != nil { // else the library asks for the shape of a refusal, at the start
		detail, id = locale.Match(ctx.Header("Accept-Language")).Fault(f), request.InfoIn(ctx.Context()).ID
	}
	p := newProblem(status, f.Code, detail, id)
	for _, err := range errs {
		var d *huma.ErrorDetail
		if errors.As(err, &d) {
			p.Field = strings.TrimPrefix(strings.TrimPrefix(d.Location, "body"), ".")
			break
		}
	}
	return p
}

// The library has these for the whole program.
func init() {
	huma.NewErrorWithContext = fromSchema
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return fromSchema(nil, status, message, errs...)
	}
}

// Mount routes the API.
func (a *API) Mount(t Routes) {
	config := huma.DefaultConfig("Countersign", "1")
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no links to schemas in answers
	config.Info.Description = "Signing in, step by step, under the same rules as the pages."
	strict := huma.Format{
		Marshal: func(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) },
		// Refuses members that come twice, and text that is not UTF-8.
		Unmarshal: func(data []byte, v any) error { return jsonv2.Unmarshal(data, v) },
	}
	config.Formats = map[string]huma.Format{"application/json": strict, "json": strict}
	config.DefaultFormat = "application/json"
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer"},
		"cookie": {Type: "apiKey", In: "cookie", Name: a.SessionCookie},
	}
	mux := http.NewServeMux()
	h := humago.New(mux, config)

	post := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, MaxBodyBytes: bodyMaxBytes,
			Errors: []int{400, 401, 403, 410, 413, 415, 422, 429, 503}, Tags: []string{"sign-in"}, Middlewares: huma.Middlewares{jsonOnly(h)}}
	}
	huma.Register(h, post("signin", "/api/v1/signin", "Begin with a user name and a password"), a.begin)
	huma.Register(h, post("signin-send", "/api/v1/signin/send", "Have a code sent"), a.send)
	huma.Register(h, post("signin-verify", "/api/v1/signin/verify", "Take the next step with a proof"), a.verify)
	huma.Register(h, post("signin-bind", "/api/v1/signin/bind", "Begin to bind a device, where one must come first"), a.bind)
	huma.Register(h, post("signin-bind-confirm", "/api/v1/signin/bind/confirm", "Bind the device with its code"), a.confirmBind)
	huma.Register(h, post("signin-passkey-options", "/api/v1/signin/passkey/options", "What the browser needs to prove with a passkey"), a.passkeyOptions)
	huma.Register(h, post("signin-passkey", "/api/v1/signin/passkey", "Sign in with a passkey alone, or take the next step with one"), a.passkey)
	huma.Register(h, post("signin-password", "/api/v1/signin/password", "Set a password of one's own, where one must come first"), a.setPassword)
	security := []map[string][]string{{"bearer": {}}, {"cookie": {}}}
	huma.Register(h, huma.Operation{OperationID: "session", Method: http.MethodGet, Path: "/api/v1/session", Summary: "Who is signed in", Errors: []int{401, 503}, Tags: []string{"session"}, Security: security}, a.session)
	huma.Register(h, huma.Operation{OperationID: "session-end", Method: http.MethodDelete, Path: "/api/v1/session", Summary: "Sign out", DefaultStatus: http.StatusNoContent, Errors: []int{401, 503}, Tags: []string{"session"}, Security: security}, a.end)

	for path, item := range h.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "DELETE": item.Delete} {
			if op != nil {
				t.Handle(method+" "+path, mux)
			}
		}
	}
	document := sync.OnceValue(func() []byte { // when first asked for: it takes as long as all the rest
		b, err := json.MarshalIndent(h.OpenAPI(), "", "  ")
		if err != nil {
			panic(fmt.Sprintf("api: describe: %v", err)) // a broken build
		}
		return b
	})
	t.Handle("GET /api/v1/openapi.json", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(document()))
	}))
}

// jsonOnly refuses bodies of other kinds: a form of another site cannot send JSON.
func jsonOnly(h huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		kind, _, _ := strings.Cut(ctx.Header("Content-Type"), ";")
		if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
			_ = huma.WriteErr(h, ctx, http.StatusUnsupportedMediaType, "")
			return
		}
		next(ctx)
	}
}

// Refuse answers what is not routed below /api.
func (a *API) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.From(err)
	request.RetryAfter(w, f)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(request.Status(err))
	_ = json.NewEncoder(w).Encode(newProblem(request.Status(err), f.Code, a.locale(r.Context()).Fault(f), request.InfoOf(r).ID))
}

func (a *API) visitor(ctx context.Context, device string) prove.Visitor {
	info := request.InfoIn(ctx)
	v := prove.Visitor{Address: info.Address, Request: info.ID, UserAgent: info.UserAgent(), Locale: a.locale(ctx)}
	if t, err := secret.ParseToken(device); err == nil {
		v.Devices = []secret.Token{t}
	}
	return v
}

type beginInput struct {
	Body struct {
		Username string `json:"username" maxLength:"1024"`
		Password string `json:"password" maxLength:"65536"`
		Device   string `json:"device,omitempty" maxLength:"64" doc:"Known-device token of an earlier sign-in"`
		Cookie   bool   `json:"cookie,omitempty" doc:"Put the session into the cookie; for pages of this site"`

		RememberedDevice string `json:"remembered_device,omitempty" maxLength:"128" doc:"Remembered-device token of the sign-in before: it may spare the second step"`
	}
}

type sendInput struct {
	Body struct {
		Ceremony string        `json:"ceremony" maxLength:"64"`
		Method   factor.Method `json:"method" maxLength:"40"`
	}
}

type sendOutput struct {
	Body struct {
		Status string `json:"status" example:"sent"`
	}
}

type verifyInput struct {
	Body struct {
		Ceremony string        `json:"ceremony" maxLength:"64"`
		Method   factor.Method `json:"method" maxLength:"40"`
		Code     string        `json:"code" maxLength:"64"`
		Code2    string        `json:"code2,omitempty" maxLength:"64"`
		Code3    string        `json:"code3,omitempty" maxLength:"64"`
		Remember bool          `json:"remember,omitempty" doc:"Do not ask on this device for 7 days, where the account allows it: after a device, not after a recovery code or a mailed one"`
		Device   string        `json:"device,omitempty" maxLength:"64" doc:"Known-device token of an earlier sign-in"`
		Cookie   bool          `json:"cookie,omitempty" doc:"Put the session into the cookie; for pages of this site"`
	}
}

// A step is where a sign-in stands.
type step struct {
	Status       policy.Step              `json:"status" doc:"complete, verify, bind, new_password, or confirm_email"`
	Ceremony     string                   `json:"ceremony,omitempty" doc:"Token of the sign-in under way: a secret"`
	Methods      []factor.Method          `json:"methods,omitempty" doc:"What takes the next step, best first"`
	Destinations map[factor.Method]string `json:"destinations,omitempty" doc:"Where codes of the methods that are sent go, masked"`
	Codes        int                      `json:"codes,omitempty" doc:"How many codes in a row a try of virtual MFA must carry"`
	Session      string                   `json:"session,omitempty" doc:"Bearer token: a secret"`
	Device       string                   `json:"device,omitempty" doc:"Known-device token to send with the next sign-in: a secret that grants nothing"`
	ExpiresAt    *time.Time               `json:"expires_at,omitempty"`

	RememberedDevice string     `json:"remembered_device,omitempty" doc:"Remembered-device token to send with the next sign-in in place of the one before, which works no more: a secret"`
	RememberedUntil  *time.Time `json:"remembered_until,omitempty"`

	RecoveryCodes []string `json:"recovery_codes,omitempty" doc:"Made with the first device, and told this once: secrets"`
}

type stepOutput struct {
	SetCookie string `header:"Set-Cookie"`
	Body      step
}

func (a *API) answer(ctx context.Context, p signin.Progress, ceremony string, cookie bool) (*stepOutput, error) {
	out := &stepOutput{Body: step{Status: p.Step}}
	if p.Session == nil {
		out.Body.Ceremony = ceremony
		if !p.Token.IsZero() {
			out.Body.Ceremony = p.Token.Reveal()
		}
		for _, o := range p.Offers {
			out.Body.Methods = append(out.Body.Methods, o.Method)
			if o.Destination != "" {
				if out.Body.Destinations == nil {
					out.Body.Destinations = map[factor.Method]string{}
				}
				out.Body.Destinations[o.Method] = o.Destination
			}
		}
		if p.Step == policy.Bind {
			out.Body.Methods = p.Setup.Kinds
		}
		out.Body.Codes, out.Body.ExpiresAt = p.Codes, &p.ExpiresAt
		return out, nil
	}
	out.Body.ExpiresAt, out.Body.RecoveryCodes = &p.Session.Session.ExpiresAt, p.Session.Codes
	if len(p.Session.Devices) > 0 {
		out.Body.Device = p.Session.Devices[0].Reveal()
	}
	if kept := p.Session.Kept; !kept.Token.IsZero() {
		out.Body.RememberedDevice, out.Body.RememberedUntil = kept.Token.Reveal(), &kept.Until
	}
	if !cookie {
		out.Body.Session = p.Session.Token.Reveal()
		return out, nil
	}
	out.SetCookie = (&http.Cookie{Name: a.SessionCookie, Value: p.Session.Token.Reveal(), Path: "/", Secure: a.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}).String()
	return out, nil
}

// cookieFor refuses to put the session of a sign-in into the cookie of another
// site's visitor, before there is one.
func (a *API) cookieFor(ctx context.Context, asked bool) error {
	if asked && request.InfoIn(ctx).Header.Get("Sec-Fetch-Site") != "same-origin" {
		return a.problem(ctx, request.ErrCrossSite)
	}
	return nil
}

func (a *API) begin(ctx context.Context, in *beginInput) (*stepOutput, error) {
	if err := a.cookieFor(ctx, in.Body.Cookie); err != nil {
		return nil, err
	}
	v := a.visitor(ctx, in.Body.Device)
	v.Remembered = session.ParseRememberToken(in.Body.RememberedDevice)
	p, err := a.Flow.Begin(ctx, v, prove.Door{}, in.Body.Username, in.Body.Password, "")
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	return a.answer(ctx, p, "", in.Body.Cookie)
}

func (a *API) ceremony(ctx context.Context, s string) (secret.Token, error) {
	t, err := secret.ParseToken(s)
	if err != nil {
		return t, a.problem(ctx, errGone)
	}
	return t, nil
}

func (a *API) send(ctx context.Context, in *sendInput) (*sendOutput, error) {
	token, err := a.ceremony(ctx, in.Body.Ceremony)
	if err != nil {
		return nil, err
	}
	if err := a.Flow.Send(ctx, a.visitor(ctx, ""), token, in.Body.Method); err != nil {
		return nil, a.problem(ctx, err)
	}
	out := &sendOutput{}
	out.Body.Status = "sent"
	return out, nil
}

func (a *API) verify(ctx context.Context, in *verifyInput) (*stepOutput, error) {
	if err := a.cookieFor(ctx, in.Body.Cookie); err != nil {
		return nil, err
	}
	token, err := a.ceremony(ctx, in.Body.Ceremony)
	if err != nil {
		return nil, err
	}
	p, err := a.Flow.Answer(ctx, a.visitor(ctx, in.Body.Device), token, prove.Answer{Method: in.Body.Method, Codes: []string{in.Body.Code, in.Body.Code2, in.Body.Code3}, Remember: in.Body.Remember})
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	return a.answer(ctx, p, in.Body.Ceremony, in.Body.Cookie)
}
