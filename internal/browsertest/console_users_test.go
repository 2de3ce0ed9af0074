package browsertest_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/session"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// crew are users in every state that the list tells apart.
func crew(s *testkit.Site) {
	owner := s.Identity(email)
	for n, u := range []struct {
		name, display string
		role          account.Role
		profile       account.Profile
		seen          time.Duration
		app, phone    bool
	}{
		{"ada", "Ada Lovelace", account.Administrator, account.Profile{State: account.ProfileActive, MFARequired: true}, time.Minute, true, true},
		{"bo.ek", "Bo Ek", account.Auditor, account.Profile{State: account.ProfileActive}, 30 * time.Hour, true, false},
		{"carol", "Carol", account.User, account.Profile{State: account.ProfileActive, MFARequired: true}, 100 * 24 * time.Hour, false, true},
		{"dmitri", "Дмитрий", account.User, account.Profile{State: account.ProfileActive, PasswordReset: true, InitialUntil: s.Now().Add(40 * time.Hour)}, 0, false, false},
		{"erika", "", account.User, account.Profile{State: account.ProfileActive, InitialUntil: s.Now().Add(-time.Hour)}, 0, false, false},
		{"fatima", "فاطمة", account.User, account.Profile{State: account.ProfileInactive}, 3 * time.Hour, true, false},
		{"grace.hopper-of-the-very-long-names", "Grace Brewster Murray Hopper, Rear Admiral", account.User, account.Profile{State: account.ProfileIdle}, 400 * 24 * time.Hour, false, false},
		{"hiro", "山田 浩", account.User, account.Profile{}, 0, false, false},
	} {
		i := account.Identity{ID: account.IdentityID("user-" + u.name), Account: owner.Account, Role: u.role, UserName: u.name, DisplayName: u.display, Email: "someone@example.com", Comments: "Third floor", Locale: "en", Epoch: 1, CreatedAt: s.Now().Add(-time.Duration(500-n) * 24 * time.Hour), PasswordChangedAt: s.Now()}
		if u.seen > 0 {
			i.LastSignInAt = s.Now().Add(-u.seen)
		}
		s.Put(func(tx *store.Tx) error {
			err := tx.AddUser(i)
			if err == nil && u.profile.State != "" {
				err = tx.SetProfile(i.Account, i.ID, u.profile)
			}
			if err == nil && u.app {
				seed, _ := factor.NewSeed(rand.Reader)
				err = tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: seed}, ID: "device-" + u.name, Name: "Phone of " + u.name, BoundAt: s.Now()}, store.ErrNoRow)
			}
			if err == nil && u.phone {
				err = tx.AttachPhone(i.Account, i.ID, "", store.Phone{ID: "phone-" + u.name, Number: account.Phone(fmt.Sprintf("+861380013800%d", n)), BoundAt: s.Now()}, store.ErrNoRow)
			}
			if err == nil && u.name == "ada" {
				err = tx.AddSession(session.Session{ID: "ada-1", Account: i.Account, Identity: i.ID, Epoch: 1, CreatedAt: s.Now(), ExpiresAt: s.Now().Add(time.Hour), Address: "203.0.113.7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Unusual: "network"}, []byte("0123456789abcdef0123456789abcdef"))
			}
			for _, k := range keysOf(u.name) {
				if k.Account, k.Identity, k.CreatedAt = i.Account, i.ID, s.Now(); err == nil {
					err = tx.AddPasskey(k)
				}
			}
			if err == nil && u.name == "grace.hopper-of-the-very-long-names" {
				err = tx.SetEnrolment(i.Account, i.ID, store.Enrolment{Kind: store.Reenrol, TicketHash: []byte("x"), CreatedAt: s.Now(), OpensAt: s.Now(), ExpiresAt: s.Now().Add(24 * time.Hour)})
			}
			return err
		})
	}
}

// keysOf are the passkeys of one of the crew: saved by a password manager, on a
// key that may have been copied, and under the old protocol.
func keysOf(name string) []store.Passkey {
	if name != "ada" {
		return nil
	}
	keychain, _ := passkey.ParseAAGUID("fbfc3007-154e-4ecc-8c0b-6e020557d7bd")
	yubikey, _ := passkey.ParseAAGUID("cb69481e-8ff7-4039-93ec-0a2729a154a8")
	const agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	used := time.Now().Add(-3 * time.Hour)
	return []store.Passkey{
		{ID: "ada-phone", Name: "Ada's phone", LastUsedAt: used, LastUsedFrom: "203.0.113.7", LastUsedAgent: agent, Credential: passkey.Credential{ID: []byte("ada 1"), PublicKey: []byte("key"), AAGUID: keychain, BackupEligible: true, BackedUp: true}},
		{ID: "ada-key", Name: "The key on the ring with the very long name that fits", CreatedFrom: "203.0.113.7", CopiedAt: used, LastUsedAt: used, LastUsedFrom: "203.0.113.7", LastUsedAgent: agent, Credential: passkey.Credential{ID: []byte("ada 2"), PublicKey: []byte("key"), AAGUID: yubikey}},
		{ID: "ada-old", Name: "Old key", CreatedFrom: "203.0.113.7", Credential: passkey.Credential{ID: []byte("ada 3"), PublicKey: []byte("key"), AppID: "https://id.example.com/app.json"}},
	}
}

func TestTheConsoleShowsWhoIsProtected(t *testing.T) {
	t.Parallel()
	site := testkit.NewSite(t, storetest.SQLite, nil)
	site.Account(email, testkit.Password)
	p := &person{Tab: browsertest.Open(t, site, "en"), app: &browsertest.App{T: t, Site: site}, password: testkit.Password}
	p.entersPassword()
	p.Visit("/console/users")
	p.Look("console-none")
	crew(site)
	for name, path := range map[string]string{
		"list": "", "no-match": "?q=zzz", "new": "/new", "new-many": "/new?many=1",
		"overview": "/user-ada", "authentication": "/user-ada/authentication", "sessions": "/user-ada/sessions", "activity": "/user-ada/activity",
		"pending": "/user-grace.hopper-of-the-very-long-names/authentication", "edit": "/user-ada/edit", "role": "/user-ada/role", "signin": "/user-ada/signin", "signin-new": "/user-hiro/signin",
		"delete": "/user-ada/delete", "unbind": "/user-ada/unbind?method=virtual_mfa", "unbind-passkey": "/user-ada/unbind?method=passkey&device=ada-key", "ticket": "/user-grace.hopper-of-the-very-long-names/ticket",
	} {
		p.Visit("/console/users" + path)
		p.Look("console-" + name)
	}
	p.Visit("/console/users")
	browsertest.Eval[any](p.Tab, `document.querySelector('[value="user-carol"]').click(), 0`)
	p.Look("console-chosen")
	p.Visit("/console/settings")
	p.Click("#no_synced")
	p.Type("#passkey_models", "fbfc3007-154e-4ecc-8c0b-6e020557d7bd, cb69481e-8ff7-4039-93ec-0a2729a154a8 12345678-1234-1234-1234-123456789012")
	p.previews()
	p.Look("settings-models-preview")
	p.Follow("form[action='/console/settings'] button")
	p.Look("settings-models")
}

// A user is created, disabled with another, and helped after a lost device, by
// pointing and typing alone.
func TestAnAdministratorsTour(t *testing.T) {
	t.Parallel()
	site := testkit.NewSite(t, storetest.SQLite, nil)
	site.Account(email, testkit.Password)
	p := &person{Tab: browsertest.Open(t, site, "en"), app: &browsertest.App{T: t, Site: site}, password: testkit.Password}
	p.entersPassword()
	crew(site)
	p.Visit("/console/users")
	p.Follow(`.head .button[href="/console/users/new"]`)
	p.Follow(`.tabs [href$="many=1"]`)
	p.Type("#users", "irene,Irène Curie\nada\nnot a name\njo,Jo,jo@example.com,,auditor")
	p.Follow("main form .button:not(.button-secondary)")
	p.asked("purpose.create_users", "")
	p.answers(email)
	p.On("/console/shown", "shown.created")
	p.Look("console-shown-created")
	if copied := p.Copied("main .copy"); !strings.Contains(copied, "irene@") || !strings.Contains(copied, "\t") {
		t.Errorf("copied: %q", copied)
	}
	p.Click("#saved")
	p.Follow("main form .button")
	p.On("/console/users", "users.title")
	p.Says("done.shown")

	p.Click(`[value="user-carol"]`)
	p.Click(`[value="user-bo.ek"]`)
	p.Follow(`.selection [value=disable]`)
	p.Look("console-selection")
	p.Follow("main form .button-danger")
	p.Says("done.users_disabled")

	p.Visit("/console/users/user-fatima/authentication")
	p.Follow(`main [href*="/unbind"]`)
	p.Follow("main form .button-danger")
	p.Refuses(422, "fault.unbind.check")
	p.Look("console-unbind-wrong")
	browsertest.Eval[any](p.Tab, `document.querySelector('#check').value = 'in_person', 0`)
	p.Type("#reason", "Lost on the train")
	p.Follow("main form .button-danger")
	p.Look("console-verify")
	p.answers(email)
	p.On("/console/shown", "shown.ticket")
	p.Look("console-shown-ticket")
	if len(p.PDF()) < 1000 {
		t.Error("no print of the ticket")
	}
	p.Click("#saved")
	p.Follow("main form .button")
	p.Says("done.shown")
	p.Visit("/console/users/user-fatima/activity")
	p.Look("console-activity-unbound")
}
