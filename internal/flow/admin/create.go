package admin

import (
	"context"
	"errors"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// ErrQuotaUsers says that the account holds as many users as it may.
var ErrQuotaUsers = fault.New(fault.Conflict, "quota.users")

// Create makes the users of lines, each on its own; lines with a fault are
// left as they are. What became of each is shown once, under the id returned.
// A single line that fails is the fault returned.
func (f *Flow) Create(ctx context.Context, v prove.Visitor, s prove.Signed, lines []Line) (shown string, err error) {
	switch {
	case len(lines) == 0:
		return "", ErrNoLines
	case len(lines) > LinesMax+1: // and one about the names of the columns
		return "", ErrTooManyLines
	}
	if err := f.may(ctx, s, CreateUsers); err != nil {
		return "", err
	}
	news, err := f.prepare(ctx, s, lines)
	if err != nil {
		return "", err
	}
	ctx = context.WithoutCancel(ctx) // a list is finished, and its passwords shown
	made, stopped := 0, error(nil)
	for n := range news {
		if news[n].err == nil {
			if news[n].err = stopped; stopped == nil {
				news[n].err = f.add(ctx, v, s, &news[n])
			}
		}
		switch err := news[n].err; {
		case err == nil:
			made++
		case !ofLine(err):
			stopped = err
		}
	}
	if made == 0 && stopped != nil {
		return "", stopped
	}
	if len(news) == 1 && news[0].err != nil {
		return "", news[0].err
	}
	result := Shown{Kind: "created", Back: "/console/users"}
	for _, n := range news {
		result.Lines = append(result.Lines, n.line())
	}
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) (err error) {
		shown, err = f.show(tx, s, s.Identity, result)
		return err
	})
	return shown, err
}

// ofLine reports whether a fault is one of a line alone: those after it are
// gone on with.
func ofLine(err error) bool {
	var wrong *fault.Fault
	return errors.As(err, &wrong) && (wrong.Kind == fault.Invalid || errors.Is(err, account.ErrUserNameTaken) || errors.Is(err, ErrQuotaUsers) || errors.Is(err, ErrHigher))
}

// A new user is on its way into the store.
type newUser struct {
	Line
	identity account.Identity
	password string
	hash     string
	profile  account.Profile
	err      error
}

func (n newUser) line() ShownLine {
	l := ShownLine{Number: n.Number, Name: n.User.Name}
	if n.err != nil {
		wrong := fault.From(n.err)
		if l.Name == "" {
			l.Name = n.Text
		}
		l.Fault, l.FaultArgs = wrong.Code, wrong.Args
		return l
	}
	l.ID, l.UPN, l.Password, l.Until = n.identity.ID, n.identity.Name(), n.password, n.profile.InitialUntil
	return l
}

// prepare checks the lines, and draws and hashes the passwords one after the
// other: a list must not take the place of those who sign in.
func (f *Flow) prepare(ctx context.Context, s prove.Signed, lines []Line) ([]newUser, error) {
	settings, err := f.DB.Read(ctx).Settings(s.Identity.Account)
	if err != nil {
		return nil, err
	}
	news := make([]newUser, len(lines))
	seen := map[string]int{}
	for k, l := range lines {
		n := newUser{Line: l, err: l.Err}
		if n.err == nil {
			n.User, n.err = l.User.Check()
		}
		key := account.UserNameKey(n.User.Name)
		if before, ok := seen[key]; ok && n.err == nil {
			n.err = ErrTwice.With("Line", before)
		}
		if n.err == nil {
			seen[key] = l.Number
			if n.User.SignIn {
				if n.password, err = f.generate(settings.Password, n.User.Name); err != nil {
					return nil, err
				}
				if n.hash, err = f.Hasher.Hash(ctx, n.password); err != nil {
					return nil, err
				}
			}
		}
		news[k] = n
	}
	return news, nil
}

// add makes one user.
func (f *Flow) add(ctx context.Context, v prove.Visitor, s prove.Signed, n *newUser) error {
	id, err := f.DB.NewID()
	if err != nil {
		return err
	}
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		actor, err := f.writes(tx, s, CreateUsers)
		if err != nil {
			return err
		}
		if !actor.Role.ActsOn(n.User.Role) {
			return ErrHigher.On("role")
		}
		i := account.Identity{ID: account.IdentityID(id), Account: actor.Account, Role: n.User.Role, Email: n.User.Email, Epoch: 1, CreatedAt: tx.Now,
			UserName: n.User.Name, DisplayName: n.User.DisplayName, Comments: n.User.Comments}
		if n.hash != "" {
			i.PasswordHash, i.PasswordChangedAt, i.PasswordAlone = n.hash, tx.Now, account.LongEnoughAlone(n.password)
		}
		if err := tx.Alone("users:" + string(i.Account)); err != nil {
			return err
		}
		details := map[string]string{"user": i.UserName, "role": string(i.Role)}
		if err := tx.Record(audit.Event{Account: i.Account, Name: audit.UserCreate, Identity: i.ID, Target: id, Details: details}); err != nil {
			return err
		}
		if err := tx.AddUser(i); err != nil {
			return err
		}
		count, err := tx.CountUsers(i.Account, store.UserQuery{Now: tx.Now})
		if err != nil {
			return err
		}
		if count > f.Quotas.Users {
			return ErrQuotaUsers.With("Max", f.Quotas.Users)
		}
		u, err := tx.User(i.Account, i.ID) // as others see it, with its domain
		if err != nil {
			return err
		}
		n.identity = u.Identity
		if n.hash == "" {
			return nil
		}
		settings, err := tx.Settings(i.Account)
		if err != nil {
			return err
		}
		n.profile = account.Profile{State: account.ProfileActive, MFARequired: n.User.MFARequired, PasswordReset: true, InitialUntil: settings.Password.InitialUntil(tx.Now, true)}
		if err := tx.SetProfile(i.Account, i.ID, n.profile); err != nil {
			return err
		}
		return record(tx, u, audit.ProfileCreate, id, map[string]string{"password": "generated", "mfa_required": yes(n.User.MFARequired), "reset": yes(true)})
	})
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
