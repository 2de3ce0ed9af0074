package account

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"countersign/internal/fault"
)

// An Operation says who of the RAM users is asked for MFA at sign-in
// (MFAOperationForLogin).
type Operation string

// The operations.
const (
	Mandatory   Operation = "mandatory"   // all users
	Independent Operation = "independent" // as each profile says
	Adaptive    Operation = "adaptive"    // only when the sign-in is unusual
)

// Operations are all of them, strictest first.
var Operations = []Operation{Mandatory, Independent, Adaptive}

// IdleDays are the values that the idle limits take.
var IdleDays = []int{90, 180, 365, 730}

// Limits of settings.
const (
	SessionHoursMin = 1
	SessionHoursMax = 24
	MasksMax        = 40
	ModelsMax       = 50
	GraceMax        = 90 * 24 * time.Hour
	ContactMax      = 200 // code points
)

// Settings are what the administrators of an account decide for its RAM users.
// The JSON names are those of the documented API.
type Settings struct {
	MFAOperation Operation `json:"MFAOperationForLogin"`

	// Methods beside virtual MFA and passkey, which are always allowed
	// (VerificationTypes).
	AllowEmail bool `json:"email"`
	AllowSMS   bool `json:"sms"`

	Remember       bool `json:"EnableSaveMFATicket"`
	PasskeySignIn  bool `json:"AllowUserToLoginWithPasskey"`
	ManageMFA      bool `json:"AllowUserToManageMFADevices"`
	ChangePassword bool `json:"AllowUserToChangePassword"`
	ManageKeys     bool `json:"AllowUserToManageAccessKeys"`

	SessionHours int            `json:"LoginSessionDuration"`
	Masks        []netip.Prefix `json:"LoginNetworkMasks"` // empty: anywhere
	IdleUsers    int            `json:"MaxIdleDaysForUsers"`
	IdleKeys     int            `json:"MaxIdleDaysForAccessKeys"`

	GraceUntil time.Time `json:"EnrolmentGraceUntil"` // zero: none
	TwoKinds   bool      `json:"TwoKindsRequired"`

	// Passkeys that may be bound.
	NoSyncedAdministrators bool     `json:"DeviceBoundPasskeysForAdministrators"`
	PasskeyModels          []string `json:"PasskeyAAGUIDs"` // empty: all

	// Contact is what users are told who can sign in no more: a telephone
	// number, a room, an address.
	Contact string `json:"AdministratorContact"`

	Password PasswordPolicy `json:"PasswordPolicy"`
}

// DefaultSettings are those of a new account.
func DefaultSettings() Settings {
	return Settings{
		MFAOperation: Mandatory, AllowEmail: true, AllowSMS: true, PasskeySignIn: true, ManageMFA: true, ChangePassword: true,
		SessionHours: 6, IdleUsers: 365, IdleKeys: 730, Password: DefaultPasswordPolicy(),
	}
}

// Faults about settings.
var (
	ErrOperation    = fault.New(fault.Invalid, "settings.operation").On("mfa_operation")
	ErrSessionHours = fault.New(fault.Invalid, "settings.session_hours").On("session_hours").With("Min", SessionHoursMin).With("Max", SessionHoursMax)
	ErrMasksMany    = fault.New(fault.Invalid, "settings.masks_many").On("masks").With("Max", MasksMax)
	ErrMaskForm     = fault.New(fault.Invalid, "settings.mask_form").On("masks")
	ErrIdleUsers    = fault.New(fault.Invalid, "settings.idle").On("idle_users")
	ErrIdleKeys     = fault.New(fault.Invalid, "settings.idle").On("idle_keys")
	ErrGrace        = fault.New(fault.Invalid, "settings.grace").On("grace_until").With("Days", int(GraceMax/(24*time.Hour)))
	ErrGraceForm    = fault.New(fault.Invalid, "settings.grace_form").On("grace_until")
	ErrContact      = fault.New(fault.Invalid, "settings.contact").On("contact").With("Max", ContactMax)
	ErrModels       = fault.New(fault.Invalid, "settings.models").On("passkey_models").With("Max", ModelsMax)
)

// Check says what is wrong with settings that were changed from before: a date
// that has passed may stay as it was.
func (s Settings) Check(before Settings, now time.Time) error {
	switch {
	case !slices.Contains(Operations, s.MFAOperation):
		return ErrOperation
	case s.SessionHours < SessionHoursMin || s.SessionHours > SessionHoursMax:
		return ErrSessionHours
	case len(s.Masks) > MasksMax:
		return ErrMasksMany
	case !slices.Contains(IdleDays, s.IdleUsers):
		return ErrIdleUsers
	case !slices.Contains(IdleDays, s.IdleKeys):
		return ErrIdleKeys
	case !s.GraceUntil.IsZero() && !s.GraceUntil.Equal(before.GraceUntil) && (!s.GraceUntil.After(now) || s.GraceUntil.After(now.Add(GraceMax))):
		return ErrGrace
	case len(s.PasskeyModels) > ModelsMax:
		return ErrModels
	}
	if contact, err := ParseLine(s.Contact, ContactMax, ErrContact); err != nil || contact != s.Contact {
		return ErrContact
	}
	return s.Password.Check()
}

// Grace reports whether users may still sign in without a device at now.
func (s Settings) Grace(now time.Time) bool { return now.Before(s.GraceUntil) }

// SessionLength is how long a session of a RAM user lasts at most.
func (s Settings) SessionLength() time.Duration { return time.Duration(s.SessionHours) * time.Hour }

// Inside reports whether a RAM user may sign in from a.
func (s Settings) Inside(a netip.Addr) bool {
	if len(s.Masks) == 0 {
		return true
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(s.Masks, func(m netip.Prefix) bool { return m.Contains(a) })
}

// ParseMasks takes CIDRs and single addresses apart that are separated by
// spaces, lines, commas or semicolons.
func ParseMasks(s string) (masks []netip.Prefix, err error) {
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;", r) }) {
		m, err := netip.ParsePrefix(word)
		if err != nil {
			a, err := netip.ParseAddr(word)
			if err != nil || a.Zone() != "" {
				return nil, ErrMaskForm.With("Mask", word)
			}
			a = a.Unmap()
			m = netip.PrefixFrom(a, a.BitLen())
		}
		if m.Addr().Is4In6() {
			if m.Bits() < 96 {
				return nil, ErrMaskForm.With("Mask", word)
			}
			m = netip.PrefixFrom(m.Addr().Unmap(), m.Bits()-96)
		}
		if m = m.Masked(); slices.Contains(masks, m) {
			continue
		}
		if len(masks) == MasksMax { // at once: the text may be long
			return nil, ErrMasksMany
		}
		masks = append(masks, m)
	}
	return masks, nil
}
