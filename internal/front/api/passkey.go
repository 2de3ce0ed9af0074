package api

import (
	"context"
	"encoding/json"
	"errors"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/prove"
)

type passkeyOptionsInput struct {
	Body struct {
		Ceremony string        `json:"ceremony,omitempty" maxLength:"64" doc:"Of the sign-in under way; absent: a passkey alone signs in"`
		Method   factor.Method `json:"method,omitempty" maxLength:"40" doc:"passkey, or u2f for keys bound under the old protocol"`
	}
}

type passkeyOptionsOutput struct {
	Body struct {
		Ceremony string          `json:"ceremony" doc:"Token to send with the answer: a secret"`
		Options  json.RawMessage `json:"options" doc:"PublicKeyCredentialRequestOptionsJSON (WebAuthn §5.1.10)"`
	}
}

func (a *API) passkeyOptions(ctx context.Context, in *passkeyOptionsInput) (*passkeyOptionsOutput, error) {
	out := &passkeyOptionsOutput{}
	v := a.visitor(ctx, "")
	if in.Body.Ceremony == "" {
		d, err := a.Flow.Discover(ctx, v)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		out.Body.Ceremony, out.Body.Options = d.Token.Reveal(), d.Options
		return out, nil
	}
	token, err := a.ceremony(ctx, in.Body.Ceremony)
	if err != nil {
		return nil, err
	}
	p, err := a.Flow.State(ctx, v, token)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	for _, o := range p.Offers {
		if o.Options != nil && (in.Body.Method == "" || in.Body.Method == o.Method) {
			out.Body.Ceremony, out.Body.Options = in.Body.Ceremony, o.Options
			return out, nil
		}
	}
	return nil, a.problem(ctx, policy.ErrMethod)
}

type passkeyInput struct {
	Body struct {
		Ceremony   string          `json:"ceremony" maxLength:"64"`
		Method     factor.Method   `json:"method,omitempty" maxLength:"40" doc:"passkey, or u2f for keys bound under the old protocol"`
		Credential json.RawMessage `json:"credential" doc:"AuthenticationResponseJSON (WebAuthn §5.1.7.2)"`
		Device     string          `json:"device,omitempty" maxLength:"64" doc:"Known-device token of an earlier sign-in"`
		Remember   bool            `json:"remember,omitempty" doc:"After a password: do not ask on this device for 7 days, where the account allows it"`
		Cookie     bool            `json:"cookie,omitempty" doc:"Put the session into the cookie; for pages of this site"`
	}
}

func (a *API) passkey(ctx context.Context, in *passkeyInput) (*stepOutput, error) {
	if err := a.cookieFor(ctx, in.Body.Cookie); err != nil {
		return nil, err
	}
	token, err := a.ceremony(ctx, in.Body.Ceremony)
	if err != nil {
		return nil, err
	}
	v := a.visitor(ctx, in.Body.Device)
	method := in.Body.Method
	if method == "" {
		method = factor.Passkey
	}
	p, err := a.Flow.Answer(ctx, v, token, prove.Answer{Method: method, Credential: in.Body.Credential, Remember: in.Body.Remember})
	if errors.Is(err, ceremony.ErrGone) && in.Body.Method == "" { // no sign-in under way: a passkey alone
		p, err = a.Flow.Discovered(ctx, v, token, in.Body.Credential, "")
	}
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	return a.answer(ctx, p, in.Body.Ceremony, in.Body.Cookie)
}
