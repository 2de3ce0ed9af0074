package store_test

import (
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func TestADatabaseFromBeforeThereWereUsers(t *testing.T) {
	t.Parallel()
	for _, e := range storetest.Engines {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := storetest.New(t, e).Config // for its keys and clock
			c.URL = t.TempDir() + "/old.db"
			if e != storetest.SQLite {
				c.URL = storetest.PostgresURL(t)
			}
			if err := store.MigrateTo(ctx(), c, 2); err != nil {
				t.Fatal(err)
			}
			raw := storetest.Raw(t, c.URL)
			now := c.Now()
			until := now.Add(time.Hour).UnixMicro()
			for _, q := range []string{
				"INSERT INTO account (id, alias, created_at) VALUES ('1234567890123456', '1234567890123456', 1)",
				`INSERT INTO identity (account_id, id, role, email, email_key, email_confirmed_at, password_hash, password_changed_at, password_alone, locale, epoch, created_at)
					VALUES ('1234567890123456', 'o', 'owner', 'A@example.com', 'a@example.com', 2, '$x$', 3, 1, 'ja', 4, 5)`,
				"INSERT INTO known_device (account_id, identity_id, id, token_hash, fails, created_at, last_used_at) VALUES ('1234567890123456', 'o', 'd', 'd', 0, 1, 1)",
			} {
				if _, err := raw.Exec(q); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := raw.Exec(`INSERT INTO session (id, account_id, identity_id, epoch, token_hash, proofs, created_at, last_seen_at, expires_at, address, user_agent)
				VALUES ('s', '1234567890123456', 'o', 4, $1, '[]', $2, $2, $3, '192.0.2.1', 'x')`, []byte("hash of s"), now.UnixMicro(), until); err != nil {
				t.Fatal(err)
			}
			db := storetest.Open(t, c)
			r := db.Read(ctx())
			want := account.Identity{ID: "o", Account: "1234567890123456", Role: account.Owner, Email: "A@example.com", EmailConfirmedAt: time.UnixMicro(2).UTC(), PasswordHash: "$x$",
				PasswordChangedAt: time.UnixMicro(3).UTC(), PasswordAlone: true, Locale: "ja", Epoch: 4, CreatedAt: time.UnixMicro(5).UTC()}
			if got, err := r.IdentityByEmail("a@example.com"); err != nil || got != want {
				t.Errorf("the owner: %+v, %v", got, err)
			}
			if s, err := r.Session([]byte("hash of s")); err != nil || s.Stale || s.Unusual != "" || s.ExpiresAt.UnixMicro() != until {
				t.Errorf("the session: %+v, %v", s, err)
			}
			if n, err := r.CountUsers("1234567890123456", store.UserQuery{}); n != 0 || err != nil {
				t.Errorf("%d users, %v", n, err)
			}
			if f, err := r.Facts(want, nil); err != nil || f.Settings.SessionHours != account.DefaultSettings().SessionHours || !f.EmailConfirmed {
				t.Errorf("facts %+v, %v", f, err)
			}
			w := &storetest.World{DB: db, Config: c}
			mustWrite(t, w, func(tx *store.Tx) error {
				return tx.AddUser(account.Identity{ID: "u", Account: want.Account, Role: account.User, UserName: "ada", Epoch: 1, CreatedAt: tx.Now})
			})
			if n, err := r.CountUsers(want.Account, store.UserQuery{}); n != 1 || err != nil {
				t.Errorf("%d users after the first, %v", n, err)
			}
		})
	}
}
