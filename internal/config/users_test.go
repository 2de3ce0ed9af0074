package config_test

import (
	"strings"
	"testing"

	"countersign/internal/config"
	"countersign/internal/domain/account"
)

func TestTheSuffixIsADomainName(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"":                        config.DefaultSuffix,
		"ram.localhost":           "ram.localhost",
		"RAM.Example.COM.":        "ram.example.com",
		" id.example.com ":        "id.example.com",
		"xn--fsqu00a.example":     "xn--fsqu00a.example",
		"localhost":               "?",
		"ram_.example.com":        "?",
		".example.com":            "?",
		"ram..example.com":        "?",
		"-ram.example.com":        "?",
		"ram.example.com:8080":    "?",
		"@ram.example.com":        "?",
		strings.Repeat("a.b", 22): "?",
	} {
		c, err := parse("")
		if err != nil {
			t.Fatal(err)
		}
		c.RAMSuffix = typed
		if err := c.Check(); want == "?" {
			if err == nil || !strings.Contains(err.Error(), "ram_suffix: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %v", typed, err)
			}
		} else if err != nil || c.RAMSuffix != want {
			t.Errorf("%q became %q, %v", typed, c.RAMSuffix, err)
		}
	}
}

func TestQuotasAreTheDocumentedOnesUnlessSet(t *testing.T) {
	t.Parallel()
	c, err := parse("")
	if err != nil || c.Check() != nil || c.Quotas() != account.DefaultQuotas {
		t.Errorf("without a setting: %+v, %v", c.Quotas(), err)
	}
	var made config.Config // not by the command line
	_ = made.Check()
	if made.Quotas() != account.DefaultQuotas || made.RAMSuffix != config.DefaultSuffix {
		t.Errorf("without the command line: %+v, %q", made.Quotas(), made.RAMSuffix)
	}
	if c, err = parse("ram_suffix: ram.example.com\nquota: {users: 1, mfa_devices: 2, phone_accounts: 3, passkeys: 4}"); err != nil || c.Check() != nil ||
		c.Quotas() != (account.Quotas{Users: 1, MFADevices: 2, PhoneAccounts: 3, Passkeys: 4}) || c.RAMSuffix != "ram.example.com" {
		t.Errorf("by a file: %+v, %q, %v", c.Quotas(), c.RAMSuffix, err)
	}
	for _, key := range []string{"users", "mfa_devices", "phone_accounts", "passkeys"} {
		for _, n := range []string{"0", "-1"} {
			c, err := parse("quota: {" + key + ": " + n + "}")
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Check(); err == nil || err.Error() != "quota_"+key+": must be at least 1" {
				t.Errorf("%s %s: %v", key, n, err)
			}
		}
	}
}
