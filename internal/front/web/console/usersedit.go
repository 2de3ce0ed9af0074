package console

import (
	"net/http"
	"net/url"

	"countersign/internal/domain/account"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/prove"
)

type editPage struct {
	userHead
	User admin.NewUser
}

func (p *Pages) showEdit(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	h, err := p.headToAct(w, r, s, r.PathValue("id"), "overview")
	if err != nil {
		return err
	}
	return p.users.edit.Render(w, r, http.StatusOK, editPage{h, admin.NewUser{Name: h.D.UserName, DisplayName: h.D.DisplayName, Email: h.D.Email, Comments: h.D.Comments}})
}

func (p *Pages) submitEdit(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	h, err := p.headToAct(w, r, s, f.Get("id"), "overview")
	if err != nil {
		return err
	}
	u := admin.NewUser{Name: f.Get("name"), DisplayName: f.Get("display_name"), Email: f.Get("email"), Comments: f.Get("comments")}
	if err = p.flow.Edit(r.Context(), p.kit.Visitor(r), s, h.D.ID, u); err == nil {
		p.kit.Done(w, r, userPath(h.D.ID), "user_changed")
		return nil
	}
	h.Base.Path += "/edit"
	status, ok := p.refuse(w, r, &h.base, err)
	if !ok {
		return act(admin.EditUser(h.D), err)
	}
	return p.users.edit.Render(w, r, status, editPage{h, u})
}

type rolePage struct {
	userHead
	Roles  []account.Role
	Chosen string
}

func (p *Pages) showRole(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	h, err := p.headToAct(w, r, s, r.PathValue("id"), "overview")
	if err != nil {
		return err
	}
	return p.users.role.Render(w, r, http.StatusOK, rolePage{h, roles(s), string(h.D.Role)})
}

func (p *Pages) submitRole(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	h, err := p.headToAct(w, r, s, f.Get("id"), "overview")
	if err != nil {
		return err
	}
	role, err := account.ParseRole(f.Get("role"))
	if err == nil {
		err = act(admin.SetUserRole(h.D), p.flow.SetRole(r.Context(), p.kit.Visitor(r), s, h.D.ID, role))
	}
	if err == nil {
		p.kit.Done(w, r, userPath(h.D.ID), "user_role")
		return nil
	}
	h.Base.Path += "/role"
	status, ok := p.refuse(w, r, &h.base, err)
	if !ok {
		return err
	}
	return p.users.role.Render(w, r, status, rolePage{h, roles(s), f.Get("role")})
}

type signInPage struct {
	userHead
	Password    string // what becomes of it: keep, generate, custom
	Keep        bool   // there is one to keep
	Reset       bool
	MFARequired bool
	Again       bool // the password typed before the verification must be typed again
	Policy      account.PasswordPolicy
	Hours       int // that a generated password waits
}

func (p *Pages) signInPage(h userHead) signInPage {
	pr := h.D.Profile
	data := signInPage{userHead: h, Password: "keep", Keep: pr.State != account.NoProfile, Reset: pr.PasswordReset, MFARequired: pr.MFARequired, Policy: h.D.Settings.Password, Hours: int(account.InitialLifetime.Hours())}
	if !data.Keep {
		data.Password, data.Reset, data.MFARequired = "generate", true, true
	}
	return data
}

func (p *Pages) showSignIn(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	h, err := p.headToAct(w, r, s, r.PathValue("id"), "authentication")
	if err != nil {
		return err
	}
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	data := p.signInPage(h)
	if way := one(q.Get("password"), "generate", "custom"); way != "" {
		data.Password = way
	}
	return p.users.signIn.Render(w, r, http.StatusOK, data)
}

func (p *Pages) submitSignIn(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	h, err := p.headToAct(w, r, s, f.Get("id"), "authentication")
	if err != nil {
		return err
	}
	data := p.signInPage(h)
	data.Base.Path += "/signin"
	data.Password, data.Reset, data.MFARequired = one(f.Get("way"), "keep", "generate", "custom"), f.Has("reset"), f.Has("mfa_required")
	if f.Has("again") { // verified by now; the password was not kept
		data.Again = true
		return p.users.signIn.Render(w, r, http.StatusOK, data)
	}
	c := admin.ProfileChange{Enable: true, Generate: data.Password == "generate", Reset: data.Reset, MFARequired: data.MFARequired}
	action := admin.UserSignIn(h.D)
	if data.Password == "custom" {
		if c.Password = f.Get("new_password"); c.Password == "" {
			err = account.ErrPasswordMissing
		}
	}
	if c.Generate || c.Password != "" {
		action = admin.SetUserPassword(h.D)
	}
	shown := ""
	if err == nil {
		shown, err = p.flow.SetSignIn(r.Context(), p.kit.Visitor(r), s, h.D.ID, c)
	}
	switch {
	case err != nil:
		status, ok := p.refuse(w, r, &data.base, err)
		if !ok {
			return act(action, err)
		}
		return p.users.signIn.Render(w, r, status, data)
	case shown != "":
		p.kit.SeeOther(w, r, "/console/shown?c="+url.QueryEscape(shown))
	default:
		p.kit.Done(w, r, userPath(h.D.ID)+"/authentication", "user_signin")
	}
	return nil
}
