package signin

import (
	"net/http"

	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
)

// showHelp says what somebody really has who cannot use what is asked.
func (p *Pages) showHelp(w http.ResponseWriter, r *http.Request) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	id, token, err := p.ceremony(r, q.Get("c"))
	if err != nil {
		return p.startAgain(w, r, id, err)
	}
	progress, help, err := p.flow.Help(r.Context(), p.kit.Visitor(r), token)
	if err != nil {
		return p.startAgain(w, r, id, err)
	}
	if !p.asks(progress) { // another tab went on, or the rules have changed
		p.kit.SeeOther(w, r, stepPath(progress))
		return nil
	}
	return p.proofs.Help(w, r, page.Help{Base: p.kit.Base(w, r), Who: progress.Name, NotYou: doorOf(progress.Domain), Action: "/signin/verify", Ceremony: progress.Ceremony, Has: help, SignIn: true})
}
