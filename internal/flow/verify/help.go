package verify

import (
	"context"

	"countersign/internal/prove"
)

// Help says what somebody has who cannot use what the verification asks for.
func (f *Flow) Help(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (q Question, h prove.Help, err error) {
	if q, err = f.State(ctx, v, s, id); err == nil {
		h, err = f.HelpWith(f.DB.Read(ctx), s.Identity, q.Offers)
	}
	return q, h, err
}
