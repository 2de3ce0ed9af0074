package console

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/front/web/page"
)

// A field is one setting as its form shows it. Its name is that of the input,
// of what is wrong with it, and of its sentences.
type field struct {
	Name     string
	API      string // its name in the documented API
	Kind     string // radio, check, number, select, text, masks, models or date
	Unit     string // of numbers: the sentence settings.unit.<unit>
	Min, Max int
	Options  []string
	Method   factor.Method // a method that it allows
	Group    string        // whose heading says the first half of its name; empty: none

	get func(s account.Settings) string
	set func(s *account.Settings, typed string) error
}

// A group are fields under a common heading; without a name each stands alone.
type group struct {
	Name   string
	Fields []field
}

// A section is a part of the page.
type section struct {
	Name   string
	Groups []group
}

// dateForm is how a browser sends a date.
const dateForm = "2006-01-02"

var sections = []section{
	{"mfa", []group{
		{Fields: []field{{Name: "mfa_operation", API: "MFAOperationForLogin", Kind: "radio", Options: words(account.Operations),
			get: func(s account.Settings) string { return string(s.MFAOperation) },
			set: func(s *account.Settings, typed string) error {
				s.MFAOperation = account.Operation(typed)
				return nil
			}}}},
		{"methods", []field{
			method(check("allow_sms", "VerificationTypes: sms", func(s *account.Settings) *bool { return &s.AllowSMS }), factor.SMS),
			method(check("allow_email", "VerificationTypes: email", func(s *account.Settings) *bool { return &s.AllowEmail }), factor.Email),
		}},
		{"more", []field{
			check("two_kinds", "TwoKindsRequired", func(s *account.Settings) *bool { return &s.TwoKinds }),
			check("remember", "EnableSaveMFATicket", func(s *account.Settings) *bool { return &s.Remember }),
		}},
		{"passkeys", []field{
			check("passkey_signin", "AllowUserToLoginWithPasskey", func(s *account.Settings) *bool { return &s.PasskeySignIn }),
			check("no_synced", "DeviceBoundPasskeysForAdministrators", func(s *account.Settings) *bool { return &s.NoSyncedAdministrators }),
		}},
		{Fields: []field{{Name: "passkey_models", API: "PasskeyAAGUIDs", Kind: "models",
			get: func(s account.Settings) string { return strings.Join(s.PasskeyModels, "\n") },
			set: func(s *account.Settings, typed string) (err error) {
				s.PasskeyModels, err = admin.ParseModels(typed)
				return err
			}}}},
		{Fields: []field{{Name: "grace_until", API: "EnrolmentGraceUntil", Kind: "date", get: graceDate, set: setGrace}}},
	}},
	{"self", []group{{"self", []field{
		check("manage_mfa", "AllowUserToManageMFADevices", func(s *account.Settings) *bool { return &s.ManageMFA }),
		check("change_password", "AllowUserToChangePassword", func(s *account.Settings) *bool { return &s.ChangePassword }),
		check("manage_keys", "AllowUserToManageAccessKeys", func(s *account.Settings) *bool { return &s.ManageKeys }),
	}}, {Fields: []field{{Name: "contact", API: "AdministratorContact", Kind: "text", Max: account.ContactMax,
		get: func(s account.Settings) string { return s.Contact },
		set: func(s *account.Settings, typed string) (err error) {
			s.Contact, err = account.ParseLine(typed, account.ContactMax, account.ErrContact)
			return err
		}}}}}},
	{"sessions", []group{{Fields: []field{
		number(account.Range{Field: "session_hours", Min: account.SessionHoursMin, Max: account.SessionHoursMax}, "LoginSessionDuration", "hours", func(s *account.Settings) *int { return &s.SessionHours }),
		{Name: "masks", API: "LoginNetworkMasks", Kind: "masks", Max: account.MasksMax,
			get: func(s account.Settings) string { return strings.Join(words(s.Masks), "\n") },
			set: func(s *account.Settings, typed string) (err error) {
				s.Masks, err = account.ParseMasks(typed)
				return err
			}},
	}}}},
	{"idle", []group{{Fields: []field{
		days("idle_users", "MaxIdleDaysForUsers", func(s *account.Settings) *int { return &s.IdleUsers }),
		days("idle_keys", "MaxIdleDaysForAccessKeys", func(s *account.Settings) *int { return &s.IdleKeys }),
	}}}},
	{"password", []group{
		{Fields: []field{
			number(account.MinimumLengthRange, "MinimumPasswordLength", "characters", func(s *account.Settings) *int { return &s.Password.MinimumLength }),
		}},
		{"elements", []field{
			check("require_lower", "RequireLowercaseCharacters", func(s *account.Settings) *bool { return &s.Password.RequireLower }),
			check("require_upper", "RequireUppercaseCharacters", func(s *account.Settings) *bool { return &s.Password.RequireUpper }),
			check("require_numbers", "RequireNumbers", func(s *account.Settings) *bool { return &s.Password.RequireNumbers }),
			check("require_symbols", "RequireSymbols", func(s *account.Settings) *bool { return &s.Password.RequireSymbols }),
			check("no_user_name", "PasswordNotContainUserName", func(s *account.Settings) *bool { return &s.Password.NoUserName }),
		}},
		{Fields: []field{
			number(account.DifferentRange, "MinimumPasswordDifferentCharacter", "characters", func(s *account.Settings) *int { return &s.Password.Different }),
			number(account.MaxAgeRange, "MaxPasswordAge", "days", func(s *account.Settings) *int { return &s.Password.MaxAge }),
			check("hard_expire", "HardExpire", func(s *account.Settings) *bool { return &s.Password.HardExpire }),
			number(account.ReuseRange, "PasswordReusePrevention", "passwords", func(s *account.Settings) *int { return &s.Password.Reuse }),
			number(account.LoginAttemptsRange, "MaxLoginAttemps", "tries", func(s *account.Settings) *int { return &s.Password.LoginAttempts }),
			number(account.InitialAgeRange, "InitialPasswordAge", "days", func(s *account.Settings) *int { return &s.Password.InitialAge }),
			check("intercept_risk", "InterceptRiskPasswordOnApi", func(s *account.Settings) *bool { return &s.Password.InterceptRisk }),
		}},
	}},
}

// fields are all of them, in their order.
var fields = func() (all []field) {
	for _, s := range sections {
		for _, g := range s.Groups {
			for i := range g.Fields {
				if g.Name != "more" && g.Name != "passkeys" { // their names say all
					g.Fields[i].Group = g.Name
				}
			}
			all = append(all, g.Fields...)
		}
	}
	return all
}()

// words writes values as a form does.
func words[T any](values []T) (list []string) {
	for _, v := range values {
		switch v := any(v).(type) {
		case int:
			list = append(list, strconv.Itoa(v))
		case account.Operation:
			list = append(list, string(v))
		case netip.Prefix:
			if v.IsSingleIP() {
				list = append(list, v.Addr().String())
			} else {
				list = append(list, v.String())
			}
		}
	}
	return list
}

func check(name, api string, on func(*account.Settings) *bool) field {
	return field{Name: name, API: api, Kind: "check",
		get: func(s account.Settings) string {
			if *on(&s) {
				return "1"
			}
			return ""
		},
		set: func(s *account.Settings, typed string) error {
			*on(s) = typed != ""
			return nil
		}}
}

func method(f field, m factor.Method) field {
	f.Method = m
	return f
}

func number(r account.Range, api, unit string, n func(*account.Settings) *int) field {
	outside := account.ErrRange
	if r.Field == account.ErrSessionHours.Field {
		outside = account.ErrSessionHours
	}
	return field{Name: r.Field, API: api, Kind: "number", Unit: unit, Min: r.Min, Max: r.Max,
		get: func(s account.Settings) string { return strconv.Itoa(*n(&s)) },
		set: func(s *account.Settings, typed string) error {
			v, err := strconv.Atoi(typed)
			if err != nil || v < r.Min || v > r.Max {
				return outside.On(r.Field).With("Min", r.Min).With("Max", r.Max)
			}
			*n(s) = v
			return nil
		}}
}

func days(name, api string, n func(*account.Settings) *int) field {
	return field{Name: name, API: api, Kind: "select", Unit: "days", Options: words(account.IdleDays),
		get: func(s account.Settings) string { return strconv.Itoa(*n(&s)) },
		set: func(s *account.Settings, typed string) error {
			*n(s), _ = strconv.Atoi(typed) // 0 is none of them
			return nil
		}}
}

// graceDate is the last day of the grace, in UTC.
func graceDate(s account.Settings) string {
	if s.GraceUntil.IsZero() {
		return ""
	}
	return s.GraceUntil.UTC().Format(dateForm)
}

func setGrace(s *account.Settings, typed string) error {
	s.GraceUntil = time.Time{}
	if typed == "" {
		return nil
	}
	day, err := time.Parse(dateForm, typed)
	if err != nil {
		return account.ErrGraceForm
	}
	s.GraceUntil = day.Add(24*time.Hour - time.Second)
	return nil
}

// Words says a value as people do.
func (f field) Words(b page.Base, value string) string {
	switch {
	case f.Kind == "radio":
		return b.T("settings." + f.Name + "." + value)
	case f.Kind == "check" && value == "":
		return b.T("state.off")
	case f.Kind == "check":
		return b.T("state.on")
	case f.Kind == "masks" && value == "":
		return b.T("settings.masks.anywhere")
	case f.Kind == "masks":
		return strings.ReplaceAll(value, "\n", ", ")
	case f.Kind == "models" && value == "":
		return b.T("settings.passkey_models.any")
	case f.Kind == "models":
		return modelWords(b, value)
	case f.Kind == "date" && value == "":
		return b.T("settings.grace_until.none")
	case f.Kind == "date":
		day, _ := time.Parse(dateForm, value)
		return b.At(day.Add(24*time.Hour - time.Second))
	case f.Kind == "text" && value == "":
		return b.T("settings.contact.none")
	case f.Kind == "text":
		return value
	case f.Kind == "number" && value == "0":
		return b.T("settings." + f.Name + ".zero")
	}
	n, _ := strconv.Atoi(value)
	return b.T("settings.unit."+f.Unit, "Count", n)
}

// A modelRow is a model of authenticators as people know it.
type modelRow struct {
	ID    string
	Maker string // empty: not in our list
}

// modelsIn are the models of a value, as far as it can be read.
func modelsIn(value string) (list []modelRow) {
	models, _ := admin.ParseModels(value)
	for _, id := range models {
		a, _ := passkey.ParseAAGUID(id)
		list = append(list, modelRow{id, a.Maker()})
	}
	return list
}

func modelWords(b page.Base, value string) string {
	var said []string
	for _, m := range modelsIn(value) {
		if m.Maker == "" {
			m.Maker = b.T("settings.passkey_models.unknown")
		}
		said = append(said, m.Maker+" ("+m.ID+")")
	}
	return strings.Join(said, ", ")
}

// Label is the whole name of the field, away from its heading.
func (f field) Label(b page.Base) string {
	if f.Group == "" {
		return b.T("settings." + f.Name)
	}
	return b.T("settings.group."+f.Group) + b.T("page.colon") + b.T("settings."+f.Name)
}

// tidy is what was typed, with the lines of a page and the digits of any
// keyboard.
func tidy(typed string) string {
	return strings.TrimSpace(norm.NFKC.String(strings.ReplaceAll(typed, "\r\n", "\n")))
}

// parseSettings puts what was typed in the place of what is. All that is wrong
// comes back at once, what fields do together at the end; a field that was not
// touched is never wrong.
func parseSettings(before account.Settings, typed func(name string) string, now time.Time) (next account.Settings, wrong []*fault.Fault) {
	next = before
	for _, f := range fields {
		value := tidy(typed(f.Name))
		if value == f.get(before) {
			continue
		}
		one := account.DefaultSettings() // sound but for this field, so that each is answered for itself
		err := f.set(&one, value)
		if err == nil {
			err = one.Check(before, now)
		}
		if err != nil {
			wrong = append(wrong, fault.From(err).On(f.Name))
			continue
		}
		_ = f.set(&next, value)
	}
	if err := next.Check(before, now); err != nil {
		if w := fault.From(err); !slices.ContainsFunc(wrong, func(one *fault.Fault) bool { return one.Field == w.Field }) {
			wrong = append(wrong, w)
		}
	}
	return next, wrong
}
