package console

import (
	"net/http"
	"net/url"

	"countersign/internal/domain/account"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/prove"
)

type createPage struct {
	base
	Many        bool
	User        admin.NewUser // of one; of many: what holds for all
	Role        string        // as chosen
	Lines       string
	Roles       []account.Role
	Domain      string // after the @ of the new names
	MFAForAll   bool   // the account asks everybody: the box changes nothing
	Unusual     bool   // the account asks when a sign-in is unusual: whoever has no device cannot begin
	MaxLines    int
	GeneratedIn int // hours that a generated password waits
}

// roles are those that somebody may give: none above the own.
func roles(s prove.Signed) (list []account.Role) {
	for i := len(account.UserRoles) - 1; i >= 0; i-- { // the least first
		if s.Identity.Role.ActsOn(account.UserRoles[i]) {
			list = append(list, account.UserRoles[i])
		}
	}
	return list
}

func (p *Pages) createPage(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) (createPage, error) {
	path := "/console/users/new"
	data := createPage{Many: f.Has("many"), Roles: roles(s), Role: f.Get("role"), Lines: f.Get("users"), MaxLines: admin.LinesMax,
		User:        admin.NewUser{Name: f.Get("name"), DisplayName: f.Get("display_name"), Email: f.Get("email"), Comments: f.Get("comments"), SignIn: f.Has("sign_in"), MFARequired: f.Has("mfa_required")},
		GeneratedIn: int(account.InitialLifetime.Hours())}
	if data.Many {
		path += "?many=1"
	}
	data.base = p.base(w, r, s, path)
	data.Tab = "users"
	names, err := p.flow.Names(r.Context(), s)
	if err != nil {
		return data, err
	}
	settings, err := p.flow.Settings(r.Context(), s)
	if err != nil {
		return data, err
	}
	data.Domain, data.MFAForAll, data.Unusual = names.Account.Alias+"."+names.Suffix, settings.MFAOperation == account.Mandatory, settings.MFAOperation == account.Adaptive
	return data, nil
}

func (p *Pages) showCreate(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	f := request.FormOf(nil).With("sign_in", "1").With("role", string(account.User)).With("mfa_required", "1")
	if q.Has("many") {
		f = f.With("many", "1")
	}
	data, err := p.createPage(w, r, s, f)
	if err != nil {
		return err
	}
	return p.users.create.Render(w, r, http.StatusOK, data)
}

func (p *Pages) submitCreate(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	shown, err := p.createUsers(r, s, f)
	if err == nil {
		p.kit.SeeOther(w, r, "/console/shown?c="+url.QueryEscape(shown))
		return nil
	}
	data, perr := p.createPage(w, r, s, f)
	if perr != nil {
		return perr
	}
	status, ok := p.refuse(w, r, &data.base, err)
	if !ok {
		return err
	}
	return p.users.create.Render(w, r, status, data)
}

func (p *Pages) createUsers(r *http.Request, s prove.Signed, f request.Form) (shown string, err error) {
	role, err := account.ParseRole(f.Get("role"))
	if err != nil {
		return "", err
	}
	u := admin.NewUser{Role: role, SignIn: f.Has("sign_in"), MFARequired: f.Has("mfa_required")}
	var lines []admin.Line
	if f.Has("many") {
		if lines, err = admin.ParseUsers(f.Get("users"), u); err == nil && len(lines) == 0 {
			err = errNoLines
		}
	} else {
		u.Name, u.DisplayName, u.Email, u.Comments = f.Get("name"), f.Get("display_name"), f.Get("email"), f.Get("comments")
		u, err = u.Check()
		lines = []admin.Line{{Number: 1, Text: u.Name, User: u}}
	}
	if err != nil {
		return "", err
	}
	shown, err = p.flow.Create(r.Context(), p.kit.Visitor(r), s, lines)
	if err != nil {
		return "", act(admin.CreateUsers, err)
	}
	return shown, nil
}

var errNoLines = fault.New(fault.Invalid, "users.no_lines").On("users")
