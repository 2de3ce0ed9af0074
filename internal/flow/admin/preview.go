package admin

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// Why the author of settings would be locked out by them.
var (
	ErrAuthorMask     = fault.New(fault.Conflict, "settings.author_mask").On("masks")
	ErrAuthorUnusual  = fault.New(fault.Conflict, "settings.author_unusual").On("mfa_operation")
	ErrAuthorPassword = fault.New(fault.Conflict, "settings.author_password").On("max_age")
	ErrAuthorPasskey  = fault.New(fault.Conflict, "settings.author_passkey").On("passkey_signin")
	ErrAuthorOut      = fault.New(fault.Conflict, "settings.author_out")
)

// AffectedMax is how many of the affected a preview names.
const AffectedMax = 20

// An Affected is a user for whom something changes.
type Affected struct {
	ID     account.IdentityID
	Name   string
	Reason string // the end of a message key: affected.REASON
}

// A Preview says what settings would change if they were saved.
type Preview struct {
	Users, Enabled                                 int
	Bind, Asked, Freed, LockedOut                  []Affected // the first of each
	BindCount, AskedCount, FreedCount, LockedCount int
	SignedOut                                      int          // live sessions that end at their next request
	Author                                         *fault.Fault // why the author would be locked out; nil: is not
	Changed                                        []string     // names of what differs, as in the API
}

// Preview says what next would change.
func (f *Flow) Preview(ctx context.Context, v prove.Visitor, s prove.Signed, next account.Settings) (p Preview, err error) {
	if !s.Identity.Role.Administers() {
		return p, ErrForbidden
	}
	r, now := f.DB.Read(ctx), f.DB.Now()
	next = normal(next)
	before, err := r.Settings(s.Identity.Account)
	if err != nil {
		return p, err
	}
	changed, err := f.check(before, next, now)
	if err != nil {
		return p, err
	}
	for _, c := range changed {
		p.Changed = append(p.Changed, c.name)
	}
	err = r.EachUserFacts(s.Identity.Account, now, func(u store.User, facts policy.Facts) error {
		p.Users++
		if !facts.Profile.Enabled() {
			return nil
		}
		p.Enabled++
		sessions, err := f.liveSessions(r, u, now)
		if err != nil {
			return err
		}
		masked, err := outside(r, u, sessions, before, next, now)
		if err == nil {
			p.affect(u, facts, next, sessions, masked)
		}
		return err
	})
	if err != nil {
		return p, err
	}
	i, err := r.Identity(s.Identity.ID)
	if err == nil {
		p.Author, err = lockedOut(r, v, i, next)
	}
	return p, err
}

// outside reports whether the masks would keep a user out: where they are now,
// else every network from which they have signed in lately.
func outside(r *store.Reader, u store.User, sessions []session.Session, before, next account.Settings, now time.Time) (bool, error) {
	if len(sessions) > 0 { // the latest used first
		address := addressOf(sessions[0])
		return before.Inside(address) && !next.Inside(address), nil
	}
	if len(next.Masks) == 0 || u.LastSignInAt.IsZero() {
		return false, nil
	}
	networks, err := r.SeenNetworks(u.Account, u.ID, now.Add(-session.NetworkLifetime))
	within := func(s account.Settings) bool {
		return len(s.Masks) == 0 || slices.ContainsFunc(networks, func(n netip.Prefix) bool {
			return slices.ContainsFunc(s.Masks, func(m netip.Prefix) bool { return m.Overlaps(n) })
		})
	}
	return len(networks) > 0 && within(before) && !within(next), err
}

// liveSessions are those of a user. Whoever has not signed in for as long as a
// session can last has none, and is not looked up.
func (f *Flow) liveSessions(r *store.Reader, u store.User, now time.Time) (live []session.Session, err error) {
	if !u.LastSignInAt.After(now.Add(-account.SessionHoursMax * time.Hour)) {
		return nil, nil
	}
	all, err := r.Sessions(u.Account, u.ID)
	for _, one := range all {
		if !one.Live(now, f.Lifetimes) || err != nil {
			continue
		}
		var rests bool
		if rests, err = r.Rests(one); !rests {
			one.Remembered = ""
		}
		live = append(live, one)
	}
	return live, err
}

// affect counts what changes for one user.
func (p *Preview) affect(u store.User, before policy.Facts, next account.Settings, sessions []session.Session, masked bool) {
	after := before
	after.Settings = next
	for _, s := range sessions {
		if holds(before, s) && !holds(after, s) {
			p.SignedOut++
		}
	}
	was, is := waysOf(before), waysOf(after)
	switch {
	case masked:
		note(&p.LockedOut, &p.LockedCount, u, "mask")
	case is.refused() != nil && was.refused() == nil:
		why := reason(is.refused())
		if was.alone && was.password() != nil { // the password had gone before
			why = "passkey_off"
		}
		note(&p.LockedOut, &p.LockedCount, u, why)
	case is.alone && is.password() != nil: // the passkey still leads in: it is what is asked now
	case is.bind() && !was.bind():
		note(&p.Bind, &p.BindCount, u, bindReason(after))
	case is.usual.asked && !was.usual.asked:
		note(&p.Asked, &p.AskedCount, u, "asked")
	case is.unusual.asked && !was.unusual.asked:
		note(&p.Asked, &p.AskedCount, u, "asked_unusual")
	case was.usual.asked && !is.usual.asked && is.unusual.asked:
		note(&p.Freed, &p.FreedCount, u, "freed_usual")
	case was.usual.asked && !is.usual.asked, was.unusual.asked && !is.unusual.asked:
		note(&p.Freed, &p.FreedCount, u, "freed")
	}
}

// reason names why somebody is refused.
func reason(f *fault.Fault) string {
	switch f {
	case policy.ErrUnusual:
		return "unusual"
	case policy.ErrPasswordExpired:
		return "password_expired"
	}
	return "other"
}

func note(list *[]Affected, count *int, u store.User, reason string) {
	if *count++; len(*list) < AffectedMax {
		*list = append(*list, Affected{ID: u.ID, Name: u.UserName, Reason: reason})
	}
}

func bindReason(f policy.Facts) string {
	switch {
	case len(f.Usable()) > 0:
		return "bind_second"
	case f.SecondFactor():
		return "bind_not_allowed"
	}
	return "bind"
}

// An outcome is what a sign-in with the right password comes to.
type outcome struct {
	asked, bind bool
	refused     *fault.Fault
}

// ways are the two circumstances of a sign-in by password, and whether a
// passkey alone leads in.
type ways struct {
	usual, unusual outcome
	alone          bool
}

// waysOf are those of a user, from wherever it is allowed.
func waysOf(f policy.Facts) ways {
	f.Settings.Masks = nil
	return ways{walk(f, false), walk(f, true), alone(f)}
}

func (w ways) bind() bool { return w.usual.bind || w.unusual.bind }

// password says why the password does not lead in.
func (w ways) password() *fault.Fault {
	if w.usual.refused != nil {
		return w.usual.refused
	}
	return w.unusual.refused
}

// refused says why no way leads in.
func (w ways) refused() *fault.Fault {
	if w.alone {
		return nil
	}
	return w.password()
}

// walk goes through a sign-in by password with everything that is asked.
func walk(f policy.Facts, unusual bool) (o outcome) {
	f.Unusual, f.Remembered = unusual, false
	f.Proofs = []factor.Proof{{Method: factor.Password, At: f.Now}}
	for range 4 { // password, a check before binding, a second step
		d := policy.SignIn(f)
		switch d.Step {
		case policy.Verify:
			o.asked = true
			f.Proofs = append(f.Proofs, factor.Proof{Method: d.Methods[0], At: f.Now})
			continue
		case policy.Bind:
			o.bind = true
		case policy.Refuse:
			if o.refused = d.Reason; o.refused == nil {
				o.refused = ErrAuthorOut
			}
		}
		return o
	}
	return o
}

// holds reports whether a session goes on at its next request.
func holds(f policy.Facts, s session.Session) bool {
	f.Proofs, f.Address, f.Unusual, f.Remembered = s.Proofs, addressOf(s), s.Unusual != "", s.Remembered != ""
	return policy.Holds(f).Step == policy.Complete && f.Now.Before(s.CreatedAt.Add(f.Settings.SessionLength()))
}

func addressOf(s session.Session) netip.Addr {
	a, _ := netip.ParseAddr(s.Address) // the zero one is inside no mask
	return a
}

// begun is what is decided of a sign-in that begins with the method.
func begun(f policy.Facts, m factor.Method) policy.Decision {
	f.Proofs = []factor.Proof{{Method: m, At: f.Now, Verified: m.Signs()}}
	return policy.SignIn(f)
}

// alone reports whether a passkey leads in without the password.
func alone(f policy.Facts) bool {
	return f.Passkeys > 0 && begun(f, factor.Passkey).Step != policy.Refuse
}

// lockedOut says why the author of settings could not go on, or sign in again,
// from where they are; nil: they could. The owner always can.
func lockedOut(r *store.Reader, v prove.Visitor, i account.Identity, next account.Settings) (*fault.Fault, error) {
	if i.IsOwner() {
		return nil, nil
	}
	before, err := r.Facts(i, nil)
	if err != nil {
		return nil, err
	}
	before.Address = v.Address
	after := before
	after.Settings = next
	for _, unusual := range []bool{false, true} {
		before.Unusual, after.Unusual = unusual, unusual
		was, is := begun(before, factor.Password), begun(after, factor.Password)
		same := was.Step == policy.Refuse && was.Reason == is.Reason
		if is.Step != policy.Refuse || alone(after) || same && !alone(before) {
			continue
		}
		if same { // the passkey was the way in, and no longer is
			return ErrAuthorPasskey, nil
		}
		switch is.Reason {
		case policy.ErrMask:
			return ErrAuthorMask, nil
		case policy.ErrUnusual:
			return ErrAuthorUnusual, nil
		case policy.ErrPasswordExpired:
			return ErrAuthorPassword, nil
		}
		return ErrAuthorOut, nil
	}
	return nil, nil
}
