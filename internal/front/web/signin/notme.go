package signin

import (
	"net/http"

	"countersign/internal/domain/message"
	"countersign/internal/flow/reset"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/secret"
)

// notMePage shows what a notice told, with two ways on.
type notMePage struct {
	page.Base
	Action, Who, What string // Who is masked: links are passed on
	Told              reset.Told
	Browser           string
}

// saidPage says what follows from the answer.
type saidPage struct {
	page.Base
	Said string // part of the message keys
}

// notMeLink reads the token of the link.
func notMeLink(r *http.Request) (secret.Token, error) {
	token, err := secret.ParseToken(r.PathValue("token"))
	if err != nil {
		err = reset.ErrNotMeGone
	}
	return token, err
}

func (p *resetPages) showNotMe(w http.ResponseWriter, r *http.Request) error {
	return p.renderNotMe(w, r, http.StatusOK, p.kit.Base(w, r))
}

func (p *resetPages) renderNotMe(w http.ResponseWriter, r *http.Request, status int, b page.Base) error {
	token, err := notMeLink(r)
	if err != nil {
		return err
	}
	told, err := p.flow.Told(r.Context(), token)
	if err != nil {
		return err
	}
	data := notMePage{Base: b, Action: r.URL.Path, Who: told.Name, Told: told, What: b.T("mail."+string(told.Kind)+".text", "Service", b.Service, "Name", told.Name)}
	if told.UserAgent != "" {
		data.Browser = message.Browser(b.L, told.UserAgent)
	}
	return p.notMe.Render(w, r, status, data)
}

func (p *resetPages) submitNotMe(w http.ResponseWriter, r *http.Request) error {
	if _, stale := p.kit.Form(w, r); stale != nil {
		b := p.kit.Base(w, r)
		status, ok := p.kit.Refuse(w, r, &b, stale)
		if !ok || p.renderNotMe(w, r, status, b) != nil { // of no notice: the form is what is wrong first
			return stale
		}
		return nil
	}
	token, err := notMeLink(r)
	if err != nil {
		return err
	}
	if err := p.flow.NotMe(r.Context(), p.kit.Visitor(r), token); err != nil {
		return err
	}
	p.kit.SeeOther(w, r, "/notme?done=1")
	return nil
}

// showSaid shows what follows from an answer. It is the same for everybody.
func (p *resetPages) showSaid(w http.ResponseWriter, r *http.Request) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	said := "mine"
	if q.Has("done") {
		said = "done"
	}
	return p.said.Render(w, r, http.StatusOK, saidPage{p.kit.Base(w, r), said})
}
