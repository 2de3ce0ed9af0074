package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"countersign/internal/domain/policy"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// A postFunc does what a form asks for. A field "id" is that of the path. It
// may be called a second time, after a verification, with the form as it was
// kept: then fields of passwords are not there, and "again" says so.
type postFunc func(w http.ResponseWriter, r *http.Request, s prove.Signed, form request.Form) error

// needs says which action it was that takes a verification first.
type needs struct {
	action policy.Action
	err    error
}

func (n needs) Error() string { return n.action.Name + ": " + n.err.Error() }
func (n needs) Unwrap() error { return n.err }

// act is err of an action, nil for none.
func act(a policy.Action, err error) error {
	if err == nil {
		return nil
	}
	return needs{a, err}
}

// post routes a form that administrators post. Only the fields of several may
// come several times.
func (p *Pages) post(t *request.Router, pattern string, scenario policy.Scenario, h postFunc, several ...string) {
	_, path, _ := strings.Cut(pattern, " ")
	p.posts[path] = h
	t.Handle(pattern, p.kit.For(page.Administrators, scenario, func(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
		f, err := p.kit.Form(w, r, several...)
		if err != nil {
			return err
		}
		if id := r.PathValue("id"); id != "" {
			f = f.With("id", id)
		}
		return p.run(w, r, s, path, f)
	}))
}

// run does what a form asks for. What takes a verification first waits for it:
// the form is kept, without passwords.
func (p *Pages) run(w http.ResponseWriter, r *http.Request, s prove.Signed, path string, f request.Form) error {
	err := p.posts[path](w, r, s, f)
	var n needs
	if !errors.Is(err, prove.ErrVerifyFirst) || !errors.As(err, &n) {
		return err
	}
	kept := f.Keep(func(name string) bool { return name == "csrf" || secretField(name) })
	if secretPosted(f) {
		kept["again"] = []string{"1"}
	}
	draft, err := p.flow.KeepDraft(r.Context(), p.kit.Visitor(r), s, path, kept)
	if err != nil {
		return err
	}
	return p.verifyFor(w, r, s, n.action, "/console/resume?d="+url.QueryEscape(draft))
}

// secretFields hold what is never kept.
var secretFields = []string{"password", "new_password"}

func secretField(name string) bool {
	for _, s := range secretFields {
		if name == s {
			return true
		}
	}
	return false
}

func secretPosted(f request.Form) bool {
	for _, s := range secretFields {
		if f.Get(s) != "" {
			return true
		}
	}
	return false
}

// verifyFor leads to a verification that comes back to a path.
func (p *Pages) verifyFor(w http.ResponseWriter, r *http.Request, s prove.Signed, a policy.Action, returnTo string) error {
	id, err := p.verify.Begin(r.Context(), p.kit.Visitor(r), s, a, returnTo)
	if err != nil {
		return err
	}
	p.kit.SeeOther(w, r, "/verify?c="+url.QueryEscape(id))
	return nil
}

// Resume goes on with the form that waited for a verification.
func (p *Pages) Resume(w http.ResponseWriter, r *http.Request, s prove.Signed, query request.Form) error {
	if err := page.Administrators.Admits(s.Identity.Role); err != nil {
		return err
	}
	path, form, err := p.flow.Draft(r.Context(), p.kit.Visitor(r), s, query.Get("d"))
	if err != nil {
		return err
	}
	if p.posts[path] == nil { // of a version that had such a form
		return request.ErrNotFound
	}
	return p.run(w, r, s, path, request.FormOf(form))
}
