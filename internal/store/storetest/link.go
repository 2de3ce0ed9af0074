package storetest

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A Link is the network between a store and its PostgreSQL, which fails as
// the test says.
type Link struct {
	URL string // of the database, through the link

	up, down sync.RWMutex // held while nothing goes to the server, or to the store

	mu      sync.Mutex
	cut     bool
	conns   map[net.Conn]bool
	lost    map[net.Conn]bool
	thaws   []func()
	garbled [][2][]byte
	awaited []byte
	seen    func()
	answers int
}

// NewLink opens a link to the database at a URL.
func NewLink(t testing.TB, databaseURL string) *Link {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = listener.Addr().String()
	l := &Link{URL: u.String(), conns: map[net.Conn]bool{}, lost: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil || !l.add(near, far) {
				_ = near.Close()
				if err == nil {
					_ = far.Close()
				}
				continue
			}
			running.Go(func() { l.carry(near, far, &l.up) })
			running.Go(func() { l.carry(&counted{Conn: far, link: l}, near, &l.down) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		l.mu.Lock()
		thaws := l.thaws
		l.mu.Unlock()
		for _, thaw := range thaws {
			thaw()
		}
		l.Cut()
		running.Wait()
	})
	return l
}

func (l *Link) add(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		l.conns[c] = !l.cut
	}
	return !l.cut
}

func (l *Link) carry(from, to net.Conn, gate *sync.RWMutex) {
	defer func() { _, _ = from.Close(), to.Close() }()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		part := b[:n]
		l.mu.Lock()
		for _, g := range l.garbled {
			part = bytes.ReplaceAll(part, g[0], g[1])
		}
		seen := func() {}
		if gate == &l.up && l.seen != nil && bytes.Contains(part, l.awaited) {
			seen, l.seen = l.seen, nil
		}
		lost := gate == &l.up && l.lost[from]
		l.mu.Unlock()
		if lost {
			return
		}
		seen()
		gate.RLock()
		_, failed := to.Write(part)
		gate.RUnlock()
		if err != nil || failed != nil {
			return
		}
	}
}

// A counted connection counts how often the server said that it is ready for
// more: the ways to it and back.
type counted struct {
	net.Conn
	link *Link
	head []byte // of a message, its type and length, as far as it has come
	rest int    // of its content that is to come
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	for part := b[:n]; len(part) > 0; {
		if c.rest > 0 {
			here := min(c.rest, len(part))
			part, c.rest = part[here:], c.rest-here
			continue
		}
		c.head, part = append(c.head, part[0]), part[1:]
		if len(c.head) < 5 {
			continue
		}
		if c.head[0] == 'Z' {
			c.link.mu.Lock()
			c.link.answers++
			c.link.mu.Unlock()
		}
		c.head, c.rest = c.head[:0], int(binary.BigEndian.Uint32(c.head[1:]))-4
	}
	return n, err
}

// Answers is how often the server was ready for more until now.
func (l *Link) Answers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers
}

// Garble has one text arrive as another of the same length.
func (l *Link) Garble(text, as string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.garbled = append(l.garbled, [2][]byte{[]byte(text), []byte(as)})
}

// Await calls f when the store next says a text, before the server hears it.
func (l *Link) Await(text string, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awaited, l.seen = []byte(text), f
}

// Freeze lets nothing through and closes nothing; thaw lets all of it through.
func (l *Link) Freeze() (thaw func()) {
	answers := l.FreezeAnswers()
	l.up.Lock()
	return l.once(func() {
		l.up.Unlock()
		answers()
	})
}

// FreezeAnswers does so with what the server says alone.
func (l *Link) FreezeAnswers() (thaw func()) {
	l.down.Lock()
	return l.once(l.down.Unlock)
}

// once is f, called at the end at the latest.
func (l *Link) once(f func()) func() {
	f = sync.OnceFunc(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.thaws = append(l.thaws, f)
	return f
}

// Lose loses every connection there is, which nobody can know before it is
// used. Others are as they should be.
func (l *Link) Lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		l.lost[c] = true
	}
}

// Cut closes every connection and takes no new ones; Mend does.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
}

// Mend takes connections again.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
}
