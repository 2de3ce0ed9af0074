package store

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
)

// Budget returns the unknown-device lane of an identity, locked until the end
// of the write. An identity that never failed has a full one.
func (tx *Tx) Budget(a account.ID, i account.IdentityID) (b throttle.Budget, version int64, err error) {
	return tx.Reader.Budget(a, i, tx.Now)
}

// Budget returns it at now, outside a write or at a peek.
func (r *Reader) Budget(a account.ID, i account.IdentityID, now time.Time) (b throttle.Budget, version int64, err error) {
	b, version, _, err = r.budget(a, i, now, "0")
	return b, version, err
}

// BudgetAmong returns it with what CountedIn says of scopes.
func (r *Reader) BudgetAmong(a account.ID, i account.IdentityID, scopes []string, now time.Time) (b throttle.Budget, version int64, counted int, err error) {
	sum, args := countedIn(3, scopes, now)
	b, version, counted, err = r.budget(a, i, now, sum, args...)
	if err == nil && version == 0 {
		counted, err = r.CountedIn(scopes, now)
	}
	return b, version, counted, err
}

// budget returns it with a number, which is 0 where there is no row yet.
func (r *Reader) budget(a account.ID, i account.IdentityID, now time.Time, number string, args ...any) (b throttle.Budget, version int64, n int, err error) {
	var refilled, since, password int64
	err = r.row("SELECT tries_left, refilled_at, fails, fails_since, password_refill_at, version, "+number+" FROM guess_budget WHERE account_id = $1 AND identity_id = $2"+r.forUpdate(),
		append([]any{a, i}, args...), &b.Left, &refilled, &b.Fails, &since, &password, &version, &n)
	if errors.Is(err, ErrNoRow) {
		return throttle.NewBudget(now), 0, 0, nil
	}
	b.RefilledAt, b.FailsSince, b.PasswordRefillAt = instant(refilled), instant(since), instant(password)
	return b, version, n, err
}

// SaveBudget keeps a budget. If another write changed it since version, the
// whole write is tried again.
func (tx *Tx) SaveBudget(a account.ID, i account.IdentityID, b throttle.Budget, version int64) error {
	if version == 0 { // nothing is locked yet: known before anything is compared
		return tx.one(errLost, `INSERT INTO guess_budget (account_id, identity_id, tries_left, refilled_at, fails, fails_since, password_refill_at, version)
			VALUES ($1, $2, $3, $4, $5, $6, $7, 1) ON CONFLICT (account_id, identity_id) DO NOTHING`,
			a, i, b.Left, micros(b.RefilledAt), b.Fails, micros(b.FailsSince), micros(b.PasswordRefillAt))
	}
	return tx.oneLater(errLost, `UPDATE guess_budget SET tries_left = $3, refilled_at = $4, fails = $5, fails_since = $6, password_refill_at = $7, version = version + 1
		WHERE account_id = $1 AND identity_id = $2 AND version = $8`,
		a, i, b.Left, micros(b.RefilledAt), b.Fails, micros(b.FailsSince), micros(b.PasswordRefillAt), version)
}

// RefundBudget is throttle.Budget.Refund of the budget as it is by now: whoever
// has charged it since keeps what that cost.
func (tx *Tx) RefundBudget(a account.ID, i account.IdentityID, c throttle.Charge) error {
	return tx.later(`UPDATE guess_budget SET tries_left = CASE WHEN tries_left < $4 THEN tries_left + $3 ELSE tries_left END,
		fails = CASE WHEN fails > 0 THEN fails - 1 ELSE 0 END, version = version + 1 WHERE account_id = $1 AND identity_id = $2`,
		a, i, flag(c.TookToken), throttle.BudgetSize)
}

// Count counts one more in the window of a scope, unless it already holds
// limit; then ok is false and wait says when the window ends. One statement
// decides, whatever runs beside it.
func (tx *Tx) Count(scope string, limit int, window time.Duration) (ok bool, wait time.Duration, err error) {
	n, err := tx.exec(`INSERT INTO throttle_window AS w (scope, started_at, ends_at, counted) VALUES ($1, $2, $3, 1)
		ON CONFLICT (scope) DO UPDATE SET
			counted = CASE WHEN w.ends_at <= $2 THEN 1 ELSE w.counted + 1 END,
			started_at = CASE WHEN w.ends_at <= $2 THEN $2 ELSE w.started_at END,
			ends_at = CASE WHEN w.ends_at <= $2 THEN $3 ELSE w.ends_at END
		WHERE w.ends_at <= $2 OR w.counted < $4`,
		scope, micros(tx.Now), micros(tx.Now.Add(window)), limit)
	if err != nil || n == 1 {
		return n == 1, 0, err
	}
	_, wait, err = tx.Counted(scope, tx.Now)
	return false, wait, err
}

// Alone has whoever comes to the same scope wait until the end of this write,
// and then see what it has done.
func (tx *Tx) Alone(scope string) error {
	_, _, err := tx.Count(scope, 1<<30, 24*time.Hour)
	return err
}

// Uncount takes one back.
func (tx *Tx) Uncount(scope string) error {
	return tx.later("UPDATE throttle_window SET counted = counted - 1 WHERE scope = $1 AND counted > 0", scope)
}

// UncountSince takes one back that was counted at the time given, unless
// another window has begun since.
func (tx *Tx) UncountSince(scope string, at time.Time) error {
	return tx.later("UPDATE throttle_window SET counted = counted - 1 WHERE scope = $1 AND counted > 0 AND started_at <= $2", scope, micros(at))
}

// Hold has the window of a scope end d from now, whatever it holds.
func (tx *Tx) Hold(scope string, d time.Duration) error {
	return tx.later(`INSERT INTO throttle_window AS w (scope, started_at, ends_at, counted) VALUES ($1, $2, $3, 1)
		ON CONFLICT (scope) DO UPDATE SET
			counted = CASE WHEN w.ends_at <= $2 OR w.counted < 1 THEN 1 ELSE w.counted END,
			started_at = CASE WHEN w.ends_at <= $2 THEN $2 ELSE w.started_at END,
			ends_at = $3`, scope, micros(tx.Now), micros(tx.Now.Add(d)))
}

// ClearCount forgets the window of a scope.
func (tx *Tx) ClearCount(scope string) error {
	return tx.later("DELETE FROM throttle_window WHERE scope = $1", scope)
}

// Counted returns how much the running window of a scope holds, and when it ends.
func (r *Reader) Counted(scope string, now time.Time) (n int, wait time.Duration, err error) {
	var ends int64
	err = r.row("SELECT counted, ends_at FROM throttle_window WHERE scope = $1 AND ends_at > $2", []any{scope, micros(now)}, &n, &ends)
	if errors.Is(err, ErrNoRow) {
		return 0, 0, nil
	}
	return n, instant(ends).Sub(now), err
}

// Windows returns the running windows of the scopes that begin with prefix.
func (r *Reader) Windows(prefix string, now time.Time) (list []throttle.Window, err error) {
	err = r.each("SELECT scope, counted, ends_at FROM throttle_window WHERE ends_at > $1 AND counted > 0 AND substr(scope, 1, $2) = $3 ORDER BY scope", []any{micros(now), len(prefix), prefix},
		func(scan func(...any) error) error {
			var w throttle.Window
			var ends int64
			err := scan(&w.Scope, &w.Counted, &ends)
			w.Ends = instant(ends)
			list = append(list, w)
			return err
		})
	return list, err
}

// CountedIn returns the sum of the running windows of scopes.
func (r *Reader) CountedIn(scopes []string, now time.Time) (n int, err error) {
	sum, args := countedIn(1, scopes, now)
	err = r.row("SELECT "+sum, args, &n)
	return n, err
}

// countedIn is that sum, with its arguments numbered from first on. Each scope
// is looked up on its own: asked for all of them at once, PostgreSQL reads every
// window that runs, as long as there are some thousands.
func countedIn(first int, scopes []string, now time.Time) (sum string, args []any) {
	args = append(make([]any, 0, 1+len(scopes)), micros(now))
	for _, s := range scopes {
		args = append(args, s)
	}
	numbers := [2]int{first, len(scopes)}
	if known, ok := sums.Load(numbers); ok {
		return known.(string), args
	}
	sum = "0"
	for k := range scopes {
		sum += fmt.Sprintf(" + COALESCE((SELECT counted FROM throttle_window WHERE scope = $%d AND ends_at > $%d), 0)", first+1+k, first)
	}
	sums.Store(numbers, sum)
	return sum, args
}

// sums are the texts of countedIn, by the number of the first argument and of
// the scopes.
var sums sync.Map

// A KnownDevice with the hash of its cookie.
func (r *Reader) deviceWhere(where string, args ...any) (d session.KnownDevice, err error) {
	var created, used int64
	err = r.row("SELECT account_id, identity_id, id, fails, created_at, last_used_at FROM known_device WHERE "+where+r.forUpdate(), args,
		&d.Account, &d.Identity, &d.ID, &d.Fails, &created, &used)
	d.CreatedAt, d.LastUsedAt = instant(created), instant(used)
	return d, err
}

// KnownDevice returns the device of identity i whose cookie has the hash given.
func (r *Reader) KnownDevice(i account.IdentityID, hash []byte) (session.KnownDevice, error) {
	return r.deviceWhere("identity_id = $1 AND token_hash = $2 AND last_used_at > $3", i, hash, micros(r.now().Add(-session.KnownDeviceLifetime)))
}

// ReplayedDevice returns the device of identity i that once had the cookie.
func (tx *Tx) ReplayedDevice(i account.IdentityID, hash []byte) (session.KnownDevice, error) {
	return tx.deviceWhere("identity_id = $1 AND previous_hash = $2", i, hash)
}

// AddKnownDevice keeps a new device.
func (tx *Tx) AddKnownDevice(d session.KnownDevice, hash []byte) error {
	return tx.later("INSERT INTO known_device (account_id, identity_id, id, token_hash, fails, created_at, last_used_at) VALUES ($1, $2, $3, $4, 0, $5, $5)",
		d.Account, d.Identity, d.ID, hash, micros(tx.Now))
}

// RotateKnownDevice gives a device a new cookie and clears its failures; the
// old cookie is remembered, so that its return is noticed.
func (tx *Tx) RotateKnownDevice(id string, hash []byte) error {
	return tx.oneLater(errLost, "UPDATE known_device SET previous_hash = token_hash, token_hash = $2, fails = 0, last_used_at = $3 WHERE id = $1", id, hash, micros(tx.Now))
}

// DropKnownDevice makes a device unknown.
func (tx *Tx) DropKnownDevice(id string) error {
	return tx.later("DELETE FROM known_device WHERE id = $1", id)
}

// ChargeKnownDevice counts a try of the device; ok is false when it has had
// its tries and must be demoted.
func (tx *Tx) ChargeKnownDevice(id string) (ok bool, err error) {
	n, err := tx.exec("UPDATE known_device SET fails = fails + 1 WHERE id = $1 AND fails < $2", id, throttle.DeviceTries)
	return n == 1, err
}

// RefundKnownDevice gives one try of the device back.
func (tx *Tx) RefundKnownDevice(id string) error {
	return tx.later("UPDATE known_device SET fails = fails - 1 WHERE id = $1 AND fails > 0", id)
}

// ClearKnownDevice forgets the failures of the device: its owner was right.
func (tx *Tx) ClearKnownDevice(id string) error {
	return tx.later("UPDATE known_device SET fails = 0 WHERE id = $1", id)
}

// KnownDevices returns the browsers that are known of an identity, the one
// used last first.
func (r *Reader) KnownDevices(a account.ID, i account.IdentityID) (list []session.KnownDevice, err error) {
	err = r.each("SELECT id, fails, created_at, last_used_at FROM known_device WHERE account_id = $1 AND identity_id = $2 AND last_used_at > $3 ORDER BY last_used_at DESC, id DESC",
		[]any{a, i, micros(r.now().Add(-session.KnownDeviceLifetime))},
		func(scan func(...any) error) error {
			d := session.KnownDevice{Account: a, Identity: i}
			var created, used int64
			err := scan(&d.ID, &d.Fails, &created, &used)
			d.CreatedAt, d.LastUsedAt = instant(created), instant(used)
			list = append(list, d)
			return err
		})
	return list, err
}

// DropKnownDevices makes every browser of an identity unknown, and returns how
// many there were.
func (tx *Tx) DropKnownDevices(i account.IdentityID) (int64, error) {
	return tx.exec("DELETE FROM known_device WHERE identity_id = $1", i)
}

// Seen reports whether the identity signed in from the network since, and
// whether one of its keys seemed copied after that.
func (r *Reader) Seen(a account.ID, i account.IdentityID, network string, since time.Time) (seen, copied bool, err error) {
	err = r.row(`SELECT EXISTS (SELECT 1 FROM seen_network WHERE account_id = $1 AND identity_id = $2 AND network = $3 AND last_at >= $4),
		EXISTS (SELECT 1 FROM passkey WHERE account_id = $1 AND identity_id = $2 AND copied_at > $4)`, []any{a, i, network, micros(since)}, &seen, &copied)
	return seen, copied, err
}

// SeenNetworks returns the networks from which an identity has signed in since.
func (r *Reader) SeenNetworks(a account.ID, i account.IdentityID, since time.Time) (list []netip.Prefix, err error) {
	err = r.each("SELECT network FROM seen_network WHERE account_id = $1 AND identity_id = $2 AND last_at > $3 ORDER BY last_at DESC", []any{a, i, micros(since)},
		func(scan func(...any) error) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			network, err := netip.ParsePrefix(text)
			list = append(list, network)
			return err
		})
	return list, err
}

// SeeNetwork notes that the identity signs in from the network now.
func (tx *Tx) SeeNetwork(a account.ID, i account.IdentityID, network string) error {
	return tx.later(`INSERT INTO seen_network (account_id, identity_id, network, last_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account_id, identity_id, network) DO UPDATE SET last_at = $4`, a, i, network, micros(tx.Now))
}
