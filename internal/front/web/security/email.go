package security

import (
	"errors"
	"net/http"
	"net/url"

	"countersign/internal/domain/account"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// either is a page that is another for RAM users: their security email is where
// the sign-in email of owners is.
func either(owner, user page.SignedHandlerFunc) page.SignedHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
		if s.Identity.IsOwner() {
			return owner(w, r, s)
		}
		return user(w, r, s)
	}
}

type emailPage struct {
	page.Base
	Identity account.Identity
}

// emailFormPage asks for a new sign-in email.
type emailFormPage struct {
	page.Base
	Action, Cancel string
	Old            string // masked; stays in force until the new one has answered
	Email          string // as typed
}

func (p *Pages) showEmail(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	return p.email.Render(w, r, http.StatusOK, emailPage{p.kit.SignedBase(w, r, s), s.Identity})
}

func (p *Pages) emailFormIn(b page.Base, s prove.Signed, typed string) emailFormPage {
	return emailFormPage{b, "/security/email/change", "/security/email", account.MaskEmail(s.Identity.Email), typed}
}

func (p *Pages) showEmailForm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if ok, err := p.verified(w, r, s, selfservice.EmailAction(s.Identity)); err != nil || !ok {
		return err
	}
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	data := p.emailFormIn(p.kit.SignedBase(w, r, s), s, "")
	if c, err := p.flow.Contact(r.Context(), p.kit.Visitor(r), s, q.Get("c")); err == nil { // what was typed before
		data.Email = c.Email
	}
	return p.emailForm.Render(w, r, http.StatusOK, data)
}

func (p *Pages) submitEmailForm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	var id string
	if err == nil {
		id, err = p.flow.ChangeEmail(r.Context(), p.kit.Visitor(r), s, f.Get("email"))
	}
	switch {
	case err == nil:
		p.kit.SeeOther(w, r, "/security/email/confirm?c="+url.QueryEscape(id))
		return nil
	case errors.Is(err, prove.ErrVerifyFirst):
		return p.verifyFor(w, r, s, selfservice.EmailAction(s.Identity), "/security/email/change?c="+url.QueryEscape(id))
	}
	data := p.emailFormIn(p.kit.SignedBase(w, r, s), s, f.Get("email"))
	status, ok := p.kit.Refuse(w, r, &data.Base, err)
	if !ok {
		return err
	}
	return p.emailForm.Render(w, r, status, data)
}
