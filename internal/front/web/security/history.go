package security

import (
	"net/http"
	"strconv"

	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// notMinePath is where somebody goes on whose hand an event was not.
const notMinePath = "/security/check"

type historyPage struct {
	page.Base
	Events  []historyRow
	Older   int64 // the event before which older ones begin; 0: none
	Days    int   // for which people are asked whether it was them
	NotMine string
}

// A historyRow is one event of the history.
type historyRow struct {
	page.Happening
	Ask bool // whether it was them
	New bool // the answer is waited for
}

func (p *Pages) showHistory(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	before := int64(0)
	if from := q.Get("before"); from != "" {
		if before, err = strconv.ParseInt(from, 10, 64); err != nil || before < 1 {
			return request.ErrMalformed
		}
	}
	events, more, err := p.flow.History(r.Context(), s, before)
	if err != nil {
		return err
	}
	unknown, err := p.flow.NewSignIns(r.Context(), s)
	if err != nil {
		return err
	}
	fresh := p.kit.Now().Add(-selfservice.HistoryFresh)
	data := historyPage{Base: p.kit.SignedBase(w, r, s), Days: int(selfservice.HistoryFresh.Hours() / 24), NotMine: notMinePath}
	data.Wide = true
	for _, e := range events {
		row := historyRow{Happening: data.Happened(e, s.Identity.ID)}
		row.New = unknown[e.Seq]
		row.Ask = row.By == "" && e.At.After(fresh)
		data.Events = append(data.Events, row)
	}
	if more {
		data.Older = events[len(events)-1].Seq
	}
	return p.history.Render(w, r, http.StatusOK, data)
}

// submitHistory takes the word that a sign-in was theirs.
func (p *Pages) submitHistory(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	seq, err := strconv.ParseInt(f.Get("event"), 10, 64)
	if err != nil || seq < 1 {
		return request.ErrMalformed
	}
	if err := p.flow.ConfirmSignIn(r.Context(), p.kit.Visitor(r), s, seq); err != nil {
		return err
	}
	p.kit.Done(w, r, "/security/history", "signin_confirmed")
	return nil
}
