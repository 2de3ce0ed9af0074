package selfservice_test

import (
	"fmt"
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
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
	"countersign/internal/testkit/softkey"
)

// A maker is somebody who makes passkeys in a session.
type maker struct {
	*testkit.World
	t *testing.T
	prove.Signed
}

func makerOf(t *testing.T, w *testkit.World, i account.Identity, methods ...factor.Method) *maker {
	t.Helper()
	s, _ := w.Session(w.Visitor, i, methods...)
	return &maker{w, t, s}
}

// creates has the key make a passkey, in place of the U2F key named.
func (m *maker) creates(k *testkit.SoftKey, name, replaces string, lies ...testkit.Lie) (store.Passkey, bool, error) {
	m.t.Helper()
	n, err := m.Self.BeginPasskey(ctx(), m.Visitor, m.Signed, replaces)
	if err != nil {
		return store.Passkey{}, false, err
	}
	said := k.Create(n.Options, lies...)
	if said == nil {
		m.t.Fatalf("the key declines %s", n.Options)
	}
	return m.finishes(n.Ceremony, name, said)
}

func (m *maker) finishes(id, name string, said []byte) (store.Passkey, bool, error) {
	m.t.Helper()
	made, token, codes, err := m.Self.CreatePasskey(ctx(), m.Visitor, m.Signed, id, name, said)
	if err == nil {
		m.Signed = who(m.t, m.World, token)
	}
	return made, codes, err
}

func (m *maker) must(p store.Passkey, _ bool, err error) store.Passkey {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// removes verifies for it first.
func (m *maker) removes(id string) error {
	m.t.Helper()
	m.Given(m.Signed, selfservice.RemovePasskeyAction(id))
	token, err := m.Self.RemovePasskey(ctx(), m.Visitor, m.Signed, id)
	if err == nil {
		m.Signed = who(m.t, m.World, token)
	}
	return err
}

func (m *maker) names() (names []string) {
	m.t.Helper()
	o, err := m.Self.Overview(ctx(), m.Signed)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, p := range o.Passkeys {
		names = append(names, p.Name)
	}
	return names
}

// made are the events about passkeys that were not refused, and those that were.
func made(w *testkit.World, i account.Identity, name audit.Name) (done, refused []audit.Event) {
	for _, e := range w.Events(i, name) {
		if e.Refused == "" {
			done = append(done, e)
		} else {
			refused = append(refused, e)
		}
	}
	return done, refused
}

func TestAPasskeyStandsAfterAVerificationAndItsAnswer(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		_, otherToken := w.Session(testkit.From(2), i)
		m := makerOf(t, w, i, factor.Password)
		_, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "without a verification", err, prove.ErrVerifyFirst)
		w.Given(m.Signed, selfservice.BindPasskey)
		k := testkit.NewSoftKey()
		n, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "begin", err, nil)
		beside, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "begin on another page", err, nil)
		said := k.Create(n.Options)
		_, _, err = m.finishes(beside.Ceremony, "", said)
		testkit.Want(t, "on the page beside it", err, passkey.ErrExpired)
		other := &maker{w, t, who(t, w, otherToken)}
		w.Given(other.Signed, selfservice.BindPasskey)
		_, _, err = other.finishes(n.Ceremony, "", said)
		testkit.Want(t, "in another session", err, passkey.ErrExpired)
		_, _, err = m.finishes(n.Ceremony, strings.Repeat("名", 65), said)
		testkit.Want(t, "under a long name", err, passkey.ErrName)
		if len(m.names()) != 0 {
			t.Fatal("a passkey is there already")
		}
		p, codes, err := m.finishes(n.Ceremony, " 電話 ", said)
		testkit.Want(t, "finish", err, nil)
		if !codes || p.Name != "電話" || p.IsU2F() || !p.BackupEligible || !p.BackedUp || !p.Verified || p.CreatedFrom != "192.0.2.7" {
			t.Errorf("made %+v, codes %v", p, codes)
		}
		if codes, err := w.Self.NewRecoveryCodes(ctx(), m.Signed); err != nil || len(codes) != factor.RecoveryCodes {
			t.Errorf("recovery codes: %d, %v", len(codes), err)
		}
		if !w.Ended(t, otherToken) {
			t.Error("another session goes on")
		}
		last := m.Signed.Session.Proofs[len(m.Signed.Session.Proofs)-1]
		if last.Method != factor.Passkey || !last.Verified || !last.Synced {
			t.Errorf("the session was proved by %+v", last)
		}
		if done, refused := made(w, i, audit.PasskeyCreate); len(done) != 1 || len(refused) != 1 || done[0].Target != p.ID || !told(w, "passkey_added") {
			t.Errorf("events %v, refused %v, told %v", done, refused, w.Told(alice))
		}
		_, _, err = m.finishes(n.Ceremony, "", said)
		testkit.Want(t, "the same answer again", err, passkey.ErrExpired)
		if f := w.Facts(i); f.Passkeys != 1 || !f.MFA() {
			t.Errorf("facts %+v", f)
		}
	})
}

func TestAWrongAnswerMakesNoPasskeyAndIsRemembered(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		m := makerOf(t, w, i)
		n, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "begin", err, nil)
		wrong := testkit.NewSoftKey().Create(n.Options, softkey.Origin("https://evil.example"))
		if _, _, err = m.finishes(n.Ceremony, "", wrong); err == nil {
			t.Fatal("a passkey of another page")
		}
		right := testkit.NewSoftKey().Create(n.Options)
		_, _, err = m.finishes(n.Ceremony, "", right)
		testkit.Want(t, "a challenge that was answered", err, passkey.ErrExpired)
		done, refused := made(w, i, audit.PasskeyCreate)
		if len(done) != 0 || len(refused) != 2 || len(m.names()) != 0 || len(w.Told(alice)) != 0 {
			t.Errorf("done %v, refused %v, names %v, told %v", done, refused, m.names(), w.Told(alice))
		}
		n, err = w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "begin again", err, nil)
		said := testkit.NewSoftKey().Create(n.Options)
		w.Clock.Advance(ceremony.Lifetime)
		_, _, err = m.finishes(n.Ceremony, "", said)
		testkit.Want(t, "after ten minutes", err, passkey.ErrExpired)
	})
}

func TestADeviceHasOnePasskeyOfAnAccountAndAnIdentityFive(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		m := makerOf(t, w, i)
		first := testkit.NewSoftKey()
		p := m.must(m.creates(first, "", ""))
		n, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "begin", err, nil)
		if first.Create(n.Options) != nil {
			t.Error("a device that has one is asked for another")
		}
		_, _, err = m.creates(testkit.NewSoftKey(), "", "", softkey.ID(p.Credential.ID))
		testkit.Want(t, "a credential that is bound", err, passkey.ErrTaken)
		bob := makerOf(t, w, w.Owner("bob@example.com"))
		_, _, err = bob.creates(testkit.NewSoftKey(), "", "", softkey.ID(p.Credential.ID))
		testkit.Want(t, "a credential that is another's", err, passkey.ErrTaken)
		if mine, err := w.Self.Passkey(ctx(), m.Signed, p.ID); err != nil || string(mine.PublicKey) != string(p.PublicKey) || len(bob.names()) != 0 {
			t.Errorf("overwritten: %v", err)
		}
		for range 4 {
			m.must(m.creates(testkit.NewSoftDevice(), "", ""))
		}
		_, err = w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "a sixth", err, passkey.ErrQuota)
		testkit.Want(t, "remove", m.removes(p.ID), nil)
		m.must(m.creates(first, "", ""))
		if names := m.names(); len(names) != 5 || len(slices.Compact(slices.Sorted(slices.Values(names)))) != 5 {
			t.Errorf("names %q", names)
		}
	})
}

func TestNamesOfPasskeysAreTheOwnersAndDiffer(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		m := makerOf(t, w, i)
		phone := m.must(m.creates(testkit.NewSoftKey(), "Phone", ""))
		n, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "begin", err, nil)
		said := testkit.NewSoftDevice().Create(n.Options)
		_, _, err = m.finishes(n.Ceremony, "PHONE", said)
		testkit.Want(t, "a name that is taken", err, passkey.ErrNameTaken)
		key := m.must(m.finishes(n.Ceremony, "Key", said)) // the answer was not lost
		rename := func(id, name string) error {
			return w.Self.RenamePasskey(ctx(), w.Visitor, m.Signed, id, name)
		}
		testkit.Want(t, "to a name that is taken", rename(key.ID, "phone"), passkey.ErrNameTaken)
		testkit.Want(t, "to nothing", rename(key.ID, " "), passkey.ErrName)
		testkit.Want(t, "to too much", rename(key.ID, strings.Repeat("a", 65)), passkey.ErrName)
		testkit.Want(t, "to two lines", rename(key.ID, "a\nb"), passkey.ErrName)
		testkit.Want(t, "one that is not there", rename("nothing", "Other"), passkey.ErrNone)
		testkit.Want(t, "to its own name in capitals", rename(phone.ID, "PHONE"), nil)
		testkit.Want(t, "to another", rename(key.ID, "Blue key"), nil)
		if names := m.names(); !slices.Equal(names, []string{"PHONE", "Blue key"}) {
			t.Errorf("names %q", names)
		}
		if done, _ := made(w, i, audit.PasskeyUpdate); len(done) != 2 {
			t.Errorf("events %v", done)
		}
		bob := makerOf(t, w, w.Owner("bob@example.com"))
		testkit.Want(t, "another's", w.Self.RenamePasskey(ctx(), w.Visitor, bob.Signed, key.ID, "Mine"), passkey.ErrNone)
		testkit.Want(t, "remove another's", func() error {
			_, err := w.Self.RemovePasskey(ctx(), w.Visitor, bob.Signed, key.ID)
			return err
		}(), passkey.ErrNone)
		w.Put(func(tx *store.Tx) error { _, err := tx.RaiseEpoch(i.ID, ""); return err })
		if err := rename(key.ID, "Late"); err == nil {
			t.Error("a session that is over renames")
		}
	})
}

func TestRemovingAPasskeyTakesAProofOfItsOwn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		m := makerOf(t, w, i)
		one := m.must(m.creates(testkit.NewSoftKey(), "One", ""))
		two := m.must(m.creates(testkit.NewSoftDevice(), "Two", ""))
		_, err := w.Self.RemovePasskey(ctx(), w.Visitor, m.Signed, one.ID)
		testkit.Want(t, "with the sign-in alone", err, prove.ErrVerifyFirst)
		w.Given(m.Signed, selfservice.RemovePasskeyAction(two.ID))
		_, err = w.Self.RemovePasskey(ctx(), w.Visitor, m.Signed, one.ID)
		testkit.Want(t, "with a proof for another", err, prove.ErrVerifyFirst)
		_, otherToken := w.Session(testkit.From(3), i)
		testkit.Want(t, "one of two", m.removes(one.ID), nil)
		a, err := w.Self.Accepted(ctx(), m.Signed)
		if f := w.Facts(i); f.Passkeys != 1 || f.RecoveryCodes == 0 || !w.Ended(t, otherToken) || err != nil || a.RPID != "id.example.com" || len(a.Credentials) != 1 {
			t.Errorf("facts %+v, accepted %+v, %v", f, a, err)
		}
		testkit.Want(t, "again", func() error {
			_, err := w.Self.RemovePasskey(ctx(), w.Visitor, m.Signed, one.ID)
			return err
		}(), passkey.ErrNone)
		testkit.Want(t, "the last", m.removes(two.ID), nil)
		if f := w.Facts(i); f.Passkeys != 0 || f.RecoveryCodes != 0 || f.MFA() {
			t.Errorf("facts %+v", f)
		}
		if a, err := w.Self.Accepted(ctx(), m.Signed); err != nil || a.User == "" || a.Credentials == nil || len(a.Credentials) != 0 {
			t.Errorf("accepted %+v, %v", a, err)
		}
		if done, _ := made(w, i, audit.PasskeyDelete); len(done) != 2 || !told(w, "passkey_removed") {
			t.Errorf("events %v, told %v", done, w.Told(alice))
		}
	})
}

func TestAPasskeyThatIsNeededStays(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		bob := w.User(i, "bob", account.User)
		w.Settle(i.Account, func(s *account.Settings) { s.MFAOperation = account.Mandatory })
		w.BindPasskey(bob, testkit.NewSoftKey())
		m := makerOf(t, w, bob, factor.Password, factor.Passkey)
		only := w.Facts(bob)
		if only.Passkeys != 1 {
			t.Fatalf("%+v", only)
		}
		list, err := w.Read(ctx()).Passkeys(bob.Account, bob.ID)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Want(t, "the only device that everybody must have", m.removes(list[0].ID), selfservice.ErrNeeded)
		m.must(m.creates(testkit.NewSoftDevice(), "", ""))
		testkit.Want(t, "one of two", m.removes(list[0].ID), nil)

		p := w.BindPasskey(i, testkit.NewSoftKey())
		owner := makerOf(t, w, i, factor.Password, factor.Passkey)
		w.Put(func(tx *store.Tx) error {
			return tx.SetProtection(i.Account, policy.Protection{Method: factor.Passkey, Scenarios: []policy.Scenario{policy.SignInScenario}})
		})
		testkit.Want(t, "what Account Protection uses", owner.removes(p.ID), selfservice.ErrProtects)

		carol := w.Owner("carol@example.com")
		short := w.BindPasskey(carol, testkit.NewSoftKey())
		w.Put(func(tx *store.Tx) error { return tx.SetPassword(carol.ID, carol.PasswordHash, false) })
		testkit.Want(t, "beside a short password", makerOf(t, w, carol, factor.Password, factor.Passkey).removes(short.ID), selfservice.ErrPasswordAlone)
	})
}

const appID = "https://old.example.com/app-id.json"

// signsInBy takes the second step with the key.
func signsInBy(t *testing.T, w *testkit.World, k *testkit.SoftKey, method factor.Method) (signin.Progress, error) {
	t.Helper()
	w.Clock.Advance(time.Minute)
	p := w.Password(w.Visitor, alice)
	for _, o := range p.Offers {
		if o.Method == method {
			return w.SignIn.Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: method, Credential: k.Get(o.Options)})
		}
	}
	return p, fmt.Errorf("%s is not offered: %+v", method, p.Offers)
}

// What is begun beside it does not end a page, until too many are open.
func TestPagesThatMakePasskeysStandSideBySide(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		m := makerOf(t, w, w.Owner(alice), factor.Password)
		w.Given(m.Signed, selfservice.BindPasskey)
		var pages []prove.NewPasskey
		for range 5 {
			n, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
			testkit.Want(t, "begin", err, nil)
			pages = append(pages, n)
		}
		k := testkit.NewSoftKey()
		_, _, err := m.finishes(pages[0].Ceremony, "", k.Create(pages[0].Options))
		testkit.Want(t, "the first of five", err, passkey.ErrExpired)
		m.must(m.finishes(pages[1].Ceremony, "", k.Create(pages[1].Options)))
	})
}

func TestAU2FKeyGoesWhenItsPasskeyStands(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		k := testkit.NewSoftDevice()
		old := w.BindU2F(i, k, appID)
		m := makerOf(t, w, i, factor.Password)
		action := selfservice.PasskeyAction(old.ID)
		_, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, old.ID)
		testkit.Want(t, "without a verification", err, prove.ErrVerifyFirst)
		w.Given(m.Signed, action)
		n, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, old.ID)
		testkit.Want(t, "begin", err, nil)
		if n.Replaces != old.Name {
			t.Errorf("replaces %q", n.Replaces)
		}
		if p, err := signsInBy(t, w, k, factor.U2F); err != nil || p.Session == nil { // cancelled midway
			t.Errorf("the old key: %v, %v", p.Step, err)
		}
		_, _, err = m.finishes(n.Ceremony, "", k.Create(n.Options, softkey.Origin("https://evil.example")))
		if err == nil {
			t.Fatal("a wrong answer makes a passkey")
		}
		if p, err := signsInBy(t, w, k, factor.U2F); err != nil || p.Session == nil {
			t.Errorf("the old key after a wrong answer: %v, %v", p.Step, err)
		}
		w.Given(m.Signed, action)
		_, _, err = m.creates(testkit.NewSoftKey(), "", old.ID) // synced, of a phone
		testkit.Want(t, "another authenticator", err, passkey.ErrAnotherKey)
		p := m.must(m.creates(k, "", old.ID))
		list, err := w.Read(ctx()).Passkeys(i.Account, i.ID)
		if err != nil || len(list) != 1 || list[0].ID != p.ID || list[0].IsU2F() {
			t.Fatalf("%+v, %v", list, err)
		}
		if done, refused := made(w, i, audit.U2FUpgrade); len(done) != 1 || done[0].Target != old.ID || len(refused) != 2 || !told(w, "u2f_upgraded") {
			t.Errorf("events %v, refused %v, told %v", done, refused, w.Told(alice))
		}
		if p, err := signsInBy(t, w, k, factor.Passkey); err != nil || p.Session == nil {
			t.Errorf("the passkey: %v, %v", p.Step, err)
		}
		w.Given(m.Signed, selfservice.PasskeyAction(p.ID))
		_, err = w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, p.ID)
		testkit.Want(t, "a passkey in place of a passkey", err, passkey.ErrNone)
		bobs := w.BindU2F(w.Owner("bob@example.com"), testkit.NewSoftDevice(), appID)
		w.Given(m.Signed, selfservice.PasskeyAction(bobs.ID))
		_, err = w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, bobs.ID)
		testkit.Want(t, "in place of another's", err, passkey.ErrNone)
	})
}

func TestWhatAdministratorsManageStaysAsItIs(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		w.Settle(i.Account, func(s *account.Settings) { s.ManageMFA = false })
		bob := w.User(i, "bob", account.User)
		p, u := w.BindPasskey(bob, testkit.NewSoftKey()), w.BindU2F(bob, testkit.NewSoftDevice(), appID)
		m := makerOf(t, w, bob, factor.Password, factor.Passkey)
		_, err := w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "create", err, policy.ErrMFAManaged)
		_, err = w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, u.ID)
		testkit.Want(t, "update", err, policy.ErrMFAManaged)
		testkit.Want(t, "rename", w.Self.RenamePasskey(ctx(), w.Visitor, m.Signed, p.ID, "Other"), policy.ErrMFAManaged)
		_, err = w.Self.RemovePasskey(ctx(), w.Visitor, m.Signed, p.ID)
		testkit.Want(t, "remove", err, policy.ErrMFAManaged)

		w.Settle(i.Account, func(s *account.Settings) { s.MFAOperation = account.Mandatory })
		due := makerOf(t, w, w.User(i, "carl", account.User))
		due.must(due.creates(testkit.NewSoftKey(), "", "")) // what must be there may be bound
	})
}

func TestAccountProtectionByAPasskeyBindsOneInTheSameFlow(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		m := makerOf(t, w, i, factor.Password)
		id, err := w.Self.BeginProtection(ctx(), w.Visitor, m.Signed, []policy.Scenario{policy.SignInScenario, policy.ChangePassword}, factor.Passkey)
		testkit.Want(t, "choose", err, nil)
		u, err := w.Self.ProtectionSetup(ctx(), w.Visitor, m.Signed, id)
		if err != nil || u.Step != selfservice.StepVerify || u.Options != nil {
			t.Fatalf("%+v, %v", u, err)
		}
		w.Given(m.Signed, u.Action)
		u, err = w.Self.ProtectionSetup(ctx(), w.Visitor, m.Signed, id)
		if err != nil || u.Step != selfservice.StepPasskey {
			t.Fatalf("%s, %v", u.Step, err)
		}
		if next, _, err := w.Self.SaveProtection(ctx(), w.Visitor, m.Signed, id); err != nil || next != selfservice.StepPasskey {
			t.Errorf("saved without: %s, %v", next, err)
		}
		k := testkit.NewSoftKey()
		if _, err := w.Self.SetupPasskey(ctx(), w.Visitor, m.Signed, id, "", k.Create(u.Options, softkey.RPID("evil.example"))); err == nil || w.Facts(i).Protection.On() {
			t.Fatalf("by a wrong answer: %v", err)
		}
		u, err = w.Self.ProtectionSetup(ctx(), w.Visitor, m.Signed, id)
		testkit.Want(t, "again", err, nil)
		token, err := w.Self.SetupPasskey(ctx(), w.Visitor, m.Signed, id, "Phone", k.Create(u.Options))
		testkit.Want(t, "set up", err, nil)
		m.Signed = who(t, w, token)
		f := w.Facts(i)
		if f.Protection.Method != factor.Passkey || f.Passkeys != 1 || f.RecoveryCodes == 0 {
			t.Errorf("facts %+v", f)
		}
		if p, err := signsInBy(t, w, k, factor.Passkey); err != nil || p.Session == nil {
			t.Errorf("the next sign-in: %v, %v", p.Step, err)
		}
		w.Prover.Passkeys = nil
		_, err = w.Self.BeginProtection(ctx(), w.Visitor, m.Signed, []policy.Scenario{policy.ManageMFA}, factor.Passkey)
		testkit.Want(t, "where the server has no name", err, passkey.ErrOff)
		_, err = w.Self.BeginPasskey(ctx(), w.Visitor, m.Signed, "")
		testkit.Want(t, "create where the server has no name", err, passkey.ErrOff)
	})
}
