package console

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// userPages are the templates of the users.
type userPages struct {
	list      page.Page[listPage]
	create    page.Page[createPage]
	detail    page.Page[detailPage]
	sessions  page.Page[detailPage]
	methods   page.Page[detailPage]
	activity  page.Page[activityPage]
	edit      page.Page[editPage]
	role      page.Page[rolePage]
	signIn    page.Page[signInPage]
	ask       page.Page[askPage]
	selection page.Page[selectionPage]
	unbind    page.Page[unbindPage]
	phone     page.Page[phonePage]
	shown     page.Page[shownPage]
}

func newUserPages(k *page.Kit) userPages {
	return userPages{
		list:      newPage[listPage](k, "users"),
		create:    newPage[createPage](k, "usersnew"),
		detail:    newPage[detailPage](k, "usersdetail"),
		methods:   newPage[detailPage](k, "usersauthentication"),
		sessions:  newPage[detailPage](k, "userssessions"),
		activity:  newPage[activityPage](k, "usersactivity"),
		edit:      newPage[editPage](k, "usersedit"),
		role:      newPage[rolePage](k, "usersrole"),
		signIn:    newPage[signInPage](k, "userssignin"),
		ask:       newPage[askPage](k, "usersask"),
		selection: newPage[selectionPage](k, "usersselection"),
		unbind:    newPage[unbindPage](k, "usersunbind"),
		phone:     newPage[phonePage](k, "usersphone"),
		shown:     newPage[shownPage](k, "usersshown"),
	}
}

func (p *Pages) mountUsers(t *request.Router) {
	read := func(pattern string, h page.SignedHandlerFunc) { t.Handle(pattern, p.kit.For(page.Auditors, "", h)) }
	form := func(pattern string, h page.SignedHandlerFunc) {
		t.Handle(pattern, p.kit.For(page.Administrators, "", h))
	}
	post := func(pattern string, h postFunc, several ...string) {
		p.post(t, pattern, policy.ManageUsers, h, several...)
	}
	read("GET /console/users", p.showList)
	t.Handle("GET /console/users/selection", p.kit.For(page.Auditors, "", func(w http.ResponseWriter, r *http.Request, _ prove.Signed) error {
		p.kit.SeeOther(w, r, "/console/users") // what was chosen is chosen there
		return nil
	}))
	t.Handle("POST /console/users.csv", p.kit.For(page.Auditors, policy.ManageUsers, p.export))
	form("GET /console/users/new", p.showCreate)
	post("POST /console/users/new", p.submitCreate)
	p.post(t, "POST /console/users/selection", "", p.submitSelection, "user") // asks; what follows is gated
	post("POST /console/users/selection/confirm", p.confirmSelection, "user")
	read("GET /console/users/{id}", p.showDetail)
	read("GET /console/users/{id}/authentication", p.showMethods)
	read("GET /console/users/{id}/sessions", p.showSessions)
	read("GET /console/users/{id}/activity", p.showActivity)
	form("GET /console/users/{id}/edit", p.showEdit)
	post("POST /console/users/{id}/edit", p.submitEdit)
	form("GET /console/users/{id}/role", p.showRole)
	post("POST /console/users/{id}/role", p.submitRole)
	form("GET /console/users/{id}/signin", p.showSignIn)
	post("POST /console/users/{id}/signin", p.submitSignIn)
	for path := range asks {
		form("GET /console/users/{id}/"+path, p.showAsk(path))
		post("POST /console/users/{id}/"+path, p.submitAsk(path))
	}
	form("GET /console/users/{id}/unbind", p.showUnbind)
	post("POST /console/users/{id}/unbind", p.submitUnbind)
	form("GET /console/users/{id}/phone", p.showPhone)
	post("POST /console/users/{id}/phone", p.submitPhone)
	form("GET /console/users/{id}/ticket", p.showTicket)
	post("POST /console/users/{id}/ticket", p.submitTicket)
	form("GET /console/shown", p.showShown)
	p.post(t, "POST /console/shown/done", "", p.shownDone)
}

// userPath is where a user's pages begin.
func userPath(id account.IdentityID) string { return "/console/users/" + string(id) }

// A state is a word with the colour that goes with it.
type state struct{ Key, Class string }

// signInState says whether a user can sign in to the console.
func signInState(u store.User, now time.Time) state {
	switch pr := u.Profile; {
	case pr.State == account.ProfileIdle:
		return state{"user.state.idle", "pill-warn"}
	case pr.State == account.ProfileInactive:
		return state{"user.state.inactive", ""}
	case !pr.Enabled():
		return state{"user.state.none", ""}
	case !pr.InitialUntil.IsZero() && !now.Before(pr.InitialUntil):
		return state{"user.state.expired", "pill-warn"}
	case u.LastSignInAt.IsZero():
		return state{"user.state.waiting", "pill-on"}
	}
	return state{"user.state.active", "pill-on"}
}

// Ago says how long ago an instant was, as people do.
func (b base) Ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return b.T("ago.never")
	case d < time.Minute:
		return b.T("ago.now")
	case d < time.Hour:
		return b.T("ago.minutes", "Count", int(d/time.Minute))
	case d < 48*time.Hour:
		return b.T("ago.hours", "Count", int(d/time.Hour))
	case d < 60*24*time.Hour:
		return b.T("ago.days", "Count", int(d/(24*time.Hour)))
	case d < 2*365*24*time.Hour:
		return b.T("ago.months", "Count", int(d/(30*24*time.Hour)))
	}
	return b.T("ago.years", "Count", int(d/(365*24*time.Hour)))
}

// thousands writes a number with its thousands apart.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// refuse shows a form again with what is wrong with it; other refusals have a
// page of their own.
func (p *Pages) refuse(w http.ResponseWriter, r *http.Request, b *base, err error) (status int, ok bool) {
	if errors.Is(err, prove.ErrVerifyFirst) {
		return 0, false
	}
	return p.kit.Refuse(w, r, &b.Base, err)
}

// one is the only value that a choice in a query may take, or none.
func one(value string, of ...string) string {
	if slices.Contains(of, value) {
		return value
	}
	return ""
}
