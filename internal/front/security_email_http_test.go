package front_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

const herMail = "uma@mail.example"

// putMailbox binds a security email straight in the store.
func putMailbox(s *testkit.Site, i account.Identity, address string) {
	s.T.Helper()
	s.Put(func(tx *store.Tx) error {
		return tx.BindSecurityEmail(i.Account, i.ID, "", store.SecurityEmail{ID: "mail-" + string(i.ID), Address: address, BoundFrom: "192.0.2.7"}, store.ErrNoRow)
	})
}

func mailbox(s *testkit.Site, i account.Identity) string {
	s.T.Helper()
	e, err := s.DB.Read(s.T.Context()).SecurityEmail(i.Account, i.ID)
	if found, err := store.HasRow(err); err != nil || !found {
		return ""
	}
	return e.Address
}

// level is the acr of the browser's session.
func level(t *testing.T, c *testkit.Client) string {
	t.Helper()
	var said struct{ ACR string }
	if err := json.Unmarshal([]byte(c.Get("/api/v1/session").Want(http.StatusOK).Body), &said); err != nil {
		t.Fatal(err)
	}
	return said.ACR
}

func TestAUserBindsChangesAndRemovesASecurityEmail(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := putStaff(s, independent(s), "uma", account.User)
		c, away := s.Client(), s.Client()
		enter(away, uma, nil)
		enter(c, uma, nil)
		says(t, c.Get("/security"), `id="row-security-email"`, "Not bound")
		shows := c.Get("/security/email").Want(http.StatusOK)
		says(t, shows, "uma@staff.example", "no code is ever sent to it", "basic level", "is no device", `href="/security/email/change"`)

		form := c.Get("/security/email/change").Want(http.StatusOK)
		for typed, words := range map[string]string{"": "Enter your email address.", "uma": "Enter an email address"} {
			says(t, form.Submit("/security/email/change", "email", typed).Want(http.StatusUnprocessableEntity), words)
		}
		meant := form.Submit("/security/email/change", "email", "uma@gmial.com").Want(http.StatusOK)
		says(t, meant, "Did you mean uma@gmail.com?", `value="uma@gmial.com"`)
		if len(s.Messages("uma@gmial.com")) != 0 {
			t.Error("a code went to the address that is in doubt")
		}
		says(t, meant.Submit("/security/email/change", "email", "uma@hotmial.com").Want(http.StatusOK), "uma@hotmail.com") // another slip
		asIs := meant.Submit("/security/email/change", "email", "uma@gmial.com").Want(http.StatusSeeOther).Follow()
		says(t, asIs, "uma@gmial.com", "Confirm the new address")
		typed := c.Get("/security/email/change?" + asIs.Request.URL.RawQuery)
		says(t, typed, `value="uma@gmial.com"`)

		confirm := form.Submit("/security/email/change", "email", herMail).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		first := asIs.Submit("/security/email/confirm", "code", s.SentCode("uma@gmial.com"))
		if first.StatusCode != http.StatusGone { // another change was begun
			t.Errorf("the change before: %d", first.StatusCode)
		}
		code := s.SentCode(herMail)
		says(t, confirm.Submit("/security/email/confirm", "code", wrongCode(code)).Want(http.StatusUnauthorized), herMail)
		if mailbox(s, uma) != "" {
			t.Fatal("bound without the code")
		}
		done := confirm.Submit("/security/email/confirm", "code", code).Want(http.StatusSeeOther).Follow()
		says(t, done, "Your security email is bound.", "u***@m***.example", `href="/security/email/remove"`)
		if got := mailbox(s, uma); got != herMail {
			t.Fatalf("bound is %q", got)
		}
		away.Get("/security").Want(http.StatusSeeOther) // the other session has ended
		says(t, c.Get("/security"), "u***@m***.example")
		says(t, c.Get("/security/history"), "Security email u***@m***.example bound", "Security email not bound: wrong code")
		for _, to := range []string{herMail, uma.Email} {
			if m := s.Messages(to); len(m) == 0 || m[0].Kind != "security_email_bound" || strings.Contains(m[0].Text, herMail) {
				t.Errorf("%s was not told: %+v", to, m)
			}
		}
		says(t, confirm.Submit("/security/email/confirm", "code", code).Want(http.StatusGone), "finished already") // the code again

		// Another takes a code to the one that is bound: nothing stronger is.
		s.Pass(11 * time.Minute)
		says(t, form.Submit("/security/email/change", "email", strings.ToUpper(herMail)).Want(http.StatusConflict), "your security email already")
		ask := form.Submit("/security/email/change", "email", "new@mail.example").Want(http.StatusSeeOther)
		if !strings.HasPrefix(ask.Header.Get("Location"), "/verify?") || len(s.Messages("new@mail.example")) != 0 {
			t.Fatalf("not verified first: %s", ask.Header.Get("Location"))
		}
		back := ask.ProveBySent("email", herMail).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		changed := back.Submit("/security/email/change", "email", "new@mail.example").Want(http.StatusSeeOther).Follow()
		says(t, changed, "u***@m***.example stays in force")
		says(t, changed.Submit("/security/email/confirm", "code", s.SentCode("new@mail.example")).Want(http.StatusSeeOther).Follow(), "security email was changed", "n***@m***.example")
		for _, to := range []string{herMail, "new@mail.example"} {
			if m := s.Messages(to); m[0].Kind != "security_email_changed" {
				t.Errorf("%s was told %s", to, m[0].Kind)
			}
		}

		// A wrong code too often: the change is over, and nothing is changed.
		s.Pass(50 * time.Minute)
		c.Get("/security/email/change").Want(http.StatusSeeOther).ProveBySent("email", "new@mail.example").Want(http.StatusSeeOther)
		worn := c.Get("/security/email/change").Want(http.StatusOK).Submit("/security/email/change", "email", "third@mail.example").Follow()
		for n := range 5 {
			got := worn.Submit("/security/email/confirm", "code", wrongCode(s.SentCode("third@mail.example")))
			if n < 4 && got.StatusCode != http.StatusUnauthorized {
				t.Fatalf("try %d: %d\n%s", n, got.StatusCode, got.Body)
			}
		}
		worn.Submit("/security/email/confirm", "code", s.SentCode("third@mail.example")).Want(http.StatusGone)
		if got := mailbox(s, uma); got != "new@mail.example" {
			t.Errorf("bound is %q", got)
		}

		says(t, c.Get("/security/email/remove").Want(http.StatusOK), "n***@m***.example", "Nothing but your password")
		gone := c.Get("/security/email/remove").Submit("/security/email/remove").Want(http.StatusSeeOther)
		gone = gone.ProveBySent("email", "new@mail.example").Want(http.StatusSeeOther).Follow()
		says(t, gone, "The security email was removed.", "Bind a security email")
		if m := s.Messages("new@mail.example"); m[0].Kind != "security_email_removed" || mailbox(s, uma) != "" {
			t.Errorf("told %s, bound is %q", m[0].Kind, mailbox(s, uma))
		}
	})
}

// wrongCode is another code of the same length.
func wrongCode(code string) string {
	return string('0'+(code[0]-'0'+1)%10) + code[1:]
}

func TestOneAddressServesFiveUsersAndSaysSoOnlyToWhoeverReadsIt(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		shared := "shared@mail.example"
		for n := range account.SecurityEmailUsers {
			putMailbox(s, putStaff(s, owner, "u"+string(rune('a'+n)), account.User), "Shared@mail.example")
		}
		s.Account("other@example.com", testkit.Password) // over all accounts
		other := s.Identity("other@example.com")
		settleOf(s, other, func(n *account.Settings) { n.MFAOperation = account.Independent })
		uma := putStaff(s, other, "uma", account.User)
		c := s.Client()
		enter(c, uma, nil)
		free := c.Get("/security/email/change").Submit("/security/email/change", "email", "free@mail.example").Want(http.StatusSeeOther).Follow()
		s.Pass(2 * time.Minute)
		confirm := c.Get("/security/email/change").Submit("/security/email/change", "email", shared).Want(http.StatusSeeOther).Follow()
		id := regexp.MustCompile(`c=[^"&]*|name="c" value="[^"]*"|name="csrf" value="[^"]*"`)
		plain := func(r testkit.Reply, address string) string {
			return strings.ReplaceAll(id.ReplaceAllString(r.Body, ""), address, "X")
		}
		if plain(free, "free@mail.example") != plain(confirm, shared) {
			t.Error("the page is another for an address that is full")
		}
		full := confirm.Submit("/security/email/confirm", "code", s.SentCode(shared)).Want(http.StatusConflict)
		says(t, full, "The code was right", "5 users", `action="/security/email/change"`)
		if mailbox(s, uma) != "" {
			t.Error("a sixth is bound")
		}
		s.Put(func(tx *store.Tx) error {
			u, err := tx.Users(owner.Account, store.UserQuery{Limit: 1})
			if err != nil {
				return err
			}
			return tx.RemoveSecurityEmail(owner.Account, u[0].ID, "mail-"+string(u[0].ID), store.ErrNoRow)
		})
		s.Pass(2 * time.Minute)
		again := full.Submit("/security/email/change", "email", shared).Want(http.StatusSeeOther).Follow()
		again.Submit("/security/email/confirm", "code", s.SentCode(shared)).Want(http.StatusSeeOther)
		if got := mailbox(s, uma); got != shared {
			t.Errorf("bound is %q", got)
		}
	})
}

func TestTheSecurityEmailStandsInForADeviceOutOfReach(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		app := putDevice(s, uma, "Old phone")
		putMailbox(s, uma, herMail)
		putCodes(s, uma)
		settle(s, func(n *account.Settings) { n.Contact = "Room 4, extension 17" })
		c := s.Client()
		begun := atDoor(c, door(uma.Account), "uma", testkit.Password).Want(http.StatusSeeOther)
		at := begun.Header.Get("Location")
		page := begun.Follow().Want(http.StatusOK)
		says(t, page, "Old phone")
		if len(s.Messages(herMail)) != 0 {
			t.Error("a code was sent that nobody asked for")
		}
		methods := c.Get(strings.Replace(at, "/verify", "/methods", 1)).Want(http.StatusOK)
		says(t, methods, "u***@m***.example", "Basic", `href="/signin/help?c=`)
		help := c.Get(strings.Replace(at, "/verify", "/help", 1)).Want(http.StatusOK)
		says(t, help, "u***@m***.example", "changes no device", "10 recovery codes", "Room 4, extension 17", "24 hours", "Do not tell them to anybody")
		saysNot(t, help, herMail, "Whoever runs this service")
		sent := c.Get(at+"&method=email").Submit("/signin/verify/send", "method", "email").Want(http.StatusSeeOther).Follow()
		if m := s.Messages(herMail)[0]; !strings.Contains(m.Text, "For: "+uma.Name()+"\n") || !strings.Contains(m.HTML, "For: "+uma.Name()) {
			t.Errorf("the mail says not for whom the code is:\n%s", m.Text)
		}
		says(t, sent.Submit("/signin/verify", "code", wrongCode(s.SentCode(herMail))).Want(http.StatusUnauthorized), "u***@m***.example")
		sent.Submit("/signin/verify", "code", s.SentCode(herMail)).Want(http.StatusSeeOther)
		if got := level(t, c); got != policy.LevelEmail {
			t.Errorf("acr %s", got)
		}
		if len(s.Messages(uma.Email)) != 0 && s.Messages(uma.Email)[0].Kind == "code" {
			t.Error("a code went to the email of the profile")
		}

		// It changes neither the device nor itself: what is asked is the device.
		for _, path := range []string{"/security/virtual-mfa/replace", "/security/passkeys/new", "/security/email/change", "/security/password"} {
			r := c.Get(path).Want(http.StatusSeeOther)
			if id, ok := toVerify(r); !ok {
				t.Errorf("%s: %s", path, r.Header.Get("Location"))
			} else {
				saysNot(t, c.Get("/verify/methods?c="+id).Want(http.StatusOK), "Email code")
				says(t, c.Get("/verify/help?c="+id).Want(http.StatusOK), "something stronger is bound", "10 recovery codes", "Room 4, extension 17")
				got := c.Post("/verify/send", url.Values{"csrf": {c.CSRF()}, "c": {id}, "method": {"email"}})
				if got.StatusCode != http.StatusForbidden {
					t.Errorf("%s: a code by mail is sent: %d", path, got.StatusCode)
				}
			}
		}
		says(t, c.Get("/security/email"), "Basic")

		// Not allowed by the account: neither offered nor taken, and the session ends.
		settle(s, func(n *account.Settings) { n.AllowEmail = false })
		says(t, c.Get("/security").Want(http.StatusSeeOther).Follow(), "Sign in")
		d := s.Client()
		at = atDoor(d, door(uma.Account), "uma", testkit.Password).Header.Get("Location")
		saysNot(t, d.Get(strings.Replace(at, "/verify", "/methods", 1)).Want(http.StatusOK), "Email code")
		says(t, d.Get(strings.Replace(at, "/verify", "/help", 1)), "does not count here")
		_, id, _ := strings.Cut(at, "c=")
		if got := d.Post("/signin/verify/send", url.Values{"csrf": {d.CSRF()}, "c": {id}, "method": {"email"}}); got.StatusCode != http.StatusForbidden {
			t.Errorf("a code by mail is sent: %d", got.StatusCode)
		}
		s.Pass(time.Minute)
		d.Get(at+"&method=virtual_mfa").Submit("/signin/verify", "code", app.Code(0)).Want(http.StatusSeeOther)
	})
}

// After the last device was taken off, the wizard asks for the ticket, or for a
// code to the security email: whoever has but the password binds nothing.
func TestTheSecurityEmailDoesInPlaceOfTheTicket(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		putDevice(s, uma, "Old phone")
		putMailbox(s, uma, herMail)
		boss := as(s, s.Identity(alice), factor.Email)
		ask := boss.Get("/console/users/" + string(uma.ID) + "/unbind?method=virtual_mfa&device=device-" + string(uma.ID)).Want(http.StatusOK)
		says(t, ask, "a code to the security email u***@m***.example will do")
		unbound := ask.Submit("/console/users/"+string(uma.ID)+"/unbind", "check", "in_person", "reason", "phone lost")
		if _, ok := toVerify(unbound); ok {
			unbound = unbound.ProveBySent("email", alice)
		}
		unbound.Want(http.StatusSeeOther)

		c := s.Client()
		at := atDoor(c, door(uma.Account), "uma", testkit.Password).Want(http.StatusSeeOther).Header.Get("Location")
		says(t, c.Get(at).Want(http.StatusOK), "ticket")
		_, id, _ := strings.Cut(at, "c=")
		c.Post("/signin/bind", url.Values{"csrf": {c.CSRF()}, "c": {id}, "method": {"virtual_mfa"}})
		if got := c.Get("/signin/bind?c=" + id); got.StatusCode != http.StatusSeeOther {
			t.Errorf("binds by the password: %d", got.StatusCode)
		}
		sent := c.Get(at+"&method=email").Submit("/signin/verify/send", "method", "email").Want(http.StatusSeeOther).Follow()
		wizard := sent.Submit("/signin/verify", "code", s.SentCode(herMail)).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		saysNot(t, wizard, `value="email"`)
		key := wizard.Submit("/signin/bind", "method", "virtual_mfa").Follow()
		app := key.App()
		key.Submit("/signin/bind/device", "code", app.Code(0)).Want(http.StatusSeeOther)
		if got := level(t, c); got != policy.LevelMFA {
			t.Errorf("acr %s", got)
		}
	})
}

func TestTheSecurityEmailIsNotBoundInTheWizardNorWhereAdministratorsManageIt(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		c := s.Client()
		at := atDoor(c, door(uma.Account), "uma", testkit.Password).Want(http.StatusSeeOther)
		says(t, at.Follow().Want(http.StatusOK), "email")
		_, id, _ := strings.Cut(at.Header.Get("Location"), "c=")
		for path, form := range map[string]url.Values{
			"/signin/bind":           {"c": {id}, "method": {"email"}},
			"/signin/verify/send":    {"c": {id}, "method": {"email"}},
			"/security/email/change": {"email": {herMail}},
		} {
			form.Set("csrf", c.CSRF())
			if got := c.Post(path, form); got.StatusCode == http.StatusOK || strings.HasPrefix(got.Header.Get("Location"), "/security/email") {
				t.Errorf("%s: %d to %q", path, got.StatusCode, got.Header.Get("Location"))
			}
		}
		if len(s.Messages(herMail))+len(s.Messages(uma.Email)) != 0 || mailbox(s, uma) != "" {
			t.Error("something was sent or bound")
		}

		settle(s, func(n *account.Settings) { n.ManageMFA = false; n.GraceUntil = s.Now().Add(24 * time.Hour) })
		putMailbox(s, uma, herMail)
		d := s.Client()
		enter(d, uma, nil)
		shows := d.Get("/security/email").Want(http.StatusOK)
		says(t, shows, "Your administrators manage the devices of this account.")
		saysNot(t, shows, `href="/security/email/change"`, `href="/security/email/remove"`)
		d.Get("/security/email/change").Want(http.StatusForbidden) // a device is due: a mailbox is none
		d.Get("/security/email/remove").Want(http.StatusSeeOther)
		for path, form := range map[string]url.Values{"/security/email/change": {"email": {"x@mail.example"}}, "/security/email/remove": {}} {
			form.Set("csrf", d.CSRF())
			d.Post(path, form).Want(http.StatusForbidden)
		}
		if mailbox(s, uma) != herMail {
			t.Error("it was changed")
		}
	})
}

// Whoever reads the profile's mailbox, which administrators write, proves
// nothing; nor does a change of it move the codes.
func TestTheProfilesEmailMovesNoCode(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		putDevice(s, uma, "Old phone")
		putMailbox(s, uma, herMail)
		s.Put(func(tx *store.Tx) error {
			i := uma
			i.Email = "elsewhere@staff.example"
			return tx.UpdateUser(i)
		})
		c := s.Client()
		at := atDoor(c, door(uma.Account), "uma", testkit.Password).Header.Get("Location")
		c.Get(at+"&method=email").Submit("/signin/verify/send", "method", "email").Want(http.StatusSeeOther)
		if len(s.Messages("elsewhere@staff.example"))+len(s.Messages(uma.Email)) != 0 || s.SentCode(herMail) == "" {
			t.Error("the code went to the profile's email")
		}
	})
}

// Whoever can no longer read the mailbox has it taken off: the old address is
// told, and where nothing is left the ticket takes its place.
func TestAnAdministratorTakesASecurityEmailOff(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := staffed(s, "uma")
		putMailbox(s, uma, herMail)
		boss := as(s, s.Identity(alice), factor.Email)
		tab, path := "/console/users/"+string(uma.ID)+"/authentication", "/console/users/"+string(uma.ID)+"/unbind"
		says(t, boss.Get(tab).Want(http.StatusOK), "u***@m***.example", "Active", path+"?method=email&device=mail-"+string(uma.ID))
		saysNot(t, boss.Get(tab), herMail)
		ask := boss.Get(path + "?method=email&device=mail-" + string(uma.ID)).Want(http.StatusOK)
		says(t, ask, "Unbind the security email", "u***@m***.example")
		got := ask.Submit(path, "check", "in_person", "reason", "left the company's mail")
		if _, ok := toVerify(got); ok {
			got = got.ProveBySent("email", alice)
		}
		shown := got.Want(http.StatusSeeOther).Follow()
		says(t, shown, "ticket")
		if mailbox(s, uma) != "" {
			t.Error("it is bound still")
		}
		for _, to := range []string{herMail, uma.Email} {
			if m := s.Messages(to); len(m) == 0 || m[0].Kind != "device_unbound_by_admin" {
				t.Errorf("%s was told %+v", to, m)
			}
		}
		says(t, boss.Get("/console/users/"+string(uma.ID)+"/activity"), "Security email u***@m***.example removed", "left the company")
		c := s.Client()
		says(t, atDoor(c, door(uma.Account), "uma", testkit.Password).Want(http.StatusSeeOther).Follow(), "ticket") // the password alone binds nothing
	})
}
