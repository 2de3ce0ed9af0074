package admin_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// Models that everybody knows.
const (
	keychain = "fbfc3007-154e-4ecc-8c0b-6e020557d7bd"
	yubikey  = "cb69481e-8ff7-4039-93ec-0a2729a154a8"
)

// passkey binds one straight in the store; of a key bound under U2F change
// sets the AppID.
func (c *scene) passkey(i account.Identity, name string, change ...func(*store.Passkey)) store.Passkey {
	c.t.Helper()
	p := store.Passkey{ID: "passkey-" + name + "-" + string(i.ID), Name: name, Account: i.Account, Identity: i.ID, CreatedAt: c.Clock.Now(), CreatedFrom: "192.0.2.1"}
	p.Credential = passkey.Credential{ID: []byte("credential " + p.ID), PublicKey: []byte("key"), AAGUID: model(c.t, keychain), BackupEligible: true, BackedUp: true, Verified: true, Format: "none"}
	for _, f := range change {
		f(&p)
	}
	c.Put(func(tx *store.Tx) error { return tx.AddPasskey(p) })
	return p
}

func model(t testing.TB, id string) passkey.AAGUID {
	t.Helper()
	a, err := passkey.ParseAAGUID(id)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func onDevice(p *store.Passkey) { p.BackupEligible, p.BackedUp = false, false }

func underU2F(p *store.Passkey) {
	onDevice(p)
	p.AppID, p.AAGUID, p.Verified = "https://id.example/appid.json", passkey.AAGUID{}, false
}

func TestAdministratorsSeePasskeys(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		ann, tom, una := c.user("ann", account.Profile{State: account.ProfileActive}), c.user("tom", account.Profile{State: account.ProfileActive}), c.user("una", account.Profile{State: account.ProfileActive})
		old := c.passkey(c.bob, "Old key", underU2F)
		c.Clock.Advance(time.Minute)
		phone := c.passkey(c.bob, "Phone")
		c.Clock.Advance(time.Minute)
		copied := c.Clock.Now()
		stick := c.passkey(c.bob, "Stick", onDevice, func(p *store.Passkey) {
			p.AAGUID = model(t, yubikey)
			p.LastUsedAt, p.LastUsedFrom, p.LastUsedAgent, p.CopiedAt = copied, "198.51.100.7", "Mozilla/5.0", copied
		})
		c.Bind(c.bob)
		c.Bind(ann)
		c.Attach(ann, "+8613800138000")
		c.Attach(tom, "+8613800138001")
		c.passkey(una, "Key", underU2F)

		d := c.detail(c.bob)
		var got []string
		for _, one := range d.Devices {
			got = append(got, string(one.Method)+" "+one.Name)
		}
		if want := []string{"passkey Phone", "passkey Stick", "u2f Old key", "virtual_mfa Phone"}; !slices.Equal(got, want) || d.Passkeys != 2 || d.U2F != 1 {
			t.Fatalf("devices %v, want %v; %+v", got, want, d.User)
		}
		if one := d.Devices[0]; one.ID != phone.ID || !one.Synced || !one.BackedUp || one.Model != keychain || one.Maker == "" || one.BoundFrom != "192.0.2.1" || !one.BoundAt.Equal(phone.CreatedAt) || !one.LastUsedAt.IsZero() || !one.CopiedAt.IsZero() {
			t.Errorf("synced: %+v", one)
		}
		if one := d.Devices[1]; one.ID != stick.ID || one.Synced || one.BackedUp || one.Model != yubikey || one.LastUsedFrom != "198.51.100.7" || one.LastUsedAgent != "Mozilla/5.0" || !one.LastUsedAt.Equal(copied) || !one.CopiedAt.Equal(copied) {
			t.Errorf("on one device: %+v", one)
		}
		if one := d.Devices[2]; one.ID != old.ID || one.Model != "" || one.Maker != "" || one.Synced {
			t.Errorf("under U2F: %+v", one)
		}
		if d.Method != factor.Passkey || d.Due || !slices.Equal(d.Kinds, []factor.Method{factor.Passkey, factor.VirtualMFA}) {
			t.Errorf("methods %v, strongest %q, due %v", d.Kinds, d.Method, d.Due)
		}
		if u := c.detail(una); u.Method != factor.U2F || u.Due || u.Passkeys != 0 {
			t.Errorf("una %+v", u.Row)
		}
		for filter, want := range map[string][]string{"passkey": {"bob"}, "any": {"ann", "bob", "tom", "una"}, "none": {"boss", "look"}, "virtual_mfa": {"ann", "bob"}, "sms": {"tom"}} {
			q := store.UserQuery{MFA: filter}
			l, err := c.f.Users(c.ctx(), c.as(c.look), q, 1)
			var names []string
			for _, u := range l.Users {
				names = append(names, u.UserName)
			}
			if err != nil || !slices.Equal(names, want) || l.Matching != len(want) {
				t.Errorf("filter %s: %v (%d), %v; want %v", filter, names, l.Matching, err, want)
			}
		}
	})
}

func TestUnbindingOnePasskey(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		ann := c.user("ann", account.Profile{State: account.ProfileActive})
		hers := c.passkey(ann, "Phone")
		phone, stick, old := c.passkey(c.bob, "Phone"), c.passkey(c.bob, "Stick", onDevice), c.passkey(c.bob, "Old key", underU2F)
		_, token := c.Session(c.Visitor, c.bob, factor.Password, factor.Passkey)
		c.know(c.bob)
		unbind := func(s prove.Signed, m factor.Method, id string) (string, error) {
			return c.f.Unbind(c.ctx(), c.Visitor, s, c.bob.ID, admin.Unbinding{Method: m, Device: id, Check: "in_person", Reason: "left in a taxi"})
		}
		for what, one := range map[string]struct {
			method factor.Method
			id     string
		}{
			"another's passkey": {factor.Passkey, hers.ID}, "a passkey by the name of the old kind": {factor.U2F, phone.ID}, "an old key by that of a passkey": {factor.Passkey, old.ID},
			"a device that is none": {factor.Passkey, "x"}, "an app that is not there": {factor.VirtualMFA, phone.ID}, "no id": {factor.Passkey, ""},
		} {
			_, err := unbind(c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), one.id)), one.method, one.id)
			c.want(what, err, admin.ErrNothingBound)
		}
		_, err := unbind(c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), stick.ID)), factor.Passkey, phone.ID)
		c.want("verified for the other passkey", err, prove.ErrVerifyFirst)
		_, err = unbind(c.as(c.look), factor.Passkey, phone.ID)
		c.want("an auditor", err, admin.ErrForbidden)
		if d := c.detail(c.bob); c.Ended(t, token) || d.Passkeys != 2 || d.U2F != 1 || len(c.Told("bob@staff.example")) > 0 {
			t.Fatalf("something happened although it was refused: %+v", d.User)
		}

		// What is left keeps the user in: no ticket.
		s := c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), phone.ID))
		if shown, err := unbind(s, factor.Passkey, phone.ID); err != nil || shown != "" || !c.Ended(t, token) {
			t.Fatalf("unbind: %q, %v", shown, err)
		}
		c.void("unbinding", c.bob, 1)
		if e := c.last(c.bob, audit.PasskeyDelete); e.Actor.ID != string(c.boss.ID) || e.Target != phone.ID || e.Details["name"] != "Phone" || e.Details["method"] != "passkey" || e.Details["check"] != "in_person" || e.Details["reason"] != "left in a taxi" || e.Details["user"] != c.bob.Name() {
			t.Errorf("event %+v", e)
		}
		if told := c.Told("bob@staff.example"); !slices.Equal(told, []string{"device_unbound_by_admin"}) {
			t.Errorf("bob was told %v", told)
		}
		_, err = unbind(c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), phone.ID)), factor.Passkey, phone.ID)
		c.want("again", err, admin.ErrNothingBound)
		s = c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), stick.ID))
		if shown, err := unbind(s, factor.Passkey, stick.ID); err != nil || shown != "" {
			t.Fatalf("the second, an old key being left: %q, %v", shown, err)
		}
		if d := c.detail(c.bob); d.Passkeys != 0 || d.U2F != 1 || d.Enrolment != nil || len(d.Devices) != 1 {
			t.Errorf("bob %+v", d)
		}

		// The last: then the ticket.
		s = c.verified(c.boss, admin.UnbindUser(c.detail(c.bob), old.ID))
		shown, err := unbind(s, factor.U2F, old.ID)
		if err != nil {
			t.Fatal(err)
		}
		c.open(c.ticket(s, shown), true)
		if d := c.detail(c.bob); len(d.Devices) > 0 || d.Enrolment == nil || !d.Reenrol || !d.Due {
			t.Errorf("bob %+v", d)
		}
		if e := c.last(c.bob, audit.PasskeyDelete); e.Details["method"] != "u2f" {
			t.Errorf("event %+v", e)
		}
		if d := c.detail(ann); d.Passkeys != 1 {
			t.Errorf("ann %+v", d)
		}
	})
}

func TestSettingsAboutPasskeys(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		next := c.next(func(s *account.Settings) {
			s.PasskeySignIn, s.NoSyncedAdministrators, s.PasskeyModels = false, true, []string{keychain, yubikey}
		})
		s := c.verified(c.boss, admin.ChangeSettings(next))
		p, err := c.f.Preview(c.ctx(), c.Visitor, s, next)
		if err != nil || !slices.Equal(p.Changed, []string{"AllowUserToLoginWithPasskey", "DeviceBoundPasskeysForAdministrators", "PasskeyAAGUIDs"}) {
			t.Errorf("preview %v, %v", p.Changed, err)
		}
		c.want("save", c.f.Save(c.ctx(), c.Visitor, s, next), nil)
		got := c.next(func(*account.Settings) {})
		if got.PasskeySignIn || !got.NoSyncedAdministrators || !slices.Equal(got.PasskeyModels, next.PasskeyModels) {
			t.Errorf("saved %+v", got)
		}
		events, err := c.Read(c.ctx()).History(c.owner.Account, "", 0, 10, audit.PreferenceModify)
		if err != nil || len(events) != 1 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		if d := events[0].Details; len(d) != 6 || d["PasskeyAAGUIDs.from"] != "" || d["PasskeyAAGUIDs.to"] != keychain+" "+yubikey || d["DeviceBoundPasskeysForAdministrators.to"] != "true" || d["AllowUserToLoginWithPasskey.to"] != "false" {
			t.Errorf("event %+v", events[0])
		}
		empty := c.next(func(s *account.Settings) { s.PasskeyModels = []string{} })
		c.Given(s, admin.ChangeSettings(empty))
		c.want("every model again", c.f.Save(c.ctx(), c.Visitor, s, empty), nil)
		if got := c.next(func(*account.Settings) {}); len(got.PasskeyModels) > 0 {
			t.Errorf("saved %v", got.PasskeyModels)
		}
		same := c.next(func(s *account.Settings) { s.PasskeyModels = []string{} })
		c.Given(s, admin.ChangeSettings(same))
		c.want("none, said otherwise", c.f.Save(c.ctx(), c.Visitor, s, same), admin.ErrNothingNew)

		// A second kind must be possible where it is asked for.
		two := func(sms bool) func(*account.Settings) {
			return func(s *account.Settings) { s.TwoKinds, s.AllowSMS = true, sms }
		}
		check := func(change func(*account.Settings)) error {
			_, err := c.f.Preview(c.ctx(), c.Visitor, s, c.next(change))
			return err
		}
		c.Prover.Passkeys = nil
		c.want("text messages, no passkeys", check(two(true)), nil)
		c.want("neither", check(two(false)), admin.ErrNoSecondKind)
		c.Settle(c.owner.Account, two(true))
		c.want("text messages going off", check(two(false)), admin.ErrNoSecondKind)
		c.Prover.Sending.NoTexts = true
		c.want("another setting, although text messages cannot be sent any more", check(func(s *account.Settings) { s.SessionHours = 2 }), nil)
		c.Prover.Passkeys = &passkey.RelyingParty{ID: "id.example"}
		c.want("passkeys, no text messages", check(two(false)), nil)
	})
}

func TestPreviewWithPasskeys(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		key, old := c.user("key", account.Profile{State: account.ProfileActive}), c.user("old", account.Profile{State: account.ProfileActive})
		both, text := c.user("both", account.Profile{State: account.ProfileActive}), c.user("text", account.Profile{State: account.ProfileActive})
		c.passkey(key, "Phone")
		c.passkey(old, "Key", underU2F)
		c.passkey(both, "Phone")
		c.Bind(both)
		c.Attach(text, "+8613800138000")
		for _, i := range []account.Identity{c.boss, c.look, c.bob} {
			c.passkey(i, "Phone")
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		c.alone(c.bob)
		c.Session(c.Visitor, key, factor.Password, factor.Passkey)

		c.seen("mandatory", c.preview(func(s *account.Settings) { s.MFAOperation = account.Mandatory }), nil, nil, nil, nil, 0)
		c.seen("adaptive", c.preview(func(s *account.Settings) { s.MFAOperation = account.Adaptive }), nil, nil,
			[]string{"bob freed_usual", "boss freed_usual", "both freed_usual", "key freed_usual", "look freed_usual", "old freed_usual", "text freed_usual"}, nil, 0)
		c.seen("two kinds", c.preview(func(s *account.Settings) { s.TwoKinds, s.MFAOperation = true, account.Mandatory }),
			[]string{"bob bind_second", "boss bind_second", "key bind_second", "look bind_second", "old bind_second", "text bind_second"}, nil, nil, nil, 2)
		c.seen("no sign-in by passkey", c.preview(func(s *account.Settings) { s.PasskeySignIn = false }), nil, nil, nil, nil, 0)
		c.seen("other models", c.preview(func(s *account.Settings) { s.NoSyncedAdministrators, s.PasskeyModels = true, []string{yubikey} }), nil, nil, nil, nil, 0)

		// A passkey leads in where the password is too old.
		c.Clock.Advance(25 * time.Hour)
		tooOld := func(s *account.Settings) { s.Password.MaxAge, s.Password.HardExpire = 1, true }
		c.seen("passwords too old", c.preview(tooOld), nil, nil, nil, []string{"old password_expired", "text password_expired"}, 0)
		c.Settle(c.owner.Account, tooOld)
		c.seen("passwords too old already, no sign-in by passkey", c.preview(func(s *account.Settings) { s.PasskeySignIn = false }), nil, nil, nil,
			[]string{"bob passkey_off", "boss passkey_off", "both passkey_off", "key passkey_off", "look passkey_off"}, 0)

		// So it does for whoever writes the settings.
		author := func(change func(*account.Settings)) *fault.Fault {
			p, err := c.f.Preview(c.ctx(), c.Visitor, prove.Signed{Identity: c.boss}, c.next(change))
			if err != nil {
				t.Fatal(err)
			}
			return p.Author
		}
		if f := author(func(s *account.Settings) { s.PasskeySignIn = false }); f != admin.ErrAuthorPasskey {
			t.Errorf("without the passkey: %v", f)
		}
		if f := author(func(s *account.Settings) { s.Masks = masks(t, "198.51.100.0/24") }); f != admin.ErrAuthorMask {
			t.Errorf("masks: %v", f)
		}
		if f := author(func(s *account.Settings) { s.SessionHours = 1 }); f != nil {
			t.Errorf("something else: %v", f)
		}
	})
}

// alone makes a session that rests on a passkey alone.
func (c *scene) alone(i account.Identity) {
	c.t.Helper()
	s, _ := c.Session(c.Visitor, i, factor.Passkey)
	one := s.Session
	one.ID, one.Proofs = "alone-"+one.ID, []factor.Proof{{Method: factor.Passkey, At: c.Clock.Now(), Verified: true, Synced: true}}
	c.Put(func(tx *store.Tx) error {
		if err := tx.EndSession(i.ID, s.Session.ID, session.ErrNotFound); err != nil {
			return err
		}
		return tx.AddSession(one, []byte(one.ID))
	})
}

func TestParsingModels(t *testing.T) {
	t.Parallel()
	many := make([]string, account.ModelsMax+1)
	for n := range many {
		many[n] = yubikey[:len(yubikey)-2] + string("0123456789abcdef"[n/16]) + string("0123456789abcdef"[n%16])
	}
	for typed, want := range map[string][]string{
		"":                          nil,
		" \r\n ,;":                  nil,
		keychain:                    {keychain},
		strings.ToUpper(keychain):   {keychain},
		keychain + "\r\n" + yubikey: {keychain, yubikey},
		keychain + ", " + yubikey + ";" + keychain:  {keychain, yubikey},
		strings.Join(many[:account.ModelsMax], " "): many[:account.ModelsMax],
	} {
		if got, err := admin.ParseModels(typed); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", typed, got, err)
		}
	}
	for typed, want := range map[string]*fault.Fault{
		"YubiKey":                              admin.ErrModelForm,
		keychain + " YubiKey":                  admin.ErrModelForm,
		keychain + "0":                         admin.ErrModelForm,
		"00000000-0000-0000-0000-000000000000": admin.ErrModelForm,
		strings.Join(many, "\n"):               account.ErrModels,
	} {
		got, err := admin.ParseModels(typed)
		if f := fault.From(err); err == nil || f.Code != want.Code || f.Field != "passkey_models" {
			t.Errorf("%q: %v, %v", typed, got, err)
		}
	}
}

// A passkey that was unbound leads nowhere, and one that may not sign in alone
// does not; administrators verify for either by their own.
func TestWhatAdministratorsDoToPasskeysActsAtOnce(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		mine, phone, stick := testkit.NewSoftKey(), testkit.NewSoftKey(), testkit.NewSoftDevice()
		c.BindPasskey(c.boss, mine)
		lost := c.BindPasskey(c.bob, phone)
		c.BindPasskey(c.bob, stick)
		in := func(what string, k *testkit.SoftKey, want error) {
			t.Helper()
			_, err := c.Discovers(k)
			c.want(what, err, want)
		}
		in("before", phone, nil)
		verified := func(a policy.Action) prove.Signed {
			t.Helper()
			s, _ := c.Session(c.Visitor, c.boss, factor.Password)
			id, err := c.Verify.Begin(c.ctx(), c.Visitor, s, a, "/next")
			if err != nil {
				t.Fatal(err)
			}
			q, err := c.Verify.State(c.ctx(), c.Visitor, s, id)
			if err != nil || q.Offers[0].Method != factor.Passkey {
				t.Fatalf("%+v, %v", q, err)
			}
			_, token, err := c.Verify.Answer(c.ctx(), c.Visitor, s, id, prove.Answer{Method: factor.Passkey, Credential: mine.Get(q.Offers[0].Options)})
			if err != nil {
				t.Fatal(err)
			}
			if s, err = c.SignIn.Who(c.ctx(), token); err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := verified(admin.UnbindUser(c.detail(c.bob), lost.ID))
		if _, err := c.f.Unbind(c.ctx(), c.Visitor, s, c.bob.ID, admin.Unbinding{Method: factor.Passkey, Device: lost.ID, Check: "in_person", Reason: "lost"}); err != nil {
			t.Fatal(err)
		}
		in("the one that was unbound", phone, passkey.ErrUnknown)
		in("the other", stick, nil)
		next := c.next(func(s *account.Settings) { s.PasskeySignIn = false })
		s = verified(admin.ChangeSettings(next))
		c.want("save", c.f.Save(c.ctx(), c.Visitor, s, next), nil)
		in("sign-in by passkey being off", stick, policy.ErrPasskeySignIn)
	})
}
