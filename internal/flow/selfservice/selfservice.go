// Package selfservice is what people change about their own sign-in.
package selfservice

import (
	"context"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Flow serves people who are signed in.
type Flow struct {
	*prove.Prover
	Lifetimes session.Lifetimes
}

// The actions, named by message keys.
var (
	BindPasskey      = policy.Action{Scenario: policy.ManageMFA, Name: "bind_passkey", Binds: true}
	BindVirtualMFA   = policy.Action{Scenario: policy.ManageMFA, Name: "bind_virtual_mfa", Binds: true}
	Resynchronise    = policy.Action{Scenario: policy.ManageMFA, Name: "resynchronise"}
	MakeCodes        = policy.Action{Scenario: policy.ManageMFA, Name: "recovery_codes"}
	ChangePassword   = policy.Action{Scenario: policy.ChangePassword, Name: "change_password"}
	ChangeEmail      = policy.Action{Scenario: policy.ChangeContact, Name: "change_email", Owners: true}
	AttachPhone      = policy.Action{Scenario: policy.ChangeContact, Name: "attach_phone", Binds: true}
	TurnOff          = policy.Action{Scenario: policy.ManageMFA, Name: "protection_off", Target: "protection", Destructive: true, Owners: true}
	EndSessions      = policy.Action{Scenario: policy.ManageSessions, Name: "end_sessions"}
	upgradeU2F       = policy.Action{Scenario: policy.ManageMFA, Name: "upgrade_u2f", Destructive: true, Binds: true}
	removePasskey    = policy.Action{Scenario: policy.ManageMFA, Name: "remove_passkey", Destructive: true}
	replaceMFAAction = policy.Action{Scenario: policy.ManageMFA, Name: "replace_virtual_mfa", Destructive: true}
	unbindMFAAction  = policy.Action{Scenario: policy.ManageMFA, Name: "unbind_virtual_mfa", Destructive: true}
	removePhone      = policy.Action{Scenario: policy.ChangeContact, Name: "remove_phone", Destructive: true}
	changePhone      = policy.Action{Scenario: policy.ChangeContact, Name: "change_phone"}
	turnOnProtection = policy.Action{Scenario: policy.ManageMFA, Name: "protection_on", Destructive: true, Owners: true}
	editProtection   = policy.Action{Scenario: policy.ManageMFA, Name: "protection_edit", Destructive: true, Owners: true}

	bindSecurityEmail   = policy.Action{Scenario: policy.ChangeContact, Name: "bind_security_email", Adds: true}
	changeSecurityEmail = policy.Action{Scenario: policy.ChangeContact, Name: "change_security_email", Adds: true}
	removeSecurityEmail = policy.Action{Scenario: policy.ChangeContact, Name: "remove_security_email", Destructive: true}
)

// Unbind is the action that takes the device off.
func Unbind(device string) policy.Action {
	a := unbindMFAAction
	a.Target = device
	return a
}

// Faults about what people change.
var (
	ErrBound         = prove.ErrBound
	ErrNotBound      = fault.New(fault.NotFound, "virtual_mfa.not_bound")
	ErrBindGone      = fault.New(fault.Expired, "bind.gone")
	ErrPasswordAlone = fault.New(fault.Conflict, "unbind.password_short")
	ErrTooManyCodes  = fault.New(fault.Throttled, "recovery.too_many")
	ErrProtects      = fault.New(fault.Conflict, "protection.in_use")
	ErrNeeded        = fault.New(fault.Conflict, "device.needed")
	ErrNoDevice      = fault.New(fault.Conflict, "recovery.no_device")
)

// An Overview is what Security Settings show.
type Overview struct {
	Account     account.Account
	Identity    account.Identity
	Facts       policy.Facts
	Passkeys    []store.Passkey     // U2F keys too, oldest first
	VirtualMFA  store.VirtualMFA    // zero: none
	Phone       store.Phone         // zero: none
	Mailbox     store.SecurityEmail // zero: none
	CodesLeft   int
	CodesMadeAt time.Time
	CodesUnseen bool // some were never called saved
	Sessions    int
	Remembered  int // browsers that are not asked for the second step

	MFAManaged, PasswordManaged bool // administrators alone change them
}

// MailboxMask is the security email as pages show it.
func (o Overview) MailboxMask() string { return account.MaskEmail(o.Mailbox.Address) }

// Overview gathers the state of every row.
func (f *Flow) Overview(ctx context.Context, s prove.Signed) (o Overview, err error) {
	r := f.DB.Read(ctx)
	o.Identity = s.Identity
	if o.Account, err = r.Account(s.Identity.Account); err != nil {
		return o, err
	}
	if o.Facts, err = r.Facts(s.Identity, s.Session.Proofs); err != nil {
		return o, err
	}
	o.MFAManaged, o.PasswordManaged = o.Facts.Managed()
	if o.Facts.Passkeys+o.Facts.U2F > 0 {
		if o.Passkeys, err = r.Passkeys(s.Identity.Account, s.Identity.ID); err != nil {
			return o, err
		}
	}
	if o.Facts.VirtualMFA {
		if o.VirtualMFA, err = r.VirtualMFA(s.Identity.Account, s.Identity.ID); err != nil && !errors.Is(err, store.ErrNoRow) {
			return o, err
		}
	}
	if o.Facts.Phone {
		if o.Phone, err = r.Phone(s.Identity.Account, s.Identity.ID); err != nil && !errors.Is(err, store.ErrNoRow) {
			return o, err
		}
	}
	if o.Facts.SecurityEmail {
		if o.Mailbox, err = prove.SecurityEmailOf(r, s.Identity); err != nil {
			return o, err
		}
	}
	if o.CodesLeft, o.CodesMadeAt, err = r.RecoveryCodesLeft(s.Identity.Account, s.Identity.ID); err != nil {
		return o, err
	}
	if o.CodesUnseen, err = r.AnyUnsavedCode(s.Identity.Account, s.Identity.ID); err != nil {
		return o, err
	}
	devices, err := r.RememberedDevices(s.Identity.Account, s.Identity.ID)
	if err != nil {
		return o, err
	}
	o.Remembered = len(devices)
	sessions, err := f.Sessions(ctx, s)
	o.Sessions = len(sessions)
	return o, err
}

// renew voids whatever was granted before and gives this session a new token
// with the proofs it has now.
func (f *Flow) renew(tx *store.Tx, s prove.Signed, proof ...factor.Proof) (secret.Token, error) {
	token, err := secret.NewToken(f.Random)
	if err != nil {
		return token, err
	}
	if _, err := tx.RaiseEpoch(s.Identity.ID, s.Session.ID); err != nil {
		return token, err
	}
	if len(proof) > 0 {
		if err := tx.SetSessionProofs(s.Session.ID, append(s.Session.Proofs, proof...)); err != nil {
			return token, err
		}
	}
	return token, tx.RenewSession(s.Session.ID, token.Hash(), session.ErrSignedOut)
}

// ChangePassword replaces the password: the present one is asked, and the
// verification that the scenario takes. Every other session ends.
func (f *Flow) ChangePassword(ctx context.Context, v prove.Visitor, s prove.Signed, current, next string) (token secret.Token, err error) {
	facts, err := f.DB.Read(ctx).Facts(s.Identity, nil)
	if err != nil {
		return token, err
	}
	d, _, err := f.Decide(f.DB.Read(ctx), s, s.Identity, ChangePassword)
	if err := errors.Join(err, prove.Refusal(d)); err != nil {
		return token, err
	}
	if current == "" {
		return token, prove.ErrPasswordAbsent
	}
	hash, err := f.NewPassword(ctx, s.Identity, facts, next, current)
	if err != nil {
		return token, err
	}
	err = f.CurrentPassword(ctx, v, s.Identity, current, func(tx *store.Tx, _ account.Identity, _ factor.Proof) error {
		i, err := f.Permit(tx, s, ChangePassword)
		if err != nil {
			return err
		}
		if err := f.SetPassword(tx, i, facts, hash, account.LongEnoughAlone(next)); err != nil {
			return err
		}
		if token, err = f.renew(tx, s); err != nil {
			return err
		}
		if err := f.Notify(tx, v, i, message.PasswordChanged); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.PasswordModify, Identity: i.ID})
	})
	return token, err
}

// SetLocale keeps the language of messages to someone signed in.
func (f *Flow) SetLocale(ctx context.Context, v prove.Visitor, s prove.Signed, locale string) error {
	if s.Identity.Locale == locale {
		return nil
	}
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		if err := tx.SetLocale(s.Identity.ID, locale); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: s.Identity.Account, Name: audit.LocaleModify, Identity: s.Identity.ID, Details: map[string]string{"locale": locale}})
	})
}
