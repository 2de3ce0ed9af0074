package front_test

import (
	"encoding/csv"
	"net/http"
	"slices"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// putPasskey binds one straight in the store; change may make it a key bound
// under U2F.
func putPasskey(s *testkit.Site, i account.Identity, name string, change ...func(*store.Passkey)) store.Passkey {
	s.T.Helper()
	model, err := passkey.ParseAAGUID("fbfc3007-154e-4ecc-8c0b-6e020557d7bd")
	if err != nil {
		s.T.Fatal(err)
	}
	id, err := s.DB.NewID()
	if err != nil {
		s.T.Fatal(err)
	}
	p := store.Passkey{ID: id, Name: name, Account: i.Account, Identity: i.ID, CreatedAt: s.Now(), CreatedFrom: "192.0.2.1"}
	p.Credential = passkey.Credential{ID: []byte("credential " + id), PublicKey: []byte("key"), AAGUID: model, BackupEligible: true, BackedUp: true, Verified: true, Format: "none"}
	for _, f := range change {
		f(&p)
	}
	s.Put(func(tx *store.Tx) error { return tx.AddPasskey(p) })
	return p
}

func oldKey(p *store.Passkey) {
	p.AppID, p.AAGUID, p.BackupEligible, p.BackedUp, p.Verified = "https://id.example/appid.json", passkey.AAGUID{}, false, false, false
}

func TestAdministratorsSeeAndUnbindPasskeys(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		bo := putUser(s, "bo", account.User, func(i *account.Identity) { i.Email = "bo@example.com" })
		putUser(s, "ann", account.User)
		phone := putPasskey(s, bo, "Bo's phone")
		old := putPasskey(s, bo, "Bo's key", oldKey)
		stick := putPasskey(s, bo, "Bo's <b>stick</b>", func(p *store.Passkey) {
			p.BackupEligible, p.BackedUp = false, false
			p.LastUsedAt, p.LastUsedFrom, p.LastUsedAgent = s.Now(), "198.51.100.7", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
			p.CopiedAt = s.Now()
		})
		wantNames(t, c.Get("/console/users?mfa=passkey"), "bo")
		says(t, c.Get("/console/users?mfa=passkey"), `<option value="passkey" selected>Passkey</option>`)
		at := "/console/users/" + string(bo.ID)
		page := c.Get(at + "/authentication").Want(http.StatusOK)
		says(t, page, "Bo's phone", "Saved in a password manager", "Bo's <b>stick</b>", "Only on this one device", "Firefox", "198.51.100.7", "Perhaps copied", "Its counter went back", "Bo's key", "Bound under the old protocol",
			"method=passkey&device="+phone.ID, "method=passkey&device="+stick.ID, "method=u2f&device="+old.ID)
		if strings.Contains(page.Body, "<b>stick") {
			t.Error("a name is not text")
		}
		if maker := phone.AAGUID.Maker(); maker != "" {
			says(t, page, maker)
		}

		for _, q := range []string{"method=passkey", "method=u2f&device=" + phone.ID, "method=passkey&device=" + old.ID, "method=virtual_mfa", "method=passkey&device=x"} {
			c.Get(at + "/unbind?" + q).Want(http.StatusConflict)
		}
		form := c.Get(at + "/unbind?method=passkey&device=" + phone.ID).Want(http.StatusOK)
		says(t, form, "Bo's phone", "stays on the user's own device", "goes on with what stays bound")
		saysNot(t, form, "Nothing is left")
		done := form.Submit(at+"/unbind", "check", "in_person", "reason", "lost at sea").ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		saysNot(t, done, "Bo's phone")
		says(t, done, "Bo's key")
		form = c.Get(at + "/unbind?method=passkey&device=" + stick.ID).Want(http.StatusOK)
		form.Submit(at+"/unbind", "check", "in_person", "reason", "perhaps copied").ProveBySent("email", alice).Want(http.StatusSeeOther)
		form = c.Get(at + "/unbind?method=u2f&device=" + old.ID).Want(http.StatusOK)
		says(t, form, "Security key (old type)", "Nothing is left", "24 hours")
		saysNot(t, form, "stays on the user")
		ticket := form.Submit(at+"/unbind", "check", "in_person", "reason", "lost at sea").ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, ticket, "Good until")
		says(t, c.Get(at+"/activity").Want(http.StatusOK), "Identity checked: In person. Reason: perhaps copied")
	})
}

func TestTheFileOfUsersCountsPasskeys(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	bo := putUser(s, "bo", account.User)
	putUser(s, "ann", account.User)
	putPasskey(s, bo, "Phone")
	putPasskey(s, bo, "Stick")
	putPasskey(s, bo, "Key", oldKey)
	file := c.Get("/console/users").Submit("/console/users.csv").ProveBySent("email", alice).Follow().Submit("/console/users.csv").Want(http.StatusOK)
	rows, err := csv.NewReader(strings.NewReader(file.Body)).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	cell := func(row int, column string) string { return rows[row][slices.Index(rows[0], column)] }
	if cell(1, "passkeys") != "0" || cell(1, "u2f_keys") != "0" || cell(2, "passkeys") != "2" || cell(2, "u2f_keys") != "1" || cell(2, "mfa_devices") != "passkey" {
		t.Errorf("%q", rows)
	}
}

// A model is shown with the name of its maker, where it is known.
func TestModelsInTheSettingsHaveNames(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	const known, unknown = "fbfc3007-154e-4ecc-8c0b-6e020557d7bd", "12345678-1234-1234-1234-123456789012"
	a, err := passkey.ParseAAGUID(known)
	if err != nil || a.Maker() == "" {
		t.Fatalf("%q, %v", a.Maker(), err)
	}
	page := preview(c, "passkey_models", known+"\n"+unknown).Want(http.StatusOK)
	says(t, page, a.Maker()+" ("+known+"), Unknown maker ("+unknown+")", ">any<")
	back := page.Submit("/console/settings").Want(http.StatusOK)
	says(t, back, `<li>`+a.Maker()+` <code class="reference" translate="no">`+known+`</code></li>`, `<li>Unknown maker <code class="reference" translate="no">`+unknown+`</code></li>`)
	saysNot(t, back, "cannot do passkeys yet")
	look := as(s, putUser(s, "look", account.Auditor), factor.VirtualMFA)
	saysNot(t, look.Get("/console/settings").Want(http.StatusOK), "<textarea")
}
