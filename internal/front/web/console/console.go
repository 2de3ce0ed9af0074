// Package console is the pages of administrators: the overview, the users of an
// account, its settings and its names.
package console

import (
	"embed"
	"net/http"

	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/verify"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

//go:embed templates
var templateFS embed.FS

var templates = page.Files{FS: templateFS, Functions: functions}

// Pages are the console.
type Pages struct {
	kit    *page.Kit
	flow   *admin.Flow
	verify *verify.Flow

	overview overviewPages
	users    userPages
	settings settingsPages
	auditLog page.Page[auditPage]

	posts map[string]postFunc // by path pattern: what goes on after a verification
}

// New prepares the pages.
func New(k *page.Kit, f *admin.Flow, v *verify.Flow) *Pages {
	return &Pages{
		kit: k, flow: f, verify: v, posts: map[string]postFunc{},
		overview: newOverviewPages(k), users: newUserPages(k), settings: newSettingsPages(k), auditLog: newPage[auditPage](k, "audit"),
	}
}

// newPage parses templates/NAME.html with the parts of the console.
func newPage[T any](k *page.Kit, name string) page.Page[T] {
	return page.New[T](k, templates, "templates/"+name+".html", "templates/parts.html")
}

// Mount routes the pages.
func (p *Pages) Mount(t *request.Router) {
	t.Handle("GET /console", p.kit.For(page.Auditors, "", p.showOverview))
	t.Handle("GET /console/report", p.kit.For(page.Auditors, "", p.showReport))
	t.Handle("POST /console/report.csv", p.kit.For(page.Auditors, policy.ManageUsers, p.takeReport))
	p.mountUsers(t)
	p.mountSettings(t)
	p.mountAudit(t)
}

// base is what every page of the console has.
func (p *Pages) base(w http.ResponseWriter, r *http.Request, s prove.Signed, path string) base {
	b := base{Base: p.kit.SignedBase(w, r, s), MayChange: s.Identity.Role.Administers()}
	b.Wide, b.Nav = true, "console"
	if r.Method != http.MethodGet { // also after a verification: the page is that of the form
		b.Path = path
	}
	return b
}

// A base is a page of the console: auditors see it without what changes
// anything.
type base struct {
	page.Base
	MayChange bool
	Tab       string // overview, users, audit, settings or names
}
