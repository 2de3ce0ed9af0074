package account

// Quotas bound what accounts hold. The defaults are the documented ones.
type Quotas struct {
	Users         int // RAM users of an account
	MFADevices    int // virtual MFA devices of an account
	PhoneAccounts int // accounts that one telephone number serves
	Passkeys      int // of a user
}

// DefaultQuotas are those of a server whose operator sets none.
var DefaultQuotas = Quotas{Users: 5000, MFADevices: 5000, PhoneAccounts: 6, Passkeys: 5}

// SecurityEmailUsers is how many RAM users one security email serves, over all
// accounts.
const SecurityEmailUsers = 5
