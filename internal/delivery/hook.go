package delivery

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"countersign/internal/domain/message"
)

var (
	headerName = compiled("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110 §5.6.2
	// What the exchange itself is made of, and what we sign with.
	ownHeaders = []string{"Connection", "Content-Length", "Content-Type", "Expect", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp"}
)

// A Hook hands messages to an HTTP address of the operator's. Its body is made
// by a template; without one it is
//
//	{"id":"…","to":"+8613800138000","text":"…","kind":"code","locale":"en","params":{"Code":"…"}}
//
// It is signed after Standard Webhooks
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
// The webhook-id is the same from attempt to attempt.
type Hook struct {
	URL         string
	Secret      string            // whsec_ and base64, or the key itself; empty: unsigned
	ContentType string            // empty: application/json
	Template    string            // text/template with json and urlquery; see hookMessage for its fields
	Headers     map[string]string // added to each request, such as an API key
	Client      *Client
	Now         func() time.Time
}

// Format keeps the secrets out of whatever prints a Hook.
func (h Hook) Format(f fmt.State, _ rune) { fmt.Fprint(f, "hook") }

// LogValue keeps the secrets out of the log.
func (h Hook) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(h)) }

// Validate says what is wrong with the setup, as far as it can be seen without
// connecting. The template is tried on a message.
func (h *Hook) Validate() error {
	s, err := h.setup()
	if err != nil {
		return err
	}
	// A quotation mark alone cannot be taken for the end of a value that was
	// written with json, and surely ends one that was not.
	_, err = s.body.write(message.Message{
		ID: "sample", To: "+8613800138000", Kind: "code", Locale: "en",
		Text: "Say \"482915\" \\ <&>\n@id.example.com #482915", Params: map[string]string{"Code": "\"482915\\"},
	})
	return err
}

type hookSetup struct {
	to   *url.URL
	key  []byte
	body *hookBody
}

func (h *Hook) setup() (s hookSetup, err error) {
	if s.to, err = endpoint("the hook", h.URL); err != nil {
		return s, err
	}
	if s.key, err = h.key(); err != nil {
		return s, err
	}
	for name, value := range h.Headers {
		switch {
		case !headerName().MatchString(name):
			return s, fmt.Errorf("%q is no name of a header", name)
		case slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)):
			return s, fmt.Errorf("the header %s is ours to set", name)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return s, fmt.Errorf("the header %s has a control character", name)
		}
	}
	kind := h.contentType()
	media, _, err := mime.ParseMediaType(kind)
	if err != nil || !strings.Contains(media, "/") || printable(kind, ' ') != kind {
		return s, fmt.Errorf("%q is no content type", kind)
	}
	s.body, err = newHookBody(h.Template, media == "application/json" || strings.HasSuffix(media, "+json"))
	return s, err
}

func (h *Hook) contentType() string {
	if h.ContentType == "" {
		return "application/json"
	}
	return h.ContentType
}

func (h *Hook) key() ([]byte, error) {
	key := []byte(h.Secret)
	if encoded, ok := strings.CutPrefix(h.Secret, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, errors.New("the secret of the hook is not base64 after whsec_")
		}
	}
	if h.Secret != "" && len(key) < 24 { // as Standard Webhooks has it
		return nil, errors.New("the secret of the hook is shorter than 24 bytes")
	}
	return key, nil
}

// Send hands m to the hook.
func (h *Hook) Send(ctx context.Context, m message.Message) error {
	s, err := h.setup()
	if err != nil {
		return setupError{err}
	}
	if m.Text, err = textMessage(m); err != nil {
		return err
	}
	body, err := s.body.write(m)
	if err != nil {
		return setupError{err}
	}
	id, at := plainID(m.ID), strconv.FormatInt(h.Now().Unix(), 10)
	header := http.Header{"Content-Type": {h.contentType()}, "Webhook-Id": {id}, "Webhook-Timestamp": {at}}
	if len(s.key) > 0 {
		mac := hmac.New(sha256.New, s.key)
		fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
		header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	for name, value := range h.Headers {
		header.Set(name, value)
	}
	a, err := h.Client.post(ctx, s.to, header, body)
	if err != nil {
		return err
	}
	refused := a.refused(h.Now())
	switch a.status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return Permanent(refused)
	case http.StatusNotFound, http.StatusGone: // of the recipient, or of the address that is configured
		return loud(refused)
	}
	if a.status >= 200 && a.status < 300 {
		return nil
	}
	return refused
}
