package console

import (
	"net/http"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
)

// A userHead is what stands above every page of a user.
type userHead struct {
	base
	D       admin.Detail
	Section string // the tab: overview, authentication, sessions, activity
	Now     time.Time
	Why     string // message key: why nothing can be changed here; empty: it can
	First   link   // the primary action
}

// A link is an action that has a page: a message key and where it is.
type link struct{ Key, Path string }

// May reports whether the viewer may act on the user.
func (h userHead) May() bool { return h.Why == "" }

// To is a page of the user's.
func (h userHead) To(sub string) string { return userPath(h.D.ID) + sub }

// head reads the user.
func (p *Pages) head(w http.ResponseWriter, r *http.Request, s prove.Signed, id, section string) (h userHead, err error) {
	d, err := p.flow.User(r.Context(), s, account.IdentityID(id))
	if err != nil {
		return h, err
	}
	path := userPath(d.ID)
	h = userHead{base: p.base(w, r, s, path), D: d, Section: section, Now: p.kit.Now()}
	h.Tab = "users"
	switch {
	case !h.MayChange:
		h.Why = "user.why.auditor"
	case d.Self:
		h.Why = "user.why.self"
	case !d.MayChange:
		h.Why = "user.why.higher"
	case d.Enrolment != nil:
		h.First = link{"user.ticket", path + "/ticket"}
	case d.Profile.State == account.NoProfile:
		h.First = link{"user.signin.set", path + "/signin"}
	case !d.Profile.Enabled():
		h.First = link{"user.signin.enable", path + "/signin"}
	case !d.Profile.InitialUntil.IsZero() && !h.Now.Before(d.Profile.InitialUntil):
		h.First = link{"user.password.new", path + "/signin"}
	default:
		h.First = link{"user.edit", path + "/edit"}
	}
	return h, nil
}

// headToAct is head for whoever is about to change something.
func (p *Pages) headToAct(w http.ResponseWriter, r *http.Request, s prove.Signed, id, section string) (h userHead, err error) {
	if h, err = p.head(w, r, s, id, section); err != nil || h.May() {
		return h, err
	}
	if h.D.Self {
		return h, admin.ErrSelf
	}
	return h, admin.ErrHigher
}

type detailPage struct {
	userHead
	Sessions []sessionRow
	Guesses  string // message key: how wrong codes are paid for
}

type sessionRow struct {
	ID, Browser, Address  string
	Unusual               string
	CreatedAt, LastSeenAt time.Time
}

// AskedAtSignIn is the message key of whether and why the user is asked for a
// second step.
func (d detailPage) AskedAtSignIn() string {
	switch {
	case d.D.Settings.MFAOperation == account.Mandatory:
		return "user.mfa_asked.mandatory"
	case d.D.Profile.MFARequired:
		return "user.mfa_asked.required"
	case d.D.Settings.MFAOperation == account.Adaptive:
		return "user.mfa_asked.adaptive"
	case len(d.D.Kinds) > 0:
		return "user.mfa_asked.bound"
	}
	return "user.mfa_asked.no"
}

// about is the message key of what there is to know about a passkey or a U2F
// key; empty for other devices.
func about(d admin.Device) string {
	switch {
	case d.Method == factor.U2F:
		return "user.passkey.u2f"
	case d.Method != factor.Passkey:
		return ""
	case d.BackedUp:
		return "user.passkey.synced"
	case d.Synced:
		return "user.passkey.syncable"
	}
	return "user.passkey.one_device"
}

// Browser says which browser a device was used with last.
func (d detailPage) Browser(agent string) string { return message.Browser(d.L, agent) }

// InitialExpired reports whether the password that an administrator set was
// not used in time.
func (d detailPage) InitialExpired() bool {
	return !d.D.Profile.InitialUntil.IsZero() && !d.Now.Before(d.D.Profile.InitialUntil)
}

// Allowed reports whether the account lets its users use the method.
func (d detailPage) Allowed(m factor.Method) bool {
	return (m != factor.SMS || d.D.Settings.AllowSMS) && (m != factor.Email || d.D.Settings.AllowEmail)
}

func guesses(b throttle.Budget, now time.Time) string {
	switch b = b.At(now); {
	case b.Price(now, false) > 2:
		return "user.guesses.three"
	case b.Price(now, false) > 1:
		return "user.guesses.two"
	case b.Left < throttle.BudgetSize:
		return "user.guesses.some"
	}
	return "user.guesses.full"
}

func (p *Pages) detailPage(w http.ResponseWriter, r *http.Request, s prove.Signed, section string) (data detailPage, err error) {
	if data.userHead, err = p.head(w, r, s, r.PathValue("id"), section); err != nil {
		return data, err
	}
	data.Guesses = guesses(data.D.Budget, data.Now)
	for _, one := range data.D.Sessions {
		data.Sessions = append(data.Sessions, sessionRow{one.ID, message.Browser(data.L, one.UserAgent), one.Address, one.Unusual, one.CreatedAt, one.LastSeenAt})
	}
	return data, nil
}

func (p *Pages) showDetail(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	data, err := p.detailPage(w, r, s, "overview")
	if err != nil {
		return err
	}
	return p.users.detail.Render(w, r, http.StatusOK, data)
}

func (p *Pages) showMethods(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	data, err := p.detailPage(w, r, s, "authentication")
	if err != nil {
		return err
	}
	return p.users.methods.Render(w, r, http.StatusOK, data)
}

func (p *Pages) showSessions(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	data, err := p.detailPage(w, r, s, "sessions")
	if err != nil {
		return err
	}
	return p.users.sessions.Render(w, r, http.StatusOK, data)
}
