package signin

import (
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Why a sign-in is unusual: words of the event, in this order.
const (
	NewDevice  = "device"
	NewNetwork = "network"
	CopiedKey  = "passkey" // the counter of one went back
)

// unusual says why a sign-in is unusual: no known-device cookie of this user,
// or a network not seen for this user for a while. Empty: it is usual.
func (f *Flow) unusual(r *store.Reader, now time.Time, v prove.Visitor, i account.Identity) (string, error) {
	known, err := f.Known(r, v, i)
	if err != nil {
		return "", err
	}
	seen, copied, err := r.Seen(i.Account, i.ID, throttle.Network(v.Address).String(), now.Add(-session.NetworkLifetime))
	if err != nil {
		return "", err
	}
	var why []string
	if !known {
		why = append(why, NewDevice)
	}
	if !seen {
		why = append(why, NewNetwork)
	}
	if copied {
		why = append(why, CopiedKey)
	}
	return strings.Join(why, " "), nil
}

// seen makes this sign-in one that others are compared with.
func (f *Flow) seen(tx *store.Tx, v prove.Visitor, i account.Identity) error {
	if err := tx.SeeNetwork(i.Account, i.ID, throttle.Network(v.Address).String()); err != nil {
		return err
	}
	return tx.SignedIn(i.ID)
}

// decide asks the policy, and leaves out what the operator cannot send.
func (f *Flow) decide(facts policy.Facts) policy.Decision {
	d := policy.SignIn(facts)
	if d.Step != policy.Bind {
		return d
	}
	d.Methods = slices.DeleteFunc(d.Methods, func(m factor.Method) bool {
		return f.Can(m) != nil
	})
	if len(d.Methods) == 0 {
		return policy.Decision{Step: policy.Refuse}
	}
	return d
}

// remind says, once a day, until when the device that is due may be missing.
func (f *Flow) remind(tx *store.Tx, i account.Identity, facts policy.Facts) (time.Time, error) {
	first, _, err := tx.Count("reminded:"+string(i.ID), 1, 24*time.Hour)
	if err != nil || !first {
		return time.Time{}, err
	}
	return facts.Settings.GraceUntil, nil
}

// MaxDevices is how many identities a browser is known for.
const MaxDevices = 5

// clear forgets the failures of a known browser: the sign-in is complete.
func (f *Flow) clear(tx *store.Tx, v prove.Visitor, i account.Identity) error {
	for _, token := range v.Devices {
		d, err := tx.KnownDevice(i.ID, token.Hash())
		known, err := store.HasRow(err)
		if err == nil && known {
			err = tx.ClearKnownDevice(d.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remember makes the browser known, or gives the known one a new cookie.
func (f *Flow) remember(tx *store.Tx, v prove.Visitor, i account.Identity) ([]secret.Token, error) {
	token, err := secret.NewToken(f.Random)
	if err != nil {
		return nil, err
	}
	devices := []secret.Token{token}
	rotated := false
	for _, old := range v.Devices {
		d, err := tx.KnownDevice(i.ID, old.Hash())
		known, err := store.HasRow(err)
		if err != nil {
			return nil, err
		}
		if !known {
			if len(devices) < MaxDevices {
				devices = append(devices, old)
			}
			continue
		}
		if rotated {
			err = tx.DropKnownDevice(d.ID)
		} else {
			err = tx.RotateKnownDevice(d.ID, token.Hash())
		}
		if err != nil {
			return nil, err
		}
		rotated = true
	}
	if rotated {
		return devices, nil
	}
	id, err := f.DB.NewID()
	if err != nil {
		return nil, err
	}
	return devices, tx.AddKnownDevice(session.KnownDevice{ID: id, Account: i.Account, Identity: i.ID}, token.Hash())
}
