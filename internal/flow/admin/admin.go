// Package admin is what administrators do: users, settings, rescue.
package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// A Flow serves those who see the console of an account.
type Flow struct {
	*prove.Prover
	Lifetimes session.Lifetimes

	// TXT looks the TXT records of a name up.
	TXT func(ctx context.Context, name string) ([]string, error)
}

// Faults about who may do what to whom.
var (
	ErrForbidden = fault.New(fault.Forbidden, "console.forbidden")
	ErrNoUser    = fault.New(fault.NotFound, "user.gone")
	ErrHigher    = fault.New(fault.Forbidden, "user.higher")
	ErrSelf      = fault.New(fault.Forbidden, "user.self")
	ErrSameRole  = fault.New(fault.Conflict, "user.same_role").On("role")
	ErrChanged   = fault.New(fault.Conflict, "user.changed")
	ErrNobody    = fault.New(fault.Invalid, "users.nobody")
	ErrTooMany   = fault.New(fault.Invalid, "users.too_many").With("Max", SelectionMax)
)

// SelectionMax is how many users one act reaches.
const SelectionMax = 200

// The actions, named by message keys.
var (
	CreateUsers = policy.Action{Scenario: policy.ManageUsers, Name: "create_users"}
	ExportUsers = policy.Action{Scenario: policy.ManageUsers, Name: "export_users"}
	ChangeNames = policy.Action{Scenario: policy.ChangePolicy, Name: "change_names"}
)

// EditUser is the action that changes what is written of a user.
func EditUser(d Detail) policy.Action { return one("edit_user", d.User, false) }

// SetUserRole is the action that gives a user another role.
func SetUserRole(d Detail) policy.Action { return one("set_role", d.User, true) }

// UserSignIn is the action that changes console sign-in, but no password.
func UserSignIn(d Detail) policy.Action { return one("user_signin", d.User, false) }

// SetUserPassword is the action that changes console sign-in and the password.
func SetUserPassword(d Detail) policy.Action { return one("set_user_password", d.User, true) }

// UnbindUser is the action that takes a device off a user.
func UnbindUser(d Detail, device string) policy.Action { return unbind(d.User, device) }

// IssueTicket is the action that makes another re-enrolment ticket.
func IssueTicket(d Detail) policy.Action { return one("issue_ticket", d.User, true) }

// DeleteUsers is the action that deletes users, whom people call label.
func DeleteUsers(ids []account.IdentityID, label string) policy.Action {
	return many("delete_users", ids, label, true)
}

// DisableUsers is the action that disables console sign-in.
func DisableUsers(ids []account.IdentityID, label string) policy.Action {
	return many("disable_users", ids, label, false)
}

// ClearUsers is the action that clears console sign-in and passwords.
func ClearUsers(ids []account.IdentityID, label string) policy.Action {
	return many("clear_users", ids, label, true)
}

// RequireUsers is the action that requires MFA of users, or no longer does.
func RequireUsers(ids []account.IdentityID, label string) policy.Action {
	return many("require_mfa", ids, label, false)
}

// EndUserSessions is the action that ends sessions, or forgets browsers.
func EndUserSessions(ids []account.IdentityID, label string) policy.Action {
	return many("end_user_sessions", ids, label, false)
}

// ChangeSettings is the action that makes next the settings of the account: a
// verification for one document is worth nothing for another.
func ChangeSettings(next account.Settings) policy.Action {
	b, err := json.Marshal(normal(next))
	if err != nil { // only for a year that no date has
		b = nil
	}
	return policy.Action{Scenario: policy.ChangePolicy, Name: "change_settings", Target: digest(b), Destructive: true}
}

func one(name string, u store.User, destructive bool) policy.Action {
	return policy.Action{Scenario: policy.ManageUsers, Name: name, Target: string(u.ID), Object: u.Name(), Destructive: destructive}
}

func unbind(u store.User, device string) policy.Action {
	a := one("unbind_user", u, true)
	a.Target += "/" + device
	return a
}

func many(name string, ids []account.IdentityID, label string, destructive bool) policy.Action {
	var all strings.Builder
	for _, id := range sorted(ids) {
		all.WriteString(string(id) + "\n")
	}
	return policy.Action{Scenario: policy.ManageUsers, Name: name, Target: digest([]byte(all.String())), Object: label, Destructive: destructive}
}

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// sorted are the ids in order, each once: also the order in which rows are
// locked.
func sorted(ids []account.IdentityID) []account.IdentityID {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// reads lets those pass who see the console.
func reads(s prove.Signed) error {
	if !s.Identity.Role.Audits() {
		return ErrForbidden
	}
	return nil
}

// writes lets an administrator do what a demands, within the write that does
// it. Whoever is none learns that first.
func (f *Flow) writes(tx *store.Tx, s prove.Signed, a policy.Action) (account.Identity, error) {
	i, err := f.Permit(tx, s, a)
	if errors.Is(err, store.ErrNoRow) {
		return i, session.ErrSignedOut
	}
	if (err == nil || !errors.Is(err, session.ErrSignedOut)) && i.ID != "" && !i.Role.Administers() {
		return i, ErrForbidden
	}
	return i, err
}

// may says in advance what stands between an administrator and an action, for
// acts that take work before the write.
func (f *Flow) may(ctx context.Context, s prove.Signed, a policy.Action) error {
	if !s.Identity.Role.Administers() {
		return ErrForbidden
	}
	d, _, err := f.Decide(f.DB.Read(ctx), s, s.Identity, a)
	if err == nil {
		err = prove.Refusal(d)
	}
	return err
}

// target returns a RAM user of the actor's account. Whatever belongs to another
// account does not exist; the owner is out of everybody's reach.
func target(r *store.Reader, s prove.Signed, id account.IdentityID) (store.User, error) {
	u, err := r.User(s.Identity.Account, id)
	if !errors.Is(err, store.ErrNoRow) {
		return u, err
	}
	i, err := r.Identity(id)
	found, err := store.HasRow(err)
	if err == nil {
		err = ErrNoUser
		if found && i.Account == s.Identity.Account && i.IsOwner() {
			err = ErrHigher
		}
	}
	return u, err
}

// users returns the actor and the RAM users named, on whom it may act, and locks
// them all, in one order for everybody.
func (f *Flow) users(tx *store.Tx, s prove.Signed, ids []account.IdentityID, self bool) (actor account.Identity, users []store.User, err error) {
	ids = sorted(ids)
	switch {
	case len(ids) == 0:
		return actor, nil, ErrNobody
	case len(ids) > SelectionMax:
		return actor, nil, ErrTooMany
	}
	var refusal error
	for _, id := range sorted(append(slices.Clone(ids), s.Identity.ID)) {
		if id == s.Identity.ID {
			if actor, err = tx.Identity(id); errors.Is(err, store.ErrNoRow) {
				return actor, nil, session.ErrSignedOut
			} else if err != nil {
				return actor, nil, err
			}
			if !slices.Contains(ids, id) {
				continue
			}
			if !self && refusal == nil {
				refusal = ErrSelf
			}
		}
		u, err := target(&tx.Reader, s, id)
		switch {
		case errors.Is(err, ErrNoUser) || errors.Is(err, ErrHigher):
			if refusal == nil {
				refusal = err
			}
		case err != nil:
			return actor, nil, err
		}
		users = append(users, u)
	}
	if !actor.Role.Administers() {
		return actor, nil, ErrForbidden
	}
	for _, u := range users {
		if refusal == nil && !actor.Role.ActsOn(u.Role) {
			refusal = ErrHigher
		}
	}
	return actor, users, refusal
}

// errNothing ends a write that has nothing to do, so that it leaves no trace
// and uses no verification up.
var errNothing = errors.New("admin: nothing to do")

// each does something to each of the users named, in one write, and returns
// how many were concerned. do says whether one is.
func (f *Flow) each(ctx context.Context, v prove.Visitor, s prove.Signed, ids []account.IdentityID, self bool, a policy.Action, do func(tx *store.Tx, u store.User) (bool, error)) (n int, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		n = 0
		_, users, err := f.users(tx, s, ids, self)
		if err != nil {
			return err
		}
		if _, err := f.writes(tx, s, a); err != nil {
			return err
		}
		for _, u := range users {
			did, err := do(tx, u)
			if err != nil {
				return err
			}
			if did {
				n++
			}
		}
		if n == 0 {
			return errNothing
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		return 0, nil
	}
	return n, err
}

// one does something to one user, in one write. a says which action it is, or
// why it cannot be done: before anybody is asked to verify.
func (f *Flow) one(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, self bool, a func(actor account.Identity, u store.User) (policy.Action, error), do func(tx *store.Tx, actor account.Identity, u store.User) error) error {
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		actor, users, err := f.users(tx, s, []account.IdentityID{id}, self)
		if err != nil {
			return err
		}
		action, err := a(actor, users[0])
		if err != nil {
			return err
		}
		if actor, err = f.writes(tx, s, action); err != nil {
			return err
		}
		return do(tx, actor, users[0])
	})
}

// record writes down what was done to a user.
func record(tx *store.Tx, u store.User, name audit.Name, target string, details map[string]string) error {
	if details == nil {
		details = map[string]string{}
	}
	details["user"] = u.Name() // copies: the user may be gone or renamed one day
	return tx.Record(audit.Event{Account: u.Account, Name: name, Identity: u.ID, Target: target, Details: details})
}

// void ends whatever was granted to a user: sessions, ceremonies, browsers
// that are known.
func void(tx *store.Tx, u store.User) error {
	if _, err := tx.RaiseEpoch(u.ID, ""); err != nil {
		return err
	}
	_, err := tx.DropKnownDevices(u.ID)
	return err
}
