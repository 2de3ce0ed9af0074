package front_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// saysNotMe opens the link of the newest notice of a kind and confirms it.
func saysNotMe(t *testing.T, s *testkit.Site, to string, kind message.Kind) {
	t.Helper()
	path := mailedLink(t, s, to, string(kind), "/notme/")
	s.Client().Get(path).Want(http.StatusOK).Submit(path).Want(http.StatusSeeOther)
}

// sessionsOf counts those of an identity.
func sessionsOf(t *testing.T, s *testkit.Site, i account.Identity) int {
	t.Helper()
	list, err := s.DB.Read(t.Context()).Sessions(i.Account, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Somebody else has the password of a user who has nothing beside it: the link
// in the mail ends that, and from then on an administrator alone helps.
func TestAUserWithOnlyAPasswordSaysThisWasntMeAndAsksAnAdministrator(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma := putStaff(s, independent(s), "uma", account.User)
		c, intruder := s.Client(), s.Client()
		enter(c, uma, nil)
		s.Pass(time.Minute)
		enter(intruder, uma, nil)
		path := mailedLink(t, s, uma.Email, string(message.NewDeviceSignIn), "/notme/")

		browser := s.Client()
		before := standing(t, s, uma.Account)
		for range 3 {
			says(t, browser.Get(path).Want(http.StatusOK), "Was this you?", "u***@", "127.0.0.1")
			browser.Send(browser.Request("HEAD", path, ""))
		}
		browser.Post(path, nil).Want(http.StatusForbidden) // without the token of the form
		if after := standing(t, s, uma.Account); after != before {
			t.Errorf("a look changed\n%s\nto\n%s", before, after)
		}
		if i, err := s.DB.Read(t.Context()).Identity(uma.ID); err != nil || !i.DistrustedAt.IsZero() {
			t.Errorf("a look was taken for the click: %v", err)
		}
		for _, one := range []*testkit.Client{c, intruder} {
			one.Get("/security").Want(http.StatusOK)
		}

		form := browser.Get(path)
		says(t, form.Submit(path).Want(http.StatusSeeOther).Follow().Want(http.StatusOK), "You are signed out everywhere")
		form.Submit(path).Want(http.StatusGone)
		browser.Get(path).Want(http.StatusGone)
		for _, one := range []*testkit.Client{c, intruder, browser} {
			one.Get("/security").Want(http.StatusSeeOther)
		}

		// Waiting does not help, nor the browser that was known, nor a link to a
		// new password: there is no mailbox that an administrator did not write.
		for _, wait := range []time.Duration{time.Minute, 24 * time.Hour} {
			s.Pass(wait)
			for _, one := range []*testkit.Client{c, intruder, browser} {
				refused := atDoor(one, door(uma.Account), "uma", testkit.Password).Want(http.StatusForbidden)
				says(t, refused, "reported as not yours", "ask an administrator of your account")
				problem(t, "the right password", post(one, "/api/v1/signin", members("username", uma.Name(), "password", testkit.Password)), http.StatusForbidden, policy.ErrDistrusted.Code, "")
			}
		}
		saysNot(t, atDoor(intruder, door(uma.Account), "uma", "not her password at all").Want(http.StatusUnauthorized), "reported as not yours")
		forgets(t, s, uma.Name())
		for _, m := range s.Messages(uma.Email) {
			if m.Kind == "reset_link" {
				t.Error("a link to a new password goes to the email of the profile")
			}
		}
		if n := sessionsOf(t, s, uma); n != 0 {
			t.Errorf("%d sessions", n)
		}

		boss := as(s, s.Identity(alice), factor.Email)
		wantNames(t, boss.Get("/console/users?activity=distrusted"), "uma")
		at := "/console/users/" + string(uma.ID) + "/signin"
		set := boss.Get(at).Want(http.StatusOK).Submit(at, "way", "custom", "new_password", fresh)
		if _, ok := toVerify(set); ok {
			set = set.ProveBySent("email", alice).Want(http.StatusOK).Submit(at, "way", "custom", "new_password", fresh)
		}
		set.Want(http.StatusSeeOther)
		wantNames(t, boss.Get("/console/users?activity=distrusted"))
		atDoor(intruder, door(uma.Account), "uma", testkit.Password).Want(http.StatusUnauthorized)
		in := atDoor(c, door(uma.Account), "uma", fresh).Want(http.StatusSeeOther)
		if !strings.HasPrefix(in.Header.Get("Location"), "/security/check?") {
			t.Errorf("it lands on %s", in.Header.Get("Location"))
		}
		in.Follow().Want(http.StatusOK)
	})
}

// A passkey alone says who somebody is, also after "This wasn't me"; but the
// password that somebody else knows is exchanged before there is a session.
func TestAPasskeyAloneAfterThisWasntMeLeadsToANewPassword(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		s.Account(alice, testkit.Password)
		owner := s.Identity(alice)
		for _, i := range []account.Identity{owner, putStaff(s, owner, "uma", account.User)} {
			k := softPhone(s)
			bindPasskey(s, i, k)
			putCodes(s, i) // whoever has none is given some first
			answer := func(o json.RawMessage) []byte { return k.Get(o) }
			before := s.Client()
			submitPasskey(before, answer).Want(http.StatusSeeOther)
			before.Get("/security").Want(http.StatusOK)
			s.Put(func(tx *store.Tx) error {
				return s.SignIn.Notify(tx, testkit.Visitor("192.0.2.7"), i, message.PasskeyAdded)
			})
			saysNotMe(t, s, i.Email, message.PasskeyAdded)
			before.Get("/security").Want(http.StatusSeeOther)

			var forms []testkit.Reply
			browsers := []*testkit.Client{s.Client(), s.Client()}
			for _, c := range browsers {
				r := submitPasskey(c, answer, "return_to", "/security/history").Want(http.StatusSeeOther)
				if !strings.HasPrefix(r.Header.Get("Location"), "/signin/password?") {
					t.Fatalf("%s lands on %s", i.Name(), r.Header.Get("Location"))
				}
				form := r.Follow().Want(http.StatusOK)
				says(t, form, "Somebody else may know your password")
				forms = append(forms, form)
				c.Get("/security").Want(http.StatusSeeOther)
				c.Get("/api/v1/session").Want(http.StatusUnauthorized)
			}
			token, options := asked(browsers[1])
			o := object(t, answers(browsers[1], token, k.Get(options)).Want(http.StatusOK))
			if text(o["status"]) != string(policy.NewPassword) || o["session"] != nil {
				t.Errorf("a program: %v", o)
			}
			forms[0].Submit("/signin/password", "new_password", testkit.Password).Want(http.StatusUnprocessableEntity)
			if n := sessionsOf(t, s, i); n != 0 {
				t.Errorf("%s has %d sessions before the new password", i.Name(), n)
			}

			r := forms[0].Submit("/signin/password", "new_password", fresh).Want(http.StatusSeeOther)
			if !strings.HasPrefix(r.Header.Get("Location"), "/security/check?") {
				t.Errorf("%s lands on %s", i.Name(), r.Header.Get("Location"))
			}
			says(t, r.Follow().Want(http.StatusOK), "These are all mine")
			if n := sessionsOf(t, s, i); n != 1 {
				t.Errorf("%s has %d sessions", i.Name(), n)
			}
			if got := forms[1].Submit("/signin/password", "new_password", "another teapot in orbit"); got.StatusCode == http.StatusSeeOther && strings.HasPrefix(got.Header.Get("Location"), "/security") {
				t.Error("the other sign-in sets a second one")
			}
			again := s.Client()
			if to := submitPasskey(again, answer).Want(http.StatusSeeOther).Header.Get("Location"); strings.HasPrefix(to, "/signin") {
				t.Errorf("afterwards %s lands on %s", i.Name(), to)
			}
			again.Get("/security").Want(http.StatusOK)
		}
	})
}
