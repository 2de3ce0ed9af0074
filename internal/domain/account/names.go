package account

import (
	"strings"
	"unicode"

	"countersign/internal/fault"
)

// Lengths of an alias.
const (
	AliasMin  = 3
	AliasMax  = 32
	DomainMax = 64 // of a domain alias
)

// Faults about the names of an account.
var (
	ErrAliasForm   = fault.New(fault.Invalid, "alias.form").On("alias").With("Min", AliasMin).With("Max", AliasMax)
	ErrAliasTaken  = fault.New(fault.Conflict, "alias.taken").On("alias")
	ErrDomainForm  = fault.New(fault.Invalid, "domain.form").On("domain").With("Max", DomainMax)
	ErrDomainTaken = fault.New(fault.Conflict, "domain.taken").On("domain")
)

// ParseAlias checks the alias of an account: 3 to 32 lower-case letters, digits
// and single hyphens within. Sixteen digits are an account ID, and so only the
// account's own will do.
func ParseAlias(s string, own ID) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	if s == string(own) {
		return s, nil
	}
	if len(s) < AliasMin || len(s) > AliasMax || !label(s) || len(s) == IDDigits && strings.Trim(s, "0123456789") == "" {
		return "", ErrAliasForm
	}
	return s, nil
}

// label reports whether s is a label of a domain name, without hyphens at its
// ends or two in a row.
func label(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' || strings.Contains(s, "--") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// ParseDomain checks a domain alias: a domain name of at least two labels
// (internationalised ones in their ASCII form), not below the suffix, where
// aliases are.
func ParseDomain(s, suffix string) (string, error) {
	s = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(s), "."))
	labels := strings.Split(s, ".")
	if len(s) > DomainMax || len(labels) < 2 || strings.Trim(labels[len(labels)-1], "0123456789") == "" || s == suffix || strings.HasSuffix(s, "."+suffix) {
		return "", ErrDomainForm
	}
	for _, l := range labels {
		if len(l) > 63 || !label(strings.ReplaceAll(l, "--", "-")) { // xn--…
			return "", ErrDomainForm
		}
	}
	return s, nil
}

// A SignInName is the name of a RAM user as typed at a door: NAME@DOMAIN, of
// which the domain is an alias with the suffix, an alias alone, or a domain
// alias.
type SignInName struct {
	User   string // the key of the user name
	Alias  string // an alias or account ID; empty: it can only be a domain alias
	Domain string // a domain alias; empty: it cannot be one
}

// ParseSignInName takes the name apart. The suffix given is that of the server.
// A name without an @ belongs to the domain given, if any. It is no fault to
// be nobody's name: what cannot be one comes back empty.
func ParseSignInName(s, domain, suffix string) SignInName {
	name, after, ok := strings.Cut(strings.TrimSpace(s), "@")
	if ok {
		domain = after
	}
	domain = strings.TrimSpace(domain)
	if strings.ContainsFunc(domain, func(r rune) bool { return r > unicode.MaxASCII }) { // what only lower case makes a letter of ours
		return SignInName{}
	}
	domain = strings.ToLower(domain)
	if name == "" || len(name) > UserNameMax || strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }) || domain == "" || len(domain) > DomainMax+len(suffix)+1 {
		return SignInName{}
	}
	name = strings.ToLower(name)
	if alias, ok := strings.CutSuffix(domain, "."+suffix); ok && label(alias) {
		return SignInName{User: name, Alias: alias}
	}
	if label(domain) {
		return SignInName{User: name, Alias: domain}
	}
	if parsed, err := ParseDomain(domain, suffix); err == nil {
		return SignInName{User: name, Domain: parsed}
	}
	return SignInName{}
}

// IsZero reports whether it can be nobody's name.
func (n SignInName) IsZero() bool { return n.User == "" }
