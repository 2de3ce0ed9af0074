package store

import (
	"time"

	"countersign/internal/domain/account"
)

// namedAccount is the account that a sign-in name belongs to: $1 is an alias
// or an account ID, $2 a domain alias that was verified; empty for none.
const namedAccount = `SELECT named.id FROM account named WHERE $1 <> '' AND (named.alias = $1 OR named.id = $1)
	UNION ALL SELECT d.account_id FROM domain_alias d WHERE $2 <> '' AND d.domain = $2 AND d.verified_at > 0 LIMIT 1`

// IdentityBySignInName returns the RAM user who signs in with the name; within
// a write it is locked until the end.
func (r *Reader) IdentityBySignInName(n account.SignInName) (account.Identity, error) {
	if n.IsZero() {
		return account.Identity{}, ErrNoRow
	}
	return r.identityWhere("i.account_id = ("+namedAccount+") AND i.name_key = $3 AND i.role <> 'owner'", n.Alias, n.Domain, n.User)
}

// AccountByName returns the account that the name belongs to, whether or not it
// has such a user.
func (r *Reader) AccountByName(n account.SignInName) (a account.Account, err error) {
	var created int64
	err = r.row("SELECT a.id, a.alias, a.created_at FROM account a WHERE a.id = ("+namedAccount+")", []any{n.Alias, n.Domain}, &a.ID, &a.Alias, &created)
	a.CreatedAt = instant(created)
	return a, err
}

// SetAlias gives an account another alias; account.ErrAliasTaken if it is
// another's, or another's ID.
func (tx *Tx) SetAlias(a account.ID, alias string) error {
	err := tx.one(account.ErrAliasTaken, "UPDATE account SET alias = $2 WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM account other WHERE other.id = $2 AND other.id <> $1)", a, alias)
	if err != nil && tx.db.engine.Taken(err) {
		return account.ErrAliasTaken
	}
	return err
}

// A DomainAlias is a domain name that users of an account may sign in with.
type DomainAlias struct {
	Domain     string
	Code       string // to be published in the domain
	CreatedAt  time.Time
	VerifiedAt time.Time // zero: it is not proved yet
}

// DomainAliases returns those of an account by name.
func (r *Reader) DomainAliases(a account.ID) (list []DomainAlias, err error) {
	err = r.each("SELECT domain, code, created_at, verified_at FROM domain_alias WHERE account_id = $1 ORDER BY domain", []any{a},
		func(scan func(...any) error) error {
			var d DomainAlias
			var created, verified int64
			err := scan(&d.Domain, &d.Code, &created, &verified)
			d.CreatedAt, d.VerifiedAt = instant(created), instant(verified)
			list = append(list, d)
			return err
		})
	return list, err
}

// AddDomainAlias keeps a domain to be verified; account.ErrDomainTaken if the
// account has it already, or another account has verified it.
func (tx *Tx) AddDomainAlias(a account.ID, domain, code string) error {
	return tx.one(account.ErrDomainTaken, `INSERT INTO domain_alias (account_id, domain, code, created_at, verified_at)
		SELECT $1, $2, $3, $4, 0 WHERE NOT EXISTS (SELECT 1 FROM domain_alias d WHERE d.domain = $2 AND d.verified_at > 0)
		ON CONFLICT (account_id, domain) DO NOTHING`, a, domain, code, micros(tx.Now))
}

// VerifyDomainAlias has users sign in with the domain from now on; gone is
// returned when it is not in the list, account.ErrDomainTaken if another
// account was first.
func (tx *Tx) VerifyDomainAlias(a account.ID, domain string, gone error) error {
	err := tx.one(gone, "UPDATE domain_alias SET verified_at = CASE WHEN verified_at > 0 THEN verified_at ELSE $3 END WHERE account_id = $1 AND domain = $2", a, domain, micros(tx.Now))
	if err != nil && tx.db.engine.Taken(err) {
		return account.ErrDomainTaken
	}
	return err
}

// RemoveDomainAlias takes a domain off; gone is returned when it is not there.
func (tx *Tx) RemoveDomainAlias(a account.ID, domain string, gone error) error {
	return tx.one(gone, "DELETE FROM domain_alias WHERE account_id = $1 AND domain = $2", a, domain)
}
