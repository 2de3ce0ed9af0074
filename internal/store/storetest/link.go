package storetest

import (
	"bytes"
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
			running.Go(func() { l.carry(far, near, &l.down) })
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
