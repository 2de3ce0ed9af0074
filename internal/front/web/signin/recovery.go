package signin

import (
	"net/http"
	"time"

	"countersign/internal/flow/recovery"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/secret"
)

// recoveryPages are behind the link in the mail about the operator's recovery.
type recoveryPages struct {
	kit  *page.Kit
	flow *recovery.Flow
	page page.Page[recoveryPage]
}

type recoveryPage struct {
	page.Base
	Action, Who        string // Who is masked: links are passed on
	OpensAt, ExpiresAt time.Time
	Open               bool
}

// mountRecovery routes the page that cancels the operator's recovery.
func (p *Pages) mountRecovery(t *request.Router) {
	r := &recoveryPages{p.kit, &recovery.Flow{Prover: p.flow.Prover}, page.New[recoveryPage](p.kit, templates, "templates/recovery.html")}
	t.Handle("GET /recover/{token}", p.kit.Handle(r.show))
	t.Handle("POST /recover/{token}", p.kit.Handle(r.cancel))
}

// link reads the token of the link.
func (p *recoveryPages) link(r *http.Request) (secret.Token, error) {
	token, err := secret.ParseToken(r.PathValue("token"))
	if err != nil {
		return token, recovery.ErrGone
	}
	return token, nil
}

func (p *recoveryPages) show(w http.ResponseWriter, r *http.Request) error {
	return p.render(w, r, http.StatusOK, p.kit.Base(w, r))
}

func (p *recoveryPages) render(w http.ResponseWriter, r *http.Request, status int, b page.Base) error {
	link, err := p.link(r)
	if err != nil {
		return err
	}
	n, err := p.flow.Look(r.Context(), link)
	if err != nil {
		return err
	}
	return p.page.Render(w, r, status, recoveryPage{b, r.URL.Path, n.Name, n.OpensAt, n.ExpiresAt, !p.kit.Now().Before(n.OpensAt)})
}

func (p *recoveryPages) cancel(w http.ResponseWriter, r *http.Request) error {
	if _, stale := p.kit.Form(w, r); stale != nil {
		b := p.kit.Base(w, r)
		status, ok := p.kit.Refuse(w, r, &b, stale)
		if !ok || p.render(w, r, status, b) != nil { // of no recovery: the form is what is wrong first
			return stale
		}
		return nil
	}
	link, err := p.link(r)
	if err != nil {
		return err
	}
	if err := p.flow.Cancel(r.Context(), p.kit.Visitor(r), link); err != nil {
		return err
	}
	p.kit.Done(w, r, "/signin", "recovery_cancelled")
	return nil
}
