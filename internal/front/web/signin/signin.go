// Package signin is the pages for people who are not signed in yet.
package signin

import (
	"embed"
	"net/http"
	"net/url"
	"time"

	"countersign/internal/domain/ceremony"
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
var templates embed.FS

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

	// KeepLocale keeps the language of messages to someone signed in.
	KeepLocale func(r *http.Request, s prove.Signed, tag string) error
}

type signInPage struct {
	page.Base
	Username, ReturnTo string
	SignUp             bool
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
	}
}

// Mount routes the pages.
func (p *Pages) Mount(t *request.Router) {
	k := p.kit
	t.Handle("GET /{$}", k.Handle(p.home))
	t.Handle("GET /signin", k.Handle(p.showSignIn))
	t.Handle("POST /signin", k.Handle(p.submitSignIn))
	t.Handle("GET /signin/verify", k.Handle(p.underWay(p.showVerify)))
	t.Handle("POST /signin/verify", k.Handle(p.submitVerify))
	t.Handle("POST /signin/verify/send", k.Handle(p.send))
	t.Handle("GET /signin/methods", k.Handle(p.underWay(p.showMethods)))
	t.Handle("POST /signout", k.Handle(p.signOut))
	t.Handle("GET /signedout", k.Handle(p.showSignedOut))
	t.Handle("GET /setup/{token}", k.Handle(p.showSetup))
	t.Handle("POST /setup/{token}", k.Handle(p.submitSetup))
	t.Handle("GET /signup", k.Handle(p.showSignUp))
	t.Handle("POST /signup", k.Handle(p.submitSignUp))
	t.Handle("GET /signup/verify", k.Handle(p.showConfirm))
	t.Handle("POST /signup/verify", k.Handle(p.submitConfirm))
	t.Handle("POST /signup/send", k.Handle(p.resend))
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
	return p.signIn.Render(w, r, http.StatusOK, signInPage{Base: p.kit.Base(w, r), ReturnTo: flow.LocalPath(q.Get("return_to")), SignUp: p.signup.Open})
}

func (p *Pages) submitSignIn(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	var progress flow.Progress
	if err == nil {
		progress, err = p.flow.Begin(r.Context(), p.kit.Visitor(r), f.Get("username"), f.Get("password"), f.Get("return_to"))
	}
	if err != nil {
		data := signInPage{Base: p.kit.Base(w, r), Username: f.Get("username"), ReturnTo: flow.LocalPath(f.Get("return_to")), SignUp: p.signup.Open}
		status, ok := p.kit.Refuse(w, r, &data.Base, err)
		if !ok {
			return err
		}
		return p.signIn.Render(w, r, status, data)
	}
	if progress.Session == nil {
		p.kit.SetCeremony(w, r, ceremony.SignIn, progress.Ceremony, progress.Token, ceremony.Lifetime)
	}
	p.goOn(w, r, progress)
	return nil
}

// goOn sends the browser to what the decision says comes next.
func (p *Pages) goOn(w http.ResponseWriter, r *http.Request, progress flow.Progress) {
	if progress.Session == nil {
		p.kit.SeeOther(w, r, "/signin/verify?c="+url.QueryEscape(progress.Ceremony))
		return
	}
	if old, err := p.kit.Token(r); err == nil {
		// The cookie is about to be replaced: a session that nobody holds must not live on.
		if err := p.flow.SignOut(r.Context(), p.kit.Visitor(r), old); err != nil {
			request.Log(p.kit.Log, r, err)
		}
	}
	p.kit.SetSession(w, progress.Session.Token)
	if progress.Session.Devices != nil {
		p.kit.SetDevices(w, progress.Session.Devices)
	}
	if progress.Ceremony != "" {
		p.kit.ClearCeremony(w, ceremony.SignIn, progress.Ceremony)
	}
	to := progress.ReturnTo
	if to == "" {
		to = "/security"
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
	data := signInPage{Base: p.kit.Base(w, r), SignUp: p.signup.Open}
	data.Path = "/signin"
	data.Problem = &page.Problem{Text: data.L.Fault(fault.From(err))}
	return p.signIn.Render(w, r, request.Status(err), data)
}

func (p *Pages) askPage(b page.Base, progress flow.Progress) page.Proof {
	title := "second.title"
	if progress.Step == policy.ConfirmEmail {
		title = "confirm.title"
	}
	return page.Proof{Base: b, Title: title, Who: progress.Name, NotYou: "/signin", Action: "/signin/verify", Ceremony: progress.Ceremony}
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
		return show(w, r, q, progress)
	}
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
		return p.askAgain(w, r, id, token, f.Get("method"), false, stale)
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
	return p.askAgain(w, r, id, token, string(answer.Method), f.Get("code2") != "", err)
}

// askAgain shows the page that was refused, with the reason.
func (p *Pages) askAgain(w http.ResponseWriter, r *http.Request, id string, token secret.Token, method string, two bool, refusal error) error {
	b := p.kit.Base(w, r)
	b.Path = "/signin/verify?c=" + url.QueryEscape(id)
	status, ok := p.kit.Refuse(w, r, &b, refusal)
	if !ok {
		return p.startAgain(w, r, id, refusal)
	}
	progress, err := p.flow.State(r.Context(), p.kit.Visitor(r), token)
	if err != nil {
		return p.startAgain(w, r, id, err)
	}
	ask := p.askPage(b, progress)
	ask.Drifted = two
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
		return p.askAgain(w, r, id, token, string(answer.Method), false, err)
	}
	p.kit.SeeOther(w, r, "/signin/verify?c="+url.QueryEscape(id)+"&method="+url.QueryEscape(string(answer.Method)))
	return nil
}

func (p *Pages) showMethods(w http.ResponseWriter, r *http.Request, _ request.Form, progress flow.Progress) error {
	return p.proofs.Choose(w, r, page.Methods{Base: p.kit.Base(w, r), Who: progress.Name, NotYou: "/signin", Action: "/signin/verify", Ceremony: progress.Ceremony, Choices: progress.Offers})
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
	to := flow.LocalPath(f.Get("return_to"))
	if to == "" {
		to = "/"
	}
	p.kit.SeeOther(w, r, to)
	return nil
}
