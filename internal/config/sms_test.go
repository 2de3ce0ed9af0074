package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/config"
)

const hidden = "value-that-must-not-be-told"

// checked reads and checks settings.
func checked(t *testing.T, file string) (config.Config, string) {
	t.Helper()
	c, err := parse("data: " + t.TempDir() + "\n" + file)
	if err != nil {
		return c, err.Error()
	}
	if err := c.Check(); err != nil {
		return c, err.Error()
	}
	return c, ""
}

func TestEveryProviderSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	whole := map[string]map[string]string{
		"smpp":   {"account": "system", "url": "smsc.example.com:2775", "secret": hidden, "countries": "CN"},
		"hook":   {"url": "https://gateway.example.com/" + hidden, "secret": hidden, "countries": "CN"},
		"twilio": {"account": "AC1", "secret": hidden, "from": "+15005550006", "countries": "CN"},
		"aliyun": {"account": "LTAI", "secret": hidden, "countries": "CN", "template": "SMS_1", "sign_name": "Example"},
	}
	needs := map[string][]string{
		"smpp":   {"account", "url", "countries"},
		"hook":   {"url", "secret", "countries"},
		"twilio": {"account", "secret", "from", "countries"},
		"aliyun": {"account", "secret", "sign_name", "countries"},
	}
	for provider, settings := range whole {
		file := func(without string) string {
			var b strings.Builder
			b.WriteString("sms:\n  provider: " + provider + "\n")
			for key, value := range settings {
				if key != without {
					b.WriteString("  " + key + ": '" + value + "'\n")
				}
			}
			return b.String()
		}
		if _, wrong := checked(t, file("")); wrong != "" {
			t.Errorf("%s, complete: %s", provider, wrong)
		}
		for key := range settings {
			_, wrong := checked(t, file(key))
			needed := false
			for _, n := range needs[provider] {
				needed = needed || n == key
			}
			if needed != strings.Contains(wrong, "sms_"+key+": ") || needed != (wrong != "") || strings.Contains(wrong, "\n") {
				t.Errorf("%s without %s: %q", provider, key, wrong)
			}
			if strings.Contains(wrong, hidden) {
				t.Errorf("%s without %s: a secret is told: %s", provider, key, wrong)
			}
		}
	}
	if _, wrong := checked(t, "sms: {provider: aliyun, account: a, secret: s, countries: CN}"); wrong != "" {
		t.Errorf("a signature is needed though no template is: %s", wrong)
	}
	for file, want := range map[string]string{
		"sms: {provider: pigeon}":                                                        "must be one of",
		"sms: {provider: smpp, url: smsc, account: a, countries: CN}":                    "sms_url: \"smsc\" is not host:port",
		"sms: {alphabet: morse}":                                                         "must be one of",
		"sms: {provider: aliyun, account: a, secret: s, countries: CN, template: SMS_1}": "sms_sign_name: is needed",
		"sms: {ceiling: 0}":                                                              "sms_ceiling: must be at least 1",
		"sms: {country_ceiling: 0}":                                                      "sms_country_ceiling too",
		"sms: {ceiling: -5}":                                                             "sms_ceiling: must be at least 1",
		"sms: {ceiling: many}":                                                           "ceiling",
		"sms: {senders: 3}":                                                              "unknown key sms_senders",
	} {
		if _, wrong := checked(t, file); !strings.Contains(wrong, want) {
			t.Errorf("%s: %q, want %q", file, wrong, want)
		}
	}
}

func TestCountriesAreThoseThereAre(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"":                               "everywhere",
		"sms: {countries: all}":          "everywhere",
		"sms: {countries: [ALL]}":        "everywhere",
		"sms: {countries: [CN, all]}":    "everywhere",
		"sms: {countries: [cn, ' jp ']}": "CN JP",
		"sms: {countries: 'CN,JP,DE'}":   "CN JP DE",
		"sms: {countries: [CN, CN]}":     "CN",
		"sms: {countries: [XX]}":         `sms_countries: "XX" is no country`,
		"sms: {countries: [China]}":      `sms_countries: "CHINA" is no country`,
		"sms: {countries: ['86']}":       `sms_countries: "86" is no country`,
		"sms: {countries: [CN, UK, QQ]}": `"UK" is no country`,
		"sms: {countries: ['CN;JP']}":    `"CN;JP" is no country`,
	} {
		c, wrong := checked(t, file)
		if strings.Contains(want, "is no country") {
			if !strings.Contains(wrong, want) {
				t.Errorf("%s: %q", file, wrong)
			}
			continue
		}
		list, err := c.TextCountries()
		if wrong != "" || err != nil || (want == "everywhere") != (list == nil) {
			t.Errorf("%s: %v, %q, %v", file, list, wrong, err)
		}
		if want != "everywhere" {
			names := strings.Fields(want)
			if len(list) != len(names) {
				t.Errorf("%s: %v", file, list)
			}
			for _, n := range names {
				if !list[n] {
					t.Errorf("%s: %s is not in %v", file, n, list)
				}
			}
		}
	}
	if _, wrong := checked(t, "sms: {countries: [XX, QQ]}"); !strings.Contains(wrong, `"XX"`) || !strings.Contains(wrong, `"QQ"`) {
		t.Errorf("not all that is wrong is said: %s", wrong)
	}
}

func TestTheSecretOfASenderComesFromAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(hidden+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := "sms: {provider: twilio, account: AC1, from: '+15005550006', countries: CN, secret_file: " + file
	c, wrong := checked(t, settings+"}")
	if wrong != "" || c.SMS.Secret != hidden {
		t.Errorf("read as %q, %s", c.SMS.Secret, wrong)
	}
	if c, wrong = checked(t, settings+", secret: other}"); c.SMS.Secret != hidden || wrong != "" {
		t.Errorf("the file does not win: %q, %s", c.SMS.Secret, wrong)
	}
	if _, wrong = checked(t, strings.Replace(settings, file, file+".lost", 1)+"}"); !strings.Contains(wrong, "sms_secret_file: ") || !strings.Contains(wrong, "no such file") {
		t.Errorf("a file that is not there: %q", wrong)
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, wrong = checked(t, settings+"}"); !strings.Contains(wrong, "sms_secret: is needed with sms_provider twilio") {
		t.Errorf("an empty file: %q", wrong)
	}
}

func TestNoSecretIsToldByWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		"sms: {provider: hook, url: 'https://gateway.example.com', secret: s, countries: CN, header: 'X-Api-Key " + hidden + "'}",
		"sms: {provider: hook, url: 'https://gateway.example.com', secret: s, countries: CN, header: ': " + hidden + "'}",
		"sms: {provider: hook, url: 'https://gateway.example.com/" + hidden + "', countries: CN}",
		"sms: {provider: hook, secret: " + hidden + ", countries: CN}",
		"sms: {provider: twilio, secret: " + hidden + ", key: " + hidden + "}",
		"sms: {provider: smpp, secret: " + hidden + "}",
		"sms: {provider: aliyun, secret: " + hidden + ", ceiling: 0}",
	} {
		if _, wrong := checked(t, file); wrong == "" || strings.Contains(wrong, hidden) {
			t.Errorf("%s: %q", file, wrong)
		}
	}
}
