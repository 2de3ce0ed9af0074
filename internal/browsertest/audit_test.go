package browsertest_test

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/locale"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// The audit of the account and the own history, in every language.
func TestTheRecord(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			p := ownerIn(t, l.Tag)
			p.happens()
			p.entersPassword()
			p.readsTheAudit()
			p.takesTheAuditOut()
			p.looksAtTheChain()
			p.isAskedWhetherItWasThem()
		})
	}
}

// happens records what takes long to do.
func (p *person) happens() {
	p.T.Helper()
	i := p.Site.Identity(email)
	by := audit.Actor{Kind: "administrator", ID: "01gone", Name: "ada@acme.example", Address: "203.0.113.7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", Request: "0123456789abcdef"}
	err := p.Site.DB.Write(p.T.Context(), by, func(tx *store.Tx) error {
		for _, e := range []audit.Event{
			{Name: audit.MFAUnbind, Identity: "01gone2", Details: map[string]string{"name": "Pixel 9", "user": "bob@acme.example", "check": "in_person", "reason": "lost at sea"}},
			{Name: audit.ConsoleSignin, Identity: i.ID, Refused: "code.wrong", Details: map[string]string{"method": "virtual_mfa"}},
		} {
			e.Account = i.Account
			if err := tx.Record(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

func (p *person) readsTheAudit() {
	p.T.Helper()
	p.Visit("/console/audit")
	p.On("/console/audit", "audit.title")
	p.Click(".rows-log .row:last-child summary")
	p.Look("audit")
	p.Type("#actor", "ada@acme.example")
	p.Follow(".filter-go .button")
	p.On("/console/audit", "audit.title")
	if text := p.Text(".rows-log"); !strings.Contains(text, "Pixel 9") || !strings.Contains(text, "bob@acme.example") || !strings.Contains(text, "lost at sea") {
		p.T.Errorf("what ada did: %q", text)
	}
	p.Visit("/console/audit?actor=nobody")
	p.Says("audit.nobody")
	p.Look("audit-nobody")
}

func (p *person) takesTheAuditOut() {
	p.T.Helper()
	p.Visit("/console/audit?event=devices")
	p.Follow(".head .button[value=csv]")
	p.asked("purpose.export_audit", "")
	p.answers(email)
	p.On("/console/audit", "audit.title")
	p.Says("users.csv.ready")
	name, content := p.Download(".note .link-button")
	rows, err := csv.NewReader(strings.NewReader(content)).ReadAll()
	if err != nil || !strings.HasSuffix(name, ".csv") || len(rows) < 3 {
		p.T.Fatalf("%s: %q, %v", name, content, err)
	}
	if head := rows[len(rows)-1][len(rows[0])-1]; p.Site.DB.Read(p.T.Context()).Contains(head) != nil {
		p.T.Errorf("it ends in %q", head)
	}
}

func (p *person) looksAtTheChain() {
	p.T.Helper()
	p.Visit("/console/audit")
	p.Says("audit.chain.unchecked")
	p.Follow("#chain form .button")
	p.On("/console/audit", "audit.title")
	if text := p.Text("#chain .pill-on"); text == "" {
		p.T.Error("it does not say that the chain holds")
	}
	p.app.Wait(time.Minute)
	if _, err := storetest.Raw(p.T, p.Site.Config.DatabaseURL()).Exec("UPDATE audit_event SET identity_id = 'x' WHERE account_id = $1 AND seq = 2", string(account.ID(p.Site.Identity(email).Account))); err != nil {
		p.T.Fatal(err)
	}
	p.Follow("#chain form .button")
	p.Says("audit.chain.broken", "Seq", 2)
	p.Look("audit-broken")
}

func (p *person) isAskedWhetherItWasThem() {
	p.T.Helper()
	p.Visit("/security/history")
	p.On("/security/history", "row.history")
	p.Click(".rows-log .row:first-child summary")
	p.Look("history-ask")
	p.Follow(".rows-log details[open] a")
	if !strings.HasPrefix(browsertest.Eval[string](p.Tab, "location.pathname"), "/security/") {
		p.T.Error("it does not lead on")
	}
}
