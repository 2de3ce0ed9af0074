package delivery

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"countersign/internal/domain/message"
)

const (
	aliyunEndpoint = "https://dysmsapi.aliyuncs.com"
	mainland       = "+86"
)

var (
	aliyunCode   = compiled(`^[A-Za-z][A-Za-z_.]{1,63}$`)
	aliyunSender = compiled(`^([A-Za-z0-9]{1,11}|[0-9]{1,15})$`)
)

// Aliyun sends text messages through Alibaba Cloud SMS: by template, anywhere
// (SendSms of 2017-05-25), or, without a template, free text outside mainland
// China (SendMessageToGlobe of 2018-05-01). The id of a message goes along, as
// OutId or TaskId, into its reports and receipts.
type Aliyun struct {
	Endpoint           string // empty: https://dysmsapi.aliyuncs.com
	AccessKeyID        string
	AccessKeySecret    string
	SignName           string // the registered signature; with templates
	TemplateCode       string // for codes, SMS_…; empty: free text
	NoticeTemplateCode string // for everything else
	From               string // sender id of free text; may be empty
	Client             *Client
	Now                func() time.Time
	Random             io.Reader // for nonces
}

// Format keeps the secret out of whatever prints an Aliyun.
func (a Aliyun) Format(f fmt.State, _ rune) { fmt.Fprint(f, "aliyun") }

// LogValue keeps the secret out of the log.
func (a Aliyun) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(a)) }

// Validate says what is wrong with the setup, as far as it can be seen without
// connecting.
func (a *Aliyun) Validate() error {
	_, err := a.setup()
	return err
}

func (a *Aliyun) setup() (*url.URL, error) {
	unfit := func(s string) bool { return s == "" || printable(s, ' ') != s || strings.ContainsAny(s, " ,=") }
	switch {
	case unfit(a.AccessKeyID) || unfit(a.AccessKeySecret):
		return nil, errors.New("an AccessKey id of Alibaba Cloud and its secret are needed, without spaces")
	case a.TemplateCode == "" && a.NoticeTemplateCode != "":
		return nil, errors.New("a template for notices needs one for codes")
	case a.TemplateCode != "" && a.SignName == "":
		return nil, errors.New("a template needs a signature name")
	case a.TemplateCode == "" && a.From != "" && !aliyunSender().MatchString(a.From):
		return nil, fmt.Errorf("the sender %q is neither up to 11 letters and digits nor up to 15 digits", a.From)
	}
	address := a.Endpoint
	if address == "" {
		address = aliyunEndpoint
	}
	u, err := endpoint("Alibaba Cloud SMS", address)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("the address of Alibaba Cloud SMS has a path or a query")
	}
	u.Path = "/"
	return u, nil
}

// Send hands m to Alibaba Cloud.
func (a *Aliyun) Send(ctx context.Context, m message.Message) error {
	to, err := a.setup()
	if err != nil {
		return setupError{err}
	}
	text, err := textMessage(m)
	if err != nil {
		return err
	}
	action, version := "SendSms", "2017-05-25"
	query, err := a.byTemplate(m)
	if a.TemplateCode == "" {
		action, version = "SendMessageToGlobe", "2018-05-01"
		query, err = a.freely(m, text)
	}
	if err != nil {
		return err
	}
	nonce := make([]byte, 16)
	if _, err := io.ReadFull(a.Random, nonce); err != nil {
		return fmt.Errorf("nonce: %w", err)
	}
	to.RawQuery = canonicalQuery(query)
	header := map[string]string{
		"host":                  to.Host,
		"x-acs-action":          action,
		"x-acs-version":         version,
		"x-acs-date":            a.Now().UTC().Format("2006-01-02T15:04:05Z"),
		"x-acs-signature-nonce": hex.EncodeToString(nonce),
	}
	authorization := signACS3(a.AccessKeyID, a.AccessKeySecret, http.MethodPost, to, header, nil)
	send := http.Header{"Accept": {"application/json"}, "Authorization": {authorization}}
	for name, value := range header {
		if name != "host" {
			send.Set(name, value)
		}
	}
	answer, err := a.Client.post(ctx, to, send, nil)
	if err != nil {
		return err
	}
	return a.outcome(answer)
}

func (a *Aliyun) byTemplate(m message.Message) (url.Values, error) {
	template := a.TemplateCode
	if m.Kind != "code" {
		template = a.NoticeTemplateCode
	}
	if template == "" {
		return nil, Permanent(errors.New("no template for this kind of message is configured"))
	}
	query := url.Values{"SignName": {a.SignName}, "TemplateCode": {template}, "OutId": {m.ID}}
	if national, ok := strings.CutPrefix(m.To, mainland); ok {
		query.Set("PhoneNumbers", national)
	} else {
		query.Set("PhoneNumbers", m.To[1:])
	}
	if len(m.Params) > 0 {
		params, err := json.Marshal(m.Params)
		if err != nil {
			return nil, Permanent(errors.New("the parameters make no JSON"))
		}
		query.Set("TemplateParam", string(params))
	}
	return query, nil
}

func (a *Aliyun) freely(m message.Message, text string) (url.Values, error) {
	if strings.HasPrefix(m.To, mainland) {
		return nil, loud(errors.New("numbers in mainland China are written to by template only, and none is configured"))
	}
	query := url.Values{"To": {m.To[1:]}, "Message": {text}, "Type": {"NOTIFY"}, "TaskId": {m.ID}}
	if m.Kind == "code" {
		query.Set("Type", "OTP")
	}
	if a.From != "" {
		query.Set("From", a.From)
	}
	if !m.ExpiresAt.IsZero() {
		left := m.ExpiresAt.Sub(a.Now())
		if left < time.Second {
			return nil, Permanent(errors.New("expires before it could be sent"))
		}
		query.Set("ValidityPeriod", strconv.Itoa(int(left/time.Second)))
	}
	return query, nil
}

// outcome reads {"Code": "OK", …} of SendSms, {"ResponseCode": "OK", …} of
// SendMessageToGlobe, and {"Code": "SignatureDoesNotMatch", …} of whoever
// stands before them. The message of a refusal is left unread: it may quote.
func (a *Aliyun) outcome(from answer) error {
	var said struct{ Code, ResponseCode string }
	if err := json.Unmarshal(from.body, &said); err != nil {
		if from.status >= 200 && from.status < 300 {
			return errors.New("the answer of Alibaba Cloud cannot be understood")
		}
		return from.refused(a.Now())
	}
	code := said.Code
	if code == "" {
		code = said.ResponseCode
	}
	if code == "OK" && from.status >= 200 && from.status < 300 {
		return nil
	}
	plain := strings.TrimPrefix(strings.TrimPrefix(code, "isv."), "isp.")
	if rule, known := aliyunCodes[plain]; known {
		return from.later(rule.on(code), a.Now())
	}
	family, _, _ := strings.Cut(plain, ".")
	if rule, known := aliyunFamilies[family]; known {
		code = family
		return from.later(rule.on(code), a.Now())
	}
	err := from.refused(a.Now())
	if aliyunCode().MatchString(code) {
		err = codedError{code, err}
	}
	return err
}

// aliyunCodes is the part of https://help.aliyun.com/document_detail/101346.html
// and of https://www.alibabacloud.com/help/en/sms/developer-reference/error-codes
// that can answer the sending of one message, without isv. and isp.
var aliyunCodes = map[string]ruling{
	"ACCOUNT_ABNORMAL":            {setup, "the account is not in order"},
	"ACCOUNT_NOT_EXISTS":          {setup, "there is no such account"},
	"AMOUNT_NOT_ENOUGH":           {setup, "the balance of the account is too low"},
	"BILLING_DEDUCTION_ERROR":     {setup, "the account cannot be charged"},
	"DAY_LIMIT_CONTROL":           {setup, "the account has sent as many messages as it may today"},
	"DENY_IP_RANGE":               {setup, "our network is not allowed in"},
	"EXTEND_CODE_ERROR":           {setup, "the extension code belongs to another signature"},
	"FORBIDDEN_ACTION":            {setup, "the account may not do this"},
	"INVALID_JSON_PARAM":          {setup, "the parameters do not suit the template"},
	"INVALID_PARAMETERS":          {setup, "the parameters do not suit the template"},
	"INVALID_SENDERID":            {setup, "the sender is not registered"},
	"MONTH_LIMIT_CONTROL":         {setup, "the account has sent as many messages as it may this month"},
	"OUT_OF_SERVICE":              {setup, "the account is suspended"},
	"PRODUCT_UNSUBSCRIBE":         {setup, "the account has no SMS service"},
	"PRODUCT_UN_SUBSCRIPT":        {setup, "the account has no SMS service"},
	"RAM_CHECK_FAILED":            {setup, "the AccessKey has no permission to send"},
	"RAM_PERMISSION_DENY":         {setup, "the AccessKey has no permission to send"},
	"SENDERID_ERROR":              {setup, "the sender is not valid"},
	"SIGN_NAME_ILLEGAL":           {setup, "the signature is not approved"},
	"SIGN_STATE_ILLEGAL":          {setup, "the signature is not approved"},
	"SMS_CONTENT_CODE_ILLEGAL":    {setup, "the template is not approved"},
	"SMS_SIGNATURE_ILLEGAL":       {setup, "the signature is not approved"},
	"SMS_SIGNATURE_SCENE_ILLEGAL": {setup, "the signature does not suit the template"},
	"SMS_SIGN_ILLEGAL":            {setup, "the signature is not approved"},
	"SMS_SIGN_NAME_ILLEGAL":       {setup, "the signature is not approved"},
	"SMS_TEMPLATE_ILLEGAL":        {setup, "the template is not approved"},
	"TEMPLATE_MISSING_PARAMETERS": {setup, "the template has variables that the message does not fill"},
	"CONTENT_MISSING_PARAMETERS":  {setup, "the template has variables that the message does not fill"},

	"BLACK_KEY_CONTROL_LIMIT":       {Permanent, "the number or the text is on a list of the blocked"},
	"MOBILE_COUNT_OVER_LIMIT":       {Permanent, "the number is not valid"},
	"MOBILE_NUMBER_ILLEGAL":         {Permanent, "the number is not valid"},
	"PARAM_LENGTH_LIMIT":            {Permanent, "a parameter is too long"},
	"PARAM_NOT_SUPPORT_URL":         {Permanent, "a parameter holds a link"},
	"TEMPLATE_PARAMS_ILLEGAL":       {Permanent, "a parameter holds what must not be sent"},
	"SMS_CONTENT_ILLEGAL":           {loud, "the text holds what must not be sent"},
	"COUNTRY_RESTRICTED":            {loud, "the country of the number is not served"},
	"NOT_SUPPORTED_COUNTRY":         {loud, "the country of the number is not served"},
	"DOMESTIC_NUMBER_NOT_SUPPORTED": {loud, "the template is not for numbers in mainland China"},

	"BUSINESS_LIMIT_CONTROL":        {temporary, "the number has had too many messages for now"},
	"BUSINESS_LIMIT_CONTROL_MINUTE": {temporary, "the number has had too many messages for now"},
	"BUSINESS_LIMIT_CONTROL_PHONE":  {temporary, "the number has had too many messages for now"},
	"BUSINESS_LIMIT_DAY":            {temporary, "the number has had too many messages for now"},
	"BUSINESS_LIMIT_HOUR":           {temporary, "the number has had too many messages for now"},
	"GATEWAY_ERROR":                 {temporary, "Alibaba Cloud has a fault"},
	"SYSTEM_ERROR":                  {temporary, "Alibaba Cloud has a fault"},
}

// aliyunFamilies are the codes of the gateway before the service, up to their
// first dot (https://help.aliyun.com/document_detail/25491.html).
var aliyunFamilies = map[string]ruling{
	"Forbidden":             {setup, "the AccessKey has no permission to send"},
	"IncompleteSignature":   {setup, "Alibaba Cloud refuses our AccessKey"},
	"InvalidAccessKeyId":    {setup, "Alibaba Cloud refuses our AccessKey"},
	"InvalidAction":         {setup, "this address is not of Alibaba Cloud SMS"},
	"InvalidTimeStamp":      {setup, "our clock is wrong"},
	"InvalidVersion":        {setup, "this address is not of Alibaba Cloud SMS"},
	"NoPermission":          {setup, "the AccessKey has no permission to send"},
	"SignatureDoesNotMatch": {setup, "Alibaba Cloud refuses our AccessKey"},

	"InternalError":      {temporary, "Alibaba Cloud has a fault"},
	"ServiceUnavailable": {temporary, "Alibaba Cloud has a fault"},
	"SignatureNonceUsed": {temporary, "Alibaba Cloud has seen our nonce"},
	"Throttling":         {temporary, "we send too fast"},
}

// canonicalQuery writes query sorted, in the encoding of RFC 3986.
func canonicalQuery(query url.Values) string {
	return strings.ReplaceAll(query.Encode(), "+", "%20")
}

// signACS3 signs a request after ACS3-HMAC-SHA256
// (https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature):
// it adds x-acs-content-sha256 to header, whose names are in lower case and
// which holds what is signed, and returns what goes into Authorization.
func signACS3(keyID, secret, method string, to *url.URL, header map[string]string, body []byte) string {
	digest := func(b []byte) string {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}
	header["x-acs-content-sha256"] = digest(body)
	names := slices.Sorted(maps.Keys(header))
	var lines strings.Builder
	for _, name := range names {
		fmt.Fprintf(&lines, "%s:%s\n", name, strings.TrimSpace(header[name]))
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{method, to.EscapedPath(), to.RawQuery, lines.String(), signed, header["x-acs-content-sha256"]}, "\n")
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "ACS3-HMAC-SHA256\n%s", digest([]byte(canonical)))
	return fmt.Sprintf("ACS3-HMAC-SHA256 Credential=%s,SignedHeaders=%s,Signature=%x", keyID, signed, mac.Sum(nil))
}
