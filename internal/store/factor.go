package store

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/secret"
)

// A VirtualMFA is a bound virtual MFA device as stored.
type VirtualMFA struct {
	factor.VirtualDevice
	ID         string
	Name       string
	BoundAt    time.Time
	BoundFrom  string // address
	LastUsedAt time.Time
}

func seedPlace(a account.ID, i account.IdentityID) secret.Place {
	return secret.Place{Table: "virtual_mfa", Row: string(a) + "/" + string(i), Column: "seed"}
}

// AddVirtualMFA binds a device; taken is returned if the identity has one.
func (tx *Tx) AddVirtualMFA(a account.ID, i account.IdentityID, v VirtualMFA, taken error) error {
	s := tx.db.config.Keys.Seal(seedPlace(a, i), v.Seed)
	return tx.one(taken, `INSERT INTO virtual_mfa (account_id, identity_id, id, name, key_id, seed, drift, last_step, bound_at, bound_from, last_used_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0) ON CONFLICT (account_id, identity_id) DO NOTHING`,
		a, i, v.ID, v.Name, s.KeyID, s.Box, v.Drift, v.LastStep, micros(tx.Now), v.BoundFrom)
}

// VirtualMFA returns the bound device; within a write it is locked until the end.
func (r *Reader) VirtualMFA(a account.ID, i account.IdentityID) (VirtualMFA, error) {
	var v VirtualMFA
	var s secret.Sealed
	var bound, used int64
	err := r.row("SELECT id, name, key_id, seed, drift, last_step, bound_at, bound_from, last_used_at FROM virtual_mfa WHERE account_id = $1 AND identity_id = $2"+r.forUpdate(),
		[]any{a, i}, &v.ID, &v.Name, &s.KeyID, &s.Box, &v.Drift, &v.LastStep, &bound, &v.BoundFrom, &used)
	if err != nil {
		return v, err
	}
	v.BoundAt, v.LastUsedAt = instant(bound), instant(used)
	v.Seed, err = r.db.config.Keys.Open(seedPlace(a, i), s)
	return v, err
}

// HasVirtualMFA reports whether a device is bound.
func (r *Reader) HasVirtualMFA(a account.ID, i account.IdentityID) (bool, error) {
	var has bool
	err := r.row("SELECT EXISTS (SELECT 1 FROM virtual_mfa WHERE account_id = $1 AND identity_id = $2)", []any{a, i}, &has)
	return has, err
}

// AcceptStep uses up a time step and all before it. When another request was
// first, the whole write is tried again, and sees in the device what was used.
func (tx *Tx) AcceptStep(a account.ID, i account.IdentityID, device string, step int64, drift int) error {
	return tx.oneLater(errLost, "UPDATE virtual_mfa SET last_step = $4, drift = $5, last_used_at = $6 WHERE account_id = $1 AND identity_id = $2 AND id = $3 AND last_step < $4", a, i, device, step, drift, micros(tx.Now))
}

// RemoveVirtualMFA unbinds the device.
func (tx *Tx) RemoveVirtualMFA(a account.ID, i account.IdentityID, device string, gone error) error {
	return tx.one(gone, "DELETE FROM virtual_mfa WHERE account_id = $1 AND identity_id = $2 AND id = $3", a, i, device)
}

// ReplaceRecoveryCodes voids the codes there are and keeps the hashes given.
func (tx *Tx) ReplaceRecoveryCodes(a account.ID, i account.IdentityID, hashes [][]byte) error {
	if err := tx.later("DELETE FROM recovery_code WHERE account_id = $1 AND identity_id = $2", a, i); err != nil {
		return err
	}
	if len(hashes) == 0 {
		return nil
	}
	rows, args := make([]string, len(hashes)), []any{a, i, micros(tx.Now)}
	for n, h := range hashes {
		args = append(args, h)
		rows[n] = fmt.Sprintf("($1, $2, $%d, $3, 0)", len(args))
	}
	return tx.later("INSERT INTO recovery_code (account_id, identity_id, code_hash, created_at, used_at) VALUES "+strings.Join(rows, ", "), args...)
}

// RecoveryCodesLeft returns how many unused codes there are, and when the set was made.
func (r *Reader) RecoveryCodesLeft(a account.ID, i account.IdentityID) (left int, madeAt time.Time, err error) {
	var made int64
	err = r.row("SELECT count(*), COALESCE(max(created_at), 0) FROM recovery_code WHERE account_id = $1 AND identity_id = $2 AND used_at = 0", []any{a, i}, &left, &made)
	return left, instant(made), err
}

// RecoveryCodesSaved notes that the identity has its codes in hand.
func (tx *Tx) RecoveryCodesSaved(a account.ID, i account.IdentityID) error {
	return tx.later("UPDATE recovery_code SET saved_at = $3 WHERE account_id = $1 AND identity_id = $2", a, i, micros(tx.Now))
}

// AnyUnsavedCode reports whether there are unused codes that were never called saved.
func (r *Reader) AnyUnsavedCode(a account.ID, i account.IdentityID) (unsaved bool, err error) {
	err = r.row("SELECT EXISTS (SELECT 1 FROM recovery_code WHERE account_id = $1 AND identity_id = $2 AND used_at = 0 AND saved_at = 0)", []any{a, i}, &unsaved)
	return unsaved, err
}

// UseRecoveryCode uses a code up; wrong is returned when there is no such unused code.
func (tx *Tx) UseRecoveryCode(a account.ID, i account.IdentityID, hash []byte, wrong error) error {
	return tx.one(wrong, "UPDATE recovery_code SET used_at = $4 WHERE account_id = $1 AND identity_id = $2 AND code_hash = $3 AND used_at = 0", a, i, hash, micros(tx.Now))
}

// Reseal seals every seed and queued message that lies under an older key
// with the newest one, a batch to a transaction, and returns how many there were.
func (db *DB) Reseal(write func(func(tx *Tx) error) error) (int, error) {
	total := 0
	for {
		n := 0
		err := write(func(tx *Tx) error {
			n = 0
			return tx.resealSeeds(&n)
		})
		if err != nil {
			return total, err
		}
		total += n
		if n == 0 {
			return total, write(func(tx *Tx) error { return tx.resealCheck() })
		}
	}
}

// resealCheck has the database know the newest key: a node that was not given
// it is not ready.
func (tx *Tx) resealCheck() error {
	s := tx.db.config.Keys.Seal(keysAt, []byte("countersign"))
	_, err := tx.exec("UPDATE keyring_check SET key_id = $1, sealed = $2 WHERE name = 'database' AND key_id < $1", s.KeyID, s.Box)
	return err
}

func (tx *Tx) resealSeeds(n *int) error {
	newest := tx.db.config.Keys.Newest()
	type row struct {
		a account.ID
		i account.IdentityID
		s secret.Sealed
	}
	var rows []row
	err := tx.each("SELECT account_id, identity_id, key_id, seed FROM virtual_mfa WHERE key_id <> $1 LIMIT 200", []any{newest}, func(scan func(...any) error) error {
		var r row
		err := scan(&r.a, &r.i, &r.s.KeyID, &r.s.Box)
		rows = append(rows, r)
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		at := seedPlace(r.a, r.i)
		plain, err := tx.db.config.Keys.Open(at, r.s)
		if err != nil {
			return err
		}
		s := tx.db.config.Keys.Seal(at, plain)
		// Nothing is lost if the row was bound anew meanwhile: it then lies under the newest key.
		changed, err := tx.exec("UPDATE virtual_mfa SET key_id = $3, seed = $4 WHERE account_id = $1 AND identity_id = $2 AND key_id = $5", r.a, r.i, s.KeyID, s.Box, r.s.KeyID)
		if err != nil {
			return err
		}
		*n += int(changed)
	}
	return nil
}

// HasRow turns ErrNoRow into false.
func HasRow(err error) (bool, error) {
	if errors.Is(err, ErrNoRow) {
		return false, nil
	}
	return err == nil, err
}
