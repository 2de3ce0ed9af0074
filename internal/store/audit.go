package store

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
)

func (r *Reader) chainMAC(keyID uint32, message []byte) ([]byte, error) {
	return r.db.config.Keys.MAC(keyID, audit.ChainPurpose, message)
}

// Record has an event appended to its account's chain with the COMMIT.
func (tx *Tx) Record(e audit.Event) error {
	if e.Account == "" {
		e.Account = audit.Operator
	}
	e.Actor, e.At, e.KeyID = tx.Actor, tx.Now.UTC().Truncate(time.Microsecond), tx.db.config.Keys.Newest()
	e.Actor.UserAgent = audit.Clip(e.Actor.UserAgent, audit.AgentMaxBytes)
	err := tx.named(&e)
	tx.events = append(tx.events, e)
	return err
}

// Recorded reports whether there is an event in this write.
func (tx *Tx) Recorded() bool { return len(tx.events) > 0 }

// chain appends what was recorded. The row of a head is locked from here to
// the COMMIT, so that events follow one another, and in the order of the
// accounts, so that no two writes wait for each other.
func (tx *Tx) chain() error {
	byAccount := slices.SortedStableFunc(slices.Values(tx.events), func(a, b audit.Event) int { return cmp.Compare(a.Account, b.Account) })
	for len(byAccount) > 0 {
		n := 1
		for n < len(byAccount) && byAccount[n].Account == byAccount[0].Account {
			n++
		}
		if err := tx.append(byAccount[:n]); err != nil {
			return err
		}
		byAccount = byAccount[n:]
	}
	return nil
}

// append appends events to the chain of the account that all of them have.
func (tx *Tx) append(events []audit.Event) error {
	account, hash := events[0].Account, []byte{}
	var was int64
	err := tx.row("SELECT seq, hash FROM audit_head WHERE account_id = $1"+tx.forUpdate(), []any{account}, &was, &hash)
	begun, err := HasRow(err)
	if err == nil && !begun {
		err = tx.one(errLost, "INSERT INTO audit_head (account_id, seq, hash, key_id, mac) VALUES ($1, 0, $2, 0, $2) ON CONFLICT (account_id) DO NOTHING", account, hash)
	}
	if err != nil {
		return err
	}
	seq := was
	for _, e := range events {
		seq++
		e.Seq = seq
		content, err := e.Content()
		if err != nil {
			return err
		}
		if hash, err = audit.Link(tx.chainMAC, hash, e.KeyID, content); err != nil {
			return err
		}
		l := e.Lookup()
		if err := tx.later("INSERT INTO audit_event (account_id, "+lookups+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
			e.Account, e.Seq, l.Identity, l.Name, l.At, l.Actor, l.ActorName, l.Address, l.Request, l.Refused, l.Method, content, hash); err != nil {
			return err
		}
		if told := tx.db.config.Recorded; told != nil {
			tx.OnDone(func() { told(e) })
		}
	}
	keyID := events[0].KeyID
	mac, err := tx.chainMAC(keyID, audit.HeadMessage(account, seq, hash))
	if err != nil {
		return err
	}
	// The row is locked. Where it were not, who was first has the number of the
	// first event, and everything is refused.
	return tx.later("UPDATE audit_head SET seq = $2, hash = $3, key_id = $4, mac = $5 WHERE account_id = $1 AND seq = $6", account, seq, hash, keyID, mac, was)
}

// named gives an event that concerns a RAM user the name that such have.
func (tx *Tx) named(e *audit.Event) error {
	name, other := e.Name.OfUser()
	if !other || e.Identity == "" {
		return nil
	}
	var role account.Role
	err := tx.row("SELECT role FROM identity WHERE account_id = $1 AND id = $2", []any{e.Account, e.Identity}, &role)
	if found, err := HasRow(err); err != nil || !found || role == account.Owner {
		return err
	}
	e.Name = name
	return nil
}

// History returns events that concern an identity, newest first: at most n,
// all older than the one numbered before (0: from the newest on).
func (r *Reader) History(a account.ID, i account.IdentityID, before int64, n int, names ...audit.Name) (list []audit.Event, err error) {
	args := []any{a, i, before, n}
	filter := ""
	if len(names) > 0 {
		marks := make([]string, len(names))
		for k, name := range names {
			args = append(args, name)
			marks[k] = fmt.Sprintf("$%d", len(args))
		}
		filter = " AND name IN (" + strings.Join(marks, ", ") + ")"
	}
	err = r.each(storedFrom+" AND identity_id = $2 AND ($3 = 0 OR seq < $3)"+filter+" ORDER BY seq DESC LIMIT $4", args,
		func(scan func(...any) error) error {
			s, err := scanStored(scan)
			if err == nil {
				list = append(list, audit.ReadEntry(a, s).Event)
			}
			return err
		})
	return list, err
}

// A Head is where an account's chain ends.
type Head struct {
	Account account.ID
	Seq     int64
	Hash    []byte
}

// nextChain is the account after one that has events, or should have.
const nextChain = `SELECT min(a) FROM (SELECT min(account_id) AS a FROM audit_head WHERE account_id > $1
	UNION ALL SELECT min(id) FROM account WHERE id > $1 UNION ALL SELECT min(account_id) FROM audit_event WHERE account_id > $1) x`

// VerifyChains walks every chain and calls each with where it ends and
// whether it holds. Every account has one. Events may be recorded meanwhile,
// and nothing is held: each may take its time.
func (r *Reader) VerifyChains(each func(Head, error) error) error {
	for query, a := strings.ReplaceAll(nextChain, ">", ">="), new(account.ID); ; query = nextChain {
		if err := r.row(query, []any{*a}, &a); err != nil || a == nil {
			return err
		}
		h, err := r.storedHead(*a)
		if _, err := HasRow(err); err != nil {
			return err
		}
		if err = r.verifyChain(h); err != nil && !audit.IsBroken(err) {
			return err
		}
		if err := each(h.Head, err); err != nil {
			return err
		}
	}
}

const headChanged = "the head was changed"

// A storedHead is a head and what keeps it from being moved.
type storedHead struct {
	Head
	keyID uint32
	mac   []byte
}

func (r *Reader) verifyChain(h storedHead) (err error) {
	defer func() { r.db.counts.chain(err) }()
	chain := audit.Chain{Account: h.Account, Hash: []byte{}}
	var atHead []byte
	for more, from := true, int64(math.MinInt64); more && err == nil; from = chain.Seq + 1 {
		var list []audit.Stored
		list, err = r.stored(storedFrom+" AND seq >= $2 ORDER BY seq LIMIT $3", []any{h.Account, from, eventsAtOnce})
		more = len(list) == eventsAtOnce
		for n := 0; n < len(list) && err == nil; n++ {
			if err = chain.Next(r.chainMAC, list[n]); chain.Seq == h.Seq {
				atHead = chain.Hash
			}
		}
	}
	var broken *audit.ErrBroken
	if errors.As(err, &broken) {
		return broken
	}
	if err != nil {
		return err
	}
	why := ""
	switch mac, err := r.chainMAC(h.keyID, audit.HeadMessage(h.Account, h.Seq, h.Hash)); {
	case h.Seq == 0:
		why = "there is no head, so that events may be missing"
	case chain.Seq < h.Seq:
		why = fmt.Sprintf("the head says that %d are recorded", h.Seq)
	case err != nil || !bytes.Equal(mac, h.mac) || !bytes.Equal(atHead, h.Hash):
		why = headChanged
	default:
		return nil
	}
	return &audit.ErrBroken{Account: h.Account, Seq: chain.Seq + 1, Why: why}
}

// Contains reports whether a chain still holds the event that a head of
// before, ACCOUNT:SEQ:HASH, says it ended in: nothing was cut off since.
func (r *Reader) Contains(head string) error {
	var accountID, hash string
	var seq int64
	parts := strings.Split(head, ":")
	if len(parts) == 3 {
		accountID, hash = parts[0], parts[2]
		seq, _ = strconv.ParseInt(parts[1], 10, 64)
	}
	want, err := hex.DecodeString(hash)
	if err != nil || len(parts) != 3 || seq < 1 {
		return fmt.Errorf("%q is not ACCOUNT:SEQ:HASH", head)
	}
	var got []byte
	err = r.row("SELECT hash FROM audit_event WHERE account_id = $1 AND seq = $2", []any{accountID, seq}, &got)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return err
	}
	if !bytes.Equal(got, want) {
		return &audit.ErrBroken{Account: account.ID(accountID), Seq: seq, Why: "it is not the one that the head names"}
	}
	return nil
}
