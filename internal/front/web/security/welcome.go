package security

import (
	"net/http"
	"net/url"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// welcomePage ends the first sign-in: what was set up, and a second device of
// a different kind, or later.
type welcomePage struct {
	page.Base
	O       selfservice.Overview
	Second  []factor.Method // kinds that can still be bound
	GoOn    string          // where the person was going
	Part    page.Part
	Managed bool
}

// onward is the local path in the query with which a page leads on.
func onward(q request.Form) string {
	if to := prove.LocalPath(q.Get("return_to")); to != "" {
		return to
	}
	return "/security"
}

func (p *Pages) showWelcome(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	data := welcomePage{Base: p.kit.SignedBase(w, r, s), O: o, GoOn: onward(q), Managed: o.MFAManaged, Part: page.Part{Step: 3, Of: 3}}
	for _, m := range o.Facts.Bindable() {
		if p.flow.Can(m) == nil {
			data.Second = append(data.Second, m)
		}
	}
	return p.welcome.Render(w, r, http.StatusOK, data)
}

// reminderPage says, once a day, until when a device must be bound.
type reminderPage struct {
	page.Base
	Until     time.Time
	GoOn      string
	NoPasskey bool // this server has no name that passkeys work under
}

func (p *Pages) showReminder(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if !o.Facts.Due() {
		p.kit.SeeOther(w, r, onward(q))
		return nil
	}
	return p.reminder.Render(w, r, http.StatusOK, reminderPage{p.kit.SignedBase(w, r, s), o.Facts.Settings.GraceUntil, onward(q), p.flow.Passkeys == nil})
}

// afterCodes is where the page of new codes leads on: to the passkey they came
// with, in the first sign-in to its end, else to the settings.
func afterCodes(f request.Form) string {
	to := prove.LocalPath(f.Get("return_to"))
	if fromPasskey(to) {
		return to
	}
	if to != "" {
		return "/security/welcome?return_to=" + url.QueryEscape(to)
	}
	return "/security"
}
