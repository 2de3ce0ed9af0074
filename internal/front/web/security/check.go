package security

import (
	"net/http"

	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// checkPages walk through all that is bound.
type checkPages struct {
	kit  *page.Kit
	flow *selfservice.Flow
	page page.Page[checkPage]
}

type checkPage struct {
	page.Base
	O        selfservice.Belongings
	Due      bool
	ReturnTo string
	Events   []page.Happening
}

// mountCheck routes the check of what is bound.
func (p *Pages) mountCheck(t *request.Router) {
	c := &checkPages{p.kit, p.flow, page.New[checkPage](p.kit, templates, "templates/check.html")}
	t.Handle("GET /security/check", p.kit.For(page.Anyone, "", c.show))
	t.Handle("POST /security/check", p.kit.For(page.Anyone, "", c.submit))
}

func (p *checkPages) show(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	return p.render(w, r, s, http.StatusOK, p.kit.SignedBase(w, r, s), prove.LocalPath(q.Get("return_to")))
}

func (p *checkPages) render(w http.ResponseWriter, r *http.Request, s prove.Signed, status int, b page.Base, returnTo string) error {
	check, err := p.flow.Belongings(r.Context(), s)
	if err != nil {
		return err
	}
	b.Wide = true
	data := checkPage{Base: b, O: check, Due: !s.Identity.CheckDue.IsZero(), ReturnTo: returnTo}
	if data.ReturnTo == "" {
		data.ReturnTo = "/security"
	}
	for _, e := range check.Events {
		data.Events = append(data.Events, b.Happened(e, s.Identity.ID))
	}
	return p.page.Render(w, r, status, data)
}

func (p *checkPages) submit(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err == nil {
		err = p.flow.EndCheck(r.Context(), p.kit.Visitor(r), s)
	}
	to := prove.LocalPath(f.Get("return_to"))
	if err != nil {
		b := p.kit.SignedBase(w, r, s)
		status, ok := p.kit.Refuse(w, r, &b, err)
		if !ok {
			return err
		}
		return p.render(w, r, s, status, b, to)
	}
	if to == "" {
		to = "/security"
	}
	p.kit.Done(w, r, to, "check_done")
	return nil
}
