package security

import (
	"errors"
	"net/http"
	"net/url"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

type virtualMFAPage struct {
	page.Base
	Device   store.VirtualMFA
	Protects bool // it is needed: it can be exchanged, not dropped
	Managed  bool // administrators alone change it
}

func (p *Pages) showVirtualMFA(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if !o.Facts.VirtualMFA {
		p.kit.SeeOther(w, r, "/security/virtual-mfa/bind")
		return nil
	}
	return p.virtualMFA.Render(w, r, http.StatusOK, virtualMFAPage{p.kit.SignedBase(w, r, s), o.VirtualMFA, o.Facts.Needs(factor.VirtualMFA), o.MFAManaged})
}

// bindPath is where a device is bound, or exchanged for the one named.
func bindPath(replaces string) string {
	if replaces != "" {
		return "/security/virtual-mfa/replace"
	}
	return "/security/virtual-mfa/bind"
}

func (p *Pages) showBind(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	return p.showKey(w, r, s, selfservice.BindVirtualMFA, store.VirtualMFA{})
}

func (p *Pages) showReplace(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if !o.Facts.VirtualMFA {
		p.kit.SeeOther(w, r, "/security/virtual-mfa/bind")
		return nil
	}
	return p.showKey(w, r, s, selfservice.BindAction(o.VirtualMFA.ID).About(o.VirtualMFA.Name), o.VirtualMFA)
}

// showKey shows a key, of a device that takes the place of the old one, if any.
func (p *Pages) showKey(w http.ResponseWriter, r *http.Request, s prove.Signed, a policy.Action, old store.VirtualMFA) error {
	if ok, err := p.verified(w, r, s, a); err != nil || !ok {
		return err
	}
	base := p.kit.SignedBase(w, r, s)
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	if id := q.Get("c"); id != "" { // back from choosing a language: the key may have been scanned
		if b, err := p.flow.Binding(r.Context(), s, id); err == nil {
			return p.renderBind(w, r, http.StatusOK, base, b, b.Name, old)
		}
	}
	b, err := p.flow.BeginBind(r.Context(), p.kit.Visitor(r), s, old.ID)
	if errors.Is(err, selfservice.ErrBound) {
		p.kit.SeeOther(w, r, "/security/virtual-mfa")
		return nil
	}
	if err != nil {
		return p.act(w, r, s, a, err, r.URL.Path)
	}
	return p.renderBind(w, r, http.StatusOK, base, b, "", old)
}

func (p *Pages) renderBind(w http.ResponseWriter, r *http.Request, status int, base page.Base, b prove.Key, name string, old store.VirtualMFA) error {
	path := bindPath(old.ID)
	base.Path = path + "?c=" + url.QueryEscape(b.ID)
	return p.enrol.Key(w, r, status, page.KeyPage{Base: base, Binding: b, DeviceName: name, Replaces: old.Name, Action: path, Cancel: "/security"})
}

func (p *Pages) submitBind(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	return p.confirmKey(w, r, s, store.VirtualMFA{})
}

func (p *Pages) submitReplace(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	return p.confirmKey(w, r, s, o.VirtualMFA)
}

func (p *Pages) confirmKey(w http.ResponseWriter, r *http.Request, s prove.Signed, old store.VirtualMFA) error {
	f, err := p.kit.Form(w, r)
	var token secret.Token
	if err == nil {
		token, err = p.flow.ConfirmBind(r.Context(), p.kit.Visitor(r), s, f.Get("c"), f.Get("name"), f.Get("code"), f.Get("code2"))
	}
	if err == nil {
		p.kit.SetSession(w, token)
		p.kit.Done(w, r, "/security/recovery-codes/new", "virtual_mfa_bound")
		return nil
	}
	if errors.Is(err, prove.ErrVerifyFirst) { // the name typed is kept
		return p.verifyFor(w, r, s, selfservice.BindAction(old.ID).About(old.Name), bindPath(old.ID)+"?c="+url.QueryEscape(f.Get("c")))
	}
	base := p.kit.SignedBase(w, r, s)
	status, ok := p.kit.Refuse(w, r, &base, err)
	if !ok || errors.Is(err, selfservice.ErrBound) {
		return err
	}
	b, berr := p.flow.Binding(r.Context(), s, f.Get("c"))
	if berr != nil && errors.Is(err, request.ErrFormStale) {
		return err
	}
	if berr != nil {
		return berr
	}
	return p.renderBind(w, r, status, base, b, f.Get("name"), old)
}

type resyncPage struct{ page.Base }

func (p *Pages) showResync(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if !o.Facts.VirtualMFA {
		p.kit.SeeOther(w, r, "/security")
		return nil
	}
	if ok, err := p.verified(w, r, s, selfservice.Resynchronise.About(o.VirtualMFA.Name)); err != nil || !ok {
		return err
	}
	return p.resync.Render(w, r, http.StatusOK, resyncPage{p.kit.SignedBase(w, r, s)})
}

func (p *Pages) submitResync(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	err = p.flow.Resynchronise(r.Context(), p.kit.Visitor(r), s, f.Get("code"), f.Get("code2"))
	if err == nil {
		p.kit.Done(w, r, "/security/virtual-mfa", "resynchronised")
		return nil
	}
	base := p.kit.SignedBase(w, r, s)
	if status, ok := p.kit.Refuse(w, r, &base, err); ok && !errors.Is(err, prove.ErrVerifyFirst) {
		return p.resync.Render(w, r, status, resyncPage{base})
	}
	return p.act(w, r, s, selfservice.Resynchronise, err, r.URL.Path)
}

type unbindPage struct {
	page.Base
	Device       store.VirtualMFA
	PasswordLong bool // or another second factor stays: the device can go
	Protects     bool // it is needed: it cannot
	Managed      bool // administrators alone unbind it
	CodesStay    bool // something else is bound for which recovery codes stand in
	MFAStays     bool // signing in still takes a second step
	ByPasskey    bool // which is a passkey or U2F key
	Email        string
}

func (p *Pages) showUnbind(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if !o.Facts.VirtualMFA {
		p.kit.SeeOther(w, r, "/security")
		return nil
	}
	data := unbindPage{Base: p.kit.SignedBase(w, r, s), Device: o.VirtualMFA, Email: s.Identity.Email, Protects: o.Facts.Needs(factor.VirtualMFA), Managed: o.MFAManaged}
	without := o.Facts
	without.VirtualMFA = false
	data.PasswordLong, data.CodesStay = s.Identity.PasswordAlone || without.MFA(), without.SecondFactor()
	data.MFAStays = without.MFA()
	data.ByPasskey = data.MFAStays && len(o.Passkeys) > 0
	if data.PasswordLong && !data.Protects && !data.Managed {
		if ok, err := p.verified(w, r, s, selfservice.Unbind(o.VirtualMFA.ID).About(o.VirtualMFA.Name)); err != nil || !ok {
			return err
		}
	}
	return p.unbind.Render(w, r, http.StatusOK, data)
}

func (p *Pages) submitUnbind(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	device := f.Get("device")
	token, err := p.flow.Unbind(r.Context(), p.kit.Visitor(r), s, device)
	if err != nil {
		return p.act(w, r, s, selfservice.Unbind(device), err, r.URL.Path)
	}
	p.kit.SetSession(w, token)
	p.kit.Done(w, r, "/security", "virtual_mfa_unbound")
	return nil
}
