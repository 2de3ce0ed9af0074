// Package session describes being signed in, and the browsers that are known.
package session

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/fault"
)

// A Session is one browser or program signed in as one identity.
type Session struct {
	ID         string // public: names the session in lists
	Account    account.ID
	Identity   account.IdentityID
	Epoch      int64 // of the identity when the session was made
	Proofs     []factor.Proof
	CreatedAt  time.Time
	LastSeenAt time.Time // to the minute
	ExpiresAt  time.Time
	Address    string
	UserAgent  string

	Stale      bool   // what its account asks of users has changed since it was checked
	Unusual    string // what was unusual about its sign-in; empty: nothing
	Remembered string // id of the remembered device that stood in for the second step; empty: none did
}

// Lifetimes bound a session (NIST SP 800-63B-4 §2.2.3).
type Lifetimes struct {
	Idle    time.Duration
	Overall time.Duration
}

// Default lifetimes.
var Default = Lifetimes{Idle: time.Hour, Overall: 6 * time.Hour}

// SeenEvery is how often "last seen" is written.
const SeenEvery = time.Minute

// Faults about sessions.
var (
	ErrSignedOut    = fault.New(fault.SignedOut, "session.signed_out")
	ErrRulesChanged = fault.New(fault.SignedOut, "session.rules_changed") // what it rests on is no longer enough
	ErrNotFound     = fault.New(fault.NotFound, "session.not_found")
)

// Live reports whether the session is good at now.
func (s Session) Live(now time.Time, l Lifetimes) bool {
	return now.Before(s.ExpiresAt) && now.Before(s.LastSeenAt.Add(l.Idle+SeenEvery))
}

// A KnownDevice is a browser that completed a multi-factor sign-in of an
// identity. It grants nothing: its tries are counted apart.
type KnownDevice struct {
	ID         string
	Identity   account.IdentityID
	Account    account.ID
	Fails      int // straight ones
	CreatedAt  time.Time
	LastUsedAt time.Time
}

// NetworkLifetime is how long a network counts as usual without a sign-in from
// there.
const NetworkLifetime = 30 * 24 * time.Hour

// KnownDeviceLifetime is how long a browser stays known without a sign-in.
const KnownDeviceLifetime = 180 * 24 * time.Hour
