package smpp

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

const (
	rememberMost = 1000
	rememberFor  = 24 * time.Hour
)

// A memory knows of which messages some parts have been accepted. It holds no
// text and no number.
type memory struct {
	mu    sync.Mutex
	begun []begun // the oldest first
}

type begun struct {
	key [sha256.Size]byte
	ids []string
	at  time.Time
}

// keyOf tells Submissions apart. Its first octet is the concatenation
// reference: a part that is sent again has the same one.
func keyOf(to string, m Submission) [sha256.Size]byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(m.Expires.UnixNano()))
	return sha256.Sum256(append(append(append(b, to...), 0), m.Text...))
}

// keep remembers the accepted parts of a message.
func (m *memory) keep(key [sha256.Size]byte, ids []string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.begun) == rememberMost {
		m.begun = slices.Delete(m.begun, 0, 1)
	}
	m.begun = append(m.begun, begun{key, slices.Clone(ids), now})
}

// take returns the accepted parts of a message, and forgets them.
func (m *memory) take(key [sha256.Size]byte, now time.Time) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begun = slices.DeleteFunc(m.begun, func(b begun) bool { return now.Sub(b.at) > rememberFor })
	i := slices.IndexFunc(m.begun, func(b begun) bool { return b.key == key })
	if i < 0 {
		return nil
	}
	ids := m.begun[i].ids
	m.begun = slices.Delete(m.begun, i, i+1)
	return ids
}
