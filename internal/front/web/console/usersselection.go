package console

import (
	"errors"
	"net/http"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/prove"
)

// bulk are the acts on a selection of users; the first ones have a button of
// their own.
var bulk = []string{"require_mfa", "end_sessions", "disable", "not_require_mfa", "clear", "delete"}

// dangerous are those that take something away for good.
var dangerous = map[string]bool{"disable": true, "clear": true, "delete": true}

type selectionPage struct {
	base
	Act      string // one of bulk
	Chosen   []admin.Detail
	LeftOut  []leftOut // whom the viewer may not act on
	Sessions int
	Danger   bool
}

// A leftOut is a user of the selection whom the act does not reach, and the
// message key of why.
type leftOut struct {
	Name, Why string
}

var errBulk = fault.New(fault.Invalid, "users.no_act")

// submitSelection shows what is about to be done to whom.
func (p *Pages) submitSelection(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	data, err := p.selection(w, r, s, f)
	if err != nil {
		return err
	}
	return p.users.selection.Render(w, r, http.StatusOK, data)
}

func (p *Pages) selection(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) (data selectionPage, err error) {
	data = selectionPage{base: p.base(w, r, s, "/console/users"), Act: one(f.Get("action"), bulk...)}
	data.Tab, data.Danger = "users", dangerous[data.Act]
	if data.Act == "" {
		return data, errBulk
	}
	seen := map[string]bool{}
	for _, id := range f.All("user") {
		if seen[id] {
			continue
		}
		if seen[id] = true; len(seen) > admin.SelectionMax {
			return data, admin.ErrTooMany
		}
		d, err := p.flow.User(r.Context(), s, account.IdentityID(id))
		switch {
		case errors.Is(err, admin.ErrNoUser): // deleted meanwhile
		case err != nil:
			return data, err
		case d.Self:
			data.LeftOut = append(data.LeftOut, leftOut{d.Name(), "user.why.self"})
		case !d.MayChange:
			data.LeftOut = append(data.LeftOut, leftOut{d.Name(), "user.why.higher"})
		default:
			data.Chosen = append(data.Chosen, d)
			data.Sessions += len(d.Sessions)
		}
	}
	return data, nil
}

// confirmSelection does it.
func (p *Pages) confirmSelection(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	ids := make([]account.IdentityID, len(f.All("user")))
	for i, id := range f.All("user") {
		ids[i] = account.IdentityID(id)
	}
	action, done, err := p.actOn(r, s, f.Get("action"), ids, p.kit.Locale(r).T("users.selected", "Count", len(ids)))
	if err == nil {
		p.kit.Done(w, r, "/console/users", done)
		return nil
	}
	if errors.Is(err, prove.ErrVerifyFirst) {
		return act(action, err)
	}
	data, serr := p.selection(w, r, s, f)
	if serr != nil {
		return serr
	}
	status, ok := p.refuse(w, r, &data.base, err)
	if !ok {
		return err
	}
	return p.users.selection.Render(w, r, status, data)
}

func (p *Pages) actOn(r *http.Request, s prove.Signed, name string, ids []account.IdentityID, label string) (action policy.Action, done string, err error) {
	ctx, v := r.Context(), p.kit.Visitor(r)
	switch name {
	case "require_mfa", "not_require_mfa":
		_, err = p.flow.RequireMFA(ctx, v, s, ids, name == "require_mfa")
		return admin.RequireUsers(ids, label), "users_" + name, err
	case "end_sessions":
		_, err = p.flow.EndSessions(ctx, v, s, ids)
		return admin.EndUserSessions(ids, label), "users_sessions", err
	case "disable":
		_, err = p.flow.Disable(ctx, v, s, ids)
		return admin.DisableUsers(ids, label), "users_disabled", err
	case "clear":
		_, err = p.flow.Clear(ctx, v, s, ids)
		return admin.ClearUsers(ids, label), "users_cleared", err
	case "delete":
		_, err = p.flow.Delete(ctx, v, s, ids)
		return admin.DeleteUsers(ids, label), "users_deleted", err
	}
	return action, "", errBulk
}
