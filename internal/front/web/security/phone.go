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
)

// phonePage shows the phone that is attached, or invites to attach one.
type phonePage struct {
	page.Base
	Attached   bool
	Number     string // masked
	BoundAt    time.Time
	LastUsedAt time.Time
	Protects   bool // it is needed: it can be replaced, not removed
	Down       bool // no sender of text messages is configured
	Managed    bool // administrators alone change it
	Forbidden  bool // the account does not let its users use it
}

// phoneRemovePage asks whether the phone shall be taken off.
type phoneRemovePage struct {
	page.Base
	Number string // masked
	Email  string // where the notice goes
}

func (p *Pages) showPhone(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	return p.phone.Render(w, r, http.StatusOK, phonePage{p.kit.SignedBase(w, r, s), o.Facts.Phone, o.Phone.Number.Mask(), o.Phone.BoundAt, o.Phone.LastUsedAt,
		o.Facts.Needs(factor.SMS), p.flow.Sending.Can(factor.SMS) != nil, o.MFAManaged, !o.Facts.Allows(factor.SMS)})
}

func (p *Pages) showPhoneForm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if err := p.flow.Sending.Can(factor.SMS); err != nil {
		return err
	}
	if ok, err := p.verified(w, r, s, selfservice.PhoneAction(o.Phone)); err != nil || !ok {
		return err
	}
	data := page.PhonePage{Base: p.kit.SignedBase(w, r, s), Action: "/security/phone/change", Cancel: "/security/phone", Old: o.Phone.Number.Mask()}
	if o.Facts.Phone {
		data.Country = o.Phone.Number.Country()
	}
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	if c, err := p.flow.Contact(r.Context(), p.kit.Visitor(r), s, q.Get("c")); err == nil { // what was typed before
		data.Country, data.Phone = c.Country, c.Phone.International()
	}
	return p.enrol.Phone(w, r, http.StatusOK, data)
}

func (p *Pages) submitPhoneForm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	var id string
	if err == nil {
		id, err = p.flow.ChangePhone(r.Context(), p.kit.Visitor(r), s, f.Get("country"), f.Get("phone"))
	}
	if err == nil {
		p.kit.SeeOther(w, r, "/security/phone/confirm?c="+url.QueryEscape(id))
		return nil
	}
	o, oerr := p.flow.Overview(r.Context(), s)
	if oerr != nil {
		return oerr
	}
	if errors.Is(err, prove.ErrVerifyFirst) {
		return p.verifyFor(w, r, s, selfservice.PhoneAction(o.Phone), "/security/phone/change?c="+url.QueryEscape(id))
	}
	data := page.PhonePage{Base: p.kit.SignedBase(w, r, s), Action: "/security/phone/change", Cancel: "/security/phone", Old: o.Phone.Number.Mask(), Country: f.Get("country"), Phone: f.Get("phone")}
	status, ok := p.kit.Refuse(w, r, &data.Base, err)
	if !ok {
		return err
	}
	return p.enrol.Phone(w, r, status, data)
}

// contactPath is where a change of the method is under way.
func contactPath(m factor.Method) string {
	if m == factor.SMS {
		return "/security/phone"
	}
	return "/security/email"
}

// contactDone is what is said of a change once it is made, by its action.
var contactDone = map[string]string{
	"attach_phone": "phone_attached", "change_phone": "phone_changed", "change_email": "email_changed",
	"bind_security_email": "security_email_bound", "change_security_email": "security_email_changed",
}

func (p *Pages) showConfirm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	return p.renderConfirm(w, r, s, http.StatusOK, p.kit.SignedBase(w, r, s), q.Get("c"))
}

func (p *Pages) renderConfirm(w http.ResponseWriter, r *http.Request, s prove.Signed, status int, b page.Base, id string) error {
	c, err := p.flow.Contact(r.Context(), p.kit.Visitor(r), s, id)
	if err != nil {
		return err
	}
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	path := contactPath(c.Method)
	b.Path = path + "/confirm?c=" + url.QueryEscape(id)
	data := page.ConfirmPage{Base: b, Action: path + "/confirm", Ceremony: c.ID, Cancel: path, Change: path + "/change?c=" + url.QueryEscape(id), Kind: string(c.Method),
		Destination: c.Email, Old: account.MaskEmail(s.Identity.Email), Digits: c.Digits, Resend: seconds(c.Resend), Valid: c.Valid, Sent: c.Sent, Failed: c.Failed, Delayed: c.Delayed}
	switch {
	case c.Method == factor.SMS:
		data.Destination, data.Old = c.Phone.International(), o.Phone.Number.Mask()
	case b.RAM:
		data.Old = mask(o.Mailbox)
	}
	return p.enrol.Confirm(w, r, status, data)
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// contactRefused shows the page of a change again, or verifies first.
func (p *Pages) contactRefused(w http.ResponseWriter, r *http.Request, s prove.Signed, id string, refusal error) error {
	if errors.Is(refusal, prove.ErrVerifyFirst) {
		c, err := p.flow.Contact(r.Context(), p.kit.Visitor(r), s, id)
		if err != nil {
			return err
		}
		a, err := p.flow.ContactAction(r.Context(), s, id)
		if err != nil {
			return err
		}
		return p.verifyFor(w, r, s, a, contactPath(c.Method)+"/confirm?c="+url.QueryEscape(id))
	}
	b := p.kit.SignedBase(w, r, s)
	status, ok := p.kit.Refuse(w, r, &b, refusal)
	if !ok {
		return refusal
	}
	return p.renderConfirm(w, r, s, status, b, id)
}

func (p *Pages) submitConfirm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	a, err := p.flow.ContactAction(r.Context(), s, f.Get("c"))
	if err != nil {
		return err
	}
	m, token, err := p.flow.ConfirmContact(r.Context(), p.kit.Visitor(r), s, f.Get("c"), f.Get("code"))
	if errors.Is(err, selfservice.ErrSecurityEmailFull) { // the change is over: another address is what helps
		return p.securityEmailAgain(w, r, s, "", "", "", err)
	}
	if err != nil {
		return p.contactRefused(w, r, s, f.Get("c"), err)
	}
	p.kit.SetSession(w, token)
	to, done := contactPath(m), contactDone[a.Name]
	if m == factor.Email {
		p.kit.Done(w, r, to, done)
		return nil
	}
	codes, err := p.flow.NewRecoveryCodes(r.Context(), s)
	if err != nil {
		return err
	}
	if codes != nil { // the first thing bound
		to = "/security/recovery-codes/new"
	}
	p.kit.Done(w, r, to, done)
	return nil
}

func (p *Pages) sendConfirm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	if err := p.flow.SendContact(r.Context(), p.kit.Visitor(r), s, f.Get("c")); err != nil {
		return p.contactRefused(w, r, s, f.Get("c"), err)
	}
	p.kit.SeeOther(w, r, r.URL.Path[:len(r.URL.Path)-len("/send")]+"?c="+url.QueryEscape(f.Get("c")))
	return nil
}

func (p *Pages) showPhoneRemove(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if !o.Facts.Phone || o.Facts.Needs(factor.SMS) || o.MFAManaged {
		p.kit.SeeOther(w, r, "/security/phone")
		return nil
	}
	return p.phoneRemove.Render(w, r, http.StatusOK, phoneRemovePage{p.kit.SignedBase(w, r, s), o.Phone.Number.Mask(), s.Identity.Email})
}

func (p *Pages) submitPhoneRemove(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	return p.resumeRemovePhone(w, r, s, request.Form{})
}

func (p *Pages) resumeRemovePhone(w http.ResponseWriter, r *http.Request, s prove.Signed, _ request.Form) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	token, err := p.flow.RemovePhone(r.Context(), p.kit.Visitor(r), s, o.Phone.ID)
	if err != nil {
		return p.act(w, r, s, selfservice.RemovePhoneAction(o.Phone), err, "/security/phone/remove")
	}
	p.kit.SetSession(w, token)
	p.kit.Done(w, r, "/security/phone", "phone_removed")
	return nil
}
