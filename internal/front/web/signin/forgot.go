package signin

import (
	"net/http"
	"net/url"

	"countersign/internal/flow/reset"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
)

// forgotPage asks whose password was forgotten, and then says the same to
// everybody.
type forgotPage struct {
	page.Base
	Username, Domain string
	Sent             bool
	Back             string
}

func forgotPath(domain string) string {
	if domain == "" {
		return "/forgot"
	}
	return "/forgot?domain=" + url.QueryEscape(domain)
}

// domainOf is a domain as the address of the page or its form names it.
func domainOf(f request.Form) string {
	if d := f.Get("domain"); len(d) <= 200 {
		return d
	}
	return ""
}

func (p *resetPages) renderForgot(w http.ResponseWriter, r *http.Request, status int, b page.Base, f request.Form, sent bool) error {
	data := forgotPage{Base: b, Username: f.Get("username"), Domain: domainOf(f), Sent: sent}
	data.Back = doorOf(data.Domain)
	data.Path = forgotPath(data.Domain)
	return p.forgot.Render(w, r, status, data)
}

func (p *resetPages) showForgot(w http.ResponseWriter, r *http.Request) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	return p.renderForgot(w, r, http.StatusOK, p.kit.Base(w, r), q, q.Has("sent"))
}

func (p *resetPages) submitForgot(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	if err == nil {
		err = p.flow.Request(r.Context(), p.kit.Visitor(r), domainOf(f), f.Get("username"))
	}
	if err == nil {
		to := url.Values{"sent": {"1"}}
		if d := domainOf(f); d != "" {
			to.Set("domain", d)
		}
		p.kit.SeeOther(w, r, "/forgot?"+to.Encode())
		return nil
	}
	b := p.kit.Base(w, r)
	status, ok := p.kit.Refuse(w, r, &b, err)
	if !ok {
		return err
	}
	return p.renderForgot(w, r, status, b, f, false)
}

// resetPages are for whoever forgot the password, or is told of what they did
// not do.
type resetPages struct {
	kit  *page.Kit
	flow *reset.Flow

	forgot   page.Page[forgotPage]
	begin    page.Page[resetPage]
	password page.Page[resetPasswordPage]
	proofs   page.Proofs
	notMe    page.Page[notMePage]
	said     page.Page[saidPage]
}

// mountReset routes the pages.
func (p *Pages) mountReset(t *request.Router) {
	k := p.kit
	r := &resetPages{
		kit: k, flow: &reset.Flow{Prover: p.flow.Prover},
		forgot:   page.New[forgotPage](k, templates, "templates/forgot.html"),
		begin:    page.New[resetPage](k, templates, "templates/reset.html"),
		password: page.New[resetPasswordPage](k, templates, "templates/resetpassword.html"),
		proofs:   p.proofs,
		notMe:    page.New[notMePage](k, templates, "templates/notme.html"),
		said:     page.New[saidPage](k, templates, "templates/notmesaid.html"),
	}
	t.Handle("GET /forgot", k.Handle(r.showForgot))
	t.Handle("POST /forgot", k.Handle(r.submitForgot))
	t.Handle("GET /reset/{token}", k.Handle(r.follow))
	t.Handle("GET /reset", k.Handle(r.showBegin))
	t.Handle("POST /reset", k.Handle(r.submitBegin))
	t.Handle("GET /reset/verify", k.Handle(r.underWay(r.showVerify)))
	t.Handle("POST /reset/verify", k.Handle(r.submitVerify))
	t.Handle("POST /reset/verify/send", k.Handle(r.send))
	t.Handle("GET /reset/methods", k.Handle(r.underWay(r.showMethods)))
	t.Handle("GET /reset/password", k.Handle(r.underWay(r.showPassword)))
	t.Handle("POST /reset/password", k.Handle(r.submitPassword))
	t.Handle("GET /notme/{token}", k.Handle(r.showNotMe))
	t.Handle("POST /notme/{token}", k.Handle(r.submitNotMe))
	t.Handle("GET /notme", k.Handle(r.showSaid))
}
