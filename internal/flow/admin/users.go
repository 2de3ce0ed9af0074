package admin

import (
	"context"
	"errors"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// Edit changes what is written of a user, not its role.
func (f *Flow) Edit(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, next NewUser) error {
	next.Role = account.User // not looked at
	next, err := next.Check()
	if err != nil {
		return err
	}
	action := func(_ account.Identity, u store.User) (policy.Action, error) { return one("edit_user", u, false), nil }
	err = f.one(ctx, v, s, id, true, action, func(tx *store.Tx, _ account.Identity, u store.User) error {
		details := map[string]string{}
		var fields []string
		for _, field := range []struct {
			name string
			now  *string
			next string
		}{{"name", &u.UserName, next.Name}, {"display_name", &u.DisplayName, next.DisplayName}, {"email", &u.Email, next.Email}, {"comments", &u.Comments, next.Comments}} {
			if *field.now == field.next {
				continue
			}
			if fields = append(fields, field.name); field.name == "name" {
				details["from"], details["to"] = *field.now, field.next
			}
			*field.now = field.next
		}
		if len(fields) == 0 {
			return errNothing
		}
		details["fields"] = strings.Join(fields, " ")
		if err := tx.UpdateUser(u.Identity); err != nil {
			return err
		}
		return record(tx, u, audit.UserUpdate, string(u.ID), details)
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// SetRole gives a user another role, never one above the actor's. Nobody
// changes their own: and so an administrator always remains, unless the owner
// wants none.
func (f *Flow) SetRole(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, role account.Role) error {
	role, err := account.ParseRole(string(role))
	if err != nil {
		return err
	}
	action := func(actor account.Identity, u store.User) (policy.Action, error) {
		switch {
		case !actor.Role.ActsOn(role):
			return policy.Action{}, ErrHigher
		case u.Role == role:
			return policy.Action{}, ErrSameRole
		}
		return one("set_role", u, true), nil
	}
	return f.one(ctx, v, s, id, false, action, func(tx *store.Tx, _ account.Identity, u store.User) error {
		from := u.Role
		u.Role = role
		if err := tx.UpdateUser(u.Identity); err != nil {
			return err
		}
		if err := f.Notify(tx, v, u.Identity, message.RoleChanged); err != nil {
			return err
		}
		return record(tx, u, audit.RoleModify, string(u.ID), map[string]string{"from": string(from), "to": string(role)})
	})
}

// Delete deletes users with all they have, and returns how many.
func (f *Flow) Delete(ctx context.Context, v prove.Visitor, s prove.Signed, ids []account.IdentityID) (int, error) {
	return f.each(ctx, v, s, ids, false, DeleteUsers(ids, ""), func(tx *store.Tx, u store.User) (bool, error) {
		if err := tx.DeleteUser(u.Account, u.ID); err != nil {
			return false, err
		}
		return true, record(tx, u, audit.UserDelete, string(u.ID), map[string]string{"role": string(u.Role)})
	})
}

// EndSessions ends the sessions of users, and returns how many ended. No
// browser of theirs is remembered after that. The actor's own session lives on.
func (f *Flow) EndSessions(ctx context.Context, v prove.Visitor, s prove.Signed, ids []account.IdentityID) (int, error) {
	ended := map[account.IdentityID]int{} // the write may run again
	_, err := f.each(ctx, v, s, ids, true, EndUserSessions(ids, ""), func(tx *store.Tx, u store.User) (bool, error) {
		end := func() (int64, error) { return tx.EndSessions(u.ID) }
		but := session.Session{Identity: u.ID}
		if u.ID == s.Identity.ID {
			end, but = func() (int64, error) { return tx.EndOtherSessions(u.ID, s.Session.ID) }, s.Session
		}
		n, err := end()
		ended[u.ID] = int(n)
		if err != nil {
			return false, err
		}
		forgot, err := tx.ForgetOtherRemembered(but)
		if err != nil || n+forgot == 0 {
			return false, err
		}
		return true, record(tx, u, audit.SessionEnd, "all", nil)
	})
	all := 0
	for _, n := range ended {
		all += n
	}
	return all, err
}

// EndSession ends one session of a user; the browser that it was in is
// remembered no longer.
func (f *Flow) EndSession(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, sessionID string) error {
	return f.one(ctx, v, s, id, true, ends, func(tx *store.Tx, _ account.Identity, u store.User) error {
		forgot, err := tx.ForgetRememberedOf(u.ID, sessionID)
		if err != nil {
			return err
		}
		if err := tx.EndSession(u.ID, sessionID, session.ErrNotFound); err != nil {
			return err
		}
		details := map[string]string{}
		if forgot != "" {
			details["forgot"] = forgot
		}
		return record(tx, u, audit.SessionEnd, sessionID, details)
	})
}

// ends is the action that ends what was granted to one user.
func ends(_ account.Identity, u store.User) (policy.Action, error) {
	return EndUserSessions([]account.IdentityID{u.ID}, u.Name()), nil
}

// ForgetDevice has one browser of a user remembered no longer, and ends what
// rests on it.
func (f *Flow) ForgetDevice(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, device string) error {
	return f.one(ctx, v, s, id, true, ends, func(tx *store.Tx, _ account.Identity, u store.User) error {
		if err := tx.ForgetRemembered(u.ID, device, session.ErrNotRemembered); err != nil {
			return err
		}
		return record(tx, u, audit.RememberedForget, device, nil)
	})
}

// ForgetDevices makes every browser of a user an unknown one, and none is
// remembered any more.
func (f *Flow) ForgetDevices(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID) error {
	return f.one(ctx, v, s, id, true, ends, func(tx *store.Tx, _ account.Identity, u store.User) error {
		if _, err := tx.DropKnownDevices(u.ID); err != nil {
			return err
		}
		if _, err := tx.ForgetAllRemembered(u.ID); err != nil {
			return err
		}
		return record(tx, u, audit.DevicesForget, "all", nil)
	})
}
