package admin

import (
	"context"
	"errors"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// AuditPage is how many events a page of the audit shows.
const AuditPage = 50

// ExportAudit is the action that takes events out of the house.
var ExportAudit = policy.Action{Scenario: policy.ManageUsers, Name: "export_audit"}

// An AuditQuery is what somebody asks of the audit: people by what they are
// called, the rest as the store has it.
type AuditQuery struct {
	store.AuditQuery
	Actor, Target string // name, user principal name, sign-in email or id; "operator", "system" or "visitor" acts without one
}

// An Audit is a page of an account's audit.
type Audit struct {
	Events  []audit.Entry
	Older   int64                         // the event before which older ones begin; 0: none
	Nobody  bool                          // nobody is called what was asked for
	People  map[account.IdentityID]Person // whom the events concern
	Head    store.Head
	Check   store.AuditCheck // the last look at the chain
	Checked bool             // anybody has looked
}

// A Person is somebody whom an event concerns.
type Person struct {
	Name string // now, or when they were there; empty: nobody has written it down
	User bool   // one who is there
}

// Audit returns a page of the account's events, newest first.
func (f *Flow) Audit(ctx context.Context, s prove.Signed, q AuditQuery) (p Audit, err error) {
	if err := reads(s); err != nil {
		return p, err
	}
	r, a := f.DB.Read(ctx), s.Identity.Account
	if p.Head, err = r.HeadOf(a); err != nil && !errors.Is(err, store.ErrNoRow) && !audit.IsBroken(err) {
		return p, err
	}
	p.Check, err = r.AuditCheck(a)
	if p.Checked, err = store.HasRow(err); err != nil {
		return p, err
	}
	asked, err := f.meant(r, a, q)
	if errors.Is(err, store.ErrNoRow) {
		p.Nobody = true
		return p, nil
	}
	if err != nil {
		return p, err
	}
	asked.Limit = AuditPage
	if p.Events, p.Older, err = r.Events(a, asked); err != nil {
		return p, err
	}
	p.People, err = people(r, a, p.Events)
	return p, err
}

// meant finds whom a query means; ErrNoRow: nobody is called so.
func (f *Flow) meant(r *store.Reader, a account.ID, q AuditQuery) (asked store.AuditQuery, err error) {
	asked = q.AuditQuery
	if asked.Actor, err = f.called(r, a, q.Actor, true); err != nil {
		return asked, err
	}
	target, err := f.called(r, a, q.Target, false)
	asked.Identity = account.IdentityID(target)
	return asked, err
}

// What ids are made of.
const (
	idLength  = 26
	idLetters = "0123456789abcdefghjkmnpqrstvwxyz"
)

// called is the id of whoever is or was called so. Of another account nobody
// is found.
func (f *Flow) called(r *store.Reader, a account.ID, name string, acts bool) (string, error) {
	if name = strings.TrimSpace(name); name == "" {
		return "", nil
	}
	if acts && (name == "operator" || name == "system" || name == "visitor") {
		return name, nil
	}
	i, err := r.Identity(account.IdentityID(name))
	if found, err := store.HasRow(err); err != nil || found && i.Account == a {
		return string(i.ID), err
	}
	for _, by := range []func() (account.Identity, error){
		func() (account.Identity, error) { return r.IdentityByEmail(name) },
		func() (account.Identity, error) {
			return r.IdentityBySignInName(account.ParseSignInName(name, string(a), f.Suffix))
		},
	} {
		i, err := by()
		if found, err := store.HasRow(err); err != nil || found && i.Account == a {
			return string(i.ID), err
		}
	}
	who, err := r.ActorCalled(a, name) // who is gone by now
	if errors.Is(err, store.ErrNoRow) && len(name) == idLength && strings.Trim(name, idLetters) == "" {
		return name, nil // and never did anything
	}
	return who, err
}

// people are those whom events concern.
func people(r *store.Reader, a account.ID, events []audit.Entry) (map[account.IdentityID]Person, error) {
	all := map[account.IdentityID]Person{}
	for _, e := range events {
		p, known := all[e.Identity]
		if e.Identity == "" || known && p.Name != "" {
			continue
		}
		i, err := r.Identity(e.Identity)
		found, err := store.HasRow(err)
		switch {
		case err != nil:
			return nil, err
		case !found || i.Account != a: // gone: some event has a copy
			if p.Name = e.Details["user"]; p.Name == "" && e.Actor.ID == string(e.Identity) {
				p.Name = e.Actor.Name
			}
		case i.IsOwner():
			p.Name = account.MaskEmail(i.Email)
		default:
			p = Person{i.Name(), true}
		}
		all[e.Identity] = p
	}
	return all, nil
}

// checkRest is how long what a look at the chain has found is not looked for
// again: it reads all that was ever recorded.
const checkRest = 10 * time.Second

// ErrChecked says that somebody has just looked, lest what was found then is
// taken for what is so now.
var ErrChecked = fault.New(fault.Throttled, "audit.checked")

// CheckAudit walks the chain of the account and keeps what it found.
func (f *Flow) CheckAudit(ctx context.Context, v prove.Visitor, s prove.Signed) (c store.AuditCheck, err error) {
	if err := reads(s); err != nil {
		return c, err
	}
	r, a := f.DB.Read(ctx), s.Identity.Account
	c, err = r.AuditCheck(a)
	found, err := store.HasRow(err)
	if err != nil {
		return c, err
	}
	if ago := f.DB.Now().Sub(c.At); found && ago < checkRest {
		again := checkRest - ago
		return c, ErrChecked.With("Count", int(ago/time.Second)).With("Again", int((again+time.Second-1)/time.Second)).After(again)
	}
	head, err := r.VerifyChain(a)
	var broken *audit.ErrBroken
	switch {
	case errors.As(err, &broken):
		c = store.AuditCheck{Seq: broken.Seq, Broken: broken.Why}
	case err != nil:
		return c, err
	default:
		c = store.AuditCheck{Seq: head.Seq}
	}
	c.At = f.DB.Now()
	return c, f.DB.Write(ctx, v.As(s.Identity).Quietly(), func(tx *store.Tx) error { return tx.SetAuditCheck(a, c) })
}

// ExportAudit calls each for every event that matches, oldest first, and
// returns the head of the chain as it was then: the last event is that of the
// export itself.
func (f *Flow) ExportAudit(ctx context.Context, v prove.Visitor, s prove.Signed, q AuditQuery, format audit.Format, begin func(store.Head) error, each func(audit.Entry) error) (head store.Head, err error) {
	if err := reads(s); err != nil {
		return head, err
	}
	asked, err := f.meant(f.DB.Read(ctx), s.Identity.Account, q)
	if err != nil && !errors.Is(err, store.ErrNoRow) {
		return head, err
	}
	nobody := err != nil
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.Permit(tx, s, ExportAudit)
		if err != nil {
			return err
		}
		if !i.Role.Audits() {
			return ErrForbidden
		}
		if err := tx.Record(audit.Event{Account: i.Account, Name: audit.AuditExport, Details: q.details(format)}); err != nil {
			return err
		}
		head, err = tx.HeadOf(i.Account)
		return err
	})
	if err != nil {
		return head, err
	}
	if err := begin(head); err != nil || nobody {
		return head, err
	}
	return head, f.DB.Read(ctx).EachEvent(s.Identity.Account, asked, head.Seq, each)
}

// details is what an export leaves: its filters.
func (q AuditQuery) details(format audit.Format) map[string]string {
	d := map[string]string{"format": string(format)}
	set := func(key, value string) {
		if value != "" {
			d[key] = value
		}
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	set("since", at(q.From))
	set("until", at(q.Until))
	set("actor", masked(q.Actor))
	set("target", masked(q.Target))
	set("result", q.Result)
	set("by", q.AuditQuery.Method)
	set("request", q.Request)
	if q.Networks.IsValid() {
		set("network", q.Networks.String())
	}
	names := make([]string, len(q.Names))
	for n, name := range q.Names {
		names[n] = string(name)
	}
	set("events", strings.Join(names, " "))
	return d
}

// masked keeps an address that somebody looked for out of the record.
func masked(name string) string {
	name = audit.Clip(name, 200)
	if strings.Contains(name, "@") {
		return account.MaskEmail(name)
	}
	return name
}
