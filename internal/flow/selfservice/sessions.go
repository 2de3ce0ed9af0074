package selfservice

import (
	"context"

	"countersign/internal/domain/audit"
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

// EndSession ends one session of the identity's own.
func (f *Flow) EndSession(ctx context.Context, v prove.Visitor, s prove.Signed, id string) error {
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, EndSessions)
		if err != nil {
			return err
		}
		if err := tx.EndSession(i.ID, id, session.ErrNotFound); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.SessionEnd, Identity: i.ID, Target: id})
	})
}

// EndOtherSessions ends every session but this one, and returns how many.
func (f *Flow) EndOtherSessions(ctx context.Context, v prove.Visitor, s prove.Signed) (ended int64, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, EndSessions)
		if err != nil {
			return err
		}
		if ended, err = tx.EndOtherSessions(i.ID, s.Session.ID); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.SessionEnd, Identity: i.ID, Target: "others"})
	})
	return ended, err
}

// historyNames are the events that people recognise as their own.
var historyNames = []audit.Name{audit.AccountReg, audit.ConsoleSignin, audit.ConsoleSignout, audit.PasswordModify, audit.MFABind, audit.MFAUnbind,
	audit.MFAResynchronise, audit.RecoveryCodesCreate, audit.RecoveryCodeUse, audit.IdentityVerify, audit.SessionEnd, audit.DeviceReplay, audit.CodeBudgetEmpty, audit.EmailConfirm,
	audit.EmailModify, audit.MobileBind, audit.MobileModify, audit.MobileUnbind, audit.ProtectionAdd, audit.ProtectionModify, audit.ProtectionRemove,
	audit.ProfileCreate, audit.ProfileUpdate, audit.RoleModify, audit.TicketCreate, audit.DevicesForget, audit.PasswordLock, audit.IdleDisable,
	audit.PasskeyCreate, audit.PasskeyUpdate, audit.PasskeyDelete, audit.PasskeyCounter, audit.U2FImport, audit.U2FUpgrade,
	audit.RecoveryStart, audit.RecoveryCancel, audit.RecoveryFinish}

// HistoryPage is how many events a page of the history shows.
const HistoryPage = 25

// History returns the identity's own events, newest first, from before the
// one numbered (0: from the newest on); more reports whether there are older ones.
func (f *Flow) History(ctx context.Context, s prove.Signed, before int64) (events []audit.Event, more bool, err error) {
	events, err = f.DB.Read(ctx).History(s.Identity.Account, s.Identity.ID, before, HistoryPage+1, historyNames...)
	if len(events) > HistoryPage {
		return events[:HistoryPage], true, err
	}
	return events, false, err
}
