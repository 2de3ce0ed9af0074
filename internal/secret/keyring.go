package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// A Keyring seals columns and authenticates short secrets with keys that never
// enter the database. The newest key seals; every key opens.
type Keyring struct {
	path   string
	random io.Reader

	mu     sync.RWMutex
	drawn  []byte // the file of a first key that Keep has not written down
	keys   map[uint32]derived
	newest uint32
	made   time.Time // the newest
	readAt time.Time // modification time of the file when it was read
	size   int64
}

type derived struct {
	aead cipher.AEAD
	mac  []byte
}

type keyFile struct {
	Keys []keyEntry `json:"keys"`
}

type keyEntry struct {
	ID        uint32    `json:"id"`
	Key       string    `json:"key"` // 256 bits, base64
	CreatedAt time.Time `json:"created_at"`
}

// ErrSealed says that a sealed value does not open: wrong key, wrong row, or changed.
var ErrSealed = errors.New("secret: sealed value does not open")

// OpenKeyring reads the keys at path. Where there are none it draws the first
// one, which Keep writes down once it is known to be wanted: it must not be
// mistaken for those that are missing.
func OpenKeyring(path string, random io.Reader, now time.Time) (*Keyring, error) {
	k := &Keyring{path: path, random: random}
	err := k.load()
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	f, b, err := k.add(keyFile{}, now)
	if err == nil {
		k.drawn, err = b, k.take(f, time.Time{}, 0)
	}
	return k, err
}

// Keep writes down a first key that was drawn. Where another process was first
// it takes that one's: a file that is there is neither replaced nor removed.
func (k *Keyring) Keep() error {
	k.mu.RLock()
	b := k.drawn
	k.mu.RUnlock()
	if b == nil {
		return nil
	}
	err := writeFile(k.path, b, os.Link)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) { // no hard links there: others may see a part of it, for a moment
		err = WriteNew(k.path, b)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write the keys: %w", err)
	}
	return k.load()
}

func (k *Keyring) read() (keyFile, fs.FileInfo, error) {
	var f keyFile
	info, err := os.Stat(k.path)
	if err != nil {
		return f, nil, fmt.Errorf("read the keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return f, nil, fmt.Errorf("read the keys: %s is readable by others (mode %#o); chmod 600 it", k.path, info.Mode().Perm())
	}
	b, err := os.ReadFile(k.path)
	if err != nil {
		return f, nil, fmt.Errorf("read the keys: %w", err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, nil, fmt.Errorf("read the keys: %s: %w", k.path, err)
	}
	if len(f.Keys) == 0 {
		return f, nil, fmt.Errorf("read the keys: %s holds none", k.path)
	}
	return f, info, nil
}

func (k *Keyring) load() error {
	f, info, err := k.read()
	if err != nil {
		return err
	}
	if err := k.take(f, info.ModTime(), info.Size()); err != nil {
		return err
	}
	k.mu.Lock()
	k.drawn = nil
	k.mu.Unlock()
	return nil
}

func (k *Keyring) take(f keyFile, at time.Time, size int64) error {
	keys := make(map[uint32]derived, len(f.Keys))
	var newest uint32
	var made time.Time
	for _, e := range f.Keys {
		raw, err := base64.StdEncoding.DecodeString(e.Key)
		if err != nil || len(raw) != 32 || e.ID == 0 {
			return fmt.Errorf("read the keys: %s: key %d is not 256 bits of base64", k.path, e.ID)
		}
		if keys[e.ID], err = derive(raw); err != nil {
			return err
		}
		if e.ID > newest {
			newest, made = e.ID, e.CreatedAt
		}
	}
	k.mu.Lock()
	k.keys, k.newest, k.made, k.readAt, k.size = keys, newest, made, at, size
	k.mu.Unlock()
	return nil
}

func derive(raw []byte) (derived, error) {
	seal, err := hkdf.Key(sha256.New, raw, nil, "countersign seal v1", 32)
	if err != nil {
		return derived{}, fmt.Errorf("derive a key: %w", err)
	}
	mac, err := hkdf.Key(sha256.New, raw, nil, "countersign mac v1", 32)
	if err != nil {
		return derived{}, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(seal)
	if err != nil {
		return derived{}, fmt.Errorf("derive a key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return derived{aead, mac}, err
}

// Rotate adds a key, which seals from now on, and returns its id. The file is
// replaced as a whole, so that a crash leaves the old or the new one.
func (k *Keyring) Rotate(now time.Time) (uint32, error) {
	f, _, err := k.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	f, b, err := k.add(f, now)
	if err != nil {
		return 0, err
	}
	if err := writeFile(k.path, b, os.Rename); err != nil {
		return 0, fmt.Errorf("write the keys: %w", err)
	}
	return f.Keys[len(f.Keys)-1].ID, k.load()
}

// add draws one key more, and returns what the file is then.
func (k *Keyring) add(f keyFile, now time.Time) (keyFile, []byte, error) {
	raw := make([]byte, 32)
	if _, err := io.ReadFull(k.random, raw); err != nil {
		return f, nil, fmt.Errorf("draw a key: %w", err)
	}
	id := uint32(1)
	for _, e := range f.Keys {
		id = max(id, e.ID+1)
	}
	f.Keys = append(f.Keys, keyEntry{ID: id, Key: base64.StdEncoding.EncodeToString(raw), CreatedAt: now.UTC()})
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return f, nil, fmt.Errorf("write the keys: %w", err)
	}
	return f, b, nil
}

// WriteNew writes a file for its owner's eyes where there is none.
func WriteNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator's
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // a part of it would stop the next try
	}
	return err
}

// writeFile writes a file beside path as a whole, and puts it there.
func writeFile(path string, b []byte, put func(from, to string) error) error {
	t, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(t.Name()) }()
	if _, err = t.Write(b); err == nil {
		err = t.Sync()
	}
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return put(t.Name(), path)
}

// Refresh reads the file again if it has changed, so that a running server
// seals with a key that `countersign key rotate` has added.
func (k *Keyring) Refresh() error {
	info, err := os.Stat(k.path)
	if err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	k.mu.RLock()
	same := info.ModTime().Equal(k.readAt) && info.Size() == k.size
	k.mu.RUnlock()
	if same {
		return nil
	}
	return k.load()
}

// Newest returns the id of the key that seals.
func (k *Keyring) Newest() uint32 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.newest
}

// NewestMade is when that key was made.
func (k *Keyring) NewestMade() time.Time {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.made
}

func (k *Keyring) key(id uint32) (derived, bool) {
	k.mu.RLock()
	d, ok := k.keys[id]
	k.mu.RUnlock()
	if ok {
		return d, true
	}
	if k.load() != nil { // another process may have rotated since
		return derived{}, false
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	d, ok = k.keys[id]
	return d, ok
}

// A Place says where a sealed value lives: it opens nowhere else.
type Place struct{ Table, Row, Column string }

func (p Place) bytes() []byte {
	return []byte(strconv.Quote(p.Table) + strconv.Quote(p.Row) + strconv.Quote(p.Column))
}

// Sealed is a value under AES-256-GCM, and the id of its key.
type Sealed struct {
	KeyID uint32
	Box   []byte // nonce, ciphertext, tag
}

// Seal closes plain for its place, with the newest key.
func (k *Keyring) Seal(at Place, plain []byte) Sealed {
	id := k.Newest()
	d, _ := k.key(id)
	return Sealed{KeyID: id, Box: d.aead.Seal(nil, nil, plain, at.bytes())}
}

// Open opens what was sealed for this place.
func (k *Keyring) Open(at Place, s Sealed) ([]byte, error) {
	d, ok := k.key(s.KeyID)
	if !ok {
		return nil, k.shut("key %d is not in %s", s.KeyID, k.path)
	}
	plain, err := d.aead.Open(nil, nil, s.Box, at.bytes())
	if err != nil {
		return nil, k.shut("%s.%s", at.Table, at.Column)
	}
	return plain, nil
}

func (k *Keyring) shut(why string, args ...any) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.drawn != nil {
		return fmt.Errorf("%w: there are no keys at %s", ErrSealed, k.path)
	}
	return fmt.Errorf("%w: %s", ErrSealed, fmt.Sprintf(why, args...))
}

// MAC authenticates message under the key with the id given: what is too
// short for a plain hash (codes), and the audit chain.
func (k *Keyring) MAC(id uint32, purpose string, message []byte) ([]byte, error) {
	d, ok := k.key(id)
	if !ok {
		return nil, fmt.Errorf("secret: key %d is not in %s", id, k.path)
	}
	m := hmac.New(sha256.New, d.mac)
	m.Write([]byte(strconv.Quote(purpose)))
	m.Write(message)
	return m.Sum(nil), nil
}
