package prove

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/store"
)

// DeviceNameMax is the longest name of a device, in code points.
const DeviceNameMax = 64

// Faults about what is bound.
var (
	ErrDeviceName   = fault.New(fault.Invalid, "device.name").On("name").With("Max", DeviceNameMax)
	ErrBound        = fault.New(fault.Conflict, "virtual_mfa.bound")
	ErrPhoneChanged = fault.New(fault.Conflict, "phone.changed_meanwhile")
	ErrQuotaDevices = fault.New(fault.Conflict, "quota.devices")
	ErrEmailChanged = fault.New(fault.Conflict, "security_email.changed_meanwhile")

	// ErrSecurityEmailFull is said once the address has answered: before that it
	// would tell strangers who uses it.
	ErrSecurityEmailFull = fault.New(fault.Conflict, "security_email.full").On("email").With("Max", account.SecurityEmailUsers)
)

// A Key is the key of a virtual MFA device that is not bound yet, as people
// see it.
type Key struct {
	ID        string // of its ceremony
	Name      string // of the device, as typed; empty: not yet
	Key       string // base32 in groups of four
	URI       string // otpauth
	Issuer    string
	Account   string
	ExpiresAt time.Time
}

// KeyOf describes the key that a ceremony holds for an identity.
func (p *Prover) KeyOf(c ceremony.Ceremony, i account.Identity) Key {
	return Key{ID: c.ID, Name: c.Private.Name, Key: factor.SeedText(c.Private.Seed), URI: factor.KeyURI(c.Private.Seed, p.Service.Name, i.Name()), Issuer: p.Service.Name, Account: i.Name(), ExpiresAt: c.ExpiresAt}
}

// DeviceName is the name of a device as typed, or one where none was.
func DeviceName(typed string) (string, error) {
	name, err := account.ParseLine(typed, DeviceNameMax, ErrDeviceName)
	if name == "" && err == nil {
		name = "Authenticator app"
	}
	return name, err
}

// AddVirtualMFA binds a device that has shown its codes, and tells of it. What
// was bound before in place of which it comes is gone.
func (p *Prover) AddVirtualMFA(tx *store.Tx, v Visitor, i account.Identity, d factor.VirtualDevice, name string) error {
	id, err := p.DB.NewID()
	if err != nil {
		return err
	}
	if err := tx.Alone("devices:" + string(i.Account)); err != nil {
		return err
	}
	if err := tx.Record(audit.Event{Account: i.Account, Name: audit.MFABind, Identity: i.ID, Target: id, Details: map[string]string{"name": name, "drift": fmt.Sprint(d.Drift)}}); err != nil {
		return err
	}
	n, err := tx.CountVirtualMFA(i.Account)
	if err != nil {
		return err
	}
	if n >= p.Quotas.MFADevices {
		return ErrQuotaDevices
	}
	if err := tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: d, ID: id, Name: name, BoundFrom: v.Address.String()}, ErrBound); err != nil {
		return err
	}
	if err := p.enrolled(tx, v, i); err != nil {
		return err
	}
	return p.Notify(tx, v, i, message.DeviceBound)
}

// enrolled ends what asked for a ticket: something is bound again. A browser
// that was known by the password alone is known no longer.
func (p *Prover) enrolled(tx *store.Tx, v Visitor, i account.Identity) error {
	if !i.IsOwner() {
		if _, err := tx.DropKnownDevices(i.ID); err != nil {
			return err
		}
	}
	if err := tx.EndEnrolment(i.Account, i.ID, store.Reenrol, nil); err != nil {
		return err
	}
	return p.CancelRecovery(tx, v, i)
}

// PhoneOf is the phone of an identity; the zero one where none is attached.
func PhoneOf(r *store.Reader, i account.Identity) (store.Phone, error) {
	p, err := r.Phone(i.Account, i.ID)
	if errors.Is(err, store.ErrNoRow) {
		return store.Phone{}, nil
	}
	return p, err
}

// ParsePhone reads a number to which text messages go.
func (p *Prover) ParsePhone(country, typed string) (account.Phone, error) {
	number, err := account.ParsePhone(country, typed)
	if err == nil && !p.Sending.Reaches(number.Country()) {
		err = account.ErrPhoneCountry
	}
	return number, err
}

// AttachPhone puts a number that has answered in place of the one named by
// old, and tells both.
func (p *Prover) AttachPhone(tx *store.Tx, v Visitor, i account.Identity, old string, number account.Phone) error {
	present, err := PhoneOf(&tx.Reader, i)
	if err != nil {
		return err
	}
	if err := tx.Alone("attach:" + string(number)); err != nil {
		return err
	}
	n, err := tx.PhoneIdentities(number)
	if err != nil {
		return err
	}
	if n >= p.Quotas.PhoneAccounts {
		return account.ErrPhoneTaken
	}
	id, err := p.DB.NewID()
	if err != nil {
		return err
	}
	if err := tx.AttachPhone(i.Account, i.ID, old, store.Phone{ID: id, Number: number, BoundFrom: v.Address.String()}, ErrPhoneChanged); err != nil {
		return err
	}
	if err := p.enrolled(tx, v, i); err != nil {
		return err
	}
	event, kind := audit.Event{Account: i.Account, Name: audit.MobileBind, Identity: i.ID, Target: id, Details: map[string]string{"to": number.Mask()}}, message.PhoneAttached
	tell := []message.Recipient{{Channel: message.SMS, To: string(number)}}
	if old != "" {
		event.Name, kind = audit.MobileModify, message.PhoneChanged
		event.Details["from"] = present.Number.Mask()
		tell = append(tell, message.Recipient{Channel: message.SMS, To: string(present.Number)})
	}
	if err := p.Notify(tx, v, i, kind, tell...); err != nil {
		return err
	}
	return tx.Record(event)
}

// SecurityEmailOf is the security email of a RAM user; the zero one where none
// is bound.
func SecurityEmailOf(r *store.Reader, i account.Identity) (store.SecurityEmail, error) {
	e, err := r.SecurityEmail(i.Account, i.ID)
	if errors.Is(err, store.ErrNoRow) {
		return store.SecurityEmail{}, nil
	}
	return e, err
}

// BindSecurityEmail puts an address that has answered in place of the one named
// by old, and tells both.
func (p *Prover) BindSecurityEmail(tx *store.Tx, v Visitor, i account.Identity, old, address string) error {
	present, err := SecurityEmailOf(&tx.Reader, i)
	if err != nil {
		return err
	}
	key := account.EmailKey(address)
	if err := tx.Alone("bind:email:" + key); err != nil {
		return err
	}
	n, err := tx.SecurityEmailIdentities(address)
	if err != nil {
		return err
	}
	if present.ID != "" && account.EmailKey(present.Address) == key { // our own
		n--
	}
	if n >= account.SecurityEmailUsers {
		return ErrSecurityEmailFull
	}
	id, err := p.DB.NewID()
	if err != nil {
		return err
	}
	if err := tx.BindSecurityEmail(i.Account, i.ID, old, store.SecurityEmail{ID: id, Address: address, BoundFrom: v.Address.String()}, ErrEmailChanged); err != nil {
		return err
	}
	kind, details := message.SecurityEmailBound, map[string]string{"to": account.MaskEmail(address)}
	tell := []message.Recipient{{Channel: message.Email, To: address}}
	if old != "" {
		kind, details["from"] = message.SecurityEmailChanged, account.MaskEmail(present.Address)
		tell = append(tell, message.Recipient{Channel: message.Email, To: present.Address})
	}
	if err := p.Notify(tx, v, i, kind, tell...); err != nil {
		return err
	}
	return tx.Record(audit.Event{Account: i.Account, Name: audit.SecurityEmailBind, Identity: i.ID, Target: id, Details: details})
}

// TakeOff takes the virtual MFA device named off, and tells of it; gone is
// returned when it is not the one that is bound.
func (p *Prover) TakeOff(tx *store.Tx, v Visitor, i account.Identity, device string, gone error) error {
	d, err := tx.VirtualMFA(i.Account, i.ID)
	if errors.Is(err, store.ErrNoRow) {
		return gone
	}
	if err != nil {
		return err
	}
	if err := tx.RemoveVirtualMFA(i.Account, i.ID, device, gone); err != nil {
		return err
	}
	if err := p.Notify(tx, v, i, message.DeviceUnbound); err != nil {
		return err
	}
	return tx.Record(audit.Event{Account: i.Account, Name: audit.MFAUnbind, Identity: i.ID, Target: device, Details: map[string]string{"name": d.Name}})
}

// Recovered takes off what was bound, which is lost, before a recovery binds
// anew; Account Protection goes over to virtual MFA.
func (p *Prover) Recovered(tx *store.Tx, v Visitor, i account.Identity) error {
	if err := tx.EndEnrolment(i.Account, i.ID, store.Recover, ceremony.ErrGone); err != nil {
		return err
	}
	device, err := tx.VirtualMFA(i.Account, i.ID)
	has, err := store.HasRow(err)
	if err == nil && has {
		err = p.TakeOff(tx, v, i, device.ID, ErrBound)
	}
	if err != nil {
		return err
	}
	keys, err := tx.Passkeys(i.Account, i.ID)
	for _, k := range keys {
		if err == nil {
			_, err = p.DropPasskey(tx, v, i, k.ID, ceremony.ErrGone)
		}
	}
	if err != nil {
		return err
	}
	phone, err := PhoneOf(&tx.Reader, i)
	if err == nil && phone.ID != "" {
		err = tx.RemovePhone(i.Account, i.ID, phone.ID, ErrPhoneChanged)
		if err == nil {
			err = tx.Record(audit.Event{Account: i.Account, Name: audit.MobileUnbind, Identity: i.ID, Target: phone.ID, Details: map[string]string{"from": phone.Number.Mask()}})
		}
		if err == nil {
			err = p.Notify(tx, v, i, message.PhoneRemoved, message.Recipient{Channel: message.SMS, To: string(phone.Number)})
		}
	}
	if err != nil {
		return err
	}
	if err := tx.ReplaceRecoveryCodes(i.Account, i.ID, nil); err != nil {
		return err
	}
	facts, err := tx.Facts(i, nil)
	if err != nil {
		return err
	}
	if facts.Protection.On() {
		facts.Protection.Method = factor.VirtualMFA
		if err := tx.SetProtection(i.Account, facts.Protection); err != nil {
			return err
		}
	}
	return tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryFinish, Identity: i.ID})
}

// NewCodes makes a new set of recovery codes; the old set is void. The
// session that asked can read them until it says that they are saved, for as
// long as a ceremony lasts: a change of language must not cost them.
func (p *Prover) NewCodes(tx *store.Tx, session string, i account.Identity) (codes []string, err error) {
	codes, err = factor.NewRecoveryCodes(p.Random)
	if err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(codes))
	for n, c := range codes {
		hashes[n] = RecoveryHash(i, c)
	}
	if err := tx.ReplaceRecoveryCodes(i.Account, i.ID, hashes); err != nil {
		return nil, err
	}
	if err := tx.DropCeremonies(ceremony.Codes, session); err != nil {
		return nil, err
	}
	id, err := p.DB.NewID()
	if err != nil {
		return nil, err
	}
	err = tx.AddCeremony(ceremony.Ceremony{ID: id, Kind: ceremony.Codes, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: session,
		TriesLeft: 1, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.Lifetime), Private: ceremony.Private{Codes: codes}})
	if err != nil {
		return nil, err
	}
	return codes, tx.Record(audit.Event{Account: i.Account, Name: audit.RecoveryCodesCreate, Identity: i.ID})
}

// SentState says how a code stands that a ceremony sent by m.
func (p *Prover) SentState(tx *store.Tx, v Visitor, i account.Identity, ceremonyID string, m factor.Method) (digits int, resend time.Duration, fate Fate, err error) {
	price, err := p.PriceIn(tx, v, i)
	if err != nil {
		return 0, 0, fate, err
	}
	if fate, err = FateOf(tx.Peek(), ceremonyID, m); err != nil {
		return 0, 0, fate, err
	}
	resend, err = ResendIn(tx.Peek(), ceremonyID, tx.Now)
	return throttle.DigitsAt(price), resend, fate, err
}

// fits checks a password by the rules for owners, or by the policy of the account.
func (p *Prover) fits(i account.Identity, facts policy.Facts, password string) error {
	words := []string{"countersign", p.Service.Name, i.Email}
	if i.IsOwner() {
		return account.CheckPassword(password, facts.MFA(), words...)
	}
	return facts.Settings.Password.CheckUserPassword(password, facts.MFA(), i.UserName, append(words, i.Domain)...)
}

// NewPassword checks a password that is to become the identity's, by the rules
// for owners or the policy of the account, and hashes it. It may not be the
// present one, nor one of those before where the policy remembers them.
// present is that one as just typed; empty where only its hash is at hand.
func (p *Prover) NewPassword(ctx context.Context, i account.Identity, facts policy.Facts, password, present string) (hash string, err error) {
	if err := p.fits(i, facts, password); err != nil {
		return "", err
	}
	if password == present {
		return "", account.ErrPasswordSame
	}
	before := []string{""}
	if present == "" {
		before[0] = i.PasswordHash
	}
	if reuse := facts.Settings.Password.Reuse; !i.IsOwner() && reuse > 0 {
		history, err := p.DB.Read(ctx).PasswordHistory(i.Account, i.ID, reuse)
		if err != nil {
			return "", err
		}
		before = append(before, history...)
	}
	for n, h := range before {
		if h == "" {
			continue
		}
		same, _, err := p.Hasher.Verify(ctx, h, password)
		switch {
		case err != nil:
			return "", err
		case same && n == 0:
			return "", account.ErrPasswordSame
		case same:
			return "", account.ErrPasswordReused
		}
	}
	return p.Hasher.Hash(ctx, password)
}

// SetPassword gives the identity the password of the hash, which it chose
// itself, and lets its budget of wrong codes grow.
func (p *Prover) SetPassword(tx *store.Tx, i account.Identity, facts policy.Facts, hash string, alone bool) error {
	if i.IsOwner() {
		if err := tx.SetPassword(i.ID, hash, alone); err != nil {
			return err
		}
	} else {
		if err := tx.SetUserPassword(i, hash, alone, facts.Settings.Password.Reuse); err != nil {
			return err
		}
		own := facts.Profile
		own.PasswordReset, own.InitialUntil = false, time.Time{}
		if err := tx.SetProfile(i.Account, i.ID, own); err != nil {
			return err
		}
	}
	b, version, err := tx.Budget(i.Account, i.ID)
	if err != nil {
		return err
	}
	return tx.SaveBudget(i.Account, i.ID, b.PasswordChanged(tx.Now), version)
}
