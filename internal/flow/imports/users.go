package imports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// Into says where people go, and how.
type Into struct {
	Account      account.Account
	SkipExisting bool // leave users alone who are there already
	Dry          bool // do nothing
}

// People says what an import of users did, or would do. Where lines are bad it
// did nothing.
type People struct {
	Created int
	Skipped int            // who were there already
	Kinds   map[string]int // of password hashes
	Devices int            // virtual MFA
	Short   int            // of these, with a seed under 160 bits
	Idle    int            // who will be disabled within days unless they sign in
	Bad     []Bad
}

// Passwords is how many came with one.
func (p People) Passwords() (n int) {
	for _, of := range p.Kinds {
		n += of
	}
	return n
}

// Users makes RAM users of the people of a file, all in one write or none; dry:
// none, but the report is the same. bad are the lines that could not be read.
func (f *Flow) Users(ctx context.Context, actor audit.Actor, list []Person, bad []Bad, into Into) (report People, err error) {
	err = f.DB.Write(ctx, actor, func(tx *store.Tx) error {
		if _, _, err := tx.Count("import:users:"+string(into.Account.ID), importsPerDay, 24*time.Hour); err != nil {
			return err
		}
		settings, err := tx.Settings(into.Account.ID)
		if err != nil {
			return err
		}
		im := &settling{flow: f, tx: tx, into: into, settings: settings, report: People{Kinds: map[string]int{}, Bad: slices.Clone(bad)}}
		for _, p := range list {
			why, err := im.add(p)
			if err != nil {
				return err
			}
			if why != "" {
				im.report.Bad = append(im.report.Bad, Bad{p.Line, why})
			}
		}
		report = im.report
		slices.SortFunc(report.Bad, func(a, b Bad) int { return cmp.Compare(a.Line, b.Line) })
		if into.Dry || len(report.Bad) > 0 || report.Created == 0 {
			return errUndone
		}
		return nil
	})
	if errors.Is(err, errUndone) {
		err = nil
	}
	return report, err
}

// settling is one write of users under way.
type settling struct {
	flow           *Flow
	tx             *store.Tx
	into           Into
	settings       account.Settings
	counted        bool // the numbers are ours
	users, devices int
	report         People
}

// add makes one user, or says why it cannot be made.
func (im *settling) add(p Person) (why string, err error) {
	for _, t := range p.times() {
		if t.After(im.tx.Now) {
			return t.name + " is in the future", nil
		}
	}
	_, err = im.tx.Peek().IdentityBySignInName(account.SignInName{User: account.UserNameKey(p.Name), Alias: string(im.into.Account.ID)})
	there, err := store.HasRow(err)
	switch {
	case err != nil:
		return "", err
	case there && im.into.SkipExisting:
		im.report.Skipped++
		return "", nil
	case there:
		return errThere, nil
	}
	i, err := im.identity(p)
	if err != nil {
		return "", err
	}
	details := map[string]string{"user": i.UserName, "role": string(i.Role), "import": "yes"}
	if err := im.record(audit.UserCreate, i, string(i.ID), details); err != nil {
		return "", err
	}
	if err := im.count(); err != nil {
		return "", err
	}
	if im.users++; im.users > im.flow.Quotas.Users {
		return fmt.Sprintf("the account would have more users than quota_users allows, %d", im.flow.Quotas.Users), nil
	}
	switch err := im.tx.AddUser(i); {
	case errors.Is(err, account.ErrUserNameTaken): // made since we looked
		return errThere, nil
	case err != nil:
		return "", err
	}
	im.report.Created++
	if p.Hash != "" {
		if err := im.profile(i, p); err != nil {
			return "", err
		}
	}
	if p.Seed == nil {
		return "", nil
	}
	return im.device(i, p)
}

const errThere = "name is that of a user whom the account has already"

// identity is the user that a person becomes. Nobody knows how long its
// password is.
func (im *settling) identity(p Person) (account.Identity, error) {
	id, err := im.flow.DB.NewID()
	i := account.Identity{ID: account.IdentityID(id), Account: im.into.Account.ID, Role: p.Role, Email: p.Email, Epoch: 1, CreatedAt: im.tx.Now,
		UserName: p.Name, Domain: im.into.Account.Alias + "." + im.flow.Suffix, DisplayName: p.DisplayName, Comments: p.Comments, LastSignInAt: p.LastSignIn}
	if !p.Created.IsZero() {
		i.CreatedAt = p.Created
	}
	if p.Hash != "" {
		if i.PasswordHash, i.PasswordChangedAt = p.Hash, im.tx.Now; !p.PasswordSet.IsZero() {
			i.PasswordChangedAt = p.PasswordSet
		}
	}
	return i, err
}

// count takes the numbers that the quotas bound, once.
func (im *settling) count() (err error) {
	if im.counted {
		return nil
	}
	im.counted = true
	for _, what := range []string{"users:", "devices:"} {
		if err := im.tx.Alone(what + string(im.into.Account.ID)); err != nil {
			return err
		}
	}
	if im.users, err = im.tx.CountUsers(im.into.Account.ID, store.UserQuery{Now: im.tx.Now}); err != nil {
		return err
	}
	im.devices, err = im.tx.CountVirtualMFA(im.into.Account.ID)
	return err
}

func (im *settling) profile(i account.Identity, p Person) error {
	profile := account.Profile{State: p.State, MFARequired: p.MFARequired, PasswordReset: p.MustChange}
	if p.MustChange { // it is one that was given out
		profile.InitialUntil = im.settings.Password.InitialUntil(im.tx.Now, false)
	}
	if err := im.tx.SetProfile(i.Account, i.ID, profile); err != nil {
		return err
	}
	im.report.Kinds[p.Kind]++
	last := i.CreatedAt
	if !i.LastSignInAt.IsZero() {
		last = i.LastSignInAt
	}
	if p.State == account.ProfileActive && !last.After(im.tx.Now.Add(-time.Duration(im.settings.IdleUsers)*24*time.Hour)) {
		im.report.Idle++
	}
	return im.record(audit.ProfileCreate, i, string(i.ID), map[string]string{"user": i.Name(), "password": "imported", "hash": p.Kind, "state": string(p.State),
		"mfa_required": word(p.MFARequired), "reset": word(p.MustChange), "import": "yes"})
}

// device binds the virtual MFA device of a seed. Codes that it showed until now
// may have been used elsewhere: they count no more.
func (im *settling) device(i account.Identity, p Person) (why string, err error) {
	if im.devices++; im.devices > im.flow.Quotas.MFADevices {
		return fmt.Sprintf("the account would have more virtual MFA devices than quota_mfa_devices allows, %d", im.flow.Quotas.MFADevices), nil
	}
	id, err := im.flow.DB.NewID()
	if err != nil {
		return "", err
	}
	name, err := prove.DeviceName("")
	if err != nil {
		return "", err
	}
	d := store.VirtualMFA{ID: id, Name: name, VirtualDevice: factor.VirtualDevice{Seed: p.Seed, LastStep: factor.StepAt(im.tx.Now)}}
	if err := im.tx.AddVirtualMFA(i.Account, i.ID, d, prove.ErrBound); err != nil {
		return "", err
	}
	im.report.Devices++
	if len(p.Seed) < seedWanted {
		im.report.Short++
	}
	return "", im.record(audit.MFABind, i, id, map[string]string{"user": i.Name(), "name": name, "import": "yes"})
}

func (im *settling) record(name audit.Name, i account.Identity, target string, details map[string]string) error {
	return im.tx.Record(audit.Event{Account: i.Account, Name: name, Identity: i.ID, Target: target, Details: details})
}

func word(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
