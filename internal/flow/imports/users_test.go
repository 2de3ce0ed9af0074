package imports_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // what other systems did
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/imports"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

var importer = audit.OperatorActor("import users")

// hashes are those of a password by other systems, by their kinds.
func hashes(t testing.TB, password string) map[string]string {
	t.Helper()
	salt := []byte("salt of sixteen!")
	b64 := base64.RawStdEncoding.EncodeToString
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ab64 := strings.NewReplacer("+", ".")
	return map[string]string{
		"argon2id":      "$argon2id$v=19$m=512,t=1,p=2$" + b64(salt) + "$" + b64(argon2.IDKey([]byte(password), salt, 1, 512, 2, 32)),
		"argon2i":       "$argon2i$v=19$m=512,t=1,p=1$" + b64(salt) + "$" + b64(argon2.Key([]byte(password), salt, 1, 512, 1, 32)),
		"scrypt":        "$scrypt$ln=8,r=8,p=1$" + b64(salt) + "$" + b64(must(scrypt.Key([]byte(password), salt, 1<<8, 8, 1, 32))),
		"pbkdf2-sha1":   "$pbkdf2$1000$" + ab64.Replace(b64(salt)) + "$" + ab64.Replace(b64(must(pbkdf2.Key(sha1.New, password, salt, 1000, 20)))),
		"pbkdf2-sha256": "pbkdf2_sha256$1000$saltOfDjango$" + base64.StdEncoding.EncodeToString(must(pbkdf2.Key(sha256.New, password, []byte("saltOfDjango"), 1000, 32))),
		"pbkdf2-sha512": "$pbkdf2-sha512$1000$" + ab64.Replace(b64(salt)) + "$" + ab64.Replace(b64(must(pbkdf2.Key(sha512.New, password, salt, 1000, 64)))),
		"bcrypt":        string(must(bcrypt.GenerateFromPassword([]byte(password), 5))),
	}
}

// people reads JSON lines, all of which must be good.
func people(t testing.TB, lines ...string) []imports.Person {
	t.Helper()
	list, bad, err := imports.ParsePeople(strings.NewReader(strings.Join(lines, "\n")), imports.JSON)
	if err != nil || len(bad) > 0 {
		t.Fatal(told(bad), err)
	}
	return list
}

func person(name, hash, more string) string {
	return fmt.Sprintf(`{"name":%q,"password_hash":%q%s}`, name, hash, more)
}

// into is the account of the owner.
func into(t testing.TB, w *testkit.World, owner account.Identity) imports.Into {
	t.Helper()
	a, err := w.Read(ctx()).Account(owner.Account)
	if err != nil {
		t.Fatal(err)
	}
	return imports.Into{Account: a}
}

// bring imports people, all of whom must come in.
func bring(t testing.TB, w *testkit.World, owner account.Identity, lines ...string) imports.People {
	t.Helper()
	r, err := flow(w).Users(ctx(), importer, people(t, lines...), nil, into(t, w, owner))
	if err != nil || len(r.Bad) > 0 {
		t.Fatal(told(r.Bad), err)
	}
	return r
}

// named is the user of the account who has the name.
func named(t testing.TB, w *testkit.World, owner account.Identity, name string) store.User {
	t.Helper()
	i, err := w.Read(ctx()).IdentityBySignInName(account.SignInName{User: account.UserNameKey(name), Alias: string(owner.Account)})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	u, err := w.Read(ctx()).User(owner.Account, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func history(t testing.TB, w *testkit.World, i account.Identity) []audit.Event {
	t.Helper()
	list, err := w.Read(ctx()).History(i.Account, i.ID, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func users(t testing.TB, w *testkit.World, owner account.Identity) int {
	t.Helper()
	n, err := w.Read(ctx()).CountUsers(owner.Account, store.UserQuery{Now: w.Clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPeopleComeIn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		w.Settle(owner.Account, func(s *account.Settings) { s.Password.InitialAge = 10 })
		otpauth := fmt.Sprintf(`,"otpauth":%q`, uri("secret="+rfcSeed32))
		lines := []string{
			person("Bob", bcryptOfA, `,"display_name":"Bob B","role":"auditor","email":"bob@staff.example","comments":"x","mfa_required":true,"created":"2020-03-01","last_signin":"2021-03-01","password_changed":"2021-02-01"`+otpauth),
			person("cleo", hashes(t, testkit.Password)["argon2id"], `,"state":"inactive","must_change":true`),
			`{"name":"dora"}`,
			fmt.Sprintf(`{"name":"eve","otpauth":%q}`, uri("secret="+rfcSeed32[:26])),
		}
		dry := into(t, w, owner)
		dry.Dry = true
		would, err := flow(w).Users(ctx(), importer, people(t, lines...), nil, dry)
		if err != nil || users(t, w, owner) != 0 {
			t.Fatalf("dry: %d users, %v", users(t, w, owner), err)
		}
		before := len(w.Inbox(alice))
		did := bring(t, w, owner, lines...)
		if fmt.Sprint(would) != fmt.Sprint(did) || did.Created != 4 || did.Skipped != 0 || did.Devices != 2 || did.Short != 1 || did.Idle != 1 || did.Passwords() != 2 || !maps.Equal(did.Kinds, map[string]int{"bcrypt": 1, "argon2id": 1}) {
			t.Errorf("would %+v, did %+v", would, did)
		}
		bob := named(t, w, owner, "bob")
		if bob.UserName != "Bob" || bob.DisplayName != "Bob B" || bob.Role != account.Auditor || bob.Email != "bob@staff.example" || bob.Comments != "x" || !bob.EmailConfirmedAt.IsZero() || bob.PasswordAlone || bob.Epoch != 1 ||
			!bob.CreatedAt.Equal(time.Date(2020, 3, 1, 0, 0, 0, 0, time.UTC)) || !bob.LastSignInAt.Equal(time.Date(2021, 3, 1, 0, 0, 0, 0, time.UTC)) || !bob.PasswordChangedAt.Equal(time.Date(2021, 2, 1, 0, 0, 0, 0, time.UTC)) ||
			bob.PasswordHash != "imported:"+bcryptOfA || !bob.VirtualMFA || bob.Profile.State != account.ProfileActive || !bob.Profile.MFARequired || bob.Profile.PasswordReset || !bob.Profile.InitialUntil.IsZero() {
			t.Errorf("bob: %+v", bob)
		}
		if d, err := w.Read(ctx()).VirtualMFA(bob.Account, bob.ID); err != nil || string(d.Seed) != rfcSeed || d.LastStep != factor.StepAt(w.Clock.Now()) || d.Drift != 0 {
			t.Errorf("bob's device: %+v, %v", d, err)
		}
		cleo := named(t, w, owner, "cleo")
		if cleo.Profile.State != account.ProfileInactive || !cleo.Profile.PasswordReset || !cleo.Profile.InitialUntil.Equal(w.Clock.Now().Add(240*time.Hour)) || !cleo.PasswordChangedAt.Equal(w.Clock.Now()) || !cleo.CreatedAt.Equal(w.Clock.Now()) {
			t.Errorf("cleo: %+v", cleo)
		}
		if dora := named(t, w, owner, "dora"); dora.PasswordHash != "" || dora.Profile.State != account.NoProfile || dora.VirtualMFA {
			t.Errorf("dora: %+v", dora)
		}
		if len(w.Inbox(alice)) != before || len(w.Inbox("bob@staff.example")) != 0 {
			t.Error("somebody was written to")
		}
		for _, c := range []struct {
			u    store.User
			want string
		}{{bob, "BindMFADevice CreateLoginProfile CreateUser"}, {cleo, "CreateLoginProfile CreateUser"}, {named(t, w, owner, "dora"), "CreateUser"}, {named(t, w, owner, "eve"), "BindMFADevice CreateUser"}} {
			var names []string
			for _, e := range history(t, w, c.u.Identity) {
				names = append(names, string(e.Name))
				if e.Actor.Kind != "operator" || e.Actor.Name != "import users" || e.Details["import"] != "yes" || e.Refused != "" {
					t.Errorf("%s: %+v", c.u.UserName, e)
				}
				if all := fmt.Sprint(e); strings.Contains(all, rfcSeed) || strings.Contains(all, rfcSeed32[:26]) || strings.Contains(all, bcryptOfA[8:]) {
					t.Errorf("a secret in %+v", e)
				}
			}
			if slices.Sort(names); strings.Join(names, " ") != c.want {
				t.Errorf("%s: events %v, want %s", c.u.UserName, names, c.want)
			}
		}
	})
}

// One bad line keeps all others out, and nothing of what was tried stays.
func TestABadPersonKeepsAllOthersOut(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		w.User(owner, "bob", account.User)
		other := w.Owner("other@example.com")
		w.User(other, "cleo", account.User) // of another account
		otpauth := fmt.Sprintf(`,"otpauth":%q`, uri("secret="+rfcSeed32))
		head := len(history(t, w, owner))
		for name, c := range map[string]struct {
			line, want string
			quotas     func(*account.Quotas)
		}{
			"there":              {`{"name":"BOB"}`, "2:name is that of a user whom the account has already", nil},
			"created tomorrow":   {`{"name":"dora","created":"2999-01-01"}`, "2:created is in the future", nil},
			"signed in tomorrow": {`{"name":"dora","created":"2020-01-01","last_signin":"2999-01-01"}`, "2:last_signin is in the future", nil},
			"changed tomorrow":   {person("dora", bcryptOfA, `,"password_changed":"2999-01-01"`), "2:password_changed is in the future", nil},
			"too many users":     {`{"name":"dora"}`, "2:the account would have more users than quota_users allows, 2 3:the account would have more users than quota_users allows, 2", func(q *account.Quotas) { q.Users = 2 }},
			"too many devices":   {`{"name":"dora"` + otpauth + `}`, "2:the account would have more virtual MFA devices than quota_mfa_devices allows, 1", func(q *account.Quotas) { q.MFADevices = 1 }},
		} {
			f := flow(w)
			if c.quotas != nil {
				c.quotas(&f.Quotas)
			}
			r, err := f.Users(ctx(), importer, people(t, person("cleo", bcryptOfA, otpauth), c.line, `{"name":"last"}`), nil, into(t, w, owner))
			if err != nil || strings.Join(told(r.Bad), " ") != c.want {
				t.Errorf("%s: %v, %v; want %s", name, told(r.Bad), err, c.want)
			}
		}
		read := []imports.Bad{{Line: 7, Why: "bad"}}
		if r, err := flow(w).Users(ctx(), importer, people(t, `{"name":"cleo"}`, `{"name":"bob"}`), read, into(t, w, owner)); err != nil || len(r.Bad) != 2 || r.Bad[0].Line != 2 || r.Bad[1].Line != 7 {
			t.Errorf("with lines that could not be read: %v, %v", told(r.Bad), err)
		}
		devices, err := w.Read(ctx()).CountVirtualMFA(owner.Account)
		if users(t, w, owner) != 1 || devices != 0 || err != nil || len(history(t, w, owner)) != head {
			t.Errorf("%d users, %d devices, %v", users(t, w, owner), devices, err)
		}
	})
}

func TestWhoIsThereAlreadyIsLeftAlone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		bob := w.User(owner, "bob", account.Administrator)
		skip := into(t, w, owner)
		skip.SkipExisting = true
		lines := []string{person("Bob", bcryptOfA, fmt.Sprintf(`,"otpauth":%q`, uri("secret="+rfcSeed32))), person("cleo", bcryptOfA, "")}
		for _, want := range []struct{ created, skipped int }{{1, 1}, {0, 2}} {
			r, err := flow(w).Users(ctx(), importer, people(t, lines...), nil, skip)
			if err != nil || len(r.Bad) > 0 || r.Created != want.created || r.Skipped != want.skipped || r.Passwords() != want.created {
				t.Errorf("%+v, %v", r, err)
			}
		}
		if now := w.Again(bob); now != bob || w.Facts(bob).VirtualMFA || users(t, w, owner) != 2 {
			t.Errorf("bob was changed: %+v", now)
		}
	})
}

// Files that come at the same time come in one after the other: of two with
// the same people one alone, and the quota holds over both.
func TestFilesAtTheSameTime(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		f, to := flow(w), into(t, w, owner)
		f.Quotas.Users = 5
		var sets [][]imports.Person
		for n := range 6 {
			sets = append(sets, people(t, fmt.Sprintf(`{"name":"a%d"}`, n/2), fmt.Sprintf(`{"name":"b%d"}`, n/2)))
		}
		reports := make([]imports.People, len(sets))
		for _, err := range storetest.Parallel(len(sets), func(n int) (err error) {
			reports[n], err = f.Users(ctx(), importer, sets[n], nil, to)
			return err
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		in := 0
		for _, r := range reports {
			if len(r.Bad) == 0 {
				in += r.Created
			}
		}
		if in != 4 || users(t, w, owner) != 4 {
			t.Errorf("%d said, %d users", in, users(t, w, owner))
		}
	})
}

// What fails in the midst leaves nothing.
func TestAnImportThatIsCutOffLeavesNothing(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := w.Owner(alice)
		cut, cancel := context.WithCancel(ctx())
		cancel()
		if _, err := flow(w).Users(cut, importer, people(t, person("bob", bcryptOfA, "")), nil, into(t, w, owner)); err == nil || users(t, w, owner) != 0 {
			t.Errorf("%d users, %v", users(t, w, owner), err)
		}
	})
}

func TestNoForeignHashIsOurs(t *testing.T) {
	t.Parallel()
	for kind, hash := range hashes(t, testkit.Password) {
		if kept, got, err := secret.Foreign(hash); err != nil || got != kind || !secret.IsForeign(kept) {
			t.Errorf("%s: %s, %v", kind, got, err)
		}
	}
}
