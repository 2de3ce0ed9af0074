package request_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"countersign/internal/fault"
	"countersign/internal/front/request"
)

func FuzzForm(f *testing.F) {
	for _, s := range []string{"", "a=1", "a=1&a=2", "a=%00", "a=%ff", "a=%zz", "a;b", "=", "&&&", "a=1&%61=2", "a=" + strings.Repeat("x", 70_000),
		"several=1&several=2&a=1", "several=1&several=%00", "several=1&several=%ff", "several", "several=1&a=1&a=2", "severa%6c=1&several=", "Several=1&Several=2"} {
		f.Add("application/x-www-form-urlencoded", s)
	}
	f.Add("application/x-www-form-urlencoded; charset=utf-8", "a=1")
	f.Add("text/plain", "a=1")
	f.Fuzz(func(t *testing.T, kind, body string) {
		read := func(several ...string) (request.Form, error) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(body))
			r.Header.Set("Content-Type", kind)
			return request.ReadForm(httptest.NewRecorder(), r, several...)
		}
		strict, once := read()
		form, err := read("several")
		if err != nil {
			if s := request.Status(err); s < 400 || s >= 500 || fault.From(err).Kind == fault.Internal {
				t.Errorf("%q, %q: %d, %v", kind, body, s, err)
			}
			if once == nil {
				t.Errorf("%q, %q is taken only where less is allowed", kind, body)
			}
			return
		}
		parsed, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("%q is taken: %v", body, err)
		}
		repeated := false
		for name, values := range parsed {
			repeated = repeated || len(values) != 1
			if (len(values) != 1 && name != "several") || form.Get(name) != values[0] || !form.Has(name) || !slices.Equal(form.All(name), values) {
				t.Errorf("%q: %q is %q", body, name, form.All(name))
			}
			if all := name + strings.Join(values, ""); !utf8.ValidString(all) || strings.Contains(all, "\x00") {
				t.Errorf("%q: %q is taken", body, all)
			}
		}
		if repeated != (once != nil) {
			t.Errorf("%q: without leave to repeat: %v", body, once)
		}
		// A path of ours is read as a form is.
		if q, err := request.QueryOf("/path?" + body); (err == nil) != (once == nil) {
			t.Errorf("%q as a query: %v, as a form: %v", body, err, once)
		} else if err == nil {
			for name := range parsed {
				if q.Get(name) != strict.Get(name) {
					t.Errorf("%q: %q is %q in a query, %q in a form", body, name, q.Get(name), strict.Get(name))
				}
			}
		}
	})
}

func FuzzClientAddress(f *testing.F) {
	f.Add("10.0.0.1:1", "203.0.113.9")
	f.Add("10.0.0.1:1", "1.1.1.1, 203.0.113.9,10.1.1.1")
	f.Add("[fe80::1%eth0]:1", "[::1]:80")
	f.Add("", ",,,")
	f.Add("10.0.0.1:1", "::ffff:10.0.0.2, fe80::1%x")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, peer, header string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {header}}}
		alone := request.ClientAddress(r, nil)
		got := request.ClientAddress(r, trusted)
		if !(alone.IsValid() && trusted[0].Contains(alone)) && got != alone {
			t.Errorf("%q from %q is %s: nobody trusted said so", header, peer, got)
		}
		if got.Zone() != "" || got.Is4In6() {
			t.Errorf("%q from %q is %s: one address must have one form", header, peer, got)
		}
	})
}

func FuzzCountry(f *testing.F) {
	for _, s := range []string{"", "en", "de-CH,de;q=0.9", "zh-Hant-TW", "*", "und-001", "\xff", "en-XX;q=9", "x-private", strings.Repeat("en-GB,", 2000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := request.Country(&http.Request{Header: http.Header{"Accept-Language": {header}}})
		if got != "" && (len(got) != 2 || got[0] < 'A' || got[0] > 'Z' || got[1] < 'A' || got[1] > 'Z') {
			t.Errorf("%q speaks of %q", header, got)
		}
	})
}
