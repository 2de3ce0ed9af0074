package store_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/session"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
	"countersign/internal/store/storetest"
)

// errFirst is what the store is to return when another was first.
var errFirst = errors.New("another was first")

// write is a write that leaves no event.
func write(w *storetest.World, f func(tx *store.Tx) error) error {
	return w.Write(ctx(), audit.Housekeeping("test"), f)
}

func mustWrite(t *testing.T, w *storetest.World, f func(tx *store.Tx) error) {
	t.Helper()
	if err := write(w, f); err != nil {
		t.Fatal(err)
	}
}

// an identity of an account of its own.
func identity(w *storetest.World, email string) account.Identity {
	id, _ := w.NewID()
	now := w.Clock.Now()
	return account.Identity{Account: account.ID(id), ID: account.IdentityID("of-" + id), Role: account.Owner, Email: email, EmailConfirmedAt: now, PasswordHash: "$x$",
		PasswordChangedAt: now, PasswordAlone: true, Locale: "ja", Epoch: 1, CreatedAt: now}
}

func add(tx *store.Tx, i account.Identity) error {
	if err := tx.AddAccount(account.Account{ID: i.Account, Alias: string(i.Account), CreatedAt: tx.Now}); err != nil {
		return err
	}
	return tx.AddIdentity(i)
}

func addOwner(t *testing.T, w *storetest.World, email string) account.Identity {
	t.Helper()
	i := identity(w, email)
	mustWrite(t, w, func(tx *store.Tx) error { return add(tx, i) })
	return i
}

// wins counts the runs that succeeded and fails on any other refusal than lost.
func wins(t *testing.T, errs []error, lost error) (n int) {
	t.Helper()
	for _, err := range errs {
		switch {
		case err == nil:
			n++
		case !errors.Is(err, lost):
			t.Errorf("got %v, want nil or %v", err, lost)
		}
	}
	return n
}

func TestAnIdentityComesBackAsItWasKept(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		want := addOwner(t, w, "Alice@Example.com")
		for _, typed := range []string{"alice@example.com", " ALICE@EXAMPLE.COM ", "Alice@Example.com"} {
			got, err := w.Read(ctx()).IdentityByEmail(typed)
			if err != nil || got != want {
				t.Errorf("%q: got %+v, %v; want %+v", typed, got, err, want)
			}
		}
		if got, err := w.Read(ctx()).Identity(want.ID); err != nil || got != want {
			t.Errorf("by id: got %+v, %v", got, err)
		}
		if _, err := w.Read(ctx()).IdentityByEmail("bob@example.com"); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("nobody: got %v", err)
		}
	})
}

func TestAnAddressServesOneIdentity(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		errs := storetest.Parallel(12, func(n int) error {
			i := identity(w, strings.ToUpper("alice@example.com"[:n])+"alice@example.com"[n:])
			return write(w, func(tx *store.Tx) error { return add(tx, i) })
		})
		if n := wins(t, errs, account.ErrEmailTaken); n != 1 {
			t.Errorf("%d identities have the address", n)
		}
		var rows int
		if err := w.Raw(t).QueryRow("SELECT (SELECT count(*) FROM account) + (SELECT count(*) FROM identity)").Scan(&rows); err != nil || rows != 2 {
			t.Errorf("%d rows, %v: a refused write left something", rows, err)
		}
	})
}

func TestASetupLinkWorksOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		old, link := []byte("old"), []byte("link")
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddSetupLink(old, tx.Now.Add(time.Hour)) })
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddSetupLink(link, tx.Now.Add(time.Hour)) })
		use := func(hash []byte) error {
			return write(w, func(tx *store.Tx) error { return tx.UseSetupLink(hash, errFirst) })
		}
		if err := use(old); !errors.Is(err, errFirst) {
			t.Errorf("a newer link did not void the older: %v", err)
		}
		if open, err := w.Read(ctx()).SetupLinkOpen(link, w.Clock.Now()); !open || err != nil {
			t.Errorf("the newest is not open: %v", err)
		}
		if open, _ := w.Read(ctx()).SetupLinkOpen(link, w.Clock.Now().Add(time.Hour)); open {
			t.Error("open after its time")
		}
		if n := wins(t, storetest.Parallel(20, func(int) error { return use(link) }), errFirst); n != 1 {
			t.Errorf("the link worked %d times", n)
		}
		if known, err := w.Read(ctx()).SetupLinkKnown(link); !known || err != nil {
			t.Errorf("a used link is unknown: %v", err)
		}
	})
}

func bind(t *testing.T, w *storetest.World, i account.Identity) []byte {
	t.Helper()
	seed, err := factor.NewSeed(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w, func(tx *store.Tx) error {
		return tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: seed, Drift: -3, LastStep: 7}, ID: "device of " + string(i.ID), Name: "电话", BoundFrom: "192.0.2.1"}, errFirst)
	})
	return seed
}

func TestASeedIsSealedForItsRow(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, b := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		seed := bind(t, w, a)
		bind(t, w, b)
		v, err := w.Read(ctx()).VirtualMFA(a.Account, a.ID)
		if err != nil || !bytes.Equal(v.Seed, seed) || v.Drift != -3 || v.LastStep != 7 || v.Name != "电话" || !v.BoundAt.Equal(w.Clock.Now()) || !v.LastUsedAt.IsZero() {
			t.Fatalf("got %+v, %v", v, err)
		}
		err = write(w, func(tx *store.Tx) error {
			return tx.AddVirtualMFA(a.Account, a.ID, store.VirtualMFA{ID: "second"}, errFirst)
		})
		if !errors.Is(err, errFirst) {
			t.Errorf("a second device: %v", err)
		}

		raw := w.Raw(t)
		var box []byte
		if err := raw.QueryRow("SELECT seed FROM virtual_mfa WHERE identity_id = $1", string(a.ID)).Scan(&box); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(box, seed) || bytes.Contains(box, seed[:8]) {
			t.Error("the row holds the seed")
		}
		if _, err := raw.Exec("UPDATE virtual_mfa SET seed = $1 WHERE identity_id = $2", box, string(b.ID)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Read(ctx()).VirtualMFA(b.Account, b.ID); !errors.Is(err, secret.ErrSealed) {
			t.Errorf("another row's seed opens: %v", err)
		}
		if v, err := w.Read(ctx()).VirtualMFA(a.Account, a.ID); err != nil || !bytes.Equal(v.Seed, seed) {
			t.Errorf("its own: %v", err)
		}
	})
}

func TestAStepIsAcceptedByOneOfTwenty(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		bind(t, w, i)
		accept := func(step int64) error {
			return write(w, func(tx *store.Tx) error {
				v, err := tx.Peek().VirtualMFA(i.Account, i.ID)
				if err == nil && v.LastStep >= step {
					err = errFirst
				}
				if err != nil {
					return err
				}
				return tx.AcceptStep(i.Account, i.ID, v.ID, step, 2)
			})
		}
		for step := range int64(10) {
			if n := wins(t, storetest.Parallel(20, func(int) error { return accept(91 + step) }), errFirst); n != 1 {
				t.Errorf("accepted %d times", n)
			}
		}
		if err := accept(99); !errors.Is(err, errFirst) {
			t.Errorf("an older step: %v", err)
		}
		if err := accept(101); err != nil {
			t.Errorf("the next step: %v", err)
		}
	})
}

func TestARecoveryCodeIsUsedOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		replace := func(i account.Identity, codes ...string) {
			hashes := make([][]byte, len(codes))
			for n, c := range codes {
				hashes[n] = []byte(c)
			}
			mustWrite(t, w, func(tx *store.Tx) error { return tx.ReplaceRecoveryCodes(i.Account, i.ID, hashes) })
		}
		use := func(code string) error {
			return write(w, func(tx *store.Tx) error { return tx.UseRecoveryCode(i.Account, i.ID, []byte(code), errFirst) })
		}
		replace(i, "one", "two", "three")
		replace(other, "theirs")
		if n := wins(t, storetest.Parallel(30, func(int) error { return use("two") }), errFirst); n != 1 {
			t.Errorf("used %d times", n)
		}
		if err := use("theirs"); !errors.Is(err, errFirst) {
			t.Errorf("another's code: %v", err)
		}
		if left, made, err := w.Read(ctx()).RecoveryCodesLeft(i.Account, i.ID); left != 2 || !made.Equal(w.Clock.Now()) || err != nil {
			t.Errorf("%d left of %v, %v", left, made, err)
		}
		replace(i, "four")
		for _, old := range []string{"one", "two", "three"} {
			if err := use(old); !errors.Is(err, errFirst) {
				t.Errorf("%s of the old set: %v", old, err)
			}
		}
		if err := use("four"); err != nil {
			t.Error(err)
		}
	})
}

func TestRotatedKeysResealSeedsAndOpenTheRest(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		var owners []account.Identity
		seeds := map[account.IdentityID][]byte{}
		for n := range 5 {
			i := addOwner(t, w, fmt.Sprintf("%d@example.com", n))
			owners, seeds[i.ID] = append(owners, i), bind(t, w, i)
		}
		record(t, w, "1", audit.AccountReg)
		if _, err := w.Keys.Rotate(w.Clock.Now()); err != nil {
			t.Fatal(err)
		}
		record(t, w, "1", audit.KeyRotate)
		n, err := w.Reseal(func(f func(tx *store.Tx) error) error { return write(w, f) })
		if n != 5 || err != nil {
			t.Errorf("resealed %d, %v", n, err)
		}
		if n, err = w.Reseal(func(f func(tx *store.Tx) error) error { return write(w, f) }); n != 0 || err != nil {
			t.Errorf("resealed %d more, %v", n, err)
		}
		var old int
		if err := w.Raw(t).QueryRow("SELECT count(*) FROM virtual_mfa WHERE key_id <> 2").Scan(&old); err != nil || old != 0 {
			t.Errorf("%d under the old key, %v", old, err)
		}
		for _, i := range owners {
			if v, err := w.Read(ctx()).VirtualMFA(i.Account, i.ID); err != nil || !bytes.Equal(v.Seed, seeds[i.ID]) {
				t.Errorf("%s: %v", i.Email, err)
			}
		}
		if broken := verify(t, w); len(broken) != len(owners) || broken["1"] != 0 { // those were made without an event
			t.Errorf("chain across two keys: %v", broken)
		}
		storetest.Open(t, w.Config)
	})
}

func TestOtherKeysDoNotOpenTheDatabase(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		keys, err := secret.OpenKeyring(filepath.Join(t.TempDir(), "other.json"), rand.Reader, w.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		c := w.Config
		c.Keys = keys
		if db, err := store.Open(ctx(), c); err == nil || !strings.Contains(err.Error(), "keys do not belong to this database") {
			t.Errorf("got %v, %v", db, err)
		}
	})
}

// Nodes that start together on a new database have one set of keys, or do not
// start.
func TestNodesThatStartTogetherAgreeOnTheKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		const nodes = 6
		for name, file := range map[string]func(n int) string{
			"one":  func(int) string { return "keys.json" },
			"many": func(n int) string { return fmt.Sprintf("keys%d.json", n) },
		} {
			dir := t.TempDir()
			url := filepath.Join(dir, "new.db")
			if engine.IsPostgres(w.Config.URL) {
				url = storetest.PostgresURL(t)
			}
			open := func(n int) error {
				c := w.Config
				c.URL = url
				var err error
				if c.Keys, err = secret.OpenKeyring(filepath.Join(dir, file(n)), rand.Reader, w.Clock.Now()); err != nil {
					return err
				}
				db, err := store.Open(ctx(), c)
				if err != nil {
					return err
				}
				t.Cleanup(func() { _ = db.Close() })
				return db.Ready(ctx())
			}
			started := 0
			for _, err := range storetest.Parallel(nodes, open) {
				if err == nil {
					started++
				} else if !strings.Contains(err.Error(), "keys do not belong to this database") {
					t.Error(err)
				}
			}
			if want := map[string]int{"one": nodes, "many": 1}[name]; started != want {
				t.Errorf("%s: %d of %d nodes started, not %d", name, started, nodes, want)
			}
			again := 0
			for n := range nodes {
				if open(n) == nil {
					again++
				}
			}
			if again != started {
				t.Errorf("%s: %d of %d nodes start again", name, again, started)
			}
		}
	})
}

func TestOpeningAgainChangesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		before := schema(t, w)
		again := storetest.Open(t, w.Config)
		if got, err := again.Read(ctx()).Identity(i.ID); err != nil || got != i {
			t.Errorf("got %+v, %v", got, err)
		}
		if after := schema(t, w); !slices.Equal(before, after) {
			t.Errorf("schema was\n%v\nis\n%v", before, after)
		}
		if err := again.Ready(ctx()); err != nil {
			t.Error(err)
		}
	})
}

// schema lists every table.column and the migrations that ran.
func schema(t *testing.T, w *storetest.World) (list []string) {
	t.Helper()
	query := "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'"
	if !engine.IsPostgres(w.Config.URL) {
		query = "SELECT m.name || '.' || p.name FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
	}
	rows, err := w.Raw(t).Query(query + " UNION ALL SELECT 'version ' || version_id FROM goose_db_version")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func TestMigrationsAreTwins(t *testing.T) {
	t.Parallel()
	names := func(engine string) (list []string) {
		entries, err := os.ReadDir(filepath.Join("migrations", engine))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	if a, b := names("sqlite"), names("postgres"); !slices.Equal(a, b) || len(a) == 0 {
		t.Errorf("sqlite %v, postgres %v", a, b)
	}
	a, b := schema(t, storetest.New(t, storetest.SQLite)), schema(t, storetest.New(t, storetest.Postgres))
	for _, s := range a {
		if !slices.Contains(b, s) {
			t.Errorf("PostgreSQL lacks %s", s)
		}
	}
	for _, s := range b {
		if !slices.Contains(a, s) {
			t.Errorf("SQLite lacks %s", s)
		}
	}
	if len(a) < 80 {
		t.Errorf("only %d columns seen", len(a))
	}
}

func TestInstantsComeBackToTheMicrosecond(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		tokyo := time.FixedZone("JST", 9*3600)
		for n, at := range []time.Time{
			{},
			time.Date(2026, 2, 28, 23, 59, 59, 999_999_999, tokyo),
			time.Date(1970, 1, 1, 0, 0, 0, 1000, time.UTC),
			time.Date(2261, 12, 31, 0, 0, 0, 0, time.UTC),
		} {
			s := session.Session{ID: fmt.Sprint(n), Account: i.Account, Identity: i.ID, Epoch: 1, CreatedAt: w.Clock.Now(), ExpiresAt: at}
			mustWrite(t, w, func(tx *store.Tx) error { return tx.AddSession(s, []byte(s.ID)) })
			got, err := w.Read(ctx()).Session([]byte(s.ID))
			want := at.UTC().Truncate(time.Microsecond)
			if err != nil || got.ExpiresAt != want {
				t.Errorf("%v came back as %v, %v", at, got.ExpiresAt, err)
			}
		}
	})
}
