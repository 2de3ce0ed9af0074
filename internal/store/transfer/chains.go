package transfer

import (
	"bytes"
	"fmt"
	"slices"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store/engine"
)

// chains walks the audit chains of a backup while its rows go by: the heads
// come first, the events of an account one after the other. nil: the keys are
// not there, or the schema is one in which events were looked up by less.
type chains struct {
	keys   *secret.Keyring
	heads  map[account.ID]chainHead
	head   map[string]int // columns of the two tables
	event  map[string]int
	now    audit.Chain
	proven int
}

type chainHead struct {
	seq   int64
	hash  []byte
	keyID int64
	mac   []byte
}

const eventsTable = "audit_event"

var (
	headColumns  = []string{"account_id", "seq", "hash", "key_id", "mac"}
	eventColumns = []string{"account_id", "seq", "identity_id", "name", "at", "actor", "actor_name", "address", "request", "refused", "method", "content", "hash"}
)

func newChains(keys *secret.Keyring, tables []engine.Table) *chains {
	c := &chains{keys: keys, heads: map[account.ID]chainHead{}}
	find := func(name string, columns []string, kinds map[string]engine.Kind) map[string]int {
		at := map[string]int{}
		for _, t := range tables {
			if t.Name != name {
				continue
			}
			for _, column := range columns {
				n := slices.IndexFunc(t.Columns, func(c engine.Column) bool { return c.Name == column })
				want := engine.Text
				if k, ok := kinds[column]; ok {
					want = k
				}
				if n < 0 || t.Columns[n].Kind != want {
					return nil
				}
				at[column] = n
			}
		}
		return at
	}
	c.head = find(headsTable, headColumns, map[string]engine.Kind{"seq": engine.Integer, "hash": engine.Bytes, "key_id": engine.Integer, "mac": engine.Bytes})
	c.event = find(eventsTable, eventColumns, map[string]engine.Kind{"seq": engine.Integer, "at": engine.Integer, "content": engine.Bytes, "hash": engine.Bytes})
	if len(c.head) == 0 || len(c.event) == 0 {
		return nil
	}
	return c
}

func textAt(r row, n int) string { s, _ := r[n].(string); return s }
func intAt(r row, n int) int64   { i, _ := r[n].(int64); return i }
func bytesAt(r row, n int) []byte {
	b, _ := r[n].([]byte)
	return b
}

// next looks at a row.
func (c *chains) next(t engine.Table, r row) error {
	switch {
	case c == nil:
	case t.Name == headsTable:
		c.heads[account.ID(textAt(r, c.head["account_id"]))] = chainHead{intAt(r, c.head["seq"]), bytesAt(r, c.head["hash"]), intAt(r, c.head["key_id"]), bytesAt(r, c.head["mac"])}
	case t.Name == eventsTable:
		return c.nextEvent(r)
	}
	return nil
}

func (c *chains) nextEvent(r row) error {
	at := c.event
	if a := account.ID(textAt(r, at["account_id"])); a != c.now.Account || c.now.Seq == 0 {
		if err := c.endChain(); err != nil {
			return err
		}
		c.now = audit.Chain{Account: a, Hash: []byte{}}
	}
	return c.now.Next(c.mac, audit.Stored{Seq: intAt(r, at["seq"]), Content: bytesAt(r, at["content"]), Hash: bytesAt(r, at["hash"]),
		Lookup: audit.Lookup{Identity: account.IdentityID(textAt(r, at["identity_id"])), Name: audit.Name(textAt(r, at["name"])), At: intAt(r, at["at"]), Actor: textAt(r, at["actor"]),
			ActorName: textAt(r, at["actor_name"]), Address: textAt(r, at["address"]), Request: textAt(r, at["request"]), Refused: textAt(r, at["refused"]), Method: textAt(r, at["method"])}})
}

func (c *chains) mac(keyID uint32, message []byte) ([]byte, error) {
	return c.keys.MAC(keyID, audit.ChainPurpose, message)
}

// endChain compares where a chain ends with its head.
func (c *chains) endChain() error {
	if c.now.Seq == 0 {
		return nil
	}
	h, ok := c.heads[c.now.Account]
	delete(c.heads, c.now.Account)
	mac, err := c.mac(uint32(h.keyID), audit.HeadMessage(c.now.Account, h.seq, h.hash)) //nolint:gosec // another number is no key's
	if !ok || err != nil || h.seq != c.now.Seq || !bytes.Equal(h.hash, c.now.Hash) || !bytes.Equal(h.mac, mac) {
		return &audit.ErrBroken{Account: c.now.Account, Seq: c.now.Seq + 1, Why: "the head says otherwise"}
	}
	c.proven++
	return nil
}

// end returns how many chains hold.
func (c *chains) end() (int, error) {
	if c == nil {
		return 0, nil
	}
	if err := c.endChain(); err != nil {
		return 0, err
	}
	for a, h := range c.heads {
		return 0, &audit.ErrBroken{Account: a, Seq: 1, Why: fmt.Sprintf("the head says that %d are recorded", h.seq)}
	}
	return c.proven, nil
}
