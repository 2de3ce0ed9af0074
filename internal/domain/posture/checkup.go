package posture

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
)

// CheckupMax is how many things a check-up shows: more would not be read.
const CheckupMax = 5

// What a check-up finds. The names are message keys.
const (
	CheckDue         = "check"             // somebody said "this wasn't me": everything is to be looked at
	NoSecondFactor   = "no_mfa"            // the password is all there is
	UsedRecoveryCode = "lost"              // this session rests on a recovery code
	KeyCopied        = "copied"            // the counter of a passkey went back
	EmailUnconfirmed = "email_unconfirmed" // nobody can be reached there
	NewSignIn        = "new_signin"        // a browser that was not known, lately
	CodesUnsaved     = "codes_unsaved"
	CodesGone        = "no_codes"
	CodesFew         = "few_codes"
	SMSOnly          = "only_sms"
	PasswordExpires  = "password_expires"
	KeyOnlyHere      = "only_here"
	OldKey           = "u2f"
	SecondKind       = "second_kind"
	CodesOld         = "codes_old"
)

const (
	// expiresSoon is how long before the end of a password its user is told.
	expiresSoon = 14 * 24 * time.Hour
	// codesOld is the age at which people are asked where their codes are.
	codesOld = 365 * 24 * time.Hour
)

// An Own is what a check-up of one identity looks at.
type Own struct {
	Facts policy.Facts // those of the session: its proofs, and the time

	OnlyHere     bool // the only device is a passkey that is nowhere else
	Copied       bool // the counter of a passkey went back
	CodesMadeAt  time.Time
	CodesUnsaved bool
	NewSignIns   int  // lately, from browsers that were not known and are not this one
	CheckDue     bool // everything is to be looked at
}

// An Item is one thing to look at.
type Item struct {
	Key    string
	Count  int  // what the sentence counts, if it does
	Advice bool // it would be better so; nothing is wrong
}

// Checkup returns what an identity should look at, the most important first.
// What administrators alone can change is not its to look at.
func Checkup(o Own) (items []Item) {
	f := o.Facts
	managed, passwordManaged := f.Managed()
	own := !managed
	add := func(when bool, key string, count int) {
		if when {
			items = append(items, Item{Key: key, Count: count})
		}
	}
	advise := func(when bool, key string) {
		if when {
			items = append(items, Item{Key: key, Advice: true})
		}
	}
	unprotected := !f.MFA() && (own || f.Due()) || !f.SecondFactor() && f.Due()
	kinds := kinds(f)
	add(o.CheckDue, CheckDue, 0)
	add(unprotected, NoSecondFactor, 0)
	add(proved(f, factor.RecoveryCode) && own, UsedRecoveryCode, 0)
	add(o.Copied, KeyCopied, 0)
	add(f.Role == account.Owner && !f.EmailConfirmed, EmailUnconfirmed, 0)
	add(o.NewSignIns > 0, NewSignIn, o.NewSignIns)
	if own && f.SecondFactor() {
		switch {
		case f.RecoveryCodes == 0:
			add(f.MFA(), CodesGone, 0)
		case o.CodesUnsaved:
			add(true, CodesUnsaved, 0)
		case f.RecoveryCodes <= FewCodes:
			add(f.MFA(), CodesFew, f.RecoveryCodes)
		}
	}
	phoneOnly := own && len(kinds) == 1 && kinds[0] == factor.SMS && !unprotected
	add(phoneOnly, SMSOnly, 0)
	if left, runs := passwordLeft(f); runs && !passwordManaged {
		add(left <= expiresSoon, PasswordExpires, max(0, int(left/(24*time.Hour))))
	}
	onlyHere := own && o.OnlyHere
	add(onlyHere, KeyOnlyHere, 0)
	advise(own && f.U2F > 0, OldKey)
	advise(own && len(kinds) == 1 && !phoneOnly && !onlyHere && !unprotected, SecondKind)
	advise(own && f.RecoveryCodes > FewCodes && !o.CodesUnsaved && !o.CodesMadeAt.IsZero() && f.Now.Sub(o.CodesMadeAt) >= codesOld, CodesOld)
	if len(items) > CheckupMax {
		items = items[:CheckupMax]
	}
	return items
}

// kinds are those of the devices bound. A key bound under U2F is of one kind
// with passkeys.
func kinds(f policy.Facts) (list []factor.Method) {
	if f.Passkeys+f.U2F > 0 {
		list = append(list, factor.Passkey)
	}
	if f.VirtualMFA {
		list = append(list, factor.VirtualMFA)
	}
	if f.Phone && f.Allows(factor.SMS) {
		list = append(list, factor.SMS)
	}
	return list
}

func proved(f policy.Facts, m factor.Method) bool {
	for _, p := range f.Proofs {
		if p.Method == m {
			return true
		}
	}
	return false
}

// passwordLeft is how long a password that runs out is still good.
func passwordLeft(f policy.Facts) (left time.Duration, runs bool) {
	if f.Role == account.Owner || f.Settings.Password.MaxAge == 0 || f.PasswordChangedAt.IsZero() {
		return 0, false
	}
	return f.PasswordChangedAt.Add(time.Duration(f.Settings.Password.MaxAge) * 24 * time.Hour).Sub(f.Now), true
}
