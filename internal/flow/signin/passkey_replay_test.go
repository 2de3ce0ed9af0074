package signin_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/flow/signin"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
	"countersign/internal/testkit/softkey"
)

func discovery(t testing.TB, w *testkit.World) signin.Discovery {
	t.Helper()
	d, err := w.SignIn.Discover(ctx(), w.Visitor)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stale checks that an answer whose challenge is not due is refused, and
// changes nothing.
func stale(t *testing.T, w *testkit.World, what string, d signin.Discovery, said []byte) {
	t.Helper()
	before := everything(t, w)
	p, err := w.SignIn.Discovered(ctx(), w.Visitor, d.Token, said, "")
	if !errors.Is(err, passkey.ErrExpired) || passkey.Why(err) != "challenge" || p.Session != nil {
		t.Errorf("%s: %+v, %v", what, p, err)
	}
	after := everything(t, w)
	refusedAlone(t, before, after, nil)
	if e := added(t, before, after); e.Name != audit.ConsoleSignin || e.Details["why"] != "challenge" {
		t.Errorf("%s: the event is %+v", what, e)
	}
}

func TestAnAnswerCountsOnce(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		key := testkit.NewSoftKey() // no counter stands in for the challenge
		w.BindPasskey(i, key)

		first := discovery(t, w)
		said := key.Get(first.Options)
		if _, err := w.SignIn.Discovered(ctx(), w.Visitor, first.Token, said, ""); err != nil {
			t.Fatal(err)
		}
		before := everything(t, w)
		_, err := w.SignIn.Discovered(ctx(), w.Visitor, first.Token, said, "")
		testkit.Want(t, "once more", err, passkey.ErrExpired)
		for table, rows := range everything(t, w) {
			if !slices.Equal(lines(rows), lines(before[table])) {
				t.Errorf("once more: %s changed", table)
			}
		}
		stale(t, w, "in another sign-in", discovery(t, w), said)

		a, b := discovery(t, w), discovery(t, w)
		said = key.Get(a.Options)
		stale(t, w, "of another browser", b, said)
		stale(t, w, "of another browser, again", b, said)
		if _, err := w.SignIn.Discovered(ctx(), w.Visitor, a.Token, said, ""); err != nil {
			t.Errorf("where it belongs: %v", err)
		}

		p := w.Password(w.Visitor, alice)
		stale(t, w, "of a second step", discovery(t, w), key.Get(offered(t, p, factor.Passkey)))
		_, err = answered(w, p, factor.Passkey, key.Get(discovery(t, w).Options))
		testkit.Want(t, "of a sign-in without a password", err, passkey.ErrExpired)
		other := w.Password(w.Visitor, alice)
		_, err = answered(w, p, factor.Passkey, key.Get(offered(t, other, factor.Passkey)))
		testkit.Want(t, "of another sign-in of the same person", err, passkey.ErrExpired)

		// A lie uses the challenge up.
		_, err = answered(w, other, factor.Passkey, key.Get(offered(t, other, factor.Passkey), softkey.Origin("https://evil.net")))
		testkit.Want(t, "a lie", err, passkey.ErrRefused)
		_, err = answered(w, other, factor.Passkey, key.Get(offered(t, other, factor.Passkey)))
		testkit.Want(t, "the truth to the same challenge", err, passkey.ErrExpired)
		again, err := w.SignIn.State(ctx(), w.Visitor, other.Token)
		if err != nil {
			t.Fatal(err)
		}
		if done, err := answered(w, other, factor.Passkey, key.Get(offered(t, again, factor.Passkey))); err != nil || done.Session == nil {
			t.Errorf("the truth to a new one: %+v, %v", done, err)
		}

		// Eleven minutes.
		d, p := discovery(t, w), w.Password(w.Visitor, alice)
		late, later := key.Get(d.Options), key.Get(offered(t, p, factor.Passkey))
		w.Clock.Advance(11 * time.Minute)
		_, err = w.SignIn.Discovered(ctx(), w.Visitor, d.Token, late, "")
		testkit.Want(t, "eleven minutes later, alone", err, passkey.ErrExpired)
		_, err = answered(w, p, factor.Passkey, later)
		testkit.Want(t, "eleven minutes later, after a password", err, ceremony.ErrGone)
		stale(t, w, "eleven minutes later, in a new sign-in", discovery(t, w), late)
	})
}

// A challenge to make a passkey proves nothing, and the other way round.
func TestAChallengeHasOnePurpose(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.RelyingParty()
		bob := c.user("bob", nil)
		key := testkit.NewSoftKey()
		p := c.at(c.Visitor, bob)
		if p.Step != policy.Bind || p.Setup.Passkey == nil {
			t.Fatalf("%s, %s", p.Step, p.Setup.Passkey)
		}
		challenge, err := passkey.ChallengeOf(key.Create(p.Setup.Passkey))
		if err != nil {
			t.Fatal(err)
		}
		d := discovery(t, c.World)
		c.BindPasskey(c.owner, key)
		stale(t, c.World, "a challenge to create", d, key.Get(d.Options, softkey.Challenge(challenge)))

		a, err := passkey.ParseAnswer(key.Get(d.Options))
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.SignIn.BindPasskey(ctx(), c.Visitor, p.Token, "", testkit.NewSoftKey().Create(p.Setup.Passkey, softkey.Challenge(a.Challenge)))
		testkit.Want(t, "a challenge to prove", err, passkey.ErrExpired)
		// Nor does it where one ceremony gives out both.
		mixed := random(32)
		c.Put(func(tx *store.Tx) error {
			return errors.Join(tx.AddChallenge(p.Ceremony, "get", mixed, tx.Now.Add(time.Minute)), tx.AddChallenge(d.Ceremony, "create", challenge[:16], tx.Now.Add(time.Minute)))
		})
		_, err = c.SignIn.BindPasskey(ctx(), c.Visitor, p.Token, "", testkit.NewSoftKey().Create(p.Setup.Passkey, softkey.Challenge(mixed)))
		testkit.Want(t, "a challenge to prove, of the same sign-in", err, passkey.ErrExpired)
		stale(t, c.World, "a challenge to create, of the same sign-in", d, key.Get(d.Options, softkey.Challenge(challenge[:16])))

		two := c.at(c.Visitor, bob)
		_, err = c.SignIn.BindPasskey(ctx(), c.Visitor, p.Token, "", testkit.NewSoftKey().Create(two.Setup.Passkey))
		testkit.Want(t, "a challenge of another tab", err, passkey.ErrExpired)
	})
}

func TestTriesOfAKeyAreBounded(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		key := testkit.NewSoftKey()
		w.BindPasskey(i, key)
		d, p := discovery(t, w), w.Password(w.Visitor, alice)
		forged := func(options []byte) []byte { return key.Get(options, softkey.Challenge(random(32))) }
		for range throttle.CeremonyTries {
			_, err := w.SignIn.Discovered(ctx(), w.Visitor, d.Token, forged(d.Options), "")
			testkit.Want(t, "a lie, alone", err, passkey.ErrExpired)
			_, err = answered(w, p, factor.Passkey, forged(offered(t, p, factor.Passkey)))
			testkit.Want(t, "a lie, after the password", err, passkey.ErrExpired)
		}
		_, err := w.SignIn.Discovered(ctx(), w.Visitor, d.Token, key.Get(d.Options), "")
		testkit.Want(t, "the truth, too late", err, passkey.ErrExpired)
		_, err = answered(w, p, factor.Passkey, key.Get(offered(t, p, factor.Passkey)))
		testkit.Want(t, "the truth after the password, too late", err, ceremony.ErrNoTries)
		if b := w.Budget(i); b.Fails != 0 {
			t.Errorf("lies of keys take %d codes", b.Fails)
		}
		if _, err := w.Discovers(key); err != nil {
			t.Errorf("in a new sign-in: %v", err)
		}
	})
}

func TestOneAnswerTwentyTimesGivesOneSession(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		for name, key := range map[string]*testkit.SoftKey{"with a counter": testkit.NewSoftDevice(), "without one": testkit.NewSoftKey()} {
			w.BindPasskey(i, key)
			d, p := discovery(t, w), w.Password(w.Visitor, alice)
			alone, second := key.Get(d.Options), key.Get(offered(t, p, factor.Passkey))
			before := sessions(t, w, alice)
			in := [2]int{}
			for n, err := range storetest.Parallel(20, func(n int) (err error) {
				if n%2 == 0 {
					_, err = w.SignIn.Discovered(ctx(), w.Visitor, d.Token, alone, "")
				} else {
					_, err = answered(w, p, factor.Passkey, second)
				}
				return err
			}) {
				switch {
				case err == nil:
					in[n%2]++
				case errors.Is(err, passkey.ErrExpired), errors.Is(err, ceremony.ErrGone), errors.Is(err, ceremony.ErrNoTries):
				case passkey.Why(err) == "counter" && name == "with a counter": // the other of the two was first
				default:
					t.Errorf("%s: %v", name, err)
				}
			}
			if n := sessions(t, w, alice) - before; in[0] > 1 || in[1] > 1 || n != in[0]+in[1] || n == 0 || n < 2 && name == "without one" {
				t.Errorf("%s: %v sign-ins, %d sessions", name, in, n)
			}
		}
	})
}

// What is not there, not there any more, and not signed by it, is one answer
// (PK-12): nobody learns which passkeys there are.
func TestUnknownDeletedAndForgedAreAlike(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		key, lost := testkit.NewSoftKey(), testkit.NewSoftKey()
		w.BindPasskey(i, key)
		gone := w.BindPasskey(i, lost)
		w.Put(func(tx *store.Tx) error { return tx.RemovePasskey(i.Account, i.ID, gone.ID, store.ErrNoRow) })
		for name, lies := range map[string][]testkit.Lie{
			"as they are":   nil,
			"another page":  one(softkey.Origin("https://evil.net")),
			"in a frame":    one(softkey.CrossOrigin()),
			"another party": one(softkey.RPID("evil.net")),
			"nobody there":  one(softkey.Clear(softkey.UP)),
			"not verified":  one(softkey.Clear(softkey.UV)),
			"not synced":    one(softkey.Clear(softkey.BE | softkey.BS)),
			"no handle":     one(softkey.Handle(nil)),
		} {
			_, unknown := w.Discovers(key, append(one(softkey.ID(random(32))), lies...)...)
			_, deleted := w.Discovers(lost, lies...)
			_, forged := w.Discovers(key, append(one(softkey.Forged()), lies...)...)
			if unknown == nil || deleted == nil || forged == nil {
				t.Fatalf("%s: accepted: %v, %v, %v", name, unknown, deleted, forged)
			}
			if a, b, c := fault.From(unknown).Code, fault.From(deleted).Code, fault.From(forged).Code; a != b || b != c {
				t.Errorf("%s: unknown %s, deleted %s, forged %s", name, a, b, c)
			}
		}
	})
}

func TestWhoMaySignInByAPasskeyAlone(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		other := c.Owner("other@example.com")
		one := map[string]*testkit.SoftKey{}
		people := map[string]account.Identity{"owner": c.owner, "bob": c.user("bob", nil), "carol": c.user("carol", nil), "other": other,
			"other's bob": c.UserAs(other, account.Identity{UserName: "bob", Role: account.User}, account.Profile{State: account.ProfileActive})}
		for name, i := range people {
			one[name] = testkit.NewSoftKey()
			c.BindPasskey(i, one[name])
		}
		in := func(what, name string, want error) {
			t.Helper()
			d := discovery(t, c.World)
			p, err := c.SignIn.Discovered(ctx(), c.Visitor, d.Token, one[name].Get(d.Options), "/next")
			if !errors.Is(err, want) || (p.Session != nil) != (want == nil) {
				t.Fatalf("%s: %s at %q, %v", what, name, p.Step, err)
			}
			if i := people[name]; want == nil && (p.Session.Identity.ID != i.ID || p.Session.Session.Account != i.Account || p.ReturnTo != "/next" || len(p.Session.Session.Proofs) != 1) {
				t.Errorf("%s: %s is in as %+v", what, name, p.Session.Session)
			}
		}
		for name := range people {
			in("everybody", name, nil)
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.PasskeySignIn = false })
		in("the setting is off", "bob", policy.ErrPasskeySignIn)
		in("the setting of another account is off", "other's bob", nil)
		in("the setting is about users", "owner", nil)
		p := c.at(c.Visitor, people["bob"])
		p, err := answered(c.World, p, factor.Passkey, one["bob"].Get(offered(t, p, factor.Passkey)))
		if err != nil || p.Session == nil {
			t.Errorf("as second factor it still serves: %v", err)
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.PasskeySignIn = true })
		c.Put(func(tx *store.Tx) error {
			return tx.SetProfile(people["carol"].Account, people["carol"].ID, account.Profile{State: account.ProfileInactive})
		})
		in("disabled", "carol", policy.ErrDisabled)
		if e := c.Events(people["carol"], audit.ConsoleSignin)[0]; e.Refused != policy.ErrDisabled.Code {
			t.Errorf("%+v", e)
		}
		if n := c.sessions(people["carol"]); n > 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A counter that goes back is written down, told once a day, and makes what
// comes next unusual (PK-10).
func TestACounterThatGoesBackIsTold(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob := c.user("bob", nil)
		key := testkit.NewSoftDevice()
		key.Counter = 70
		k := c.BindPasskey(bob, key)
		clone := *key.Credential()
		for range 3 {
			_, err := c.Discovers(key, softkey.Count(60))
			testkit.Want(t, "a copy", err, passkey.ErrRefused)
		}
		if told := c.Told(bob.Email); strings.Join(told, " ") != "passkey_copied" {
			t.Errorf("told %q", told)
		}
		if e := c.Events(bob, audit.PasskeyCounter); len(e) != 3 || e[0].Target != k.ID {
			t.Errorf("%+v", e)
		}
		now, err := c.Read(ctx()).Passkey(bob.Account, bob.ID, k.ID)
		if err != nil || now.SignCount != 70 || now.CopiedAt.IsZero() || !now.LastUsedAt.IsZero() {
			t.Errorf("%+v, %v", now, err)
		}
		key.Credential().Count = clone.Count
		d := discovery(t, c.World)
		p, err := c.SignIn.Discovered(ctx(), c.Visitor, d.Token, key.Get(d.Options), "")
		if err != nil || p.Session == nil || !strings.Contains(p.Session.Session.Unusual, signin.CopiedKey) {
			t.Errorf("the key itself: %+v, %v", p, err)
		}
		now, err = c.Read(ctx()).Passkey(bob.Account, bob.ID, k.ID)
		if err != nil || now.SignCount != 71 || now.LastUsedAt.IsZero() || now.LastUsedFrom != c.Visitor.Address.String() {
			t.Errorf("%+v, %v", now, err)
		}
		c.Clock.Advance(25 * time.Hour)
		_, err = c.Discovers(key, softkey.Count(60))
		testkit.Want(t, "a copy, the next day", err, passkey.ErrRefused)
		if told := c.Told(bob.Email); slices.Index(told, "passkey_copied") < 0 || strings.Count(strings.Join(told, " "), "passkey_copied") != 2 {
			t.Errorf("told %q", told)
		}
	})
}

// Whether a passkey is backed up is kept up to date (PK-09).
func TestBackUpIsKeptUpToDate(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		key := testkit.NewSoftKey()
		key.BS = false
		k := w.BindPasskey(i, key)
		for _, key.BS = range []bool{false, true, true, false} {
			if _, err := w.Discovers(key); err != nil {
				t.Fatal(err)
			}
			now, err := w.Read(ctx()).Passkey(i.Account, i.ID, k.ID)
			if err != nil || now.BackedUp != key.BS || !now.BackupEligible {
				t.Errorf("%+v, %v", now.Credential, err)
			}
		}
	})
}
