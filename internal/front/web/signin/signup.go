package signin

import (
	"net/http"
	"net/url"
	"time"

	"countersign/internal/domain/ceremony"
	"countersign/internal/flow/signup"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/locale"
	"countersign/internal/secret"
)

type signUpPage struct {
	page.Base
	Setup         bool
	Action, Email string
}

type confirmPage struct {
	page.Base
	Ceremony, Email string
	Resend          int
}

func (p *Pages) setupToken(r *http.Request) (secret.Token, error) {
	token, err := secret.ParseToken(r.PathValue("token"))
	if err != nil {
		return token, signup.ErrNoLink
	}
	return token, nil
}

func (p *Pages) showSetup(w http.ResponseWriter, r *http.Request) error {
	token, err := p.setupToken(r)
	if err != nil {
		return err
	}
	if err := p.signup.Link(r.Context(), token); err != nil {
		return err
	}
	return p.signUp.Render(w, r, http.StatusOK, signUpPage{Base: p.kit.Base(w, r), Setup: true, Action: r.URL.Path})
}

func (p *Pages) submitSetup(w http.ResponseWriter, r *http.Request) error {
	token, err := p.setupToken(r)
	if err != nil {
		return err
	}
	return p.begin(w, r, token)
}

func (p *Pages) showSignUp(w http.ResponseWriter, r *http.Request) error {
	if !p.signup.Open {
		return signup.ErrClosed
	}
	return p.signUp.Render(w, r, http.StatusOK, signUpPage{Base: p.kit.Base(w, r), Action: "/signup"})
}

func (p *Pages) submitSignUp(w http.ResponseWriter, r *http.Request) error {
	return p.begin(w, r, secret.Token{})
}

func (p *Pages) begin(w http.ResponseWriter, r *http.Request, link secret.Token) error {
	f, err := p.kit.Form(w, r)
	var progress signup.Progress
	if err == nil {
		password := f.Get("password")
		if password == "" {
			password = f.Get("new_password")
		}
		progress, err = p.signup.Begin(r.Context(), p.kit.Visitor(r), link, f.Get("email"), password)
	}
	if err != nil {
		data := signUpPage{Base: p.kit.Base(w, r), Setup: !link.IsZero(), Action: r.URL.Path, Email: f.Get("email")}
		status, ok := p.kit.Refuse(w, r, &data.Base, err)
		if !ok {
			return err
		}
		return p.signUp.Render(w, r, status, data)
	}
	p.kit.SetCeremony(w, r, ceremony.SignUp, progress.Ceremony, progress.Token, progress.ExpiresAt.Sub(p.kit.Now()))
	p.kit.SeeOther(w, r, "/signup/verify?c="+url.QueryEscape(progress.Ceremony))
	return nil
}

func (p *Pages) showConfirm(w http.ResponseWriter, r *http.Request) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	id, token := p.kit.Ceremony(r, ceremony.SignUp, q.Get("c"))
	return p.renderConfirm(w, r, id, token, http.StatusOK, p.kit.Base(w, r))
}

func (p *Pages) renderConfirm(w http.ResponseWriter, r *http.Request, id string, token secret.Token, status int, b page.Base) error {
	if token.IsZero() {
		return ceremony.ErrGone
	}
	progress, err := p.signup.State(r.Context(), token)
	if err != nil {
		return err
	}
	return p.confirm.Render(w, r, status, confirmPage{Base: b, Ceremony: id, Email: progress.Email, Resend: int((progress.Resend + time.Second - 1) / time.Second)})
}

func (p *Pages) submitConfirm(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	id, token := p.kit.Ceremony(r, ceremony.SignUp, f.Get("c"))
	if token.IsZero() {
		return ceremony.ErrGone
	}
	if _, err := p.signup.Confirm(r.Context(), p.kit.Visitor(r), token, f.Get("code")); err != nil {
		return p.confirmAgain(w, r, id, token, err)
	}
	p.kit.ClearCeremony(w, ceremony.SignUp, id)
	p.kit.Done(w, r, "/signin", "account_created")
	return nil
}

func (p *Pages) confirmAgain(w http.ResponseWriter, r *http.Request, id string, token secret.Token, refusal error) error {
	b := p.kit.Base(w, r)
	b.Path = "/signup/verify?c=" + url.QueryEscape(id)
	status, ok := p.kit.Refuse(w, r, &b, refusal)
	if !ok {
		return refusal
	}
	return p.renderConfirm(w, r, id, token, status, b)
}

func (p *Pages) resend(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	id, token := p.kit.Ceremony(r, ceremony.SignUp, f.Get("c"))
	if token.IsZero() {
		return ceremony.ErrGone
	}
	if err := p.signup.Resend(r.Context(), p.kit.Visitor(r), token); err != nil {
		return p.confirmAgain(w, r, id, token, err)
	}
	p.kit.Done(w, r, "/signup/verify?c="+url.QueryEscape(id), "code_sent")
	return nil
}

// setLocale keeps the language of the browser, and of the messages to whoever
// is signed in there.
func (p *Pages) setLocale(w http.ResponseWriter, r *http.Request, tag string) error {
	if locale.Get(tag) == nil {
		return request.ErrMalformed
	}
	p.kit.SetCookie(w, page.CookieLocale, tag, year)
	token, err := p.kit.Token(r)
	if err != nil {
		return nil //nolint:nilerr // nobody is signed in
	}
	s, err := p.kit.Who(r, token)
	if err != nil {
		return nil //nolint:nilerr // nobody is signed in
	}
	return p.KeepLocale(r, s, tag)
}
