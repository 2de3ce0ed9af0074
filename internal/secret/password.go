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
	decoy  string
}

// NewHasher returns a hasher that works on at most atOnce passwords and lets
// at most queue more wait; what comes beyond gets ErrBusy.
func NewHasher(params Argon2, random io.Reader, atOnce, queue int) (*Hasher, error) {
	h := &Hasher{params: params, random: random, slots: make(chan struct{}, atOnce), queue: make(chan struct{}, atOnce+queue)}
	decoy := make([]byte, 16+32) // salt and key of no password
	if _, err := io.ReadFull(random, decoy); err != nil {
		return nil, fmt.Errorf("draw a decoy: %w", err)
	}
	h.decoy = params.format(decoy[:16], decoy[16:])
	return h, nil
}

func (h *Hasher) enter(ctx context.Context) (leave func(), err error) {
	select {
	case h.queue <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; <-h.queue }, nil
	case <-ctx.Done():
		<-h.queue
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, ErrBusy
		}
		return nil, ctx.Err()
	}
}

// Hash returns the hash of password in PHC form, with a salt of its own.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	salt := make([]byte, 16)
	if _, err := io.ReadFull(h.random, salt); err != nil {
		return "", fmt.Errorf("draw a salt: %w", err)
	}
	return h.params.format(salt, h.params.key(password, salt, 32)), nil
}

// Verify reports whether password is the one that phc was made from, and
// whether it should be hashed anew because the cost has changed. An empty phc
// takes the same time and is never right.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (right, stale bool, err error) {
	decoy := phc == ""
	if decoy {
		phc = h.decoy
	}
	params, salt, want, err := parsePHC(phc)
	if err != nil {
		return false, false, err
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	got := params.key(password, salt, uint32(len(want)))
	right = subtle.ConstantTimeCompare(got, want) == 1 && !decoy
	return right, right && params != h.params, nil
}

func (a Argon2) key(password string, salt []byte, size uint32) []byte {
	return argon2.IDKey(norm.NFC.Bytes([]byte(password)), salt, a.Passes, a.MemoryKiB, a.Threads, size)
}

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
