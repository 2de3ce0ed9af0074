package store

import (
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/posture"
	"countersign/internal/domain/throttle"
)

const (
	isEnabled  = "COALESCE(p.state, '') = 'active'"
	hasDevice  = "(" + hasVirtualMFA + " OR " + hasPhone + " OR " + hasKey + ")"
	codesOf    = "FROM recovery_code c WHERE c.account_id = i.account_id AND c.identity_id = i.id AND c.used_at = 0"
	hasCode    = "EXISTS (SELECT 1 " + codesOf + ")"
	hasUnsaved = "EXISTS (SELECT 1 " + codesOf + " AND c.saved_at = 0)"
	hasCopied  = "EXISTS (SELECT 1 " + keysOf + " AND k.copied_at > 0)"
	// hasGuesses goes before the time after which a try has come back.
	hasGuesses = "EXISTS (SELECT 1 FROM guess_budget g WHERE g.account_id = i.account_id AND g.identity_id = i.id AND g.tries_left = 0 AND g.refilled_at > "
	// isLockedOut goes before the time: the password says nothing any more, or
	// ran out before its first use, and nothing else is there.
	isLockedOut = "(i.distrusted_at > 0 AND NOT " + hasDevice + " AND NOT " + hasMailbox + " OR NOT " + hasPasskey + " AND COALESCE(p.initial_until, 0) > 0 AND p.initial_until <= "
	canSignIn   = isEnabled + " AND NOT " + isLockedOut + "$7)"

	// riskCases are the users whom the overview counts at risk, as cases of what
	// a list is asked for.
	riskCases = " WHEN 'distrusted' THEN " + isEnabled + " AND i.distrusted_at > 0" +
		" WHEN 'locked_out' THEN " + isEnabled + " AND " + isLockedOut + "$7)" +
		" WHEN 'can_sign_in' THEN " + canSignIn +
		" WHEN 'no_codes' THEN " + canSignIn + " AND " + hasDevice + " AND NOT " + hasCode +
		" WHEN 'unsaved_codes' THEN " + canSignIn + " AND " + hasUnsaved +
		" WHEN 'counter_back' THEN " + canSignIn + " AND " + hasCopied +
		" WHEN 'guessed' THEN " + canSignIn + " AND " + hasGuesses + "$6)" +
		" WHEN 'never_used' THEN " + canSignIn + " AND i.last_signin_at = 0" +
		" WHEN 'stale' THEN " + canSignIn + " AND i.last_signin_at > 0 AND i.last_signin_at <= $6"

	// census is of those who can sign in, but for what was reported and for those
	// who are locked out. A phone counts where text messages are allowed.
	ofThem = "count(*) FILTER (WHERE NOT l AND "
	census = "SELECT " + ofThem + "TRUE), " + ofThem + "(v OR k OR u OR t AND s)), " + ofThem + "(k OR u)), " +
		ofThem + "k), " + ofThem + "u), " + ofThem + "v), " + ofThem + "t), " + ofThem + "(v OR k OR u OR t AND s) AND c AND NOT n), " +
		ofThem + "role = 'administrator'), " + ofThem + "role = 'administrator' AND (k OR u)), " +
		"count(*) FILTER (WHERE distrusted_at > 0), " + ofThem + "b), " + ofThem + "g), count(*) FILTER (WHERE l), " +
		ofThem + "NOT (v OR t OR k OR u)), " + ofThem + "t AND NOT (v OR k OR u)), " + ofThem + "(v OR t OR k OR u) AND NOT c), " + ofThem + "n), " +
		ofThem + "last_signin_at = 0), " + ofThem + "last_signin_at > 0 AND last_signin_at <= $3) " +
		"FROM (SELECT i.role, i.last_signin_at, i.distrusted_at, " + hasVirtualMFA + " AS v, " + hasPhone + " AS t, " + hasPasskey + " AS k, EXISTS (SELECT 1 " + keysOf + " AND k.app_id <> '') AS u, " +
		hasCode + " AS c, " + hasUnsaved + " AS n, " + hasCopied + " AS b, " + hasGuesses + "$4) AS g, CAST($2 AS INTEGER) <> 0 AS s, " + isLockedOut + "$5) AS l FROM identity i" + joinProfile + ofAccount + " AND " + isEnabled + ") who"
)

// Census counts the RAM users of an account who can sign in to the console.
func (r *Reader) Census(a account.ID, allowSMS bool) (c posture.Census, err error) {
	risks := make([]int, len(posture.Risks)) // in their order
	err = r.row(census, []any{a, flag(allowSMS), micros(r.now().Add(-posture.IdleAfter)), micros(r.now().Add(-throttle.BudgetRefill)), micros(r.now())},
		&c.Users, &c.Protected, &c.Resistant, &c.Passkey, &c.U2F, &c.VirtualMFA, &c.SMS, &c.Coded, &c.Administrators, &c.AdministratorsResistant,
		&risks[0], &risks[1], &risks[2], &risks[3], &risks[4], &risks[5], &risks[6], &risks[7], &risks[8], &risks[9])
	c.AtRisk = map[posture.Risk]int{}
	for n, risk := range posture.Risks {
		c.AtRisk[risk] = risks[n]
	}
	return c, err
}

// KeepCensus keeps how many users of an account are protected today; the last
// count of a day stays.
func (tx *Tx) KeepCensus(a account.ID, c posture.Census) error {
	return tx.later(`INSERT INTO account_day (account_id, day, users, protected, resistant) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account_id, day) DO UPDATE SET users = $3, protected = $4, resistant = $5`, a, posture.DayOf(tx.Now), c.Users, c.Protected, c.Resistant)
}

// CountSignIns adds the sign-ins that were recorded since it was last called,
// of at most n events, to those of their days; more: there are others.
func (tx *Tx) CountSignIns(a account.ID, n int) (more bool, err error) {
	if _, err := tx.exec("INSERT INTO signin_counted (account_id, seq) VALUES ($1, 0) ON CONFLICT (account_id) DO NOTHING", a); err != nil {
		return false, err
	}
	var from int64
	if err := tx.row("SELECT seq FROM signin_counted WHERE account_id = $1"+tx.forUpdate(), []any{a}, &from); err != nil {
		return false, err
	}
	type cell struct {
		day     int64
		outcome posture.Outcome
	}
	counted := map[cell]int{}
	upTo, events := from, 0
	err = tx.signIns(a, from, n, func(seq int64, e audit.Event) {
		upTo, events = seq, events+1
		if outcome, ok := posture.OutcomeOf(e); ok {
			counted[cell{posture.DayOf(e.At), outcome}]++
		}
	})
	if err != nil || events == 0 {
		return false, err
	}
	for at, count := range counted {
		if err := tx.later(`INSERT INTO signin_day AS d (account_id, day, outcome, counted) VALUES ($1, $2, $3, $4)
			ON CONFLICT (account_id, day, outcome) DO UPDATE SET counted = d.counted + $4`, a, at.day, at.outcome, count); err != nil {
			return false, err
		}
	}
	return events == n, tx.one(errLost, "UPDATE signin_counted SET seq = $3 WHERE account_id = $1 AND seq = $2", a, from, upTo)
}

// signIns calls f for the sign-ins of an account after the event numbered, at
// most n of them (0: all).
func (r *Reader) signIns(a account.ID, after int64, n int, f func(seq int64, e audit.Event)) error {
	query, args := "SELECT seq, content FROM audit_event WHERE account_id = $1 AND seq > $2 AND name = $3 ORDER BY seq", []any{a, after, audit.ConsoleSignin}
	if n > 0 {
		query, args = query+" LIMIT $4", append(args, n)
	}
	return r.each(query, args, func(scan func(...any) error) error {
		var seq int64
		var content []byte
		if err := scan(&seq, &content); err != nil {
			return err
		}
		e, err := audit.ParseContent(content)
		if err == nil {
			f(seq, e)
		}
		return err
	})
}

// Days returns what is kept of an account's days from the one numbered on, and
// the sign-ins of today that nobody has counted yet.
func (r *Reader) Days(a account.ID, since int64) ([]posture.Day, error) {
	byNumber := map[int64]*posture.Day{}
	day := func(number int64) *posture.Day {
		if byNumber[number] == nil {
			byNumber[number] = &posture.Day{Number: number, SignIns: map[posture.Outcome]int{}}
		}
		return byNumber[number]
	}
	// How far was counted is read with what was counted, lest something is left out or comes twice.
	var counted int64
	err := r.each(`SELECT c.seq, COALESCE(d.day, 0), COALESCE(d.outcome, ''), COALESCE(d.counted, 0)
		FROM (SELECT COALESCE((SELECT s.seq FROM signin_counted s WHERE s.account_id = $1), 0) AS seq) c LEFT JOIN signin_day d ON d.account_id = $1 AND d.day >= $2`, []any{a, since},
		func(scan func(...any) error) error {
			var number int64
			var outcome posture.Outcome
			var n int
			err := scan(&counted, &number, &outcome, &n)
			if outcome != "" {
				day(number).SignIns[outcome] += n
			}
			return err
		})
	if err != nil {
		return nil, err
	}
	err = r.signIns(a, counted, 0, func(_ int64, e audit.Event) {
		if outcome, ok := posture.OutcomeOf(e); ok && posture.DayOf(e.At) >= since {
			day(posture.DayOf(e.At)).SignIns[outcome]++
		}
	})
	if err != nil {
		return nil, err
	}
	err = r.each("SELECT day, users, protected, resistant FROM account_day WHERE account_id = $1 AND day >= $2", []any{a, since}, func(scan func(...any) error) error {
		var number int64
		var users, protected, resistant int
		err := scan(&number, &users, &protected, &resistant)
		d := day(number)
		d.Known, d.Users, d.Protected, d.Resistant = true, users, protected, resistant
		return err
	})
	days := make([]posture.Day, 0, len(byNumber))
	for _, d := range byNumber {
		days = append(days, *d)
	}
	return days, err
}

// DropDays forgets the days of every account before the one numbered.
func (tx *Tx) DropDays(before int64) error {
	_, err := tx.exec("DELETE FROM account_day WHERE day < $1", before)
	if err == nil {
		_, err = tx.exec("DELETE FROM signin_day WHERE day < $1", before)
	}
	return err
}

// Owner returns the owner of an account.
func (r *Reader) Owner(a account.ID) (account.Identity, error) {
	return r.identityWhere("i.account_id = $1 AND i.role = 'owner'", a)
}

// LastSignIn returns when an identity last signed in, as the record has it;
// zero: never.
func (r *Reader) LastSignIn(a account.ID, i account.IdentityID) (time.Time, error) {
	var at int64
	err := r.row("SELECT at FROM audit_event WHERE account_id = $1 AND identity_id = $2 AND name = $3 AND refused = '' ORDER BY seq DESC LIMIT 1", []any{a, i, audit.ConsoleSignin}, &at)
	_, err = HasRow(err)
	return instant(at), err
}

// A CredentialReport is the latest one of an account.
type CredentialReport struct {
	MadeAt  time.Time // zero: none was made yet
	MadeBy  string    // whoever asked for it
	Rows    int
	Content []byte // CSV
}

// CredentialReport returns the latest report of an account.
func (r *Reader) CredentialReport(a account.ID) (c CredentialReport, err error) {
	var made int64
	err = r.row("SELECT made_at, made_by, line_count, content FROM credential_report WHERE account_id = $1", []any{a}, &made, &c.MadeBy, &c.Rows, &c.Content)
	if errors.Is(err, ErrNoRow) {
		return CredentialReport{}, nil
	}
	c.MadeAt = instant(made)
	return c, err
}

// KeepCredentialReport keeps a new report in place of one made before the time
// given; early is returned when another was made since.
func (tx *Tx) KeepCredentialReport(a account.ID, c CredentialReport, before time.Time, early error) error {
	return tx.one(early, `INSERT INTO credential_report AS c (account_id, made_at, made_by, line_count, content) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account_id) DO UPDATE SET made_at = $2, made_by = $3, line_count = $4, content = $5 WHERE c.made_at <= $6`,
		a, micros(c.MadeAt), c.MadeBy, c.Rows, c.Content, micros(before))
}
