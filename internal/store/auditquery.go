package store

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
)

// An AuditQuery says which events of an account: those for which all that is
// set holds.
type AuditQuery struct {
	From, Until time.Time // Until is the first instant that is too late
	Actor       string    // id, or kind of whoever has none
	Identity    account.IdentityID
	Names       []audit.Name
	Result      string // "done", "refused"
	Method      string
	Networks    netip.Prefix
	Request     string
	Before      int64 // events older than the one numbered
	Limit       int
}

const (
	lookups    = "seq, identity_id, name, at, actor, actor_name, address, request, refused, method, content, hash"
	storedFrom = "SELECT " + lookups + " FROM audit_event WHERE account_id = $1"
)

func scanStored(scan func(...any) error) (s audit.Stored, err error) {
	err = scan(&s.Seq, &s.Identity, &s.Name, &s.At, &s.Actor, &s.ActorName, &s.Address, &s.Request, &s.Refused, &s.Method, &s.Content, &s.Hash)
	return s, err
}

// query is the text and the values of a query, without order. The texts are
// few: each is kept once it is prepared.
func (q AuditQuery) query(a account.ID) (string, []any) {
	text, args := storedFrom, []any{a}
	add := func(condition string, value any) {
		args = append(args, value)
		text += " AND " + strings.ReplaceAll(condition, "$", fmt.Sprintf("$%d", len(args)))
	}
	if !q.From.IsZero() {
		add("at >= $", micros(q.From))
	}
	if !q.Until.IsZero() {
		add("at < $", micros(q.Until))
	}
	if q.Actor != "" {
		add("actor = $", q.Actor)
	}
	if q.Identity != "" {
		add("identity_id = $", q.Identity)
	}
	switch q.Result {
	case "done":
		text += " AND refused = ''"
	case "refused":
		text += " AND refused <> ''"
	}
	if q.Method != "" {
		add("method = $", q.Method)
	}
	if q.Networks.IsSingleIP() {
		add("address = $", q.Networks.Addr().String())
	}
	if q.Request != "" {
		add("request = $", q.Request)
	}
	if len(q.Names) > 0 {
		marks := make([]string, len(q.Names))
		for n, name := range q.Names {
			args = append(args, name)
			marks[n] = fmt.Sprintf("$%d", len(args))
		}
		text += " AND name IN (" + strings.Join(marks, ", ") + ")"
	}
	return text, args
}

// within reports whether an event comes from the networks asked for.
func (q AuditQuery) within(s audit.Stored) bool {
	if !q.Networks.IsValid() {
		return true
	}
	address, err := netip.ParseAddr(s.Address)
	return err == nil && q.Networks.Contains(address)
}

// lookThrough is how many events are looked at for a page of those from a
// network, which no index knows.
const lookThrough = 20_000

// errEnough ends the reading of rows.
var errEnough = errors.New("store: enough rows")

// Events returns a page of the events of an account, newest first, and the one
// before which older ones begin (0: there are none).
func (r *Reader) Events(a account.ID, q AuditQuery) (list []audit.Entry, older int64, err error) {
	text, args := q.query(a)
	if q.Before > 0 {
		args = append(args, q.Before)
		text += fmt.Sprintf(" AND seq < $%d", len(args))
	}
	limit := q.Limit + 1
	if q.Networks.IsValid() && !q.Networks.IsSingleIP() {
		limit = lookThrough
	}
	args = append(args, limit)
	seen, last := 0, int64(0)
	err = r.each(text+fmt.Sprintf(" ORDER BY seq DESC LIMIT $%d", len(args)), args, func(scan func(...any) error) error {
		s, err := scanStored(scan)
		if seen++; err != nil {
			return err
		}
		switch last = s.Seq; {
		case !q.within(s):
		case len(list) == q.Limit:
			older = list[len(list)-1].Seq
			return errEnough
		default:
			list = append(list, audit.ReadEntry(a, s))
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if older == 0 && seen == limit { // there is more to look through
		older = last
	}
	return list, older, err
}

// eventsAtOnce are read before they are handed on; no statement looks at more
// than lookThrough, however few there are of what is asked for.
const eventsAtOnce = 1000

// EachEvent calls f for every event of an account that a query finds, oldest
// first, up to the one numbered, while nothing is held: f may take its time.
func (r *Reader) EachEvent(a account.ID, q AuditQuery, upTo int64, f func(audit.Entry) error) error {
	text, args := q.query(a)
	n := len(args)
	text += fmt.Sprintf(" AND seq > $%d AND seq <= $%d ORDER BY seq LIMIT $%d", n+1, n+2, n+3)
	for after := int64(0); after < upTo; {
		to := min(after+lookThrough, upTo)
		list, err := r.stored(text, append(args[:n:n], after, to, eventsAtOnce))
		if err != nil {
			return err
		}
		for _, s := range list {
			if !q.within(s) {
				continue
			}
			if err := f(audit.ReadEntry(a, s)); err != nil {
				return err
			}
		}
		if after = to; len(list) == eventsAtOnce {
			after = list[len(list)-1].Seq
		}
	}
	return nil
}

func (r *Reader) stored(query string, args []any) (list []audit.Stored, err error) {
	err = r.each(query, args, func(scan func(...any) error) error {
		s, err := scanStored(scan)
		list = append(list, s)
		return err
	})
	return list, err
}

// HeadOf returns where the chain of an account ends, as far as the head itself
// can be trusted; ErrNoRow: it has none.
func (r *Reader) HeadOf(a account.ID) (Head, error) {
	h, err := r.storedHead(a)
	if err != nil {
		return h.Head, err
	}
	mac, err := r.chainMAC(h.keyID, audit.HeadMessage(h.Account, h.Seq, h.Hash))
	if err != nil || !bytes.Equal(mac, h.mac) {
		return h.Head, &audit.ErrBroken{Account: a, Seq: h.Seq, Why: headChanged}
	}
	return h.Head, nil
}

func (r *Reader) storedHead(a account.ID) (storedHead, error) {
	h := storedHead{Head: Head{Account: a}}
	err := r.row("SELECT seq, hash, key_id, mac FROM audit_head WHERE account_id = $1", []any{a}, &h.Seq, &h.Hash, &h.keyID, &h.mac)
	return h, err
}

// VerifyChain walks the chain of one account.
func (r *Reader) VerifyChain(a account.ID) (Head, error) {
	h, err := r.storedHead(a)
	if _, err := HasRow(err); err != nil {
		return h.Head, err
	}
	return h.Head, r.verifyChain(h)
}

// Chains are the accounts that have one, the operator's first.
func (r *Reader) Chains() (list []account.ID, err error) {
	err = r.each("SELECT account_id FROM audit_head ORDER BY 1", nil, func(scan func(...any) error) error {
		var a account.ID
		err := scan(&a)
		list = append(list, a)
		return err
	})
	return list, err
}

// ActorCalled returns whoever did something under a name, the latest one; it
// may be gone by now. ErrNoRow: nobody.
func (r *Reader) ActorCalled(a account.ID, name string) (actor string, err error) {
	err = r.row("SELECT actor FROM audit_event WHERE account_id = $1 AND lower(actor_name) = lower($2) ORDER BY seq DESC LIMIT 1", []any{a, name}, &actor)
	return actor, err
}

// An AuditCheck is what a look at an account's chain has found.
type AuditCheck struct {
	Seq    int64  // how far the chain held, or the first event at which it does not
	Broken string // why not; empty: it held
	At     time.Time
}

// AuditCheck returns the last one; ErrNoRow: nobody has looked.
func (r *Reader) AuditCheck(a account.ID) (c AuditCheck, err error) {
	var at int64
	err = r.row("SELECT seq, broken, checked_at FROM audit_check WHERE account_id = $1", []any{a}, &c.Seq, &c.Broken, &at)
	c.At = instant(at)
	return c, err
}

// SetAuditCheck keeps what a look has found.
func (tx *Tx) SetAuditCheck(a account.ID, c AuditCheck) error {
	return tx.later(`INSERT INTO audit_check (account_id, seq, broken, checked_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account_id) DO UPDATE SET seq = $2, broken = $3, checked_at = $4`, a, c.Seq, c.Broken, micros(c.At))
}
