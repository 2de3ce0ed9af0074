package secret

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"countersign/internal/fault"
	"countersign/internal/trace"
)

// ErrBusy says that the queue of password hashes is full.
var ErrBusy = fault.New(fault.Unavailable, "password.busy").After(2 * time.Second)

// PasswordMaxBytes bounds what is ever hashed (CWE-770).
const PasswordMaxBytes = 1024

// Argon2 holds the cost of a password hash (RFC 9106 §4).
type Argon2 struct {
	MemoryKiB uint32
	Passes    uint32
	Threads   uint8
}

// DefaultArgon2 is OWASP's first choice for Argon2id: 19 MiB, two passes.
var DefaultArgon2 = Argon2{MemoryKiB: 19 * 1024, Passes: 2, Threads: 1}

// A Hasher hashes passwords with Argon2id, a bounded number at a time.
type Hasher struct {
	params Argon2
	random io.Reader
	slots  chan struct{}
	queue  chan struct{}
	heavy  chan struct{} // of foreign hashes that take much memory
	decoy  string
	memory arenas
}

// NewHasher returns a hasher that works on at most atOnce passwords and lets
// at most queue more wait; what comes beyond gets ErrBusy.
func NewHasher(params Argon2, random io.Reader, atOnce, queue int) (*Hasher, error) {
	h := &Hasher{params: params, random: random, slots: make(chan struct{}, atOnce), queue: make(chan struct{}, atOnce+queue), heavy: make(chan struct{}, 1)}
	decoy := make([]byte, 16+32) // salt and key of no password
	if _, err := io.ReadFull(random, decoy); err != nil {
		return nil, fmt.Errorf("draw a decoy: %w", err)
	}
	h.decoy = params.format(decoy[:16], decoy[16:])
	return h, nil
}

// Load is how many passwords are being hashed, how many wait, and how many
// may wait at most.
func (h *Hasher) Load() (running, waiting, room int) {
	running = len(h.slots)
	return running, max(0, len(h.queue)-running), cap(h.queue) - cap(h.slots)
}

// standing marks a context whose owner has a place in the queue.
type standing struct{}

// Queue takes a place in the queue for all hashes made with the context that
// it returns, until leave is called. It is for whoever has other work to do
// before and after: what is turned away has cost nothing, and of what is not,
// no more is under way than the queue is long.
func (h *Hasher) Queue(ctx context.Context) (queued context.Context, leave func(), err error) {
	select {
	case h.queue <- struct{}{}:
		return context.WithValue(ctx, standing{}, h), func() { <-h.queue }, nil
	default:
		_, wait := trace.Start(ctx, "password.wait")
		wait.End(ErrBusy)
		return nil, nil, ErrBusy
	}
}

// enter waits for a place among those who hash; heavy: and to be the only one
// who takes much memory.
func (h *Hasher) enter(ctx context.Context, heavy bool) (leave func(), err error) {
	_, wait := trace.Start(ctx, "password.wait")
	defer func() { wait.End(err) }()
	var held []chan struct{}
	if ctx.Value(standing{}) != h {
		select {
		case h.queue <- struct{}{}:
			held = append(held, h.queue)
		default:
			return nil, ErrBusy
		}
	}
	wanted := []chan struct{}{h.slots}
	let := func() {
		for _, place := range held {
			<-place
		}
	}
	if heavy { // first: a slot is for work, not for waiting
		wanted = []chan struct{}{h.heavy, h.slots}
	}
	for _, place := range wanted {
		select {
		case place <- struct{}{}:
			held = append(held, place)
		case <-ctx.Done():
			let()
			return nil, busy(ctx)
		}
	}
	_, work := trace.Start(ctx, "password.hash")
	return func() { let(); work.End(nil) }, nil
}

// busy says why a wait has ended.
func busy(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrBusy
	}
	return ctx.Err()
}

// Hash returns the hash of password in PHC form, with a salt of its own.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	leave, err := h.enter(ctx, false)
	if err != nil {
		return "", err
	}
	defer leave()
	salt := make([]byte, 16)
	if _, err := io.ReadFull(h.random, salt); err != nil {
		return "", fmt.Errorf("draw a salt: %w", err)
	}
	return h.params.format(salt, h.key(h.params, password, salt, 32)), nil
}

// Verify reports whether password is the one that phc was made from, and
// whether it should be hashed anew because the cost has changed. An empty phc
// takes the same time and is never right. One that another system made is to
// be hashed anew in any case.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (right, stale bool, err error) {
	if foreign, ok := strings.CutPrefix(phc, foreignMark); ok {
		right, err = h.verifyForeign(ctx, foreign, password)
		return right, right, err
	}
	decoy := phc == ""
	if decoy {
		phc = h.decoy
	}
	params, salt, want, err := parsePHC(phc)
	if err != nil {
		return false, false, err
	}
	leave, err := h.enter(ctx, false)
	if err != nil {
		return false, false, err
	}
	defer leave()
	got := h.key(params, password, salt, uint32(len(want)))
	right = subtle.ConstantTimeCompare(got, want) == 1 && !decoy
	return right, right && params != h.params, nil
}

func (h *Hasher) key(cost Argon2, password string, salt []byte, size uint32) []byte {
	normal := norm.NFC.Bytes([]byte(password))
	if cost != h.params {
		return argon2.IDKey(normal, salt, cost.Passes, cost.MemoryKiB, cost.Threads, size)
	}
	return h.memory.derive(cost, normal, salt, size)
}

// Release gives the system back the memory of hashes that nobody has used
// since it was last called: for once a minute.
func (h *Hasher) Release() { h.memory.release() }

func (a Argon2) format(salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.MemoryKiB, a.Passes, a.Threads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

var errPHC = errors.New("secret: not an Argon2id hash in PHC form")

func parsePHC(s string) (a Argon2, salt, key []byte, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return a, nil, nil, errPHC
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &a.MemoryKiB, &a.Passes, &a.Threads); n != 3 || err != nil {
		return a, nil, nil, errPHC
	}
	if a.Passes < 1 || a.Threads < 1 || a.MemoryKiB > 4<<20 || a.Passes > 64 {
		return a, nil, nil, errPHC
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(salt) < 8 {
		return a, nil, nil, errPHC
	}
	if key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(key) < 16 || len(key) > 128 {
		return a, nil, nil, errPHC
	}
	return a, salt, key, nil
}
