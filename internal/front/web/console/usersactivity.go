package console

import (
	"net/http"
	"strconv"

	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

type activityPage struct {
	userHead
	Events []page.Happening
	Older  int64 // the event before which older ones begin; 0: none
}

func (p *Pages) showActivity(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
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
	data := activityPage{}
	if data.userHead, err = p.head(w, r, s, r.PathValue("id"), "activity"); err != nil {
		return err
	}
	events, more, err := p.flow.Activity(r.Context(), s, data.D.ID, before)
	if err != nil {
		return err
	}
	for _, e := range events {
		data.Events = append(data.Events, data.Happened(e, data.D.ID))
	}
	if more && len(events) > 0 {
		data.Older = events[len(events)-1].Seq
	}
	return p.users.activity.Render(w, r, http.StatusOK, data)
}
