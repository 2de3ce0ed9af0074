package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// A List is one page of the users that match.
type List struct {
	Users           []Row
	Total, Matching int
	Page, Pages     int
	Size            int
}

// A Row is a user in a list.
type Row struct {
	store.User
	Kinds  []factor.Method // bound ones that the account allows, strongest first
	Due    bool            // a device is due that is not there
	Method factor.Method   // the strongest; empty: none
}

// PageSizes are how many users a page can show.
var PageSizes = []int{20, 50, 100}

// A Detail is what the console shows of one user.
type Detail struct {
	Row
	Settings    account.Settings
	Devices     []Device
	Mailbox     *Device           // the security email, masked; nil: none
	Activation  *store.Activation // a phone that waits for its holder; nil: none
	Sessions    []session.Session
	Known       []session.KnownDevice
	Remembered  []session.RememberedDevice
	CodesLeft   int
	CodesMadeAt time.Time
	Enrolment   *store.Enrolment // a device is to be bound by ticket; nil: none
	Budget      throttle.Budget  // of guesses, as of now
	MayChange   bool             // the viewer may act on the user
	Self        bool             // the viewer is the user
}

// A Device is what a user has bound.
type Device struct {
	Method     factor.Method
	ID         string
	Name       string // a number is masked
	BoundAt    time.Time
	LastUsedAt time.Time
	BoundFrom  string

	// Of passkeys and U2F keys alone.
	Maker         string    // of the model; empty: unknown
	Model         string    // its AAGUID; empty: none was given
	Synced        bool      // other devices of the user can hold it too
	BackedUp      bool      // and one more place does
	CopiedAt      time.Time // when its counter went back: somebody may hold a copy; zero: never
	LastUsedFrom  string
	LastUsedAgent string
}

// Users returns a page, counted from 1, of the users that match q, whose Limit
// is the size of the page.
func (f *Flow) Users(ctx context.Context, s prove.Signed, q store.UserQuery, page int) (l List, err error) {
	if err := reads(s); err != nil {
		return l, err
	}
	r := f.DB.Read(ctx)
	q.Now = f.DB.Now()
	if !slices.Contains(PageSizes, q.Limit) {
		q.Limit = PageSizes[0]
	}
	if l.Total, err = r.CountUsers(s.Identity.Account, store.UserQuery{Now: q.Now}); err != nil {
		return l, err
	}
	if l.Matching = l.Total; !q.Everybody() {
		if l.Matching, err = r.CountUsers(s.Identity.Account, q); err != nil {
			return l, err
		}
	}
	l.Size, l.Pages = q.Limit, max(1, (l.Matching+q.Limit-1)/q.Limit)
	l.Page = min(max(1, page), l.Pages)
	q.Offset = (l.Page - 1) * q.Limit
	settings, err := r.Settings(s.Identity.Account)
	if err != nil {
		return l, err
	}
	users, err := r.Users(s.Identity.Account, q)
	for _, u := range users {
		l.Users = append(l.Users, rowOf(u, settings))
	}
	return l, err
}

// rowOf asks the policy what counts of what a user has.
func rowOf(u store.User, settings account.Settings) Row {
	facts := policy.Facts{Role: u.Role, VirtualMFA: u.VirtualMFA, Phone: u.Phone, Passkeys: u.Passkeys, U2F: u.U2F, RecoveryCodes: u.RecoveryCodes, Settings: settings, Profile: u.Profile, Reenrol: u.Reenrol}
	row := Row{User: u, Kinds: facts.Usable(), Due: facts.Due()}
	if len(row.Kinds) > 0 {
		row.Method = row.Kinds[0]
	}
	return row
}

// EachUser calls each for every user that matches q: the list as it is taken
// out of the house, by whoever may see it.
func (f *Flow) EachUser(ctx context.Context, v prove.Visitor, s prove.Signed, q store.UserQuery, each func(Row) error) error {
	if err := reads(s); err != nil {
		return err
	}
	q.Now = f.DB.Now()
	err := f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, ExportUsers)
		if err != nil {
			return err
		}
		if !i.Role.Audits() {
			return ErrForbidden
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.UserExport, Details: map[string]string{"search": q.Search, "mfa": q.MFA, "activity": q.Activity, "role": string(q.Role)}})
	})
	if err != nil {
		return err
	}
	r := f.DB.Read(ctx)
	settings, err := r.Settings(s.Identity.Account)
	if err != nil {
		return err
	}
	return r.EachUser(s.Identity.Account, q, func(u store.User) error { return each(rowOf(u, settings)) })
}

// seen returns a user to those who read; the owner is none.
func seen(r *store.Reader, s prove.Signed, id account.IdentityID) (store.User, error) {
	if err := reads(s); err != nil {
		return store.User{}, err
	}
	u, err := r.User(s.Identity.Account, id)
	if errors.Is(err, store.ErrNoRow) {
		err = ErrNoUser
	}
	return u, err
}

// User returns one user.
func (f *Flow) User(ctx context.Context, s prove.Signed, id account.IdentityID) (d Detail, err error) {
	r := f.DB.Read(ctx)
	u, err := seen(r, s, id)
	if err != nil {
		return d, err
	}
	if d.Settings, err = r.Settings(u.Account); err != nil {
		return d, err
	}
	d.Row, d.MayChange, d.Self = rowOf(u, d.Settings), s.Identity.Role.ActsOn(u.Role), s.Identity.ID == u.ID
	if d.Devices, err = devices(r, u); err != nil {
		return d, err
	}
	if err := d.reached(r, u); err != nil {
		return d, err
	}
	sessions, err := r.Sessions(u.Account, u.ID)
	if err != nil {
		return d, err
	}
	for _, one := range sessions {
		if one.Live(f.DB.Now(), f.Lifetimes) {
			d.Sessions = append(d.Sessions, one)
		}
	}
	if d.Known, err = r.KnownDevices(u.Account, u.ID); err != nil {
		return d, err
	}
	if d.Remembered, err = r.RememberedDevices(u.Account, u.ID); err != nil {
		return d, err
	}
	if d.CodesLeft, d.CodesMadeAt, err = r.RecoveryCodesLeft(u.Account, u.ID); err != nil {
		return d, err
	}
	enrolments, err := r.Enrolments(u.Account, u.ID)
	if err != nil {
		return d, err
	}
	for _, e := range enrolments {
		if e.Kind == store.Reenrol {
			d.Enrolment = &e
		}
	}
	b, _, err := r.Budget(u.Account, u.ID, f.DB.Now())
	d.Budget = b.At(f.DB.Now())
	return d, err
}

// reached completes what is known of the user's mailbox and phone.
func (d *Detail) reached(r *store.Reader, u store.User) error {
	if u.SecurityEmail {
		e, err := prove.SecurityEmailOf(r, u.Identity)
		if err != nil {
			return err
		}
		if e.ID != "" {
			d.Mailbox = &Device{Method: factor.Email, ID: e.ID, Name: account.MaskEmail(e.Address), BoundAt: e.BoundAt, LastUsedAt: e.LastUsedAt, BoundFrom: e.BoundFrom}
		}
	}
	if u.Phone {
		return nil
	}
	a, err := r.Activation(u.Account, u.ID)
	if waits, err := store.HasRow(err); err != nil || !waits {
		return err
	}
	d.Activation = &a
	return nil
}

// devices are what a user has bound, strongest first.
func devices(r *store.Reader, u store.User) (list []Device, err error) {
	if u.Passkeys+u.U2F > 0 {
		if list, err = passkeys(r, u); err != nil {
			return nil, err
		}
	}
	if u.VirtualMFA {
		d, err := r.VirtualMFA(u.Account, u.ID)
		if has, err := store.HasRow(err); err != nil {
			return nil, err
		} else if has {
			list = append(list, Device{Method: factor.VirtualMFA, ID: d.ID, Name: d.Name, BoundAt: d.BoundAt, LastUsedAt: d.LastUsedAt, BoundFrom: d.BoundFrom})
		}
	}
	if u.Phone {
		p, err := prove.PhoneOf(r, u.Identity)
		if err != nil {
			return nil, err
		}
		if p.ID != "" {
			list = append(list, Device{Method: factor.SMS, ID: p.ID, Name: p.Number.Mask(), BoundAt: p.BoundAt, LastUsedAt: p.LastUsedAt, BoundFrom: p.BoundFrom})
		}
	}
	return list, nil
}

// passkeys are those of a user, and then the U2F keys.
func passkeys(r *store.Reader, u store.User) (list []Device, err error) {
	all, err := r.Passkeys(u.Account, u.ID)
	for _, p := range all {
		d := Device{Method: methodOf(p), ID: p.ID, Name: p.Name, BoundAt: p.CreatedAt, LastUsedAt: p.LastUsedAt, BoundFrom: p.CreatedFrom,
			Maker: p.AAGUID.Maker(), Synced: p.BackupEligible, BackedUp: p.BackedUp, CopiedAt: p.CopiedAt, LastUsedFrom: p.LastUsedFrom, LastUsedAgent: p.LastUsedAgent}
		if !p.AAGUID.IsZero() {
			d.Model = p.AAGUID.String()
		}
		list = append(list, d)
	}
	slices.SortStableFunc(list, func(a, b Device) int { return strings.Compare(string(a.Method), string(b.Method)) })
	return list, err
}

// methodOf is what a passkey is as a method.
func methodOf(p store.Passkey) factor.Method {
	if p.IsU2F() {
		return factor.U2F
	}
	return factor.Passkey
}

// ActivityPage is how many events a page of the activity shows.
const ActivityPage = 25

// Activity returns the events that concern a user, newest first, from before
// the one numbered (0: from the newest on); more reports whether there are
// older ones.
func (f *Flow) Activity(ctx context.Context, s prove.Signed, id account.IdentityID, before int64) (events []audit.Event, more bool, err error) {
	r := f.DB.Read(ctx)
	u, err := seen(r, s, id)
	if err != nil {
		return nil, false, err
	}
	events, err = r.History(u.Account, u.ID, before, ActivityPage+1)
	if len(events) > ActivityPage {
		return events[:ActivityPage], true, err
	}
	return events, false, err
}
