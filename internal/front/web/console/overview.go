package console

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/posture"
	"countersign/internal/flow/admin"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// signInDays is how many days of sign-ins the overview shows.
const signInDays = 30

// overviewPages are the templates of the overview.
type overviewPages struct {
	overview page.Page[overviewPage]
	report   page.Page[reportPage]
}

func newOverviewPages(k *page.Kit) overviewPages {
	return overviewPages{overview: newPage[overviewPage](k, "overview"), report: newPage[reportPage](k, "report")}
}

type overviewPage struct {
	base
	O        admin.Overview
	Shares   page.LineChart
	ByDay    []posture.Day // of the picture, newest first
	SignIns  page.ColumnChart
	Ended    []posture.Day
	Outcomes []posture.Outcome
	Score    page.BarChart
	Kinds    page.BarChart
	Gains    []gainRow
	Risks    []riskRow
}

// A gainRow is what would raise the score, and where.
type gainRow struct {
	posture.Measure
	Link string // empty: only the owner can
}

// A riskRow is a number of users at risk, and where each is helped.
type riskRow struct {
	posture.Risk
	Count int
	Link  string
	First []riskUser
	More  int
}

type riskUser struct{ Name, Link string }

// percent writes a share.
func percent(part, whole int) string { return strconv.Itoa(posture.Share(part, whole)) + " %" }

// date writes a day.
func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// gainsShown is how many gains are shown at once.
const gainsShown = 4

func (p *Pages) showOverview(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	data := overviewPage{base: p.base(w, r, s, ""), O: o, Outcomes: posture.Outcomes}
	data.Tab = "overview"
	data.drawShares()
	data.drawSignIns()
	data.drawBars()
	for _, m := range o.Missing {
		data.Gains = append(data.Gains, gainRow{m, gainLink(m, o, s)})
	}
	for _, at := range o.Risks {
		row := riskRow{Risk: at.Risk, Count: at.Count, Link: queryLink(at.Query), More: at.Count - len(at.First)}
		for _, u := range at.First {
			row.First = append(row.First, riskUser{u.UserName, riskLink(at.Risk, s, u.User)})
		}
		data.Risks = append(data.Risks, row)
	}
	return p.overview.overview.Render(w, r, http.StatusOK, data)
}

// drawShares draws the shares of users with MFA and with a device that cannot
// be phished.
func (data *overviewPage) drawShares() {
	days := data.O.Days
	known := 0
	for known < len(days)-1 && !days[known].Known {
		known++
	}
	first, last := days[known], days[len(days)-1]
	protected := page.Series{Label: data.T("overview.mfa"), Now: percent(last.Protected, last.Users)}
	resistant := page.Series{Label: data.T("overview.resistant"), Now: percent(last.Resistant, last.Users)}
	for n, d := range days {
		protected.Values = append(protected.Values, posture.Share(d.Protected, d.Users))
		resistant.Values = append(resistant.Values, posture.Share(d.Resistant, d.Users))
		if n >= known {
			data.ByDay = slices.Insert(data.ByDay, 0, d)
		}
	}
	f := page.Frame{ID: "shares", Title: data.T("overview.shares"), From: date(days[0].Begin()), To: date(last.Begin()),
		Desc: data.T("overview.shares.desc", "From", date(first.Begin()), "To", date(last.Begin()), "MFAFrom", percent(first.Protected, first.Users), "MFATo", protected.Now,
			"BestFrom", percent(first.Resistant, first.Users), "BestTo", resistant.Now)}
	data.Shares = page.NewLineChart(f, known, protected, resistant)
}

// drawSignIns draws how the sign-ins of the last days ended.
func (data *overviewPage) drawSignIns() {
	days := data.O.Days[len(data.O.Days)-signInDays:]
	var series []page.Series
	for _, outcome := range posture.Outcomes {
		s := page.Series{Label: data.T("outcome." + string(outcome))}
		sum := 0
		for _, d := range days {
			s.Values = append(s.Values, d.SignIns[outcome])
			sum += d.SignIns[outcome]
		}
		s.Now = thousands(sum)
		series = append(series, s)
	}
	for _, d := range days {
		data.Ended = slices.Insert(data.Ended, 0, d)
	}
	f := page.Frame{ID: "signins", Title: data.T("overview.signins"), From: date(days[0].Begin()), To: date(days[len(days)-1].Begin()),
		Desc: data.T("overview.signins.desc", "Days", signInDays, "Factor", series[0].Now, "Password", series[1].Now, "Wrong", series[2].Now, "Stopped", series[3].Now)}
	data.SignIns = page.NewColumnChart(f, series...)
}

// drawBars draws the score and the kinds of devices.
func (data *overviewPage) drawBars() {
	of := data.T("overview.score.of", "Score", data.O.Score)
	data.Score = page.NewBarChart(page.Frame{ID: "score", Title: data.T("overview.score"), Desc: of}, 100, page.Series{Label: data.T("overview.score"), Values: []int{data.O.Score}, Now: of})
	var series []page.Series
	users := data.O.Census.Users
	for _, k := range data.O.Kinds {
		label := data.T("overview.kind.none")
		if k.Method != "" {
			label = data.T("kind." + string(k.Method))
		}
		series = append(series, page.Series{Label: label, Values: []int{k.Users}, Now: thousands(k.Users) + " · " + percent(k.Users, users)})
	}
	data.Kinds = page.NewBarChart(page.Frame{ID: "kinds", Title: data.T("overview.kinds"), Desc: data.T("overview.kinds.desc", "Count", users, "Number", thousands(users))}, users, series...)
	none := &data.Kinds.Rows[len(data.Kinds.Rows)-1]
	none.Mark = 3
}

// queryLink is the list of the users that a query finds.
func queryLink(q store.UserQuery) string {
	l := listQuery{MFA: q.MFA, Activity: q.Activity, Role: string(q.Role), Sort: q.Sort, Page: 1, Size: sizes[0]}
	if l.Sort == "" {
		l.Sort = sorts[0]
	}
	return l.link("/console/users")
}

// gainLink is where a measure is taken.
func gainLink(m posture.Measure, o admin.Overview, s prove.Signed) string {
	users := func(q store.UserQuery) string { return queryLink(q) }
	either := func(first, second posture.Risk) string {
		for _, at := range o.Risks {
			if at.Risk == first || at.Risk == second { // the graver comes first
				return queryLink(at.Query)
			}
		}
		return users(store.UserQuery{})
	}
	if own, of := map[string]string{"owner_mfa": "/security", "owner_resistant": "/security/passkeys", "owner_codes": "/security/recovery-codes"}[m.Key]; of {
		if s.Identity.IsOwner() {
			return own
		}
		return ""
	}
	switch m.Key {
	case "users_mfa":
		return users(store.UserQuery{Activity: "can_sign_in", MFA: "none"})
	case "users_resistant":
		return users(store.UserQuery{Activity: "can_sign_in", MFA: "no_key"})
	case "administrators_resistant":
		return users(store.UserQuery{Activity: "can_sign_in", MFA: "no_key", Role: account.Administrator})
	case "users_codes":
		return either(posture.NoCodes, posture.UnsavedCodes)
	case "users_idle":
		return either(posture.NeverUsed, posture.Idle)
	case "incidents":
		return either(posture.Distrusted, posture.CounterBack)
	}
	return settingsPath
}

// riskForms are the pages on which something is done about a risk of a user.
var riskForms = map[posture.Risk]string{
	posture.Distrusted:   "/activity",
	posture.CounterBack:  "/authentication",
	posture.Guessed:      "/signin",
	posture.LockedOut:    "/signin",
	posture.NoMFA:        "/signin",
	posture.OnlySMS:      "/authentication",
	posture.NoCodes:      "/authentication",
	posture.UnsavedCodes: "/authentication",
	posture.NeverUsed:    "/signin",
	posture.Idle:         "/disable",
}

// riskLink is the page on which somebody can do something about a risk: the
// user's own, for who may not.
func riskLink(risk posture.Risk, s prove.Signed, u store.User) string {
	form := riskForms[risk]
	if reads := form == "/activity" || form == "/authentication"; !reads && (!s.Identity.Role.ActsOn(u.Role) || s.Identity.ID == u.ID) {
		form = ""
	}
	return userPath(u.ID) + form
}
