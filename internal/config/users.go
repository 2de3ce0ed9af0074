package config

import (
	"fmt"

	"countersign/internal/domain/account"
)

// Quota bounds what accounts hold.
type Quota struct {
	Users         int `help:"RAM users of an account." default:"5000"`
	MFADevices    int `help:"Virtual MFA devices of an account." name:"mfa-devices" default:"5000"`
	PhoneAccounts int `help:"Accounts that one telephone number serves." name:"phone-accounts" default:"6"`
	Passkeys      int `help:"Passkeys of a user; security keys of the old type (U2F) are counted apart." default:"5"`
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
