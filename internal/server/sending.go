package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"countersign/internal/config"
	"countersign/internal/delivery"
	"countersign/internal/delivery/smpp"
	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle"
	"countersign/internal/locale"
	"countersign/internal/prove"
)

// patience is how long a request waits to hear that its code was taken, so
// that a page can say what became of it.
const patience = 2 * time.Second

// sending is what the settings say about codes.
func (s *Server) sending() prove.Sending {
	c := s.config
	countries, _ := c.TextCountries() // checked with the settings
	return prove.Sending{
		NoMail: !c.Dev && c.SMTP.Address == "", NoTexts: !c.Dev && c.SMS.Provider == "", Countries: countries,
		Ceiling: throttle.Ceiling{All: c.SendCeiling, Text: c.SMS.Ceiling, Country: c.SMS.CountryCeiling},
		Alarm: func(what, scope string) {
			s.log.Error("no more codes are sent: a limit is reached", "limit", what, "scope", scope, "see", "countersign sms status")
		},
	}
}

// senders makes the senders that the settings name.
func (s *Server) senders() (map[message.Channel]delivery.Sender, error) {
	c := s.config
	senders := map[message.Channel]delivery.Sender{}
	if c.SMTP.Address != "" {
		smtp := &delivery.SMTP{Address: c.SMTP.Address, Username: c.SMTP.Username, Password: c.SMTP.Password, From: c.SMTP.From, TLS: c.SMTP.TLS, Now: s.clock.Now}
		if err := smtp.Validate(); err != nil {
			return nil, err
		}
		senders[message.Email] = smtp
	}
	if c.SMS.Provider == "" {
		return senders, nil
	}
	texts := s.textSender(c.SMS)
	if err := texts.Validate(); err != nil {
		return nil, err
	}
	if closer, ok := texts.(interface{ Close(context.Context) error }); ok {
		s.closers = append(s.closers, closer.Close)
	}
	senders[message.SMS] = texts
	return senders, nil
}

type textSender interface {
	delivery.Sender
	Validate() error
}

func (s *Server) textSender(c config.SMS) textSender {
	client := delivery.NewClient(nil)
	switch c.Provider {
	case "twilio":
		t := &delivery.Twilio{Base: c.URL, Account: c.Account, Key: c.Key, Secret: c.Secret, From: c.From, Client: client, Now: s.clock.Now}
		if strings.HasPrefix(c.From, "MG") {
			t.Service, t.From = c.From, ""
		}
		return t
	case "aliyun":
		return &delivery.Aliyun{Endpoint: c.URL, AccessKeyID: c.Account, AccessKeySecret: c.Secret, SignName: c.SignName, TemplateCode: c.Template, NoticeTemplateCode: c.NoticeTemplate,
			From: c.From, Client: client, Now: s.clock.Now, Random: rand.Reader}
	case "hook":
		h := &delivery.Hook{URL: c.URL, Secret: c.Secret, ContentType: c.ContentType, Template: c.Template, Client: client, Now: s.clock.Now}
		if name, value, ok := strings.Cut(c.Header, ":"); ok {
			h.Headers = map[string]string{strings.TrimSpace(name): strings.TrimSpace(value)}
		}
		return h
	}
	settings := smpp.Config{Address: c.URL, SystemID: c.Account, Password: c.Secret, SystemType: c.SystemType, Source: c.From, Alphabet: smpp.Alphabet(c.Alphabet), Log: s.log, Now: s.clock.Now}
	if host, _, err := net.SplitHostPort(c.URL); c.TLS && err == nil {
		settings.TLS = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return delivery.NewSMPP(settings)
}

// TestText sends one text message by the configured provider, at once.
func (s *Server) TestText(ctx context.Context, to account.Phone) error {
	c := s.config.SMS
	if c.Provider == "" {
		return errors.New("no provider of text messages is set: sms_provider")
	}
	texts := s.textSender(c)
	if err := texts.Validate(); err != nil {
		return err
	}
	id, err := s.DB.NewID()
	if err != nil {
		return err
	}
	l := locale.All[0]
	m := message.Message{ID: id, Channel: message.SMS, Kind: "test", To: string(to), Locale: l.Tag, Text: l.T("sms.test", "Service", s.config.ServiceName), Params: map[string]string{"service": s.config.ServiceName}}
	err = texts.Send(ctx, m)
	if closer, ok := texts.(interface{ Close(context.Context) error }); ok {
		err = errors.Join(err, closer.Close(ctx))
	}
	return err
}
