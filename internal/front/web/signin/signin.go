// Package signin is the pages for people who are not signed in yet.
package signin

import (
	"embed"
	"net/http"
	"net/url"
	"time"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	flow "countersign/internal/flow/signin"
	"countersign/internal/flow/signup"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

//go:embed templates
var templateFS embed.FS

var templates = page.Files{FS: templateFS}

// Pages are the signed-out pages.
type Pages struct {
	kit    *page.Kit
	flow   *flow.Flow
	signup *signup.Flow

	signIn    page.Page[signInPage]
	signUp    page.Page[signUpPage]
	confirm   page.Page[confirmPage]
	signedOut page.Page[signedOutPage]
	proofs    page.Proofs
	enrol     page.Enrolment
	ram       page.Page[ramPage]
	choose    page.Page[choosePage]
	password  page.Page[passwordPage]
	passkey   page.Page[passkeyPage]
	activate  page.Page[activatePage]

	// KeepLocale keeps the language of messages to someone signed in.
	KeepLocale func(r *http.Request, s prove.Signed, tag string) error
}

type signInPage struct {
	page.Base
	Username, ReturnTo string
	SignUp             bool
	Door               door
}

type signedOutPage struct{ page.Base }

// New prepares the pages.
func New(k *page.Kit, f *flow.Flow, u *signup.Flow) *Pages {
	return &Pages{
		kit: k, flow: f, signup: u,
		signIn:    page.New[signInPage](k, templates, "templates/signin.html"),
		signUp:    page.New[signUpPage](k, templates, "templates/signup.html"),
		confirm:   page.New[confirmPage](k, templates, "templates/confirm.html"),
		signedOut: page.New[signedOutPage](k, templates, "templates/signedout.html"),
		proofs:    page.NewProofs(k),
		enrol:     page.NewEnrolment(k, func() prove.Sending { return f.Sending }),
		ram:       page.New[ramPage](k, templates, "templates/ram.html"),
		choose:    page.New[choosePage](k, templates, "templates/choose.html"),
		password:  page.New[passwordPage](k, templates, "templates/newpassword.html"),
		passkey:   page.New[passkeyPage](k, templates, "templates/bindpasskey.html"),
		activate:  page.New[activatePage](k, templates, "templates/activate.html"),
	}
}

// Mount routes the pages.
func (p *Pages) Mount(t *request.Router) {
	k := p.kit
	t.Handle("GET /{$}", k.Handle(p.home))
	t.Handle("GET /signin", k.Handle(p.showSignIn))
	t.Handle("POST /signin", k.Handle(p.submitSignIn))
	t.Handle("POST /signin/passkey/options", k.Handle(p.passkeyOptions))
	t.Handle("POST /signin/passkey", k.Handle(p.submitPasskey))
	t.Handle("POST /signin/bind/passkey", k.Handle(p.submitBindPasskey))
	t.Handle("GET /signin/verify", k.Handle(p.underWay(p.showVerify)))
	t.Handle("GET /signin/ram", k.Handle(p.showRAM))
	t.Handle("POST /signin/ram", k.Handle(p.submitRAM))
	t.Handle("GET /signin/ram/{suffix}", k.Handle(p.showRAM))
	t.Handle("POST /signin/ram/{suffix}", k.Handle(p.submitRAM))
	t.Handle("GET /signin/bind", k.Handle(p.underWay(p.showBind)))
	t.Handle("POST /signin/bind", k.Handle(p.submitBind))
	t.Handle("POST /signin/bind/device", k.Handle(p.submitDevice))
	t.Handle("POST /signin/bind/phone", k.Handle(p.submitNumber))
	t.Handle("POST /signin/bind/code", k.Handle(p.submitCode))
	t.Handle("POST /signin/bind/code/send", k.Handle(p.sendCode))
	t.Handle("GET /signin/password", k.Handle(p.underWay(p.showPassword)))
	t.Handle("POST /signin/password", k.Handle(p.submitPassword))
	t.Handle("POST /signin/verify", k.Handle(p.submitVerify))
	t.Handle("POST /signin/verify/send", k.Handle(p.send))
	t.Handle("GET /signin/methods", k.Handle(p.underWay(p.showMethods)))
	t.Handle("GET /signin/help", k.Handle(p.showHelp))
	t.Handle("POST /signout", k.Handle(p.signOut))
	t.Handle("GET /signedout", k.Handle(p.showSignedOut))
	t.Handle("GET /setup/{token}", k.Handle(p.showSetup))
	t.Handle("POST /setup/{token}", k.Handle(p.submitSetup))
	t.Handle("GET /signup", k.Handle(p.showSignUp))
	t.Handle("POST /signup", k.Handle(p.submitSignUp))
	t.Handle("GET /signup/verify", k.Handle(p.showConfirm))
	t.Handle("POST /signup/verify", k.Handle(p.submitConfirm))
	t.Handle("POST /signup/send", k.Handle(p.resend))
	p.mountRecovery(t)
	t.Handle("GET /activate/{token}", k.Handle(p.showActivate))
	t.Handle("POST /activate/{token}", k.Handle(p.submitActivate))
	t.Handle("GET /activated", k.Handle(p.showActivated))
	p.mountReset(t)
	t.Handle("POST /preferences", k.Handle(p.setPreferences))
}

func (p *Pages) home(w http.ResponseWriter, r *http.Request) error {
	p.kit.SeeOther(w, r, "/security")
	return nil
}

func (p *Pages) showSignIn(w http.ResponseWriter, r *http.Request) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	return p.renderSignIn(w, r, http.StatusOK, p.kit.Base(w, r), "", prove.LocalPath(q.Get("return_to")))
}

func (p *Pages) submitSignIn(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	var progress flow.Progress
	if err == nil {
		progress, err = p.flow.Begin(r.Context(), p.kit.Visitor(r), prove.Door{}, f.Get("username"), f.Get("password"), f.Get("return_to"))
	}
	if err != nil {
		b := p.kit.Base(w, r)
		status, ok := p.refuseDoor(w, r, &b, err)
		if !ok {
			return err
		}
		return p.renderSignIn(w, r, status, b, f.Get("username"), prove.LocalPath(f.Get("return_to")))
	}
	p.begun(w, r, progress)
	return nil
}

// begun keeps the sign-in that the password has begun, and goes on.
func (p *Pages) begun(w http.ResponseWriter, r *http.Request, progress flow.Progress) {
	p.kit.SetDoor(w, progress.Domain) // also where it does not go on: whoever comes back is to find it
	if progress.Session == nil {
		p.kit.SetCeremony(w, r, ceremony.SignIn, progress.Ceremony, progress.Token, ceremony.SessionLifetime)
	}
	p.goOn(w, r, progress)
}

// stepPaths are the pages of the steps that are no second step.
var stepPaths = map[policy.Step]string{policy.Bind: "/signin/bind", policy.NewPassword: "/signin/password"}

// stepPath is the page of the step that a sign-in stands at.
func stepPath(progress flow.Progress) string {
	path := stepPaths[progress.Step]
	if path == "" {
		path = "/signin/verify"
	}
	return path + "?c=" + url.QueryEscape(progress.Ceremony)
}

// goOn sends the browser to what the decision says comes next.
func (p *Pages) goOn(w http.ResponseWriter, r *http.Request, progress flow.Progress) {
	if progress.Session == nil {
		p.kit.SeeOther(w, r, stepPath(progress))
		return
	}
	if old, err := p.kit.Token(r); err == nil {
		// The cookie is about to be replaced: a session that nobody holds must not live on.
		if err := p.flow.Replace(r.Context(), p.kit.Visitor(r), old); err != nil {
			request.Log(p.kit.Log, r, err)
		}
	}
	p.kit.SetSession(w, progress.Session.Token)
	if progress.Session.Devices != nil {
		p.kit.SetDevices(w, progress.Session.Devices)
	}
	switch kept := progress.Session.Kept; {
	case !kept.Token.IsZero():
		p.kit.SetRemembered(w, kept.Token, kept.Until)
	case kept.Forget:
		p.kit.ClearCookie(w, page.CookieRemember)
	}
	if progress.Ceremony != "" {
		p.kit.ClearCeremony(w, ceremony.SignIn, progress.Ceremony)
	}
	to := progress.ReturnTo
	if to == "" {
		to = "/security"
	}
	if !progress.Session.Identity.CheckDue.IsZero() { // "This wasn't me": what is bound comes first
		to = "/security/check?return_to=" + url.QueryEscape(to)
	}
	if id := progress.Session.Passkey; id != "" { // what was made, and what that means
		to = "/security/welcome?return_to=" + url.QueryEscape(to)
		to = "/security/passkeys/" + url.PathEscape(id) + "?created=1&return_to=" + url.QueryEscape(to)
	}
	switch {
	case progress.Session.Codes != nil:
		to = "/security/recovery-codes/new?return_to=" + url.QueryEscape(to)
	case progress.Session.Bound && progress.Session.Passkey == "":
		to = "/security/welcome?return_to=" + url.QueryEscape(to)
	case !progress.Reminder.IsZero():
		to = "/security/reminder?return_to=" + url.QueryEscape(to)
	}
	p.kit.SeeOther(w, r, to)
}

// ceremony finds the sign-in that a request belongs to.
func (p *Pages) ceremony(r *http.Request, id string) (string, secret.Token, error) {
	id, token := p.kit.Ceremony(r, ceremony.SignIn, id)
	if token.IsZero() {
		return id, token, ceremony.ErrGone
	}
	return id, token, nil
}

// startAgain leads back to the sign-in when a ceremony is over.
func (p *Pages) startAgain(w http.ResponseWriter, r *http.Request, id string, err error) error {
	if fault.From(err).Kind != fault.Expired {
		return err
	}
	if id != "" {
		p.kit.ClearCeremony(w, ceremony.SignIn, id)
	}
	b := p.kit.Base(w, r)
	b.Problem = &page.Problem{Text: b.L.Fault(fault.From(err))}
	if domain := p.kit.Door(r); domain != "" {
		return p.renderRAM(w, r, request.Status(err), b, domain, "", "")
	}
	b.Path = "/signin"
	return p.renderSignIn(w, r, request.Status(err), b, "", "")
}

func (p *Pages) askPage(b page.Base, progress flow.Progress) page.Proof {
	title := "second.title"
	if progress.Step == policy.ConfirmEmail {
		title = "confirm.title"
	}
	if len(progress.Offers) > 0 && progress.Offers[0].Method == factor.Ticket {
		title = "ticket.title"
	}
	return page.Proof{Base: b, Title: title, Who: progress.Name, NotYou: doorOf(progress.Domain), Action: "/signin/verify", Ceremony: progress.Ceremony, RememberBy: progress.Remember}
}

// underWay shows a page of the sign-in that the query names.
func (p *Pages) underWay(show func(w http.ResponseWriter, r *http.Request, q request.Form, progress flow.Progress) error) page.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := request.ReadQuery(r)
		if err != nil {
			return err
		}
		id, token, err := p.ceremony(r, q.Get("c"))
		if err != nil {
			return p.startAgain(w, r, id, err)
		}
		progress, err := p.flow.State(r.Context(), p.kit.Visitor(r), token)
		if err != nil {
			return p.startAgain(w, r, id, err)
		}
		if progress.Step == policy.Complete {
			p.rulesChanged(w, r, progress)
			return nil
		}
		if at := stepPath(progress); !p.shows(r.URL.Path, progress.Step) {
			p.kit.SeeOther(w, r, at) // another tab went on, or the rules have changed
			return nil
		}
		return show(w, r, q, progress)
	}
}

// rulesChanged leads back to the door when nothing is asked any more beyond
// the password: a page that is looked at opens no session.
func (p *Pages) rulesChanged(w http.ResponseWriter, r *http.Request, progress flow.Progress) {
	p.kit.ClearCeremony(w, ceremony.SignIn, progress.Ceremony)
	to := doorOf(progress.Domain)
	if progress.ReturnTo != "" {
		to += "?return_to=" + url.QueryEscape(progress.ReturnTo)
	}
	p.kit.Done(w, r, to, "rules_changed")
}

// shows reports whether the page at path belongs to the step.
func (p *Pages) shows(path string, step policy.Step) bool {
	if at := stepPaths[step]; at != "" {
		return path == at
	}
	return path == "/signin/verify" || path == "/signin/methods"
}

// asks reports whether the sign-in stands at a second step.
func (p *Pages) asks(progress flow.Progress) bool {
	return progress.Step != policy.Complete && p.shows("/signin/verify", progress.Step)
}

func (p *Pages) showVerify(w http.ResponseWriter, r *http.Request, q request.Form, progress flow.Progress) error {
	ask := p.askPage(p.kit.Base(w, r), progress)
	ask.Drifted = q.Get("drifted") != ""
	return p.proofs.Ask(w, r, http.StatusOK, ask, progress.Asked, q.Get("method"))
}

func (p *Pages) submitVerify(w http.ResponseWriter, r *http.Request) error {
	f, stale := p.kit.Form(w, r)
	id, token, err := p.ceremony(r, f.Get("c"))
	if stale != nil {
		if err != nil {
			return stale
		}
		return p.askAgain(w, r, id, token, f.Get("method"), request.Form{}, stale)
	}
	if err != nil {
		return p.startAgain(w, r, id, err)
	}
	v := p.kit.Visitor(r)
	answer := page.AnswerOf(f)
	if answer.Method == "" {
		if answer.Method, err = p.flow.Preferred(r.Context(), v, token); err != nil {
			return p.startAgain(w, r, id, err)
		}
	}
	progress, err := p.flow.Answer(r.Context(), v, token, answer)
	if err == nil {
		p.goOn(w, r, progress)
		return nil
	}
	return p.askAgain(w, r, id, token, string(answer.Method), f, err)
}

// askAgain shows the page that was refused, with the reason.
func (p *Pages) askAgain(w http.ResponseWriter, r *http.Request, id string, token secret.Token, method string, typed request.Form, refusal error) error {
	b := p.kit.Base(w, r)
	b.Path = "/signin/verify?c=" + url.QueryEscape(id)
	status, ok := p.kit.Refuse(w, r, &b, refusal)
	if progress, err := p.flow.State(r.Context(), p.kit.Visitor(r), token); !ok && err == nil && !p.asks(progress) {
		p.kit.SeeOther(w, r, stepPath(progress)) // the rules have changed: no method takes the step that was shown
		return nil
	}
	if !ok {
		return p.startAgain(w, r, id, refusal)
	}
	progress, err := p.flow.State(r.Context(), p.kit.Visitor(r), token)
	if err != nil {
		return p.startAgain(w, r, id, err)
	}
	if !p.shows("/signin/verify", progress.Step) {
		return p.stepAgain(w, r, status, b, progress, request.Form{})
	}
	ask := p.askPage(b, progress)
	ask.Drifted, ask.Ticked = typed.Get("code2") != "", typed.Get("remember") != ""
	return p.proofs.Ask(w, r, status, ask, progress.Asked, method)
}

func (p *Pages) send(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	id, token, err := p.ceremony(r, f.Get("c"))
	if err != nil {
		return p.startAgain(w, r, id, err)
	}
	answer := page.AnswerOf(f)
	if err := p.flow.Send(r.Context(), p.kit.Visitor(r), token, answer.Method); err != nil {
		return p.askAgain(w, r, id, token, string(answer.Method), f, err)
	}
	p.kit.SeeOther(w, r, "/signin/verify?c="+url.QueryEscape(id)+"&method="+url.QueryEscape(string(answer.Method)))
	return nil
}

func (p *Pages) showMethods(w http.ResponseWriter, r *http.Request, _ request.Form, progress flow.Progress) error {
	return p.proofs.Choose(w, r, page.Methods{Base: p.kit.Base(w, r), Who: progress.Name, NotYou: doorOf(progress.Domain), Action: "/signin/verify", Ceremony: progress.Ceremony, Choices: progress.Offers})
}

func (p *Pages) signOut(w http.ResponseWriter, r *http.Request) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	token, err := p.kit.Token(r)
	if err == nil {
		if err := p.flow.SignOut(r.Context(), p.kit.Visitor(r), token); err != nil {
			return err
		}
	}
	p.kit.ClearCookie(w, page.CookieSession)
	p.kit.ClearCookie(w, page.CookieRemember)
	w.Header().Set("Clear-Site-Data", `"storage"`) // pages are never in the cache
	p.kit.SeeOther(w, r, "/signedout")
	return nil
}

func (p *Pages) showSignedOut(w http.ResponseWriter, r *http.Request) error {
	return p.signedOut.Render(w, r, http.StatusOK, signedOutPage{p.kit.Base(w, r)})
}

const year = 365 * 24 * time.Hour

// setPreferences keeps the language and the theme chosen, and comes back.
func (p *Pages) setPreferences(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	if l := f.Get("locale"); l != "" {
		if err := p.setLocale(w, r, l); err != nil {
			return err
		}
	}
	switch t := f.Get("theme"); t {
	case "":
	case "light", "dark":
		p.kit.SetCookie(w, page.CookieTheme, t, year)
	case "auto":
		p.kit.ClearCookie(w, page.CookieTheme)
	default:
		return request.ErrMalformed
	}
	to := prove.LocalPath(f.Get("return_to"))
	if to == "" {
		to = "/"
	}
	p.kit.SeeOther(w, r, to)
	return nil
}
