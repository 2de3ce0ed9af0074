// Package security is the pages for people who are signed in: Security
// Settings, and identity verification.
package security

import (
	"embed"
	"errors"
	"net/http"
	"net/url"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/verify"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

//go:embed templates
var templates embed.FS

// Pages are the own pages of someone signed in.
type Pages struct {
	kit    *page.Kit
	flow   *selfservice.Flow
	verify *verify.Flow

	settings   page.Page[settingsPage]
	virtualMFA page.Page[virtualMFAPage]
	bind       page.Page[bindPage]
	resync     page.Page[resyncPage]
	unbind     page.Page[unbindPage]
	codes      page.Page[codesPage]
	codesNew   page.Page[codesNewPage]
	password   page.Page[passwordPage]
	email      page.Page[emailPage]
	sessions   page.Page[sessionsPage]
	history    page.Page[historyPage]
	proofs     page.Proofs
}

// New prepares the pages.
func New(k *page.Kit, f *selfservice.Flow, v *verify.Flow) *Pages {
	return &Pages{
		kit: k, flow: f, verify: v,
		settings:   page.New[settingsPage](k, templates, "templates/settings.html"),
		virtualMFA: page.New[virtualMFAPage](k, templates, "templates/virtualmfa.html"),
		bind:       page.New[bindPage](k, templates, "templates/bind.html"),
		resync:     page.New[resyncPage](k, templates, "templates/resync.html"),
		unbind:     page.New[unbindPage](k, templates, "templates/unbind.html"),
		codes:      page.New[codesPage](k, templates, "templates/codes.html"),
		codesNew:   page.New[codesNewPage](k, templates, "templates/codesnew.html"),
		password:   page.New[passwordPage](k, templates, "templates/password.html"),
		email:      page.New[emailPage](k, templates, "templates/email.html"),
		sessions:   page.New[sessionsPage](k, templates, "templates/sessions.html"),
		history:    page.New[historyPage](k, templates, "templates/history.html"),
		proofs:     page.NewProofs(k),
	}
}

// Mount routes the pages.
func (p *Pages) Mount(t *request.Router) {
	k := p.kit
	t.Handle("GET /security", k.Signed(p.showSettings))
	t.Handle("GET /security/email", k.Signed(p.showEmail))
	t.Handle("GET /security/virtual-mfa", k.Signed(p.showVirtualMFA))
	t.Handle("GET /security/virtual-mfa/bind", k.Signed(p.showBind))
	t.Handle("POST /security/virtual-mfa/bind", k.Signed(p.submitBind))
	t.Handle("GET /security/virtual-mfa/resynchronise", k.Signed(p.showResync))
	t.Handle("POST /security/virtual-mfa/resynchronise", k.Signed(p.submitResync))
	t.Handle("GET /security/virtual-mfa/unbind", k.Signed(p.showUnbind))
	t.Handle("POST /security/virtual-mfa/unbind", k.Signed(p.submitUnbind))
	t.Handle("GET /security/recovery-codes", k.Signed(p.showCodes))
	t.Handle("POST /security/recovery-codes", k.Signed(p.makeCodes))
	t.Handle("GET /security/recovery-codes/new", k.Signed(p.showNewCodes))
	t.Handle("POST /security/recovery-codes/saved", k.Signed(p.codesSaved))
	t.Handle("GET /security/password", k.Signed(p.showPassword))
	t.Handle("POST /security/password", k.Signed(p.submitPassword))
	t.Handle("GET /security/sessions", k.Signed(p.showSessions))
	t.Handle("POST /security/sessions/end", k.Signed(p.endSession))
	t.Handle("POST /security/sessions/end-others", k.Signed(p.endOthers))
	t.Handle("GET /security/history", k.Signed(p.showHistory))
	t.Handle("GET /verify", k.Signed(p.showVerify))
	t.Handle("POST /verify", k.Signed(p.submitVerify))
	t.Handle("POST /verify/send", k.Signed(p.sendVerify))
	t.Handle("GET /verify/methods", k.Signed(p.showMethods))
	t.Handle("POST /session/keep", k.Signed(p.keep))
}

// verified lets the request go on if the action needs no verification now;
// else it leads to one that comes back here.
func (p *Pages) verified(w http.ResponseWriter, r *http.Request, s prove.Signed, a policy.Action) (ok bool, err error) {
	needed, err := p.verify.Needed(r.Context(), s, a)
	if err != nil || !needed {
		return err == nil, err
	}
	return false, p.verifyFirst(w, r, s, a)
}

func (p *Pages) verifyFirst(w http.ResponseWriter, r *http.Request, s prove.Signed, a policy.Action) error {
	id, err := p.verify.Begin(r.Context(), p.kit.Visitor(r), s, a, r.URL.Path)
	if err != nil {
		return err
	}
	p.kit.SeeOther(w, r, "/verify?c="+url.QueryEscape(id))
	return nil
}

// act turns the refusal of an action that needs a verification into one.
func (p *Pages) act(w http.ResponseWriter, r *http.Request, s prove.Signed, a policy.Action, err error) error {
	if errors.Is(err, prove.ErrVerifyFirst) {
		return p.verifyFirst(w, r, s, a)
	}
	return err
}

func (p *Pages) askPage(b page.Base, s prove.Signed, q verify.Question) page.Proof {
	b.Nav = "verify"
	ask := page.Proof{Base: b, Title: "verify.title", Who: s.Identity.Name(), Reason: "purpose." + q.Action.Name, Action: "/verify", Ceremony: q.ID, Cancel: "/security"}
	if q.Action.Target != "" && len(q.Offers) > 0 {
		ask.Object = q.Offers[0].Device
	}
	return ask
}

func (p *Pages) showVerify(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	query, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	q, err := p.verify.State(r.Context(), p.kit.Visitor(r), s, query.Get("c"))
	if err != nil {
		return err
	}
	if len(q.Offers) == 0 { // verified in another tab
		p.kit.SeeOther(w, r, q.ReturnTo)
		return nil
	}
	ask := p.askPage(p.kit.SignedBase(w, r, s), s, q)
	ask.Drifted = query.Get("drifted") != ""
	return p.proofs.Ask(w, r, http.StatusOK, ask, q.Asked, query.Get("method"))
}

func (p *Pages) askAgain(w http.ResponseWriter, r *http.Request, s prove.Signed, id, method string, two bool, refusal error) error {
	b := p.kit.SignedBase(w, r, s)
	b.Path = "/verify?c=" + url.QueryEscape(id)
	status, ok := p.kit.Refuse(w, r, &b, refusal)
	if !ok {
		return refusal
	}
	q, err := p.verify.State(r.Context(), p.kit.Visitor(r), s, id)
	if err != nil {
		return err
	}
	ask := p.askPage(b, s, q)
	ask.Drifted = two
	return p.proofs.Ask(w, r, status, ask, q.Asked, method)
}

func (p *Pages) submitVerify(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	answer := page.AnswerOf(f)
	returnTo, token, err := p.verify.Answer(r.Context(), p.kit.Visitor(r), s, f.Get("c"), answer)
	if err != nil {
		return p.askAgain(w, r, s, f.Get("c"), string(answer.Method), f.Get("code2") != "", err)
	}
	p.kit.SetSession(w, token)
	p.kit.Done(w, r, returnTo, "verified")
	return nil
}

func (p *Pages) sendVerify(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	if err := p.verify.Send(r.Context(), p.kit.Visitor(r), s, f.Get("c")); err != nil {
		return p.askAgain(w, r, s, f.Get("c"), f.Get("method"), false, err)
	}
	p.kit.SeeOther(w, r, "/verify?c="+url.QueryEscape(f.Get("c"))+"&method=email")
	return nil
}

func (p *Pages) showMethods(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	query, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	q, err := p.verify.State(r.Context(), p.kit.Visitor(r), s, query.Get("c"))
	if err != nil {
		return err
	}
	return p.proofs.Choose(w, r, page.Methods{Base: p.kit.SignedBase(w, r, s), Who: s.Identity.Name(), Action: "/verify", Ceremony: q.ID, Choices: q.Offers, Cancel: "/security"})
}

// keep is called by a page that is about to be left idle.
func (p *Pages) keep(w http.ResponseWriter, r *http.Request, _ prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent) // that a signed-in request came has been noted
	return nil
}

type settingsPage struct {
	page.Base
	O       selfservice.Overview
	Checkup []check
}

// A check is one thing to look at.
type check struct {
	Key, Link string
	Count     int
}

func (p *Pages) showSettings(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	data := settingsPage{Base: p.kit.SignedBase(w, r, s), O: o}
	data.Wide, data.Nav = true, "security"
	switch {
	case !o.Facts.VirtualMFA:
		data.Checkup = append(data.Checkup, check{"no_mfa", "/security/virtual-mfa/bind", 0})
	case o.CodesLeft < 4:
		data.Checkup = append(data.Checkup, check{"few_codes", "/security/recovery-codes", o.CodesLeft})
	}
	return p.settings.Render(w, r, http.StatusOK, data)
}

type emailPage struct {
	page.Base
	Identity account.Identity
}

func (p *Pages) showEmail(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	return p.email.Render(w, r, http.StatusOK, emailPage{p.kit.SignedBase(w, r, s), s.Identity})
}

type passwordPage struct {
	page.Base
	Min int
}

func (p *Pages) passwordPage(b page.Base, mfa bool) passwordPage {
	if mfa {
		return passwordPage{b, account.PasswordMinWithMFA}
	}
	return passwordPage{b, account.PasswordMinAlone}
}

func (p *Pages) showPassword(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if ok, err := p.verified(w, r, s, selfservice.ChangePassword); err != nil || !ok {
		return err
	}
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	return p.password.Render(w, r, http.StatusOK, p.passwordPage(p.kit.SignedBase(w, r, s), o.Facts.MFA()))
}

func (p *Pages) submitPassword(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	var token secret.Token
	if err == nil {
		token, err = p.flow.ChangePassword(r.Context(), p.kit.Visitor(r), s, f.Get("password"), f.Get("new_password"))
	}
	if err == nil {
		p.kit.SetSession(w, token)
		p.kit.Done(w, r, "/security", "password_changed")
		return nil
	}
	if errors.Is(err, prove.ErrVerifyFirst) {
		return p.verifyFirst(w, r, s, selfservice.ChangePassword)
	}
	b := p.kit.SignedBase(w, r, s)
	status, ok := p.kit.Refuse(w, r, &b, err)
	if !ok {
		return err
	}
	o, oerr := p.flow.Overview(r.Context(), s)
	if oerr != nil {
		return oerr
	}
	return p.password.Render(w, r, status, p.passwordPage(b, o.Facts.MFA()))
}
