package browsertest_test

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/posture"
	"countersign/internal/locale"
	"countersign/internal/store"
)

// The overview of an account, from the first day to a crew of all sorts, the
// credential report, and the owner's own check-up.
func TestTheTourOfTheOverview(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p := ownerIn(t, l.Tag)
			p.entersPassword()
			p.Visit("/console")
			p.On("/console", "overview.title")
			p.Says("overview.nobody")
			p.Look("overview-first")
			p.daysPass()
			p.entersPassword()
			p.seesTheAccount()
			p.looksAfterUsersAtRisk()
			p.takesTheReport()
			p.isCheckedUp()
		})
	}
}

// daysPass is a week in which people came, and signed in or failed to.
func (p *person) daysPass() {
	p.T.Helper()
	owner := p.Site.Identity(email)
	crew(p.Site)
	for day := range 7 {
		for n := range 12 {
			e := audit.Event{Account: owner.Account, Name: audit.ConsoleSignin, Identity: "user-ada", Details: map[string]string{"acr": []string{"phr", "urn:mfa:2", "urn:mfa:1"}[n%3]}}
			if n%4 == 3 {
				e.Refused = []string{"signin.wrong", "code.wrong"}[day%2]
			}
			if n < 4+day {
				p.Site.Put(func(tx *store.Tx) error { return tx.Record(e) })
			}
		}
		if err := p.Site.Admin.CountDays(p.T.Context()); err != nil {
			p.T.Fatal(err)
		}
		p.Site.Pass(24 * time.Hour)
	}
}

// labelsOnLines counts the words of the shares that a line may cross, or that
// cover each other: -1 where there are none.
const labelsOnLines = `(() => {
	const chart = document.querySelector('svg[aria-labelledby^=shares]'), plot = chart.querySelector('svg').getBoundingClientRect();
	const words = [...chart.querySelectorAll('text')].map(e => e.getBoundingClientRect());
	const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
	return words.length ? words.filter((w, n) => meet(w, plot) || words.some((o, m) => m > n && meet(w, o))).length : -1;
})()`

func (p *person) seesTheAccount() {
	p.T.Helper()
	p.Visit("/console")
	p.On("/console", "overview.title")
	if n := browsertest.Eval[int](p.Tab, "document.querySelectorAll('svg.chart[role=img] > title').length"); n != 4 {
		p.T.Errorf("%d charts", n)
	}
	if on := browsertest.Eval[int](p.Tab, labelsOnLines); on != 0 {
		p.T.Errorf("%d labels lie on the lines of the picture", on)
	}
	p.Look("overview")
	if text := p.Text("main"); strings.Contains(text, "2 · 33 %") {
		p.T.Error("the tables are open")
	}
	browsertest.Eval[any](p.Tab, "document.querySelectorAll('main details').forEach(d => d.open = true), 0")
	if text := p.Text("#h-kinds ~ details"); !strings.Contains(text, p.L.T("kind.virtual_mfa")) {
		p.T.Errorf("the table of kinds: %q", text)
	}
	if n := browsertest.Eval[int](p.Tab, "document.querySelectorAll('#h-shares ~ details tbody tr').length"); n != 8 {
		p.T.Errorf("shares of %d days", n)
	}
	p.Look("overview-tables")
}

// looksAfterUsersAtRisk goes from a number to the people, and to what can be
// done for one of them.
func (p *person) looksAfterUsersAtRisk() {
	p.T.Helper()
	p.Visit("/console")
	said := browsertest.Eval[int](p.Tab, "parseInt(document.querySelector('.risks li:has(a[href*=\"activity=locked_out\"]) h3').innerText.match(/\\d+/))")
	p.Follow(".risks a.all[href*='activity=locked_out']")
	p.On("/console/users", "users.title")
	if n := browsertest.Eval[int](p.Tab, "document.querySelectorAll('tbody th').length"); n != said || n == 0 {
		p.T.Errorf("%d users are listed, %d were said to be at risk", n, said)
	}
	p.Back()
	p.Follow(".risks li:has([href*='activity=locked_out']) a[href$='user-dmitri/signin']")
	p.On("/console/users/user-dmitri/signin", "user.signin")
}

func (p *person) takesTheReport() {
	p.T.Helper()
	p.app.Wait(11 * time.Minute)
	p.Visit("/console")
	p.Follow("#h-report ~ .actions .button")
	p.On("/console/report", "report.title")
	p.Says("report.none")
	p.Look("report-none")
	p.Follow("form[action='/console/report.csv'] .button")
	p.asked("purpose.credential_report", "")
	p.answers(email)
	p.On("/console/report", "report.title")
	p.Says("report.ready")
	name, content := p.Download("form[action='/console/report.csv'] .button")
	lines, err := csv.NewReader(strings.NewReader(content)).ReadAll()
	if err != nil || !strings.HasPrefix(name, "credential-report-") || len(lines) != 10 || !slices.Equal(lines[0], posture.ReportColumns) || lines[1][0] != posture.ReportRoot {
		p.T.Errorf("%s: %q, %v", name, content, err)
	}
	p.Visit("/console/report")
	p.Says("report.load")
	p.Says("report.lines")
	p.Look("report")
}

// isCheckedUp finds at the top of Security Settings what is to be done, does
// it, and finds it gone.
func (p *person) isCheckedUp() {
	p.T.Helper()
	p.Visit("/security")
	p.Says("checkup.title", "Count", 1)
	p.Says("checkup.no_mfa.text")
	p.Look("checkup")
	p.Site.PutApp(email)
	p.Site.PutCodes(email)
	p.Reload()
	if browsertest.Eval[int](p.Tab, "document.querySelectorAll('#check-no_mfa').length") > 0 {
		p.T.Error("what is done is still to be done")
	}
	p.Says("checkup.second_kind")
	p.Look("checkup-advice")
	p.Follow("#check-second_kind .button")
	if at := browsertest.Eval[string](p.Tab, "location.pathname"); !strings.HasPrefix(at, "/security/passkeys") && at != "/verify" {
		p.T.Errorf("it leads to %s", at)
	}
}
