package console

import (
	"errors"
	"net/http"
	"time"

	"countersign/internal/domain/posture"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/store"
)

const reportPath = "/console/report"

// reportPage says when the credential report was made.
type reportPage struct {
	base
	Report  store.CredentialReport
	Next    time.Time // from when on a new one is made
	New     bool      // asking for it now makes a new one
	Ready   bool      // it can be loaded now
	Columns []string
	Now     time.Time
}

func (p *Pages) showReport(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	c, next, err := p.flow.Report(r.Context(), s)
	if err != nil {
		return err
	}
	data := reportPage{base: p.base(w, r, s, ""), Report: c, Next: next, Ready: q.Has("ready"), Columns: posture.ReportColumns, Now: p.kit.Now()}
	data.Tab, data.New = "overview", !data.Next.After(data.Now)
	return p.overview.report.Render(w, r, http.StatusOK, data)
}

// takeReport writes the credential report. The verification that it takes
// leads back to its page: the answer to it cannot end in a file.
func (p *Pages) takeReport(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	err := p.kit.Long(w, r, page.Auditors, func(w http.ResponseWriter, r *http.Request) error {
		c, err := p.flow.TakeReport(r.Context(), p.kit.Visitor(r), s)
		if err != nil {
			return err
		}
		h := w.Header()
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		h.Set("Content-Disposition", `attachment; filename="credential-report-`+c.MadeAt.UTC().Format("2006-01-02T1504Z")+`.csv"`)
		_, err = w.Write(c.Content)
		return err
	})
	if errors.Is(err, prove.ErrVerifyFirst) {
		return p.verifyFor(w, r, s, admin.GetReport, reportPath+"?ready=1")
	}
	return err
}
