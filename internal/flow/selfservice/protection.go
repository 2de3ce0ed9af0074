package selfservice

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Faults about Account Protection.
var (
	ErrProtectionGone  = fault.New(fault.Expired, "protection.gone")
	ErrProtectionTries = fault.New(fault.Expired, "protection.no_tries")
	ErrNotProtected    = fault.New(fault.NotFound, "protection.off")
	ErrNothingNew      = fault.New(fault.Conflict, "protection.unchanged")
	ErrPasswordShort   = fault.New(fault.Conflict, "protection.password_short")
)

// A SetupStep is what setting Account Protection up takes next.
type SetupStep string

// The steps. After the identity verification comes what is missing.
const (
	StepVerify  SetupStep = "verify"  // who is acting
	StepPasskey SetupStep = "passkey" // a passkey to be created
	StepDevice  SetupStep = "device"  // a code of a virtual MFA device to be bound
	StepNumber  SetupStep = "number"  // a phone to be attached
	StepCode    SetupStep = "code"    // the code sent to it, or to the phone attached already
	StepSave    SetupStep = "save"    // nothing is missing
)

// A Setup is a choice in Account Protection that is not saved yet.
type Setup struct {
	prove.Fate
	ID      string
	Step    SetupStep
	Present policy.Protection // in force; off: none
	Wanted  policy.Protection
	Facts   policy.Facts
	Action  policy.Action
	Options json.RawMessage // of StepPasskey
	Binding prove.Key       // of StepDevice
	Phone   account.Phone   // of StepCode
	NewOne  bool            // the phone is yet to be attached
	Country string          // as chosen beside it
	Digits  int
	Valid   int // minutes that a code sent now is valid
	Resend  time.Duration
}

// BeginProtection keeps a choice until it is verified and saved.
func (f *Flow) BeginProtection(ctx context.Context, v prove.Visitor, s prove.Signed, scenarios []policy.Scenario, m factor.Method) (id string, err error) {
	wanted, err := policy.NewProtection(scenarios, m)
	if err != nil {
		return "", err
	}
	if err := f.Can(m); err != nil {
		return "", fault.From(err).On("method")
	}
	seed, err := factor.NewSeed(f.Random)
	if err != nil {
		return "", err
	}
	if id, err = f.DB.NewID(); err != nil {
		return "", err
	}
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		i, err := tx.Identity(s.Identity.ID)
		if err != nil {
			return err
		}
		facts, err := tx.Facts(i, nil)
		if err != nil {
			return err
		}
		if err := permissible(facts, i, wanted); err != nil {
			return err
		}
		if err := tx.DropCeremonies(ceremony.Protect, s.Session.ID); err != nil {
			return err
		}
		c := ceremony.Ceremony{ID: id, Kind: ceremony.Protect, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Session: s.Session.ID, TriesLeft: throttle.CeremonyTries,
			Action: setAction(facts, id, wanted), CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ceremony.SessionLifetime), Private: ceremony.Private{Protection: &wanted}}
		if m == factor.VirtualMFA && !facts.VirtualMFA {
			c.Private.Seed, c.TriesLeft = seed, bindTries
		}
		return tx.AddCeremony(c)
	})
	return id, err
}

// setAction is the action that saves the choice; its target is the choice, so
// that a proof given for one saves no other.
func setAction(facts policy.Facts, id string, wanted policy.Protection) policy.Action {
	a := turnOnProtection
	if facts.Protection.On() {
		a = editProtection
	}
	a.Target, a.Chosen = id, wanted.Method
	return a
}

// permissible refuses a choice that its author could not live with.
func permissible(facts policy.Facts, i account.Identity, wanted policy.Protection) error {
	if !i.IsOwner() {
		return policy.ErrOwners
	}
	p := facts.Protection
	if p.Method == wanted.Method && strings.Join(words(p), " ") == strings.Join(words(wanted), " ") {
		return ErrNothingNew
	}
	facts.Protection = wanted
	switch wanted.Method { // what is bound before it is saved
	case factor.Passkey:
		facts.Passkeys = max(facts.Passkeys, 1)
	case factor.VirtualMFA:
		facts.VirtualMFA = true
	}
	if !facts.MFA() && !i.PasswordAlone {
		return ErrPasswordShort
	}
	return nil
}

func words(p policy.Protection) []string {
	list := make([]string, len(p.Scenarios))
	for n, s := range p.Scenarios {
		list[n] = string(s)
	}
	return list
}

func (f *Flow) setup(r *store.Reader, now time.Time, s prove.Signed, id string) (c ceremony.Ceremony, err error) {
	c, err = r.CeremonyOfSession(ceremony.Protect, id, s.Session.ID)
	if errors.Is(err, store.ErrNoRow) || (err == nil && !now.Before(c.ExpiresAt)) {
		return c, ErrProtectionGone
	}
	if err == nil && c.TriesLeft <= 0 {
		return c, ErrProtectionTries
	}
	return c, err
}

// step computes what comes next from what is known. A phone that is attached
// must have answered in this session: whoever chooses it must be able to.
func (f *Flow) step(tx *store.Tx, s prove.Signed, i account.Identity, c ceremony.Ceremony, facts policy.Facts) (SetupStep, error) {
	d, given, err := f.Decide(&tx.Reader, s, i, c.Action)
	switch m := c.Private.Protection.Method; {
	case err != nil:
		return "", err
	case d.Step != policy.Complete:
		return StepVerify, nil
	case m == factor.Passkey && facts.Passkeys == 0:
		return StepPasskey, nil
	case m == factor.VirtualMFA && !facts.VirtualMFA:
		return StepDevice, nil
	case m == factor.SMS && !facts.Phone && c.Private.Phone == "":
		return StepNumber, nil
	case m == factor.SMS && (!facts.Phone || given.Method != factor.SMS):
		return StepCode, nil
	}
	return StepSave, nil
}

// ProtectionSetup says how far a choice has come.
func (f *Flow) ProtectionSetup(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (u Setup, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		c, err := f.setup(&tx.Reader, tx.Now, s, id)
		if err != nil {
			return err
		}
		facts, err := tx.Facts(s.Identity, nil)
		if err != nil {
			return err
		}
		u = Setup{ID: c.ID, Present: facts.Protection, Wanted: *c.Private.Protection, Facts: facts, Action: c.Action, NewOne: !facts.Phone, Country: c.Private.Country}
		if u.Step, err = f.step(tx, s, s.Identity, c, facts); err != nil {
			return err
		}
		switch u.Step {
		case StepPasskey:
			u.Options, err = f.PasskeyOptions(tx, s.Identity, c)
			return err
		case StepDevice:
			u.Binding = f.KeyOf(c, s.Identity)
		case StepCode:
			to, err := f.setupDestination(&tx.Reader, s.Identity, c)
			if err != nil {
				return err
			}
			u.Phone, u.Valid = to.Phone, message.ValidMinutes(tx.Now, c.CodeExpires(tx.Now))
			u.Digits, u.Resend, u.Fate, err = f.SentState(tx, v, s.Identity, c.ID, factor.SMS)
			return err
		}
		return nil
	})
	return u, err
}

// setupDestination is where the code of a set-up goes: the phone attached,
// else the one that is to be.
func (f *Flow) setupDestination(r *store.Reader, i account.Identity, c ceremony.Ceremony) (prove.Destination, error) {
	present, err := prove.PhoneOf(r, i)
	if err != nil {
		return prove.Destination{}, err
	}
	if present.ID != "" {
		return prove.Destination{Method: factor.SMS, Phone: present.Number}, nil
	}
	if c.Private.Phone == "" {
		return prove.Destination{}, ErrNoPhone
	}
	return prove.Destination{Method: factor.SMS, Phone: c.Private.Phone, New: true}, nil
}

// SetupNumber names the phone to be attached, and sends a code there.
func (f *Flow) SetupNumber(ctx context.Context, v prove.Visitor, s prove.Signed, id, country, typed string) error {
	number, err := f.ParsePhone(country, typed)
	if err != nil {
		return err
	}
	return f.sendSetup(ctx, v, s, id, func(tx *store.Tx, c *ceremony.Ceremony, facts policy.Facts) error {
		if facts.Phone {
			return ErrPhoneChanged // attached in another tab: that one is asked
		}
		c.Private.Phone, c.Private.Country = number, country
		return tx.SavePrivate(c.ID, c.Private, ErrProtectionGone)
	})
}

// SendSetup sends the code of a set-up, or another one.
func (f *Flow) SendSetup(ctx context.Context, v prove.Visitor, s prove.Signed, id string) error {
	return f.sendSetup(ctx, v, s, id, func(*store.Tx, *ceremony.Ceremony, policy.Facts) error { return nil })
}

func (f *Flow) sendSetup(ctx context.Context, v prove.Visitor, s prove.Signed, id string, prepare func(tx *store.Tx, c *ceremony.Ceremony, facts policy.Facts) error) error {
	return f.SendWithin(ctx, v, s.Identity, func(tx *store.Tx) (sent string, refusal, err error) {
		c, i, facts, err := f.openSetup(tx, s, id)
		if err == nil && c.TriesLeft <= 0 {
			err = ErrProtectionTries
		}
		if err == nil && c.Private.Protection.Method != factor.SMS {
			err = policy.ErrMethod
		}
		if err != nil {
			return "", nil, err
		}
		if err := prepare(tx, &c, facts); err != nil {
			return "", nil, err
		}
		to, err := f.setupDestination(&tx.Reader, i, c)
		if err != nil {
			return "", nil, err
		}
		return f.Send(tx, v, i, c, to, message.Purpose{Key: "protection_sms"})
	})
}

// openSetup finds a set-up whose author is verified, even where the last try
// was just spent. The verification is not used up yet.
func (f *Flow) openSetup(tx *store.Tx, s prove.Signed, id string) (c ceremony.Ceremony, i account.Identity, facts policy.Facts, err error) {
	if c, err = f.setup(&tx.Reader, tx.Now, s, id); err != nil && !errors.Is(err, ErrProtectionTries) {
		return c, i, facts, err
	}
	if i, err = tx.Identity(s.Identity.ID); err != nil {
		return c, i, facts, err
	}
	if facts, err = tx.Facts(i, nil); err != nil {
		return c, i, facts, err
	}
	step, err := f.step(tx, s, i, c, facts)
	if err == nil && step == StepVerify {
		err = prove.ErrVerifyFirst
	}
	return c, i, facts, err
}

// SaveProtection saves a choice for which nothing is missing. It refuses with
// ErrVerifyFirst, or says what comes next.
func (f *Flow) SaveProtection(ctx context.Context, v prove.Visitor, s prove.Signed, id string) (next SetupStep, token secret.Token, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error {
		c, i, facts, err := f.openSetup(tx, s, id)
		if err != nil {
			return err
		}
		if next, err = f.step(tx, s, i, c, facts); err != nil || next != StepSave {
			return err
		}
		token, err = f.protect(tx, v, s, c)
		return err
	})
	return next, token, err
}

// SetupDevice binds the virtual MFA device that shows code, and saves the choice.
func (f *Flow) SetupDevice(ctx context.Context, v prove.Visitor, s prove.Signed, id, name, code string) (token secret.Token, err error) {
	if name, err = prove.DeviceName(name); err != nil {
		return token, err
	}
	if code, err = factor.ParseCode(code); err != nil {
		return token, err
	}
	var refusal error
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		refusal = nil
		c, i, facts, err := f.openSetup(tx, s, id)
		if err != nil {
			return err
		}
		if facts.VirtualMFA || c.Private.Seed == nil {
			return ErrBound
		}
		if err := tx.SpendTry(c.ID, ErrProtectionTries); err != nil {
			return err
		}
		device := factor.VirtualDevice{Seed: c.Private.Seed}
		if device.LastStep, refusal = device.Verify([]string{code}, tx.Now); refusal != nil {
			return tx.Record(audit.Event{Account: i.Account, Name: audit.MFABind, Identity: i.ID, Refused: fault.From(refusal).Code})
		}
		token, err = f.protect(tx, v, s, c, func(i account.Identity) (factor.Proof, error) {
			return factor.Proof{Method: factor.VirtualMFA, At: tx.Now}, f.AddVirtualMFA(tx, v, i, device, name)
		})
		return err
	})
	if err == nil {
		err = refusal
	}
	return token, err
}

// SetupPasskey keeps the passkey that a browser has made, and saves the choice.
func (f *Flow) SetupPasskey(ctx context.Context, v prove.Visitor, s prove.Signed, id, name string, credential []byte) (token secret.Token, err error) {
	r := f.DB.Read(ctx)
	c, err := f.setup(r, f.DB.Now(), s, id)
	if err != nil {
		return token, err
	}
	facts, err := f.mayCreate(r, s, c.Action, name)
	if err == nil && c.Private.Protection.Method != factor.Passkey {
		err = policy.ErrMethod
	}
	if err != nil {
		return token, err
	}
	created, err := f.ReadPasskey(ctx, v, s.Identity, facts, id, credential, audit.Event{Name: audit.PasskeyCreate})
	if err != nil {
		return token, err
	}
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		c, _, _, err := f.openSetup(tx, s, id)
		if err != nil {
			return err
		}
		token, err = f.protect(tx, v, s, c, func(i account.Identity) (factor.Proof, error) {
			if _, err := f.AddPasskey(tx, v, i, created, name); err != nil {
				return factor.Proof{}, err
			}
			err := f.Notify(tx, v, i, message.PasskeyAdded)
			return provedBy(tx, created), err
		})
		return err
	})
	return token, err
}

// SetupCode takes the code sent to the phone, attaches the phone where it is
// new, and saves the choice.
func (f *Flow) SetupCode(ctx context.Context, v prove.Visitor, s prove.Signed, id, code string) (token secret.Token, err error) {
	r := f.DB.Read(ctx)
	c, err := f.setup(r, f.DB.Now(), s, id)
	if err != nil {
		return token, err
	}
	if d, _, err := f.Decide(r, s, s.Identity, c.Action); err != nil || d.Step != policy.Complete {
		return token, errors.Join(err, prove.ErrVerifyFirst)
	}
	err = f.Check(ctx, v, v.As(s.Identity), s.Identity, id, prove.Answer{Method: factor.SMS, Codes: []string{code}, New: true}, audit.Event{Name: audit.ProtectionAdd}, func(tx *store.Tx, proof factor.Proof) error {
		c, _, facts, err := f.openSetup(tx, s, id)
		if err != nil {
			return err
		}
		token, err = f.protect(tx, v, s, c, func(i account.Identity) (factor.Proof, error) {
			if facts.Phone {
				return proof, nil
			}
			return proof, f.AttachPhone(tx, v, i, "", c.Private.Phone)
		})
		return err
	})
	if errors.Is(err, ceremony.ErrNoTries) {
		err = ErrProtectionTries
	}
	return token, err
}

// protect saves a choice once the bindings it takes are made, in one write.
// Every other session ends. Whoever has no recovery codes gets some: losing a
// phone must not lock anybody out.
func (f *Flow) protect(tx *store.Tx, v prove.Visitor, s prove.Signed, c ceremony.Ceremony, bind ...func(i account.Identity) (factor.Proof, error)) (token secret.Token, err error) {
	i, err := f.Permit(tx, s, c.Action)
	if err != nil {
		return token, err
	}
	var proofs []factor.Proof
	for _, b := range bind {
		proof, err := b(i)
		if err != nil {
			return token, err
		}
		proofs = append(proofs, proof)
	}
	facts, err := tx.Facts(i, nil)
	if err != nil {
		return token, err
	}
	present, wanted := facts.Protection, *c.Private.Protection
	if err := permissible(facts, i, wanted); err != nil {
		return token, err
	}
	if err := tx.SetProtection(i.Account, wanted); err != nil {
		return token, err
	}
	event, kind := audit.Event{Account: i.Account, Name: audit.ProtectionAdd, Identity: i.ID,
		Details: map[string]string{"method": string(wanted.Method), "scenarios": strings.Join(words(wanted), " ")}}, message.ProtectionOn
	if present.On() {
		event.Name, kind = audit.ProtectionModify, message.ProtectionChanged
		event.Details["method_before"], event.Details["scenarios_before"] = string(present.Method), strings.Join(words(present), " ")
	}
	if err := tx.Record(event); err != nil {
		return token, err
	}
	if token, err = f.renew(tx, s, proofs...); err != nil {
		return token, err
	}
	if facts.RecoveryCodes == 0 || c.Private.Seed != nil { // after what was granted before is void
		if _, err := f.NewCodes(tx, s.Session.ID, i); err != nil {
			return token, err
		}
	}
	return token, f.Notify(tx, v, i, kind)
}

// TurnOffProtection ends Account Protection. Every other session ends.
func (f *Flow) TurnOffProtection(ctx context.Context, v prove.Visitor, s prove.Signed) (token secret.Token, err error) {
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		facts, err := tx.Facts(s.Identity, nil)
		if err != nil {
			return err
		}
		present := facts.Protection
		if !present.On() {
			return ErrNotProtected
		}
		facts.Protection = policy.Protection{}
		if !facts.MFA() && !s.Identity.PasswordAlone {
			return ErrPasswordShort
		}
		i, err := f.Permit(tx, s, TurnOff)
		if err != nil {
			return err
		}
		if err := tx.RemoveProtection(i.Account, ErrNotProtected); err != nil {
			return err
		}
		if token, err = f.renew(tx, s); err != nil {
			return err
		}
		if err := f.Notify(tx, v, i, message.ProtectionOff); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.ProtectionRemove, Identity: i.ID,
			Details: map[string]string{"method_before": string(present.Method), "scenarios_before": strings.Join(words(present), " ")}})
	})
	return token, err
}
