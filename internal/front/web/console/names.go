package console

import (
	"errors"
	"net/http"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

const namesPath = "/console/names"

// namesPage shows what an account is called, and where its users sign in.
type namesPage struct {
	base
	ID       account.ID
	Alias    string // in force
	Typed    string // in the form
	Suffix   string
	SignIn   string // where the users of the account sign in
	Verified string // a domain alias in force; empty: none
	Domains  []domainRow
	Domain   string // in the form
}

// domainRow is one domain alias, with the TXT record that proves it.
type domainRow struct {
	Domain                string
	CreatedAt, VerifiedAt time.Time
	TXTName, TXTValue     string
}

func (p *Pages) mountNames(t *request.Router) {
	t.Handle("GET /console/names", p.kit.For(page.Auditors, "", p.showNames))
	p.post(t, "POST /console/names/alias", policy.ChangePolicy, p.submitAlias)
	p.post(t, "POST /console/names/domain", policy.ChangePolicy, p.submitDomain)
	p.post(t, "POST /console/names/domain/verify", policy.ChangePolicy, p.submitDomainVerify)
	p.post(t, "POST /console/names/domain/remove", policy.ChangePolicy, p.submitDomainRemove)
}

func (p *Pages) showNames(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	return p.renderNames(w, r, s, http.StatusOK, p.namesBase(w, r, s), nil)
}

func (p *Pages) namesBase(w http.ResponseWriter, r *http.Request, s prove.Signed) base {
	b := p.base(w, r, s, namesPath)
	b.Tab = "names"
	return b
}

// renderNames shows the page; typed are what was entered, by field.
func (p *Pages) renderNames(w http.ResponseWriter, r *http.Request, s prove.Signed, status int, b base, typed map[string]string) error {
	n, err := p.flow.Names(r.Context(), s)
	if err != nil {
		return err
	}
	data := namesPage{base: b, ID: n.Account.ID, Alias: n.Account.Alias, Typed: n.Account.Alias, Suffix: n.Suffix,
		SignIn: p.flow.Service.URL + "/signin/ram/" + n.Account.Alias, Domain: typed["domain"]}
	if t, ok := typed["alias"]; ok {
		data.Typed = t
	}
	for _, d := range n.Domains {
		if data.Verified == "" && !d.VerifiedAt.IsZero() {
			data.Verified = d.Domain
		}
		data.Domains = append(data.Domains, domainRow{d.Domain, d.CreatedAt, d.VerifiedAt, admin.DomainHost + "." + d.Domain, admin.DomainRecord + d.Code})
	}
	return p.settings.names.Render(w, r, status, data)
}

// namesDone goes back to the page with a word about what was done, or shows
// what is wrong: beside the field concerned, which is row where a domain that
// is listed is.
func (p *Pages) namesDone(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form, done, row string, err error) error {
	switch {
	case err == nil:
		p.kit.Done(w, r, namesPath, done)
		return nil
	case errors.Is(err, prove.ErrVerifyFirst):
		return act(admin.ChangeNames, err)
	}
	b := p.namesBase(w, r, s)
	status, ok := p.kit.Refuse(w, r, &b.Base, err)
	if !ok {
		return err
	}
	typed := map[string]string{}
	if row != "" {
		b.Problem.Field = row
	} else if f.Has("alias") {
		typed["alias"] = f.Get("alias")
	} else {
		typed["domain"] = f.Get("domain")
	}
	return p.renderNames(w, r, s, status, b, typed)
}

func (p *Pages) submitAlias(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	err := p.flow.SetAlias(r.Context(), p.kit.Visitor(r), s, f.Get("alias"))
	return p.namesDone(w, r, s, f, "alias_changed", "", err)
}

func (p *Pages) submitDomain(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	_, err := p.flow.AddDomain(r.Context(), p.kit.Visitor(r), s, f.Get("domain"))
	return p.namesDone(w, r, s, f, "domain_added", "", err)
}

func (p *Pages) submitDomainVerify(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	err := p.flow.VerifyDomain(r.Context(), p.kit.Visitor(r), s, f.Get("domain"))
	return p.namesDone(w, r, s, f, "domain_verified", "verify-"+f.Get("domain"), err)
}

func (p *Pages) submitDomainRemove(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	err := p.flow.RemoveDomain(r.Context(), p.kit.Visitor(r), s, f.Get("domain"))
	return p.namesDone(w, r, s, f, "domain_removed", "remove-"+f.Get("domain"), err)
}
