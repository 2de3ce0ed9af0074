package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/front/request"
	"countersign/internal/secret"
)

var errGone = ceremony.ErrGone

type sessionOutput struct {
	Body struct {
		Identity  string    `json:"identity"`
		Account   string    `json:"account"`
		AMR       []string  `json:"amr" doc:"RFC 8176"`
		ACR       string    `json:"acr"`
		AuthTime  time.Time `json:"auth_time" doc:"Of the newest real proof"`
		ExpiresAt time.Time `json:"expires_at"`
	}
}

// token is the session's: of the header, else of the cookie.
func (a *API) token(ctx context.Context) (secret.Token, error) {
	h := request.InfoIn(ctx).Header
	if bearer, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer "); ok {
		return secret.ParseToken(strings.TrimSpace(bearer))
	}
	c, err := (&http.Request{Header: h}).Cookie(a.SessionCookie)
	if err != nil {
		return secret.Token{}, session.ErrSignedOut
	}
	return secret.ParseToken(c.Value)
}

func (a *API) session(ctx context.Context, _ *struct{}) (*sessionOutput, error) {
	token, err := a.token(ctx)
	if err != nil {
		return nil, a.problem(ctx, session.ErrSignedOut)
	}
	s, err := a.Flow.Signed(ctx, token)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	claims := policy.ClaimsOf(s.Session.Proofs)
	out := &sessionOutput{}
	out.Body.Identity, out.Body.Account = string(s.Session.Identity), string(s.Session.Account)
	out.Body.AMR, out.Body.ACR, out.Body.AuthTime, out.Body.ExpiresAt = claims.AMR, claims.ACR, claims.AuthTime, s.Session.ExpiresAt
	return out, nil
}

// end signs out. The cookie alone does for pages of this site only.
func (a *API) end(ctx context.Context, _ *struct{}) (*struct{}, error) {
	h := request.InfoIn(ctx).Header
	if h.Get("Authorization") == "" && h.Get("Sec-Fetch-Site") != "same-origin" {
		return nil, a.problem(ctx, request.ErrCrossSite)
	}
	token, err := a.token(ctx)
	if err != nil {
		return nil, a.problem(ctx, session.ErrSignedOut)
	}
	if _, err := a.Flow.Signed(ctx, token); err != nil {
		return nil, a.problem(ctx, err)
	}
	if err := a.Flow.SignOut(ctx, a.visitor(ctx, ""), token); err != nil {
		return nil, a.problem(ctx, err)
	}
	return nil, nil
}
