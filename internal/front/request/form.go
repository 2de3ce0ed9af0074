package request

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// FormMaxBytes bounds the body of a form.
const FormMaxBytes = 64 << 10

// A Form is what a form posted: every field once, in valid text.
type Form struct{ values map[string]string }

// Get returns a field, empty where it is absent.
func (f Form) Get(name string) string { return f.values[name] }

// ReadForm reads the body of a POST. Query and body are never mixed.
func ReadForm(w http.ResponseWriter, r *http.Request) (Form, error) {
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return Form{}, ErrMediaType
	}
	if c := parameters["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return Form{}, ErrMediaType
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, FormMaxBytes))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return Form{}, ErrTooLarge
		}
		return Form{}, ErrMalformed
	}
	return parseValues(string(body))
}

// ReadQuery reads the query of a request by the same rules.
func ReadQuery(r *http.Request) (Form, error) { return parseValues(r.URL.RawQuery) }

func parseValues(s string) (Form, error) {
	parsed, err := url.ParseQuery(s)
	if err != nil {
		return Form{}, ErrMalformed
	}
	f := Form{values: make(map[string]string, len(parsed))}
	for name, values := range parsed {
		if len(values) != 1 || !plain(name) || !plain(values[0]) {
			return Form{}, ErrMalformed
		}
		f.values[name] = values[0]
	}
	return f, nil
}

func plain(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
