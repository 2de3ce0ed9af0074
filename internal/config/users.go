package config

import (
	"fmt"

	"countersign/internal/domain/account"
)

// Quota bounds what accounts hold.
type Quota struct {
	Users         int `long:"users" default:"5000" description:"RAM users of an account."`
	MFADevices    int `long:"mfa-devices" default:"5000" description:"Virtual MFA devices of an account."`
	PhoneAccounts int `long:"phone-accounts" default:"6" description:"Accounts that one telephone number serves."`
	Passkeys      int `long:"passkeys" default:"5" description:"Passkeys of a user; security keys of the old type (U2F) are counted apart."`
}

// DefaultSuffix is the suffix of a server whose operator sets none.
const DefaultSuffix = "ram.localhost"

// checkUsers completes settings that were made without the command line.
func (c *Config) checkUsers() (wrong []error) {
	if c.RAMSuffix == "" {
		c.RAMSuffix = DefaultSuffix
	}
	suffix, err := account.ParseDomain(c.RAMSuffix, "")
	if err != nil {
		wrong = append(wrong, fmt.Errorf("ram_suffix: %q is not a domain name like ram.example.com, of at most %d characters", c.RAMSuffix, account.DomainMax))
	} else {
		c.RAMSuffix = suffix
	}
	if c.Quota == (Quota{}) {
		c.Quota = Quota(account.DefaultQuotas)
	}
	for _, q := range []struct {
		key string
		n   int
	}{{"users", c.Quota.Users}, {"mfa_devices", c.Quota.MFADevices}, {"phone_accounts", c.Quota.PhoneAccounts}, {"passkeys", c.Quota.Passkeys}} {
		if q.n < 1 {
			wrong = append(wrong, fmt.Errorf("quota_%s: must be at least 1", q.key))
		}
	}
	return wrong
}

// Quotas are those of accounts.
func (c *Config) Quotas() account.Quotas { return account.Quotas(c.Quota) }
