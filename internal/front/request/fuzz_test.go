package request_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"countersign/internal/fault"
	"countersign/internal/front/request"
)

func FuzzForm(f *testing.F) {
	for _, s := range []string{"", "a=1", "a=1&a=2", "a=%00", "a=%ff", "a=%zz", "a;b", "=", "&&&", "a=1&%61=2", "a=" + strings.Repeat("x", 70_000)} {
		f.Add("application/x-www-form-urlencoded", s)
	}
	f.Add("application/x-www-form-urlencoded; charset=utf-8", "a=1")
	f.Add("text/plain", "a=1")
	f.Fuzz(func(t *testing.T, kind, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		form, err := request.ReadForm(httptest.NewRecorder(), r)
		if err != nil {
			if s := request.Status(err); s < 400 || s >= 500 || fault.From(err).Kind == fault.Internal {
				t.Errorf("%q, %q: %d, %v", kind, body, s, err)
			}
			return
		}
		parsed, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("%q is taken: %v", body, err)
		}
		for name, values := range parsed {
			if len(values) != 1 || form.Get(name) != values[0] || !utf8.ValidString(name+values[0]) || strings.Contains(name+values[0], "\x00") {
				t.Errorf("%q: %q is %q", body, name, form.Get(name))
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
