package admin

import (
	"context"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// Faults about console sign-in.
var (
	ErrNoProfile      = fault.New(fault.Conflict, "user.no_profile")
	ErrPasswordNeeded = fault.New(fault.Invalid, "user.password_needed").On("new_password")
)

// A ProfileChange is what an administrator makes of console sign-in.
type ProfileChange struct {
	Enable      bool
	Password    string // a custom one
	Generate    bool   // or a generated one, shown once
	Reset       bool   // a new one must be set at the next sign-in
	MFARequired bool
}

// sets reports whether the password changes.
func (c ProfileChange) sets() bool { return c.Generate || c.Password != "" }

// action is what the change takes.
func (c ProfileChange) action(u store.User) policy.Action {
	if c.sets() {
		return one("set_user_password", u, true)
	}
	return one("user_signin", u, false)
}

// possible says why the change cannot be made.
func (c ProfileChange) possible(u store.User) error {
	switch {
	case c.Enable && u.PasswordHash == "" && !c.sets():
		return ErrPasswordNeeded
	case !c.Enable && u.Profile.State == account.NoProfile:
		return ErrNoProfile
	}
	return nil
}

// SetSignIn enables or edits the console sign-in of a user. The id returned
// names what is shown once: a generated password.
func (f *Flow) SetSignIn(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, c ProfileChange) (shown string, err error) {
	if c.Generate {
		c.Password, c.Reset = "", true
	}
	before, hash, err := f.newPassword(ctx, s, id, &c)
	if err != nil {
		return "", err
	}
	action := func(_ account.Identity, u store.User) (policy.Action, error) { return c.action(u), c.possible(u) }
	err = f.one(ctx, v, s, id, false, action, func(tx *store.Tx, actor account.Identity, u store.User) error {
		settings, err := tx.Settings(u.Account)
		if err != nil {
			return err
		}
		if c.sets() && u.PasswordHash != before.PasswordHash { // what we compared with is no longer the last one
			return ErrChanged
		}
		was := u.Profile
		if u.Profile, err = c.profile(tx, settings, u, hash); err != nil {
			return err
		}
		if err := tx.SetProfile(u.Account, u.ID, u.Profile); err != nil {
			return err
		}
		if err := c.effects(tx, was, u); err != nil {
			return err
		}
		if c.sets() {
			if err := f.Notify(tx, v, u.Identity, message.PasswordSetByAdmin); err != nil {
				return err
			}
		}
		if c.Generate {
			shown, err = f.show(tx, s, actor, Shown{Kind: "password", Back: "/console/users/" + string(u.ID) + "/authentication",
				Lines: []ShownLine{{ID: u.ID, Name: u.UserName, UPN: u.Name(), Password: c.Password, Until: u.Profile.InitialUntil}}})
		}
		return err
	})
	return shown, err
}

// newPassword prepares the new password outside the write: it is checked, or
// drawn into c, and hashed.
func (f *Flow) newPassword(ctx context.Context, s prove.Signed, id account.IdentityID, c *ProfileChange) (u store.User, hash string, err error) {
	if !s.Identity.Role.Administers() {
		return u, "", ErrForbidden
	}
	if id == s.Identity.ID {
		return u, "", ErrSelf
	}
	r := f.DB.Read(ctx)
	if u, err = target(r, s, id); err != nil || !c.sets() {
		return u, "", err
	}
	if err = c.possible(u); err == nil {
		err = f.may(ctx, s, c.action(u))
	}
	if err != nil {
		return u, "", err
	}
	facts, err := r.Facts(u.Identity, nil)
	if err != nil {
		return u, "", err
	}
	if c.Generate {
		if c.Password, err = f.generate(facts.Settings.Password, u.UserName); err != nil {
			return u, "", err
		}
		hash, err = f.Hasher.Hash(ctx, c.Password)
		return u, hash, err
	}
	facts.Profile.MFARequired = c.MFARequired
	hash, err = f.NewPassword(ctx, u.Identity, facts, c.Password, "")
	return u, hash, err
}

// profile keeps the new password, and returns the profile as it is to be.
func (c ProfileChange) profile(tx *store.Tx, settings account.Settings, u store.User, hash string) (account.Profile, error) {
	p := u.Profile
	if p.State = account.ProfileInactive; c.Enable {
		p.State = account.ProfileActive
	}
	p.MFARequired, p.PasswordReset = c.MFARequired, c.Reset
	if !c.sets() {
		return p, nil
	}
	p.InitialUntil = settings.Password.InitialUntil(tx.Now, c.Generate)
	if err := tx.SetUserPassword(u.Identity, hash, account.LongEnoughAlone(c.Password), settings.Password.Reuse); err != nil {
		return p, err
	}
	b, version, err := tx.Budget(u.Account, u.ID)
	if err != nil {
		return p, err
	}
	return p, tx.SaveBudget(u.Account, u.ID, b.PasswordChanged(tx.Now), version)
}

// effects ends what the profile before allowed, and writes the change down.
func (c ProfileChange) effects(tx *store.Tx, was account.Profile, u store.User) error {
	var err error
	switch {
	case c.sets() || was.Enabled() && !u.Profile.Enabled():
		err = void(tx, u)
	case was.MFARequired != u.Profile.MFARequired:
		err = tx.RecheckSessions(u.ID)
	}
	if err != nil {
		return err
	}
	name := audit.ProfileUpdate
	if was.State == account.NoProfile {
		name = audit.ProfileCreate
	}
	details := map[string]string{"state": string(u.Profile.State), "mfa_required": yes(c.MFARequired), "reset": yes(c.Reset)}
	switch {
	case c.Generate:
		details["password"] = "generated"
	case c.sets():
		details["password"] = "custom"
	}
	return record(tx, u, name, string(u.ID), details)
}

// Disable turns the console sign-in of users off, and returns how many were
// concerned.
func (f *Flow) Disable(ctx context.Context, v prove.Visitor, s prove.Signed, ids []account.IdentityID) (int, error) {
	return f.each(ctx, v, s, ids, false, DisableUsers(ids, ""), func(tx *store.Tx, u store.User) (bool, error) {
		if u.Profile.State == account.NoProfile || u.Profile.State == account.ProfileInactive {
			return false, nil
		}
		return true, disable(tx, u, account.ProfileInactive, audit.ProfileUpdate)
	})
}

// disable turns the console sign-in of a user off.
func disable(tx *store.Tx, u store.User, state account.ProfileState, event audit.Name) error {
	u.Profile.State = state
	if err := tx.SetProfile(u.Account, u.ID, u.Profile); err != nil {
		return err
	}
	if err := void(tx, u); err != nil {
		return err
	}
	return record(tx, u, event, string(u.ID), map[string]string{"state": string(state)})
}

// Clear removes the console sign-in of users with their passwords, and returns
// how many were concerned.
func (f *Flow) Clear(ctx context.Context, v prove.Visitor, s prove.Signed, ids []account.IdentityID) (int, error) {
	return f.each(ctx, v, s, ids, false, ClearUsers(ids, ""), func(tx *store.Tx, u store.User) (bool, error) {
		if u.Profile.State == account.NoProfile {
			return false, nil
		}
		if err := tx.ClearProfile(u.Account, u.ID, ErrNoProfile); err != nil {
			return false, err
		}
		if err := void(tx, u); err != nil {
			return false, err
		}
		return true, record(tx, u, audit.ProfileDelete, string(u.ID), nil)
	})
}

// RequireMFA says in the profiles of users whether MFA is required, and
// returns how many changed.
func (f *Flow) RequireMFA(ctx context.Context, v prove.Visitor, s prove.Signed, ids []account.IdentityID, on bool) (int, error) {
	return f.each(ctx, v, s, ids, true, RequireUsers(ids, ""), func(tx *store.Tx, u store.User) (bool, error) {
		if u.Profile.State == account.NoProfile || u.Profile.MFARequired == on {
			return false, nil
		}
		u.Profile.MFARequired = on
		if err := tx.SetProfile(u.Account, u.ID, u.Profile); err != nil {
			return false, err
		}
		if err := tx.RecheckSessions(u.ID); err != nil {
			return false, err
		}
		return true, record(tx, u, audit.ProfileUpdate, string(u.ID), map[string]string{"state": string(u.Profile.State), "mfa_required": yes(on)})
	})
}
