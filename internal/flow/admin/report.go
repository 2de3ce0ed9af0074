package admin

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"strconv"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/posture"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// GetReport is the action that takes the credential report out of the house.
var GetReport = policy.Action{Scenario: policy.ManageUsers, Name: "credential_report"}

// Report returns the credential report of the account, whose content is not
// in it, and from when on a new one can be made.
func (f *Flow) Report(ctx context.Context, s prove.Signed) (c store.CredentialReport, next time.Time, err error) {
	if err := reads(s); err != nil {
		return c, next, err
	}
	c, err = f.DB.Read(ctx).CredentialReport(s.Identity.Account)
	c.Content = nil
	if next = f.DB.Now(); err == nil && c.MadeAt.Add(posture.ReportEvery).After(next) {
		next = c.MadeAt.Add(posture.ReportEvery)
	}
	return c, next, err
}

// errFresh says that a report is there that is not old enough to be replaced.
var errFresh = errors.New("admin: the report is fresh")

// TakeReport returns the credential report with its content: a new one, where
// the latest is old enough.
func (f *Flow) TakeReport(ctx context.Context, v prove.Visitor, s prove.Signed) (c store.CredentialReport, err error) {
	if err := reads(s); err != nil {
		return c, err
	}
	if d, _, err := f.Decide(f.DB.Read(ctx), s, s.Identity, GetReport); err != nil {
		return c, err
	} else if err := prove.Refusal(d); err != nil { // before the work
		return c, err
	}
	made, err := f.makeReport(ctx, v, s)
	fresh := errors.Is(err, errFresh)
	if err != nil && !fresh {
		return c, err
	}
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, GetReport)
		if err != nil {
			return err
		}
		if !i.Role.Audits() {
			return ErrForbidden
		}
		c = made
		if !fresh {
			err = tx.KeepCredentialReport(i.Account, made, made.MadeAt.Add(-posture.ReportEvery), errFresh)
		}
		switch {
		case fresh || errors.Is(err, errFresh): // perhaps made by somebody else at the same time
			if c, err = tx.Peek().CredentialReport(i.Account); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if err := tx.Record(audit.Event{Account: i.Account, Name: audit.ReportGenerate, Details: map[string]string{"users": strconv.Itoa(c.Rows)}}); err != nil {
				return err
			}
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.ReportGet, Details: map[string]string{"made_at": c.MadeAt.UTC().Format(time.RFC3339)}})
	})
	return c, err
}

// makeReport writes a new report, which nobody has kept yet; errFresh while
// the latest one must do.
func (f *Flow) makeReport(ctx context.Context, v prove.Visitor, s prove.Signed) (c store.CredentialReport, err error) {
	r, a := f.DB.Read(ctx), s.Identity.Account
	now := f.DB.Now()
	latest, err := r.CredentialReport(a)
	if err != nil {
		return c, err
	}
	if !latest.MadeAt.IsZero() && now.Before(latest.MadeAt.Add(posture.ReportEvery)) {
		return c, errFresh
	}
	c = store.CredentialReport{MadeAt: now, MadeBy: v.As(s.Identity).Name}
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	out.UseCRLF = true // RFC 4180
	line := func(who posture.Credentials) error {
		c.Rows++
		return out.Write(who.Fields())
	}
	if err := out.Write(posture.ReportColumns); err != nil {
		return c, err
	}
	if err := f.ownerLine(r, a, line); err != nil {
		return c, err
	}
	err = r.EachUserFacts(a, now, func(u store.User, facts policy.Facts) error {
		return line(posture.Credentials{Identity: u.Identity, Profile: u.Profile, MFA: facts.Protected(), MaxAge: facts.Settings.Password.MaxAge})
	})
	out.Flush()
	c.Content = b.Bytes()
	return c, errors.Join(err, out.Error())
}

func (f *Flow) ownerLine(r *store.Reader, a account.ID, line func(posture.Credentials) error) error {
	owner, err := r.Owner(a)
	if err != nil {
		return err
	}
	facts, err := r.Facts(owner, nil)
	if err != nil {
		return err
	}
	if owner.LastSignInAt, err = r.LastSignIn(a, owner.ID); err != nil {
		return err
	}
	return line(posture.Credentials{Identity: owner, MFA: facts.MFA()})
}
