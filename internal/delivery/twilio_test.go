package delivery_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
)

const twilioTaken = `{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","error_code":null,"error_message":null,"to":"+8613800138000"}`

func TestTwilioIsAskedAsItsPagesSay(t *testing.T) {
	t.Parallel()
	const key, service = "SK0123456789abcdef0123456789abcdef", "MG0123456789abcdef0123456789abcdef"
	for name, test := range map[string]struct {
		change func(*delivery.Twilio, *message.Message)
		user   string
		want   url.Values
	}{
		"number": {func(*delivery.Twilio, *message.Message) {}, twilioAccount, url.Values{"From": {"+15005550006"}, "ValidityPeriod": {"600"}}},
		"service and key": {func(s *delivery.Twilio, _ *message.Message) {
			s.From, s.Service, s.Key = "", service, key
		}, key, url.Values{"MessagingServiceSid": {service}, "ValidityPeriod": {"600"}}},
		"name, for ever": {func(s *delivery.Twilio, m *message.Message) {
			s.From, m.ExpiresAt = "Acme & Co", time.Time{}
		}, twilioAccount, url.Values{"From": {"Acme & Co"}}},
		"long": {func(s *delivery.Twilio, m *message.Message) {
			s.From, m.ExpiresAt = "12345", noon.Add(11*time.Hour)
		}, twilioAccount, url.Values{"From": {"12345"}, "ValidityPeriod": {"36000"}}},
		"short": {func(_ *delivery.Twilio, m *message.Message) {
			m.ExpiresAt = noon.Add(1999 * time.Millisecond)
		}, twilioAccount, url.Values{"From": {"+15005550006"}, "ValidityPeriod": {"1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, says(201, twilioTaken))
			s, m := newTwilio(g.URL+"/", g.client()), text()
			test.change(s, &m)
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			if err := s.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			r := g.only(t)
			if want := "/2010-04-01/Accounts/" + twilioAccount + "/Messages.json"; r.Method != "POST" || r.URL.String() != want {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if user, password, ok := r.BasicAuth(); !ok || user != test.user || password != twilioSecret {
				t.Errorf("signed in as %q with %q", user, password)
			}
			test.want.Set("To", "+8613800138000")
			test.want.Set("Body", "一次性 code 482915, say \"it\" to nobody.\n\n@id.example.com #482915")
			if r.body != test.want.Encode() || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
				t.Errorf("sent %s", r.body)
			}
		})
	}
}

func TestTwilioDoesNotSendWhatHasExpired(t *testing.T) {
	t.Parallel()
	g := newGateway(t, says(201, twilioTaken))
	m := text()
	m.ExpiresAt = noon.Add(time.Second - 1)
	wantClass(t, newTwilio(g.URL, g.client()).Send(t.Context(), m), permanent)
	if len(g.caught) != 0 {
		t.Error("sent")
	}
}

func TestTwiliosCodesAreUnderstood(t *testing.T) {
	t.Parallel()
	for code, test := range map[int]struct {
		status int
		want   string
	}{
		20003: {401, setup}, 20404: {404, setup}, 21212: {400, setup}, 21606: {400, setup}, 21608: {400, setup}, 21701: {400, setup}, 30002: {403, setup}, 63038: {429, setup},
		21211: {400, permanent}, 21214: {400, permanent}, 21610: {400, permanent}, 21614: {400, permanent}, 21617: {400, permanent}, 30006: {400, permanent},
		21408: {403, loud}, 21612: {400, loud}, 30450: {400, loud},
		20429: {429, later}, 21611: {429, later}, 30001: {400, later}, 30008: {400, later},
		98765: {400, later}, 98764: {500, later}, 98763: {403, setup}, 1: {400, later},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, says(test.status, fmt.Sprintf(`{"code":%d,"message":"The 'To' number +8613800138000 is quoted","more_info":"https://www.twilio.com/docs/errors/%d","status":%d}`, code, code, test.status)))
			err := sendText(t, newTwilio(g.URL, g.client()))
			wantClass(t, err, test.want)
			if said := strings.Contains(fmt.Sprint(err), fmt.Sprint(code)); said != (code > 1) {
				t.Errorf("code %d: %v", code, err)
			}
		})
	}
}

func TestTwilioHasTakenOnlyWhatItSays(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		twilioTaken:                         taken,
		`{"sid":"SM1","status":"accepted"}`: taken,
		`{"sid":"SM1","status":"failed","error_code":21211}`: permanent,
		`{"sid":"SM1","status":"queued","error_code":30001}`: later,
		`{"sid":"SM1","status":"failed","error_code":12345}`: later,
		`{"sid":"SM1","status":"failed"}`:                    later,
		`{"sid":"SM1","status":"canceled"}`:                  later,
		`{"status":"queued"}`:                                later,
		`{"sid":17}`:                                         later,
		`{}`:                                                 later,
		`null`:                                               later,
		``:                                                   later,
		`<html>quoted +8613800138000`:                        later,
		`{"sid":"SM1"`:                                       later,
		`{"sid":"SM1","x":"` + strings.Repeat("quoted", 20_000) + `"}`:      later, // more than we read
		`{"code":482915,"sid":"SM1","error_code":482915,"status":"queued"}`: later,
	} {
		g := newGateway(t, says(201, body))
		t.Run(body[:min(len(body), 40)], func(t *testing.T) {
			wantClass(t, sendText(t, newTwilio(g.URL, g.client())), want)
		})
	}
}

func TestTwilioRefusalWithoutACode(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{400: later, 404: setup, 405: later, 407: later, 411: later} {
		for _, body := range []string{"", "<html>", `{"code":"quoted"}`, `{"code":482915}`, `[1]`} {
			g := newGateway(t, says(status, body))
			wantClass(t, sendText(t, newTwilio(g.URL, g.client())), want)
		}
	}
}

func TestSetupOfTwilioIsChecked(t *testing.T) {
	t.Parallel()
	if err := newTwilio("", nil).Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*delivery.Twilio){
		"no account":         func(s *delivery.Twilio) { s.Account = "" },
		"path in account":    func(s *delivery.Twilio) { s.Account = "AC/../0123456789abcdef0123456789ab" },
		"key as account":     func(s *delivery.Twilio) { s.Account = "SK0123456789abcdef0123456789abcdef" },
		"account as key":     func(s *delivery.Twilio) { s.Key = twilioAccount },
		"no secret":          func(s *delivery.Twilio) { s.Secret = "" },
		"no sender":          func(s *delivery.Twilio) { s.From = "" },
		"two senders":        func(s *delivery.Twilio) { s.Service = "MG0123456789abcdef0123456789abcdef" },
		"account as service": func(s *delivery.Twilio) { s.From, s.Service = "", twilioAccount },
		"long name":          func(s *delivery.Twilio) { s.From = "Countersign Accounts" },
		"number without +":   func(s *delivery.Twilio) { s.From = "15005550006000" },
		"line break":         func(s *delivery.Twilio) { s.From = "Beta\n" },
		"clear":              func(s *delivery.Twilio) { s.Base = "http://api.twilio.com" },
		"no host":            func(s *delivery.Twilio) { s.Base = "https:///" },
		"only a host":        func(s *delivery.Twilio) { s.Base = "api.twilio.com" },
		"another scheme":     func(s *delivery.Twilio) { s.Base = "ftp://localhost" },
		"user":               func(s *delivery.Twilio) { s.Base = "https://u:" + hookToken + "@localhost" },
		"user no URL":        func(s *delivery.Twilio) { s.Base = "https://u:" + hookToken + "@local host" },
		"fragment":           func(s *delivery.Twilio) { s.Base = "https://localhost#" + hookToken },
		"query":              func(s *delivery.Twilio) { s.Base = "https://localhost?" + hookToken },
		"clear to a trick":   func(s *delivery.Twilio) { s.Base = "http://localhost.example" },
		"clear to network":   func(s *delivery.Twilio) { s.Base = "http://10.0.0.1" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newTwilio("", delivery.NewClient(nil))
			spoil(s)
			if err := s.Validate(); err == nil {
				t.Error("valid")
			} else {
				wantClass(t, err, later) // tells nothing
			}
			wantClass(t, sendText(t, s), setup)
		})
	}
}
