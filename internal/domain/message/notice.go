package message

import (
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
	SignUpKnown       Kind = "signup_known" // someone signed up with an address that has an account
	kindCode          Kind = "code"
)

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
}

func (s Service) text(l *locale.Locale, paragraphs ...string) string {
	paragraphs = append(paragraphs, l.T("mail.footer", "Service", s.Name, "URL", s.URL))
	if s.Contact != "" {
		paragraphs = append(paragraphs, l.T("mail.contact", "Contact", s.Contact))
	}
	return strings.Join(paragraphs, "\n\n") + "\n"
}

// Code is the mail that carries a code, for a purpose that is a message key.
func (s Service) Code(l *locale.Locale, of account.ID, to, purpose, code string, expires time.Time) Message {
	why := l.T("purpose." + purpose)
	return Message{
		Account: string(of), Channel: Email, Kind: string(kindCode), To: to, Locale: l.Tag, ExpiresAt: expires,
		Subject: l.T("mail.code.subject", "Service", s.Name),
		Text: s.text(l,
			l.T("mail.code.text", "Code", code, "Service", s.Name, "Purpose", why),
			l.T("mail.code.valid", "Minutes", 10),
			l.T("mail.code.warning", "Service", s.Name)),
	}
}

// Notice is the mail that tells an identity what has happened to it.
func (s Service) Notice(i account.Identity, kind Kind, c Circumstances) Message {
	l := locale.Match("", i.Locale)
	key := "mail." + string(kind)
	return Message{
		Account: string(i.Account), Channel: Email, Kind: string(kind), To: i.Email, Locale: l.Tag,
		Subject: l.T(key+".subject", "Service", s.Name),
		Text: s.text(l,
			l.T(key+".text", "Service", s.Name, "Name", i.Name()),
			l.T("mail.circumstances", "Time", l.Time(c.At), "Address", c.Address, "Browser", Browser(l, c.UserAgent)),
			l.T("mail.not_you", "URL", s.URL+"/security")),
	}
}

// SignUpAgain is the mail to an address that has an account already: whoever
// tried to sign up learns nothing on the page.
func (s Service) SignUpAgain(l *locale.Locale, to string) Message {
	return Message{
		Channel: Email, Kind: string(SignUpKnown), To: to, Locale: l.Tag,
		Subject: l.T("mail.signup_known.subject", "Service", s.Name),
		Text:    s.text(l, l.T("mail.signup_known.text", "Service", s.Name, "URL", s.URL+"/signin")),
	}
}
