package imports_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// staffed is an account whose users are asked for MFA as their profiles say.
func staffed(w *testkit.World) account.Identity {
	owner := w.Owner(alice)
	w.Settle(owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
	return owner
}

func begin(w *testkit.World, v prove.Visitor, u store.User, password string) (signin.Progress, error) {
	return w.SignIn.Begin(ctx(), v, prove.Door{RAM: true}, u.Name(), password, "")
}

// ours reports whether the user's hash is one of ours, of the password.
func ours(t *testing.T, w *testkit.World, i account.Identity, password string) bool {
	t.Helper()
	i = w.Again(i)
	if secret.IsForeign(i.PasswordHash) || !strings.HasPrefix(i.PasswordHash, "$argon2id$v=19$m=64,t=1,p=1$") {
		return false
	}
	right, stale, err := w.Prover.Hasher.Verify(ctx(), i.PasswordHash, password)
	return right && !stale && err == nil
}

// A password of any kind signs in as another does, and is ours from then on.
func TestAnImportedPasswordBecomesOursAtTheFirstSignIn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner, n := staffed(w), 0
		for kind, hash := range hashes(t, testkit.Password) {
			n++
			bring(t, w, owner, person("u-"+kind, hash, ""))
			u := named(t, w, owner, "u-"+kind)
			for range 3 {
				_, err := begin(w, testkit.From(n), u, testkit.Password+"?")
				testkit.Want(t, kind+": a wrong one", err, prove.ErrCredentials)
			}
			if now := w.Again(u.Identity); now.PasswordHash != u.PasswordHash || now.PasswordAlone {
				t.Errorf("%s: a wrong one changed it: %+v", kind, now)
			}
			p, err := begin(w, w.Visitor, u, testkit.Password)
			if err != nil || p.Session == nil {
				t.Fatalf("%s: %s, %v", kind, p.Step, err)
			}
			now := w.Again(u.Identity)
			if !ours(t, w, u.Identity, testkit.Password) || !now.PasswordAlone || now.Epoch != u.Epoch || !now.PasswordChangedAt.Equal(u.PasswordChangedAt) {
				t.Errorf("%s: %+v", kind, now)
			}
			if history, err := w.Read(ctx()).PasswordHistory(u.Account, u.ID, 24); err != nil || len(history) != 0 {
				t.Errorf("%s: the old one is kept: %v, %v", kind, history, err)
			}
			if n := len(w.Events(u.Identity, audit.UserPasswordModify)); n != 0 {
				t.Errorf("%s: %d changes are on record", kind, n)
			}
			if p, err = begin(w, w.Visitor, u, testkit.Password); err != nil || p.Session == nil || w.Again(u.Identity).PasswordHash != now.PasswordHash {
				t.Errorf("%s, again: %s, %v", kind, p.Step, err)
			}
			_, err = begin(w, testkit.From(n), u, testkit.Password+"?")
			testkit.Want(t, kind+": a wrong one, afterwards", err, prove.ErrCredentials)
		}
	})
}

// Many who sign in at once all do, by one new hash; of wrong ones none does.
func TestManyFirstSignInsAtOnce(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := staffed(w)
		for _, kind := range []string{"bcrypt", "pbkdf2-sha256"} {
			bring(t, w, owner, person("u-"+kind, hashes(t, testkit.Password)[kind], ""))
			u := named(t, w, owner, "u-"+kind)
			for n, err := range storetest.Parallel(12, func(n int) error {
				password := testkit.Password
				if n%3 == 2 {
					password += "?"
				}
				p, err := begin(w, testkit.From(n), u, password)
				if err == nil && p.Session == nil {
					err = errors.New(string(p.Step))
				}
				return err
			}) {
				want := error(nil)
				if n%3 == 2 {
					want = prove.ErrCredentials
				}
				testkit.Want(t, fmt.Sprint(kind, n), err, want)
			}
			if !ours(t, w, u.Identity, testkit.Password) {
				t.Errorf("%s: %s", kind, w.Again(u.Identity).PasswordHash)
			}
		}
	})
}

// A password that nobody could choose here is the way to another one, and to no
// session; how long is long enough depends on what else is asked.
func TestAnImportedPasswordIsLookedAtWhenItIsFirstSeen(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := staffed(w)
		const short, next = "vines+otter", "another otter, other vines"
		for name, c := range map[string]struct {
			password, more string
			want           policy.Step
			alone          bool
		}{
			"long":        {testkit.Password, "", policy.Complete, true},
			"short":       {short, "", policy.NewPassword, false},
			"common":      {"password12345678", "", policy.NewPassword, true},
			"very-short":  {"a", "", policy.NewPassword, false},
			"with-device": {short, fmt.Sprintf(`,"otpauth":%q`, uri("secret="+rfcSeed32)), policy.Verify, false},
		} {
			bring(t, w, owner, person(name, hashes(t, c.password)["bcrypt"], c.more))
			u := named(t, w, owner, name)
			p, err := begin(w, w.Visitor, u, c.password)
			if err != nil || p.Step != c.want || (p.Session != nil) != (c.want == policy.Complete) {
				t.Errorf("%s: %s, %v; want %s", name, p.Step, err, c.want)
				continue
			}
			now := named(t, w, owner, name)
			if now.PasswordAlone != c.alone || !ours(t, w, u.Identity, c.password) || now.Profile.PasswordReset != (c.want == policy.NewPassword) || !now.Profile.InitialUntil.IsZero() {
				t.Errorf("%s: %+v", name, now)
			}
			if c.want != policy.NewPassword {
				continue
			}
			if again, err := begin(w, w.Visitor, u, c.password); err != nil || again.Step != policy.NewPassword {
				t.Errorf("%s, again: %s, %v", name, again.Step, err)
			}
			p, err = begin(w, w.Visitor, u, c.password)
			testkit.Want(t, name, err, nil)
			if _, err := w.SignIn.SetPassword(ctx(), w.Visitor, p.Token, c.password); err == nil {
				t.Errorf("%s: the same will do", name)
			}
			done, err := w.SignIn.SetPassword(ctx(), w.Visitor, p.Token, next)
			if err != nil || done.Session == nil || !named(t, w, owner, name).PasswordAlone {
				t.Errorf("%s, with another: %s, %v", name, done.Step, err)
			}
		}
	})
}

// Until it was seen, a password counts as too short to be the only factor.
func TestADeviceStaysWhileThePasswordIsNotKnownToBeLong(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := staffed(w)
		bring(t, w, owner, person("bob", hashes(t, testkit.Password)["scrypt"], fmt.Sprintf(`,"otpauth":%q`, uri("secret="+rfcSeed32))))
		bob := named(t, w, owner, "bob")
		signed, _ := w.Session(w.Visitor, bob.Identity, factor.Passkey) // by what takes no password
		device, err := w.Read(ctx()).VirtualMFA(bob.Account, bob.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Self.Unbind(ctx(), w.Visitor, signed, device.ID)
		testkit.Want(t, "the password was never seen", err, selfservice.ErrPasswordAlone)
	})
}

// A seed goes on where it was: but no code that may have been used elsewhere.
func TestAnImportedDeviceIsASecondStep(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := staffed(w)
		bring(t, w, owner, person("bob", hashes(t, testkit.Password)["argon2i"], fmt.Sprintf(`,"otpauth":%q`, uri("secret="+rfcSeed32))))
		bob := named(t, w, owner, "bob")
		app := &testkit.App{Seed: []byte(rfcSeed), Now: w.Clock.Now}
		p, err := begin(w, w.Visitor, bob, testkit.Password)
		if err != nil || p.Step != policy.Verify {
			t.Fatalf("%s, %v", p.Step, err)
		}
		answer := func() (signin.Progress, error) {
			return w.SignIn.Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{app.Code(0)}})
		}
		_, err = answer()
		testkit.Want(t, "a code from before", err, factor.ErrCodeUsed)
		w.Clock.Advance(factor.TOTPStep)
		if p, err = answer(); err != nil || p.Session == nil {
			t.Errorf("the next: %s, %v", p.Step, err)
		}
	})
}

// A meanwhile is randomness that does something when a salt is drawn: after the
// password was compared, and before that is written down.
type meanwhile struct {
	do   func()
	fail error
}

func (m *meanwhile) Read(p []byte) (int, error) {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
	if m.fail != nil {
		return 0, m.fail
	}
	return rand.Read(p)
}

// A password that is changed while it is being checked is not brought back, and
// opens nothing; one that somebody else had hashed anew does.
func TestWhatHappensWhileAPasswordIsChecked(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := staffed(w)
		between := &meanwhile{}
		hasher, err := secret.NewHasher(testkit.CheapHash, between, 2, 10)
		if err != nil {
			t.Fatal(err)
		}
		next, err := w.Prover.Hasher.Hash(ctx(), "another otter, other vines")
		if err != nil {
			t.Fatal(err)
		}
		p := *w.Prover
		p.Hasher = hasher
		flow := &signin.Flow{Prover: &p, Lifetimes: w.SignIn.Lifetimes}
		for name, c := range map[string]struct {
			do   func(tx *store.Tx, u store.User) error
			want error
		}{
			"nothing":     {func(*store.Tx, store.User) error { return nil }, nil},
			"hashed-anew": {func(tx *store.Tx, u store.User) error { return tx.SetPasswordHash(u.ID, u.PasswordHash, next, true) }, nil},
			"changed": {func(tx *store.Tx, u store.User) error {
				_, err := tx.RaiseEpoch(u.ID, "")
				return errors.Join(err, tx.SetUserPassword(u.Identity, next, true, 0))
			}, prove.ErrCredentials},
			"changed-otherwise": {func(tx *store.Tx, u store.User) error {
				w.Clock.Advance(time.Second)
				tx.Now = w.Clock.Now()
				return tx.SetUserPassword(u.Identity, next, true, 0)
			}, prove.ErrCredentials},
			"taken-away": {func(tx *store.Tx, u store.User) error { return tx.ClearProfile(u.Account, u.ID, store.ErrNoRow) }, prove.ErrCredentials},
		} {
			bring(t, w, owner, person(name, hashes(t, testkit.Password)["bcrypt"], ""))
			u := named(t, w, owner, name)
			between.do = func() { w.Put(func(tx *store.Tx) error { return c.do(tx, u) }) }
			got, err := flow.Begin(ctx(), w.Visitor, prove.Door{RAM: true}, u.Name(), testkit.Password, "")
			if testkit.Want(t, name, err, c.want); (got.Session != nil) != (c.want == nil) {
				t.Errorf("%s: %s", name, got.Step)
			}
			if now := w.Again(u.Identity).PasswordHash; name != "nothing" && name != "taken-away" && now != next || secret.IsForeign(now) || name == "taken-away" && now != "" {
				t.Errorf("%s: kept is %q", name, now)
			}
		}
	})
}

// Where it cannot be hashed anew just then, it is looked at all the same.
func TestAPasswordThatCannotBeHashedAnewIsLookedAt(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := staffed(w)
		salts := &meanwhile{}
		hasher, err := secret.NewHasher(testkit.CheapHash, salts, 2, 10)
		if err != nil {
			t.Fatal(err)
		}
		p := *w.Prover
		p.Hasher = hasher
		flow := &signin.Flow{Prover: &p, Lifetimes: w.SignIn.Lifetimes}
		for password, want := range map[string]policy.Step{testkit.Password: policy.Complete, "vines+otter": policy.NewPassword} {
			bring(t, w, owner, person("u-"+string(want), hashes(t, password)["bcrypt"], ""))
			u := named(t, w, owner, "u-"+string(want))
			for _, salts.fail = range []error{errors.New("no randomness"), nil} {
				got, err := flow.Begin(ctx(), w.Visitor, prove.Door{RAM: true}, u.Name(), password, "")
				if err != nil || got.Step != want || ours(t, w, u.Identity, password) != (salts.fail == nil) {
					t.Errorf("%s, %v: %s, %v", password, salts.fail, got.Step, err)
				}
			}
		}
	})
}

// A user who signs in with a must-change flag in time sets a password, and
// after it not at all.
func TestAnImportedPasswordThatMustChange(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := staffed(w)
		hash := hashes(t, testkit.Password)["bcrypt"]
		bring(t, w, owner, person("bob", hash, `,"must_change":true`), person("cleo", hash, `,"must_change":true`), person("dora", hash, `,"state":"inactive"`))
		if p, err := begin(w, w.Visitor, named(t, w, owner, "bob"), testkit.Password); err != nil || p.Step != policy.NewPassword {
			t.Errorf("in time: %s, %v", p.Step, err)
		}
		_, err := begin(w, w.Visitor, named(t, w, owner, "dora"), testkit.Password)
		testkit.Want(t, "inactive", err, policy.ErrDisabled)
		w.Clock.Advance(14 * 24 * time.Hour)
		_, err = begin(w, w.Visitor, named(t, w, owner, "cleo"), testkit.Password)
		testkit.Want(t, "too late", err, policy.ErrInitialExpired)
	})
}

// The limits are those of everybody: a lane that is locked stays so for the
// right password, which is then not even hashed anew.
func TestTheLimitsHoldForImportedPasswords(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		owner := staffed(w)
		w.Settle(owner.Account, func(s *account.Settings) { s.Password.LoginAttempts = 3 })
		bring(t, w, owner, person("bob", hashes(t, testkit.Password)["pbkdf2-sha512"], ""))
		bob := named(t, w, owner, "bob")
		for range 3 {
			_, err := begin(w, w.Visitor, bob, testkit.Password+"?")
			testkit.Want(t, "a wrong one", err, prove.ErrCredentials)
		}
		_, err := begin(w, w.Visitor, bob, testkit.Password)
		testkit.Want(t, "the right one, locked", err, prove.ErrCredentials)
		if now := w.Again(bob.Identity); now.PasswordHash != bob.PasswordHash || len(w.Events(bob.Identity, audit.PasswordLock)) != 1 {
			t.Errorf("locked, and yet %q", now.PasswordHash)
		}
		w.Clock.Advance(account.LockLength)
		if p, err := begin(w, w.Visitor, bob, testkit.Password); err != nil || p.Session == nil || !ours(t, w, bob.Identity, testkit.Password) {
			t.Errorf("an hour later: %s, %v", p.Step, err)
		}
	})
}
