package store

import (
	"countersign/internal/domain/account"
)

// SetProfile keeps the console sign-in settings of a RAM user, as changed now;
// ErrNoRow if the account has no such user.
func (tx *Tx) SetProfile(a account.ID, id account.IdentityID, p account.Profile) error {
	return tx.one(ErrNoRow, `INSERT INTO login_profile (account_id, identity_id, state, mfa_required, password_reset, initial_until, updated_at)
		SELECT i.account_id, i.id, $3, $4, $5, $6, $7 FROM identity i WHERE i.account_id = $1 AND i.id = $2 AND i.role <> 'owner'
		ON CONFLICT (identity_id) DO UPDATE SET state = $3, mfa_required = $4, password_reset = $5, initial_until = $6, updated_at = $7`,
		a, id, p.State, flag(p.MFARequired), flag(p.PasswordReset), micros(p.InitialUntil), micros(tx.Now))
}

// ClearProfile takes console sign-in away from a RAM user, with its password
// and those before; gone is returned when it had none.
func (tx *Tx) ClearProfile(a account.ID, id account.IdentityID, gone error) error {
	if err := tx.one(gone, "DELETE FROM login_profile WHERE account_id = $1 AND identity_id = $2", a, id); err != nil {
		return err
	}
	if err := tx.one(gone, "UPDATE identity SET password_hash = '', password_changed_at = 0, password_alone = 0 WHERE account_id = $1 AND id = $2", a, id); err != nil {
		return err
	}
	return tx.later("DELETE FROM password_history WHERE account_id = $1 AND identity_id = $2", a, id)
}

// PasswordHistory returns the hashes of the last n passwords before the
// present one, newest first.
func (r *Reader) PasswordHistory(a account.ID, id account.IdentityID, n int) (list []string, err error) {
	err = r.each("SELECT hash FROM password_history WHERE account_id = $1 AND identity_id = $2 ORDER BY seq DESC LIMIT $3", []any{a, id, n},
		func(scan func(...any) error) error {
			var hash string
			err := scan(&hash)
			list = append(list, hash)
			return err
		})
	return list, err
}

// SetUserPassword gives a RAM user a new password. The one before joins the
// history, of which the newest keep stay.
func (tx *Tx) SetUserPassword(i account.Identity, hash string, alone bool, keep int) error {
	var before string
	var set, last int64
	err := tx.row("SELECT password_hash, password_changed_at FROM identity WHERE account_id = $1 AND id = $2 AND role <> 'owner'"+tx.forUpdate(), []any{i.Account, i.ID}, &before, &set)
	if err != nil {
		return err
	}
	if err := tx.SetPassword(i.ID, hash, alone); err != nil {
		return err
	}
	if err := tx.row("SELECT COALESCE(max(seq), 0) FROM password_history WHERE account_id = $1 AND identity_id = $2", []any{i.Account, i.ID}, &last); err != nil {
		return err
	}
	if before != "" {
		last++
		if _, err := tx.exec("INSERT INTO password_history (account_id, identity_id, seq, hash, set_at) VALUES ($1, $2, $3, $4, $5)", i.Account, i.ID, last, before, set); err != nil {
			return err
		}
	}
	return tx.later("DELETE FROM password_history WHERE account_id = $1 AND identity_id = $2 AND seq <= $3", i.Account, i.ID, last-int64(keep))
}

// SignedIn notes that the identity has signed in now.
func (tx *Tx) SignedIn(i account.IdentityID) error {
	return tx.one(ErrNoRow, "UPDATE identity SET last_signin_at = $2 WHERE id = $1", i, micros(tx.Now))
}

// CountVirtualMFA counts the virtual MFA devices of an account.
func (r *Reader) CountVirtualMFA(a account.ID) (n int, err error) {
	err = r.row("SELECT count(*) FROM virtual_mfa WHERE account_id = $1", []any{a}, &n)
	return n, err
}
