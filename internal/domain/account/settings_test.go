package account_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
)

var now = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

func TestTheSettingsOfANewAccountAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	s := account.DefaultSettings()
	if err := s.Check(account.Settings{}, now); err != nil {
		t.Fatal(err)
	}
	want := account.Settings{
		MFAOperation: "mandatory", AllowEmail: true, AllowSMS: true, Remember: false, PasskeySignIn: true, ManageMFA: true, ChangePassword: true, ManageKeys: false,
		SessionHours: 6, IdleUsers: 365, IdleKeys: 730, Password: account.PasswordPolicy{MinimumLength: 8, InitialAge: 14},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v", s)
	}
	if s.SessionLength() != 6*time.Hour || s.Grace(now) || !s.Inside(netip.Addr{}) {
		t.Error("a session of another length, a grace or a mask")
	}
}

func TestSettingsHaveTheirRanges(t *testing.T) {
	t.Parallel()
	changed := func(change func(s *account.Settings)) account.Settings {
		s := account.DefaultSettings()
		change(&s)
		return s
	}
	masks := func(n int) []netip.Prefix {
		list, _ := account.ParseMasks(addresses(min(n, account.MasksMax)))
		for len(list) < n {
			list = append(list, netip.MustParsePrefix("198.51.100.0/24"))
		}
		return list
	}
	models := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("%08x-0000-4000-8000-000000000000", i))
		}
		return list
	}
	grace := func(until time.Time) account.Settings {
		return changed(func(s *account.Settings) { s.GraceUntil = until })
	}
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		settings, before account.Settings
		want             error
	}{
		"mandatory":             {changed(func(s *account.Settings) { s.MFAOperation = "mandatory" }), account.Settings{}, nil},
		"independent":           {changed(func(s *account.Settings) { s.MFAOperation = "independent" }), account.Settings{}, nil},
		"adaptive":              {changed(func(s *account.Settings) { s.MFAOperation = "adaptive" }), account.Settings{}, nil},
		"no operation":          {changed(func(s *account.Settings) { s.MFAOperation = "" }), account.Settings{}, account.ErrOperation},
		"another operation":     {changed(func(s *account.Settings) { s.MFAOperation = "Mandatory" }), account.Settings{}, account.ErrOperation},
		"no hours":              {changed(func(s *account.Settings) { s.SessionHours = 0 }), account.Settings{}, account.ErrSessionHours},
		"one hour":              {changed(func(s *account.Settings) { s.SessionHours = 1 }), account.Settings{}, nil},
		"a day":                 {changed(func(s *account.Settings) { s.SessionHours = 24 }), account.Settings{}, nil},
		"more than a day":       {changed(func(s *account.Settings) { s.SessionHours = 25 }), account.Settings{}, account.ErrSessionHours},
		"hours below nothing":   {changed(func(s *account.Settings) { s.SessionHours = -1 }), account.Settings{}, account.ErrSessionHours},
		"40 masks":              {changed(func(s *account.Settings) { s.Masks = masks(40) }), account.Settings{}, nil},
		"41 masks":              {changed(func(s *account.Settings) { s.Masks = masks(41) }), account.Settings{}, account.ErrMasksMany},
		"a grace that is over":  {grace(now), account.Settings{}, account.ErrGrace},
		"a grace of an instant": {grace(now.Add(1)), account.Settings{}, nil},
		"a grace of 90 days":    {grace(now.Add(90 * day)), account.Settings{}, nil},
		"a longer grace":        {grace(now.Add(90*day + 1)), account.Settings{}, account.ErrGrace},
		"a grace long over that was there before": {grace(now.Add(-day)), grace(now.Add(-day).In(time.FixedZone("", 3600))), nil},
		"a grace long over in place of another":   {grace(now.Add(-day)), grace(now.Add(-2 * day)), account.ErrGrace},
		"a grace taken away":                      {grace(time.Time{}), grace(now.Add(day)), nil},
		"two kinds":                               {changed(func(s *account.Settings) { s.TwoKinds = true }), account.Settings{}, nil},
		"two kinds, and no text messages":         {changed(func(s *account.Settings) { s.TwoKinds, s.AllowSMS = true, false }), account.Settings{}, nil}, // virtual MFA and passkeys are two
		"two kinds, and nothing but those":        {changed(func(s *account.Settings) { s.TwoKinds, s.AllowSMS, s.AllowEmail = true, false, false }), account.Settings{}, nil},
		"one model of passkeys":                   {changed(func(s *account.Settings) { s.PasskeyModels = models(1) }), account.Settings{}, nil},
		"50 models":                               {changed(func(s *account.Settings) { s.PasskeyModels = models(50) }), account.Settings{}, nil},
		"51 models":                               {changed(func(s *account.Settings) { s.PasskeyModels = models(51) }), account.Settings{}, account.ErrModels},
		"51 models that were there before":        {changed(func(s *account.Settings) { s.PasskeyModels = models(51) }), changed(func(s *account.Settings) { s.PasskeyModels = models(51) }), account.ErrModels},
		"no synced passkeys for administrators":   {changed(func(s *account.Settings) { s.NoSyncedAdministrators = true }), account.Settings{}, nil},
		"two kinds, and no mail":                  {changed(func(s *account.Settings) { s.TwoKinds, s.AllowEmail = true, false }), account.Settings{}, nil},
		"no text messages":                        {changed(func(s *account.Settings) { s.AllowSMS = false }), account.Settings{}, nil},
		"a password policy out of its range":      {changed(func(s *account.Settings) { s.Password.Reuse = 25 }), account.Settings{}, account.ErrRange},
		"nothing at all":                          {account.Settings{}, account.Settings{}, account.ErrOperation},
	} {
		if err := c.settings.Check(c.before, now); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for days := range 800 {
		want := days == 90 || days == 180 || days == 365 || days == 730
		users, keys := changed(func(s *account.Settings) { s.IdleUsers = days }), changed(func(s *account.Settings) { s.IdleKeys = days })
		if err := users.Check(account.Settings{}, now); (err == nil) != want || !want && err.Error() != account.ErrIdleUsers.Error() {
			t.Errorf("users idle for %d days: %v", days, err)
		}
		if err := keys.Check(account.Settings{}, now); (err == nil) != want || !want && err.Error() != account.ErrIdleKeys.Error() {
			t.Errorf("keys idle for %d days: %v", days, err)
		}
	}
	if s := grace(now); s.Grace(now) || !s.Grace(now.Add(-1)) {
		t.Error("the grace ends at another instant")
	}
}

// Stored and described as JSON, settings come back as they were.
func TestSettingsSurviveTheirJSON(t *testing.T) {
	t.Parallel()
	s := account.DefaultSettings()
	s.Masks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/48")}
	s.GraceUntil, s.TwoKinds, s.Password.Different = now, true, 4
	s.NoSyncedAdministrators, s.PasskeyModels = true, []string{"cb69481e-8ff7-4039-93ec-0a2729a154a8"}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"MFAOperationForLogin":"mandatory"`, `"EnableSaveMFATicket":false`, `"AllowUserToLoginWithPasskey":true`, `"AllowUserToManageMFADevices":true`, `"AllowUserToChangePassword":true`,
		`"AllowUserToManageAccessKeys":false`, `"LoginSessionDuration":6`, `"LoginNetworkMasks":["192.0.2.0/24","2001:db8::/48"]`, `"MaxIdleDaysForUsers":365`, `"MaxIdleDaysForAccessKeys":730`,
		`"MinimumPasswordLength":8`, `"MinimumPasswordDifferentCharacter":4`, `"MaxLoginAttemps":0`, `"InitialPasswordAge":14`, `"HardExpire":false`, `"PasswordReusePrevention":0`,
		`"DeviceBoundPasskeysForAdministrators":true`, `"PasskeyAAGUIDs":["cb69481e-8ff7-4039-93ec-0a2729a154a8"]`} {
		if !strings.Contains(string(text), name) {
			t.Errorf("no %s in %s", name, text)
		}
	}
	var back account.Settings
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(s, back) {
		t.Errorf("%+v (%v)", back, err)
	}
	old := account.DefaultSettings() // from before there were passkeys
	if err := json.Unmarshal([]byte(`{"MFAOperationForLogin":"adaptive"}`), &old); err != nil || old.NoSyncedAdministrators || len(old.PasskeyModels) > 0 || !old.PasskeySignIn {
		t.Errorf("%+v (%v)", old, err)
	}
}

// addresses are n of them that no mask holds together.
func addresses(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("203.0.113.%d", i))
	}
	return strings.Join(list, "\n")
}

func TestMasksAsPeopleTypeThem(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                   "[]",
		" \r\n\t,;":                          "[]",
		"192.0.2.7":                          "[192.0.2.7/32]",
		"192.0.2.7/24":                       "[192.0.2.0/24]",
		"0.0.0.0/0":                          "[0.0.0.0/0]",
		"::/0":                               "[::/0]",
		"2001:db8::7":                        "[2001:db8::7/128]",
		"2001:DB8:0:0::7/48":                 "[2001:db8::/48]",
		"::ffff:192.0.2.7":                   "[192.0.2.7/32]",
		"::ffff:192.0.2.7/120":               "[192.0.2.0/24]",
		"::ffff:0:0/96":                      "[0.0.0.0/0]",
		"::ffff:c000:207/128":                "[192.0.2.7/32]",
		"10.0.0.0/8;172.16.0.0/12":           "[10.0.0.0/8 172.16.0.0/12]",
		"10.0.0.0/8, 172.16.0.0/12\r\n::1 ;": "[10.0.0.0/8 172.16.0.0/12 ::1/128]",
		"10.1.1.1/8 10.2.2.2/8 10.0.0.0/8":   "[10.0.0.0/8]",
		"192.0.2.7 ::ffff:192.0.2.7":         "[192.0.2.7/32]",

		"::ffff:0:0/95":        "mask_form",
		"::ffff:192.0.2.7/24":  "mask_form",
		"fe80::1%eth0":         "mask_form",
		"fe80::1%eth0/64":      "mask_form",
		"192.0.2.7/33":         "mask_form",
		"192.0.2.7/-1":         "mask_form",
		"192.0.2.7/08":         "mask_form",
		"192.0.2.7/":           "mask_form",
		"/24":                  "mask_form",
		"192.0.2":              "mask_form",
		"192.0.2.256":          "mask_form",
		"192.0.2.07":           "mask_form",
		"0xc0.0.2.7":           "mask_form",
		"3221225991":           "mask_form",
		"2001:db8::/129":       "mask_form",
		"2001:db8:::":          "mask_form",
		"[2001:db8::7]":        "mask_form",
		"192.0.2.7:443":        "mask_form",
		"192.0.2.0-192.0.2.9":  "mask_form",
		"orchard.example":      "mask_form",
		"*":                    "mask_form",
		"192.0.2.7\x00":        "mask_form",
		"192.0.2.7\u00a0::1":   "mask_form",
		"192.0.2.7 nonsense/8": "mask_form",

		addresses(41):                           "masks_many",
		addresses(40) + " 192.0.2.0/24 garbage": "masks_many",
		addresses(1 << 16):                      "masks_many", // at the forty-first
	} {
		masks, err := account.ParseMasks(in)
		got := fmt.Sprint(masks)
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "settings.")
		}
		if got != want || err != nil && masks != nil {
			t.Errorf("%.60q: %s, want %s", in, got, want)
		}
	}
	forty, err := account.ParseMasks(addresses(40) + " " + addresses(40)) // each counts once
	if err != nil || len(forty) != 40 {
		t.Errorf("%d masks, %v", len(forty), err)
	}
}

func TestWhoIsInsideTheMasks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ masks, inside, outside string }{
		{"", "192.0.2.7 2001:db8::7 ::ffff:192.0.2.7 fe80::1%eth0", ""},
		{"192.0.2.0/24", "192.0.2.0 192.0.2.255 ::ffff:192.0.2.7", "192.0.3.0 192.0.1.255 2001:db8::7 ::192.0.2.7 64:ff9b::192.0.2.7"},
		{"192.0.2.7", "192.0.2.7 ::ffff:192.0.2.7", "192.0.2.6 192.0.2.8"},
		{"::ffff:192.0.2.0/120", "192.0.2.7 ::ffff:192.0.2.7", "192.0.3.7"},
		{"0.0.0.0/0", "192.0.2.7 ::ffff:192.0.2.7", "2001:db8::7 ::1"},
		{"::/0", "2001:db8::7 fe80::1%eth0", "192.0.2.7 ::ffff:192.0.2.7"},
		{"fe80::/10", "fe80::1 fe80::1%eth0 febf::1%2", "fec0::1"},
		{"2001:db8:0:1::/64", "2001:db8:0:1::7", "2001:db8:0:2::7"},
		{"10.0.0.0/8 2001:db8::/32", "10.9.9.9 2001:db8::7", "11.0.0.1 2001:db9::7"},
	} {
		masks, err := account.ParseMasks(c.masks)
		if err != nil {
			t.Fatal(err)
		}
		s := account.Settings{Masks: masks}
		for _, a := range strings.Fields(c.inside) {
			if !s.Inside(netip.MustParseAddr(a)) {
				t.Errorf("%q: %s is outside", c.masks, a)
			}
		}
		for _, a := range strings.Fields(c.outside) {
			if s.Inside(netip.MustParseAddr(a)) {
				t.Errorf("%q: %s is inside", c.masks, a)
			}
		}
		if s.Inside(netip.Addr{}) != (c.masks == "") {
			t.Errorf("%q: no address is inside: %v", c.masks, c.masks != "")
		}
	}
}

func FuzzParseMasks(f *testing.F) {
	for _, s := range []string{"192.0.2.7/24;::ffff:192.0.2.7/120,2001:db8::/32", "fe80::1%eth0", "::ffff:0:0/95", "0.0.0.0/0 ::/0", addresses(41), "/ ; %"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		masks, err := account.ParseMasks(s)
		if err != nil {
			if masks != nil {
				t.Fatalf("refused, and %v", masks)
			}
			return
		}
		if len(masks) > account.MasksMax {
			t.Fatalf("%d masks", len(masks))
		}
		var words []string
		for n, m := range masks {
			if !m.IsValid() || m != m.Masked() || m.Addr().Is4In6() || m.Addr().Zone() != "" || slices.Contains(masks[:n], m) {
				t.Fatalf("%s in %v", m, masks)
			}
			if !(account.Settings{Masks: masks}).Inside(m.Addr()) {
				t.Fatalf("%s is not inside itself", m)
			}
			words = append(words, m.String())
		}
		again, err := account.ParseMasks(strings.Join(words, ";"))
		if err != nil || !slices.Equal(again, masks) {
			t.Fatalf("%v, and again %v (%v)", masks, again, err)
		}
	})
}

func TestTheContactIsOneLineThatPeopleSee(t *testing.T) {
	t.Parallel()
	for contact, ok := range map[string]bool{
		"": true, "Room 4, extension 17": true, "研发楼 4 层": true, strings.Repeat("é", account.ContactMax): true,
		strings.Repeat("é", account.ContactMax+1): false, " Room 4": false, "Room\n4": false, "Room\x00": false, "a\u202eb": false, "\xff": false,
	} {
		s := account.DefaultSettings()
		s.Contact = contact
		if err := s.Check(account.DefaultSettings(), now); (err == nil) != ok || !ok && !errors.Is(err, account.ErrContact) {
			t.Errorf("%.30q: %v", contact, err)
		}
	}
}
