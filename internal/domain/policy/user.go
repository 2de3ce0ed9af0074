package policy

import (
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/fault"
)

// Reasons why a RAM user is refused after the right password, each with a way
// out.
var (
	ErrMask            = fault.New(fault.Forbidden, "signin.mask")
	ErrDisabled        = fault.New(fault.Forbidden, "signin.disabled")
	ErrIdle            = fault.New(fault.Forbidden, "signin.idle")
	ErrInitialExpired  = fault.New(fault.Forbidden, "signin.initial_expired")
	ErrPasswordExpired = fault.New(fault.Forbidden, "signin.password_expired")
	ErrUnusual         = fault.New(fault.Forbidden, "signin.unusual")
	ErrPasskeySignIn   = fault.New(fault.Forbidden, "signin.passkey_off")
)

// Reasons why a RAM user cannot change what is its own.
var (
	ErrMFAManaged      = fault.New(fault.Forbidden, "managed.mfa")
	ErrPasswordManaged = fault.New(fault.Forbidden, "managed.password")
	ErrOwners          = fault.New(fault.Forbidden, "managed.owner")
)

// Kinds are the kinds of devices that a RAM user can bind at sign-in, best
// first.
var Kinds = []factor.Method{factor.Passkey, factor.VirtualMFA, factor.SMS}

// Allows reports whether the account lets its users use the method.
func (f Facts) Allows(m factor.Method) bool {
	switch {
	case f.Role == account.Owner:
		return true
	case m == factor.SMS:
		return f.Settings.AllowSMS
	case m == factor.Email:
		return f.Settings.AllowEmail
	}
	return true
}

// has reports whether a device of the kind is bound.
func (f Facts) has(m factor.Method) bool {
	switch m {
	case factor.VirtualMFA:
		return f.VirtualMFA
	case factor.SMS:
		return f.Phone
	case factor.Passkey:
		return f.Passkeys > 0
	case factor.U2F:
		return f.U2F > 0
	}
	return false
}

// kinds are the kinds bound that are allowed, strongest first. A key bound
// under U2F is of one kind with passkeys: it may be the same piece.
func (f Facts) kinds() (kinds []factor.Method) {
	for _, k := range f.devices() {
		if f.Allows(k) && !(k == factor.U2F && f.Passkeys > 0) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// without are the facts once one device of the kind is gone.
func (f Facts) without(m factor.Method) Facts {
	switch m {
	case factor.VirtualMFA:
		f.VirtualMFA = false
	case factor.SMS:
		f.Phone = false
	case factor.Passkey:
		f.Passkeys--
	case factor.U2F:
		f.U2F--
	}
	return f
}

// Without are the facts once one device of the kind is gone: what remains.
func (f Facts) Without(m factor.Method) Facts {
	if !f.has(m) {
		return f
	}
	return f.without(m)
}

// userMethods are those of bound that the account allows. Where nothing else
// is bound that is allowed, a phone that is not still says who somebody is, and
// so does a security email; where nothing at all is bound, the password does.
// After a device was taken off, the ticket does, or the mailbox.
func (f Facts) userMethods(bound []factor.Method) []factor.Method {
	if !f.SecondFactor() {
		switch {
		case f.Reenrol:
			return f.afterUnbinding()
		case f.mailbox():
			return []factor.Method{factor.Email}
		}
		return []factor.Method{factor.Password}
	}
	if len(f.kinds()) == 0 {
		return bound
	}
	return slices.DeleteFunc(bound, func(m factor.Method) bool { return !f.Allows(m) })
}

// userFloor is the strength that identity verification takes of a RAM user.
func (f Facts) userFloor() int {
	if kinds := f.kinds(); len(kinds) > 0 {
		return min(kinds[0].Strength(), factor.VirtualMFA.Strength()) // the strongest; see identityFloor
	}
	if f.Phone {
		return factor.SMS.Strength()
	}
	methods := f.userMethods(nil)
	return methods[len(methods)-1].Strength()
}

// afterUnbinding are the methods, one of which a user proves from whom a device
// was taken: stronger ones first.
func (f Facts) afterUnbinding() []factor.Method {
	if f.mailbox() && f.Allows(factor.Email) {
		return []factor.Method{factor.Ticket, factor.Email}
	}
	return []factor.Method{factor.Ticket}
}

// required reports whether the user must have a device.
func (f Facts) required() bool {
	return f.Settings.MFAOperation == account.Mandatory || f.Profile.MFARequired
}

// userMFA reports whether every sign-in of the RAM user takes a second factor.
func (f Facts) userMFA() bool {
	if len(f.kinds()) == 0 && f.Settings.Grace(f.Now) {
		return false
	}
	switch f.Settings.MFAOperation {
	case account.Mandatory:
		return true
	case account.Independent:
		return f.Profile.MFARequired || len(f.kinds()) > 0
	}
	return false
}

// barred says why a RAM user may not sign in at all.
func (f Facts) barred() *fault.Fault {
	switch {
	case f.Profile.State == account.ProfileIdle:
		return ErrIdle
	case !f.Profile.Enabled():
		return ErrDisabled
	case !f.Settings.Inside(f.Address):
		return ErrMask
	case f.Alone() && !f.Settings.PasskeySignIn:
		return ErrPasskeySignIn
	case f.Alone(): // what follows is about the password
		return nil
	case !f.Profile.InitialUntil.IsZero() && !f.Now.Before(f.Profile.InitialUntil):
		return ErrInitialExpired
	case f.Settings.Password.HardExpire && f.Settings.Password.Expired(f.PasswordChangedAt, f.Now):
		return ErrPasswordExpired
	}
	return nil
}

// signInUser decides what the sign-in of a RAM user still needs after the
// right password.
func (f Facts) signInUser() Decision {
	if reason := f.barred(); reason != nil {
		return Decision{Step: Refuse, Reason: reason}
	}
	d := f.userFactors()
	if d.Step == Complete && f.newPassword() && !f.Alone() {
		d.Step = NewPassword
	}
	return d
}

// newPassword reports whether the user must set a password of its own.
func (f Facts) newPassword() bool {
	return f.Profile.PasswordReset || f.Settings.Password.Expired(f.PasswordChangedAt, f.Now)
}

// userFactors is the table of the sign-in of RAM users: what stands between
// the right password and the session, as to devices.
func (f Facts) userFactors() Decision {
	if f.Recovered() {
		return Decision{Step: Bind, Methods: f.bindable(true)}
	}
	if len(f.kinds()) == 0 {
		return f.withoutDevice()
	}
	methods := f.userMethods(f.boundAsked())
	asked := f.Settings.MFAOperation != account.Adaptive || f.Unusual || f.Recovering
	second := f.Settings.TwoKinds && f.required() && len(f.kinds()) < 2 && !f.Settings.Grace(f.Now)
	if second { // a mailbox binds nothing beside a device
		methods = without(methods, factor.Email)
	}
	// None is since the setting went off, nor while the ticket must be in reach.
	remembered := f.Remembered && f.Settings.Remember && !f.Recovering
	if (asked && !remembered || second) && !f.proved(methods, time.Time{}) {
		if f.Recovering {
			methods = append(methods, factor.Ticket)
		}
		return Decision{Step: Verify, Methods: methods}
	}
	if second {
		return Decision{Step: Bind, Methods: f.bindable(false)}
	}
	return Decision{Step: Complete, Grace: f.Settings.TwoKinds && f.required() && len(f.kinds()) < 2}
}

// boundAsked are the methods of a second step. The security email is no device,
// and stands in for one that is out of reach.
func (f Facts) boundAsked() (methods []factor.Method) {
	methods = f.devices()
	if f.mailbox() {
		methods = append(methods, factor.Email)
	}
	if f.RecoveryCodes > 0 {
		methods = append(methods, factor.RecoveryCode)
	}
	return methods
}

func (f Facts) withoutDevice() Decision {
	unusual := f.Settings.MFAOperation == account.Adaptive && f.Unusual
	if !f.required() && !(unusual && f.Reenrol) { // whose administrator has helped already
		if unusual {
			return Decision{Step: Refuse, Reason: ErrUnusual}
		}
		return Decision{Step: Complete}
	}
	grace := f.required() && !unusual && !f.Reenrol && f.Settings.Grace(f.Now)
	if check := f.beforeBinding(); len(check) > 0 && (f.Phone || !grace) && !f.proved(check, time.Time{}) {
		return Decision{Step: Verify, Methods: check}
	}
	if grace {
		return Decision{Step: Complete, Grace: true}
	}
	return Decision{Step: Bind, Methods: f.bindable(false)}
}

// beforeBinding are the methods, one of which a user without an allowed device
// proves before binding one: the password alone does not replace what was
// taken off, nor what is there although it is no longer allowed, nor does it
// come before a mailbox that says who this is.
func (f Facts) beforeBinding() (methods []factor.Method) {
	switch {
	case f.Phone:
		methods = []factor.Method{factor.SMS}
		if f.RecoveryCodes > 0 {
			methods = append(methods, factor.RecoveryCode)
		}
		if f.Recovering {
			methods = append(methods, factor.Ticket)
		}
	case f.Reenrol:
		methods = f.afterUnbinding()
	case f.mailbox():
		methods = []factor.Method{factor.Email}
		if f.Recovering {
			methods = append(methods, factor.Ticket)
		}
	}
	return methods
}

// bindable are the kinds that can be bound now; anew: in place of what is. A
// passkey beside a key bound under U2F is no other kind.
func (f Facts) bindable(anew bool) (kinds []factor.Method) {
	for _, k := range Kinds {
		if f.Allows(k) && (anew || !f.has(k) && !(k == factor.Passkey && f.U2F > 0)) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// Bindable are the kinds that are allowed and not bound yet.
func (f Facts) Bindable() []factor.Method { return f.bindable(false) }

// Holds decides whether a session still rests on enough, when what the account
// asks may have changed: Complete if it does. What concerns the password alone
// waits for the next sign-in.
func Holds(f Facts) Decision {
	if f.Role == account.Owner {
		return Decision{Step: Complete}
	}
	switch {
	case !f.Profile.Enabled():
		return Decision{Step: Refuse, Reason: ErrDisabled}
	case !f.Settings.Inside(f.Address):
		return Decision{Step: Refuse, Reason: ErrMask}
	}
	return f.userFactors()
}

// Needs reports whether the policy asks for a device of the kind: it can be
// exchanged, but not dropped.
func (f Facts) Needs(m factor.Method) bool {
	if f.Role == account.Owner {
		if left := f.Without(m); m.Signs() { // either kind of key takes what asks for a passkey
			return f.has(m) && f.Protection.Method == factor.Passkey && left.Passkeys+left.U2F == 0
		}
		return f.Protection.Method == m
	}
	if !f.has(m) || !f.Allows(m) {
		return false
	}
	left := len(f.without(m).kinds())
	must := f.required() || f.Settings.MFAOperation == account.Adaptive
	return must && left < len(f.kinds()) && (left == 0 || f.Settings.TwoKinds && left < 2)
}

// Due reports whether a device is due that is not there yet.
func (f Facts) Due() bool {
	if f.Role == account.Owner || !f.required() {
		return false
	}
	return len(f.kinds()) == 0 || f.Settings.TwoKinds && len(f.kinds()) < 2
}

// Usable are the kinds bound that the account allows, best first.
func (f Facts) Usable() []factor.Method { return f.kinds() }

// Protected reports whether something is bound with which the user can take a
// second step, as administrators count it.
func (f Facts) Protected() bool { return len(f.kinds()) > 0 }

// managed says why administrators alone change what a means to change. A
// device that is due may always be bound.
func (f Facts) managed(a Action) *fault.Fault {
	switch {
	case f.Role == account.Owner:
	case a.Owners:
		return ErrOwners
	case a.Scenario == ChangePassword && !f.Settings.ChangePassword:
		return ErrPasswordManaged
	case (a.Scenario == ManageMFA || a.Scenario == ChangeContact) && !f.Settings.ManageMFA && !(a.Binds && f.Due()):
		return ErrMFAManaged
	}
	return nil
}

// Managed reports whether administrators alone change the user's devices, and
// its password.
func (f Facts) Managed() (mfa, password bool) {
	return f.Role != account.Owner && !f.Settings.ManageMFA, f.Role != account.Owner && !f.Settings.ChangePassword
}
