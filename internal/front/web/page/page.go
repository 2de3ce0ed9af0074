// Package page is the kit of the web pages: layout, forms, headers, assets.
package page

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	template "github.com/DataDog/datadog-agent/pkg/template/html"

	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/front/request"
	"countersign/internal/locale"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

//go:embed templates
var layoutFS embed.FS

var ownFiles = Files{FS: layoutFS}

// A Kit is what all pages share.
type Kit struct {
	Service string // its name, as people know it
	Contact string // where people turn to; may be empty
	Secure  bool   // the public URL is https
	Dev     bool
	Keys    *secret.Keyring
	Now     func() time.Time
	Log     *slog.Logger
	Guard   *request.Guard
	Idle    time.Duration // of sessions

	// Who returns who is signed in with a token.
	Who func(r *http.Request, token secret.Token) (prove.Signed, error)

	failure Page[failure]
}

// Init prepares the kit's own pages.
func (k *Kit) Init() { k.failure = New[failure](k, ownFiles, "templates/failure.html") }

// A Base is what every page has. Page types embed it.
type Base struct {
	L       *locale.Locale
	Theme   string // light, dark, or empty: the system's
	Path    string // of the page, to come back to
	CSRF    string
	Service string
	Contact string
	Dev     bool
	Wide    bool
	Name    string // who is signed in; empty: nobody
	Idle    int    // seconds a session lasts without use
	Flash   string // message key of what was just done
	Nav     string // the part of the site
	RAM     bool   // a RAM user is signed in
	Console bool   // somebody who sees the console is
	// Passkeys: something on the page asks the browser for passkeys, or tells it about them.
	Passkeys bool
	Unknown  string // a passkey that the browser may forget (signalUnknownCredential); empty: none
	Problem  *Problem
	Asset    func(string) string
	Locales  []*locale.Locale
}

// A Problem is a refusal beside the form that it is about.
type Problem struct {
	Field string
	Text  string
	Code  string
}

// T is the sentence for a key.
func (b Base) T(key string, args ...any) string { return b.L.T(key, args...) }

// Error is the text of the problem if it is about field.
func (b Base) Error(field string) string {
	if b.Problem != nil && b.Problem.Field == field {
		return b.Problem.Text
	}
	return ""
}

// At writes an instant.
func (b Base) At(t time.Time) string { return b.L.Time(t) }

func (b *Base) base() *Base { return b }

// HasBase is a page type: a struct that embeds Base.
type HasBase interface{ base() *Base }

// A Page is a template with the type of what it shows. What is the same for
// every type is a sheet's: a hundred types would make a hundred copies of it.
type Page[T any] struct{ *sheet }

// A sheet is a template within the layout.
type sheet struct {
	name string
	t    func() *template.Template
}

// Files are templates, and the functions that they call beside those of every
// page.
type Files struct {
	fs.FS
	Functions map[string]any
}

var registered struct {
	sync.Mutex
	pages map[string]func(yield func(t *template.Template, functions template.FuncMap, data any))
}

// New is the page at path in files, within the layout, with the parts that it
// takes from files. It is parsed when first shown: all pages at once take more
// memory than everything else in an idle server. A template that does not
// parse is a broken build, and panics; a test parses every one.
func New[T any](_ *Kit, files Files, path string, parts ...string) Page[T] {
	return Page[T]{newSheet(files, path, parts, *new(T))}
}

func newSheet(files Files, path string, parts []string, zero any) *sheet {
	t := sync.OnceValue(func() *template.Template {
		t := template.Must(template.New("layout.html").Funcs(functions).ParseFS(layoutFS, "templates/layout.html", "templates/parts.html", "templates/chart.html"))
		return template.Must(t.Funcs(files.Functions).ParseFS(files, append(parts, path)...))
	})
	registered.Lock()
	defer registered.Unlock()
	if registered.pages == nil {
		registered.pages = map[string]func(func(*template.Template, template.FuncMap, any)){}
	}
	registered.pages[path+fmt.Sprintf(" %T", zero)] = func(yield func(*template.Template, template.FuncMap, any)) {
		all := maps.Clone(functions)
		maps.Copy(all, files.Functions)
		yield(t(), all, zero)
	}
	return &sheet{path, t}
}

// Registered calls f for every page made so far, with the functions that its
// templates may call and a zero value of its type.
func Registered(f func(name string, t *template.Template, functions template.FuncMap, data any)) {
	registered.Lock()
	defer registered.Unlock()
	for name, with := range registered.pages {
		with(func(t *template.Template, functions template.FuncMap, data any) { f(name, t, functions, data) })
	}
}

// Render writes the page.
func (p Page[T]) Render(w http.ResponseWriter, r *http.Request, status int, data T) error {
	return p.render(w, r, status, data)
}

func (p *sheet) render(w http.ResponseWriter, r *http.Request, status int, data any) error {
	var b bytes.Buffer
	if err := p.t().ExecuteTemplate(&b, "layout.html", data); err != nil {
		return fmt.Errorf("render %s: %w", p.name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	WriteCompressed(w, r, status, b.Bytes())
	return nil
}

var gzips = sync.Pool{New: func() any { w, _ := gzip.NewWriterLevel(nil, gzip.DefaultCompression); return w }}

// WriteCompressed writes a body, compressed where the client takes that. Pages
// mask the tokens they carry, so that their length tells nothing (CRIME, BREACH).
func WriteCompressed(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if len(body) < 600 || !acceptsEncoding(r, "gzip") {
		h.Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return
	}
	h.Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	z := gzips.Get().(*gzip.Writer)
	z.Reset(w)
	_, _ = z.Write(body)
	_ = z.Close()
	gzips.Put(z)
}

func acceptsEncoding(r *http.Request, encoding string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), encoding) && strings.TrimSpace(q) != "q=0" {
			return true
		}
	}
	return false
}

// Base returns what every page has, for a request. It uses up the flash.
func (k *Kit) Base(w http.ResponseWriter, r *http.Request) Base {
	b := Base{
		L: k.Locale(r), Theme: k.theme(r), Path: returnPath(r), CSRF: k.formToken(w, r),
		Service: k.Service, Contact: k.Contact, Dev: k.Dev, Asset: AssetPath, Locales: locale.All,
	}
	if c := k.Cookie(r, cookieFlash); c != "" {
		k.ClearCookie(w, cookieFlash)
		if key := "done." + c; b.L.Has(key) {
			b.Flash = key
		}
	}
	return b
}

// SignedBase is Base for someone signed in.
func (k *Kit) SignedBase(w http.ResponseWriter, r *http.Request, s prove.Signed) Base {
	b := k.Base(w, r)
	b.Name, b.Idle = s.Identity.Name(), int(k.Idle.Seconds())
	if silent := b.Flash + ".silent"; b.Flash != "" && s.Identity.Email == "" && b.L.Has(silent) {
		b.Flash = silent // no message was sent
	}
	b.RAM, b.Console = !s.Identity.IsOwner(), s.Identity.Role.Audits()
	return b
}

// returnPath is where to come back to after the language was changed: the
// page itself, if it is one that can be asked for again.
func returnPath(r *http.Request) string {
	if r.Method != http.MethodGet {
		return r.URL.Path
	}
	return r.URL.RequestURI()
}

type accountLocale struct{}

// Locale is the language of a page: chosen here, else the account's, else
// asked for by the browser.
func (k *Kit) Locale(r *http.Request) *locale.Locale {
	account, _ := r.Context().Value(accountLocale{}).(string)
	return locale.Match(r.Header.Get("Accept-Language"), k.Cookie(r, CookieLocale), account)
}

func (k *Kit) theme(r *http.Request) string {
	if t := k.Cookie(r, CookieTheme); t == "light" || t == "dark" {
		return t
	}
	return ""
}

// Refuse puts a refusal on the page of its form, so that what was entered is
// not lost. ok is false when it is not one for a form: then the caller returns
// the error.
func (k *Kit) Refuse(w http.ResponseWriter, r *http.Request, b *Base, err error) (status int, ok bool) {
	f := fault.From(err)
	switch f.Kind {
	case fault.Invalid, fault.Unproven, fault.Throttled, fault.Conflict, fault.Unavailable:
	default:
		return 0, false
	}
	if status = request.Status(err); status == http.StatusBadRequest && f.Field == "" {
		return 0, false
	}
	request.Log(k.Log, r, err)
	request.RetryAfter(w, f)
	b.Problem = &Problem{Field: f.Field, Text: b.L.Fault(f), Code: f.Code}
	if b.Problem.Field == "credential" { // was chosen in the browser's own dialog: no field of the page is wrong
		b.Problem.Field = ""
	}
	return status, true
}

// A HandlerFunc answers a request, or says why not.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// Handle makes a handler of one that may refuse.
func (k *Kit) Handle(h HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			k.Fail(w, r, err)
		}
	})
}

// A SignedHandlerFunc answers someone who is signed in.
type SignedHandlerFunc func(w http.ResponseWriter, r *http.Request, s prove.Signed) error

// Signed makes a handler for people who are signed in; others are sent to the
// sign-in and come back.
func (k *Kit) Signed(h SignedHandlerFunc) http.Handler {
	return k.Handle(func(w http.ResponseWriter, r *http.Request) error {
		token, err := k.Token(r)
		var s prove.Signed
		if err == nil {
			s, err = k.Who(r, token)
		}
		if fault.From(err).Kind == fault.SignedOut || fault.From(err).Kind == fault.Invalid {
			if errors.Is(err, session.ErrRulesChanged) {
				k.SetCookie(w, cookieFlash, "rules_changed", time.Minute)
			}
			k.SeeOther(w, r, k.SignInPath(r))
			return nil
		}
		if err != nil {
			return err
		}
		r = r.WithContext(context.WithValue(r.Context(), accountLocale{}, s.Identity.Locale))
		if err := h(w, r, s); err != nil {
			k.fail(w, r, err, k.SignedBase(w, r, s))
		}
		return nil
	})
}

// Long is the guard's for somebody who is signed in: the answer breaks off when
// the session ends, or the page behind it is no longer theirs.
func (k *Kit) Long(w http.ResponseWriter, r *http.Request, who Audience, h HandlerFunc) error {
	token, err := k.Token(r)
	if err != nil {
		return err
	}
	return k.Guard.Long(w, r, func(r *http.Request) error {
		s, err := k.Who(r, token)
		if err == nil {
			err = who.Admits(s.Identity.Role)
		}
		return err
	}, h)
}

// A failure is the page of a refusal that belongs to no form.
type failure struct {
	Base
	Heading, Text string
	Status        int
	Reference     string
	Back          string // where to go on; empty: nowhere
}

// Fail writes the page of a refusal.
func (k *Kit) Fail(w http.ResponseWriter, r *http.Request, err error) {
	k.fail(w, r, err, k.Base(w, r))
}

func (k *Kit) fail(w http.ResponseWriter, r *http.Request, err error, b Base) {
	request.Log(k.Log, r, err)
	f := fault.From(err)
	request.RetryAfter(w, f)
	p := failure{Base: b, Status: request.Status(err), Reference: request.InfoOf(r).ID, Back: "/"}
	if r.Method != http.MethodGet {
		p.Path = "/"
	}
	p.Text = p.L.Fault(f)
	p.Heading = p.T(fmt.Sprintf("failure.%d", p.Status))
	if err := k.failure.Render(w, r, p.Status, p); err != nil {
		k.Log.Error("render the page of a refusal", "error", err.Error())
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// SeeOther sends the browser on by GET (RFC 9110 §15.4.4).
func (k *Kit) SeeOther(w http.ResponseWriter, _ *http.Request, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// Done is SeeOther with a word about what was done.
func (k *Kit) Done(w http.ResponseWriter, r *http.Request, to, what string) {
	k.SetCookie(w, cookieFlash, what, time.Minute)
	k.SeeOther(w, r, to)
}
