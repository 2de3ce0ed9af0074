package delivery

import (
	"context"
	"errors"
	"net"
	"net/http"
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

// SignACS3 is how requests to Alibaba Cloud are signed.
var SignACS3 = signACS3

// Wait returns how long err asks to wait before the next attempt.
func Wait(err error) time.Duration {
	var later laterError
	errors.As(err, &later)
	return later.wait
}

// Later has err ask for a wait.
func Later(err error, wait time.Duration) error { return laterError{wait, err} }

// Coded has err carry a gateway's code.
func Coded(err error, code string) error { return codedError{code, err} }

// Local is what calls this machine in clear.
func (c *Client) Local() *http.Client { return c.local }

// DialLocal has c reach this machine by dial.
func (c *Client) DialLocal(dial func() (net.Conn, error)) {
	c.local.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return dial() }
}

// HookBody makes the body of a hook's request.
func HookBody(template string, json bool, m message.Message) ([]byte, error) {
	b, err := newHookBody(template, json)
	if err != nil {
		return nil, err
	}
	return b.write(m)
}
