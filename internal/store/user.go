package store

import (
	"errors"

	"countersign/internal/domain/account"
)

// errNoUser says that what was to be written is no RAM user: they have a user
// name, and another role than owner.
var errNoUser = errors.New("store: no RAM user")

// userKey stands where owners have the key of their address: no address has
// this form.
func userKey(i account.Identity) string {
	return "ram:" + string(i.Account) + "/" + account.UserNameKey(i.UserName)
}

// AddUser adds a RAM user; account.ErrUserNameTaken if the account has one of
// the name, and the write can go on.
func (tx *Tx) AddUser(i account.Identity) error {
	if i.IsOwner() || i.UserName == "" {
		return errNoUser
	}
	return tx.one(account.ErrUserNameTaken, `INSERT INTO identity (account_id, id, role, email, email_key, email_confirmed_at, password_hash, password_changed_at, password_alone, locale, epoch, created_at,
			name, name_key, display_name, comments, last_signin_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT (email_key) DO NOTHING`,
		i.Account, i.ID, i.Role, i.Email, userKey(i), micros(i.EmailConfirmedAt), i.PasswordHash, micros(i.PasswordChangedAt), flag(i.PasswordAlone), i.Locale, i.Epoch, micros(i.CreatedAt),
		i.UserName, account.UserNameKey(i.UserName), i.DisplayName, i.Comments, micros(i.LastSignInAt))
}

// UpdateUser keeps what administrators write about a RAM user: user name,
// display name, email, comments and role; account.ErrUserNameTaken if the name
// is another's, ErrNoRow if the account has no such user.
func (tx *Tx) UpdateUser(i account.Identity) error {
	if i.IsOwner() || i.UserName == "" {
		return errNoUser
	}
	err := tx.one(ErrNoRow, `UPDATE identity SET email_key = $3, name = $4, name_key = $5, display_name = $6, comments = $7, role = $8,
			email_confirmed_at = CASE WHEN email = $9 THEN email_confirmed_at ELSE 0 END, email = $9
		WHERE account_id = $1 AND id = $2 AND role <> 'owner'`,
		i.Account, i.ID, userKey(i), i.UserName, account.UserNameKey(i.UserName), i.DisplayName, i.Comments, i.Role, i.Email)
	if err != nil && tx.db.engine.Taken(err) {
		return account.ErrUserNameTaken
	}
	return err
}

// belongings are the tables of what a RAM user has; what hangs on sessions and
// ceremonies goes with them.
var belongings = []string{"session", "ceremony", "virtual_mfa", "phone", "security_email", "activation", "passkey", "passkey_user", "recovery_code", "guess_budget", "known_device", "remembered_device", "login_profile", "enrolment", "seen_network", "password_history", "mail_link", "notice_digest"}

// DeleteUser removes a RAM user and all it has; what it did stays on record.
// ErrNoRow if the account has no such user.
func (tx *Tx) DeleteUser(a account.ID, id account.IdentityID) error {
	if err := tx.one(ErrNoRow, "DELETE FROM identity WHERE account_id = $1 AND id = $2 AND role <> 'owner'", a, id); err != nil {
		return err
	}
	for _, table := range belongings {
		if err := tx.later("DELETE FROM "+table+" WHERE account_id = $1 AND identity_id = $2", a, id); err != nil {
			return err
		}
	}
	tx.revoked(id)
	return nil
}

// CountAdministrators counts the RAM users of an account who administer it;
// within a write they are locked until the end, lest two writes each remove
// the other's last one.
func (r *Reader) CountAdministrators(a account.ID) (n int, err error) {
	err = r.row("SELECT count(*) FROM (SELECT i.id FROM identity i WHERE i.account_id = $1 AND i.role = $2 ORDER BY i.id"+r.forUpdate()+") administrators", []any{a, account.Administrator}, &n)
	return n, err
}
