// Package policy decides what a sign-in or a sensitive operation still needs.
// It is the only place that does: every door asks it.
package policy

import (
	"net/netip"
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
	Bind         Step = "bind"          // a device comes first
	NewPassword  Step = "new_password"  // a password of one's own
	Refuse       Step = "refuse"        // nothing this identity has is allowed here
)

// Facts are what the store knows about an identity and a sign-in under way.
type Facts struct {
	Role           account.Role
	EmailConfirmed bool // codes can be sent to the sign-in email
	Phone          bool // one is attached
	VirtualMFA     bool
	SecurityEmail  bool // a RAM user's own mailbox is bound
	Passkeys, U2F  int  // how many are bound
	RecoveryCodes  int  // unused ones
	Protection     Protection
	Proofs         []factor.Proof // given so far

	Distrusted bool // "This wasn't me": the password alone says nothing; see distrust.go
	Recovering bool // the operator's recovery is open: its ticket leads to a new device

	// Of RAM users.
	Settings          account.Settings
	Profile           account.Profile
	PasswordChangedAt time.Time
	Reenrol           bool // a device was taken off by an administrator: binding takes the ticket

	Circumstances
}

// Circumstances are those of one sign-in.
type Circumstances struct {
	Now        time.Time
	Address    netip.Addr
	Unusual    bool // an unknown browser, or a network not seen for 30 days
	Remembered bool // the browser is not asked again within 7 days
}

// A Decision is the answer: a step, and the methods that take it, best first.
type Decision struct {
	Step    Step
	Methods []factor.Method

	Reason *fault.Fault // of a refusal; nil: nothing that is bound is allowed
	Grace  bool         // complete without the device that is due: the session ends with the grace
}

// ErrMethod says that the method chosen is not one of those that count here.
var ErrMethod = fault.New(fault.Forbidden, "method.not_allowed").On("method")

// Allows reports whether m takes the step.
func (d Decision) Allows(m factor.Method) bool { return slices.Contains(d.Methods, m) }

// MFA reports whether a second factor is asked at every sign-in: the password
// is then never the only one.
func (f Facts) MFA() bool {
	if f.Role != account.Owner {
		return f.userMFA()
	}
	return f.signInFloor() > 0
}

// SecondFactor reports whether something beyond password and mailbox is bound
// that counts as an authenticator: recovery codes stand in for it.
func (f Facts) SecondFactor() bool { return f.strong() || f.Phone }

// strong reports whether a device is bound that nobody can divert a code of.
func (f Facts) strong() bool { return f.VirtualMFA || f.Passkeys > 0 || f.U2F > 0 }

// bound are the methods with which this identity can prove itself beyond the
// password, strongest first; recovery codes, which are few, come last.
func (f Facts) bound() (methods []factor.Method) {
	methods = f.devices()
	if f.mailbox() {
		methods = append(methods, factor.Email)
	}
	if f.RecoveryCodes > 0 && f.SecondFactor() {
		methods = append(methods, factor.RecoveryCode)
	}
	if f.Role != account.Owner {
		return f.userMethods(methods)
	}
	return methods
}

// mailbox reports whether codes by mail say who this is: an owner's go to the
// sign-in email, a RAM user's to the security email alone.
func (f Facts) mailbox() bool {
	if f.Role != account.Owner {
		return f.SecurityEmail
	}
	return f.EmailConfirmed
}

// devices are the methods of what is bound, strongest first.
func (f Facts) devices() (methods []factor.Method) {
	for _, m := range []factor.Method{factor.Passkey, factor.U2F, factor.VirtualMFA, factor.SMS} {
		if f.has(m) {
			methods = append(methods, m)
		}
	}
	return methods
}

// atLeast are the bound methods of a strength. A recovery code stands in only
// for what is asked beyond the mailbox.
func (f Facts) atLeast(floor int) (methods []factor.Method) {
	for _, m := range f.bound() {
		if m.Strength() >= floor && (m != factor.RecoveryCode || floor > factor.Email.Strength()) {
			methods = append(methods, m)
		}
	}
	return methods
}

// signInFloor is the strength that every sign-in takes beyond the password;
// 0: none.
func (f Facts) signInFloor() int {
	switch {
	case f.Protection.Covers(SignInScenario):
		return f.Protection.Method.Strength()
	case f.strong():
		return factor.VirtualMFA.Strength()
	}
	return 0
}

// identityFloor is the strength that identity verification takes: that of the
// strongest authenticator bound, or of the method that protects the account. A
// virtual MFA device stands beside a passkey, which may be what was lost. A
// mailbox counts only while it is all there is, so that a stolen one can
// neither replace a device nor bind a stronger one beside it.
func (f Facts) identityFloor() int {
	if f.Role != account.Owner {
		return f.userFloor()
	}
	floor := max(factor.Email.Strength(), f.Protection.Method.Strength())
	switch {
	case f.strong():
		return max(floor, factor.VirtualMFA.Strength())
	case f.Phone:
		return max(floor, factor.SMS.Strength())
	}
	return floor
}

// proved reports whether one of methods was proved at or after since.
func (f Facts) proved(methods []factor.Method, since time.Time) bool {
	return slices.ContainsFunc(f.Proofs, func(p factor.Proof) bool {
		return slices.Contains(methods, p.Method) && !p.At.Before(since)
	})
}

// SignIn decides what a sign-in still needs.
func SignIn(f Facts) Decision { return f.secured(f.signIn()) }

func (f Facts) signIn() Decision {
	if !f.proved([]factor.Method{factor.Password}, time.Time{}) && !f.Alone() {
		return Decision{Step: Refuse}
	}
	if f.Role != account.Owner {
		return f.signInUser()
	}
	if !f.EmailConfirmed {
		if !f.proved([]factor.Method{factor.Email}, time.Time{}) {
			return Decision{Step: ConfirmEmail, Methods: []factor.Method{factor.Email}}
		}
	}
	if f.Recovered() {
		return Decision{Step: Bind, Methods: []factor.Method{factor.Passkey, factor.VirtualMFA}}
	}
	floor := f.signInFloor()
	if f.Recovering && f.SecondFactor() { // the way to the ticket, or the proof that it is not needed
		floor = max(floor, f.identityFloor())
	}
	if floor == 0 {
		return Decision{Step: Complete}
	}
	methods := f.atLeast(floor)
	if f.proved(methods, time.Time{}) {
		return Decision{Step: Complete}
	}
	if f.Recovering {
		methods = append(methods, factor.Ticket)
	}
	if len(methods) == 0 {
		return Decision{Step: Refuse}
	}
	return Decision{Step: Verify, Methods: methods}
}

// Alone reports whether a passkey alone says who this is: the key verified its
// user, and no password was asked (WebAuthn §13.4.6 calls that two factors).
func (f Facts) Alone() bool {
	return f.Passkeys > 0 && !f.proved([]factor.Method{factor.Password}, time.Time{}) &&
		slices.ContainsFunc(f.Proofs, func(p factor.Proof) bool { return p.Method == factor.Passkey && p.Verified })
}

// Recovered reports whether the ticket of the operator's recovery was shown:
// what is bound now is lost, and a new device comes first.
func (f Facts) Recovered() bool {
	return f.Recovering && f.proved([]factor.Method{factor.Ticket}, time.Time{})
}

// A Scenario is a named kind of action that can demand verification.
type Scenario string

// The scenarios that exist so far. Their names are API.
const (
	SignInScenario Scenario = "sign-in"
	ChangePassword Scenario = "change-password"
	ChangeContact  Scenario = "change-contact"
	ManageMFA      Scenario = "manage-mfa"
	ManageSessions Scenario = "manage-sessions"
	ManageUsers    Scenario = "manage-users"
	ChangePolicy   Scenario = "change-policy"
)

// Scenarios are those that Account Protection offers, in the order of its page.
var Scenarios = []Scenario{SignInScenario, ChangePassword, ChangeContact, ManageMFA, ManageUsers, ChangePolicy}

// always are the scenarios that take an identity verification whatever is
// chosen.
var always = []Scenario{ChangePassword, ChangeContact, ManageMFA, ManageSessions, ManageUsers, ChangePolicy}

// ProtectionMethods are the methods that Account Protection offers, strongest
// first.
var ProtectionMethods = []factor.Method{factor.Passkey, factor.VirtualMFA, factor.SMS}

// Protection is what an owner chose in Account Protection: the scenarios that
// take a verification by Method or a stronger one. The zero value is off.
type Protection struct {
	Scenarios []Scenario
	Method    factor.Method
	Since     time.Time // when it was turned on
	ChangedAt time.Time
}

// Faults about what is chosen.
var (
	ErrNoScenario = fault.New(fault.Invalid, "protection.no_scenario").On("scenario")
	ErrNoMethod   = fault.New(fault.Invalid, "protection.no_method").On("method")
)

// NewProtection is a choice that can be made, in the order of the page.
func NewProtection(scenarios []Scenario, m factor.Method) (Protection, error) {
	p := Protection{Method: m}
	for _, s := range Scenarios {
		if slices.Contains(scenarios, s) {
			p.Scenarios = append(p.Scenarios, s)
		}
	}
	for _, s := range scenarios {
		if !slices.Contains(Scenarios, s) {
			return Protection{}, ErrNoScenario
		}
	}
	if len(p.Scenarios) == 0 {
		return Protection{}, ErrNoScenario
	}
	if !slices.Contains(ProtectionMethods, m) {
		return Protection{}, ErrNoMethod
	}
	return p, nil
}

// On reports whether protection is turned on.
func (p Protection) On() bool { return p.Method != "" }

// Covers reports whether s takes the chosen method.
func (p Protection) Covers(s Scenario) bool { return slices.Contains(p.Scenarios, s) }

// An Action is what someone signed in wants to do.
type Action struct {
	Scenario    Scenario
	Name        string        // what pages and messages call it: a message key
	Target      string        // id of the object, empty where the identity itself is
	Object      string        // what people call the object
	Chosen      factor.Method // or the method that is the object, which has a name in every language
	Destructive bool          // takes a proof of its own, used once
	Binds       bool          // adds a device
	Adds        bool          // adds what is no device, but can stand in for one
	Owners      bool          // is the primary account's own: no RAM user has it
}

// About is the action with the name of its object.
func (a Action) About(object string) Action {
	a.Object = object
	return a
}

// Called is what the object is called in the language of say.
func (a Action) Called(say func(key string, args ...any) string) string {
	if a.Chosen != "" {
		return say("method." + string(a.Chosen))
	}
	return a.Object
}

// Freshness is how long a proof counts.
const Freshness = 10 * time.Minute

// A Given is a verification made in this session, for a scenario and target.
type Given struct {
	ID       string
	Scenario Scenario
	Action   string // its name
	Target   string
	Method   factor.Method
	At       time.Time
}

// Permit decides whether the session may do what a demands now. The sign-in
// counts like a verification, except for destructive actions, which name the
// verification to be used up, and except for one by recovery code. Facts.Proofs
// are the session's.
func Permit(a Action, f Facts, given []Given, now time.Time) (Decision, Given) {
	floor := 0
	f.Reenrol = f.Reenrol && (a.Binds || a.Adds) // the ticket is for binding, and for nothing else
	if reason := f.managed(a); reason != nil {
		return Decision{Step: Refuse, Reason: reason}, Given{}
	}
	if slices.Contains(always, a.Scenario) {
		floor = max(floor, f.identityFloor())
	}
	if f.Protection.Covers(a.Scenario) {
		floor = max(floor, f.Protection.Method.Strength())
	}
	if floor == 0 {
		return Decision{Step: Complete}, Given{}
	}
	methods := f.atLeast(floor)
	if slices.Contains(methods, a.Chosen) { // whoever chooses a method shows that they have it
		methods = without(f.atLeast(max(floor, a.Chosen.Strength())), factor.RecoveryCode)
	}
	since := now.Add(-Freshness)
	for _, g := range given {
		same := g.Scenario == a.Scenario && (!a.Destructive || g.Action == a.Name && g.Target == a.Target)
		if same && !g.At.Before(since) && slices.Contains(methods, g.Method) {
			return Decision{Step: Complete, Methods: methods}, g
		}
	}
	if !a.Destructive && f.proved(without(methods, factor.RecoveryCode), since) {
		return Decision{Step: Complete, Methods: methods}, Given{}
	}
	if len(methods) == 0 {
		return Decision{Step: Refuse}, Given{}
	}
	return Decision{Step: Verify, Methods: methods}, Given{}
}

func without(methods []factor.Method, m factor.Method) []factor.Method {
	return slices.DeleteFunc(slices.Clone(methods), func(one factor.Method) bool { return one == m })
}

// Claims say how strong a sign-in was: amr of RFC 8176, acr, and the time of
// the newest proof.
type Claims struct {
	AMR      []string
	ACR      string
	AuthTime time.Time
}

// Strong reports whether more was proved than a password and a mailbox: what
// whoever has lost a device may still have, and whoever took a mailbox too.
func (c Claims) Strong() bool { return c.ACR != LevelPassword && c.ACR != LevelEmail }

// Levels of authentication, weakest first.
const (
	LevelPassword   = "urn:mfa:1"
	LevelEmail      = "urn:mfa:1e"
	LevelRestricted = "urn:mfa:2r" // text messages (NIST SP 800-63B-4 §3.2.9)
	LevelMFA        = "urn:mfa:2"
	LevelPhishing   = "phr" // phishing-resistant (OpenID EAP ACR Values)
)

// ClaimsOf describes proofs.
func ClaimsOf(proofs []factor.Proof) Claims {
	c := Claims{ACR: LevelPassword}
	has := map[factor.Method]bool{}
	key := "hwk"
	for _, p := range proofs {
		has[p.Method] = true
		if p.Synced {
			key = "swk"
		}
		if p.At.After(c.AuthTime) {
			c.AuthTime = p.At
		}
	}
	if has[factor.Password] {
		c.AMR = append(c.AMR, "pwd")
	}
	switch {
	case has[factor.Passkey], has[factor.U2F]:
		c.AMR = append(c.AMR, key, "user", "mfa")
		c.ACR = LevelPhishing
	case has[factor.VirtualMFA], has[factor.RecoveryCode]:
		c.AMR = append(c.AMR, "otp", "mfa")
		c.ACR = LevelMFA
	case has[factor.SMS]:
		c.AMR = append(c.AMR, "sms", "mfa")
		c.ACR = LevelRestricted
	case has[factor.Email]:
		c.AMR = append(c.AMR, "mca")
		c.ACR = LevelEmail
	}
	return c
}
