package admin

import (
	"context"
	"errors"
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// Faults about lost devices.
var (
	ErrNoReason     = fault.New(fault.Invalid, "unbind.reason").On("reason").With("Max", ReasonMax)
	ErrNoCheck      = fault.New(fault.Invalid, "unbind.check").On("check")
	ErrNothingBound = fault.New(fault.Conflict, "unbind.nothing")
	ErrNoEnrolment  = fault.New(fault.Conflict, "ticket.none")
)

// ReasonMax is the longest reason, in code points.
const ReasonMax = 200

// TicketLifetime is how long a re-enrolment ticket is good.
const TicketLifetime = 24 * time.Hour

// Checks are the ways in which an administrator can have made sure of who
// asks, best first. They are message keys.
var Checks = []string{"in_person", "known_phone", "ticket", "other"}

// An Unbinding says which device is taken off a user, and why.
type Unbinding struct {
	Method factor.Method
	Device string // its id
	Check  string // one of Checks
	Reason string
}

// why checks what an administrator says about an unbinding or a ticket.
func why(check, reason string) (map[string]string, error) {
	reason, err := account.ParseLine(reason, ReasonMax, ErrNoReason)
	switch {
	case !slices.Contains(Checks, check):
		return nil, ErrNoCheck
	case err != nil:
		return nil, err
	case reason == "":
		return nil, ErrNoReason
	}
	return map[string]string{"check": check, "reason": reason}, nil
}

// Unbind takes a device off a user who has lost it. Where nothing is left, the
// id returned names what is shown once: the ticket with which the user binds
// another.
func (f *Flow) Unbind(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, u Unbinding) (shown string, err error) {
	details, err := why(u.Check, u.Reason)
	if err != nil {
		return "", err
	}
	action := func(_ account.Identity, of store.User) (policy.Action, error) {
		if !slices.Contains(bound(of), u.Method) {
			return policy.Action{}, ErrNothingBound
		}
		return unbind(of, u.Device), nil
	}
	err = f.one(ctx, v, s, id, false, action, func(tx *store.Tx, actor account.Identity, of store.User) error {
		shown = ""
		tell, event, err := u.remove(tx, &of)
		if err != nil {
			return err
		}
		left := policy.Facts{Role: of.Role, VirtualMFA: of.VirtualMFA, Phone: of.Phone, Passkeys: of.Passkeys, U2F: of.U2F}
		if !left.SecondFactor() {
			if err := tx.ReplaceRecoveryCodes(of.Account, of.ID, nil); err != nil {
				return err
			}
			if shown, err = f.ticket(tx, s, actor, of, details); err != nil {
				return err
			}
		}
		if err := void(tx, of); err != nil {
			return err
		}
		if err := f.Notify(tx, v, of.Identity, message.DeviceUnboundByAdmin, tell...); err != nil {
			return err
		}
		for key, value := range details {
			event.Details[key] = value
		}
		return record(tx, of, event.Name, u.Device, event.Details)
	})
	return shown, err
}

// bound are the methods that a user has devices of, and its mailbox, whatever
// the account allows.
func bound(u store.User) (methods []factor.Method) {
	for _, one := range []struct {
		has    bool
		method factor.Method
	}{{u.Passkeys > 0, factor.Passkey}, {u.U2F > 0, factor.U2F}, {u.VirtualMFA, factor.VirtualMFA}, {u.Phone, factor.SMS}, {u.SecurityEmail, factor.Email}} {
		if one.has {
			methods = append(methods, one.method)
		}
	}
	return methods
}

// remove takes the device off, and returns whom to tell beside the user, and
// what to write down.
func (u Unbinding) remove(tx *store.Tx, of *store.User) (tell []message.Recipient, event audit.Event, err error) {
	switch u.Method {
	case factor.Passkey, factor.U2F:
		event, err := u.removePasskey(tx, of)
		return nil, event, err
	case factor.VirtualMFA:
		device, err := tx.VirtualMFA(of.Account, of.ID)
		if errors.Is(err, store.ErrNoRow) {
			return nil, event, ErrNothingBound
		}
		if err != nil {
			return nil, event, err
		}
		of.VirtualMFA = false
		event = audit.Event{Name: audit.MFAUnbind, Details: map[string]string{"name": device.Name}}
		return nil, event, tx.RemoveVirtualMFA(of.Account, of.ID, u.Device, ErrNothingBound)
	case factor.SMS:
		phone, err := prove.PhoneOf(&tx.Reader, of.Identity)
		if err != nil {
			return nil, event, err
		}
		if phone.ID != u.Device || phone.ID == "" {
			return nil, event, ErrNothingBound
		}
		of.Phone = false
		event = audit.Event{Name: audit.MobileUnbind, Details: map[string]string{"from": phone.Number.Mask()}}
		tell = []message.Recipient{{Channel: message.SMS, To: string(phone.Number)}}
		return tell, event, tx.RemovePhone(of.Account, of.ID, phone.ID, ErrNothingBound)
	case factor.Email:
		e, err := prove.SecurityEmailOf(&tx.Reader, of.Identity)
		if err != nil {
			return nil, event, err
		}
		if e.ID != u.Device || e.ID == "" {
			return nil, event, ErrNothingBound
		}
		of.SecurityEmail = false
		event = audit.Event{Name: audit.SecurityEmailUnbind, Details: map[string]string{"from": account.MaskEmail(e.Address)}}
		tell = []message.Recipient{{Channel: message.Email, To: e.Address}}
		return tell, event, tx.RemoveSecurityEmail(of.Account, of.ID, e.ID, ErrNothingBound)
	}
	return nil, event, ErrNothingBound
}

// removePasskey takes one passkey or U2F key off: the others stay.
func (u Unbinding) removePasskey(tx *store.Tx, of *store.User) (event audit.Event, err error) {
	p, err := tx.Passkey(of.Account, of.ID, u.Device)
	if errors.Is(err, store.ErrNoRow) || err == nil && methodOf(p) != u.Method {
		return event, ErrNothingBound
	}
	if err != nil {
		return event, err
	}
	if p.IsU2F() {
		of.U2F--
	} else {
		of.Passkeys--
	}
	event = audit.Event{Name: audit.PasskeyDelete, Details: map[string]string{"name": p.Name, "method": string(u.Method)}}
	return event, tx.RemovePasskey(of.Account, of.ID, p.ID, ErrNothingBound)
}

// ticket makes the ticket with which a user who has nothing left binds a
// device, in place of the one before.
func (f *Flow) ticket(tx *store.Tx, s prove.Signed, actor account.Identity, u store.User, details map[string]string) (shown string, err error) {
	codes, err := factor.NewRecoveryCodes(f.Random)
	if err != nil {
		return "", err
	}
	e := store.Enrolment{Kind: store.Reenrol, TicketHash: prove.RecoveryHash(u.Identity, codes[0]), CreatedAt: tx.Now, OpensAt: tx.Now, ExpiresAt: tx.Now.Add(TicketLifetime)}
	if err := tx.SetEnrolment(u.Account, u.ID, e); err != nil {
		return "", err
	}
	if err := record(tx, u, audit.TicketCreate, "", map[string]string{"check": details["check"], "reason": details["reason"]}); err != nil {
		return "", err
	}
	return f.show(tx, s, actor, Shown{Kind: "ticket", Back: "/console/users/" + string(u.ID) + "/authentication",
		Lines: []ShownLine{{ID: u.ID, Name: u.UserName, UPN: u.Name(), Ticket: codes[0], Until: e.ExpiresAt}}})
}

// NewTicket replaces the ticket of a user who has yet to bind a device.
func (f *Flow) NewTicket(ctx context.Context, v prove.Visitor, s prove.Signed, id account.IdentityID, check, reason string) (shown string, err error) {
	details, err := why(check, reason)
	if err != nil {
		return "", err
	}
	action := func(_ account.Identity, u store.User) (policy.Action, error) {
		if !u.Reenrol {
			return policy.Action{}, ErrNoEnrolment
		}
		return one("issue_ticket", u, true), nil
	}
	err = f.one(ctx, v, s, id, false, action, func(tx *store.Tx, actor account.Identity, u store.User) (err error) {
		if shown, err = f.ticket(tx, s, actor, u, details); err != nil {
			return err
		}
		if err := void(tx, u); err != nil {
			return err
		}
		return f.Notify(tx, v, u.Identity, message.TicketMade)
	})
	return shown, err
}
