package signin

import (
	"net/http"
	"time"

	flow "countersign/internal/flow/signin"
	"countersign/internal/front/web/page"
	"countersign/internal/secret"
)

// activatePage is behind the link in the text message to a phone that an
// administrator has written down.
type activatePage struct {
	page.Base
	Action, Who, Number string // Who and Number are masked
	ExpiresAt           time.Time
	Done                bool
}

// activation reads the token of the link.
func activation(r *http.Request) (secret.Token, error) {
	token, err := secret.ParseToken(r.PathValue("token"))
	if err != nil {
		return token, flow.ErrActivationGone
	}
	return token, nil
}

func (p *Pages) showActivate(w http.ResponseWriter, r *http.Request) error {
	return p.renderActivate(w, r, http.StatusOK, p.kit.Base(w, r))
}

func (p *Pages) renderActivate(w http.ResponseWriter, r *http.Request, status int, b page.Base) error {
	link, err := activation(r)
	if err != nil {
		return err
	}
	a, err := p.flow.Activation(r.Context(), link)
	if err != nil {
		return err
	}
	return p.activate.Render(w, r, status, activatePage{Base: b, Action: r.URL.Path, Who: a.Name, Number: a.Number, ExpiresAt: a.ExpiresAt})
}

func (p *Pages) submitActivate(w http.ResponseWriter, r *http.Request) error {
	if _, stale := p.kit.Form(w, r); stale != nil {
		b := p.kit.Base(w, r)
		status, ok := p.kit.Refuse(w, r, &b, stale)
		if !ok || p.renderActivate(w, r, status, b) != nil { // of no phone: the form is what is wrong first
			return stale
		}
		return nil
	}
	link, err := activation(r)
	if err != nil {
		return err
	}
	if err := p.flow.Activate(r.Context(), p.kit.Visitor(r), link); err != nil {
		return err
	}
	p.kit.SeeOther(w, r, "/activated")
	return nil
}

func (p *Pages) showActivated(w http.ResponseWriter, r *http.Request) error {
	return p.activate.Render(w, r, http.StatusOK, activatePage{Base: p.kit.Base(w, r), Done: true})
}
