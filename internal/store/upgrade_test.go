package store_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
)

const (
	oldAccount account.ID         = "1234567890123456"
	oldOwner   account.IdentityID = "o"
	oldUser    account.IdentityID = "u"
	newest                        = 9 // version of the schema
)

// A row of SQL as the program of some version wrote it. NOW and LATER are
// instants, blob('x') is a value of bytes.
type written struct {
	since int64
	query string
	args  []any
}

// history is what every version of the schema had room for, each in its words.
func history(t *testing.T, keys *secret.Keyring, version int64) []written {
	seal := func(table, row, column string, plain any) []any {
		b, ok := plain.([]byte)
		if !ok {
			b, _ = json.Marshal(plain)
		}
		s := keys.Seal(secret.Place{Table: table, Row: row, Column: column}, b)
		return []any{s.KeyID, s.Box}
	}
	mac, err := keys.MAC(keys.Newest(), "sent code", []byte("c\x00123456"))
	if err != nil {
		t.Fatal(err)
	}
	list := []written{
		{1, "INSERT INTO account (id, alias, created_at) VALUES ('1234567890123456', 'acme', 1)", nil},
		{1, `INSERT INTO identity (account_id, id, role, email, email_key, email_confirmed_at, password_hash, password_changed_at, password_alone, locale, epoch, created_at)
			VALUES ('1234567890123456', 'o', 'owner', 'A@example.com', 'a@example.com', 2, '$x$', 3, 1, 'ja', 4, 5)`, nil},
		{1, "INSERT INTO setup_link (token_hash, created_at, expires_at, used_at) VALUES (blob('setup'), NOW, LATER, 0)", nil},
		{1, `INSERT INTO virtual_mfa (account_id, identity_id, id, name, key_id, seed, drift, last_step, bound_at, bound_from, last_used_at)
			VALUES ('1234567890123456', 'o', 'v', 'Phone', $1, $2, 1, 77, 6, '192.0.2.1', 7)`, seal("virtual_mfa", "1234567890123456/o", "seed", []byte("12345678901234567890"))},
		{1, "INSERT INTO recovery_code (account_id, identity_id, code_hash, created_at, used_at) VALUES ('1234567890123456', 'o', blob('left'), 8, 0)", nil},
		{1, "INSERT INTO recovery_code (account_id, identity_id, code_hash, created_at, used_at) VALUES ('1234567890123456', 'o', blob('used'), 8, 9)", nil},
		{1, "INSERT INTO guess_budget (account_id, identity_id, tries_left, refilled_at, fails, fails_since, password_refill_at, version) VALUES ('1234567890123456', 'o', 3, NOW, 2, NOW, 0, 5)", nil},
		{1, "INSERT INTO throttle_window (scope, started_at, ends_at, counted) VALUES ('x', NOW, LATER, 4)", nil},
		{1, "INSERT INTO known_device (account_id, identity_id, id, token_hash, previous_hash, fails, created_at, last_used_at) VALUES ('1234567890123456', 'o', 'd', blob('device'), blob('before'), 1, 1, NOW)", nil},
		{1, `INSERT INTO ceremony (id, kind, account_id, identity_id, epoch, token_hash, session_id, proofs, tries_left, return_to, action, key_id, private, created_at, expires_at)
			VALUES ('c', 'signin', '1234567890123456', 'o', 4, blob('ceremony'), '', '[]', 5, '/security', '{}', $1, $2, NOW, LATER)`, seal("ceremony", "c", "private", ceremony.Private{Email: "a@example.com"})},
		{1, "INSERT INTO sent_code (id, ceremony_id, method, digits, key_id, mac, created_at, expires_at) VALUES ('sent', 'c', 'email', 6, $1, $2, NOW, LATER)", []any{keys.Newest(), mac}},
		{1, `INSERT INTO session (id, account_id, identity_id, epoch, token_hash, proofs, created_at, last_seen_at, expires_at, address, user_agent)
			VALUES ('s', '1234567890123456', 'o', 4, blob('hash of s'), '[{"method":"password","at":"2026-03-02T09:30:05Z"}]', NOW, NOW, LATER, '192.0.2.1', 'x')`, nil},
		{1, "INSERT INTO verification (id, session_id, scenario, target, method, given_at) VALUES ('g', 's', 'manage-mfa', 'v', 'virtual_mfa', NOW)", nil},
		{1, `INSERT INTO outbox (id, account_id, channel, kind, key_id, sealed, state, attempts, created_at, expires_at, next_at, sent_at, last_error)
			VALUES ('m', '1234567890123456', 'email', 'code', $1, $2, 'queued', 1, NOW, LATER, NOW, 0, '')`, seal("outbox", "m", "sealed", map[string]string{"To": "a@example.com", "Subject": "Code", "Text": "123456"})},
		{1, "INSERT INTO keyring_check (name, key_id, sealed) VALUES ('database', $1, $2)", seal("keyring_check", "database", "sealed", []byte("countersign"))},

		{2, "INSERT INTO phone (account_id, identity_id, id, number, bound_at, bound_from, last_used_at) VALUES ('1234567890123456', 'o', 'p', '+8613800138000', 1, '192.0.2.1', 2)", nil},
		{2, "INSERT INTO account_protection (account_id, scenarios, method, since, changed_at) VALUES ('1234567890123456', 'sign-in manage-mfa', 'sms', 1, 2)", nil},
		{2, "UPDATE verification SET action = 'unbind'", nil},
		{2, "UPDATE sent_code SET message_id = 'm'", nil},

		{3, `INSERT INTO identity (account_id, id, role, email, email_key, email_confirmed_at, password_hash, password_changed_at, password_alone, locale, epoch, created_at, name, name_key, display_name, comments, last_signin_at)
			VALUES ('1234567890123456', 'u', 'user', 'ada@example.com', 'ram:1234567890123456/ada', 0, '$y$', 3, 0, 'en', 1, 6, 'Ada', 'ada', 'Ada L.', 'first', NOW)`, nil},
		{3, "INSERT INTO login_profile (account_id, identity_id, state, mfa_required, password_reset, initial_until, updated_at) VALUES ('1234567890123456', 'u', 'on', 1, 0, 0, 7)", nil},
		{3, "INSERT INTO account_settings (account_id, content, idle_users, changed_at) VALUES ('1234567890123456', '{}', 90, 8)", nil},
		{3, "INSERT INTO domain_alias (account_id, domain, code, created_at, verified_at) VALUES ('1234567890123456', 'acme.example', 'k', 1, 2)", nil},
		{3, "INSERT INTO enrolment (account_id, identity_id, kind, ticket_hash, cancel_hash, created_at, opens_at, expires_at) VALUES ('1234567890123456', 'u', 'bind', blob('ticket'), blob('cancel'), NOW, NOW, LATER)", nil},
		{3, "INSERT INTO seen_network (account_id, identity_id, network, last_at) VALUES ('1234567890123456', 'u', '192.0.2.0/24', NOW)", nil},
		{3, "INSERT INTO password_history (account_id, identity_id, seq, hash, set_at) VALUES ('1234567890123456', 'u', 1, '$z$', 1)", nil},
		{3, "UPDATE session SET unusual = 'network'", nil},

		{4, `INSERT INTO passkey (account_id, identity_id, id, credential_id, public_key, app_id, name, name_key, aaguid, transports, backup_eligible, backed_up, verified, sign_count, format, copied_at, created_at, created_from, last_used_at, last_used_from, last_used_agent)
			VALUES ('1234567890123456', 'o', 'k', blob('credential'), blob('key'), '', 'Laptop', 'laptop', 'ee882879-721c-4913-9775-3dfcce97072a', 'internal hybrid', 1, 1, 1, 9, 'none', 0, 1, '192.0.2.1', 2, '192.0.2.2', 'x')`, nil},
		{4, "INSERT INTO passkey_user (account_id, identity_id, handle) VALUES ('1234567890123456', 'o', blob('handle'))", nil},
		{4, "INSERT INTO passkey_challenge (hash, ceremony_id, purpose, seq, expires_at) VALUES (blob('challenge'), 'c', 'signin', 1, LATER)", nil},

		{5, `INSERT INTO remembered_device (id, account_id, identity_id, series_hash, token_hash, epoch, session_id, created_at, expires_at, last_used_at, address, user_agent)
			VALUES ('r', '1234567890123456', 'u', blob('series'), blob('secret'), 1, '', NOW, LATER, NOW, '192.0.2.1', 'x')`, nil},
		{6, "INSERT INTO security_email (account_id, identity_id, id, address, address_key, bound_at, bound_from, last_used_at) VALUES ('1234567890123456', 'u', 'e', 'Box@example.com', 'box@example.com', 1, '192.0.2.1', 2)", nil},
		{6, "INSERT INTO activation (account_id, identity_id, id, number, token_hash, created_by, created_at, expires_at) VALUES ('1234567890123456', 'u', 'act', '+8613800138001', blob('activation'), 'root', NOW, LATER)", nil},
		{7, "INSERT INTO mail_link (token_hash, kind, account_id, identity_id, epoch, event, address, user_agent, created_at, expires_at, used_at) VALUES (blob('link'), 'reset', '1234567890123456', 'o', 4, 'e', '192.0.2.1', 'x', NOW, LATER, 0)", nil},
		{7, "INSERT INTO notice_digest (account_id, identity_id, kind, address, counted, first_at, last_at, due_at) VALUES ('1234567890123456', 'o', 'wrong', '192.0.2.1', 3, 1, 2, NOW)", nil},
		{7, "UPDATE identity SET distrusted_at = 3, check_due = 3 WHERE id = 'u'", nil},
		{8, "INSERT INTO audit_check (account_id, seq, broken, checked_at) VALUES ('1234567890123456', 2, '', 3)", nil},
		{9, "INSERT INTO account_day (account_id, day, users, protected, resistant) VALUES ('1234567890123456', 20000, 5, 4, 3)", nil},
		{9, "INSERT INTO signin_day (account_id, day, outcome, counted) VALUES ('1234567890123456', 20000, 'ok', 6)", nil},
		{9, "INSERT INTO signin_counted (account_id, seq) VALUES ('1234567890123456', 2)", nil},
		{9, "INSERT INTO credential_report (account_id, made_at, made_by, line_count, content) VALUES ('1234567890123456', 1, 'root', 2, blob('user,…'))", nil},
	}
	return append(list, chain(t, keys, version)...)
}

// chain is an account's events as a version kept them: since the eighth with
// what they are looked up by.
func chain(t *testing.T, keys *secret.Keyring, version int64) (list []written) {
	w := storetest.New(t, storetest.SQLite)
	c := w.Config
	c.Keys, c.URL = keys, t.TempDir()+"/chain.db"
	db := storetest.Open(t, c)
	for _, e := range []audit.Event{
		{Name: audit.MFABind, Identity: oldOwner, Target: "v", Details: map[string]string{"method": "virtual_mfa"}},
		{Name: audit.ConsoleSignout, Identity: oldOwner, Refused: "x"},
	} {
		e.Account = oldAccount
		if err := db.Write(ctx(), audit.Actor{Kind: "identity", ID: string(oldOwner), Name: "owner", Address: "192.0.2.9", Request: "req"}, func(tx *store.Tx) error { return tx.Record(e) }); err != nil {
			t.Fatal(err)
		}
	}
	lookups := ""
	if version >= 8 {
		lookups = ", actor, actor_name, address, request, refused, method"
	}
	raw := storetest.Raw(t, c.URL)
	for _, table := range []string{
		"audit_event (account_id, seq, identity_id, name, at, content, hash" + lookups + ")",
		"audit_head (account_id, seq, hash, key_id, mac)",
	} {
		name, columns, _ := strings.Cut(table, " ")
		for _, row := range records(t, raw, "SELECT "+strings.Trim(columns, "()")+" FROM "+name+" ORDER BY seq") {
			marks := make([]string, len(row))
			for n := range row {
				marks[n] = fmt.Sprintf("$%d", n+1)
			}
			list = append(list, written{1, "INSERT INTO " + table + " VALUES (" + strings.Join(marks, ", ") + ")", row})
		}
	}
	if len(list) != 3 {
		t.Fatalf("%d rows of a chain", len(list))
	}
	return list
}

func records(t *testing.T, d *sql.DB, query string) (list [][]any) {
	t.Helper()
	found, err := d.Query(query)
	if err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
	defer func() { _ = found.Close() }()
	columns, _ := found.Columns()
	for found.Next() {
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for n := range row {
			into[n] = &row[n]
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for n, v := range row {
			if b, ok := v.([]byte); ok {
				row[n] = bytes.Clone(b)
			}
		}
		list = append(list, row)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// content is every row of the tables, by the columns named.
func content(t *testing.T, d *sql.DB, tables []engine.Table) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, table := range tables {
		columns := make([]string, len(table.Columns))
		for n, c := range table.Columns {
			columns[n] = c.Name
		}
		names := strings.Join(columns, ", ")
		for _, row := range records(t, d, "SELECT "+names+" FROM "+table.Name+" ORDER BY "+strings.Join(table.Key, ", ")) {
			all[table.Name] += fmt.Sprintf("%s: %#v\n", names, row) // %q would make one character of every large number
		}
	}
	return all
}

func tablesOf(t *testing.T, url string) []engine.Table {
	t.Helper()
	e, err := engine.Open(ctx(), engine.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	tables, err := e.Tables(ctx(), e.Read)
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// before makes a database as the program of a version left it.
func before(t *testing.T, e storetest.Engine, version int64) store.Config {
	t.Helper()
	w := storetest.New(t, storetest.SQLite) // for its keys and clock
	c := w.Config
	c.URL = t.TempDir() + "/old.db"
	blob := "CAST($1 AS BLOB)"
	if e != storetest.SQLite {
		c.URL, blob = storetest.PostgresURL(t), "CAST($1 AS BYTEA)"
	}
	if err := store.MigrateTo(ctx(), c, version); err != nil {
		t.Fatal(err)
	}
	words := strings.NewReplacer("NOW", fmt.Sprint(c.Now().UnixMicro()), "LATER", fmt.Sprint(c.Now().Add(time.Hour).UnixMicro()))
	raw := storetest.Raw(t, c.URL)
	for _, h := range history(t, w.Keys, version) {
		if h.since > version {
			continue
		}
		query := words.Replace(h.query)
		for {
			i := strings.Index(query, "blob(")
			if i < 0 {
				break
			}
			value, rest, _ := strings.Cut(query[i+len("blob("):], ")")
			query = query[:i] + strings.Replace(blob, "$1", value, 1) + rest
		}
		if _, err := raw.Exec(query, h.args...); err != nil {
			t.Fatalf("version %d: %v\n%s", version, err, query)
		}
	}
	return c
}

func TestEveryVersionIsBroughtUpToDateWithWhatItHolds(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		for version := int64(1); version <= newest; version++ {
			t.Run(fmt.Sprint(e, " ", version), func(t *testing.T) {
				t.Parallel()
				c := before(t, e, version)
				raw := storetest.Raw(t, c.URL)
				tables := tablesOf(t, c.URL)
				was := content(t, raw, tables)
				for _, table := range tables {
					if was[table.Name] == "" {
						t.Errorf("there is no row in %s: give it one", table.Name)
					}
				}
				db := storetest.Open(t, c)
				is := content(t, raw, tables)
				for _, table := range tables { // also those that hold nothing now
					if is[table.Name] != was[table.Name] {
						t.Errorf("%s was\n%sand is\n%s", table.Name, was[table.Name], is[table.Name])
					}
				}
				for _, table := range tablesOf(t, c.URL) {
					known := slices.ContainsFunc(tables, func(old engine.Table) bool { return old.Name == table.Name })
					if n := len(records(t, raw, "SELECT * FROM "+table.Name)); !known && n != 0 {
						t.Errorf("%d rows in %s, which is new", n, table.Name)
					}
				}
				reads(t, db, version)
				works(t, &storetest.World{DB: db, Config: c})
			})
		}
	}
}

func TestTheNewestVersionIsTested(t *testing.T) {
	t.Parallel()
	raw := storetest.New(t, storetest.SQLite).Raw(t)
	if v := records(t, raw, "SELECT max(version_id) FROM goose_db_version")[0][0]; v != int64(newest) {
		t.Errorf("the schema is at version %v: write down what it has room for", v)
	}
}

// reads has the program read what it once wrote at a version.
func reads(t *testing.T, db *store.DB, version int64) {
	t.Helper()
	r := db.Read(ctx())
	owner, err := r.IdentityByEmail("a@example.com")
	if err != nil || owner.Epoch != 4 || owner.Locale != "ja" || owner.Role != account.Owner {
		t.Errorf("the owner: %+v, %v", owner, err)
	}
	facts, ferr := r.Facts(owner, nil)
	session, serr := r.Session(hash("s"))
	device, verr := r.VirtualMFA(oldAccount, oldOwner)
	c, cerr := r.CeremonyByToken(ceremony.SignIn, []byte("ceremony"))
	codes, coderr := r.SentCodes("c", factor.Email)
	given, gerr := r.Verifications("s", time.Time{})
	left, _, lerr := r.RecoveryCodesLeft(oldAccount, oldOwner)
	unsaved, uerr := r.AnyUnsavedCode(oldAccount, oldOwner)
	budget, _, berr := r.Budget(oldAccount, oldOwner, db.Now())
	known, kerr := r.KnownDevices(oldAccount, oldOwner)
	setup, setuperr := r.SetupLinkOpen([]byte("setup"), db.Now())
	mails, merr := r.Messages(message.Queued, 10)
	counted, _, werr := r.Counted("x", db.Now())
	if err := errors.Join(ferr, serr, verr, cerr, coderr, gerr, lerr, uerr, berr, kerr, setuperr, merr, werr); err != nil {
		t.Fatal(err)
	}
	right, err := false, error(nil)
	if len(codes) == 1 {
		right, err = r.CodeIs(codes[0], "123456")
	}
	for what, is := range map[string]bool{
		"facts":         facts.EmailConfirmed && facts.VirtualMFA,
		"session":       session.ID == "s" && len(session.Proofs) == 1 && !session.Stale,
		"virtual MFA":   string(device.Seed) == "12345678901234567890" && device.LastStep == 77,
		"ceremony":      c.Private.Email == "a@example.com" && c.ReturnTo == "/security",
		"sent code":     right && err == nil,
		"verification":  len(given) == 1 && given[0].Scenario == policy.ManageMFA,
		"recovery code": left == 1 && unsaved == (version >= 2), // those of before there was the question count as saved
		"budget":        budget.Fails == 2,
		"known device":  len(known) == 1,
		"set-up link":   setup,
		"message":       len(mails) == 1 && mails[0].Text == "123456",
		"window":        counted == 4,
	} {
		if !is {
			t.Errorf("the %s of version 1 is not what it was", what)
		}
	}
	// What came later, where it was there.
	for since, read := range map[int64]func() error{
		2: func() error { _, err := r.Phone(oldAccount, oldOwner); return err },
		3: func() error {
			_, err := r.User(oldAccount, oldUser)
			list, lerr := r.Enrolments(oldAccount, oldUser)
			return errors.Join(err, lerr, want(len(list) == 1), failure(r.AccountByName(account.SignInName{User: "ada", Domain: "acme.example"})))
		},
		4: func() error {
			_, err := r.Passkey(oldAccount, oldOwner, "k")
			return errors.Join(err, failure(r.PasskeyHandleOf(oldAccount, oldOwner)))
		},
		5: func() error {
			list, err := r.RememberedDevices(oldAccount, oldUser)
			return errors.Join(err, want(len(list) == 1))
		},
		6: func() error {
			return errors.Join(failure(r.SecurityEmail(oldAccount, oldUser)), failure(r.ActivationByToken([]byte("activation"))))
		},
		7: func() error { _, err := r.Link("reset", []byte("link")); return err },
		8: func() error { _, err := r.AuditCheck(oldAccount); return err },
		9: func() error { _, err := r.CredentialReport(oldAccount); return err },
	} {
		if err := read(); version >= since && err != nil {
			t.Errorf("what version %d brought: %v", since, err)
		}
	}
	events, _, err := r.Events(oldAccount, store.AuditQuery{Limit: 10})
	if err != nil || len(events) != 2 {
		t.Errorf("%d events, %v", len(events), err)
	}
	if _, err := r.VerifyChain(oldAccount); err != nil {
		t.Errorf("the chain: %v", err)
	}
}

func want(is bool) error {
	if is {
		return nil
	}
	return errors.New("it is not what it was")
}

// works has the program write where an earlier one did.
func works(t *testing.T, w *storetest.World) {
	t.Helper()
	err := w.Write(ctx(), audit.OperatorActor("test"), func(tx *store.Tx) error {
		if err := tx.AcceptStep(oldAccount, oldOwner, "v", 78, 0); err != nil {
			return err
		}
		if err := tx.UseRecoveryCode(oldAccount, oldOwner, []byte("left"), errFirst); err != nil {
			return err
		}
		if err := tx.AddUser(account.Identity{ID: "new", Account: oldAccount, Role: account.User, UserName: "grace", Epoch: 1, CreatedAt: tx.Now}); err != nil {
			return err
		}
		if _, err := tx.RaiseEpoch(oldOwner, ""); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: oldAccount, Name: audit.PasswordModify, Identity: oldOwner})
	})
	if err != nil {
		t.Errorf("it cannot write: %v", err)
	}
	if live(w.Read(ctx()), "s") {
		t.Error("the session outlives its epoch")
	}
	if h, err := w.Read(ctx()).VerifyChain(oldAccount); err != nil || h.Seq != 3 {
		t.Errorf("the chain: %+v, %v", h, err)
	}
	if err := w.Write(ctx(), audit.Housekeeping("test"), expired); err != nil {
		t.Errorf("it cannot expire: %v", err)
	}
}

// A node of this version goes on, and can be started, where a newer one has
// brought the schema further.
func TestAnOlderNodeWorksOnANewerSchema(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := before(t, e, newest)
			running := storetest.Open(t, c)
			reads(t, running, newest)
			raw := storetest.Raw(t, c.URL)
			for _, table := range tablesOf(t, c.URL) {
				if _, err := raw.Exec("ALTER TABLE " + table.Name + " ADD COLUMN of_tomorrow TEXT NOT NULL DEFAULT ''"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := raw.Exec(fmt.Sprintf("INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, TRUE)", newest+1)); err != nil {
				t.Fatal(err)
			}
			reads(t, running, newest)
			reads(t, storetest.Open(t, c), newest)
			works(t, &storetest.World{DB: running, Config: c})
		})
	}
}

// Who waits for a table has everybody else wait behind: a migration gives up
// and comes back.
func TestAMigrationThatWaitsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	c := before(t, storetest.Postgres, 1)
	raw := storetest.Raw(t, c.URL)
	reader, err := raw.Begin() // a long look at a table that is to have a new column
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec("SELECT * FROM recovery_code"); err != nil {
		t.Fatal(err)
	}
	migrated := make(chan error)
	go func() { migrated <- store.MigrateTo(ctx(), c, newest) }()
	waiting := func() bool {
		return len(records(t, raw, "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'recovery_code'::regclass")) > 0
	}
	until(t, "it waits", waiting)
	until(t, "it gives up", func() bool { return !waiting() })
	if _, err := raw.Exec("SELECT * FROM recovery_code"); err != nil {
		t.Fatal(err)
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-migrated; err != nil {
		t.Errorf("it did not come back: %v", err)
	}
}
