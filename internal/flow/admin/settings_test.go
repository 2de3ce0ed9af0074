package admin_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/session"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/testkit"
)

// next are the settings in force, changed.
func (c *scene) next(change func(*account.Settings)) account.Settings {
	c.t.Helper()
	s, err := c.f.Settings(c.ctx(), prove.Signed{Identity: c.owner})
	if err != nil {
		c.t.Fatal(err)
	}
	change(&s)
	return s
}

// preview by the owner.
func (c *scene) preview(change func(*account.Settings)) admin.Preview {
	c.t.Helper()
	p, err := c.f.Preview(c.ctx(), c.Visitor, prove.Signed{Identity: c.owner}, c.next(change))
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func affected(list []admin.Affected) (all []string) {
	for _, a := range list {
		all = append(all, a.Name+" "+a.Reason)
	}
	slices.Sort(all)
	return all
}

// seen compares what a preview says.
func (c *scene) seen(what string, p admin.Preview, bind, asked, freed, locked []string, signedOut int) {
	c.t.Helper()
	for _, one := range []struct {
		name  string
		list  []admin.Affected
		count int
		want  []string
	}{{"bind", p.Bind, p.BindCount, bind}, {"asked", p.Asked, p.AskedCount, asked}, {"freed", p.Freed, p.FreedCount, freed}, {"locked", p.LockedOut, p.LockedCount, locked}} {
		if got := affected(one.list); !slices.Equal(got, one.want) || one.count != len(one.want) {
			c.t.Errorf("%s: %s %v (%d), want %v", what, one.name, got, one.count, one.want)
		}
	}
	if p.SignedOut != signedOut {
		c.t.Errorf("%s: %d signed out, want %d", what, p.SignedOut, signedOut)
	}
}

func TestPreviewOfSettings(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		with := c.user("with", account.Profile{State: account.ProfileActive})
		text := c.user("text", account.Profile{State: account.ProfileActive})
		must := c.user("must", account.Profile{State: account.ProfileActive, MFARequired: true})
		c.user("off", account.Profile{State: account.ProfileInactive})
		c.user("none", account.Profile{})
		c.Bind(with)
		c.Attach(text, "+8613800138000")
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		c.Session(c.Visitor, c.bob)
		c.Session(c.Visitor, with, factor.Password, factor.VirtualMFA)
		c.Session(testkit.Visitor("198.51.100.9"), text, factor.Password, factor.SMS)

		p := c.preview(func(*account.Settings) {})
		c.seen("nothing", p, nil, nil, nil, nil, 0)
		if p.Users != 8 || p.Enabled != 6 || len(p.Changed) > 0 || p.Author != nil {
			t.Errorf("%+v", p)
		}
		p = c.preview(func(s *account.Settings) { s.MFAOperation = account.Mandatory })
		c.seen("mandatory", p, []string{"bob bind", "boss bind", "look bind"}, nil, nil, nil, 1)
		if !slices.Equal(p.Changed, []string{"MFAOperationForLogin"}) {
			t.Errorf("changed %v", p.Changed)
		}
		p = c.preview(func(s *account.Settings) {
			s.MFAOperation = account.Mandatory
			s.GraceUntil = c.Clock.Now().Add(time.Hour)
		})
		c.seen("mandatory with a grace", p, nil, nil, nil, nil, 0)
		p = c.preview(func(s *account.Settings) { s.MFAOperation = account.Adaptive })
		c.seen("adaptive", p, nil, nil, []string{"text freed_usual", "with freed_usual"}, []string{"bob unusual", "boss unusual", "look unusual"}, 0)
		p = c.preview(func(s *account.Settings) { s.AllowSMS = false })
		c.seen("no text messages", p, nil, nil, []string{"text freed"}, nil, 0)
		p = c.preview(func(s *account.Settings) {
			s.AllowSMS, s.MFAOperation = false, account.Mandatory
		})
		c.seen("no text messages, mandatory", p, []string{"bob bind", "boss bind", "look bind", "text bind_not_allowed"}, nil, nil, nil, 2)
		p = c.preview(func(s *account.Settings) { s.Masks = masks(t, "192.0.2.0/24") })
		c.seen("masks", p, nil, nil, nil, []string{"text mask"}, 1)
		p = c.preview(func(s *account.Settings) { s.TwoKinds = true })
		c.seen("two kinds", p, nil, nil, nil, nil, 0)
		p = c.preview(func(s *account.Settings) {
			s.TwoKinds, s.MFAOperation = true, account.Mandatory
		})
		c.seen("two kinds, mandatory", p, []string{"bob bind", "boss bind", "look bind", "text bind_second", "with bind_second"}, nil, nil, nil, 3)
		c.Clock.Advance(50 * time.Minute)
		p = c.preview(func(s *account.Settings) { s.SessionHours = 1 })
		c.seen("a short session, not yet", p, nil, nil, nil, nil, 0)
		c.Clock.Advance(10 * time.Minute)
		p = c.preview(func(s *account.Settings) { s.SessionHours = 1 })
		c.seen("a short session", p, nil, nil, nil, nil, 3)
		c.Clock.Advance(24 * time.Hour)
		p = c.preview(func(s *account.Settings) { s.Password.MaxAge, s.Password.HardExpire = 1, true })
		c.seen("passwords too old", p, nil, nil, nil, []string{"bob password_expired", "boss password_expired", "look password_expired", "must password_expired", "text password_expired", "with password_expired"}, 0)

		// From mandatory, people are freed; back, they are asked.
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Adaptive })
		p = c.preview(func(s *account.Settings) { s.MFAOperation = account.Independent })
		c.seen("independent", p, nil, []string{"text asked", "with asked"}, nil, nil, 0)

		// Only the first are named.
		for n := range 30 {
			c.user(fmt.Sprintf("more%d", n), account.Profile{State: account.ProfileActive})
		}
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		p = c.preview(func(s *account.Settings) { s.MFAOperation = account.Mandatory })
		if len(p.Bind) != admin.AffectedMax || p.BindCount != 33 {
			t.Errorf("%d of %d named", len(p.Bind), p.BindCount)
		}
		_ = must
	})
}

func masks(t *testing.T, s string) []netip.Prefix {
	t.Helper()
	m, err := account.ParseMasks(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What would lock out its author is refused, and changes nothing.
func TestAuthorsAreNotLockedOut(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		c.Clock.Advance(48 * time.Hour)
		for name, k := range map[string]struct {
			change func(*account.Settings)
			want   *fault.Fault
		}{
			"masks elsewhere":      {func(s *account.Settings) { s.Masks = masks(t, "198.51.100.0/24, 2001:db8::/32") }, admin.ErrAuthorMask},
			"adaptive, no device":  {func(s *account.Settings) { s.MFAOperation = account.Adaptive }, admin.ErrAuthorUnusual},
			"an old password":      {func(s *account.Settings) { s.Password.HardExpire, s.Password.MaxAge = true, 2 }, admin.ErrAuthorPassword},
			"masks here":           {func(s *account.Settings) { s.Masks = masks(t, "198.51.100.0/24 192.0.2.0/25") }, nil},
			"a password to change": {func(s *account.Settings) { s.Password.MaxAge = 2 }, nil},
			"mandatory":            {func(s *account.Settings) { s.MFAOperation = account.Mandatory }, nil},
		} {
			before := c.next(func(*account.Settings) {})
			next := c.next(k.change)
			s := c.verified(c.boss, admin.ChangeSettings(next))
			p, err := c.f.Preview(c.ctx(), c.Visitor, s, next)
			if err != nil || p.Author != k.want {
				t.Errorf("%s: preview says %v, want %v; %v", name, p.Author, k.want, err)
			}
			err = c.f.Save(c.ctx(), c.Visitor, s, next)
			if k.want == nil {
				c.want(name, err, nil)
				c.Settle(c.owner.Account, func(s *account.Settings) { *s = before })
				continue
			}
			c.want(name, err, k.want)
			if after := c.next(func(*account.Settings) {}); !reflect.DeepEqual(after, before) {
				t.Errorf("%s was refused, and saved", name)
			}
		}
		// With a device, adaptive does not lock out; and the owner is never locked out.
		c.Bind(c.boss)
		next := c.next(func(s *account.Settings) { s.MFAOperation = account.Adaptive })
		c.want("adaptive with a device", c.f.Save(c.ctx(), c.Visitor, c.verified(c.boss, admin.ChangeSettings(next)), next), nil)
		next = c.next(func(s *account.Settings) { s.Masks = masks(t, "198.51.100.0/24") })
		c.want("the owner", c.f.Save(c.ctx(), c.Visitor, c.verified(c.owner, admin.ChangeSettings(next)), next), nil)
	})
}

func TestSavingSettings(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		_, token := c.Session(c.Visitor, c.bob)
		c.Settle(c.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		next := c.next(func(s *account.Settings) {
			s.MFAOperation, s.Remember, s.Password.MinimumLength = account.Mandatory, true, 12
			s.Masks = masks(t, "192.0.2.0/24 2001:db8::/32")
		})
		s := c.as(c.boss)
		c.want("without a verification", c.f.Save(c.ctx(), c.Visitor, s, next), prove.ErrVerifyFirst)
		other := next
		other.Remember = false
		c.Given(s, admin.ChangeSettings(other))
		c.want("with one for other settings", c.f.Save(c.ctx(), c.Visitor, s, next), prove.ErrVerifyFirst)
		if _, err := c.SignIn.Who(c.ctx(), token); err != nil {
			t.Errorf("bob before: %v", err)
		}
		c.Given(s, admin.ChangeSettings(next))
		c.want("save", c.f.Save(c.ctx(), c.Visitor, s, next), nil)
		if got := c.next(func(*account.Settings) {}); !reflect.DeepEqual(got, next) {
			t.Errorf("saved %+v, want %+v", got, next)
		}
		_, err := c.SignIn.Who(c.ctx(), token)
		c.want("bob at the next request", err, session.ErrRulesChanged)
		c.Given(s, admin.ChangeSettings(next))
		c.want("the same again", c.f.Save(c.ctx(), c.Visitor, s, next), admin.ErrNothingNew)
		events, err := c.Read(c.ctx()).History(c.owner.Account, "", 0, 10, audit.PreferenceModify, audit.PasswordPolicyModify)
		if err != nil || len(events) != 2 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		if d := events[1].Details; events[1].Name != audit.PreferenceModify || len(d) != 6 || d["MFAOperationForLogin.from"] != "independent" || d["MFAOperationForLogin.to"] != "mandatory" || d["LoginNetworkMasks.from"] != "" || d["LoginNetworkMasks.to"] != "192.0.2.0/24 2001:db8::/32" || d["EnableSaveMFATicket.to"] != "true" {
			t.Errorf("event %+v", events[1])
		}
		if d := events[0].Details; events[0].Name != audit.PasswordPolicyModify || len(d) != 2 || d["MinimumPasswordLength.from"] != "8" || d["MinimumPasswordLength.to"] != "12" {
			t.Errorf("event %+v", events[0])
		}
		for name, k := range map[string]struct {
			change func(*account.Settings)
			want   error
		}{
			"an operation": {func(s *account.Settings) { s.MFAOperation = "never" }, account.ErrOperation},
			"hours":        {func(s *account.Settings) { s.SessionHours = 25 }, account.ErrSessionHours},
			"models":       {func(s *account.Settings) { s.PasskeyModels = make([]string, account.ModelsMax+1) }, account.ErrModels},
			"a grace":      {func(s *account.Settings) { s.GraceUntil = c.Clock.Now() }, account.ErrGrace},
			"a length":     {func(s *account.Settings) { s.Password.MinimumLength = 33 }, account.ErrRange},
		} {
			next := c.next(k.change)
			_, err := c.f.Preview(c.ctx(), c.Visitor, s, next)
			c.want("preview of "+name, err, k.want)
			c.Given(s, admin.ChangeSettings(next))
			c.want(name, c.f.Save(c.ctx(), c.Visitor, s, next), k.want)
		}
		c.Prover.Sending.NoTexts, c.Prover.Passkeys = true, nil
		next = c.next(func(s *account.Settings) { s.TwoKinds = true })
		c.Given(s, admin.ChangeSettings(next))
		c.want("two kinds where there is no second one", c.f.Save(c.ctx(), c.Visitor, s, next), admin.ErrNoSecondKind)
	})
}

func TestNamesOfAnAccount(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		other := c.Owner("other@example.com")
		s, theirs := c.verified(c.boss, admin.ChangeNames), c.verified(other, admin.ChangeNames)
		alias := func(as prove.Signed, to string) error { return c.f.SetAlias(c.ctx(), c.Visitor, as, to) }
		c.want("an alias", alias(s, " ACME "), nil)
		c.want("the same", alias(s, "acme"), admin.ErrSameAlias)
		c.want("one that is taken", alias(theirs, "acme"), account.ErrAliasTaken)
		c.want("no alias", alias(s, "a"), account.ErrAliasForm)
		c.want("somebody's ID", alias(s, string(other.Account)), account.ErrAliasForm)
		if n, err := c.f.Names(c.ctx(), s); err != nil || n.Account.Alias != "acme" || n.Suffix != testkit.Suffix || c.Again(c.bob).Name() != "bob@acme.ram.localhost" {
			t.Errorf("names %+v, %v", n, err)
		}
		c.want("back to the ID", alias(s, string(c.owner.Account)), nil)

		d, err := c.f.AddDomain(c.ctx(), c.Visitor, s, "Example.COM.")
		if err != nil || d.Domain != "example.com" || len(d.Code) < 40 {
			t.Fatalf("domain %+v, %v", d, err)
		}
		_, err = c.f.AddDomain(c.ctx(), c.Visitor, s, "example.com")
		c.want("the same domain", err, account.ErrDomainTaken)
		_, err = c.f.AddDomain(c.ctx(), c.Visitor, s, "x.ram.localhost")
		c.want("one of ours", err, account.ErrDomainForm)
		hers, err := c.f.AddDomain(c.ctx(), c.Visitor, theirs, "example.com")
		if err != nil {
			t.Fatal(err)
		}
		verify := func(as prove.Signed) error { return c.f.VerifyDomain(c.ctx(), c.Visitor, as, "example.com") }
		c.want("no record", verify(s), admin.ErrDomainProof)
		c.dns.Publish("example.com", "v=spf1 -all")
		c.dns.Publish("_countersign.example.com", admin.DomainRecord+hers.Code)
		c.want("somebody else's record", verify(s), admin.ErrDomainProof)
		c.dns.Err = errors.New("timeout")
		c.want("no answer", verify(s), admin.ErrDomainDNS)
		c.dns.Err = &net.DNSError{IsTimeout: true}
		c.want("no answer in time", verify(s), admin.ErrDomainDNS)
		c.dns.Err = nil
		c.dns.Publish("example.com", admin.DomainRecord+d.Code)
		c.want("the record", verify(s), nil)
		c.want("again", verify(s), nil)
		c.want("who comes second", verify(theirs), account.ErrDomainTaken)
		if i, err := c.Read(c.ctx()).IdentityBySignInName(account.ParseSignInName("bob@example.com", "", testkit.Suffix)); err != nil || i.ID != c.bob.ID {
			t.Errorf("bob by the domain: %v, %v", i.ID, err)
		}
		for n := range admin.DomainsMax - 1 {
			if _, err := c.f.AddDomain(c.ctx(), c.Visitor, s, fmt.Sprintf("d%d.example", n)); err != nil {
				t.Fatal(err)
			}
		}
		_, err = c.f.AddDomain(c.ctx(), c.Visitor, s, "more.example")
		c.want("too many", err, admin.ErrDomainsMany)
		c.want("remove another's", c.f.RemoveDomain(c.ctx(), c.Visitor, theirs, "d1.example"), admin.ErrDomainGone)
		c.want("remove", c.f.RemoveDomain(c.ctx(), c.Visitor, s, "example.com"), nil)
		c.want("remove again", c.f.RemoveDomain(c.ctx(), c.Visitor, s, "example.com"), admin.ErrDomainGone)
		c.want("verify what is gone", verify(s), admin.ErrDomainGone)
		c.want("now theirs", verify(theirs), nil)
		c.Clock.Advance(time.Hour)
		c.want("an alias without a fresh proof", alias(s, "acme"), prove.ErrVerifyFirst)
		c.want("a domain without a fresh proof", verify(s), prove.ErrVerifyFirst)
	})
}

// Two who save at once follow one another: what each wrote down is true.
func TestSavesFollowOneAnother(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		results := make(chan error, 8)
		for n := range 8 {
			next := c.next(func(s *account.Settings) { s.Password.MaxAge = n + 1 })
			s := c.verified(c.owner, admin.ChangeSettings(next))
			go func() { results <- c.f.Save(c.ctx(), c.Visitor, s, next) }()
		}
		for range 8 {
			c.want("save", <-results, nil)
		}
		events, err := c.Read(c.ctx()).History(c.owner.Account, "", 0, 10, audit.PasswordPolicyModify)
		if err != nil || len(events) != 8 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		for n, e := range events[:7] {
			if e.Details["MaxPasswordAge.from"] != events[n+1].Details["MaxPasswordAge.to"] {
				t.Errorf("event %d: %v after %v", e.Seq, e.Details, events[n+1].Details)
			}
		}
	})
}
