package console

import (
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/posture"
	"countersign/internal/flow/admin"
)

// functions are what the console's templates call.
var functions = map[string]any{
	"ago":         func(p interface{ Ago(t, now time.Time) string }, t, now time.Time) string { return p.Ago(t, now) },
	"date":        date,
	"format":      time.Time.Format,
	"utc":         time.Time.UTC,
	"begin":       posture.Day.Begin,
	"number":      thousands,
	"percent":     percent,
	"most":        func() int { return gainsShown },
	"signInState": signInState,

	"enabled": account.Profile.Enabled,
	"name":    admin.Detail.Name,

	"to":             func(p interface{ To(string) string }, sub string) string { return p.To(sub) },
	"may":            func(p interface{ May() bool }) bool { return p.May() },
	"about":          about,
	"allowed":        detailPage.Allowed,
	"askedAtSignIn":  detailPage.AskedAtSignIn,
	"browser":        detailPage.Browser,
	"initialExpired": detailPage.InitialExpired,
	"mailbox":        unbindPage.Mailbox,
	"passkey":        unbindPage.Passkey,

	"all":      func(q interface{ All() string }) string { return q.All() },
	"filtered": func(q interface{ Filtered() bool }) bool { return q.Filtered() },
	"by":       listQuery.By,
	"sorted":   listQuery.Sorted,
	"order":    listQuery.Order,
	"of":       listQuery.Of,
	"turnTo":   listQuery.At,
	"previous": listQuery.Before,
	"next":     listQuery.After,

	"entriesBefore": auditQuery.Page,
	"byActor":       func(id string) string { return auditQuery{Actor: id}.link() },
	"byTarget":      func(id account.IdentityID) string { return auditQuery{Target: string(id)}.link() },
	"byNetwork":     func(address string) string { return auditQuery{Network: address}.link() },
	"byRequest":     func(id string) string { return auditQuery{Request: id}.link() },

	"label": fieldRow.Label,
	"words": fieldRow.Words,
}
