package request_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"countersign/internal/front/request"
)

func TestOnlyWhatMayBeRepeatedIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body    string
		several []string
		ok      bool
	}{
		{"scenario=a", nil, true},
		{"scenario=a&scenario=b", nil, false},
		{"scenario=a&scenario=b&method=sms", []string{"scenario"}, true},
		{"scenario=a&scenario=b&method=sms&method=email", []string{"scenario"}, false},
		{"scenario=a&scenario=b", []string{"method"}, false},
		{"scenario=a&scenario=%00", []string{"scenario"}, false},
		{"scenario=%ff&scenario=b", []string{"scenario"}, false},
		{"method=sms", []string{"scenario"}, true},
		{"csrf=a&csrf=a", []string{"scenario"}, false},
		{"Scenario=a&Scenario=b", []string{"scenario"}, false},
	} {
		r := httptest.NewRequest("POST", "/?scenario=query&scenario=again&method=query", strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		f, err := request.ReadForm(httptest.NewRecorder(), r, c.several...)
		if (err == nil) != c.ok {
			t.Errorf("%q, several of %v: %v", c.body, c.several, err)
		}
		if err != nil && (request.Status(err) != http.StatusBadRequest || len(f.All("scenario")) != 0) {
			t.Errorf("%q is refused as %d, with %v", c.body, request.Status(err), f.All("scenario"))
		}
		if got := append(f.All("scenario"), f.All("method")...); slices.Contains(got, "query") || slices.Contains(got, "again") {
			t.Errorf("%q: the query comes in: %v", c.body, got)
		}
	}
	var none request.Form
	if none.Has("c") || none.Get("c") != "" || none.All("c") != nil {
		t.Error("the zero form holds something")
	}
}

func TestAPathIsReadAsAQueryIs(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/security/protection/confirm?c=01abc": "01abc",
		"/security/protection/confirm?c=a%26b": "a&b",
		"/security/protection/confirm?d=1&c=x": "x",
		"/security/protection/confirm":         "",
		"/security/protection/confirm?":        "",
		"/security/sessions?end=x":             "",
		"/a?c=b?c":                             "b?c",
	} {
		if f, err := request.QueryOf(path); err != nil || f.Get("c") != want {
			t.Errorf("%s: %q, %v", path, f.Get("c"), err)
		}
	}
	for _, path := range []string{"/a?c=1&c=2", "/a?c=%00", "/a?c=%ff", "/a?c=%zz", "/a?c=1;d=2"} {
		if _, err := request.QueryOf(path); err == nil || request.Status(err) != http.StatusBadRequest {
			t.Errorf("%s: %v", path, err)
		}
	}
	if f, err := request.QueryOf("/security/sessions?end="); err != nil || !f.Has("end") || f.Has("c") {
		t.Errorf("an empty parameter: %v", err)
	}
}

func TestTheCountryIsThatOfTheLanguages(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"":                        "",
		"de-CH,de;q=0.9,en;q=0.8": "CH",
		"zh-CN":                   "CN",
		"zh-Hant-TW,zh;q=0.9":     "TW",
		"en-GB;q=0.5,ja-JP":       "JP",
		"ja":                      "JP",
		"en-001":                  "",
		"*":                       "",
		"de-CH;q=x":               "",
		"\xff":                    "",
	} {
		r := &http.Request{Header: http.Header{}}
		if header != "" {
			r.Header.Set("Accept-Language", header)
		}
		if got := request.Country(r); got != want {
			t.Errorf("%q speaks of %q, want %q", header, got, want)
		}
	}
}
