// Package security is the pages for people who are signed in: Security
// Settings, and identity verification.
package security

import (
	"embed"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/verify"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

//go:embed templates
var templateFS embed.FS

var templates = page.Files{FS: templateFS, Functions: map[string]any{
	"allows":       policy.Facts.Allows,
	"isU2F":        func(p interface{ IsU2F() bool }) bool { return p.IsU2F() },
	"mailboxMask":  selfservice.Overview.MailboxMask,
	"on":           policy.Protection.On,
	"secondFactor": policy.Facts.SecondFactor,
}}

// Pages are the own pages of someone signed in.
type Pages struct {
	kit    *page.Kit
	flow   *selfservice.Flow
	verify *verify.Flow

	settings   page.Page[settingsPage]
	virtualMFA page.Page[virtualMFAPage]
	resync     page.Page[resyncPage]
	unbind     page.Page[unbindPage]
	codes      page.Page[codesPage]
	codesNew   page.Page[codesNewPage]
	password   page.Page[passwordPage]
	email      page.Page[emailPage]
	sessions   page.Page[sessionsPage]
	devices    page.Page[devicesPage]
	history    page.Page[historyPage]
	proofs     page.Proofs
	enrol      page.Enrolment
	welcome    page.Page[welcomePage]
	reminder   page.Page[reminderPage]

	passkeys      page.Page[passkeysPage]
	passkeyNew    page.Page[passkeyNewPage]
	passkey       page.Page[passkeyPage]
	passkeyRemove page.Page[passkeyRemovePage]

	mailbox       page.Page[securityEmailPage]
	mailboxForm   page.Page[securityEmailFormPage]
	mailboxRemove page.Page[securityEmailRemovePage]

	emailForm   page.Page[emailFormPage]
	phone       page.Page[phonePage]
	phoneRemove page.Page[phoneRemovePage]

	protection        page.Page[protectionPage]
	protectionForm    page.Page[protectionFormPage]
	protectionConfirm page.Page[protectionConfirmPage]
	protectionOff     page.Page[protectionOffPage]

	// resume goes on, after a verification, with what a button asked for: by
	// the path that the verification leads back to.
	resume map[string]ResumeFunc
}

// A ResumeFunc does what was asked for before the verification.
type ResumeFunc func(w http.ResponseWriter, r *http.Request, s prove.Signed, query request.Form) error

// New prepares the pages.
func New(k *page.Kit, f *selfservice.Flow, v *verify.Flow) *Pages {
	p := &Pages{
		kit: k, flow: f, verify: v,
		settings:   page.New[settingsPage](k, templates, "templates/settings.html", "templates/checkup.html"),
		virtualMFA: page.New[virtualMFAPage](k, templates, "templates/virtualmfa.html"),
		resync:     page.New[resyncPage](k, templates, "templates/resync.html"),
		unbind:     page.New[unbindPage](k, templates, "templates/unbind.html"),
		codes:      page.New[codesPage](k, templates, "templates/codes.html"),
		codesNew:   page.New[codesNewPage](k, templates, "templates/codesnew.html"),
		password:   page.New[passwordPage](k, templates, "templates/password.html"),
		email:      page.New[emailPage](k, templates, "templates/email.html"),
		sessions:   page.New[sessionsPage](k, templates, "templates/sessions.html"),
		devices:    page.New[devicesPage](k, templates, "templates/devices.html"),
		history:    page.New[historyPage](k, templates, "templates/history.html"),
		proofs:     page.NewProofs(k),
		enrol:      page.NewEnrolment(k, func() prove.Sending { return f.Sending }),
		welcome:    page.New[welcomePage](k, templates, "templates/welcome.html"),
		reminder:   page.New[reminderPage](k, templates, "templates/reminder.html"),

		passkeys:      page.New[passkeysPage](k, templates, "templates/passkeys.html", "templates/passkeyfacts.html"),
		passkeyNew:    page.New[passkeyNewPage](k, templates, "templates/passkeynew.html"),
		passkey:       page.New[passkeyPage](k, templates, "templates/passkey.html", "templates/passkeyfacts.html"),
		passkeyRemove: page.New[passkeyRemovePage](k, templates, "templates/passkeyremove.html"),

		mailbox:       page.New[securityEmailPage](k, templates, "templates/securityemail.html"),
		mailboxForm:   page.New[securityEmailFormPage](k, templates, "templates/securityemailform.html"),
		mailboxRemove: page.New[securityEmailRemovePage](k, templates, "templates/securityemailremove.html"),

		emailForm:   page.New[emailFormPage](k, templates, "templates/emailform.html"),
		phone:       page.New[phonePage](k, templates, "templates/phone.html"),
		phoneRemove: page.New[phoneRemovePage](k, templates, "templates/phoneremove.html"),

		protection:        page.New[protectionPage](k, templates, "templates/protection.html"),
		protectionForm:    page.New[protectionFormPage](k, templates, "templates/protectionform.html"),
		protectionConfirm: page.New[protectionConfirmPage](k, templates, "templates/protectionconfirm.html"),
		protectionOff:     page.New[protectionOffPage](k, templates, "templates/protectionoff.html"),
	}
	p.resume = map[string]ResumeFunc{
		"/security/recovery-codes":     p.resumeCodes,
		"/security/sessions":           p.resumeEnd,
		devicesPath:                    p.resumeForget,
		"/security/protection/confirm": p.resumeProtection,
		"/security/protection/off":     p.resumeOff,
		"/security/phone/remove":       p.resumeRemovePhone,
		"/security/email/remove":       p.resumeRemoveEmail,
	}
	return p
}

// OnVerified has f go on with what other pages asked for, after a verification
// that leads back to the path.
func (p *Pages) OnVerified(path string, f ResumeFunc) { p.resume[path] = f }

// Mount routes the pages.
func (p *Pages) Mount(t *request.Router) {
	k := p.kit
	t.Handle("GET /security", k.For(page.Anyone, "", p.showSettings))
	p.mountCheck(t)
	t.Handle("GET /security/email", k.For(page.Anyone, "", either(p.showEmail, p.showSecurityEmail)))
	t.Handle("GET /security/email/change", k.Gated(policy.ChangeContact, either(p.showEmailForm, p.showSecurityEmailForm)))
	t.Handle("POST /security/email/change", k.Gated(policy.ChangeContact, either(p.submitEmailForm, p.submitSecurityEmailForm)))
	t.Handle("GET /security/email/confirm", k.For(page.Anyone, "", p.showConfirm))
	t.Handle("POST /security/email/confirm", k.Gated(policy.ChangeContact, p.submitConfirm))
	t.Handle("POST /security/email/confirm/send", k.Gated(policy.ChangeContact, p.sendConfirm))
	t.Handle("GET /security/email/remove", k.For(page.Users, "", p.showSecurityEmailRemove))
	t.Handle("POST /security/email/remove", k.For(page.Users, policy.ChangeContact, p.submitSecurityEmailRemove))
	t.Handle("GET /security/phone", k.For(page.Anyone, "", p.showPhone))
	t.Handle("GET /security/phone/change", k.Gated(policy.ChangeContact, p.showPhoneForm))
	t.Handle("POST /security/phone/change", k.Gated(policy.ChangeContact, p.submitPhoneForm))
	t.Handle("GET /security/phone/confirm", k.For(page.Anyone, "", p.showConfirm))
	t.Handle("POST /security/phone/confirm", k.Gated(policy.ChangeContact, p.submitConfirm))
	t.Handle("POST /security/phone/confirm/send", k.Gated(policy.ChangeContact, p.sendConfirm))
	t.Handle("GET /security/phone/remove", k.For(page.Anyone, "", p.showPhoneRemove))
	t.Handle("POST /security/phone/remove", k.Gated(policy.ChangeContact, p.submitPhoneRemove))
	t.Handle("GET /security/protection", k.For(page.Owners, "", p.showProtection))
	t.Handle("GET /security/protection/setup", k.For(page.Owners, "", p.showProtectionForm))
	t.Handle("POST /security/protection/setup", k.For(page.Owners, "", p.submitProtectionForm))
	t.Handle("GET /security/protection/confirm", k.For(page.Owners, "", p.showProtectionStep))
	t.Handle("POST /security/protection/confirm", k.For(page.Owners, policy.ManageMFA, p.submitProtectionConfirm))
	t.Handle("POST /security/protection/passkey", k.For(page.Owners, policy.ManageMFA, p.submitProtectionPasskey))
	t.Handle("POST /security/protection/device", k.For(page.Owners, policy.ManageMFA, p.submitProtectionDevice))
	t.Handle("POST /security/protection/phone", k.For(page.Owners, policy.ManageMFA, p.submitProtectionPhone))
	t.Handle("POST /security/protection/code", k.For(page.Owners, policy.ManageMFA, p.submitProtectionCode))
	t.Handle("POST /security/protection/code/send", k.For(page.Owners, policy.ManageMFA, p.sendProtectionCode))
	t.Handle("GET /security/protection/off", k.For(page.Owners, "", p.showProtectionOff))
	t.Handle("POST /security/protection/off", k.For(page.Owners, policy.ManageMFA, p.submitProtectionOff))
	t.Handle("GET /security/passkeys", k.For(page.Anyone, "", p.showPasskeys))
	t.Handle("GET /security/passkeys/new", k.Gated(policy.ManageMFA, p.showPasskeyNew))
	t.Handle("POST /security/passkeys/new", k.Gated(policy.ManageMFA, p.submitPasskeyNew))
	t.Handle("GET /security/passkeys/{id}", k.For(page.Anyone, "", p.showPasskey))
	t.Handle("POST /security/passkeys/{id}", k.For(page.Anyone, "", p.renamePasskey))
	t.Handle("GET /security/passkeys/{id}/remove", k.Gated(policy.ManageMFA, p.showPasskeyRemove))
	t.Handle("POST /security/passkeys/{id}/remove", k.Gated(policy.ManageMFA, p.submitPasskeyRemove))
	t.Handle("GET /security/passkeys/{id}/upgrade", k.Gated(policy.ManageMFA, p.showPasskeyUpgrade))
	t.Handle("POST /security/passkeys/{id}/upgrade", k.Gated(policy.ManageMFA, p.submitPasskeyUpgrade))
	t.Handle("GET /security/virtual-mfa", k.For(page.Anyone, "", p.showVirtualMFA))
	t.Handle("GET /security/virtual-mfa/bind", k.Gated(policy.ManageMFA, p.showBind))
	t.Handle("POST /security/virtual-mfa/bind", k.Gated(policy.ManageMFA, p.submitBind))
	t.Handle("GET /security/virtual-mfa/replace", k.Gated(policy.ManageMFA, p.showReplace))
	t.Handle("POST /security/virtual-mfa/replace", k.Gated(policy.ManageMFA, p.submitReplace))
	t.Handle("GET /security/virtual-mfa/resynchronise", k.Gated(policy.ManageMFA, p.showResync))
	t.Handle("POST /security/virtual-mfa/resynchronise", k.Gated(policy.ManageMFA, p.submitResync))
	t.Handle("GET /security/virtual-mfa/unbind", k.Gated(policy.ManageMFA, p.showUnbind))
	t.Handle("POST /security/virtual-mfa/unbind", k.Gated(policy.ManageMFA, p.submitUnbind))
	t.Handle("GET /security/recovery-codes", k.For(page.Anyone, "", p.showCodes))
	t.Handle("POST /security/recovery-codes", k.Gated(policy.ManageMFA, p.makeCodes))
	t.Handle("GET /security/recovery-codes/new", k.For(page.Anyone, "", p.showNewCodes))
	t.Handle("POST /security/recovery-codes/saved", k.For(page.Anyone, "", p.codesSaved))
	t.Handle("GET /security/password", k.Gated(policy.ChangePassword, p.showPassword))
	t.Handle("POST /security/password", k.Gated(policy.ChangePassword, p.submitPassword))
	t.Handle("GET /security/sessions", k.For(page.Anyone, "", p.showSessions))
	t.Handle("POST /security/sessions/end", k.Gated(policy.ManageSessions, p.endSession))
	t.Handle("POST /security/sessions/end-others", k.Gated(policy.ManageSessions, p.endOthers))
	t.Handle("GET /security/devices", k.For(page.Anyone, "", p.showDevices))
	t.Handle("POST /security/devices/forget", k.Gated(policy.ManageSessions, p.submitForget))
	t.Handle("GET /security/history", k.For(page.Anyone, "", p.showHistory))
	t.Handle("POST /security/history", k.For(page.Anyone, "", p.submitHistory))
	t.Handle("GET /security/welcome", k.For(page.Anyone, "", p.showWelcome))
	t.Handle("GET /security/reminder", k.For(page.Anyone, "", p.showReminder))
	t.Handle("GET /verify", k.For(page.Anyone, "", p.showVerify))
	t.Handle("POST /verify", k.For(page.Anyone, "", p.submitVerify))
	t.Handle("POST /verify/send", k.For(page.Anyone, "", p.sendVerify))
	t.Handle("GET /verify/methods", k.For(page.Anyone, "", p.showMethods))
	t.Handle("GET /verify/help", k.For(page.Anyone, "", p.showHelp))
	t.Handle("POST /session/keep", k.For(page.Anyone, "", p.keep))
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

// verifyFirst leads to a verification that comes back here.
func (p *Pages) verifyFirst(w http.ResponseWriter, r *http.Request, s prove.Signed, a policy.Action) error {
	return p.verifyFor(w, r, s, a, r.URL.Path)
}

// verifyFor leads to a verification that comes back to a path.
func (p *Pages) verifyFor(w http.ResponseWriter, r *http.Request, s prove.Signed, a policy.Action, returnTo string) error {
	id, err := p.verify.Begin(r.Context(), p.kit.Visitor(r), s, a, returnTo)
	if err != nil {
		return err
	}
	p.kit.SeeOther(w, r, "/verify?c="+url.QueryEscape(id))
	return nil
}

// act turns the refusal of an action that needs a verification into one that
// comes back to a path.
func (p *Pages) act(w http.ResponseWriter, r *http.Request, s prove.Signed, a policy.Action, err error, returnTo string) error {
	if errors.Is(err, prove.ErrVerifyFirst) {
		return p.verifyFor(w, r, s, a, returnTo)
	}
	return err
}

func (p *Pages) askPage(b page.Base, s prove.Signed, q verify.Question) page.Proof {
	b.Nav = "verify"
	cancel := "/security"
	if strings.HasPrefix(q.ReturnTo, "/console/") {
		b.Nav, cancel = "console", "/console/users"
	}
	return page.Proof{Base: b, Title: "verify.title", Who: s.Identity.Name(), Reason: "purpose." + q.Action.Name, Object: q.Action.Called(b.T), Action: "/verify", Ceremony: q.ID, Cancel: cancel}
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
	path, _, _ := strings.Cut(returnTo, "?")
	if goOn := p.resume[path]; goOn != nil {
		query, err := request.QueryOf(returnTo)
		if err != nil {
			return err
		}
		return goOn(w, r, s, query)
	}
	p.kit.Done(w, r, returnTo, "verified")
	return nil
}

func (p *Pages) sendVerify(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	m := factor.Method(f.Get("method"))
	if err := p.verify.Send(r.Context(), p.kit.Visitor(r), s, f.Get("c"), m); err != nil {
		return p.askAgain(w, r, s, f.Get("c"), string(m), false, err)
	}
	p.kit.SeeOther(w, r, "/verify?c="+url.QueryEscape(f.Get("c"))+"&method="+url.QueryEscape(string(m)))
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

// showHelp says what somebody really has who can use none of the ways.
func (p *Pages) showHelp(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	query, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	q, help, err := p.verify.Help(r.Context(), p.kit.Visitor(r), s, query.Get("c"))
	if err != nil {
		return err
	}
	if len(q.Offers) == 0 { // verified in another tab
		p.kit.SeeOther(w, r, q.ReturnTo)
		return nil
	}
	return p.proofs.Help(w, r, page.Help{Base: p.kit.SignedBase(w, r, s), Who: s.Identity.Name(), Action: "/verify", Ceremony: q.ID, Has: help, Cancel: "/security"})
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
	O           selfservice.Overview
	Cards       []passkeyCard
	Checkup     []check
	PasskeysOff bool // this server has no name that passkeys work under
}

func (p *Pages) showSettings(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	data := settingsPage{Base: p.kit.SignedBase(w, r, s), O: o, PasskeysOff: p.flow.Passkeys == nil}
	data.Wide, data.Nav = true, "security"
	data.Cards = cards(data.Base, o.Passkeys)
	if data.Checkup, err = p.checkup(r, s, o); err != nil {
		return err
	}
	return p.settings.Render(w, r, http.StatusOK, data)
}

type passwordPage struct {
	page.Base
	Min   int
	Rules []string // sentences of the account's policy
	Again bool     // what was entered before the verification must be entered again
}

func (p *Pages) passwordPage(b page.Base, facts policy.Facts, alone bool) passwordPage {
	data := passwordPage{Base: b, Min: account.PasswordMin(facts.MFA() && !alone)}
	if b.RAM {
		data.Min = max(data.Min, facts.Settings.Password.MinimumLength)
		for _, rule := range facts.Settings.Password.Rules() {
			data.Rules = append(data.Rules, b.T("password.rule."+rule.Key, "Count", rule.Count))
		}
	}
	return data
}

func (p *Pages) showPassword(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if ok, err := p.verified(w, r, s, selfservice.ChangePassword); err != nil || !ok {
		return err
	}
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	data := p.passwordPage(p.kit.SignedBase(w, r, s), o.Facts, q.Has("alone")) // asked for where the password is to stand alone
	data.Again = q.Has("again")
	return p.password.Render(w, r, http.StatusOK, data)
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
		return p.verifyFor(w, r, s, selfservice.ChangePassword, "/security/password?again=1")
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
	return p.password.Render(w, r, status, p.passwordPage(b, o.Facts, false))
}
