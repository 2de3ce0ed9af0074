package console

import (
	"context"
	"net/http"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// An ask is an act on one user that a page asks about first. Its texts begin
// with "ask.KEY".
type ask struct {
	key     string
	section string // the tab to go back to
	done    string // message key of the banner
	danger  bool
	action  func(ids []account.IdentityID, label string) policy.Action
	do      func(f *admin.Flow, r *http.Request, v prove.Visitor, s prove.Signed, id account.IdentityID) error
}

// asks are those acts by the path below the user's.
var asks = map[string]ask{
	"disable": {"disable", "/authentication", "user_disabled", true, admin.DisableUsers, func(f *admin.Flow, r *http.Request, v prove.Visitor, s prove.Signed, id account.IdentityID) error {
		_, err := f.Disable(r.Context(), v, s, only(id))
		return err
	}},
	"clear": {"clear", "/authentication", "user_cleared", true, admin.ClearUsers, func(f *admin.Flow, r *http.Request, v prove.Visitor, s prove.Signed, id account.IdentityID) error {
		_, err := f.Clear(r.Context(), v, s, only(id))
		return err
	}},
	"delete": {"delete", "", "user_deleted", true, admin.DeleteUsers, func(f *admin.Flow, r *http.Request, v prove.Visitor, s prove.Signed, id account.IdentityID) error {
		_, err := f.Delete(r.Context(), v, s, only(id))
		return err
	}},
	"sessions/end": {"end_sessions", "/sessions", "user_sessions", false, admin.EndUserSessions, func(f *admin.Flow, r *http.Request, v prove.Visitor, s prove.Signed, id account.IdentityID) error {
		_, err := f.EndSessions(r.Context(), v, s, only(id))
		return err
	}},
	"devices/forget": {"forget_devices", "/sessions", "user_devices", false, admin.EndUserSessions, func(f *admin.Flow, r *http.Request, v prove.Visitor, s prove.Signed, id account.IdentityID) error {
		return f.ForgetDevices(r.Context(), v, s, id)
	}},
}

// A part is one of the things that an act takes as a whole: a field of the form
// names it.
type part struct {
	field, done string
	do          func(f *admin.Flow, ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, one string) error
}

// parts are those acts that can be done to one thing, by the path of the whole.
var parts = map[string]part{
	"sessions/end":   {"session", "user_session", (*admin.Flow).EndSession},
	"devices/forget": {"device", "user_device", (*admin.Flow).ForgetDevice},
}

func only(id account.IdentityID) []account.IdentityID { return []account.IdentityID{id} }

type askPage struct {
	userHead
	Key, Action, Back string
	Danger            bool
	Text              string
}

func (p *Pages) askPage(h userHead, path string) askPage {
	a := asks[path]
	h.Base.Path += "/" + path
	return askPage{userHead: h, Key: a.key, Action: h.To("/" + path), Back: h.To(a.section), Danger: a.danger,
		Text: h.T("ask."+a.key+".text", "Name", h.D.Name(), "Count", len(h.D.Sessions))}
}

func (p *Pages) showAsk(path string) page.SignedHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
		h, err := p.headToAct(w, r, s, r.PathValue("id"), "")
		if err != nil {
			return err
		}
		return p.users.ask.Render(w, r, http.StatusOK, p.askPage(h, path))
	}
}

func (p *Pages) submitAsk(path string) postFunc {
	a := asks[path]
	return func(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
		h, err := p.headToAct(w, r, s, f.Get("id"), "")
		if err != nil {
			return err
		}
		v, back, done := p.kit.Visitor(r), h.To(a.section), a.done
		if one, ok := parts[path]; ok && f.Get(one.field) != "" {
			err, done = one.do(p.flow, r.Context(), v, s, h.D.ID, f.Get(one.field)), one.done
		} else {
			err = a.do(p.flow, r, v, s, h.D.ID)
		}
		if err != nil {
			data := p.askPage(h, path)
			status, ok := p.refuse(w, r, &data.base, err)
			if !ok {
				return act(a.action(only(h.D.ID), h.D.Name()), err)
			}
			return p.users.ask.Render(w, r, status, data)
		}
		if path == "delete" {
			back = "/console/users"
		}
		p.kit.Done(w, r, back, done)
		return nil
	}
}
