package signin

import (
	"net/http"
	"net/url"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/flow/reset"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/secret"
)

// cookieLink holds the token of the link in the mail, so that no later address
// has it.
const cookieLink = "reset"

// resetPage says what the link in the mail leads to; going on is a button, as
// programs open links too.
type resetPage struct {
	page.Base
	Who string // masked
}

// resetPasswordPage asks for the new password.
type resetPasswordPage struct {
	page.Base
	Who, Ceremony string
	Min           int
	Rules         []string // sentences of the account's policy
}

// follow keeps the token of a link in a cookie, and leads to an address
// without it.
func (p *resetPages) follow(w http.ResponseWriter, r *http.Request) error {
	token, err := secret.ParseToken(r.PathValue("token"))
	if err != nil {
		return p.gone(w, r, reset.ErrGone)
	}
	if _, err := p.flow.Look(r.Context(), token); err != nil {
		return p.gone(w, r, err)
	}
	p.kit.SetCookie(w, cookieLink, token.Reveal(), reset.LinkLifetime)
	p.kit.SeeOther(w, r, "/reset")
	return nil
}

// gone leads whoever has a link that is over to a new one.
func (p *resetPages) gone(w http.ResponseWriter, r *http.Request, err error) error {
	if fault.From(err).Kind != fault.Expired {
		return err
	}
	b := p.kit.Base(w, r)
	b.Problem = &page.Problem{Text: b.L.Fault(fault.From(err))}
	return p.renderForgot(w, r, request.Status(err), b, request.Form{}, false)
}

// link is the token of the link that this browser has followed.
func (p *resetPages) link(r *http.Request) (secret.Token, error) {
	token, err := secret.ParseToken(p.kit.Cookie(r, cookieLink))
	if err != nil {
		err = reset.ErrGone
	}
	return token, err
}

func (p *resetPages) showBegin(w http.ResponseWriter, r *http.Request) error {
	return p.renderBegin(w, r, http.StatusOK, p.kit.Base(w, r))
}

func (p *resetPages) renderBegin(w http.ResponseWriter, r *http.Request, status int, b page.Base) error {
	token, err := p.link(r)
	var who string
	if err == nil {
		who, err = p.flow.Look(r.Context(), token)
	}
	if err != nil {
		return p.gone(w, r, err)
	}
	return p.begin.Render(w, r, status, resetPage{b, who})
}

func (p *resetPages) submitBegin(w http.ResponseWriter, r *http.Request) error {
	if _, stale := p.kit.Form(w, r); stale != nil {
		b := p.kit.Base(w, r)
		status, ok := p.kit.Refuse(w, r, &b, stale)
		if _, err := p.link(r); !ok || err != nil { // of no reset: the form is what is wrong first
			return stale
		}
		return p.renderBegin(w, r, status, b)
	}
	token, err := p.link(r)
	var progress reset.Progress
	if err == nil {
		progress, err = p.flow.Begin(r.Context(), p.kit.Visitor(r), token)
	}
	if err != nil {
		return p.gone(w, r, err)
	}
	p.kit.SetCeremony(w, r, ceremony.Reset, progress.Ceremony, progress.Token, ceremony.SessionLifetime)
	p.goOn(w, r, progress)
	return nil
}

// stepOf is the page of the step that a reset stands at.
func (p *resetPages) stepOf(progress reset.Progress) string {
	path := "/reset/verify"
	if progress.Step == policy.NewPassword {
		path = "/reset/password"
	}
	return path + "?c=" + url.QueryEscape(progress.Ceremony)
}

func (p *resetPages) goOn(w http.ResponseWriter, r *http.Request, progress reset.Progress) {
	p.kit.SeeOther(w, r, p.stepOf(progress))
}

// ceremony finds the reset that a request belongs to.
func (p *resetPages) ceremony(r *http.Request, id string) (string, secret.Token, error) {
	id, token := p.kit.Ceremony(r, ceremony.Reset, id)
	if token.IsZero() {
		return id, token, reset.ErrGone
	}
	return id, token, nil
}

// over leads back to the link when the reset is over, and the link may not be.
func (p *resetPages) over(w http.ResponseWriter, r *http.Request, id string, err error) error {
	f := fault.From(err)
	if f.Kind != fault.Expired {
		return err
	}
	if id != "" {
		p.kit.ClearCeremony(w, ceremony.Reset, id)
	}
	if token, gone := p.link(r); gone == nil && !f.Is(reset.ErrGone) {
		if _, gone = p.flow.Look(r.Context(), token); gone == nil {
			b := p.kit.Base(w, r)
			b.Path, b.Problem = "/reset", &page.Problem{Text: b.L.Fault(f)}
			return p.renderBegin(w, r, request.Status(err), b)
		}
	}
	return p.gone(w, r, err)
}

// underWay shows a page of the reset that the query names.
func (p *resetPages) underWay(show func(w http.ResponseWriter, r *http.Request, q request.Form, progress reset.Progress) error) page.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := request.ReadQuery(r)
		if err != nil {
			return err
		}
		id, token, err := p.ceremony(r, q.Get("c"))
		var progress reset.Progress
		if err == nil {
			progress, err = p.flow.State(r.Context(), p.kit.Visitor(r), token)
		}
		if err != nil {
			return p.over(w, r, id, err)
		}
		if (progress.Step == policy.NewPassword) != (r.URL.Path == "/reset/password") {
			p.goOn(w, r, progress)
			return nil
		}
		return show(w, r, q, progress)
	}
}

func (p *resetPages) askPage(b page.Base, progress reset.Progress) page.Proof {
	return page.Proof{Base: b, Title: "reset.verify.title", Who: progress.Name, Reason: "reset.verify.why", Action: "/reset/verify", Ceremony: progress.Ceremony, Cancel: "/signin"}
}

func (p *resetPages) showVerify(w http.ResponseWriter, r *http.Request, q request.Form, progress reset.Progress) error {
	ask := p.askPage(p.kit.Base(w, r), progress)
	ask.Drifted = q.Get("drifted") != ""
	return p.proofs.Ask(w, r, http.StatusOK, ask, progress.Asked, q.Get("method"))
}

func (p *resetPages) showMethods(w http.ResponseWriter, r *http.Request, _ request.Form, progress reset.Progress) error {
	return p.proofs.Choose(w, r, page.Methods{Base: p.kit.Base(w, r), Who: progress.Name, Action: "/reset/verify", Ceremony: progress.Ceremony, Choices: progress.Offers, Cancel: "/signin"})
}

// act runs what a form of the reset asks for.
func (p *resetPages) act(w http.ResponseWriter, r *http.Request, do func(f request.Form, id string, token secret.Token) error) error {
	f, stale := p.kit.Form(w, r)
	id, token, err := p.ceremony(r, f.Get("c"))
	if err != nil {
		if stale != nil {
			return stale
		}
		return p.over(w, r, id, err)
	}
	refusal := stale
	if refusal == nil {
		if refusal = do(f, id, token); refusal == nil {
			return nil
		}
	}
	progress, err := p.flow.State(r.Context(), p.kit.Visitor(r), token)
	if err != nil {
		return p.over(w, r, id, err)
	}
	if fault.From(refusal).Is(reset.ErrStep) { // it stands elsewhere by now
		p.goOn(w, r, progress)
		return nil
	}
	b := p.kit.Base(w, r)
	b.Path = p.stepOf(progress)
	status, ok := p.kit.Refuse(w, r, &b, refusal)
	if !ok {
		return p.over(w, r, id, refusal)
	}
	if progress.Step == policy.NewPassword {
		return p.renderPassword(w, r, status, b, progress)
	}
	ask := p.askPage(b, progress)
	ask.Drifted = f.Get("code2") != ""
	return p.proofs.Ask(w, r, status, ask, progress.Asked, f.Get("method"))
}

func (p *resetPages) submitVerify(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, func(f request.Form, _ string, token secret.Token) error {
		progress, err := p.flow.Answer(r.Context(), p.kit.Visitor(r), token, page.AnswerOf(f))
		if err == nil {
			p.goOn(w, r, progress)
		}
		return err
	})
}

func (p *resetPages) send(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, func(f request.Form, id string, token secret.Token) error {
		m := page.AnswerOf(f).Method
		err := p.flow.Send(r.Context(), p.kit.Visitor(r), token, m)
		if err == nil {
			p.kit.SeeOther(w, r, "/reset/verify?c="+url.QueryEscape(id)+"&method="+url.QueryEscape(string(m)))
		}
		return err
	})
}

func (p *resetPages) showPassword(w http.ResponseWriter, r *http.Request, _ request.Form, progress reset.Progress) error {
	return p.renderPassword(w, r, http.StatusOK, p.kit.Base(w, r), progress)
}

func (p *resetPages) renderPassword(w http.ResponseWriter, r *http.Request, status int, b page.Base, progress reset.Progress) error {
	data := resetPasswordPage{Base: b, Who: progress.Name, Ceremony: progress.Ceremony}
	data.Min, data.Rules = passwordRules(b, progress.Facts)
	return p.password.Render(w, r, status, data)
}

// passwordRules are what a new password must be: for a RAM user what its
// account asks beside the length.
func passwordRules(b page.Base, facts policy.Facts) (shortest int, rules []string) {
	shortest = account.PasswordMin(facts.MFA())
	if facts.Role == account.Owner {
		return shortest, nil
	}
	for _, rule := range facts.Settings.Password.Rules() {
		rules = append(rules, b.T("password.rule."+rule.Key, "Count", rule.Count))
	}
	return max(shortest, facts.Settings.Password.MinimumLength), rules
}

func (p *resetPages) submitPassword(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, func(f request.Form, id string, token secret.Token) error {
		domain, err := p.flow.SetPassword(r.Context(), p.kit.Visitor(r), token, f.Get("new_password"))
		if err != nil {
			return err
		}
		p.kit.ClearCeremony(w, ceremony.Reset, id)
		p.kit.ClearCookie(w, cookieLink)
		p.kit.Done(w, r, doorOf(domain), "password_reset")
		return nil
	})
}
