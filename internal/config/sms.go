package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"countersign/internal/domain/account"
)

// SMS says how text messages are sent, and how many.
type SMS struct {
	Provider       string `long:"provider" default:"none" choice:"none" choice:"smpp" choice:"hook" choice:"twilio" choice:"aliyun" description:"Who sends text messages: smpp, hook, twilio, aliyun, or none."`
	Countries      List   `long:"countries" value-name:"CC" description:"Countries to which text messages go, like CN,JP,DE; or all. Numbers elsewhere cannot be attached."`
	Ceiling        int    `long:"ceiling" default:"2000" description:"Text messages that are sent in a day at most."`
	CountryCeiling int    `long:"country-ceiling" default:"1000" description:"Text messages that are sent in a day to one country at most."`
	From           string `long:"from" unquote:"false" description:"Sender: a number or a name. Twilio: also a messaging service (MG…)."`
	Account        string `long:"account" description:"SMPP: system_id. Twilio: account SID. Alibaba Cloud: AccessKey ID."`
	Key            string `long:"key" description:"Twilio: API key SID, where the secret is that of a key."`
	Secret         string `long:"secret" unquote:"false" description:"SMPP: password. Twilio: auth token or API key secret. Alibaba Cloud: AccessKey secret. Hook: signing secret. Better: sms-secret-file."`
	SecretFile     string `long:"secret-file" description:"File that holds the secret."`
	URL            string `long:"url" description:"Hook: where messages are posted. SMPP: host:port. Twilio, Alibaba Cloud: another API endpoint."`
	Template       string `long:"template" unquote:"false" description:"Hook: template of the body. Alibaba Cloud: template code for codes."`
	NoticeTemplate string `long:"notice-template" unquote:"false" description:"Alibaba Cloud: template code for notices."`
	SignName       string `long:"sign-name" unquote:"false" description:"Alibaba Cloud: signature name, with templates."`
	ContentType    string `long:"content-type" default:"application/json" description:"Hook: media type of the body."`
	Header         string `long:"header" unquote:"false" description:"Hook: one more header of the request, like \"X-Api-Key: …\"."`
	TLS            bool   `long:"tls" description:"SMPP: over TLS."`
	SystemType     string `long:"system-type" description:"SMPP: system_type."`
	Alphabet       string `long:"alphabet" default:"gsm7" choice:"gsm7" choice:"latin1" choice:"ucs2" description:"SMPP: how the SMSC reads plain text: gsm7, latin1 or ucs2."`
}

func (c *Config) checkSMS() (wrong []error) {
	s := &c.SMS
	say := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("sms_"+key+": "+format, args...))
	}
	if s.Ceiling < 1 || s.CountryCeiling < 1 {
		say("ceiling", "must be at least 1, sms_country_ceiling too")
	}
	if s.SecretFile != "" {
		b, err := os.ReadFile(s.SecretFile)
		if err != nil {
			say("secret_file", "%w", err)
		}
		s.Secret = strings.TrimRight(string(b), "\r\n")
	}
	for n, code := range s.Countries {
		s.Countries[n] = strings.ToUpper(strings.TrimSpace(code))
	}
	if _, err := c.TextCountries(); err != nil {
		wrong = append(wrong, err)
	}
	if s.Provider == "none" {
		s.Provider = ""
	}
	if s.Provider == "" {
		return wrong
	}
	if len(s.Countries) == 0 {
		say("countries", "name the countries to which text messages go, like CN,JP,DE, or all: messages to distant countries are how others earn on your bill")
	}
	need := func(key, value string) {
		if value == "" {
			say(key, "is needed with sms_provider %s", s.Provider)
		}
	}
	switch s.Provider {
	case "smpp":
		need("account", s.Account)
		if _, _, err := net.SplitHostPort(s.URL); err != nil {
			say("url", "%q is not host:port", s.URL)
		}
	case "hook":
		need("url", s.URL)
		need("secret", s.Secret)
	case "twilio":
		need("account", s.Account)
		need("secret", s.Secret)
		need("from", s.From)
	case "aliyun":
		need("account", s.Account)
		need("secret", s.Secret)
		if s.Template != "" {
			need("sign_name", s.SignName)
		}
	}
	if name, _, ok := strings.Cut(s.Header, ":"); s.Header != "" && (!ok || strings.TrimSpace(name) == "") {
		say("header", "is not like \"Name: value\"") // it may hold a key
	}
	return wrong
}

// TextCountries are the countries to which text messages go; nil: everywhere.
func (c *Config) TextCountries() (map[string]bool, error) {
	if len(c.SMS.Countries) == 0 || slices.Contains(c.SMS.Countries, "ALL") {
		return nil, nil
	}
	known := map[string]bool{}
	for _, one := range account.PhoneCountries() {
		known[one.Code] = true
	}
	list := map[string]bool{}
	var wrong []error
	for _, code := range c.SMS.Countries {
		if !known[code] {
			wrong = append(wrong, fmt.Errorf("sms_countries: %q is no country (ISO 3166-1 alpha-2) with mobile numbers", code))
		}
		list[code] = true
	}
	return list, errors.Join(wrong...)
}
