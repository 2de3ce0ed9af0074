package request

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/language"
)

// FormMaxBytes bounds the body of a form.
const FormMaxBytes = 64 << 10

// A Form is what a form posted: every field once, but for those that may come
// several times, in valid text.
type Form struct{ values url.Values }

// Get returns a field, empty where it is absent.
func (f Form) Get(name string) string { return f.values.Get(name) }

// Has reports whether a field is there.
func (f Form) Has(name string) bool { return f.values.Has(name) }

// All returns a field that may come several times.
func (f Form) All(name string) []string { return f.values[name] }

// ReadForm reads the body of a POST. Query and body are never mixed. Only the
// fields of several may come several times.
func ReadForm(w http.ResponseWriter, r *http.Request, several ...string) (Form, error) {
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
	return parseValues(string(body), several...)
}

// ReadQuery reads the query of a request by the same rules.
func ReadQuery(r *http.Request) (Form, error) { return parseValues(r.URL.RawQuery) }

// QueryOf reads the query of a path of ours by the same rules.
func QueryOf(path string) (Form, error) {
	_, query, _ := strings.Cut(path, "?")
	return parseValues(query)
}

func parseValues(s string, several ...string) (Form, error) {
	parsed, err := url.ParseQuery(s)
	if err != nil {
		return Form{}, ErrMalformed
	}
	for name, values := range parsed {
		if !plain(name) || (len(values) != 1 && !slices.Contains(several, name)) || slices.ContainsFunc(values, func(v string) bool { return !plain(v) }) {
			return Form{}, ErrMalformed
		}
	}
	return Form{parsed}, nil
}

func plain(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// Country is the country that a browser's languages speak of (ISO 3166-1
// alpha-2): a guess that saves a search. Empty: none.
func Country(r *http.Request) string {
	tags, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil {
		return ""
	}
	for _, t := range tags {
		if region, confidence := t.Region(); confidence >= language.Low && region.IsCountry() {
			return region.String()
		}
	}
	return ""
}
