package security

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"rsc.io/qr"

	"countersign/internal/domain/factor"
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
	Protects bool // Account Protection uses it: it cannot go
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
	return p.virtualMFA.Render(w, r, http.StatusOK, virtualMFAPage{p.kit.SignedBase(w, r, s), o.VirtualMFA, o.Facts.Protection.Method == factor.VirtualMFA})
}

type bindPage struct {
	page.Base
	Binding    selfservice.Binding
	QR         template.HTML
	URI        template.URL
	DeviceName string
	One        bool   // one code binds: the first is enough where the drift will show at sign-in
	Action     string // where the form goes
	Cancel     string
	Part       part
}

func (p *Pages) showBind(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if ok, err := p.verified(w, r, s, selfservice.BindVirtualMFA); err != nil || !ok {
		return err
	}
	base := p.kit.SignedBase(w, r, s)
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	if id := q.Get("c"); id != "" { // back from choosing a language: the key may have been scanned
		if b, err := p.flow.Binding(r.Context(), s, id); err == nil {
			return p.renderBind(w, r, http.StatusOK, base, b, b.Name)
		}
	}
	b, err := p.flow.BeginBind(r.Context(), p.kit.Visitor(r), s)
	if errors.Is(err, selfservice.ErrBound) {
		p.kit.SeeOther(w, r, "/security/virtual-mfa")
		return nil
	}
	if err != nil {
		return p.act(w, r, s, selfservice.BindVirtualMFA, err, r.URL.Path)
	}
	return p.renderBind(w, r, http.StatusOK, base, b, "")
}

func (p *Pages) renderBind(w http.ResponseWriter, r *http.Request, status int, base page.Base, b selfservice.Binding, name string) error {
	base.Path = "/security/virtual-mfa/bind?c=" + url.QueryEscape(b.ID)
	return p.drawBind(w, r, status, bindPage{Base: base, Binding: b, DeviceName: name, Action: "/security/virtual-mfa/bind", Cancel: "/security"})
}

// drawBind completes the page of a key and shows it.
func (p *Pages) drawBind(w http.ResponseWriter, r *http.Request, status int, data bindPage) (err error) {
	if data.QR, err = drawQR(data.Binding.URI, data.T("bind.qr")); err != nil {
		return err
	}
	data.URI = template.URL(data.Binding.URI) //nolint:gosec // made by KeyURI
	if data.DeviceName == "" {
		data.DeviceName = data.T("bind.device_default")
	}
	return p.bind.Render(w, r, status, data)
}

func (p *Pages) submitBind(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
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
		return p.verifyFor(w, r, s, selfservice.BindVirtualMFA, "/security/virtual-mfa/bind?c="+url.QueryEscape(f.Get("c")))
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
	return p.renderBind(w, r, status, base, b, f.Get("name"))
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
	Protects     bool // Account Protection uses it: it cannot
	CodesStay    bool // something else is bound for which recovery codes stand in
	MFAStays     bool // signing in still takes a second step
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
	data := unbindPage{Base: p.kit.SignedBase(w, r, s), Device: o.VirtualMFA, Email: s.Identity.Email, Protects: o.Facts.Protection.Method == factor.VirtualMFA}
	without := o.Facts
	without.VirtualMFA = false
	data.PasswordLong, data.CodesStay = s.Identity.PasswordAlone || without.MFA(), without.SecondFactor()
	data.MFAStays = without.MFA()
	if data.PasswordLong && !data.Protects {
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

// drawQR draws text as one path, dark on the white box that the page gives
// it, with the quiet zone of four modules (ISO/IEC 18004 §9.1) in the picture.
func drawQR(text, label string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	const quiet = 4
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for x+run < code.Size && code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, run, run)
				x += run
			}
		}
	}
	size := code.Size + 2*quiet
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s" shape-rendering="crispEdges"><path d="%s"/></svg>`, //nolint:gosec // numbers, and a label that is escaped
		size, size, template.HTMLEscapeString(label), path.String())), nil
}
