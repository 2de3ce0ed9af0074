package selfservice

import (
	"context"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/prove"
)

// HistoryPage is how many events a page of the history shows.
const HistoryPage = 25

// HistoryFresh is for how long people are asked whether an event was theirs:
// later nobody remembers.
const HistoryFresh = 28 * 24 * time.Hour

// History returns the events that concern the identity, newest first, from
// before the one numbered (0: from the newest on); more reports whether there
// are older ones.
func (f *Flow) History(ctx context.Context, s prove.Signed, before int64) (events []audit.Event, more bool, err error) {
	events, err = f.DB.Read(ctx).History(s.Identity.Account, s.Identity.ID, before, HistoryPage+1)
	if len(events) > HistoryPage {
		return events[:HistoryPage], true, err
	}
	return events, false, err
}
