package signin

import (
	"context"

	"countersign/internal/prove"
	"countersign/internal/secret"
)

// Help says what somebody has who cannot use what the sign-in asks for.
func (f *Flow) Help(ctx context.Context, v prove.Visitor, token secret.Token) (p Progress, h prove.Help, err error) {
	if p, err = f.State(ctx, v, token); err != nil {
		return p, h, err
	}
	r := f.DB.Read(ctx)
	_, i, err := f.ceremony(r, f.DB.Now(), token)
	if err == nil {
		h, err = f.HelpWith(r, i, p.Offers)
	}
	return p, h, err
}
