package browsertest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http/httptest"
	"strings"
	"testing"

	"countersign/internal/browsertest"
	"countersign/internal/config"
	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/locale"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// ownerOverTLS sits before a browser that lets the site's certificate pass:
// browsers answer for an AppID over https alone.
func ownerOverTLS(t *testing.T, language string) *person {
	t.Helper()
	front := httptest.NewUnstartedServer(nil)
	origin := "https://" + strings.Replace(front.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	site := testkit.NewSite(t, storetest.SQLite, func(c *config.Config) { c.PublicURL = origin })
	front.Config.Handler = site.Handler()
	front.StartTLS()
	t.Cleanup(front.Close)
	site.URL = origin
	site.Account(email, testkit.Password)
	p := &person{Tab: browsertest.Open(t, site, language), app: &browsertest.App{T: t, Site: site}, password: testkit.Password}
	p.TrustsAnybody()
	return p
}

// An oldKey was bound under U2F.
type oldKey struct {
	handle []byte
	key    *ecdsa.PrivateKey
	appID  string
}

// brings has the record of an old key come in, as an import leaves it.
func (p *person) brings(name, appID string) oldKey {
	p.T.Helper()
	k := oldKey{handle: make([]byte, 64), appID: appID}
	_, _ = rand.Read(k.handle)
	var err error
	if k.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		p.T.Fatal(err)
	}
	public, err := k.key.PublicKey.Bytes()
	if err != nil {
		p.T.Fatal(err)
	}
	i := p.identity()
	p.Site.Put(func(tx *store.Tx) error {
		return tx.AddPasskey(store.Passkey{Account: i.Account, Identity: i.ID, ID: "old-" + strings.ReplaceAll(name, " ", "-"), Name: name, CreatedAt: p.Site.Now(),
			Credential: passkey.Credential{ID: k.handle, PublicKey: public, AppID: k.appID, SignCount: 41}})
	})
	return k
}

// Keys of before passkeys: a second step with the old protocol, then the same
// key as a passkey, in each language.
func TestTheTourOfTheOldKey(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p := ownerOverTLS(t, l.Tag)
			k := p.brings("Blue key", p.Site.URL+"/app-id.json")
			p.usesTheOldKey(k)
			p.updatesTheKey(k)
		})
	}
}

func (p *person) usesTheOldKey(k oldKey) {
	p.T.Helper()
	old := p.Holds(browsertest.Old())
	old.Carries(k.appID, k.handle, k.key, 41)
	p.Visit("/signin")
	p.declines("passkey.js.cancelled") // alone it signs nobody in
	p.withPassword()
	p.On("/signin/verify", "second.title")
	p.Says("passkey.ask.u2f", "Device", "Blue key")
	p.Look("u2f-second")
	p.Follow(withPasskey)
	p.On("/security", "security.title")
	if kept := p.has("Blue key"); kept[0].SignCount <= 41 || !kept[0].IsU2F() {
		p.T.Errorf("kept is %+v", kept[0])
	}
	p.Look("u2f-settings")
	p.Visit("/security/passkeys")
	p.Says("passkeys.u2f.text")
	p.Look("u2f-passkeys")
	p.goesStale()
	p.Follow("li[id^=passkey-] [href$='/upgrade']")
	p.asked("purpose.upgrade_u2f", "Blue key")
	p.Follow(withPasskey)
	p.is("passkey_new.upgrade")
	old.Lost()
}

func (p *person) updatesTheKey(k oldKey) {
	p.T.Helper()
	p.Says("passkey_new.upgrade.text", "Name", "Blue key")
	p.Says("passkey_new.upgrade.old")
	p.Look("u2f-upgrade")
	key := p.Holds(browsertest.SecurityKey()) // the same one
	key.Carries(k.appID, k.handle, k.key, 50)
	key.Unlock(false)
	p.declines("passkey.js.cancelled")
	p.has("Blue key")
	key.Unlock(true)
	p.Follow(withPasskey)
	p.Says("done.u2f_upgraded")
	p.told(email, message.U2FUpgraded)
	if list := p.has("Blue key"); list[0].IsU2F() {
		p.T.Errorf("bound are %+v", list)
	}
	if strings.HasSuffix(browsertest.Eval[string](p.Tab, "location.pathname"), "/new") {
		p.savesTheCodes()
	}
	p.is("passkey.ready")
	p.Says("passkey.saved.key")
	p.leaves()
	key.Touch(false)
	p.Visit("/signin")
	key.Answers(withPasskey)
	p.On("/security", "security.title")
}

// A key whose AppID no browser answers for here is in nobody's way.
func TestAnOldKeyOfElsewhereIsInNobodysWay(t *testing.T) {
	t.Parallel()
	p := owner(t)
	p.brings("Key of elsewhere", "https://elsewhere.example/app-id.json")
	app := p.Site.PutApp(email)
	p.Holds(browsertest.Laptop())
	p.withPassword()
	p.On("/signin/verify", "second.title")
	p.hasNoButton() // which would do nothing
	p.Look("u2f-elsewhere")
	p.follow("method.another")
	p.Follow(".choice[href*='virtual_mfa']")
	p.Type("#code", app.Code(0))
	p.Follow(browsertest.Submit)
	p.On("/security", "security.title")
	p.Visit("/security/passkeys/new")
	p.On("/security/passkeys/new", "passkey_new.title")
	p.Follow(withPasskey)
	p.has("Key of elsewhere", p.named())
}
