package session

import (
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/fault"
	"countersign/internal/secret"
)

// A RememberedDevice is a browser in which an identity need not take the
// second step for a while. It spares that and nothing else.
type RememberedDevice struct {
	ID         string // public: names it in lists
	Account    account.ID
	Identity   account.IdentityID
	Epoch      int64  // of the identity when it was remembered
	Session    string // in which it was made or used last: signing out of that one ends it
	CreatedAt  time.Time
	ExpiresAt  time.Time // never moved
	LastUsedAt time.Time
	Address    string // where it was last
	UserAgent  string
}

// RememberedLifetime is how long a device is remembered, from the proof on.
const RememberedLifetime = 7 * 24 * time.Hour

// ErrNotRemembered says that the device to be forgotten is not remembered.
var ErrNotRemembered = fault.New(fault.NotFound, "device.not_remembered")

// Live reports whether the device is still remembered at now, of an identity
// at the epoch given.
func (d RememberedDevice) Live(epoch int64, now time.Time) bool {
	return d.Epoch == epoch && now.Before(d.ExpiresAt)
}

// A RememberToken is what a remembered device shows: the series says which one
// it is and stays, the secret is another after every use. The zero one is none.
type RememberToken struct{ Series, Secret secret.Token }

// ParseRememberToken takes one as it comes from a cookie or a program. What is
// none is as good as nothing.
func ParseRememberToken(s string) RememberToken {
	series, rest, _ := strings.Cut(s, ".")
	var t RememberToken
	var err error
	if t.Series, err = secret.ParseToken(series); err != nil {
		return RememberToken{}
	}
	if t.Secret, err = secret.ParseToken(rest); err != nil {
		return RememberToken{}
	}
	return t
}

// Reveal returns the token itself, for the one who is to hold it.
func (t RememberToken) Reveal() string { return t.Series.Reveal() + "." + t.Secret.Reveal() }

// IsZero reports whether there is no token.
func (t RememberToken) IsZero() bool { return t.Series.IsZero() || t.Secret.IsZero() }
