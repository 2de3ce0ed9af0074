package admin

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// Faults about what a session keeps for a while.
var (
	ErrShownGone = fault.New(fault.Expired, "shown.gone")
	ErrDraftGone = fault.New(fault.Expired, "draft.gone")
)

// A Shown is what is shown to its maker, for ten minutes, and then nowhere.
type Shown struct {
	Kind      string      `json:"kind"` // created, password, ticket
	Lines     []ShownLine `json:"lines"`
	ExpiresAt time.Time   `json:"-"`    // of the page; what is on it says how long it is good itself
	Back      string      `json:"back"` // the page to go on to
}

// A ShownLine is what became of one user.
type ShownLine struct {
	Number    int                `json:"number,omitempty"`
	ID        account.IdentityID `json:"id,omitempty"` // empty: was not made
	Name      string             `json:"name"`
	UPN       string             `json:"upn,omitempty"`
	Password  string             `json:"password,omitempty"`
	Ticket    string             `json:"ticket,omitempty"`
	Until     time.Time          `json:"until,omitzero"`  // when password or ticket is good no longer; zero: without end
	Fault     string             `json:"fault,omitempty"` // its code
	FaultArgs map[string]any     `json:"fault_args,omitempty"`
}

// show keeps what is shown once, sealed, for the session that made it.
func (f *Flow) show(tx *store.Tx, s prove.Signed, i account.Identity, what Shown) (id string, err error) {
	b, err := json.Marshal(what)
	if err != nil {
		return "", err
	}
	return f.keep(tx, s, i, ceremony.Shown, ceremony.Lifetime, ceremony.Private{Shown: b})
}

// keep keeps something for the session, for a while.
func (f *Flow) keep(tx *store.Tx, s prove.Signed, i account.Identity, kind ceremony.Kind, d time.Duration, what ceremony.Private) (id string, err error) {
	if id, err = f.DB.NewID(); err != nil {
		return "", err
	}
	return id, tx.AddCeremony(ceremony.Ceremony{ID: id, Kind: kind, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: s.Session.ID,
		TriesLeft: 1, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(d), Private: what})
}

// kept finds what the session keeps.
func kept(r *store.Reader, s prove.Signed, kind ceremony.Kind, id string, now time.Time, gone error) (ceremony.Ceremony, error) {
	c, err := r.CeremonyOfSession(kind, id, s.Session.ID)
	if errors.Is(err, store.ErrNoRow) || err == nil && (!now.Before(c.ExpiresAt) || c.Identity != s.Identity.ID) {
		return c, gone
	}
	return c, err
}

// Shown returns what this session made under the id.
func (f *Flow) Shown(ctx context.Context, s prove.Signed, id string) (what Shown, err error) {
	if !s.Identity.Role.Administers() {
		return what, ErrForbidden
	}
	c, err := kept(f.DB.Read(ctx), s, ceremony.Shown, id, f.DB.Now(), ErrShownGone)
	if err != nil {
		return what, err
	}
	err = json.Unmarshal(c.Private.Shown, &what)
	what.ExpiresAt = c.ExpiresAt
	return what, err
}

// DropShown forgets it: from now on it is nowhere.
func (f *Flow) DropShown(ctx context.Context, v prove.Visitor, s prove.Signed, id string) error {
	return f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		c, err := kept(&tx.Reader, s, ceremony.Shown, id, tx.Now, ErrShownGone)
		if err != nil {
			return err
		}
		return tx.EndCeremony(c.ID, ErrShownGone)
	})
}

// KeepDraft keeps a form that was posted to path while a verification comes
// first, for this session.
func (f *Flow) KeepDraft(ctx context.Context, v prove.Visitor, s prove.Signed, path string, form map[string][]string) (id string, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) (err error) {
		id, err = f.keep(tx, s, s.Identity, ceremony.Draft, ceremony.SessionLifetime, ceremony.Private{Path: path, Form: form})
		return err
	})
	return id, err
}

// Draft gives the form back, once.
func (f *Flow) Draft(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (path string, form map[string][]string, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		c, err := kept(&tx.Reader, s, ceremony.Draft, id, tx.Now, ErrDraftGone)
		if err != nil {
			return err
		}
		path, form = c.Private.Path, c.Private.Form
		return tx.EndCeremony(c.ID, ErrDraftGone)
	})
	return path, form, err
}
