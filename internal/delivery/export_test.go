package delivery

import (
	"net/mail"
	"time"

	gomail "github.com/wneessen/go-mail"

	"countersign/internal/domain/message"
)

// Compose writes m as SMTP.Send would, refusing the recipients that it refuses.
func Compose(m message.Message, from *mail.Address, now time.Time) (*gomail.Msg, error) {
	to, err := recipient(m.To)
	if err != nil {
		return nil, err
	}
	return compose(m, from, to, now)
}

// IsSetup reports whether err is the operator's to cure.
var IsSetup = isSetup
