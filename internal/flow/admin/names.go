package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Faults about domain aliases.
var (
	ErrDomainProof = fault.New(fault.Unproven, "domain.unproved").On("domain")
	ErrDomainDNS   = fault.New(fault.Unavailable, "domain.dns").On("domain")
	ErrDomainGone  = fault.New(fault.NotFound, "domain.gone")
	ErrDomainsMany = fault.New(fault.Conflict, "domain.many").On("domain").With("Max", DomainsMax)
	ErrSameAlias   = fault.New(fault.Conflict, "alias.same").On("alias")
)

// DomainsMax is how many domain aliases an account has at most.
const DomainsMax = 5

// DomainRecord is what the TXT record of a domain alias begins with; its code
// follows.
const DomainRecord = "countersign-domain-verification="

// DomainHost is the label below the domain where the record may stand.
const DomainHost = "_countersign"

// dnsPatience is how long a request waits for the records of a domain.
const dnsPatience = 8 * time.Second

// Names are what users' sign-in names end in.
type Names struct {
	Account account.Account
	Suffix  string
	Domains []store.DomainAlias
}

// Names returns those of the account.
func (f *Flow) Names(ctx context.Context, s prove.Signed) (n Names, err error) {
	if err := reads(s); err != nil {
		return n, err
	}
	r := f.DB.Read(ctx)
	n.Suffix = f.Suffix
	if n.Account, err = r.Account(s.Identity.Account); err != nil {
		return n, err
	}
	n.Domains, err = r.DomainAliases(s.Identity.Account)
	return n, err
}

// SetAlias gives the account another alias: the sign-in names of its users
// change at once.
func (f *Flow) SetAlias(ctx context.Context, v prove.Visitor, s prove.Signed, alias string) error {
	alias, err := account.ParseAlias(alias, s.Identity.Account)
	if err != nil {
		return err
	}
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.writes(tx, s, ChangeNames)
		if err != nil {
			return err
		}
		present, err := tx.Account(i.Account)
		if err != nil {
			return err
		}
		if present.Alias == alias {
			return ErrSameAlias
		}
		if err := tx.SetAlias(i.Account, alias); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.AliasModify, Details: map[string]string{"from": present.Alias, "to": alias}})
	})
}

// AddDomain adds a domain alias, which counts once it is proved.
func (f *Flow) AddDomain(ctx context.Context, v prove.Visitor, s prove.Signed, domain string) (d store.DomainAlias, err error) {
	if domain, err = account.ParseDomain(domain, f.Suffix); err != nil {
		return d, err
	}
	code, err := secret.NewToken(f.Random)
	if err != nil {
		return d, err
	}
	err = f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.writes(tx, s, ChangeNames)
		if err != nil {
			return err
		}
		if err := tx.Alone("domains:" + string(i.Account)); err != nil {
			return err
		}
		if err := tx.Record(audit.Event{Account: i.Account, Name: audit.DomainAdd, Target: domain}); err != nil {
			return err
		}
		if err := tx.AddDomainAlias(i.Account, domain, code.Reveal()); err != nil {
			return err
		}
		list, err := tx.DomainAliases(i.Account)
		if err == nil && len(list) > DomainsMax {
			err = ErrDomainsMany
		}
		d = store.DomainAlias{Domain: domain, Code: code.Reveal(), CreatedAt: tx.Now}
		return err
	})
	if err != nil {
		return store.DomainAlias{}, err
	}
	return d, nil
}

// VerifyDomain looks for the TXT record that proves a domain alias.
func (f *Flow) VerifyDomain(ctx context.Context, v prove.Visitor, s prove.Signed, domain string) error {
	if err := f.may(ctx, s, ChangeNames); err != nil {
		return err
	}
	list, err := f.DB.Read(ctx).DomainAliases(s.Identity.Account)
	if err != nil {
		return err
	}
	var alias store.DomainAlias
	for _, d := range list {
		if d.Domain == domain {
			alias = d
		}
	}
	switch {
	case alias.Domain == "":
		return ErrDomainGone
	case !alias.VerifiedAt.IsZero():
		return nil
	}
	if err := f.proves(ctx, alias); err != nil {
		return err
	}
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.writes(tx, s, ChangeNames)
		if err != nil {
			return err
		}
		if err := tx.VerifyDomainAlias(i.Account, domain, ErrDomainGone); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.DomainVerify, Target: domain})
	})
}

// proves looks the record up, below the domain and at it.
func (f *Flow) proves(ctx context.Context, alias store.DomainAlias) error {
	ctx, cancel := context.WithTimeout(ctx, dnsPatience)
	defer cancel()
	var failed error
	for _, name := range []string{DomainHost + "." + alias.Domain, alias.Domain} {
		records, err := f.TXT(ctx, name)
		var missing *net.DNSError
		if err != nil && !(errors.As(err, &missing) && missing.IsNotFound) {
			failed = err
		}
		for _, record := range records {
			if strings.Contains(record, DomainRecord+alias.Code) {
				return nil
			}
		}
	}
	if failed != nil {
		return fmt.Errorf("%w: %w", ErrDomainDNS, failed)
	}
	return ErrDomainProof
}

// RemoveDomain takes a domain alias off.
func (f *Flow) RemoveDomain(ctx context.Context, v prove.Visitor, s prove.Signed, domain string) error {
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := f.writes(tx, s, ChangeNames)
		if err != nil {
			return err
		}
		if err := tx.RemoveDomainAlias(i.Account, domain, ErrDomainGone); err != nil {
			return err
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.DomainRemove, Target: domain})
	})
}
