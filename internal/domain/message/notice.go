package message

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/locale"
)

// A Kind says what a notice tells.
type Kind string

// The notices. Their names are message keys.
const (
	SecondStepFailed  Kind = "second_step_failed"
	BudgetEmpty       Kind = "budget_empty"
	DeviceBound       Kind = "device_bound"
	DeviceUnbound     Kind = "device_unbound"
	PasswordChanged   Kind = "password_changed"
	RecoveryCodeUsed  Kind = "recovery_code_used"
	RecoveryCodesMade Kind = "recovery_codes_made"
	PhoneAttached     Kind = "phone_attached"
	PhoneChanged      Kind = "phone_changed"
	PhoneRemoved      Kind = "phone_removed"
	EmailChanged      Kind = "email_changed"
	ProtectionOn      Kind = "protection_on"
	ProtectionChanged Kind = "protection_changed"
	ProtectionOff     Kind = "protection_off"
	SignUpKnown       Kind = "signup_known" // someone signed up with an address that has an account
	EmailKnown        Kind = "email_known"  // someone wants to sign in with an address that has an account
	kindCode          Kind = "code"

	DeviceUnboundByAdmin Kind = "device_unbound_by_admin"
	PasswordSetByAdmin   Kind = "password_set_by_admin"
	TicketMade           Kind = "ticket_made"
	SignInDisabled       Kind = "signin_disabled"
	RoleChanged          Kind = "role_changed"
	PasswordLocked       Kind = "password_locked"
	RecoveryStarted      Kind = "recovery_started"
	RecoveryCancelled    Kind = "recovery_cancelled"

	PasskeyAdded   Kind = "passkey_added"
	PasskeyRemoved Kind = "passkey_removed"
	PasskeyCopied  Kind = "passkey_copied" // its counter went back
	U2FUpgraded    Kind = "u2f_upgraded"

	NewDeviceSignIn  Kind = "new_device_signin" // the first from a browser
	PasswordReset    Kind = "password_reset"    // by the link in a mail
	PolicyChanged    Kind = "policy_changed"    // what the account asks of its users
	Secured          Kind = "secured"           // "This wasn't me" was confirmed
	RememberedAdded  Kind = "remembered_added"  // a device is not asked again for a while
	RememberedCopied Kind = "remembered_copied" // an old value of its cookie came back
	SecondStepAgain  Kind = "second_step_failed_digest"
	LockedAgain      Kind = "password_locked_digest"
	ResetLink        Kind = "reset_link" // leads to a new password

	SecurityEmailBound   Kind = "security_email_bound"
	SecurityEmailChanged Kind = "security_email_changed"
	SecurityEmailRemoved Kind = "security_email_removed"
)

// urgent are the notices that go to the phone too: whoever holds the mailbox
// must not be the only one to hear of them.
var urgent = []Kind{DeviceBound, DeviceUnbound, PasswordChanged, RecoveryCodeUsed, EmailChanged, ProtectionChanged, ProtectionOff,
	DeviceUnboundByAdmin, PasswordSetByAdmin, TicketMade, RecoveryStarted, PasskeyAdded, PasskeyRemoved, PasskeyCopied, U2FUpgraded, RememberedCopied,
	SecurityEmailBound, SecurityEmailChanged, SecurityEmailRemoved, PasswordReset, Secured}

// administered are the notices of what an administrator, or a rule of the
// account, did: whose browser it was is not the reader's concern.
var administered = []Kind{DeviceUnboundByAdmin, PasswordSetByAdmin, TicketMade, SignInDisabled, RoleChanged, PolicyChanged}

// taken are the notices of what takes the way in with it.
var taken = []Kind{EmailChanged, PhoneChanged}

// digests are the kinds of what tells once in a day, and later how often.
var digests = map[Kind]Kind{SecondStepFailed: SecondStepAgain, PasswordLocked: LockedAgain}

// Digest is the kind of notice that says how often something happened again
// after a notice of this one; empty: every time is told of.
func (k Kind) Digest() Kind { return digests[k] }

// Urgent reports whether a notice goes to the phone too.
func (k Kind) Urgent() bool { return slices.Contains(urgent, k) }

// Administered reports whether a notice tells what an administrator, or a rule
// of the account, did.
func (k Kind) Administered() bool { return slices.Contains(administered, k) }

// A Service is who the messages come from.
type Service struct {
	Name    string
	URL     string // public, without a slash at the end
	Contact string // where people turn to; may be empty
}

// Circumstances say when and from where something happened.
type Circumstances struct {
	At        time.Time
	Address   string
	UserAgent string
	NotMe     string // URL of the page "This wasn't me"; empty: the notice has none
}

// A Recipient is where a message goes.
type Recipient struct {
	Channel Channel
	To      string
}

// A Purpose is what a code is for: a message key, what people call the object,
// and who they are where several may share the mailbox.
type Purpose struct{ Key, Object, Name string }

// objectMaxRunes bounds what a message says of an object, whose name people choose.
const objectMaxRunes = 40

func (p Purpose) in(l *locale.Locale) string {
	why := l.T("purpose." + p.Key)
	object := strings.Join(strings.Fields(p.Object), " ")
	if object == "" {
		return why
	}
	if runes := []rune(object); len(runes) > objectMaxRunes {
		object = string(runes[:objectMaxRunes-1]) + "…"
	}
	return l.T("purpose.object", "Purpose", why, "Object", object)
}

// circumstance is what it takes to have a code of this purpose sent: nothing,
// the password, or a session.
func (p Purpose) circumstance() string {
	switch p.Key {
	case "create_account", "confirm_email":
		return "open"
	case "signin":
		return "password"
	}
	return "session"
}

// ValidMinutes is how long a code is valid, as people are told: to the nearest
// minute.
func ValidMinutes(now, expires time.Time) int {
	return max(1, int(expires.Sub(now).Round(time.Minute)/time.Minute))
}

// Code is the message that carries a code. A text message ends in the line by
// which a browser knows where the code belongs (WICG, origin-bound one-time
// codes): @host #code.
func (s Service) Code(l *locale.Locale, of account.ID, to Recipient, why Purpose, code string, now, expires time.Time) Message {
	purpose, minutes := why.in(l), ValidMinutes(now, expires)
	m := Message{Account: string(of), Channel: to.Channel, Kind: string(kindCode), To: to.To, Locale: l.Tag, ExpiresAt: expires,
		Params: map[string]string{"code": code, "service": s.Name, "purpose": purpose, "minutes": fmt.Sprint(minutes)}}
	if to.Channel == SMS {
		m.Text = l.T("sms.code", "Code", code, "Service", s.Name, "Purpose", purpose) + "\n\n@" + s.host() + " #" + code
		return m
	}
	parts := []part{para(l.T("mail.code.text", "Code", code, "Service", s.Name, "Purpose", purpose))}
	if why.Name != "" {
		parts = append(parts, facts(l.T("mail.code.of", "Name", why.Name)))
	}
	s.write(&m, l, l.T("mail.code.subject", "Service", s.Name), append(parts,
		para(l.T("mail.code.valid", "Count", minutes)),
		para(l.T("mail.code.warning", "Service", s.Name)+" "+l.T("mail.code.not_asked."+why.circumstance())))...)
	return m
}

// host is the name under which people reach the service, without a port.
func (s Service) host() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Notice is the message that tells an identity, at one of its addresses, what
// has happened to it.
func (s Service) Notice(i account.Identity, to Recipient, kind Kind, c Circumstances) Message {
	l := locale.Match("", i.Locale)
	m := Message{Account: string(i.Account), Channel: to.Channel, Kind: string(kind), To: to.To, Locale: l.Tag}
	if to.Channel == SMS {
		m.Text = l.T("sms."+string(kind), "Service", s.Name)
		m.Params = map[string]string{"service": s.Name}
		return m
	}
	key := "mail." + string(kind)
	parts := []part{para(l.T(key+".text", "Service", s.Name, "Name", i.Name()))}
	if kind.Administered() {
		parts = append(parts, facts(l.T("mail.when", "Time", l.Time(c.At))))
	} else {
		parts = append(parts, facts(l.T("mail.circumstances", "Time", l.Time(c.At), "Address", c.Address, "Browser", Browser(l, c.UserAgent))), para(l.T("mail.place")))
	}
	s.write(&m, l, l.T(key+".subject", "Service", s.Name), append(parts, s.notYou(l, kind, c.NotMe)...)...)
	return m
}

// notYou says what to do if it was somebody else. Whoever took the address or
// the phone may have taken the way in with it.
func (s Service) notYou(l *locale.Locale, kind Kind, notMe string) []part {
	first, then := l.T("mail.was_you"), l.T("mail.not_me")
	switch {
	case kind.Administered():
		first, then = l.T("mail.not_you.administrator"), l.T("mail.not_me.also")
	case slices.Contains(taken, kind):
		first, then = l.T("mail.not_you.taken"), l.T("mail.not_me.also")
	case kind == PasskeyCopied: // there is something to do in any case
		first = l.T("mail.passkey_copied.then")
	case notMe == "":
		first = l.T("mail.not_you", "URL", s.URL+"/security")
	}
	if notMe == "" {
		return []part{para(first)}
	}
	return []part{para(first), para(then), button(l.T("mail.not_me.button"), notMe)}
}

// Again says how often something happened since a notice told of it.
type Again struct {
	Count           int
	From            []string // addresses; an empty one stands for others
	FirstAt, LastAt time.Time
	NotMe           string
}

// Digest is the mail that says how often something happened again of which a
// notice of the kind told the first time.
func (s Service) Digest(i account.Identity, to Recipient, kind Kind, a Again) Message {
	l := locale.Match("", i.Locale)
	kind = kind.Digest()
	m := Message{Account: string(i.Account), Channel: to.Channel, Kind: string(kind), To: to.To, Locale: l.Tag}
	from := make([]string, len(a.From))
	for n, address := range a.From {
		if from[n] = address; address == "" {
			from[n] = l.T("mail.digest.others")
		}
	}
	s.write(&m, l, l.T("mail."+string(kind)+".subject", "Service", s.Name), append([]part{
		para(l.T("mail."+string(kind)+".text", "Service", s.Name, "Name", i.Name(), "Count", a.Count)),
		facts(l.T("mail.digest.facts", "First", l.Time(a.FirstAt), "Last", l.Time(a.LastAt), "From", strings.Join(from, ", "))), para(l.T("mail.place")),
	}, s.notYou(l, kind, a.NotMe)...)...)
	return m
}

// Reset is the mail with the link that leads to a new password.
func (s Service) Reset(i account.Identity, to, link string, now, until time.Time) Message {
	l := locale.Match("", i.Locale)
	m := Message{Account: string(i.Account), Channel: Email, Kind: string(ResetLink), To: to, Locale: l.Tag, ExpiresAt: until}
	s.write(&m, l, l.T("mail.reset_link.subject", "Service", s.Name),
		para(l.T("mail.reset_link.text", "Service", s.Name, "Name", i.Name())),
		button(l.T("mail.reset_link.button"), link),
		para(l.T("mail.reset_link.valid", "Count", ValidMinutes(now, until))),
		para(l.T("mail.reset_link.not_you")))
	return m
}

// EmailInUse is the mail to an address that somebody wants to sign in with
// although it has an account already: the page tells them nothing.
func (s Service) EmailInUse(l *locale.Locale, to string) Message {
	m := Message{Channel: Email, Kind: string(EmailKnown), To: to, Locale: l.Tag}
	s.write(&m, l, l.T("mail.email_known.subject", "Service", s.Name), para(l.T("mail.email_known.text", "Service", s.Name, "URL", s.URL+"/signin")))
	return m
}

// SignUpAgain is the mail to an address that has an account already: whoever
// tried to sign up learns nothing on the page.
func (s Service) SignUpAgain(l *locale.Locale, to string) Message {
	m := Message{Channel: Email, Kind: string(SignUpKnown), To: to, Locale: l.Tag}
	s.write(&m, l, l.T("mail.signup_known.subject", "Service", s.Name), para(l.T("mail.signup_known.text", "Service", s.Name, "URL", s.URL+"/signin")))
	return m
}
