// Package policy decides what a sign-in or a sensitive operation still needs.
// It is the only place that does: every door asks it.
package policy

import (
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/fault"
)

// A Step is what comes next.
type Step string

// The steps. Their names are the status of the JSON sign-in.
const (
	Complete     Step = "complete"
	Verify       Step = "verify"        // a second step, or identity verification
	ConfirmEmail Step = "confirm_email" // the address was never confirmed
	Refuse       Step = "refuse"        // nothing this identity has is allowed here
)

// Facts are what the store knows about an identity and a sign-in under way.
type Facts struct {
	Role           account.Role
	EmailConfirmed bool
	VirtualMFA     bool
	RecoveryCodes  int            // unused ones
	Proofs         []factor.Proof // given so far
}

// A Decision is the answer: a step, and the methods that take it, best first.
type Decision struct {
	Step    Step
	Methods []factor.Method
}

// ErrMethod says that the method chosen is not one of those that count here.
var ErrMethod = fault.New(fault.Forbidden, "method.not_allowed").On("method")

// Allows reports whether m takes the step.
func (d Decision) Allows(m factor.Method) bool { return slices.Contains(d.Methods, m) }

// MFA reports whether a second factor is asked at every sign-in: the password
// is then never the only one.
func (f Facts) MFA() bool { return f.VirtualMFA }

// verifiers are the methods with which this identity proves itself beyond
// the password. Email counts only while nothing stronger is bound, so that a
// stolen mailbox cannot replace a device.
func (f Facts) verifiers() []factor.Method {
	var methods []factor.Method
	if f.VirtualMFA {
		methods = append(methods, factor.VirtualMFA)
		if f.RecoveryCodes > 0 {
			methods = append(methods, factor.RecoveryCode)
		}
		return methods
	}
	if f.EmailConfirmed {
		methods = append(methods, factor.Email)
	}
	return methods
}

// proved reports whether one of methods was proved at or after since.
func (f Facts) proved(methods []factor.Method, since time.Time) bool {
	return slices.ContainsFunc(f.Proofs, func(p factor.Proof) bool {
		return slices.Contains(methods, p.Method) && !p.At.Before(since)
	})
}

// SignIn decides what a sign-in still needs.
func SignIn(f Facts) Decision {
	if !f.proved([]factor.Method{factor.Password}, time.Time{}) {
		return Decision{Refuse, nil}
	}
	if !f.EmailConfirmed {
		if !f.proved([]factor.Method{factor.Email}, time.Time{}) {
			return Decision{ConfirmEmail, []factor.Method{factor.Email}}
		}
	}
	if !f.MFA() {
		return Decision{Complete, nil}
	}
	methods := f.verifiers()
	if f.proved(methods, time.Time{}) {
		return Decision{Complete, nil}
	}
	return Decision{Verify, methods}
}

// A Scenario is a named kind of action that can demand verification.
type Scenario string

// The scenarios that exist so far. Their names are API.
const (
	ManageMFA      Scenario = "manage-mfa"
	ChangePassword Scenario = "change-password"
	ManageSessions Scenario = "manage-sessions"
)

// An Action is what someone signed in wants to do.
type Action struct {
	Scenario    Scenario
	Name        string // what pages and messages call it: a message key
	Target      string // the object, empty where the identity itself is
	Destructive bool   // takes a proof of its own, used once
}

// Freshness is how long a proof counts.
const Freshness = 10 * time.Minute

// A Given is a verification made in this session, for a scenario and target.
type Given struct {
	ID       string
	Scenario Scenario
	Target   string
	Method   factor.Method
	At       time.Time
}

// Permit decides whether the session may do what a demands now. The sign-in
// counts like a verification, except for destructive actions; those name the
// verification to be used up. Facts.Proofs are the session's.
func Permit(a Action, f Facts, given []Given, now time.Time) (Decision, Given) {
	methods := f.verifiers()
	since := now.Add(-Freshness)
	for _, g := range given {
		same := g.Scenario == a.Scenario && (g.Target == a.Target || !a.Destructive)
		if same && !g.At.Before(since) && slices.Contains(methods, g.Method) {
			return Decision{Complete, methods}, g
		}
	}
	if !a.Destructive && f.proved(methods, since) {
		return Decision{Complete, methods}, Given{}
	}
	if len(methods) == 0 {
		return Decision{Refuse, nil}, Given{}
	}
	return Decision{Verify, methods}, Given{}
}

// Claims say how strong a sign-in was: amr of RFC 8176, acr, and the time of
// the newest proof.
type Claims struct {
	AMR      []string
	ACR      string
	AuthTime time.Time
}

// Levels of authentication, weakest first.
const (
	LevelPassword = "urn:mfa:1"
	LevelEmail    = "urn:mfa:1e"
	LevelMFA      = "urn:mfa:2"
)

// ClaimsOf describes proofs.
func ClaimsOf(proofs []factor.Proof) Claims {
	c := Claims{ACR: LevelPassword}
	has := map[factor.Method]bool{}
	for _, p := range proofs {
		has[p.Method] = true
		if p.At.After(c.AuthTime) {
			c.AuthTime = p.At
		}
	}
	if has[factor.Password] {
		c.AMR = append(c.AMR, "pwd")
	}
	switch {
	case has[factor.VirtualMFA], has[factor.RecoveryCode]:
		c.AMR = append(c.AMR, "otp", "mfa")
		c.ACR = LevelMFA
	case has[factor.Email]:
		c.AMR = append(c.AMR, "mca")
		c.ACR = LevelEmail
	}
	return c
}
