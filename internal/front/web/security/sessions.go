package security

import (
	"net/http"
	"net/url"

	"countersign/internal/domain/message"
	"countersign/internal/domain/session"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

type sessionsPage struct {
	page.Base
	Sessions []sessionRow
}

type sessionRow struct {
	session.Session
	Browser string
	This    bool
}

func (p *Pages) showSessions(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	list, err := p.flow.Sessions(r.Context(), s)
	if err != nil {
		return err
	}
	data := sessionsPage{Base: p.kit.SignedBase(w, r, s)}
	data.Wide = true
	for _, one := range list {
		row := sessionRow{one, message.Browser(data.L, one.UserAgent), one.ID == s.Session.ID}
		if row.This {
			data.Sessions = append([]sessionRow{row}, data.Sessions...)
		} else {
			data.Sessions = append(data.Sessions, row)
		}
	}
	return p.sessions.Render(w, r, http.StatusOK, data)
}

func (p *Pages) endSession(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	return p.end(w, r, s, f.Get("session"), true)
}

func (p *Pages) endOthers(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	return p.end(w, r, s, "", false)
}

func (p *Pages) resumeEnd(w http.ResponseWriter, r *http.Request, s prove.Signed, query request.Form) error {
	return p.end(w, r, s, query.Get("end"), query.Has("end"))
}

// end ends one session, else all others.
func (p *Pages) end(w http.ResponseWriter, r *http.Request, s prove.Signed, id string, one bool) error {
	returnTo, done := "/security/sessions", "sessions_ended"
	var err error
	if one {
		returnTo, done = returnTo+"?end="+url.QueryEscape(id), "session_ended"
		err = p.flow.EndSession(r.Context(), p.kit.Visitor(r), s, id)
	} else {
		_, err = p.flow.EndOtherSessions(r.Context(), p.kit.Visitor(r), s)
	}
	if err != nil {
		return p.act(w, r, s, selfservice.EndSessions, err, returnTo)
	}
	p.kit.Done(w, r, "/security/sessions", done)
	return nil
}
