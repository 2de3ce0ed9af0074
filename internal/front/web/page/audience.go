package page

import (
	"net/http"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/front/request"
	"countersign/internal/prove"
)

// An Audience says who of those signed in a page is for.
type Audience string

// The audiences.
const (
	Anyone         Audience = "anyone"
	Owners         Audience = "owner"          // what belongs to the primary account's own identity
	Users          Audience = "user"           // what belongs to a RAM user
	Auditors       Audience = "auditor"        // whoever reads the console
	Administrators Audience = "administrators" // whoever changes users and settings
)

// ErrRole says that a page is for other roles.
var ErrRole = fault.New(fault.Forbidden, "console.forbidden")

// Admits says why somebody of the role may not pass; nil: they may. What
// belongs to another kind of identity does not exist for this one.
func (a Audience) Admits(r account.Role) error {
	switch {
	case a == Owners && r != account.Owner, a == Users && r == account.Owner:
		return request.ErrNotFound
	case a == Auditors && !r.Audits(), a == Administrators && !r.Administers():
		return ErrRole
	}
	return nil
}

// For is Signed for an audience, and for what passes the gate of a scenario
// (empty: none): the flow behind it asks for the verification and for the role
// again, and the router knows.
func (k *Kit) For(who Audience, s policy.Scenario, h SignedHandlerFunc) http.Handler {
	return gated{k.Signed(func(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
		if err := who.Admits(s.Identity.Role); err != nil {
			return err
		}
		return h(w, r, s)
	}), s, who}
}

// Gated is For for anyone.
func (k *Kit) Gated(s policy.Scenario, h SignedHandlerFunc) http.Handler {
	return k.For(Anyone, s, h)
}

type gated struct {
	http.Handler
	scenario policy.Scenario
	audience Audience
}

func (g gated) Gate() string     { return string(g.scenario) }
func (g gated) Audience() string { return string(g.audience) }
