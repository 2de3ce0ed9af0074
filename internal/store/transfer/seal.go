package transfer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"filippo.io/age"

	"countersign/internal/secret"
)

// A Lock seals and opens backups, in the format of age (age-encryption.org):
// by a key, which is in a file and secret both here and there, or by a
// passphrase.
type Lock struct {
	recipient  age.Recipient
	identities []age.Identity
}

// passphraseLeast is how short a passphrase may be.
const passphraseLeast = 12

// scryptMost bounds what opening a file may cost: 2^20 are 1 GiB and seconds.
const scryptMost = 20

// ReadSecret reads a file that nobody else may read.
func ReadSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s is readable by others (mode %#o); chmod 600 it", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	return string(b), err
}

// KeyLock is the lock of a key file.
func KeyLock(path string) (Lock, error) {
	text, err := ReadSecret(path)
	if err != nil {
		return Lock{}, err
	}
	list, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil || len(list) == 0 {
		return Lock{}, fmt.Errorf("%s holds no key", path) // the parser's words may hold a part of it
	}
	l := Lock{identities: list}
	switch key := list[0].(type) {
	case *age.X25519Identity:
		l.recipient = key.Recipient()
	case *age.HybridIdentity:
		l.recipient = key.Recipient()
	default:
		return Lock{}, fmt.Errorf("%s holds a key of an unknown kind", path)
	}
	return l, nil
}

// PassphraseLock is the lock of the passphrase on the first line of a file.
func PassphraseLock(path string) (Lock, error) {
	text, err := ReadSecret(path)
	if err != nil {
		return Lock{}, err
	}
	line, _, _ := strings.Cut(text, "\n")
	return passphraseLock(strings.TrimSuffix(line, "\r"), 0)
}

// passphraseLock takes the work factor of scrypt; zero: the library's.
func passphraseLock(passphrase string, work int) (Lock, error) {
	if len(passphrase) < passphraseLeast {
		return Lock{}, fmt.Errorf("the passphrase is shorter than %d characters", passphraseLeast)
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return Lock{}, err
	}
	if work > 0 {
		recipient.SetWorkFactor(work)
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return Lock{}, err
	}
	identity.SetMaxWorkFactor(scryptMost)
	return Lock{recipient, []age.Identity{identity}}, nil
}

// NewKey makes a key file where there is none.
func NewKey(path string, now time.Time) error {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	return secret.WriteNew(path, fmt.Appendf(nil, "# key of Countersign's backups, made %s; keep it secret, and keep a copy elsewhere\n%s\n", now.UTC().Format("2006-01-02"), key))
}

// seal returns where to write what is to be sealed; Close ends it.
func (l Lock) seal(w io.Writer) (io.WriteCloser, error) { return age.Encrypt(w, l.recipient) }

// ErrLocked says that a file does not open.
var ErrLocked = errors.New("the backup does not open: it is another key's, or no backup")

// open returns what was sealed. Whoever reads it reads it to its end: only
// then is it certain that nothing was cut off.
func (l Lock) open(r io.Reader) (io.Reader, error) {
	inner, err := age.Decrypt(r, l.identities...)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrLocked, err)
	}
	return inner, nil
}
