package page

import (
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/prove"
)

// A Happening is an event as people read it.
type Happening struct {
	audit.Event
	Sentence string
	By       string // whose hand it was, where it was not the identity's own
	Why      string // how identity was checked, and the reason given
	Browser  string
}

// Happened tells an event that concerns an identity.
func (b Base) Happened(e audit.Event, i account.IdentityID) Happening {
	h := Happening{Event: e, Sentence: sentence(b, e), By: by(b, e, i), Why: why(b, e)}
	if e.Actor.UserAgent != "" {
		h.Browser = message.Browser(b.L, e.Actor.UserAgent)
	}
	return h
}

// sentence says what an event was.
func sentence(b Base, e audit.Event) string {
	key := "event." + string(e.Name)
	if !b.L.Has(key) { // of a version that knew more
		return string(e.Name)
	}
	d := e.Details
	known := func(prefix, value string) string {
		if value == "" || !b.L.Has(prefix+value) {
			return value
		}
		return b.T(prefix + value)
	}
	args := []any{"Name", d["name"], "From", d["from"], "To", d["to"], "Method", known("method.", d["method"]), "How", known("how.", d["acr"]), "Target", e.Target, "Limit", d["limit"]}
	if e.Name == audit.RoleModify {
		args = []any{"From", known("role.", d["from"]), "To", known("role.", d["to"])}
	}
	if e.Refused == "" {
		if v := variant(e); v != "" && b.L.Has(key+v) {
			key += v
		}
		said := b.T(key, args...)
		if why := d["unusual"]; why != "" && b.L.Has("event.why."+why) {
			return b.T("event.unusual", "Sentence", said, "Why", b.T("event.why."+why))
		}
		return said
	}
	if e.Name == audit.ConsoleSignin && d["method"] == "" && e.Refused != prove.ErrCredentials.Code {
		return b.T("event.ConsoleSignin.refused_other")
	}
	if d["alone"] != "" { // nobody has typed a password
		return b.T("event.ConsoleSignin.refused_passkey")
	}
	for _, k := range []string{key + ".refused_code", key + ".refused"} {
		if (k == key+".refused" || d["method"] != "") && b.L.Has(k) {
			return b.T(k, args...)
		}
	}
	return b.T("activity.refused", "What", string(e.Name))
}

// variant is the ending of the key that says more than the event's name.
func variant(e audit.Event) string {
	d := e.Details
	switch {
	case (e.Name == audit.MFAUnbind || e.Name == audit.UserMFAUnbind) && d["name"] == "":
		return ".method"
	case e.Name == audit.ConsoleSignin && d["remembered"] != "":
		return ".remembered"
	case e.Name == audit.ConsoleSignin && d["acr"] == "":
		return ".plain"
	case e.Name == audit.ConsoleSignin && d["acr"] == policy.LevelPhishing && !strings.Contains(d["amr"], "pwd"):
		return ".passkey"
	case e.Name == audit.UserUpdate && d["from"] != "":
		return ".name"
	case e.Name == audit.AuditExport && d["format"] != "":
		return "." + d["format"]
	case e.Name == audit.SessionEnd && (e.Target == "all" || e.Target == "others"):
		return "." + e.Target
	case e.Name != audit.ProfileCreate && e.Name != audit.ProfileUpdate:
		return ""
	case d["password"] != "":
		return ".password"
	case d["state"] == string(account.ProfileInactive):
		return ".inactive"
	case d["reset"] == "" && d["mfa_required"] == "yes":
		return ".required"
	case d["reset"] == "" && d["mfa_required"] == "no":
		return ".not_required"
	}
	return ""
}

// by says whose hand it was, where it was not the user's own.
func by(b Base, e audit.Event, user account.IdentityID) string {
	switch {
	case e.Details["why"] == "policy":
		return b.T("activity.by.policy")
	case e.Actor.Kind == "system":
		return b.T("activity.by.system")
	case e.Actor.Kind == "operator":
		return b.T("activity.by.operator")
	case e.Actor.Kind == string(account.Owner) && e.Actor.ID != string(user):
		return b.T("activity.by.owner")
	case e.Actor.ID != "" && e.Actor.ID != string(user):
		return b.T("activity.by", "Name", e.Actor.Name)
	}
	return ""
}

// By says whose hand it was, to somebody who looks at everybody's doings.
func (b Base) By(e audit.Event) string {
	switch said := by(b, e, ""); {
	case said != "":
		return said
	case e.Actor.Kind == "visitor":
		return b.T("activity.by.visitor")
	case e.Actor.Name != "":
		return b.T("activity.by", "Name", e.Actor.Name)
	}
	return ""
}

// Refusal says why something was refused.
func (b Base) Refusal(code string) string {
	if !b.L.Has("fault." + code) {
		return code
	}
	said := b.T("fault." + code)
	if strings.Contains(said, "<no value>") { // it speaks of what was so then
		return code
	}
	return said
}

// why is how identity was checked and the reason given, where somebody else
// did it.
func why(b Base, e audit.Event) string {
	check, reason := e.Details["check"], e.Details["reason"]
	if check == "" && reason == "" {
		return ""
	}
	if b.L.Has("check." + check) {
		check = b.T("check." + check)
	}
	return b.T("activity.why", "Check", check, "Reason", reason)
}
