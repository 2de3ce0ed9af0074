package delivery

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"countersign/internal/domain/message"
)

// Twilio takes a validity period of up to ten hours
// (https://www.twilio.com/docs/api/errors/21624).
const twilioValidity = 10 * time.Hour

var (
	twilioID     = compiled(`^(AC|SK|MG)[0-9a-fA-F]{32}$`)
	twilioSender = compiled(`^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[A-Za-z0-9 &_+-]{1,11})$`) // number, short code, or name
)

// Twilio sends text messages through Twilio's Messages resource
// (https://www.twilio.com/docs/messaging/api/message-resource), which knows no
// idempotency key: a message whose answer is lost can arrive twice.
type Twilio struct {
	Base    string // empty: https://api.twilio.com
	Account string // account SID, AC…
	Key     string // API key SID, SK…; empty: Secret is the auth token of Account
	Secret  string
	From    string // number with a plus, short code or name
	Service string // messaging service SID, MG…, instead of From
	Client  *Client
	Now     func() time.Time
}

// Format keeps the secret out of whatever prints a Twilio.
func (t Twilio) Format(f fmt.State, _ rune) { fmt.Fprint(f, "twilio") }

// LogValue keeps the secret out of the log.
func (t Twilio) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(t)) }

// Validate says what is wrong with the setup, as far as it can be seen without
// connecting.
func (t *Twilio) Validate() error {
	_, err := t.setup()
	return err
}

func (t *Twilio) setup() (*url.URL, error) {
	is := func(id, kind string) bool { return twilioID().MatchString(id) && id[:2] == kind }
	switch {
	case !is(t.Account, "AC"):
		return nil, errors.New("the Twilio account is not an account SID (AC and 32 hexadecimal digits)")
	case t.Key != "" && !is(t.Key, "SK"):
		return nil, errors.New("the Twilio API key is not a key SID (SK and 32 hexadecimal digits)")
	case t.Secret == "":
		return nil, errors.New("no Twilio secret: the auth token of the account, or the secret of the API key")
	case (t.From == "") == (t.Service == ""):
		return nil, errors.New("either a sender or a messaging service of Twilio is needed")
	case t.Service != "" && !is(t.Service, "MG"):
		return nil, errors.New("the Twilio messaging service is not a service SID (MG and 32 hexadecimal digits)")
	case t.From != "" && !twilioSender().MatchString(t.From):
		return nil, fmt.Errorf("the Twilio sender %q is neither a number with its plus, nor a short code, nor a name of up to 11 letters", t.From)
	}
	base := t.Base
	if base == "" {
		base = "https://api.twilio.com"
	}
	u, err := endpoint("Twilio", base)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" {
		return nil, errors.New("the address of Twilio has a query")
	}
	return u.JoinPath("2010-04-01", "Accounts", t.Account, "Messages.json"), nil
}

// Send hands m to Twilio.
func (t *Twilio) Send(ctx context.Context, m message.Message) error {
	to, err := t.setup()
	if err != nil {
		return setupError{err}
	}
	text, err := textMessage(m)
	if err != nil {
		return err
	}
	form := url.Values{"To": {m.To}, "Body": {text}}
	if t.Service != "" {
		form.Set("MessagingServiceSid", t.Service)
	} else {
		form.Set("From", t.From)
	}
	if !m.ExpiresAt.IsZero() {
		left := min(m.ExpiresAt.Sub(t.Now()), twilioValidity)
		if left < time.Second {
			return Permanent(errors.New("expires before it could be sent"))
		}
		form.Set("ValidityPeriod", strconv.Itoa(int(left/time.Second)))
	}
	user := t.Key
	if user == "" {
		user = t.Account
	}
	a, err := t.Client.post(ctx, to, http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+t.Secret))},
		"Content-Type":  {"application/x-www-form-urlencoded"},
		"Accept":        {"application/json"},
	}, []byte(form.Encode()))
	if err != nil {
		return err
	}
	return t.outcome(a)
}

// outcome reads {"sid": "SM…", "status": "queued", "error_code": null} of a
// message that was taken, and {"code": 21211, "message": "…"} of one that was
// not. The message of a refusal quotes the number: it is left unread.
func (t *Twilio) outcome(a answer) error {
	var said struct {
		SID       string `json:"sid"`
		Status    string `json:"status"`
		ErrorCode int    `json:"error_code"`
		Code      int    `json:"code"`
	}
	err := json.Unmarshal(a.body, &said)
	taken := a.status >= 200 && a.status < 300
	if taken && err != nil {
		return errors.New("the answer of Twilio cannot be understood")
	}
	code := said.Code
	if taken {
		code = said.ErrorCode
	}
	// Five digits are no code of ours.
	if rule, known := twilioCodes[code]; known {
		return a.later(rule.on(strconv.Itoa(code)), t.Now())
	}
	switch {
	case taken && code == 0 && said.SID != "" && said.Status != "failed" && said.Status != "canceled":
		return nil
	case taken:
		return errors.New("the message is not taken by Twilio")
	case a.status == http.StatusNotFound:
		return setupError{errors.New("there is no such account at Twilio")}
	}
	err = a.refused(t.Now())
	if code >= 10_000 && code <= 99_999 {
		err = codedError{strconv.Itoa(code), err}
	}
	return err
}

// twilioCodes is the part of https://www.twilio.com/docs/api/errors that can
// answer the sending of one message. What is not here goes by the status.
var twilioCodes = map[int]ruling{
	10001: {setup, "the account is not active"},
	20003: {setup, "Twilio refuses our account or secret"},
	20005: {setup, "the account is not active"},
	20404: {setup, "there is no such account at Twilio"},
	21212: {setup, "the sender is not valid"},
	21603: {setup, "a sender is needed"},
	21606: {setup, "the sender cannot send text messages"},
	21608: {setup, "a trial account writes to verified numbers only"},
	21659: {setup, "the sender is no number of Twilio's"},
	21660: {setup, "the sender belongs to another account"},
	21701: {setup, "there is no such messaging service"},
	21703: {setup, "the messaging service has no sender"},
	21704: {setup, "the messaging service has no sender"},
	30002: {setup, "the account is suspended"},
	30034: {setup, "the sender is not registered with the carriers"},
	63038: {setup, "the account has sent as many messages as it may today"},

	21211: {Permanent, "the number is not valid"},
	21214: {Permanent, "the number cannot be reached"},
	21217: {Permanent, "the number is not valid"},
	21265: {Permanent, "the number is a short code"},
	21266: {Permanent, "the number is the sender's own"},
	21602: {Permanent, "the text is missing"},
	21604: {Permanent, "the number is missing"},
	21610: {Permanent, "the recipient wants no messages from us"},
	21614: {Permanent, "the number is not a mobile one"},
	21617: {Permanent, "the text is too long"},
	21635: {Permanent, "the number is a landline"},
	30003: {Permanent, "the telephone cannot be reached"},
	30004: {Permanent, "the recipient has blocked us"},
	30005: {Permanent, "the number is not in use"},
	30006: {Permanent, "the number is a landline"},

	21408: {loud, "the account has no permission for the country of the number"},
	21612: {loud, "the sender cannot reach the network of the number"},
	30007: {loud, "the carrier filters our messages"},
	30450: {loud, "Twilio takes the message for fraud"},
	60410: {loud, "Twilio takes the message for fraud"},

	14107: {temporary, "we send too fast"},
	20429: {temporary, "we send too fast"},
	21611: {temporary, "the queue of the sender is full"},
	30001: {temporary, "the queue of the sender is full"},
	30008: {temporary, "Twilio does not know why"},
	30022: {temporary, "we send too fast"},
}
