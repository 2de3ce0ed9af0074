package delivery_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
)

// The example with fixed values of
// https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature.
func TestSignatureOfAlibabaCloudsExample(t *testing.T) {
	t.Parallel()
	to := &url.URL{Scheme: "https", Host: "ecs.cn-shanghai.aliyuncs.com", Path: "/", RawQuery: "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai"}
	header := map[string]string{
		"host": to.Host, "x-acs-action": "RunInstances", "x-acs-version": "2014-05-26",
		"x-acs-date": "2023-10-26T10:22:32Z", "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
	}
	got := delivery.SignACS3("YourAccessKeyId", "YourAccessKeySecret", "POST", to, header, nil)
	want := "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version," +
		"Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

var aliyunAuthorization = regexp.MustCompile(`^ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([a-z0-9;-]+),Signature=([0-9a-f]{64})$`)

// checkACS3 works the signature out of the request as it came.
func checkACS3(r *http.Request) error {
	parts := aliyunAuthorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if parts == nil || parts[1] != "LTAI5tExample" {
		return fmt.Errorf("authorization %q", r.Header.Get("Authorization"))
	}
	body, _ := io.ReadAll(r.Body)
	payload := sha256.Sum256(body)
	names := strings.Split(parts[2], ";")
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n"
	var pairs []string
	for name, values := range r.URL.Query() {
		pairs = append(pairs, escape(name)+"="+escape(values[0]))
	}
	slices.Sort(pairs)
	canonical += strings.Join(pairs, "&") + "\n"
	for _, name := range names {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		canonical += name + ":" + value + "\n"
	}
	canonical += "\n" + parts[2] + "\n" + hex.EncodeToString(payload[:])
	hashed := sha256.Sum256([]byte(canonical))
	mac := hmac.New(sha256.New, []byte(aliyunSecret))
	fmt.Fprintf(mac, "ACS3-HMAC-SHA256\n%s", hex.EncodeToString(hashed[:]))
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-acs-") && !slices.Contains(names, name) {
			return fmt.Errorf("%s is not signed", name)
		}
	}
	switch {
	case !slices.IsSorted(names) || !slices.Contains(names, "host"):
		return fmt.Errorf("signed headers %v", names)
	case r.Header.Get("X-Acs-Content-Sha256") != hex.EncodeToString(payload[:]):
		return fmt.Errorf("payload %s", r.Header.Get("X-Acs-Content-Sha256"))
	case hex.EncodeToString(mac.Sum(nil)) != parts[3]:
		return fmt.Errorf("signature %s for\n%s", parts[3], canonical)
	}
	return nil
}

// escape writes s as RFC 3986 §2.3 has it.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func TestAlibabaCloudIsAskedAsItsPagesSay(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change          func(*delivery.Aliyun, *message.Message)
		action, version string
		want            url.Values
	}{
		"template, mainland": {func(*delivery.Aliyun, *message.Message) {}, "SendSms", "2017-05-25", url.Values{
			"PhoneNumbers": {"13800138000"}, "SignName": {"阿里云"}, "TemplateCode": {"SMS_154950909"},
			"TemplateParam": {`{"Code":"482915","Service":"Acme \u0026 Co"}`}, "OutId": {"m1"},
		}},
		"template, elsewhere": {func(_ *delivery.Aliyun, m *message.Message) { m.To, m.Params = "+85261234567", nil }, "SendSms", "2017-05-25", url.Values{
			"PhoneNumbers": {"85261234567"}, "SignName": {"阿里云"}, "TemplateCode": {"SMS_154950909"}, "OutId": {"m1"},
		}},
		"notice": {func(a *delivery.Aliyun, m *message.Message) {
			a.NoticeTemplateCode, m.Kind = "SMS_2", "password_changed"
		}, "SendSms", "2017-05-25", url.Values{
			"PhoneNumbers": {"13800138000"}, "SignName": {"阿里云"}, "TemplateCode": {"SMS_2"},
			"TemplateParam": {`{"Code":"482915","Service":"Acme \u0026 Co"}`}, "OutId": {"m1"},
		}},
		"free text": {func(a *delivery.Aliyun, m *message.Message) {
			a.TemplateCode, a.SignName, a.From, m.To = "", "", "Acme", "+85261234567"
		}, "SendMessageToGlobe", "2018-05-01", url.Values{
			"To": {"85261234567"}, "From": {"Acme"}, "Type": {"OTP"}, "TaskId": {"m1"}, "ValidityPeriod": {"600"},
			"Message": {"一次性 code 482915, say \"it\" to nobody.\n\n@id.example.com #482915"},
		}},
		"free notice": {func(a *delivery.Aliyun, m *message.Message) {
			a.TemplateCode, m.Kind, m.To, m.Text, m.ExpiresAt = "", "password_changed", "+447700900123", "a+b *c~d/e=f&g 50%", time.Time{}
		}, "SendMessageToGlobe", "2018-05-01", url.Values{
			"To": {"447700900123"}, "Type": {"NOTIFY"}, "TaskId": {"m1"}, "Message": {"a+b *c~d/e=f&g 50%"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := `{"Code":"OK","Message":"OK","BizId":"9006197469364984400","RequestId":"F655A8D5"}`
			if test.action == "SendMessageToGlobe" {
				answer = `{"ResponseCode":"OK","MessageId":"1008030300****","Segments":"1"}`
			}
			g := newGateway(t, func(w http.ResponseWriter, r *http.Request) {
				if err := checkACS3(r); err != nil {
					t.Error(err)
				}
				says(200, answer)(w, r)
			})
			s, m := newAliyun(g.URL, g.client()), text()
			test.change(s, &m)
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := s.Send(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			r, again := <-g.caught, <-g.caught
			if r.Method != "POST" || r.URL.Path != "/" || r.body != "" || r.URL.Query().Encode() != test.want.Encode() {
				t.Errorf("%s %s: %v", r.Method, r.URL.Path, r.URL.Query())
			}
			for name, want := range map[string]string{"X-Acs-Action": test.action, "X-Acs-Version": test.version, "X-Acs-Date": "2026-03-01T12:00:00Z"} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s: %s, want %s", name, got, want)
				}
			}
			if a, b := r.Header.Get("X-Acs-Signature-Nonce"), again.Header.Get("X-Acs-Signature-Nonce"); len(a) != 32 || a == b {
				t.Errorf("nonces %q and %q", a, b)
			}
		})
	}
}

func TestAlibabaCloudsCodesAreUnderstood(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"isv.MOBILE_NUMBER_ILLEGAL": permanent, "MOBILE_NUMBER_ILLEGAL": permanent, "isv.BLACK_KEY_CONTROL_LIMIT": permanent, "isv.PARAM_NOT_SUPPORT_URL": permanent,
		"isv.SMS_CONTENT_ILLEGAL": loud, "isv.DOMESTIC_NUMBER_NOT_SUPPORTED": loud, "isv.COUNTRY_RESTRICTED": loud,
		"isv.BUSINESS_LIMIT_CONTROL": later, "BUSINESS_LIMIT_CONTROL_MINUTE": later, "isp.SYSTEM_ERROR": later, "Throttling.User": later, "Throttling": later, "ServiceUnavailable": later, "SignatureNonceUsed": later, "isv.NEVER_HEARD_OF": later,
		"isv.AMOUNT_NOT_ENOUGH": setup, "isv.SMS_SIGNATURE_ILLEGAL": setup, "isv.SMS_TEMPLATE_ILLEGAL": setup, "isv.TEMPLATE_MISSING_PARAMETERS": setup, "isv.OUT_OF_SERVICE": setup, "isp.RAM_PERMISSION_DENY": setup, "isv.DAY_LIMIT_CONTROL": setup,
		"InvalidAccessKeyId.NotFound": setup, "InvalidAccessKeyId.Inactive": setup, "SignatureDoesNotMatch": setup, "IncompleteSignature": setup, "InvalidTimeStamp.Expired": setup, "Forbidden.RAM": setup, "INVALID_SENDERID": setup,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			for _, field := range []string{"Code", "ResponseCode"} {
				for _, status := range []int{200, 400, 404, 503} {
					g := newGateway(t, says(status, fmt.Sprintf(`{%q:%q,"Message":"quoted +8613800138000","RequestId":"X"}`, field, code)))
					err := sendText(t, newAliyun(g.URL, g.client()))
					wantClass(t, err, want)
					if family, _, _ := strings.Cut(strings.TrimPrefix(code, "isv."), "."); !strings.Contains(fmt.Sprint(err), family) {
						t.Errorf("%s is not in %v", family, err)
					}
				}
			}
		})
	}
}

func TestAlibabaCloudHasTakenOnlyWhatItSays(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"Code":"OK"}`: taken, `{"ResponseCode":"OK"}`: taken, `{"Code":"ok"}`: later, `{"Code":""}`: later, `{}`: later, `null`: later,
		`[]`: later, ``: later, `<html>quoted`: later, `{"Code":"OK"`: later, `{"Code":"quoted 482915"}`: later, `{"Code":1}`: later,
		`{"Code":"OK","x":"` + strings.Repeat("quoted", 20_000) + `"}`: later,
	} {
		g := newGateway(t, says(200, body))
		t.Run(body[:min(len(body), 40)], func(t *testing.T) {
			wantClass(t, sendText(t, newAliyun(g.URL, g.client())), want)
		})
	}
	g := newGateway(t, says(500, `{"Code":"OK"}`))
	wantClass(t, sendText(t, newAliyun(g.URL, g.client())), later)
}

func TestWhatAlibabaCloudCannotSend(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*delivery.Aliyun, *message.Message)
		want   string
	}{
		"notice without a template": {func(_ *delivery.Aliyun, m *message.Message) { m.Kind = "password_changed" }, permanent},
		"free text into mainland":   {func(a *delivery.Aliyun, _ *message.Message) { a.TemplateCode = "" }, loud},
		"expired": {func(a *delivery.Aliyun, m *message.Message) {
			a.TemplateCode, m.To, m.ExpiresAt = "", "+85261234567", noon
		}, permanent},
		"nonce that cannot be drawn": {func(a *delivery.Aliyun, _ *message.Message) { a.Random = iotest.ErrReader(io.EOF) }, later},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, says(200, `{"Code":"OK"}`))
			s, m := newAliyun(g.URL, g.client()), text()
			test.change(s, &m)
			wantClass(t, s.Send(t.Context(), m), test.want)
			if len(g.caught) != 0 {
				t.Error("sent")
			}
		})
	}
}

func TestSetupOfAlibabaCloudIsChecked(t *testing.T) {
	t.Parallel()
	if err := newAliyun("", nil).Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*delivery.Aliyun){
		"no key":              func(s *delivery.Aliyun) { s.AccessKeyID = "" },
		"comma in key":        func(s *delivery.Aliyun) { s.AccessKeyID = "a,SignedHeaders=host" },
		"line break in key":   func(s *delivery.Aliyun) { s.AccessKeyID = "a\r\nb" },
		"no secret":           func(s *delivery.Aliyun) { s.AccessKeySecret = "" },
		"space after secret":  func(s *delivery.Aliyun) { s.AccessKeySecret += " " },
		"no signature":        func(s *delivery.Aliyun) { s.SignName = "" },
		"notices only":        func(s *delivery.Aliyun) { s.TemplateCode, s.NoticeTemplateCode = "", "SMS_2" },
		"long sender":         func(s *delivery.Aliyun) { s.TemplateCode, s.From = "", "Countersign1" },
		"sender with a space": func(s *delivery.Aliyun) { s.TemplateCode, s.From = "", "Beta Co" },
		"clear":               func(s *delivery.Aliyun) { s.Endpoint = "http://dysmsapi.aliyuncs.com" },
		"only a host":         func(s *delivery.Aliyun) { s.Endpoint = "dysmsapi.aliyuncs.com" },
		"path":                func(s *delivery.Aliyun) { s.Endpoint = "https://dysmsapi.aliyuncs.com/v1" },
		"query":               func(s *delivery.Aliyun) { s.Endpoint = "https://dysmsapi.aliyuncs.com/?a=b" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newAliyun("", delivery.NewClient(nil))
			spoil(s)
			if err := s.Validate(); err == nil {
				t.Error("valid")
			}
			wantClass(t, sendText(t, s), setup)
		})
	}
}
