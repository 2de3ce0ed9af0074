package message

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/locale"
)

// A Recovery is what people are told of the operator's recovery of a sign-in.
type Recovery struct {
	OpensAt, ExpiresAt time.Time
	Cancel             string // URL of the page that cancels it
}

// RecoveryStart tells at an address that the operator leads an identity to a
// new device. A text message has no link: a sign-in cancels as well.
func (s Service) RecoveryStart(l *locale.Locale, i account.Identity, to Recipient, r Recovery) Message {
	m := s.ofRecovery(l, i, to, RecoveryStarted)
	if to.Channel == Email {
		s.write(&m, l, m.Subject,
			para(l.T("mail.recovery_started.text", "Service", s.Name, "Name", i.Name(), "Opens", l.Time(r.OpensAt), "Expires", l.Time(r.ExpiresAt))),
			para(l.T("mail.recovery_started.not_you")),
			button(l.T("mail.recovery_started.button"), r.Cancel),
			para(l.T("mail.recovery_started.you")))
	}
	return m
}

// RecoveryEnd tells at an address that the operator took a recovery back.
func (s Service) RecoveryEnd(l *locale.Locale, i account.Identity, to Recipient) Message {
	m := s.ofRecovery(l, i, to, RecoveryCancelled)
	if to.Channel == Email {
		s.write(&m, l, m.Subject, para(l.T("mail.recovery_cancelled.text", "Service", s.Name, "Name", i.Name())), para(l.T("mail.recovery_cancelled.operator")))
	}
	return m
}

func (s Service) ofRecovery(l *locale.Locale, i account.Identity, to Recipient, kind Kind) Message {
	m := Message{Account: string(i.Account), Channel: to.Channel, Kind: string(kind), To: to.To, Locale: l.Tag}
	if to.Channel == SMS {
		m.Text = l.T("sms."+string(kind), "Service", s.Name)
		m.Params = map[string]string{"service": s.Name}
		return m
	}
	m.Subject = l.T("mail."+string(kind)+".subject", "Service", s.Name)
	return m
}
