package config_test

import (
	"testing"

	"github.com/jessevdk/go-flags"

	"countersign/internal/config"
)

// parse reads settings as the command does.
func parse(file string) (config.Config, error) {
	var c config.Config
	p := flags.NewNamedParser("countersign", flags.None)
	settings, err := c.Options(p)
	if err != nil {
		return c, err
	}
	if _, err := p.ParseArgs(nil); err != nil {
		return c, err
	}
	err = settings.Complete([]byte(file))
	return c, err
}

func TestASettingsFileIsReadStrictly(t *testing.T) {
	t.Parallel()
	c, err := parse("listen: localhost:9999\nsmtp:\n  address: mail.example.com:587\ntrusted_proxies: [10.0.0.0/8, 192.0.2.1]\nsession_length: 2h\n")
	if err != nil || c.Listen != "localhost:9999" || c.SMTP.Address != "mail.example.com:587" || len(c.TrustedProxies) != 2 || c.SessionLength.Hours() != 2 {
		t.Errorf("got %+v, %v", c, err)
	}
	for _, bad := range []string{"lisen: x", "smtp: {adress: x}", "listen-on: x", "smtp-address: x", "argon2: {memory: lots}", "session_length: forever", "listen: [a", "- a", "help: true", "config: x"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzSettingsFile(f *testing.F) {
	for _, s := range []string{"", "listen: localhost:1", "smtp: {address: 'a:1', from: a@b}", "dev: true", "a: &a [*a]", "1: 2", "? [a]: b", "argon2: {memory: 19456}", "trusted_proxies: [1, {a: b}]", "listen: !!binary AA==", "\xff", "session_idle: 5m\nsession_idle: 6m",
		"sms: {provider: hook, url: 'https://a', secret: s, countries: [cn, JP]}", "sms: {provider: smpp, url: 'a:1', account: a, countries: all, header: 'X: y'}", "sms: {countries: \"\\xff,,\", ceiling: -1}", "sms: {secret_file: /dev/null, provider: twilio}",
		"public_url: https://id.example.com\npasskey: {rp_id: example.com, origins: [https://example.net], attestation: direct, allow: [ee882879-721c-4913-9775-3dfcce97072a]}", "public_url: https://[::1]\npasskey: {rp_id: '::1', origins: 'https://[,,', deny: \"\\xff\"}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parse(s)
		if err == nil {
			_ = c.Check() // says what is wrong, and does not panic
		}
	})
}
