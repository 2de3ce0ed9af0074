package front_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

var (
	pageOptions = regexp.MustCompile(`data-passkey="([^"]*)" data-options="([^"]*)"`)
	passkeyForm = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)" data-passkey=.*?</form>`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// optionsOn are the options that the page hands to the browser.
func optionsOn(r testkit.Reply, kind string) json.RawMessage {
	r.Want(http.StatusOK)
	m := pageOptions.FindStringSubmatch(r.Body)
	if m == nil || m[1] != kind {
		panic("no options to " + kind + " on\n" + r.Body)
	}
	return json.RawMessage(html.UnescapeString(m[2]))
}

// keySays posts the form of the page with what a key says, as its script does.
func keySays(c *testkit.Client, page testkit.Reply, said []byte) testkit.Reply {
	c.T.Helper()
	m := passkeyForm.FindStringSubmatch(page.Body)
	if m == nil || said == nil {
		c.T.Fatalf("no form, or the key declines: %s", page.Body)
	}
	form := url.Values{"credential": {string(said)}}
	for _, f := range hiddenField.FindAllStringSubmatch(m[0], -1) {
		form.Set(f[1], html.UnescapeString(f[2]))
	}
	return c.Post(html.UnescapeString(m[1]), form)
}

// creates has the key make the passkey that the page is about.
func creates(c *testkit.Client, page testkit.Reply, k *testkit.SoftKey) testkit.Reply {
	c.T.Helper()
	return keySays(c, page, k.Create(optionsOn(page, "create")))
}

// provesByKey answers the verification that a reply leads to with the key.
func provesByKey(c *testkit.Client, r testkit.Reply, k *testkit.SoftKey, m factor.Method) testkit.Reply {
	c.T.Helper()
	page := c.Get(r.Want(http.StatusSeeOther).Header.Get("Location") + "&method=" + string(m))
	return keySays(c, page, k.Get(optionsOn(page, "get"))).Want(http.StatusSeeOther)
}

func TestThePagesOfAPasskeyFromTheFirstToNone(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		c := s.Client()
		c.SignIn(alice, nil)
		says(t, c.Get("/security").Want(http.StatusOK), "Create a passkey", "Nothing biometric leaves your device.")
		says(t, c.Get("/security/passkeys").Want(http.StatusOK), "Nothing biometric leaves your device.", `href="/security/passkeys/new"`)
		page := c.Get("/security/passkeys/new?return_to=/security/history").ProveBySent("email", alice).Follow()
		says(t, page, "Sign in with your fingerprint, face or device PIN.", "Not now")

		phone := softPhone(s)
		codes := creates(c, page, phone).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, codes, "Your passkey is ready.", `class="codes"`)
		saysNot(t, codes, "Step 3 of 3")
		ready := codes.Submit("/security/recovery-codes/saved", "saved", "1").Follow().Want(http.StatusOK)
		says(t, ready, "Saved in Google Password Manager", "It works on every device on which you use that password manager.", `href="/security/history"`, "data-signal=")
		path := ready.Request.URL.Path
		renamed := ready.Submit(path, "name", "My phone").Follow().Want(http.StatusOK)
		says(t, renamed, "The passkey has its new name.", `value="My phone"`, `href="/security/history"`)
		refused := renamed.Submit(path, "name", strings.Repeat("a", 65)).Want(http.StatusUnprocessableEntity)
		says(t, refused, `id="name-error"`)

		again := c.Get("/security/passkeys/new")
		if phone.Create(optionsOn(again, "create")) != nil {
			t.Error("the phone is asked for a second passkey")
		}
		key := softDevice(s)
		said := key.Create(optionsOn(again, "create"))
		wrong := keySays(c, again, []byte("{}"))
		if wrong.StatusCode < 400 || wrong.StatusCode >= 500 || !pageOptions.MatchString(wrong.Body) {
			t.Errorf("a wrong answer: %d\n%s", wrong.StatusCode, wrong.Body)
		}
		second := keySays(c, again, said).Want(http.StatusSeeOther).Follow().Want(http.StatusOK) // the page beside it is not over
		says(t, second, "Saved on your security key only", "Create another one elsewhere")
		list := c.Get("/security/passkeys").Want(http.StatusOK)
		says(t, list, "My phone", "On your devices", "Backed up", "On a security key", "Not yet")
		says(t, c.Get("/security").Want(http.StatusOK), "My phone", `id="row-passkeys"`)

		remove := provesByKey(c, c.Get(path+"/remove"), phone, factor.Passkey).Follow().Want(http.StatusOK)
		says(t, remove, "My phone", "This remains:", "keeps its own entry")
		gone := remove.Submit(path + "/remove").Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, gone, "The passkey was removed.", "data-signal=")
		saysNot(t, gone, "My phone")
		says(t, c.Get("/security/history").Want(http.StatusOK), "Passkey “My phone” removed", "renamed to “My phone”", "created")
		c.Get(path).Want(http.StatusNotFound)
	})
}

func TestTheLastPasskeyThatIsNeededCannotBeRemoved(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	s.Account(alice, testkit.Password)
	owner := s.Identity(alice)
	uma := putStaff(s, owner, "uma", account.User)
	settle(s, func(o *account.Settings) { o.MFAOperation = account.Mandatory })
	p := bindPasskey(s, uma, softPhone(s))
	c := as(s, uma, factor.Password, factor.Passkey)
	page := c.Get("/security/passkeys/" + p.ID + "/remove").Want(http.StatusOK)
	says(t, page, "Your account asks for this device at sign-in", `href="/security/passkeys/new"`)
	saysNot(t, page, `<button class="button button-danger"`)

	settle(s, func(o *account.Settings) { o.ManageMFA = false })
	for _, path := range []string{"/security/passkeys", "/security/passkeys/" + p.ID, "/security/passkeys/" + p.ID + "/remove"} {
		page := c.Get(path).Want(http.StatusOK)
		says(t, page, "Your administrators manage the devices of this account.")
		saysNot(t, page, `name="name"`, `button-danger`, `href="/security/passkeys/new"`, `href="/security/passkeys/`+p.ID+`/remove"`)
	}
	c.Get("/security/passkeys/new").Want(http.StatusForbidden)
	c.Post("/security/passkeys/"+p.ID, url.Values{"csrf": {c.CSRF()}, "name": {"Mine"}}).Want(http.StatusForbidden)
}

func TestAnOldKeyIsUpdatedByThePages(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		i := s.Identity(alice)
		k := softDevice(s)
		old := bindU2F(s, i, k)
		c := s.Client()
		second := c.Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Follow()
		keySays(c, second, k.Get(optionsOn(second, "get"))).Want(http.StatusSeeOther)
		path := "/security/passkeys/" + old.ID
		says(t, c.Get("/security/passkeys").Want(http.StatusOK), "Security key (old type)", "Update to Passkey")
		saysNot(t, c.Get("/security/passkeys?created=1").Want(http.StatusOK), "Your passkey is ready")
		page := provesByKey(c, c.Get(path+"/upgrade"), k, factor.U2F).Follow()
		says(t, page, "The old one works until the new one does.")
		done := creates(c, page, k).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, done, "Your security key is a passkey now")
		c.Get(path).Want(http.StatusNotFound)
		list := c.Get("/security/passkeys").Want(http.StatusOK)
		saysNot(t, list, "old type")
		s.Pass(time.Minute)
	})
}

func TestAccountProtectionByAPasskeyByThePages(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		c := s.Client()
		c.SignIn(alice, nil)
		form := c.Get("/security/protection/setup").Want(http.StatusOK)
		says(t, form, `value="passkey"`, "No false page can ask you for it.")
		confirm := form.Submit("/security/protection/setup", "scenario", "change-password", "method", "passkey").Follow().Want(http.StatusOK)
		says(t, confirm, "Your next sign-in will ask for your passkey.", "Then we create your passkey together.")
		page := confirm.Submit("/security/protection/confirm")
		if page.StatusCode == http.StatusSeeOther && strings.HasPrefix(page.Header.Get("Location"), "/verify") {
			page = page.ProveBySent("email", alice)
		}
		page = page.Want(http.StatusSeeOther).Follow()
		k := softPhone(s)
		on := creates(c, page, k).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, on, "Account Protection is on as you chose.", "Google Password Manager", "Save your recovery codes")
		says(t, c.Get("/security/protection/off").Want(http.StatusOK), "Signing in will still ask for your passkey.")
		says(t, c.Get("/security").Want(http.StatusOK), "by passkey")
	})
}
