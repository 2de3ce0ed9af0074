package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/posture"
	"countersign/internal/domain/throttle"
)

// A User is a RAM user as lists show it.
type User struct {
	account.Identity
	Profile       account.Profile
	VirtualMFA    bool
	Phone         bool
	SecurityEmail bool
	Passkeys      int
	U2F           int  // keys bound under U2F
	RecoveryCodes int  // unused ones
	Reenrol       bool // binding a device takes a ticket
}

// A UserQuery says which RAM users of an account, and in which order.
type UserQuery struct {
	Search     string // in name, display name or comments; in any case, at least of ASCII
	MFA        string // "none", "any", "passkey", "virtual_mfa", "sms" (only a phone), "no_key" (no passkey and no U2F key); else: all
	Activity   string // "never", "idle30", "idle90", "disabled", "no_profile", "enabled", "can_sign_in", "reenrol", or of riskCases; else: all
	Role       account.Role
	Sort       string // "created", "last_signin"; else: by name
	Descending bool
	Offset     int
	Limit      int // 0: none
	Now        time.Time
}

const (
	hasVirtualMFA = "EXISTS (SELECT 1 FROM virtual_mfa v WHERE v.account_id = i.account_id AND v.identity_id = i.id)"
	hasPhone      = "EXISTS (SELECT 1 FROM phone t WHERE t.account_id = i.account_id AND t.identity_id = i.id)"
	hasMailbox    = "EXISTS (SELECT 1 FROM security_email m WHERE m.account_id = i.account_id AND m.identity_id = i.id)"
	keysOf        = "FROM passkey k WHERE k.account_id = i.account_id AND k.identity_id = i.id"
	hasPasskey    = "EXISTS (SELECT 1 " + keysOf + " AND k.app_id = '')"
	hasKey        = "EXISTS (SELECT 1 " + keysOf + ")" // a passkey, or one bound under U2F
	hasReenrol    = "EXISTS (SELECT 1 FROM enrolment e WHERE e.account_id = i.account_id AND e.identity_id = i.id AND e.kind = 'reenrol')"

	// possessions are what decisions about an identity rest on; joinProfile goes with them.
	possessions = hasVirtualMFA + ", " + hasPhone + ", " + hasMailbox + `,
		(SELECT count(*) ` + keysOf + ` AND k.app_id = ''), (SELECT count(*) ` + keysOf + ` AND k.app_id <> ''),
		(SELECT count(*) FROM recovery_code c WHERE c.account_id = i.account_id AND c.identity_id = i.id AND c.used_at = 0), ` + hasReenrol + `,
		COALESCE(p.state, ''), COALESCE(p.mfa_required, 0), COALESCE(p.password_reset, 0), COALESCE(p.initial_until, 0), COALESCE(p.updated_at, 0)`
	joinProfile = " LEFT JOIN login_profile p ON p.identity_id = i.id AND p.account_id = i.account_id"

	// signedIn is the last sign-in, or the creation of who never signed in.
	signedIn = "CASE WHEN i.last_signin_at > 0 THEN i.last_signin_at ELSE i.created_at END"

	// ofAccount are the RAM users of an account: owners have no user name. The
	// subselects hide the values from planners, who would otherwise read the
	// whole table for an account that holds much of it.
	ofAccount = " WHERE i.account_id = (SELECT CAST($1 AS TEXT)) AND i.name_key > (SELECT '')"

	// usersWhere keeps to one text whatever is asked: prepared ones are kept for good.
	usersWhere = ofAccount + ` AND ($2 = '' OR i.role = $2)
		AND ($3 = '' OR i.name_key LIKE lower($3) ESCAPE '\' OR lower(i.display_name) LIKE lower($3) ESCAPE '\' OR lower(i.comments) LIKE lower($3) ESCAPE '\')
		AND CASE $4 WHEN 'none' THEN NOT ` + hasVirtualMFA + ` AND NOT ` + hasPhone + ` AND NOT ` + hasKey + ` WHEN 'any' THEN ` + hasVirtualMFA + ` OR ` + hasPhone + ` OR ` + hasKey + `
			WHEN 'passkey' THEN ` + hasPasskey + ` WHEN 'virtual_mfa' THEN ` + hasVirtualMFA + `
			WHEN 'sms' THEN ` + hasPhone + ` AND NOT ` + hasVirtualMFA + ` AND NOT ` + hasKey + ` WHEN 'no_key' THEN NOT ` + hasKey + ` ELSE TRUE END
		AND CASE $5 WHEN 'never' THEN i.last_signin_at = 0 WHEN 'idle' THEN ` + signedIn + ` <= $6
			WHEN 'disabled' THEN COALESCE(p.state, '') IN ('inactive', 'idle') WHEN 'no_profile' THEN COALESCE(p.state, '') = '' WHEN 'enabled' THEN ` + isEnabled + `
			WHEN 'reenrol' THEN ` + hasReenrol + riskCases + ` ELSE TRUE END`
)

// possessed is the row of possessions.
type possessed struct {
	virtualMFA, phone, mailbox, reenrol   bool
	passkeys, u2f, codes                  int
	profile                               account.Profile
	required, reset, initialUntil, update int64
}

func (p *possessed) targets() []any {
	return []any{&p.virtualMFA, &p.phone, &p.mailbox, &p.passkeys, &p.u2f, &p.codes, &p.reenrol, &p.profile.State, &p.required, &p.reset, &p.initialUntil, &p.update}
}

func (p *possessed) loginProfile() account.Profile {
	p.profile.MFARequired, p.profile.PasswordReset = p.required != 0, p.reset != 0
	p.profile.InitialUntil, p.profile.UpdatedAt = instant(p.initialUntil), instant(p.update)
	return p.profile
}

type userRow struct {
	identityRow
	possessed
}

const userColumns = identityColumns + ", " + possessions

func (u *userRow) targets() []any { return append(u.identityRow.targets(), u.possessed.targets()...) }

func (u *userRow) user(suffix string) User {
	return User{Identity: u.identity(suffix), Profile: u.loginProfile(), VirtualMFA: u.virtualMFA, Phone: u.phone, SecurityEmail: u.mailbox, Passkeys: u.passkeys, U2F: u.u2f, RecoveryCodes: u.codes, Reenrol: u.reenrol}
}

func (r *Reader) users(query string, args ...any) (list []User, err error) {
	err = r.each(query, args, func(scan func(...any) error) error {
		var row userRow
		err := scan(row.targets()...)
		list = append(list, row.user(r.db.config.Suffix))
		return err
	})
	return list, err
}

// containing is the LIKE pattern of what holds s; empty if s is.
func containing(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "") // neither can be stored
	if s == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}

const day = 24 * time.Hour

// args are those of usersWhere.
func (q UserQuery) args(a account.ID) []any {
	activity, idle := q.Activity, int64(0)
	switch activity {
	case "idle30":
		activity, idle = "idle", micros(q.Now.Add(-30*day))
	case "idle90":
		activity, idle = "idle", micros(q.Now.Add(-90*day))
	case "stale":
		idle = micros(q.Now.Add(-posture.IdleAfter))
	case "guessed":
		idle = micros(q.Now.Add(-throttle.BudgetRefill))
	case "idle":
		activity = ""
	}
	return []any{a, q.Role, containing(q.Search), q.MFA, activity, idle, micros(q.Now)}
}

func (q UserQuery) order() string {
	columns := []string{"i.name_key"}
	switch q.Sort {
	case "created":
		columns = []string{"i.created_at", "i.id"}
	case "last_signin":
		columns = []string{"i.last_signin_at", "i.id"}
	}
	direction := ""
	if q.Descending {
		direction = " DESC"
	}
	return " ORDER BY " + strings.Join(columns, direction+", ") + direction
}

func (q UserQuery) text() string {
	return "SELECT " + userColumns + " FROM identity i" + joinProfile + usersWhere + q.order()
}

// Users returns a page of the RAM users of an account.
func (r *Reader) Users(a account.ID, q UserQuery) ([]User, error) {
	if q.Limit <= 0 {
		return r.users(q.text(), q.args(a)...)
	}
	return r.users(q.text()+" LIMIT $8 OFFSET $9", append(q.args(a), q.Limit, max(q.Offset, 0))...)
}

// Everybody reports whether a query finds all RAM users of an account.
func (q UserQuery) Everybody() bool {
	return containing(q.Search) == "" && q.MFA == "" && q.Activity == "" && q.Role == ""
}

const (
	usersCount = "SELECT count(*) FROM identity i" + joinProfile + usersWhere
	everybody  = "SELECT count(*) FROM identity i" + ofAccount // reads no row: the index says it
)

// CountUsers counts the RAM users that a query finds on all pages.
func (r *Reader) CountUsers(a account.ID, q UserQuery) (n int, err error) {
	if q.Everybody() {
		err = r.row(everybody, []any{a}, &n)
	} else {
		err = r.row(usersCount, q.args(a), &n)
	}
	return n, err
}

// EachUser calls f for every RAM user that a query finds on all pages, while
// nothing is held: f may take its time, and read on.
func (r *Reader) EachUser(a account.ID, q UserQuery, f func(User) error) error {
	return r.eachOf(a, q.Now, usersWhere+q.order(), q.args(a), func(u User, _ policy.Facts) error { return f(u) })
}

// User returns the RAM user named, if it is one of the account; within a write
// it is locked until the end.
func (r *Reader) User(a account.ID, id account.IdentityID) (User, error) {
	lock := r.forUpdate()
	if lock != "" {
		lock += " OF i"
	}
	var row userRow
	err := r.row("SELECT "+userColumns+" FROM identity i"+joinProfile+" WHERE i.account_id = $1 AND i.id = $2 AND i.role <> 'owner'"+lock, []any{a, id}, row.targets()...)
	return row.user(r.db.config.Suffix), err
}

// profileRest is for how long a changed profile keeps a user from counting as idle.
const profileRest = 7 * day

const idleUsers = "SELECT " + userColumns + " FROM identity i" + joinProfile + `
	WHERE i.account_id = (SELECT CAST($1 AS TEXT)) AND i.last_signin_at <= (SELECT CAST($2 AS BIGINT)) AND ` + signedIn + ` <= $2 AND i.role <> 'owner'
	AND p.state = 'active' AND p.updated_at <= $3 ORDER BY i.last_signin_at, i.id LIMIT $4`

// IdleUsers returns RAM users of any account who have not signed in for as
// long as their account allows, and whose profile was not touched lately. It
// goes along the last sign-ins of one account after the other.
func (r *Reader) IdleUsers(limit int, now time.Time) (list []User, err error) {
	since := map[account.ID]time.Time{}
	var accounts []account.ID
	err = r.each("SELECT a.id, COALESCE(s.idle_users, $1) FROM account a LEFT JOIN account_settings s ON s.account_id = a.id ORDER BY a.id", []any{account.DefaultSettings().IdleUsers},
		func(scan func(...any) error) error {
			var a account.ID
			var days int
			err := scan(&a, &days)
			accounts, since[a] = append(accounts, a), now.Add(-time.Duration(days)*day)
			return err
		})
	for _, a := range accounts {
		if err != nil || len(list) >= limit {
			break
		}
		var more []User
		more, err = r.users(idleUsers, a, micros(since[a]), micros(now.Add(-profileRest)), limit-len(list))
		list = append(list, more...)
	}
	return list, err
}

// EachUserFacts calls f for every RAM user of an account with what policy
// needs to know about it at now, except proofs, while nothing is held.
func (r *Reader) EachUserFacts(a account.ID, now time.Time, f func(User, policy.Facts) error) error {
	return r.eachOf(a, now, ofAccount+" ORDER BY i.name_key", []any{a}, f)
}

// usersAtOnce are read before they are handed on.
const usersAtOnce = 200

var usersOf = sync.OnceValue(func() string {
	marks := make([]string, usersAtOnce)
	for n := range marks {
		marks[n] = fmt.Sprintf("$%d", n+3)
	}
	return "SELECT " + userColumns + ", " + isRecovering + ", COALESCE((SELECT s.content FROM account_settings s WHERE s.account_id = $1), '') FROM identity i" + joinProfile +
		" WHERE i.account_id = $1 AND i.id IN (" + strings.Join(marks, ", ") + ")"
})

// eachOf calls f for the users of an account for whom a condition holds. Which
// these are, and their order, is of one moment; each is read shortly before it
// is handed on, and who is gone by then is left out.
func (r *Reader) eachOf(a account.ID, now time.Time, condition string, args []any, f func(User, policy.Facts) error) error {
	var ids []account.IdentityID
	err := r.each("SELECT i.id FROM identity i"+joinProfile+condition, args, func(scan func(...any) error) error {
		var id account.IdentityID
		err := scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return err
	}
	type known struct {
		User
		facts policy.Facts
	}
	var last string
	settings := account.DefaultSettings()
	for part := range slices.Chunk(ids, usersAtOnce) {
		args, found := []any{a, micros(now)}, map[account.IdentityID]known{}
		for n := range usersAtOnce {
			args = append(args, part[min(n, len(part)-1)])
		}
		err := r.each(usersOf(), args, func(scan func(...any) error) error {
			var row userRow
			var recovering bool
			var content string
			err := scan(append(row.targets(), &recovering, &content)...)
			if err == nil && content != last { // once, not for every row
				settings, err = readSettings(content)
				last = content
			}
			u := row.user(r.db.config.Suffix)
			facts := row.facts(u.Identity, now)
			facts.Recovering, facts.Settings = recovering, settings
			found[u.ID] = known{u, facts}
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range part {
			if k, there := found[id]; there {
				if err := f(k.User, k.facts); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
