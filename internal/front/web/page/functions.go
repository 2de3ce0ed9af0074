package page

import (
	"fmt"
	"strings"
	"time"

	template "github.com/DataDog/datadog-agent/pkg/template/html"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
)

// functions are what templates call. They show fields and call functions, no
// methods: a program that finds methods by their names keeps every method of
// every type, which made this one twice as large (docs/decisions/0039).
var functions = template.FuncMap{
	"pairs": pairs,
	"t": func(p interface{ T(string, ...any) string }, key string, args ...any) string {
		return p.T(key, args...)
	},
	"at":     func(p interface{ At(time.Time) string }, t time.Time) string { return p.At(t) },
	"error":  func(p interface{ Error(string) string }, field string) string { return p.Error(field) },
	"iso":    iso,
	"isZero": time.Time.IsZero,
	"before": time.Time.Before,
	"after":  time.Time.After,

	"groups":      groups,
	"mask":        account.Phone.Mask,
	"strength":    strength,
	"sent":        factor.Method.Sent,
	"signs":       factor.Method.Signs,
	"mayRemember": Proof.MayRemember,
	"helpPath":    func(p interface{ HelpPath() string }) string { return p.HelpPath() },
}

// pairs makes a map of names and values, for templates within templates.
func pairs(kv ...any) map[string]any {
	m := make(map[string]any, len(kv)/2)
	for i := 0; i+1 < len(kv); i += 2 {
		m[fmt.Sprint(kv[i])] = kv[i+1]
	}
	return m
}

// iso is an instant for <time datetime>.
func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// groups cuts a number into groups of four.
func groups(s string) []string {
	var groups []string
	s = strings.ReplaceAll(s, " ", "")
	for len(s) > 4 {
		groups, s = append(groups, s[:4]), s[4:]
	}
	return append(groups, s)
}

// strength is the message key of how strong a method is.
func strength(m factor.Method) string {
	if m.Signs() {
		return "strength.best"
	}
	if m.Strength() >= factor.VirtualMFA.Strength() {
		return "strength.good"
	}
	return "strength.basic"
}
