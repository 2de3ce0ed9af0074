package selfservice

import (
	"context"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// Sessions returns the live sessions of the identity, the latest used first.
func (f *Flow) Sessions(ctx context.Context, s prove.Signed) ([]session.Session, error) {
	all, err := f.DB.Read(ctx).Sessions(s.Identity.Account, s.Identity.ID)
	live := all[:0]
	for _, one := range all {
		if one.Live(f.DB.Now(), f.Lifetimes) {
			live = append(live, one)
		}
	}
	return live, err
}

// EndSession ends one session of the identity's own; the browser that it was in
// is remembered no longer.
func (f *Flow) EndSession(ctx context.Context, v prove.Visitor, s prove.Signed, id string) error {
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, EndSessions)
		if err != nil {
			return err
		}
		forgot, err := tx.ForgetRememberedOf(i.ID, id)
		if err != nil {
			return err
		}
		if err := tx.EndSession(i.ID, id, session.ErrNotFound); err != nil {
			return err
		}
		event := audit.Event{Account: i.Account, Name: audit.SessionEnd, Identity: i.ID, Target: id}
		if forgot != "" {
			event.Details = map[string]string{"forgot": forgot}
		}
		return tx.Record(event)
	})
}

// EndOtherSessions ends every session but this one, and returns how many. No
// other browser is remembered after that.
func (f *Flow) EndOtherSessions(ctx context.Context, v prove.Visitor, s prove.Signed) (ended int64, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, EndSessions)
		if err != nil {
			return err
		}
		if ended, err = tx.EndOtherSessions(i.ID, s.Session.ID); err != nil {
			return err
		}
		if _, err := tx.ForgetOtherRemembered(s.Session); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.SessionEnd, Identity: i.ID, Target: "others"})
	})
	return ended, err
}

// ForgetDevices is the action that has browsers remembered no longer.
var ForgetDevices = policy.Action{Scenario: policy.ManageSessions, Name: "forget_remembered"}

// Remembered returns the browsers in which the identity is not asked for the
// second step; on says whether its account lets there be any.
func (f *Flow) Remembered(ctx context.Context, s prove.Signed) (list []session.RememberedDevice, on bool, err error) {
	r := f.DB.Read(ctx)
	settings, err := r.Settings(s.Identity.Account)
	if err != nil {
		return nil, false, err
	}
	list, err = r.RememberedDevices(s.Identity.Account, s.Identity.ID)
	return list, settings.Remember && !s.Identity.IsOwner(), err
}

// ForgetDevice has one browser remembered no longer, and ends what rests on
// it: here reports whether that was this session too.
func (f *Flow) ForgetDevice(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (here bool, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, ForgetDevices)
		if err != nil {
			return err
		}
		if err := tx.ForgetRemembered(i.ID, id, session.ErrNotRemembered); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.RememberedForget, Identity: i.ID, Target: id})
	})
	return err == nil && s.Session.Remembered == id, err
}

// ForgetAllDevices does so with every browser.
func (f *Flow) ForgetAllDevices(ctx context.Context, v prove.Visitor, s prove.Signed) (here bool, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, ForgetDevices)
		if err != nil {
			return err
		}
		n, err := tx.ForgetAllRemembered(i.ID)
		if err == nil && n == 0 {
			err = session.ErrNotRemembered
		}
		if err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.RememberedForget, Identity: i.ID, Target: "all"})
	})
	return err == nil && s.Session.Remembered != "", err
}
