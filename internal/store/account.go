package store

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
)

// AddAccount adds an account.
func (tx *Tx) AddAccount(a account.Account) error {
	_, err := tx.exec("INSERT INTO account (id, alias, created_at) VALUES ($1, $2, $3)", a.ID, a.Alias, micros(a.CreatedAt))
	return err
}

// AddIdentity adds an identity; account.ErrEmailTaken if the address serves another.
func (tx *Tx) AddIdentity(i account.Identity) error {
	_, err := tx.exec(`INSERT INTO identity (account_id, id, role, email, email_key, email_confirmed_at, password_hash, password_changed_at, password_alone, locale, epoch, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		i.Account, i.ID, i.Role, i.Email, account.EmailKey(i.Email), micros(i.EmailConfirmedAt), i.PasswordHash, micros(i.PasswordChangedAt), flag(i.PasswordAlone), i.Locale, i.Epoch, micros(i.CreatedAt))
	if err != nil && tx.db.engine.Taken(err) {
		return account.ErrEmailTaken
	}
	return err
}

// Account returns the account named.
func (r *Reader) Account(id account.ID) (account.Account, error) {
	a := account.Account{ID: id}
	var created int64
	err := r.row("SELECT alias, created_at FROM account WHERE id = $1", []any{id}, &a.Alias, &created)
	a.CreatedAt = instant(created)
	return a, err
}

// AnyAccount reports whether an account exists.
func (r *Reader) AnyAccount() (bool, error) {
	var any bool
	err := r.row("SELECT EXISTS (SELECT 1 FROM account)", nil, &any)
	return any, err
}

// EachOwner calls f for every account and its owner, oldest first.
func (r *Reader) EachOwner(f func(account.Account, account.Identity) error) error {
	return r.each("SELECT a.id, a.alias, a.created_at, "+identityColumns+" FROM account a JOIN identity i ON i.account_id = a.id AND i.role = 'owner' ORDER BY a.created_at, a.id", nil,
		func(scan func(...any) error) error {
			var a account.Account
			var created int64
			var row identityRow
			if err := scan(append([]any{&a.ID, &a.Alias, &created}, row.targets()...)...); err != nil {
				return err
			}
			a.CreatedAt = instant(created)
			return f(a, row.identity(r.db.config.Suffix))
		})
}

// Administrators returns the owner of an account and the RAM users who
// administer it, oldest first.
func (r *Reader) Administrators(a account.ID) (list []account.Identity, err error) {
	err = r.each("SELECT "+identityColumns+" FROM identity i WHERE i.account_id = $1 AND i.role IN ($2, $3) ORDER BY i.created_at, i.id", []any{a, account.Owner, account.Administrator},
		func(scan func(...any) error) error {
			var row identityRow
			err := scan(row.targets()...)
			list = append(list, row.identity(r.db.config.Suffix))
			return err
		})
	return list, err
}

type identityRow struct {
	account.Identity
	alias                                      string
	confirmed, changed, created, alone, signin int64
	distrusted, check                          int64
}

// identityColumns are those of identity AS i. The alias is a subselect, so
// that locking the identity locks no account.
const identityColumns = `i.account_id, i.id, i.role, i.email, i.email_confirmed_at, i.password_hash, i.password_changed_at, i.password_alone, i.locale, i.epoch, i.created_at,
	i.name, i.display_name, i.comments, i.last_signin_at, i.distrusted_at, i.check_due, (SELECT named.alias FROM account named WHERE named.id = i.account_id)`

func (r *identityRow) targets() []any {
	return []any{&r.Account, &r.ID, &r.Role, &r.Email, &r.confirmed, &r.PasswordHash, &r.changed, &r.alone, &r.Locale, &r.Epoch, &r.created,
		&r.UserName, &r.DisplayName, &r.Comments, &r.signin, &r.distrusted, &r.check, &r.alias}
}

func (r *identityRow) identity(suffix string) account.Identity {
	r.EmailConfirmedAt, r.PasswordChangedAt, r.CreatedAt, r.LastSignInAt = instant(r.confirmed), instant(r.changed), instant(r.created), instant(r.signin)
	r.PasswordAlone = r.alone != 0
	r.DistrustedAt, r.CheckDue = instant(r.distrusted), instant(r.check)
	if r.UserName != "" {
		r.Domain = r.alias + "." + suffix
	}
	return r.Identity
}

func (r *Reader) identityWhere(where string, args ...any) (account.Identity, error) {
	var row identityRow
	err := r.row("SELECT "+identityColumns+" FROM identity i WHERE "+where+r.forUpdate(), args, row.targets()...)
	return row.identity(r.db.config.Suffix), err
}

// Identity returns the identity named; within a write it is locked until the end.
func (r *Reader) Identity(id account.IdentityID) (account.Identity, error) {
	return r.identityWhere("i.id = $1", id)
}

// IdentityByEmail returns the owner who signs in with the address.
func (r *Reader) IdentityByEmail(email string) (account.Identity, error) {
	return r.identityWhere("i.email_key = $1 AND i.role = 'owner'", account.EmailKey(email))
}

// ConfirmEmail marks the identity's address as confirmed.
func (tx *Tx) ConfirmEmail(id account.IdentityID) error {
	return tx.one(ErrNoRow, "UPDATE identity SET email_confirmed_at = $2 WHERE id = $1", id, micros(tx.Now))
}

// SetEmail makes a confirmed address the one that an owner signs in with;
// account.ErrEmailTaken if it serves another.
func (tx *Tx) SetEmail(id account.IdentityID, email string) error {
	err := tx.one(ErrNoRow, "UPDATE identity SET email = $2, email_key = $3, email_confirmed_at = $4 WHERE id = $1 AND role = 'owner'", id, email, account.EmailKey(email), micros(tx.Now))
	if err != nil && tx.db.engine.Taken(err) {
		return account.ErrEmailTaken
	}
	return err
}

// SetLocale keeps the language that messages to the identity are written in.
func (tx *Tx) SetLocale(id account.IdentityID, locale string) error {
	return tx.one(ErrNoRow, "UPDATE identity SET locale = $2 WHERE id = $1", id, locale)
}

// SetPasswordHash replaces the hash from under which the password was proved,
// and notes whether that is long enough to be the only factor; it changes
// nothing when the password itself was changed meanwhile.
func (tx *Tx) SetPasswordHash(id account.IdentityID, from, to string, alone bool) error {
	return tx.later("UPDATE identity SET password_hash = $3, password_alone = $4 WHERE id = $1 AND password_hash = $2", id, from, to, flag(alone))
}

// SetPassword gives the identity a new password: whoever knew the one before
// is out, and links that lead to another are void.
func (tx *Tx) SetPassword(id account.IdentityID, hash string, alone bool) error {
	if err := tx.VoidLinks(id, ResetLink); err != nil {
		return err
	}
	return tx.one(ErrNoRow, "UPDATE identity SET password_hash = $2, password_changed_at = $3, password_alone = $4, distrusted_at = 0 WHERE id = $1", id, hash, micros(tx.Now), flag(alone))
}

// RaiseEpoch voids every session, ceremony and remembered device of the
// identity, and returns the new epoch. keep names the session that lives on, with a new token to be
// set by the caller, or the ceremony that does; empty for none.
func (tx *Tx) RaiseEpoch(id account.IdentityID, keep string) (int64, error) {
	var epoch int64
	if err := tx.row("UPDATE identity SET epoch = epoch + 1 WHERE id = $1 RETURNING epoch", []any{id}, &epoch); err != nil {
		return 0, err
	}
	if err := tx.later("DELETE FROM session WHERE identity_id = $1 AND id <> $2", id, keep); err != nil {
		return 0, err
	}
	if err := tx.later("DELETE FROM remembered_device WHERE identity_id = $1", id); err != nil {
		return 0, err
	}
	if err := tx.later("UPDATE session SET epoch = $3, remembered = '' WHERE identity_id = $1 AND id = $2", id, keep, epoch); err != nil {
		return 0, err
	}
	// Codes that this session has not yet called saved are not lost to a change of its own.
	if err := tx.later("DELETE FROM ceremony WHERE identity_id = $1 AND id <> $3 AND NOT (kind = $2 AND session_id = $3)", id, ceremony.Codes, keep); err != nil {
		return 0, err
	}
	if err := tx.later("UPDATE ceremony SET epoch = $3 WHERE identity_id = $1 AND id = $2", id, keep, epoch); err != nil {
		return 0, err
	}
	tx.revoked(id)
	return epoch, nil
}

// VoidSetupLinks makes every set-up link there is useless.
func (tx *Tx) VoidSetupLinks() error {
	return tx.later("UPDATE setup_link SET used_at = $1 WHERE used_at = 0", micros(tx.Now))
}

// AddSetupLink keeps the hash of a set-up link and voids the ones before it.
func (tx *Tx) AddSetupLink(hash []byte, expires time.Time) error {
	if err := tx.VoidSetupLinks(); err != nil {
		return err
	}
	_, err := tx.exec("INSERT INTO setup_link (token_hash, created_at, expires_at, used_at) VALUES ($1, $2, $3, 0)", hash, micros(tx.Now), micros(expires))
	return err
}

// SetupLinkOpen reports whether the link is known and unused.
func (r *Reader) SetupLinkOpen(hash []byte, now time.Time) (bool, error) {
	var open bool
	err := r.row("SELECT EXISTS (SELECT 1 FROM setup_link WHERE token_hash = $1 AND used_at = 0 AND expires_at > $2)", []any{hash, micros(now)}, &open)
	return open, err
}

// SetupLinkKnown reports whether the link was ever one.
func (r *Reader) SetupLinkKnown(hash []byte) (bool, error) {
	var known bool
	err := r.row("SELECT EXISTS (SELECT 1 FROM setup_link WHERE token_hash = $1)", []any{hash}, &known)
	return known, err
}

// UseSetupLink uses the link up; refused is returned if it was used or has expired.
func (tx *Tx) UseSetupLink(hash []byte, refused error) error {
	return tx.one(refused, "UPDATE setup_link SET used_at = $2 WHERE token_hash = $1 AND used_at = 0 AND expires_at > $2", hash, micros(tx.Now))
}
