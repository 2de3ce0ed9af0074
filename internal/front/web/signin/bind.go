package signin

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	flow "countersign/internal/flow/signin"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/secret"
)

// choosePage begins the wizard: what can be bound, and what each takes.
type choosePage struct {
	page.Base
	Who, NotYou, Ceremony string
	Kinds                 []factor.Method
	Second, Lost, Anew    bool
	User                  bool   // of an account that has administrators
	Administrators        string // how to reach those of the account; may be empty
	Part                  page.Part
}

// passwordPage asks for a password of the user's own.
type passwordPage struct {
	page.Base
	Who, NotYou, Ceremony string
	Min                   int
	Rules                 []string // sentences of the account's policy
	Expired               bool     // else it was set by an administrator, or elsewhere
	Distrusted            bool     // somebody else may know the one before
}

// doorOf is where the RAM users of a domain sign in; of none: the owners.
func doorOf(domain string) string {
	if domain == "" {
		return "/signin"
	}
	return "/signin/ram/" + url.PathEscape(domain)
}

// refuseDoor is Refuse for a door, which also shows the reasons why somebody
// with the right password may not come in.
func (p *Pages) refuseDoor(w http.ResponseWriter, r *http.Request, b *page.Base, refusal error) (status int, ok bool) {
	if f := fault.From(refusal); f.Kind == fault.Forbidden && f.Code != request.ErrCrossSite.Code && f.Code != request.ErrFormStale.Code {
		b.Problem = &page.Problem{Text: b.L.Fault(f), Code: f.Code}
		return request.Status(refusal), true
	}
	return p.kit.Refuse(w, r, b, refusal)
}

func (p *Pages) showBind(w http.ResponseWriter, r *http.Request, q request.Form, progress flow.Progress) error {
	return p.renderBind(w, r, http.StatusOK, p.kit.Base(w, r), progress, factor.Method(q.Get("method")), q.Has("number"), request.Form{})
}

// renderBind shows the choice, or what is to be done for the method chosen:
// the address says which, so that the browser's own way back works.
func (p *Pages) renderBind(w http.ResponseWriter, r *http.Request, status int, b page.Base, progress flow.Progress, m factor.Method, number bool, typed request.Form) error {
	s := progress.Setup
	choice := "/signin/bind?c=" + url.QueryEscape(progress.Ceremony)
	cancel := doorOf(progress.Domain)
	here := choice + "&method=" + url.QueryEscape(string(m))
	if !slices.Contains(s.Kinds, m) || (m == factor.VirtualMFA && s.Key.Key == "") {
		b.Path = choice
		return p.choose.Render(w, r, status, choosePage{Base: b, Who: progress.Name, NotYou: cancel, Ceremony: progress.Ceremony, Kinds: s.Kinds, Second: s.Second, Lost: s.Lost, Anew: s.Anew, User: progress.Domain != "", Administrators: s.Facts.Settings.Contact, Part: page.Part{Step: 1, Of: 3}})
	}
	b.Path = here
	step := page.Part{Step: 2, Of: 3}
	if m == factor.Passkey {
		b.Passkeys = true
		return p.passkey.Render(w, r, status, passkeyPage{Base: b, Who: progress.Name, NotYou: cancel, Ceremony: progress.Ceremony, Another: choice, Options: s.Passkey, Part: step})
	}
	if m == factor.VirtualMFA {
		data := page.KeyPage{Base: b, Binding: s.Key, DeviceName: typed.Get("name"), One: true, Action: "/signin/bind/device", Another: choice, Who: progress.Name, Cancel: cancel, Part: step}
		data.Help = b.Problem != nil && (b.Problem.Code == factor.ErrCodeWrong.Code || b.Problem.Code == factor.ErrCodeStale.Code)
		data.Two = s.Wrong >= 3 || typed.Has("code2")
		return p.enrol.Key(w, r, status, data)
	}
	if s.Phone == "" || number {
		data := page.PhonePage{Base: b, Action: "/signin/bind/phone", Ceremony: progress.Ceremony, Another: choice, Who: progress.Name, Cancel: cancel, Country: typed.Get("country"), Phone: typed.Get("phone"), Part: step}
		if data.Phone == "" && s.Phone != "" {
			data.Country, data.Phone = s.Country, s.Phone.International()
		}
		return p.enrol.Phone(w, r, status, data)
	}
	return p.enrol.Confirm(w, r, status, page.ConfirmPage{Base: b, Action: "/signin/bind/code", Ceremony: progress.Ceremony, Who: progress.Name, Cancel: cancel, Change: here + "&number=1", Kind: string(factor.SMS), Destination: s.Phone.International(),
		Digits: s.Digits, Resend: seconds(s.Resend), Valid: s.Valid, Sent: s.Sent, Failed: s.Failed, Delayed: s.Delayed, Part: step})
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// stepAgain shows the step that a sign-in stands at, with the reason of a
// refusal in b.
func (p *Pages) stepAgain(w http.ResponseWriter, r *http.Request, status int, b page.Base, progress flow.Progress, typed request.Form) error {
	switch progress.Step {
	case policy.Bind:
		return p.renderBind(w, r, status, b, progress, factor.Method(typed.Get("method")), typed.Has("phone"), typed)
	case policy.NewPassword:
		return p.renderPassword(w, r, status, b, progress)
	}
	return p.proofs.Ask(w, r, status, p.askPage(b, progress), progress.Asked, "")
}

// act runs a step of the wizard that a form of the page asks for.
func (p *Pages) act(w http.ResponseWriter, r *http.Request, m factor.Method, do func(f request.Form, token secret.Token) (flow.Progress, bool, error)) error {
	f, stale := p.kit.Form(w, r)
	id, token, err := p.ceremony(r, f.Get("c"))
	if err != nil {
		if stale != nil {
			return stale
		}
		return p.startAgain(w, r, id, err)
	}
	refusal := stale
	if refusal == nil {
		progress, over, err := do(f, token)
		if err == nil && over {
			p.goOn(w, r, progress)
			return nil
		}
		if err == nil {
			p.kit.SeeOther(w, r, "/signin/bind?c="+url.QueryEscape(id)+"&method="+url.QueryEscape(string(m)))
			return nil
		}
		refusal = err
	}
	progress, err := p.flow.State(r.Context(), p.kit.Visitor(r), token)
	if err != nil {
		return p.startAgain(w, r, id, err)
	}
	if !p.shows(stepPaths[policy.Bind], progress.Step) && m != "" || fault.From(refusal).Is(flow.ErrNotChosen) {
		p.kit.SeeOther(w, r, stepPath(progress)) // it stands elsewhere by now
		return nil
	}
	b := p.kit.Base(w, r)
	status, ok := p.kit.Refuse(w, r, &b, refusal)
	if !ok {
		return p.startAgain(w, r, id, refusal)
	}
	if m == "" {
		return p.stepAgain(w, r, status, b, progress, f)
	}
	return p.renderBind(w, r, status, b, progress, m, f.Has("phone"), f)
}

func (p *Pages) submitBind(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	id, token, err := p.ceremony(r, f.Get("c"))
	if err != nil {
		return p.startAgain(w, r, id, err)
	}
	m := factor.Method(f.Get("method"))
	err = p.flow.Choose(r.Context(), p.kit.Visitor(r), token, m)
	switch {
	case fault.From(err).Is(flow.ErrNotChosen):
		p.kit.SeeOther(w, r, "/signin/verify?c="+url.QueryEscape(id)) // it stands elsewhere by now
		return nil
	case err != nil:
		return p.startAgain(w, r, id, err)
	}
	p.kit.SeeOther(w, r, "/signin/bind?c="+url.QueryEscape(id)+"&method="+url.QueryEscape(string(m)))
	return nil
}

func (p *Pages) submitDevice(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, factor.VirtualMFA, func(f request.Form, token secret.Token) (flow.Progress, bool, error) {
		progress, err := p.flow.BindDevice(r.Context(), p.kit.Visitor(r), token, f.Get("name"), f.Get("code"), f.Get("code2"))
		return progress, true, err
	})
}

func (p *Pages) submitNumber(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, factor.SMS, func(f request.Form, token secret.Token) (flow.Progress, bool, error) {
		return flow.Progress{}, false, p.flow.BindNumber(r.Context(), p.kit.Visitor(r), token, f.Get("country"), f.Get("phone"))
	})
}

func (p *Pages) sendCode(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, factor.SMS, func(_ request.Form, token secret.Token) (flow.Progress, bool, error) {
		return flow.Progress{}, false, p.flow.SendBind(r.Context(), p.kit.Visitor(r), token)
	})
}

func (p *Pages) submitCode(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, factor.SMS, func(f request.Form, token secret.Token) (flow.Progress, bool, error) {
		progress, err := p.flow.BindCode(r.Context(), p.kit.Visitor(r), token, f.Get("code"))
		return progress, true, err
	})
}

func (p *Pages) showPassword(w http.ResponseWriter, r *http.Request, _ request.Form, progress flow.Progress) error {
	return p.renderPassword(w, r, http.StatusOK, p.kit.Base(w, r), progress)
}

func (p *Pages) renderPassword(w http.ResponseWriter, r *http.Request, status int, b page.Base, progress flow.Progress) error {
	facts := progress.Setup.Facts
	b.Path = "/signin/password?c=" + url.QueryEscape(progress.Ceremony)
	data := passwordPage{Base: b, Who: progress.Name, NotYou: doorOf(progress.Domain), Ceremony: progress.Ceremony, Expired: !facts.Profile.PasswordReset, Distrusted: facts.Distrusted}
	data.Min, data.Rules = passwordRules(b, facts)
	return p.password.Render(w, r, status, data)
}

func (p *Pages) submitPassword(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, "", func(f request.Form, token secret.Token) (flow.Progress, bool, error) {
		progress, err := p.flow.SetPassword(r.Context(), p.kit.Visitor(r), token, f.Get("new_password"))
		return progress, true, err
	})
}
