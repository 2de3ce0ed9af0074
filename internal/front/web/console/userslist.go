package console

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// What the filters of the list offer.
var (
	mfaFilters      = []string{"none", "any", "passkey", "virtual_mfa", "sms", "no_key"}
	activityFilters = []string{"never", "idle30", "idle90", "enabled", "can_sign_in", "disabled", "no_profile", "reenrol", "distrusted", "counter_back", "guessed", "locked_out", "no_codes", "unsaved_codes", "never_used", "stale"}
	sorts           = []string{"name", "created", "last_signin"}
	sizes           = []int{20, 50, 100}
)

// A listQuery is what a list of users is asked for.
type listQuery struct {
	Search, MFA, Activity, Role, Sort string
	Descending                        bool
	Page, Size                        int
}

// parseList reads the query of a list: what makes no sense is as if it were
// not there, so that no link is ever dead.
func parseList(q request.Form) listQuery {
	l := listQuery{Search: strings.TrimSpace(q.Get("q")), MFA: one(q.Get("mfa"), mfaFilters...), Activity: one(q.Get("activity"), activityFilters...), Page: 1, Size: sizes[0]}
	if role, err := account.ParseRole(q.Get("role")); err == nil {
		l.Role = string(role)
	}
	sort, descending := strings.CutPrefix(q.Get("sort"), "-")
	if l.Sort = one(sort, sorts...); l.Sort == "" {
		l.Sort = sorts[0]
	} else {
		l.Descending = descending
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 0 && n < math.MaxInt32 {
		l.Page = n
	}
	for _, size := range sizes {
		if q.Get("size") == strconv.Itoa(size) {
			l.Size = size
		}
	}
	return l
}

func (l listQuery) store(now time.Time) store.UserQuery {
	return store.UserQuery{Search: l.Search, MFA: l.MFA, Activity: l.Activity, Role: account.Role(l.Role), Sort: l.Sort, Descending: l.Descending, Limit: l.Size, Now: now}
}

// Filtered reports whether not all users are asked for.
func (l listQuery) Filtered() bool { return l.Search+l.MFA+l.Activity+l.Role != "" }

// Order is the sort as links and forms have it.
func (l listQuery) Order() string {
	if l.Descending {
		return "-" + l.Sort
	}
	return l.Sort
}

// Values are the query as a link has it, without what is so anyway.
func (l listQuery) values() url.Values {
	v := url.Values{}
	set := func(name, value, usual string) {
		if value != usual {
			v.Set(name, value)
		}
	}
	set("q", l.Search, "")
	set("mfa", l.MFA, "")
	set("activity", l.Activity, "")
	set("role", l.Role, "")
	set("sort", l.Order(), sorts[0])
	set("size", strconv.Itoa(l.Size), strconv.Itoa(sizes[0]))
	set("page", strconv.Itoa(l.Page), "1")
	return v
}

func (l listQuery) link(path string) string {
	if q := l.values().Encode(); q != "" {
		return path + "?" + q
	}
	return path
}

// By is the link that sorts by a column: again, and it is the other way round.
func (l listQuery) By(sort string) string {
	l.Descending = l.Sort == sort && !l.Descending || l.Sort != sort && sort != "name"
	l.Sort, l.Page = sort, 1
	return l.link("/console/users")
}

// Sorted is the aria-sort of a column.
func (l listQuery) Sorted(sort string) string {
	switch {
	case l.Sort != sort:
		return "none"
	case l.Descending:
		return "descending"
	}
	return "ascending"
}

// At is the link to a page of the list.
func (l listQuery) At(page int) string {
	l.Page = page
	return l.link("/console/users")
}

// Before is the page before.
func (l listQuery) Before() int { return l.Page - 1 }

// After is the page after.
func (l listQuery) After() int { return l.Page + 1 }

// Of is the link to the list with another number of users on a page.
func (l listQuery) Of(size int) string {
	l.Page, l.Size = 1, size
	return l.link("/console/users")
}

// All is the query for all that match, for the file of them.
func (l listQuery) All() string {
	l.Page, l.Size = 1, sizes[0]
	return l.values().Encode()
}

type listPage struct {
	base
	List      admin.List
	Q         listQuery
	MFA       []string
	Activity  []string
	Roles     []account.Role
	Sizes     []int
	Now       time.Time
	Ready     bool // the file can be loaded now
	From, To  int
	Selection []string
}

func (p *Pages) showList(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	asked := parseList(q)
	now := p.kit.Now()
	list, err := p.flow.Users(r.Context(), s, asked.store(now), asked.Page)
	if err != nil {
		return err
	}
	if list.Pages > 0 && asked.Page > list.Pages { // users were deleted meanwhile
		p.kit.SeeOther(w, r, asked.At(list.Pages))
		return nil
	}
	data := listPage{base: p.base(w, r, s, ""), List: list, Q: asked, MFA: mfaFilters, Activity: activityFilters, Roles: account.UserRoles, Sizes: sizes, Now: now, Ready: q.Has("ready"), Selection: bulk}
	data.Tab = "users"
	if len(list.Users) > 0 {
		data.From = (asked.Page-1)*asked.Size + 1
		data.To = data.From + len(list.Users) - 1
	}
	return p.users.list.Render(w, r, http.StatusOK, data)
}

// export writes the users that match as CSV. The verification that it takes
// leads back to the list, where the button then works: the answer to it cannot
// end in a file.
func (p *Pages) export(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	q, err := request.QueryOf("?" + f.Get("query"))
	if err != nil {
		return err
	}
	asked := parseList(q)
	err = p.writeUsers(w, r, s, asked)
	if errors.Is(err, prove.ErrVerifyFirst) {
		to := asked.values()
		to.Set("ready", "1")
		return p.verifyFor(w, r, s, admin.ExportUsers, "/console/users?"+to.Encode())
	}
	return err
}
