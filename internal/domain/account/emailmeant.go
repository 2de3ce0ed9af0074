package account

import (
	"slices"
	"strings"
)

// providers are domains under which many people have their mail.
var providers = []string{
	"gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com", "yahoo.co.jp", "icloud.com", "me.com", "aol.com",
	"proton.me", "protonmail.com", "gmx.de", "gmx.net", "web.de", "t-online.de", "mail.ru", "yandex.ru", "zoho.com", "fastmail.com",
	"qq.com", "163.com", "126.com", "sina.com", "sina.cn", "sohu.com", "aliyun.com", "foxmail.com", "139.com", "189.cn",
	"docomo.ne.jp", "ezweb.ne.jp", "softbank.ne.jp", "nifty.com",
}

// tops are endings that people slip into, and what they meant.
var tops = map[string]string{".con": ".com", ".cmo": ".com", ".ocm": ".com", ".vom": ".com", ".comm": ".com", ".coom": ".com"}

// EmailMeant guesses what somebody meant to type whose address is almost one of
// a well-known provider; empty: nothing else. It may be wrong: the address as
// typed may exist.
func EmailMeant(typed string) string {
	local, domain, ok := strings.Cut(strings.TrimSpace(typed), "@")
	domain = strings.ToLower(domain)
	if !ok || local == "" || len(domain) > EmailMaxBytes || slices.Contains(providers, domain) {
		return ""
	}
	if at := strings.LastIndexByte(domain, '.'); at > 0 {
		if top := tops[domain[at:]]; top != "" {
			return local + "@" + domain[:at] + top
		}
	}
	for _, p := range providers {
		if len(p) >= 7 && slip(domain, p) { // shorter ones are too close to one another
			return local + "@" + p
		}
	}
	return ""
}

// slip reports whether one slip of the finger makes a of b: a letter too few,
// too many, wrong, or two of them exchanged.
func slip(a, b string) bool {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	x, y := a[n:], b[n:]
	switch {
	case len(x) == len(y) && len(x) > 1 && x[0] == y[1] && x[1] == y[0] && x[2:] == y[2:]:
		return true
	case len(x) == len(y) && len(x) > 0:
		return x[1:] == y[1:]
	case len(x) == len(y)+1:
		return x[1:] == y
	case len(x)+1 == len(y):
		return x == y[1:]
	}
	return false
}
