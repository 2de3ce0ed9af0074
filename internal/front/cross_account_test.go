package front_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// theirWords stand in alice's account alone.
var theirWords = []string{"uentin", "quay 7", "13800138000", "138 **** 8000", "aude", "quill.example.org", "Device of"}

func saysNothing(t *testing.T, r testkit.Reply, what string) {
	t.Helper()
	for _, word := range theirWords {
		if strings.Contains(r.Body, word) {
			t.Errorf("%s shows %q", what, word)
		}
	}
}

// intruders are the administrators of another account, signed in just now by
// the strongest that they have: nothing but the account is in their way.
func intruders(s *testkit.Site, people cast) map[string]*testkit.Client {
	s.T.Helper()
	s.PutApp(bob)
	list := map[string]*testkit.Client{"owner": as(s, s.Identity(bob), factor.VirtualMFA), "administrator": as(s, people.stranger, factor.VirtualMFA)}
	for _, c := range list {
		c.Get("/security").Want(http.StatusOK)
	}
	return list
}

func TestTheUsersOfAnotherAccountAreNotThere(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	people := newCast(s)
	all := newDump(t, s)
	tried := 0
	for name, c := range intruders(s, people) {
		before := all.read(t)
		csrf := c.CSRF()
		for _, pattern := range s.Routes.Routes() {
			method, path, _ := strings.Cut(pattern, " ")
			if !strings.HasPrefix(path, "/console/") || !strings.Contains(path, "{id}") {
				continue
			}
			for _, of := range []account.Identity{people.target, people.user, people.auditor, people.admin, people.owner} {
				tried++
				at := strings.Replace(path, "{id}", string(of.ID), 1)
				var got testkit.Reply
				if method == "GET" {
					got = c.Get(at + "?method=virtual_mfa&password=generate")
				} else {
					form := url.Values{}
					p := &person{app: &testkit.App{Seed: []byte("12345678901234567890"), Now: s.Now}}
					for n, filled := 0, drives[pattern].fill(p); n < len(filled); n += 2 {
						form.Set(filled[n], filled[n+1])
					}
					form.Set("csrf", csrf)
					form.Set("id", string(people.stranger.ID)) // a field is not the path
					got = c.Post(at, form)
				}
				if got.StatusCode != http.StatusNotFound {
					t.Errorf("%s of the %s: %d to %q", pattern, name, got.StatusCode, got.Header.Get("Location"))
				}
				saysNothing(t, got, pattern+" of the "+name)
			}
		}
		if lines := changed(before, all.read(t)); len(lines) > 0 {
			t.Errorf("the %s changes\n%s", name, strings.Join(lines, "\n"))
		}
	}
	if tried < 150 {
		t.Errorf("only %d tries", tried)
	}
}

func TestIdsOfAnotherAccountInAFormAreNobodys(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	people := newCast(s)
	own := putStaff(s, s.Identity(bob), "olga", account.User)
	putDevice(s, own, "Olga's")
	putPasskey(s, own, "Olga's key")
	key := putPasskey(s, people.target, "quay 7's key")
	as(s, own)
	theirSession := func() string {
		sessions, err := s.DB.Read(t.Context()).Sessions(people.target.Account, people.target.ID)
		if err != nil || len(sessions) != 1 {
			t.Fatal(sessions, err)
		}
		return sessions[0].ID
	}()
	all := newDump(t, s)
	target := string(people.target.ID)
	at := "/console/users/" + string(own.ID)
	for name, c := range intruders(s, people) {
		csrf := c.CSRF()
		before := all.read(t, "ceremony")
		for _, try := range []struct {
			path string
			form url.Values
			want []int
		}{
			{"/console/users/selection", url.Values{"action": {"delete"}, "user": {target, string(people.owner.ID)}}, []int{200}},
			{"/console/users/selection/confirm", url.Values{"action": {"delete"}, "user": {target}}, []int{404}},
			{"/console/users/selection/confirm", url.Values{"action": {"disable"}, "user": {target}}, []int{404}},
			{"/console/users/selection/confirm", url.Values{"action": {"clear"}, "user": {target}}, []int{404}},
			{"/console/users/selection/confirm", url.Values{"action": {"require_mfa"}, "user": {target}}, []int{404}},
			{"/console/users/selection/confirm", url.Values{"action": {"not_require_mfa"}, "user": {target}}, []int{404}},
			{"/console/users/selection/confirm", url.Values{"action": {"end_sessions"}, "user": {target}}, []int{404}},
			{"/console/users/selection/confirm", url.Values{"action": {"disable"}, "user": {string(own.ID), target}}, []int{404}}, // all or nothing
			{"/console/users/selection/confirm", url.Values{"action": {"end_sessions"}, "user": {string(people.owner.ID)}}, []int{404}},
			{at + "/sessions/end", url.Values{"session": {theirSession}}, []int{404}},
			{at + "/unbind", url.Values{"method": {"virtual_mfa"}, "device": {"device-" + target}, "check": {"in_person"}, "reason": {"lost"}}, []int{404, 409}},
			{at + "/unbind", url.Values{"method": {"passkey"}, "device": {key.ID}, "check": {"in_person"}, "reason": {"lost"}}, []int{404, 409}},
			{"/console/names/domain/verify", url.Values{"domain": {"quill.example.org"}}, []int{404, 409, 410, 422}},
			{"/console/names/domain/remove", url.Values{"domain": {"quill.example.org"}}, []int{404, 409, 410, 422}},
			{"/console/names/alias", url.Values{"alias": {string(people.owner.Account)}}, []int{409, 422}},
			{"/security/sessions/end", url.Values{"session": {theirSession}}, []int{404}},
			{"/security/virtual-mfa/unbind", url.Values{"device": {"device-" + target}}, []int{303, 404, 409}},
		} {
			try.form.Set("csrf", csrf)
			got := c.Post(try.path, try.form)
			if !slices.Contains(try.want, got.StatusCode) {
				t.Errorf("%s: %s %v: %d to %q", name, try.path, try.form, got.StatusCode, got.Header.Get("Location"))
			}
			if try.path != "/console/names/domain/verify" && try.path != "/console/names/domain/remove" { // what was typed may come back
				saysNothing(t, got, try.path+" of the "+name)
			}
		}
		if lines := changed(before, all.read(t, "ceremony")); len(lines) > 0 {
			t.Errorf("the %s changes\n%s", name, strings.Join(lines, "\n"))
		}
	}
}

func TestListsFilesAndLogsHoldTheOwnAccountAlone(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	people := newCast(s)
	own := putStaff(s, s.Identity(bob), "quincy", account.User) // is found by the same words
	alices := as(s, people.owner, factor.VirtualMFA)
	says(t, alices.Get("/console/users?q=q").Want(http.StatusOK), "quentin")
	says(t, alices.Get("/console/users/"+string(people.target.ID)+"/activity").Want(http.StatusOK))
	csrf := alices.CSRF()
	says(t, alices.Post("/console/users.csv", url.Values{"csrf": {csrf}, "q": {"q"}}).Want(http.StatusOK), "quentin", "quay 7")
	made := alices.Post("/console/users/new", url.Values{"csrf": {csrf}, "name": {"secretive"}, "role": {"user"}, "sign_in": {"1"}}).Want(http.StatusSeeOther)
	shownAt := made.Header.Get("Location")
	says(t, alices.Get(shownAt).Want(http.StatusOK), "secretive")
	_, shownID, _ := strings.Cut(shownAt, "?c=")
	alices.Get("/console/users/" + string(people.target.ID) + "/disable").Want(http.StatusOK)
	waiting, ok := toVerify(alices.Post("/console/users/"+string(people.target.ID)+"/delete", url.Values{"csrf": {csrf}}))
	if !ok {
		t.Fatal("a user is deleted without a verification")
	}

	all := newDump(t, s)
	for name, c := range intruders(s, people) {
		csrf := c.CSRF()
		for _, query := range []string{"", "?q=q", "?q=quen", "?q=staff", "?q=" + string(people.target.ID), "?q=" + string(people.owner.Account), "?mfa=any", "?activity=never", "?role=auditor", "?sort=-created&size=100", "?q=%25", "?q=_"} {
			form, err := url.ParseQuery(strings.TrimPrefix(query, "?"))
			if err != nil {
				t.Fatal(err)
			}
			form.Set("csrf", csrf)
			for what, got := range map[string]testkit.Reply{"list": c.Get("/console/users" + query), "file": c.Post("/console/users.csv", form)} {
				saysNothing(t, got.Want(http.StatusOK), "the "+what+query+" of the "+name)
				if strings.Contains(got.Body, "secretive") {
					t.Errorf("the %s%s of the %s shows a user just made", what, query, name)
				}
			}
		}
		if names := namesOn(c.Get("/console/users?q=q")); !slices.Equal(names, []string{own.UserName}) {
			t.Errorf("the %s finds %q", name, names)
		}
		before := all.read(t)
		for _, path := range []string{"/console/names", "/console/settings", "/console/users/" + string(own.ID) + "/activity", "/console/users/" + string(own.ID) + "/activity?before=999999", "/console/users/" + string(own.ID) + "/sessions", "/security/history", "/security/sessions"} {
			saysNothing(t, c.Get(path).Want(http.StatusOK), path+" of the "+name)
		}
		for _, path := range []string{shownAt, "/verify?c=" + url.QueryEscape(waiting), "/verify/methods?c=" + url.QueryEscape(waiting)} {
			got := c.Get(path).Want(http.StatusGone)
			saysNothing(t, got, path+" of the "+name)
			if strings.Contains(got.Body, "secretive") {
				t.Errorf("%s of the %s shows what was shown once", path, name)
			}
		}
		c.Post("/console/shown/done", url.Values{"csrf": {c.CSRF()}, "c": {shownID}, "saved": {"1"}}).Want(http.StatusGone)
		if lines := changed(before, all.read(t)); len(lines) > 0 {
			t.Errorf("the %s changes\n%s", name, strings.Join(lines, "\n"))
		}
	}
	says(t, alices.Get(shownAt).Want(http.StatusOK), "secretive") // still there
	auditors := as(s, people.auditor, factor.VirtualMFA)
	auditors.Get(shownAt).Want(http.StatusForbidden)
	again := as(s, people.admin, factor.VirtualMFA) // nor is it another administrator's of the account
	again.Get(shownAt).Want(http.StatusGone)
}

// A door takes names of its own account, and what it says of others is what it
// says of nobody.
func TestADoorSignsNobodyInToAnotherAccount(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	people := newCast(s)
	twin := putStaff(s, s.Identity(bob), people.target.UserName, account.User) // of the same name
	c := s.Client()
	enter(c, twin, nil)
	says(t, c.Get("/signin/bind").Want(http.StatusOK), string(twin.Account)) // the wizard, of the twin
	for _, name := range []string{people.target.UserName + "@" + string(people.owner.Account), people.target.UserName + "@" + string(people.owner.Account) + "." + testkit.Suffix} {
		r := s.Client().Get(door(twin.Account)).Submit(door(twin.Account), "username", name, "password", testkit.Password).Want(http.StatusSeeOther)
		if !strings.HasPrefix(r.Header.Get("Location"), "/signin/verify") { // the full name says whose it is
			t.Errorf("%s leads to %s", name, r.Header.Get("Location"))
		}
	}
	if a, err := s.DB.Read(t.Context()).Sessions(people.target.Account, people.target.ID); err != nil || len(a) != 1 {
		t.Errorf("sessions of the other: %v, %v", a, err)
	}
}
