package signin

import (
	"crypto/sha256"
	"fmt"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// browserWindow is how long a browser without a cookie of its own is told apart
// from a new one.
const browserWindow = 365 * 24 * time.Hour

// newBrowser reports whether the identity has signed in before, but not in this
// browser.
func (f *Flow) newBrowser(tx *store.Tx, v prove.Visitor, i account.Identity) (bool, error) {
	known, err := f.Known(&tx.Reader, v, i)
	if err != nil || known {
		return false, err
	}
	others, err := tx.Peek().KnownDevices(i.Account, i.ID)
	if err != nil || len(others) > 0 {
		return len(others) > 0, err
	}
	if !i.IsOwner() {
		return !i.LastSignInAt.IsZero(), nil
	}
	// An owner without a second step gets no cookie: what the browser says of
	// itself, and its network, stand in.
	all := "browsers:" + string(i.ID)
	before, _, err := tx.Counted(all, tx.Now)
	if err != nil {
		return false, err
	}
	h := sha256.Sum256([]byte(throttle.Network(v.Address).String() + "\x00" + v.UserAgent))
	first, _, err := tx.Count(fmt.Sprintf("browser:%s:%x", i.ID, h[:8]), 1, browserWindow)
	if err == nil && first {
		_, _, err = tx.Count(all, 1<<30, browserWindow)
	}
	return first && before > 0, err
}

// tellNewBrowser tells of the first sign-in in a browser, before the browser
// becomes a known one.
func (f *Flow) tellNewBrowser(tx *store.Tx, v prove.Visitor, i account.Identity) error {
	is, err := f.newBrowser(tx, v, i)
	if err != nil || !is {
		return err
	}
	return f.Notify(tx, v, i, message.NewDeviceSignIn)
}
