package signin_test

import (
	"errors"
	"slices"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
	"countersign/internal/testkit/softkey"
)

func TestLiesOfANewPasskey(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.RelyingParty()
		bob := c.user("bob", nil)
		shared := []string{"malformed", "signature", "unknown", "user_handle", "counter", "type", "backup"}
		lies := slices.DeleteFunc(told(), func(l lie) bool { return slices.Contains(shared, l.why) }) // those are of the other ceremony
		for _, l := range append(lies,
			lie{"the type of the other ceremony", one(softkey.Type("webauthn.get")), passkey.ErrRefused, "type"},
			lie{"not verified", one(softkey.Clear(softkey.UV)), passkey.ErrRefused, "verification"},
			lie{"backed up, not eligible", one(softkey.Clear(softkey.BE), softkey.Set(softkey.BS)), passkey.ErrRefused, "backup"},
			lie{"RSA with SHA-1", one(softkey.Algorithm(softkey.RS1)), passkey.ErrRefused, "algorithm"},
			lie{"an id of 1,024 bytes", one(softkey.LongID(1024)), passkey.ErrMalformed, "malformed"},
			lie{"a broken statement", one(softkey.Attest(softkey.Broken)), passkey.ErrRefused, "attestation"},
			lie{"no credential", one(softkey.Clear(softkey.AT)), passkey.ErrMalformed, "malformed"},
			lie{"no object", one(softkey.Changed(func(_, r map[string]any) { delete(r, "attestationObject") })), passkey.ErrMalformed, "malformed"},
		) {
			t.Run(l.name, func(t *testing.T) {
				p := c.at(c.Visitor, bob)
				if p.Step != policy.Bind || p.Setup.Passkey == nil {
					t.Fatalf("%s, %s", p.Step, p.Setup.Passkey)
				}
				said := testkit.NewSoftKey().Create(p.Setup.Passkey, l.lies...)
				before := everything(t, c.World)
				next, err := c.SignIn.BindPasskey(ctx(), c.Visitor, p.Token, "", said)
				if next.Session != nil {
					t.Error("it leads to a session")
				}
				l.check(t, c.World, bob, err, before, audit.PasskeyCreate, factor.Passkey)
			})
		}
		p := c.at(c.Visitor, bob)
		key := testkit.NewSoftKey()
		done, err := c.SignIn.BindPasskey(ctx(), c.Visitor, p.Token, "", key.Create(p.Setup.Passkey))
		if err != nil || done.Session == nil {
			t.Fatalf("the truth, after all lies: %+v, %v", done, err)
		}
		if _, err := c.Discovers(key); err != nil {
			t.Errorf("sign in with it: %v", err)
		}
	})
}

// A credential id that anybody has is nobody else's, and stays what it is
// (PK-07).
func TestNobodyTakesAnothersCredential(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		bob, mallory := c.user("bob", nil), c.user("mallory", nil)
		key := testkit.NewSoftKey()
		mine := c.BindPasskey(bob, key)
		p := c.at(c.Visitor, mallory)
		before := everything(t, c.World)
		next, err := c.SignIn.BindPasskey(ctx(), c.Visitor, p.Token, "", testkit.NewSoftKey().Create(p.Setup.Passkey, softkey.ID(mine.Credential.ID)))
		testkit.Want(t, "bind bob's credential", err, passkey.ErrTaken)
		if next.Session != nil {
			t.Error("it leads to a session")
		}
		after := everything(t, c.World)
		refusedAlone(t, before, after, nil)
		if e := added(t, before, after); e.Name != audit.PasskeyCreate || e.Identity != mallory.ID || e.Refused != passkey.ErrTaken.Code {
			t.Errorf("the event is %+v", e)
		}
		if _, err := c.Discovers(key); err != nil {
			t.Errorf("bob signs in: %v", err)
		}
		if again, err := c.Read(ctx()).PasskeyByCredential(mine.Credential.ID); err != nil || again.Identity != bob.ID || again.ID != mine.ID {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

func TestOneNewPasskeyTwentyTimesIsBoundOnce(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.RelyingParty()
		bob := c.user("bob", nil)
		p := c.at(c.Visitor, bob)
		said := testkit.NewSoftKey().Create(p.Setup.Passkey)
		in := 0
		for _, err := range storetest.Parallel(20, func(int) error {
			_, err := c.SignIn.BindPasskey(ctx(), c.Visitor, p.Token, "", said)
			return err
		}) {
			if err == nil {
				in++
			}
		}
		list, err := c.Read(ctx()).Passkeys(bob.Account, bob.ID)
		if err != nil || in != 1 || len(list) != 1 || c.sessions(bob) != 1 {
			t.Errorf("%d bound, %d kept, %d sessions, %v", in, len(list), c.sessions(bob), err)
		}
	})
}

// What the account lets its users bind is asked at the end, too.
func TestModelsThatMayNotBeBound(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.RelyingParty()
		phone, device := testkit.NewSoftKey(), testkit.NewSoftDevice()
		admin := c.UserAs(c.owner, account.Identity{UserName: "ada", Role: account.Administrator}, account.Profile{State: account.ProfileActive})
		bob := c.user("bob", nil)
		c.Settle(c.owner.Account, func(s *account.Settings) {
			s.NoSyncedAdministrators = true
			s.PasskeyModels = []string{passkey.AAGUID(device.AAGUID).String(), passkey.AAGUID(phone.AAGUID).String()}
		})
		for _, one := range []struct {
			what string
			who  account.Identity
			key  *testkit.SoftKey
			lies []testkit.Lie
			want error
		}{
			{"synced, of an administrator", admin, phone, nil, passkey.ErrSynced},
			{"another model", bob, phone, []testkit.Lie{softkey.Model([16]byte{1})}, passkey.ErrNotAllowed},
			{"no model", bob, phone, []testkit.Lie{softkey.Model([16]byte{})}, passkey.ErrNotAllowed},
			{"on a device, of an administrator", admin, device, nil, nil},
			{"synced, of a user", bob, phone, nil, nil},
		} {
			p := c.at(c.Visitor, one.who)
			_, err := c.SignIn.BindPasskey(ctx(), c.Visitor, p.Token, "", one.key.Create(p.Setup.Passkey, one.lies...))
			if !errors.Is(err, one.want) {
				t.Errorf("%s: %v, want %v", one.what, err, one.want)
			}
			if e := c.Events(one.who, audit.PasskeyCreate); len(e) == 0 || (e[0].Refused == "") != (one.want == nil) {
				t.Errorf("%s: %+v", one.what, e)
			}
		}
	})
}
