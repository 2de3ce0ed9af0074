package security

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// securityEmailPage shows the security email of a RAM user, or invites to bind
// one.
type securityEmailPage struct {
	page.Base
	Bound      bool
	Address    string // masked
	BoundAt    time.Time
	LastUsedAt time.Time
	Profile    string // the email that administrators wrote down: another matter
	Stronger   bool   // a device is bound, which the mailbox stands in for
	Down       bool   // no mail can be sent
	Managed    bool   // administrators alone change it
	Forbidden  bool   // the account does not let its users use it
}

// securityEmailFormPage asks for a security email.
type securityEmailFormPage struct {
	page.Base
	Old     string // masked; stays in force until the new one has answered; empty: none
	Email   string // as typed
	Profile string
	Meant   string // what was perhaps meant; empty: nothing else
}

type securityEmailRemovePage struct {
	page.Base
	Address string // masked
	Alone   bool   // nothing else says who this is, beside the password
}

// mask is the address as pages show it; empty where none is bound.
func mask(e store.SecurityEmail) string {
	if e.ID == "" {
		return ""
	}
	return account.MaskEmail(e.Address)
}

func (p *Pages) showSecurityEmail(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	return p.mailbox.Render(w, r, http.StatusOK, securityEmailPage{p.kit.SignedBase(w, r, s), o.Mailbox.ID != "", mask(o.Mailbox), o.Mailbox.BoundAt, o.Mailbox.LastUsedAt,
		s.Identity.Email, o.Facts.Protected(), p.flow.Sending.Can(factor.Email) != nil, o.MFAManaged, !o.Facts.Allows(factor.Email)})
}

func (p *Pages) showSecurityEmailForm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if err := p.flow.Sending.Can(factor.Email); err != nil {
		return err
	}
	if !o.Facts.Allows(factor.Email) {
		return selfservice.ErrEmailForbidden
	}
	if ok, err := p.verified(w, r, s, selfservice.SecurityEmailAction(o.Mailbox)); err != nil || !ok {
		return err
	}
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	data := securityEmailFormPage{Base: p.kit.SignedBase(w, r, s), Old: mask(o.Mailbox), Profile: s.Identity.Email}
	if c, err := p.flow.Contact(r.Context(), p.kit.Visitor(r), s, q.Get("c")); err == nil { // what was typed before
		data.Email = c.Email
	}
	return p.mailboxForm.Render(w, r, http.StatusOK, data)
}

func (p *Pages) submitSecurityEmailForm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	email := f.Get("email")
	meant := account.EmailMeant(email)
	if f.Get("sure") == email { // shown once: it may be right
		meant = ""
	}
	var id string
	if err == nil && meant == "" {
		id, err = p.flow.ChangeSecurityEmail(r.Context(), p.kit.Visitor(r), s, email)
	}
	if err == nil && meant == "" {
		p.kit.SeeOther(w, r, "/security/email/confirm?c="+url.QueryEscape(id))
		return nil
	}
	return p.securityEmailAgain(w, r, s, id, email, meant, err)
}

// securityEmailAgain shows the form again: with what was perhaps meant, or with
// the reason why the address was refused.
func (p *Pages) securityEmailAgain(w http.ResponseWriter, r *http.Request, s prove.Signed, id, email, meant string, refusal error) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if errors.Is(refusal, prove.ErrVerifyFirst) {
		return p.verifyFor(w, r, s, selfservice.SecurityEmailAction(o.Mailbox), "/security/email/change?c="+url.QueryEscape(id))
	}
	data := securityEmailFormPage{p.kit.SignedBase(w, r, s), mask(o.Mailbox), email, s.Identity.Email, meant}
	data.Path = "/security/email/change"
	status := http.StatusOK
	if refusal != nil {
		var ok bool
		if status, ok = p.kit.Refuse(w, r, &data.Base, refusal); !ok {
			return refusal
		}
		data.Meant = ""
	}
	return p.mailboxForm.Render(w, r, status, data)
}

func (p *Pages) showSecurityEmailRemove(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if o.Mailbox.ID == "" || o.MFAManaged {
		p.kit.SeeOther(w, r, "/security/email")
		return nil
	}
	return p.mailboxRemove.Render(w, r, http.StatusOK, securityEmailRemovePage{p.kit.SignedBase(w, r, s), mask(o.Mailbox), !o.Facts.SecondFactor()})
}

func (p *Pages) submitSecurityEmailRemove(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	return p.resumeRemoveEmail(w, r, s, request.Form{})
}

func (p *Pages) resumeRemoveEmail(w http.ResponseWriter, r *http.Request, s prove.Signed, _ request.Form) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	token, err := p.flow.RemoveSecurityEmail(r.Context(), p.kit.Visitor(r), s, o.Mailbox.ID)
	if err != nil {
		return p.act(w, r, s, selfservice.RemoveSecurityEmailAction(o.Mailbox), err, "/security/email/remove")
	}
	p.kit.SetSession(w, token)
	p.kit.Done(w, r, "/security/email", "security_email_removed")
	return nil
}
