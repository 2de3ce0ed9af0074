package signin

import (
	"net/http"
	"net/url"

	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// ramPage is the door of RAM users.
type ramPage struct {
	page.Base
	Action, Username, ReturnTo string
	Domain                     string // that a name without one belongs to; empty: none is known
	Suffix                     string
	Door                       door
}

// domain is the domain of the door: of the path, else the one that was used
// last in this browser.
func (p *Pages) domain(r *http.Request) string {
	if s := r.PathValue("suffix"); s != "" {
		if len(s) > 200 {
			s = s[:200]
		}
		return s
	}
	if r.URL.Query().Has("other") || r.Method != http.MethodGet {
		return ""
	}
	return p.kit.Door(r)
}

func (p *Pages) renderRAM(w http.ResponseWriter, r *http.Request, status int, b page.Base, domain, username, returnTo string) error {
	data := ramPage{Base: b, Action: "/signin/ram", Domain: domain, Suffix: p.flow.Suffix, Username: username, ReturnTo: returnTo}
	data.Passkeys, data.Door = p.flow.Passkeys != nil, p.door(true, domain, returnTo)
	if domain != "" {
		data.Action += "/" + url.PathEscape(domain)
	}
	if r.Method != http.MethodGet {
		data.Path = data.Action
	}
	return p.ram.Render(w, r, status, data)
}

func (p *Pages) showRAM(w http.ResponseWriter, r *http.Request) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	return p.renderRAM(w, r, http.StatusOK, p.kit.Base(w, r), p.domain(r), q.Get("username"), prove.LocalPath(q.Get("return_to")))
}

func (p *Pages) submitRAM(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	domain := p.domain(r)
	if err == nil {
		progress, err := p.flow.Begin(r.Context(), p.kit.Visitor(r), prove.Door{RAM: true, Domain: domain}, f.Get("username"), f.Get("password"), f.Get("return_to"))
		if err == nil {
			p.begun(w, r, progress)
			return nil
		}
		return p.ramAgain(w, r, domain, f, err)
	}
	return p.ramAgain(w, r, domain, f, err)
}

// ramAgain shows the door again with the reason.
func (p *Pages) ramAgain(w http.ResponseWriter, r *http.Request, domain string, f request.Form, refusal error) error {
	b := p.kit.Base(w, r)
	status, ok := p.refuseDoor(w, r, &b, refusal)
	if !ok {
		return refusal
	}
	return p.renderRAM(w, r, status, b, domain, f.Get("username"), prove.LocalPath(f.Get("return_to")))
}
