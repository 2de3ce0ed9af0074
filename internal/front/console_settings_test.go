package front_test

import (
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// standard are the default settings as the form holds them.
func standard() map[string]string {
	return map[string]string{
		"mfa_operation": "mandatory", "allow_sms": "1", "allow_email": "1", "two_kinds": "", "remember": "", "passkey_signin": "1", "no_synced": "", "passkey_models": "", "grace_until": "",
		"contact": "", "manage_mfa": "1", "change_password": "1", "manage_keys": "", "session_hours": "6", "masks": "", "idle_users": "365", "idle_keys": "730",
		"minimum_length": "8", "require_lower": "", "require_upper": "", "require_numbers": "", "require_symbols": "", "no_user_name": "", "different": "0",
		"max_age": "0", "hard_expire": "", "reuse": "0", "login_attempts": "0", "initial_age": "14", "intercept_risk": "",
	}
}

// filled is the standard with names and values in turn, as Submit takes them;
// boxes that are not ticked are not sent.
func filled(changes ...string) (fill []string) {
	values := standard()
	for i := 0; i+1 < len(changes); i += 2 {
		values[changes[i]] = changes[i+1]
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if v := values[name]; v != "" || name == "masks" || name == "passkey_models" || name == "grace_until" {
			fill = append(fill, name, v)
		}
	}
	return fill
}

// preview posts settings for a preview.
func preview(c *testkit.Client, changes ...string) testkit.Reply {
	c.T.Helper()
	return c.Get("/console/settings").Want(http.StatusOK).Submit("/console/settings/preview", filled(changes...)...)
}

func settingsOf(s *testkit.Site) account.Settings {
	s.T.Helper()
	got, err := s.DB.Read(s.T.Context()).Settings(s.Identity(alice).Account)
	if err != nil {
		s.T.Fatal(err)
	}
	return got
}

// saved previews settings, saves them and verifies.
func saved(c *testkit.Client, changes ...string) testkit.Reply {
	c.T.Helper()
	return preview(c, changes...).Want(http.StatusOK).Submit("/console/settings/save").Want(http.StatusSeeOther).ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
}

var (
	control  = regexp.MustCompile(`(?s)<input [^>]*>|<select [^>]*>.*?</select>|<textarea [^>]*>.*?</textarea>`)
	nameOf   = regexp.MustCompile(` name="([^"]*)"`)
	valueOf  = regexp.MustCompile(` value="([^"]*)"`)
	selected = regexp.MustCompile(`<option value="([^"]*)" selected>`)
	textOf   = regexp.MustCompile(`(?s)<textarea [^>]*>\n?(.*)</textarea>`)
)

// shown are the values of the form of the page that posts to action.
func shown(t *testing.T, r testkit.Reply, action string) map[string]string {
	t.Helper()
	_, form, ok := strings.Cut(r.Body, `action="`+action+`"`)
	if !ok {
		t.Fatalf("no form posts to %s:\n%s", action, r.Body)
	}
	form, _, _ = strings.Cut(form, "</form>")
	values := map[string]string{}
	for _, c := range control.FindAllString(form, -1) {
		name, v := nameOf.FindStringSubmatch(c)[1], ""
		switch {
		case name == "csrf":
			continue
		case strings.HasPrefix(c, "<select"):
			if m := selected.FindStringSubmatch(c); m != nil {
				v = m[1]
			}
		case strings.HasPrefix(c, "<textarea"):
			v = textOf.FindStringSubmatch(c)[1]
		case strings.Contains(c, `type="radio"`) && !strings.Contains(c, " checked"):
			continue
		case strings.Contains(c, `type="checkbox"`) && !strings.Contains(c, " checked"):
		default:
			v = valueOf.FindStringSubmatch(c)[1]
		}
		values[name] = html.UnescapeString(v)
	}
	return values
}

func TestEveryFieldOfTheSettingsRoundTrips(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		c := signedIn(s)
		form := c.Get("/console/settings").Want(http.StatusOK)
		if got := shown(t, form, "/console/settings/preview"); !maps.Equal(got, standard()) {
			t.Errorf("a new account shows %v", got)
		}
		says(t, form, "You come from 127.0.0.1.", "Text messages can be intercepted.", "Basic", "MaxLoginAttemps", "8 to 32. Default: 8 characters.", "Default: 365 days.")
		day := s.Now().UTC().AddDate(0, 0, 30)
		other := []string{
			"mfa_operation", "independent", "allow_sms", "1", "allow_email", "", "two_kinds", "1", "remember", "1", "passkey_signin", "", "no_synced", "1", "passkey_models", "FBFC3007-154E-4ECC-8C0B-6E020557D7BD;\r\ncb69481e-8ff7-4039-93ec-0a2729a154a8", "grace_until", day.Format("2006-01-02"),
			"contact", "  Room 4, extension 17 ", "manage_mfa", "", "change_password", "", "manage_keys", "1", "session_hours", "２４", "masks", "198.51.100.77/24, 2001:db8::1;\r\n::ffff:203.0.113.9 127.0.0.1", "idle_users", "90", "idle_keys", "180",
			"minimum_length", "32", "require_lower", "1", "require_upper", "1", "require_numbers", "1", "require_symbols", "1", "no_user_name", "1", "different", "8",
			"max_age", "1095", "hard_expire", "1", "reuse", "24", "login_attempts", "32", "initial_age", "90", "intercept_risk", "1",
		}
		end := time.Date(day.Year(), day.Month(), day.Day(), 23, 59, 59, 0, time.UTC)
		want := account.Settings{MFAOperation: account.Independent, AllowSMS: true, TwoKinds: true, Remember: true, ManageKeys: true, NoSyncedAdministrators: true, SessionHours: 24, IdleUsers: 90, IdleKeys: 180, GraceUntil: end, Contact: "Room 4, extension 17",
			PasskeyModels: []string{"fbfc3007-154e-4ecc-8c0b-6e020557d7bd", "cb69481e-8ff7-4039-93ec-0a2729a154a8"},
			Masks:         []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("203.0.113.9/32"), netip.MustParsePrefix("127.0.0.1/32")},
			Password:      account.PasswordPolicy{MinimumLength: 32, RequireLower: true, RequireUpper: true, RequireNumbers: true, RequireSymbols: true, Different: 8, NoUserName: true, MaxAge: 1095, HardExpire: true, Reuse: 24, LoginAttempts: 32, InitialAge: 90, InterceptRisk: true}}

		page := preview(c, other...).Want(http.StatusOK)
		says(t, page, "29 changes", "Apple Passwords (fbfc3007-154e-4ecc-8c0b-6e020557d7bd)", "stay on one device", "6 hours", "24 hours", "anywhere", "198.51.100.0/24, 2001:db8::1, 203.0.113.9, 127.0.0.1", "23:59 UTC", "As each user's sign-in settings say", "Users may: Change their own password", "for ever", "1095 days")
		again := page.Submit("/console/settings").Want(http.StatusOK)
		entered := shown(t, again, "/console/settings/preview")
		verify := page.Submit("/console/settings/save").Want(http.StatusSeeOther)
		if got := settingsOf(s); !reflect.DeepEqual(got, account.DefaultSettings()) {
			t.Errorf("saved before the verification: %+v", got)
		}
		done := verify.ProveBySent("email", alice).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
		says(t, done, "The settings are saved.")
		got := settingsOf(s)
		if !got.GraceUntil.Equal(want.GraceUntil) {
			t.Errorf("grace until %s, want %s", got.GraceUntil, want.GraceUntil)
		}
		got.GraceUntil = want.GraceUntil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("saved %+v\nwant  %+v", got, want)
		}
		kept := shown(t, done, "/console/settings/preview")
		entered["passkey_models"] = strings.ReplaceAll(entered["passkey_models"], " ", "\n")
		entered["masks"] = strings.ReplaceAll(entered["masks"], " ", "\n")
		if !maps.Equal(kept, entered) {
			t.Errorf("shown afterwards %v\nentered %v", kept, entered)
		}

		// What is in force is no change, and a date that has passed no fault.
		s.Pass(60 * 24 * time.Hour)
		c = s.Client()
		c.SignIn(alice, nil)
		same := c.Get("/console/settings").Want(http.StatusOK)
		var fill []string
		for name, v := range shown(t, same, "/console/settings/preview") {
			if v != "" {
				fill = append(fill, name, v)
			}
		}
		nothing := same.Submit("/console/settings/preview", fill...).Want(http.StatusOK)
		says(t, nothing, "There is nothing to save.")
		saysNot(t, nothing, `action="/console/settings/save"`)
	})
}

func TestEveryRangeOfTheSettingsIsRefusedBesideItsField(t *testing.T) {
	t.Parallel()
	s := testkit.NewSite(t, storetest.SQLite, nil)
	c := signedIn(s)
	form := c.Get("/console/settings").Want(http.StatusOK)
	late, past := s.Now().UTC().AddDate(0, 0, 92).Format("2006-01-02"), s.Now().UTC().AddDate(0, 0, -1).Format("2006-01-02")
	for _, one := range []struct{ field, typed, says string }{
		{"mfa_operation", "sometimes", "Choose who is asked"},
		{"session_hours", "0", "from 1 to 24"}, {"session_hours", "25", "from 1 to 24"}, {"session_hours", "", "from 1 to 24"}, {"session_hours", "6.5", "from 1 to 24"}, {"session_hours", "-6", "from 1 to 24"},
		{"masks", "192.0.2.7/33", "192.0.2.7/33"}, {"masks", "everywhere", "everywhere"}, {"masks", "<b>", "<b>"}, {"masks", "fe80::1%eth0", "fe80::1%eth0"}, {"masks", many(41), "at most 40"},
		{"passkey_models", "YubiKey", "“YubiKey” is not the AAGUID"}, {"passkey_models", "<b>", "<b>"}, {"passkey_models", "00000000-0000-0000-0000-000000000000", "is not the AAGUID"}, {"passkey_models", models(51), "At most 50 models"},
		{"idle_users", "91", "numbers of days"}, {"idle_users", "", "numbers of days"}, {"idle_keys", "x", "numbers of days"},
		{"grace_until", late, "at most 90 days"}, {"grace_until", past, "at most 90 days"}, {"grace_until", "tomorrow", "like 2030-01-31"},
		{"minimum_length", "7", "from 8 to 32"}, {"minimum_length", "33", "from 8 to 32"}, {"different", "9", "from 0 to 8"}, {"different", "-1", "from 0 to 8"},
		{"max_age", "1096", "from 0 to 1095"}, {"reuse", "25", "from 0 to 24"}, {"login_attempts", "33", "from 0 to 32"}, {"initial_age", "91", "from 0 to 90"}, {"initial_age", strings.Repeat("9", 30), "from 0 to 90"},
	} {
		got := form.Submit("/console/settings/preview", filled(one.field, one.typed)...).Want(http.StatusUnprocessableEntity)
		says(t, got, one.says, "<title>Error", `<a href="#`+one.field+`">`, `id="`+one.field+`-error"`, `aria-invalid="true"`)
		if n := strings.Count(got.Body, `class="field-error"`); n != 1 {
			t.Errorf("%s %q: %d errors\n%s", one.field, one.typed, n, got.Body)
		}
		if kept := shown(t, got, "/console/settings/preview"); one.field != "mfa_operation" && one.field != "idle_users" && one.field != "idle_keys" && kept[one.field] != one.typed {
			t.Errorf("%s: %q became %q", one.field, one.typed, kept[one.field])
		}
		form.Submit("/console/settings/preview", filled(one.field, one.typed)...).Want(http.StatusUnprocessableEntity)
		c.Post("/console/settings/save", postOf(t, form, filled(one.field, one.typed)...)).Want(http.StatusUnprocessableEntity)
	}

	all := form.Submit("/console/settings/preview", filled("session_hours", "0", "masks", "nowhere", "minimum_length", "1", "reuse", "99", "passkey_models", "Keychain", "two_kinds", "1", "allow_sms", "", "remember", "1")...).Want(http.StatusUnprocessableEntity)
	says(t, all, `href="#session_hours"`, `href="#masks"`, `href="#minimum_length"`, `href="#reuse"`, `href="#passkey_models"`)
	if kept := shown(t, all, "/console/settings/preview"); kept["remember"] != "1" || kept["session_hours"] != "0" || kept["two_kinds"] != "1" || kept["allow_sms"] != "" {
		t.Errorf("what was entered is lost: %v", kept)
	}
	if got := settingsOf(s); !reflect.DeepEqual(got, account.DefaultSettings()) {
		t.Errorf("something was saved: %+v", got)
	}
}

// many are n networks.
func many(n int) string {
	var list []string
	for i := range n {
		list = append(list, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String())
	}
	return strings.Join(list, "\n")
}

// models are the AAGUIDs of n models.
func models(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("cb69481e-8ff7-4039-93ec-0a2729a154%02x", i))
	}
	return strings.Join(list, "\n")
}

// postOf is a form of the page's token and of names and values in turn.
func postOf(t *testing.T, r testkit.Reply, fill ...string) url.Values {
	t.Helper()
	m := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(r.Body)
	form := url.Values{"csrf": {m[1]}}
	for i := 0; i+1 < len(fill); i += 2 {
		form.Add(fill[i], fill[i+1])
	}
	return form
}
